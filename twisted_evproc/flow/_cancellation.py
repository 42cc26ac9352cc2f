"""Cancel a run that no engine works on: which rows are written then?"""

from __future__ import annotations

from ._rows import Batch, Snapshot
from ._status import RunStatus, TaskStatus


def cancellation(snapshot: Snapshot, now: float) -> Batch:
    """What an engine would write that cancels the run: its open tasks are cancelled, and what they hold is given back."""
    run = snapshot.run
    batch = Batch()
    for task in snapshot.tasks:
        if task.recovery == run.recovery and not TaskStatus[task.status].ended:
            batch.tasks[task.step, task.sequence] = task._replace(status=TaskStatus.cancelled.name, ended=now, due=None)
    for hold in snapshot.holds:
        batch.holds[hold.pool, hold.step, hold.sequence] = hold._replace(amount=0)
    batch.run = run._replace(status=RunStatus.cancelled.name, ended=now)
    return batch


__all__ = ["cancellation"]
