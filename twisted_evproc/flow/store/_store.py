"""The store as the engine sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from zope.interface import implementer

from ...errors import StoreUnusable
from ...interfaces import IFlowStore
from . import _runs
from ._transactions import OPEN
from ._writer import Call, Commit, Settlement, Writer

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorFromThreads

    from .._rows import Batch, RunRow, Snapshot
    from ._database import Database

T = TypeVar("T")

_LOG = Logger(namespace="twisted_evproc.flow.store")

CLOSED = "closed"


def _new_id() -> str:
    return uuid4().hex


@implementer(IFlowStore)
class FlowStore:
    """
    Hands jobs to the writer's thread, and brings what came of them back to the reactor's.

    :param database: where things are kept.
    :param reactor: on whose thread all results arrive.
    :param new_id: makes IDs of runs.
    """

    def __init__(self, database: Database, reactor: IReactorFromThreads, new_id: Callable[[], str] = _new_id) -> None:
        self.state = CLOSED
        self._database = database
        self._reactor = reactor
        self._new_id = new_id
        self._writer: Writer | None = None
        self._opening: list[Deferred[None]] = []
        self._closing: list[Deferred[None]] = []
        self._listeners: list[Callable[[str], object]] = []
        self._ends: list[Deferred[None]] = []

    def __repr__(self) -> str:
        return f"<FlowStore {self._database.name}: {self.state}>"

    def open(self) -> Deferred[None]:
        """See :meth:`IFlowStore.open`.  A store that was closed can be opened again."""
        if self._closing:
            return fail(StoreUnusable(self._database.name, "is being closed; wait for that, then open it."))
        if self._writer is not None and not self._opening:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._opening.append(done)
        if self._writer is None:
            self._start()
        return done

    def _start(self) -> None:
        opened: Deferred[None] = Deferred()
        closed: Deferred[None] = Deferred()
        self._writer = Writer(
            self._database, opened=opened, closed=closed, settle=self._settle_from_thread, tell=self._tell_from_thread
        )
        # Both end here: their failures go to those who called open() or close().
        self._ends = [opened.addCallbacks(self._opened, self._ended), closed.addBoth(self._ended)]
        self._writer.thread.start()

    def _opened(self, _: None) -> None:
        self._enter(OPEN)
        self._fire(self._opening, None)

    def _ended(self, result: Any) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            # It has nothing more to do, so this takes no time.
            writer.thread.join()
        self._enter(CLOSED)
        # A store that is closed while it fails to open is closed.
        closed = None if self._opening else result
        self._fire(self._opening, result)
        self._fire(self._closing, closed)

    def _fire(self, waiting: list[Deferred[None]], result: Any) -> None:
        swapped = waiting[:]
        waiting.clear()
        for done in swapped:
            done.callback(result)

    def runs(self, name: str | None = None) -> Deferred[list[RunRow]]:
        """See :meth:`IFlowStore.runs`."""
        return self._call(lambda _: _runs.listed(self._database, name))

    def begin(self, name: str, run_id: str | None, owner: str) -> Deferred[Snapshot]:
        """See :meth:`IFlowStore.begin`.  Its status is ``running``, its epoch 1."""
        chosen = self._new_id() if run_id is None else run_id
        return self._call(lambda unsure: _runs.begin(self._database, name, chosen, owner, unsure), chosen)

    def take(self, run_id: str, owner: str) -> Deferred[Snapshot]:
        """See :meth:`IFlowStore.take`."""
        return self._call(lambda _: _runs.take(self._database, run_id, owner), run_id)

    def _call(self, work: Callable[[bool], T], run_id: str | None = None) -> Deferred[T]:
        writer = self._writer
        if writer is None or self._opening or self._closing:
            return fail(self._closed())
        done: Deferred[T] = Deferred()
        writer.put(Call(work, run_id, done))
        return done

    def commit(self, run_id: str, epoch: int, batch: Batch) -> Deferred[None]:
        """
        See :meth:`IFlowStore.commit`.

        The batch is the store's from now on: it is read in another thread.  Cancelling the Deferred does not take it back.  Fails
        with :class:`~twisted_evproc.errors.StoreUnusable` for what waiting does not mend; then so do all further commits of the
        run, until it is taken again.
        """
        writer = self._writer
        if writer is None or self._opening or self._closing:
            return fail(self._closed())
        done: Deferred[None] = Deferred()
        writer.put(Commit(run_id, epoch, batch, done))
        return done

    def _closed(self) -> StoreUnusable:
        return StoreUnusable(self._database.name, "is closed; open() it first.")

    def watch_state(self, listener: Callable[[str], object]) -> None:
        """See :meth:`IFlowStore.watch_state`."""
        self._listeners.append(listener)

    def close(self) -> Deferred[None]:
        """
        See :meth:`IFlowStore.close`.

        Commits that wait for the database are tried once more, and fail with :class:`~twisted_evproc.errors.StoreUnusable` where
        it still cannot.  Once it has fired, the thread is gone.
        """
        writer = self._writer
        if writer is None:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._closing.append(done)
        if len(self._closing) == 1:
            writer.close()
        return done

    def _settle_from_thread(self, settlements: Sequence[Settlement]) -> None:
        self._reactor.callFromThread(_settle, settlements)

    def _tell_from_thread(self, state: str) -> None:
        self._reactor.callFromThread(self._enter, state)

    def _enter(self, state: str) -> None:
        if state == self.state:
            return
        self.state = state
        for listener in self._listeners[:]:
            with _LOG.failuresHandled("{listener} failed to hear of the state of store {store}", listener=listener, store=self):
                listener(state)


def _settle(settlements: Sequence[Settlement]) -> None:
    for done, result in settlements:
        done.callback(result)


__all__ = ["CLOSED", "FlowStore"]
