"""Databases of our own, and rows to put into them."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from twisted.internet.defer import Deferred

from twisted_evproc.flow import Batch, DelayRow, HoldRow, PoolRow, RunRow, TaskRow, TriggerRow
from twisted_evproc.flow.store import open_store
from twisted_evproc.interfaces import IFlowStore
from twisted_evproc.testing import FakeFlowStore

SERVER = os.environ.get("EVPROC_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432")
CHILD = Path(__file__).parent / "child.py"

#: Stands in for the URL of a store without a database.
FAKE = "fake"

_NUMBERS = itertools.count(1)


def administer(statement: str, *parameters: Any) -> list[Any]:
    with psycopg.connect(f"{SERVER}/postgres", autocommit=True, connect_timeout=5) as connection:
        cursor = connection.execute(statement.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def postgresql() -> Iterator[str]:
    """The URL of a new, empty database."""
    name = f"evproc_test_{os.getpid()}_{next(_NUMBERS)}"
    try:
        administer(f"CREATE DATABASE {name}")
    except psycopg.OperationalError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no PostgreSQL at {SERVER}: {error}")
    yield f"{SERVER}/{name}"
    administer(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "flow.run.db")


@pytest.fixture(params=["file", "memory", "postgresql", "fake"])
def url(request: pytest.FixtureRequest) -> str:
    """A store of each kind."""
    fixture = {"file": "path", "postgresql": "postgresql"}.get(request.param)
    return str(request.getfixturevalue(fixture)) if fixture else {"memory": ":memory:", "fake": FAKE}[request.param]


@pytest.fixture(params=["file", "memory", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """A store of each kind that has a database."""
    fixture = {"file": "path", "postgresql": "postgresql"}.get(request.param)
    return str(request.getfixturevalue(fixture)) if fixture else ":memory:"


@pytest.fixture(params=["file", "postgresql"])
def lasting(request: pytest.FixtureRequest) -> str:
    """A store of each kind that outlives its engine."""
    return str(request.getfixturevalue("path" if request.param == "file" else "postgresql"))


@pytest.fixture
def store_at() -> Iterator[Callable[..., IFlowStore]]:
    """Makes stores, and closes them at the end."""
    import pytest_twisted
    from twisted.internet import reactor  # noqa: TID251  # pytest-twisted has installed it

    made: list[IFlowStore] = []

    def make(url: str, **options: Any) -> IFlowStore:
        if url == FAKE:
            made.append(FakeFlowStore())
            return made[-1]
        made.append(open_store(url, reactor=reactor, **options))  # type: ignore[arg-type]  # the reactor is a module for mypy
        return made[-1]

    yield make
    for store in made:
        pytest_twisted.blockon(store.close())


def some(number: int, recovery: int = 0, status: str = "success") -> Batch:
    """A task and a trigger."""
    batch, sequence = Batch(), str(number)
    result = f'{{"number":{number}}}'
    batch.tasks["step", sequence] = TaskRow(
        recovery, "step", sequence, status, 1, number, 1.5, 2.25, None, None, result, None, False
    )
    batch.triggers["event", sequence] = TriggerRow(recovery, "event", sequence, 0.1 + number, "program")
    return batch


def numbers(tasks: list[TaskRow]) -> list[int]:
    return [int(task.sequence) for task in tasks]


def every_kind(run: RunRow) -> Batch:
    """One row of each kind, with what is hard to keep."""
    batch = some(1)
    batch.run = run._replace(status="failure", recovery=1, ended=1_700_000_000.123456)
    batch.tasks['é\' "x" %s ?', "☃"] = TaskRow(
        1, 'é\' "x" %s ?', "☃", "failure", 2**40, 2, 0.1, None, 1e300, 5e-324, None, '"no\\n"', True
    )
    batch.delays["event", "step a", "1"] = DelayRow(1, "event", "step a", "1", 0.1, 0.2, True)
    batch.delays["event", "event b", "1"] = DelayRow(1, "event", "event b", "1", 0.1, 0.3, False)
    batch.holds["gpu", "step", "1"] = HoldRow("gpu", "step", "1", 2)
    batch.pools["gpu"] = PoolRow("gpu", 4)
    return batch


def state_of(store: IFlowStore, wanted: Callable[[str], bool]) -> Deferred[str]:
    """Fires with the first state that is as wanted."""
    seen: Deferred[str] = Deferred()

    def hear(state: str) -> None:
        if wanted(state) and not seen.called:
            seen.callback(state)

    store.watch_state(hear)
    return seen


def start_child(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, str(CHILD), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


@pytest.fixture
def child() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts ``child.py``, and ends it at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        started.append(start_child(*arguments))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
