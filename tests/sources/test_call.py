"""Handlers in threads, under the real reactor."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock, deferLater

from twisted_evproc import EventDispatcher
from twisted_evproc.errors import ConfigurationError
from twisted_evproc.sources import ChainEventHandler, DispatchEventHandler, EventHandler, EventPump, QueuedEvent
from twisted_evproc.sources._call import call_here, current_event, eventually
from twisted_evproc.testing import failure_now, result_now

VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="not set")


class Doing(EventHandler):
    def __init__(self, do: Callable[[QueuedEvent], Any]) -> None:
        self.do = do

    def process_event(self, event: QueuedEvent) -> Any:
        return self.do(event)


def here() -> int:
    return threading.get_ident()


def event(data: Any, handler: EventHandler | None = None) -> QueuedEvent:
    return QueuedEvent("test", handler, data)


async def processed(pump: EventPump, *data: Any) -> None:
    """Start, put, and stop: all has been processed then."""
    await pump.start()
    for each in data:
        assert await pump.put(event(each)) is True
    await pump.stop()


class TestInThread:
    @pytest_twisted.ensureDeferred
    async def test_handlers_are_called_off_the_reactors_thread_one_at_a_time_in_order(self) -> None:
        threads: list[int] = []
        heard: list[int] = []
        entered = threading.Semaphore(1)

        def work(event: QueuedEvent) -> None:
            assert entered.acquire(blocking=False)
            threads.append(here())
            heard.append(event.data)
            entered.release()

        pump = EventPump(in_thread=True, handler=Doing(work))
        await processed(pump, *range(100))

        assert heard == list(range(100))
        assert here() not in threads
        assert pump.statistics().failed == 0

    @pytest_twisted.ensureDeferred
    async def test_the_reactor_works_while_a_handler_blocks(self) -> None:
        from twisted.internet import reactor  # noqa: TID251  # the real one is the point

        goes_on = threading.Event()
        pump = EventPump(in_thread=True, handler=Doing(lambda event: goes_on.wait(60)))
        await pump.start()
        await pump.put(event(1))
        # Fires only if the reactor has its turn.
        reactor.callLater(0, goes_on.set)
        await pump.stop()

        assert goes_on.is_set() and pump.statistics().processed == 1

    @pytest_twisted.ensureDeferred
    async def test_a_returned_deferred_is_waited_for_on_the_reactor(self) -> None:
        waiting: Deferred[str] = Deferred()
        called = Deferred[None]()
        from twisted.internet import reactor  # noqa: TID251  # the real one is the point

        def work(event: QueuedEvent) -> Deferred[str]:
            reactor.callFromThread(called.callback, None)  # type: ignore[attr-defined]  # Twisted's module stands for an object
            return waiting

        pump = EventPump(in_thread=True, handler=Doing(work))
        await pump.start()
        await pump.put(event(1))
        await called
        stopping = pump.stop()
        await turn()
        assert not stopping.called and pump.statistics().processed == 0
        waiting.callback("mine")
        await stopping

        assert pump.statistics().processed == 1 and result_now(waiting) == "mine"

    @pytest_twisted.ensureDeferred
    async def test_a_coroutine_runs_on_the_reactors_thread(self) -> None:
        threads: list[int] = []

        async def coroutine() -> None:
            threads.append(here())
            await turn()
            threads.append(here())

        def work(event: QueuedEvent) -> Any:
            threads.append(here())
            return coroutine()

        await processed(EventPump(in_thread=True, handler=Doing(work)), 1)

        assert threads[0] != here() and threads[1:] == [here(), here()]

    @pytest_twisted.ensureDeferred
    async def test_context_variables_are_seen_in_the_thread_and_behind_it(self) -> None:
        seen: list[Any] = []

        async def coroutine() -> None:
            seen.append((VARIABLE.get(), current_event.get()))

        def work(found: QueuedEvent) -> Any:
            seen.append((VARIABLE.get(), current_event.get()))
            VARIABLE.set("of the handler")
            return coroutine()

        pump = EventPump(in_thread=True, handler=Doing(work))
        await pump.start()
        VARIABLE.set("of the source")
        found = event(1)
        await pump.put(found)
        await pump.stop()

        assert seen == [("of the source", found)] * 2
        assert VARIABLE.get() == "of the source"

    @pytest.mark.parametrize("way", ["raised", "Deferred", "coroutine"])
    @pytest_twisted.ensureDeferred
    async def test_failures_are_told_to_the_error_handler_in_a_thread_too(self, way: str) -> None:
        told: list[Any] = []

        async def coroutine() -> None:
            raise ValueError("planned")

        def work(event: QueuedEvent) -> Any:
            if way == "raised":
                raise ValueError("planned")
            return fail(ValueError("planned")) if way == "Deferred" else coroutine()

        pump = EventPump(in_thread=True, handler=Doing(work))
        pump.error_handler(Doing(lambda event: told.append((*event.data, here()))))
        await processed(pump, 1, 2)

        assert [(str(error), original.data) for error, original, _ in told] == [("planned", 1), ("planned", 2)]
        assert here() not in [thread for _, _, thread in told]

    @pytest_twisted.ensureDeferred
    async def test_a_dispatcher_is_told_on_the_reactors_thread(self) -> None:
        threads: list[int] = []
        dispatcher = EventDispatcher()
        await dispatcher.start()

        async def handler(event: Any) -> None:
            threads.append(here())
            await turn()
            if event == 2:
                raise ValueError("planned")

        await dispatcher.add_event_handler(handler, "during")
        told: list[str] = []
        pump = EventPump(in_thread=True, handler=DispatchEventHandler(dispatcher))
        pump.error_handler(Doing(lambda event: told.append(str(event.data[0]))))
        await processed(pump, 1, 2)

        assert threads == [here(), here()]
        assert told == ["planned"]

    @pytest_twisted.ensureDeferred
    async def test_a_chain_goes_on_in_a_thread_behind_a_handler_that_is_waited_for(self) -> None:
        threads: list[tuple[str, int]] = []
        dispatcher = EventDispatcher()
        await dispatcher.start()
        await dispatcher.add_event_handler(lambda event: threads.append(("dispatcher", here())), "during")

        def blocking(name: str) -> Doing:
            def work(event: QueuedEvent) -> bool:
                threads.append((name, here()))
                return True

            return Doing(work)

        dispatch = DispatchEventHandler(dispatcher)
        chain = ChainEventHandler(blocking("a"), dispatch, blocking("b"), ChainEventHandler(dispatch, blocking("c")))
        await processed(EventPump(in_thread=True, handler=chain), 1)

        assert [name for name, _ in threads] == ["a", "dispatcher", "b", "dispatcher", "c"]
        assert {thread == here() for name, thread in threads if name == "dispatcher"} == {True}
        assert {thread == here() for name, thread in threads if name != "dispatcher"} == {False}

    @pytest_twisted.ensureDeferred
    async def test_stop_ends_though_a_thread_hangs_and_the_pump_can_start_again(self) -> None:
        released, entered = threading.Event(), Deferred[None]()
        from twisted.internet import reactor  # noqa: TID251  # the real one is the point

        heard: list[int] = []

        def work(found: QueuedEvent) -> None:
            heard.append(found.data)
            if found.data == 1:
                reactor.callFromThread(entered.callback, None)  # type: ignore[attr-defined]  # Twisted's module stands for an object
                released.wait(60)

        pump = EventPump(in_thread=True, handler=Doing(work))
        await pump.start()
        await pump.put(event(1))
        await pump.put(event(2))
        await entered
        await pump.stop(0.001)

        assert not released.is_set()
        assert (pump.statistics().processed, pump.statistics().dropped) == (1, 1)
        await processed(pump, 3)
        released.set()
        assert heard == [1, 3]

    def test_a_clock_without_threads_leaves_them_to_the_global_reactor(self, clock: Clock) -> None:
        pump = EventPump(in_thread=True, handler=Doing(print), clock=clock)
        result_now(pump.start())
        result_now(pump.stop())

    def test_a_reactor_without_a_thread_pool_is_refused(self) -> None:
        class Poor(Clock):
            def callFromThread(self, *arguments: Any) -> None:
                raise NotImplementedError

        pump = EventPump(in_thread=True, handler=Doing(print), clock=Poor())
        with pytest.raises(ConfigurationError, match="in_thread=True needs a reactor that has threads"):
            _ = pump.start()
        assert not pump.running


def turn() -> Deferred[Any]:
    from twisted.internet import reactor  # noqa: TID251  # the real one is the point

    return deferLater(reactor, 0)


class TestHere:
    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
    def test_what_ends_the_program_passes(self, error: type[BaseException]) -> None:
        def exits(event: QueuedEvent) -> None:
            raise error

        with pytest.raises(error):
            call_here(Doing(exits), event(1))

    def test_the_event_is_known_in_the_handler_and_not_outside(self) -> None:
        found = event(1)

        assert call_here(Doing(lambda event: current_event.get()), found) is found
        assert current_event.get() is None


class TestEventually:
    def test_cancelling_ours_cancels_the_other_and_ends_though_that_ignores_it(self) -> None:
        asked: list[Deferred[Any]] = []

        async def stubborn() -> str:
            waiting: Deferred[None] = Deferred(asked.append)
            try:
                await waiting
            except CancelledError:
                await Deferred()
            return "never"

        returned: Any = stubborn()
        ours: Deferred[Any] = Deferred.fromCoroutine(eventually(returned))
        ours.cancel()

        assert len(asked) == 1
        failure_now(ours)
