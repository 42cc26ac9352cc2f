"""Random flows with random crashes, against what their meaning says without any."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from tests.flow.harness import World, here
from twisted_evproc.flow import (
    Eventor,
    FlowResult,
    ResourcePool,
    RunMode,
    Snapshot,
    StepStatus,
    and_,
    at_least,
    current_step,
    or_,
)
from twisted_evproc.flow._fsck import broken_invariants

EVENTS = 7
# Not "active": a task that a recovery skips does not fire it.
FIRED = ["ready", "success", "failure", "complete"]


class StepPlan(NamedTuple):
    name: str
    fails: int
    retries: int
    triggers: dict[str, list[int]]
    pools: tuple[tuple[str, int], ...]
    limit: int
    priority: int


class FlowPlan(NamedTuple):
    expressions: dict[int, tuple[str, list[int]]]
    steps: list[StepPlan]
    follows: list[tuple[int, str, float]]
    sequences: list[str]
    max_concurrent: int


@st.composite
def flow_plans(draw: st.DrawFn) -> FlowPlan:
    expressions = {}
    for number in range(2, EVENTS):
        if draw(st.booleans()):
            below = st.lists(st.integers(0, number - 1), min_size=1, max_size=3)
            expressions[number] = draw(st.sampled_from(["all", "any", "two"])), draw(below)
    steps = []
    follows: dict[tuple[int, str], float] = {}
    for number in range(draw(st.integers(1, 4))):
        after = draw(st.integers(0, EVENTS - 2))
        later = st.lists(st.integers(after + 1, EVENTS - 1), max_size=2)
        retries = draw(st.integers(0, 2))
        steps.append(
            StepPlan(
                f"s{number}",
                draw(st.sampled_from([0, 0, retries, 99])),
                retries,
                draw(st.dictionaries(st.sampled_from(FIRED), later, max_size=3)),
                draw(st.sampled_from([(), (), (("p", 1),), (("p", 2),), (("p", 1), ("q", 1)), (("q", 1),)])),
                draw(st.integers(0, 2)),
                draw(st.integers(0, 2)),
            )
        )
        follows[after, f"s{number}"] = draw(st.sampled_from([0.0, 0.0, 5.0]))
    for _ in range(draw(st.integers(0, 3))):
        source = draw(st.integers(0, EVENTS - 2))
        follows[source, str(draw(st.integers(source + 1, EVENTS - 1)))] = draw(st.sampled_from([0.0, 5.0]))
    sequences = draw(st.lists(st.sampled_from("123"), min_size=1, max_size=3, unique=True))
    return FlowPlan(expressions, steps, [(*ends, delay) for ends, delay in follows.items()], sequences, draw(st.integers(0, 2)))


def meaning(plan: FlowPlan) -> tuple[set[str], dict[str, str]]:
    """Which flow events happen for a sequence, and what becomes of its tasks."""
    happened = {0}
    tasks: dict[str, str] = {}
    steps = {step.name: step for step in plan.steps}
    need = {"all": lambda n: n, "any": lambda _: 1, "two": lambda n: min(2, n)}
    while True:
        before = len(happened), len(tasks)
        for source, target, _ in plan.follows:
            if source in happened and target in steps:
                tasks[target] = "success" if steps[target].fails <= steps[target].retries else "failure"
            elif source in happened:
                happened.add(int(target))
        for name, status in tasks.items():
            for fired in ("ready", status, "complete"):
                happened.update(steps[name].triggers.get(fired, ()))
        for number, (word, operands) in plan.expressions.items():
            if sum(operand in happened for operand in operands) >= need[word](len(operands)):
                happened.add(number)
        if before == (len(happened), len(tasks)):
            return {f"e{number}" for number in happened}, tasks


def build(plan: FlowPlan, world: World, mode: RunMode, function: Callable[[StepPlan], Callable[[], Any]]) -> Eventor:
    ev = world.eventor(mode, config={"max_concurrent": plan.max_concurrent, "stop_on_exception": False})
    events: list[Any] = []
    pools = {"p": ResourcePool("p", 2), "q": ResourcePool("q", 1)}
    words = {"all": and_, "any": or_, "two": lambda *operands: at_least(min(2, len(operands)), *operands)}
    for number in range(EVENTS):
        word, operands = plan.expressions.get(number, ("", []))
        events.append(ev.add_event(f"e{number}", words[word](*(events[each] for each in operands)) if word else None))
    steps = {
        step.name: ev.add_step(
            step.name,
            function(step),
            triggers={StepStatus[fired]: [events[each] for each in later] for fired, later in step.triggers.items()},
            acquires=[(pools[pool], amount) for pool, amount in step.pools],
            config={"retries": step.retries, "backoff": 3, "max_concurrent": step.limit, "priority": step.priority},
        )
        for step in plan.steps
    }
    for source, target, delay in plan.follows:
        ev.add_assoc(events[source], steps[target] if target in steps else events[int(target)], delay=delay)
    for sequence in plan.sequences:
        ev.trigger_event(events[0], sequence)
    return ev


class Trial:
    """A flow that is killed now and then."""

    def __init__(self, plan: FlowPlan) -> None:
        self.plan = plan
        self.world = World()
        self.checked = 0
        self.start(RunMode.restart)

    def start(self, mode: RunMode) -> None:
        self.ev = build(self.plan, self.world, mode, self.function)
        self.over: list[Any] = []
        self.running: Deferred[FlowResult] = self.ev.run()
        _ = self.running.addBoth(self.over.append)

    def function(self, step: StepPlan) -> Callable[[], Any]:
        def body() -> Any:
            rows = self.world.store._rows["run1"]["tasks"]
            current = current_step()
            assert not any(
                row.status == "success" for row in rows.values() if (row.step, row.sequence) == (step.name, current.sequence)
            ), "a step whose success is committed runs again"
            row = rows[current.recovery, (step.name, current.sequence)]
            assert (row.status, row.attempt) == ("active", current.attempt), "a step runs before it is committed that it does"
            running = [call.partition("[")[0] for call in self.world.pending]
            assert not self.plan.max_concurrent or len(running) < self.plan.max_concurrent
            assert not step.limit or running.count(step.name) < step.limit
            assert here() not in self.world.pending
            fails = current.attempt <= step.fails
            waiting: Deferred[Any] = self.world.wait()
            return waiting.addCallback(self.fail if fails else lambda _: current.attempt)

        return body

    def fail(self, _: Any) -> None:
        raise ValueError("as planned")

    def crash(self, mode: RunMode, commits_survive: bool) -> None:
        self.running.cancel()
        if not commits_survive:
            self.world.store._held.clear()
        self.world.store.release()
        self.world.store.hold = False
        self.world.pending.clear()
        self.check()
        self.start(mode)

    def check(self) -> None:
        store = self.world.store
        if self.checked == len(store.commits):
            return
        self.checked = len(store.commits)
        rows = store._rows["run1"]
        run = store._runs["run1"]
        assert broken_invariants(_snapshot(run, rows), json.loads(run.program)) == []

    def drain(self) -> FlowResult:
        self.world.store.hold = False
        self.world.store.release()
        for _ in range(1000):
            self.check()
            if self.over:
                break
            if self.world.pending:
                self.world.finish(next(iter(self.world.pending)))
            else:
                self.world.clock.advance(20)
        assert self.over, "the run does not end"
        if not isinstance(self.over[0], FlowResult):
            self.over[0].raiseException()
        result: FlowResult = self.over[0]
        return result


def _snapshot(run: Any, rows: Any) -> Snapshot:
    return Snapshot(
        run,
        list(rows["triggers"].values()),
        list(rows["tasks"].values()),
        list(rows["delays"].values()),
        [hold for hold in rows["holds"].values() if hold.amount],
        {},
    )


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(flow_plans(), st.data())
def test_crashes_change_nothing_of_what_a_flow_means(plan: FlowPlan, data: st.DataObject) -> None:
    trial = Trial(plan)
    actions = st.sampled_from(["finish", "finish", "finish", "advance", "hold", "release", "crash", "recover"])
    for action in data.draw(st.lists(actions, max_size=25)):
        world = trial.world
        if action == "finish" and world.pending:
            world.finish(data.draw(st.sampled_from(sorted(world.pending))))
        elif action == "advance":
            world.clock.advance(data.draw(st.sampled_from([0.0, 1.0, 5.0, 20.0])))
        elif action == "hold":
            world.store.hold = True
        elif action == "release":
            world.store.release()
        elif action in ("crash", "recover"):
            trial.crash(RunMode.recover if action == "recover" else RunMode.continue_, data.draw(st.booleans()))
        trial.check()
    result = trial.drain()
    happened, tasks = meaning(plan)
    recovery = result.recovery
    rows = trial.world.store._rows["run1"]
    for sequence in plan.sequences:
        triggers = [row for row in rows["triggers"].values() if (row.recovery, row.sequence) == (recovery, sequence)]
        assert {row.event for row in triggers} == happened
        assert {task.step: task.status.name for task in result.tasks if task.sequence == sequence} == tasks
    assert {task.sequence for task in result.tasks} <= set(plan.sequences)
    assert not any(hold.amount for hold in rows["holds"].values())
    handled = {step.name for step in plan.steps if step.triggers.get("failure") or step.triggers.get("complete")}
    unhandled = any(status == "failure" and name not in handled for name, status in tasks.items())
    assert result.status.name == ("failure" if unhandled else "success")
