"""The dispatcher passes the contract; and what it alone does, as its users see it."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from textwrap import dedent
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, capturedLogs
from twisted.python.failure import Failure

from twisted_evproc import (
    RAISE,
    EventDispatcher,
    HandlerID,
    HandlerResult,
    IDispatchObserver,
    Outcome,
)
from twisted_evproc.errors import (
    ConfigurationError,
    DispatcherOverloaded,
    FiringTooDeep,
    KeywordInUse,
    KeywordNotAllowed,
    KeywordReserved,
    RequirementCycle,
    UnknownHandler,
    UnknownPhase,
    WaitTimeout,
)
from twisted_evproc.matching import satisfies
from twisted_evproc.testing import DispatcherContract, FailurePolicyContract, failure_now, result_now
from twisted_evproc.testing._contract import _scene
from twisted_evproc.testing._contract._scene import KEYWORDS, dropped_in, failures_in, fired, refused


class Scene(_scene.Scene):
    """A started dispatcher with its surroundings, as for the contract; the dispatcher's own options can be given."""

    dispatcher: EventDispatcher

    def __init__(self, *, phases: Sequence[str] = ("before", "during", "after"), **options: Any) -> None:
        clock = Clock()
        super().__init__(EventDispatcher(KEYWORDS, phases, clock=clock, **options), clock, phases)
        result_now(self.dispatcher.start())


class TestContract(DispatcherContract, FailurePolicyContract):
    def make_dispatcher(self, **options: Any) -> EventDispatcher:
        return EventDispatcher(**options)


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def logged() -> Iterator[Sequence[LogEvent]]:
    with capturedLogs() as events:
        yield events


def test_it_works_without_a_reactor() -> None:
    program = dedent("""
        import sys
        from twisted_evproc import EventDispatcher

        heard = []
        dispatcher = EventDispatcher(["user"])
        dispatcher.start()
        dispatcher.add_event_handler(heard.append, "during", user="ada", timeout=5, max_calls=2)
        dispatcher.add_event_handler(lambda event: dispatcher.wait_for_event(user="bob"), "after", user="cleo")
        for number in range(3):
            assert dispatcher.fire_event(number, user="ada").called
        dispatcher.stop()
        assert heard == [0, 1], heard
        assert "twisted.internet.reactor" not in sys.modules
        print("done")
    """)
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False, timeout=60
    )

    assert (child.returncode, child.stdout) == (0, "done\n"), child.stderr


class TestErrorsAtOnce:
    def test_a_keyword_that_is_not_allowed(self, scene: Scene) -> None:
        dispatcher = scene.dispatcher
        said = "'colour'.*allowed: 'event_type', 'role', 'user'"

        refused(lambda: dispatcher.emitter(colour="red"), KeywordNotAllowed, said)
        refused(lambda: dispatcher.wait_for_event(colour="red"), KeywordNotAllowed, said)
        refused(lambda: dispatcher.explain("event", colour="red"), KeywordNotAllowed, said)
        refused(lambda: dispatcher.handler("during", colour="red")(print), KeywordNotAllowed, said)
        assert dispatcher.handlers() == ()

    def test_nothing_is_registered_then(self, scene: Scene) -> None:
        refused(lambda: scene.add(print, max_calls=0), ConfigurationError)
        refused(lambda: scene.plain("self", requires="self"), RequirementCycle)
        assert scene.dispatcher.handlers() == ()

    @pytest.mark.parametrize(
        "name", ["phase", "use_weakref", "handler_name", "where", "requires", "required_by", "max_calls", "timeout", "listen_fn"]
    )
    def test_reserved_words_cannot_be_keywords(self, scene: Scene, name: str) -> None:
        refused(lambda: EventDispatcher([name]), KeywordReserved, f"'{name}'")
        refused(lambda: scene.dispatcher.allow_match_spec_keywords(name), KeywordReserved, f"'{name}'")
        assert scene.dispatcher.allowed_match_spec_keywords == set(KEYWORDS)

    @pytest.mark.parametrize("name", ["not an identifier", "class", "", 3, None])
    def test_what_cannot_be_written_as_a_keyword(self, name: Any) -> None:
        refused(lambda: EventDispatcher([name]), KeywordReserved)

    @pytest.mark.parametrize(
        "options",
        [
            {"allowed_match_spec_keywords": "user"},
            {"phases": ()},
            {"phases": ("one", "one")},
            {"phases": "one"},
            {"phases": (1,)},
            {"on_failure": "LOG"},
            {"max_concurrent_firings": 0},
            {"max_concurrent_firings": 1, "max_waiting_firings": -1},
            {"serialize_by": "colour"},
        ],
    )
    def test_a_dispatcher_that_makes_no_sense(self, options: dict[str, Any]) -> None:
        refused(lambda: EventDispatcher(**{"allowed_match_spec_keywords": KEYWORDS, **options}), ConfigurationError)

    def test_a_policy_limited_to_no_exceptions(self) -> None:
        refused(RAISE.only, ConfigurationError)
        refused(lambda: RAISE.only(3), ConfigurationError)


class TestKeywords:
    def test_more_can_be_allowed(self, scene: Scene) -> None:
        scene.plain("all")
        scene.dispatcher.allow_match_spec_keywords("colour", "shape")
        scene.plain("red", colour="red")

        assert scene.dispatcher.allowed_match_spec_keywords == {*KEYWORDS, "colour", "shape"}
        assert scene.heard(colour="red") == ["all", "red"]
        assert scene.heard(shape="round") == ["all"]

    def test_one_can_be_disallowed(self, scene: Scene) -> None:
        scene.plain("all")
        assert scene.heard(role="admin") == ["all"]
        scene.dispatcher.disallow_match_spec_keywords("role")

        assert scene.dispatcher.allowed_match_spec_keywords == {"event_type", "user"}
        refused(lambda: scene.fire(role="admin"), KeywordNotAllowed)
        assert scene.heard(user="ada") == ["all"]

    @pytest.mark.parametrize("value", ["admin", None, ["unhashable"]])
    def test_not_while_a_handler_uses_it(self, scene: Scene, value: Any) -> None:
        handler_id = scene.plain("admins", role=value)
        refused(lambda: scene.dispatcher.disallow_match_spec_keywords("user", "role"), KeywordInUse, "'role'.*'admins'")
        assert scene.dispatcher.allowed_match_spec_keywords == set(KEYWORDS)

        result_now(scene.dispatcher.remove_event_handler(handler_id))
        scene.dispatcher.disallow_match_spec_keywords("user", "role")
        assert scene.dispatcher.allowed_match_spec_keywords == {"event_type"}

    def test_not_while_events_are_serialized_by_it(self) -> None:
        refused(lambda: Scene(serialize_by="user").dispatcher.disallow_match_spec_keywords("user"), KeywordInUse)

    def test_one_that_is_not_allowed_cannot_be_disallowed(self, scene: Scene) -> None:
        refused(lambda: scene.dispatcher.disallow_match_spec_keywords("colour"), KeywordNotAllowed)


class TestMaxCalls:
    def test_one_whose_calls_are_used_up_is_no_longer_listed(self, scene: Scene) -> None:
        scene.plain("twice", max_calls=2)
        left = []
        while views := scene.dispatcher.handlers():
            left.append(views[0].calls_left)
            scene.heard()
        assert left == [2, 1]


class TestWeakReferences:
    def test_functions_and_bound_methods_go_with_their_owner(self, scene: Scene) -> None:
        class Listener:
            def heard(self, event: Any) -> None:
                scene.calls.append("method")

        def function(event: Any) -> None:
            scene.calls.append("function")

        listener = Listener()
        scene.add(listener.heard, use_weakref=True)
        scene.add(function, use_weakref=True)
        emit = scene.dispatcher.emitter()
        assert scene.heard() == ["method", "function"]
        del listener
        gc.collect()
        assert scene.heard() == ["function"]
        del function
        gc.collect()
        assert scene.heard() == []
        result_now(emit("event"))
        assert scene.calls == []
        assert scene.dispatcher.handlers() == ()

    def test_an_owner_may_go_in_another_thread(self, scene: Scene) -> None:
        class Listener:
            def heard(self, event: Any) -> None:
                scene.calls.append("method")

        owners = [Listener()]
        scene.add(owners[0].heard, use_weakref=True)
        assert scene.heard() == ["method"]
        thread = threading.Thread(target=owners.clear)
        thread.start()
        thread.join()

        assert scene.heard() == []
        assert scene.dispatcher.handlers() == ()


class TestReEntrancy:
    def test_a_handler_may_do_everything(self, scene: Scene) -> None:
        dispatcher = scene.dispatcher
        stays = scene.plain("stays", "after", user="outer")

        async def busy(event: Any) -> str:
            handler_id = await dispatcher.add_event_handler(lambda inner: inner, "during", user="inner")
            values = (await dispatcher.fire_event("inner", user="inner")).values
            await dispatcher.remove_event_handler(handler_id)
            await dispatcher.start()
            await dispatcher.remove_event_handler(stays)
            dispatcher.allow_match_spec_keywords("colour")
            dispatcher.explain("event", user="inner")
            dispatcher.handlers()
            return str(values)

        scene.add(busy, user="outer")
        outcome = result_now(scene.fire(user="outer"))
        assert outcome.failures == ()
        assert outcome.values == ("('inner',)",)
        assert scene.calls == []


class TestFiringTooDeep:
    @pytest.mark.parametrize("asynchronous", [False, True])
    def test_an_endless_circle_ends_with_a_clear_error(self, scene: Scene, asynchronous: bool) -> None:
        depths: list[int] = []

        def again(event: int) -> Any:
            depths.append(event)
            return scene.fire(event + 1)

        async def again_awaited(event: int) -> Any:
            depths.append(event)
            return await scene.fire(event + 1)

        scene.add(again_awaited if asynchronous else again)
        outcome = result_now(scene.fire(0))
        failures: list[Failure] = []
        while outcome.values:
            outcome = outcome.values[0]
        failures.extend(outcome.failures)

        assert [failure.type for failure in failures] == [FiringTooDeep]
        assert isinstance(failures[0].value, RecursionError)
        assert 10 < len(depths) < 200

    def test_a_circle_through_a_listener_to_unhandled_events(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        heard: list[int] = []

        @scene.dispatcher.on_unhandled
        def again(event: int, details: Mapping[str, Any]) -> Any:
            heard.append(event)
            return scene.fire(event + 1)

        result_now(scene.fire(0))
        assert 10 < len(heard) < 100
        assert failures_in(logged) == [FiringTooDeep]

    def test_a_circle_through_a_filter(self, scene: Scene) -> None:
        asked: list[int] = []

        def passes(event: int) -> bool:
            asked.append(event)
            _ = scene.fire(event + 1).addErrback(lambda failure: failure.trap(FiringTooDeep))
            return False

        scene.plain("never", where=passes)
        result_now(scene.fire(0))
        assert 10 < len(asked) < 100

    def test_it_can_be_used_as_before_afterwards(self, scene: Scene) -> None:
        handler_id = scene.add(scene.fire)
        for _ in range(3):
            result_now(scene.fire())
        result_now(scene.dispatcher.remove_event_handler(handler_id))
        scene.plain("plain")
        assert scene.heard() == ["plain"]

    def test_a_long_chain_that_is_not_nested_is_no_circle(self, scene: Scene) -> None:
        count = 0

        def again(event: Any) -> None:
            nonlocal count
            count += 1
            if count < 1_000:
                scene.clock.callLater(1, scene.fire, event)

        scene.add(again)
        result_now(scene.fire())
        for _ in range(1_000):
            scene.clock.advance(1)
        assert count == 1_000


class TestCancelling:
    def test_one_that_waits_for_its_turn_is_never_begun(self) -> None:
        scene = Scene(max_concurrent_firings=1)
        scene.slow("slow")
        first = scene.fire()
        second = scene.fire()
        second.cancel()
        with pytest.raises(CancelledError):
            result_now(second)
        scene.pending["slow"].callback(None)
        result_now(first)
        assert scene.calls == ["slow"]
        _ = scene.fire()
        assert scene.calls == ["slow", "slow"]


class TestLife:
    def test_not_started_every_way_to_fire_warns(self, logged: Sequence[LogEvent]) -> None:
        dispatcher = EventDispatcher(KEYWORDS, name="shop")
        result_now(dispatcher.add_event_handler(print, "during"))
        assert not result_now(dispatcher.emitter()("event")).handled
        (warning,) = (event for event in logged if event["log_level"] is LogLevel.warn)
        assert "'shop'" in warning["log_format"].format(**warning)

    def test_stop_waits_for_those_that_wait_for_their_turn(self) -> None:
        scene = Scene(max_concurrent_firings=1)
        scene.slow("slow")
        firings = [scene.fire(), scene.fire()]
        stopped = scene.dispatcher.stop()
        scene.pending["slow"].callback(None)
        assert not fired(stopped)
        scene.pending["slow"].callback(None)
        assert fired(stopped) and all(map(fired, firings))
        assert scene.calls == ["slow", "slow"]


class TestLoad:
    def test_more_firings_than_allowed_wait_in_order(self) -> None:
        scene = Scene(max_concurrent_firings=2)
        pending: dict[Any, Deferred[None]] = {}

        def slow(event: Any) -> Deferred[None]:
            pending[event] = Deferred()
            return pending[event]

        scene.add(slow)
        firings = [scene.fire(number) for number in range(5)]
        assert list(pending) == [0, 1]
        pending[1].callback(None)
        assert list(pending) == [0, 1, 2]
        pending[0].callback(None)
        pending[2].callback(None)
        assert list(pending) == [0, 1, 2, 3, 4]
        pending[3].callback(None)
        pending[4].callback(None)
        assert all(map(fired, firings))

    def test_too_many_waiting_are_refused(self) -> None:
        scene = Scene(max_concurrent_firings=1, max_waiting_firings=2)
        scene.slow("slow")
        taken = [scene.fire() for _ in range(3)]
        with pytest.raises(DispatcherOverloaded) as caught:
            result_now(scene.fire())
        assert caught.value.waiting == 2
        for _ in range(3):
            scene.pending["slow"].callback(None)
        assert all(map(fired, taken))
        assert scene.calls == ["slow"] * 3
        assert not fired(scene.fire())

    def test_none_may_have_to_wait(self) -> None:
        scene = Scene(max_concurrent_firings=1, max_waiting_firings=0)
        scene.slow("slow")
        _ = scene.fire()
        with pytest.raises(DispatcherOverloaded):
            result_now(scene.fire())

    def test_a_long_queue_of_synchronous_firings_does_not_nest(self) -> None:
        scene = Scene(max_concurrent_firings=1)
        scene.slow("gate", user="gate")
        scene.plain("plain", user="plain")
        _ = scene.fire(user="gate")
        firings = [scene.fire(user="plain") for _ in range(3_000)]
        scene.pending["gate"].callback(None)
        assert all(map(fired, firings))
        assert scene.calls.count("plain") == 3_000

    def test_events_of_one_key_are_processed_one_after_the_other(self) -> None:
        scene = Scene(serialize_by="user")
        pending: dict[Any, Deferred[None]] = {}

        def slow(event: Any) -> Deferred[None]:
            pending[event] = Deferred()
            return pending[event]

        scene.add(slow)
        for event, user in (("a1", "ada"), ("a2", "ada"), ("b1", "bob"), ("a3", "ada"), ("b2", "bob")):
            _ = scene.fire(event, user=user)
        _ = scene.fire("nobody 1")
        _ = scene.fire("nobody 2")
        assert list(pending) == ["a1", "b1", "nobody 1", "nobody 2"]
        pending["a1"].callback(None)
        assert list(pending)[4:] == ["a2"]
        pending["a2"].callback(None)
        pending["b1"].callback(None)
        assert list(pending)[4:] == ["a2", "a3", "b2"]

    def test_keys_may_be_unhashable(self) -> None:
        scene = Scene(serialize_by="user")
        scene.slow("slow")
        _ = scene.fire(user=["ada"])
        second = scene.fire(user=["ada"])
        third = scene.fire(user=["bob"])
        assert scene.calls == ["slow", "slow"]
        assert not fired(second) and not fired(third)

    def test_a_failed_firing_lets_the_next_one_begin(self) -> None:
        scene = Scene(serialize_by="user", on_failure=RAISE)
        scene.slow("slow")
        first = scene.fire(user="ada")
        _ = scene.fire(user="ada")
        scene.pending["slow"].errback(ValueError("x"))
        with pytest.raises(ValueError, match="x"):
            result_now(first)
        assert scene.calls == ["slow", "slow"]

    @pytest.mark.parametrize(
        "options",
        [{"max_concurrent_firings": 1}, {"serialize_by": "user"}, {"max_concurrent_firings": 1, "serialize_by": "user"}],
    )
    @pytest.mark.parametrize("suspended", [False, True])
    def test_a_nested_firing_does_not_wait_behind_its_parent(self, options: dict[str, Any], suspended: bool) -> None:
        scene = Scene(**options)
        waiting: Deferred[None] = Deferred()

        async def outer(event: Any) -> Any:
            if suspended:
                await waiting
            return (await scene.fire(user="ada", role="inner")).values

        scene.add(outer, role="outer")
        scene.plain("inner", role="inner", value="inner")
        firing = scene.fire(user="ada", role="outer")
        behind = scene.fire(user="ada", role="inner")
        waiting.callback(None)
        assert result_now(firing).values == (("inner",),)
        assert result_now(behind).values == ("inner",)

    def test_nested_firings_across_keys_do_not_wait_for_each_other(self) -> None:
        # ada's handler fires for bob and waits, bob's fires for ada and waits: neither may wait for the other's key
        scene = Scene(serialize_by="user")
        gates: dict[str, Deferred[None]] = {"ada": Deferred(), "bob": Deferred()}
        other = {"ada": "bob", "bob": "ada"}

        async def outer(event: str) -> Any:
            await gates[event]
            return (await scene.fire(event, user=other[event], role="inner")).values

        scene.add(outer, role="outer")
        scene.plain("inner", role="inner", value="inner")
        firings = [scene.fire(user, user=user, role="outer") for user in other]
        gates["ada"].callback(None)
        gates["bob"].callback(None)
        assert [result_now(firing).values for firing in firings] == [(("inner",),), (("inner",),)]

    def test_around_three_keys_neither(self) -> None:
        scene = Scene(serialize_by="user", max_concurrent_firings=3)
        gates: dict[str, Deferred[None]] = {user: Deferred() for user in "abc"}
        following = {"a": "b", "b": "c", "c": "a"}

        async def outer(event: str) -> Any:
            await gates[event]
            return (await scene.fire(event, user=following[event], role="inner")).handled

        scene.add(outer, role="outer")
        scene.plain("inner", role="inner")
        firings = [scene.fire(user, user=user, role="outer") for user in following]
        for gate in gates.values():
            gate.callback(None)
        assert [result_now(firing).values for firing in firings] == [(True,)] * 3

    def test_a_nested_firing_for_a_key_in_use_waits_for_it(self) -> None:
        scene = Scene(serialize_by="user")
        scene.slow("bob's", user="bob", role="plain")
        scene.plain("inner", role="inner")

        async def outer(event: Any) -> None:
            await scene.fire(user="bob", role="inner")

        scene.add(outer, role="outer")
        _ = scene.fire(user="bob", role="plain")
        firing = scene.fire(user="ada", role="outer")
        assert scene.calls == ["bob's"]
        scene.pending["bob's"].callback(None)
        assert scene.calls == ["bob's", "inner"]
        result_now(firing)


class TestContext:
    VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="unset")

    def test_a_firing_that_waits_for_its_turn_keeps_its_context(self) -> None:
        scene = Scene(max_concurrent_firings=1)
        seen: list[str] = []
        scene.slow("slow")
        scene.add(lambda event: seen.append(self.VARIABLE.get()))
        _ = scene.fire()
        token = self.VARIABLE.set("second")
        _ = scene.fire()
        self.VARIABLE.reset(token)
        scene.pending["slow"].callback(None)
        assert seen == ["unset", "second"]


class TestEmitter:
    def test_it_fires_with_fixed_details(self, scene: Scene) -> None:
        scene.plain("ada's", user="ada", value=1)
        scene.plain("bob's", user="bob")
        outcome = result_now(scene.dispatcher.emitter(user="ada", role="admin")("the event"))
        assert scene.calls == ["ada's"]
        assert outcome.event == "the event"
        assert dict(outcome.details) == {"user": "ada", "role": "admin"}
        assert outcome.values == (1,)

    def test_it_sees_every_change(self, scene: Scene) -> None:
        emit = scene.dispatcher.emitter(user="ada")

        def heard() -> list[str]:
            scene.calls.clear()
            result_now(emit("event"))
            return list(scene.calls)

        assert heard() == []
        first = scene.plain("first", user="ada")
        assert heard() == ["first"]
        scene.plain("second", max_calls=1)
        assert heard() == ["first", "second"]
        assert heard() == ["first"]
        result_now(scene.dispatcher.remove_event_handler(first))
        assert heard() == []
        scene.slow("slow", "before")
        scene.plain("third")
        firing = emit("event")
        assert not fired(firing)
        scene.pending["slow"].callback(None)
        assert result_now(firing).handled
        result_now(scene.dispatcher.stop())
        assert not result_now(emit("event")).handled

    def test_it_does_as_fire_event_does(self) -> None:
        scene = Scene(on_failure=RAISE)
        emit = scene.dispatcher.emitter(user="ada")
        scene.failing("failing")
        for _ in range(3):
            with pytest.raises(ValueError, match="failing"):
                result_now(emit("event"))

    def test_unhashable_details(self, scene: Scene) -> None:
        scene.plain("list", user=["ada"])
        emit = scene.dispatcher.emitter(user=["ada"])
        assert [result_now(emit(number)).handled for number in range(3)] == [True] * 3


class TestWaitForEvent:
    def test_the_next_matching_event(self, scene: Scene) -> None:
        waiting = scene.dispatcher.wait_for_event(user="ada", where=lambda event: event > 1)
        for event, user in ((2, "bob"), (1, "ada")):
            result_now(scene.fire(event, user=user))
            assert not fired(waiting)
        result_now(scene.fire(3, user="ada"))
        assert result_now(waiting) == 3
        assert scene.dispatcher.handlers() == ()
        result_now(scene.fire(4, user="ada"))

    def test_it_can_be_awaited_in_a_loop(self, scene: Scene) -> None:
        heard: list[Any] = []

        async def loop() -> None:
            for _ in range(3):
                heard.append(await scene.dispatcher.wait_for_event())

        done = Deferred.fromCoroutine(loop())
        for event in range(3):
            result_now(scene.fire(event))
        assert heard == [0, 1, 2]
        result_now(done)

    def test_it_fails_after_its_time_out(self, scene: Scene) -> None:
        waiting = scene.dispatcher.wait_for_event(timeout=3, user="ada")
        scene.clock.advance(3)
        with pytest.raises(WaitTimeout, match=r"user='ada'.*3 s") as caught:
            result_now(waiting)
        assert isinstance(caught.value, TimeoutError)
        assert scene.dispatcher.handlers() == ()

    def test_no_timer_is_left(self, scene: Scene) -> None:
        waiting = scene.dispatcher.wait_for_event(timeout=3)
        result_now(scene.fire("event"))
        assert result_now(waiting) == "event"
        assert scene.clock.getDelayedCalls() == []

    def test_cancelling_ends_it(self, scene: Scene) -> None:
        waiting = scene.dispatcher.wait_for_event(timeout=3)
        waiting.cancel()
        with pytest.raises(CancelledError):
            result_now(waiting)
        assert scene.dispatcher.handlers() == ()
        assert scene.clock.getDelayedCalls() == []
        result_now(scene.fire())

    def test_a_handler_may_wait_for_an_event(self, scene: Scene) -> None:
        async def asks(event: Any) -> Any:
            return await scene.dispatcher.wait_for_event(user="answer")

        scene.add(asks, user="question")
        firing = scene.fire("question", user="question")
        result_now(scene.fire("answer", user="answer"))
        assert result_now(firing).values == ("answer",)


class TestHandlerDecorator:
    def test_it_registers_and_gives_the_function_back(self, scene: Scene) -> None:
        def function(event: Any) -> None:
            scene.calls.append("function")

        same = scene.dispatcher.handler("before", user="ada", max_calls=2, handler_name="decorated")(function)

        assert same is function
        (view,) = scene.dispatcher.handlers()
        assert (view.name, view.phase, dict(view.match_spec)) == ("decorated", "before", {"user": "ada"})
        assert scene.heard(user="ada") == ["function"]

    def test_several_of_them(self, scene: Scene) -> None:
        @scene.dispatcher.handler("before")
        @scene.dispatcher.handler("after")
        def function(event: Any) -> None:
            scene.calls.append("function")

        assert scene.heard() == ["function", "function"]


class TestHandlersList:
    def test_what_it_tells_in_order(self, scene: Scene) -> None:
        last = scene.plain("last", "after")
        first = scene.slow("first", "before", user="ada", requires=["x"], required_by="y", timeout=2, max_calls=5)
        second = scene.plain("second", "before", role=None)
        views = scene.dispatcher.handlers()

        assert [view.handler_id for view in views] == [first, second, last]
        view = views[0]
        assert (view.name, view.phase, dict(view.match_spec)) == ("first", "before", {"user": "ada"})
        assert (view.requires, view.required_by, view.timeout, view.use_weakref) == (("x",), ("y",), 2, False)
        assert view.qualified_name.endswith("Scene.slow.<locals>.handler")
        assert view.running == 0

        _ = scene.fire(user="ada")
        assert scene.dispatcher.handlers()[0].running == 1
        assert views[0].running == 0

    def test_views_cannot_be_changed(self, scene: Scene) -> None:
        scene.plain("plain", user="ada")
        (view,) = scene.dispatcher.handlers()
        with pytest.raises(AttributeError):
            view.phase = "after"  # type: ignore[misc]  # that is the point
        with pytest.raises(TypeError):
            view.match_spec["user"] = "bob"  # type: ignore[index]  # that is the point


class TestExplain:
    def test_who_runs_in_which_order_and_what_rules_the_others_out(self, scene: Scene) -> None:
        scene.plain("late", "after")
        scene.plain("second", requires="first")
        scene.plain("first", user="ada")
        scene.plain("other", user="bob")
        scene.plain("absent", role="admin")
        scene.plain("filtered", where=lambda event: False)
        explanation = scene.dispatcher.explain("event", user="ada")
        verdicts = {verdict.name: verdict for verdict in explanation.verdicts}

        assert [verdict.name for verdict in explanation.verdicts[:3]] == ["first", "second", "late"]
        assert [verdict.position for verdict in explanation.verdicts] == [1, 2, 3, None, None, None]
        assert {name for name, verdict in verdicts.items() if verdict.runs} == {"first", "second", "late"}
        assert "user='bob'" in verdicts["other"].reason and "'ada'" in verdicts["other"].reason
        assert "role='admin'" in verdicts["absent"].reason
        assert "where" in verdicts["filtered"].reason
        assert "first" in verdicts["second"].reason
        for name in verdicts:
            assert name in str(explanation)
        assert scene.calls == []
        assert scene.heard("event", user="ada") == ["first", "second", "late"]

    def test_without_an_event_filters_over_it_are_not_asked(self, scene: Scene) -> None:
        asked: list[Any] = []
        scene.plain("filtered", where=asked.append)
        (verdict,) = scene.dispatcher.explain(user="ada").verdicts
        assert asked == []
        assert verdict.runs
        assert "where" in verdict.reason

    def test_max_calls_are_not_used_up(self, scene: Scene) -> None:
        scene.plain("once", max_calls=1)
        scene.dispatcher.explain("event")
        assert scene.heard() == ["once"]

    def test_a_matcher_that_fails_is_told(self, scene: Scene) -> None:
        def broken(user: Any) -> bool:
            raise ValueError("broken")

        scene.plain("asked", user=satisfies(broken))
        scene.plain("other")
        verdicts = {verdict.name: verdict.reason for verdict in scene.dispatcher.explain(user="ada").verdicts}
        assert verdicts == {"asked": "a matcher of it fails with ValueError('broken')", "other": ""}


class TestKeys:
    def test_values_that_cannot_be_compared_are_different_keys(self) -> None:
        class Strange:
            def __hash__(self) -> int:
                raise ValueError("no hash")

            def __eq__(self, other: object) -> bool:
                raise ValueError("no answer")

        scene = Scene(serialize_by="user")
        scene.slow("slow")
        first, second = scene.fire("one", user=Strange()), scene.fire("two", user=Strange())
        assert len(scene.calls) == 2
        first.cancel()
        second.cancel()
        failure_now(first, CancelledError)
        failure_now(second, CancelledError)


class TestBadOptions:
    @pytest.mark.parametrize(
        ("make", "error", "words"),
        [
            (lambda: EventDispatcher(["a"], serialize_by=[]), KeywordNotAllowed, "serialize_by"),  # type: ignore[arg-type]
            (lambda: EventDispatcher(["a"], clock=5), ConfigurationError, "clock=5 keeps no time"),  # type: ignore[arg-type]
            (lambda: EventDispatcher(["a"]).disallow_match_spec_keywords(["a"]), ConfigurationError, r"\['a'\]"),  # type: ignore[arg-type]
            (
                lambda: EventDispatcher().add_event_handler(print, "during", use_weakref="no"),  # type: ignore[arg-type]
                ConfigurationError,
                "use_weakref='no' has to be True or False",
            ),
            (lambda: EventDispatcher().handler("nope"), UnknownPhase, "nope"),
            (lambda: EventDispatcher().handler(print), UnknownPhase, "print"),  # type: ignore[arg-type]
        ],
    )
    def test_it_is_refused_at_once(self, make: Any, error: type[Exception], words: str) -> None:
        with pytest.raises(error, match=words):
            make()


class TestUnhandled:
    def test_listeners_hear_events_nobody_wanted(self, scene: Scene) -> None:
        heard: list[tuple[Any, Mapping[str, Any]]] = []

        @scene.dispatcher.on_unhandled
        def listener(event: Any, details: Mapping[str, Any]) -> None:
            heard.append((event, dict(details)))

        scene.plain("ada's", user="ada")
        result_now(scene.fire(1, user="ada"))
        outcome = result_now(scene.fire(2, user="bob"))
        result_now(scene.dispatcher.emitter()(3))

        assert not outcome.handled
        assert heard == [(2, {"user": "bob"}), (3, {})]

    def test_an_event_that_filters_turn_away_is_unhandled(self, scene: Scene) -> None:
        heard: list[Any] = []
        scene.dispatcher.on_unhandled(lambda event, details: heard.append(event))
        scene.plain("filtered", where=lambda event: event > 1)
        result_now(scene.fire(1))
        result_now(scene.fire(2))
        assert heard == [1]

    def test_their_failures_are_logged_and_end_there(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        heard: list[Any] = []

        async def awaits(event: Any, details: Mapping[str, Any]) -> None:
            await waiting
            raise KeyError("late")

        def raises(event: Any, details: Mapping[str, Any]) -> None:
            raise ValueError("x")

        waiting: Deferred[None] = Deferred()
        scene.dispatcher.on_unhandled(raises)
        scene.dispatcher.on_unhandled(awaits)
        scene.dispatcher.on_unhandled(lambda event, details: heard.append(event))
        assert not result_now(scene.fire()).handled
        waiting.callback(None)
        assert heard == ["event"]
        assert failures_in(logged) == [ValueError, KeyError]
        assert dropped_in(logged) == []

    def test_a_dispatcher_that_is_stopped_has_none(self, scene: Scene) -> None:
        heard: list[Any] = []
        scene.dispatcher.on_unhandled(lambda event, details: heard.append(event))
        result_now(scene.dispatcher.stop())
        result_now(scene.fire())
        assert heard == []


class Observer:
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.firings: list[Any] = []

    def firing_started(self, firing: Any) -> None:
        self.firings.append(firing)
        self.heard.append(("firing started", firing.event, dict(firing.details)))

    def handler_started(self, firing: Any, handler_id: HandlerID, name: str, phase: str) -> None:
        self.firings.append(firing)
        self.heard.append(("handler started", name, phase))

    def handler_ended(self, firing: Any, result: HandlerResult) -> None:
        self.firings.append(firing)
        self.heard.append(("handler ended", result.name, result.value, result.failure and result.failure.type, result.skipped))

    def firing_ended(self, firing: Any, outcome: Outcome | None) -> None:
        self.firings.append(firing)
        self.heard.append(("firing ended", outcome and outcome.handled))


class TestObservers:
    def test_they_hear_everything_in_order(self, scene: Scene) -> None:
        scene.plain("plain", "before", value=1)
        scene.failing("failing")
        scene.plain("skipped", requires="failing")
        scene.slow("slow", "after")
        observer = Observer()
        scene.dispatcher.add_observer(observer)
        firing = scene.fire("event", user="ada")
        scene.pending["slow"].callback("done")
        result_now(firing)

        assert observer.heard == [
            ("firing started", "event", {"user": "ada"}),
            ("handler started", "plain", "before"),
            ("handler ended", "plain", 1, None, False),
            ("handler started", "failing", "during"),
            ("handler ended", "failing", None, ValueError, False),
            ("handler ended", "skipped", None, None, True),
            ("handler started", "slow", "after"),
            ("handler ended", "slow", "done", None, False),
            ("firing ended", True),
        ]
        assert len(set(map(id, observer.firings))) == 1

    def test_a_cancelled_firing_ends_too(self, scene: Scene) -> None:
        observer = Observer()
        scene.dispatcher.add_observer(observer)
        scene.slow("slow")
        firing = scene.fire()
        firing.cancel()
        with pytest.raises(CancelledError):
            result_now(firing)
        assert [what for what, *_ in observer.heard].count("firing ended") == 1
        assert ("firing ended", None) in observer.heard

    def test_nobody_listens(self, scene: Scene) -> None:
        observer = Observer()
        scene.dispatcher.add_observer(observer)
        result_now(scene.fire())
        result_now(scene.dispatcher.emitter(user="ada")("event"))
        assert [what for what, *_ in observer.heard] == ["firing started", "firing ended"] * 2

    def test_an_observers_exception_is_logged_and_changes_nothing(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        class Broken(Observer):
            def handler_started(self, firing: Any, handler_id: HandlerID, name: str, phase: str) -> None:
                raise ValueError("broken observer")

        second = Observer()
        scene.dispatcher.add_observer(Broken())
        scene.dispatcher.add_observer(second)
        scene.plain("plain")
        assert scene.heard() == ["plain"]
        assert len(second.heard) == 4
        assert failures_in(logged) == [ValueError]

    def test_they_can_be_removed(self, scene: Scene) -> None:
        observer = Observer()
        scene.dispatcher.add_observer(observer)
        scene.dispatcher.remove_observer(observer)
        scene.plain("plain")
        assert scene.heard() == ["plain"]
        assert observer.heard == []
        refused(lambda: scene.dispatcher.remove_observer(observer), LookupError)

    def test_one_that_is_equal_is_another(self, scene: Scene) -> None:
        class Equal(Observer):
            def __eq__(self, other: object) -> bool:
                return isinstance(other, Equal)

            __hash__ = Observer.__hash__

        scene.dispatcher.add_observer(Equal())
        refused(lambda: scene.dispatcher.remove_observer(Equal()), LookupError)

    def test_something_else_is_refused(self, scene: Scene) -> None:
        refused(lambda: scene.dispatcher.add_observer(object()), ConfigurationError, "firing_started")

    def test_the_interface_is_the_one_they_hear(self) -> None:
        assert {name for name in vars(Observer) if not name.startswith("_")} == set(IDispatchObserver.names())


class TestTransaction:
    def test_adds_and_removes_take_effect_together(self, scene: Scene) -> None:
        old = scene.plain("old")
        with scene.dispatcher.transaction():
            removal = scene.dispatcher.remove_event_handler(old)
            scene.plain("new 1", "before")
            assert scene.heard() == ["old"]
            scene.plain("new 2", "after")
        result_now(removal)
        assert scene.heard() == ["new 1", "new 2"]

    def test_or_not_at_all(self, scene: Scene) -> None:
        old = scene.plain("old")
        with pytest.raises(RuntimeError, match="changed my mind"), scene.dispatcher.transaction():  # noqa: PT012  the block is the subject
            _ = scene.dispatcher.remove_event_handler(old)
            new = scene.plain("new")
            raise RuntimeError("changed my mind")
        assert scene.heard() == ["old"]
        with pytest.raises(UnknownHandler):
            result_now(scene.dispatcher.remove_event_handler(new))
        result_now(scene.dispatcher.remove_event_handler(old))

    def test_a_set_that_cannot_be_ordered_is_refused_as_a_whole(self, scene: Scene) -> None:
        scene.plain("old")
        with pytest.raises(RequirementCycle), scene.dispatcher.transaction():  # noqa: PT012  the block is the subject
            scene.plain("a", requires="b")
            scene.plain("b", requires="a")
        assert scene.heard() == ["old"]

    def test_a_set_can_be_ordered_that_could_not_be_changed_one_by_one(self, scene: Scene) -> None:
        a = scene.plain("a")
        scene.plain("b", requires="a")
        with scene.dispatcher.transaction():
            scene.plain("a", requires="b")
            scene.plain("c", requires="a")
            _ = scene.dispatcher.remove_event_handler(a)
            _ = scene.dispatcher.remove_event_handler(next(v.handler_id for v in scene.dispatcher.handlers() if v.name == "b"))
            scene.plain("b")
        assert scene.heard() == ["b", "a", "c"]

    def test_what_is_added_in_it_can_be_removed_in_it(self, scene: Scene) -> None:
        with scene.dispatcher.transaction():
            new = scene.plain("new")
            result_now(scene.dispatcher.remove_event_handler(new))
        assert scene.heard() == []

    def test_removals_wait_for_running_calls(self, scene: Scene) -> None:
        old = scene.slow("old")
        firing = scene.fire()
        with scene.dispatcher.transaction():
            removal = scene.dispatcher.remove_event_handler(old)
        assert not fired(removal)
        scene.pending["old"].callback(None)
        assert fired(removal) and fired(firing)

    def test_a_removal_that_does_not_take_place_fails(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        old = scene.plain("old")
        with pytest.raises(RuntimeError), scene.dispatcher.transaction():  # noqa: PT012  the block is the subject
            removal = scene.dispatcher.remove_event_handler(old)
            raise RuntimeError
        assert fired(removal)
        del removal
        assert dropped_in(logged) == []

    def test_a_keyword_of_a_handler_that_is_to_come_is_in_use(self, scene: Scene) -> None:
        with scene.dispatcher.transaction():
            scene.plain("new", role="admin")
            refused(lambda: scene.dispatcher.disallow_match_spec_keywords("role"), KeywordInUse, "new")
        assert scene.heard(role="admin") == ["new"]

    def test_a_function_that_goes_before_its_end_is_not_there(self, scene: Scene) -> None:
        def short_lived(event: Any) -> None:
            return None

        with scene.dispatcher.transaction():
            _ = scene.dispatcher.add_event_handler(short_lived, "during", use_weakref=True)
            del short_lived
            gc.collect()
        assert scene.dispatcher.handlers() == ()
        assert not scene.dispatcher.is_listened_to

    def test_what_waits_for_an_event_is_given_up_in_one_that_is_rolled_back(
        self, scene: Scene, logged: Sequence[LogEvent]
    ) -> None:
        waiting = scene.dispatcher.wait_for_event(user="ada")
        with pytest.raises(RuntimeError), scene.dispatcher.transaction():  # noqa: PT012  the block is the subject
            waiting.cancel()
            within = scene.dispatcher.wait_for_event(timeout=5, user="ada")
            raise RuntimeError
        result_now(scene.fire("event", user="ada"))
        scene.clock.advance(5)
        failure_now(waiting, CancelledError)
        failure_now(within, WaitTimeout)
        gc.collect()
        assert failures_in(logged) == []

    def test_one_inside_another_joins_it(self, scene: Scene) -> None:
        with scene.dispatcher.transaction():
            with scene.dispatcher.transaction():
                scene.plain("inner")
            assert scene.heard() == []
        assert scene.heard() == ["inner"]

    def test_emitters_see_it(self, scene: Scene) -> None:
        emit = scene.dispatcher.emitter()
        old = scene.plain("old")
        result_now(emit("event"))
        with scene.dispatcher.transaction():
            _ = scene.dispatcher.remove_event_handler(old)
            scene.plain("new")
        scene.calls.clear()
        result_now(emit("event"))
        assert scene.calls == ["new"]
