"""
What can be run: the things an application may offer for events to be fed to.

``KINDS`` is the one place that knows them.  A further kind is a class that fulfils :class:`Runnable` and one more entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from ..dispatch import EventDispatcher, Explanation, HandlerID, HandlerResult, HandlerView, Outcome
from ..interfaces import FiringView, IDispatchObserver


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


KINDS: tuple[Kind, ...] = (Kind("EventDispatcher", lambda thing: isinstance(thing, EventDispatcher), DispatcherRunnable),)


def kind_of(thing: object) -> Kind | None:
    """The kind of a thing that can be run, or ``None``."""
    return next((kind for kind in KINDS if kind.recognises(thing)), None)


def kinds_in_words() -> str:
    """The kinds there are, as messages name them."""
    return " or ".join(kind.name for kind in KINDS)


__all__ = ["KINDS", "DispatcherRunnable", "Kind", "Runnable", "kind_of", "kinds_in_words"]
