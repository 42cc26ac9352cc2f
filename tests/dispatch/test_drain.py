"""Stopping: who is waited for, who is not, and what is cut short."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs

from twisted_evproc import EventDispatcher
from twisted_evproc.testing import assert_pending, failure_now, result_now


class Scene:
    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.dispatcher = EventDispatcher(["kind"], clock=self.clock, **options)
        self.fire = self.dispatcher.fire_event
        self.under_way: list[Deferred[Any]] = []
        result_now(self.dispatcher.start())

    def add(self, handler: Any, **options: Any) -> None:
        result_now(self.dispatcher.add_event_handler(handler, "during", **options))

    def wait(self, event: Any) -> Deferred[Any]:
        self.under_way.append(Deferred())
        return self.under_way[-1]


@pytest.fixture
def scene() -> Scene:
    return Scene()


class TestStoppingFromAHandler:
    """It does not wait for itself, also where it was not known to have to wait when it was called."""

    def test_a_coroutine_that_never_had_to_wait_before(self, scene: Scene) -> None:
        async def handler(event: str) -> None:
            if event == "stop":
                await scene.dispatcher.stop()

        scene.add(handler, kind="stopper")
        scene.add(scene.wait, kind="other")
        result_now(scene.fire("nothing", kind="stopper"))
        other = scene.fire("event", kind="other")
        stopping = scene.fire("stop", kind="stopper")
        assert_pending(stopping)
        scene.under_way[0].callback(None)
        assert result_now(stopping).failures == ()
        assert result_now(other).handled

    def test_a_function_that_never_returned_a_deferred_before(self, scene: Scene) -> None:
        scene.add(lambda event: scene.dispatcher.stop() if event == "stop" else None, kind="stopper")
        scene.add(scene.wait, kind="other")
        result_now(scene.fire("nothing", kind="stopper"))
        _ = scene.fire("event", kind="other")
        stopping = scene.fire("stop", kind="stopper")
        assert_pending(stopping)
        scene.under_way[0].callback(None)
        assert result_now(stopping).failures == ()

    def test_what_it_fired_asks(self, scene: Scene) -> None:
        async def inner(event: Any) -> None:
            await scene.wait(event)
            await scene.dispatcher.stop()

        scene.add(lambda event: scene.fire(event, kind="inner") if event else None, kind="outer")
        scene.add(inner, kind="inner")
        result_now(scene.fire(False, kind="outer"))
        stopping = scene.fire(True, kind="outer")
        scene.under_way[0].callback(None)
        assert result_now(stopping).failures == ()

    @pytest.mark.parametrize("bound", [False, True])
    def test_a_generator_under_inline_callbacks(self, scene: Scene, bound: bool) -> None:
        @inlineCallbacks
        def handler(event: Any) -> Generator[Deferred[Any], Any, None]:
            if event == "stop":
                yield scene.wait(event)
                yield scene.dispatcher.stop()

        scene.add(partial(handler) if bound else handler)
        result_now(scene.fire("nothing"))
        stopping = scene.fire("stop")
        scene.under_way[0].callback(None)
        assert result_now(stopping).failures == ()


class TestTwoWhoWait:
    def test_one_starts_again_as_soon_as_it_may(self, scene: Scene) -> None:
        scene.add(lambda event: scene.wait(event) if event == "event" else event)
        firing = scene.fire("event")
        first, second = scene.dispatcher.stop(), scene.dispatcher.stop()
        again: list[Deferred[Any]] = []

        def start(nothing: None) -> None:
            _ = scene.dispatcher.start()
            again.append(scene.fire("next"))

        first.addCallback(start)
        scene.under_way[0].callback("done")
        assert result_now(firing).values == ("done",)
        assert result_now(first) is None
        assert result_now(second) is None
        assert result_now(again[0]).values == ("next",)
        # Nothing of ours came out where the handler's own Deferred is.
        assert result_now(scene.under_way[0]) == "done"

    def test_one_gives_up_the_other(self, scene: Scene) -> None:
        scene.add(scene.wait)
        firing = scene.fire("event")
        first, second = scene.dispatcher.stop(), scene.dispatcher.stop()
        first.addCallback(lambda _: second.cancel())
        scene.under_way[0].callback("done")
        assert result_now(firing).values == ("done",)
        failure_now(second, CancelledError)
        assert result_now(scene.under_way[0]) == "done"

    def test_who_gives_up_leaves_no_limit_behind(self, scene: Scene) -> None:
        scene.add(scene.wait)
        firing = scene.fire("event")
        stopping = scene.dispatcher.stop(5)
        stopping.cancel()
        failure_now(stopping, CancelledError)
        assert scene.clock.getDelayedCalls() == []
        scene.clock.advance(5)
        assert_pending(firing)


class TestTheLimit:
    @pytest.mark.parametrize("options", [{"max_concurrent_firings": 1}, {"serialize_by": "kind"}])
    def test_nothing_new_begins_because_others_are_cancelled(self, options: dict[str, Any]) -> None:
        scene = Scene(**options)
        begun: list[int] = []

        def handler(event: int) -> Deferred[Any]:
            begun.append(event)
            return scene.wait(event)

        scene.add(handler)
        firings = [scene.fire(event, kind="one") for event in range(4)]
        stopping = scene.dispatcher.stop(2)
        scene.clock.advance(2)
        assert result_now(stopping) is None
        assert begun == [0]
        assert all(firing.called for firing in firings)

    def test_what_was_fired_meanwhile_is_cancelled_too(self, scene: Scene) -> None:
        async def handler(event: Any) -> None:
            await scene.wait(event)
            _ = scene.fire("later", kind="inner")
            await scene.wait(event)

        scene.add(handler, kind="outer")
        scene.add(scene.wait, kind="inner")
        _ = scene.fire("event", kind="outer")
        stopping = scene.dispatcher.stop(2)
        scene.under_way[0].callback(None)
        scene.clock.advance(2)
        assert result_now(stopping) is None
        assert [deferred.called for deferred in scene.under_way] == [True, True, True]

    def test_a_firing_that_waits_for_itself(self, scene: Scene) -> None:
        firings: list[Deferred[Any]] = []

        async def handler(event: Any) -> Any:
            await scene.wait(event)
            return await firings[0]

        scene.add(handler)
        firings.append(scene.fire("event"))
        scene.under_way[0].callback(None)
        stopping = scene.dispatcher.stop(2)
        scene.clock.advance(2)
        assert result_now(stopping) is None

    def test_a_firing_that_is_its_own_handlers_result(self, scene: Scene) -> None:
        firings: list[Deferred[Any]] = []
        _ = scene.dispatcher.add_event_handler(scene.wait, "before")
        scene.add(lambda event: firings[0])
        firings.append(scene.fire("event"))
        scene.under_way[0].callback(None)
        stopping = scene.dispatcher.stop(2)
        scene.clock.advance(2)
        assert result_now(stopping) is None

    def test_a_canceller_that_raises(self, scene: Scene) -> None:
        def broken(_: Deferred[Any]) -> None:
            raise ValueError("broken canceller")

        unwilling: Deferred[Any] = Deferred(broken)
        scene.add(lambda event: unwilling)
        scene.add(scene.wait)
        _ = scene.fire("event")
        stopping = scene.dispatcher.stop(2)
        with capturedLogs() as logged:
            scene.clock.advance(2)
        assert result_now(stopping) is None
        assert failures(logged) == [ValueError]
        assert scene.under_way[0].called


def failures(logged: Sequence[LogEvent]) -> list[type[BaseException]]:
    return [event["log_failure"].type for event in logged if "log_failure" in event]
