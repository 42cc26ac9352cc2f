"""What follows from what: the meanings, one by one."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest

from tests.flow.harness import World, chain, ended, statuses
from twisted_evproc.errors import ResultNotStorable, StepFailed, StepNotRun
from twisted_evproc.flow import (
    Eventor,
    FlowEvent,
    ResourcePool,
    RunMode,
    RunStatus,
    StepStatus,
    TaskStatus,
    and_,
    current_step,
    not_by,
    or_,
)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def ev(world: World) -> Eventor:
    return world.eventor()


def happened(world: World, run_id: str = "run1") -> list[str]:
    """The flow events that are committed, in their order."""
    rows = sorted(world.store._rows[run_id]["triggers"].values(), key=lambda row: row.at)
    return [f"{row.event}[{row.sequence}]" for row in rows]


class TestSequences:
    def test_a_step_runs_once_for_each(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.note())
        for sequence in (1, "1", 2, "x", 2):
            ev.trigger_event(go, sequence)
        assert ended(ev.run())
        assert world.calls == ["s1[1]", "s1[2]", "s1[x]"]

    def test_none_is_the_next_free_integer_from_1(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.note())
        for sequence in (None, 2, None, None):
            ev.trigger_event(go, sequence)
        assert ended(ev.run())
        assert sorted(world.calls) == ["s1[1]", "s1[2]", "s1[3]", "s1[4]"]

    def test_loops_are_made_by_new_ones(self, world: World, ev: Eventor) -> None:
        go = ev.add_event("go")

        def step() -> None:
            world.calls.append(current_step().sequence)
            if len(world.calls) < 4:
                ev.trigger_event(go)

        ev.add_assoc(go, ev.add_step("s", step))
        ev.trigger_event(go)
        assert ended(ev.run())
        assert world.calls == ["1", "2", "3", "4"]

    def test_expressions_count_triggers_of_the_same_one_only(self, world: World, ev: Eventor) -> None:
        a, b = ev.add_event("a"), ev.add_event("b")
        ev.add_assoc(ev.add_event("both", (a, b)), ev.add_step("s", world.note()))
        ev.trigger_event(a, 1)
        ev.trigger_event(b, 2)
        assert ended(ev.run())
        assert world.calls == []
        ev.trigger_event(b, 1)
        assert ended(ev.run())
        assert world.calls == ["s[1]"]


class TestTriggersOfSteps:
    def fired(self, world: World, value: Any, **options: Any) -> list[str]:
        ev = world.eventor(config={"stop_on_exception": False})
        go = ev.add_event("go")
        triggers = {status: ev.add_event(status.name) for status in StepStatus}
        ev.add_assoc(go, ev.add_step("s", world.note(value), triggers=triggers, **options))
        ev.trigger_event(go, 1)
        _ = ended(ev.run())
        return [name.removesuffix("[1]") for name in happened(world)[1:]]

    def test_of_a_success(self, world: World) -> None:
        assert self.fired(world, 1) == ["ready", "active", "success", "complete"]

    def test_of_a_failure(self, world: World) -> None:
        assert self.fired(world, ValueError()) == ["ready", "active", "failure", "complete"]

    def test_of_one_that_acquires(self, world: World) -> None:
        found = self.fired(world, 1, acquires=[(ResourcePool("p", 1), 1)])
        assert found == ["ready", "allocate", "fueled", "active", "success", "complete"]

    def test_ready_fires_when_the_task_is_made_and_allocate_when_it_begins_to_wait(self, world: World, ev: Eventor) -> None:
        pool = ResourcePool("p", 1)
        go, fueled = ev.add_event("go"), ev.add_event("fueled")
        ready, allocate = ev.add_event("ready"), ev.add_event("allocate")
        triggers = {StepStatus.ready: ready, StepStatus.allocate: allocate, StepStatus.fueled: fueled}
        ev.add_assoc(go, ev.add_step("s", world.wait, triggers=triggers, acquires=[(pool, 1)]))
        ev.trigger_event(go, 1)
        ev.trigger_event(go, 2)
        _ = ev.run()
        assert {"ready[2]", "allocate[2]"} <= set(happened(world))
        assert "fueled[2]" not in happened(world)
        world.finish("s[1]")
        assert "fueled[2]" in happened(world)

    def test_may_be_one_event_a_tuple_or_a_list(self, world: World, ev: Eventor) -> None:
        go, a, b, c = (ev.add_event(name) for name in ("go", "a", "b", "c"))
        for name, events in (("s1", a), ("s2", (a, b)), ("s3", [c])):
            ev.add_assoc(go, ev.add_step(name, world.note(), triggers={StepStatus.success: events}))
        ev.trigger_event(go, 1)
        assert ended(ev.run())
        assert sorted(happened(world)) == ["a[1]", "b[1]", "c[1]", "go[1]"]


class TestFailures:
    def branches(self, world: World, ev: Eventor, **options: Any) -> None:
        """``bad`` fails while ``good`` runs, which ``after`` follows."""
        go, then = ev.add_event("go"), ev.add_event("then")
        ev.add_assoc(go, ev.add_step("bad", world.wait, **options))
        ev.add_assoc(go, ev.add_step("good", world.wait, triggers={StepStatus.success: then}))
        ev.add_assoc(then, ev.add_step("after", world.note()))
        ev.trigger_event(go, 1)

    def test_stop_what_is_new_and_not_what_runs(self, world: World, ev: Eventor) -> None:
        self.branches(world, ev)
        run = ev.run()
        world.fail("bad[1]")
        world.finish("good[1]")
        result = ended(run)
        assert not result
        assert result.status is RunStatus.failure
        assert statuses(result) == {"bad[1]": TaskStatus.failure, "good[1]": TaskStatus.success, "after[1]": TaskStatus.ready}
        assert [(task.step, task.handled, task.error) for task in result.failures] == [("bad", False, "ValueError: broken")]

    @pytest.mark.parametrize("level", ["flow", "step", "step against flow"])
    def test_let_other_branches_go_on_if_told_so(self, world: World, level: str) -> None:
        ev = world.eventor(config={"stop_on_exception": level == "step against flow"} if level != "step" else {})
        self.branches(world, ev, config={} if level == "flow" else {"stop_on_exception": False})
        run = ev.run()
        world.fail("bad[1]")
        world.finish("good[1]")
        assert ended(run).status is RunStatus.failure
        assert "after[1]" in world.calls

    def test_of_a_step_that_stops_the_flow_though_others_do_not(self, world: World) -> None:
        ev = world.eventor(config={"stop_on_exception": False})
        self.branches(world, ev, config={"stop_on_exception": True})
        run = ev.run()
        world.fail("bad[1]")
        world.finish("good[1]")
        assert "after[1]" not in world.calls
        assert ended(run).status is RunStatus.failure

    @pytest.mark.parametrize("status", [StepStatus.failure, StepStatus.complete])
    def test_that_something_is_triggered_by_are_handled(self, world: World, ev: Eventor, status: StepStatus) -> None:
        self.branches(world, ev, triggers={status: ev.add_event("mend")})
        ev.add_assoc(ev.add_event("mend"), ev.add_step("mender", world.note()))
        run = ev.run()
        world.fail("bad[1]")
        world.finish("good[1]")
        result = ended(run)
        assert result
        assert result.status is RunStatus.success
        assert [(task.step, task.handled) for task in result.failures] == [("bad", True)]
        assert world.calls[2:] == ["mender[1]", "after[1]"]


class TestDelays:
    def test_make_an_association_wait(self, world: World, ev: Eventor) -> None:
        go = ev.add_event("go")
        ev.add_assoc(go, ev.add_step("s", world.note()), delay=10)
        ev.trigger_event(go, 1)
        run = ev.run()
        world.clock.advance(9.9)
        assert world.calls == []
        world.clock.advance(0.1)
        assert world.calls == ["s[1]"]
        assert ended(run).loops == 2

    def test_between_events(self, world: World, ev: Eventor) -> None:
        go, late = ev.add_event("go"), ev.add_event("late")
        ev.add_assoc(go, late, delay=10)
        ev.trigger_event(go, 1)
        run = ev.run()
        world.clock.advance(10)
        assert ended(run).status is RunStatus.success
        assert happened(world) == ["go[1]", "late[1]"]

    def test_need_one_timer_and_no_polling(self, world: World, ev: Eventor) -> None:
        go = ev.add_event("go")
        for number in range(5):
            ev.add_assoc(go, ev.add_step(f"s{number}", world.note()), delay=10 + number)
        ev.trigger_event(go, 1)
        _ = ev.run()
        assert [call.getTime() for call in world.clock.getDelayedCalls()] == [world.clock.seconds() + 10]

    @pytest.mark.parametrize(("passed", "left"), [(4, 6), (10, 0), (25, 0)])
    def test_count_from_when_they_began_also_in_a_recovery(self, world: World, passed: float, left: float) -> None:
        def flow(mode: RunMode) -> Eventor:
            ev = world.eventor(mode)
            go, late = ev.add_event("go"), ev.add_event("late")
            ev.add_assoc(go, late, delay=10)
            ev.add_assoc(late, ev.add_step("s", world.note()))
            ev.trigger_event(go, 1)
            return ev

        _ = ended(flow(RunMode.restart).run(1))
        world.clock.advance(passed)
        ev = flow(RunMode.recover)
        planned = ev.recovery_plan(world.store.snapshot())
        assert ([task.step for task in planned.tasks], planned.delays) == ((["s"], 0) if not left else ([], 1))
        run = ev.run()
        if left:
            world.clock.advance(left - 0.1)
            assert world.calls == []
            world.clock.advance(0.1)
        assert ended(run).recovery == 1
        assert world.calls == ["s[1]"]

    def test_that_are_over_are_not_waited_for_again(self, world: World) -> None:
        for mode in (RunMode.restart, RunMode.recover):
            ev = world.eventor(mode)
            go, then = ev.add_event("go"), ev.add_event("then")
            ev.add_assoc(go, ev.add_step("s", world.note(), triggers={StepStatus.success: then}), delay=10)
            ev.add_assoc(then, ev.add_step("t", world.note(ValueError() if mode is RunMode.restart else 1)))
            ev.trigger_event(go, 1)
            run = ev.run()
            if mode is RunMode.restart:
                world.clock.advance(10)
            assert ended(run).recovery == (mode is RunMode.recover)
        assert world.calls == ["s[1]", "t[1]", "t[1]"]


class TestNotBy:
    def flow(self, world: World, ev: Eventor) -> None:
        go, paid = ev.add_event("go"), ev.add_event("paid")
        ev.add_assoc(ev.add_event("late", not_by(paid, 60)), ev.add_step("remind", world.note()))
        ev.trigger_event(go, 1)
        assert go is not paid

    def test_holds_when_the_event_stays_away(self, world: World, ev: Eventor) -> None:
        self.flow(world, ev)
        run = ev.run()
        world.clock.advance(59)
        assert world.calls == []
        world.clock.advance(1)
        assert world.calls == ["remind[1]"]
        assert ended(run)

    def test_does_not_hold_when_it_happens_in_time_and_then_nothing_waits(self, world: World, ev: Eventor) -> None:
        self.flow(world, ev)
        run = ev.run()
        world.clock.advance(59)
        ev.trigger_event(ev.add_event("paid"), 1)
        result = ended(run)
        assert result.status is RunStatus.success
        assert world.calls == []

    def test_holds_though_the_event_happens_later(self, world: World, ev: Eventor) -> None:
        go, paid, sent = (ev.add_event(name) for name in ("go", "paid", "sent"))
        ev.add_assoc(ev.add_event("both", and_(not_by(paid, 60), sent)), ev.add_step("s", world.note()))
        ev.trigger_event(go, 1)
        _ = ended(ev.run(1))
        world.clock.advance(61)
        for event in (paid, sent):
            ev.trigger_event(event, 1)
        assert ended(ev.run())
        assert world.calls == ["s[1]"]

    def test_counts_from_the_first_trigger_across_restarts(self, world: World, ev: Eventor) -> None:
        self.flow(world, ev)
        assert ended(ev.run(1)).status is RunStatus.pending
        world.clock.advance(30)
        assert ended(ev.run(1)).status is RunStatus.pending
        world.clock.advance(30)
        assert ended(ev.run(1)).status is RunStatus.success
        assert world.calls == ["remind[1]"]

    def test_added_while_the_flow_runs_counts_in_the_sequences_that_have_begun(self, world: World, ev: Eventor) -> None:
        go, paid = ev.add_event("go"), ev.add_event("paid")
        ev.add_assoc(go, ev.add_step("s", world.wait))
        for sequence in ("paid in time", "paid late", "never paid", "paid before"):
            ev.trigger_event(go, sequence)
        run = ev.run()
        world.clock.advance(10)
        ev.trigger_event(paid, "paid before")
        ev.add_assoc(ev.add_event("late", not_by(paid, 60)), ev.add_step("remind", world.note()))
        world.calls.clear()
        world.clock.advance(49)
        ev.trigger_event(paid, "paid in time")
        assert world.calls == []
        world.clock.advance(1)
        ev.trigger_event(paid, "paid late")
        assert world.calls == ["remind[paid late]", "remind[never paid]"]
        for call in list(world.pending):
            world.finish(call)
        assert ended(run)

    def test_added_when_its_time_is_over_lets_what_is_declared_next_follow(self, world: World, ev: Eventor) -> None:
        go, paid = ev.add_event("go"), ev.add_event("paid")
        ev.add_assoc(go, ev.add_step("s", world.wait))
        for sequence in (1, 2):
            ev.trigger_event(go, sequence)
        run = ev.run()
        world.clock.advance(100)
        ev.trigger_event(paid, 2)
        ev.add_assoc(ev.add_event("late", not_by(paid, 60)), ev.add_step("remind", world.note()))
        world.clock.advance(0)
        for call in list(world.pending):
            world.finish(call)
        assert ended(run)
        assert sorted(world.calls[2:]) == ["remind[1]", "remind[2]"]

    def test_added_by_a_thread_that_the_reactor_has_not_heard_of_yet_is_no_trouble(self, world: World, ev: Eventor) -> None:
        go, paid = ev.add_event("go"), ev.add_event("paid")
        ev.add_assoc(go, ev.add_step("s", world.wait))
        ev.trigger_event(go, 1)
        run = ev.run()
        _ = ev.program.add_event(FlowEvent("late", not_by(paid, 60)))
        ev.trigger_event(paid, 1)
        world.finish("s[1]")
        assert ended(run)

    @pytest.mark.parametrize("paid_after", [30, 70, None])
    def test_comes_to_the_same_in_a_recovery(self, world: World, ev: Eventor, paid_after: float | None) -> None:
        self.flow(world, ev)
        _ = ended(ev.run(1))
        world.clock.advance(paid_after or 70)
        if paid_after:
            ev.trigger_event(ev.add_event("paid"), 1)
        assert ended(ev.run(1))
        world.clock.advance(100)
        for recovery in (1, 2):
            again = world.eventor(RunMode.recover)
            self.flow(world, again)
            assert ended(again.run(1)).recovery == recovery
        assert world.calls == ([] if paid_after == 30 else ["remind[1]"])
        rows = world.store._rows["run1"]["triggers"].values()
        assert [row.recovery for row in rows if row.event == "late"] == ([] if paid_after == 30 else [0, 1, 2])

    def test_does_not_keep_a_flow_waiting_that_another_operand_has_decided(self, world: World, ev: Eventor) -> None:
        go, paid = ev.add_event("go"), ev.add_event("paid")
        ev.add_event("either", or_(go, not_by(paid, 60)))
        ev.trigger_event(go, 1)
        assert ended(ev.run()).status is RunStatus.success


class TestLoops:
    def flow(self, world: World, ev: Eventor) -> None:
        go, next_ = ev.add_event("go"), ev.add_event("next")
        ev.add_assoc(go, ev.add_step("s1", world.note(), triggers={StepStatus.success: next_}))
        ev.add_assoc(next_, ev.add_step("s2", world.note()), delay=10)
        ev.add_assoc(next_, ev.add_step("s3", world.note()), delay=20)
        ev.trigger_event(go, 1)

    def test_0_does_nothing(self, world: World, ev: Eventor) -> None:
        self.flow(world, ev)
        result = ended(ev.run(0))
        assert (result.status, result.loops, world.calls) == (RunStatus.pending, 0, [])

    def test_1_is_until_nothing_can_run_now(self, world: World, ev: Eventor) -> None:
        self.flow(world, ev)
        result = ended(ev.run(1))
        assert result
        assert (result.status, result.loops, result.pending_delays) == (RunStatus.pending, 1, 2)
        assert world.calls == ["s1[1]"]

    def test_each_further_one_waits_for_the_next_delay(self, world: World, ev: Eventor) -> None:
        self.flow(world, ev)
        run = ev.run(2)
        assert not run.called
        world.clock.advance(10)
        result = ended(run)
        assert (result.status, result.loops, world.calls) == (RunStatus.pending, 2, ["s1[1]", "s2[1]"])

    def test_below_0_is_until_nothing_is_left(self, world: World, ev: Eventor) -> None:
        self.flow(world, ev)
        run = ev.run(-1)
        world.clock.advance(10)
        world.clock.advance(10)
        result = ended(run)
        assert (result.status, result.loops, len(world.calls)) == (RunStatus.success, 3, 3)


class TestLimits:
    def test_of_the_flow(self, world: World) -> None:
        ev = world.eventor(config={"max_concurrent": 2})
        go, _ = chain(ev, world.wait)
        for sequence in range(5):
            ev.trigger_event(go, sequence)
        run = ev.run()
        most = 0
        while world.pending:
            most = max(most, len(world.pending))
            world.finish(next(iter(world.pending)))
        assert most == 2
        assert len(ended(run).tasks) == 5

    def test_of_a_step_over_its_sequences(self, world: World, ev: Eventor) -> None:
        go = ev.add_event("go")
        ev.add_assoc(go, ev.add_step("one", world.wait, config={"max_concurrent": 1}), ev.add_step("any", world.wait))
        for sequence in range(3):
            ev.trigger_event(go, sequence)
        run = ev.run()
        assert sorted(world.pending) == ["any[0]", "any[1]", "any[2]", "one[0]"]
        for _ in range(6):
            world.finish(sorted(world.pending)[-1])
        assert world.calls[-2:] == ["one[1]", "one[2]"]
        assert ended(run)

    @pytest.mark.parametrize("limit", [0, -1])
    def test_below_1_are_none(self, world: World, limit: int) -> None:
        ev = world.eventor(config={"max_concurrent": limit})
        go, _ = chain(ev, world.wait, config={"max_concurrent": limit})
        for sequence in range(50):
            ev.trigger_event(go, sequence)
        _ = ev.run()
        assert len(world.pending) == 50

    def test_give_way_to_priority_and_then_to_who_came_first(self, world: World) -> None:
        ev = world.eventor(config={"max_concurrent": 1})
        go = ev.add_event("go")
        low = ev.add_step("low", world.note(), config={"priority": -1})
        high = ev.add_step("high", world.note(), config={"priority": 5})
        ev.add_assoc(go, low, ev.add_step("plain", world.note()), high)
        ev.trigger_event(go, 1)
        ev.trigger_event(go, 2)
        assert ended(ev.run())
        assert world.calls == ["high[1]", "high[2]", "plain[1]", "plain[2]", "low[1]", "low[2]"]

    def test_of_a_step_give_way_to_who_came_first_also_when_an_older_one_comes_late(self, world: World, ev: Eventor) -> None:
        go = ev.add_event("go")

        def step() -> Any:
            if current_step().attempt == 1 and current_step().sequence == "1":
                raise ValueError
            return world.wait()

        ev.add_assoc(go, ev.add_step("s", step, config={"max_concurrent": 1, "retries": 1, "backoff": 1}))
        for sequence in (1, 2, 3, 4):
            ev.trigger_event(go, sequence)
        _ = ev.run()
        world.clock.advance(2)
        world.finish("s[2]")
        assert list(world.pending) == ["s[1]"]


class TestRetries:
    def test_are_so_many_attempts_after_the_first_with_a_back_off_that_doubles(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.note(ValueError("again")), config={"retries": 2, "backoff": 4})
        ev.trigger_event(go, 1)
        run = ev.run()
        for wait, calls in ((3.9, 1), (0.1, 2), (7.9, 2), (0.1, 3)):
            world.clock.advance(wait)
            assert len(world.calls) == calls
        [failure] = ended(run).failures
        assert (failure.attempts, failure.error) == (3, "ValueError: again")

    def test_have_jitter_from_half_to_one_and_a_half(self, world: World, ev: Eventor) -> None:
        for random, due in ((0.0, 2.0), (0.999, 6.0)):
            ev = world.eventor()
            ev._drive.random = lambda random=random: random  # type: ignore[misc]  # no closure over the loop
            go, _ = chain(ev, world.note(ValueError()), config={"retries": 1, "backoff": 4})
            ev.trigger_event(go, 1)
            running = ev.run()
            [timer] = world.clock.getDelayedCalls()
            assert timer.getTime() - world.clock.seconds() == pytest.approx(due, abs=0.01)
            running.cancel()
            _ = running.addErrback(lambda _: None)

    def test_wait_across_restarts(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.note(ValueError()), config={"retries": 5, "backoff": 4})
        ev.trigger_event(go, 1)
        run = ev.run()
        run.cancel()
        _ = run.addErrback(lambda _: None)
        world.clock.advance(1)
        _ = ev.run()
        assert len(world.calls) == 1
        world.clock.advance(3)
        assert len(world.calls) == 2

    def test_may_be_many(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.note(ValueError()), config={"retries": 1100, "backoff": 0})
        ev.trigger_event(go, 1)
        run = ev.run()
        while not run.called:
            world.clock.advance(0)
        assert ended(run).failures[0].attempts == 1101

    def test_do_not_end_by_stop(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.wait, config={"retries": 1, "backoff": 4})
        ev.trigger_event(go, 1)
        run = ev.run()
        ev.stop()
        world.fail("s1[1]")
        result = ended(run)
        assert (result.status, result.failures) == (RunStatus.pending, ())
        run = ev.run()
        world.clock.advance(4)
        world.finish("s1[1]")
        assert ended(run).status is RunStatus.success

    def test_are_none_for_results_that_cannot_be_stored(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.note({1, 2}), config={"retries": 5})
        ev.trigger_event(go, 1)
        assert ended(ev.run()).failures[0].attempts == 1


class Trap(dict[Any, Any]):
    """Cannot be looked at."""

    def items(self) -> Any:
        raise ZeroDivisionError


class TestResults:
    @pytest.mark.parametrize("value", [None, 0, 0.0, False, "", [], {}, "ü", {"a": [1, {"b": None}]}, 10**30])
    def test_come_back_also_falsy_ones(self, world: World, ev: Eventor, value: Any) -> None:
        go, step = chain(ev, world.note(value))
        ev.trigger_event(go, 1)
        assert ended(ev.run())
        assert ev.result(step, 1) == value
        assert ev.result("s1", "1") == value
        assert type(ev.result(step, 1)) is type(value)

    def test_tuples_come_back_as_lists(self, world: World, ev: Eventor) -> None:
        go, step = chain(ev, world.note((1, (2,))))
        ev.trigger_event(go, 1)
        assert ended(ev.run())
        assert ev.result(step, 1) == [1, [2]]

    @pytest.mark.parametrize("value", [{1}, object(), math.nan, "\0", "\ud800", {1: 2}, b"x", Trap({1: 2})])
    def test_that_cannot_be_stored_fail_their_step(self, world: World, ev: Eventor, value: Any) -> None:
        go, step = chain(ev, world.note(value))
        ev.trigger_event(go, 1)
        result = ended(ev.run())
        assert result.status is RunStatus.failure
        with pytest.raises(StepFailed, match=r"ResultNotStorable: step 's1' returned what cannot be stored"):
            ev.result(step, 1)
        assert ResultNotStorable.__name__ in (result.failures[0].error or "")

    def test_need_no_form_when_they_are_discarded(self, world: World, ev: Eventor) -> None:
        go, step = chain(ev, world.note({1}), config={"result": "discard"})
        ev.trigger_event(go, 1)
        assert ended(ev.run())
        assert ev.result(step, 1) is None

    def test_are_missing_before_the_step_ends(self, world: World, ev: Eventor) -> None:
        go, step = chain(ev, world.wait)
        with pytest.raises(StepNotRun, match="'s1' has no result for sequence '1': it never began"):
            ev.result(step, 1)
        with pytest.raises(StepNotRun, match="'zz' has no result for sequence '1': the flow has no such step"):
            ev.result("zz", 1)
        ev.trigger_event(go, 1)
        _ = ev.run()
        with pytest.raises(LookupError, match="it is active"):
            ev.result(step, 1)

    def test_of_a_failure_are_why(self, world: World, ev: Eventor) -> None:
        go, step = chain(ev, world.note(KeyError("x")))
        ev.trigger_event(go, 1)
        _ = ended(ev.run())
        with pytest.raises(StepFailed, match="KeyError: 'x'"):
            ev.result(step, 1)


class TestWhatAStepKnows:
    def test_is_in_current_step_and_in_the_environment(self, world: World) -> None:
        ev = world.eventor(config={"max_concurrent": 1})

        def step() -> list[Any]:
            known = current_step()
            said = os.environ["EVENTOR_STEP_SEQUENCE"]
            return [known.name, known.sequence, known.recovery, known.attempt, known.idempotency_key, said]

        go, s1 = chain(ev, step)
        ev.trigger_event(go, 7)
        assert ended(ev.run())
        assert ev.result(s1, 7) == ["s1", "7", 0, 1, "run1/s1/7", "7"]

    def test_is_nothing_outside(self) -> None:
        with pytest.raises(LookupError, match="current_step"):
            current_step()
