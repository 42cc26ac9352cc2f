"""What has happened in one recovery of a run, looked up by name."""

from __future__ import annotations

from collections import Counter

from .._errors import summary
from .._rows import DelayRow, Snapshot, TaskRow, TriggerRow
from ._declared import Declared, Expression, need_of, operands_of
from ._words import natural

#: The statuses of a task that has not ended.
OPEN = ("ready", "allocate", "fueled", "active")
#: The statuses of a task that are shown, in the order of their weight: a step shows the first that one of its tasks has.
SHOWN = ("failure", "active", "interrupted", "allocate", "fueled", "ready", "cancelled", "success")


class Sight:
    """
    A run as it stands.

    :ivar declared: the flow.
    :ivar snapshot: the run.
    :ivar recovery: which of its recoveries is looked at.
    :ivar living: ``host:pid`` of the engine that works on it, or ``None``.
    :ivar triggers: by flow event and sequence.
    :ivar tasks: by step and sequence.
    :ivar delays: by flow event, target and sequence.
    """

    def __init__(self, declared: Declared, snapshot: Snapshot, living: str | None, recovery: int | None = None) -> None:
        """
        :param recovery: ``None`` for the newest.
        """
        self.declared = declared
        self.snapshot = snapshot
        self.living = living
        self.recovery = snapshot.run.recovery if recovery is None else recovery
        self.triggers: dict[tuple[str, str], TriggerRow] = {
            (row.event, row.sequence): row for row in snapshot.triggers if row.recovery == self.recovery
        }
        self.tasks: dict[tuple[str, str], TaskRow] = {
            (row.step, row.sequence): row for row in snapshot.tasks if row.recovery == self.recovery
        }
        self.delays: dict[tuple[str, str, str], DelayRow] = {
            (row.event, row.target, row.sequence): row for row in snapshot.delays if row.recovery == self.recovery
        }

    @property
    def status(self) -> str:
        """Where the run stands; ``interrupted`` where its engine has died."""
        return standing(self.snapshot.run.status, self.living)

    def status_of(self, task: TaskRow) -> str:
        """Where a task stands; ``interrupted`` for one that was active when its engine died."""
        return "interrupted" if task.status == "active" and self.status != "running" else task.status

    def sequences(self) -> list[str]:
        """All sequences, numbers by size."""
        found = {sequence for _, sequence in self.triggers} | {sequence for _, sequence in self.tasks}
        return sorted(found, key=natural)

    def counts(self, step: str | None = None, sequence: str | None = None) -> Counter[str]:
        """How many tasks have which status."""
        return Counter(
            self.status_of(task)
            for task in self.tasks.values()
            if step in (None, task.step) and sequence in (None, task.sequence)
        )

    def counts_by_step(self, sequence: str | None = None) -> dict[str, Counter[str]]:
        """As :meth:`counts`, of every step that has tasks."""
        found: dict[str, Counter[str]] = {}
        for task in self.tasks.values():
            if sequence in (None, task.sequence):
                found.setdefault(task.step, Counter())[self.status_of(task)] += 1
        return found

    def steps(self) -> list[str]:
        """All steps: those that are declared, then those that are not any more."""
        return list(dict.fromkeys([*self.declared.steps, *(step for step, _ in self.tasks)]))

    def pending_delays(self, sequence: str | None = None) -> list[DelayRow]:
        """Associations that wait, the next first."""
        return sorted(
            (row for row in self.delays.values() if not row.done and sequence in (None, row.sequence)), key=lambda row: row.due
        )

    def holds(self, expression: Expression, sequence: str, gate_event: str, numbers: dict[int, int]) -> bool:
        """
        Whether an expression holds, or a node of it.

        :param gate_event: the event that follows from it.
        :param numbers: of its ``not by`` nodes, see :func:`watch_numbers`.
        """
        if isinstance(expression, str):
            return (expression, sequence) in self.triggers
        if expression[0] == "not by":
            return self.stayed_away(expression, sequence, gate_event, numbers)
        found = sum(self.holds(each, sequence, gate_event, numbers) for each in operands_of(expression))
        return found >= need_of(expression)

    def watch(self, expression: Expression, sequence: str, gate_event: str, numbers: dict[int, int]) -> DelayRow | None:
        """The row of a ``not by``."""
        return self.delays.get((expression[1], f"not_by {numbers[id(expression)]} {gate_event}", sequence))

    def stayed_away(self, expression: Expression, sequence: str, gate_event: str, numbers: dict[int, int]) -> bool:
        """Whether a ``not by`` has become true."""
        row = self.watch(expression, sequence, gate_event, numbers)
        if row is None or not row.done:
            return False
        happened = self.triggers.get((expression[1], sequence))
        if happened is not None:
            return happened.at >= row.due
        # A watch is also given up once its expression holds without it.
        gate = self.triggers.get((gate_event, sequence))
        return gate is None or gate.at >= row.due

    def last_error(self, step: str) -> str | None:
        """Of the task that failed last, or waits for another attempt, in one line."""
        failed = [task for (name, _), task in self.tasks.items() if name == step and task.error is not None]
        return summary(max(failed, key=lambda task: task.ended or task.started or 0.0).error) if failed else None


def standing(status: str, living: str | None) -> str:
    """The status of a run in the store, as it is: one that is running without a living engine was interrupted."""
    return "interrupted" if status == "running" and living is None else status


def watch_numbers(expression: Expression) -> dict[int, int]:
    """
    The number by which a delay row names each ``not by`` of an expression.

    As :func:`~twisted_evproc.flow._expressions.make_gate` counts them: depth first from the right.
    """
    numbers: dict[int, int] = {}
    left = [expression]
    while left:
        each = left.pop()
        if isinstance(each, str):
            continue
        if each[0] == "not by":
            numbers[id(each)] = len(numbers)
        else:
            left += operands_of(each)
    return numbers


__all__ = ["OPEN", "SHOWN", "Sight", "standing", "watch_numbers"]
