"""What it costs to fire an event."""

from __future__ import annotations

import gc
import itertools
import sys
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred, succeed

from twisted_evproc import EventDispatcher

from .harness import Row, compare
from .peers import deferred_list, installed


def handle_one(event: Any) -> None:
    return None


def handle_two(event: Any) -> None:
    return None


def handle_three(event: Any) -> None:
    return None


HANDLERS = (handle_one, handle_two, handle_three)
PHASES = ("before", "during", "after")


def dispatcher_with(*handlers: Callable[[Any], Any], phases: tuple[str, ...] = PHASES, warm: bool = True) -> EventDispatcher:
    dispatcher = EventDispatcher(("event_type", "user", "role"))
    for handler, phase in zip(handlers, itertools.cycle(phases)):
        dispatcher.add_event_handler(handler, phase, event_type="created")
    dispatcher.start()
    if warm:
        for _ in range(3):
            dispatcher.fire_event(1, event_type="created", user="bob")
    return dispatcher


def bare_loop(event: Any) -> None:
    for handler in HANDLERS:
        handler(event)


BY_PHASE = tuple((handler,) for handler in HANDLERS)


def bare_loop_by_phase(event: Any) -> None:
    for handlers in BY_PHASE:
        for handler in handlers:
            handler(event)


def firing(rounds: int) -> Iterator[Row]:
    """Three synchronous handlers, by an emitter and by keywords, beside the loop and beside peers."""
    dispatcher = dispatcher_with(*HANDLERS)
    emit = dispatcher.emitter(event_type="created")
    yield from compare(
        "emitter, 3 handlers", lambda: emit(1), {"bare loop": lambda: bare_loop(1)}, rounds=rounds, targets={"bare loop": 3}
    )
    fire = dispatcher.fire_event
    yield from compare(
        "fire_event, 3 handlers in 3 phases",
        lambda: fire(1, event_type="created", user="bob"),
        {"bare loop, by phase": lambda: bare_loop_by_phase(1), "bare loop": lambda: bare_loop(1)},
        rounds=rounds,
        targets={"bare loop, by phase": 5},
    )
    yield from compare(
        "fire_event, 3 handlers in 3 phases",
        lambda: fire(1, event_type="created", user="bob"),
        {"DeferredList(maybeDeferred)": deferred_list(HANDLERS), **dict(installed(HANDLERS))},
        rounds=rounds,
        targets={"DeferredList(maybeDeferred)": 15},
        faster=True,
    )


def nobody(rounds: int) -> Iterator[Row]:
    """Nobody listens."""
    dispatcher = dispatcher_with()
    emit = dispatcher.emitter(event_type="created")
    fire = dispatcher.fire_event
    for what, ours in (
        ("nobody listens, emitter", lambda: emit(1)),
        ("nobody listens, fire_event", lambda: fire(1, event_type="created")),
    ):
        yield from compare(what, ours, {"Deferred()": Deferred}, rounds=rounds)


def eventual(rounds: int) -> Iterator[Row]:
    """Handlers that return Deferreds and coroutines, beside calling them by hand."""

    def fired(event: Any) -> Deferred[None]:
        return succeed(None)

    async def coroutine(event: Any) -> None:
        return None

    waiting: list[Deferred[None]] = []

    def pending(event: Any) -> Deferred[None]:
        deferred: Deferred[None] = Deferred()
        waiting.append(deferred)
        return deferred

    def by_hand_fired() -> list[Any]:
        values: list[Any] = []
        for handler in (fired, fired, fired):
            handler(1).addCallback(values.append)
        return values

    def by_hand_coroutines() -> list[Any]:
        values: list[Any] = []
        for handler in (coroutine, coroutine, coroutine):
            Deferred.fromCoroutine(handler(1)).addCallback(values.append)
        return values

    def by_hand_driven() -> list[Any]:
        values: list[Any] = []
        for handler in (coroutine, coroutine, coroutine):
            try:
                handler(1).send(None)
            except StopIteration as stop:
                values.append(stop.value)
        return values

    def by_hand_pending() -> list[Any]:
        values: list[Any] = []
        for handler in (pending, pending, pending):
            handler(1).addBoth(values.append)
        settle()
        return values

    def settle() -> None:
        for deferred in waiting:
            deferred.callback(None)
        waiting.clear()

    def fire_three(handler: Callable[[Any], Any]) -> Callable[[], Deferred[Any]]:
        dispatcher = dispatcher_with(handler, handler, handler, phases=("during",), warm=False)
        for _ in range(3):
            dispatcher.fire_event(1, event_type="created")
            settle()
        return lambda: dispatcher.fire_event(1, event_type="created")

    fire_fired, fire_coroutines, fire_pending = map(fire_three, (fired, coroutine, pending))

    def fire_and_settle() -> None:
        fire_pending()
        settle()

    by_hand = "by hand, addCallback"
    yield from compare("3 fired Deferreds", fire_fired, {by_hand: by_hand_fired}, rounds=rounds, targets={by_hand: 2.5})
    yield from compare(
        "3 coroutines that do not suspend",
        fire_coroutines,
        {"by hand, fromCoroutine": by_hand_coroutines, "by hand, send(None)": by_hand_driven},
        rounds=rounds,
        targets={"by hand, fromCoroutine": 2.5},
    )
    yield from compare(
        "3 pending Deferreds",
        fire_and_settle,
        {"by hand, addBoth": by_hand_pending},
        rounds=rounds,
        targets={"by hand, addBoth": 3},
    )


def many(rounds: int, count: int) -> Iterator[Row]:
    """Three of many handlers match."""

    def crowd(size: int) -> Callable[[], Deferred[Any]]:
        dispatcher = dispatcher_with(*HANDLERS)
        with dispatcher.transaction():
            for number in range(size):
                dispatcher.add_event_handler(handle_one, "during", event_type="other", user=f"user {number}")
        fire = dispatcher.fire_event
        for _ in range(3):
            fire(1, event_type="created", user="bob")
        return lambda: fire(1, event_type="created", user="bob")

    yield from compare(
        f"fire_event, 3 of {count:,} handlers match",
        crowd(count),
        {"bare loop, by phase": lambda: bare_loop_by_phase(1), "the same of 10 handlers": crowd(10)},
        rounds=rounds,
        targets={"bare loop, by phase": 5, "the same of 10 handlers": 1.1},
    )


def cold(rounds: int) -> Iterator[Row]:
    """Details never seen before."""
    dispatcher = dispatcher_with(*HANDLERS)
    dispatcher.add_event_handler(handle_one, "during", event_type="created", user="somebody else")
    numbers = itertools.count()
    fire = dispatcher.fire_event
    yield from compare(
        "fire_event, details never seen",
        lambda: fire(1, event_type="created", user=next(numbers)),
        {"bare loop, by phase": lambda: bare_loop_by_phase(1), "bare loop": lambda: bare_loop(1)},
        rounds=rounds,
        targets={"bare loop": 30},
    )


def memory(count: int) -> str:
    """Blocks of memory before and after very many distinct details."""
    dispatcher = dispatcher_with(*HANDLERS)
    dispatcher.add_event_handler(handle_one, "during", event_type="created", user="somebody else")
    for number in range(5_000):
        dispatcher.fire_event(1, event_type="created", user=number)
    gc.collect()
    before = sys.getallocatedblocks()
    for number in range(count):
        dispatcher.fire_event(1, event_type="created", user=-number)
    gc.collect()
    return f"memory: {sys.getallocatedblocks() - before:+,} blocks after {count:,} distinct details"
