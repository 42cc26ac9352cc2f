"""Out of which call do we come?"""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._firing import Call


class Origin:
    """
    One handler's turn: a call, or what becomes one if it has to wait.

    What a handler does, now and behind its awaits, finds its origin in a context variable.

    :ivar call: the call, once there is one.
    :ivar over: whether the handler is done.
    :ivar parent: the origin out of which it was called, itself not over at that time.
    """

    __slots__ = ("call", "over", "parent")

    def __init__(self) -> None:
        self.call: Call | None = None
        self.over = False
        parent = current.get()
        self.parent = parent if parent is None or not parent.over else enclosing()


current: ContextVar[Origin | None] = ContextVar("twisted_evproc_origin", default=None)


def enclosing() -> Origin | None:
    """The origin we are in: the innermost that is not over."""
    origin = current.get()
    # Skipping what is over keeps the chain short for handlers that leave something behind which fires, and so for ever.
    while origin is not None and origin.over:
        origin = origin.parent
    return origin


def calls_above(origin: Origin | None) -> Iterator[Call]:
    """The calls under way from an origin outwards."""
    while origin is not None:
        if origin.call is not None and not origin.over:
            yield origin.call
        origin = origin.parent
