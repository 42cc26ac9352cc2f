"""
The contracts: read this first.

The words are fixed in the glossary (``docs/glossary.rst``).  What a dispatcher promises beyond the signatures, and what it does
not, stands with each method.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from .dispatch import HandlerID, HandlerResult, Outcome

T = TypeVar("T")

#: What a handler may return: a plain value, a Deferred of one, or (``async def``) a coroutine.
Eventual: TypeAlias = T | Deferred[T] | Coroutine[Any, Any, T]

#: A handler: called with the event alone, returns an ``Eventual``.
Handler: TypeAlias = Callable[[Any], Any]

#: A predicate over the event itself.
Predicate: TypeAlias = Callable[[Any], object]

#: Hears ``(event, details)`` of an event that no handler wanted; may return a Deferred or a coroutine.
UnhandledListener: TypeAlias = Callable[[Any, Mapping[str, Any]], Any]


class Filter(Protocol):
    """A predicate over an event, as an object; see :mod:`twisted_evproc.matching`."""

    def matches(self, event: Any) -> bool:
        """Whether the event passes."""


class FiringView(Protocol):
    """What an observer sees of a firing under way."""

    @property
    def event(self) -> Any:
        """The event."""

    @property
    def details(self) -> Mapping[str, Any]:
        """The keyword arguments it was fired with."""


class IBackgroundUtility(Interface):
    """Something that is started and stopped with the application."""

    running: bool = Attribute("Whether :meth:`start` was called, and :meth:`stop` not yet since.")

    def start() -> Deferred[None]:
        """
        Begin to work.  Starting what runs already changes nothing.

        :return: fires with ``None`` once it works.
        """

    def stop(timeout: float | None = None) -> Deferred[None]:
        """
        Take no new work and finish what was taken.  Stopping what does not run changes nothing.

        :param timeout: seconds after which the work that is left is cancelled, or ``None`` for no limit.
        :return: fires with ``None`` once nothing is left to do.
        """


class IEventDispatcher(Interface):
    """
    Tells handlers about events: which ones, in what order, and what came of it.

    All methods belong to one thread, the reactor's where there is one.  Handlers may call any of them, and may wait for what they
    return: nothing is locked while a handler runs.  What is wrong with a call itself (a keyword that is not allowed, an unknown
    phase, a bad option) is raised at once; everything else arrives by the Deferred.
    """

    def add_event_handler(
        listen_fn: Handler,
        phase: str,
        use_weakref: bool = False,
        *,
        handler_name: str | None = None,
        where: Filter | Predicate | None = None,
        requires: Iterable[str] | str = (),
        required_by: Iterable[str] | str = (),
        max_calls: int | None = None,
        timeout: float | None = None,
        **match_spec: Any,
    ) -> Deferred[HandlerID]:
        """
        Register a handler.  A firing under way does not hear of it; the next one does.

        :param listen_fn: called with the event; may return a plain value or a Deferred, or be ``async def``.
        :param phase: the name of the phase in which it runs.
        :param use_weakref: do not keep the function, or a bound method's instance, alive: the registration goes with it.
        :param handler_name: the name that ``requires`` and ``required_by`` of others speak of, and that results and logs show;
            ``None`` takes ``listen_fn.__name__``.  Names need not be unique.
        :param where: a filter or predicate over the event itself, asked when the event is fired, before any handler runs.
        :param requires: names of handlers that have to finish first, when they run for the same event.  A name that is not
            registered, or does not match the event, counts as fulfilled.
        :param required_by: names of handlers that have to wait for this one.
        :param max_calls: never more calls than this, then removed; ``None`` for no limit.
        :param timeout: seconds after which its Deferred is cancelled and it counts as failed; ``None`` for no limit.
        :param match_spec: allowed keywords and the values (or matchers) the details need to have.  ``None`` and ``ANY`` match
            everything, the keyword's absence included.
        :return: fires at once with the ID that :meth:`remove_event_handler` takes.
        :raises twisted_evproc.errors.ConfigurationError: for a wrong option; nothing is registered then.
        """

    def remove_event_handler(event_handler_id: HandlerID) -> Deferred[None]:
        """
        Remove a handler: it is not called any more, not even by firings under way.

        :return: fires with ``None`` once no call of the handler is running (at once where none is); a call that itself removes
            the handler, or waits for something that does, is not waited for, nor is one that was abandoned because it went on
            after its time-out.  Fails with
            :class:`~twisted_evproc.errors.UnknownHandler` (a ``LookupError``) for an ID that is not registered.
        """

    def fire_event(event: Any, /, **event_details: Any) -> Deferred[Outcome]:
        """
        Tell the matching handlers about an event, phase by phase.

        :param event: any value; every handler gets this very object.
        :param event_details: allowed keywords, on which handlers match.
        :return: fires with the :class:`~twisted_evproc.dispatch.Outcome` when the last phase has finished.  Cancelling it cancels
            the handlers that run and skips the rest, and it fails with ``CancelledError``.  Whether it fails when handlers fail
            is up to the dispatcher's failure policy.
        """


class IDispatchObserver(Interface):
    """
    Hears what a dispatcher does, for progress, metrics and tracing.

    Called synchronously, in the order of what happens.  An observer's exception is logged and changes nothing.
    """

    def firing_started(firing: FiringView) -> None:
        """A firing begins; the same ``firing`` object comes with all that follows of it."""

    def handler_started(firing: FiringView, handler_id: HandlerID, name: str, phase: str) -> None:
        """A handler is about to be called."""

    def handler_ended(firing: FiringView, result: HandlerResult) -> None:
        """A handler has returned, failed, or was skipped."""

    def firing_ended(firing: FiringView, outcome: Outcome | None) -> None:
        """A firing is over; ``outcome`` is ``None`` when it was cancelled."""


__all__ = [
    "Eventual",
    "Filter",
    "FiringView",
    "Handler",
    "IBackgroundUtility",
    "IDispatchObserver",
    "IEventDispatcher",
    "Predicate",
    "UnhandledListener",
]
