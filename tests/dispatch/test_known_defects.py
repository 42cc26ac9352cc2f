"""What was wrong with earlier dispatchers of this kind stays right: one test, or a few, for each known defect."""

from __future__ import annotations

import gc
import sys
import tracemalloc
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, capturedLogs

from twisted_evproc import EventDispatcher, HandlerID
from twisted_evproc.errors import UnknownHandler, UnknownPhase
from twisted_evproc.testing import result_now


@pytest.fixture
def dispatcher() -> EventDispatcher:
    dispatcher = EventDispatcher(("event_type", "role", "user"))
    result_now(dispatcher.start())
    return dispatcher


@pytest.fixture
def logged() -> Iterator[Sequence[LogEvent]]:
    with capturedLogs() as events:
        yield events


class TestDeadWeakHandlersStayRegistered:
    def test_a_dead_function_is_not_listed_and_its_id_is_unknown(self, dispatcher: EventDispatcher) -> None:
        def handler(event: Any) -> None:
            return None

        handler_id = result_now(dispatcher.add_event_handler(handler, "during", use_weakref=True, role="admin"))
        assert [view.handler_id for view in dispatcher.handlers()] == [handler_id]

        del handler
        gc.collect()

        assert dispatcher.handlers() == ()
        with pytest.raises(LookupError):
            result_now(dispatcher.remove_event_handler(handler_id))

    def test_nothing_is_kept_of_many_dead_methods(self, dispatcher: EventDispatcher) -> None:
        class Listener:
            def heard(self, event: Any) -> None:
                return None

        def come_and_go(count: int) -> None:
            for number in range(count):
                listener = Listener()
                _ = dispatcher.add_event_handler(listener.heard, "during", use_weakref=True, user=number)
                del listener
            _ = dispatcher.fire_event("event", user=0)
            gc.collect()

        come_and_go(1_000)
        before = sys.getallocatedblocks()
        come_and_go(5_000)

        # one block for each would be 5 000
        assert sys.getallocatedblocks() - before < 1_000
        assert dispatcher.handlers() == ()

    def test_the_instance_is_not_kept_alive(self, dispatcher: EventDispatcher) -> None:
        class Listener:
            def heard(self, event: Any) -> None:
                return None

        listener = Listener()
        reference = weakref.ref(listener)
        _ = dispatcher.add_event_handler(listener.heard, "during", use_weakref=True)
        assert result_now(dispatcher.fire_event("event")).handled

        del listener
        gc.collect()

        assert reference() is None
        assert not result_now(dispatcher.fire_event("event")).handled


def test_a_handler_with_role_admin_does_not_run_for_an_event_without_role(dispatcher: EventDispatcher) -> None:
    heard: list[Any] = []
    _ = dispatcher.add_event_handler(heard.append, "during", role="admin")

    assert not result_now(dispatcher.fire_event("without details")).handled
    assert not result_now(dispatcher.fire_event("with others", user="somebody")).handled
    assert result_now(dispatcher.fire_event("with role", role="admin")).handled
    assert heard == ["with role"]


def test_a_handler_without_match_spec_hears_events_without_details(dispatcher: EventDispatcher) -> None:
    heard: list[Any] = []
    _ = dispatcher.add_event_handler(heard.append, "during")

    assert result_now(dispatcher.fire_event("without details")).handled
    assert result_now(dispatcher.fire_event("with details", role="admin")).handled
    assert heard == ["without details", "with details"]


def test_the_index_does_not_grow_with_the_values_fired(dispatcher: EventDispatcher) -> None:
    _ = dispatcher.add_event_handler(lambda event: None, "during", user="nobody")

    def fire(first: int, count: int) -> None:
        for number in range(first, first + count):
            _ = dispatcher.fire_event("event", user=f"user {number}")
        gc.collect()

    fire(0, 5_000)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        fire(5_000, 10_000)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    # the values alone would take some 600 KB; what is kept is bounded, and replaced
    assert grown < 300_000


class TestAHandlerThatReturnsWhatTheDispatcherReturnsDeadlocks:
    def test_fire_event(self, dispatcher: EventDispatcher) -> None:
        heard: list[Any] = []
        _ = dispatcher.add_event_handler(heard.append, "during", event_type="inner")
        _ = dispatcher.add_event_handler(
            lambda event: dispatcher.fire_event("inner", event_type="inner"), "before", event_type="outer"
        )

        outcome = result_now(dispatcher.fire_event("outer", event_type="outer"))

        assert heard == ["inner"]
        assert outcome.value is None
        assert outcome.values[0].event == "inner"

    def test_fire_event_that_waits(self, dispatcher: EventDispatcher) -> None:
        waiting: Deferred[str] = Deferred()
        _ = dispatcher.add_event_handler(lambda event: waiting, "during", event_type="inner")
        _ = dispatcher.add_event_handler(
            lambda event: dispatcher.fire_event("inner", event_type="inner"), "during", event_type="outer"
        )

        firing = dispatcher.fire_event("outer", event_type="outer")
        assert not firing.called
        waiting.callback("done")

        assert result_now(firing).values[0].values == ("done",)

    def test_add_event_handler(self, dispatcher: EventDispatcher) -> None:
        heard: list[Any] = []
        _ = dispatcher.add_event_handler(lambda event: dispatcher.add_event_handler(heard.append, "after"), "during", max_calls=1)

        (handler_id,) = result_now(dispatcher.fire_event("first")).values
        assert isinstance(handler_id, HandlerID)
        assert heard == []

        _ = dispatcher.fire_event("second")
        assert heard == ["second"]

    def test_remove_event_handler_of_itself(self, dispatcher: EventDispatcher) -> None:
        ids: list[HandlerID] = []

        def once(event: Any) -> Deferred[None]:
            return dispatcher.remove_event_handler(ids[0])

        ids.append(result_now(dispatcher.add_event_handler(once, "during")))

        assert result_now(dispatcher.fire_event("event")).values == (None,)
        assert not result_now(dispatcher.fire_event("event")).handled


class TestFailuresVanish:
    @pytest.mark.parametrize("way", ["raises", "fails", "fails later", "coroutine"])
    def test_a_failure_is_in_the_outcome_and_in_the_log_once(
        self, dispatcher: EventDispatcher, logged: Sequence[LogEvent], way: str
    ) -> None:
        waiting: Deferred[None] = Deferred()

        def raises(event: Any) -> None:
            raise ValueError("lost?")

        def fails(event: Any) -> Deferred[None]:
            deferred: Deferred[None] = Deferred()
            deferred.errback(ValueError("lost?"))
            return deferred

        async def coroutine(event: Any) -> None:
            await waiting
            raise ValueError("lost?")

        ways: dict[str, Callable[[Any], Any]] = {
            "raises": raises,
            "fails": fails,
            "fails later": lambda event: waiting.addCallback(raises),
            "coroutine": coroutine,
        }
        heard: list[Any] = []
        _ = dispatcher.add_event_handler(ways[way], "before", handler_name="failing")
        _ = dispatcher.add_event_handler(heard.append, "after")

        firing = dispatcher.fire_event("event")
        if not firing.called:
            waiting.callback(None)
        outcome = result_now(firing)
        del firing
        gc.collect()

        assert [failure.getErrorMessage() for failure in outcome.failures] == ["lost?"]
        assert heard == ["event"]
        assert [event["log_failure"].type for event in logged if "log_failure" in event] == [ValueError]


def test_one_slow_event_does_not_block_the_others(dispatcher: EventDispatcher) -> None:
    slow: Deferred[None] = Deferred()
    done: list[Any] = []
    _ = dispatcher.add_event_handler(lambda event: slow if event == "slow" else None, "during")
    _ = dispatcher.add_event_handler(done.append, "after")

    first = dispatcher.fire_event("slow")
    others = [dispatcher.fire_event(number) for number in range(3)]

    assert all(firing.called for firing in others)
    assert done == [0, 1, 2]
    assert not first.called
    slow.callback(None)
    result_now(first)
    assert done == [0, 1, 2, "slow"]


def test_a_misspelt_phase_is_refused_at_once(dispatcher: EventDispatcher) -> None:
    with pytest.raises(UnknownPhase, match=r"'durign'.*'before', 'during', 'after'"):
        dispatcher.add_event_handler(lambda event: None, "durign")
    assert dispatcher.handlers() == ()


def test_a_stale_id_does_not_remove_another_handler(dispatcher: EventDispatcher) -> None:
    heard: list[Any] = []
    stale = result_now(dispatcher.add_event_handler(heard.append, "during"))
    result_now(dispatcher.remove_event_handler(stale))
    ids = {stale}
    for _number in range(100):
        # the same function again, so that an ID made of its identity would come back
        handler_id = result_now(dispatcher.add_event_handler(heard.append, "during", max_calls=1))
        assert handler_id not in ids
        ids.add(handler_id)
        with pytest.raises(UnknownHandler):
            result_now(dispatcher.remove_event_handler(stale))
        _ = dispatcher.fire_event("event")
    assert heard == ["event"] * 100
