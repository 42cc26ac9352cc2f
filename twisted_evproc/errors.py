"""
Every public exception of the package.

The tree (a class also derives from the builtin in brackets)::

    EvprocError
    ├── ConfigurationError [ValueError]        an option that makes no sense, raised at once
    │   ├── KeywordNotAllowed [TypeError]      a keyword outside the allowed match-spec keywords
    │   ├── KeywordReserved                    a match-spec keyword that is an option's name
    │   ├── KeywordInUse                       a keyword that cannot be disallowed yet
    │   ├── UnknownPhase                       a phase the dispatcher does not have
    │   ├── HandlerNotCallable [TypeError]     a handler that cannot be called or weakly referenced
    │   └── OrderingError                      a requirement that can never be met
    │       └── RequirementCycle               requirements that form a cycle, spelt out
    ├── UnknownHandler [LookupError]           an ID that is not (or no longer) registered
    ├── FiringError
    │   ├── FiringTooDeep [RecursionError]     synchronous firings nested too deeply
    │   ├── DispatcherOverloaded [RuntimeError]  too many firings wait
    │   ├── HandlerTimeout [TimeoutError]      a handler took longer than its time-out
    │   └── WaitTimeout [TimeoutError]         no matching event came in time
    ├── EventException                         processing by name
    │   ├── ProcessorReregisterException [ValueError]        a name that a handler has already
    │   ├── IncompatibleRequirementsException [ValueError]   requirements that an event cannot meet
    │   └── ChainTooLong [RuntimeError]        events that lead to events without end
    ├── EventProcessorError                    processing by content
    │   ├── FilterError [ConfigurationError]   a filter, path or matcher that makes no sense
    │   ├── DecorationError [ValueError]       a processor that cannot be registered like that
    │   ├── DependencyError [LookupError]      a parameter for which there is no value
    │   └── InvocationError [LookupError]      an event for which there is no processor
    ├── HandlersFailed [ExceptionGroup]        several handlers failed under the RAISE policy
    └── ApplicationError [ValueError]          an application or event file the command cannot use

    StopProcessing                             raised by handlers: control flow, not an error

Each carries what it speaks of as attributes, and its message says what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

_ABSENT: Any = object()


class EvprocError(Exception):
    """The root of every error of this package."""


class StopProcessing(Exception):
    """
    Raised by a handler to end the firing: what has not started is not called.

    :param retval: any value; given to the caller as the outcome's ``value``.
    """

    def __init__(self, retval: Any = _ABSENT) -> None:
        super().__init__(*(() if retval is _ABSENT else (retval,)))

    @property
    def has_retval(self) -> bool:
        """Whether a value was given, be it ``None``."""
        return bool(self.args)

    @property
    def retval(self) -> Any:
        """The value given, or ``None``."""
        return self.args[0] if self.args else None


def listing(names: Iterable[object]) -> str:
    """
    Names as an error message shows them: sorted, in quotes, ``(none)`` when there are none.
    """
    return ", ".join(repr(name) for name in sorted(map(str, names))) or "(none)"


class ConfigurationError(EvprocError, ValueError):
    """An option that makes no sense.  Raised at once, never through a Deferred."""


class KeywordNotAllowed(ConfigurationError, TypeError):
    """
    A keyword that is not among the allowed match-spec keywords.

    :ivar keywords: the offending ones, sorted.
    :ivar allowed: what is allowed, sorted.
    """

    def __init__(self, keywords: Iterable[str], allowed: Iterable[str], dispatcher: str) -> None:
        self.keywords = tuple(sorted(keywords))
        self.allowed = tuple(sorted(allowed))
        super().__init__(
            f"{listing(self.keywords)} not among the match-spec keywords of {dispatcher}; "
            f"allowed: {listing(self.allowed)}.  Correct the spelling, or allow it with "
            f"allow_match_spec_keywords()."
        )


class KeywordReserved(ConfigurationError):
    """
    A match-spec keyword that is not an identifier or is the name of an option.

    :ivar keyword: the offending keyword.
    """

    def __init__(self, keyword: object, reserved: Iterable[str]) -> None:
        self.keyword = keyword
        super().__init__(
            f"{keyword!r} cannot be a match-spec keyword: it has to be a Python identifier, passed as a string "
            f"of its own, and none of the options' names {listing(reserved)}.  Choose another name."
        )


class KeywordInUse(ConfigurationError):
    """
    A keyword that handlers still match on.

    :ivar keyword: the keyword.
    :ivar handlers: names of the handlers that use it.
    """

    def __init__(self, keyword: str, handlers: Sequence[str]) -> None:
        self.keyword = keyword
        self.handlers = tuple(handlers)
        super().__init__(
            f"{keyword!r} cannot be disallowed while {len(self.handlers)} handler(s) use it: "
            f"{listing(self.handlers[:5])}.  Remove them first."
        )


class UnknownPhase(ConfigurationError):
    """
    A phase the dispatcher does not have.

    :ivar phase: the phase asked for.
    :ivar phases: the phases there are, in order.
    """

    def __init__(self, phase: object, phases: Sequence[str], dispatcher: str) -> None:
        self.phase = phase
        self.phases = tuple(phases)
        super().__init__(f"{dispatcher} has no phase {phase!r}; its phases are, in order: {', '.join(map(repr, self.phases))}.")


class HandlerNotCallable(ConfigurationError, TypeError):
    """
    A handler that cannot be called, or not weakly referenced where that was asked for.

    :ivar handler: what was passed.
    """

    def __init__(self, handler: object, problem: str) -> None:
        self.handler = handler
        super().__init__(f"{handler!r} cannot be a handler: {problem}")


class OrderingError(ConfigurationError):
    """
    ``requires`` / ``required_by`` that can never be met.

    :ivar chain: names of the handlers involved, each requiring the next.
    """

    def __init__(self, message: str, chain: Sequence[str]) -> None:
        self.chain = tuple(chain)
        super().__init__(message)


class RequirementCycle(OrderingError):
    """Handlers that require each other in a circle; ``chain`` starts and ends with the same name."""

    def __init__(self, chain: Sequence[str]) -> None:
        super().__init__("requirements form a cycle: " + " requires ".join(map(repr, chain)) + ".  Drop one of them.", chain)


class EventProcessorError(EvprocError):
    """What can go wrong when events are processed by content."""


class DecorationError(EventProcessorError, ValueError):
    """A processor or a factory that cannot be registered like that."""


class DependencyError(EventProcessorError, LookupError):
    """A parameter for which there is no value, or none that will do; where a check failed, its exception is the cause."""


class InvocationError(EventProcessorError, LookupError):
    """An event for which there is no processor, or, under ``NO_MATCHES_STRICT``, more than one."""


class FilterError(EventProcessorError, ConfigurationError):
    """A filter, path or matcher that makes no sense."""


class UnknownHandler(EvprocError, LookupError):
    """
    An ID that is not (or no longer) registered.

    :ivar handler_id: the ID.
    """

    def __init__(self, handler_id: object, dispatcher: str) -> None:
        self.handler_id = handler_id
        super().__init__(
            f"{handler_id!r} is not registered with {dispatcher}: it was removed already, was used up by "
            f"max_calls, or comes from another dispatcher."
        )


class FiringError(EvprocError):
    """What can go wrong with one firing apart from its handlers' own exceptions."""


class FiringTooDeep(FiringError, RecursionError):
    """
    Synchronous firings nested more deeply than the dispatcher allows.

    :ivar depth: the limit that was reached.
    """

    def __init__(self, depth: int, dispatcher: str) -> None:
        self.depth = depth
        super().__init__(
            f"{depth} firings of {dispatcher} are nested in each other: a handler fires, directly or through "
            f"others, the event it handles.  Break the circle, or fire again after the handler has returned."
        )


class DispatcherOverloaded(FiringError, RuntimeError):
    """
    More firings wait than ``max_waiting_firings`` allows.  The event was not taken.

    :ivar waiting: how many wait already.
    """

    def __init__(self, waiting: int, dispatcher: str) -> None:
        self.waiting = waiting
        super().__init__(
            f"{dispatcher} refused an event: {waiting} firings wait already.  Fire it again later, or raise "
            f"max_waiting_firings or max_concurrent_firings."
        )


class HandlerTimeout(FiringError, TimeoutError):
    """
    A handler took longer than the ``timeout`` it was registered with.

    :ivar handler: the handler's name.
    :ivar phase: its phase.
    :ivar seconds: the time-out.
    """

    def __init__(self, handler: str, phase: str, seconds: float) -> None:
        self.handler = handler
        self.phase = phase
        self.seconds = seconds
        super().__init__(f"handler {handler!r} in phase {phase!r} took longer than its time-out of {seconds} s")


class WaitTimeout(FiringError, TimeoutError):
    """
    No matching event came within the time-out of ``wait_for_event``.

    :ivar seconds: the time-out.
    """

    def __init__(self, seconds: float, what: str) -> None:
        self.seconds = seconds
        super().__init__(f"no event matching {what} came within {seconds} s")


class EventException(EvprocError):
    """What can go wrong when events are processed by name."""


class ProcessorReregisterException(EventException, ValueError):
    """
    A name that a handler has already.

    :ivar name: the name.
    """

    def __init__(self, name: str, known: str) -> None:
        self.name = name
        super().__init__(
            f"a handler named {name!r} is registered already ({known}); register the new one under another name, "
            f"with register(function, name=...)"
        )


class IncompatibleRequirementsException(EventException, ValueError):
    """
    Requirements that an event cannot meet.

    :ivar chain: names of handlers, each requiring the next; the last is the one that is not there, does not want the event, or
        closes a cycle.
    :ivar event_name: the name of the event.
    """

    def __init__(self, chain: Sequence[str], event_name: str, problem: str) -> None:
        self.chain = tuple(chain)
        self.event_name = event_name
        super().__init__(f"event {event_name!r}: {' requires '.join(map(repr, self.chain))}, {problem}")


class ChainTooLong(EventException, RuntimeError):
    """
    More events came out of one than a processor allows.

    :ivar limit: how many it allows.
    """

    def __init__(self, limit: int, event: object) -> None:
        self.limit = limit
        super().__init__(
            f"more than {limit} events came out of one, the last being {event!r}: a handler returns, directly or through "
            f"others, events like the one it handles.  Break the circle, or raise max_chained_events."
        )


class HandlersFailed(EvprocError, ExceptionGroup):
    """
    Several handlers of one firing failed under the ``RAISE`` policy.

    ``exceptions`` has the handlers' exceptions in start order.

    :ivar outcome: the outcome of the firing, with all results.
    """

    outcome: Any

    def __new__(cls, message: str, exceptions: Sequence[Exception], outcome: Any = None) -> HandlersFailed:
        self = super().__new__(cls, message, exceptions)
        self.outcome = outcome
        return self

    def __init__(self, message: str, exceptions: Sequence[Exception], outcome: Any = None) -> None:
        super().__init__(message, exceptions)

    def derive(self, excs: Sequence[Exception], /) -> HandlersFailed:  # type: ignore[override]  # narrower on purpose
        return HandlersFailed(self.message, excs, self.outcome)


class ApplicationError(EvprocError, ValueError):
    """
    An application or an event file that a command cannot use.

    :ivar place: where, as ``file``, ``file:line`` or ``module:attribute``.
    """

    def __init__(self, place: str, problem: str) -> None:
        self.place = place
        super().__init__(f"{place}: {problem}")


__all__ = [
    "ApplicationError",
    "ChainTooLong",
    "ConfigurationError",
    "DecorationError",
    "DependencyError",
    "DispatcherOverloaded",
    "EventException",
    "EventProcessorError",
    "EvprocError",
    "FilterError",
    "FiringError",
    "FiringTooDeep",
    "HandlerNotCallable",
    "HandlerTimeout",
    "HandlersFailed",
    "IncompatibleRequirementsException",
    "InvocationError",
    "KeywordInUse",
    "KeywordNotAllowed",
    "KeywordReserved",
    "OrderingError",
    "ProcessorReregisterException",
    "RequirementCycle",
    "StopProcessing",
    "UnknownHandler",
    "UnknownPhase",
    "WaitTimeout",
]
