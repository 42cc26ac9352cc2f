"""What would a recovery do with each task?  Tried on the run's own machine, with no step run and nothing written."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from ..errors import FlowDefinitionError
from ._description import asked_in
from ._program import Program
from ._requests import from_outside
from ._rows import Snapshot, TaskRow
from ._run import PROGRAM, Run
from ._status import RunMode, StepReplay, TaskStatus
from ._task import Task
from ._transitions import Input


@attrs.frozen
class PlannedTask:
    """
    What would become of a task.

    :ivar step: its step; :ivar sequence: its sequence.
    :ivar before: its status in the recovery that is asked, or ``None`` where it was not reached.
    :ivar does: ``rerun``, ``skip``, ``ask the probe``, ``run`` (the first time), ``wait`` (for resources) or ``keep`` (it has
        ended, and the run goes on).
    :ivar at_once: whether that follows from what has happened already; otherwise only if what comes before it goes well.
    """

    step: str
    sequence: str
    before: str | None
    does: str
    at_once: bool


@attrs.frozen
class RecoveryPlan:
    """
    What a recovery, or going on, would do.

    :ivar run_id: the run; :ivar recovery: the number that it would work under.
    :ivar asked: the recovery whose statuses are asked; ``None`` when the run goes on as it is.
    :ivar tasks: in the order in which they would be made.
    :ivar delays: how many associations would wait after that.
    :ivar orphans: steps with open tasks that the program has no longer.
    """

    run_id: str
    recovery: int
    asked: int | None
    tasks: tuple[PlannedTask, ...]
    delays: int
    orphans: tuple[str, ...]


def plan_recovery(
    program: Program,
    snapshot: Snapshot,
    requests: Iterable[tuple[str, str | None]],
    *,
    mode: RunMode = RunMode.recover,
    recovery_run: int | None = None,
    now: float,
) -> RecoveryPlan:
    """
    Work out what a recovery would do.

    It is taken that steps succeed and that probes say no; what really comes of them decides what follows.

    :param snapshot: the run as it stands.
    :param requests: what the program triggers, as ``(event, sequence)``.
    :param mode: ``recover`` or ``continue_``.
    :param recovery_run: the recovery to ask, ``None`` for the newest.
    :raises twisted_evproc.errors.FlowDefinitionError: for a recovery that the run does not have.
    """
    newest = snapshot.run.recovery
    asked = None if mode is RunMode.continue_ else newest if recovery_run is None else recovery_run
    if asked is not None and asked > newest:
        raise FlowDefinitionError(f"recovery_run={asked}: run {snapshot.run.run_id!r} has recoveries 0 to {newest}")
    recovery = newest if asked is None else newest + 1
    run = Run(program, recovery, max_concurrent=0, foreign_holds=snapshot.foreign_holds)
    run.restore(snapshot, asked_in(snapshot.run.program) if asked is None else asked, now)
    goes_on = {(row.step, row.sequence): row for row in snapshot.tasks if row.recovery == newest}
    before = goes_on if asked is None else run.asked
    for event, sequence in requests:
        _ = run.trigger(event, sequence, PROGRAM, now)
    if asked is not None:
        for event, sequence, origin in from_outside(program, snapshot, asked):
            _ = run.trigger(event, sequence, origin, now)
    planned = _Walk(program, run, before, going_on=asked is None).walk(now)
    orphans = tuple(sorted({task.step for task in run.orphans}))
    return RecoveryPlan(snapshot.run.run_id, recovery, asked, planned, len(run.pending_delays), orphans)


class _Walk:
    """Follows a run that no engine drives."""

    def __init__(self, program: Program, run: Run, before: dict[tuple[str, str], TaskRow], *, going_on: bool) -> None:
        self._program = program
        self._run = run
        self._before = before
        self._going_on = going_on
        self._planned: dict[tuple[str, str], PlannedTask] = {}

    def walk(self, now: float) -> tuple[PlannedTask, ...]:
        """Go on until nothing more follows."""
        run = self._run
        first = True
        while True:
            run.pass_time(now)
            changes = run.take_changes()
            for task in changes.doubtful:
                self._note(task, self._doubt(task), first)
                skipped = self._planned[task.key].does == "skip"
                run.resolve(task, Input.skip if skipped else Input.try_again, now, value="null" if skipped else None)
            for task in tuple(run.tasks.values()):
                self._note(task, self._does(task), first)
            run.start_tasks(now)
            started = [*changes.started, *run.take_changes().started]
            for task in started:
                run.succeed(task, "null", now)
            if not started and not changes.doubtful:
                break
            first = False
        for task in run.waiting:
            self._planned[task.key] = attrs.evolve(self._planned[task.key], does="wait")
        return tuple(self._planned.values())

    def _note(self, task: Task, does: str, at_once: bool) -> None:
        if task.key not in self._planned:
            before = self._before.get(task.key)
            self._planned[task.key] = PlannedTask(
                task.step, task.sequence, None if before is None else before.status, does, at_once
            )

    def _doubt(self, task: Task) -> str:
        step = self._program.steps[task.step]
        if step.probe is not None:
            return "ask the probe"
        return "skip" if step.recovery[TaskStatus.active] is StepReplay.skip else "rerun"

    def _does(self, task: Task) -> str:
        before = self._before.get(task.key)
        if before is None:
            return "run"
        if self._going_on and TaskStatus[before.status].ended:
            return "keep"
        if task.status is TaskStatus.success and not task.attempt:
            return "skip"
        return "rerun" if before.attempt else "run"
