"""
What can be run: the things an application may offer for events to be fed to.

``KINDS`` is the one place that knows them.  A further kind is a class that fulfils :class:`Runnable` and one more entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from ..dispatch import EventDispatcher, Explanation, HandlerID, HandlerResult, HandlerView, Outcome
from ..errors import ApplicationError, ConfigurationError, listing
from ..interfaces import FiringView, IDispatchObserver
from ..processing import Event, EventProcessor, Processor
from ._words import counted


class Runnable(Protocol):
    """Something that takes events, as the commands see it."""

    def start(self) -> Deferred[None]:
        """Get ready for events."""

    def stop(self, timeout: float | None = None) -> Deferred[None]:
        """Finish what was taken; cancel what is left after ``timeout`` seconds."""

    def to_event(self, record: Any) -> tuple[Any, Mapping[str, Any]]:
        """The event and the details that a decoded record stands for, where the application does not say."""

    def take(self, event: Any, details: Mapping[str, Any]) -> Deferred[Outcome]:
        """
        Process an event.

        :return: fires with the outcome, also where the failure policy makes a firing fail.  Fails when there is no outcome: the
            event was refused or cancelled.
        :raises twisted_evproc.errors.ConfigurationError: for details that are not allowed.
        """

    def keywords(self) -> tuple[str, ...]:
        """The keywords that details may have, sorted."""

    def handlers(self) -> tuple[HandlerView, ...]:
        """What is registered, in the order in which it would run."""

    def explain(self, event: Any, details: Mapping[str, Any]) -> Explanation:
        """What would happen to an event; ``None`` for an event that is not known."""


@implementer(IDispatchObserver)
class _LastOutcome:
    """
    Remembers the outcome of the firing that ended last.

    Under the ``RAISE`` policy a firing's Deferred fails with a handler's exception, which does not say whose it is; the outcome,
    heard of just before, does.
    """

    outcome: Outcome | None = None

    def firing_started(self, firing: FiringView) -> None: ...
    def handler_started(self, firing: FiringView, handler_id: HandlerID, name: str, phase: str) -> None: ...
    def handler_ended(self, firing: FiringView, result: HandlerResult) -> None: ...

    def firing_ended(self, firing: FiringView, outcome: Outcome | None) -> None:
        self.outcome = outcome

    def outcome_behind(self, failure: Failure) -> Outcome:
        """
        The outcome of a firing that failed with this.

        :raises BaseException: the failure's own exception, where it did not come from a handler.
        """
        outcome = getattr(failure.value, "outcome", None) or self.outcome
        if not isinstance(outcome, Outcome) or not _came_from(outcome, failure.value):
            failure.raiseException()
        return outcome


def _came_from(outcome: Outcome, error: BaseException | None) -> bool:
    causes = [cause.value for cause in outcome.failures]
    return error in causes or causes == list(getattr(error, "exceptions", ()))


class DispatcherRunnable:
    """An :class:`~twisted_evproc.dispatch.EventDispatcher` that can be run."""

    def __init__(self, dispatcher: EventDispatcher) -> None:
        self._dispatcher = dispatcher
        self._last = _LastOutcome()

    def start(self) -> Deferred[None]:
        """See :meth:`Runnable.start`."""
        self._dispatcher.add_observer(self._last)
        return self._dispatcher.start()

    def stop(self, timeout: float | None = None) -> Deferred[None]:
        """See :meth:`Runnable.stop`."""
        return self._dispatcher.stop(timeout)

    def to_event(self, record: Any) -> tuple[Any, Mapping[str, Any]]:
        """The record itself; where it is a mapping, its keys that are allowed keywords are the details."""
        if not isinstance(record, Mapping):
            return record, {}
        allowed = self._dispatcher.allowed_match_spec_keywords
        return record, {key: value for key, value in record.items() if key in allowed}

    def take(self, event: Any, details: Mapping[str, Any]) -> Deferred[Outcome]:
        """See :meth:`Runnable.take`."""
        return self._dispatcher.fire_event(event, **details).addErrback(self._last.outcome_behind)

    def keywords(self) -> tuple[str, ...]:
        """See :meth:`Runnable.keywords`."""
        return tuple(sorted(self._dispatcher.allowed_match_spec_keywords))

    def handlers(self) -> tuple[HandlerView, ...]:
        """See :meth:`Runnable.handlers`."""
        return self._dispatcher.handlers()

    def explain(self, event: Any, details: Mapping[str, Any]) -> Explanation:
        """See :meth:`Runnable.explain`."""
        return self._dispatcher.explain(event, **details)


class ChainOutcome(Outcome):
    """What an event, and all the events that came out of it, led to."""

    __slots__ = ("_outcomes",)

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        """
        :param outcomes: of the event, and then of the others in the order they were processed.
        """
        self._outcomes = tuple(outcomes)

    @property
    def event(self) -> Any:
        """The event that the others came out of."""
        return self._outcomes[0].event

    @property
    def details(self) -> Mapping[str, Any]:
        """See :attr:`Outcome.details`."""
        return self._outcomes[0].details

    @property
    def results(self) -> tuple[HandlerResult, ...]:
        """See :attr:`Outcome.results`."""
        return tuple(result for outcome in self._outcomes for result in outcome.results)

    @property
    def values(self) -> tuple[Any, ...]:
        """See :attr:`Outcome.values`."""
        return tuple(value for outcome in self._outcomes for value in outcome.values)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """See :attr:`Outcome.failures`."""
        return tuple(failure for outcome in self._outcomes for failure in outcome.failures)

    @property
    def handled(self) -> bool:
        """Whether any handler was called for any of the events."""
        return any(outcome.handled for outcome in self._outcomes)

    @property
    def stopped(self) -> bool:
        """Whether a handler ended one of the events by ``StopProcessing``."""
        return any(outcome.stopped for outcome in self._outcomes)

    # A value ends the chain: whose it is is the last.

    @property
    def value(self) -> Any:
        """The value that ``process()`` gives."""
        return self._outcomes[-1].value

    @property
    def has_value(self) -> bool:
        """Whether a value was given to ``StopProcessing``, be it ``None``."""
        return self._outcomes[-1].has_value

    def __repr__(self) -> str:
        events, handlers = counted(len(self._outcomes), "event"), counted(len(self.results), "handler")
        return f"<ChainOutcome event={self.event!r}, {events}, {handlers}>"


@implementer(IDispatchObserver)
class _Chains:
    """
    Tells the firings of several events apart that a processor has under way.

    A processor fires an event as soon as it is given to it, and what came out of an event as soon as the firing before has ended:
    in between no other firing begins.  So what begins first is the next of that chain; what begins when nothing is expected was
    fired by a handler of its own accord.

    :ivar expected: the outcomes so far of the chain whose next firing may be about to begin.
    """

    def __init__(self) -> None:
        self.expected: list[Outcome] | None = None
        self._firings: dict[FiringView, list[Outcome]] = {}

    def firing_started(self, firing: FiringView) -> None:
        chain, self.expected = self.expected, None
        if chain is not None:
            self._firings[firing] = chain

    def handler_started(self, firing: FiringView, handler_id: HandlerID, name: str, phase: str) -> None: ...
    def handler_ended(self, firing: FiringView, result: HandlerResult) -> None: ...

    def firing_ended(self, firing: FiringView, outcome: Outcome | None) -> None:
        chain = self._firings.pop(firing, None)
        if chain is not None and outcome is not None:
            chain.append(outcome)
            self.expected = chain


class ProcessorRunnable:
    """A :class:`~twisted_evproc.processing.Processor` that can be run."""

    def __init__(self, processor: Processor) -> None:
        self._processor = processor
        self._chains = _Chains()

    def start(self) -> Deferred[None]:
        """See :meth:`Runnable.start`."""
        self._processor.add_observer(self._chains)
        return succeed(None)

    def stop(self, timeout: float | None = None) -> Deferred[None]:
        """See :meth:`Runnable.stop`."""
        return self._processor.drain.wait(timeout)

    def to_event(self, record: Any) -> tuple[Any, Mapping[str, Any]]:
        """
        The record itself, where the application makes its own events.

        :raises twisted_evproc.errors.ApplicationError: for a record that is no event.
        """
        if not isinstance(record, Event):
            raise ApplicationError(
                "to_event",
                "the application has to define it: a Processor takes instances of Event, and nothing says which one a "
                "record stands for.  Write def to_event(record): return MyEvent(record), {}",
            )
        return record, {}

    def take(self, event: Any, details: Mapping[str, Any]) -> Deferred[Outcome]:
        """
        See :meth:`Runnable.take`.

        :return: fires with a :class:`ChainOutcome`.
        """
        _check(event, details)
        chain: list[Outcome] = []
        self._chains.expected = chain

        def ended(result: Any) -> Any:
            if self._chains.expected is chain:
                self._chains.expected = None
            if isinstance(result, Failure) and not (chain and _came_from(chain[-1], result.value)):
                return result
            return ChainOutcome(chain)

        return self._processor.process(event).addBoth(ended)

    def keywords(self) -> tuple[str, ...]:
        """See :meth:`Runnable.keywords`."""
        return ()

    def handlers(self) -> tuple[HandlerView, ...]:
        """See :meth:`Runnable.handlers`."""
        return self._processor.handlers()

    def explain(self, event: Any, details: Mapping[str, Any]) -> Explanation:
        """See :meth:`Runnable.explain`."""
        _check(event, details)
        return self._processor.explain(event)


class EventProcessorRunnable:
    """An :class:`~twisted_evproc.processing.EventProcessor` that can be run."""

    def __init__(self, processor: EventProcessor) -> None:
        self._processor = processor
        self._last = _LastOutcome()

    def start(self) -> Deferred[None]:
        """See :meth:`Runnable.start`."""
        self._processor.add_observer(self._last)
        return succeed(None)

    def stop(self, timeout: float | None = None) -> Deferred[None]:
        """See :meth:`Runnable.stop`."""
        return self._processor.drain.wait(timeout)

    def to_event(self, record: Any) -> tuple[Any, Mapping[str, Any]]:
        """The record itself."""
        return record, {}

    def take(self, event: Any, details: Mapping[str, Any]) -> Deferred[Outcome]:
        """See :meth:`Runnable.take`."""
        self._check(event, details)
        return self._processor.fire(event).addErrback(self._last.outcome_behind)

    def keywords(self) -> tuple[str, ...]:
        """See :meth:`Runnable.keywords`."""
        return ()

    def handlers(self) -> tuple[HandlerView, ...]:
        """See :meth:`Runnable.handlers`."""
        return self._processor.handlers()

    def explain(self, event: Any, details: Mapping[str, Any]) -> Explanation:
        """See :meth:`Runnable.explain`."""
        self._check(event, details)
        return self._processor.explain(event)

    @staticmethod
    def _check(event: Any, details: Mapping[str, Any]) -> None:
        if event is None:
            raise ConfigurationError("an EventProcessor chooses by the event: say which one, as in --event JSON")
        if details:
            raise ConfigurationError(
                f"an EventProcessor chooses by the event alone and takes no details, but was given {listing(details)}; "
                f"put them into the event"
            )


def _check(event: Any, details: Mapping[str, Any]) -> None:
    if event is None:
        raise ConfigurationError("a Processor chooses handlers by the event: say which one, as in --event JSON")
    if not isinstance(event, Event):
        raise ConfigurationError(
            f"a Processor takes instances of Event, not {event!r:.80}; let to_event(record) return (MyEvent(record), {{}})"
        )
    if details:
        raise ConfigurationError(
            f"a Processor chooses handlers by the event alone and takes no details, but was given {listing(details)}; "
            f"put them into the event, and let to_event(record) return (event, {{}})"
        )


@attrs.frozen
class Kind:
    """
    One sort of thing that can be run.

    :ivar name: what messages call it.
    :ivar recognises: whether an object is one.
    :ivar adapt: makes it a :class:`Runnable`.
    """

    name: str
    recognises: Callable[[object], bool]
    adapt: Callable[[Any], Runnable]


KINDS: tuple[Kind, ...] = (
    Kind("EventDispatcher", lambda thing: isinstance(thing, EventDispatcher), DispatcherRunnable),
    Kind("EventProcessor", lambda thing: isinstance(thing, EventProcessor), EventProcessorRunnable),
    Kind("Processor", lambda thing: isinstance(thing, Processor), ProcessorRunnable),
)


def kind_of(thing: object) -> Kind | None:
    """The kind of a thing that can be run, or ``None``."""
    return next((kind for kind in KINDS if kind.recognises(thing)), None)


def kinds_in_words() -> str:
    """The kinds there are, as messages name them."""
    return " or ".join(kind.name for kind in KINDS)


__all__ = [
    "KINDS",
    "ChainOutcome",
    "DispatcherRunnable",
    "EventProcessorRunnable",
    "Kind",
    "ProcessorRunnable",
    "Runnable",
    "kind_of",
    "kinds_in_words",
]
