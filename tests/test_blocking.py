from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import traceback
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor  # noqa: TID251  # the real one, with real threads
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.threadable import isInIOThread

from twisted_evproc import COLLECT, RAISE, Event, EventDispatcher, EventProcessor, Processor
from twisted_evproc.blocking import (
    BlockingDispatcher,
    BlockingProcessor,
    BlockingPump,
    BlockingUtility,
    call_in_reactor,
    setup,
)
from twisted_evproc.errors import (
    BlockingTimeout,
    CalledFromReactor,
    ConfigurationError,
    UnknownHandler,
    UnknownPhase,
    WaitTimeout,
)
from twisted_evproc.sources import EventGenerator, EventHandler, EventPump, QueuedEvent


@pytest_twisted.async_fixture(autouse=True)
async def set_up() -> None:
    # Asynchronous, so that the reactor runs already, in this thread.  The threads that wait are the tests' own.
    setup()


def started(**options: Any) -> EventDispatcher:
    dispatcher = EventDispatcher(["role", "method", "limit", "function", "call", "args", "options", "event"], **options)
    _ = dispatcher.start()
    return dispatcher


class TestDispatcher:
    @pytest_twisted.ensureDeferred
    async def test_does_what_the_dispatcher_does(self) -> None:
        def ask() -> None:
            dispatcher = EventDispatcher(["role"], name="users")
            blocking = BlockingDispatcher(dispatcher, timeout=60)
            assert repr(blocking) == "<BlockingDispatcher of <EventDispatcher 'users'>>"

            states = [blocking.running]
            blocking.start()
            states.append(blocking.running)

            handler_id = blocking.add_event_handler(lambda event: isInIOThread(), "during", role="admin")
            outcome = blocking.fire_event("created", role="admin")
            assert (outcome.event, dict(outcome.details), outcome.values) == ("created", {"role": "admin"}, (True,))

            @blocking.handler("after", role="admin")
            async def greet(event: str) -> str:
                await deferLater(reactor, 0)
                return f"hello {event}"

            assert callable(greet)
            emit = blocking.emitter(role="admin")
            assert emit("x").values == (True, "hello x")
            assert [view.name for view in blocking.handlers()] == ["<lambda>", "greet"]
            assert [verdict.name for verdict in blocking.explain("x", role="admin").verdicts if verdict.runs] == [
                "<lambda>",
                "greet",
            ]
            blocking.remove_event_handler(handler_id)
            assert blocking.fire_event("y", role="admin").values == ("hello y",)
            blocking.stop(timeout=60)
            states.append(blocking.running)
            assert states == [False, True, False]
            assert not blocking.fire_event("z", role="admin").handled

        await deferToThread(ask)

    @pytest_twisted.ensureDeferred
    async def test_takes_details_of_any_name(self) -> None:
        blocking = BlockingDispatcher(started())
        details = dict.fromkeys(["method", "limit", "function", "call", "args", "options", "event"], 1)

        def ask() -> None:
            assert dict(blocking.fire_event("x", **details).details) == details
            assert dict(blocking.emitter(**details)("x").details) == details

        await deferToThread(ask)

    @pytest.mark.parametrize("suspends", [False, True])
    @pytest_twisted.ensureDeferred
    async def test_a_handlers_error_has_the_handlers_frame(self, suspends: bool) -> None:
        blocking = BlockingDispatcher(started(on_failure=RAISE))

        async def charge(event: str) -> None:
            if suspends:
                await deferLater(reactor, 0)
            raise LookupError(event)

        def ask() -> list[str]:
            _ = blocking.add_event_handler(charge, "during")
            with pytest.raises(LookupError, match="card") as caught:
                blocking.fire_event("card")
            return [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]

        frames = await deferToThread(ask)
        assert frames[0] == "ask"
        assert frames[-1] == "charge"

    @pytest_twisted.ensureDeferred
    async def test_what_is_wrong_with_a_call_is_raised(self) -> None:
        dispatcher = started()
        blocking = BlockingDispatcher(dispatcher)

        def ask() -> None:
            with pytest.raises(UnknownPhase):
                blocking.add_event_handler(print, "never")
            handler_id = blocking.add_event_handler(print, "during")
            blocking.remove_event_handler(handler_id)
            with pytest.raises(UnknownHandler):
                blocking.remove_event_handler(handler_id)

        await deferToThread(ask)
        assert dispatcher.handlers() == ()

    @pytest.mark.parametrize(
        "call",
        [
            lambda blocking: blocking.fire_event("x"),
            lambda blocking: blocking.add_event_handler(print, "during"),
            lambda blocking: blocking.handler("during")(print),
            lambda blocking: blocking.emitter(),
            lambda blocking: blocking.stop(),
            lambda blocking: blocking.wait_for_event(),
            lambda blocking: blocking.handlers(),
            lambda blocking: blocking.explain(),
        ],
    )
    def test_in_the_reactors_thread_nothing_is_done(self, call: Callable[[BlockingDispatcher], object]) -> None:
        dispatcher = started()
        heard: list[str] = []
        _ = dispatcher.add_event_handler(heard.append, "during")
        with pytest.raises(CalledFromReactor, match="EventDispatcher"):
            call(BlockingDispatcher(dispatcher))
        assert (heard, dispatcher.running, len(dispatcher.handlers())) == ([], True, 1)

    @pytest_twisted.ensureDeferred
    async def test_what_belongs_together_is_done_in_one_call(self) -> None:
        dispatcher = started()

        def swap() -> None:
            with dispatcher.transaction():
                _ = dispatcher.add_event_handler(print, "during", handler_name="one")
                _ = dispatcher.add_event_handler(print, "during", handler_name="two", requires="one")

        await deferToThread(call_in_reactor, swap)
        assert [view.name for view in dispatcher.handlers()] == ["one", "two"]

    @pytest_twisted.ensureDeferred
    async def test_a_handlers_thread_with_the_handlers_context_fires_inside_the_handlers_firing(self) -> None:
        # A firing that is not known to be inside would wait for the one that waits for it.
        dispatcher = started(max_concurrent_firings=1)
        blocking = BlockingDispatcher(dispatcher, timeout=10)

        @dispatcher.handler("during", role="outer")
        async def go_to_a_thread(event: str) -> str:
            outcome = await deferToThread(copy_context().run, lambda: blocking.fire_event(event, role="inner"))
            return str(outcome.values)

        @dispatcher.handler("during", role="inner")
        async def inner(event: str) -> str:
            await deferLater(reactor, 0)
            return event

        assert (await dispatcher.fire_event("x", role="outer")).values == ("('x',)",)

    @pytest.mark.parametrize("wrong", [None, EventDispatcher, Processor(), BlockingUtility(EventDispatcher())])
    def test_what_is_no_dispatcher_is_refused(self, wrong: Any) -> None:
        with pytest.raises(ConfigurationError, match="takes an EventDispatcher, not "):
            BlockingDispatcher(wrong)


@pytest.mark.parametrize("wrong", [5, None, Deferred()])
def test_what_is_no_function_is_not_called_in_the_reactor(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"call_in_reactor\(\) takes a function and its arguments, not"):
        call_in_reactor(wrong)


class TestTimeout:
    @pytest_twisted.ensureDeferred
    async def test_cancels_the_handler(self) -> None:
        heard: list[str] = []
        blocking = BlockingDispatcher(started(on_failure=COLLECT, name="slow"), timeout=0.01)

        async def wait(event: str) -> None:
            try:
                await Deferred()
            except CancelledError:
                heard.append(f"{event} cancelled")
                raise

        def ask() -> None:
            patient = blocking.with_timeout(None)
            _ = patient.add_event_handler(wait, "during")
            with pytest.raises(BlockingTimeout, match=r"^fire_event\(\) of <EventDispatcher 'slow'> took longer .* 0.01 s"):
                blocking.fire_event("x")
            # Stopping waits for the firings under way: there are none.
            patient.stop()

        await deferToThread(ask)
        assert heard == ["x cancelled"]

    def test_another_one_leaves_the_first_as_it_is(self) -> None:
        blocking = BlockingDispatcher(EventDispatcher(), timeout=5)
        other = blocking.with_timeout(1)
        assert type(other) is BlockingDispatcher
        assert (blocking._timeout, other._timeout, other.with_timeout(None)._timeout) == (5, 1, None)

    @pytest.mark.parametrize("wrong", [0, -1, True, "5", float("nan"), float("inf")])
    def test_has_to_be_a_number_of_seconds(self, wrong: Any) -> None:
        for make in (
            lambda: BlockingDispatcher(EventDispatcher(), wrong),
            lambda: BlockingDispatcher(EventDispatcher()).with_timeout(wrong),
            lambda: BlockingDispatcher(EventDispatcher()).wait_for_event(wrong),
            lambda: BlockingDispatcher(EventDispatcher()).stop(wrong),
            lambda: call_in_reactor(int, timeout=wrong),
        ):
            with pytest.raises(ConfigurationError, match="timeout="):
                make()

    @pytest_twisted.ensureDeferred
    async def test_of_stopping_cancels_what_is_left(self) -> None:
        cancelled: list[object] = []
        dispatcher = started(on_failure=COLLECT)
        _ = dispatcher.add_event_handler(lambda _: Deferred(cancelled.append), "during")
        firing = dispatcher.fire_event("x")
        await deferToThread(BlockingDispatcher(dispatcher, timeout=60).stop, 0.01)
        assert len(cancelled) == 1
        firing.addErrback(lambda failure: failure.trap(CancelledError))


class TestWaitForEvent:
    @pytest_twisted.ensureDeferred
    async def test_gets_what_another_thread_fires(self) -> None:
        dispatcher = started()
        blocking = BlockingDispatcher(dispatcher, timeout=60)
        waiting = deferToThread(blocking.wait_for_event, where=lambda event: event > 3, role="admin")
        while not dispatcher.handlers():
            await deferLater(reactor, 0)

        def fire() -> None:
            for event, role in ((9, "user"), (1, "admin"), (5, "admin"), (6, "admin")):
                blocking.fire_event(event, role=role)

        await deferToThread(fire)
        assert await waiting == 5

    @pytest.mark.parametrize("ours", [None, 60])
    @pytest_twisted.ensureDeferred
    async def test_gives_up(self, ours: float | None) -> None:
        dispatcher = started()

        def ask() -> None:
            with pytest.raises(WaitTimeout):
                BlockingDispatcher(dispatcher, timeout=ours).wait_for_event(0.01)

        await deferToThread(ask)
        assert dispatcher.handlers() == ()

    @pytest_twisted.ensureDeferred
    async def test_a_time_out_of_its_own_counts_instead_of_the_objects(self) -> None:
        dispatcher = started()
        waiting = deferToThread(BlockingDispatcher(dispatcher, timeout=0.01).wait_for_event, 60)
        while not dispatcher.handlers():
            await deferLater(reactor, 0)
        await deferLater(reactor, 0.03)  # longer than the object's
        _ = dispatcher.fire_event("x")
        assert await waiting == "x"

    @pytest_twisted.ensureDeferred
    async def test_the_time_out_of_the_call_ends_it_too(self) -> None:
        dispatcher = started()

        def ask() -> None:
            with pytest.raises(BlockingTimeout):
                BlockingDispatcher(dispatcher, timeout=0.01).wait_for_event()

        await deferToThread(ask)
        await deferLater(reactor, 0)
        assert dispatcher.handlers() == ()


class Upload(Event):
    name = "uploaded"


class TestProcessor:
    @pytest_twisted.ensureDeferred
    async def test_processes_by_name(self) -> None:
        processor = Processor()
        seen: list[tuple[str, bool]] = []

        @processor.register
        async def store(_: Processor, event: Event) -> None:
            await deferLater(reactor, 0)
            seen.append((event.name, isInIOThread()))

        blocking = BlockingProcessor(processor, timeout=60)
        await deferToThread(blocking.process, Upload())
        assert seen == [("uploaded", True)]
        with pytest.raises(ConfigurationError, match=r"invoke\(\) is for an EventProcessor; .* call process\(\)"):
            blocking.invoke({})

    @pytest_twisted.ensureDeferred
    async def test_processes_by_content(self) -> None:
        processor = EventProcessor()

        @processor.processor({"kind": "order"})
        async def order(event: Any) -> str:
            await deferLater(reactor, 0)
            return f"order {event['item']}"

        blocking = BlockingProcessor(processor)
        assert await deferToThread(blocking.invoke, {"kind": "order", "item": "kettle"}) == "order kettle"
        with pytest.raises(ConfigurationError, match=r"process\(\) is for a Processor; .* call invoke\(\)"):
            blocking.process(Upload())

    @pytest.mark.parametrize("wrong", [None, Processor, EventDispatcher()])
    def test_what_is_no_processor_is_refused(self, wrong: Any) -> None:
        with pytest.raises(ConfigurationError, match="BlockingProcessor takes a Processor or an EventProcessor, not "):
            BlockingProcessor(wrong)


class Recorder(EventHandler):
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def process_event(self, event: QueuedEvent) -> bool:
        self.heard.append(event.data)
        return True


class Broken(EventHandler):
    def process_event(self, event: QueuedEvent) -> bool:
        raise LookupError("planted")


class Ticker(EventGenerator):
    def __init__(self, handler: Recorder) -> None:
        self.handler = handler
        self.ticks = 0

    def get_events(self) -> list[QueuedEvent]:
        self.ticks += 1
        return [QueuedEvent(self, self.handler, self.ticks)]

    def stop(self) -> None:
        self.handler.heard.append("stopped")


class TestPump:
    @pytest_twisted.ensureDeferred
    async def test_does_what_the_pump_does(self) -> None:
        recorder, errors = Recorder(), Recorder()

        def ask() -> None:
            pump = BlockingPump(EventPump(poll_interval=3600), timeout=60)
            ticker = Ticker(recorder)
            pump.error_handler(errors)
            pump.add_event_generator(ticker)
            pump.start()
            assert pump.running
            assert pump.put(QueuedEvent(None, Broken(), "put"))
            pump.stop()
            assert recorder.heard == [1, "stopped"]
            assert [error.args for error, _ in errors.heard] == [("planted",)]
            statistics = pump.statistics()
            assert (statistics.processed, statistics.failed) == (2, 1)
            pump.remove_event_generator(ticker)

        await deferToThread(ask)

    @pytest_twisted.ensureDeferred
    async def test_a_handler_in_a_thread_that_stops_its_pump_does_not_wait_for_itself(self) -> None:
        class Stopping(EventHandler):
            def process_event(self, event: QueuedEvent) -> None:
                BlockingPump(pump, timeout=60).stop()
                heard.append(pump.running)

        heard: list[bool] = []
        pump = EventPump(handler=Stopping(), in_thread=True)
        await pump.start()
        await pump.put(QueuedEvent("test", None, 1))
        await pump.stop()
        assert (heard, pump.statistics().failed) == ([False], 0)

    @pytest.mark.parametrize("wrong", [None, EventPump, EventDispatcher()])
    def test_what_is_no_pump_is_refused(self, wrong: Any) -> None:
        with pytest.raises(ConfigurationError, match="BlockingPump takes an EventPump, not "):
            BlockingPump(wrong)


class TestUtility:
    @pytest_twisted.ensureDeferred
    async def test_is_started_and_stopped(self) -> None:
        dispatcher = EventDispatcher()
        blocking = BlockingUtility(dispatcher)
        await deferToThread(blocking.start)
        assert dispatcher.running
        await deferToThread(blocking.stop)
        assert not blocking.running

    def test_what_cannot_be_started_is_refused(self) -> None:
        wrong: Any = Processor()
        with pytest.raises(ConfigurationError, match="BlockingUtility takes what can be started and stopped, not "):
            BlockingUtility(wrong)


request: ContextVar[tuple[int, int]] = ContextVar("request")


class TestManyThreads:
    @pytest_twisted.ensureDeferred
    async def test_each_gets_the_outcomes_of_its_own_events(self) -> None:
        dispatcher = started(on_failure=RAISE)

        @dispatcher.handler("before")
        def look(event: tuple[int, int]) -> tuple[int, int]:
            return request.get()

        @dispatcher.handler("during")
        async def work(event: tuple[int, int]) -> tuple[int, int]:
            if event[1] % 3 == 0:
                await deferLater(reactor, 0)
            if event[1] % 5 == 0:
                raise LookupError(event)
            return request.get()

        @dispatcher.handler("after")
        def spoil(event: tuple[int, int]) -> None:
            request.set((-1, -1))

        blocking = BlockingDispatcher(dispatcher, timeout=60)

        def fire(thread: int) -> int:
            for number in range(100):
                event = thread, number
                request.set(event)
                if number % 5:
                    assert blocking.fire_event(event).values == (event, event, None)
                    assert request.get() == event
                    continue
                with pytest.raises(LookupError) as caught:
                    blocking.fire_event(event)
                assert caught.value.args == (event,)
                assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "work"
            return thread

        def fire_from_32_threads() -> list[int]:
            with ThreadPoolExecutor(32) as pool:
                return list(pool.map(lambda thread: copy_context().run(fire, thread), range(32)))

        assert await deferToThread(fire_from_32_threads) == list(range(32))

    @pytest_twisted.ensureDeferred
    async def test_nothing_of_thousands_of_calls_stays(self) -> None:
        class Planted:
            pass

        dispatcher = started(on_failure=COLLECT)

        @dispatcher.handler("during")
        def fail_sometimes(event: Planted) -> Planted:
            raise LookupError(event)

        @dispatcher.handler("during")
        async def give_back(event: Planted) -> Planted:
            await deferLater(reactor, 0)
            return event

        blocking = BlockingDispatcher(dispatcher, timeout=60)

        def fire() -> list[weakref.ref[Planted]]:
            events: list[weakref.ref[Planted]] = []
            for _ in range(2000):
                event = Planted()
                events.append(weakref.ref(event))
                assert blocking.fire_event(event).values == (event,)
            return events

        events = await deferToThread(fire)
        await deferLater(reactor, 0)
        gc.collect()
        assert sum(event() is not None for event in events) == 0


PUMP_LOOP = """
    from time import sleep
    from twisted_evproc.blocking import BlockingPump, setup
    from twisted_evproc.sources import EventGenerator, EventHandler, EventPump, PrintEventHandler, QueuedEvent

    class Shout(EventHandler):
        def process_event(self, event):
            if event.data == 2:
                raise ValueError("two")
            print(event.data, flush=True)

    class Numbers(EventGenerator):
        last = 0
        def get_events(self):
            self.last += 1
            return [QueuedEvent(self, Shout(), self.last)] if self.last < 4 else []
        def stop(self):
            print("generator stopped", flush=True)

    class Errors(EventHandler):
        def process_event(self, event):
            print(repr(event.data[0]), flush=True)

    setup()
    pump = BlockingPump(EventPump(poll_interval=0.01))
    pump.error_handler(Errors())
    pump.add_event_generator(Numbers())
    pump.start()
    try:
        while True:
            sleep(1)
    except KeyboardInterrupt:
        pump.stop()
        print(pump.statistics().processed)
"""

WAITING_SCRIPT = """
    import sys
    from twisted.internet.defer import Deferred
    from twisted_evproc import EventDispatcher
    from twisted_evproc.blocking import BlockingDispatcher, setup

    setup()
    dispatcher = BlockingDispatcher(EventDispatcher())

    @dispatcher.handler("during")
    def wait(event):
        print("waiting", flush=True)
        return Deferred(lambda _: print("cancelled", flush=True))

    dispatcher.start()
    try:
        dispatcher.fire_event("x")
    except KeyboardInterrupt:
        dispatcher.stop()
        print("interrupted", flush=True)
"""


def test_importing_it_starts_nothing() -> None:
    probe = """
import sys, threading, twisted_evproc.blocking
print(threading.active_count(), 'twisted.internet.reactor' in sys.modules)
"""
    ended = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.stdout, ended.stderr) == ("1 False\n", "")


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
class TestScript:
    @pytest.mark.parametrize(
        ("source", "before", "behind"),
        [
            (WAITING_SCRIPT, ["waiting"], ["cancelled", "interrupted"]),
            (PUMP_LOOP, ["1", "ValueError('two')", "3"], ["generator stopped", "3"]),
        ],
    )
    def test_ends_by_ctrl_c(self, source: str, before: list[str], behind: list[str]) -> None:
        child = subprocess.Popen(
            [sys.executable, "-c", dedent(source)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert child.stdout is not None
            assert [child.stdout.readline().strip() for _ in before] == before
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=20)
        finally:
            if child.poll() is None:
                child.kill()
                child.communicate()
        assert (out.splitlines(), err, child.returncode) == (behind, "", 0)


class TestServer:
    def test_each_worker_that_a_server_forks_is_set_up_by_the_hook_of_the_page(self) -> None:
        page = (Path(__file__).parents[1] / "docs" / "how-to" / "synchronous-code.rst").read_text(encoding="utf-8")
        [listing] = re.findall(r"   :caption: gunicorn\.conf\.py\n\n((?:   .*\n|\n)+)", page)
        program = """
import os
from twisted_evproc import EventDispatcher
from twisted_evproc.blocking import BlockingDispatcher

events = EventDispatcher()
events.handler("during")(lambda event: os.getpid())
shop = BlockingDispatcher(events, timeout=60)
for _ in range(3):
    worker = os.fork()
    if not worker:
        post_fork(None, None)
        shop.start()
        print(shop.fire_event("x").values == (os.getpid(),), flush=True)
        os._exit(0)
    os.waitpid(worker, 0)
"""
        ended = subprocess.run(
            [sys.executable, "-c", dedent(listing) + program], capture_output=True, text=True, timeout=60, check=False
        )
        assert (ended.stdout.split(), ended.stderr) == (["True"] * 3, "")
