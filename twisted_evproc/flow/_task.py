"""One execution of a step for one sequence, as the engine works on it."""

from __future__ import annotations

from ._rows import TaskRow
from ._status import TaskStatus


class Task:
    """
    See :class:`~twisted_evproc.flow._rows.TaskRow` for what its attributes are.

    :ivar key: step and sequence.
    """

    __slots__ = (
        "attempt",
        "created",
        "due",
        "ended",
        "error",
        "failures",
        "handled",
        "key",
        "order",
        "recovery",
        "result",
        "sequence",
        "started",
        "status",
        "step",
    )

    def __init__(self, step: str, sequence: str, recovery: int, order: int, created: float) -> None:
        self.step = step
        self.sequence = sequence
        self.key = step, sequence
        self.recovery = recovery
        self.order = order
        self.created = created
        self.status = TaskStatus.ready
        self.attempt = 0
        self.started: float | None = None
        self.ended: float | None = None
        self.due: float | None = None
        self.result: str | None = None
        self.error: str | None = None
        self.handled = False
        self.failures = 0

    @classmethod
    def from_row(cls, row: TaskRow) -> Task:
        """The task that a row stands for."""
        self = cls(row.step, row.sequence, row.recovery, row.order, row.created)
        self.status = TaskStatus[row.status]
        self.attempt = row.attempt
        self.started, self.ended, self.due = row.started, row.ended, row.due
        self.result, self.error, self.handled = row.result, row.error, row.handled
        self.failures = row.failures
        return self

    def row(self) -> TaskRow:
        """As the store keeps it."""
        return TaskRow(
            self.recovery,
            self.step,
            self.sequence,
            self.status._name_,  # what ``name`` gives, after a detour
            self.attempt,
            self.order,
            self.created,
            self.started,
            self.ended,
            self.due,
            self.result,
            self.error,
            self.handled,
            self.failures,
        )

    def __repr__(self) -> str:
        return f"<Task {self.step}[{self.sequence}] {self.status.name}>"
