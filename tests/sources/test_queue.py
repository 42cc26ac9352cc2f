"""The bounded queue: what becomes of events for which there is no room, counted one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from twisted_evproc.errors import PumpStopped, QueueOverflow
from twisted_evproc.sources import DROP_NEWEST, DROP_OLDEST, FAIL, WAIT, EventHandler, EventPump, Overflow, QueuedEvent
from twisted_evproc.sources._queue import BoundedQueue
from twisted_evproc.testing import assert_pending, failure_now, result_now


def event(data: Any) -> QueuedEvent:
    return QueuedEvent("test", None, data)


def filled(overflow: Overflow, *data: Any, max_queued: int = 2) -> BoundedQueue:
    queue = BoundedQueue(max_queued, overflow, "the test")
    for each in data:
        assert result_now(queue.put(event(each))) is True
    return queue


def drained(queue: BoundedQueue) -> list[Any]:
    return [queue.pop().data for _ in range(len(queue) + queue.waiting)]


class TestRoom:
    @pytest.mark.parametrize("overflow", Overflow)
    def test_what_has_room_is_queued_in_order_and_told_of(self, overflow: Overflow) -> None:
        heard: list[int] = []
        queue = BoundedQueue(2, overflow, "the test")
        queue.heard = lambda: heard.append(len(queue))

        assert [result_now(queue.put(event(number))) for number in (1, 2)] == [True, True]
        assert heard == [1, 2]
        assert drained(queue) == [1, 2]

    def test_an_empty_queue_gives_nothing(self) -> None:
        with pytest.raises(IndexError):
            filled(WAIT).pop()


class TestWait:
    def test_a_put_waits_until_there_is_room(self) -> None:
        queue = filled(WAIT, 1, 2)
        third, fourth = queue.put(event(3)), queue.put(event(4))

        assert (len(queue), queue.waiting) == (2, 2)
        assert queue.pop().data == 1
        assert result_now(third) is True
        assert_pending(fourth)
        assert drained(queue) == [2, 3, 4]

    def test_a_put_made_by_the_one_that_came_in_does_not_overtake(self) -> None:
        queue = filled(WAIT, 1, 2)
        _ = queue.put(event(3)).addCallback(lambda _: queue.put(event(5)))
        _ = queue.put(event(4))

        assert [queue.pop().data for _ in range(5)] == [1, 2, 3, 4, 5]

    def test_a_cancelled_put_takes_its_event_back(self) -> None:
        queue = filled(WAIT, 1, 2)
        third, fourth = queue.put(event(3)), queue.put(event(4))
        third.cancel()

        failure_now(third, CancelledError)
        assert queue.waiting == 1
        assert queue.pop().data == 1
        assert result_now(fourth) is True
        assert drained(queue) == [2, 4]

    def test_cancelling_a_put_that_was_queued_changes_nothing(self) -> None:
        queue = filled(WAIT)
        put = queue.put(event(1))
        put.cancel()

        assert result_now(put) is True
        assert drained(queue) == [1]

    def test_ten_thousand_waiting_puts_are_cancelled_in_any_order(self) -> None:
        queue = filled(WAIT, 1, 2)
        puts = [queue.put(event(number)) for number in range(10_000)]
        for put in [*puts[5_000:], *reversed(puts[:5_000])]:
            put.cancel()
            failure_now(put, CancelledError)

        assert queue.waiting == 0


class TestOthers:
    def test_drop_oldest_takes_the_place_of_the_oldest(self) -> None:
        queue = filled(DROP_OLDEST, 1, 2)

        assert result_now(queue.put(event(3))) is True
        assert (queue.dropped, queue.refused, queue.waiting) == (1, 0, 0)
        assert drained(queue) == [2, 3]

    def test_drop_newest_drops_it(self) -> None:
        queue = filled(DROP_NEWEST, 1, 2)

        assert result_now(queue.put(event(3))) is False
        assert (queue.dropped, queue.refused, queue.waiting) == (1, 0, 0)
        assert drained(queue) == [1, 2]

    def test_fail_refuses_it_and_says_what_to_do(self) -> None:
        queue = filled(FAIL, 1, 2)
        refused = failure_now(queue.put(event(3)), QueueOverflow, RuntimeError)

        assert isinstance(refused, QueueOverflow) and refused.max_queued == 2
        assert "2 events are queued already" in str(refused) and "raise max_queued" in str(refused)
        assert (queue.dropped, queue.refused, queue.waiting) == (0, 1, 0)
        assert drained(queue) == [1, 2]

    @pytest.mark.parametrize("overflow", [DROP_OLDEST, DROP_NEWEST])
    def test_the_first_drop_is_logged_and_the_rest_are_only_counted(
        self, overflow: Overflow, logged: Callable[[], list[str]]
    ) -> None:
        queue = filled(overflow, 1, 2)
        for number in range(100):
            _ = queue.put(event(number))

        (text,) = logged()
        assert f"'the test' is full (2 events): {overflow!r} from now on" in text
        assert queue.dropped == 100


class TestClosed:
    @pytest.mark.parametrize("overflow", Overflow)
    def test_nothing_more_is_taken(self, overflow: Overflow) -> None:
        queue = filled(overflow, 1)
        queue.close()

        assert "'the test' is stopped" in str(failure_now(queue.put(event(2)), PumpStopped, RuntimeError))
        assert drained(queue) == [1]
        assert (queue.dropped, queue.refused) == (0, 0)

    def test_what_waits_already_comes_in(self) -> None:
        queue = filled(WAIT, 1, 2)
        third = queue.put(event(3))
        queue.close()

        assert drained(queue) == [1, 2, 3]
        assert result_now(third) is True

    def test_clearing_drops_what_is_queued_and_fails_what_waits(self) -> None:
        queue = filled(WAIT, 1, 2)
        third = queue.put(event(3))

        assert queue.clear() == queue.dropped == 2
        failure_now(third, PumpStopped)
        assert (len(queue), queue.waiting) == (0, 0)


PROGRAM = st.lists(
    st.one_of(
        st.just(("put", 0)),
        st.just(("finish", 0)),
        st.tuples(st.just("cancel"), st.integers(0, 6)),
    ),
    max_size=60,
)


class Held(EventHandler):
    """Works on an event until it is told to finish."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.at_work: Deferred[None] | None = None

    def process_event(self, event: QueuedEvent) -> Deferred[None]:
        self.heard.append(event.data)
        self.at_work = Deferred()
        return self.at_work


class Model:
    """A queue with one at work, in plain lists."""

    def __init__(self, overflow: Overflow, max_queued: int) -> None:
        self.overflow, self.max = overflow, max_queued
        self.heard: list[int] = []
        self.busy = False
        self.queued: list[int] = []
        self.waiting: list[int] = []
        self.dropped = self.refused = self.processed = 0
        self.answers: dict[int, str] = {}

    def put(self, number: int) -> None:
        if not self.busy:
            self.busy = True
            self.heard.append(number)
            self.answers[number] = "True"
        elif len(self.queued) < self.max:
            self.queued.append(number)
            self.answers[number] = "True"
        elif self.overflow is WAIT:
            self.waiting.append(number)
            self.answers[number] = "pending"
        elif self.overflow is FAIL:
            self.refused += 1
            self.answers[number] = "QueueOverflow"
        elif self.overflow is DROP_NEWEST:
            self.dropped += 1
            self.answers[number] = "False"
        else:
            self.dropped += 1
            self.queued = [*self.queued[1:], number]
            self.answers[number] = "True"

    def finish(self) -> None:
        if self.busy:
            self.processed += 1
            self.busy = bool(self.queued)
        if self.busy:
            self.heard.append(self.queued.pop(0))
            if self.waiting:
                self.queued.append(self.waiting[0])
                self.answers[self.waiting.pop(0)] = "True"

    def cancel(self, position: int) -> None:
        if position < len(self.waiting):
            self.answers[self.waiting.pop(position)] = "CancelledError"


def answer(put: Deferred[bool]) -> str:
    if not put.called:
        return "pending"
    try:
        return str(result_now(put))
    except Exception as error:  # noqa: BLE001  # which it is is what is asked
        return type(error).__name__


@given(program=PROGRAM, overflow=st.sampled_from(Overflow), max_queued=st.integers(1, 4))
def test_any_program_does_what_plain_lists_do_and_no_event_is_unaccounted_for(
    program: list[tuple[str, int]], overflow: Overflow, max_queued: int
) -> None:
    held, model = Held(), Model(overflow, max_queued)
    pump = EventPump(max_queued=max_queued, overflow=overflow, handler=held, clock=Clock())
    result_now(pump.start())
    puts: list[Deferred[bool]] = []
    cancelled = 0
    for step, argument in program:
        if step == "put":
            model.put(len(puts))
            puts.append(pump.put(event(len(puts))))
        elif step == "finish":
            model.finish()
            at_work, held.at_work = held.at_work, None
            if at_work is not None:
                at_work.callback(None)
        else:
            cancelled += argument < len(model.waiting)
            if argument < len(model.waiting):
                puts[model.waiting[argument]].cancel()
            model.cancel(argument)

        statistics = pump.statistics()
        assert [answer(put) for put in puts] == [model.answers[number] for number in range(len(puts))]
        assert held.heard == model.heard
        assert (statistics.depth, statistics.waiting) == (len(model.queued), len(model.waiting))
        assert (statistics.processed, statistics.dropped, statistics.refused) == (model.processed, model.dropped, model.refused)
        assert statistics.failed == 0
        accounted = statistics.processed + statistics.dropped + statistics.refused + statistics.depth + statistics.waiting
        assert len(puts) == accounted + (held.at_work is not None) + cancelled
