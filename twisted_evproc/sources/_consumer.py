"""Takes events out of the queue, one at a time, and gives each to its handler."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..dispatch import watch
from ._call import Caller, current_event
from ._event import QueuedEvent
from ._queue import BoundedQueue
from ._work import SLICE_SECONDS

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from ..interfaces import IEventHandler

_LOG = Logger(namespace="twisted_evproc.sources")


class Consumer:
    """
    Works while it is open and there are events.

    :ivar processed: how many events were taken to an end, failed or not.
    :ivar failed: how many of their handlers failed.
    :ivar error_handler: hears of failures; ``None`` to log them.
    """

    def __init__(self, queue: BoundedQueue, handler: IEventHandler | None, owner: object) -> None:
        """
        :param handler: for events that have none of their own.
        :param owner: originator of the events that error handlers get.
        """
        self.processed = 0
        self.failed = 0
        self.error_handler: IEventHandler | None = None
        self._queue = queue
        self._handler = handler
        self._owner = owner
        self._call: Caller
        self._clock: IReactorTime
        self._open = False
        self._busy = False
        self._event: QueuedEvent | None = None
        # What the error handler hears of it; it has been counted as failed then.
        self._error_event: QueuedEvent | None = None
        # What we wait for: a handler, an error handler, or our next turn.
        self._pending: Deferred[Any] | IDelayedCall | None = None
        self._epoch = 0
        self._idle: list[Callable[[], None]] = []
        queue.heard = self._wake

    def open(self, call: Caller, clock: IReactorTime) -> None:
        """
        Begin to take events.

        :param call: how handlers are called.
        """
        self._call = call
        self._clock = clock
        self._open = True
        self._wake()

    def when_idle(self) -> Deferred[None]:
        """Fires once no event is left; cancelling it stops the waiting."""
        deferred: Deferred[None] = Deferred(lambda _: self._idle.remove(fire))

        def fire() -> None:
            deferred.callback(None)

        self._idle.append(fire)
        self._wake()
        self._tell_idle()
        return deferred

    @property
    def called_us(self) -> bool:
        """Whether we are called by the handler at work, or by the error handler that hears of its failure."""
        current = current_event.get()
        return current is not None and (current is self._event or current is self._error_event)

    def close(self) -> None:
        """Take no more events.  The one in work goes on."""
        self._open = False

    def give_up(self) -> None:
        """
        Cancel the handler at work, and wait for it no longer.
        """
        self._open = False
        pending, self._pending = self._pending, None
        self._epoch += 1
        self._busy = False
        event, self._event = self._event, None
        if isinstance(pending, Deferred):
            _LOG.warn("{owner!r} stops: the handler of {event} is cancelled, and not waited for", owner=self._owner, event=event)
            pending.cancel()
            self.processed += 1
            self.failed += self._error_event is None
        elif pending is not None:
            pending.cancel()
        self._error_event = None
        self._tell_idle()

    def _wake(self) -> None:
        if self._open and not self._busy:
            self._work()

    def _work(self) -> None:
        self._busy = True
        self._pending = None
        epoch = self._epoch
        slice_end = self._clock.seconds() + SLICE_SECONDS
        try:
            while self._open and self._queue:
                if self._clock.seconds() >= slice_end:
                    self._pending = self._clock.callLater(0, self._work)
                    return
                event = self._event = self._queue.pop()
                if not self._process(event) or self._epoch != epoch:
                    return
                self._event = None
        except BaseException:
            # SystemExit and KeyboardInterrupt are not for us: they pass to whoever called.
            self._interrupted(epoch)
            raise
        self._busy = False
        self._tell_idle()

    def _interrupted(self, epoch: int) -> None:
        if self._epoch != epoch or self._event is None:
            return
        self.processed += 1
        self.failed += self._error_event is None
        self._event = self._error_event = None
        # Where the program goes on, so do we, but not below whoever is being told now.
        self._pending = self._clock.callLater(0, self._work)

    # Each of these gives whether the event has been taken to its end; otherwise the work goes on when it has.

    def _process(self, event: QueuedEvent) -> bool:
        handler = event.handler or self._handler
        assert handler is not None  # nobody puts such an event
        return self._settled(self._call(handler, event), partial(self._handled, event))

    def _settled(self, found: Any, go_on: Callable[[Any], bool]) -> bool:
        if not isinstance(found, Deferred):
            return go_on(found)
        epoch = self._epoch
        self._pending = found

        def hear(result: Any) -> None:
            if self._epoch != epoch:
                return
            try:
                if go_on(result):
                    self._event = None
                    self._work()
            except BaseException:
                # Not into the Deferred of a handler, whose owner has nothing to do with it: it ends here.
                self._interrupted(epoch)
                _LOG.failure("{owner!r} goes on", owner=self._owner)

        watch(found, hear)
        return False

    def _handled(self, event: QueuedEvent, result: Any) -> bool:
        if isinstance(result, Failure):
            self.failed += 1
            self._error_event = self._about(result, event)
            return self._settled(self._tell(result, self._error_event), self._ended)
        return self._ended(None)

    def _ended(self, _: object) -> bool:
        self.processed += 1
        self._error_event = None
        return True

    def tell(self, failure: Failure, event: QueuedEvent) -> Any:
        """
        Let the error handler hear of a failure.

        :return: ``None``, or a Deferred that fires, never with a failure, once it has.
        """
        return self._tell(failure, self._about(failure, event))

    def _about(self, failure: Failure, event: QueuedEvent) -> QueuedEvent:
        return QueuedEvent(self._owner, self.error_handler, (failure.value, event))

    def _tell(self, failure: Failure, error_event: QueuedEvent) -> Any:
        handler, event = error_event.handler, error_event.data[1]
        if handler is None:
            self._log_failure(failure, event)
            return None
        found = self._call(handler, error_event)
        if isinstance(found, Failure):
            self._error_handler_failed(failure, error_event, found)
        if not isinstance(found, Deferred):
            return None
        told: Deferred[None] = Deferred(lambda _: found.cancel())

        def heard(result: Any) -> None:
            if isinstance(result, Failure):
                self._error_handler_failed(failure, error_event, result)
            if not told.called:
                told.callback(None)

        watch(found, heard)
        return told

    def _error_handler_failed(self, failure: Failure, error_event: QueuedEvent, second: Failure) -> None:
        event = error_event.data[1]
        self._log_failure(failure, event)
        self._log(event, "error handler {handler} failed for {event}", second, error_event.handler)

    def _log_failure(self, failure: Failure, event: QueuedEvent) -> None:
        self._log(event, "the handler of {event} failed", failure, event.handler or self._handler)

    @staticmethod
    def _log(event: QueuedEvent, text: str, failure: Failure, handler: IEventHandler | None) -> None:
        # In the context of the event: whatever this makes others log, an observer that fails included, comes of it, and a source
        # of log events is to know that.
        context = copy_context()
        _ = context.run(current_event.set, event)
        context.run(partial(_LOG.failure, text, failure, event=event, handler=handler))

    def _tell_idle(self) -> None:
        if self._busy or (self._open and self._queue):
            return
        waiting, self._idle = self._idle, []
        for fire in waiting:
            fire()
