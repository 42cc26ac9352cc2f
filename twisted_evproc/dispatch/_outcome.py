"""What a firing led to."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from ._callee import Callee, HandlerID


@attrs.frozen
class HandlerResult:
    """
    What one handler did in one firing.

    :ivar handler_id: its ID.
    :ivar name: its name.
    :ivar phase: the phase it ran in.
    :ivar value: what it returned, ``None`` when it failed or was skipped; the value given to ``StopProcessing``.
    :ivar failure: why it failed, or ``None``.
    :ivar skipped: whether it matched but was not called.
    :ivar reason: why it was skipped, in words; empty when it was called.
    """

    handler_id: HandlerID
    name: str
    phase: str
    value: Any = None
    failure: Failure | None = None
    skipped: bool = False
    reason: str = ""


@attrs.frozen
class Failed:
    """In place of a value: the handler failed, or, not ``called``, its filter did."""

    failure: Failure
    called: bool = True


@attrs.frozen
class Skipped:
    """In place of a value: the handler was not called.  ``fulfils`` tells whether those who require it run all the same."""

    reason: str
    fulfils: bool = False


@attrs.frozen
class Stopped:
    """In place of a value: the handler raised ``StopProcessing`` with this value, or, not ``given``, with none."""

    retval: Any
    given: bool = True


_NOT_RETURNED = frozenset({Failed, Skipped, Stopped})


def result_of(callee: Callee, value: Any) -> HandlerResult:
    """The public form of what a firing keeps for a handler."""
    kind = type(value)
    if kind is Failed:
        return HandlerResult(callee.id, callee.name, callee.phase, failure=value.failure)
    if kind is Skipped:
        return HandlerResult(callee.id, callee.name, callee.phase, skipped=True, reason=value.reason)
    if kind is Stopped:
        return HandlerResult(callee.id, callee.name, callee.phase, value.retval)
    return HandlerResult(callee.id, callee.name, callee.phase, value)


class Outcome:
    """What a firing led to.  Immutable; equal only to itself."""

    # The callees in the order they were started, and for each what it returned or one of the three stand-ins above;
    # None for the values where all returned None.  Results are made of them when somebody asks: one of these objects is made for
    # every firing, and filling slots is the fastest way to do it (see outcome_of).
    __slots__ = ("_callees", "_details", "_event", "_values")

    _event: Any
    _details: Mapping[str, Any]
    _callees: tuple[Callee, ...]
    _values: tuple[Any, ...] | None

    @property
    def event(self) -> Any:
        """The event that was fired."""
        return self._event

    @property
    def details(self) -> Mapping[str, Any]:
        """The keyword arguments it was fired with, read-only."""
        return MappingProxyType(dict(self._details))

    @property
    def results(self) -> tuple[HandlerResult, ...]:
        """One result for each handler that was called or skipped, in the order they were started."""
        return tuple(map(result_of, self._callees, self._kept()))

    @property
    def values(self) -> tuple[Any, ...]:
        """What the handlers that returned have returned, in the order they were started."""
        kept = self._values
        if kept is None:
            return self._kept()
        return tuple([value for value in kept if type(value) not in _NOT_RETURNED])

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Why handlers failed, in the order they were started."""
        return tuple(value.failure for value in self._kept() if type(value) is Failed)

    @property
    def handled(self) -> bool:
        """Whether any handler was called."""
        return any(type(value) is not Skipped and (type(value) is not Failed or value.called) for value in self._kept())

    @property
    def stopped(self) -> bool:
        """Whether a handler ended the firing by ``StopProcessing``."""
        return any(type(value) is Stopped for value in self._kept())

    @property
    def value(self) -> Any:
        """The value given to the first ``StopProcessing``, otherwise ``None``."""
        return next((value.retval for value in self._kept() if type(value) is Stopped), None)

    @property
    def has_value(self) -> bool:
        """Whether a value was given to the first ``StopProcessing``, be it ``None``."""
        return next((value.given for value in self._kept() if type(value) is Stopped), False)

    def _kept(self) -> tuple[Any, ...]:
        return (None,) * len(self._callees) if self._values is None else self._values

    def __repr__(self) -> str:
        count = len(self._callees)
        parts = [f"event={self.event!r}", f"{count} handler{'' if count == 1 else 's'}"]
        if self.failures:
            parts.append(f"{len(self.failures)} failed")
        if self.stopped:
            parts.append(f"stopped with {self.value!r}")
        return f"<Outcome {', '.join(parts)}>"


def outcome_of(event: Any, details: Mapping[str, Any], callees: tuple[Callee, ...], values: tuple[Any, ...] | None) -> Outcome:
    """
    Make an outcome.

    :param callees: callees in the order they were started.
    :param values: what each returned, or a stand-in; ``None`` where all returned ``None``.
    """
    outcome = Outcome()
    outcome._event = event
    outcome._details = details
    outcome._callees = callees
    outcome._values = values
    return outcome
