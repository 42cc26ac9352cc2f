"""
What happens after what, also when the program was killed in between?

Durable flows: flow events, steps, associations, and a store from which a killed run goes on.
"""

from ._attempt import Attempt, CurrentStep, current_step
from ._eventor import Eventor
from ._expressions import and_, at_least, not_by, or_
from ._model import NOT_DONE, UNKNOWN, FlowEvent, ResourcePool, Step, done
from ._recovery_plan import PlannedTask, RecoveryPlan
from ._result import FlowResult, TaskResult
from ._rows import Batch, DelayRow, HoldRow, PoolRow, RunRow, Snapshot, TaskRow, TriggerRow
from ._run import Change
from ._status import RunMode, RunStatus, StepReplay, StepStatus, TaskStatus

__all__ = [
    # building and running
    "NOT_DONE",
    "UNKNOWN",
    "Change",
    "CurrentStep",
    "Eventor",
    "FlowEvent",
    "FlowResult",
    "PlannedTask",
    "RecoveryPlan",
    "ResourcePool",
    "RunMode",
    "RunStatus",
    "Step",
    "StepReplay",
    "StepStatus",
    "TaskResult",
    "TaskStatus",
    "and_",
    "at_least",
    "current_step",
    "done",
    "not_by",
    "or_",
    # for stores and executors
    "Attempt",
    "Batch",
    "DelayRow",
    "HoldRow",
    "PoolRow",
    "RunRow",
    "Snapshot",
    "TaskRow",
    "TriggerRow",
]
