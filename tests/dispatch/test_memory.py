"""Memory stays flat, whatever is fired and whoever comes and goes.  Counted in allocated blocks, which no machine's speed
changes."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock, deferLater

from twisted_evproc import COLLECT, EventDispatcher, HandlerID, glob


@pytest.fixture
def dispatcher() -> EventDispatcher:
    dispatcher = EventDispatcher(("event_type", "user"), clock=Clock())
    _ = dispatcher.start()
    return dispatcher


def blocks_grown(work: Callable[[int], Any], rounds: int, per_round: int) -> int:
    """
    How many memory blocks more there are after many rounds of work than after the first few.

    :param work: one round; given its number.
    :param per_round: how many times the thing that could leak happens in a round, only to check the measure itself.
    """
    warm = max(1, rounds // 10)
    for number in range(warm):
        work(number)
    gc.collect()
    before = sys.getallocatedblocks()
    for number in range(warm, rounds):
        work(number)
    gc.collect()
    assert per_round * (rounds - warm) > 10_000
    return sys.getallocatedblocks() - before


#: Plans and look-ups kept vary with where the cache has got to; one leaked block for each of the things counted would be far
#: more.
MARGIN = 8_000


def test_a_million_distinct_details(dispatcher: EventDispatcher) -> None:
    heard = 0

    def handler(event: Any) -> None:
        nonlocal heard
        heard += 1

    _ = dispatcher.add_event_handler(handler, "during")
    _ = dispatcher.add_event_handler(lambda event: None, "during", user="nobody")

    def fire(number: int) -> None:
        for user in range(number * 10_000, (number + 1) * 10_000):
            _ = dispatcher.fire_event("event", user=user)

    assert blocks_grown(fire, 100, 10_000) < MARGIN
    assert heard == 1_000_000


@pytest.mark.parametrize("kind", ["unhashable", "glob", "serialized", "emitter"])
def test_distinct_details_of_other_kinds(kind: str) -> None:
    dispatcher = EventDispatcher(("event_type", "user"), serialize_by="user" if kind == "serialized" else None, clock=Clock())
    _ = dispatcher.start()
    heard = 0

    def handler(event: Any) -> None:
        nonlocal heard
        heard += 1

    _ = dispatcher.add_event_handler(handler, "during", event_type=glob("e*"))

    def fire(number: int) -> None:
        for user in range(number * 1_000, (number + 1) * 1_000):
            value: Any = [user] if kind == "unhashable" else user
            if kind == "emitter":
                _ = dispatcher.emitter(event_type=f"e{user}", user=value)("event")
            else:
                _ = dispatcher.fire_event("event", event_type=f"e{user}", user=value)

    assert blocks_grown(fire, 40, 1_000) < MARGIN
    assert heard == 40_000


def test_a_hundred_thousand_handlers_that_come_and_go(dispatcher: EventDispatcher) -> None:
    def come_and_go(number: int) -> None:
        ids: list[HandlerID] = []
        for user in range(number * 1_000, (number + 1) * 1_000):
            _ = dispatcher.add_event_handler(lambda event: None, "during", user=user, handler_name=f"h{user}").addCallback(
                ids.append
            )
        _ = dispatcher.fire_event("event", user=number * 1_000)
        for handler_id in ids:
            _ = dispatcher.remove_event_handler(handler_id)

    assert blocks_grown(come_and_go, 100, 1_000) < MARGIN
    assert dispatcher.handlers() == ()


def test_a_hundred_thousand_weak_handlers_that_come_and_go(dispatcher: EventDispatcher) -> None:
    class Listener:
        def heard(self, event: Any) -> None:
            return None

    def come_and_go(number: int) -> None:
        listeners = [Listener() for _ in range(1_000)]
        for user, listener in enumerate(listeners, number * 1_000):
            _ = dispatcher.add_event_handler(listener.heard, "during", use_weakref=True, user=user)
        _ = dispatcher.fire_event("event", user=number * 1_000)

    assert blocks_grown(come_and_go, 100, 1_000) < MARGIN
    assert dispatcher.handlers() == ()


def test_weak_handlers_go_without_anything_being_registered_or_removed(dispatcher: EventDispatcher) -> None:
    class Listener:
        def heard(self, event: Any) -> None:
            return None

    emit = dispatcher.emitter(user="ada")
    gc.collect()
    before = sys.getallocatedblocks()
    listeners = [Listener() for _ in range(5_000)]
    for listener in listeners:
        _ = dispatcher.add_event_handler(listener.heard, "during", use_weakref=True, user="ada")
    _ = emit("event")
    held = sys.getallocatedblocks() - before
    del listener
    listeners.clear()
    _ = emit("event")
    gc.collect()

    assert held > 25_000
    assert sys.getallocatedblocks() - before < 2_000


def test_a_hundred_thousand_handlers_used_up_by_max_calls(dispatcher: EventDispatcher) -> None:
    def come_and_go(number: int) -> None:
        for _ in range(1_000):
            _ = dispatcher.add_event_handler(lambda event: None, "during", max_calls=1, user=number)
        _ = dispatcher.fire_event("event", user=number)

    assert blocks_grown(come_and_go, 100, 1_000) < MARGIN
    assert dispatcher.handlers() == ()


def test_waiting_for_events(dispatcher: EventDispatcher) -> None:
    def wait(number: int) -> None:
        for user in range(number * 500, (number + 1) * 500):
            heard = dispatcher.wait_for_event(timeout=10, user=user)
            given_up = dispatcher.wait_for_event(timeout=10, user=user + 0.5)
            _ = dispatcher.fire_event("event", user=user)
            given_up.cancel()
            _ = given_up.addErrback(lambda failure: None)
            assert heard.called

    assert blocks_grown(wait, 40, 500) < MARGIN
    assert dispatcher.handlers() == ()


@pytest.mark.parametrize("kind", ["fired", "pending", "coroutine", "failing"])
def test_firings_of_every_kind_leave_nothing_behind(kind: str) -> None:
    pending: list[Deferred[None]] = []

    def wait(event: Any) -> Deferred[None]:
        pending.append(Deferred())
        return pending[-1]

    async def coroutine(event: Any) -> None:
        await wait(event)

    async def fails(event: Any) -> None:
        await wait(event)
        raise ValueError("planned")

    kinds: dict[str, Callable[[Any], Any]] = {"fired": succeed, "pending": wait, "coroutine": coroutine, "failing": fails}
    dispatcher = EventDispatcher((), on_failure=COLLECT, clock=Clock())
    _ = dispatcher.start()
    _ = dispatcher.add_event_handler(kinds[kind], "during", timeout=5)

    def fire(number: int) -> None:
        for _ in range(500):
            firing = dispatcher.fire_event("event")
            for deferred in pending:
                deferred.callback(None)
            pending.clear()
            assert firing.called

    assert blocks_grown(fire, 40, 500) < 2_000


@pytest.mark.parametrize("kind", ["plain", "fired", "pending", "coroutine"])
def test_firings_are_gone_without_the_garbage_collector(dispatcher: EventDispatcher, kind: str) -> None:
    pending: list[Deferred[None]] = []

    def wait(event: Any) -> Deferred[None]:
        pending.append(Deferred())
        return pending[-1]

    async def coroutine(event: Any) -> None:
        await wait(event)

    class Event:
        pass

    kinds: dict[str, Callable[[Any], Any]] = {
        "plain": lambda event: None,
        "fired": lambda event: succeed(None),
        "pending": wait,
        "coroutine": coroutine,
    }
    _ = dispatcher.add_event_handler(kinds[kind], "during", timeout=5)

    def fire() -> weakref.ref[Event]:
        event = Event()
        firing = dispatcher.fire_event(event)
        for deferred in pending:
            deferred.callback(None)
        pending.clear()
        assert firing.called
        return weakref.ref(event)

    # The first ones show what kind of handler it is.
    _ = [fire() for _ in range(3)]
    gc.disable()
    try:
        event = fire()
        assert event() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("waits", [False, True])
def test_events_that_lead_to_each_other_for_ever_are_not_kept(waits: bool) -> None:
    clock = Clock()
    dispatcher = EventDispatcher((), clock=clock)
    _ = dispatcher.start()

    class Event:
        pass

    events: weakref.WeakSet[Event] = weakref.WeakSet()
    count = 0

    def fire() -> None:
        nonlocal count
        event = Event()
        events.add(event)
        count += 1
        _ = dispatcher.fire_event(event)

    async def left_behind() -> None:
        await deferLater(clock, 1)
        fire()

    async def handler(event: Event) -> None:
        _ = Deferred.fromCoroutine(left_behind())
        if waits:
            await deferLater(clock, 3)

    _ = dispatcher.add_event_handler(handler, "during")
    fire()
    for _ in range(200):
        clock.advance(1)
    gc.collect()
    assert count > 100
    assert len(events) < 10


def test_the_measure_sees_a_leak(dispatcher: EventDispatcher) -> None:
    def leak(number: int) -> None:
        for user in range(number * 1_000, (number + 1) * 1_000):
            _ = dispatcher.add_event_handler(lambda event: None, "during", user=user)

    assert blocks_grown(leak, 20, 1_000) > MARGIN * 5
