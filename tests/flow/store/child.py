"""
A second process with a store, told what to do by its arguments.

``hold URL``
    opens it and says so, until killed.
``fork PATH``
    the same, but forks a child first that outlives it.
``full PATH``
    commits against a limit on the size of files.
``commit URL RUN [FAULT [BYTES]]``
    commits one batch after the other and writes the number of each when it is acknowledged; with the fault ``lie`` the store
    acknowledges what it has not committed.  A write that would make a file larger than BYTES kills the process.
``lie URL RUN COUNT``
    the same with that fault, but after so many batches it does nothing more.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from twisted_evproc.flow import Batch, TaskRow, TriggerRow
from twisted_evproc.flow.store import open_store
from twisted_evproc.flow.store._sqlite import SQLiteDatabase


def say(text: object) -> None:
    os.write(1, f"{text}\n".encode())


def batch(number: int) -> Batch:
    made, sequence = Batch(), str(number)
    made.tasks["step", sequence] = TaskRow(0, "step", sequence, "success", 1, number, 1.0, 2.0, 3.0, None, "x" * 300, None, False)
    made.triggers["event", sequence] = TriggerRow(0, "event", sequence, 1.0, "program")
    return made


class LyingDatabase(SQLiteDatabase):
    """The planted fault: a commit is done when the next transaction begins, long after it was acknowledged."""

    late = False

    def commit(self) -> None:
        if not self.late:
            super().commit()

    def begin(self) -> None:
        if self.late and self._open.in_transaction:
            super().commit()
        super().begin()


async def hold(reactor: Any, url: str) -> None:
    store = open_store(url, reactor=reactor)
    await store.open()
    say("open")
    await Deferred()


async def fork(reactor: Any, url: str) -> None:
    store = open_store(url, reactor=reactor)
    await store.open()
    process = os.fork()
    if process == 0:
        say(os.getpid())
        time.sleep(60)
        os._exit(0)
    await Deferred()


async def commit(reactor: Any, url: str, run_id: str, fault: str = "", most_bytes: str = "", *, count: int = 1_000_000) -> None:
    store: Any = open_store(url, reactor=reactor)
    if fault == "lie":
        store._thread.database = LyingDatabase(url)
    await store.open()
    run = (await store.take(run_id, "child:1")).run
    if fault == "lie":
        store._thread.database.late = True
    if most_bytes:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(most_bytes), int(most_bytes)))
    for number in range(count):
        await store.commit(run_id, run.epoch, batch(number))
        say(number)
    await Deferred()


async def lie(reactor: Any, url: str, run_id: str, count: str) -> None:
    await commit(reactor, url, run_id, "lie", count=int(count))


async def full(reactor: Any, url: str) -> None:
    """The limit is lifted once the store has said that it waits."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = open_store(url, reactor=reactor)
    await store.open()
    run = (await store.begin("flow", "run", "child:1")).run
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    states: list[str] = []

    def hear(state: str) -> None:
        states.append(state)
        if state.startswith("commits wait"):
            say(f"{state}; {sum(done.called for done in commits)} done")
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)

    store.watch_state(hear)
    commits: list[Any] = []
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, unlimited[1]))
    for number in range(1_000):
        commits.append(store.commit("run", run.epoch, batch(number)))
        if number % 100 == 0:
            await commits[-1]
    for done in commits:
        await done
    say(f"{store.state}; {len(states)} states")
    await store.close()


if __name__ == "__main__":
    react(lambda reactor, name, *rest: Deferred.fromCoroutine(globals()[name](reactor, *rest)), sys.argv[1:])
