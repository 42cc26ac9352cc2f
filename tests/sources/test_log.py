"""Log events as events, and that what handles them does not feed itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as global_reactor  # noqa: TID251  threads need it
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, Logger, LogLevel, LogPublisher, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from twisted_evproc import EventDispatcher
from twisted_evproc.errors import ConfigurationError, PumpStopped
from twisted_evproc.interfaces import IEventSource
from twisted_evproc.sources import EventHandler, EventPump, QueuedEvent, RaiseEventHandler
from twisted_evproc.sources._log import LogObserverSource
from twisted_evproc.testing import EventSourceContract, FakeSink, assert_pending

reactor: Any = global_reactor


class Scene:
    """A log of its own, its source, and where its events go."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.publisher = LogPublisher()
        self.log = Logger(namespace="shop.orders", observer=self.publisher)
        self.sink = FakeSink()
        self.source = LogObserverSource(publisher=self.publisher, reactor=self.clock, **options)

    def start(self) -> Scene:
        self.source.start(self.sink)
        return self

    def texts(self) -> list[str]:
        self.clock.advance(0)
        return [data["log_text"] for data in self.sink.data]

    def stop(self) -> None:
        assert self.source.stop().called
        assert self.clock.getDelayedCalls() == []


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene().start()
    yield scene
    scene.sink.resume()
    scene.stop()


class TestContract(EventSourceContract):
    def make_source(self) -> Any:
        self.scene = Scene()
        return self.scene.source

    def happen(self, source: Any) -> None:
        self.scene.log.info("something")
        self.scene.clock.advance(0)


class TestSnapshot:
    def test_it_provides_the_interface_and_says_what_it_is(self) -> None:
        assert verifyObject(IEventSource, LogObserverSource())
        assert str(LogObserverSource()) == "log events from info on"
        source = LogObserverSource(level="error", namespaces=["shop", "bank"])
        assert str(source) == "log events from error on of shop, bank"

    def test_the_data_has_what_was_logged_and_its_text(self, scene: Scene) -> None:
        scene.log.warn("order {number} is late", number=7)

        assert scene.texts() == ["order 7 is late"]
        data = scene.sink.data[0]
        assert isinstance(data, dict)
        assert (data["number"], data["log_level"], data["log_namespace"]) == (7, LogLevel.warn, "shop.orders")
        assert scene.sink.events[0].originator is scene.source

    def test_the_text_is_that_of_the_logging_call(self, scene: Scene) -> None:
        parcels = ["one"]
        scene.log.info("{parcels}", parcels=parcels)
        parcels.append("two")

        assert scene.texts() == ["['one']"]

    def test_a_failure_comes_as_text_too(self, scene: Scene) -> None:
        scene.log.failure("cannot ship", Failure(ValueError("no address")))

        assert scene.texts() == ["cannot ship"]
        assert "ValueError: no address" in scene.sink.data[0]["log_traceback"]
        assert "log_traceback" not in self.other(scene)

    @staticmethod
    def other(scene: Scene) -> Any:
        scene.log.info("fine")
        scene.clock.advance(0)
        return scene.sink.data[-1]

    def test_what_was_logged_before_and_after_is_not_heard(self) -> None:
        scene = Scene()
        scene.log.info("before")
        scene.start()
        scene.log.info("while")
        scene.stop()
        scene.log.info("after")
        assert scene.texts() == ["while"]
        scene.start()
        scene.log.info("again")

        assert scene.texts() == ["while", "again"]
        scene.stop()

    def test_python_logging_can_be_led_here(self, scene: Scene) -> None:
        class ToTwisted(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                level = {"WARNING": "warn"}.get(record.levelname, record.levelname.lower())
                log = Logger(record.name, observer=scene.publisher)
                log.emit(LogLevel.levelWithName(level), "{text}", text=self.format(record))

        python, bridge = logging.getLogger("shop.python"), ToTwisted()
        python.addHandler(bridge)
        python.warning("%s is late {sic}", "it")
        python.removeHandler(bridge)

        assert scene.texts() == ["it is late {sic}"]
        assert scene.sink.data[0]["log_level"] is LogLevel.warn


class TestChoice:
    def test_by_level(self) -> None:
        for level in (LogLevel.warn, "warn"):
            scene = Scene(level=level).start()
            for name in ("debug", "info", "warn", "error", "critical"):
                scene.log.emit(LogLevel.levelWithName(name), name)
            assert scene.texts() == ["warn", "error", "critical"]
            scene.stop()

    def test_by_namespace(self) -> None:
        scene = Scene(namespaces="shop").start()
        for namespace in ("shop", "shop.orders", "shopping", "bank", "my.shop"):
            Logger(namespace=namespace, observer=scene.publisher).info(namespace)

        assert scene.texts() == ["shop", "shop.orders"]
        scene.stop()

    @pytest.mark.parametrize("where", [{"number": 7}, lambda event: event["number"] == 7])
    def test_by_a_filter(self, where: Any) -> None:
        scene = Scene(where=where).start()
        for number in (6, 7):
            scene.log.info("{number}", number=number)

        assert scene.texts() == ["7"]
        scene.stop()

    def test_a_filter_that_fails_is_an_event(self) -> None:
        scene = Scene(where=lambda event: event["number"] == 7).start()
        scene.log.info("none")

        assert scene.texts() == ["none"]
        handler: Any = scene.sink.events[0].handler
        assert isinstance(handler, RaiseEventHandler)
        assert isinstance(handler.error, KeyError)
        scene.stop()

    @pytest.mark.parametrize(
        "options",
        [
            {"level": "loud"},
            {"level": 3},
            {"namespaces": [""]},
            {"namespaces": [3]},
            {"namespaces": 3},
            {"reactor": 3},
            {"where": 3},
            {"publisher": 3},
            {"max_waiting": 0},
            {"max_waiting": None},
            {"handler": "print"},
        ],
    )
    def test_what_makes_no_sense(self, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError):
            LogObserverSource(**options)

    def test_it_is_started_once(self, scene: Scene) -> None:
        with pytest.raises(ConfigurationError, match="was started already"):
            scene.start()


class TestWaiting:
    def test_no_handler_runs_inside_a_logging_call(self, scene: Scene) -> None:
        scene.log.info("one")

        assert scene.sink.events == []
        assert scene.texts() == ["one"]

    def test_more_than_may_wait_are_dropped_counted_and_said_once(self, logged: Callable[[], list[str]]) -> None:
        scene = Scene(max_waiting=3).start()
        scene.sink.pause()
        for number in range(10):
            scene.log.info("{number}", number=number)
        scene.clock.advance(0)
        for number in range(10, 20):
            scene.log.info("{number}", number=number)
        scene.clock.advance(0)
        assert scene.source.dropped == 17
        assert len(logged()) == 1
        assert "3 log events wait already, more are dropped" in logged()[0]
        scene.sink.resume()

        assert scene.texts() == ["0", "1", "2"]
        assert len(logged()) == 2
        assert "17 log events were dropped" in logged()[1]
        scene.stop()

    def test_a_later_crowd_is_said_again(self, logged: Callable[[], list[str]]) -> None:
        scene = Scene(max_waiting=1).start()
        for _ in range(2):
            scene.log.info("one")
            scene.log.info("two")
            scene.clock.advance(0)

        assert scene.source.dropped == 2
        assert [text.partition(": ")[2].partition(" log")[0] for text in logged()] == ["1", "1"] * 2
        scene.stop()

    def test_stop_puts_what_waits(self, scene: Scene) -> None:
        scene.log.info("one")
        scene.log.info("two")
        scene.stop()

        assert [data["log_text"] for data in scene.sink.data] == ["one", "two"]

    def test_cancelling_a_stop_drops_what_waits(self, scene: Scene, logged: Callable[[], list[str]]) -> None:
        scene.sink.pause()
        for text in ("one", "two", "three"):
            scene.log.info(text)
        stopped = scene.source.stop()
        assert_pending(stopped)
        stopped.cancel()

        assert stopped.called
        assert scene.clock.getDelayedCalls() == []
        assert scene.sink.waiting == []
        assert scene.source.dropped == 3
        assert "was stopped with 3 log events left: dropped" in logged()[-1]

    def test_what_is_not_taken_is_logged_once(self, scene: Scene, logged: Callable[[], list[str]]) -> None:
        scene.sink.refuse(PumpStopped("event", "pump"))
        for text in ("one", "two", "three"):
            scene.log.info(text)
        scene.texts()
        scene.stop()

        assert len(logged()) == 2
        assert "3 events were not taken in all" in logged()[1]

    @pytest_twisted.ensureDeferred
    async def test_many_threads_may_log(self) -> None:
        publisher = LogPublisher()
        sink = FakeSink()
        source = LogObserverSource(publisher=publisher, max_waiting=100_000, reactor=reactor)
        source.start(sink)

        def log(number: int) -> None:
            logger = Logger(namespace=f"thread{number}", observer=publisher)
            for count in range(500):
                logger.info("{count}", count=count)

        threads = [Thread(target=log, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        await source.stop()

        for number in range(4):
            assert [data["count"] for data in sink.data if data["log_namespace"] == f"thread{number}"] == list(range(500))


class Logging(EventHandler):
    """Logs about each event in some way."""

    def __init__(self, way: Callable[[QueuedEvent], Any]) -> None:
        self.calls = 0
        self._way = way

    def process_event(self, event: QueuedEvent) -> Any:
        self.calls += 1
        return self._way(event)


LOG = Logger(namespace="user.handler")


class TestNoCircle:
    """Each handler is called for the one log event that is not of its own making."""

    def run_pump(self, handler: Any, error_handler: Any = None, **options: Any) -> tuple[Clock, EventPump]:
        clock = Clock()
        pump = EventPump(clock=clock, handler=handler, **options)
        pump.error_handler(error_handler)
        pump.add_event_generator(LogObserverSource(reactor=clock, level="debug"))
        assert pump.start().called
        LOG.info("the first")
        for _ in range(20):
            clock.advance(0.1)
        return clock, pump

    def calls(self, way: Callable[[QueuedEvent], Any]) -> int:
        handler = Logging(way)
        _, pump = self.run_pump(handler)
        assert pump.stop().called
        return handler.calls

    def test_a_handler_that_logs(self) -> None:
        assert self.calls(lambda event: LOG.info("handled")) == 1

    def test_a_handler_that_fails_and_the_pump_that_says_so(self) -> None:
        def fail(event: QueuedEvent) -> None:
            raise ValueError("planted")

        assert self.calls(fail) == 1

    def test_another_observer_that_fails_on_what_the_pump_says(self) -> None:
        def fail(event: QueuedEvent) -> None:
            raise ValueError("planted")

        def broken(event: LogEvent) -> None:
            if "log_failure" in event:
                raise OSError("planted: nothing can be written")

        observer: Any = broken
        globalLogPublisher.addObserver(observer)
        try:
            assert self.calls(fail) == 1
        finally:
            globalLogPublisher.removeObserver(observer)

    def test_a_coroutine_that_logs_behind_an_await(self) -> None:
        clock = Clock()

        async def handle(event: QueuedEvent) -> None:
            await deferLater(clock, 0.1)
            LOG.info("handled")

        handler = Logging(handle)
        pump = EventPump(clock=clock, handler=handler)
        pump.add_event_generator(LogObserverSource(reactor=clock))
        assert pump.start().called
        LOG.info("the first")
        for _ in range(20):
            clock.advance(0.1)

        assert pump.stop().called
        assert handler.calls == 1

    def test_an_error_handler_that_logs_and_fails(self) -> None:
        def fail(event: QueuedEvent) -> None:
            LOG.error("failing")
            raise ValueError("planted")

        handler, error_handler = Logging(fail), Logging(fail)
        _, pump = self.run_pump(handler, error_handler)

        assert pump.stop().called
        assert (handler.calls, error_handler.calls) == (1, 1)

    def test_a_later_message_that_carries_the_event_or_its_data(self) -> None:
        for value in (lambda event: event, lambda event: event.data):
            clock = Clock()

            def handle(event: QueuedEvent, value: Any = value, clock: Clock = clock) -> None:
                clock.callLater(0.1, LOG.info, "late: {what}", what=value(event))

            handler = Logging(handle)
            pump = EventPump(clock=clock, handler=handler)
            pump.add_event_generator(LogObserverSource(reactor=clock))
            assert pump.start().called
            LOG.info("the first")
            for _ in range(20):
                clock.advance(0.1)
            assert pump.stop().called
            assert handler.calls == 1

    def test_a_dispatcher_that_logs_a_failure(self) -> None:
        dispatcher = EventDispatcher()
        calls: list[Any] = []

        @dispatcher.handler("during")
        def fail(event: Any) -> None:
            calls.append(event)
            raise ValueError("planted")

        assert dispatcher.start().called
        _, pump = self.run_pump(dispatcher)

        assert pump.stop().called
        assert len(calls) == 1

    def test_what_is_logged_while_a_log_event_is_formatted(self) -> None:
        clock = Clock()
        handler = Logging(lambda event: None)
        pump = EventPump(clock=clock, handler=handler)
        publisher = LogPublisher()
        log = Logger(observer=publisher)

        def where(event: Any) -> bool:
            log.info("asked")
            return True

        pump.add_event_generator(LogObserverSource(reactor=clock, publisher=publisher, where=where))

        class Shown:
            def __repr__(self) -> str:
                log.info("shown: {it}", it=self)
                return "shown"

        assert pump.start().called
        log.info("{it}", it=Shown())
        clock.advance(0)

        assert pump.stop().called
        assert handler.calls == 1

    def test_two_sources_do_not_feed_each_other(self) -> None:
        clock = Clock()
        handlers = [Logging(lambda event: LOG.info("handled")) for _ in range(2)]
        pump = EventPump(clock=clock)
        for handler in handlers:
            pump.add_event_generator(LogObserverSource(reactor=clock, handler=handler))
        assert pump.start().called
        LOG.info("the first")
        for _ in range(20):
            clock.advance(0.1)

        assert pump.stop().called
        # Each hears of the first, and of what the other's handler logged about that.
        assert [handler.calls for handler in handlers] == [2, 2]

    def test_a_pump_that_is_full_and_a_source_that_drops(self) -> None:
        clock = Clock()
        held: list[Deferred[None]] = []

        def hold(event: QueuedEvent) -> Deferred[None]:
            held.append(Deferred())
            return held[-1]

        handler = Logging(hold)
        pump = EventPump(clock=clock, handler=handler, max_queued=1)
        pump.add_event_generator(LogObserverSource(reactor=clock, max_waiting=2))
        assert pump.start().called
        for _ in range(10):
            LOG.info("many")
        for _ in range(20):
            clock.advance(0.1)
            if held and not held[-1].called:
                held[-1].callback(None)

        assert pump.stop().called
        assert handler.calls == 2

    def test_a_pump_that_gives_up(self) -> None:
        handler = Logging(lambda event: Deferred(lambda _: LOG.info("cancelled")))
        clock, pump = self.run_pump(handler)
        stopped = pump.stop(timeout=1)
        for _ in range(20):
            clock.advance(0.1)

        assert stopped.called
        assert handler.calls == 1

    @pytest_twisted.ensureDeferred
    async def test_a_handler_that_logs_in_a_thread_of_the_pump(self) -> None:
        handler = Logging(lambda event: LOG.info("handled"))
        pump = EventPump(clock=reactor, handler=handler, in_thread=True)
        pump.add_event_generator(LogObserverSource(reactor=reactor))
        await pump.start()
        LOG.info("the first")
        for _ in range(20):
            await deferToThread(int)
            await deferLater(reactor, 0)
        await pump.stop()

        assert handler.calls == 1

    def test_the_global_log_is_the_one_observed_and_left(self) -> None:
        before = list(globalLogPublisher._observers)
        self.calls(lambda event: None)

        assert list(globalLogPublisher._observers) == before
