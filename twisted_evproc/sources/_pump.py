"""Brings events from sources to handlers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from .._options import checked_clock, flag, needed_number, needed_seconds, seconds
from .._reactor import default_clock
from ..errors import ConfigurationError, PumpStopped
from ..interfaces import IBackgroundUtility, IEventSink
from ._call import Caller, call_here, threaded_call
from ._consumer import Consumer
from ._event import QueuedEvent
from ._handlers import as_handler, check_handler
from ._inlet import Inlet, Poller, Pusher, is_polled
from ._queue import WAIT, BoundedQueue, Overflow

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from ..interfaces import IEventGenerator, IEventHandler, IEventSource

T = TypeVar("T")

_LOG = Logger(namespace="twisted_evproc.sources")

#: How many events wait for their handlers at most, unless the program says otherwise.
MAX_QUEUED = 1_000


@attrs.frozen
class PumpStatistics:
    """
    What a pump has done since it was made.

    :ivar depth: events that are queued now, without the one in work.
    :ivar waiting: puts that wait for room now.
    :ivar processed: events taken to an end, failed or not.
    :ivar failed: events whose handler failed.
    :ivar dropped: events dropped because the queue was full, or left when time was up for stopping.
    :ivar refused: events that were not taken because the queue was full, under ``FAIL``.
    """

    depth: int
    waiting: int
    processed: int
    failed: int
    dropped: int
    refused: int


@implementer(IBackgroundUtility, IEventSink)
class EventPump:
    """
    Polls generators, lets sources push, queues their events, and gives them to their handlers, one at a time and in order.

    The queue is bounded; a handler's failure goes to the error handler.  All methods belong to the reactor's thread.

    :ivar running: whether it was started, and not stopped since.
    """

    def __init__(
        self,
        poll_interval: float = 1.0,
        max_queued: int = MAX_QUEUED,
        overflow: Overflow = WAIT,
        in_thread: bool = False,
        clock: IReactorTime | None = None,
        *,
        handler: Any = None,
        name: str = "",
    ) -> None:
        """
        :param poll_interval: seconds from one poll of a generator to the next.
        :param max_queued: how many events may be queued, 1 or more; the one in work does not count.
        :param overflow: what becomes of an event for which there is no room.
        :param in_thread: call handlers on the reactor's thread pool, one at a time.  For handlers that block.
        :param clock: for polling; ``None`` takes the global reactor when the pump is started.
        :param handler: for events that bring none: an :class:`~twisted_evproc.interfaces.IEventHandler`, or a dispatcher or
            processor to hand their data to.
        :param name: names it in messages.
        :raises twisted_evproc.errors.ConfigurationError: for an option that makes no sense.
        """
        interval = needed_seconds(poll_interval, "poll_interval")
        limit = needed_number(max_queued, "max_queued", 1)
        if not isinstance(overflow, Overflow):
            raise ConfigurationError(f"overflow={overflow!r} has to be one of {', '.join(map(repr, Overflow))}")
        self.name = str(name)
        self.running = False
        self._interval = interval
        self._in_thread = flag(in_thread, "in_thread")
        self._clock = checked_clock(clock, "clock")
        self._handler: IEventHandler | None = as_handler(handler, "handler")
        self._queue = BoundedQueue(limit, overflow, self)
        self._consumer = Consumer(self._queue, self._handler, self)
        self._inlets: list[Inlet] = []
        self._inflow = _Inflow(self._check, self._queue)
        # Sources that were removed, and have not stopped yet.
        self._leaving: list[Inlet] = []
        self._stopped = False
        # What the last start() began; it goes on only as long as it is the last word.
        self._life: _Life | None = None
        self._halting: Deferred[None] | None = None
        self._giving_up = False
        self._stops: list[Deferred[None]] = []

    def __repr__(self) -> str:
        return f"<EventPump {self.name!r}>" if self.name else "<EventPump>"

    # -- what it consists of

    def add_event_generator(self, generator: IEventGenerator | IEventSource, poll_interval: float | None = None) -> None:
        """
        Take events from a source.  While the pump runs, at once; what keeps the source from starting is then logged.

        :param generator: is polled where it has ``get_events()``, otherwise it pushes; see
            :class:`~twisted_evproc.interfaces.IEventGenerator` and :class:`~twisted_evproc.interfaces.IEventSource`.
        :param poll_interval: seconds between polls of this one; ``None`` for those of the pump.
        :raises twisted_evproc.errors.ConfigurationError: for what is neither, or was added before.
        """
        interval = seconds(poll_interval, "poll_interval") or self._interval
        if any(inlet.source is generator for inlet in (*self._inlets, *self._leaving)):
            raise ConfigurationError(f"{generator} was added to {self!r} before, and is there, or has not stopped yet")
        inlet: Inlet
        if is_polled(generator):
            inlet = Poller(cast("IEventGenerator", generator), self._inflow, interval, self._consumer.tell)
        else:
            inlet = Pusher(cast("IEventSource", generator), self._inflow)
        self._inlets.append(inlet)
        if self.running:
            self._start_late(inlet)

    def _start_late(self, inlet: Inlet) -> None:
        def not_started(failure: Failure) -> None:
            if inlet in self._inlets:
                self._inlets.remove(inlet)
            _LOG.failure("{source} could not be started", failure, source=inlet.source)

        starting = Deferred.fromCoroutine(self._start_source(inlet, self._life, default_clock(self._clock)))
        _ = starting.addErrback(not_started)

    def remove_event_generator(self, generator: IEventGenerator | IEventSource) -> Deferred[None]:
        """
        Stop a source and forget it; its events that are queued are processed.

        :return: fires once it has stopped.
        :raises twisted_evproc.errors.ConfigurationError: when it was not added.
        """
        for inlet in self._inlets:
            if inlet.source is generator:
                self._inlets.remove(inlet)
                return self._let_go(inlet)
        raise ConfigurationError(f"{generator} was not added to {self!r}")

    def _let_go(self, inlet: Inlet) -> Deferred[None]:
        self._leaving.append(inlet)
        return Deferred.fromCoroutine(self._leave(inlet))

    async def _leave(self, inlet: Inlet) -> None:
        await inlet.stop()
        self._leaving.remove(inlet)

    @property
    def generators(self) -> tuple[Any, ...]:
        """The sources, in the order they were added."""
        return tuple(inlet.source for inlet in self._inlets)

    def error_handler(self, handler: IEventHandler | None) -> None:
        """
        Let a handler hear of failures, in place of the one before.

        It gets a :class:`QueuedEvent` with the pump as originator, itself as handler and ``(exception, original event)`` as
        data, and is waited for.  Its own failures are logged, and end there.

        :param handler: an :class:`~twisted_evproc.interfaces.IEventHandler`; ``None`` to log failures, as at first.
        :raises twisted_evproc.errors.ConfigurationError: for anything else.
        """
        self._consumer.error_handler = None if handler is None else check_handler(handler, "the error handler")

    # -- events

    def put(self, event: QueuedEvent) -> Deferred[bool]:
        """
        See :meth:`IEventSink.put`.

        Before the pump is started events are queued.

        :raises twisted_evproc.errors.ConfigurationError: for what is no :class:`QueuedEvent`, or one that nobody would handle.
        """
        self._check(event)
        return fail(PumpStopped(event, repr(self))) if self._stopped else self._queue.put(event)

    def _check(self, event: QueuedEvent) -> None:
        if not isinstance(event, QueuedEvent):
            raise ConfigurationError(f"{self!r} takes instances of QueuedEvent, not {event!r:.80}")
        if event.handler is None:
            if self._handler is None:
                raise ConfigurationError(f"{event} has no handler, and {self!r} has none for such events: EventPump(handler=...)")
        elif isinstance(event.handler, type) or not callable(getattr(event.handler, "process_event", None)):
            check_handler(event.handler, f"the handler of {event}")

    def statistics(self) -> PumpStatistics:
        """What it has done so far."""
        queue, consumer = self._queue, self._consumer
        return PumpStatistics(len(queue), queue.waiting, consumer.processed, consumer.failed, queue.dropped, queue.refused)

    # -- life

    def start(self) -> Deferred[None]:
        """
        See :meth:`IBackgroundUtility.start`.

        Generators are polled for the first time now.  A pump that is about to stop does so first.  A second call joins the first.

        :return: fires once every source works, or once it is stopped before.  Fails with what keeps a source from starting;
            nothing runs then.
        """
        if self._life is not None:
            return self._life.when_started()
        clock = default_clock(self._clock)
        call = threaded_call(self._clock) if self._in_thread else call_here
        life = self._life = _Life()
        return Deferred.fromCoroutine(self._start(life, call, clock)).addBoth(life.started)

    async def _start(self, life: _Life, call: Caller, clock: IReactorTime) -> None:
        while self._stops:
            await self._ended()
        if self._life is not life:
            return
        self.running = True
        self._stopped = False
        self._queue.closed = False
        self._consumer.open(call, clock)
        await self._start_sources(life, clock)

    async def _start_sources(self, life: _Life, clock: IReactorTime) -> None:
        for inlet in tuple(self._inlets):
            if self._life is not life:
                return
            if inlet not in self._inlets:
                continue
            try:
                await self._start_source(inlet, life, clock)
            except Exception:
                if self._life is life:
                    await self.stop()
                raise

    async def _start_source(self, inlet: Inlet, life: _Life | None, clock: IReactorTime) -> None:
        """Fails with what keeps the source from starting, but not when that is a stop, or its removal."""
        try:
            await inlet.start(clock)
        except CancelledError:
            if self._life is life and inlet in self._inlets:
                raise
            return
        except Exception:
            if inlet in self._inlets:
                raise
            _LOG.failure("{source} was removed while it started, and failed", source=inlet.source)
            return
        # It may have called for that itself, before it could be stopped.
        if inlet not in self._inlets:
            _ = self._let_go(inlet)
        elif self._life is not life:
            await inlet.stop()

    def stop(self, timeout: float | None = None) -> Deferred[None]:
        """
        See :meth:`IBackgroundUtility.stop`.

        Polls no more, asks each source to stop, and lets the events that are queued, or wait for room, be processed.  When time
        is up the handler at work is cancelled, and what is left is dropped, counted and logged.  A handler that calls it does not
        wait for itself: it gets a Deferred that has fired.
        """
        limit = seconds(timeout, "timeout")
        self._life = None
        if not self.running and not self._stops:
            return succeed(None)
        waiting = self._ended()
        if self.running:
            self.running = False
            self._stopped = True
            self._halting = Deferred.fromCoroutine(self._halt())
            _ = self._halting.addBoth(self._halted)
        if limit is not None and not waiting.called:
            timer = default_clock(self._clock).callLater(limit, self._give_up)
            _ = waiting.addBoth(_cancelled, timer)
        return succeed(None) if self._consumer.called_us else waiting

    def _ended(self) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self._stops.append(waiting)
        return waiting

    async def _halt(self) -> None:
        stopping = [inlet.stop() for inlet in (*self._inlets, *self._leaving)]
        for each in stopping:
            await each
        self._queue.close()
        await self._consumer.when_idle()
        self._consumer.close()

    def _give_up(self) -> None:
        self._giving_up = True
        for inlet in (*self._inlets, *self._leaving):
            inlet.give_up()
        self._queue.close()
        self._consumer.give_up()
        left = self._queue.clear()
        if left:
            _LOG.error("{pump!r} was stopped with {left} events left: dropped", pump=self, left=left)
        if self._halting is not None:
            self._halting.cancel()
        self._giving_up = False
        self._tell_stopped()

    def _halted(self, result: object) -> None:
        if isinstance(result, Failure):
            _ = result.trap(CancelledError)
        if not self._giving_up:
            self._tell_stopped()

    def _tell_stopped(self) -> None:
        stops, self._stops = self._stops, []
        for waiting in stops:
            waiting.callback(None)


class _Life:
    """A pump from a start to the next stop."""

    def __init__(self) -> None:
        self._starting = True
        self._joined: list[Deferred[None]] = []

    def when_started(self) -> Deferred[None]:
        """What the start comes to, for another who waits for it."""
        if not self._starting:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._joined.append(waiting)
        return waiting

    def started(self, result: T) -> T:
        """The start has come to this."""
        self._starting = False
        joined, self._joined = self._joined, []
        for waiting in joined:
            if isinstance(result, Failure):
                waiting.errback(result)
            else:
                waiting.callback(None)
        return result


@implementer(IEventSink)
class _Inflow:
    """What the sources of a pump put their events into: they may longer than others, while they are asked to stop."""

    def __init__(self, check: Callable[[QueuedEvent], None], queue: BoundedQueue) -> None:
        self._check = check
        self._queue = queue

    def put(self, event: QueuedEvent) -> Deferred[bool]:
        """See :meth:`IEventSink.put`."""
        self._check(event)
        return self._queue.put(event)


def _cancelled(result: Any, timer: IDelayedCall) -> Any:
    if timer.active():
        timer.cancel()
    return result
