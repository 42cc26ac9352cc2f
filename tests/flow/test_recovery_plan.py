"""What a plan says is what the recovery then does."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from tests.flow.views.scenes import Play, fail, shop
from twisted_evproc.errors import FlowDefinitionError, StoreUnusable
from twisted_evproc.flow import NOT_DONE, Eventor, ResourcePool, RunMode, StepReplay, StepStatus
from twisted_evproc.flow._recovery_plan import RecoveryPlan, plan_recovery


def plan(play: Play, before: Play, mode: RunMode = RunMode.recover, **options: Any) -> RecoveryPlan:
    return plan_recovery(play.flow.program, before.snapshot, play.flow._drive.requests, mode=mode, now=play.now, **options)


def said(found: RecoveryPlan) -> dict[str, str]:
    return {f"{task.step}[{task.sequence}]": task.does + ("" if task.at_once else " later") for task in found.tasks}


def unrun(before: Play, packs: bool = True) -> Play:
    """The shop's flow, declared again over the same store."""
    again = Play(before=before, mode=RunMode.recover)
    flow = again.flow
    order, paid, packed = (flow.add_event(name) for name in ("order", "paid", "packed"))
    again.step("charge", order, triggers={StepStatus.success: paid})
    again.step("pack", order, (lambda: 1) if packs else fail, triggers={StepStatus.success: packed})
    again.step("send", flow.add_event("ship", (paid, packed)))
    flow.trigger_event(order, 1)
    return again


def test_what_succeeded_is_skipped_and_what_failed_runs_again() -> None:
    before = shop()

    found = plan(unrun(before), before)

    assert said(found) == {"charge[1]": "skip", "pack[1]": "rerun", "send[1]": "run later"}
    assert (found.recovery, found.asked) == (1, 0)
    assert [task.before for task in found.tasks] == ["success", "failure", None]


def test_the_recovery_does_what_was_planned() -> None:
    before = shop()
    again = unrun(before)
    planned = plan(again, before)

    again.run()
    done = {f"{task.step}[{task.sequence}]": task for task in again.snapshot.tasks if task.recovery == 1}

    assert {task for task, does in said(planned).items() if does == "skip"} == {
        key for key, row in done.items() if not row.attempt
    }
    assert set(said(planned)) == set(done)


def test_nothing_is_run_or_written() -> None:
    before = shop()
    commits = len(before.store.commits)

    plan(unrun(before, packs=False), before)

    assert len(before.store.commits) == commits


def kept(path: Path, mode: RunMode, calls: list[str]) -> Eventor:
    flow = Eventor("kept", path, mode, config={"executor": "inline"}, logging_level=logging.CRITICAL)
    go = flow.add_event("go")
    flow.add_assoc(go, flow.add_step("s", lambda: calls.append("s"), recovery={StepStatus.success: StepReplay.rerun}))
    flow.trigger_event(go, 1)
    return flow


@pytest_twisted.ensureDeferred
async def test_the_flow_runs_afterwards_as_it_would_have_run_without(tmp_path: Path) -> None:
    calls: list[str] = []
    assert await kept(tmp_path / "runs", RunMode.restart, calls).run()
    for mode, recovery in ((RunMode.continue_, 0), (RunMode.restart, 0), (RunMode.recover, 1)):
        flow = kept(tmp_path / "runs", mode, calls)
        found = flow.recover(plan=True)
        assert isinstance(found, RecoveryPlan)
        assert (found.recovery, said(found)) == (1, {"s[1]": "rerun"})
        assert flow.run_mode is mode
        assert (await flow.run()).recovery == recovery
    assert len(calls) == 3


def test_also_when_there_was_nothing_to_plan(tmp_path: Path) -> None:
    flow = kept(tmp_path / "runs", RunMode.continue_, [])

    with pytest.raises(StoreUnusable):
        flow.recover(plan=True)

    assert flow.run_mode is RunMode.continue_


def test_a_store_that_is_an_object_cannot_be_read_from_outside() -> None:
    with pytest.raises(FlowDefinitionError, match=r"this one is an object; give recovery_plan\(\)"):
        unrun(shop()).flow.recover(plan=True)


def interrupted(**options: Any) -> tuple[Play, Play]:
    plays: list[Play] = []
    for number in range(2):
        play = Play(before=plays[0] if number else None, mode=RunMode.recover if number else RunMode.restart)
        go = play.flow.add_event("go")
        play.step("long", go, play.waiting("long"), **options)
        play.flow.trigger_event(go, 1)
        plays.append(play)
    plays[0].run()
    return plays[1], plays[0]


@pytest.mark.parametrize("mode", [RunMode.recover, RunMode.continue_])
@pytest.mark.parametrize(
    ("options", "does"),
    [
        ({}, "rerun"),
        ({"recovery": {StepStatus.active: StepReplay.skip}}, "skip"),
        ({"config": {"probe": lambda key: NOT_DONE}}, "ask the probe"),
    ],
)
def test_a_task_in_doubt(mode: RunMode, options: dict[str, Any], does: str) -> None:
    again, before = interrupted(**options)

    assert said(plan(again, before, mode)) == {"long[1]": does}


def test_going_on_keeps_what_has_ended() -> None:
    before = shop()

    found = plan(unrun(before), before, RunMode.continue_)

    assert said(found) == {"charge[1]": "keep", "pack[1]": "keep"}
    assert (found.recovery, found.asked) == (0, None)


def test_resources_that_another_run_holds_are_waited_for() -> None:
    before = shop()
    again = Play(before=before, mode=RunMode.recover)
    go = again.flow.add_event("go")
    again.step("big", go, acquires=[(ResourcePool("gpu", 1), 1)])
    again.flow.trigger_event(go, 1)
    snapshot = before.snapshot._replace(foreign_holds={"gpu": 1})

    found = plan_recovery(again.flow.program, snapshot, again.flow._drive.requests, now=again.now)

    assert said(found) == {"big[1]": "wait"}


def test_steps_that_the_program_has_no_longer() -> None:
    _, before = interrupted()

    found = plan(Play(before=before), before, RunMode.continue_)

    assert found.orphans == ("long",)


def test_a_recovery_that_there_is_not() -> None:
    before = shop()

    with pytest.raises(FlowDefinitionError, match="has recoveries 0 to 0"):
        plan(unrun(before), before, recovery_run=3)
