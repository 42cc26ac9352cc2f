"""The bounded queue between sources and the consumer."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from enum import Enum

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from ..errors import PumpStopped, QueueOverflow
from ._event import QueuedEvent

_LOG = Logger(namespace="twisted_evproc.sources")


class Overflow(Enum):
    """What becomes of an event for which the queue has no room."""

    #: It waits, and with it its source.
    WAIT = "wait"
    #: It takes the place of the oldest one that is queued.
    DROP_OLDEST = "drop oldest"
    #: It is dropped.
    DROP_NEWEST = "drop newest"
    #: Its ``put`` fails with :class:`~twisted_evproc.errors.QueueOverflow`.
    FAIL = "fail"

    def __repr__(self) -> str:
        return self.name


WAIT = Overflow.WAIT
DROP_OLDEST = Overflow.DROP_OLDEST
DROP_NEWEST = Overflow.DROP_NEWEST
FAIL = Overflow.FAIL


class BoundedQueue:
    """
    A queue with room for so many events.

    :ivar dropped: how many events were dropped.
    :ivar refused: how many puts failed because it was full.
    :ivar heard: called after an event has come in; set by whoever takes them out.
    """

    def __init__(self, max_queued: int, overflow: Overflow, owner: object) -> None:
        self.dropped = 0
        self.refused = 0
        self.heard: Callable[[], None] = _nobody
        self.closed = False
        self._max = max_queued
        self._overflow = overflow
        self._owner = owner
        self._events: deque[QueuedEvent] = deque()
        # What waits for room, in order; a put that was cancelled is gone from here.  No plain dict: finding the first key of one
        # goes through all that were deleted before it.
        self._waiting: OrderedDict[Deferred[bool], QueuedEvent] = OrderedDict()

    def __len__(self) -> int:
        return len(self._events)

    @property
    def waiting(self) -> int:
        """How many puts wait for room."""
        return len(self._waiting)

    def put(self, event: QueuedEvent) -> Deferred[bool]:
        """See :meth:`~twisted_evproc.interfaces.IEventSink.put`."""
        if self.closed:
            return fail(PumpStopped(event, repr(self._owner)))
        if len(self._events) >= self._max:
            if self._overflow is Overflow.WAIT:
                # A new put never overtakes one that waits: there is room only when none does.
                deferred: Deferred[bool] = Deferred(self._withdraw)
                self._waiting[deferred] = event
                return deferred
            if self._overflow is Overflow.FAIL:
                self.refused += 1
                return fail(QueueOverflow(self._max, event))
            if not self.dropped:
                _LOG.warn(
                    "the queue of {owner!r} is full ({max_queued} events): {overflow!r} from now on; statistics() counts them",
                    owner=self._owner,
                    max_queued=self._max,
                    overflow=self._overflow,
                )
            self.dropped += 1
            if self._overflow is Overflow.DROP_NEWEST:
                return succeed(False)
            self._events.popleft()
        self._events.append(event)
        self.heard()
        return succeed(True)

    def pop(self) -> QueuedEvent:
        """
        Take out the oldest event, and let in the one that waits longest.

        :raises IndexError: when it is empty.
        """
        event = self._events.popleft()
        if self._waiting:
            deferred, waiting = self._waiting.popitem(last=False)
            self._events.append(waiting)
            deferred.callback(True)
        return event

    def close(self) -> None:
        """Take no more events.  Those that wait already still come in."""
        self.closed = True

    def clear(self) -> int:
        """
        Drop everything, also what waits.

        :return: how many events that were.
        """
        lost = len(self._events)
        self._events.clear()
        waiting, self._waiting = self._waiting, OrderedDict()
        for deferred, event in waiting.items():
            deferred.errback(PumpStopped(event, repr(self._owner)))
        self.dropped += lost
        return lost

    def _withdraw(self, deferred: Deferred[bool]) -> None:
        self._waiting.pop(deferred, None)


def _nobody() -> None:
    """Is told of events while nobody wants to hear of them."""
