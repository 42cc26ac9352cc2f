"""
The dispatcher against an oracle: the contract once more, as plainly as possible, one list and one loop.

Hypothesis makes up handlers, events, removals and moments.  Whatever happens, both have to call the same handlers in the same
order at the same moments, and give the same outcomes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import attrs
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from twisted_evproc import ABORT, ANY, COLLECT, RAISE, EventDispatcher, HandlerID, StopProcessing, glob, one_of
from twisted_evproc.errors import HandlersFailed, HandlerTimeout, OrderingError

PHASES = ("before", "during", "after")
NAMES = ("n0", "n1", "n2", "n3", "n4")

#: What match-specs ask for: as the dispatcher takes it, and what that means for a detail (``None``: absent, or None itself).
WANTED: dict[str, tuple[Any, Callable[[Any], bool]]] = {
    "None": (None, lambda value: True),
    "ANY": (ANY, lambda value: True),
    "0": (0, lambda value: value == 0),
    "1": (1, lambda value: value == 1),
    "[1]": ([1], lambda value: value == [1]),
    "x1": ("x1", lambda value: value == "x1"),
    "one of": (one_of(0, "x1"), lambda value: value in (0, "x1")),
    "one of unhashable": (one_of(0, [1]), lambda value: value in (0, [1])),
    "glob": (glob("x*"), lambda value: isinstance(value, str) and value.startswith("x")),
}
DETAILS = (None, 0, 1, 1.0, [1], "x1", "x2")


def in_start_order(results: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Handlers that were started, as they are; then the skipped ones, whose place among the others nothing promises."""
    return [one for one in results if one[1] != "skipped"] + sorted(one for one in results if one[1] == "skipped")


@attrs.frozen
class Script:
    """What a handler is registered with, and what it does when it is called."""

    phase: str
    wanted: Mapping[str, str]
    odd_events_only: bool
    name: str
    requires: tuple[str, ...]
    required_by: tuple[str, ...]
    max_calls: int | None
    timeout: int | None
    returns: str
    fails: str
    seconds: int
    then: tuple[str, Any] | None

    def options(self) -> dict[str, Any]:
        return {
            "handler_name": self.name,
            "requires": self.requires,
            "required_by": self.required_by,
            "max_calls": self.max_calls,
            "timeout": self.timeout,
            "where": (lambda event: event[0] % 2) if self.odd_events_only else None,
            **{keyword: WANTED[name][0] for keyword, name in self.wanted.items()},
        }

    def error(self) -> Exception | None:
        return {"": None, "fails": ValueError("planned"), "stops": StopProcessing("stopped")}[self.fails]


class World:
    """What both sides have: a clock, and a list of all that has happened."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.happened: list[Any] = []
        self.removed_at: dict[int, float] = {}

    def note(self, *what: Any) -> None:
        self.happened.append((self.clock.seconds(), *what))

    def do(self, then: tuple[str, Any] | None, event: tuple[int, int]) -> None:
        """What a handler does to the dispatcher.  Events fired by handlers do not lead to more."""
        if then is not None and event[1] == 0:
            what, argument = then
            if what == "add":
                self.add(argument)
            elif what == "remove":
                self.remove(argument, None)
            else:
                self.fire((event[0], 1), argument)

    def add(self, script: Script) -> None:
        raise NotImplementedError

    def remove(self, number: int, removal: int | None) -> None:
        raise NotImplementedError

    def fire(self, event: tuple[int, int], details: dict[str, Any]) -> Any:
        raise NotImplementedError


@attrs.define(eq=False)
class Listener:
    """A handler, to the oracle."""

    number: int
    script: Script
    calls_left: int | None
    alive: bool = True
    running: int = 0
    removals: list[int] = attrs.field(factory=list)

    def requires(self, other: Listener) -> bool:
        return other.script.name in self.script.requires or self.script.name in other.script.required_by

    def wants(self, event: tuple[int, int], details: Mapping[str, Any]) -> bool:
        return all(WANTED[name][1](details.get(keyword)) for keyword, name in self.script.wanted.items()) and (
            not self.script.odd_events_only or event[0] % 2 == 1
        )


class Oracle(World):
    """What should happen."""

    def __init__(self, policy: str) -> None:
        super().__init__()
        self.policy = policy
        self.listeners: list[Listener] = []

    @staticmethod
    def ordered(listeners: list[Listener]) -> list[Listener]:
        """By phase; inside it always the first registered of those whose requirements are met."""
        rest = sorted(listeners, key=lambda one: (PHASES.index(one.script.phase), one.number))
        found: list[Listener] = []
        while rest:
            found.append(next(one for one in rest if not any(one.requires(other) for other in rest)))
            rest.remove(found[-1])
        return found

    def add(self, script: Script) -> None:
        new = Listener(len(self.listeners), script, script.max_calls)
        try:
            order = [one.script.phase for one in self.ordered([one for one in [*self.listeners, new] if one.alive])]
        except StopIteration:
            order = []
        if order and order == sorted(order, key=PHASES.index):
            self.listeners.append(new)
        else:
            self.note("refused")

    def remove(self, number: int, removal: int | None) -> None:
        listener = self.listeners[number % len(self.listeners)]
        if not listener.alive:
            self.note("unknown")
            return
        listener.alive = False
        if removal is not None:
            listener.removals.append(removal)
            self.left(listener, 0)

    def left(self, listener: Listener, calls: int = 1) -> None:
        listener.running -= calls
        while listener.removals and not listener.running:
            self.removed_at[listener.removals.pop()] = self.clock.seconds()

    def matching(self, event: tuple[int, int], details: Mapping[str, Any]) -> list[Listener]:
        return self.ordered([one for one in self.listeners if one.alive and one.wants(event, details)])

    def fire(self, event: tuple[int, int], details: dict[str, Any]) -> Run:
        return Run(self, event, self.matching(event, details))


class Run:
    """A firing, to the oracle."""

    def __init__(self, oracle: Oracle, event: tuple[int, int], steps: list[Listener]) -> None:
        self.oracle, self.event, self.steps = oracle, event, steps
        #: in start order
        self.results: dict[Listener, str] = {}
        self.pending: dict[Listener, list[Any]] = {}
        self.ending = self.over = False
        self.advance()

    def advance(self) -> None:
        for phase in PHASES:
            for one in self.steps:
                if one.script.phase == phase and one not in self.results and not self.ending:
                    needed = [self.results.get(other, "pending") for other in self.steps if one.requires(other)]
                    if "pending" in needed:
                        continue
                    elif "failed" in needed or "skipped" in needed:
                        self.results[one] = "skipped"
                    elif not one.alive:
                        self.results[one] = "removed"
                    else:
                        self.start(one)
            if self.pending:
                return
            self.ending = self.ending or (self.oracle.policy != "COLLECT" and "failed" in self.results.values())
        for one in self.steps:
            self.results.setdefault(one, "skipped")
        self.end(self.summary())

    def start(self, one: Listener) -> None:
        script = one.script
        if one.calls_left is not None:
            one.calls_left -= 1
            one.alive = one.calls_left > 0
        self.results[one] = "pending"
        self.oracle.note("call", one.number, self.event)
        one.running += 1
        self.oracle.do(script.then, self.event)
        if script.returns in ("deferred", "coroutine"):
            self.pending[one] = [self.oracle.clock.callLater(script.seconds, self.woken, one, script.fails)]
            if script.timeout is not None:
                self.pending[one].append(self.oracle.clock.callLater(script.timeout, self.woken, one, "fails"))
        else:
            self.ended(one, script.fails)

    def woken(self, one: Listener, fails: str) -> None:
        for timer in self.pending.pop(one):
            if timer.active():
                timer.cancel()
        self.ended(one, fails)
        self.advance()

    def ended(self, one: Listener, fails: str) -> None:
        self.oracle.left(one)
        self.results[one] = {"": "done", "fails": "failed", "stops": "stopped"}[fails]
        self.ending = self.ending or fails == "stops"

    def cancel(self) -> None:
        if not self.over:
            for one, timers in self.pending.items():
                self.oracle.left(one)
                for timer in timers:
                    timer.cancel()
            self.pending.clear()
            self.end("cancelled")

    def summary(self) -> Any:
        results = in_start_order(
            [(one.number, "skipped" if result == "removed" else result) for one, result in self.results.items()]
        )
        failed = list(self.results.values()).count("failed")
        if self.oracle.policy != "RAISE" or not failed:
            return results
        # A handler's own exception tells nothing of the other handlers.
        return "fails" if failed == 1 else ("fails", failed, results)

    def end(self, summary: Any) -> None:
        self.over = True
        self.oracle.note("end", self.event, summary)


class Subject(World):
    """What does happen."""

    def __init__(self, policy: str) -> None:
        super().__init__()
        policies = {"COLLECT": COLLECT, "ABORT": ABORT, "RAISE": RAISE}
        self.dispatcher = EventDispatcher(("a", "b"), PHASES, on_failure=policies[policy], clock=self.clock)
        _ = self.dispatcher.start()
        self.ids: list[HandlerID] = []
        self.emitters: dict[str, Callable[[Any], Deferred[Any]]] = {}
        self.emit = False

    def handler(self, number: int, script: Script) -> Callable[[Any], Any]:
        def called(event: Any) -> None:
            self.note("call", number, event)
            self.do(script.then, event)

        def later() -> Deferred[Any]:
            timer = self.clock.callLater(script.seconds, lambda: deferred.callback("done"))
            deferred: Deferred[Any] = Deferred(lambda _: timer.cancel())
            return deferred

        def give(value: Any) -> Any:
            error = script.error()
            if error is not None:
                raise error
            return value

        def plain(event: Any) -> Any:
            called(event)
            return give(None if script.returns == "none" else "done")

        def fired(event: Any) -> Deferred[Any]:
            called(event)
            error = script.error()
            return succeed("done") if error is None else fail(error)

        def deferred(event: Any) -> Deferred[Any]:
            called(event)
            return later().addCallback(give)

        async def at_once(event: Any) -> Any:
            called(event)
            return give("done")

        async def coroutine(event: Any) -> Any:
            called(event)
            return give(await later())

        kinds: dict[str, Callable[[Any], Any]] = {
            "none": plain,
            "value": plain,
            "fired": fired,
            "at once": at_once,
            "deferred": deferred,
            "coroutine": coroutine,
        }
        return kinds[script.returns]

    def add(self, script: Script) -> None:
        handler = self.handler(len(self.ids), script)
        try:
            _ = self.dispatcher.add_event_handler(handler, script.phase, **script.options()).addCallback(self.ids.append)
        except OrderingError:
            self.note("refused")

    def remove(self, number: int, removal: int | None) -> None:
        def removed(_: None) -> None:
            if removal is not None:
                self.removed_at[removal] = self.clock.seconds()

        def unknown(failure: Failure) -> None:
            failure.trap(LookupError)
            self.note("unknown")

        _ = self.dispatcher.remove_event_handler(self.ids[number % len(self.ids)]).addCallbacks(removed, unknown)

    def fire(self, event: tuple[int, int], details: dict[str, Any]) -> Deferred[Any]:
        def end(outcome: Any) -> None:
            self.note("end", event, self.summary(outcome))

        def failed(failure: Failure) -> None:
            error = failure.value
            if isinstance(error, CancelledError):
                self.note("end", event, "cancelled")
            elif isinstance(error, HandlersFailed):
                self.note("end", event, ("fails", len(error.exceptions), self.summary(error.outcome)))
            else:
                assert isinstance(error, ValueError | HandlerTimeout)
                self.note("end", event, "fails")

        if self.emit:
            emit = self.emitters.setdefault(repr(details), self.dispatcher.emitter(**details))
            firing = emit(event)
        else:
            firing = self.dispatcher.fire_event(event, **details)
        return firing.addCallbacks(end, failed)

    def summary(self, outcome: Any) -> Any:
        def word(result: Any) -> str:
            if result.failure is not None:
                return "failed"
            return "skipped" if result.skipped else result.value or "done"

        return in_start_order([(self.ids.index(result.handler_id), word(result)) for result in outcome.results])


details = st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(DETAILS), max_size=2)
few_names: st.SearchStrategy[tuple[str, ...]] = st.sampled_from([(), (), (), *((name,) for name in NAMES)])


def scripts(then: st.SearchStrategy[tuple[str, Any] | None]) -> st.SearchStrategy[Script]:
    return st.builds(
        Script,
        phase=st.sampled_from(PHASES),
        wanted=st.one_of(st.just({}), st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(sorted(WANTED)), max_size=2)),
        odd_events_only=st.sampled_from([False, False, False, True]),
        name=st.sampled_from(NAMES),
        requires=few_names,
        required_by=few_names,
        max_calls=st.sampled_from([None, None, None, 1, 2]),
        timeout=st.sampled_from([None, None, 1, 2]),
        returns=st.sampled_from(["none", "none", "value", "fired", "at once", "deferred", "coroutine"]),
        fails=st.sampled_from(["", "", "", "", "fails", "stops"]),
        seconds=st.integers(1, 3),
        then=then,
    )


actions: st.SearchStrategy[tuple[str, Any] | None] = st.one_of(
    st.none(),
    st.none(),
    st.tuples(st.just("add"), scripts(st.none())),
    st.tuples(st.just("remove"), st.integers(0, 9)),
    st.tuples(st.just("fire"), details),
)


class DispatcherAgainstOracle(RuleBasedStateMachine):
    policy: ClassVar[str] = "COLLECT"
    oracle_class: ClassVar[type[Oracle]] = Oracle

    def __init__(self) -> None:
        super().__init__()
        self.subject = Subject(self.policy)
        self.oracle = self.oracle_class(self.policy)
        self.firings: list[tuple[Any, Any]] = []
        self.events = 0
        self.removals = 0

    @rule(script=scripts(actions))
    def add(self, script: Script) -> None:
        self.subject.add(script)
        self.oracle.add(script)

    @rule(number=st.integers(0, 9))
    def remove(self, number: int) -> None:
        if self.oracle.listeners:
            self.removals += 1
            self.subject.remove(number, self.removals)
            self.oracle.remove(number, self.removals)

    @rule(details=details, emit=st.booleans())
    def fire(self, details: dict[str, Any], emit: bool) -> None:
        self.events += 1
        self.subject.emit = emit
        self.firings.append(
            (self.subject.fire((self.events, 0), details), self.oracle.fire((self.events, 0), details)),
        )

    @rule(number=st.integers(0, 9))
    def cancel(self, number: int) -> None:
        if self.firings:
            for firing in self.firings[number % len(self.firings)]:
                firing.cancel()

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.subject.clock.advance(1)
            self.oracle.clock.advance(1)

    @invariant()
    def both_agree(self) -> None:
        assert self.subject.happened == self.oracle.happened
        assert self.subject.removed_at == self.oracle.removed_at
        alive = [one for one in self.oracle.listeners if one.alive]
        views = self.subject.dispatcher.handlers()
        assert [(self.subject.ids.index(view.handler_id), view.calls_left, view.running) for view in views] == [
            (one.number, one.calls_left, one.running)
            for one in sorted(alive, key=lambda one: (PHASES.index(one.script.phase), one.number))
        ]

    def teardown(self) -> None:
        self.wait(12)
        self.both_agree()


SETTINGS = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=150,
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("policy", ["COLLECT", "ABORT", "RAISE"])
def test_both_agree(policy: str) -> None:
    machine = type(f"DispatcherAgainstOracle{policy.title()}", (DispatcherAgainstOracle,), {"policy": policy})
    run_state_machine_as_test(machine, settings=SETTINGS)


class AbsentKeywordsMatch(Oracle):
    def matching(self, event: tuple[int, int], details: Mapping[str, Any]) -> list[Listener]:
        found = [one for one in self.listeners if one.alive and set(one.script.wanted) - set(details)]
        return self.ordered([*{*super().matching(event, details), *found}])


class RequirementsAreForgotten(Oracle):
    @staticmethod
    def ordered(listeners: list[Listener]) -> list[Listener]:
        Oracle.ordered(listeners)
        return sorted(listeners, key=lambda one: (PHASES.index(one.script.phase), one.number))


class RemovedHandlersAreCalled(Oracle):
    def remove(self, number: int, removal: int | None) -> None:
        listener = self.listeners[number % len(self.listeners)]
        super().remove(number, removal)
        if listener.running:
            listener.alive = True


class MaxCallsAreCountedTooLate(Oracle):
    def add(self, script: Script) -> None:
        super().add(attrs.evolve(script, max_calls=script.max_calls and script.max_calls + 1))


class TimeoutsAreLate(Oracle):
    def add(self, script: Script) -> None:
        super().add(attrs.evolve(script, timeout=script.timeout and script.timeout + 1))


@pytest.mark.parametrize(
    "faulty",
    [AbsentKeywordsMatch, RequirementsAreForgotten, RemovedHandlersAreCalled, MaxCallsAreCountedTooLate, TimeoutsAreLate],
)
def test_a_planted_fault_is_found(faulty: type[Oracle]) -> None:
    machine = type(f"Against{faulty.__name__}", (DispatcherAgainstOracle,), {"oracle_class": faulty})
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=settings(SETTINGS, phases=[Phase.generate], report_multiple_bugs=False))
