"""Processing by content, as its predecessor documents it, and without its defects."""

from __future__ import annotations

import gc
import importlib
import json
import weakref
from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import capturedLogs

from twisted_evproc import (
    ALL_MATCHES,
    COLLECT,
    FIRST_MATCH,
    LOG,
    NO_MATCHES,
    NO_MATCHES_STRICT,
    RAISE,
    Depends,
    Event,
    EventProcessor,
    HandlerResult,
    StopProcessing,
)
from twisted_evproc.errors import (
    ConfigurationError,
    DecorationError,
    DependencyError,
    EventProcessorError,
    FilterError,
    InvocationError,
)
from twisted_evproc.matching import Accept, And, Dyn, Eq, Exists, Glob, Gt, In, Not, Or, Regex
from twisted_evproc.testing import capture, result_now


@pytest.fixture
def processor() -> EventProcessor:
    return EventProcessor()


class TestTheAlarm:
    """The worked example of the predecessor: CloudWatch, SNS, a messaging service."""

    def test_it_runs_as_written_there(self, processor: EventProcessor) -> None:
        sent: list[str] = []

        class Slack:
            def send_message(self, message: str) -> None:
                sent.append(message)

        @processor.dependency_factory
        def messaging_service(service: str) -> Slack:
            assert service == "slack"
            return Slack()

        @processor.processor({"detail.previousState.value": "OK", "detail.state.value": "ALARM"}, messaging_service=("slack",))
        def process_started_alarming(event: Any, slack_client: Slack) -> None:
            slack_client.send_message(f"Alarm {event['detail']['alarmName']} went from OK to ALARM")

        @processor.processor({}, messaging_service=("slack",))
        def default_processor(event: Any, slack_client: Slack) -> None:
            slack_client.send_message(f"Unexpected event: {event}")

        alarm = {"detail": {"alarmName": "Cpu", "previousState": {"value": "OK"}, "state": {"value": "ALARM"}}}
        for event in (alarm, {"Unexpected": "Oops!"}):
            result_now(processor.invoke(json.loads(json.dumps(event))))
        assert sent == ["Alarm Cpu went from OK to ALARM", "Unexpected event: {'Unexpected': 'Oops!'}"]


class TestAFunctionInPlaceOfAFilter:
    def test_is_noticed_when_nothing_was_decorated_with_it(self, processor: EventProcessor) -> None:
        @processor.processor
        def alarm(event: Any) -> None:
            raise AssertionError

        processor.processor({})(lambda event: "default")
        asked: list[Callable[[], Any]] = [
            lambda: result_now(processor.invoke({})),
            lambda: processor.explain({}),
            lambda: EventProcessor().add_subprocessor(processor),
        ]
        for ask in asked:
            with pytest.raises(DecorationError, match=r"alarm\) decorates no function.*@processor\(filter\) above it"):
                ask()

    def test_is_a_filter_where_something_is(self, processor: EventProcessor) -> None:
        def is_alarm(event: Any) -> bool:
            return "alarm" in event

        processor.processor(is_alarm)(lambda event: "alarm")
        assert result_now(processor.invoke({"alarm": 1})) == "alarm"


class TestChoosing:
    def test_rank_then_specificity_then_registration(self, processor: EventProcessor) -> None:
        rules: list[tuple[str, Any, int]] = [
            ("default", {}, 0),
            ("first", {"a": Any}, 0),
            ("second", {"b": Any}, 0),
            ("specific", {"a": 1, "b": 2}, 0),
            ("ranked", {"c": Any}, 1),
        ]
        for name, one, rank in rules:
            processor.processor(one, rank=rank)(lambda event, name=name: name)
        events: list[tuple[dict[str, Any], str]] = [
            ({}, "default"),
            ({"a": 5, "b": 5}, "first"),
            ({"b": 5}, "second"),
            ({"a": 1, "b": 2}, "specific"),
            ({"a": 1, "b": 2, "c": None}, "ranked"),
        ]
        for event, chosen in events:
            assert result_now(processor.invoke(event)) == chosen

    def test_nothing_matches(self, processor: EventProcessor) -> None:
        processor.processor({"a": 1})(lambda event: None)
        with pytest.raises(InvocationError, match=r"no processor matches \{'a': 2\}"):
            result_now(processor.invoke({"a": 2}))

    @pytest.mark.parametrize("strategy", [FIRST_MATCH, ALL_MATCHES, NO_MATCHES, NO_MATCHES_STRICT])
    def test_each_filter_is_asked_once_also_when_none_matches(self, strategy: Any) -> None:
        asked: list[Any] = []
        processor = EventProcessor(invocation=strategy)
        processor.processor(asked.append)(lambda event: None)
        with pytest.raises(InvocationError, match="no processor matches"):
            result_now(processor.invoke({"a": 1}))
        assert asked == [{"a": 1}]

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ({}, Accept()),
            ({"a": 1}, Eq("a", 1)),
            ({"a": 1, "b": 2}, And(Eq("b", 2), Eq("a", 1))),
            (Dyn(len, "n"), Dyn(len, "n")),
        ],
    )
    def test_the_same_filter_at_the_same_rank_is_refused(self, processor: EventProcessor, first: Any, second: Any) -> None:
        processor.processor(first)(lambda event: 1)
        with pytest.raises(DecorationError, match="the same filter"):
            processor.processor(second)(lambda event: 2)
        processor.processor(second, rank=1)(lambda event: 2)
        assert result_now(processor.invoke({"a": 1, "b": 2})) == 2

    def test_all_matches_gives_a_result_of_every_one_best_first(self) -> None:
        processor = EventProcessor(invocation=ALL_MATCHES)
        processor.processor({})(lambda event: "default")
        processor.processor({"a": 1})(lambda event: "specific")
        processor.processor({"a": Any}, rank=1)(lambda event: "ranked")
        results = result_now(processor.invoke({"a": 1}))
        assert [result.value for result in results] == ["ranked", "specific", "default"]
        assert all(isinstance(result, HandlerResult) for result in results)

    @pytest.mark.parametrize("strategy", [NO_MATCHES, NO_MATCHES_STRICT])
    def test_no_matches_looks_at_the_highest_rank_that_matches(self, strategy: Any) -> None:
        processor = EventProcessor(invocation=strategy)
        processor.processor({"a": Any})(lambda event: "a")
        processor.processor({"b": Any})(lambda event: "b")
        processor.processor({"c": Any}, rank=1)(lambda event: "c")
        assert result_now(processor.invoke({"a": 1})) == "a"
        assert result_now(processor.invoke({"a": 1, "b": 1, "c": 1})) == "c"
        if strategy is NO_MATCHES:
            assert result_now(processor.invoke({"a": 1, "b": 1})) is None
        else:
            with pytest.raises(InvocationError, match="several processors of rank 0"):
                result_now(processor.invoke({"a": 1, "b": 1}))

    def test_resolvers_may_be_injected_and_asynchronous_and_their_answer_is_seen_by_that_processor_alone(
        self, processor: EventProcessor
    ) -> None:
        async def user_of(event: dict[str, Any], prefix: str = Depends(lambda: "user ")) -> str | None:
            return prefix + event["id"] if "id" in event else None

        @processor.processor(Dyn(user_of, inject_as="user") & Exists("id"))
        def known(event: dict[str, Any], user: str) -> str:
            return user

        @processor.processor({})
        def unknown(event: dict[str, Any], user: str = "nobody") -> str:
            return user

        assert result_now(processor.invoke({"id": "7"})) == "user 7"
        assert result_now(processor.invoke({})) == "nobody"

    def test_negated_and_alternative_resolvers(self, processor: EventProcessor) -> None:
        async def no(event: dict[str, Any]) -> bool:
            return False

        processor.processor(Not(Dyn(no)) & Or(Dyn(no), Eq("a", 1)))(lambda event: "yes")
        assert result_now(processor.invoke({"a": 1})) == "yes"
        with pytest.raises(InvocationError):
            result_now(processor.invoke({"a": 2}))

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(
                    [
                        {},
                        {"a": 1},
                        {"a": 2},
                        {"a": 1, "b.c": "x"},
                        Exists("b.c"),
                        Gt("a", 1),
                        In("a", [1, 2]),
                        Glob("b.c", "x*"),
                        Regex("b.c", "y$"),
                        Not(Eq("a", 1)),
                        Or(Eq("a", 1), Eq("b.c", "y")),
                        And(Exists("a"), Exists("b")),
                    ]
                ),
                st.integers(0, 1),
            ),
            unique_by=lambda drawn: (repr(drawn[0]), drawn[1]),
        ),
        st.fixed_dictionaries(
            {}, optional={"a": st.integers(0, 3), "b": st.fixed_dictionaries({}, optional={"c": st.sampled_from("xy")})}
        ),
    )
    def test_the_index_chooses_as_asking_all_would(self, drawn: list[tuple[Any, int]], event: dict[str, Any]) -> None:
        from twisted_evproc.matching import as_filter

        processor = EventProcessor(invocation=ALL_MATCHES)
        for number, (one, rank) in enumerate(drawn):
            processor.processor(one, rank=rank)(lambda event, number=number: number)
        expected = [
            number
            for number, (one, rank) in sorted(
                enumerate(drawn), key=lambda item: (-item[1][1], -as_filter(item[1][0]).specificity, item[0])
            )
            if as_filter(one).matches(event)
        ]
        invoked = processor.invoke(event)
        if not expected:
            with pytest.raises(InvocationError):
                result_now(invoked)
        else:
            assert [result.value for result in result_now(invoked)] == expected


class Ticket(BaseModel):
    id: int
    title: str = ""


class TestInjection:
    def test_the_event(self, processor: EventProcessor) -> None:
        @processor.processor({})
        def handler(first, *, again: Event, plain: dict[str, Any], mapping: Mapping[str, Any]) -> Any:  # type: ignore[no-untyped-def]  # the test
            return all(one is first for one in (again, plain, mapping))

        assert result_now(processor.invoke({"a": 1})) is True

    def test_models_and_fields_are_converted_and_checked(self, processor: EventProcessor) -> None:
        @processor.processor({})
        def handler(ticket: Ticket, id: int, title: str | None, size: float = 1.5) -> Any:  # noqa: A002  a field's name
            return ticket.id, id, title, size

        assert result_now(processor.invoke({"id": "7", "size": "2"})) == (7, 7, None, 2.0)
        with pytest.raises(DependencyError, match="asks for a Ticket") as caught:
            result_now(processor.invoke({"id": "seven"}))
        assert isinstance(caught.value.__cause__, ValidationError)

    def test_a_field_that_is_not_there_is_named(self, processor: EventProcessor) -> None:
        processor.processor({})(lambda event, colour: colour)
        with pytest.raises(DependencyError, match="asks for colour, which the event has not"):
            result_now(processor.invoke({}))

    def test_dependencies_are_cached_for_one_invocation_unless_they_say_otherwise(self, processor: EventProcessor) -> None:
        made: list[str] = []

        async def connection() -> str:
            made.append("connection")
            return "connection"

        def counter() -> int:
            made.append("counter")
            return len(made)

        def session(link: str = Depends(connection), count: int = Depends(counter, cache=False)) -> str:
            made.append("session")
            return f"session on {link}"

        @processor.processor({})
        def handler(event: Any, one: str = Depends(session), two: str = Depends(session), link: str = Depends(connection)) -> Any:
            return one, link

        assert result_now(processor.invoke({})) == ("session on connection", "connection")
        assert made == ["connection", "counter", "session", "counter", "session"]
        result_now(processor.invoke({}))
        assert made.count("connection") == 2

    def test_a_coroutine_of_another_make_is_waited_for(self, processor: EventProcessor) -> None:
        class Compiled(Coroutine[Any, Any, str]):
            def __init__(self, name: str) -> None:
                self._inner = self._run(name)

            async def _run(self, name: str) -> str:
                return name + (await succeed("!"))

            def send(self, value: Any) -> Any:
                return self._inner.send(value)

            def throw(self, *error: Any) -> Any:
                return self._inner.throw(*error)

            def close(self) -> None:
                self._inner.close()

            def __await__(self) -> Any:
                return self._inner.__await__()

        @processor.dependency_factory
        def product(name: str) -> Compiled:
            return Compiled(name)

        @processor.processor({}, lambda event: Compiled("event"), product="product")
        def handler(event: Any, made: str, value: str = Depends(lambda: Compiled("dependency"))) -> Any:
            return event, made, value

        assert result_now(processor.invoke({})) == ("event!", "product!", "dependency!")

    def test_what_an_asynchronous_dependency_sets_in_the_context_is_there_in_the_handler_alone(
        self, processor: EventProcessor
    ) -> None:
        tenant = ContextVar("tenant", default="none")

        async def enter() -> None:
            await succeed(None)
            tenant.set("ann")

        @processor.processor({})
        async def handler(event: Any, entered: None = Depends(enter)) -> str:
            return tenant.get()

        assert result_now(processor.invoke({})) == "ann"
        assert tenant.get() == "none"

    def test_two_invocations_that_wait_for_the_same_deferred_both_see_its_value(self, processor: EventProcessor) -> None:
        connecting: Deferred[str] = Deferred()

        @processor.processor({"kind": "asks"})
        def asks(event: Any, link: str = Depends(lambda: connecting)) -> str:
            return link

        @processor.processor({"kind": "returns"})
        def returns(event: Any, one: int = Depends(lambda: 1)) -> Deferred[str]:
            return connecting

        invocations = [processor.invoke({"kind": kind}) for kind in ("asks", "asks", "returns", "returns")]
        connecting.callback("link")
        assert [result_now(invocation) for invocation in invocations] == ["link"] * 4
        assert result_now(connecting) == "link"

    def test_of_two_equal_functions_each_is_called_where_it_was_given(self, processor: EventProcessor) -> None:
        @dataclass(frozen=True)
        class Equal:
            name: str = field(compare=False)

            def __call__(self, event: Any) -> str:
                return self.name

        one, other = Equal("one"), Equal("other")
        processor.processor({"k": "pre"}, one)(lambda event, unused=0: event)
        processor.processor({"k": "other pre"}, other)(lambda event, unused=0: event)
        processor.processor({"k": "resolver"} & Dyn(one, "found"))(lambda event, found: found)
        processor.processor({"k": "other resolver"} & Dyn(other, "found"))(lambda event, found: found)

        @processor.processor({"k": "needed"})
        def handler(event: Any, first: str = Depends(one), second: str = Depends(other)) -> Any:
            return first, second

        asked = ["pre", "other pre", "resolver", "other resolver", "needed"]
        given = [result_now(processor.invoke({"k": name})) for name in asked]
        assert given == ["one", "other", "one", "other", ("one", "other")]

    def test_functions_need_not_be_hashable(self, processor: EventProcessor) -> None:
        class Unhashable:
            __hash__ = None  # type: ignore[assignment]  # the test

            def __call__(self, event: Any) -> str:
                return "value"

        @processor.processor({"a": 1}, Unhashable())
        def handler(event: Any, needed: str = Depends(Unhashable())) -> Any:
            return event, needed

        assert result_now(processor.invoke({"a": 1})) == ("value", "value")

    def test_a_method_is_one_dependency_however_often_it_is_named(self, processor: EventProcessor) -> None:
        class Store:
            made = 0

            def connect(self) -> int:
                self.made += 1
                return self.made

        store = Store()

        @processor.processor({})
        def handler(event: Any, first: int = Depends(store.connect), second: int = Depends(store.connect)) -> Any:
            return first, second

        assert result_now(processor.invoke({})) == (1, 1)

    def test_what_is_injected_goes_with_the_processor_it_was_registered_with(self) -> None:
        class Kept:
            def __call__(self, event: Any) -> Any:
                return event

        def register() -> list[weakref.ref[Kept]]:
            made = [Kept() for _ in range(4)]
            processor = EventProcessor()
            processor.dependency_factory(made[3])

            @processor.processor({"a": 1} & Dyn(made[0]), made[1], Kept="x")
            def handler(event: Any, product: Any, value: str = Depends(made[2])) -> None: ...

            result_now(processor.invoke({"a": 1}))
            return [weakref.ref(one) for one in made]

        references = register()
        gc.collect()
        assert [reference() for reference in references] == [None] * 4

    @pytest.mark.parametrize("place", ["function", "pre_processor", "resolver", "dependency", "dependency of a dependency"])
    def test_what_cannot_be_looked_into_is_refused_at_decoration(self, processor: EventProcessor, place: str) -> None:
        class Closed:
            __signature__ = "none"

            def __call__(self) -> int:
                return 1

        closed = Closed()

        def needs(value: int = Depends(closed)) -> int:
            return value

        def closed_needed(event: Any, value: int = Depends(closed)) -> None: ...
        def closed_needed_below(event: Any, value: int = Depends(needs)) -> None: ...

        options: dict[str, Any] = {"pre_processor": closed} if place == "pre_processor" else {}
        functions: dict[str, Any] = {
            "function": closed,
            "dependency": closed_needed,
            "dependency of a dependency": closed_needed_below,
        }
        register = processor.processor(Dyn(closed) if place == "resolver" else {}, **options)
        with pytest.raises(DecorationError, match="the parameters of .*Closed object .* cannot be found out"):
            register(functions.get(place, lambda event: None))
        assert processor.handlers() == ()

    def test_products_of_factories_come_behind_the_event_in_order(self, processor: EventProcessor) -> None:
        made: list[str] = []

        @processor.dependency_factory
        async def queue(name: str) -> str:
            made.append(name)
            return f"queue {name}"

        @processor.processor({"kind": "one"}, queue=("in", "out", "in"))
        def one(event: Any, first: str, second: str, third: str, kind: str) -> Any:
            return first, second, third, kind

        @processor.processor({"kind": "all"}, queue=("in", "out"))
        def gather(event: Any, kind: str, *queues: str) -> Any:
            return kind, queues

        assert result_now(processor.invoke({"kind": "one"})) == ("queue in", "queue out", "queue in", "one")
        assert made == ["in", "out"]
        assert result_now(processor.invoke({"kind": "all"})) == ("all", ("queue in", "queue out"))

    def test_pre_processors_may_be_injected_and_asynchronous_and_all_injection_sees_what_they_give(
        self, processor: EventProcessor
    ) -> None:
        async def unpack(event: dict[str, Any], key: str = Depends(lambda: "body")) -> Any:
            return json.loads(event[key])

        @processor.processor({"body": Any}, unpack)
        def handler(event: dict[str, Any], id: int, twice: int = Depends(lambda event: event["id"] * 2)) -> Any:  # noqa: A002  a field's name
            return event, id, twice

        assert result_now(processor.invoke({"body": '{"id": 3}'})) == ({"id": 3}, 3, 6)

    @pytest.mark.parametrize("name", ["rank", "filter", "pre_processor", "self"])
    def test_a_factory_that_could_not_be_asked_for_is_refused(self, processor: EventProcessor, name: str) -> None:
        def factory(product: str) -> str:
            return product

        factory.__name__ = name
        with pytest.raises(DecorationError, match=f"'{name}', which is a parameter of processor"):
            processor.dependency_factory(factory)

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"storage": ("x",)}, "no dependency factory 'storage'; there are: queue"),
            ({"queue": 5}, "queue=5 has to be the name of a product, or several"),
            ({"queue": None}, "queue=None has to be"),
            ({"queue": ("a", "b")}, "no parameters for 1"),
        ],
    )
    def test_what_cannot_be_given_is_refused_at_decoration(self, processor: EventProcessor, options: Any, match: str) -> None:
        @processor.dependency_factory
        def queue(name: str) -> str:
            return name

        with pytest.raises(DecorationError, match=match):
            processor.processor({}, **options)(lambda event, one: None)
        with pytest.raises(InvocationError):
            result_now(processor.invoke({}))


class TestFailures:
    def test_by_default_they_fail_the_invocation(self, processor: EventProcessor) -> None:
        processor.processor({})(lambda event: fail(OSError("disk")))
        with pytest.raises(OSError, match="disk"):
            result_now(processor.invoke({}))

    def test_log_logs_and_gives_none(self) -> None:
        processor = EventProcessor(on_failure=LOG)
        processor.processor({})(lambda event: 1 / 0)
        with capturedLogs() as logged:
            assert result_now(processor.invoke({"a": 1})) is None
        assert [event["log_failure"].type for event in logged] == [ZeroDivisionError]

    def test_collect_gives_results(self) -> None:
        processor = EventProcessor(on_failure=RAISE.only(OSError, otherwise=COLLECT))
        processor.processor({"fine": True})(lambda event: "value")
        processor.processor({"fine": False})(lambda event: 1 / 0)
        assert result_now(processor.invoke({"fine": True})).value == "value"
        assert result_now(processor.invoke({"fine": False})).failure.check(ZeroDivisionError)

    def test_collect_has_nothing_to_give_where_none_of_several_is_invoked(self) -> None:
        processor = EventProcessor(invocation=NO_MATCHES, on_failure=COLLECT)
        processor.processor({"a": 1})(lambda event: "a")
        processor.processor({"b": 1})(lambda event: "b")
        assert result_now(processor.invoke({"a": 1, "b": 1})) is None
        assert result_now(processor.invoke({"a": 1})).value == "a"

    @pytest.mark.parametrize("on_failure", [RAISE, LOG])
    @pytest.mark.parametrize("arguments", [(), (None,), (0,), (42,)])
    def test_the_value_of_stop_processing_is_the_processors(self, on_failure: Any, arguments: tuple[Any, ...]) -> None:
        processor = EventProcessor(on_failure=on_failure)

        @processor.processor({})
        def handler(event: Any) -> None:
            raise StopProcessing(*arguments)

        assert result_now(processor.invoke({})) == (arguments[0] if arguments else None)

    def test_cancelling_reaches_the_processor(self, processor: EventProcessor) -> None:
        seen: list[str] = []
        processor.processor({})(lambda event: Deferred(lambda _: seen.append("cancelled")))
        invoked = processor.invoke({})
        invoked.cancel()
        with pytest.raises(CancelledError):
            result_now(invoked)
        assert seen == ["cancelled"]

    def test_errors_are_exceptions_of_one_family(self) -> None:
        for error in (FilterError, DecorationError, DependencyError, InvocationError):
            assert issubclass(error, EventProcessorError)
            assert issubclass(error, Exception)

    @pytest.mark.parametrize("options", [{"invocation": "first"}, {"on_failure": "log"}, {"clock": 5}])
    def test_wrong_options_are_refused(self, options: Any) -> None:
        with pytest.raises(ConfigurationError):
            EventProcessor(**options)


class TestSubprocessors:
    def test_processors_and_factories_join_and_later_changes_do_not_leak(self, processor: EventProcessor) -> None:
        sub = EventProcessor()

        @sub.dependency_factory
        def queue(name: str) -> str:
            return f"sub {name}"

        sub.processor({"a": 1}, queue="in")(lambda event, queue: queue)
        processor.add_subprocessor(sub)
        processor.processor({"b": 1}, queue="out")(lambda event, queue: queue)
        sub.processor({"c": 1})(lambda event: "late")
        assert result_now(processor.invoke({"a": 1})) == "sub in"
        assert result_now(processor.invoke({"b": 1})) == "sub out"
        for one, event in ((processor, {"c": 1}), (sub, {"b": 1})):
            with pytest.raises(InvocationError):
                result_now(one.invoke(event))

    def test_several_join_together_or_not_at_all(self, processor: EventProcessor) -> None:
        one, other, third = EventProcessor(), EventProcessor(), EventProcessor()
        one.processor({"a": 1})(lambda event: "one")
        other.processor({"b": 1})(lambda event: "other")
        third.processor({"b": 1})(lambda event: "third")
        with pytest.raises(DecorationError):
            processor.add_subprocessors(one, other, third)
        with pytest.raises(InvocationError):
            result_now(processor.invoke({"a": 1}))
        processor.add_subprocessors(one, other)
        assert [result_now(processor.invoke(event)) for event in ({"a": 1}, {"b": 1})] == ["one", "other"]

    def test_all_in_a_package_join(self, processor: EventProcessor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        package = tmp_path / "processors_of_a_test"
        package.mkdir()
        (package / "__init__.py").touch()
        for name in "ab":
            (package / f"{name}.py").write_text(
                "from twisted_evproc import EventProcessor\n"
                "processor = same = EventProcessor()\n"
                f"processor.processor({{'{name}': 1}})(lambda event: '{name}')\n"
            )
        monkeypatch.syspath_prepend(tmp_path)
        processor.add_subprocessors_in_package(importlib.import_module(package.name))
        assert [result_now(processor.invoke({name: 1})) for name in "ab"] == ["a", "b"]

    def test_overlaps_are_refused_and_nothing_joins_then(self, processor: EventProcessor) -> None:
        sub = EventProcessor()
        sub.processor({"a": 1})(lambda event: "sub a")
        sub.processor({"b": 1})(lambda event: "sub b")
        processor.processor({"b": 1})(lambda event: "b")
        with pytest.raises(DecorationError, match="the same filter"):
            processor.add_subprocessor(sub)
        with pytest.raises(InvocationError):
            result_now(processor.invoke({"a": 1}))
        with pytest.raises(DecorationError):
            processor.add_subprocessor(processor)

    @pytest.mark.parametrize("wrong", [None, {}, EventProcessor, Event])
    def test_what_is_no_event_processor_is_refused(self, processor: EventProcessor, wrong: Any) -> None:
        for add in (processor.add_subprocessor, processor.add_subprocessors):
            with pytest.raises(DecorationError, match="it is no EventProcessor"):
                add(wrong)

    def test_none_is_its_own_subprocessor(self, processor: EventProcessor) -> None:
        for add in (processor.add_subprocessor, processor.add_subprocessors):
            with pytest.raises(DecorationError, match="cannot be its own subprocessor"):
                add(processor)

    @pytest.mark.parametrize("wrong", [None, "json", json.decoder])
    def test_what_is_no_package_is_refused(self, processor: EventProcessor, wrong: Any) -> None:
        with pytest.raises(DecorationError, match="is no package"):
            processor.add_subprocessors_in_package(wrong)

    def test_factories_of_one_name_are_refused(self, processor: EventProcessor) -> None:
        sub = EventProcessor()
        for one in (processor, sub):

            @one.dependency_factory
            def queue(name: str) -> str:
                return name

        with pytest.raises(DecorationError, match="another dependency factory 'queue'"):
            processor.add_subprocessor(sub)


class Failing(Mapping[str, Any]):
    """A mapping that fails whenever it is asked."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError(key)

    def __iter__(self) -> Any:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError


def nested(depth: int) -> dict[str, Any]:
    event: dict[str, Any] = {}
    for _ in range(depth):
        event = {"a": event}
    return event


@pytest.mark.parametrize(
    "event",
    [
        nested(5_000),
        {"a": 10**5_000, "b": float("nan"), "c": "\ud800"},
        {"__class__": {"__name__": 1}, "a": {"__class__": 1}},
        Failing(),
        {"a": Failing()},
        {"a": [[1], {"b": None}], "b": b"\x00"},
    ],
    ids=["deep", "huge", "dunder", "failing", "failing inside", "mixed"],
)
def test_hostile_mappings_meet_documented_errors_only(event: Any) -> None:
    processor = EventProcessor()
    for one in (
        {"a.__class__.__name__": "int"},
        {"__class__.__mro__": Any},
        Gt("a", 5),
        Regex("c", "x"),
        {"a.0.0": 7},
        In("b", [1, "x"]),
    ):
        processor.processor(one, rank=1)(lambda event, a: a)
    for invoked in (processor.invoke(event), processor.invoke({"b": event})):
        try:
            result_now(invoked)
        except EventProcessorError:
            pass
    processor.explain(event)


def test_what_is_no_mapping_is_refused() -> None:
    with pytest.raises(InvocationError, match="has to be a mapping"):
        result_now(EventProcessor().invoke([1]))  # type: ignore[arg-type]  # the mistake


def test_asynchronous_processors_are_waited_for(processor: EventProcessor) -> None:
    waiting: Deferred[str] = Deferred()

    @processor.processor({})
    async def handler(event: Any) -> str:
        return await waiting + (await succeed("!"))

    invoked = processor.invoke({})
    assert not invoked.called
    waiting.callback("value")
    assert result_now(invoked) == "value!"


@pytest.mark.parametrize("strategy", [NO_MATCHES, NO_MATCHES_STRICT])
def test_explain_says_that_none_is_chosen_of_several(strategy: Any) -> None:
    def one(event: Any) -> None: ...
    def other(event: Any) -> None: ...
    def default(event: Any) -> None: ...

    processor = EventProcessor(invocation=strategy)
    processor.processor({"a": Any})(one)
    processor.processor({"b": Any})(other)
    processor.processor({}, rank=-1)(default)
    reasons = {verdict.name: (verdict.runs, verdict.reason) for verdict in processor.explain({"a": 1, "b": 1}).verdicts}
    assert reasons == {
        "one": (False, "several of rank 0 match: one, other"),
        "other": (False, "several of rank 0 match: one, other"),
        "default": (False, "one comes first: its rank is 0"),
    }
    assert [verdict.name for verdict in processor.explain({"a": 1}).verdicts if verdict.runs] == ["one"]


def test_explain_tells_of_a_filter_that_fails(processor: EventProcessor) -> None:
    processor.processor(lambda event: event["missing"])(lambda event: None)
    (verdict,) = processor.explain({}).verdicts
    assert (verdict.runs, "fails with KeyError('missing')" in verdict.reason) == (False, True)


def test_explain_says_which_is_chosen_and_why_not_the_others(processor: EventProcessor) -> None:
    def default(event: Any) -> None: ...
    def alarm(event: Any) -> None: ...
    def other(event: Any) -> None: ...
    def asked(event: Any) -> None: ...

    processor.processor({})(default)
    processor.processor({"state": "ALARM"})(alarm)
    processor.processor({"state": "OK"})(other)
    processor.processor(Dyn(len), rank=1)(asked)
    verdicts = {verdict.name: (verdict.runs, verdict.reason) for verdict in processor.explain({"state": "ALARM"}).verdicts}
    assert verdicts == {
        "alarm": (True, "unless asked is"),
        "default": (False, "alarm comes first: its filter is more specific (1 clauses)"),
        "other": (False, "Eq('state', 'OK') does not let the event pass"),
        "asked": (True, "if Dyn(len) lets the event pass"),
    }


class TestOutcome:
    def test_its_event_is_the_event(self) -> None:
        processor = EventProcessor()

        @processor.processor({"a": Any})
        def handle(event: dict[str, Any]) -> int:
            return 1

        event = {"a": 1}
        outcomes: list[Any] = []
        processor.fire(event).addCallback(outcomes.append)

        assert outcomes[0].event is event
        with capture(processor) as captured:
            processor.fire(event).addCallback(outcomes.append)
        assert captured[0].event is event
        assert outcomes[1].event is event
