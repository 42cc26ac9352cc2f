"""A handler as a plan sees it: something to call, in its place."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import isgeneratorfunction
from itertools import count
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError, HandlerNotCallable
from ._settle import REMOVED, Removed

if TYPE_CHECKING:
    from ..interfaces import Filter
    from ._call import Call

_numbers = count(1)


class HandlerID:
    """Names one registration: opaque, hashable, never used again in this process."""

    __slots__ = ("_name", "_number")

    def __init__(self, name: str) -> None:
        self._number = next(_numbers)
        self._name = name

    def __repr__(self) -> str:
        return f"<HandlerID {self._number} {self._name}>"


def removed(event: Any) -> Removed:
    """Stands in for the handler of a registration that is gone."""
    return REMOVED


class Callee:
    """
    One handler, with what it takes to order and to call it.

    ``call(event)`` is what a firing calls.  It becomes :func:`removed` once the handler is gone: so a firing under way cannot
    reach a removed handler, and has nothing to check.

    :ivar number: its place among all handlers of the process, in the order they were made.
    :ivar may_suspend: whether a call may go on after it has returned.  Unknown (``None``) until a first call has shown that it
        need not; true for ever after a call that did.  Such calls are tracked from their beginning, the others need not be.
    :ivar running: its calls that are tracked and have not finished.
    """

    __slots__ = (
        "call",
        "id",
        "may_suspend",
        "name",
        "number",
        "phase",
        "phase_index",
        "qualified_name",
        "required_by",
        "requires",
        "running",
        "timeout",
        "where",
    )

    def __init__(
        self,
        call: Callable[[Any], Any],
        *,
        name: str,
        qualified_name: str,
        phase: str = "",
        phase_index: int = 0,
        where: Filter | None = None,
        requires: tuple[str, ...] = (),
        required_by: tuple[str, ...] = (),
        timeout: float | None = None,
    ) -> None:
        self.call = call
        self.name = name
        self.qualified_name = qualified_name
        self.phase = phase
        self.phase_index = phase_index
        self.where = where
        self.requires = requires
        self.required_by = required_by
        self.timeout = timeout
        self.id = HandlerID(name)
        self.number = self.id._number
        self.may_suspend: bool | None = None if not is_inline_callbacks(call) else True
        self.running: set[Call] = set()

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"{self.qualified_name} in phase {self.phase!r}" if self.phase else self.qualified_name

    def alive(self) -> bool:
        """Whether it can still be called."""
        return self.call is not removed


def name_of(handler: Any) -> str:
    """The name a callable goes by: of its function, of the function behind a partial, or of its class."""
    while not hasattr(handler, "__name__") and hasattr(handler, "func"):
        handler = handler.func
    return str(getattr(handler, "__name__", type(handler).__name__))


def qualified_name_of(handler: Any) -> str:
    """Module and qualified name of a callable, for messages."""
    while not hasattr(handler, "__qualname__") and hasattr(handler, "func"):
        handler = handler.func
    named = handler if hasattr(handler, "__qualname__") else type(handler)
    return f"{getattr(named, '__module__', None) or '?'}.{named.__qualname__}"


def is_inline_callbacks(handler: Any) -> bool:
    """
    Whether a function looks like one under ``inlineCallbacks``.

    Its generator takes its context along when it is called: what is to be found there has to be there before.
    """
    while isinstance(handler, partial):
        handler = handler.func
    return isgeneratorfunction(getattr(handler, "__wrapped__", None))


def handler_name(handler: Any, name: Any = None) -> str:
    """
    The name a handler is registered under.

    :param name: as given by the user; ``None`` takes the handler's own.
    :raises twisted_evproc.errors.ConfigurationError: for a handler that is not callable, or a name that is none.
    """
    if not callable(handler):
        raise HandlerNotCallable(handler, "it is not callable; pass a function that takes the event")
    if name is not None and (not isinstance(name, str) or not name):
        raise ConfigurationError(f"handler_name={name!r} has to be a string that is not empty, or None")
    return name or name_of(handler)
