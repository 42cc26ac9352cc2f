"""What a program logs, as events."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import InvalidLogLevelError, Logger, LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from .._options import checked_clock, needed_number
from .._reactor import default_clock
from ..errors import ConfigurationError
from ..interfaces import IEventSource
from ..matching import as_filter
from ._call import current_event
from ._event import QueuedEvent
from ._handlers import RaiseEventHandler, as_handler
from ._work import Work, started_already

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

    from ..interfaces import IEventSink
    from ..matching import ContentFilter

_LOG = Logger(namespace="twisted_evproc.sources")

_NO_SOURCES: frozenset[object] = frozenset()


class _Snapshot(dict[str, Any]):
    """
    A log event as it was when it was logged.

    :ivar sources: whose event it became, and whose events it came from: two sources must not feed each other either.
    """

    __slots__ = ("sources",)

    def __init__(self, log_event: dict[str, Any], sources: frozenset[object]) -> None:
        super().__init__(log_event)
        self.sources = sources
        self["log_text"] = formatEvent(log_event)
        failure = log_event.get("log_failure")
        if isinstance(failure, Failure):
            self["log_traceback"] = failure.getTraceback()


@implementer(IEventSource)
class LogObserverSource:
    """
    Observes Twisted's log while it is started, and puts an event for what is logged.

    The data is a mapping: a copy of the log event, with its message in ``log_text``, and in ``log_traceback`` that of a failure.
    Both are made in the logging call, so what is changed later does not change them.

    Whoever logs is never held up, in whatever thread: log events wait, up to ``max_waiting`` of them, for the reactor to put
    them, the one that is being put included.  More are dropped; that is logged, and ``dropped`` counts them.  :meth:`stop`
    puts those that wait.

    A handler that logs is not to feed itself.  Left out is what is logged by a handler of one of these events, also behind its
    awaits, in the threads of its pump, and by the pump's error handler; what carries one of these events or their data as a
    value, as the pump's own messages do; and what is logged while a log event is formatted.  Nobody can tell where other things
    come from: what a handler logs later by ``callLater``, in a callback of a Deferred that it returned, in a thread it sent work
    to by ``deferToThread``, or by way of an event of another source.  If that would bring up new events, leave it out by
    ``where``.

    What is logged by Python's ``logging`` comes here by a handler of that which emits it anew::

        class ToTwisted(logging.Handler):
            def emit(self, record):
                level = {"WARNING": "warn"}.get(record.levelname, record.levelname.lower())
                Logger(record.name).emit(LogLevel.levelWithName(level), "{text}", text=self.format(record))

    (Not together with Twisted's ``STDLibLogObserver``, which does the opposite.)

    :ivar dropped: how many log events were dropped, because too many waited or time was up for stopping, since this was made.
    """

    def __init__(
        self,
        *,
        level: Any = LogLevel.info,
        namespaces: Iterable[str] | str = (),
        where: Any = None,
        handler: Any = None,
        publisher: Any = None,
        max_waiting: int = 1_000,
        reactor: Any = None,
    ) -> None:
        """
        :param level: the lowest that is put, as one of ``twisted.logger.LogLevel`` or its name.
        :param namespaces: put only what is logged in one of these, or below it: ``shop`` stands for ``shop.orders`` too.  Empty
            for all.
        :param where: a filter, a mapping of path to value, or a predicate over the log event: put nothing else.  It is asked in
            the logging call, in the thread of that.  When it fails, the pump's error handler hears of it.
        :param handler: an :class:`~twisted_evproc.interfaces.IEventHandler`, a dispatcher or a processor; ``None`` for the
            handler of the pump.
        :param publisher: a ``twisted.logger.LogPublisher``; ``None`` for the global one.
        :param max_waiting: how many log events wait at most, 1 or more.
        :param reactor: ``None`` for the global one.
        :raises twisted_evproc.errors.ConfigurationError: for an option that makes no sense.
        """
        self.dropped = 0
        self._level = _checked_level(level)
        self._namespaces = _checked_namespaces(namespaces)
        self._where: ContentFilter | None = None if where is None else as_filter(where)
        self._handler = as_handler(handler, "handler")
        self._publisher: Any = globalLogPublisher if publisher is None else publisher
        if not callable(getattr(self._publisher, "addObserver", None)):
            raise ConfigurationError(f"publisher={publisher!r} has no addObserver(): give a twisted.logger.LogPublisher")
        self._max_waiting = needed_number(max_waiting, "max_waiting", 1)
        self._reactor = checked_clock(reactor, "reactor")
        self._work: Work | None = None
        self._call: Callable[[Callable[[], None]], IDelayedCall | None]
        self._calling: IDelayedCall | None = None
        # Logging may come from any thread, and from a finalizer in the middle of our own code: hence not a plain lock.
        self._lock = threading.RLock()
        self._waiting: deque[QueuedEvent] = deque()
        self._called = False
        self._dropping = False
        self._dropped_before = 0
        self._taking = threading.local()

    def __str__(self) -> str:
        return f"log events from {self._level.name} on{' of ' if self._namespaces else ''}{', '.join(self._namespaces)}"

    def start(self, sink: IEventSink) -> None:
        """
        See :meth:`IEventSource.start`.

        :raises twisted_evproc.errors.ConfigurationError: when it runs already.
        """
        if self._work is not None:
            raise started_already(self)
        clock = default_clock(self._reactor)
        from_thread: Any = getattr(clock, "callFromThread", None)
        self._call = from_thread if callable(from_thread) else lambda function: clock.callLater(0, function)
        # A thread may have been in the middle of a logging call when this was stopped the last time.
        self._waiting.clear()
        self._called = self._dropping = False
        self._dropped_before = self.dropped
        work = self._work = Work(self, sink, clock)
        self._publisher.addObserver(self._observe)
        work.begin(self._put_waiting(work))

    def stop(self) -> Deferred[None]:
        """
        See :meth:`IEventSource.stop`.

        Cancelling it drops the events that wait.
        """
        if self._work is None:
            return succeed(None)
        self._publisher.removeObserver(self._observe)
        return self._work.end()

    # -- in the thread of whoever logs

    def _observe(self, log_event: dict[str, Any]) -> None:
        if getattr(self._taking, "now", False):
            return
        self._taking.now = True
        try:
            event = self._event(log_event)
            if event is not None:
                self._keep(event)
        finally:
            self._taking.now = False

    def _event(self, log_event: dict[str, Any]) -> QueuedEvent | None:
        if log_event.get("log_level", LogLevel.info) < self._level or not self._named(log_event):
            return None
        sources = _sources(current_event.get()).union(*map(_sources, log_event.values()))
        if self in sources:
            return None
        handler = self._handler
        try:
            if self._where is not None and not self._where.matches(log_event):
                return None
        except Exception as error:
            handler = RaiseEventHandler(error)
        return QueuedEvent(self, handler, _Snapshot(log_event, sources | {self}))

    def _named(self, log_event: dict[str, Any]) -> bool:
        if not self._namespaces:
            return True
        name = f"{log_event.get('log_namespace', '')}."
        return any(name.startswith(f"{namespace}.") for namespace in self._namespaces)

    def _keep(self, event: QueuedEvent) -> None:
        with self._lock:
            if len(self._waiting) < self._max_waiting:
                self._waiting.append(event)
            else:
                self.dropped += 1
            if self._called:
                return
            self._called = True
        self._calling = self._call(self._hear)

    # -- in the reactor's thread

    def _hear(self) -> None:
        with self._lock:
            self._called = False
        if self._work is not None:
            self._say_dropped()
            self._work.wake()

    def _say_dropped(self) -> None:
        if self.dropped > self._dropped_before and not self._dropping:
            self._dropping = True
            _LOG.warn(
                "{source}: {max_waiting} log events wait already, more are dropped and counted",
                source=self,
                max_waiting=self._max_waiting,
            )

    async def _put_waiting(self, work: Work) -> None:
        try:
            while True:
                while self._waiting:
                    waiting = work.put(self._waiting[0])
                    if waiting is not None:
                        await waiting
                    self._waiting.popleft()
                self._say_end_of_dropping()
                if work.stopping:
                    return
                await work.nap()
        finally:
            self._end()

    def _say_end_of_dropping(self) -> None:
        if self._dropping:
            self._dropping = False
            dropped, self._dropped_before = self.dropped - self._dropped_before, self.dropped
            _LOG.warn("{source}: {count} log events were dropped", source=self, count=dropped)

    def _end(self) -> None:
        self._work = None
        calling = self._calling
        if calling is not None and calling.active():
            calling.cancel()
        left = len(self._waiting)
        self._waiting.clear()
        if left:
            self.dropped += left
            _LOG.error("{source} was stopped with {count} log events left: dropped", source=self, count=left)


def _sources(value: object) -> frozenset[object]:
    """Whose events a value of a log event tells of."""
    if isinstance(value, QueuedEvent):
        data = value.data
        # What error handlers get: the exception, and the event whose handler failed.
        value = data[1].data if type(data) is tuple and len(data) == 2 and isinstance(data[1], QueuedEvent) else data
    if isinstance(value, _Snapshot):
        return value.sources
    return frozenset([value]) if isinstance(value, LogObserverSource) else _NO_SOURCES


def _checked_level(level: Any) -> Any:
    try:
        return LogLevel.levelWithName(level) if isinstance(level, str) else LogLevel.levelWithName(level.name)
    except (InvalidLogLevelError, AttributeError):
        names = ", ".join(known.name for known in LogLevel.iterconstants())
        raise ConfigurationError(f"level={level!r} is no level of twisted.logger; there are {names}") from None


def _checked_namespaces(namespaces: Any) -> tuple[str, ...]:
    names = (namespaces,) if isinstance(namespaces, str) else tuple(namespaces) if isinstance(namespaces, Iterable) else (None,)
    if not all(isinstance(name, str) and name for name in names):
        raise ConfigurationError(f"namespaces={namespaces!r} has to be names, such as 'shop' or ['shop', 'twisted.web']")
    return names
