"""What stands around a source in a test, and the contracts of sources."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from twisted_evproc.errors import PumpStopped, QueueOverflow
from twisted_evproc.interfaces import IEventGenerator, IEventHandler, IEventSink, IEventSource
from twisted_evproc.sources import EventGenerator, EventPump, QueuedEvent
from twisted_evproc.testing import (
    EventGeneratorContract,
    EventSourceContract,
    FakeSink,
    ManualSource,
    RecordingHandler,
    assert_pending,
    failure_now,
    result_now,
)


def event(data: Any) -> QueuedEvent:
    return QueuedEvent("test", None, data)


def test_they_provide_their_interfaces() -> None:
    assert verifyObject(IEventSink, FakeSink())
    assert verifyObject(IEventSource, ManualSource())
    assert verifyObject(IEventHandler, RecordingHandler())


class TestFakeSink:
    def test_it_takes_events_in_order(self) -> None:
        sink = FakeSink()
        assert [result_now(sink.put(event(number))) for number in range(3)] == [True] * 3
        assert sink.data == [0, 1, 2]

    def test_past_its_room_they_wait_in_order(self) -> None:
        sink = FakeSink(room=1)
        puts = [sink.put(event(number)) for number in range(4)]
        assert (sink.data, [waiting.data for waiting in sink.waiting]) == ([0], [1, 2, 3])
        assert_pending(puts[1])
        sink.resume(2)
        assert (sink.data, [waiting.data for waiting in sink.waiting]) == ([0, 1, 2], [3])
        sink.resume()
        assert [result_now(put) for put in puts] == [True] * 4

    def test_none_overtakes_those_that_wait(self) -> None:
        sink = FakeSink()
        sink.pause()
        first = sink.put(event("first"))
        _ = first.addCallback(lambda _: sink.put(event("third")))
        second = sink.put(event("second"))
        sink.resume()
        assert result_now(second) and result_now(first)
        assert sink.data == ["first", "second", "third"]

    def test_one_that_waits_can_be_taken_back(self) -> None:
        sink = FakeSink(room=0)
        puts = [sink.put(event(number)) for number in range(2)]
        puts[0].cancel()
        sink.resume()
        failure_now(puts[0], CancelledError)
        assert sink.data == [1]

    def test_dropping(self) -> None:
        sink = FakeSink()
        sink.drop()
        assert result_now(sink.put(event(1))) is False
        sink.resume()
        assert result_now(sink.put(event(2))) is True
        assert ([dropped.data for dropped in sink.dropped], sink.data) == ([1], [2])

    def test_refusing(self) -> None:
        sink = FakeSink(room=0)
        waiting = sink.put(event(1))
        sink.refuse(PumpStopped("event", "pump"))
        failure_now(waiting, PumpStopped)
        failure_now(sink.put(event(2)), PumpStopped)
        sink.resume()
        assert result_now(sink.put(event(3)))
        assert sink.data == [3]


class TestManualSource:
    def test_it_pushes_into_a_pump(self) -> None:
        clock = Clock()
        handler = RecordingHandler()
        source = ManualSource()
        pump = EventPump(handler=handler, clock=clock)
        pump.add_event_generator(source)
        result_now(pump.start())
        assert result_now(source.push("data"))
        clock.advance(0)
        assert handler.data == ["data"]
        assert handler.events[0].originator is source
        stopping = pump.stop()
        clock.advance(0)
        result_now(stopping)

    def test_not_started(self) -> None:
        with pytest.raises(AssertionError, match="not started"):
            ManualSource().push(1)

    def test_the_handler_of_its_events(self) -> None:
        handler, sink = RecordingHandler(), FakeSink()
        source = ManualSource(handler=handler)
        source.start(sink)
        result_now(source.push(1))
        assert sink.events[0].handler is handler

    def test_pushes_can_be_cancelled(self) -> None:
        sink = FakeSink(room=0)
        source = ManualSource()
        source.start(sink)
        pushes = [source.push(number) for number in range(4)]
        pushes[2].cancel()
        pushes[0].cancel()
        sink.resume()
        assert sink.data == [1, 3]
        for cancelled in (0, 2):
            failure_now(pushes[cancelled], CancelledError)

    def test_stopping_takes_back_what_waits(self) -> None:
        sink = FakeSink(room=0)
        source = ManualSource()
        source.start(sink)
        pushes = [source.push(number) for number in range(2)]
        source.stop()
        for push in pushes:
            failure_now(push, CancelledError)
        assert sink.waiting == []

    def test_a_failed_push_is_given_to_whoever_asks(self) -> None:
        sink = FakeSink()
        sink.refuse(QueueOverflow(1, "event"))
        source = ManualSource()
        source.start(sink)
        failure_now(source.push(1), QueueOverflow)


class TestRecordingHandler:
    def test_it_keeps_events(self) -> None:
        handler = RecordingHandler(result=False)
        assert handler.process_event(event(1)) is False
        assert handler.data == [1]
        assert str(handler) == "recording handler, 1 event(s)"

    def test_it_fails_on_demand(self) -> None:
        handler = RecordingHandler()
        handler.fail_with(OSError("planted"))
        with pytest.raises(OSError, match="planted"):
            handler.process_event(event(1))
        handler.fail_with(None)
        assert handler.process_event(event(2)) is True
        assert handler.data == [1, 2]

    def test_it_waits_on_demand(self) -> None:
        handler = RecordingHandler()
        handler.wait()
        first, second, third = (handler.process_event(event(number)) for number in range(3))
        assert handler.pending == 3
        handler.finish("value")
        handler.finish(OSError("planted"))
        assert result_now(first) == "value"
        failure_now(second, OSError)
        third.cancel()
        failure_now(third, CancelledError)
        assert handler.pending == 0
        with pytest.raises(AssertionError, match="no event in work"):
            handler.finish()


@implementer(IEventGenerator)
class Numbers:
    """A generator as a user may write it."""

    def __init__(self) -> None:
        self.happened: list[int] = []

    def get_events(self) -> Any:
        happened, self.happened = self.happened, []
        return [QueuedEvent(self, None, number) for number in happened]

    def stop(self) -> None:
        pass


class TestGenerator(EventGeneratorContract):
    def make_generator(self) -> Numbers:
        return Numbers()

    def happen(self, generator: Numbers) -> None:
        generator.happened.append(len(generator.happened))


class TestAsynchronousGenerator(TestGenerator):
    def make_generator(self) -> Numbers:
        class Asynchronous(Numbers):
            async def get_events(self) -> Any:
                return iter(super().get_events())

        return Asynchronous()


class TestManualSourceIsASource(EventSourceContract):
    def make_source(self) -> ManualSource:
        return ManualSource()

    def happen(self, source: ManualSource) -> None:
        source.push("data")


class Forgetful(Numbers):
    def get_events(self) -> Any:
        return [QueuedEvent(self, None, number) for number in self.happened]


class Bare(Numbers):
    def get_events(self) -> Any:
        return super().get_events() or None


class Raw(Numbers):
    def get_events(self) -> Any:
        return [event.data for event in super().get_events()]


class Backwards(Numbers):
    def get_events(self) -> Any:
        return [QueuedEvent(self, None, number, timestamp=-number) for number in self.happened]


class Unstoppable(EventGenerator):
    happened: list[int]

    def __init__(self) -> None:
        self.happened = []

    def stop(self) -> Deferred[None]:
        return fail(OSError("planted"))


class Pushing:
    """A source that breaks its contract in one way."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.sink: Any = None
        self.ended = False
        self.lost: list[Any] = []

    def start(self, sink: IEventSink) -> None:
        self.sink = sink

    def happen(self) -> None:
        if self.ended:
            return
        event = "data" if self.way == "raw" else QueuedEvent(self, None, "data")
        put = self.sink.put(event)
        if self.way == "twice":
            self.sink.put(event)
        if self.way == "ends when dropped" and put.called and put.result is False:
            self.ended = True
        if self.way != "drops failures":
            _ = put.addErrback(lambda failure: setattr(self, "ended", self.way == "ends when refused"))

    def stop(self) -> Any:
        if self.way == "never ends":
            return Deferred()
        if self.way != "goes on":
            self.ended = True
        return None


def contract_tests(mixin: type) -> list[str]:
    return [name for name in dir(mixin) if name.startswith("test_")]


class TestContractsFail:
    """The tests of a contract find those who break it."""

    @pytest.fixture(autouse=True)
    def no_dropped_failure(self) -> None:
        """What the broken ones drop is the subject here, and no failure of these tests."""

    def broken(self, test: Any) -> set[str]:
        found = set()
        for name in contract_tests(type(test)):
            try:
                getattr(test, name)()
            except Exception:  # noqa: BLE001  whatever it is, it is a failed test
                found.add(name)
        return found

    @pytest.mark.parametrize(
        ("make", "broken"),
        [
            (Forgetful, {"test_a_poll_gives_all_events_since_the_last_one"}),
            (Bare, {"test_it_has_no_events_before_something_happens", "test_a_poll_gives_all_events_since_the_last_one"}),
            (Raw, {"test_a_poll_gives_all_events_since_the_last_one", "test_their_timestamps_are_in_order"}),
            (Backwards, {"test_a_poll_gives_all_events_since_the_last_one", "test_their_timestamps_are_in_order"}),
            (
                Unstoppable,
                {
                    "test_it_has_no_events_before_something_happens",
                    "test_a_poll_gives_all_events_since_the_last_one",
                    "test_their_timestamps_are_in_order",
                    "test_it_can_be_stopped_without_being_polled",
                    "test_it_can_be_stopped_with_events_that_nobody_has_taken",
                },
            ),
            (object, set(contract_tests(EventGeneratorContract))),
        ],
    )
    def test_of_generators(self, make: Callable[[], Any], broken: set[str]) -> None:
        class Broken(TestGenerator):
            def make_generator(self) -> Any:
                return make()

        assert self.broken(Broken()) == broken

    @pytest.mark.parametrize(
        ("way", "broken"),
        [
            ("raw", {"test_each_event_is_put_once_in_order"}),
            (
                "twice",
                {
                    "test_each_event_is_put_once_in_order",
                    "test_a_dropped_event_does_not_end_it",
                    "test_a_refused_event_does_not_end_it",
                    "test_a_sink_that_takes_no_more_does_no_harm",
                },
            ),
            ("ends when dropped", {"test_a_dropped_event_does_not_end_it"}),
            ("ends when refused", {"test_a_refused_event_does_not_end_it"}),
            ("goes on", {"test_no_event_comes_when_it_is_stopped"}),
            ("drops failures", {"test_a_refused_event_does_not_end_it", "test_a_sink_that_takes_no_more_does_no_harm"}),
            ("never ends", set(contract_tests(EventSourceContract)) - {"test_it_provides_its_interface"}),
        ],
    )
    def test_of_sources(self, way: str, broken: set[str]) -> None:
        class Broken(EventSourceContract):
            def make_source(self) -> Pushing:
                return Pushing(way)

            def happen(self, source: Pushing) -> None:
                source.happen()

        # None of these declares its interface, or waits for one event to be taken before it puts the next.
        always = {"test_it_provides_its_interface", "test_it_waits_for_an_event_to_be_taken_before_it_puts_the_next"}
        assert self.broken(Broken()) - always == broken - always
        assert always <= self.broken(Broken())

    def test_without_their_hooks_they_say_so(self) -> None:
        with pytest.raises(NotImplementedError, match=r"EventSourceContract has to define make_source\(\)"):
            EventSourceContract().test_it_provides_its_interface()
        with pytest.raises(NotImplementedError, match=r"EventGeneratorContract has to define make_generator\(\)"):
            EventGeneratorContract().test_it_provides_its_interface()
