"""What it costs to bring an event from its source to its handler, and what a flood of them leaves behind."""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from collections import deque
from collections.abc import Iterator
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from twisted_evproc.sources import EventGenerator, EventHandler, EventPump, Overflow, PumpStatistics, QueuedEvent

from .harness import Row, compare

#: Handlers keep up with one event in so many.
SLOWNESS = 10
MAX_QUEUED = 1_000


class Counting(EventHandler):
    """Returns at once."""

    def __init__(self) -> None:
        self.heard = 0

    def process_event(self, event: QueuedEvent) -> None:
        self.heard += 1


class Slow(EventHandler):
    """Works on an event until the next second of its clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def process_event(self, event: QueuedEvent) -> Deferred[None]:
        deferred: Deferred[None] = Deferred()
        self._clock.callLater(1, deferred.callback, None)
        return deferred


class Batches(EventGenerator):
    """The same number of events at each poll."""

    def __init__(self, size: int) -> None:
        self._size = size

    def get_events(self) -> list[QueuedEvent]:
        return [QueuedEvent(self, None, number) for number in range(self._size)]


def passing(rounds: int) -> Iterator[Row]:
    """One event, and a poll of many, through a pump whose handler returns at once."""
    handler = Counting()
    pump = EventPump(handler=handler, clock=Clock())
    pump.start()
    queue: deque[QueuedEvent] = deque()

    def by_queue() -> None:
        queue.append(QueuedEvent(None, None, 1))
        handler.process_event(queue.popleft())

    def by_call() -> None:
        handler.process_event(QueuedEvent(None, None, 1))

    yield from compare(
        "put, handler returns at once",
        lambda: pump.put(QueuedEvent(None, None, 1)),
        {"deque and call": by_queue, "call": by_call},
        rounds=rounds,
    )

    clock = Clock()
    polled = EventPump(handler=handler, clock=clock)
    source = Batches(1_000)
    polled.add_event_generator(source)
    polled.start()

    def by_loop() -> None:
        for event in source.get_events():
            handler.process_event(event)

    yield from compare("a poll of 1,000 events", lambda: clock.advance(1), {"plain loop": by_loop}, rounds=rounds)


@attrs.define
class Flood:
    """
    Very many events for handlers that cannot keep up with them.

    :ivar grown: by how many blocks memory is larger at the end of it than after its first tenth.
    """

    count: int
    overflow: Overflow
    grown: int = 0
    _told: int = 0

    def events(self, clock: Clock) -> Iterator[QueuedEvent]:
        before = 0
        for number in range(self.count):
            if number == self.count // 10:
                gc.collect()
                before = sys.getallocatedblocks()
            if number % SLOWNESS == 0 and self.overflow is not Overflow.WAIT:
                clock.advance(1)
            yield QueuedEvent(None, None, number)
        gc.collect()
        self.grown = sys.getallocatedblocks() - before

    def through_pump(self) -> PumpStatistics:
        clock = Clock()
        pump = EventPump(max_queued=MAX_QUEUED, overflow=self.overflow, handler=Slow(clock), clock=clock)
        pump.error_handler(Counting())
        source: Any = EventGenerator()
        source.get_events = lambda: self.events(clock)
        pump.add_event_generator(source, poll_interval=100.0 * self.count)
        pump.start()
        stopping = pump.stop()
        while not stopping.called:
            clock.advance(1)
        return pump.statistics()

    def by_hand(self) -> None:
        """A loop with a bounded queue that does no more than that."""
        clock, queue = Clock(), deque[QueuedEvent]()
        handler = Slow(clock)
        for event in self.events(clock):
            if len(queue) < MAX_QUEUED:
                queue.append(event)
            elif self.overflow is Overflow.DROP_OLDEST:
                queue.popleft()
                queue.append(event)
            elif self.overflow is Overflow.WAIT:
                handler.process_event(queue.popleft())
                clock.advance(1)
                queue.append(event)
            if event.data % SLOWNESS == 0 and self.overflow is not Overflow.WAIT:
                handler.process_event(queue.popleft())
        for event in queue:
            handler.process_event(event)
            clock.advance(1)


def flood(count: int) -> Iterator[str]:
    """A flood under each policy, in words."""
    for overflow in Overflow:
        by_hand, through_pump = Flood(count, overflow), Flood(count, overflow)
        began = time.perf_counter()
        by_hand.by_hand()
        between = time.perf_counter()
        statistics = through_pump.through_pump()
        ended = time.perf_counter()
        ours, theirs = ended - between, between - began
        lost = count - (statistics.processed + statistics.dropped + statistics.refused + statistics.depth)
        yield (
            f"flood of {count:,} events, {overflow!r}: {ours:.1f} s, {ours / theirs:.1f} x a plain loop; "
            f"{statistics.processed:,} processed, {statistics.dropped:,} dropped, {statistics.refused:,} refused, "
            f"{lost:,} unaccounted for; "
            f"memory: {through_pump.grown:+,} blocks, peak {_peak(count // 10, overflow):,} KiB of {count // 10:,} events"
        )


def _peak(count: int, overflow: Overflow) -> int:
    """What a tenth of it takes at most: being traced, it is several times as slow."""
    tracemalloc.start()
    try:
        Flood(count, overflow).through_pump()
        return tracemalloc.get_traced_memory()[1] // 1024
    finally:
        tracemalloc.stop()
