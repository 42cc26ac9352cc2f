"""The states of runs and tasks, and the choices about them."""

from __future__ import annotations

from enum import Enum


class _Named(Enum):
    # Members are single; that of Enum is written in Python, and they are looked up all the time.
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"

    __str__ = __repr__


class StepStatus(_Named):
    """What of a task can trigger flow events."""

    #: The task is made; resources may still be missing.
    ready = "ready"
    #: It begins to wait for resources.
    allocate = "allocate"
    #: It holds all of them.
    fueled = "fueled"
    #: It is about to run.
    active = "active"
    #: It has ended well.
    success = "success"
    #: It has failed, and is not tried again.
    failure = "failure"
    #: It has ended, well or not.
    complete = "complete"


class TaskStatus(_Named):
    """Where a task stands."""

    ready = "ready"
    allocate = "allocate"
    fueled = "fueled"
    active = "active"
    success = "success"
    failure = "failure"
    cancelled = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more becomes of it in this recovery."""
        return self in _ENDED


_ENDED = frozenset({TaskStatus.success, TaskStatus.failure, TaskStatus.cancelled})


class StepReplay(_Named):
    """What a recovery does with a task, by the status it had."""

    rerun = "rerun"
    skip = "skip"


class RunMode(_Named):
    """How a run begins."""

    #: As a new run.
    restart = "restart"
    #: As the next recovery of the newest run: the program's triggers are replayed, and each task asks what became of it before.
    recover = "recover"
    #: Where the newest run stopped, delays that wait included.
    continue_ = "continue"


class RunStatus(_Named):
    """Where a run stands."""

    #: An engine works on it, or died while it did.
    running = "running"
    #: Nothing is left to do, and no failure was left unhandled.
    success = "success"
    #: A failure was left unhandled.
    failure = "failure"
    #: Nothing can be done now; delays are left.
    pending = "pending"
    #: Nothing can be done any more, because of resources that nobody will give back, or of what the program has no longer.
    stuck = "stuck"
    #: It was cancelled.
    cancelled = "cancelled"


#: What a recovery does unless the step says otherwise.
DEFAULT_RECOVERY: dict[TaskStatus, StepReplay] = {
    TaskStatus.ready: StepReplay.rerun,
    TaskStatus.allocate: StepReplay.rerun,
    TaskStatus.fueled: StepReplay.rerun,
    TaskStatus.active: StepReplay.rerun,
    TaskStatus.failure: StepReplay.rerun,
    TaskStatus.cancelled: StepReplay.rerun,
    TaskStatus.success: StepReplay.skip,
}
