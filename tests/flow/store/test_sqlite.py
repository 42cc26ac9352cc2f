"""SQLite: one engine to a file, and what becomes of commits when it cannot write."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import gatherResults

from twisted_evproc.errors import StoreInUse, StoreUnusable
from twisted_evproc.flow.store import read_store
from twisted_evproc.flow.store._lock import FileLock, holder
from twisted_evproc.flow.store._sqlite import SQLiteDatabase
from twisted_evproc.interfaces import IFlowStore

from .conftest import numbers, some, state_of

StoreAt = Callable[..., IFlowStore]
Child = Callable[..., "subprocess.Popen[str]"]


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


class TestOneEngine:
    @ensureDeferred
    async def test_a_second_one_in_this_process_is_refused(self, path: str, store_at: StoreAt) -> None:
        await store_at(path).open()
        second = store_at(f"sqlite:///{path}")
        with pytest.raises(StoreInUse) as caught:
            await second.open()
        assert caught.value.owner == f"{socket.gethostname()}:{os.getpid()}"
        assert second.state == "closed"

    @ensureDeferred
    async def test_another_process_has_it_until_it_is_killed(self, path: str, store_at: StoreAt, child: Child) -> None:
        process = child("hold", path)
        assert line_of(process) == "open"
        store = store_at(path)
        with pytest.raises(StoreInUse, match=rf"process {socket.gethostname()}:{process.pid} has it open"):
            await store.open()
        process.kill()
        process.wait()
        await store.open()

    @ensureDeferred
    async def test_a_forked_child_does_not_keep_it(self, path: str, store_at: StoreAt, child: Child) -> None:
        process = child("fork", path)
        grandchild = int(line_of(process))
        try:
            process.kill()
            process.wait()
            await store_at(path).open()
            os.kill(grandchild, 0)  # it lives
        finally:
            os.kill(grandchild, signal.SIGKILL)

    @ensureDeferred
    async def test_another_name_of_the_file_is_the_same_store(self, path: str, tmp_path: Path, store_at: StoreAt) -> None:
        await store_at(path).open()
        (tmp_path / "other.db").symlink_to(path)
        with pytest.raises(StoreInUse):
            await store_at(str(tmp_path / "other.db")).open()

    @pytest.mark.parametrize("lets_go", [True, False])
    def test_a_file_that_is_not_a_log_yet_and_is_being_read(self, path: str, lets_go: bool) -> None:
        reader = sqlite3.connect(path, isolation_level=None)

        class ReadMeanwhile(SQLiteDatabase):
            def commit(self) -> None:
                super().commit()
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM sqlite_master")

        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if lets_go and len(pauses) == 3:
                reader.rollback()

        database = ReadMeanwhile(path)
        database.pause = pause
        if lets_go:
            database.open()
            assert database.query("PRAGMA journal_mode") == [("wal",)]
            assert len(pauses) == 3
        else:
            with pytest.raises(StoreUnusable, match="database is locked"):
                database.open()
            assert sum(pauses) == pytest.approx(5.0, abs=0.5)
            assert database.lost
        reader.close()
        database.close()

    @ensureDeferred
    async def test_files_beside_it_start_with_its_name_and_go_with_the_engine(
        self, path: str, tmp_path: Path, store_at: StoreAt
    ) -> None:
        store = store_at(path)
        await store.open()
        await store.begin("flow", None, "host:1")
        assert {f"{Path(path).name}.lock"} <= {file.name for file in tmp_path.iterdir()}
        assert all(file.name.startswith(Path(path).name) for file in tmp_path.iterdir())
        await store.close()
        assert [file.name for file in tmp_path.iterdir()] == [Path(path).name]

    @ensureDeferred
    async def test_a_link_in_the_place_of_the_lock_leads_nowhere(self, path: str, tmp_path: Path, store_at: StoreAt) -> None:
        (tmp_path / "letter").write_text("dear", encoding="utf-8")
        Path(f"{path}.lock").symlink_to(tmp_path / "letter")
        with pytest.raises(StoreUnusable, match="cannot be locked"):
            await store_at(path).open()
        assert (tmp_path / "letter").read_text(encoding="utf-8") == "dear"

    def test_the_lock_is_not_for_executed_programs(self, path: str) -> None:
        lock = FileLock(f"{path}.lock", path)
        assert not os.get_inheritable(lock._file)
        assert holder(f"{path}.lock") == f"{socket.gethostname()}:{os.getpid()}"
        lock.release()
        assert holder(f"{path}.lock") is None

    def test_who_only_looks_takes_it_from_nobody(self, path: str) -> None:
        lock = FileLock(f"{path}.lock", path)
        assert holder(f"{path}.lock") is not None
        with pytest.raises(StoreInUse):
            FileLock(f"{path}.lock", path)
        lock.release()
        FileLock(f"{path}.lock", path).release()

    @ensureDeferred
    async def test_a_reader_knows_who_has_a_run(self, path: str, store_at: StoreAt) -> None:
        store = store_at(path)
        await store.open()
        me = f"{socket.gethostname()}:{os.getpid()}"
        await store.begin("flow", "mine", me)
        await store.begin("flow", "left", "host:1")
        with read_store(path) as reader:
            assert reader.living_owner("mine") == me
            assert reader.living_owner("left") is None


class TestSettings:
    @pytest.mark.parametrize(("durability", "synchronous"), [("full", 2), ("normal", 1)])
    @ensureDeferred
    async def test_what_is_committed_is_on_the_disk(
        self, path: str, store_at: StoreAt, durability: str, synchronous: int
    ) -> None:
        store: Any = store_at(path, durability=durability)
        await store.open()

        def pragmas(_: bool) -> list[Any]:
            return [thread.database.query(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous", "temp_store")]

        thread = store._thread
        assert await thread.call(pragmas) == ["wal", synchronous, 2]


class TestWhatIsNoStore:
    @ensureDeferred
    async def test_a_file_that_is_no_database(self, path: str, store_at: StoreAt) -> None:
        Path(path).write_text("This is a letter, and not a database at all.\n" * 30, encoding="utf-8")
        with pytest.raises(StoreUnusable, match=r"flow\.run\.db: file is not a database\."):
            await store_at(path).open()
        with pytest.raises(StoreUnusable, match="file is not a database"):
            read_store(path)
        assert Path(path).read_text(encoding="utf-8").startswith("This is a letter")

    @ensureDeferred
    async def test_a_database_of_something_else(self, path: str, store_at: StoreAt) -> None:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE customers (name)")
        connection.close()
        before = Path(path).read_bytes()
        with pytest.raises(StoreUnusable, match="holds something else, with tables customers"):
            await store_at(path).open()
        assert Path(path).read_bytes() == before

    @ensureDeferred
    async def test_a_folder_that_is_not_there(self, tmp_path: Path, store_at: StoreAt) -> None:
        with pytest.raises(StoreUnusable, match="there is no folder .*/no; make it, or correct the path"):
            await store_at(str(tmp_path / "no" / "x.db")).open()

    @ensureDeferred
    async def test_a_folder_in_its_place(self, tmp_path: Path, store_at: StoreAt) -> None:
        with pytest.raises(StoreUnusable, match="is a directory; give the path of a file"):
            await store_at(str(tmp_path)).open()
        with pytest.raises(StoreUnusable, match="is a directory; give the path of a file"):
            read_store(str(tmp_path))

    def test_a_file_that_may_not_be_read(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        sqlite3.connect(path).close()
        Path(path).touch()
        # Who runs the tests may be allowed to read everything.
        monkeypatch.setattr(os, "access", lambda place, mode: (place, mode) != (path, os.R_OK))
        with pytest.raises(StoreUnusable, match="permission to read it is denied"):
            read_store(path)

    def test_nothing_to_read(self, path: str) -> None:
        with pytest.raises(StoreUnusable, match="there is no such file"):
            read_store(path)
        assert not os.path.exists(path)
        with pytest.raises(StoreUnusable, match="in the memory of its engine alone"):
            read_store(":memory:")

    @ensureDeferred
    async def test_a_store_that_cannot_be_opened_leaves_nothing_locked(self, path: str, store_at: StoreAt) -> None:
        Path(path).write_text("no database " * 100, encoding="utf-8")
        store = store_at(path)
        with pytest.raises(StoreUnusable):
            await store.open()
        Path(path).unlink()
        await store.open()
        assert stat.S_ISREG(os.stat(path).st_mode)


def waits(state: str) -> bool:
    return state.startswith("commits wait")


class TestWaiting:
    @ensureDeferred
    async def test_while_another_connection_writes(self, path: str, store_at: StoreAt) -> None:
        store = store_at(path)
        await store.open()
        await store.begin("flow", "run", "host:1")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        waiting = state_of(store, waits)
        commits = [store.commit("run", 1, some(number)) for number in range(10)]
        assert "locked by another connection (database is locked)" in await waiting
        assert waits(store.state)
        assert not any(done.called for done in commits)
        again = state_of(store, "open".__eq__)
        other.execute("COMMIT")
        other.close()
        await again
        await gatherResults(commits)
        assert numbers((await store.take("run", "host:1")).tasks) == list(range(10))

    @ensureDeferred
    async def test_while_there_is_no_room(self, path: str, store_at: StoreAt) -> None:
        store: Any = store_at(path)
        await store.open()
        await store.begin("flow", "run", "host:1")
        thread = store._thread
        await thread.call(lambda _: thread.database.execute("PRAGMA max_page_count = 1"))  # it means: not one page more
        waiting = state_of(store, waits)
        commits = [store.commit("run", 1, some(number)) for number in range(1_000)]
        assert "the disk is full" in await waiting
        # Nothing else may be tried while commits wait, so the room is made from beside.
        thread.database._connection.execute("PRAGMA max_page_count = 1000000")
        await gatherResults(commits)
        assert numbers((await store.take("run", "host:1")).tasks) == list(range(1_000))
        assert store.state == "open"

    def test_while_the_file_may_not_grow(self, path: str, child: Child) -> None:
        """A real limit of the operating system, in a process of its own; lifted once it is noticed."""
        process = child("full", path)
        said, ended = process.communicate(timeout=60)[0].splitlines(), process.returncode
        assert ended == 0
        assert said[0].startswith("commits wait: the disk does not read or write (disk I/O error); ")
        assert 0 < int(said[0].split()[-2]) < 1_000
        assert said[-1].startswith("open; ")
        with read_store(path) as reader:
            assert numbers(reader.load("run").tasks) == list(range(1_000))

    @ensureDeferred
    async def test_close_does_not_wait_with_them(self, path: str, store_at: StoreAt) -> None:
        store = store_at(path)
        await store.open()
        await store.begin("flow", "run", "host:1")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        waiting = state_of(store, waits)
        commit = store.commit("run", 1, some(1))
        await waiting
        later = store.commit("run", 1, some(2))
        closing = store.close()
        for done in (commit, later):
            with pytest.raises(StoreUnusable, match="closed while commits waited: the database is locked by another connection"):
                await done
        await closing
        assert store.state == "closed"
        other.close()
        await store.open()
        assert (await store.take("run", "host:1")).tasks == []

    @ensureDeferred
    async def test_a_commit_of_which_nobody_knows_is_written_again(self, path: str, store_at: StoreAt) -> None:
        """A COMMIT that was done, and said that it was not."""
        store: Any = store_at(path)
        await store.open()
        database = store._thread.database
        commit, failures = database.commit, [True, True, True]

        def unclear() -> None:
            commit()
            if failures and failures.pop():
                error = sqlite3.OperationalError("planted")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
                raise error

        database.commit = unclear
        assert (await store.begin("flow", "run", "host:1")).run.epoch == 1
        failures.append(True)
        await store.commit("run", 1, some(1))
        failures.append(True)
        assert numbers((await store.take("run", "host:1")).tasks) == [1]
        assert not failures

    @ensureDeferred
    async def test_after_a_commit_that_failed_the_connection_is_a_new_one(self, path: str, store_at: StoreAt) -> None:
        store: Any = store_at(path)
        await store.open()
        await store.begin("flow", "run", "host:1")
        database = store._thread.database
        commit, connections = database.commit, []

        def failing() -> None:
            connections.append(database._connection)
            if len(connections) == 1:
                error = sqlite3.OperationalError("planted")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
                raise error
            commit()

        database.commit = failing
        await store.commit("run", 1, some(1))
        assert len(connections) == 2 and connections[0] is not connections[1]
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connections[0].execute("SELECT 1")

    @ensureDeferred
    async def test_what_waiting_does_not_mend_fails(self, path: str, store_at: StoreAt) -> None:
        store = store_at(path)
        await store.open()
        await store.begin("flow", "run", "host:1")
        with sqlite3.connect(path) as other:
            other.execute("DROP TABLE tasks")
        other.close()
        with pytest.raises(StoreUnusable, match="no such table: tasks"):
            await store.commit("run", 1, some(1))
        assert store.state == "open"
