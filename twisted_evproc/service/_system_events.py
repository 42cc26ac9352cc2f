"""The reactor's own events, told to a dispatcher."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from .._options import seconds
from ..dispatch import Action
from ..errors import ConfigurationError, KeywordNotAllowed, listing
from ..interfaces import IEventDispatcher

if TYPE_CHECKING:
    from ..dispatch import Outcome

_LOG = Logger(namespace="twisted_evproc.service")

#: The system events that reactors have.
EVENT_TYPES = ("startup", "shutdown", "persist")
#: The phases in which a reactor calls its triggers.
REACTOR_PHASES = ("before", "during", "after")


@attrs.frozen
class SystemEvent:
    """
    An event of the reactor itself.

    :ivar type: ``"startup"``, ``"shutdown"`` or ``"persist"``.
    :ivar reactor_phase: the reactor's phase in which it is told: ``"before"``, ``"during"`` or ``"after"``.
    :ivar reactor: the reactor.
    """

    type: str
    reactor_phase: str
    reactor: Any = attrs.field(eq=False, repr=False)


class SystemEventBridge:
    """
    Fires the reactor's events into a dispatcher; :func:`bridge_system_events` makes one.
    """

    def __init__(self, dispatcher: Any, events: Iterable[SystemEvent], keyword: str, timeout: float | None) -> None:
        """
        :param events: what to tell the dispatcher of, each of another type.
        """
        self._dispatcher = dispatcher
        self._keyword = keyword
        self._timeout = timeout
        # event -> its trigger, while that is still to come
        self._triggers: dict[SystemEvent, Any] = {}
        for event in events:
            if event.type == "startup" and event.reactor.running:
                # No trigger would ever be called; callWhenRunning does not wait for the past either.
                _ = self._fire(event)
            else:
                trigger = event.reactor.addSystemEventTrigger(event.reactor_phase, event.type, self._fire, event)
                self._triggers[event] = trigger

    def __repr__(self) -> str:
        return f"<SystemEventBridge into {self._dispatcher!r}, to come: {listing(event.type for event in self._triggers)}>"

    def remove(self) -> None:
        """Tell no more.  What was told already goes on.  Removing twice changes nothing."""
        triggers, self._triggers = self._triggers, {}
        for event, trigger in triggers.items():
            event.reactor.removeSystemEventTrigger(trigger)

    def _fire(self, event: SystemEvent) -> Deferred[None]:
        # The reactor forgets a trigger before it calls it.
        self._triggers.pop(event, None)
        may_go_on: Deferred[None] = Deferred()
        firing: Deferred[Outcome] = maybeDeferred(self._dispatcher.fire_event, event, **{self._keyword: event.type})
        _ = firing.addCallbacks(self._report, self._report_failure, (event,), {}, (event, may_go_on))
        _ = firing.addErrback(self._report_failure, event, may_go_on).addCallback(self._over, may_go_on)
        if not may_go_on.called and self._timeout is not None:
            timer = event.reactor.callLater(self._timeout, self._too_late, event, firing, may_go_on)
            _ = may_go_on.addCallback(lambda _: timer.cancel() if timer.active() else None)
        return may_go_on

    def _over(self, _: object, may_go_on: Deferred[None]) -> None:
        if not may_go_on.called:
            may_go_on.callback(None)

    def _report(self, outcome: Outcome, event: SystemEvent) -> None:
        policy = getattr(self._dispatcher, "policy", None)
        for result in outcome.results:
            failure = result.failure
            # Under LOG and ABORT a dispatcher has said so itself.
            if failure is not None and (policy is None or policy.action_for(failure.value) is Action.COLLECT):
                _LOG.failure(
                    "handler {handler!r} of {dispatcher!r} failed for {event}",
                    failure,
                    handler=result.name,
                    phase=result.phase,
                    dispatcher=self._dispatcher,
                    event=event,
                )

    def _report_failure(self, failure: Failure, event: SystemEvent, may_go_on: Deferred[None]) -> None:
        if may_go_on.called and failure.check(CancelledError):
            return  # cancelled by ourselves, which was logged
        _LOG.failure("telling {dispatcher!r} of {event} failed", failure, dispatcher=self._dispatcher, event=event)

    def _too_late(self, event: SystemEvent, firing: Deferred[Any], may_go_on: Deferred[None]) -> None:
        _LOG.error(
            "handlers of {dispatcher!r} take more than {seconds} s for {event}: cancelled, the reactor goes on",
            dispatcher=self._dispatcher,
            seconds=self._timeout,
            event=event,
        )
        may_go_on.callback(None)
        firing.cancel()


def bridge_system_events(
    dispatcher: Any,
    reactor: Any,
    event_types: Iterable[str] = ("startup", "shutdown"),
    *,
    keyword: str = "system_event",
    reactor_phase: str | None = None,
    timeout: float | None = 30.0,
) -> SystemEventBridge:
    """
    Fire the reactor's system events into a dispatcher, each as a :class:`SystemEvent` with the detail
    ``system_event="startup"`` and so on.

    Each event is told once, and runs through all phases of the dispatcher.  In its own phase ``"before"`` the reactor waits until
    that is done: so what handlers do at the shutdown is finished before the reactor stops.  Handlers that fail are logged, those
    that take too long are cancelled; neither keeps the reactor from going on.

    The dispatcher has to run by then, and at the shutdown still.  Reactors call triggers in the order they were added: so bridge
    it before the trigger that stops it is added.  ``twistd`` adds its own once all services were started.

    :param dispatcher: allows ``keyword``.
    :param reactor: an ``IReactorCore`` that keeps time.
    :param event_types: ``"startup"``, ``"shutdown"``, ``"persist"``; a startup that is over is told at once.
    :param keyword: the detail in which the type of the event stands.
    :param reactor_phase: when to tell: ``"before"``, in which the reactor waits, or ``"during"`` or ``"after"``, in which it does
        not.  ``None`` for ``"after"`` at the startup, when threads and signals work, and for ``"before"`` otherwise.
    :param timeout: seconds for which the reactor waits; ``None`` for no limit.
    :return: its ``remove()`` undoes it.
    :raises twisted_evproc.errors.KeywordNotAllowed: by a dispatcher that does not allow the keyword.
    :raises twisted_evproc.errors.ConfigurationError: for anything else that makes no sense.
    """
    if not IEventDispatcher.providedBy(dispatcher):
        raise ConfigurationError(f"bridge_system_events needs an object that provides IEventDispatcher, not {dispatcher!r}")
    for method in ("addSystemEventTrigger", "callLater"):
        if not callable(getattr(reactor, method, None)):
            raise ConfigurationError(f"reactor={reactor!r} is no reactor: it has no {method}()")
    listed: Any = (event_types,) if isinstance(event_types, str) else event_types
    types = tuple(dict.fromkeys(listed)) if isinstance(listed, Iterable) else ()
    if not types or not set(types) <= set(EVENT_TYPES):
        raise ConfigurationError(f"event_types={event_types!r} has to be one or more of {listing(EVENT_TYPES)}")
    if reactor_phase is not None and reactor_phase not in REACTOR_PHASES:
        raise ConfigurationError(
            f"reactor_phase={reactor_phase!r} has to be one of {', '.join(map(repr, REACTOR_PHASES))}, or None"
        )
    allowed = getattr(dispatcher, "allowed_match_spec_keywords", None)
    if allowed is not None and keyword not in allowed:
        raise KeywordNotAllowed([keyword], allowed, repr(dispatcher))
    events = [SystemEvent(type_, reactor_phase or ("after" if type_ == "startup" else "before"), reactor) for type_ in types]
    return SystemEventBridge(dispatcher, events, keyword, seconds(timeout, "timeout"))
