"""Whatever handlers there are, the fake dispatcher does as the real one does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from twisted_evproc import ABORT, COLLECT, LOG, RAISE, EventDispatcher, Outcome, StopProcessing
from twisted_evproc.errors import FiringTooDeep, OrderingError
from twisted_evproc.testing import FakeDispatcher, result_now

POLICIES = [LOG, COLLECT, ABORT, RAISE, RAISE.only(KeyError, otherwise=COLLECT)]
KINDS = ["value", "fails", "stops", "slow", "slow failure", "slow stop", "removes", "fires"]

handler = st.fixed_dictionaries(
    {
        "name": st.sampled_from("abcd"),
        "phase": st.sampled_from(["before", "during"]),
        "kind": st.sampled_from(KINDS),
        "requires": st.lists(st.sampled_from("abcd"), max_size=2),
        "max_calls": st.sampled_from([None, None, 1, 2]),
        "timeout": st.sampled_from([None, None, 3]),
        "user": st.sampled_from([None, "ada", "bob"]),
    }
)


class Run:
    """
    One dispatcher taken through a plan.

    :ivar trace: what happened, in words.
    """

    def __init__(self, make: Any, policy: Any) -> None:
        self.trace: list[Any] = []
        self.clock = Clock()
        self.dispatcher = make(["user"], ["before", "during"], on_failure=policy, clock=self.clock)
        self.waiting: list[tuple[str, Deferred[Any], Any]] = []
        self.ids: list[Any] = []
        self.depth = 0
        result_now(self.dispatcher.start())

    def add(self, *, name: str, kind: str, **options: Any) -> None:
        def call(event: Any) -> Any:
            self.trace.append(("called", name, kind, event))
            if kind in ("fails", "stops"):
                raise KeyError(name) if kind == "fails" else StopProcessing(name)
            if kind.startswith("slow"):
                deferred: Deferred[Any] = Deferred()
                error = {"slow failure": ValueError(name), "slow stop": StopProcessing(name)}.get(kind)
                self.waiting.append((name, deferred, error or name))
                return deferred
            if kind == "removes" and self.ids:
                self.ended(f"removal by {name}", self.dispatcher.remove_event_handler(self.ids.pop(0)))
            if kind == "fires" and event < 3:
                self.fire(event + 1, "ada")
            return name

        try:
            self.ids.append(result_now(self.dispatcher.add_event_handler(call, handler_name=name, **options)))
        except OrderingError as error:
            self.trace.append(type(error))

    def fire(self, event: int, user: str | None) -> None:
        self.ended(f"firing {event}", self.dispatcher.fire_event(event, **({} if user is None else {"user": user})))

    def ended(self, what: str, deferred: Deferred[Any]) -> None:
        def say(result: Any) -> None:
            self.trace.append((what, self.shown(result)))

        _ = deferred.addBoth(say)

    @staticmethod
    def shown(result: Any) -> Any:
        if isinstance(result, Outcome):
            return [
                (one.name, one.phase, one.value, one.failure and one.failure.type, one.reason) for one in result.results
            ], result.value
        return getattr(result, "type", result)

    def go_on(self, choice: int) -> None:
        pending = [entry for entry in self.waiting if not entry[1].called]
        if not pending:
            return
        name, deferred, result = pending[choice % len(pending)]
        self.trace.append(("goes on", name))
        (deferred.errback if isinstance(result, Exception) else deferred.callback)(result)


@given(
    policy=st.sampled_from(POLICIES),
    handlers=st.lists(handler, max_size=6),
    actions=st.lists(
        st.one_of(
            st.tuples(st.just("fire"), st.sampled_from([None, "ada", "bob"])),
            st.tuples(st.just("go on"), st.integers(0, 5)),
            st.tuples(st.just("advance"), st.integers(1, 3)),
            st.tuples(st.just("stop"), st.none()),
            st.tuples(st.just("start"), st.none()),
        ),
        max_size=12,
    ),
)
def test_the_same_calls_in_the_same_order_with_the_same_outcomes(
    policy: Any, handlers: list[dict[str, Any]], actions: list[tuple[str, Any]]
) -> None:
    runs = [Run(EventDispatcher, policy), Run(FakeDispatcher, policy)]
    for run in runs:
        for options in handlers:
            run.add(**options)
        for number, (action, value) in enumerate(actions):
            run.trace.append(action)
            if action == "fire":
                run.fire(number * 10, value)
            elif action == "go on":
                run.go_on(value)
            elif action == "advance":
                run.clock.advance(value)
            elif action == "stop":
                run.ended("stopping", run.dispatcher.stop())
            else:
                result_now(run.dispatcher.start())
    real, fake = runs
    assert fake.trace == real.trace


@pytest.mark.parametrize("asynchronous", [False, True], ids=["synchronous", "awaited"])
def test_an_endless_circle_ends_at_the_same_depth(asynchronous: bool) -> None:
    def circle(make: Any) -> tuple[int, int]:
        dispatcher, events = make(on_failure=COLLECT), []

        def again(event: int) -> Any:
            events.append(event)
            return dispatcher.fire_event(event + 1)

        async def again_awaited(event: int) -> Any:
            return await again(event)

        result_now(dispatcher.start())
        result_now(dispatcher.add_event_handler(again_awaited if asynchronous else again, "during"))
        depth = 0
        for _ in range(2):
            outcome, depth = result_now(dispatcher.fire_event(0)), 0
            while outcome.values:
                (outcome,), depth = outcome.values, depth + 1
            assert [failure.type for failure in outcome.failures] == [FiringTooDeep]
        return depth, len(events)

    assert circle(FakeDispatcher) == circle(EventDispatcher)
