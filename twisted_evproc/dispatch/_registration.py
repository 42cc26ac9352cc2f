"""A registered handler and its ID."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import count
from types import MethodType
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, WeakMethod, ref

import attrs

from ..errors import ConfigurationError, HandlerNotCallable
from ..matching import MatchSpec, as_filter
from ._options import handler_names, seconds, whole_number
from ._settle import REMOVED, Removed

if TYPE_CHECKING:
    from ..interfaces import Filter, Handler
    from ._firing import Call

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


@attrs.frozen(kw_only=True)
class HandlerView:
    """
    A registration as :meth:`EventDispatcher.handlers` lists it.

    :ivar handler_id: its ID.
    :ivar name: what ``requires`` and results call it.
    :ivar qualified_name: module and qualified name of the function.
    :ivar phase: its phase.
    :ivar match_spec: read-only mapping of keyword to value or matcher.
    :ivar where: the filter over the event, or ``None``.
    :ivar requires: names of handlers it waits for.
    :ivar required_by: names of handlers that wait for it.
    :ivar calls_left: calls until it is removed, or ``None`` for no limit.
    :ivar timeout: seconds, or ``None``.
    :ivar use_weakref: whether it goes with its function.
    :ivar running: number of calls that have not finished.
    """

    handler_id: HandlerID
    name: str
    qualified_name: str
    phase: str
    match_spec: Mapping[str, Any]
    where: Filter | None
    requires: tuple[str, ...]
    required_by: tuple[str, ...]
    calls_left: int | None
    timeout: float | None
    use_weakref: bool
    running: int


class Registration:
    """
    One handler with its options.

    ``call(event)`` is what a firing calls.  It is the handler itself, or stands before it to count calls or to follow a weak
    reference, and becomes :func:`removed` once the registration is gone: so a firing under way cannot reach a removed handler,
    and has nothing to check.
    """

    __slots__ = (
        "call",
        "calls_left",
        "complete",
        "id",
        "may_suspend",
        "name",
        "number",
        "phase",
        "phase_index",
        "qualified_name",
        "reference",
        "required_by",
        "requires",
        "running",
        "spec",
        "timeout",
        "where",
    )

    def __init__(
        self,
        handler: Handler,
        phase: str,
        phase_index: int,
        spec: Mapping[str, Any],
        *,
        use_weakref: bool,
        name: Any,
        where: Any,
        requires: Iterable[str] | str,
        required_by: Iterable[str] | str,
        max_calls: int | None,
        timeout: float | None,
        gone: Callable[[Registration], None],
        lost: Callable[[Registration], None],
    ) -> None:
        """
        :param gone: called, in the caller's thread, when the last allowed call begins.
        :param lost: called, in whichever thread, when a weakly referenced handler is no more.
        """
        if not callable(handler):
            raise HandlerNotCallable(handler, "it is not callable; pass a function that takes the event")
        if name is not None and (not isinstance(name, str) or not name):
            raise ConfigurationError(f"handler_name={name!r} has to be a string that is not empty, or None")
        self.phase = phase
        self.phase_index = phase_index
        self.spec = MatchSpec(spec)
        self.name = name or name_of(handler)
        self.qualified_name = qualified_name_of(handler)
        self.where: Filter | None = None if where is None else as_filter(where)
        self.requires = handler_names(requires, "requires")
        self.required_by = handler_names(required_by, "required_by")
        self.calls_left = whole_number(max_calls, "max_calls", 1)
        self.timeout = seconds(timeout, "timeout")
        self.id = HandlerID(self.name)
        #: position among all registrations of the process
        self.number = self.id._number
        #: whether being found in the index means that the whole match-spec matches
        self.complete = False
        #: Whether a call may go on after it has returned; believed until a first call has shown otherwise, and for ever after a
        #: call that did.  Such calls are tracked, the others need not be.
        self.may_suspend: bool | None = None
        self.running: set[Call] = set()
        self.reference: ReferenceType[Any] | None = None
        call = self._weak(handler, lost) if use_weakref else handler
        self.call: Callable[[Any], Any] = call if self.calls_left is None else self._counted(call, gone)

    def _weak(self, handler: Handler, lost: Callable[[Registration], None]) -> Callable[[Any], Any]:
        def forget(_: object) -> None:
            lost(self)

        try:
            reference = WeakMethod(handler, forget) if isinstance(handler, MethodType) else ref(handler, forget)
        except TypeError:
            raise HandlerNotCallable(
                handler, f"a {type(handler).__name__} cannot be weakly referenced; register it without use_weakref"
            ) from None
        self.reference = reference

        def call(event: Any) -> Any:
            handler = reference()
            return REMOVED if handler is None else handler(event)

        return call

    def _counted(self, handler: Callable[[Any], Any], gone: Callable[[Registration], None]) -> Callable[[Any], Any]:
        def call(event: Any) -> Any:
            assert self.calls_left is not None
            self.calls_left -= 1
            if not self.calls_left:
                gone(self)
            return handler(event)

        return call

    def alive(self) -> bool:
        """Whether it can still be called."""
        return self.call is not removed and (self.reference is None or self.reference() is not None)

    def view(self) -> HandlerView:
        """Its public form."""
        return HandlerView(
            handler_id=self.id,
            name=self.name,
            qualified_name=self.qualified_name,
            phase=self.phase,
            match_spec=self.spec.wanted,
            where=self.where,
            requires=self.requires,
            required_by=self.required_by,
            calls_left=self.calls_left,
            timeout=self.timeout,
            use_weakref=self.reference is not None,
            running=len(self.running),
        )


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
