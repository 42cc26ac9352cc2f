"""One event at a time, in order, and what becomes of failures."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from twisted_evproc.errors import ConfigurationError, PumpStopped
from twisted_evproc.sources import EventGenerator, EventHandler, EventPump, QueuedEvent
from twisted_evproc.testing import assert_pending, failure_now, result_now


class Doing(EventHandler):
    """Does with an event what a function does."""

    def __init__(self, do: Callable[[QueuedEvent], Any]) -> None:
        self.do = do
        self.heard: list[Any] = []

    def process_event(self, event: QueuedEvent) -> Any:
        self.heard.append(event.data)
        return self.do(event)


class Held(Doing):
    """Works on each event until it is told to finish."""

    def __init__(self) -> None:
        super().__init__(lambda event: self._hold())
        self.at_work: list[Deferred[Any]] = []

    def _hold(self) -> Deferred[Any]:
        self.at_work.append(Deferred())
        return self.at_work[-1]


def event(data: Any, handler: EventHandler | None = None) -> QueuedEvent:
    return QueuedEvent("test", handler, data)


def started(handler: EventHandler, clock: Clock, **options: Any) -> EventPump:
    pump = EventPump(handler=handler, clock=clock, **options)
    result_now(pump.start())
    return pump


def put(pump: EventPump, *data: Any) -> None:
    for each in data:
        assert result_now(pump.put(event(each))) is True


async def later(waiting: Deferred[Any]) -> Any:
    return await waiting


def raise_it(error: BaseException) -> Any:
    raise error


class TestOrder:
    @pytest.mark.parametrize("way", [lambda found: found, later], ids=["Deferred", "coroutine"])
    def test_one_event_is_at_work_at_a_time_in_order(self, way: Callable[[Any], Any], clock: Clock) -> None:
        at_work: list[Deferred[None]] = []

        def work(event: QueuedEvent) -> Any:
            at_work.append(Deferred())
            return way(at_work[-1])

        handler = Doing(work)
        pump = started(handler, clock)
        put(pump, 1, 2, 3)

        for number in (1, 2, 3):
            assert handler.heard == list(range(1, number + 1))
            assert pump.statistics().depth == 3 - number
            assert pump.statistics().processed == number - 1
            at_work[-1].callback(None)
        assert pump.statistics().processed == 3

    def test_the_event_in_work_takes_no_room_in_the_queue(self, clock: Clock) -> None:
        pump = started(Held(), clock, max_queued=1)
        put(pump, 1, 2)

        assert_pending(pump.put(event(3)))
        assert (pump.statistics().depth, pump.statistics().waiting) == (1, 1)

    def test_an_event_brings_its_handler_or_gets_the_pumps(self, clock: Clock) -> None:
        own, general = Doing(lambda event: None), Doing(lambda event: None)
        pump = started(general, clock)
        for each in (event(1, own), event(2)):
            assert result_now(pump.put(each)) is True

        assert (own.heard, general.heard) == ([1], [2])

    def test_events_that_a_handler_puts_come_behind_those_there_are(self, clock: Clock) -> None:
        def add(found: QueuedEvent) -> None:
            if found.data < 10:
                put(pump, found.data * 10)

        handler = Doing(add)
        pump = EventPump(handler=handler, clock=clock)
        put(pump, 1, 2, 3)
        result_now(pump.start())

        assert handler.heard == [1, 2, 3, 10, 20, 30]

    def test_ten_thousand_events_that_each_put_the_next_do_not_nest(self, clock: Clock) -> None:
        def add(found: QueuedEvent) -> None:
            if found.data:
                put(pump, found.data - 1)

        pump = started(Doing(add), clock)
        put(pump, 10_000)

        assert pump.statistics().processed == 10_001

    def test_ten_thousand_handlers_whose_deferreds_fire_in_turn_do_not_nest(self, clock: Clock) -> None:
        held = Held()
        pump = EventPump(max_queued=10_000, handler=held, clock=clock)
        put(pump, *range(10_000))
        result_now(pump.start())
        while held.at_work:
            held.at_work.pop().callback(None)

        assert held.heard == list(range(10_000))

    def test_handlers_see_no_context_variable_that_another_set(self, clock: Clock) -> None:
        variable: ContextVar[Any] = ContextVar("variable", default=None)
        seen: list[Any] = []

        def work(event: QueuedEvent) -> None:
            seen.append(variable.get())
            variable.set(event.data)

        pump = EventPump(handler=Doing(work), clock=clock)
        put(pump, 1, 2, 3)
        result_now(pump.start())

        assert seen == [None, None, None] and variable.get() is None


WAYS: dict[str, Callable[[BaseException], Any]] = {
    "raised": raise_it,
    "Deferred": fail,
    "coroutine": lambda error: later(fail(error)),
}


class TestFailures:
    @pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
    def test_the_error_handler_gets_the_exception_and_the_original_event(self, way: Callable[[Any], Any], clock: Clock) -> None:
        told: list[QueuedEvent] = []
        error = ValueError("planned")
        handler = Doing(lambda event: way(error))
        pump = started(handler, clock)
        handlers: dict[str, Any] = {"told": Doing(told.append)}
        pump.error_handler(handlers["told"])
        original = event(1)
        assert result_now(pump.put(original)) is True

        (error_event,) = told
        assert error_event.originator is pump
        assert error_event.handler is not None and error_event.handler is handlers["told"]
        assert error_event.data[0] is error and error_event.data[1] is original
        assert isinstance(error_event.data, tuple) and len(error_event.data) == 2
        assert error_event.timestamp >= original.timestamp
        assert (pump.statistics().processed, pump.statistics().failed) == (1, 1)

    def test_a_failure_that_comes_later_is_told_too(self, clock: Clock) -> None:
        held, told = Held(), Doing(lambda event: None)
        pump = started(held, clock)
        pump.error_handler(told)
        put(pump, 1, 2)
        held.at_work[0].errback(ValueError("planned"))

        assert [(str(error), original.data) for error, original in told.heard] == [("planned", 1)]
        assert held.heard == [1, 2]

    def test_failures_are_told_in_order_between_the_events(self, clock: Clock) -> None:
        order: list[Any] = []

        def work(found: QueuedEvent) -> None:
            order.append(found.data)
            raise ValueError(found.data)

        pump = EventPump(handler=Doing(work), clock=clock)
        pump.error_handler(Doing(lambda event: order.append(event.data[0].args[0])))
        put(pump, "a", "b")
        result_now(pump.start())

        assert order == ["a", "a", "b", "b"]

    def test_the_error_handler_is_waited_for(self, clock: Clock) -> None:
        def work(found: QueuedEvent) -> None:
            if found.data == 1:
                raise ValueError("planned")

        handler, told = Doing(work), Held()
        pump = started(handler, clock)
        pump.error_handler(told)
        put(pump, 1, 2)

        assert handler.heard == [1]
        assert (pump.statistics().processed, pump.statistics().failed) == (0, 1)
        told.at_work[0].callback(None)
        assert handler.heard == [1, 2]
        assert (pump.statistics().processed, pump.statistics().failed) == (2, 1)

    @pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
    def test_a_failing_error_handler_ends_there_and_both_failures_are_logged(
        self, way: Callable[[Any], Any], clock: Clock, logged: Callable[[], list[str]]
    ) -> None:
        pump = EventPump(handler=Doing(lambda event: fail(ValueError("first"))), clock=clock)
        told = Doing(lambda event: way(KeyError("second")))
        pump.error_handler(told)
        put(pump, 1, 2)
        result_now(pump.start())

        assert len(told.heard) == 2
        assert ["first" in text for text in logged()] == [True, False, True, False]
        assert ["second" in text for text in logged()] == [False, True, False, True]
        assert "Doing failed for event of test" in logged()[1]
        assert (pump.statistics().processed, pump.statistics().failed) == (2, 2)

    @pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
    def test_without_an_error_handler_failures_are_logged(
        self, way: Callable[[Any], Any], clock: Clock, logged: Callable[[], list[str]]
    ) -> None:
        pump = started(Doing(lambda event: way(ValueError("planned"))), clock)
        put(pump, 1, 2)

        assert len(logged()) == 2
        assert all("the handler of event of test" in text and "planned" in text for text in logged())
        assert (pump.statistics().processed, pump.statistics().failed) == (2, 2)

    @pytest.mark.parametrize("false", [False, None, 0, "", succeed(False)])
    def test_a_false_result_is_no_failure(self, false: Any, clock: Clock, logged: Callable[[], list[str]]) -> None:
        pump, told = started(Doing(lambda event: false), clock), Doing(lambda event: None)
        pump.error_handler(told)
        put(pump, 1)

        assert told.heard == [] and logged() == []
        assert (pump.statistics().processed, pump.statistics().failed) == (1, 0)

    def test_a_second_error_handler_replaces_the_first_and_none_logs_again(
        self, clock: Clock, logged: Callable[[], list[str]]
    ) -> None:
        pump = started(Doing(lambda event: fail(ValueError("planned"))), clock)
        first, second = Doing(lambda event: None), Doing(lambda event: None)
        for handler, number in ((first, 1), (second, 2), (None, 3)):
            pump.error_handler(handler)
            put(pump, number)

        assert [original.data for _, original in first.heard] == [1]
        assert [original.data for _, original in second.heard] == [2]
        assert len(logged()) == 1

    def test_what_is_no_handler_is_refused_and_the_old_one_stays(self, clock: Clock) -> None:
        pump, told = started(Doing(lambda event: fail(ValueError("planned"))), clock), Doing(lambda event: None)
        pump.error_handler(told)
        with pytest.raises(ConfigurationError, match="the error handler is <built-in function print>"):
            pump.error_handler(print)  # type: ignore[arg-type]  # that it is refused is the point
        put(pump, 1)

        assert len(told.heard) == 1

    def test_a_handlers_own_deferred_keeps_its_result_for_others(self, clock: Clock) -> None:
        own: Deferred[str] = Deferred()
        pump = started(Doing(lambda event: own), clock)
        put(pump, 1, 2)
        own.callback("mine")

        assert result_now(own) == "mine" and pump.statistics().processed == 2


class TestPassing:
    """SystemExit and KeyboardInterrupt are not for us."""

    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
    @pytest.mark.parametrize("told", [False, True])
    def test_it_passes_to_whoever_put_the_event_and_the_rest_is_processed_in_the_next_turn(
        self, error: type[BaseException], told: bool, clock: Clock
    ) -> None:
        def work(found: QueuedEvent) -> None:
            if found.data == 1:
                put(pump, 2)
                raise ValueError if told else error

        handler = Doing(work)
        pump = started(handler, clock)
        pump.error_handler(Doing(lambda event: raise_it(error())))
        with pytest.raises(error):
            _ = pump.put(event(1))

        assert handler.heard == [1]
        assert (pump.statistics().processed, pump.statistics().failed, pump.statistics().depth) == (1, 1, 1)
        clock.advance(0)
        assert handler.heard == [1, 2]
        put(pump, 3)
        assert handler.heard == [1, 2, 3]
        result_now(pump.stop())

    def test_behind_an_await_nobody_is_left_to_pass_it_to_and_it_is_told_as_a_failure(self, clock: Clock) -> None:
        held, told = Held(), Doing(lambda event: None)
        pump = started(held, clock)
        pump.error_handler(told)
        put(pump, 1, 2)
        held.at_work[0].errback(SystemExit(3))

        assert [type(error) for error, _ in told.heard] == [SystemExit]
        assert held.heard == [1, 2]

    def test_raised_below_the_deferred_of_another_handler_it_is_logged_there_and_the_pump_goes_on(
        self, clock: Clock, logged: Callable[[], list[str]]
    ) -> None:
        first: Deferred[str] = Deferred()
        handler = Doing(lambda event: first if event.data == 1 else raise_it(SystemExit(3)) if event.data == 2 else None)
        pump = started(handler, clock)
        put(pump, 1, 2, 3)
        stopping = pump.stop()
        first.callback("mine")

        assert ["SystemExit" in text for text in logged()] == [True]
        assert result_now(first) == "mine"
        assert handler.heard == [1, 2] and pump.statistics().failed == 1
        assert_pending(stopping)
        clock.advance(0)
        result_now(stopping)
        assert handler.heard == [1, 2, 3]

    def test_an_error_handler_that_exits_below_a_deferred_does_not_end_the_pump(
        self, clock: Clock, logged: Callable[[], list[str]]
    ) -> None:
        held = Held()
        pump = started(held, clock)
        pump.error_handler(Doing(lambda event: raise_it(SystemExit(3))))
        put(pump, 1, 2)
        held.at_work[0].errback(ValueError("planned"))
        clock.advance(0)

        assert ["SystemExit" in text for text in logged()] == [True]
        assert held.heard == [1, 2]
        assert (pump.statistics().processed, pump.statistics().failed) == (1, 1)


class TestStopFromWithin:
    """A handler that stops its pump does not wait for itself."""

    @pytest.mark.parametrize("eventual", [False, True])
    def test_by_the_handler_at_work(self, eventual: bool, clock: Clock) -> None:
        waiting: Deferred[None] = Deferred()
        order: list[str] = []

        async def work(found: QueuedEvent) -> None:
            if found.data == 1:
                if eventual:
                    await waiting
                await pump.stop()
                order.append("stopped")
            else:
                order.append(f"event {found.data}")

        pump = started(Doing(work), clock)
        put(pump, 1)
        if eventual:
            put(pump, 2)
            waiting.callback(None)

        result_now(pump.stop())
        assert order == ["stopped", "event 2"][: 1 + eventual]
        failure_now(pump.put(event(3)), PumpStopped)

    def test_by_the_error_handler(self, clock: Clock) -> None:
        async def stop(found: QueuedEvent) -> None:
            await pump.stop()

        pump = started(Doing(lambda event: fail(ValueError("planned"))), clock)
        pump.error_handler(Doing(stop))
        put(pump, 1)

        result_now(pump.stop())
        assert pump.statistics().processed == 1

    def test_others_wait_for_the_handler_meanwhile(self, clock: Clock) -> None:
        held = Held()
        pump = started(held, clock)
        put(pump, 1)
        stopping = pump.stop()

        assert_pending(stopping)
        held.at_work[0].callback(None)
        result_now(stopping)


class Endless(EventGenerator):
    """Gives events for as long as nothing else has had its turn, within reason."""

    def __init__(self, turns: list[int]) -> None:
        self.turns = turns
        self.given = 0

    def get_events(self) -> Any:
        while len(self.turns) < 10 and self.given < 3_000_000:
            self.given += 1
            yield QueuedEvent(self, None, self.given)


class TestFairness:
    @pytest_twisted.ensureDeferred
    async def test_a_flood_of_events_lets_other_work_of_the_reactor_run(self) -> None:
        from twisted.internet import reactor  # noqa: TID251  # the real one is the point

        turns: list[int] = []

        def turn() -> None:
            turns.append(source.given)
            if len(turns) < 10:
                reactor.callLater(0, turn)

        source, handler = Endless(turns), Doing(lambda event: None)
        handler.heard = Forgetting()
        pump = EventPump(handler=handler)
        pump.add_event_generator(source)
        reactor.callLater(0, turn)
        await pump.start()
        await pump.stop()

        assert len(turns) == 10
        assert pump.statistics().processed == source.given < 3_000_000

    @pytest_twisted.ensureDeferred
    async def test_a_full_queue_of_handlers_that_never_wait_lets_other_work_of_the_reactor_run(self) -> None:
        from twisted.internet import reactor  # noqa: TID251  # the real one is the point

        turns: list[int] = []

        done: Deferred[None] = Deferred()

        def again(found: QueuedEvent) -> None:
            if len(turns) < 10 and found.data < 3_000_000:
                _ = pump.put(event(found.data + 1))
            else:
                done.callback(None)

        def turn() -> None:
            turns.append(pump.statistics().processed)
            if len(turns) < 10:
                reactor.callLater(0, turn)

        handler = Doing(again)
        handler.heard = Forgetting()
        pump = EventPump(handler=handler)
        reactor.callLater(0, turn)
        await pump.start()
        assert await pump.put(event(1)) is True
        await done
        await pump.stop()

        assert len(turns) == 10
        assert turns == sorted(turns)


class Forgetting(list[Any]):
    """Keeps nothing: a flood would fill the memory of the test."""

    def append(self, item: Any) -> None:
        pass
