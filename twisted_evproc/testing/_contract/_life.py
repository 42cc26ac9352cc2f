"""Cancelling, starting and stopping."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogLevel, capturedLogs

from .._deferreds import result_now
from ._scene import Contract, dropped_in, failures_in, fired, raises


class Life(Contract):
    """Cancelling, starting and stopping."""

    def test_cancelling_what_runs_is_cancelled_and_the_rest_skipped(self) -> None:
        with capturedLogs() as logged:
            scene = self.scene()
            scene.slow("s1")
            scene.slow("s2")
            scene.plain("waits", requires="s1")
            scene.plain("later", "after")
            firing = scene.fire()
            firing.cancel()

            with raises(CancelledError):
                result_now(firing)
            assert scene.pending["s1"].called and scene.pending["s2"].called
            assert scene.calls == ["s1", "s2"]
            assert failures_in(logged) == []
            assert dropped_in(logged) == []

    def test_cancelling_a_coroutine_can_clean_up_and_its_failure_is_told(self) -> None:
        with capturedLogs() as logged:
            scene = self.scene()

            async def handler(event: Any) -> None:
                try:
                    await Deferred()
                except CancelledError:
                    raise OSError("while cleaning up") from None

            scene.add(handler)
            firing = scene.fire()
            firing.cancel()
            with raises(CancelledError):
                result_now(firing)
            assert failures_in(logged) == [OSError]

    def test_cancelling_does_not_touch_others(self) -> None:
        scene = self.scene()
        scene.slow("slow")
        first = scene.fire()
        pending = scene.pending["slow"]
        second = scene.fire()
        second.cancel()
        with raises(CancelledError):
            result_now(second)
        assert not fired(first)
        pending.callback("value")
        assert result_now(first).values == ("value",)

    def test_cancelling_one_that_is_over_changes_nothing(self) -> None:
        scene = self.scene()
        scene.plain("plain", value=1)
        firing = scene.fire()
        firing.cancel()
        assert result_now(firing).values == (1,)

    def test_a_handler_may_cancel_its_own_firing(self) -> None:
        scene = self.scene()

        async def suicidal(event: Any) -> None:
            await waiting
            firing.cancel()

        waiting: Deferred[None] = Deferred()
        scene.add(suicidal)
        scene.plain("later", "after")
        firing = scene.fire()
        waiting.callback(None)
        with raises(CancelledError):
            result_now(firing)
        assert scene.calls == []

    def test_a_handler_may_cancel_its_own_firing_before_it_has_to_wait(self) -> None:
        scene = self.scene()
        pending: Deferred[None] = Deferred()

        def suicidal(event: Any) -> Deferred[None]:
            firing.cancel()
            return pending

        scene.slow("slow", "before")
        scene.add(suicidal)
        scene.plain("later", "after")
        firing = scene.fire()
        scene.pending["slow"].callback(None)
        with raises(CancelledError):
            result_now(firing)
        assert fired(pending)
        assert scene.calls == ["slow"]
        assert fired(scene.dispatcher.stop())

    def test_not_started_nobody_is_called(self) -> None:
        with capturedLogs() as logged:
            scene = self.scene(started=False)
            scene.plain("plain")
            outcome = result_now(scene.fire("event", user="ada"))
            assert not outcome.handled
            assert outcome.event == "event"
            assert scene.calls == []
            assert [event["log_level"] for event in logged] == [LogLevel.warn]

            result_now(scene.dispatcher.start())
            assert result_now(scene.fire()).handled

    def test_it_says_whether_it_runs(self) -> None:
        dispatcher = self.scene(started=False).dispatcher
        running = [dispatcher.running]
        result_now(dispatcher.start())
        running.append(dispatcher.running)
        result_now(dispatcher.stop())
        running.append(dispatcher.running)
        assert running == [False, True, False]

    def test_starting_and_stopping_twice_changes_nothing(self) -> None:
        scene = self.scene()
        result_now(scene.dispatcher.start())
        scene.plain("plain")
        assert scene.heard() == ["plain"]
        result_now(scene.dispatcher.stop())
        result_now(scene.dispatcher.stop())
        assert not scene.dispatcher.running
        assert scene.heard() == []
        result_now(scene.dispatcher.start())
        assert scene.heard() == ["plain"]

    def test_stop_takes_no_new_firing_and_waits_for_the_running_ones(self) -> None:
        scene = self.scene()
        scene.slow("slow")
        scene.plain("later", "after")
        first = scene.fire()
        stopped = scene.dispatcher.stop()

        assert not scene.dispatcher.running
        assert not fired(stopped)
        assert not result_now(scene.fire()).handled
        scene.pending["slow"].callback(None)
        assert fired(first) and fired(stopped)
        assert scene.calls == ["slow", "later"]

    def test_what_a_running_handler_fires_is_finished_too(self) -> None:
        for calls_before in (0, 1, 3):
            self._what_a_running_handler_fires_is_finished_too(calls_before)

    def _what_a_running_handler_fires_is_finished_too(self, calls_before: int) -> None:
        scene = self.scene()
        waiting: Deferred[None] = Deferred()

        async def outer(event: Any) -> Any:
            if event == "go":
                await waiting
                return (await scene.fire(user="inner")).values
            return None

        scene.add(outer, user="outer")
        scene.plain("inner", user="inner", value=1)
        for _ in range(calls_before):
            result_now(scene.fire("stay", user="outer"))
        firing = scene.fire("go", user="outer")
        stopped = scene.dispatcher.stop()
        waiting.callback(None)
        assert result_now(firing).values == ((1,),)
        assert fired(stopped)

    def test_a_second_stop_waits_as_well(self) -> None:
        scene = self.scene()
        scene.slow("slow")
        _ = scene.fire()
        stops = [scene.dispatcher.stop(), scene.dispatcher.stop()]
        assert not any(map(fired, stops))
        scene.pending["slow"].callback(None)
        assert all(map(fired, stops))

    def test_stop_with_a_time_out_cancels_what_is_left(self) -> None:
        with capturedLogs() as logged:
            scene = self.scene()
            scene.slow("slow")
            scene.plain("later", "after")
            firing = scene.fire()
            stopped = scene.dispatcher.stop(timeout=5)
            scene.clock.advance(4)
            assert not fired(stopped)
            scene.clock.advance(1)

            assert fired(stopped)
            assert scene.pending["slow"].called
            assert scene.calls == ["slow"]
            assert scene.clock.getDelayedCalls() == []
            assert fired(firing)
            del firing
            assert dropped_in(logged) == []

    def test_stop_with_a_time_out_ends_in_time_even_when_a_handler_does_not(self) -> None:
        scene = self.scene()
        waiting: Deferred[None] = Deferred()

        async def stubborn(event: Any) -> None:
            try:
                await Deferred()
            except CancelledError:
                await waiting

        scene.add(stubborn)
        _ = scene.fire().addErrback(lambda failure: failure.trap(CancelledError))
        stopped = scene.dispatcher.stop(timeout=1)
        scene.clock.advance(1)
        assert fired(stopped)
        waiting.callback(None)

    def test_stop_leaves_no_timer_when_it_is_done_before(self) -> None:
        scene = self.scene()
        scene.slow("slow")
        _ = scene.fire()
        stopped = scene.dispatcher.stop(timeout=5)
        scene.pending["slow"].callback(None)
        assert fired(stopped)
        assert scene.clock.getDelayedCalls() == []

    def test_it_can_be_started_again(self) -> None:
        scene = self.scene()
        scene.plain("plain")
        result_now(scene.dispatcher.stop())
        result_now(scene.dispatcher.start())
        assert scene.heard() == ["plain"]
