"""What was acknowledged is there after the process was killed, wherever that was."""

from __future__ import annotations

import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred

from twisted_evproc.flow import Snapshot
from twisted_evproc.interfaces import IFlowStore

from .conftest import numbers

StoreAt = Callable[..., IFlowStore]
Child = Callable[..., "subprocess.Popen[str]"]


async def new_run(store: IFlowStore) -> None:
    await store.open()
    await store.begin("flow", "run", "host:1")
    await store.close()


async def after(store: IFlowStore) -> list[int]:
    """The numbers of the batches that are there; each whole, without a gap."""
    await store.open()
    snapshot: Snapshot = await store.take("run", "host:1")
    found = numbers(snapshot.tasks)
    assert found == list(range(len(found)))
    assert {trigger.sequence for trigger in snapshot.triggers} == {task.sequence for task in snapshot.tasks}
    await store.close()
    return found


def killed_after(process: subprocess.Popen[str], answers: int) -> list[int]:
    """All that it acknowledged; it is killed after so many."""
    assert process.stdout is not None
    seen = [int(process.stdout.readline()) for _ in range(answers)]
    process.kill()
    # What it wrote before it died may still be in the pipe; a last line without its end was not sent whole.
    rest = process.stdout.read()
    return seen + [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]


class TestKilledAtAnyMoment:
    @pytest.mark.parametrize("seed", range(4))
    @ensureDeferred
    async def test_nothing_acknowledged_is_lost(self, lasting: str, store_at: StoreAt, child: Child, seed: int) -> None:
        store = store_at(lasting)
        await new_run(store)
        process = child("commit", lasting, "run")
        acknowledged = killed_after(process, random.Random(seed).randrange(1, 150))
        process.wait()
        found = await after(store)
        assert acknowledged == list(range(len(acknowledged)))
        # At most the one commit that was under way may be there without an answer.
        assert len(acknowledged) <= len(found) <= len(acknowledged) + 1

    @ensureDeferred
    async def test_a_store_that_answers_before_it_commits_is_caught(self, path: str, store_at: StoreAt, child: Child) -> None:
        """The control: this harness notices the fault that it is there for."""
        store = store_at(path)
        await new_run(store)
        # It stays at the twentieth: a twenty-first would commit that one.
        acknowledged = killed_after(child("lie", path, "run", 20), 20)
        assert len(await after(store)) < len(acknowledged)


class TestKilledInAWrite:
    """The operating system kills the process in the write that would make a file larger than allowed: in the middle of it."""

    async def history(self, path: str, store: IFlowStore, child: Child, fault: str, most_bytes: int) -> tuple[int, int]:
        await new_run(store)
        process = child("commit", path, "run", fault, most_bytes)
        said = process.communicate(timeout=60)[0].splitlines()
        assert process.returncode == -signal.SIGXFSZ
        return len(said), len(await after(store))

    # The log grows by frames of 4 120 bytes: before, at the beginning, in the header, in the middle and at the end of some.
    @pytest.mark.parametrize(
        "most_bytes", [60_000 + 4_120 * frame + at for frame, at in enumerate([0, 1, 24, 1_000, 2_060, 4_100])]
    )
    @ensureDeferred
    async def test_nothing_acknowledged_is_lost(self, path: str, store_at: StoreAt, child: Child, most_bytes: int) -> None:
        acknowledged, found = await self.history(path, store_at(path), child, "", most_bytes)
        assert 0 < acknowledged <= found <= acknowledged + 1

    @ensureDeferred
    async def test_a_store_that_answers_before_it_commits_is_caught(self, path: str, store_at: StoreAt, child: Child) -> None:
        acknowledged, found = await self.history(path, store_at(path), child, "lie", 80_000)
        assert found < acknowledged

    @ensureDeferred
    async def test_the_file_of_a_killed_engine_is_whole(self, path: str, store_at: StoreAt, child: Child) -> None:
        store = store_at(path)
        await self.history(path, store, child, "", 70_000)
        import sqlite3

        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()
        assert not Path(f"{path}.lock").exists()
