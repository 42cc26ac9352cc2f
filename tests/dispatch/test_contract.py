"""The dispatcher's contract, as its users see it: nothing here but public names."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from textwrap import dedent
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, inlineCallbacks, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, capturedLogs
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from twisted_evproc import (
    ABORT,
    ANY,
    COLLECT,
    LOG,
    RAISE,
    EventDispatcher,
    HandlerID,
    HandlerResult,
    IBackgroundUtility,
    IDispatchObserver,
    IEventDispatcher,
    Outcome,
    StopProcessing,
    glob,
    one_of,
)
from twisted_evproc.errors import (
    ConfigurationError,
    DispatcherOverloaded,
    FiringTooDeep,
    HandlerNotCallable,
    HandlersFailed,
    HandlerTimeout,
    KeywordInUse,
    KeywordNotAllowed,
    KeywordReserved,
    OrderingError,
    RequirementCycle,
    UnknownHandler,
    UnknownPhase,
    WaitTimeout,
)
from twisted_evproc.matching import Eq

T = TypeVar("T")

KEYWORDS = ("event_type", "role", "user")


def fired(deferred: Deferred[Any]) -> bool:
    return bool(deferred.called)


def now(deferred: Deferred[T]) -> T:
    """What a Deferred has fired with; raises what it has failed with."""
    results: list[Any] = []
    failures: list[Failure] = []
    _ = deferred.addCallbacks(results.append, failures.append)
    for failure in failures:
        failure.raiseException()
    assert results, "the Deferred has not fired"
    result: T = results[0]
    return result


def refused(call: Callable[[], object], error: type[BaseException], match: str | None = None) -> None:
    """Check that a call raises at once, not by a Deferred."""
    with pytest.raises(error, match=match):
        call()


class Scene:
    """
    A started dispatcher, its clock, and handlers that write down when they are called and finish when told.

    :ivar calls: the names of the handlers, in the order they were called.
    """

    def __init__(self, *, phases: Sequence[str] = ("before", "during", "after"), **options: Any) -> None:
        self.clock = Clock()
        self.dispatcher = EventDispatcher(KEYWORDS, phases, clock=self.clock, **options)
        now(self.dispatcher.start())
        self.calls: list[str] = []
        self.pending: dict[str, Deferred[Any]] = {}

    def plain(self, name: str, phase: str = "during", *, value: Any = None, **options: Any) -> HandlerID:
        """Add a handler that returns a value."""

        def handler(event: Any) -> Any:
            self.calls.append(name)
            return value

        return now(self.dispatcher.add_event_handler(handler, phase, handler_name=name, **options))

    def failing(self, name: str, phase: str = "during", *, error: BaseException | None = None, **options: Any) -> HandlerID:
        """Add a handler that raises."""

        def handler(event: Any) -> None:
            self.calls.append(name)
            raise error if error is not None else ValueError(name)

        return now(self.dispatcher.add_event_handler(handler, phase, handler_name=name, **options))

    def slow(self, name: str, phase: str = "during", **options: Any) -> HandlerID:
        """Add a handler whose Deferred is to be found in ``pending``."""

        def handler(event: Any) -> Deferred[Any]:
            self.calls.append(name)
            deferred: Deferred[Any] = Deferred()
            self.pending[name] = deferred
            return deferred

        return now(self.dispatcher.add_event_handler(handler, phase, handler_name=name, **options))

    def add(self, handler: Callable[[Any], Any], phase: str = "during", **options: Any) -> HandlerID:
        return now(self.dispatcher.add_event_handler(handler, phase, **options))

    def fire(self, event: Any = "event", /, **details: Any) -> Deferred[Outcome]:
        return self.dispatcher.fire_event(event, **details)

    def heard(self, event: Any = "event", /, **details: Any) -> list[str]:
        """The names of the handlers that one more event calls."""
        self.calls.clear()
        now(self.fire(event, **details))
        return list(self.calls)


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def logged() -> Iterator[Sequence[LogEvent]]:
    with capturedLogs() as events:
        yield events


def failures_in(logged: Sequence[LogEvent]) -> list[type[BaseException]]:
    return [event["log_failure"].type for event in logged if event.get("log_failure") is not None]


def unhandled_in(logged: Sequence[LogEvent]) -> list[LogEvent]:
    """What Twisted has said about Deferreds whose failure nobody has looked at."""
    gc.collect()
    return [event for event in logged if event.get("log_namespace") == "twisted.internet.defer"]


def test_it_provides_its_interfaces(scene: Scene) -> None:
    assert verifyObject(IEventDispatcher, scene.dispatcher)
    assert verifyObject(IBackgroundUtility, scene.dispatcher)


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


class TestMatching:
    def test_a_match_spec_is_a_subset_of_the_details(self, scene: Scene) -> None:
        scene.plain("all")
        scene.plain("type", event_type="login")
        scene.plain("both", event_type="login", user="ada")

        assert scene.heard() == ["all"]
        assert scene.heard(event_type="login") == ["all", "type"]
        assert scene.heard(event_type="login", user="ada") == ["all", "type", "both"]
        assert scene.heard(event_type="login", user="bob", role="admin") == ["all", "type"]
        assert scene.heard(event_type="logout", user="ada") == ["all"]

    def test_a_keyword_that_is_asked_for_has_to_be_there(self, scene: Scene) -> None:
        scene.plain("admins", role="admin")

        assert scene.heard() == []
        assert scene.heard(user="ada") == []
        assert scene.heard(role="admin") == ["admins"]

    @pytest.mark.parametrize("wildcard", [None, ANY])
    def test_a_wildcard_matches_everything_and_absence(self, scene: Scene, wildcard: Any) -> None:
        scene.plain("any", role=wildcard, user="ada")

        assert scene.heard(user="ada") == ["any"]
        assert scene.heard(user="ada", role="admin") == ["any"]
        assert scene.heard(user="ada", role=None) == ["any"]
        assert scene.heard(role="admin") == []

    def test_none_as_a_detail_equals_nothing_but_the_wildcard(self, scene: Scene) -> None:
        scene.plain("value", role="admin")
        scene.plain("one of", role=one_of("admin", "root"))
        scene.plain("glob", role=glob("*"))
        scene.plain("wildcard", role=None)

        assert scene.heard(role=None) == ["wildcard"]

    def test_matchers_stand_for_several_values(self, scene: Scene) -> None:
        scene.plain("one of", role=one_of("admin", "root"))
        scene.plain("glob", user=glob("a*"))

        assert scene.heard(role="root", user="ada") == ["one of", "glob"]
        assert scene.heard(role="guest", user="ada") == ["glob"]
        assert scene.heard(role="admin", user="bob") == ["one of"]
        assert scene.heard(role="admin", user=7) == ["one of"]

    def test_unhashable_values_match(self, scene: Scene) -> None:
        scene.plain("list", user=["ada", "bob"])
        scene.plain("one of", user=one_of("cleo", ["ada", "bob"]))
        scene.plain("set", user=frozenset({"ada"}))
        scene.plain("other")

        assert scene.heard(user=["ada", "bob"]) == ["list", "one of", "other"]
        assert scene.heard(user=["ada"]) == ["other"]
        assert scene.heard(user={"ada"}) == ["set", "other"]
        assert scene.heard(user="cleo", role={}) == ["one of", "other"]

    def test_a_detail_that_changes_in_place_is_looked_at_each_time(self, scene: Scene) -> None:
        scene.plain("list", user=["ada"])
        users = ["ada"]

        assert scene.heard(user=users) == ["list"]
        users.append("bob")
        assert scene.heard(user=users) == []

    def test_where_looks_at_the_event(self, scene: Scene) -> None:
        scene.plain("predicate", where=lambda event: event["size"] > 1)
        scene.plain("filter", where=Eq("size", 2))
        scene.plain("both", where=Eq("size", 2), user="ada")

        assert scene.heard({"size": 1}, user="ada") == []
        assert scene.heard({"size": 2}) == ["predicate", "filter"]
        assert scene.heard({"size": 3}, user="ada") == ["predicate"]
        assert scene.heard({"size": 2}, user="ada") == ["predicate", "filter", "both"]

    def test_where_is_asked_before_any_handler_runs(self, scene: Scene) -> None:
        order: list[str] = []

        def asked(event: Any) -> bool:
            order.append("where")
            return True

        scene.add(lambda event: order.append("handler"), "before")
        scene.add(lambda event: order.append("late handler"), "after", where=asked)
        now(scene.fire())

        assert order == ["where", "handler", "late handler"]

    def test_where_that_raises_is_a_failure_of_its_handler(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        scene.plain("broken", where=lambda event: event.nothing)
        scene.plain("other")
        outcome = now(scene.fire())

        assert scene.calls == ["other"]
        assert [(result.name, result.failure is not None) for result in outcome.results] == [("broken", True), ("other", False)]
        assert failures_in(logged) == [AttributeError]

    def test_every_handler_gets_the_very_event(self, scene: Scene) -> None:
        event = object()
        heard: list[Any] = []
        for phase in scene.dispatcher.phases:
            scene.add(heard.append, phase)
        outcome = now(scene.fire(event))

        assert all(one is event for one in heard) and len(heard) == 3
        assert outcome.event is event

    def test_values_that_compare_strangely_do_no_harm(self, scene: Scene) -> None:
        class Strange:
            __hash__ = None  # type: ignore[assignment]  # that is the point

            def __eq__(self, other: object) -> bool:
                raise RuntimeError("cannot be compared")

        scene.plain("list", user=["ada"])
        scene.plain("other")

        assert scene.heard(user=Strange()) == ["other"]


class TestErrorsAtOnce:
    def test_a_keyword_that_is_not_allowed(self, scene: Scene) -> None:
        dispatcher = scene.dispatcher
        said = "'colour'.*allowed: 'event_type', 'role', 'user'"

        refused(lambda: dispatcher.add_event_handler(print, "during", colour="red"), KeywordNotAllowed, said)
        refused(lambda: dispatcher.fire_event("event", colour="red"), KeywordNotAllowed, said)
        refused(lambda: dispatcher.emitter(colour="red"), KeywordNotAllowed, said)
        refused(lambda: dispatcher.wait_for_event(colour="red"), KeywordNotAllowed, said)
        refused(lambda: dispatcher.explain("event", colour="red"), KeywordNotAllowed, said)
        refused(lambda: dispatcher.handler("during", colour="red")(print), KeywordNotAllowed, said)
        assert dispatcher.handlers() == ()

    def test_a_keyword_that_is_not_allowed_before_the_start(self) -> None:
        refused(lambda: EventDispatcher(KEYWORDS).fire_event("event", colour="red"), KeywordNotAllowed)

    def test_a_phase_that_is_not_there(self, scene: Scene) -> None:
        refused(lambda: scene.add(print, "durign"), UnknownPhase, "'durign'.*'before', 'during', 'after'")
        refused(lambda: scene.add(print, 1), UnknownPhase, "1")  # type: ignore[arg-type]  # that is the point

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("max_calls", 0),
            ("max_calls", -1),
            ("max_calls", 1.5),
            ("max_calls", True),
            ("timeout", 0),
            ("timeout", -1),
            ("timeout", float("nan")),
            ("timeout", float("inf")),
            ("timeout", "1"),
            ("handler_name", ""),
            ("handler_name", 3),
            ("requires", 3),
            ("requires", [3]),
            ("required_by", [""]),
            ("where", 3),
        ],
    )
    def test_an_option_that_makes_no_sense(self, scene: Scene, option: str, value: Any) -> None:
        refused(lambda: scene.add(print, **{option: value}), ConfigurationError)
        assert scene.dispatcher.handlers() == ()

    def test_what_cannot_be_called(self, scene: Scene) -> None:
        refused(lambda: scene.add("print"), HandlerNotCallable, "'print'")  # type: ignore[arg-type]  # that is the point

    def test_what_cannot_be_weakly_referenced(self, scene: Scene) -> None:
        refused(lambda: scene.add((3).__add__, use_weakref=True), HandlerNotCallable, "without use_weakref")

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

    def test_stopping_in_no_time(self, scene: Scene) -> None:
        refused(lambda: scene.dispatcher.stop(timeout=-1), ConfigurationError)

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

        now(scene.dispatcher.remove_event_handler(handler_id))
        scene.dispatcher.disallow_match_spec_keywords("user", "role")
        assert scene.dispatcher.allowed_match_spec_keywords == {"event_type"}

    def test_not_while_events_are_serialized_by_it(self) -> None:
        refused(lambda: Scene(serialize_by="user").dispatcher.disallow_match_spec_keywords("user"), KeywordInUse)

    def test_one_that_is_not_allowed_cannot_be_disallowed(self, scene: Scene) -> None:
        refused(lambda: scene.dispatcher.disallow_match_spec_keywords("colour"), KeywordNotAllowed)


class TestPhases:
    def test_they_run_in_the_order_given(self) -> None:
        scene = Scene(phases=["zulu", "alpha", "mike", "bravo"])
        for phase in sorted(scene.dispatcher.phases):
            scene.plain(f"{phase} 1", phase)
            scene.plain(f"{phase} 2", phase)

        assert scene.heard() == [f"{phase} {number}" for phase in ("zulu", "alpha", "mike", "bravo") for number in (1, 2)]

    def test_one_phase_is_enough(self) -> None:
        scene = Scene(phases=["only"])
        scene.plain("handler", "only")
        assert scene.heard() == ["handler"]

    def test_the_next_one_waits_for_all_of_this_one(self, scene: Scene) -> None:
        scene.slow("b1", "before")
        scene.slow("b2", "before")
        scene.plain("d", "during")
        scene.slow("a", "after")

        firing = scene.fire()
        assert scene.calls == ["b1", "b2"]
        scene.pending["b2"].callback(None)
        assert scene.calls == ["b1", "b2"]
        scene.pending["b1"].callback(None)
        assert scene.calls == ["b1", "b2", "d", "a"]
        assert not fired(firing)
        scene.pending["a"].callback(None)
        assert fired(firing)

    def test_asynchronous_handlers_of_one_phase_run_concurrently(self, scene: Scene) -> None:
        scene.slow("slow")
        scene.plain("plain")
        waiting: Deferred[None] = Deferred()

        async def coroutine(event: Any) -> None:
            scene.calls.append("coroutine")
            await waiting
            scene.calls.append("coroutine goes on")

        scene.add(coroutine)
        scene.plain("last")
        firing = scene.fire()

        assert scene.calls == ["slow", "plain", "coroutine", "last"]
        waiting.callback(None)
        assert scene.calls[4:] == ["coroutine goes on"]
        assert not fired(firing)
        scene.pending["slow"].callback(None)
        assert fired(firing)

    def test_synchronous_handlers_run_straight_through(self, scene: Scene) -> None:
        for phase in scene.dispatcher.phases:
            scene.plain(phase, phase, value=phase)
        assert now(scene.fire()).values == ("before", "during", "after")

    def test_phases_after_a_failure_run_under_the_default_policy(self, scene: Scene) -> None:
        scene.failing("b", "before")
        scene.plain("a", "after")
        assert scene.heard() == ["b", "a"]


class TestHandlers:
    def test_what_they_may_return(self, scene: Scene) -> None:
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

        assert now(firing).values == (1, 2, 3, "event awaited", "late", [5])

    def test_a_failure_as_a_value_is_a_failure(self, scene: Scene) -> None:
        scene.add(lambda event: fail(KeyError("x")))
        assert [failure.type for failure in now(scene.fire()).failures] == [KeyError]

    def test_any_callable_will_do(self, scene: Scene) -> None:
        @dataclass
        class Listener:
            heard: list[Any]

            def __call__(self, event: Any) -> None:
                self.heard.append(event)

        heard: list[Any] = []
        scene.add(Listener(heard))
        scene.add(heard.append)
        now(scene.fire())
        assert heard == ["event", "event"]

    def test_the_same_function_may_be_registered_twice(self, scene: Scene) -> None:
        heard: list[Any] = []
        first = scene.add(heard.append)
        second = scene.add(heard.append)
        now(scene.fire())
        assert first != second
        assert heard == ["event", "event"]


class TestOrder:
    def test_registration_order_inside_a_phase(self, scene: Scene) -> None:
        for number in range(20):
            scene.plain(f"h{number}", **({"user": "ada"} if number % 3 else {}), **({"role": "admin"} if number % 2 else {}))
        assert scene.heard(user="ada", role="admin") == [f"h{number}" for number in range(20)]

    def test_required_handlers_come_first(self, scene: Scene) -> None:
        scene.plain("c", requires="b")
        scene.plain("b", requires=["a"])
        scene.plain("x")
        scene.plain("a")
        assert scene.heard() == ["x", "a", "b", "c"]

    def test_required_by(self, scene: Scene) -> None:
        scene.plain("b")
        scene.plain("a", required_by="b")
        assert scene.heard() == ["a", "b"]

    def test_a_handler_waits_for_the_one_it_requires_and_others_do_not(self, scene: Scene) -> None:
        scene.slow("a")
        scene.plain("b", requires="a")
        scene.plain("c")
        scene.plain("d", requires="b")

        firing = scene.fire()
        assert scene.calls == ["a", "c"]
        scene.pending["a"].callback(None)
        assert scene.calls == ["a", "c", "b", "d"]
        assert [result.name for result in now(firing).results] == ["a", "c", "b", "d"]

    def test_of_a_name_that_several_have_all_are_waited_for(self, scene: Scene) -> None:
        pending: list[Deferred[None]] = []

        def slow(event: Any) -> Deferred[None]:
            pending.append(Deferred())
            return pending[-1]

        scene.add(slow, handler_name="slow")
        scene.add(slow, handler_name="slow")
        scene.plain("last", requires="slow")
        _ = scene.fire()
        pending[1].callback(None)
        assert scene.calls == []
        pending[0].callback(None)
        assert scene.calls == ["last"]

    def test_a_name_that_is_not_there_counts_as_fulfilled(self, scene: Scene) -> None:
        scene.plain("b", requires=["a", "nobody"])
        scene.plain("a", user="ada")

        assert scene.heard() == ["b"]
        assert scene.heard(user="ada") == ["a", "b"]

    def test_a_required_handler_in_an_earlier_phase(self, scene: Scene) -> None:
        scene.plain("late", "after", requires="early")
        scene.failing("early", "before")
        outcome = now(scene.fire())

        assert scene.calls == ["early"]
        assert outcome.results[1].skipped

    def test_a_requirement_on_a_later_phase_is_refused(self, scene: Scene) -> None:
        scene.plain("late", "after")
        refused(lambda: scene.plain("early", "before", requires="late"), OrderingError, "'early'.*'late'.*'after'")
        scene.plain("middle", "during", required_by="later")
        refused(lambda: scene.plain("later", "before"), OrderingError)
        assert [view.name for view in scene.dispatcher.handlers()] == ["middle", "late"]

    def test_a_cycle_is_refused_and_spelt_out(self, scene: Scene) -> None:
        scene.plain("a", requires="b")
        scene.plain("b", requires="c")
        refused(lambda: scene.plain("c", requires="a"), RequirementCycle, "'a' requires 'b' requires 'c' requires 'a'")
        refused(lambda: scene.plain("self", requires="self"), RequirementCycle)
        assert scene.heard() == ["b", "a"]

    def test_handlers_whose_required_handler_failed_are_skipped(self, scene: Scene) -> None:
        scene.failing("a")
        scene.plain("b", requires="a")
        scene.plain("c", requires="b")
        scene.plain("d")
        outcome = now(scene.fire())

        assert scene.calls == ["a", "d"]
        skipped = {result.name: result.reason for result in outcome.results if result.skipped}
        assert set(skipped) == {"b", "c"}
        assert "'a' failed" in skipped["b"]
        assert outcome.values == (None,)

    def test_also_when_it_fails_late(self, scene: Scene) -> None:
        scene.slow("a")
        scene.plain("b", requires="a")
        firing = scene.fire()
        scene.pending["a"].errback(ValueError("x"))

        assert now(firing).results[1].skipped
        assert scene.calls == ["a"]


class TestMaxCalls:
    def test_never_more_than_n_calls_then_removed(self, scene: Scene) -> None:
        handler_id = scene.plain("twice", max_calls=2)
        assert [scene.heard() for _ in range(4)] == [["twice"], ["twice"], [], []]
        assert scene.dispatcher.handlers() == ()
        with pytest.raises(UnknownHandler):
            now(scene.dispatcher.remove_event_handler(handler_id))

    def test_re_entrancy_included(self, scene: Scene) -> None:
        called: list[int] = []

        def handler(event: int) -> None:
            called.append(event)
            if event < 10:
                now(scene.fire(event + 1))

        scene.add(handler, max_calls=3)
        now(scene.fire(0))
        assert called == [0, 1, 2]

    def test_calls_begun_count(self, scene: Scene) -> None:
        scene.slow("slow", max_calls=1)
        first = scene.fire()
        second = scene.fire()

        assert scene.calls == ["slow"]
        assert not now(second).handled
        assert not fired(first)
        scene.pending["slow"].callback("done")
        assert now(first).values == ("done",)

    def test_failed_calls_count(self, scene: Scene) -> None:
        scene.failing("failing", max_calls=1)
        assert [scene.heard(), scene.heard()] == [["failing"], []]

    def test_firings_that_are_under_way_do_not_exceed_it(self, scene: Scene) -> None:
        scene.slow("gate", "before")
        scene.plain("once", max_calls=1)
        gates = []
        firings = []
        for _ in range(3):
            firings.append(scene.fire())
            gates.append(scene.pending["gate"])
        scene.calls.clear()
        for gate in gates:
            gate.callback(None)

        assert scene.calls == ["once"]
        assert [[result.name for result in now(firing).results if not result.skipped] for firing in firings] == [
            ["gate", "once"],
            ["gate"],
            ["gate"],
        ]

    def test_a_weak_handler_can_have_one_too(self, scene: Scene) -> None:
        heard: list[Any] = []

        def handler(event: Any) -> None:
            heard.append(event)

        scene.add(handler, use_weakref=True, max_calls=1)
        now(scene.fire(1))
        now(scene.fire(2))
        assert heard == [1]


class TestTimeout:
    def test_the_deferred_is_cancelled_and_the_handler_counts_as_failed(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        scene.slow("slow", "before", timeout=3)
        scene.plain("next", "after")
        firing = scene.fire()
        scene.clock.advance(2.9)
        assert not fired(firing)
        scene.clock.advance(0.1)
        outcome = now(firing)

        assert scene.pending["slow"].called
        error = outcome.failures[0].value
        assert isinstance(error, HandlerTimeout) and isinstance(error, TimeoutError)
        assert (error.handler, error.phase, error.seconds) == ("slow", "before", 3)
        assert scene.calls == ["slow", "next"]
        assert failures_in(logged) == [HandlerTimeout]

    def test_a_coroutine_is_told(self, scene: Scene) -> None:
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
        assert [failure.type for failure in now(firing).failures] == [HandlerTimeout]

    def test_nothing_is_left_of_it_when_the_handler_is_in_time(self, scene: Scene) -> None:
        scene.slow("slow", timeout=3)
        scene.plain("plain", timeout=3)
        firing = scene.fire()
        scene.clock.advance(1)
        scene.pending["slow"].callback("done")

        assert scene.clock.getDelayedCalls() == []
        assert now(firing).values == ("done", None)

    def test_one_that_swallows_its_cancellation_is_abandoned(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
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

        assert [failure.type for failure in now(firing).failures] == [HandlerTimeout]
        assert scene.calls == ["next"]
        assert any("stubborn" in str(event.get("handler")) and "abandoned" in event["log_format"] for event in logged)
        assert failures_in(logged) == [HandlerTimeout]
        second.callback("")
        assert failures_in(logged) == [HandlerTimeout, ValueError]
        assert unhandled_in(logged) == []

    def test_what_a_late_handler_returns_is_not_a_success(self, scene: Scene) -> None:
        async def handler(event: Any) -> str:
            try:
                await Deferred()
            except CancelledError:
                pass
            return "too late"

        scene.add(handler, timeout=1)
        firing = scene.fire()
        scene.clock.advance(1)
        outcome = now(firing)
        assert outcome.values == ()
        assert [failure.type for failure in outcome.failures] == [HandlerTimeout]

    def test_the_time_waited_for_a_required_handler_does_not_count(self, scene: Scene) -> None:
        scene.slow("first")
        scene.slow("second", requires="first", timeout=2)
        firing = scene.fire()
        scene.clock.advance(10)
        scene.pending["first"].callback(None)
        scene.clock.advance(1)
        assert not fired(firing)
        scene.pending["second"].callback(None)
        assert now(firing).failures == ()


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
        now(emit("event"))
        assert scene.calls == []
        assert scene.dispatcher.handlers() == ()

    def test_one_that_goes_while_a_firing_is_under_way_is_not_called(self, scene: Scene) -> None:
        def function(event: Any) -> None:
            scene.calls.append("function")

        scene.slow("slow", "before")
        scene.add(function, "after", use_weakref=True)
        firing = scene.fire()
        del function
        gc.collect()
        scene.pending["slow"].callback(None)

        assert scene.calls == ["slow"]
        assert [result.name for result in now(firing).results if not result.skipped] == ["slow"]

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

    def test_strong_registrations_keep_their_function(self, scene: Scene) -> None:
        scene.add(lambda event: scene.calls.append("lambda"))
        gc.collect()
        assert scene.heard() == ["lambda"]


class TestHandlerIDs:
    def test_they_are_hashable_and_differ(self, scene: Scene) -> None:
        ids = {scene.plain(str(number)) for number in range(100)}
        assert len(ids) == 100
        assert all(isinstance(handler_id, HandlerID) for handler_id in ids)

    def test_removing_an_unknown_one_fails_with_a_lookup_error(self, scene: Scene) -> None:
        handler_id = scene.plain("handler")
        now(scene.dispatcher.remove_event_handler(handler_id))
        for unknown in (handler_id, Scene().plain("handler"), None, "handler", 1):
            removal = scene.dispatcher.remove_event_handler(unknown)  # type: ignore[arg-type]  # that is the point
            with pytest.raises(LookupError) as caught:
                now(removal)
            assert isinstance(caught.value, UnknownHandler)

    def test_an_unhashable_one_is_unknown_too(self, scene: Scene) -> None:
        with pytest.raises(LookupError):
            now(scene.dispatcher.remove_event_handler([]))  # type: ignore[arg-type]  # that is the point


class TestAddingAndRemovingWhileFiring:
    def test_a_handler_added_hears_the_next_firing_first(self, scene: Scene) -> None:
        def adds(event: Any) -> None:
            scene.plain("same phase")
            scene.plain("later phase", "after")

        scene.add(adds, "before", max_calls=1)
        scene.slow("slow", "before")
        firing = scene.fire()
        scene.plain("added while it waits", "after")
        scene.pending["slow"].callback(None)
        now(firing)

        assert scene.calls == ["slow"]
        _ = scene.fire()
        scene.pending["slow"].callback(None)
        assert scene.calls == ["slow", "slow", "same phase", "later phase", "added while it waits"]

    def test_a_removed_handler_is_not_called_by_firings_under_way(self, scene: Scene) -> None:
        ids: dict[str, HandlerID] = {}

        def removes(event: Any) -> None:
            now(scene.dispatcher.remove_event_handler(ids["same phase"]))
            now(scene.dispatcher.remove_event_handler(ids["later phase"]))

        scene.add(removes, max_calls=1)
        ids["same phase"] = scene.plain("same phase")
        ids["later phase"] = scene.plain("later phase", "after")
        scene.plain("stays", "after")
        outcome = now(scene.fire())

        assert scene.calls == ["stays"]
        assert [result.name for result in outcome.results if not result.skipped] == ["removes", "stays"]

    def test_nor_by_firings_that_wait(self, scene: Scene) -> None:
        scene.slow("slow", "before")
        handler_id = scene.plain("removed", "after")
        firing = scene.fire()
        now(scene.dispatcher.remove_event_handler(handler_id))
        scene.pending["slow"].callback(None)
        now(firing)
        assert scene.calls == ["slow"]

    def test_the_removed_handler_fulfils_requirements(self, scene: Scene) -> None:
        scene.slow("slow", "before")
        handler_id = scene.plain("required")
        scene.plain("requires it", requires="required")
        firing = scene.fire()
        now(scene.dispatcher.remove_event_handler(handler_id))
        scene.pending["slow"].callback(None)
        now(firing)
        assert scene.calls == ["slow", "requires it"]

    def test_removal_waits_for_the_running_calls(self, scene: Scene) -> None:
        pending: list[Deferred[None]] = []

        def slow(event: Any) -> Deferred[None]:
            pending.append(Deferred())
            return pending[-1]

        handler_id = scene.add(slow)
        for _ in range(2):
            _ = scene.fire()
        removal = scene.dispatcher.remove_event_handler(handler_id)

        assert not fired(removal)
        assert not now(scene.fire()).handled
        pending[1].callback(None)
        assert not fired(removal)
        pending[0].callback(None)
        assert now(removal) is None

    def test_removal_waits_whether_the_call_fails_or_not(self, scene: Scene) -> None:
        handler_id = scene.slow("slow")
        _ = scene.fire()
        removal = scene.dispatcher.remove_event_handler(handler_id)
        scene.pending["slow"].errback(ValueError("x"))
        now(removal)

    def test_removal_waits_for_a_first_call_and_for_later_ones(self, scene: Scene) -> None:
        waits: list[Deferred[None]] = []

        async def sometimes(event: Any) -> None:
            if event == "slow":
                waits.append(Deferred())
                await waits[-1]

        handler_id = scene.add(sometimes)
        now(scene.fire("fast"))
        now(scene.fire("fast"))
        firing = scene.fire("slow")
        removal = scene.dispatcher.remove_event_handler(handler_id)

        assert not fired(removal)
        waits[0].callback(None)
        assert fired(removal) and fired(firing)


class TestSelfRemoval:
    """A call that removes its own handler does not wait for itself, whatever kind it is and however often it was called."""

    @pytest.fixture(params=[0, 1, 3])
    def calls_before(self, request: pytest.FixtureRequest) -> int:
        count: int = request.param
        return count

    def check(self, scene: Scene, handler: Callable[[Any], Any], ids: list[HandlerID], calls_before: int) -> None:
        ids.append(scene.add(handler))
        for _ in range(calls_before):
            now(scene.fire("stay"))
        firing = scene.fire("go")
        for _ in range(3):
            scene.clock.advance(1)
        assert now(firing).values == ("removed",)
        assert not now(scene.fire("go")).handled

    def later(self, scene: Scene) -> Deferred[None]:
        deferred: Deferred[None] = Deferred()
        scene.clock.callLater(1, deferred.callback, None)
        return deferred

    def test_in_a_synchronous_handler(self, scene: Scene, calls_before: int) -> None:
        ids: list[HandlerID] = []

        def handler(event: Any) -> Any:
            if event == "go":
                return scene.dispatcher.remove_event_handler(ids[0]).addCallback(lambda _: "removed")
            return None

        self.check(scene, handler, ids, calls_before)

    def test_in_a_coroutine_at_once(self, scene: Scene, calls_before: int) -> None:
        ids: list[HandlerID] = []

        async def handler(event: Any) -> Any:
            if event == "go":
                await scene.dispatcher.remove_event_handler(ids[0])
            return "removed"

        self.check(scene, handler, ids, calls_before)

    def test_in_a_coroutine_behind_an_await(self, scene: Scene, calls_before: int) -> None:
        ids: list[HandlerID] = []

        async def handler(event: Any) -> Any:
            if event == "go":
                await self.later(scene)
                await scene.dispatcher.remove_event_handler(ids[0])
            return "removed"

        self.check(scene, handler, ids, calls_before)

    def test_in_inline_callbacks_at_once(self, scene: Scene, calls_before: int) -> None:
        ids: list[HandlerID] = []

        @inlineCallbacks
        def handler(event: Any) -> Generator[Deferred[Any], Any, Any]:
            if event == "go":
                yield scene.dispatcher.remove_event_handler(ids[0])
            return "removed"

        self.check(scene, handler, ids, calls_before)

    def test_in_inline_callbacks_behind_a_yield(self, scene: Scene, calls_before: int) -> None:
        ids: list[HandlerID] = []

        @inlineCallbacks
        def handler(event: Any) -> Generator[Deferred[Any], Any, Any]:
            if event == "go":
                yield self.later(scene)
                yield scene.dispatcher.remove_event_handler(ids[0])
            return "removed"

        self.check(scene, handler, ids, calls_before)

    def test_through_a_nested_firing(self, scene: Scene, calls_before: int) -> None:
        ids: list[HandlerID] = []

        async def remover(event: Any) -> None:
            await self.later(scene)
            await scene.dispatcher.remove_event_handler(ids[0])

        async def handler(event: Any) -> Any:
            if event == "go":
                await scene.fire("nested", user="remover")
            return "removed"

        scene.add(remover, user="remover")
        ids.append(scene.add(handler, role="outer"))
        for _ in range(calls_before):
            now(scene.fire("stay", role="outer"))
        firing = scene.fire("go", role="outer")
        for _ in range(3):
            scene.clock.advance(1)
        assert now(firing).values == ("removed",)

    def test_other_calls_of_it_are_waited_for(self, scene: Scene) -> None:
        ids: list[HandlerID] = []
        other: Deferred[None] = Deferred()

        async def handler(event: Any) -> str:
            if event == "other":
                await other
            else:
                await self.later(scene)
                await scene.dispatcher.remove_event_handler(ids[0])
            return "done"

        ids.append(scene.add(handler))
        _ = scene.fire("other")
        firing = scene.fire("go")
        scene.clock.advance(1)
        assert not fired(firing)
        other.callback(None)
        assert now(firing).values == ("done",)


class TestReEntrancy:
    def test_a_handler_may_wait_for_what_it_fires(self, scene: Scene) -> None:
        async def outer(event: Any) -> tuple[Any, ...]:
            outcome = await scene.fire("inner", user="inner")
            return outcome.values

        scene.slow("inner", user="inner")
        scene.add(outer, user="outer")
        firing = scene.fire("outer", user="outer")
        scene.pending["inner"].callback("value")
        assert now(firing).values == (("value",),)

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
        outcome = now(scene.fire(user="outer"))
        assert outcome.failures == ()
        assert outcome.values == ("('inner',)",)
        assert scene.calls == []

    def test_a_handler_may_wait_for_stop(self, scene: Scene) -> None:
        scene.add(lambda event: scene.dispatcher.stop().addCallback(lambda _: "stopped"))
        scene.plain("after", "after")
        outcome = now(scene.fire())
        assert outcome.values == ("stopped", None)
        assert not scene.dispatcher.running

    @pytest.mark.parametrize("calls_before", [0, 1, 3])
    def test_a_coroutine_may_wait_for_stop_behind_an_await(self, scene: Scene, calls_before: int) -> None:
        waiting: Deferred[None] = Deferred()

        async def stops(event: Any) -> None:
            if event == "go":
                await waiting
                await scene.dispatcher.stop()

        scene.add(stops)
        for _ in range(calls_before):
            now(scene.fire("stay"))
        firing = scene.fire("go")
        waiting.callback(None)
        assert now(firing).failures == ()

    def test_a_firing_may_end_inside_another(self, scene: Scene) -> None:
        scene.slow("slow", user="first")
        scene.add(lambda event: scene.pending["slow"].callback("from inside"), user="second")
        first = scene.fire(user="first")
        now(scene.fire(user="second"))
        assert now(first).values == ("from inside",)


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
        outcome = now(scene.fire(0))
        failures: list[Failure] = []
        while outcome.values:
            outcome = outcome.values[0]
        failures.extend(outcome.failures)

        assert [failure.type for failure in failures] == [FiringTooDeep]
        assert isinstance(failures[0].value, RecursionError)
        assert 10 < len(depths) < 200

    def test_it_can_be_used_as_before_afterwards(self, scene: Scene) -> None:
        handler_id = scene.add(scene.fire)
        for _ in range(3):
            now(scene.fire())
        now(scene.dispatcher.remove_event_handler(handler_id))
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
        now(scene.fire())
        for _ in range(1_000):
            scene.clock.advance(1)
        assert count == 1_000


class TestPolicies:
    def test_log_logs_each_failure_once_at_once(self, logged: Sequence[LogEvent]) -> None:
        scene = Scene(on_failure=LOG)
        scene.failing("early", "before")
        scene.slow("slow", "before")
        scene.failing("late", "after", error=KeyError("x"))
        firing = scene.fire("the event")

        assert failures_in(logged) == [ValueError]
        (event,) = (event for event in logged if event.get("log_failure") is not None)
        text = event["log_format"].format(**event)
        assert "'before'" in text and "'the event'" in text and "handler" in text
        assert event["handler_name"] == "early"
        assert event["log_level"] is LogLevel.critical
        scene.pending["slow"].callback(None)
        assert len(now(firing).failures) == 2
        assert failures_in(logged) == [ValueError, KeyError]

    def test_collect_tells_the_outcome_alone(self, logged: Sequence[LogEvent]) -> None:
        scene = Scene(on_failure=COLLECT)
        scene.failing("f", "before")
        scene.plain("p", "after")
        outcome = now(scene.fire())

        assert [failure.type for failure in outcome.failures] == [ValueError]
        assert scene.calls == ["f", "p"]
        assert failures_in(logged) == []

    def test_abort_finishes_the_phase_and_skips_the_rest(self, logged: Sequence[LogEvent]) -> None:
        scene = Scene(on_failure=ABORT)
        scene.plain("b", "before")
        scene.failing("f")
        scene.slow("s")
        scene.plain("p")
        scene.plain("a", "after")
        firing = scene.fire()
        assert not fired(firing)
        scene.pending["s"].callback(None)
        outcome = now(firing)

        assert scene.calls == ["b", "f", "s", "p"]
        assert [(result.name, result.skipped) for result in outcome.results][-1] == ("a", True)
        assert len(outcome.failures) == 1
        assert failures_in(logged) == [ValueError]

    def test_raise_fails_with_the_failure_itself(self, logged: Sequence[LogEvent]) -> None:
        scene = Scene(on_failure=RAISE)
        error = ValueError("itself")
        scene.failing("f", "before", error=error)
        scene.plain("same phase", "before")
        scene.plain("later phase")
        with pytest.raises(ValueError, match="itself") as caught:
            now(scene.fire())

        assert caught.value is error
        assert scene.calls == ["f", "same phase"]
        assert failures_in(logged) == []
        assert unhandled_in(logged) == []

    def test_raise_fails_with_a_group_of_several(self) -> None:
        scene = Scene(on_failure=RAISE)
        scene.failing("f")
        scene.slow("s")
        scene.failing("g", error=KeyError("g"))
        firing = scene.fire()
        scene.pending["s"].errback(OSError("s"))
        with pytest.raises(HandlersFailed) as caught:
            now(firing)

        assert isinstance(caught.value, ExceptionGroup)
        assert [type(error) for error in caught.value.exceptions] == [ValueError, OSError, KeyError]
        assert [result.name for result in caught.value.outcome.results] == ["f", "s", "g"]
        assert caught.value.split(KeyError)[0] is not None

    def test_one_that_nobody_looks_at_is_reported_once_by_twisted(self) -> None:
        # This is a Deferred of the user's; what is checked is that nothing else is said.
        scene = Scene(on_failure=RAISE)
        scene.failing("f")
        firing = scene.fire()
        failures: list[Failure] = []
        _ = firing.addErrback(failures.append)
        assert [failure.type for failure in failures] == [ValueError]

    def test_each_can_be_limited_to_types(self, logged: Sequence[LogEvent]) -> None:
        scene = Scene(on_failure=RAISE.only(KeyError, OSError, otherwise=COLLECT))
        scene.failing("value")
        assert len(now(scene.fire()).failures) == 1
        scene.failing("file", "after", error=FileNotFoundError("x"))
        with pytest.raises(FileNotFoundError):
            now(scene.fire())
        assert failures_in(logged) == []

    def test_the_fall_back_is_to_log(self, logged: Sequence[LogEvent]) -> None:
        scene = Scene(on_failure=ABORT.only(KeyError))
        scene.failing("value", "before")
        scene.plain("after", "after")
        assert scene.heard() == ["value", "after"]
        assert failures_in(logged) == [ValueError]

    def test_one_may_fall_back_to_another(self) -> None:
        scene = Scene(on_failure=COLLECT.only(ValueError, otherwise=RAISE.only(KeyError, otherwise=ABORT)))
        scene.failing("os", "before", error=OSError("x"), user="os")
        scene.failing("value", "before", user="value")
        scene.failing("key", "before", error=KeyError("x"), user="key")
        scene.plain("after", "after")

        assert scene.heard(user="value") == ["value", "after"]
        assert scene.heard(user="os") == ["os"]
        with pytest.raises(KeyError):
            now(scene.fire(user="key"))

    @pytest.mark.parametrize("policy", [LOG, COLLECT, ABORT, RAISE])
    def test_no_failure_is_first_seen_at_collection(self, policy: Any, logged: Sequence[LogEvent]) -> None:
        scene = Scene(on_failure=policy)
        scene.failing("raises")
        scene.add(lambda event: fail(KeyError("fails")))
        scene.slow("slow", max_calls=1)
        firing = scene.fire()
        scene.pending.pop("slow").errback(OSError("late"))
        _ = firing.addErrback(lambda failure: None)
        del firing
        assert unhandled_in(logged) == []


class TestStopProcessing:
    def test_what_has_not_started_is_not_called(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        scene.plain("first", "before")
        scene.failing("stops", "before", error=StopProcessing("the answer"))
        scene.plain("same phase", "before")
        scene.plain("later phase")
        outcome = now(scene.fire())

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

    def test_what_runs_is_waited_for(self, scene: Scene) -> None:
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
        outcome = now(firing)

        assert scene.calls == ["slow"]
        assert outcome.stopped
        assert outcome.value is None

    @pytest.mark.parametrize("policy", [LOG, COLLECT, ABORT, RAISE])
    def test_it_is_no_failure_under_any_policy(self, policy: Any, logged: Sequence[LogEvent]) -> None:
        scene = Scene(on_failure=policy)
        scene.add(lambda event: fail(StopProcessing(3)))
        assert now(scene.fire()).value == 3
        assert failures_in(logged) == []
        assert unhandled_in(logged) == []

    def test_it_ends_this_firing_alone(self, scene: Scene) -> None:
        scene.failing("stops", user="inner", error=StopProcessing("inner"))
        scene.add(lambda event: scene.fire(user="inner").addCallback(lambda outcome: outcome.value), user="outer")
        scene.plain("after", "after", user="outer")
        outcome = now(scene.fire(user="outer"))
        assert not outcome.stopped
        assert outcome.values == ("inner", None)


class TestOutcome:
    def test_what_it_tells(self, scene: Scene) -> None:
        first = scene.plain("first", "before", value=1)
        second = scene.failing("second")
        third = scene.plain("third", requires="second")
        outcome = now(scene.fire("the event", user="ada"))

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

    def test_nobody_listens(self, scene: Scene) -> None:
        outcome = now(scene.fire(user="ada"))
        assert (outcome.handled, outcome.results, outcome.values, outcome.failures) == (False, (), (), ())
        assert dict(outcome.details) == {"user": "ada"}

    def test_results_are_in_start_order(self, scene: Scene) -> None:
        scene.slow("slow")
        scene.plain("fast", value="fast")
        firing = scene.fire()
        scene.pending["slow"].callback("slow")
        assert now(firing).values == ("slow", "fast")

    @pytest.mark.parametrize("kind", ["plain", "value", "slow"])
    def test_it_is_immutable(self, scene: Scene, kind: str) -> None:
        {"plain": scene.plain, "slow": scene.slow, "value": lambda name: scene.plain(name, value=1)}[kind]("handler")
        firing = scene.fire("event", user="ada")
        if kind == "slow":
            scene.pending["handler"].callback(None)
        outcome = now(firing)
        for name in ("event", "details", "results", "values", "failures", "handled", "stopped", "value"):
            with pytest.raises((AttributeError, TypeError)):
                setattr(outcome, name, None)
        with pytest.raises(TypeError):
            outcome.details["user"] = "bob"  # type: ignore[index]  # that is the point
        with pytest.raises(AttributeError):
            outcome.results[0].value = 1  # type: ignore[misc]  # that is the point

    def test_later_changes_do_not_show(self, scene: Scene) -> None:
        handler_id = scene.plain("handler", value=1)
        outcome = now(scene.fire())
        now(scene.dispatcher.remove_event_handler(handler_id))
        assert [result.name for result in outcome.results] == ["handler"]
        assert outcome.values == (1,)


class TestCancelling:
    def test_what_runs_is_cancelled_and_the_rest_skipped(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        scene.slow("s1")
        scene.slow("s2")
        scene.plain("waits", requires="s1")
        scene.plain("later", "after")
        firing = scene.fire()
        firing.cancel()

        with pytest.raises(CancelledError):
            now(firing)
        assert scene.pending["s1"].called and scene.pending["s2"].called
        assert scene.calls == ["s1", "s2"]
        assert failures_in(logged) == []
        assert unhandled_in(logged) == []

    def test_a_coroutine_can_clean_up_and_its_failure_is_told(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
        async def handler(event: Any) -> None:
            try:
                await Deferred()
            except CancelledError:
                raise OSError("while cleaning up") from None

        scene.add(handler)
        firing = scene.fire()
        firing.cancel()
        with pytest.raises(CancelledError):
            now(firing)
        assert failures_in(logged) == [OSError]

    def test_others_are_not_touched(self, scene: Scene) -> None:
        scene.slow("slow")
        first = scene.fire()
        pending = scene.pending["slow"]
        second = scene.fire()
        second.cancel()
        with pytest.raises(CancelledError):
            now(second)
        assert not fired(first)
        pending.callback("value")
        assert now(first).values == ("value",)

    def test_nothing_happens_to_one_that_is_over(self, scene: Scene) -> None:
        scene.plain("plain", value=1)
        firing = scene.fire()
        firing.cancel()
        assert now(firing).values == (1,)

    def test_one_that_waits_for_its_turn_is_never_begun(self) -> None:
        scene = Scene(max_concurrent_firings=1)
        scene.slow("slow")
        first = scene.fire()
        second = scene.fire()
        second.cancel()
        with pytest.raises(CancelledError):
            now(second)
        scene.pending["slow"].callback(None)
        now(first)
        assert scene.calls == ["slow"]
        _ = scene.fire()
        assert scene.calls == ["slow", "slow"]

    def test_from_a_handler_of_its_own(self, scene: Scene) -> None:
        async def suicidal(event: Any) -> None:
            await waiting
            firing.cancel()

        waiting: Deferred[None] = Deferred()
        scene.add(suicidal)
        scene.plain("later", "after")
        firing = scene.fire()
        waiting.callback(None)
        with pytest.raises(CancelledError):
            now(firing)
        assert scene.calls == []


class TestLife:
    def test_not_started(self, logged: Sequence[LogEvent]) -> None:
        heard: list[Any] = []
        dispatcher = EventDispatcher(KEYWORDS, name="shop")
        now(dispatcher.add_event_handler(heard.append, "during"))
        for outcome in (now(dispatcher.fire_event("event", user="ada")), now(dispatcher.emitter()("event"))):
            assert not outcome.handled
            assert outcome.event == "event"
        assert heard == []
        warnings = [event for event in logged if event["log_level"] is LogLevel.warn]
        assert len(warnings) == 2
        assert "'shop'" in warnings[0]["log_format"].format(**warnings[0])

        now(dispatcher.start())
        assert now(dispatcher.fire_event("event")).handled

    def test_it_says_whether_it_runs(self) -> None:
        dispatcher = EventDispatcher(KEYWORDS)
        running = [dispatcher.running]
        now(dispatcher.start())
        running.append(dispatcher.running)
        now(dispatcher.stop())
        running.append(dispatcher.running)
        assert running == [False, True, False]

    def test_starting_and_stopping_twice_changes_nothing(self, scene: Scene) -> None:
        now(scene.dispatcher.start())
        scene.plain("plain")
        assert scene.heard() == ["plain"]
        now(scene.dispatcher.stop())
        now(scene.dispatcher.stop())
        assert not scene.dispatcher.running
        assert scene.heard() == []
        now(scene.dispatcher.start())
        assert scene.heard() == ["plain"]

    def test_stop_takes_no_new_firing_and_waits_for_the_running_ones(self, scene: Scene) -> None:
        scene.slow("slow")
        scene.plain("later", "after")
        first = scene.fire()
        stopped = scene.dispatcher.stop()

        assert not scene.dispatcher.running
        assert not fired(stopped)
        assert not now(scene.fire()).handled
        scene.pending["slow"].callback(None)
        assert fired(first) and fired(stopped)
        assert scene.calls == ["slow", "later"]

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

    @pytest.mark.parametrize("calls_before", [0, 1, 3])
    def test_what_a_running_handler_fires_is_finished_too(self, scene: Scene, calls_before: int) -> None:
        waiting: Deferred[None] = Deferred()

        async def outer(event: Any) -> Any:
            if event == "go":
                await waiting
                return (await scene.fire(user="inner")).values
            return None

        scene.add(outer, user="outer")
        scene.plain("inner", user="inner", value=1)
        for _ in range(calls_before):
            now(scene.fire("stay", user="outer"))
        firing = scene.fire("go", user="outer")
        stopped = scene.dispatcher.stop()
        waiting.callback(None)
        assert now(firing).values == ((1,),)
        assert fired(stopped)

    def test_a_second_stop_waits_as_well(self, scene: Scene) -> None:
        scene.slow("slow")
        _ = scene.fire()
        stops = [scene.dispatcher.stop(), scene.dispatcher.stop()]
        assert not any(map(fired, stops))
        scene.pending["slow"].callback(None)
        assert all(map(fired, stops))

    def test_stop_with_a_time_out_cancels_what_is_left(self, scene: Scene, logged: Sequence[LogEvent]) -> None:
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
        assert unhandled_in(logged) == []

    def test_it_ends_in_time_even_when_a_handler_does_not(self, scene: Scene) -> None:
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

    def test_no_timer_is_left_when_it_is_done_before(self, scene: Scene) -> None:
        scene.slow("slow")
        _ = scene.fire()
        stopped = scene.dispatcher.stop(timeout=5)
        scene.pending["slow"].callback(None)
        assert fired(stopped)
        assert scene.clock.getDelayedCalls() == []

    def test_it_can_be_started_again(self, scene: Scene) -> None:
        scene.plain("plain")
        now(scene.dispatcher.stop())
        now(scene.dispatcher.start())
        assert scene.heard() == ["plain"]


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
            now(scene.fire())
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
            now(scene.fire())

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
            now(first)
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
        assert now(firing).values == (("inner",),)
        assert now(behind).values == ("inner",)

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
        assert [now(firing).values for firing in firings] == [(("inner",),), (("inner",),)]

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
        assert [now(firing).values for firing in firings] == [(True,)] * 3

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
        now(firing)


class TestWhatIsNoFailure:
    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
    @pytest.mark.parametrize("policy", [LOG, COLLECT, ABORT, RAISE])
    def test_it_passes_a_synchronous_handler(self, error: type[BaseException], policy: Any, logged: Sequence[LogEvent]) -> None:
        scene = Scene(on_failure=policy)
        scene.failing("exits", error=error(), max_calls=2)
        scene.plain("plain")
        for _ in range(2):
            refused(scene.fire, error)
        assert scene.heard() == ["plain"]
        assert failures_in(logged) == []
        now(scene.dispatcher.stop())

    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
    def test_it_passes_a_coroutine_that_has_not_suspended(self, scene: Scene, error: type[BaseException]) -> None:
        async def exits(event: Any) -> None:
            raise error

        scene.add(exits)
        for _ in range(3):
            refused(scene.fire, error)

    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
    def test_behind_an_await_whoever_waits_for_the_firing_gets_it(self, scene: Scene, error: type[BaseException]) -> None:
        async def exits(event: Any) -> None:
            await waiting
            raise error

        waiting: Deferred[None] = Deferred()
        scene.add(exits)
        scene.plain("later", "after")
        firing = scene.fire()
        waiting.callback(None)
        refused(lambda: now(firing), error)
        assert scene.calls == []
        now(scene.dispatcher.stop())

    def test_it_is_not_a_failure_of_a_returned_deferred_either(self, scene: Scene) -> None:
        scene.add(lambda event: fail(SystemExit(3)))
        refused(lambda: now(scene.fire()), SystemExit)


class TestContext:
    VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="unset")

    def test_handlers_run_in_the_context_of_the_firing(self, scene: Scene) -> None:
        seen: list[str] = []
        scene.slow("slow", "before")
        scene.add(lambda event: seen.append(self.VARIABLE.get()), "before")
        scene.add(lambda event: seen.append(self.VARIABLE.get()), "after")

        token = self.VARIABLE.set("firing")
        try:
            firing = scene.fire()
        finally:
            self.VARIABLE.reset(token)
        scene.pending["slow"].callback(None)
        now(firing)
        assert seen == ["firing", "firing"]

    def test_what_a_coroutine_sets_does_not_leak(self, scene: Scene) -> None:
        seen: list[str] = []

        async def sets(event: Any) -> None:
            self.VARIABLE.set("coroutine")

        async def sets_later(event: Any) -> None:
            self.VARIABLE.set("early")
            await waiting
            seen.append(self.VARIABLE.get())
            self.VARIABLE.set("late")

        waiting: Deferred[None] = Deferred()
        scene.add(sets, "before")
        scene.add(sets_later, "before")
        for phase in ("before", "during", "after"):
            scene.add(lambda event: seen.append(self.VARIABLE.get()), phase)
        firing = scene.fire()
        waiting.callback(None)
        now(firing)
        assert seen == ["unset", "early", "unset", "unset"]
        assert self.VARIABLE.get() == "unset"

    def test_a_token_can_be_used_behind_an_await(self, scene: Scene) -> None:
        async def sets(event: Any) -> str:
            token = self.VARIABLE.set("mine")
            await waiting
            self.VARIABLE.reset(token)
            return self.VARIABLE.get()

        waiting: Deferred[None] = Deferred()
        scene.add(sets)
        firing = scene.fire()
        waiting.callback(None)
        assert now(firing).values == ("unset",)

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


class TestSharedDeferreds:
    @pytest.mark.parametrize("when", ["before", "after"])
    def test_two_handlers_that_return_the_same_both_see_its_value(self, scene: Scene, when: str) -> None:
        shared: Deferred[str] = Deferred()
        scene.add(lambda event: shared)
        scene.add(lambda event: shared)
        if when == "before":
            shared.callback("value")
        firing = scene.fire()
        if when == "after":
            shared.callback("value")
        assert now(firing).values == ("value", "value")

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_and_its_failure(self, scene: Scene, when: str, logged: Sequence[LogEvent]) -> None:
        shared: Deferred[str] = Deferred()
        scene.add(lambda event: shared)
        scene.add(lambda event: shared)
        if when == "before":
            shared.errback(ValueError("shared"))
        firing = scene.fire()
        if when == "after":
            shared.errback(ValueError("shared"))
        assert [failure.type for failure in now(firing).failures] == [ValueError, ValueError]
        assert unhandled_in(logged) == []

    def test_one_that_has_fired_is_good_for_many_events(self, scene: Scene) -> None:
        shared = succeed("value")
        scene.add(lambda event: shared)
        assert [now(scene.fire()).values for _ in range(4)] == [("value",)] * 4
        assert shared.result == "value"

    def test_one_that_has_failed_too(self, scene: Scene) -> None:
        shared: Deferred[None] = fail(ValueError("x"))
        scene.add(lambda event: shared)
        assert [len(now(scene.fire()).failures) for _ in range(4)] == [1] * 4

    def test_its_owner_still_sees_the_value(self, scene: Scene) -> None:
        shared: Deferred[str] = Deferred()
        scene.add(lambda event: shared)
        firing = scene.fire()
        seen: list[Any] = []
        shared.callback("value")
        _ = shared.addCallback(seen.append)
        assert seen == ["value"]
        assert now(firing).values == ("value",)


class TestEmitter:
    def test_it_fires_with_fixed_details(self, scene: Scene) -> None:
        scene.plain("ada's", user="ada", value=1)
        scene.plain("bob's", user="bob")
        outcome = now(scene.dispatcher.emitter(user="ada", role="admin")("the event"))
        assert scene.calls == ["ada's"]
        assert outcome.event == "the event"
        assert dict(outcome.details) == {"user": "ada", "role": "admin"}
        assert outcome.values == (1,)

    def test_it_sees_every_change(self, scene: Scene) -> None:
        emit = scene.dispatcher.emitter(user="ada")

        def heard() -> list[str]:
            scene.calls.clear()
            now(emit("event"))
            return list(scene.calls)

        assert heard() == []
        first = scene.plain("first", user="ada")
        assert heard() == ["first"]
        scene.plain("second", max_calls=1)
        assert heard() == ["first", "second"]
        assert heard() == ["first"]
        now(scene.dispatcher.remove_event_handler(first))
        assert heard() == []
        scene.slow("slow", "before")
        scene.plain("third")
        firing = emit("event")
        assert not fired(firing)
        scene.pending["slow"].callback(None)
        assert now(firing).handled
        now(scene.dispatcher.stop())
        assert not now(emit("event")).handled

    def test_it_does_as_fire_event_does(self) -> None:
        scene = Scene(on_failure=RAISE)
        emit = scene.dispatcher.emitter(user="ada")
        scene.failing("failing")
        for _ in range(3):
            with pytest.raises(ValueError, match="failing"):
                now(emit("event"))

    def test_unhashable_details(self, scene: Scene) -> None:
        scene.plain("list", user=["ada"])
        emit = scene.dispatcher.emitter(user=["ada"])
        assert [now(emit(number)).handled for number in range(3)] == [True] * 3


class TestWaitForEvent:
    def test_the_next_matching_event(self, scene: Scene) -> None:
        waiting = scene.dispatcher.wait_for_event(user="ada", where=lambda event: event > 1)
        for event, user in ((2, "bob"), (1, "ada")):
            now(scene.fire(event, user=user))
            assert not fired(waiting)
        now(scene.fire(3, user="ada"))
        assert now(waiting) == 3
        assert scene.dispatcher.handlers() == ()
        now(scene.fire(4, user="ada"))

    def test_it_can_be_awaited_in_a_loop(self, scene: Scene) -> None:
        heard: list[Any] = []

        async def loop() -> None:
            for _ in range(3):
                heard.append(await scene.dispatcher.wait_for_event())

        done = Deferred.fromCoroutine(loop())
        for event in range(3):
            now(scene.fire(event))
        assert heard == [0, 1, 2]
        now(done)

    def test_it_fails_after_its_time_out(self, scene: Scene) -> None:
        waiting = scene.dispatcher.wait_for_event(timeout=3, user="ada")
        scene.clock.advance(3)
        with pytest.raises(WaitTimeout, match=r"user='ada'.*3 s") as caught:
            now(waiting)
        assert isinstance(caught.value, TimeoutError)
        assert scene.dispatcher.handlers() == ()

    def test_no_timer_is_left(self, scene: Scene) -> None:
        waiting = scene.dispatcher.wait_for_event(timeout=3)
        now(scene.fire("event"))
        assert now(waiting) == "event"
        assert scene.clock.getDelayedCalls() == []

    def test_cancelling_ends_it(self, scene: Scene) -> None:
        waiting = scene.dispatcher.wait_for_event(timeout=3)
        waiting.cancel()
        with pytest.raises(CancelledError):
            now(waiting)
        assert scene.dispatcher.handlers() == ()
        assert scene.clock.getDelayedCalls() == []
        now(scene.fire())

    def test_a_handler_may_wait_for_an_event(self, scene: Scene) -> None:
        async def asks(event: Any) -> Any:
            return await scene.dispatcher.wait_for_event(user="answer")

        scene.add(asks, user="question")
        firing = scene.fire("question", user="question")
        now(scene.fire("answer", user="answer"))
        assert now(firing).values == ("answer",)


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


class TestUnhandled:
    def test_listeners_hear_events_nobody_wanted(self, scene: Scene) -> None:
        heard: list[tuple[Any, Mapping[str, Any]]] = []

        @scene.dispatcher.on_unhandled
        def listener(event: Any, details: Mapping[str, Any]) -> None:
            heard.append((event, dict(details)))

        scene.plain("ada's", user="ada")
        now(scene.fire(1, user="ada"))
        outcome = now(scene.fire(2, user="bob"))
        now(scene.dispatcher.emitter()(3))

        assert not outcome.handled
        assert heard == [(2, {"user": "bob"}), (3, {})]

    def test_an_event_that_filters_turn_away_is_unhandled(self, scene: Scene) -> None:
        heard: list[Any] = []
        scene.dispatcher.on_unhandled(lambda event, details: heard.append(event))
        scene.plain("filtered", where=lambda event: event > 1)
        now(scene.fire(1))
        now(scene.fire(2))
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
        assert not now(scene.fire()).handled
        waiting.callback(None)
        assert heard == ["event"]
        assert failures_in(logged) == [ValueError, KeyError]
        assert unhandled_in(logged) == []

    def test_a_dispatcher_that_is_stopped_has_none(self, scene: Scene) -> None:
        heard: list[Any] = []
        scene.dispatcher.on_unhandled(lambda event, details: heard.append(event))
        now(scene.dispatcher.stop())
        now(scene.fire())
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
        now(firing)

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
            now(firing)
        assert [what for what, *_ in observer.heard].count("firing ended") == 1
        assert ("firing ended", None) in observer.heard

    def test_nobody_listens(self, scene: Scene) -> None:
        observer = Observer()
        scene.dispatcher.add_observer(observer)
        now(scene.fire())
        now(scene.dispatcher.emitter(user="ada")("event"))
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
        now(removal)
        assert scene.heard() == ["new 1", "new 2"]

    def test_or_not_at_all(self, scene: Scene) -> None:
        old = scene.plain("old")
        with pytest.raises(RuntimeError, match="changed my mind"), scene.dispatcher.transaction():  # noqa: PT012  the block is the subject
            _ = scene.dispatcher.remove_event_handler(old)
            new = scene.plain("new")
            raise RuntimeError("changed my mind")
        assert scene.heard() == ["old"]
        with pytest.raises(UnknownHandler):
            now(scene.dispatcher.remove_event_handler(new))
        now(scene.dispatcher.remove_event_handler(old))

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
            now(scene.dispatcher.remove_event_handler(new))
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
        assert unhandled_in(logged) == []

    def test_one_inside_another_joins_it(self, scene: Scene) -> None:
        with scene.dispatcher.transaction():
            with scene.dispatcher.transaction():
                scene.plain("inner")
            assert scene.heard() == []
        assert scene.heard() == ["inner"]

    def test_emitters_see_it(self, scene: Scene) -> None:
        emit = scene.dispatcher.emitter()
        old = scene.plain("old")
        now(emit("event"))
        with scene.dispatcher.transaction():
            _ = scene.dispatcher.remove_event_handler(old)
            scene.plain("new")
        scene.calls.clear()
        now(emit("event"))
        assert scene.calls == ["new"]
