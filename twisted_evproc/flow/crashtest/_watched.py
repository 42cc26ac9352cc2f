"""A store and functions that write down what happens to them, and a store that kills its own process at one moment."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Coroutine
from enum import Enum
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from twisted.internet.defer import Deferred
from zope.interface import implementer

from ...interfaces import IFlowStore
from .._attempt import CurrentStep, current_step
from ..executors import is_async
from ._journal import Journal

if TYPE_CHECKING:
    from .._rows import Batch, RunRow, Snapshot

T = TypeVar("T")


class Side(Enum):
    """Where a process dies, seen from a change of its store."""

    #: The change has not been handed to the database.
    before = "before"
    #: It has been, and the database is at work on it.
    during = "during"
    #: It is durable, and nobody has acted on it.
    after = "after"


class Point(NamedTuple):
    """A moment in a life; changes of the store are counted from 1."""

    number: int
    side: Side

    def __str__(self) -> str:
        return f"{self.side.value} {self.number}"


def die() -> None:
    """End this process, as if it were killed from outside: nothing gets a last word."""
    os.kill(os.getpid(), signal.SIGKILL)
    # The signal has been delivered to the process; this thread may have some instructions left.
    threading.Event().wait()


@implementer(IFlowStore)
class WatchedStore:
    """
    Counts the changes of a store.

    :ivar changes: how many there were.
    """

    def __init__(self, store: IFlowStore, journal: Journal, point: Point | None) -> None:
        """
        :param store: what does the work.
        :param journal: hears of each change, before and after.
        :param point: where to die, or ``None``.
        """
        self.changes = 0
        self._store = store
        self._journal = journal
        self._point = point

    @property
    def state(self) -> str:
        """See ``IFlowStore.state``."""
        return self._store.state

    def open(self) -> Deferred[None]:
        """See :meth:`IFlowStore.open`."""
        return self._store.open()

    def runs(self, name: str | None = None) -> Deferred[list[RunRow]]:
        """See :meth:`IFlowStore.runs`."""
        return self._store.runs(name)

    def begin(self, name: str, run_id: str | None, owner: str) -> Deferred[Snapshot]:
        """See :meth:`IFlowStore.begin`.  A change."""
        return self._change("the run is made", None, lambda: self._store.begin(name, run_id, owner))

    def take(self, run_id: str, owner: str) -> Deferred[Snapshot]:
        """See :meth:`IFlowStore.take`.  A change: the epoch goes up."""
        return self._change("the run is taken", None, lambda: self._store.take(run_id, owner))

    def commit(self, run_id: str, epoch: int, batch: Batch) -> Deferred[None]:
        """See :meth:`IFlowStore.commit`.  A change."""
        return self._change(_in_words(batch), batch, lambda: self._store.commit(run_id, epoch, batch))

    def watch_state(self, listener: Callable[[str], object]) -> None:
        """See :meth:`IFlowStore.watch_state`."""
        self._store.watch_state(listener)

    def close(self) -> Deferred[None]:
        """See :meth:`IFlowStore.close`."""
        return self._store.close()

    def _change(self, what: str, batch: Batch | None, act: Callable[[], Deferred[T]]) -> Deferred[T]:
        self.changes += 1
        number = self.changes
        self._journal.handed(number, what, batch)
        if self._point == (number, Side.before):
            die()
        changed = act()
        if self._point == (number, Side.during):
            die()

        def durable(result: T) -> T:
            self._journal.durable(number)
            if self._point == (number, Side.after):
                die()
            return result

        return changed.addCallback(durable)


def _in_words(batch: Batch) -> str:
    words = [f"{row.step}[{row.sequence}] {row.status}" for row in batch.tasks.values()]
    words += [f"{row.event}[{row.sequence}]" for row in batch.triggers.values()]
    if batch.run is not None:
        words.append(f"run {batch.run.status}")
    return ", ".join(words) or f"{len(batch.delays)} delays, {len(batch.holds)} resources"


def journalled(function: Callable[..., Any], journal: Journal) -> Callable[..., Any]:
    """A function for a step, each call of which is written down, wherever it runs."""
    return _AsyncJournalled(function, journal) if is_async(function) else _Journalled(function, journal)


class _Journalled:
    def __init__(self, function: Callable[..., Any], journal: Journal) -> None:
        self._function = function
        self._journal = journal
        # What a store keeps of the program names the functions.
        update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        step = current_step()
        self._journal.begun(step)
        try:
            returned = self._function(*args, **kwargs)
        except BaseException:
            self._journal.ended(step)
            raise
        if isinstance(returned, Deferred):
            return returned.addBoth(self._ended, step)
        if isinstance(returned, Coroutine):
            return self._wait(step, returned)
        return self._ended(returned, step)

    def _ended(self, result: T, step: CurrentStep) -> T:
        self._journal.ended(step)
        return result

    async def _wait(self, step: CurrentStep, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            return await coroutine
        finally:
            self._journal.ended(step)


class _AsyncJournalled(_Journalled):
    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        step = current_step()
        self._journal.begun(step)
        return await self._wait(step, self._function(*args, **kwargs))


__all__ = ["Point", "Side", "WatchedStore", "die", "journalled"]
