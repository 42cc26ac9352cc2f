"""Publishing what a dispatcher is fired with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from twisted_evproc import EventDispatcher
from twisted_evproc.amqp import Forwarding
from twisted_evproc.errors import ConfigurationError, KeywordNotAllowed, UnknownPhase, WireError
from twisted_evproc.interfaces import IDispatchObserver
from twisted_evproc.testing import assert_pending, result_now


class Scene:
    def __init__(self, answer: Deferred[str] | None = None) -> None:
        self.published: list[tuple[Any, dict[str, Any]]] = []
        self.answer = answer
        self.dispatcher = EventDispatcher(("role", "level"))
        _ = self.dispatcher.start()

    def publish(self, event: Any, details: Mapping[str, Any]) -> Deferred[str]:
        self.published.append((event, dict(details)))
        return self.answer or succeed("id")

    def forward(self, phase: str = "after", **match_spec: Any) -> Forwarding:
        return Forwarding(self.publish, self.dispatcher, phase, match_spec, "there")


def test_events_go_with_their_own_details() -> None:
    scene = Scene()
    scene.forward(role="a")
    fired: list[dict[str, Any]] = [{"role": "a"}, {"role": "a", "level": 2}, {"role": "b"}, {}]
    for number, details in enumerate(fired):
        _ = result_now(scene.dispatcher.fire_event(number, **details))
    assert scene.published == [(0, {"role": "a"}), (1, {"role": "a", "level": 2})]


def test_firings_within_firings_keep_theirs() -> None:
    scene = Scene()
    scene.forward("after")
    scene.dispatcher.add_event_handler(lambda event: scene.dispatcher.fire_event("inner", level=2), "before", role="a")
    _ = result_now(scene.dispatcher.fire_event("outer", role="a"))
    assert scene.published == [("inner", {"level": 2}), ("outer", {"role": "a"})]


def test_firings_that_wait_keep_theirs() -> None:
    scene = Scene()
    scene.forward("after")
    waiting: Deferred[None] = Deferred()
    scene.dispatcher.add_event_handler(lambda event: waiting, "before", role="slow")
    first = scene.dispatcher.fire_event(1, role="slow")
    _ = result_now(scene.dispatcher.fire_event(2, role="quick"))
    assert_pending(first)
    waiting.callback(None)
    _ = result_now(first)
    assert scene.published == [(2, {"role": "quick"}), (1, {"role": "slow"})]


@implementer(IDispatchObserver)
class Echo:
    """Fires as soon as a handler is about to be called for an event with a role."""

    def __init__(self, scene: Scene, event: Any) -> None:
        self.scene = scene
        self.event = event

    def firing_started(self, firing: Any) -> None:
        pass

    def handler_started(self, firing: Any, handler_id: Any, name: str, phase: str) -> None:
        if "role" in firing.details:
            _ = result_now(self.scene.dispatcher.fire_event(self.event, level=2))

    def handler_ended(self, firing: Any, result: Any) -> None:
        pass

    def firing_ended(self, firing: Any, outcome: Any) -> None:
        pass


@pytest.mark.parametrize("event", ["inner", "outer"])
def test_firings_of_an_observer_keep_theirs(event: str) -> None:
    scene = Scene()
    scene.forward()
    scene.dispatcher.add_observer(Echo(scene, event))
    _ = result_now(scene.dispatcher.fire_event("outer", role="a"))
    assert scene.published == [(event, {"level": 2}), ("outer", {"role": "a"})]


def test_a_firing_that_was_to_be_published_and_was_not_is_forgotten() -> None:
    scene = Scene()

    def broken(event: Any) -> bool:
        raise ValueError("no")

    forwarding = Forwarding(scene.publish, scene.dispatcher, "after", {"where": broken}, "there")
    (failure,) = result_now(scene.dispatcher.fire_event(1)).failures
    assert (failure.type, scene.published, forwarding._begun) == (ValueError, [], [])


def test_two_forwardings_of_one_dispatcher() -> None:
    scene = Scene()
    first, _ = scene.forward("before", role="a"), scene.forward("after")
    _ = result_now(scene.dispatcher.fire_event(1, role="a"))
    _ = result_now(first.stop())
    _ = result_now(scene.dispatcher.fire_event(2, role="a"))
    assert [event for event, _ in scene.published] == [1, 1, 2]


def test_a_firing_waits_for_the_confirmation() -> None:
    answer: Deferred[str] = Deferred()
    scene = Scene(answer)
    scene.forward()
    firing = scene.dispatcher.fire_event(1)
    assert_pending(firing)
    answer.callback("the id")
    assert result_now(firing).values == ("the id",)


def test_stopping() -> None:
    scene = Scene()
    forwarding = scene.forward()
    assert [view.name for view in scene.dispatcher.handlers()] == ["forward to there"]
    _ = result_now(forwarding.stop())
    _ = result_now(forwarding.stop())
    _ = result_now(scene.dispatcher.fire_event(1))
    assert (scene.published, scene.dispatcher.handlers(), forwarding.handler_id) == ([], (), None)


@pytest.mark.parametrize("dispatcher", [None, 5, EventDispatcher, print])
def test_what_is_no_dispatcher(dispatcher: Any) -> None:
    with pytest.raises(ConfigurationError, match="has no events to forward: it has to be an EventDispatcher"):
        Forwarding(Scene().publish, dispatcher, "after", {}, "there")


@pytest.mark.parametrize(("phase", "match_spec", "error"), [("later", {}, UnknownPhase), ("after", {"x": 1}, KeywordNotAllowed)])
def test_what_the_dispatcher_does_not_know(phase: str, match_spec: dict[str, Any], error: type[Exception]) -> None:
    scene = Scene()
    with pytest.raises(error):
        scene.forward(phase, **match_spec)
    _ = result_now(scene.dispatcher.fire_event(1))
    assert scene.published == []


@pytest.mark.parametrize("keyword", ["window", "dedupe", "x" * 256])
def test_keywords_that_cannot_be_published(keyword: str) -> None:
    scene = Scene()
    scene.dispatcher.allow_match_spec_keywords(keyword)
    with pytest.raises(WireError, match="Choose another name"):
        scene.forward()
    assert scene.dispatcher.handlers() == ()
