"""A handler registered with a dispatcher."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import BuiltinMethodType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, WeakMethod, ref

import attrs

from .._options import seconds, whole_number
from ..errors import HandlerNotCallable
from ..matching import MatchSpec, as_filter
from ._callee import Callee, handler_name, qualified_name_of, removed
from ._options import handler_names
from ._settle import REMOVED
from ._view import HandlerView, view_of

if TYPE_CHECKING:
    from ..interfaces import Handler


class Registration(Callee):
    """
    One handler of a dispatcher with its options.

    Its ``call`` is the handler itself, or stands before it to count calls or to follow a weak reference.

    :ivar spec: its match-spec.
    :ivar complete: whether being found in the index means that all conditions of the match-spec hold.
    :ivar calls_left: calls until it is removed, or ``None``.
    :ivar reference: the weak reference to its function, or ``None``.
    """

    __slots__ = ("calls_left", "complete", "reference", "spec")

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
        super().__init__(
            handler,
            name=handler_name(handler, name),
            qualified_name=qualified_name_of(handler),
            phase=phase,
            phase_index=phase_index,
            where=None if where is None else as_filter(where),
            requires=handler_names(requires, "requires"),
            required_by=handler_names(required_by, "required_by"),
            timeout=seconds(timeout, "timeout"),
        )
        self.spec = MatchSpec(spec)
        self.complete = False
        self.calls_left = whole_number(max_calls, "max_calls", 1)
        self.reference: ReferenceType[Any] | None = None
        call = self._weak(handler, lost) if use_weakref else handler
        self.call = call if self.calls_left is None else self._counted(call, gone)

    def _weak(self, handler: Handler, lost: Callable[[Registration], None]) -> Callable[[Any], Any]:
        def forget(_: object) -> None:
            lost(self)

        if isinstance(handler, BuiltinMethodType) and not isinstance(handler.__self__, ModuleType):
            # Every look-up makes a new one: it would be gone at once, and WeakMethod cannot follow its object.
            raise HandlerNotCallable(
                handler, "a method of a built-in type cannot be followed weakly; register it without use_weakref"
            )
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
        """See :meth:`Callee.alive`."""
        return self.call is not removed and (self.reference is None or self.reference() is not None)

    def view(self) -> HandlerView:
        """Its public form."""
        return attrs.evolve(
            view_of(self),
            match_spec=self.spec.wanted,
            calls_left=self.calls_left,
            use_weakref=self.reference is not None,
        )
