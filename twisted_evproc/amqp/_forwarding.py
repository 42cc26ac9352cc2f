"""Publishing what a dispatcher is fired with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from zope.interface import implementer

from ..errors import ConfigurationError
from ..interfaces import IDispatchObserver
from ._options import check_names
from ._wire import check_keyword

if TYPE_CHECKING:
    from ..dispatch import HandlerID, HandlerResult, Outcome
    from ..interfaces import FiringView


class Publish(Protocol):
    """What publishes; details come as a mapping, since they may be named like an option of ``publish``."""

    def __call__(self, event: Any, details: Mapping[str, Any], /) -> Deferred[str]: ...


@implementer(IDispatchObserver)
class Forwarding:
    """
    A handler of a dispatcher that publishes.

    :ivar handler_id: of that handler.
    """

    def __init__(self, publish: Publish, dispatcher: Any, phase: str, match_spec: Mapping[str, Any], name: str) -> None:
        """
        :raises twisted_evproc.errors.ConfigurationError: for something that is no dispatcher, an unknown phase or keyword, or a
            dispatcher that allows keywords which cannot be published.
        """
        for method in ("add_event_handler", "add_observer"):
            if isinstance(dispatcher, type) or not callable(getattr(dispatcher, method, None)):
                raise ConfigurationError(f"{dispatcher!r} has no events to forward: it has to be an EventDispatcher")
        # A dispatcher of another make may allow anything.
        keywords = getattr(dispatcher, "allowed_match_spec_keywords", None) or ()
        check_names(keywords)
        for keyword in keywords:
            _ = check_keyword(keyword)
        self._publish = publish
        self._dispatcher = dispatcher
        # Those in which we are about to be called.  Another observer may fire before we are: then that firing calls us first.
        self._begun: list[FiringView] = []
        self.handler_id: HandlerID | None = None
        adding = dispatcher.add_event_handler(self._forward, phase, handler_name=f"forward to {name}", **match_spec)
        adding.addCallback(self._added)
        # Handlers get the event alone; observers hear, right before that, what it was fired with.
        dispatcher.add_observer(self)

    def _added(self, handler_id: HandlerID) -> None:
        self.handler_id = handler_id

    def stop(self) -> Deferred[None]:
        """Publish no more; fires once no publication is under way.  Stopping twice changes nothing."""
        handler_id, self.handler_id = self.handler_id, None
        if handler_id is None:
            done: Deferred[None] = Deferred()
            done.callback(None)
            return done
        self._dispatcher.remove_observer(self)
        removed: Deferred[None] = self._dispatcher.remove_event_handler(handler_id)
        return removed

    def _forward(self, event: Any) -> Deferred[str]:
        firing = next(firing for firing in reversed(self._begun) if firing.event is event)
        self._begun.remove(firing)
        return self._publish(event, firing.details)

    def firing_started(self, firing: FiringView) -> None:
        """See :meth:`IDispatchObserver.firing_started`."""

    def handler_started(self, firing: FiringView, handler_id: HandlerID, name: str, phase: str) -> None:
        """See :meth:`IDispatchObserver.handler_started`."""
        if handler_id == self.handler_id:
            self._begun.append(firing)

    def handler_ended(self, firing: FiringView, result: HandlerResult) -> None:
        """See :meth:`IDispatchObserver.handler_ended`."""
        # It was about to be called, and was not.
        if result.handler_id == self.handler_id and firing in self._begun:
            self._begun.remove(firing)

    def firing_ended(self, firing: FiringView, outcome: Outcome | None) -> None:
        """See :meth:`IDispatchObserver.firing_ended`."""
