"""Lines that come from an application's sources."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.reflect import safe_str
from zope.interface import implementer

from ..errors import ApplicationError, ConfigurationError, EvprocError
from ..interfaces import IEventGenerator, IEventSink, IEventSource
from ..sources import EventHandler, EventPump, QueuedEvent, RaiseEventHandler
from ._events import Line, LineError
from ._incoming import DROP_SECONDS, IncomingLines
from ._traces import summary_of

_LOG = Logger(namespace="twisted_evproc.cli")


@attrs.frozen
class EventLine:
    """
    An event of a source.

    :ivar own_handler: the handler that the event brought along, or ``None``.
    """

    number: int
    originator: Any
    data: Any
    own_handler: Any

    def record(self) -> Any:
        """See :meth:`Line.record`."""
        if self.own_handler is None:
            return self.data
        if isinstance(self.own_handler, RaiseEventHandler):
            raise LineError(f"{safe_str(self.originator)}: {safe_str(self.own_handler.error)}")
        raise LineError(
            f"{safe_str(self.originator)}: the event has a handler of its own ({safe_str(self.own_handler)}), but here the "
            f"application handles events; leave the handler out where the source is made"
        )


class SourceLines(IncomingLines):
    """
    The events of sources, each a line.

    The queue of a pump slows the sources down when they bring more than is read.
    """

    def __init__(self, name: str, sources: Iterable[Any], clock: IReactorTime, *, held: bool = False) -> None:
        """
        :param name: of the sources together, for messages.
        :param sources: generators to be polled, and sources that push.
        :param clock: for polling.
        :param held: give no line to who reads before :meth:`release` is called.
        :raises twisted_evproc.errors.ApplicationError: for what is no source.
        """
        super().__init__(name)
        self._number = 0
        # A line that waits for a reader, and what then tells the pump to go on.
        self._offered: tuple[Line, Deferred[None]] | None = None
        self._held = held
        self._pump = EventPump(handler=_Offer(self._offer, None), clock=clock, name=name)
        self._sources = tuple(sources)
        self._add(self._sources)

    def __str__(self) -> str:
        return ", ".join(str(safe_str(source)) for source in self._sources) or "nowhere: the application names no sources"

    def _add(self, sources: Iterable[Any]) -> None:
        # Knows what a source is, and which one is there twice; ours get them in a wrapping.
        check = EventPump()
        for source in sources:
            try:
                check.add_event_generator(source)
            except ConfigurationError as error:
                raise ApplicationError(self.name, str(error)) from error
            polled = callable(getattr(source, "get_events", None))
            wrapping = _WrappedGenerator if polled else _WrappedSource
            self._pump.add_event_generator(wrapping(source, self._redirected, self.name))

    def release(self) -> None:
        """Give out lines from now on."""
        self._held = False
        if self._offered is not None and self._reader is not None:
            (line, taken), self._offered = self._offered, None
            _ = self._hand_over(line)
            taken.callback(None)

    def drain(self) -> bool:
        """See :meth:`Lines.drain`."""
        self.release()
        self._draining = self._pump.stop().addBoth(self._end)
        return True

    def close(self) -> Deferred[None]:
        """See :meth:`Lines.close`."""
        return self._pump.stop(DROP_SECONDS)

    def _waiting(self) -> Sequence[Line]:
        if self._offered is None or self._held:
            return ()
        (line, taken), self._offered = self._offered, None
        taken.callback(None)
        return [line]

    def _begin(self) -> None:
        self._starting = self._pump.start().addCallbacks(self._works, self._end)

    def _works(self, _: None) -> None:
        if not self._pump.running:
            return  # stopped before they all worked
        _LOG.info("{name}: events come from {sources}", name=self.name, sources=str(self))
        self.started.callback(None)

    def _redirected(self, event: Any) -> Any:
        """An event that comes to us also where it has a handler of its own."""
        if not isinstance(event, QueuedEvent) or event.handler is None:
            return event
        return attrs.evolve(event, handler=_Offer(self._offer, event.handler))

    def _offer(self, event: QueuedEvent, own_handler: Any) -> Deferred[None] | None:
        self._number += 1
        line = EventLine(self._number, event.originator, event.data, own_handler)
        if not self._held and self._hand_over(line):
            return None
        taken: Deferred[None] = Deferred(self._withdraw)
        self._offered = (line, taken)
        return taken

    def _withdraw(self, _: object) -> None:
        self._offered = None


class _Offer(EventHandler):
    """Offers an event to whoever reads, and ends when it was taken."""

    def __init__(self, offer: Callable[[QueuedEvent, Any], Deferred[None] | None], own_handler: Any) -> None:
        self._offer = offer
        self._own_handler = own_handler

    def process_event(self, event: QueuedEvent) -> Deferred[None] | None:
        """See :meth:`IEventHandler.process_event`."""
        return self._offer(event, self._own_handler)

    def __str__(self) -> str:
        return "the application"


#: From an event as a source makes it to one that its pump is given.
Redirection: TypeAlias = Callable[[Any], Any]


class _Wrapping:
    """Stands for a source, also in messages."""

    def __init__(self, source: Any, redirected: Redirection, place: str) -> None:
        self._source = source
        self._redirected = redirected
        self._place = place

    def stop(self) -> Any:
        """See :meth:`IEventSource.stop`."""
        return self._source.stop()

    def __str__(self) -> str:
        return str(safe_str(self._source))


@implementer(IEventGenerator)
class _WrappedGenerator(_Wrapping):
    """A generator, its events redirected."""

    async def get_events(self) -> Any:
        """See :meth:`IEventGenerator.get_events`."""
        events = self._source.get_events()
        if isinstance(events, Deferred | Coroutine):
            events = await events
        if isinstance(events, str | bytes | Mapping) or not isinstance(events, Iterable):
            return events  # the pump says what is wrong with it
        return map(self._redirected, events)


@implementer(IEventSource)
class _WrappedSource(_Wrapping):
    """A source that pushes, its events redirected, and which is named where it cannot be started."""

    async def start(self, sink: Any) -> None:
        """See :meth:`IEventSource.start`."""
        try:
            starting = self._source.start(_RedirectingSink(sink, self._redirected))
            if isinstance(starting, Deferred | Coroutine):
                await starting
        except CancelledError:
            raise
        except EvprocError as error:
            # It names the source itself.
            raise ApplicationError(self._place, str(error)) from error
        except Exception as error:
            raise ApplicationError(self._place, f"{self} cannot be started: {summary_of(error)}") from error


@implementer(IEventSink)
class _RedirectingSink:
    def __init__(self, sink: Any, redirected: Redirection) -> None:
        self._sink = sink
        self._redirected = redirected

    def put(self, event: QueuedEvent) -> Deferred[bool]:
        """See :meth:`IEventSink.put`."""
        putting: Deferred[bool] = self._sink.put(self._redirected(event))
        return putting


__all__ = ["EventLine", "SourceLines"]
