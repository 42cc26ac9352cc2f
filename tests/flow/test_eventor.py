"""Runs that are continued, recovered, stopped and watched."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.logger import LogLevel, capturedLogs, formatEvent

from tests.flow.harness import OwnExecutor, World, chain, ended, statuses
from twisted_evproc._reactor import default_clock
from twisted_evproc.errors import FlowDefinitionError, RunExists, RunLost, UnknownRun
from twisted_evproc.flow import (
    NOT_DONE,
    UNKNOWN,
    Attempt,
    Eventor,
    RunMode,
    RunStatus,
    StepReplay,
    StepStatus,
    TaskStatus,
    done,
)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def ev(world: World) -> Eventor:
    return world.eventor()


def die(running: Deferred[Any]) -> None:
    """As if the process had died."""
    running.cancel()
    assert isinstance(ended_with(running), CancelledError)


def ended_with(running: Deferred[Any]) -> BaseException:
    found: list[Any] = []
    _ = running.addErrback(lambda failure: found.append(failure.value))
    [error] = found
    assert isinstance(error, BaseException)
    return error


class TestNothingIsActedOnBeforeItsCommit:
    def test_steps_and_onlookers(self, world: World, ev: Eventor) -> None:
        seen: list[tuple[str, str]] = []
        _ = ev.dispatcher.handler("during")(lambda event: seen.append((event.name, event.status)))
        go, _, _ = chain(ev, world.note(), world.note())
        ev.trigger_event(go, 1)
        world.store.hold = True
        run = ev.run()
        assert (world.calls, seen) == ([], [])
        world.store.release()
        assert (world.calls, seen) == (["s1[1]"], [("go", "happened"), ("s1", "ready"), ("s1", "active")])
        world.store.release()
        assert world.calls == ["s1[1]", "s2[1]"]
        assert seen[3:] == [("s1", "success"), ("e2", "happened"), ("s2", "ready"), ("s2", "active")]
        while not run.called:
            world.store.release()
        assert ended(run)

    def test_a_result_and_all_that_follows_from_it_are_one_commit(self, world: World, ev: Eventor) -> None:
        go, _, _ = chain(ev, world.wait, world.note())
        ev.trigger_event(go, 1)
        _ = ev.run()
        count = len(world.store.commits)
        world.finish("s1[1]")
        batch = world.store.commits[count]
        assert {key[0]: row.status for key, row in batch.tasks.items()} == {"s1": "success", "s2": "active"}
        assert list(batch.triggers) == [("e2", "1")]

    def test_what_comes_meanwhile_shares_the_next_commit(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.note())
        _ = ev.run(0)
        world.store.hold = True
        ev.trigger_event(go, 0)
        _ = ev.run()
        for sequence in range(1, 10):
            ev.trigger_event(go, sequence)
        count = len(world.store.commits)
        world.store.release()
        world.store.release()
        assert [len(batch.triggers) for batch in world.store.commits[count:]] == [1, 9]

    def test_a_handler_that_fails_harms_nobody(self, world: World, ev: Eventor) -> None:
        def handler(event: Any) -> None:
            raise ValueError("handler")

        _ = ev.dispatcher.handler("during")(handler)
        go, _ = chain(ev, world.note())
        ev.trigger_event(go, 1)
        assert ended(ev.run())


class TestTriggering:
    def test_while_it_runs(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.wait)
        ev.trigger_event(go, 1)
        run = ev.run()
        ev.trigger_event(go, 2)
        for call in ("s1[1]", "s1[2]"):
            world.finish(call)
        assert len(ended(run).tasks) == 2

    def test_while_the_end_is_written_down_makes_it_go_on(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.note())
        ev.trigger_event(go, 1)
        run = ev.run()
        assert ended(run)
        world.store.hold = True
        run = ev.run()
        world.store.release()
        ev.trigger_event(go, 2)
        while not run.called:
            world.store.release()
        assert statuses(ended(run)) == {"s1[1]": TaskStatus.success, "s1[2]": TaskStatus.success}
        assert world.store._runs["run1"].status == "success"

    def test_before_it_runs_again(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.note())
        assert ended(ev.run())
        ev.trigger_event(go, 2)
        assert ended(ev.run())
        assert world.calls == ["s1[2]"]

    def test_is_kept_for_a_second_trial_when_the_first_fails(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.note())
        ev.trigger_event(go)
        world.store.hold = True
        die(ev.run())
        world.store._held.clear()
        world.store.hold = False
        assert ended(ev.run())
        assert world.calls == ["s1[1]"]

    def test_without_a_sequence_takes_one_once_also_when_the_first_trial_fails(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.wait)
        ev.trigger_event(go)
        die(ev.run())
        run = ev.run()
        assert world.calls == ["s1[1]", "s1[1]"]
        world.finish("s1[1]")
        assert len(ended(run).tasks) == 1


class TestContinue:
    def test_is_what_running_once_more_is(self, world: World, ev: Eventor) -> None:
        go, _, _ = chain(ev, world.note(), world.note())
        ev.trigger_event(go, 1)
        assert ended(ev.run())
        result = ended(ev.run())
        assert (result.run_id, result.recovery, len(world.calls)) == ("run1", 0, 2)

    def test_on_an_empty_store_is_a_first_run(self, world: World) -> None:
        for mode in (RunMode.continue_, RunMode.recover):
            world = World()
            ev = world.eventor(mode)
            go, _ = chain(ev, world.note())
            ev.trigger_event(go, 1)
            assert ended(ev.run()).recovery == 0
            assert world.calls == ["s1[1]"]

    def test_runs_a_task_once_that_was_left_ready(self, world: World, ev: Eventor) -> None:
        go, _, _ = chain(ev, world.wait, world.note())
        ev.trigger_event(go, 1)
        run = ev.run()
        ev.stop()
        world.finish("s1[1]")
        assert ended(run).status is RunStatus.pending
        again = world.eventor(RunMode.continue_)
        go, _, _ = chain(again, world.wait, world.note())
        again.trigger_event(go, 1)
        assert ended(again.run())
        assert world.calls == ["s1[1]", "s2[1]"]

    def test_runs_again_what_was_active(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.wait)
        ev.trigger_event(go, 1)
        die(ev.run())
        run = ev.run()
        world.finish("s1[1]")
        assert ended(run).tasks[0].attempts == 2

    def test_leaves_failed_tasks_failed(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.note(ValueError()))
        ev.trigger_event(go, 1)
        _ = ended(ev.run())
        assert ended(ev.run()).status is RunStatus.failure
        assert world.calls == ["s1[1]"]

    def test_lets_an_association_added_later_act_once(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.note())
        ev.trigger_event(go, 1)
        assert ended(ev.run())
        for _ in range(2):
            again = world.eventor(RunMode.continue_)
            go, _ = chain(again, world.note())
            again.add_assoc(go, again.add_step("new", world.note()), delay=5)
            run = again.run()
            world.clock.advance(5)
            assert ended(run)
        assert world.calls == ["s1[1]", "new[1]"]

    def test_lets_triggers_and_expressions_added_later_act_once(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.note())
        ev.trigger_event(go, 1)
        assert ended(ev.run())
        for _ in range(2):
            again = world.eventor(RunMode.continue_)
            go, extra = again.add_event("go"), again.add_event("extra")
            again.add_assoc(go, again.add_step("s1", world.note(), triggers={StepStatus.complete: extra}))
            again.add_assoc(again.add_event("both", (go, extra)), again.add_step("new", world.note()))
            assert ended(again.run())
        assert world.calls == ["s1[1]", "new[1]"]

    def test_keeps_the_time_a_delay_began(self, world: World, ev: Eventor) -> None:
        go = ev.add_event("go")
        ev.add_assoc(go, ev.add_step("s", world.note()), delay=10)
        ev.trigger_event(go, 1)
        for _ in range(3):
            assert ended(ev.run(1)).status is RunStatus.pending
            world.clock.advance(4)
        assert ended(ev.run(1)).status is RunStatus.success
        assert world.calls == ["s[1]"]

    def test_writes_no_delay_anew(self, world: World) -> None:
        for mode, delay in ((RunMode.restart, 10), (RunMode.continue_, 500)):
            ev = world.eventor(mode)
            go = ev.add_event("go")
            ev.add_assoc(go, ev.add_step("s", world.note()), delay=delay)
            ev.trigger_event(go, 1)
            assert ended(ev.run(1)).status is RunStatus.pending
        assert sum(len(batch.delays) for batch in world.store.commits) == 1

    def test_waits_no_longer_for_a_delay_that_was_taken_away(self, world: World) -> None:
        for mode, delay in ((RunMode.restart, 10), (RunMode.continue_, 0)):
            ev = world.eventor(mode)
            go = ev.add_event("go")
            ev.add_assoc(go, ev.add_step("s", world.note()), delay=delay)
            ev.trigger_event(go, 1)
            run = ev.run(1 if delay else -1)
            assert ended(run).pending_delays == (1 if delay else 0)
        assert world.calls == ["s[1]"]

    def test_is_stuck_on_a_step_that_vanished_until_it_is_back(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.wait)
        ev.trigger_event(go, 1)
        die(ev.run())
        again = world.eventor(RunMode.continue_)
        again.add_event("go")
        result = ended(again.run())
        assert (result.status, result.stuck_for) == (RunStatus.stuck, ("step 's1', which the program has no longer",))
        back = world.eventor(RunMode.continue_)
        chain(back, world.note())
        assert ended(back.run()).status is RunStatus.success

    def test_is_stuck_on_a_delayed_association_that_vanished_until_it_is_back(self, world: World, ev: Eventor) -> None:
        def program(ev: Eventor, **kept: bool) -> Eventor:
            go = ev.add_event("go")
            step = ev.add_step("s", world.note())
            if kept:
                ev.add_assoc(go, step, delay=10)
            return ev

        ev = program(ev, kept=True)
        ev.trigger_event(ev.program.events["go"], 1)
        assert ended(ev.run(1)).status is RunStatus.pending
        world.clock.advance(20)

        result = ended(program(world.eventor(RunMode.continue_)).run())
        assert (result.status, result.stuck_for) == (
            RunStatus.stuck,
            ("step s behind flow event 'go', which the program has no longer",),
        )

        assert ended(program(world.eventor(RunMode.continue_), kept=True).run()).status is RunStatus.success
        assert world.calls == ["s[1]"]

    def test_leaves_what_was_cancelled(self, world: World, ev: Eventor) -> None:
        go = ev.add_event("go")
        ev.add_assoc(go, ev.add_step("s", world.note()), delay=10)
        ev.trigger_event(go, 1)
        run = ev.run()
        ev.cancel()
        assert ended(run).status is RunStatus.cancelled
        world.clock.advance(20)
        assert ended(ev.run()).status is RunStatus.cancelled
        assert world.calls == []

    @pytest.mark.parametrize("mode", [RunMode.continue_, RunMode.recover])
    def test_of_a_run_that_is_not_there_yet_begins_it(self, world: World, mode: RunMode) -> None:
        result = ended(world.eventor(mode, run_id="x").run())

        assert (result.run_id, result.recovery) == ("x", 0)

    def test_of_another_run_than_the_one_that_was_meant(self, world: World) -> None:
        assert ended(world.eventor(run_id="bill-1").run())
        assert isinstance(ended_with(world.eventor(RunMode.recover, run_id="bil-1").run()), UnknownRun)
        assert [row.run_id for row in world.store._runs.values()] == ["bill-1"]

        # A program may always say continue_, and name what there is to be.
        assert ended(world.eventor(RunMode.continue_, run_id="bill-2").run()).run_id == "bill-2"

    @pytest.mark.parametrize("mode", [RunMode.continue_, RunMode.recover])
    def test_of_a_run_of_another_flow_is_refused(self, world: World, mode: RunMode) -> None:
        assert ended(world.eventor(run_id="bill-1").run())
        before = world.store.snapshot("bill-1")
        mail = world.eventor(mode, run_id="bill-1", name="mail")
        go, _ = chain(mail, world.note())
        mail.trigger_event(go, 1)

        error = ended_with(mail.run())
        assert isinstance(error, FlowDefinitionError)
        assert "run 'bill-1' is one of flow 'test', and this is flow 'mail'" in str(error)
        assert world.calls == []
        assert world.store.snapshot("bill-1").run._replace(epoch=1) == before.run
        with pytest.raises(FlowDefinitionError, match="one of flow 'test'"):
            mail.recovery_plan(before)

    def test_what_was_triggered_without_a_sequence_is_not_triggered_anew(self, world: World) -> None:
        def program(mode: RunMode) -> Eventor:
            ev = world.eventor(mode)
            (go, _) = chain(ev, world.note())
            ev.trigger_event(go)
            ev.trigger_event(go)
            return ev

        ev = program(RunMode.restart)
        _ = ended(ev.run())
        assert world.calls == ["s1[1]", "s1[2]"]

        _ = ended(program(RunMode.continue_).run())
        assert world.calls == ["s1[1]", "s1[2]"]

        ev.trigger_event(next(iter(ev.program.events.values())))
        _ = ended(ev.run())
        assert world.calls == ["s1[1]", "s1[2]", "s1[3]"]

    def test_a_trigger_without_a_sequence_is_no_repetition_of_one_with(self, world: World) -> None:
        def program(mode: RunMode, *sequences: Any) -> Eventor:
            ev = world.eventor(mode)
            (go, _) = chain(ev, world.note())
            for sequence in sequences:
                ev.trigger_event(go, sequence)
            return ev

        _ = ended(program(RunMode.restart, "monday").run())
        _ = ended(program(RunMode.continue_, None).run())
        assert world.calls == ["s1[monday]", "s1[1]"]

        _ = ended(program(RunMode.continue_, "tuesday", None).run())
        assert world.calls[2:] == ["s1[tuesday]"]

    @pytest.mark.parametrize("mode", [RunMode.restart, RunMode.recover])
    def test_a_trigger_without_a_sequence_is_known_again_also_when_an_earlier_trial_had_numbered_it(
        self, world: World, ev: Eventor, mode: RunMode
    ) -> None:
        go, _ = chain(ev, world.note())
        ev.trigger_event(go)
        if mode is RunMode.recover:
            assert ended(ev.run())
            ev.run_mode = mode
        else:
            world.store.hold = True
            die(ev.run())
            world.store._held.clear()
            world.store.hold = False
        assert ended(ev.run())
        again = world.eventor(RunMode.continue_)
        go, _ = chain(again, world.note())
        again.trigger_event(go)
        assert ended(again.run())
        assert world.calls == ["s1[1]"]

    def test_restart_with_an_id_that_is_taken(self, world: World) -> None:
        assert ended(world.eventor(run_id="x").run()).run_id == "x"
        assert isinstance(ended_with(world.eventor(run_id="x").run()), RunExists)


class TestDoubt:
    def crashed(self, world: World, mode: RunMode, **options: Any) -> tuple[Eventor, Deferred[Any]]:
        ev = world.eventor()
        go, _, _ = chain(ev, world.wait, world.note())
        ev.trigger_event(go, 1)
        die(ev.run())
        world.calls.clear()
        again = world.eventor(mode)
        go, _, _ = chain(again, world.wait, world.note(), **options)
        again.trigger_event(go, 1)
        return again, again.run()

    @pytest.mark.parametrize("mode", [RunMode.continue_, RunMode.recover])
    def test_can_be_skipped(self, world: World, mode: RunMode) -> None:
        ev, run = self.crashed(world, mode, recovery={StepStatus.active: StepReplay.skip})
        assert ended(run)
        assert world.calls == ["s2[1]"]
        assert ev.result("s1", 1) is None

    @pytest.mark.parametrize("mode", [RunMode.continue_, RunMode.recover])
    @pytest.mark.parametrize("later", [False, True])
    def test_can_be_settled_by_a_probe_that_says_done(self, world: World, mode: RunMode, later: bool) -> None:
        keys: list[str] = []
        answer: Deferred[Any] = Deferred()

        async def probe(key: str) -> Any:
            keys.append(key)
            return (await answer) if later else done({"paid": 3})

        ev, run = self.crashed(world, mode, config={"probe": probe})
        if later:
            assert not run.called
            answer.callback(done({"paid": 3}))
        assert ended(run)
        assert (keys, world.calls, ev.result("s1", 1)) == (["run1/s1/1"], ["s2[1]"], {"paid": 3})

    @pytest.mark.parametrize("mode", [RunMode.continue_, RunMode.recover])
    def test_is_run_again_when_the_probe_says_not_done(self, world: World, mode: RunMode) -> None:
        async def probe(key: str) -> Any:
            return NOT_DONE

        _, run = self.crashed(world, mode, config={"probe": probe})
        assert world.calls == ["s1[1]"]
        world.finish("s1[1]")
        assert ended(run)

    @pytest.mark.parametrize(("answer", "why"), [(UNKNOWN, "StepDied"), (None, "StepDied"), (KeyError("x"), "KeyError")])
    def test_fails_the_step_when_the_probe_does_not_know(self, world: World, answer: Any, why: str) -> None:
        async def probe(key: str) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        _, run = self.crashed(world, RunMode.continue_, config={"probe": probe})
        [failure] = ended(run).failures
        assert (failure.error or "").startswith(why)

    def test_fails_the_step_when_the_probe_does_not_answer_within_its_time_out(self, world: World) -> None:
        async def probe(key: str) -> Any:
            return await Deferred()

        with capturedLogs() as logged:
            _, run = self.crashed(world, RunMode.continue_, config={"probe": probe, "timeout": 5})
            world.clock.advance(4.9)
            assert not run.called
            world.clock.advance(0.1)
        [failure] = ended(run).failures
        why = "its probe did not answer within the step's time-out of 5 s"
        assert failure.error == f"StepDied: the process that ran step 's1' ended without an answer: {why}"
        [event] = [event for event in logged if "log_failure" in event]
        assert (event["log_level"], why in event["log_failure"].getErrorMessage()) == (LogLevel.error, True)
        assert world.clock.getDelayedCalls() == []

    def test_is_settled_by_a_probe_that_answers_in_time(self, world: World) -> None:
        answer: Deferred[Any] = Deferred()

        async def probe(key: str) -> Any:
            return await answer

        ev, run = self.crashed(world, RunMode.continue_, config={"probe": probe, "timeout": 5})
        world.clock.advance(4.9)
        answer.callback(done(3))
        assert ended(run)
        assert ev.result("s1", 1) == 3
        assert world.clock.getDelayedCalls() == []

    def test_is_asked_again_when_the_engine_dies_before_the_answer(self, world: World) -> None:
        asked: list[str] = []

        async def probe(key: str) -> Any:
            asked.append(key)
            return await Deferred() if len(asked) < 4 else done(1)

        ev, run = self.crashed(world, RunMode.recover, config={"probe": probe})
        die(run)
        die(ev.run())  # a recovery after the recovery
        for mode in (RunMode.recover, RunMode.continue_):
            ev = world.eventor(mode)
            go, _, _ = chain(ev, world.wait, world.note(), config={"probe": probe})
            ev.trigger_event(go, 1)
            run = ev.run()
            if mode is RunMode.recover:
                die(run) if not run.called else None
        assert ended(run)
        assert world.calls == ["s2[1]"]

    def test_does_not_keep_a_run_from_being_cancelled(self, world: World) -> None:
        async def probe(key: str) -> Any:
            return await Deferred()

        ev, run = self.crashed(world, RunMode.continue_, config={"probe": probe})
        ev.cancel()
        assert ended(run).status is RunStatus.cancelled


class TestRecover:
    def flow(self, world: World, mode: RunMode, second: Any, **options: Any) -> Eventor:
        ev = world.eventor(mode, **options)
        go, _, _, _ = chain(ev, world.note(1), second, world.note(3))
        ev.trigger_event(go, 1)
        return ev

    def test_runs_what_failed_and_what_follows(self, world: World) -> None:
        assert not ended(self.flow(world, RunMode.restart, world.note(ValueError())).run())
        world.calls.clear()
        ev = self.flow(world, RunMode.recover, world.note(2))
        result = ended(ev.run())
        assert result
        assert (result.recovery, world.calls) == (1, ["s2[1]", "s3[1]"])
        assert [ev.result(f"s{number}", 1) for number in (1, 2, 3)] == [1, 2, 3]

    def test_skips_fire_ready_success_and_complete_and_not_active(self, world: World) -> None:
        for mode in (RunMode.restart, RunMode.recover):
            ev = world.eventor(mode)
            go = ev.add_event("go")
            triggers = {status: ev.add_event(status.name) for status in StepStatus}
            ev.add_assoc(go, ev.add_step("s", world.note(), triggers=triggers))
            ev.trigger_event(go, 1)
            assert ended(ev.run())
        rows = world.store._rows["run1"]["triggers"].values()
        assert {row.event for row in rows if row.recovery == 1} == {"go", "ready", "success", "complete"}

    @pytest.mark.parametrize("status", [StepStatus.success, StepStatus.failure])
    def test_follows_the_steps_own_choice(self, world: World, status: StepStatus) -> None:
        value = ValueError() if status is StepStatus.failure else 1
        replay = {StepStatus.failure: StepReplay.skip, StepStatus.success: StepReplay.rerun}
        results = []
        for mode in (RunMode.restart, RunMode.recover):
            ev = world.eventor(mode)
            go, _ = chain(ev, world.note(value), recovery=replay)
            ev.trigger_event(go, 1)
            results.append(ended(ev.run()))
        assert len(world.calls) == (1 if status is StepStatus.failure else 2)
        assert results[1]

    def test_asks_the_recovery_that_is_chosen(self, world: World) -> None:
        _ = ended(self.flow(world, RunMode.restart, world.note(ValueError())).run())
        assert ended(self.flow(world, RunMode.recover, world.note(2)).run()).recovery == 1
        world.calls.clear()
        result = ended(self.flow(world, RunMode.recover, world.note(2), recovery_run=0).run())
        assert (result.recovery, world.calls) == (2, ["s2[1]", "s3[1]"])
        world.calls.clear()
        result = ended(self.flow(world, RunMode.recover, world.note(2)).run())
        assert (result.recovery, world.calls) == (3, [])

    def test_refuses_one_that_is_not_there(self, world: World) -> None:
        _ = ended(self.flow(world, RunMode.restart, world.note(2)).run())
        error = ended_with(self.flow(world, RunMode.recover, world.note(2), recovery_run=3).run())
        assert isinstance(error, FlowDefinitionError)
        assert "recovery_run=3: run 'run1' has recoveries 0 to 0" in str(error)

    def test_knows_what_was_committed_before_the_recovery_before(self, world: World) -> None:
        assert ended(self.flow(world, RunMode.restart, world.note(2)).run())
        ev = world.eventor(RunMode.recover)
        go = ev.add_event("go")
        ev.add_assoc(go, ev.add_step("s1", world.wait, recovery={StepStatus.success: StepReplay.rerun}))
        ev.trigger_event(go, 1)
        die(ev.run())
        world.calls.clear()
        assert ended(self.flow(world, RunMode.recover, world.note(2)).run()).recovery == 2
        assert world.calls == ["s1[1]"]

    def test_that_died_half_way_is_continued_with_what_was_known(self, world: World) -> None:
        assert ended(self.flow(world, RunMode.restart, world.note(2)).run())
        again = world.eventor(RunMode.recover)
        first = again.add_event("go")
        again.add_assoc(first, again.add_step("s1", world.wait, recovery={StepStatus.success: StepReplay.rerun}))
        again.trigger_event(first, 1)
        die(again.run())
        world.calls.clear()
        assert ended(self.flow(world, RunMode.continue_, world.note(2)).run()).recovery == 1
        assert world.calls == ["s1[1]"]

    def test_that_died_half_way_goes_on_asking_the_recovery_that_was_chosen(self, world: World) -> None:
        _ = ended(self.flow(world, RunMode.restart, world.note(ValueError())).run())
        assert ended(self.flow(world, RunMode.recover, world.note(2)).run())
        chosen = world.eventor(RunMode.recover, recovery_run=0)
        first = chosen.add_event("go")
        chosen.add_assoc(first, chosen.add_step("s1", world.wait, recovery={StepStatus.success: StepReplay.rerun}))
        chosen.trigger_event(first, 1)
        die(chosen.run())
        world.calls.clear()

        again = self.flow(world, RunMode.continue_, world.note(2))
        planned = again.recovery_plan(world.store.snapshot())
        assert [(task.step, task.does) for task in planned.tasks] == [("s1", "rerun"), ("s2", "run"), ("s3", "run")]
        once_more = world.eventor(RunMode.continue_)
        _ = once_more.add_step("s1", world.wait)
        die(once_more.run())
        world.calls.clear()
        assert ended(again.run()).recovery == 2
        assert world.calls == ["s1[1]", "s2[1]", "s3[1]"]

    def test_replays_flow_events_from_outside(self, world: World) -> None:
        for mode in (RunMode.restart, RunMode.recover):
            ev = world.eventor(mode)
            go, _ = chain(ev, world.wait, recovery={StepStatus.success: StepReplay.rerun})
            ev.trigger_event(go, 1)
            run = ev.run()
            if mode is RunMode.restart:
                ev.trigger_event(go, "outside")
            for call in list(world.pending):
                world.finish(call)
            assert ended(run)
        assert world.calls == ["s1[1]", "s1[outside]"] * 2

    def test_of_the_same_object_repeats_what_it_triggered_in_each_of_its_runs(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.note(ValueError()), config={"stop_on_exception": False})
        for sequence in (7, None):
            ev.trigger_event(go, sequence)
            assert not ended(ev.run())
        ev.run_mode = RunMode.recover
        ev.trigger_event(go, "new")
        assert set(statuses(ended(ev.run()))) == {"s1[7]", "s1[1]", "s1[new]"}
        ev.run_mode = RunMode.recover
        assert set(statuses(ended(ev.run()))) == {"s1[7]", "s1[1]", "s1[new]"}

    def test_runs_what_was_cancelled(self, world: World) -> None:
        ev = self.flow(world, RunMode.restart, world.wait)
        run = ev.run()
        ev.cancel()
        assert ended(run).status is RunStatus.cancelled
        assert ended(self.flow(world, RunMode.recover, world.note()).run()).status is RunStatus.success


class TestStopAndCancel:
    def test_stop_lets_what_runs_finish(self, world: World, ev: Eventor) -> None:
        go, _, _ = chain(ev, world.wait, world.note())
        ev.trigger_event(go, 1)
        run = ev.run()
        ev.stop()
        assert not run.called
        world.finish("s1[1]")
        assert (ended(run).status, world.calls) == (RunStatus.pending, ["s1[1]"])

    def test_stop_ends_the_waiting_for_a_delay(self, world: World, ev: Eventor) -> None:
        go = ev.add_event("go")
        ev.add_assoc(go, ev.add_step("s", world.note()), delay=10)
        ev.trigger_event(go, 1)
        run = ev.run()
        ev.stop()
        assert ended(run).status is RunStatus.pending
        assert world.clock.getDelayedCalls() == []

    @pytest.mark.parametrize("word", ["stop", "cancel"])
    def test_before_the_store_is_open_counts(self, world: World, ev: Eventor, word: str) -> None:
        opened: Deferred[None] = Deferred()
        at_once = world.store.open
        world.store.open = lambda: opened.addCallback(lambda _: at_once())  # type: ignore[method-assign]  # takes its time
        go, _ = chain(ev, world.note())
        ev.trigger_event(go, 1)
        run = ev.run()
        getattr(ev, word)()
        opened.callback(None)
        assert ended(run).status is (RunStatus.pending if word == "stop" else RunStatus.cancelled)
        assert world.calls == []

    def test_cancel_ends_what_runs(self, world: World, ev: Eventor) -> None:
        go, _, _ = chain(ev, world.wait, world.note())
        ev.trigger_event(go, 1)
        run = ev.run()
        waiting = world.pending["s1[1]"]
        ev.cancel()
        assert waiting.called
        result = ended(run)
        assert (result.status, statuses(result)) == (RunStatus.cancelled, {"s1[1]": TaskStatus.cancelled})
        assert not result

    def test_cancel_is_one_commit_with_what_becomes_of_the_tasks(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.wait)
        ev.trigger_event(go, 1)
        _ = ev.run()
        count = len(world.store.commits)
        ev.cancel()
        batch = world.store.commits[count]
        assert batch.run is not None
        task = batch.tasks["s1", "1"]
        assert (batch.run.status, task.status, task.ended) == ("cancelled", "cancelled", 1000.0)

    def test_two_runs_at_once_are_refused(self, world: World, ev: Eventor) -> None:
        opened: Deferred[None] = Deferred()
        world.store.open = lambda: opened  # type: ignore[method-assign]  # a store that takes its time
        _ = ev.run()
        with pytest.raises(FlowDefinitionError, match="runs already"):
            ev.run()

    def test_cancelling_the_deferred_closes_the_store_also_while_it_opens(self, world: World, ev: Eventor) -> None:
        world.store.open = Deferred  # type: ignore[method-assign]  # a store that takes its time
        world.store.state = "opening"
        die(ev.run())
        assert world.store.state == "closed"


class SlowStart(OwnExecutor):
    """
    Starts when the test says so.

    :ivar starts: what each call of :meth:`start` gave.
    :ivar stops: how often it was stopped.
    """

    def __init__(self) -> None:
        super().__init__()
        self.starts: list[Deferred[None]] = []
        self.stops = 0

    def start(self) -> Any:
        self.starts.append(Deferred())
        return self.starts[-1]

    def stop(self, timeout: float | None = None) -> Deferred[None]:
        self.stops += 1
        return super().stop(timeout)


class TestExecutorsOfUsers:
    @pytest.mark.parametrize("timeout", [None, 5])
    def test_may_give_a_deferred_that_has_fired_and_waits_for_another(self, world: World, timeout: float | None) -> None:
        class Chaining(OwnExecutor):
            def submit(self, attempt: Attempt) -> Deferred[Any]:
                return succeed(None).addCallback(lambda _: OwnExecutor.submit(self, attempt))

        executor = Chaining()
        ev = world.eventor(executor=executor)
        go, _, s2 = chain(ev, int, int, config={"timeout": timeout})
        ev.trigger_event(go, 1)
        run = ev.run()
        for value in (7, 8):
            [(_, running)] = executor.attempts
            executor.attempts.clear()
            running.callback(value)
        assert ended(run)
        assert ev.result(s2, 1) == 8
        assert world.clock.getDelayedCalls() == []

    def test_may_take_their_time_to_start(self, world: World) -> None:
        executor = SlowStart()
        ev = world.eventor(executor=executor)
        go, s1 = chain(ev, int)
        for sequence in (1, 2):
            ev.trigger_event(go, sequence)
        run = ev.run()
        [starting] = executor.starts
        assert executor.attempts == []
        starting.callback(None)
        for _, running in executor.attempts:
            running.callback(7)
        assert ended(run)
        assert [ev.result(s1, sequence) for sequence in (1, 2)] == [7, 7]

    def test_that_cannot_be_started_fail_each_attempt_and_are_started_anew_for_the_next(self, world: World) -> None:
        executor = SlowStart()
        ev = world.eventor(executor=executor)
        go, _ = chain(ev, int, config={"retries": 1, "backoff": 1})
        ev.trigger_event(go, 1)
        run = ev.run()
        executor.starts[0].errback(OSError("no way to the fleet"))
        world.clock.advance(1)
        executor.starts[1].errback(OSError("still no way"))
        [failure] = ended(run).failures
        assert (failure.attempts, failure.error) == (2, "OSError: still no way")
        assert (executor.attempts, executor.stops) == ([], 0)

    @pytest.mark.parametrize("word", ["cancel", "die"])
    def test_are_waited_for_no_longer_than_the_run_lasts(self, world: World, word: str) -> None:
        executor = SlowStart()
        ev = world.eventor(executor=executor)
        go, _ = chain(ev, int)
        ev.trigger_event(go, 1)
        run = ev.run()
        if word == "die":
            die(run)
        else:
            ev.cancel()
            assert ended(run).status is RunStatus.cancelled
        assert executor.starts[0].called
        assert (executor.attempts, executor.stops) == ([], 1)

    def test_are_asked_for_what_an_earlier_engine_left_once_they_have_started(self, world: World) -> None:
        class Fleet(SlowStart):
            def adopt(self, attempt: Attempt) -> Deferred[Any] | None:
                return self.submit(attempt)

        fleet = Fleet()
        ev = world.eventor(executor=fleet)
        go, s1 = chain(ev, int)
        ev.trigger_event(go, 1)
        run = ev.run()
        fleet.starts[0].callback(None)
        die(run)
        fleet.attempts.clear()
        run = ev.run()
        assert fleet.attempts == []
        fleet.starts[1].callback(None)
        [(attempt, running)] = fleet.attempts
        running.callback(7)
        assert ended(run)
        assert (attempt.number, ev.result(s1, 1)) == (1, 7)

    @pytest.mark.parametrize("at_once", [False, True])
    def test_that_cannot_be_stopped_change_nothing_of_the_result(self, world: World, at_once: bool) -> None:
        class Stubborn(OwnExecutor):
            def stop(self, timeout: float | None = None) -> Deferred[None]:
                if at_once:
                    raise OSError("it goes on")
                return fail(OSError("it goes on"))

        executor = Stubborn()
        ev = world.eventor(executor=executor)
        go, _ = chain(ev, int)
        ev.trigger_event(go, 1)
        run = ev.run()
        with capturedLogs() as logged:
            executor.attempts[0][1].callback(7)
        assert ended(run)
        [event] = [event for event in logged if "log_failure" in event]
        assert formatEvent(event) == "executor 'own' could not be stopped"
        assert event["log_failure"].type is OSError


class TestTimeouts:
    def test_cancel_the_attempt_and_fail_the_step(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.wait, config={"timeout": 5})
        ev.trigger_event(go, 1)
        run = ev.run()
        waiting = world.pending["s1[1]"]
        world.clock.advance(5)
        assert waiting.called
        [failure] = ended(run).failures
        assert failure.error == "StepTimeout: step 's1' took longer than its time-out of 5 s"

    def test_are_of_each_attempt(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.wait, config={"timeout": 5, "retries": 1, "backoff": 1})
        ev.trigger_event(go, 1)
        run = ev.run()
        world.clock.advance(5)
        world.clock.advance(1)
        world.clock.advance(4)
        world.finish("s1[1]")
        assert ended(run)
        assert world.clock.getDelayedCalls() == []

    @pytest.mark.parametrize("in_time", [True, False])
    def test_count_from_when_the_executor_says_that_the_attempt_begins(self, world: World, in_time: bool) -> None:
        class Queueing(OwnExecutor):
            def submit(self, attempt: Attempt) -> Deferred[Any]:
                attempt.waits()
                return super().submit(attempt)

        executor = Queueing()
        ev = world.eventor(executor=executor)
        go, _ = chain(ev, int, config={"timeout": 5})
        ev.trigger_event(go, 1)
        run = ev.run()
        [(attempt, running)] = executor.attempts
        world.clock.advance(100)
        attempt.begins()
        world.clock.advance(4.5)
        if in_time:
            running.callback(7)
            assert ended(run)
        else:
            world.clock.advance(0.5)
            [failure] = ended(run).failures
            assert failure.error == "StepTimeout: step 's1' took longer than its time-out of 5 s"
        assert world.clock.getDelayedCalls() == []

    def test_count_from_when_it_is_submitted_where_the_executor_says_nothing(self, world: World) -> None:
        ev = world.eventor(executor=OwnExecutor())
        go, _ = chain(ev, int, config={"timeout": 5})
        ev.trigger_event(go, 1)
        run = ev.run()
        world.clock.advance(5)
        assert (ended(run).failures[0].error or "").startswith("StepTimeout")

    def test_count_from_when_it_is_submitted_to_an_executor_that_has_started(self, world: World) -> None:
        executor = SlowStart()
        ev = world.eventor(executor=executor)
        go, _ = chain(ev, int, config={"timeout": 5})
        ev.trigger_event(go, 1)
        run = ev.run()
        world.clock.advance(100)
        executor.starts[0].callback(None)
        world.clock.advance(4.5)
        executor.attempts[0][1].callback(7)
        assert ended(run)


class TestLosingTheRun:
    def test_ends_the_engine_and_what_runs(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.wait)
        ev.trigger_event(go, 1)
        run = ev.run()
        waiting = world.pending["s1[1]"]
        _ = world.store.take("run1", "somebody:1")
        ev.trigger_event(go, 2)
        assert isinstance(ended_with(run), RunLost)
        assert waiting.called
        assert world.clock.getDelayedCalls() == []

    def test_what_the_package_does_wrong_itself_ends_the_run_and_does_not_hang_it(self, world: World, ev: Eventor) -> None:
        go, _ = chain(ev, world.wait)
        ev.trigger_event(go, 1)
        run = ev.run()
        assert ev._drive.run is not None
        ev._drive.run.start_tasks = lambda *_: 1 / 0  # type: ignore[assignment,method-assign]  # a fault
        ev.trigger_event(go, 2)
        assert isinstance(ended_with(run), ZeroDivisionError)


class TestLogging:
    @pytest.mark.parametrize(("level", "count"), [(20, 4), (30, 0)])
    def test_tells_what_goes_well_if_asked(self, world: World, level: int, count: int) -> None:
        ev = world.eventor(logging_level=level)
        go, _ = chain(ev, world.note())
        ev.trigger_event(go, 1)
        with capturedLogs() as logged:
            assert ended(ev.run())
        assert len([event for event in logged if event["log_namespace"] == "twisted_evproc.flow"]) == count


class TestInMemory:
    @pytest_twisted.ensureDeferred
    async def test_the_store_goes_with_the_flow(self) -> None:
        before = set(threading.enumerate())
        ev = Eventor("f", ":memory:", executor="inline")
        go, _ = chain(ev, lambda: None)
        ev.trigger_event(go, 1)
        assert await ev.run()
        [thread] = (thread for thread in threading.enumerate() if thread not in before and thread.name == "store :memory:")
        flow = weakref.ref(ev)
        del ev, go
        await deferLater(default_clock(None), 0)  # this came from the run's own callbacks
        _ = gc.collect()
        assert flow() is None
        while thread.is_alive():
            await deferLater(default_clock(None), 0.01)
