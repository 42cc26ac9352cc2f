"""What is fired while a block runs."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from twisted_evproc import COLLECT, RAISE, Event, EventDispatcher, EventProcessor, Processor, one_of, want
from twisted_evproc.errors import ConfigurationError, FilterError, KeywordNotAllowed
from twisted_evproc.testing import Captured, FakeDispatcher, capture, failure_now, result_now


@pytest.fixture(params=[EventDispatcher, FakeDispatcher])
def dispatcher(request: pytest.FixtureRequest) -> Any:
    dispatcher = request.param(["role", "user"], on_failure=COLLECT)
    result_now(dispatcher.start())
    return dispatcher


def states(captured: Captured) -> list[tuple[Any, str]]:
    return [(fired.event, fired.state) for fired in captured]


class TestDispatchers:
    def test_events_details_and_outcomes_in_order(self, dispatcher: Any) -> None:
        dispatcher.add_event_handler(len, "during", role="admin")
        with capture(dispatcher) as captured:
            result_now(dispatcher.fire_event("first", role="admin", user="ada"))
            result_now(dispatcher.fire_event("second"))

        assert states(captured) == [("first", "handled"), ("second", "unhandled")]
        assert [dict(fired.details) for fired in captured] == [{"role": "admin", "user": "ada"}, {}]
        first, second = (fired.outcome for fired in captured)
        assert first is not None and first.values == (5,)
        assert second is not None and second.event == "second"
        assert captured.events == ["first", "second"]

    def test_nested_firings_stand_in_the_order_of_firing(self, dispatcher: Any) -> None:
        dispatcher.add_event_handler(lambda event: dispatcher.fire_event("inner"), "during", user="ada")
        with capture(dispatcher) as captured:
            result_now(dispatcher.fire_event("outer", user="ada"))
        assert states(captured) == [("outer", "handled"), ("inner", "unhandled")]

    def test_only_inside_the_block(self, dispatcher: Any) -> None:
        result_now(dispatcher.fire_event("before"))
        with capture(dispatcher) as captured:
            result_now(dispatcher.fire_event("inside"))
        result_now(dispatcher.fire_event("behind"))
        assert captured.events == ["inside"]

    def test_one_under_way_is_followed_to_its_end_behind_the_block(self, dispatcher: Any) -> None:
        waiting: Deferred[int] = Deferred()
        dispatcher.add_event_handler(len, "before")
        dispatcher.add_event_handler(lambda event: waiting, "during")
        with capture(dispatcher) as captured:
            firing = dispatcher.fire_event("slow")
            assert states(captured) == [("slow", "running")]
            assert [result.name for result in captured[0].results] == ["len"]
        behind = dispatcher.fire_event("behind")
        assert dispatcher.report.observers != ()
        waiting.callback(3)
        assert result_now(firing).values == (4, 3)
        assert result_now(behind).values == (6, 3)
        assert states(captured) == [("slow", "handled")]
        assert dispatcher.report.observers == ()

    def test_a_cancelled_one(self, dispatcher: Any) -> None:
        dispatcher.add_event_handler(lambda event: Deferred(), "during")
        with capture(dispatcher) as captured:
            firing = dispatcher.fire_event("slow")
            firing.cancel()
        failure_now(firing, CancelledError)
        assert states(captured) == [("slow", "cancelled")]
        assert dispatcher.report.observers == ()

    def test_an_exception_ends_it_too(self, dispatcher: Any) -> None:
        with pytest.raises(ValueError, match="planted"), capture(dispatcher):
            raise ValueError("planted")
        assert dispatcher.report.observers == ()

    def test_filters(self, dispatcher: Any) -> None:
        with capture(dispatcher, user=one_of("ada", "bob")) as known, capture(dispatcher, where=lambda event: event > 1) as large:
            for number, user in ((1, "ada"), (2, "eve"), (3, "bob")):
                result_now(dispatcher.fire_event(number, user=user))
        assert known.events == [1, 3]
        assert large.events == [2, 3]

    def test_narrowing_afterwards(self, dispatcher: Any) -> None:
        with capture(dispatcher) as captured:
            for number, user in ((1, "ada"), (2, "eve"), (3, "ada")):
                result_now(dispatcher.fire_event({"number": number}, user=user))
        assert [event["number"] for event in captured.matching(user="ada").events] == [1, 3]
        assert captured.matching(where={"number": 3}, user="ada").events == [{"number": 3}]
        assert captured[1:].events == captured.events[1:]

    def test_a_keyword_that_is_not_allowed_is_refused(self, dispatcher: Any) -> None:
        with pytest.raises(KeywordNotAllowed, match="'rool'.*allowed: 'role', 'user'"), capture(dispatcher, rool="admin"):
            pass

    def test_what_makes_no_filter_is_refused(self, dispatcher: Any) -> None:
        with pytest.raises(FilterError), capture(dispatcher, where=3):  # type: ignore[arg-type]  # that is the point
            pass
        assert dispatcher.report.observers == ()

    def test_a_failed_firing_has_its_outcome(self) -> None:
        def fails(event: Any) -> None:
            raise ValueError("planted")

        for dispatcher in (EventDispatcher(on_failure=RAISE), FakeDispatcher(on_failure=RAISE)):
            result_now(dispatcher.start())
            result_now(dispatcher.add_event_handler(fails, "during"))
            with capture(dispatcher) as captured:
                failure_now(dispatcher.fire_event("event"), ValueError)
            assert [result.failure is not None for result in captured[0].results] == [True]

    def test_emitters_and_listeners_to_unhandled_events_go_on(self) -> None:
        dispatcher = EventDispatcher()
        result_now(dispatcher.start())
        heard: list[Any] = []
        dispatcher.on_unhandled(lambda event, details: heard.append(event))
        emit = dispatcher.emitter()
        with capture(dispatcher) as captured:
            result_now(emit("event"))
        result_now(emit("behind"))
        assert captured.events == ["event"]
        assert heard == ["event", "behind"]
        assert len(dispatcher._unhandled) == 1

    def test_one_that_waits_for_its_turn_is_captured_when_it_begins(self) -> None:
        dispatcher = EventDispatcher(max_concurrent_firings=1)
        result_now(dispatcher.start())
        waiting: Deferred[None] = Deferred()
        result_now(dispatcher.add_event_handler(lambda event: waiting, "during"))
        with capture(dispatcher) as captured:
            firings = [dispatcher.fire_event(number) for number in range(2)]
            assert captured.events == [0]
            waiting.callback(None)
        assert [result_now(firing).handled for firing in firings] == [True, True]
        assert captured.events == [0, 1]


class Upload(Event):
    name = ""

    def __init__(self, name: str) -> None:
        self.name = name


class TestProcessors:
    def test_by_name_with_the_chained_events(self) -> None:
        processor = Processor()

        @processor.register
        @want("uploaded")
        def check(processor: Processor, event: Event) -> list[Event]:
            return [Upload("checked")]

        with capture(processor) as captured:
            result_now(processor.process(Upload("uploaded")))
        assert [(fired.event.name, fired.state) for fired in captured] == [("uploaded", "handled"), ("checked", "unhandled")]

    def test_by_content(self) -> None:
        processor = EventProcessor()

        @processor.processor({"kind": "order"})
        def order(event: dict[str, Any]) -> str:
            return "taken"

        with capture(processor, where={"kind": "order"}) as captured:
            assert result_now(processor.invoke({"kind": "order"})) == "taken"
        assert states(captured) == [({"kind": "order"}, "handled")]

    def test_keywords_make_no_sense(self) -> None:
        with pytest.raises(KeywordNotAllowed), capture(Processor(), name="uploaded"):
            pass


def test_something_else_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="add_observer"), capture(object()):
        pass
