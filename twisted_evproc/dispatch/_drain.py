"""Waiting until nothing is under way any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from ._firing import Firing
from ._origin import calls_above, enclosing
from ._report import Report


class Drain:
    """
    Knows the firings that have begun or wait, and who waits for their end.

    :ivar open: whether new firings are taken; while they are not, those that the ones waited for fire are waited for too.
    """

    def __init__(self, report: Report, call_later: Callable[..., IDelayedCall]) -> None:
        self.open = False
        # In the order they were made, as is whatever is cancelled in the end.
        self._firings: dict[Firing, None] = {}
        self._report = report
        self._call_later = call_later
        self._waiting: dict[_Wait, None] = {}

    def __contains__(self, firing: Firing) -> bool:
        return firing in self._firings

    def __iter__(self) -> Iterator[Firing]:
        return iter(self._firings)

    def add(self, firing: Firing) -> None:
        """A firing is made."""
        self._firings[firing] = None

    def left(self, firing: Firing) -> None:
        """A firing is over, and none of its calls runs any more."""
        self._firings.pop(firing, None)
        for waiting in tuple(self._waiting):
            # It may have ended through one before it.
            if waiting in self._waiting and not waiting.look():
                waiting.end()

    def wait(self, limit: float | None, *, inside: bool = False) -> Deferred[None]:
        """
        Wait for all firings but those out of which we are being called.

        :param limit: seconds after which what is left is cancelled, and not waited for.
        :param inside: whether a handler is on the stack.
        """
        waiting = _Wait(self, inside)
        if not waiting.look():
            return succeed(None)
        self._waiting[waiting] = None
        if limit is not None:
            waiting.timer = self._call_later(limit, self._too_late, waiting, limit)
        return waiting.deferred

    def forget(self, waiting: _Wait) -> None:
        """Somebody waits no longer."""
        del self._waiting[waiting]

    def _too_late(self, waiting: _Wait, seconds: float) -> None:
        # Those that wait for their turn first: it must not come to them because others go.
        for firing in sorted(waiting.look(), key=lambda firing: firing.begun):
            if firing.deferred is not None and not firing.deferred.called:
                self._report.cut_short(firing.event, seconds)
                firing.deferred.cancel()
                # who fired and forgot is not to read of it again as an unhandled error
                _ = firing.deferred.addErrback(trap_cancelled)
        if waiting in self._waiting:
            waiting.end()


class _Wait:
    """
    Somebody who waits until nothing is left.

    :ivar deferred: fires then; cancelling it ends the waiting.
    :ivar timer: sets a limit to it.
    """

    def __init__(self, drain: Drain, inside: bool) -> None:
        self.deferred: Deferred[None] = Deferred(self._cancelled)
        self.timer: IDelayedCall | None = None
        self._drain = drain
        self._origin = enclosing()
        self._inside = inside or self._origin is not None
        self._left = dict.fromkeys(drain)

    def look(self) -> tuple[Firing, ...]:
        """The firings that are still waited for, in the order they were made."""
        drain = self._drain
        if not drain.open:
            self._left.update(dict.fromkeys(drain))
        # Asked anew each time: a handler may have got a call, and its firing have been made, only after it had asked.
        own = {call.firing for call in calls_above(self._origin)}
        # Out of which of its calls a firing asks cannot always be told: better not to wait than for ever.
        self._left = {
            firing: None
            for firing in self._left
            if firing in drain and firing not in own and not (self._inside and firing.doubtful)
        }
        return tuple(self._left)

    def end(self) -> None:
        """Nothing is left."""
        self._leave()
        self.deferred.callback(None)

    def _cancelled(self, _: Deferred[None]) -> None:
        self._leave()

    def _leave(self) -> None:
        self._drain.forget(self)
        if self.timer is not None and self.timer.active():
            self.timer.cancel()


def trap_cancelled(failure: Failure) -> Any:
    """An errback for a Deferred that we have cancelled ourselves."""
    failure.trap(CancelledError)
