"""What the dispatcher keeps between firings must not outlive what it was made for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from twisted_evproc import EventDispatcher


def warmed(**options: Any) -> tuple[EventDispatcher, list[str]]:
    """A dispatcher whose plan for ``role="user"`` is settled, and what its handler hears."""
    dispatcher = EventDispatcher(["role"], **options)
    heard: list[str] = []
    dispatcher.add_event_handler(heard.append, "during", role="user")
    dispatcher.start()
    for _ in range(3):
        dispatcher.fire_event("warm", role="user")
    heard.clear()
    return dispatcher, heard


class Observer:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def firing_started(self, firing: Any) -> None:
        self.seen.append("firing started")

    def handler_started(self, firing: Any, handler_id: Any, name: str, phase: str) -> None:
        self.seen.append("handler started")

    def handler_ended(self, firing: Any, result: Any) -> None:
        self.seen.append("handler ended")

    def firing_ended(self, firing: Any, outcome: Any) -> None:
        self.seen.append("firing ended")


FIRE: list[Callable[[EventDispatcher], Callable[[Any], Deferred[Any]]]] = [
    lambda dispatcher: lambda event: dispatcher.fire_event(event, role="user"),
    lambda dispatcher: dispatcher.emitter(role="user"),
]


@pytest.mark.parametrize("way", FIRE, ids=["fire_event", "emitter"])
def test_nobody_hears_of_an_event_after_the_stop_and_again_after_the_next_start(way: Any) -> None:
    dispatcher, heard = warmed()
    fire = way(dispatcher)
    fire("before")
    dispatcher.stop()
    assert fire("stopped").result.handled is False
    dispatcher.start()
    fire("after")
    assert heard == ["before", "after"]


@pytest.mark.parametrize("way", FIRE, ids=["fire_event", "emitter"])
def test_an_observer_hears_of_what_was_fired_without_one_and_then_no_more(way: Any) -> None:
    dispatcher, _ = warmed()
    fire = way(dispatcher)
    fire("before")
    observer = Observer()
    dispatcher.add_observer(observer)
    fire("observed")
    dispatcher.remove_observer(observer)
    fire("after")
    assert observer.seen == ["firing started", "handler started", "handler ended", "firing ended"]


@pytest.mark.parametrize("way", FIRE, ids=["fire_event", "emitter"])
def test_a_change_of_handlers_is_heard_of(way: Any) -> None:
    dispatcher, heard = warmed()
    fire = way(dispatcher)
    fire("one")
    added: Any = dispatcher.add_event_handler(lambda event: heard.append(event + "!"), "after").result
    fire("two")
    dispatcher.remove_event_handler(added)
    fire("three")
    assert heard == ["one", "two", "two!", "three"]


def test_a_listener_to_unhandled_events_comes_and_goes() -> None:
    dispatcher, _ = warmed()
    unhandled: list[Any] = []
    dispatcher.fire_event(1, role="nobody")
    listener = dispatcher.on_unhandled(lambda event, details: unhandled.append((event, dict(details))))
    dispatcher.fire_event(2, role="nobody")
    dispatcher.fire_event(3, role="user")
    dispatcher.remove_unhandled_listener(listener)
    dispatcher.fire_event(4, role="nobody")
    assert unhandled == [(2, {"role": "nobody"})]


def test_a_keyword_that_is_allowed_later_and_disallowed_again() -> None:
    dispatcher, _ = warmed()
    with pytest.raises(ValueError, match="'group' not among the match-spec keywords"):
        dispatcher.fire_event(1, role="user", group="x")
    dispatcher.allow_match_spec_keywords("group")
    outcome: Any = dispatcher.fire_event(1, role="user", group="x").result
    assert outcome.handled
    dispatcher.disallow_match_spec_keywords("group")
    with pytest.raises(TypeError, match="'group'"):
        dispatcher.fire_event(1, role="user", group="x")


def test_a_required_handler_that_its_filter_rules_out_does_not_move_the_one_that_requires_it() -> None:
    dispatcher = EventDispatcher(())
    called: list[str] = []
    dispatcher.add_event_handler(lambda event: called.append("a"), "during", handler_name="a", requires="c")
    dispatcher.add_event_handler(lambda event: called.append("b"), "during", handler_name="b")
    dispatcher.add_event_handler(
        lambda event: called.append("c"), "during", handler_name="c", where=lambda event: event == "all three"
    )
    dispatcher.start()
    dispatcher.fire_event("two of them")
    dispatcher.fire_event("all three")
    assert called == ["a", "b", "b", "c", "a"]
    for event, order in (("two of them", "ab"), ("all three", "bca")):
        assert "".join(verdict.name for verdict in dispatcher.explain(event).verdicts if verdict.runs) == order


class TestListening:
    def test_whoever_would_hear_of_an_event_counts(self) -> None:
        dispatcher = EventDispatcher()
        seen = [dispatcher.is_listened_to]

        handler_id: Any = dispatcher.add_event_handler(print, "during").result
        seen.append(dispatcher.is_listened_to)
        _ = dispatcher.remove_event_handler(handler_id)
        seen.append(dispatcher.is_listened_to)
        dispatcher.on_unhandled(print)
        seen.append(dispatcher.is_listened_to)

        assert seen == [False, True, False, True]
