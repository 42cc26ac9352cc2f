"""The pump as a whole: its life, its options, and its memory under a flood."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from twisted_evproc import EventDispatcher
from twisted_evproc.errors import ConfigurationError, PumpStopped
from twisted_evproc.interfaces import IBackgroundUtility, IEventSink, IEventSource
from twisted_evproc.sources import (
    DROP_NEWEST,
    DROP_OLDEST,
    FAIL,
    WAIT,
    EventGenerator,
    EventHandler,
    EventPump,
    Overflow,
    PrintEventHandler,
    QueuedEvent,
)
from twisted_evproc.testing import assert_pending, failure_now, result_now


class Doing(EventHandler):
    """Does with an event what a function does."""

    def __init__(self, do: Callable[[QueuedEvent], Any]) -> None:
        self.do = do

    def process_event(self, event: QueuedEvent) -> Any:
        return self.do(event)


class Held(EventHandler):
    """Works on each event until it is told to finish."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.at_work: list[Deferred[Any]] = []

    def process_event(self, event: QueuedEvent) -> Deferred[Any]:
        self.heard.append(event.data)
        self.at_work.append(Deferred())
        return self.at_work[-1]

    def finish(self) -> None:
        self.at_work.pop(0).callback(None)


class Source(EventGenerator):
    """Notes what is asked of it, and answers as it was told to."""

    def __init__(self, events: Any = (), stopped: Any = None, order: list[str] | None = None, name: str = "source") -> None:
        self.events, self.stopped, self.name = events, stopped, name
        self.order = [] if order is None else order

    def get_events(self) -> Any:
        self.order.append(f"poll {self.name}")
        return self.events() if callable(self.events) else self.events

    def stop(self) -> Any:
        self.order.append(f"stop {self.name}")
        return self.stopped() if callable(self.stopped) else self.stopped


@implementer(IEventSource)
class Opening:
    """A source that pushes, and starts when the test says so."""

    def __init__(self) -> None:
        self.opened: Deferred[None] = Deferred()

    def start(self, sink: object) -> Deferred[None]:
        return self.opened

    def stop(self) -> None: ...


async def stubborn() -> None:
    """A coroutine that cannot be cancelled."""
    while True:
        try:
            await Deferred()
        except CancelledError:
            pass


def event(data: Any, handler: EventHandler | None = None) -> QueuedEvent:
    return QueuedEvent("test", handler, data)


def put(pump: EventPump, *data: Any) -> None:
    for each in data:
        assert result_now(pump.put(event(each))) is True


class TestOptions:
    def test_it_keeps_its_contracts(self) -> None:
        assert verifyObject(IBackgroundUtility, EventPump())
        assert verifyObject(IEventSink, EventPump())

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"poll_interval": 0}, "poll_interval=0 has to be a number of seconds above 0"),
            ({"poll_interval": float("nan")}, "poll_interval=nan"),
            ({"poll_interval": None}, "poll_interval=None has to be a number of seconds above 0; there is no doing without"),
            ({"max_queued": 0}, "max_queued=0 has to be a whole number, 1 or more"),
            ({"max_queued": 1.5}, "max_queued=1.5"),
            ({"max_queued": None}, "max_queued=None has to be a whole number, 1 or more; there is no doing without"),
            ({"in_thread": "no"}, "in_thread='no' has to be True or False"),
            ({"clock": 3}, "clock=3 keeps no time"),
            ({"overflow": "wait"}, "overflow='wait' has to be one of WAIT, DROP_OLDEST, DROP_NEWEST, FAIL"),
            ({"handler": 5}, r"handler is 5, which has no process_event\(event\)"),
            ({"handler": PrintEventHandler}, "handler is <class"),
            ({"handler": EventDispatcher}, "handler is <class"),
        ],
    )
    def test_an_option_that_makes_no_sense_is_refused(self, options: Any, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            EventPump(**options)

    def test_a_thousand_events_are_queued_at_most_unless_it_says_otherwise(self, clock: Clock) -> None:
        pump = EventPump(handler=Held(), clock=clock)
        put(pump, *range(1_000))

        assert_pending(pump.put(event(1)))

    def test_a_dispatcher_may_stand_for_a_handler(self, clock: Clock) -> None:
        dispatcher, heard = EventDispatcher(clock=clock), list[Any]()
        result_now(dispatcher.start())
        _ = dispatcher.add_event_handler(heard.append, "during")
        pump = EventPump(handler=dispatcher, clock=clock)
        result_now(pump.start())
        put(pump, 1, 2)

        assert heard == [1, 2]

    def test_messages_name_it(self) -> None:
        assert (repr(EventPump()), repr(EventPump(name="mail"))) == ("<EventPump>", "<EventPump 'mail'>")

    def test_statistics_are_frozen(self) -> None:
        statistics = EventPump().statistics()

        assert attrs.asdict(statistics) == dict.fromkeys(["depth", "waiting", "processed", "failed", "dropped", "refused"], 0)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            statistics.depth = 1  # type: ignore[misc]  # that it fails is the point


class TestPut:
    def test_before_the_start_events_are_queued(self, clock: Clock) -> None:
        held = Held()
        pump = EventPump(handler=held, clock=clock)
        put(pump, 1, 2)

        assert held.heard == [] and pump.statistics().depth == 2
        result_now(pump.start())
        assert held.heard == [1] and pump.statistics().depth == 1

    def test_a_put_that_waits_before_the_start_comes_in_with_it(self, clock: Clock) -> None:
        held = Held()
        pump = EventPump(max_queued=1, handler=held, clock=clock)
        put(pump, 1)
        second = pump.put(event(2))
        assert_pending(second)
        result_now(pump.start())

        assert result_now(second) is True

    def test_after_the_stop_none_is_taken(self, clock: Clock) -> None:
        pump = EventPump(handler=Held(), clock=clock, name="mail")
        result_now(pump.start())
        result_now(pump.stop())

        assert "<EventPump 'mail'> is stopped" in str(failure_now(pump.put(event(1)), PumpStopped))

    def test_while_it_stops_none_is_taken_from_handlers_either(self, clock: Clock) -> None:
        refused: list[Any] = []

        def work(found: QueuedEvent) -> Any:
            if found.data == 1:
                return waiting
            return pump.put(event(3)).addErrback(lambda failure: refused.append(failure.value))

        waiting: Deferred[None] = Deferred()
        pump = EventPump(handler=Doing(work), clock=clock)
        result_now(pump.start())
        put(pump, 1, 2)
        stopping = pump.stop()
        waiting.callback(None)
        result_now(stopping)

        assert [type(error) for error in refused] == [PumpStopped]
        assert pump.statistics().processed == 2 and pump.statistics().failed == 0

    @pytest.mark.parametrize("nonsense", [None, 5, {"a": 1}, EventGenerator()])
    def test_what_is_no_event_is_refused_at_once(self, nonsense: Any) -> None:
        with pytest.raises(ConfigurationError, match="takes instances of QueuedEvent"):
            _ = EventPump(handler=Held()).put(nonsense)

    def test_an_event_that_nobody_would_handle_is_refused_at_once(self) -> None:
        with pytest.raises(ConfigurationError, match=r"has no handler, and <EventPump> has none .*EventPump\(handler=...\)"):
            _ = EventPump().put(event(1))

    def test_an_event_with_a_class_for_a_handler_is_refused_at_once(self) -> None:
        handler: Any = PrintEventHandler
        with pytest.raises(ConfigurationError, match="the handler of event of test .* is <class"):
            _ = EventPump().put(QueuedEvent("test", handler, 1))


class TestStop:
    def test_it_polls_no_more_asks_the_sources_in_order_and_drains_the_queue(self, clock: Clock) -> None:
        order: list[str] = []
        pump = EventPump(handler=Doing(lambda event: held), clock=clock)
        held: Deferred[None] = Deferred()
        pump.add_event_generator(Source([event(1), event(2)], order=order, name="a"))
        pump.add_event_generator(Source(order=order, name="b"))
        result_now(pump.start())
        stopping = pump.stop()

        assert order == ["poll a", "poll b", "stop a", "stop b"]
        assert not pump.running
        clock.pump([1] * 5)
        assert len(order) == 4
        assert_pending(stopping)
        held.callback(None)
        result_now(stopping)
        assert (pump.statistics().processed, pump.statistics().depth) == (2, 0)
        assert clock.getDelayedCalls() == []

    def test_a_poll_under_way_is_waited_for_and_its_events_are_processed(self, clock: Clock) -> None:
        waiting: Deferred[Any] = Deferred()
        heard: list[Any] = []
        pump = EventPump(handler=Doing(lambda event: heard.append(event.data)), clock=clock)
        pump.add_event_generator(Source(lambda: waiting))
        result_now(pump.start())
        stopping = pump.stop()

        assert_pending(stopping)
        waiting.callback([event(1)])
        result_now(stopping)
        assert heard == [1]

    def test_stopping_a_generator_may_end_its_poll(self, clock: Clock, logged: Callable[[], list[str]]) -> None:
        waiting: Deferred[Any] = Deferred()
        pump = EventPump(handler=Held(), clock=clock)
        pump.add_event_generator(Source(lambda: waiting, stopped=waiting.cancel))
        result_now(pump.start())

        result_now(pump.stop())
        assert logged() == []

    def test_puts_that_wait_come_in_and_are_processed(self, clock: Clock) -> None:
        held = Held()
        pump = EventPump(max_queued=1, handler=held, clock=clock)
        result_now(pump.start())
        put(pump, 1, 2)
        third = pump.put(event(3))
        stopping = pump.stop()
        while held.at_work:
            held.finish()

        assert result_now(third) is True and held.heard == [1, 2, 3]
        result_now(stopping)

    def test_a_second_stop_joins_the_first(self, clock: Clock) -> None:
        source, held = Source(), Held()
        pump = EventPump(handler=held, clock=clock)
        pump.add_event_generator(source)
        result_now(pump.start())
        put(pump, 1)
        first, second = pump.stop(), pump.stop()

        assert source.order.count("stop source") == 1
        assert_pending(first)
        assert_pending(second)
        held.finish()
        result_now(first)
        result_now(second)
        result_now(pump.stop())

    def test_a_second_stop_with_a_time_out_ends_both(self, clock: Clock) -> None:
        pump = EventPump(handler=Held(), clock=clock)
        result_now(pump.start())
        put(pump, 1)
        first, second = pump.stop(), pump.stop(2)
        clock.advance(2)

        result_now(first)
        result_now(second)

    def test_what_does_not_run_is_not_stopped(self, clock: Clock) -> None:
        source = Source()
        pump = EventPump(handler=Held(), clock=clock)
        pump.add_event_generator(source)
        put(pump, 1)
        result_now(pump.stop())

        assert source.order == []
        put(pump, 2)

    @pytest.mark.parametrize("timeout", [0, -1, float("nan"), "1"])
    def test_a_time_out_that_makes_no_sense_is_refused_and_stops_nothing(self, timeout: Any, clock: Clock) -> None:
        pump = EventPump(handler=Held(), clock=clock)
        result_now(pump.start())
        with pytest.raises(ConfigurationError, match="timeout="):
            _ = pump.stop(timeout)

        assert pump.running


HANGING: dict[str, Callable[[], dict[str, Any]]] = {
    "a handler": lambda: {"do": lambda event: Deferred()},
    "a coroutine that ignores being cancelled": lambda: {"do": lambda event: stubborn()},
    "an error handler": lambda: {"do": lambda event: fail(ValueError("planned")), "told": lambda event: Deferred()},
    "an error handler that ignores being cancelled": lambda: {
        "do": lambda event: fail(ValueError("planned")),
        "told": lambda event: stubborn(),
    },
    "stopping a generator": lambda: {"source": Source(stopped=Deferred)},
    "stopping a generator, which ignores being cancelled": lambda: {"source": Source(stopped=stubborn)},
    "a poll": lambda: {"source": Source(Deferred)},
    "a poll that ignores being cancelled": lambda: {"source": Source(stubborn)},
    "a poll for want of room": lambda: {
        "do": lambda event: Deferred(),
        "source": Source(lambda: [event(number) for number in range(10)]),
    },
    "all of it": lambda: {"do": lambda event: stubborn(), "source": Source(stubborn, stopped=stubborn)},
}


class TestTimeOut:
    @pytest.mark.parametrize("hanging", HANGING.values(), ids=HANGING)
    def test_stop_ends_when_time_is_up_whatever_hangs_and_the_pump_can_start_again(
        self, hanging: Callable[[], dict[str, Any]], clock: Clock
    ) -> None:
        parts = hanging()
        heard: list[Any] = []
        pump = EventPump(max_queued=2, handler=Doing(parts.get("do", lambda event: None)), clock=clock)
        pump.error_handler(Doing(parts.get("told", lambda event: None)))
        source = parts.get("source", Source())
        pump.add_event_generator(source)
        result_now(pump.start())
        first = pump.put(event(1))
        stopping = pump.stop(5)
        clock.pump([4.99] if not stopping.called else [])
        assert_pending(stopping)
        clock.advance(0.01)

        result_now(stopping)
        statistics = pump.statistics()
        assert not pump.running and (statistics.depth, statistics.waiting) == (0, 0)
        assert clock.getDelayedCalls() == []
        _ = first.addErrback(lambda failure: failure.trap(PumpStopped))

        result_now(pump.remove_event_generator(source))
        result_now(pump.start())
        _ = pump.put(event(2, Doing(lambda event: heard.append(event.data))))
        assert heard == [2]

    def test_the_handler_at_work_counts_as_failed_and_the_rest_as_dropped(
        self, clock: Clock, logged: Callable[[], list[str]]
    ) -> None:
        cancelled: list[Any] = []
        pump = EventPump(max_queued=2, handler=Doing(lambda event: Deferred(cancelled.append)), clock=clock)
        result_now(pump.start())
        put(pump, 1, 2, 3)
        fourth = pump.put(event(4))
        stopping = pump.stop(1)
        clock.advance(1)
        result_now(stopping)

        assert len(cancelled) == 1
        failure_now(fourth, PumpStopped)
        statistics = pump.statistics()
        assert (statistics.processed, statistics.failed, statistics.dropped, statistics.depth) == (1, 1, 2, 0)
        assert any("the handler of event of test" in text and "is cancelled" in text for text in logged())
        assert any("<EventPump> was stopped with 2 events left: dropped" in text for text in logged())

    def test_an_event_whose_error_handler_hangs_counts_as_failed_once(self, clock: Clock) -> None:
        pump = EventPump(handler=Doing(lambda event: fail(ValueError("planned"))), clock=clock)
        pump.error_handler(Held())
        result_now(pump.start())
        put(pump, 1)
        stopping = pump.stop(1)
        clock.advance(1)
        result_now(stopping)

        assert (pump.statistics().processed, pump.statistics().failed) == (1, 1)

    def test_an_abandoned_handler_and_poll_are_logged(self, clock: Clock, logged: Callable[[], list[str]]) -> None:
        pump = EventPump(handler=Doing(lambda event: stubborn()), clock=clock)
        pump.add_event_generator(Source(stubborn))
        result_now(pump.start())
        put(pump, 1)
        stopping = pump.stop(1)
        clock.advance(1)
        result_now(stopping)

        assert any("is cancelled, and not waited for" in text for text in logged())
        assert any("a poll of" in text and "is given up" in text for text in logged())

    def test_what_an_abandoned_handler_ends_with_later_changes_nothing(self, clock: Clock) -> None:
        late: Deferred[None] = Deferred()

        async def ignores(event: QueuedEvent) -> None:
            try:
                await Deferred()
            except CancelledError:
                await late

        pump = EventPump(handler=Doing(ignores), clock=clock)
        result_now(pump.start())
        put(pump, 1)
        stopping = pump.stop(1)
        clock.advance(1)
        result_now(stopping)
        held = Held()
        result_now(pump.start())
        _ = pump.put(event(2, held))
        _ = pump.put(event(3, held))
        late.callback(None)

        assert held.heard == [2]
        assert pump.statistics().processed == 1

    def test_all_is_counted_before_stop_fires(self, clock: Clock) -> None:
        pump = EventPump(handler=Held(), clock=clock)
        result_now(pump.start())
        put(pump, 1, 2, 3)
        seen: list[Any] = []
        _ = pump.stop(1).addCallback(lambda _: seen.append(pump.statistics()))
        clock.advance(1)

        assert seen == [pump.statistics()] and seen[0].dropped == 2

    def test_time_to_spare_is_not_used(self, clock: Clock) -> None:
        held = Held()
        pump = EventPump(handler=held, clock=clock)
        result_now(pump.start())
        put(pump, 1)
        stopping = pump.stop(60)
        held.finish()

        result_now(stopping)
        assert clock.getDelayedCalls() == []


class TestAgain:
    def test_starting_what_runs_changes_nothing(self, clock: Clock) -> None:
        source = Source()
        pump = EventPump(handler=Held(), clock=clock)
        pump.add_event_generator(source)
        result_now(pump.start())
        result_now(pump.start())

        assert source.order == ["poll source"]

    @pytest.mark.parametrize("error", [None, OSError("address in use")], ids=["works", "fails"])
    def test_a_second_start_joins_the_one_under_way(self, clock: Clock, error: Exception | None) -> None:
        source = Opening()
        pump = EventPump(handler=Held(), clock=clock)
        pump.add_event_generator(source)
        starts = [pump.start(), pump.start(), pump.start()]
        starts[1].addErrback(lambda failure: failure.trap(CancelledError)).cancel()

        assert_pending(starts[0])
        assert_pending(starts[2])
        if error is None:
            source.opened.callback(None)
        else:
            source.opened.errback(error)
        for start in (starts[0], starts[2]):
            if error is None:
                result_now(start)
            else:
                assert failure_now(start) is error

    def test_a_second_start_while_it_stops_joins_the_first_too(self, clock: Clock) -> None:
        held = Held()
        pump = EventPump(handler=held, clock=clock)
        result_now(pump.start())
        put(pump, 1)
        stopping, starts = pump.stop(), [pump.start(), pump.start()]

        assert [start.called for start in starts] == [False, False]
        held.finish()
        for each in (stopping, *starts):
            result_now(each)
        assert pump.running

    def test_a_stop_ends_a_start_that_was_joined(self, clock: Clock) -> None:
        pump = EventPump(handler=Held(), clock=clock)
        pump.add_event_generator(Opening())
        starts = [pump.start(), pump.start()]
        result_now(pump.stop())

        for start in starts:
            result_now(start)
        assert not pump.running

    def test_after_a_stop_it_starts_anew_and_counts_on(self, clock: Clock) -> None:
        source = Source(lambda: [event(1)])
        pump = EventPump(handler=Doing(lambda event: None), clock=clock)
        pump.add_event_generator(source)
        for _ in range(3):
            result_now(pump.start())
            clock.advance(1)
            result_now(pump.stop())

        assert source.order == ["poll source", "poll source", "stop source"] * 3
        assert pump.statistics().processed == 6

    def test_a_start_while_it_stops_waits_for_that(self, clock: Clock) -> None:
        held, source = Held(), Source()
        pump = EventPump(handler=held, clock=clock)
        pump.add_event_generator(source)
        result_now(pump.start())
        put(pump, 1)
        stopping, starting = pump.stop(), pump.start()

        assert_pending(starting)
        assert source.order == ["poll source", "stop source"]
        held.finish()
        result_now(stopping)
        result_now(starting)
        assert pump.running and source.order == ["poll source", "stop source", "poll source"]
        put(pump, 2)
        assert held.heard == [1, 2]

    def test_the_last_word_counts(self, clock: Clock) -> None:
        held, source = Held(), Source()
        pump = EventPump(handler=held, clock=clock)
        pump.add_event_generator(source)
        result_now(pump.start())
        put(pump, 1)
        said = [pump.stop(), pump.start(), pump.stop()]
        held.finish()

        for each in said:
            result_now(each)
        assert not pump.running and source.order == ["poll source", "stop source"]

    def test_a_handler_may_stop_and_start_it(self, clock: Clock) -> None:
        heard: list[Any] = []

        def work(found: QueuedEvent) -> None:
            heard.append(found.data)
            if found.data == 1:
                _ = pump.stop()
                _ = pump.start()

        pump = EventPump(handler=Doing(work), clock=clock)
        put(pump, 1, 2)
        result_now(pump.start())

        assert pump.running and heard == [1, 2]
        put(pump, 3)
        assert heard == [1, 2, 3]


FLOOD = 100_000


class TestFlood:
    """More events than the handlers keep up with: memory stays flat, and every event is accounted for."""

    @pytest.mark.parametrize("overflow", Overflow)
    def test_memory_is_flat_and_the_counts_are_exact(self, overflow: Overflow) -> None:
        clock, refused, before = Clock(), 0, 0

        def count_refused(event: QueuedEvent) -> None:
            nonlocal refused
            refused += 1

        def slow(found: QueuedEvent) -> Deferred[None]:
            waiting: Deferred[None] = Deferred()
            _ = clock.callLater(1, waiting.callback, None)
            return waiting

        def flood() -> Iterator[QueuedEvent]:
            nonlocal before
            for number in range(FLOOD):
                if number == FLOOD // 10:
                    gc.collect()
                    before = sys.getallocatedblocks()
                if number % 10 == 9 and overflow is not WAIT:
                    # One tenth is as much as the handlers are able to do.
                    clock.advance(1)
                yield QueuedEvent("flood", None, number)
            gc.collect()
            grown.append(sys.getallocatedblocks() - before)

        grown: list[int] = []
        pump = EventPump(max_queued=100, overflow=overflow, handler=Doing(slow), clock=clock)
        pump.error_handler(Doing(count_refused))
        pump.add_event_generator(Source(flood), poll_interval=10 * FLOOD)
        result_now(pump.start())
        stopping = pump.stop()
        while not stopping.called:
            clock.advance(1)

        assert grown[0] < 2_000
        statistics = pump.statistics()
        assert (statistics.depth, statistics.waiting, statistics.failed) == (0, 0, 0)
        assert statistics.processed + statistics.dropped + statistics.refused == FLOOD
        # One at work, a hundred queued, and one more for each advance.
        taken = FLOOD if overflow is WAIT else FLOOD // 10 + 101
        assert abs(statistics.processed - taken) <= 1
        assert refused == statistics.refused
        assert bool(statistics.dropped) is (overflow in {DROP_OLDEST, DROP_NEWEST})
        assert bool(statistics.refused) is (overflow is FAIL)

    def test_the_measure_sees_a_leak(self) -> None:
        gc.collect()
        before = sys.getallocatedblocks()
        kept = [event(number) for number in range(1_000)]

        assert sys.getallocatedblocks() - before > 2_000
        assert len(kept) == 1_000


def test_ended_puts_and_polls_leave_nothing_behind(clock: Clock) -> None:
    pump = EventPump(max_queued=1, handler=Held(), clock=clock)
    source = Source(lambda: succeed([]))
    pump.add_event_generator(source)
    result_now(pump.start())
    put(pump, 1, 2)

    def cycle(rounds: int) -> None:
        for _ in range(rounds):
            waiting = pump.put(event(3))
            waiting.cancel()
            failure_now(waiting, CancelledError)
            clock.advance(1)
        source.order.clear()

    cycle(1_000)
    gc.collect()
    before = sys.getallocatedblocks()
    cycle(5_000)
    gc.collect()

    assert sys.getallocatedblocks() - before < 1_000
