"""How events get from a source into a pump."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from twisted_evproc.errors import ConfigurationError, PumpStopped, QueueOverflow
from twisted_evproc.interfaces import IEventSink, IEventSource
from twisted_evproc.sources import FAIL, EventGenerator, EventHandler, EventPump, QueuedEvent
from twisted_evproc.testing import assert_pending, failure_now, result_now


class Keep(EventHandler):
    """Keeps the data of events; holds those it is told to."""

    def __init__(self, *held: Any) -> None:
        self.heard: list[Any] = []
        self.held = held
        self.at_work: list[Deferred[None]] = []

    def process_event(self, event: QueuedEvent) -> Any:
        self.heard.append(event.data)
        if event.data in self.held:
            self.at_work.append(Deferred())
            return self.at_work[-1]
        return True

    def finish(self) -> None:
        self.at_work.pop(0).callback(None)


class Scripted(EventGenerator):
    """Gives, or raises, one after the other what it was made with, and then nothing; counts how often it was asked."""

    def __init__(self, *polls: Any) -> None:
        self.polls = list(polls)
        self.asked = 0
        self.stopped = 0

    def get_events(self) -> Any:
        self.asked += 1
        found = self.polls.pop(0) if self.polls else []
        if isinstance(found, BaseException):
            raise found
        return found() if callable(found) else found

    def stop(self) -> Any:
        self.stopped += 1


def events(*data: Any) -> list[QueuedEvent]:
    return [QueuedEvent("test", None, each) for each in data]


async def later(waiting: Deferred[Any]) -> Any:
    return await waiting


class TestPolling:
    def test_the_first_poll_is_at_the_start_and_then_every_interval(self, clock: Clock) -> None:
        keep, source = Keep(), Scripted(events(1), events(2, 3), [], events(4))
        pump = EventPump(2.0, handler=keep, clock=clock)
        pump.add_event_generator(source)
        assert source.asked == 0
        result_now(pump.start())

        assert keep.heard == [1]
        clock.advance(1.99)
        assert source.asked == 1
        clock.advance(0.01)
        assert keep.heard == [1, 2, 3]
        clock.pump([2, 2])
        assert source.asked == 4 and keep.heard == [1, 2, 3, 4]

    def test_each_generator_may_have_an_interval_of_its_own(self, clock: Clock) -> None:
        slow, fast = Scripted(), Scripted()
        pump = EventPump(10, handler=Keep(), clock=clock)
        pump.add_event_generator(slow)
        pump.add_event_generator(fast, poll_interval=1)
        result_now(pump.start())
        clock.pump([1] * 10)

        assert (slow.asked, fast.asked) == (2, 11)

    @pytest.mark.parametrize(
        "give",
        [
            lambda: events(1, 2),
            lambda: tuple(events(1, 2)),
            lambda: iter(events(1, 2)),
            lambda: (event for event in events(1, 2)),
            lambda: succeed(events(1, 2)),
            lambda: later(succeed(events(1, 2))),
            lambda: later(succeed(iter(events(1, 2)))),
        ],
        ids=["list", "tuple", "iterator", "lazy", "Deferred", "coroutine", "coroutine of lazy"],
    )
    def test_events_come_in_a_list_lazily_or_eventually(self, give: Callable[[], Any], clock: Clock) -> None:
        keep = Keep()
        pump = EventPump(handler=keep, clock=clock)
        pump.add_event_generator(Scripted(give))
        result_now(pump.start())

        assert keep.heard == [1, 2]

    @pytest.mark.parametrize("way", [lambda waiting: waiting, later], ids=["Deferred", "coroutine"])
    def test_a_poll_that_takes_several_intervals_is_not_overtaken_and_disturbs_no_other(
        self, way: Callable[[Deferred[Any]], Any], clock: Clock
    ) -> None:
        waiting: Deferred[Any] = Deferred()
        keep, slow, quick = Keep(), Scripted(lambda: way(waiting), events("next")), Scripted(*[events(n) for n in range(9)])
        pump = EventPump(handler=keep, clock=clock)
        pump.add_event_generator(slow)
        pump.add_event_generator(quick)
        result_now(pump.start())
        clock.pump([1] * 5)

        assert (slow.asked, quick.asked) == (1, 6)
        waiting.callback(events("late"))
        assert keep.heard == [0, 1, 2, 3, 4, 5, "late"]
        clock.advance(1)
        assert slow.asked == 2 and keep.heard[-2:] in ([6, "next"], ["next", 6])

    def test_events_that_wait_for_room_keep_the_generator_from_being_polled(self, clock: Clock) -> None:
        keep, source = Keep(1, 2, 3, 4), Scripted(events(1, 2, 3, 4))
        pump = EventPump(max_queued=1, handler=keep, clock=clock)
        pump.add_event_generator(source)
        result_now(pump.start())
        clock.pump([1] * 5)

        assert source.asked == 1
        assert (pump.statistics().depth, pump.statistics().waiting) == (1, 1)
        keep.finish()
        clock.pump([1] * 5)
        assert source.asked == 1 and keep.heard == [1, 2]
        keep.finish()
        clock.pump([0, 1])
        assert source.asked == 2
        assert keep.heard == [1, 2, 3]

    def test_lazy_events_are_made_only_as_fast_as_they_are_taken(self, clock: Clock) -> None:
        made: list[int] = []

        def endless() -> Iterator[QueuedEvent]:
            while True:
                made.append(len(made))
                yield QueuedEvent("test", None, made[-1])

        keep = Keep(*range(10))
        pump = EventPump(max_queued=2, handler=keep, clock=clock)
        pump.add_event_generator(Scripted(endless))
        result_now(pump.start())

        assert made == [0, 1, 2, 3]  # at work, two queued, one that waits
        keep.finish()
        assert made == [0, 1, 2, 3, 4]

    def test_a_generators_own_deferred_keeps_its_result_for_others(self, clock: Clock) -> None:
        own: Deferred[Any] = Deferred()
        pump = EventPump(handler=Keep(), clock=clock)
        pump.add_event_generator(Scripted(lambda: own))
        result_now(pump.start())
        found = events(1)
        own.callback(found)

        assert result_now(own) is found


class TestFailures:
    @pytest.mark.parametrize(
        "poll",
        [
            ValueError("planned"),
            lambda: fail(ValueError("planned")),
            lambda: later(fail(ValueError("planned"))),
            SystemExit("planned"),
            lambda: later(fail(KeyboardInterrupt("planned"))),
            CancelledError("planned"),
        ],
        ids=["raised", "Deferred", "coroutine", "SystemExit", "KeyboardInterrupt behind an await", "cancelled"],
    )
    def test_a_failing_generator_is_logged_polled_again_and_disturbs_no_other(
        self, poll: Any, clock: Clock, logged: Callable[[], list[str]]
    ) -> None:
        keep, failing, other = Keep(), Scripted(poll, events("again")), Scripted(events(1), events(2))
        pump = EventPump(handler=keep, clock=clock)
        pump.add_event_generator(failing)
        pump.add_event_generator(other)
        result_now(pump.start())

        assert keep.heard == [1]
        (text,) = logged()
        assert "poll" in text and "Scripted" in text and "polled again" in text
        clock.advance(1)
        assert sorted(map(str, keep.heard)) == ["1", "2", "again"]

    @pytest.mark.parametrize("nonsense", [None, 5, "text", b"bytes", {"a": 1}, succeed(None), object()])
    def test_nonsense_in_place_of_events_is_logged_and_polled_again(
        self, nonsense: Any, clock: Clock, logged: Callable[[], list[str]]
    ) -> None:
        keep = Keep()
        pump = EventPump(handler=keep, clock=clock)
        pump.add_event_generator(Scripted(nonsense, events(1)))
        result_now(pump.start())

        assert "get_events() has to give an iterable of events" in logged()[0]
        clock.advance(1)
        assert keep.heard == [1]

    def test_nonsense_among_events_is_logged_and_left_out(self, clock: Clock, logged: Callable[[], list[str]]) -> None:
        keep = Keep()
        pump = EventPump(handler=keep, clock=clock)
        nobody: Any = object()
        pump.add_event_generator(Scripted([*events(1), "nonsense", QueuedEvent("test", nobody, 2), *events(3)]))
        result_now(pump.start())

        assert keep.heard == [1, 3]
        assert ["takes instances of QueuedEvent, not 'nonsense'" in text for text in logged()] == [True, False]
        assert "which has no process_event(event)" in logged()[1]

    def test_an_iterable_that_fails_in_its_midst_gives_what_came_before(
        self, clock: Clock, logged: Callable[[], list[str]]
    ) -> None:
        def lazily() -> Iterator[QueuedEvent]:
            yield from events(1)
            raise ValueError("planned")

        keep = Keep()
        pump = EventPump(handler=keep, clock=clock)
        pump.add_event_generator(Scripted(lazily, events(2)))
        result_now(pump.start())
        clock.advance(1)

        assert keep.heard == [1, 2]
        assert "planned" in logged()[0]

    def test_a_hanging_generator_disturbs_no_other(self, clock: Clock) -> None:
        keep, hanging, other = Keep(), Scripted(Deferred), Scripted(events(1), events(2))
        pump = EventPump(handler=keep, clock=clock)
        pump.add_event_generator(hanging)
        pump.add_event_generator(other)
        result_now(pump.start())
        clock.advance(1)

        assert keep.heard == [1, 2] and hanging.asked == 1

    def test_under_fail_the_error_handler_hears_of_each_event_without_room_in_order_and_is_waited_for(self, clock: Clock) -> None:
        told: list[tuple[Any, ...]] = []
        waiting: list[Deferred[None]] = []

        class Tell(EventHandler):
            def process_event(self, event: QueuedEvent) -> Deferred[None]:
                sent.append((event.originator, event.handler))
                told.append(event.data)
                waiting.append(Deferred())
                return waiting[-1]

        keep, source = Keep(1), Scripted(events(1, 2, 3, 4))
        pump = EventPump(max_queued=1, overflow=FAIL, handler=keep, clock=clock)
        sent: list[Any] = []
        listener: EventHandler = Tell()
        pump.error_handler(listener)
        pump.add_event_generator(source)
        result_now(pump.start())

        assert [(type(error), event.data) for error, event in told] == [(QueueOverflow, 3)]
        clock.advance(1)
        assert source.asked == 1
        waiting.pop().callback(None)
        clock.advance(0)
        assert [event.data for _, event in told] == [3, 4]
        waiting.pop().callback(None)
        clock.pump([0, 1])
        assert source.asked == 2
        assert pump.statistics().refused == 2 and pump.statistics().failed == 0
        assert sent == [(pump, listener)] * 2

    def test_under_fail_without_an_error_handler_it_is_logged(self, clock: Clock, logged: Callable[[], list[str]]) -> None:
        pump = EventPump(max_queued=1, overflow=FAIL, handler=Keep(1), clock=clock)
        pump.add_event_generator(Scripted(events(1, 2, 3)))
        result_now(pump.start())

        (text,) = logged()
        assert "QueueOverflow" in text


@implementer(IEventSource)
class Pushing:
    """A source that pushes; starts and stops with what it is told to return."""

    def __init__(self, started: Any = None, stopped: Any = None) -> None:
        self.started, self.stopped = started, stopped
        self.sink: IEventSink
        self.calls: list[str] = []

    def start(self, sink: IEventSink) -> Any:
        self.calls.append("start")
        self.sink = sink
        return self._now(self.started)

    def stop(self) -> Any:
        self.calls.append("stop")
        return self._now(self.stopped)

    def _now(self, returned: Any) -> Any:
        if isinstance(returned, BaseException):
            raise returned
        return returned() if callable(returned) else returned


class TestPushing:
    def test_its_events_are_queued_and_a_full_queue_makes_it_wait(self, clock: Clock) -> None:
        keep, source = Keep(1), Pushing()
        pump = EventPump(max_queued=1, handler=keep, clock=clock)
        pump.add_event_generator(source)
        result_now(pump.start())
        puts = [source.sink.put(event) for event in events(1, 2, 3)]

        assert [put.called for put in puts] == [True, True, False]
        keep.finish()
        assert result_now(puts[2]) is True
        assert keep.heard == [1, 2, 3]

    def test_it_may_put_events_while_it_is_asked_to_stop_and_none_afterwards(self, clock: Clock) -> None:
        ends: Deferred[None] = Deferred()
        keep, source = Keep(), Pushing(stopped=ends)
        pump = EventPump(handler=keep, clock=clock)
        pump.add_event_generator(source)
        result_now(pump.start())
        stopping = pump.stop()

        failure_now(pump.put(events(0)[0]), PumpStopped)
        assert result_now(source.sink.put(events(1)[0])) is True
        assert_pending(stopping)
        ends.callback(None)
        result_now(stopping)
        assert keep.heard == [1]
        failure_now(source.sink.put(events(2)[0]), PumpStopped)

    @pytest.mark.parametrize("started", [ValueError("planned"), lambda: fail(ValueError("planned"))], ids=["raised", "Deferred"])
    def test_one_that_cannot_start_fails_the_start_and_nothing_runs(self, started: Any, clock: Clock) -> None:
        before, bad, behind = Pushing(), Pushing(started), Pushing()
        pump = EventPump(handler=Keep(), clock=clock)
        for source in (before, bad, behind):
            pump.add_event_generator(source)

        assert str(failure_now(pump.start(), ValueError)) == "planned"
        assert (before.calls, bad.calls, behind.calls) == (["start", "stop"], ["start"], [])
        assert not pump.running and pump.generators == (before, bad, behind)
        assert clock.getDelayedCalls() == []

    def test_after_a_failed_start_it_can_be_started_again(self, clock: Clock) -> None:
        keep, bad = Keep(), Pushing(ValueError("planned"))
        pump = EventPump(handler=keep, clock=clock)
        pump.add_event_generator(bad)
        failure_now(pump.start(), ValueError)
        bad.started = None
        result_now(pump.start())

        assert result_now(bad.sink.put(events(1)[0])) is True
        assert pump.running and keep.heard == [1]

    def test_a_start_that_takes_its_time_is_waited_for(self, clock: Clock) -> None:
        listening: Deferred[None] = Deferred()
        first, second = Pushing(listening), Pushing()
        pump = EventPump(handler=Keep(), clock=clock)
        pump.add_event_generator(first)
        pump.add_event_generator(second)
        starting = pump.start()

        assert_pending(starting)
        assert second.calls == []
        listening.callback(None)
        result_now(starting)
        assert second.calls == ["start"]

    @pytest.mark.parametrize("late", [False, True], ids=["with the pump", "added later"])
    @pytest.mark.parametrize("fails", [False, True], ids=["cancelled", "failing"])
    def test_removing_one_in_the_midst_of_its_start_cancels_that_and_nothing_else(
        self, fails: bool, late: bool, clock: Clock, logged: Callable[[], list[str]]
    ) -> None:
        hanging: Deferred[None] = Deferred((lambda deferred: deferred.errback(OSError("cut off"))) if fails else None)
        source, behind = Pushing(hanging), Pushing()
        pump = EventPump(handler=Keep(), clock=clock)
        starting = pump.start() if late else None
        pump.add_event_generator(source)
        pump.add_event_generator(behind)
        starting = starting or pump.start()
        result_now(pump.remove_event_generator(source))

        result_now(starting)
        assert (source.calls, behind.calls) == (["start"], ["start"])
        assert pump.running and pump.generators == (behind,)
        told = logged()
        assert len(told) == fails and all("was removed while it started" in text for text in told)

    def test_one_that_removes_itself_as_it_starts_is_stopped(self, clock: Clock) -> None:
        pump = EventPump(handler=Keep(), clock=clock)
        source: Pushing = Pushing(lambda: [pump.remove_event_generator(source)])
        pump.add_event_generator(source)
        result_now(pump.start())

        assert source.calls == ["start", "stop"]
        assert pump.running and pump.generators == ()

    def test_stopping_in_the_midst_of_the_start_of_one_added_later_is_no_failure(
        self, clock: Clock, logged: Callable[[], list[str]]
    ) -> None:
        source = Pushing(Deferred)
        pump = EventPump(handler=Keep(), clock=clock)
        result_now(pump.start())
        pump.add_event_generator(source)
        result_now(pump.stop())

        assert pump.generators == (source,) and logged() == []
        source.started = None
        result_now(pump.start())
        assert source.calls == ["start", "start"]

    def test_stopping_in_the_midst_of_a_start_cancels_it_and_starts_and_stops_no_other(self, clock: Clock) -> None:
        cancelled: list[str] = []
        before, hanging, behind = Pushing(), Pushing(Deferred(lambda _: cancelled.append("yes"))), Pushing()
        pump = EventPump(handler=Keep(), clock=clock)
        for source in (before, hanging, behind):
            pump.add_event_generator(source)
        starting = pump.start()
        result_now(pump.stop())

        result_now(starting)
        assert cancelled == ["yes"]
        assert (before.calls, hanging.calls, behind.calls) == (["start", "stop"], ["start"], [])

    def test_one_that_stops_the_pump_as_it_starts_is_stopped(self, clock: Clock) -> None:
        pump = EventPump(handler=Keep(), clock=clock)
        source = Pushing(lambda: [pump.stop()])
        pump.add_event_generator(source)
        result_now(pump.start())

        assert source.calls == ["start", "stop"] and not pump.running

    @pytest.mark.parametrize("stopped", [ValueError("planned"), lambda: fail(ValueError("planned")), SystemExit("planned")])
    def test_one_that_cannot_stop_is_logged_and_keeps_nobody(
        self, stopped: Any, clock: Clock, logged: Callable[[], list[str]]
    ) -> None:
        bad, other = Pushing(stopped=stopped), Pushing()
        pump = EventPump(handler=Keep(), clock=clock)
        pump.add_event_generator(bad)
        pump.add_event_generator(other)
        result_now(pump.start())
        result_now(pump.stop())

        assert other.calls == ["start", "stop"]
        (text,) = logged()
        assert "stopping" in text and "planned" in text


class TestWhileRunning:
    def test_a_generator_added_is_polled_at_once(self, clock: Clock) -> None:
        keep = Keep()
        pump = EventPump(handler=keep, clock=clock)
        result_now(pump.start())
        pump.add_event_generator(Scripted(events(1), events(2)))

        assert keep.heard == [1]
        clock.advance(1)
        assert keep.heard == [1, 2]

    @pytest.mark.parametrize("started", [ValueError("planned"), lambda: fail(ValueError("planned"))], ids=["raised", "Deferred"])
    def test_a_source_added_that_cannot_start_is_logged_and_forgotten(
        self, started: Any, clock: Clock, logged: Callable[[], list[str]]
    ) -> None:
        pump = EventPump(handler=Keep(), clock=clock)
        result_now(pump.start())
        pump.add_event_generator(Pushing(started))

        assert pump.generators == ()
        assert "could not be started" in logged()[0] and "planned" in logged()[0]

    def test_one_removed_is_stopped_and_its_poll_under_way_is_taken(self, clock: Clock) -> None:
        waiting: Deferred[Any] = Deferred()
        keep, source = Keep(), Scripted(lambda: waiting)
        pump = EventPump(handler=keep, clock=clock)
        pump.add_event_generator(source)
        result_now(pump.start())
        removing = pump.remove_event_generator(source)

        assert source.stopped == 1 and pump.generators == ()
        assert_pending(removing)
        waiting.callback(events(1))
        result_now(removing)
        clock.pump([1] * 5)
        assert keep.heard == [1] and source.asked == 1

    def test_stop_waits_for_one_that_is_being_removed(self, clock: Clock) -> None:
        waiting: Deferred[Any] = Deferred()
        keep, source = Keep(), Scripted(lambda: waiting)
        pump = EventPump(handler=keep, clock=clock)
        pump.add_event_generator(source)
        result_now(pump.start())
        removing, stopping = pump.remove_event_generator(source), pump.stop()

        assert_pending(stopping)
        waiting.callback(events(1))
        result_now(removing)
        result_now(stopping)
        assert keep.heard == [1] and source.stopped == 1

    def test_one_that_has_not_stopped_yet_cannot_be_added_again(self, clock: Clock) -> None:
        source = Scripted(Deferred)
        pump = EventPump(handler=Keep(), clock=clock)
        pump.add_event_generator(source)
        result_now(pump.start())
        _ = pump.remove_event_generator(source)

        with pytest.raises(ConfigurationError, match="has not stopped yet"):
            pump.add_event_generator(source)

    def test_one_that_removes_itself_in_its_poll_is_not_polled_again(self, clock: Clock) -> None:
        def once() -> list[QueuedEvent]:
            _ = pump.remove_event_generator(source)
            return events(1)

        keep, source = Keep(), Scripted(once, events(2))
        pump = EventPump(handler=keep, clock=clock)
        pump.add_event_generator(source)
        result_now(pump.start())
        clock.pump([1] * 3)

        assert keep.heard == [1] and source.asked == 1 and source.stopped == 1


class TestRefused:
    @pytest.mark.parametrize("nonsense", [None, object(), 5, print])
    def test_what_is_no_source_is_refused(self, nonsense: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"needs get_events\(\) and stop\(\) to be polled, or start\(sink\)"):
            EventPump().add_event_generator(nonsense)

    def test_a_class_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match=r"add an instance of it, EventGenerator\(...\)"):
            EventPump().add_event_generator(EventGenerator)  # type: ignore[arg-type]  # that it is refused is the point

    def test_a_second_time_is_refused(self) -> None:
        pump, source = EventPump(), EventGenerator()
        pump.add_event_generator(source)
        with pytest.raises(ConfigurationError, match="was added to <EventPump> before"):
            pump.add_event_generator(source)

    def test_removing_what_was_not_added_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="EventGenerator was not added to <EventPump 'mine'>"):
            _ = EventPump(name="mine").remove_event_generator(EventGenerator())

    @pytest.mark.parametrize("interval", [0, -1, float("nan"), float("inf"), "1", True])
    def test_an_interval_that_makes_no_sense_is_refused(self, interval: Any) -> None:
        with pytest.raises(ConfigurationError, match="poll_interval="):
            EventPump().add_event_generator(EventGenerator(), interval)
