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
    from .amqp import DeadLetters, Encoded, Forwarding, TransportStatistics
    from .dispatch import HandlerID, HandlerResult, Outcome
    from .flow import Attempt, Batch, RunRow, Snapshot
    from .sources import QueuedEvent

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
            the handlers that run and skips the rest, and it fails with ``CancelledError``; failures that only the outcome would
            have told are logged then.  Whether it fails when handlers fail is up to the dispatcher's failure policy.
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


class IEventHandler(Interface):
    """
    An object that processes queued events.

    ``str()`` of it is a readable name, for messages.
    """

    def process_event(event: QueuedEvent) -> Any:
        """
        Process an event.

        Called on the reactor's thread, or, by a pump that works in threads, on one of its pool.

        :return: a value, a Deferred or a coroutine of one.  A false result is no failure; it ends a chain of handlers.  What it
            raises, or fails with, goes to the pump's error handler.
        """


class IEventGenerator(Interface):
    """
    A source that is asked for its events, by a pump that polls it.

    Called on the reactor's thread alone, and never while an earlier poll has not ended.
    """

    def get_events() -> Eventual[Iterable[QueuedEvent]]:
        """
        All events since the last call.

        :return: an iterable of events, or a Deferred or a coroutine of one; empty where there are none.  It is gone through only
            as fast as the queue takes the events, so one that makes them lazily needs no memory for them.  A failure is logged,
            and the generator polled again after the interval.
        """

    def stop() -> Eventual[Any]:
        """
        Give back what is held: files, connections.  Not polled any more; the events of a poll under way are still taken.
        """


class IEventSink(Interface):
    """What takes the events of sources."""

    def put(event: QueuedEvent) -> Deferred[bool]:
        """
        Hand an event over.

        :return: fires with ``True`` once the event is queued, with ``False`` when it was dropped.  A source waits for it before
            it puts the next event: that is how a full queue slows it down.  Cancelling it takes an event back that is not queued
            yet.  Fails with :class:`~twisted_evproc.errors.QueueOverflow` where a full queue is to fail, and with
            :class:`~twisted_evproc.errors.PumpStopped` once no more is taken.
        """


class IEventSource(Interface):
    """
    A source that pushes: it hands its events over when they happen.

    All calls are on the reactor's thread.
    """

    def start(sink: IEventSink) -> Eventual[Any]:
        """
        Begin to put events into the sink.

        :return: ends when the source works (a server listens).  Fails when it cannot; it then holds nothing, and is not stopped.
            Cancelled when the pump is stopped in the meantime.
        """

    def stop() -> Eventual[Any]:
        """
        Put no more events, and give back what is held.

        :return: ends when no event will come any more.  An event whose ``put`` still waits may be waited for.
        """


class IFlowStore(Interface):
    """
    Keeps runs of flows so that they survive their engine.

    Methods are called on the reactor's thread and block nobody.  One engine at a time has a run.
    """

    state: str = Attribute("``open``, ``closed``, or why commits wait at present, in words.")

    def open() -> Deferred[None]:
        """
        Open the store, making or migrating its schema where needed.  Nothing else may be called before it has fired.

        :return: fires once it can be used.  Fails with :class:`~twisted_evproc.errors.StoreInUse` when another engine has it,
            with :class:`~twisted_evproc.errors.StoreTooNew` when a newer version wrote it, with
            :class:`~twisted_evproc.errors.StoreUnusable` for what else is in the way.
        """

    def runs(name: str | None = None) -> Deferred[list[RunRow]]:
        """The runs there are, of one flow or of all, oldest first."""

    def begin(name: str, run_id: str | None, owner: str) -> Deferred[Snapshot]:
        """
        Make a new run and take it.

        :return: fires with the run as it is, with nothing in it but what other runs hold; fails with
            :class:`~twisted_evproc.errors.RunExists` when there is one with this ID.
        """

    def take(run_id: str, owner: str) -> Deferred[Snapshot]:
        """
        Take a run that is there: its epoch goes up, and no engine that had it before can commit any more.

        :return: fails with :class:`~twisted_evproc.errors.UnknownRun`, or with :class:`~twisted_evproc.errors.RunInUse` when a
            living engine has it.
        """

    def commit(run_id: str, epoch: int, batch: Batch) -> Deferred[None]:
        """
        Make changes durable, all or none, in the order of the calls.

        Several calls may share one transaction.  While the database cannot write (disk full, locked, connection lost) the commit
        waits and is tried again, with back-off; ``state`` and the listener of :meth:`watch_state` say why.

        :return: fires once they are durable; fails with :class:`~twisted_evproc.errors.RunLost` when another engine took the run,
            and with :class:`~twisted_evproc.errors.StoreUnusable` for what waiting does not mend: then so do all further commits
            of the run, until it is taken again.  Cancelling it takes nothing back.
        """

    def watch_state(listener: Callable[[str], object]) -> None:
        """Let a function hear of each new ``state``."""

    def close() -> Deferred[None]:
        """Finish the commits under way and let go of the store."""


class IStepExecutor(Interface):
    """
    Runs the functions of steps somewhere.

    Methods are called on the reactor's thread and block nobody.  An executor that runs attempts where their ``host`` says has an
    attribute ``knows_hosts`` that is true; without it, a step that names a host is refused.
    """

    name: str = Attribute("What configuration calls it.")

    def start() -> Eventual[Any]:
        """
        Get ready.  Called again after :meth:`stop`, or when it has failed, it works anew.

        Nothing else is called before what it returns has fired, except :meth:`stop`, behind cancelling it.  When it fails, the
        attempts fail that were to be submitted.
        """

    def submit(attempt: Attempt) -> Deferred[Any]:
        """
        Run an attempt.

        An executor that lets it wait for its turn calls ``attempt.waits()`` before this returns, and ``attempt.begins()`` when
        its turn has come: the step's time-out counts from then.  Otherwise it counts from here.

        :return: fires with what the function returned; fails with its exception, or with
            :class:`~twisted_evproc.errors.StepDied` when what ran it ended without an answer.  Cancelling it ends the attempt
            where that is possible, and fails with ``CancelledError`` at once in any case; an attempt that cannot be ended is
            abandoned, counted and logged.
        """

    def adopt(attempt: Attempt) -> Deferred[Any] | None:
        """
        Take up an attempt that an earlier engine submitted.

        :return: as of :meth:`submit` where it still runs or has ended with an answer somewhere; ``None`` where it died with the
            earlier engine, as those on the same machine do.
        """

    def stop(timeout: float | None = None) -> Deferred[None]:
        """
        End; what runs is ended after ``timeout`` seconds.

        :return: fires when it has ended.  A failure is logged.
        """


class IEventTransport(IBackgroundUtility):
    """
    Carries events between processes, at least once.

    All methods belong to the reactor's thread.  Values across the wire are ``str``, ``int`` (64 bits) and ``bool``, and compared
    with their type: ``1`` is not ``True``.
    """

    state: str = Attribute("``stopped``, ``connecting``, ``up``, ``blocked`` (the broker takes nothing for now) or ``down``.")
    dispatcher: IEventDispatcher = Attribute("Fires every change of ``state``, with the keyword ``name``.")

    def publish(event: Any, /, *, event_id: str | None = None, **details: Any) -> Deferred[str]:
        """
        Hand an event to all groups whose match-spec its details fulfil.

        :param event: what the codec takes; without one of your own, a JSON value.
        :param event_id: the ID of an event that was published before and may have arrived, to publish it again; ``None`` for a
            new one.
        :param details: keywords and values on which groups match; those that are ``None`` are left out.
        :return: fires with the event's ID once it is safe with the broker, so that every group bound to it will get it.  Fails
            with :class:`~twisted_evproc.errors.Unroutable` when nobody is bound to it, unless that is allowed; with
            :class:`~twisted_evproc.errors.Overflow` at once when too many events wait already; with
            :class:`~twisted_evproc.errors.PublishTimeout` when no confirmation came in time, after which it may arrive or not;
            with :class:`~twisted_evproc.errors.TransportStopped` when the transport is not running or ends before it is sent.
            Cancelling it takes back what is not sent yet.
        :raises twisted_evproc.errors.WireError: for details that cannot cross the wire.
        :raises twisted_evproc.errors.EventNotEncodable: for an event that the codec cannot write.
        :raises twisted_evproc.errors.EventTooLarge: for one that is larger than allowed.
        """

    def subscribe(group: str, target: Any, /, **options_and_match_spec: Any) -> Deferred[ISubscription]:
        """
        Give events to a dispatcher, a processor or a handler.

        Members of a group share its events, each of which goes to one of them; every group gets its own copy.  An event is
        acknowledged only after the target has finished with it, all phases included.

        :param group: the group's name.
        :param target: a dispatcher, which is fired with those details that it allows; a processor, or a handler object, or a
            function of the event.
        :param options_and_match_spec: the subscription's options, and keywords with the values that the details need to have: a
            value, ``one_of(...)``, ``present``, or ``ANY`` and ``None`` for everything, absence included.
        :return: fires once events of the kind published from now on will reach the group.  Fails with
            :class:`~twisted_evproc.errors.SubscriptionRefused`.  Cancelling it gives the subscription up.
        """

    def forward(dispatcher: IEventDispatcher, phase: str = "after", **match_spec: Any) -> Deferred[Forwarding]:
        """
        Publish a dispatcher's events that match, with the details they were fired with.

        A publication is a handler of that dispatcher: its firing waits for the confirmation, and it can fail.

        :param phase: the dispatcher's phase in which it is done.
        :return: fires at once with what ends it.
        :raises twisted_evproc.errors.WireError: for a dispatcher that allows keywords which cannot be published.
        """

    def dead_letters(group: str) -> DeadLetters:
        """The events that the handlers of a group could not handle: to look at, to replay, to delete."""

    def statistics() -> TransportStatistics:
        """What was done so far, and what waits."""


class ISubscription(Interface):
    """A group's events on their way to a target of this process."""

    group: str = Attribute("The group.")
    match_spec: Mapping[str, Any] = Attribute("What events have to match.")
    active: bool = Attribute("Whether events come in at present.")

    def change(**match_spec: Any) -> Deferred[None]:
        """
        Let the group match something else from now on.

        Events that wait already are still handled.

        :return: fires once the new match-spec holds and the old one does not any more.  Fails with
            :class:`~twisted_evproc.errors.TransportError` once :meth:`unsubscribe` or :meth:`delete` was called, and while there
            is no connection.
        """

    def unsubscribe() -> Deferred[None]:
        """
        Take no more events, and finish those under way.  The group and its events stay.

        :return: fires once nothing is under way any more; called by a handler of one of these events, once nothing else is.
        """

    def delete() -> Deferred[None]:
        """As :meth:`unsubscribe`; then remove the group with all its events, from the broker."""


class ICodec(Interface):
    """Writes events as bytes, and reads them again.  Both methods are plain functions of what they are given."""

    def encode(event: Any) -> Encoded:
        """
        Write an event.

        :raises Exception: for one that it cannot write; the message says why.
        """

    def decode(body: bytes, content_type: str, event_type: str) -> Any:
        """
        Read an event.

        :param content_type: the media type; empty where the publisher gave none.
        :param event_type: the CloudEvents ``type``; empty where the publisher gave none.
        :raises Exception: for what it cannot read: such an event goes to the dead letters at once.
        """


class IDeduplicator(Interface):
    """
    Remembers which events were handled, so that a second delivery is not handled again.

    What it raises, or fails with, is logged, and is no failure of the event: what ``seen`` does not tell is asked again until it
    does, and the event waits; what cannot be remembered was handled all the same, and a second delivery would be handled too.
    """

    def open() -> Eventual[Any]:
        """Get ready; called before anything else, and again by each who uses it and after each reconnection."""

    def seen(scope: str, event_id: str) -> Eventual[bool]:
        """
        Whether an event was remembered.

        :param scope: one exchange and group.
        :param event_id: what tells the event from all others in a scope, made of its source and its ID: printable text of 512
            characters at most, always the same for the same event.
        """

    def remember(scope: str, event_id: str) -> Eventual[Any]:
        """Remember an event; remembering it twice changes nothing.  See :meth:`seen`."""

    def close() -> Eventual[Any]:
        """Let go of what is held; called by whoever made it."""


__all__ = [
    "Eventual",
    "Filter",
    "FiringView",
    "Handler",
    "IBackgroundUtility",
    "ICodec",
    "IDeduplicator",
    "IDispatchObserver",
    "IEventDispatcher",
    "IEventGenerator",
    "IEventHandler",
    "IEventSink",
    "IEventSource",
    "IEventTransport",
    "IFlowStore",
    "IStepExecutor",
    "ISubscription",
    "Predicate",
    "UnhandledListener",
]
