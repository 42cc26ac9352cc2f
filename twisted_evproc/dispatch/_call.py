"""One handler being called in one firing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._origin import Origin, enclosing

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IDelayedCall

    from ._callee import Callee
    from ._firing import Firing


class Call(Origin):
    """
    One handler being called in one firing.

    It is itself the origin of what the handler does, unless the handler began before it was known that it would have to wait.

    :ivar known: whether what the handler does can be told to come from this call.
    :ivar deferred: what it waits for.
    :ivar over: whether it has returned, for good.
    """

    # No reference to itself, or to what refers to it once it is over: it is to be gone without the garbage collector.
    __slots__ = ("_beginning", "abandoned", "callee", "deferred", "firing", "known", "position", "timed_out", "timer", "waiters")

    deferred: Deferred[Any]

    def __init__(self, firing: Firing, position: int, callee: Callee) -> None:
        # Not by way of Origin's, which would look for a parent that the firing knows.
        self.over = self.timed_out = self.abandoned = False
        parent = firing.parent
        self.parent = parent if parent is None or not parent.over else enclosing()
        self.firing = firing
        self.position = position
        self.callee = callee
        self.known = True
        self.timer: IDelayedCall | None = None
        self.waiters: list[Callable[[Call], None]] | None = None
        self._beginning: Origin | None = None
        callee.running.add(self)

    @property
    def call(self) -> Call:
        """See :attr:`Origin.call`."""
        return self

    def began_as(self, origin: Origin | None) -> None:
        """
        Its handler began before there was a call.

        :param origin: of what the handler does; ``None`` where it has none.
        """
        self._beginning = origin
        if origin is None:
            self.known = False
        else:
            origin.becomes(self)

    def end(self) -> None:
        """It has returned, for good."""
        self.over = True
        if self.parent is not None:
            super().end()
        if self._beginning is not None:
            self._beginning.end()
        self.callee.running.discard(self)
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.waiters is not None:
            waiters, self.waiters = self.waiters, None
            for waiter in waiters:
                waiter(self)

    def when_done(self, waiter: Callable[[Call], None]) -> None:
        """Call ``waiter(self)`` once it has returned."""
        if self.waiters is None:
            self.waiters = []
        self.waiters.append(waiter)
