"""What goes wrong around a flow has a clear state or message, loses nothing, and the flow goes on when the cause is gone."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

HERE = Path(__file__).parent
HOST = socket.gethostname()


class Engine:
    """A process with an engine; see ``engine.py``."""

    def __init__(self, store: str, mode: str, calls: Path, variant: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "engine.py"), store, mode, str(calls), variant],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self.said: list[str] = []
        # One that waits for ever is to fail its test, and not the others.
        self._watchdog = threading.Timer(60.0, self._process.kill)
        self._watchdog.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def until(self, *beginnings: str) -> str:
        """Its next line that begins with one of these."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(line.strip())
            if line.startswith(beginnings):
                return line.strip()
            # It waits for a word that nobody will say.
            assert line.strip() != "at the gate", f"it is at the gate, and never said {beginnings}, but {self.said}"
        raise AssertionError(f"it never said {beginnings}, but {self.said}")

    def tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        if word != "go":
            assert self.until("done") == f"done {word}"

    def end(self) -> str:
        """How it ended, or why it could not."""
        return self.until("ended", "error")

    def kill(self) -> None:
        self._watchdog.cancel()
        self._process.kill()
        self._process.communicate()


Start = Callable[..., Engine]


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    return tmp_path / "calls"


@pytest.fixture
def start(calls: Path) -> Iterator[Start]:
    """Starts engines, and ends them at the end."""
    started: list[Engine] = []

    def engine(store: str, mode: str = "continue_", variant: str = "") -> Engine:
        started.append(Engine(store, mode, calls, variant))
        return started[-1]

    yield engine
    for each in started:
        each.kill()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "flow.db")


@pytest.fixture(params=["file", "postgresql"])
def store(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("path" if request.param == "file" else "database"))


def called(calls: Path) -> list[str]:
    return calls.read_text(encoding="utf-8").split()


def at_gate(engine: Engine) -> Engine:
    assert engine.until("at the gate")
    return engine


def execute(database: str, statement: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(statement.encode())


def end_connections(database: str) -> None:
    execute(
        database,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


class TestTwoEngines:
    def test_the_second_is_refused_and_learns_who_has_it(self, store: str, start: Start, calls: Path) -> None:
        first = at_gate(start(store))

        refusal = start(store).end()
        first.tell("go")

        assert refusal.startswith(("error StoreInUse", "error RunInUse"))
        assert f"process {HOST}:{first.pid}" in refusal
        assert first.end() == "ended success"
        assert called(calls) == ["first", "gate", "last"]

    def test_one_that_was_thought_dead_can_commit_no_more(self, database: str, start: Start, calls: Path) -> None:
        first = at_gate(start(database))
        end_connections(database)
        second = at_gate(start(database))

        first.tell("go")
        lost = first.end()
        second.tell("go")

        assert lost.startswith("error RunLost: run ")
        assert "was taken over by another engine" in lost
        assert second.end() == "ended success"
        assert called(calls) == ["first", "gate", "gate", "last"]


class TestNoRoom:
    def test_it_says_so_and_goes_on_when_there_is_room(self, path: str, start: Start, calls: Path) -> None:
        engine = at_gate(start(path))
        engine.tell("limit")
        engine.tell("go")

        assert "disk" in engine.until("state commits wait")
        assert called(calls) == ["first", "gate"]
        engine.tell("unlimit")

        assert engine.end() == "ended success"
        assert called(calls) == ["first", "gate", "last"]

    def test_killed_while_it_waits_it_loses_nothing(self, path: str, start: Start, calls: Path) -> None:
        engine = at_gate(start(path))
        engine.tell("limit")
        engine.tell("go")
        engine.until("state commits wait")
        engine.kill()

        again = at_gate(start(path))
        again.tell("go")

        assert again.end() == "ended success"
        assert called(calls) == ["first", "gate", "gate", "last"]


class TestLocked:
    def test_it_says_so_and_goes_on_when_the_other_has_ended(self, path: str, start: Start, calls: Path) -> None:
        engine = at_gate(start(path))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        engine.tell("go")

        assert "the database is locked by another connection" in engine.until("state commits wait")
        assert called(calls) == ["first", "gate"]
        other.execute("ROLLBACK")
        other.close()

        assert engine.end() == "ended success"
        assert called(calls) == ["first", "gate", "last"]


class TestLostConnection:
    def test_it_makes_another_and_goes_on(self, database: str, start: Start, calls: Path) -> None:
        engine = at_gate(start(database))
        end_connections(database)
        engine.tell("go")

        assert engine.end() == "ended success"
        assert called(calls) == ["first", "gate", "last"]

    def test_it_says_so_while_there_is_none(self, database: str, start: Start, calls: Path) -> None:
        engine = at_gate(start(database))
        server, _, name = database.rpartition("/")
        execute(f"{server}/postgres", f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        execute(f"{server}/postgres", f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'")
        engine.tell("go")

        assert "connection" in engine.until("state commits wait")
        assert called(calls) == ["first", "gate"]
        execute(f"{server}/postgres", f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

        assert engine.end() == "ended success"
        assert called(calls) == ["first", "gate", "last"]


class TestUnstorableResult:
    def test_the_step_fails_and_says_what_to_do(self, store: str, start: Start, calls: Path) -> None:
        engine = at_gate(start(store, variant="unstorable"))
        engine.tell("go")
        ended = engine.end()

        assert ended.startswith("ended failure last: ")
        assert "'last' returned what cannot be stored" in ended
        assert start(store, "recover").end() == "ended success"
        assert called(calls) == ["first", "gate", "last", "last"]


class TestStepThatIsGone:
    def test_the_run_is_stuck_until_the_step_is_back(self, store: str, start: Start, calls: Path) -> None:
        at_gate(start(store)).kill()

        ended = start(store, variant="without-gate").end()
        back = at_gate(start(store))
        back.tell("go")

        assert ended == "ended stuck step 'gate', which the program has no longer"
        assert back.end() == "ended success"
        assert called(calls) == ["first", "gate", "gate", "last"]


class TestNewerStore:
    def test_it_is_left_alone(self, store: str, start: Start, calls: Path) -> None:
        at_gate(start(store)).kill()
        known = self.version(store, "99")
        refusal = start(store).end()
        self.version(store, known)

        assert refusal.startswith("error StoreTooNew: ")
        assert f"has schema version 99, and this version knows {known} at most; upgrade" in refusal
        again = at_gate(start(store))
        again.tell("go")
        assert again.end() == "ended success"
        assert called(calls) == ["first", "gate", "gate", "last"]

    def version(self, store: str, new: str) -> str:
        """Set the version of a store's schema, and give the one before."""
        read, write = (
            "SELECT value FROM meta WHERE key = 'schema_version'",
            "UPDATE meta SET value = '{}' WHERE key = 'schema_version'",
        )
        if store.startswith("postgresql:"):
            with psycopg.connect(store, autocommit=True) as connection:
                [(old,)] = connection.execute(read).fetchall()
                connection.execute(write.format(new).encode())
        else:
            file = sqlite3.connect(store, isolation_level=None)
            [(old,)] = file.execute(read).fetchall()
            file.execute(write.format(new))
            file.close()
        return str(old)
