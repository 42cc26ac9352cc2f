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
    ├── SourceError                            sources, and the pump that takes their events
    │   ├── QueueOverflow [RuntimeError]       a queue that is full, where that is to fail
    │   ├── PumpStopped [RuntimeError]         a pump that takes no more events
    │   ├── CannotListen [OSError]             a source that could not get its port or socket
    │   ├── LineTooLong [ValueError]           a line that is longer than its source takes
    │   └── ExecSourceError [ConfigurationError, SyntaxError]  Python source that does not compile
    ├── BlockingError [RuntimeError]           synchronous callers
    │   ├── NotSetUp                           a call before blocking.setup()
    │   ├── CalledFromReactor                  a call that would block the reactor
    │   ├── ForkedProcess                      a call in a process whose reactor stayed in its parent
    │   └── BlockingTimeout [TimeoutError]     a call that took too long
    ├── FlowError                              durable flows
    │   ├── FlowDefinitionError [ConfigurationError]  a flow that makes no sense
    │   ├── StoreError                         the store of a flow
    │   │   ├── StoreInUse [RuntimeError]      another engine has the store
    │   │   ├── StoreTooNew [RuntimeError]     a newer version wrote it
    │   │   └── StoreUnusable [OSError]        it cannot be opened or read
    │   ├── RunExists [ValueError]             a run's ID that is taken
    │   ├── UnknownRun [LookupError]           a run that is not in the store
    │   ├── RunInUse [RuntimeError]            another engine has the run
    │   ├── RunLost [RuntimeError]             another engine took the run over
    │   ├── ResultNotStorable [TypeError]      a step's result that has no form in JSON
    │   ├── StepTimeout [TimeoutError]         an attempt took longer than its time-out
    │   ├── StepDied [RuntimeError]            what ran a step ended without an answer
    │   ├── StepFailed [RuntimeError]          a step's value is asked for, but it failed
    │   └── StepNotRun [LookupError]           a step's value is asked for, but it never ran
    ├── TransportError                         events between processes
    │   ├── WireError [ConfigurationError, TypeError]  details or a match-spec that cannot cross the wire
    │   ├── EventNotEncodable [TypeError]      an event that the codec cannot write
    │   ├── EventNotDecodable [ValueError]     an event that came in and cannot be read
    │   ├── EventTooLarge [ValueError]         an event that is larger than allowed
    │   ├── Unroutable [LookupError]           an event that no group is bound to
    │   ├── Overflow [RuntimeError]            too many events wait for the broker
    │   ├── PublishTimeout [TimeoutError]      no confirmation in time
    │   ├── PublishRefused [RuntimeError]      an event that the broker did not take
    │   ├── TransportStopped [RuntimeError]    a transport that is not running
    │   └── SubscriptionRefused [RuntimeError]  a group that the broker does not let us have
    ├── MissingExtra [ImportError]             a feature whose library is not installed
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


class SourceError(EvprocError):
    """What can go wrong on an event's way from its source to its handler."""


class QueueOverflow(SourceError, RuntimeError):
    """
    A queue was full, and its pump is to fail then.  The event was not taken.

    :ivar max_queued: how many events it holds.
    """

    def __init__(self, max_queued: int, event: object) -> None:
        self.max_queued = max_queued
        super().__init__(
            f"{event} was not taken: {max_queued} events are queued already.  Put it again later, raise max_queued, or choose "
            f"WAIT, DROP_OLDEST or DROP_NEWEST as overflow."
        )


class PumpStopped(SourceError, RuntimeError):
    """A pump takes no more events: it was stopped, or is about to.  The event was not taken."""

    def __init__(self, event: object, pump: str) -> None:
        super().__init__(f"{event} was not taken: {pump} is stopped.  Put events before stop(), or start() it again.")


class CannotListen(SourceError, OSError):
    """A source could not get the port or socket it is to listen on; the reactor's own error is its cause."""


class LineTooLong(SourceError, ValueError):
    """
    A line was longer than its source takes.  What followed it is not affected.

    :ivar limit: how long a line may be.
    """

    def __init__(self, limit: int, source: object) -> None:
        self.limit = limit
        super().__init__(f"{source}: a line is longer than {limit} characters and was left out; raise max_line_length.")


class ExecSourceError(SourceError, ConfigurationError, SyntaxError):
    """Python source of an ``ExecEventHandler`` that does not compile; the ``SyntaxError`` that says why is its cause."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.msg = message  # what str() of a SyntaxError shows


class BlockingError(EvprocError, RuntimeError):
    """What can go wrong for synchronous callers apart from what they call."""


class NotSetUp(BlockingError):
    """A blocking call before ``blocking.setup()``: no reactor runs that could do it."""

    def __init__(self, call: str) -> None:
        super().__init__(f"{call} needs a reactor that runs in its thread: call twisted_evproc.blocking.setup() first.")


class CalledFromReactor(BlockingError):
    """A blocking call from the reactor's thread, which would wait for itself for ever."""

    def __init__(self, call: str) -> None:
        super().__init__(
            f"{call} was called from the reactor's thread, which would wait for itself for ever.  There, use the Deferred of the "
            f"object behind it, or go to another thread with deferToThread()."
        )


class ForkedProcess(BlockingError):
    """
    A blocking call, or ``setup()``, in a process whose reactor was made before it was forked.

    :ivar parent: process ID of the process in which the reactor was made.
    """

    def __init__(self, call: str, parent: int) -> None:
        self.parent = parent
        super().__init__(
            f"{call}: Twisted's reactor was made in process {parent}, from which this one was forked, and cannot serve both.  "
            f"Call blocking.setup(), and import twisted.internet.reactor, only in each worker and behind a fork by the main "
            f"thread (as in gunicorn's post_fork), or start workers with the 'spawn' method."
        )


class BlockingTimeout(BlockingError, TimeoutError):
    """
    A blocking call took longer than its time-out, and was cancelled.

    :ivar seconds: the time-out.
    """

    def __init__(self, call: str, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"{call} took longer than its time-out of {seconds} s, and was cancelled.")


class FlowError(EvprocError):
    """What can go wrong with durable flows."""


class FlowDefinitionError(FlowError, ConfigurationError):
    """A flow event, step, association or configuration that makes no sense.  Raised at once."""


class StoreError(FlowError):
    """
    What can go wrong with the store of a flow.

    :ivar store: path or URL of the store, without a password.
    """

    def __init__(self, store: str, problem: str) -> None:
        self.store = store
        super().__init__(f"store {store}: {problem}")


class StoreInUse(StoreError, RuntimeError):
    """
    Another engine has the store.

    :ivar owner: ``host:pid`` of the process that has it, as far as it is known.
    """

    def __init__(self, store: str, owner: str) -> None:
        self.owner = owner
        super().__init__(
            store, f"process {owner} has it open, and only one engine may write to it.  Wait until that has ended, or end it."
        )


class StoreTooNew(StoreError, RuntimeError):
    """
    A newer version of this package wrote the store.

    :ivar found: its schema version.
    :ivar known: the newest this version knows.
    """

    def __init__(self, store: str, found: int, known: int) -> None:
        self.found = found
        self.known = known
        super().__init__(store, f"has schema version {found}, and this version knows {known} at most; upgrade twisted_evproc.")


class StoreUnusable(StoreError, OSError):
    """The store cannot be opened, read or migrated; the database's own error is the cause."""


class RunExists(FlowError, ValueError):
    """A run's ID that is taken already."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"there is a run {run_id!r} in the store already; choose another run_id, or continue_ or recover it.")


class UnknownRun(FlowError, LookupError):
    """A run that is not in the store."""

    def __init__(self, run_id: str, known: Iterable[str]) -> None:
        self.run_id = run_id
        super().__init__(f"there is no run {run_id!r} in the store; there is {listing(known)}.")


class RunInUse(FlowError, RuntimeError):
    """
    Another engine has the run.

    :ivar owner: ``host:pid`` of the process that has it.
    """

    def __init__(self, run_id: str, owner: str) -> None:
        self.run_id = run_id
        self.owner = owner
        super().__init__(f"run {run_id!r} belongs to the engine in process {owner}, which is alive; end it, or wait for its end.")


class RunLost(FlowError, RuntimeError):
    """Another engine took the run over while this one still worked on it; nothing of what this one did since is stored."""

    def __init__(self, run_id: str, epoch: int) -> None:
        self.run_id = run_id
        super().__init__(f"run {run_id!r} was taken over by another engine (this one had epoch {epoch}); this one stops.")


class ResultNotStorable(FlowError, TypeError):
    """A step returned what has no form in strict JSON; the step counts as failed."""

    def __init__(self, step: str, problem: str) -> None:
        self.step = step
        super().__init__(
            f"step {step!r} returned what cannot be stored: {problem}.  Return None, numbers, strings, lists and dictionaries "
            f"of them, or give the step config={{'result': 'discard'}} when nobody is to ask for it."
        )


class StepTimeout(FlowError, TimeoutError):
    """An attempt of a step took longer than its ``timeout``."""

    def __init__(self, step: str, seconds: float) -> None:
        self.step = step
        self.seconds = seconds
        super().__init__(f"step {step!r} took longer than its time-out of {seconds} s")


class StepDied(FlowError, RuntimeError):
    """What ran an attempt of a step ended without an answer: it was killed, ran out of memory, or called ``os._exit``."""

    def __init__(self, step: str, how: str) -> None:
        self.step = step
        super().__init__(f"the process that ran step {step!r} ended without an answer: {how}")


class StepFailed(FlowError, RuntimeError):
    """The value of a step is asked for, but the step failed; the message says why."""

    def __init__(self, step: str, sequence: str, why: str) -> None:
        self.step = step
        self.sequence = sequence
        super().__init__(f"step {step!r} of sequence {sequence!r} has no result, it failed: {why}")


class StepNotRun(FlowError, LookupError):
    """The value of a step is asked for, but the step never ran to an end for that sequence."""

    def __init__(self, step: str, sequence: str, status: str) -> None:
        self.step = step
        self.sequence = sequence
        super().__init__(f"step {step!r} has no result for sequence {sequence!r}: {status}")


class TransportError(EvprocError):
    """The root of what events between processes can meet."""


class WireError(TransportError, ConfigurationError, TypeError):
    """
    Details or a match-spec that cannot cross the wire.

    :ivar keyword: the keyword in question.
    """

    def __init__(self, keyword: object, message: str) -> None:
        self.keyword = keyword
        super().__init__(message)


class EventNotEncodable(TransportError, TypeError):
    """
    An event that the codec cannot write; nothing was published.

    :ivar event: the event.
    """

    def __init__(self, event: object, problem: str) -> None:
        self.event = event
        super().__init__(f"an event of type {type(event).__name__} cannot be published: {problem}")


class EventNotDecodable(TransportError, ValueError):
    """
    An event that came in and cannot be read; it is a dead letter at once.

    :ivar event_id: its ID, or ``""``.
    """

    def __init__(self, event_id: str, problem: str) -> None:
        self.event_id = event_id
        super().__init__(f"the event {event_id or 'without an ID'} cannot be read: {problem}")


class EventTooLarge(TransportError, ValueError):
    """
    An event that is larger than allowed; nothing was published.

    :ivar size: its size in bytes.
    :ivar limit: the largest size allowed.
    """

    def __init__(self, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            f"the event has {size} bytes, and {limit} are allowed.  Put the data elsewhere and publish where, or raise "
            f"max_event_size."
        )


class Unroutable(TransportError, LookupError):
    """
    An event that no group is bound to; nobody gets it.

    :ivar event_id: its ID.
    """

    def __init__(self, event_id: str, details: str, exchange: str) -> None:
        self.event_id = event_id
        super().__init__(
            f"no group on the exchange {exchange!r} takes the event {event_id} ({details}).  Subscribe one, or make the "
            f"transport with unroutable='drop'."
        )


class Overflow(TransportError, RuntimeError):
    """
    Too many events wait for the broker; this one was not taken.

    :ivar waiting: how many wait.
    """

    def __init__(self, waiting: int, size: int, transport: str) -> None:
        self.waiting = waiting
        super().__init__(
            f"{transport}: {waiting} events ({size} bytes) wait for the broker already.  Publish more slowly (wait for what "
            f"publish() returns), or allow more with max_waiting and max_waiting_size."
        )


class PublishTimeout(TransportError, TimeoutError):
    """
    No confirmation in time.

    :ivar event_id: its ID, under which it can be published again.
    :ivar sent: whether it went out to the broker, and so may have arrived all the same.
    """

    def __init__(self, event_id: str, seconds: float, sent: bool, state: str) -> None:
        self.event_id = event_id
        self.sent = sent
        super().__init__(
            f"the broker did not confirm the event {event_id} within {seconds:g} s ({state}); "
            + ("it was sent, and may arrive all the same" if sent else "it was not sent")
        )


class PublishRefused(TransportError, RuntimeError):
    """
    An event that the broker did not take.

    :ivar event_id: its ID, under which it can be published again.
    """

    def __init__(self, event_id: str, reason: str) -> None:
        self.event_id = event_id
        super().__init__(f"the broker did not take the event {event_id}: {reason}")


class TransportStopped(TransportError, RuntimeError):
    """A transport that is not running, or was stopped before it had done what was asked."""


class SubscriptionRefused(TransportError, RuntimeError):
    """
    A group that the broker does not let us have.

    :ivar group: the group.
    """

    def __init__(self, group: str, reason: str) -> None:
        self.group = group
        super().__init__(f"the group {group!r} cannot be subscribed: {reason}")


class MissingExtra(EvprocError, ImportError):
    """
    A feature needs a library that is not installed.

    :ivar extra: the extra that brings it.
    """

    def __init__(self, feature: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{feature} needs a library that is not installed; install twisted_evproc[{extra}].")


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
    "BlockingError",
    "BlockingTimeout",
    "CalledFromReactor",
    "CannotListen",
    "ChainTooLong",
    "ConfigurationError",
    "DecorationError",
    "DependencyError",
    "DispatcherOverloaded",
    "EventException",
    "EventNotDecodable",
    "EventNotEncodable",
    "EventProcessorError",
    "EventTooLarge",
    "EvprocError",
    "ExecSourceError",
    "FilterError",
    "FiringError",
    "FiringTooDeep",
    "FlowDefinitionError",
    "FlowError",
    "ForkedProcess",
    "HandlerNotCallable",
    "HandlerTimeout",
    "HandlersFailed",
    "IncompatibleRequirementsException",
    "InvocationError",
    "KeywordInUse",
    "KeywordNotAllowed",
    "KeywordReserved",
    "LineTooLong",
    "MissingExtra",
    "NotSetUp",
    "OrderingError",
    "Overflow",
    "ProcessorReregisterException",
    "PublishRefused",
    "PublishTimeout",
    "PumpStopped",
    "QueueOverflow",
    "RequirementCycle",
    "ResultNotStorable",
    "RunExists",
    "RunInUse",
    "RunLost",
    "SourceError",
    "StepDied",
    "StepFailed",
    "StepNotRun",
    "StepTimeout",
    "StopProcessing",
    "StoreError",
    "StoreInUse",
    "StoreTooNew",
    "StoreUnusable",
    "SubscriptionRefused",
    "TransportError",
    "TransportStopped",
    "UnknownHandler",
    "UnknownPhase",
    "UnknownRun",
    "Unroutable",
    "WaitTimeout",
    "WireError",
]
