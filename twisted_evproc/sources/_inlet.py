"""How events get from a source into a sink: by asking it, or by letting it push."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..dispatch import watch
from ..errors import ConfigurationError, PumpStopped, QueueOverflow
from ._call import eventually
from ._event import QueuedEvent
from ._work import SLICE_SECONDS

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from ..interfaces import IEventGenerator, IEventSink, IEventSource

_LOG = Logger(namespace="twisted_evproc.sources")

#: What passes through everything else ends here: there is nobody to pass it to but the reactor, which would log it too.
PASSING = (SystemExit, KeyboardInterrupt)

#: Takes an event for which there was no room, and why.
Overflowed = Callable[[Failure, QueuedEvent], Any]


class Inlet(Protocol):
    """One source, joined to one sink."""

    @property
    def source(self) -> Any:
        """The source."""

    def start(self, clock: IReactorTime) -> Deferred[None]:
        """
        Let events come.

        :return: fires when they may come; fails when the source cannot be started.
        """

    def stop(self) -> Deferred[None]:
        """
        Let no more events come, and ask the source to stop, where it was started.

        :return: fires, never with a failure, once no event will come.
        """

    def give_up(self) -> None:
        """Wait no longer for what was begun."""


class Poller:
    """Asks a generator for its events, at once and then every so many seconds; never while an earlier poll has not ended."""

    def __init__(self, source: IEventGenerator, sink: IEventSink, interval: float, overflowed: Overflowed) -> None:
        """
        :param interval: in seconds.
        :param overflowed: hears of events that the sink refused for want of room; waited for.
        """
        self.source = source
        self._sink = sink
        self._interval = interval
        self._overflowed = overflowed
        self._clock: IReactorTime
        self._loop: LoopingCall | None = None
        self._poll: Deferred[None] | None = None
        self._stopping: Deferred[None] | None = None

    def start(self, clock: IReactorTime) -> Deferred[None]:
        """See :meth:`Inlet.start`."""
        self._clock = clock
        self._loop = LoopingCall(self._begin)
        self._loop.clock = self._clock
        _ = self._loop.start(self._interval)
        return succeed(None)

    def _begin(self) -> Deferred[None]:
        self._poll = Deferred.fromCoroutine(self._ask())
        return self._poll

    async def _ask(self) -> None:
        try:
            events = await eventually(self.source.get_events())
            await self._take(events)
        except CancelledError:
            # A generator that is asked to stop may end its poll like that.
            if self._loop is not None:
                _LOG.failure("a poll of {source} was cancelled; it is polled again", source=self.source)
        except (Exception, *PASSING):
            _LOG.failure("polling {source} failed; it is polled again", source=self.source)

    async def _take(self, events: Iterable[QueuedEvent]) -> None:
        if isinstance(events, str | bytes | Mapping) or not isinstance(events, Iterable):
            raise ConfigurationError(
                f"{self.source}: get_events() has to give an iterable of events, empty for none, not {events!r:.80}"
            )
        slice_end = self._clock.seconds() + SLICE_SECONDS
        for event in events:
            try:
                putting = self._sink.put(event)
                if not putting.called or isinstance(putting.result, Failure):
                    await putting
            except QueueOverflow:
                await eventually(self._overflowed(Failure(), event))
            except (ConfigurationError, PumpStopped) as error:
                _LOG.error("{source}: {error}", source=self.source, error=error)
            if self._clock.seconds() >= slice_end:
                await deferLater(self._clock, 0)
                slice_end = self._clock.seconds() + SLICE_SECONDS

    def stop(self) -> Deferred[None]:
        """See :meth:`Inlet.stop`."""
        loop, self._loop = self._loop, None
        if loop is not None:
            if loop.running:
                loop.stop()
            self._stopping = Deferred.fromCoroutine(self._stop())
        return _joined(self._stopping)

    async def _stop(self) -> None:
        poll = self._poll
        # Asked to stop before the poll is waited for: that may be what ends the poll.
        await _quietly(self.source, lambda: eventually(self.source.stop()))
        await _joined(poll)

    def give_up(self) -> None:
        """See :meth:`Inlet.give_up`."""
        if self._poll is not None and not self._poll.called:
            _LOG.error("a poll of {source} is given up; what it has not put yet is lost", source=self.source)
            self._poll.cancel()
        if self._stopping is not None:
            self._stopping.cancel()


class Pusher:
    """Lets a source push into the sink."""

    def __init__(self, source: IEventSource, sink: IEventSink) -> None:
        self.source = source
        self._sink = sink
        self._starting: Deferred[None] | None = None
        self._stopping: Deferred[None] | None = None
        self._works = False

    def start(self, clock: IReactorTime) -> Deferred[None]:
        """See :meth:`Inlet.start`."""
        self._starting = starting = Deferred.fromCoroutine(self._start())
        return starting

    async def _start(self) -> None:
        await eventually(self.source.start(self._sink))
        self._works = True

    def stop(self) -> Deferred[None]:
        """See :meth:`Inlet.stop`."""
        if self._starting is not None:
            self._starting.cancel()
        if self._works:
            self._works = False
            self._stopping = Deferred.fromCoroutine(_quietly(self.source, lambda: eventually(self.source.stop())))
        return _joined(self._stopping)

    def give_up(self) -> None:
        """See :meth:`Inlet.give_up`."""
        if self._stopping is not None:
            self._stopping.cancel()


def _joined(waiting: Deferred[None] | None) -> Deferred[None]:
    """A Deferred of its own for each who waits; at once where there is nothing to wait for."""
    if waiting is None or waiting.called:
        return succeed(None)
    ours: Deferred[None] = Deferred()
    watch(waiting, lambda _: ours.callback(None))
    return ours


async def _quietly(source: object, ask: Callable[[], Awaitable[Any]]) -> None:
    try:
        await ask()
    except CancelledError:
        _LOG.warn("{source} was not waited for any longer", source=source)
    except (Exception, *PASSING):
        _LOG.failure("stopping {source} failed", source=source)


def is_polled(source: Any) -> bool:
    """
    Whether a source is polled; otherwise it pushes.

    :raises twisted_evproc.errors.ConfigurationError: for what is neither.
    """
    if isinstance(source, type):
        raise ConfigurationError(f"{source!r} is a class: add an instance of it, {source.__name__}(...)")
    polled = callable(getattr(source, "get_events", None))
    if (polled or callable(getattr(source, "start", None))) and callable(getattr(source, "stop", None)):
        return polled
    raise ConfigurationError(
        f"{source!r} is no source of events: it needs get_events() and stop() to be polled, or start(sink) and stop() to push; "
        f"subclassing EventGenerator brings both"
    )
