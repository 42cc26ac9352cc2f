"""What can become of a task: a table."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from ._status import StepStatus, TaskStatus


class Input(Enum):
    """What happens to a task."""

    # As in _status.py.
    __hash__ = object.__hash__

    make = "make"
    want_resources = "want resources"
    get_resources = "get resources"
    begin = "begin"
    succeed = "succeed"
    fail = "fail"
    try_again = "try again"
    skip = "skip"
    cancel = "cancel"


class Transition(NamedTuple):
    """
    What an input leads to.

    :ivar status: the new status.
    :ivar fires: what is triggered, in this order.
    """

    status: TaskStatus
    fires: tuple[StepStatus, ...] = ()


_SUCCESS = Transition(TaskStatus.success, (StepStatus.success, StepStatus.complete))
_CANCELLED = Transition(TaskStatus.cancelled)
_AGAIN = Transition(TaskStatus.ready)

#: Status and input to what follows; ``None`` is the status of a task that is not there yet.  What is missing cannot happen.
TRANSITIONS: dict[tuple[TaskStatus | None, Input], Transition] = {
    (None, Input.make): Transition(TaskStatus.ready, (StepStatus.ready,)),
    # A recovery may find that a task need not run again.
    (TaskStatus.ready, Input.skip): _SUCCESS,
    (TaskStatus.active, Input.skip): _SUCCESS,
    (TaskStatus.ready, Input.want_resources): Transition(TaskStatus.allocate, (StepStatus.allocate,)),
    (TaskStatus.allocate, Input.get_resources): Transition(TaskStatus.fueled, (StepStatus.fueled,)),
    (TaskStatus.ready, Input.begin): Transition(TaskStatus.active, (StepStatus.active,)),
    (TaskStatus.fueled, Input.begin): Transition(TaskStatus.active, (StepStatus.active,)),
    (TaskStatus.active, Input.succeed): _SUCCESS,
    # A recovery that cannot find out whether a task has done its work.
    (TaskStatus.ready, Input.fail): Transition(TaskStatus.failure, (StepStatus.failure, StepStatus.complete)),
    (TaskStatus.active, Input.fail): Transition(TaskStatus.failure, (StepStatus.failure, StepStatus.complete)),
    # After a failure that is to be retried, or a crash.
    (TaskStatus.active, Input.try_again): _AGAIN,
    (TaskStatus.fueled, Input.try_again): _AGAIN,
    (TaskStatus.ready, Input.cancel): _CANCELLED,
    (TaskStatus.allocate, Input.cancel): _CANCELLED,
    (TaskStatus.fueled, Input.cancel): _CANCELLED,
    (TaskStatus.active, Input.cancel): _CANCELLED,
}
