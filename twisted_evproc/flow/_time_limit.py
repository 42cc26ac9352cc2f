"""How long may an attempt take?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IDelayedCall, IReactorTime


class TimeLimit:
    """
    The time-out of one attempt, which does not count while the attempt waits for its turn.

    :ivar seconds: how long it may take.
    :ivar is_over: whether it took longer, and was cancelled.
    """

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        """
        :param seconds: from :meth:`watch`, or from when it waits no longer, if that is later.
        """
        self.seconds = seconds
        self.is_over = False
        self._clock = clock
        self._waiting = False
        self._running: Deferred[Any] | None = None
        self._timer: IDelayedCall | None = None

    def wait(self, waiting: bool) -> None:
        """Hear whether the attempt waits for its turn."""
        self._waiting = waiting
        if waiting:
            self._stop()
        else:
            self._begin()

    def watch(self, running: Deferred[Any]) -> None:
        """Cancel it when time is up."""
        self._running = running
        self._begin()

    def end(self) -> None:
        """It has ended."""
        self._running = None
        self._stop()

    def _begin(self) -> None:
        if self._running is not None and not self._waiting and self._timer is None:
            self._timer = self._clock.callLater(self.seconds, self._time_is_up, self._running)

    def _stop(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _time_is_up(self, running: Deferred[Any]) -> None:
        self.is_over = True
        running.cancel()
