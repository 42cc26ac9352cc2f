"""The end of an executor: when nothing runs any more, or time is up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from ..._reactor import default_clock

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Stopping:
    """Who waits until an executor has stopped."""

    def __init__(self) -> None:
        self._waiting: list[Deferred[None]] = []
        self._timers: list[IDelayedCall] = []

    @property
    def is_under_way(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def begin(self, clock: IReactorTime | None, timeout: float | None, cut_short: Callable[[], None]) -> Deferred[None]:
        """
        Wait.

        :param clock: ``None`` for the global reactor.
        :param timeout: seconds until ``cut_short`` is called; ``None`` for never.
        :return: fires at :meth:`over`.
        """
        stopped: Deferred[None] = Deferred()
        self._waiting.append(stopped)
        if timeout is not None:
            self._timers.append(default_clock(clock).callLater(timeout, cut_short))
        return stopped

    def over(self) -> None:
        """Nothing runs any more."""
        timers, self._timers = self._timers, []
        for timer in timers:
            if timer.active():
                timer.cancel()
        waiting, self._waiting = self._waiting, []
        for stopped in waiting:
            stopped.callback(None)
