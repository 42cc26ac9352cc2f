"""How handlers are called, and what the outcome says."""

from __future__ import annotations

from collections.abc import Generator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, inlineCallbacks, succeed
from twisted.logger import capturedLogs

from ...dispatch import HandlerResult
from ...errors import HandlerTimeout, StopProcessing
from .._deferreds import result_now
from ._scene import Contract, dropped_in, failures_in, fired, raises, refused

VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="unset")


class Calling(Contract):
    """How handlers are called, and what the outcome says."""

    def test_what_handlers_may_return(self) -> None:
        scene = self.scene()

        async def coroutine(event: Any) -> str:
            return f"{event} awaited"

        async def suspended(event: Any) -> str:
            return await waiting

        @inlineCallbacks
        def generator(event: Any) -> Generator[Deferred[Any], Any, Any]:
            value = yield succeed(3)
            return value

        waiting: Deferred[str] = Deferred()
        scene.add(lambda event: 1)
        scene.add(lambda event: succeed(2))
        scene.add(generator)
        scene.add(coroutine)
        scene.add(suspended)
        scene.add(lambda event: [5])
        firing = scene.fire("event")
        waiting.callback("late")

        assert result_now(firing).values == (1, 2, 3, "event awaited", "late", [5])

    def test_a_failure_as_a_value_is_a_failure(self) -> None:
        scene = self.scene()
        scene.add(lambda event: fail(KeyError("x")))
        assert [failure.type for failure in result_now(scene.fire()).failures] == [KeyError]

    def test_any_callable_will_do(self) -> None:
        scene = self.scene()

        @dataclass
        class Listener:
            heard: list[Any]

            def __call__(self, event: Any) -> None:
                self.heard.append(event)

        heard: list[Any] = []
        scene.add(Listener(heard))
        scene.add(heard.append)
        result_now(scene.fire())
        assert heard == ["event", "event"]

    def test_the_same_function_may_be_registered_twice(self) -> None:
        scene = self.scene()
        heard: list[Any] = []
        first = scene.add(heard.append)
        second = scene.add(heard.append)
        result_now(scene.fire())
        assert first != second
        assert heard == ["event", "event"]

    def test_outcome_what_it_tells(self) -> None:
        scene = self.scene()
        first = scene.plain("first", "before", value=1)
        second = scene.failing("second")
        third = scene.plain("third", requires="second")
        outcome = result_now(scene.fire("the event", user="ada"))

        assert outcome.event == "the event"
        assert dict(outcome.details) == {"user": "ada"}
        assert all(isinstance(result, HandlerResult) for result in outcome.results)
        assert [
            (result.handler_id, result.name, result.phase, result.value, result.failure is not None, result.skipped)
            for result in outcome.results
        ] == [
            (first, "first", "before", 1, False, False),
            (second, "second", "during", None, True, False),
            (third, "third", "during", None, False, True),
        ]
        assert outcome.values == (1,)
        assert [failure.type for failure in outcome.failures] == [ValueError]
        assert outcome.handled
        assert not outcome.stopped
        assert outcome.value is None

    def test_outcome_nobody_listens(self) -> None:
        scene = self.scene()
        outcome = result_now(scene.fire(user="ada"))
        assert (outcome.handled, outcome.results, outcome.values, outcome.failures) == (False, (), (), ())
        assert dict(outcome.details) == {"user": "ada"}

    def test_outcome_results_are_in_start_order(self) -> None:
        scene = self.scene()
        scene.slow("slow")
        scene.plain("fast", value="fast")
        firing = scene.fire()
        scene.pending["slow"].callback("slow")
        assert result_now(firing).values == ("slow", "fast")

    def test_outcome_is_immutable(self) -> None:
        for kind in ("plain", "value", "slow"):
            self._outcome_is_immutable(kind)

    def _outcome_is_immutable(self, kind: str) -> None:
        scene = self.scene()
        {"plain": scene.plain, "slow": scene.slow, "value": lambda name: scene.plain(name, value=1)}[kind]("handler")
        firing = scene.fire("event", user="ada")
        if kind == "slow":
            scene.pending["handler"].callback(None)
        outcome = result_now(firing)
        for name in ("event", "details", "results", "values", "failures", "handled", "stopped", "value"):
            with raises(AttributeError, TypeError):
                setattr(outcome, name, None)
        with raises(TypeError):
            outcome.details["user"] = "bob"  # type: ignore[index]  # that is the point
        with raises(AttributeError):
            outcome.results[0].value = 1  # type: ignore[misc]  # that is the point

    def test_outcome_later_changes_do_not_show(self) -> None:
        scene = self.scene()
        handler_id = scene.plain("handler", value=1)
        outcome = result_now(scene.fire())
        result_now(scene.dispatcher.remove_event_handler(handler_id))
        assert [result.name for result in outcome.results] == ["handler"]
        assert outcome.values == (1,)

    def test_time_out_the_deferred_is_cancelled_and_the_handler_counts_as_failed(self) -> None:
        with capturedLogs() as logged:
            scene = self.scene()
            scene.slow("slow", "before", timeout=3)
            scene.plain("next", "after")
            firing = scene.fire()
            scene.clock.advance(2.9)
            assert not fired(firing)
            scene.clock.advance(0.1)
            outcome = result_now(firing)

            assert scene.pending["slow"].called
            error = outcome.failures[0].value
            assert isinstance(error, HandlerTimeout) and isinstance(error, TimeoutError)
            assert (error.handler, error.phase, error.seconds) == ("slow", "before", 3)
            assert scene.calls == ["slow", "next"]
            assert failures_in(logged) == [HandlerTimeout]

    def test_time_out_a_coroutine_is_told(self) -> None:
        scene = self.scene()
        told: list[str] = []
        waiting: Deferred[None] = Deferred()

        async def handler(event: Any) -> None:
            try:
                await waiting
            except CancelledError:
                told.append("cancelled")
                raise

        scene.add(handler, timeout=1)
        firing = scene.fire()
        scene.clock.advance(1)
        assert told == ["cancelled"]
        assert [failure.type for failure in result_now(firing).failures] == [HandlerTimeout]

    def test_time_out_nothing_is_left_of_it_when_the_handler_is_in_time(self) -> None:
        scene = self.scene()
        scene.slow("slow", timeout=3)
        scene.plain("plain", timeout=3)
        firing = scene.fire()
        scene.clock.advance(1)
        scene.pending["slow"].callback("done")

        assert scene.clock.getDelayedCalls() == []
        assert result_now(firing).values == ("done", None)

    def test_time_out_one_that_swallows_its_cancellation_is_abandoned(self) -> None:
        with capturedLogs() as logged:
            scene = self.scene()
            second: Deferred[str] = Deferred()

            async def stubborn(event: Any) -> None:
                try:
                    await Deferred()
                except CancelledError:
                    await second
                    raise ValueError("too late") from None

            scene.add(stubborn, "before", timeout=1)
            scene.plain("next", "after")
            firing = scene.fire()
            scene.clock.advance(1)

            assert [failure.type for failure in result_now(firing).failures] == [HandlerTimeout]
            assert scene.calls == ["next"]
            assert any("stubborn" in str(event.get("handler")) and "abandoned" in event["log_format"] for event in logged)
            assert failures_in(logged) == [HandlerTimeout]
            second.callback("")
            assert failures_in(logged) == [HandlerTimeout, ValueError]
            assert dropped_in(logged) == []

    def test_time_out_what_a_late_handler_returns_is_not_a_success(self) -> None:
        scene = self.scene()

        async def handler(event: Any) -> str:
            try:
                await Deferred()
            except CancelledError:
                pass
            return "too late"

        scene.add(handler, timeout=1)
        firing = scene.fire()
        scene.clock.advance(1)
        outcome = result_now(firing)
        assert outcome.values == ()
        assert [failure.type for failure in outcome.failures] == [HandlerTimeout]

    def test_time_out_the_time_waited_for_a_required_handler_does_not_count(self) -> None:
        scene = self.scene()
        scene.slow("first")
        scene.slow("second", requires="first", timeout=2)
        firing = scene.fire()
        scene.clock.advance(10)
        scene.pending["first"].callback(None)
        scene.clock.advance(1)
        assert not fired(firing)
        scene.pending["second"].callback(None)
        assert result_now(firing).failures == ()

    def test_stop_processing_what_has_not_started_is_not_called(self) -> None:
        with capturedLogs() as logged:
            scene = self.scene()
            scene.plain("first", "before")
            scene.failing("stops", "before", error=StopProcessing("the answer"))
            scene.plain("same phase", "before")
            scene.plain("later phase")
            outcome = result_now(scene.fire())

            assert scene.calls == ["first", "stops"]
            assert outcome.stopped
            assert outcome.value == "the answer"
            assert outcome.failures == ()
            assert [(result.name, result.skipped) for result in outcome.results] == [
                ("first", False),
                ("stops", False),
                ("same phase", True),
                ("later phase", True),
            ]
            assert failures_in(logged) == []

    def test_stop_processing_what_runs_is_waited_for(self) -> None:
        scene = self.scene()

        async def stops(event: Any) -> None:
            await waiting
            raise StopProcessing

        waiting: Deferred[None] = Deferred()
        scene.slow("slow", "before")
        scene.add(stops, "before")
        scene.plain("requires it", "before", requires="slow")
        scene.plain("later", "after")
        firing = scene.fire()
        waiting.callback(None)
        assert not fired(firing)
        scene.pending["slow"].callback(None)
        outcome = result_now(firing)

        assert scene.calls == ["slow"]
        assert outcome.stopped
        assert outcome.value is None

    def test_stop_processing_ends_this_firing_alone(self) -> None:
        scene = self.scene()
        scene.failing("stops", user="inner", error=StopProcessing("inner"))
        scene.add(lambda event: scene.fire(user="inner").addCallback(lambda outcome: outcome.value), user="outer")
        scene.plain("after", "after", user="outer")
        outcome = result_now(scene.fire(user="outer"))
        assert not outcome.stopped
        assert outcome.values == ("inner", None)

    def test_system_exit_passes_a_coroutine_that_has_not_suspended(self) -> None:
        for error in (SystemExit, KeyboardInterrupt):
            self._system_exit_passes_a_coroutine_that_has_not_suspended(error)

    def _system_exit_passes_a_coroutine_that_has_not_suspended(self, error: type[BaseException]) -> None:
        scene = self.scene()

        async def exits(event: Any) -> None:
            raise error

        scene.add(exits)
        for _ in range(3):
            refused(scene.fire, error)

    def test_system_exit_behind_an_await_whoever_waits_for_the_firing_gets_it(self) -> None:
        for error in (SystemExit, KeyboardInterrupt):
            self._system_exit_behind_an_await_whoever_waits_for_the_firing_gets_it(error)

    def _system_exit_behind_an_await_whoever_waits_for_the_firing_gets_it(self, error: type[BaseException]) -> None:
        scene = self.scene()

        async def exits(event: Any) -> None:
            await waiting
            raise error

        waiting: Deferred[None] = Deferred()
        scene.add(exits)
        scene.plain("later", "after")
        firing = scene.fire()
        waiting.callback(None)
        refused(lambda: result_now(firing), error)
        assert scene.calls == []
        result_now(scene.dispatcher.stop())

    def test_system_exit_is_not_a_failure_of_a_returned_deferred_either(self) -> None:
        scene = self.scene()
        scene.add(lambda event: fail(SystemExit(3)))
        refused(lambda: result_now(scene.fire()), SystemExit)

    def test_context_handlers_run_in_the_context_of_the_firing(self) -> None:
        scene = self.scene()
        seen: list[str] = []
        scene.slow("slow", "before")
        scene.add(lambda event: seen.append(VARIABLE.get()), "before")
        scene.add(lambda event: seen.append(VARIABLE.get()), "after")

        token = VARIABLE.set("firing")
        try:
            firing = scene.fire()
        finally:
            VARIABLE.reset(token)
        scene.pending["slow"].callback(None)
        result_now(firing)
        assert seen == ["firing", "firing"]

    def test_context_what_a_coroutine_sets_does_not_leak(self) -> None:
        scene = self.scene()
        seen: list[str] = []

        async def sets(event: Any) -> None:
            VARIABLE.set("coroutine")

        async def sets_later(event: Any) -> None:
            VARIABLE.set("early")
            await waiting
            seen.append(VARIABLE.get())
            VARIABLE.set("late")

        waiting: Deferred[None] = Deferred()
        scene.add(sets, "before")
        scene.add(sets_later, "before")
        for phase in ("before", "during", "after"):
            scene.add(lambda event: seen.append(VARIABLE.get()), phase)
        firing = scene.fire()
        waiting.callback(None)
        result_now(firing)
        assert seen == ["unset", "early", "unset", "unset"]
        assert VARIABLE.get() == "unset"

    def test_context_a_token_can_be_used_behind_an_await(self) -> None:
        scene = self.scene()

        async def sets(event: Any) -> str:
            token = VARIABLE.set("mine")
            await waiting
            VARIABLE.reset(token)
            return VARIABLE.get()

        waiting: Deferred[None] = Deferred()
        scene.add(sets)
        firing = scene.fire()
        waiting.callback(None)
        assert result_now(firing).values == ("unset",)

    def test_shared_deferred_two_handlers_that_return_the_same_both_see_its_value(self) -> None:
        for when in ("before", "after"):
            self._shared_deferred_two_handlers_that_return_the_same_both_see_its_value(when)

    def _shared_deferred_two_handlers_that_return_the_same_both_see_its_value(self, when: str) -> None:
        scene = self.scene()
        shared: Deferred[str] = Deferred()
        scene.add(lambda event: shared)
        scene.add(lambda event: shared)
        if when == "before":
            shared.callback("value")
        firing = scene.fire()
        if when == "after":
            shared.callback("value")
        assert result_now(firing).values == ("value", "value")

    def test_shared_deferred_and_its_failure(self) -> None:
        for when in ("before", "after"):
            self._shared_deferred_and_its_failure(when)

    def _shared_deferred_and_its_failure(self, when: str) -> None:
        with capturedLogs() as logged:
            scene = self.scene()
            shared: Deferred[str] = Deferred()
            scene.add(lambda event: shared)
            scene.add(lambda event: shared)
            if when == "before":
                shared.errback(ValueError("shared"))
            firing = scene.fire()
            if when == "after":
                shared.errback(ValueError("shared"))
            assert [failure.type for failure in result_now(firing).failures] == [ValueError, ValueError]
            assert dropped_in(logged) == []

    def test_shared_deferred_that_has_fired_is_good_for_many_events(self) -> None:
        scene = self.scene()
        shared = succeed("value")
        scene.add(lambda event: shared)
        assert [result_now(scene.fire()).values for _ in range(4)] == [("value",)] * 4
        assert shared.result == "value"

    def test_shared_deferred_that_has_failed_too(self) -> None:
        scene = self.scene()
        shared: Deferred[None] = fail(ValueError("x"))
        scene.add(lambda event: shared)
        assert [len(result_now(scene.fire()).failures) for _ in range(4)] == [1] * 4

    def test_shared_deferred_its_owner_still_sees_the_value(self) -> None:
        scene = self.scene()
        shared: Deferred[str] = Deferred()
        scene.add(lambda event: shared)
        firing = scene.fire()
        seen: list[Any] = []
        shared.callback("value")
        _ = shared.addCallback(seen.append)
        assert seen == ["value"]
        assert result_now(firing).values == ("value",)
