"""Waiting until nothing is under way any more."""

from __future__ import annotations

from collections.abc import Callable
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
        self._waiting: list[Callable[[], None]] = []

    def add(self, firing: Firing) -> None:
        """A firing is made."""
        self._firings[firing] = None

    def left(self, firing: Firing) -> None:
        """A firing is over, and none of its calls runs any more."""
        self._firings.pop(firing, None)
        for waiting in tuple(self._waiting):
            waiting()

    def wait(self, limit: float | None) -> Deferred[None]:
        """
        Wait for all firings but those out of which we are being called.

        :param limit: seconds after which what is left is cancelled, and not waited for.
        """
        own = {call.firing for call in calls_above(enclosing())}
        left = {firing: None for firing in self._firings if firing not in own}
        if not left:
            return succeed(None)

        def end() -> None:
            self._waiting.remove(one_left)
            if timer is not None and timer.active():
                timer.cancel()
            deferred.callback(None)

        def one_left() -> None:
            for firing in tuple(left):
                if firing not in self._firings:
                    del left[firing]
            if not self.open:
                left.update((firing, None) for firing in self._firings if firing not in own)
            if not left:
                end()

        def too_late(seconds: float) -> None:
            for firing in tuple(left):
                if firing.deferred is not None and not firing.deferred.called:
                    self._report.cut_short(firing.event, seconds)
                    firing.deferred.cancel()
                    # who fired and forgot is not to read of it again as an unhandled error
                    _ = firing.deferred.addErrback(trap_cancelled)
            if not deferred.called:
                end()

        deferred: Deferred[None] = Deferred(lambda _: self._waiting.remove(one_left))
        self._waiting.append(one_left)
        timer = None if limit is None else self._call_later(limit, too_late, limit)
        return deferred


def trap_cancelled(failure: Failure) -> Any:
    """An errback for a Deferred that we have cancelled ourselves."""
    failure.trap(CancelledError)
