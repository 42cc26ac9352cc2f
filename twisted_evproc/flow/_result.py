"""What a run came to."""

from __future__ import annotations

import attrs

from ._status import RunStatus, TaskStatus


@attrs.frozen
class TaskResult:
    """
    What became of a task.

    :ivar step: its step.
    :ivar sequence: its sequence.
    :ivar status: where it stands.
    :ivar attempts: how often it was begun.
    :ivar error: why it failed, or ``None``.
    :ivar handled: whether something was triggered by its failure.
    """

    step: str
    sequence: str
    status: TaskStatus
    attempts: int
    error: str | None
    handled: bool


@attrs.frozen
class FlowResult:
    """
    What a run came to.  True when it succeeded, and when only delays are left.

    :ivar status: where it stands.
    :ivar run_id: names it in the store.
    :ivar recovery: number of the recovery.
    :ivar loops: how many rounds it took.
    :ivar tasks: all its tasks, in the order they were made.
    :ivar failures: those that failed.
    :ivar pending_delays: how many associations wait.
    :ivar stuck_for: what tasks wait for in vain: resource pools, and steps that the program has no longer.
    """

    status: RunStatus
    run_id: str
    recovery: int
    loops: int
    tasks: tuple[TaskResult, ...]
    failures: tuple[TaskResult, ...]
    pending_delays: int
    stuck_for: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.status in (RunStatus.success, RunStatus.pending)
