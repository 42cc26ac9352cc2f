"""A database with the thread that works on it, as the reactor's thread sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from ...errors import StoreUnusable
from ._transactions import OPEN
from ._writer import Call, Commit, Settlement, Writer

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorFromThreads

    from ._database import Database

T = TypeVar("T")

_LOG = Logger(namespace="twisted_evproc.flow.store")

CLOSED = "closed"


class DatabaseThread:
    """
    Hands jobs to the writer's thread, and brings what came of them back to the reactor's.

    :ivar database: where things are kept.
    :ivar state: ``open``, ``closed``, or why the database is waited for at present, in words.
    """

    def __init__(self, database: Database, reactor: IReactorFromThreads) -> None:
        """
        :param database: not yet opened.
        :param reactor: on whose thread all results arrive.
        """
        self.database = database
        self.state = CLOSED
        self._reactor = reactor
        self._writer: Writer | None = None
        self._opening: list[Deferred[None]] = []
        self._closing: list[Deferred[None]] = []
        self._listeners: list[Callable[[str], object]] = []

    def open(self) -> Deferred[None]:
        """
        Start the thread, and open the database there.  After :meth:`close` it can be opened again.

        :return: fires once it can be used; fails when it cannot be.
        """
        if self._closing:
            return fail(StoreUnusable(self.database.name, "is being closed; wait for that, then open it."))
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
            self.database, opened=opened, closed=closed, settle=self._settle_from_thread, tell=self._tell_from_thread
        )
        # Both end here: their failures go to those who called open() or close().
        _ = opened.addCallbacks(self._opened, self._ended)
        _ = closed.addBoth(self._ended)
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

    def call(self, work: Callable[[bool], T], run_id: str | None = None) -> Deferred[T]:
        """
        Run a function in the thread, as a transaction of its own.

        :param work: gets whether it may be done already; tried again while the database cannot.
        :param run_id: the run that is then this engine's anew, if it is about one.
        :return: fires with what it returned.  Fails with :class:`~twisted_evproc.errors.StoreUnusable` when this is not open, or
            for what waiting does not mend.
        """
        done: Deferred[T] = Deferred()
        return self.put(Call(work, run_id, done))

    def put(self, job: Call | Commit) -> Deferred[Any]:
        """
        Have a job done, in the order in which they come.

        :return: that of the job; one that fails, as that of :meth:`call`, when this is not open.
        """
        writer = self._writer
        if writer is None or self._opening or self._closing:
            return fail(StoreUnusable(self.database.name, "is closed; open() it first."))
        writer.put(job)
        return job.done

    def watch_state(self, listener: Callable[[str], object]) -> None:
        """Let a function hear of each new :attr:`state`."""
        self._listeners.append(listener)

    def close(self) -> Deferred[None]:
        """
        Do what was put before, and end the thread.

        What waits for the database is tried once more, and fails with :class:`~twisted_evproc.errors.StoreUnusable` where it
        still cannot.

        :return: fires once the thread is gone.
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
            with _LOG.failuresHandled(
                "{listener} failed to hear of the state of store {store}", listener=listener, store=self.database.name
            ):
                listener(state)


def _settle(settlements: Sequence[Settlement]) -> None:
    for done, result in settlements:
        done.callback(result)


__all__ = ["DatabaseThread"]
