"""What a dispatcher tells the log and its observers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import ConfigurationError, FiringTooDeep, UnknownHandler
from ..interfaces import IDispatchObserver

if TYPE_CHECKING:
    from ._callee import Callee

_LOG = Logger(namespace="twisted_evproc.dispatch")


class Report:
    """
    Speaks for one dispatcher.

    :ivar observers: the observers; firings look here before they make anything for them.
    :ivar abandoned: how many calls were given up because they ignored being cancelled.
    """

    def __init__(self, dispatcher: object) -> None:
        self._dispatcher = dispatcher
        self.observers: tuple[Any, ...] = ()
        self.abandoned = 0

    def add_observer(self, observer: Any) -> None:
        """See :meth:`Runner.add_observer`."""
        missing = [name for name in IDispatchObserver.names() if not callable(getattr(observer, name, None))]
        if missing:
            raise ConfigurationError(f"{observer!r} cannot observe: it has no {', '.join(sorted(missing))}()")
        self.observers = (*self.observers, observer)

    def remove_observer(self, observer: Any) -> None:
        """See :meth:`Runner.remove_observer`."""
        if not any(other is observer for other in self.observers):
            raise UnknownHandler(observer, repr(self._dispatcher))
        self.observers = tuple(other for other in self.observers if other is not observer)

    def notify(self, method: str, *args: Any) -> None:
        """Call a method of every observer."""
        for observer in self.observers:
            try:
                getattr(observer, method)(*args)
            except Exception:
                _LOG.failure("observer {observer!r} failed in {method}()", observer=observer, method=method)

    def _about(self, callee: Callee) -> dict[str, Any]:
        """What every message about a handler carries."""
        return {
            "title": callee.title,
            "handler": callee.qualified_name,
            "handler_name": callee.name,
            "phase": callee.phase,
            "dispatcher": self._dispatcher,
        }

    def handler_failed(self, callee: Callee, event: Any, failure: Failure) -> None:
        """A handler's failure, under a policy that logs it, or so late that nobody else hears of it."""
        _LOG.failure(
            "handler {title} of {dispatcher!r} failed for event {event!r}",
            failure,
            event=event,
            **self._about(callee),
        )

    def handler_abandoned(self, callee: Callee, event: Any) -> None:
        """A handler whose time is up swallows that it was cancelled."""
        self.abandoned += 1
        _LOG.error(
            "handler {title} of {dispatcher!r} ignores that it was cancelled after {seconds} s, "
            "for event {event!r}: abandoned, the phase goes on without it",
            seconds=callee.timeout,
            event=event,
            **self._about(callee),
        )

    def matcher_failed(self, callee: Callee, details: Mapping[str, Any]) -> None:
        """The exception being handled came out of a matcher."""
        _LOG.failure(
            "a matcher of handler {title} of {dispatcher!r} failed for {details!r}: the handler is not called",
            details=details,
            **self._about(callee),
        )

    def listener_failed(self, listener: object, failure: Failure) -> None:
        """A listener to unhandled events failed."""
        _LOG.failure(
            "listener {listener!r} to unhandled events of {dispatcher!r} failed",
            failure,
            listener=listener,
            dispatcher=self._dispatcher,
        )

    def not_running(self, event: Any) -> None:
        """An event came before the start, or after the end."""
        _LOG.warn(
            "{dispatcher!r} is not started, or stopped again: nobody hears of {event!r}; call start() first",
            dispatcher=self._dispatcher,
            event=event,
        )

    def too_deep(self, error: FiringTooDeep, event: Any) -> None:
        """An event was fired too deep inside others."""
        _LOG.error("{error} Event: {event!r}", error=error, event=event)

    def cut_short(self, event: Any, seconds: float) -> None:
        """Stopping takes too long for this event."""
        _LOG.warn(
            "{dispatcher!r} stops: what is left of event {event!r} after {seconds} s is cancelled",
            dispatcher=self._dispatcher,
            event=event,
            seconds=seconds,
        )
