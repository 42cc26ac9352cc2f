"""The thread that writes: one, with one connection."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ...errors import RunLost, StoreUnusable
from ._changes import Changes
from ._transactions import Transactions

if TYPE_CHECKING:
    from .._rows import Batch
    from ._database import Database

#: A Deferred and what it is to fire with.
Settlement: TypeAlias = tuple[Deferred[Any], object]


class Commit(NamedTuple):
    """A batch to be written."""

    run_id: str
    epoch: int
    batch: Batch
    done: Deferred[None]


class Call(NamedTuple):
    """
    Something else to be done in a transaction of its own.

    :ivar run_id: the run that is then this engine's anew, if it is about one.
    """

    work: Callable[[bool], object]
    run_id: str | None
    done: Deferred[Any]


Job: TypeAlias = Commit | Call | None


class Writer:
    """
    Does jobs in the order in which they are put; what queued up while one transaction ran shares the next.

    All but :meth:`put` and :meth:`close` runs in its thread.

    :param opened: fires once the database is open, or fails.
    :param closed: fires at the end of the thread, where it was open.
    :param settle: takes what came of jobs, from the thread.
    :param tell: takes a new state, from the thread.
    """

    def __init__(
        self,
        database: Database,
        *,
        opened: Deferred[None],
        closed: Deferred[None],
        settle: Callable[[Sequence[Settlement]], object],
        tell: Callable[[str], object],
    ) -> None:
        self._database = database
        self._opened = opened
        self._closed = closed
        self._settle = settle
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._closing = threading.Event()
        self._transactions = Transactions(database, lambda seconds: not self._closing.wait(seconds), tell)
        # Runs of which a commit failed for good, and why.  What came after it would stand there without what came before.
        self._broken: dict[str, Failure] = {}
        self.thread = threading.Thread(target=self._live, name=f"store {database.name}", daemon=True)

    def put(self, job: Commit | Call) -> None:
        """Have a job done."""
        self._jobs.put(job)

    def close(self) -> None:
        """Do the jobs put before and end; what waits for the database is tried once more."""
        self._closing.set()
        self._jobs.put(None)

    def _live(self) -> None:
        try:
            self._database.open()
        except Exception as error:  # noqa: BLE001  # it goes to the caller of open()
            self._settle([(self._opened, Failure(error))])
            return
        self._settle([(self._opened, None)])
        while self._turn():
            pass
        try:
            self._database.close()
        except Exception as error:  # noqa: BLE001  # it goes to the caller of close()
            self._settle([(self._closed, Failure(self._database.unusable(error)))])
        else:
            self._settle([(self._closed, None)])

    def _turn(self) -> bool:
        """Do all jobs that are there; ``False`` after the last."""
        job = self._jobs.get()
        group: list[Commit] = []
        try:
            while isinstance(job, Commit):
                group.append(job)
                job = self._jobs.get_nowait()
        except Empty:
            self._commit(group)
            return True
        if group:
            self._commit(group)
        if job is not None:
            self._settle([(job.done, self._result(lambda: self._call(job)))])
        return job is not None

    def _call(self, call: Call) -> object:
        result = self._transactions.run(call.work)
        if call.run_id is not None:
            self._broken.pop(call.run_id, None)
        return result

    def _commit(self, group: list[Commit]) -> None:
        results = self._result(lambda: self._transactions.run(lambda _: self._write(group)))
        if not isinstance(results, Failure):
            self._settle(results)
        elif len(group) == 1:
            [commit] = group
            self._broken[commit.run_id] = results
            self._settle([(commit.done, results)])
        else:
            # One of them is at fault; the others must not suffer for it.
            for commit in group:
                self._commit([commit])

    def _result(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except Exception as error:  # noqa: BLE001  # it goes to the owner of the job
            return Failure(error)

    def _write(self, group: Iterable[Commit]) -> list[Settlement]:
        epochs = self._database.epochs(sorted({commit.run_id for commit in group}))
        changes = Changes()
        settlements: list[Settlement] = []
        for commit in group:
            if epochs.get(commit.run_id) != commit.epoch:
                self._database.let_go(commit.run_id)
                settlements.append((commit.done, Failure(RunLost(commit.run_id, commit.epoch))))
            elif commit.run_id in self._broken:
                settlements.append((commit.done, Failure(self._after_failure(commit.run_id))))
            else:
                changes.add(commit.run_id, commit.batch)
                settlements.append((commit.done, None))
        changes.write(self._database)
        return settlements

    def _after_failure(self, run_id: str) -> StoreUnusable:
        error = StoreUnusable(self._database.name, f"an earlier commit of run {run_id!r} failed; take the run again.")
        error.__cause__ = self._broken[run_id].value
        return error


__all__ = ["Call", "Commit", "Settlement", "Writer"]
