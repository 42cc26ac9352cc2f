"""A handler registered with the fake dispatcher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import BuiltinMethodType, MethodType
from typing import TYPE_CHECKING, Any
from weakref import WeakMethod, ref

from .._options import seconds, whole_number
from ..dispatch import Callee, handler_name, handler_names, qualified_name_of
from ..errors import HandlerNotCallable
from ..matching import MatchSpec, as_filter

if TYPE_CHECKING:
    from ._fake_firing import FakeCall


class FakeRegistration(Callee):
    """
    :ivar spec: its match-spec.
    :ivar calls: its calls that have not finished.
    :ivar calls_left: calls until it is removed, or ``None``.
    :ivar gone: whether it was removed.
    """

    __slots__ = ("calls", "calls_left", "function", "gone", "spec")

    def __init__(
        self,
        handler: Any,
        phase: str,
        phase_index: int,
        spec: Mapping[str, Any],
        *,
        use_weakref: bool,
        name: Any,
        where: Any,
        requires: Any,
        required_by: Any,
        max_calls: Any,
        timeout: Any,
    ) -> None:
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
        self.calls_left = whole_number(max_calls, "max_calls", 1)
        self.gone = False
        self.calls: set[FakeCall] = set()
        self.function = weak(handler) if use_weakref else lambda: handler
        self.call = self._call

    def _call(self, event: Any) -> Any:
        function = self.function()
        assert function is not None, "only what is alive is called"
        return function(event)

    def alive(self) -> bool:
        """See :meth:`Callee.alive`."""
        return not self.gone and self.function() is not None


def weak(handler: Any) -> Callable[[], Any]:
    """
    What gives the handler as long as somebody else keeps it.

    :raises twisted_evproc.errors.HandlerNotCallable: for what cannot be referred to weakly.
    """
    try:
        if isinstance(handler, BuiltinMethodType):
            raise TypeError
        return WeakMethod(handler) if isinstance(handler, MethodType) else ref(handler)
    except TypeError:
        raise HandlerNotCallable(
            handler, f"a {type(handler).__name__} cannot be weakly referenced; register it without use_weakref"
        ) from None
