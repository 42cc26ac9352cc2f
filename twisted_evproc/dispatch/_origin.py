"""Out of which call do we come?"""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._call import Call


class Origin:
    """
    One handler's turn: a call, or what a call is made for if it has to wait.

    What a handler does, now and behind its awaits, finds its origin in a context variable.

    :ivar over: whether the handler is done.
    :ivar parent: the origin out of which it was called, itself not over at that time.
    """

    __slots__ = ("_call", "over", "parent")

    parent: Origin | None

    def __init__(self) -> None:
        self.over = False
        self.parent = enclosing()
        self._call: Call | None = None

    @property
    def call(self) -> Call | None:
        """The call, once there is one."""
        return self._call

    def becomes(self, call: Call) -> None:
        """The handler has to wait, as this call."""
        self._call = call

    def end(self) -> None:
        """The handler is done."""
        self.over = True
        # What it has left behind, and what that fires, and so for ever, is not to keep all that was before.
        self.parent = _innermost_under_way(self.parent)


current: ContextVar[Origin | None] = ContextVar("twisted_evproc_origin", default=None)


def enclosing() -> Origin | None:
    """The origin we are in: the innermost that is not over."""
    return _innermost_under_way(current.get())


def _innermost_under_way(origin: Origin | None) -> Origin | None:
    while origin is not None and origin.over:
        origin = origin.parent
    return origin


def calls_above(origin: Origin | None) -> Iterator[Call]:
    """The calls under way from an origin outwards."""
    while origin is not None:
        call = origin.call
        if call is not None and not origin.over:
            yield call
        origin = origin.parent
