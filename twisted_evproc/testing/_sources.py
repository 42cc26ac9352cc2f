"""What stands around a source, or around what a source feeds, in a test."""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from ..dispatch import peek
from ..interfaces import IEventHandler, IEventSink, IEventSource
from ..sources import QueuedEvent


@implementer(IEventSink)
class FakeSink:
    """
    Takes the events of a source and keeps them; can be full, drop events, or refuse them.

    :ivar events: what was taken, in order.
    :ivar dropped: what was dropped.
    """

    def __init__(self, *, room: int | None = None) -> None:
        """
        :param room: how many events it takes; more wait until :meth:`resume`.  ``None`` for any number.
        """
        self.events: list[QueuedEvent] = []
        self.dropped: list[QueuedEvent] = []
        self._room = room
        self._drops = False
        self._error: BaseException | None = None
        self._waiting: dict[Deferred[bool], QueuedEvent] = {}

    @property
    def data(self) -> list[Any]:
        """The data of the events that were taken."""
        return [event.data for event in self.events]

    @property
    def waiting(self) -> list[QueuedEvent]:
        """The events whose ``put`` waits for room, in order."""
        return list(self._waiting.values())

    def put(self, event: QueuedEvent) -> Deferred[bool]:
        """See :meth:`IEventSink.put`."""
        if self._error is not None:
            return fail(self._error)
        if self._drops:
            self.dropped.append(event)
            return succeed(False)
        if self._waiting or self._room == 0:
            deferred: Deferred[bool] = Deferred(self._take_back)
            self._waiting[deferred] = event
            return deferred
        self._take(event)
        return succeed(True)

    def _take_back(self, deferred: Deferred[bool]) -> None:
        del self._waiting[deferred]

    def _take(self, event: QueuedEvent) -> None:
        self.events.append(event)
        if self._room is not None:
            self._room -= 1

    def pause(self) -> None:
        """Be full: what is put from now on waits."""
        self._room = 0
        self._drops, self._error = False, None

    def resume(self, room: int | None = None) -> None:
        """
        Take events again, those that wait first.

        :param room: how many; ``None`` for any number.
        """
        self._room = room
        self._drops, self._error = False, None
        while self._waiting and self._room != 0:
            deferred, event = next(iter(self._waiting.items()))
            del self._waiting[deferred]
            self._take(event)
            deferred.callback(True)

    def drop(self) -> None:
        """Drop what is put from now on."""
        self._drops, self._error = True, None

    def refuse(self, error: BaseException) -> None:
        """
        Fail what is put from now on, and what waits.

        :param error: as a rule :class:`~twisted_evproc.errors.QueueOverflow` or :class:`~twisted_evproc.errors.PumpStopped`.
        """
        self._error = error
        waiting, self._waiting = self._waiting, {}
        for deferred in waiting:
            deferred.errback(error)


@implementer(IEventSource)
class ManualSource:
    """
    A source whose events the test pushes by hand.

    :ivar sink: what it puts them into, while it is started; ``None`` otherwise.
    """

    def __init__(self, *, handler: Any = None) -> None:
        """
        :param handler: the :class:`~twisted_evproc.interfaces.IEventHandler` of its events; ``None`` for the pump's.
        """
        self.handler = handler
        self.sink: IEventSink | None = None
        # Those behind the one whose put is under way, and what their push() returned.
        self._queue: deque[tuple[QueuedEvent, Deferred[bool]]] = deque()
        self._putting: Deferred[bool] | None = None

    def start(self, sink: IEventSink) -> None:
        """See :meth:`IEventSource.start`."""
        self.sink = sink

    def stop(self) -> None:
        """See :meth:`IEventSource.stop`.  Takes back what waits; the Deferreds of those pushes are cancelled."""
        self.sink = None
        for _, pushed in tuple(self._queue):
            pushed.cancel()
        if self._putting is not None:
            self._putting.cancel()

    def push(self, data: Any) -> Deferred[bool]:
        """
        Let an event happen.  Its turn comes when those pushed before it are queued.

        :param data: its data.
        :return: as of :meth:`IEventSink.put`; a failure that nobody looks at is not reported.
        :raises AssertionError: while the source is not started.
        """
        if self.sink is None:
            raise AssertionError(f"{self} is not started: add it to a pump and start that, or call start(sink), first")
        pushed: Deferred[bool] = Deferred(self._take_back)
        self._queue.append((QueuedEvent(self, self.handler, data), pushed))
        self._next()
        return pushed

    def _take_back(self, pushed: Deferred[bool]) -> None:
        before = len(self._queue)
        self._queue = deque((event, other) for event, other in self._queue if other is not pushed)
        if len(self._queue) == before and self._putting is not None:
            self._putting.cancel()
        else:
            _ended(pushed, Failure(CancelledError()))

    def _next(self) -> None:
        while self._queue and self.sink is not None and self._putting is None:
            event, pushed = self._queue.popleft()
            self._putting = putting = self.sink.put(event)
            _ = putting.addBoth(self._put, pushed)

    def _put(self, result: Any, pushed: Deferred[bool]) -> None:
        self._putting = None
        _ended(pushed, result)
        self._next()

    def __str__(self) -> str:
        return "manual source"


def _ended(pushed: Deferred[bool], result: Any) -> None:
    pushed.callback(result)
    # a failure counts as seen
    _ = peek(pushed)


@implementer(IEventHandler)
class RecordingHandler:
    """
    A handler object that keeps the events it is given; can fail, or take its time.

    :ivar events: the events, in order.
    :ivar result: what it returns.
    """

    def __init__(self, result: Any = True) -> None:
        self.events: list[QueuedEvent] = []
        self.result = result
        self._error: BaseException | None = None
        self._waits = False
        self._pending: deque[Deferred[Any]] = deque()

    @property
    def data(self) -> list[Any]:
        """The data of the events."""
        return [event.data for event in self.events]

    @property
    def pending(self) -> int:
        """How many events are in work: given, and not finished."""
        return len(self._pending)

    def process_event(self, event: QueuedEvent) -> Any:
        """See :meth:`IEventHandler.process_event`."""
        self.events.append(event)
        if self._waits:
            deferred: Deferred[Any] = Deferred(self._pending_cancelled)
            self._pending.append(deferred)
            return deferred
        if self._error is not None:
            raise self._error
        return self.result

    def _pending_cancelled(self, deferred: Deferred[Any]) -> None:
        self._pending.remove(deferred)

    def fail_with(self, error: BaseException | None) -> None:
        """
        Fail for events given from now on.

        :param error: what to raise; ``None`` for no more failures.
        """
        self._error = error

    def wait(self) -> None:
        """Take time for events given from now on: until :meth:`finish`."""
        self._waits = True

    def finish(self, result: Any = True) -> None:
        """
        Finish the event that has been in work the longest.

        :param result: what becomes of it; a :class:`~twisted.python.failure.Failure` or an exception for a failure.
        :raises AssertionError: when none is in work.
        """
        if not self._pending:
            raise AssertionError(f"{self} has no event in work; call wait() before it is given one")
        deferred = self._pending.popleft()
        if isinstance(result, BaseException):
            deferred.errback(result)
        else:
            deferred.callback(result)

    def __str__(self) -> str:
        return f"recording handler, {len(self.events)} event(s)"
