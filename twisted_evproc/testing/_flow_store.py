"""A store of flows without a database."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from zope.interface import implementer

from ..errors import RunExists, RunLost, StoreUnusable, UnknownRun
from ..flow import Batch, HoldRow, RunRow, RunStatus, Snapshot
from ..interfaces import IFlowStore

_LOG = Logger(namespace="twisted_evproc.testing")

#: Runs in these states may still give back what they hold.
_ALIVE = frozenset({RunStatus.pending.name, RunStatus.stuck.name})


@implementer(IFlowStore)
class FakeFlowStore:
    """
    Keeps rows in dictionaries, for as long as it lives, and commits at once: for tests on a clock that the test moves.

    It is handed to an ``Eventor`` as its ``store``; several may have it open at the same time.

    :ivar hold: while true, commits wait until :meth:`release`.
    :ivar refusal: what :meth:`open` fails with, or ``None``.
    :ivar commits: the batches that were committed.
    """

    def __init__(self) -> None:
        self.state = "closed"
        self.hold = False
        self.refusal: Exception | None = None
        self.commits: list[Batch] = []
        self._held: list[tuple[Deferred[None], str, int, Batch]] = []
        self._runs: dict[str, RunRow] = {}
        self._rows: dict[str, dict[str, dict[Any, Any]]] = {}
        self._listeners: list[Callable[[str], object]] = []
        self._numbers = count(1)
        self._users = 0

    def open(self) -> Deferred[None]:
        """See :meth:`IFlowStore.open`."""
        if self.refusal is not None:
            return fail(self.refusal)
        self._users += 1
        self.enter("open")
        return succeed(None)

    def close(self) -> Deferred[None]:
        """See :meth:`IFlowStore.close`."""
        self.release()
        self._users -= 1
        if self._users <= 0:
            self._users = 0
            self.enter("closed")
        return succeed(None)

    def watch_state(self, listener: Callable[[str], object]) -> None:
        """See :meth:`IFlowStore.watch_state`."""
        self._listeners.append(listener)

    def enter(self, state: str) -> None:
        """Let it be in another state, and tell those who listen."""
        if state != self.state:
            self.state = state
            for listener in tuple(self._listeners):
                with _LOG.failuresHandled("{listener} failed to hear of the state of {store!r}", listener=listener, store=self):
                    listener(state)

    def runs(self, name: str | None = None) -> Deferred[list[RunRow]]:
        """See :meth:`IFlowStore.runs`."""
        return self._answer(lambda: [row for row in self._runs.values() if name in (None, row.name)])

    def begin(self, name: str, run_id: str | None, owner: str) -> Deferred[Snapshot]:
        """See :meth:`IFlowStore.begin`."""
        return self._answer(lambda: self._begin(name, run_id or f"run{next(self._numbers)}", owner))

    def take(self, run_id: str, owner: str) -> Deferred[Snapshot]:
        """See :meth:`IFlowStore.take`.  The engine that had it before is taken to be dead."""
        return self._answer(lambda: self._take(run_id, owner))

    def commit(self, run_id: str, epoch: int, batch: Batch) -> Deferred[None]:
        """See :meth:`IFlowStore.commit`."""
        if self.state == "closed":
            return fail(self._closed())
        deferred: Deferred[None] = Deferred()
        self._held.append((deferred, run_id, epoch, batch))
        if not self.hold:
            self.release()
        return deferred

    def snapshot(self, run_id: str | None = None) -> Snapshot:
        """A run as it stands, also while the store is closed; the newest one unless an ID is given.  Takes it from nobody."""
        return self._load(run_id or next(reversed(self._runs)))

    def release(self) -> None:
        """Commit what waits."""
        held, self._held = self._held, []
        for deferred, run_id, epoch, batch in held:
            run = self._runs.get(run_id)
            if run is None or run.epoch != epoch:
                deferred.errback(RunLost(run_id, epoch))
            else:
                self._write(run, batch)
                deferred.callback(None)

    def _answer(self, work: Callable[[], Any]) -> Deferred[Any]:
        try:
            return fail(self._closed()) if self.state == "closed" else succeed(work())
        except (RunExists, UnknownRun):
            return fail()

    def _closed(self) -> StoreUnusable:
        return StoreUnusable("in memory", "is closed; open() it first.")

    def _begin(self, name: str, run_id: str, owner: str) -> Snapshot:
        if run_id in self._runs:
            raise RunExists(run_id)
        self._runs[run_id] = RunRow(run_id, name, "running", 0, 1, owner, time.time(), None, "")
        self._rows[run_id] = {"triggers": {}, "tasks": {}, "delays": {}, "holds": {}}
        return self._load(run_id)

    def _take(self, run_id: str, owner: str) -> Snapshot:
        if run_id not in self._runs:
            raise UnknownRun(run_id, self._runs)
        run = self._runs[run_id]
        self._runs[run_id] = run._replace(epoch=run.epoch + 1, owner=owner)
        return self._load(run_id)

    def _load(self, run_id: str) -> Snapshot:
        rows = self._rows[run_id]
        foreign: dict[str, int] = {}
        for other, other_rows in self._rows.items():
            if other != run_id and self._runs[other].status in _ALIVE:
                for hold in _kept(other_rows):
                    foreign[hold.pool] = foreign.get(hold.pool, 0) + hold.amount
        return Snapshot(
            self._runs[run_id],
            list(rows["triggers"].values()),
            list(rows["tasks"].values()),
            list(rows["delays"].values()),
            _kept(rows),
            foreign,
        )

    def _write(self, run: RunRow, batch: Batch) -> None:
        self.commits.append(batch)
        rows = self._rows[run.run_id]
        for name in ("triggers", "tasks", "delays"):
            rows[name].update({(row.recovery, key): row for key, row in getattr(batch, name).items()})
        rows["holds"].update(batch.holds)
        if batch.run is not None:
            changed = batch.run
            self._runs[run.run_id] = run._replace(
                status=changed.status, recovery=changed.recovery, ended=changed.ended, program=changed.program
            )


def _kept(rows: dict[str, dict[Any, Any]]) -> list[HoldRow]:
    return [hold for hold in rows["holds"].values() if hold.amount]
