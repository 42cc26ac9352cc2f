"""
Does what a store keeps of a run agree with itself?

What follows from a row is committed together with it.  So between any two commits every row that has not come to its end has an
engine that works on it, a time when it is due, or something that it waits for; whoever killed the engine, and when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ._program import watch_key
from ._rows import DelayRow, Snapshot, TaskRow, TriggerRow
from ._run import SCHEDULE
from ._status import RunStatus, StepStatus, TaskStatus


def broken_invariants(rows: Snapshot, program: Mapping[str, Any]) -> list[str]:
    """
    What is wrong with a run.

    :param rows: the run as the store has it.
    :param program: what it consisted of when it ran last: ``rows.run.program``, decoded.
    :return: one sentence each; empty when nothing is.
    """
    return list(_Check(rows, program).problems())


class _Check:
    """One look at one run's newest recovery."""

    def __init__(self, rows: Snapshot, program: Mapping[str, Any]) -> None:
        recovery = rows.run.recovery
        self._rows = rows
        self._program = program
        self._status = RunStatus[rows.run.status]
        self._happened: dict[tuple[str, str], TriggerRow] = {
            (row.event, row.sequence): row for row in rows.triggers if row.recovery == recovery
        }
        self._tasks: dict[tuple[str, str], TaskRow] = {
            (row.step, row.sequence): row for row in rows.tasks if row.recovery == recovery
        }
        self._delays: dict[tuple[str, str, str], DelayRow] = {
            (row.event, row.target, row.sequence): row for row in rows.delays if row.recovery == recovery
        }

    def problems(self) -> Iterator[str]:
        yield from self._of_status()
        for trigger in self._happened.values():
            yield from self._of_trigger(trigger)
        for name, expression in self._program["events"].items():
            if expression is not None:
                yield from self._of_expression(name, expression)
        for task in self._tasks.values():
            yield from self._of_task(task)
        for delay in self._delays.values():
            if delay.done and not self._has(delay.target, delay.sequence, delay.event):
                yield f"{_named(delay)} is over, and nothing followed"
        yield from self._of_holds()

    def _of_status(self) -> Iterator[str]:
        unhandled = [task for task in self._tasks.values() if task.status == TaskStatus.failure.name and not task.handled]
        if self._status is RunStatus.success and unhandled:
            yield f"the run is success, and {_name(unhandled[0])} failed"
        if self._status is RunStatus.failure and not unhandled:
            yield "the run is failure, and no task is"
        if self._status is RunStatus.success and any(not delay.done for delay in self._delays.values()):
            yield "the run is success, and a delay is not over"

    def _of_trigger(self, trigger: TriggerRow) -> Iterator[str]:
        for event, kind, target, delay in self._program["follows"]:
            if event != trigger.event or self._has(f"{kind} {target}", trigger.sequence):
                continue
            if delay == 0:
                yield f"flow event {event!r} of sequence {trigger.sequence!r} happened, and {kind} {target!r} did not follow"
            elif (event, f"{kind} {target}", trigger.sequence) not in self._delays:
                yield f"flow event {event!r} of sequence {trigger.sequence!r} happened, and nothing waits for {kind} {target!r}"

    def _has(self, target: str, sequence: str, event: str = "") -> bool:
        kind, _, name = target.partition(" ")
        if kind == SCHEDULE:
            return (event, sequence) in self._happened
        return kind == "not_by" or (name, sequence) in (self._tasks if kind == "step" else self._happened)

    def _of_expression(self, name: str, expression: Any) -> Iterator[str]:
        for sequence in {sequence for _, sequence in self._happened}:
            holds = _holds(expression, self._leaf_of(name, sequence))
            row = self._happened.get((name, sequence))
            if holds and row is None:
                yield f"the expression of flow event {name!r} holds for sequence {sequence!r}, and it did not happen"

    def _leaf_of(self, gate: str, sequence: str) -> Callable[[int, Any], bool]:
        def holds(number: int, leaf: Any) -> bool:
            if isinstance(leaf, str):
                return (leaf, sequence) in self._happened
            delay = self._delays.get((leaf[1], watch_key(number, gate), sequence))
            row = self._happened.get((leaf[1], sequence))
            return delay is not None and delay.done and (row is None or row.at >= delay.due)

        return holds

    def _of_task(self, task: TaskRow) -> Iterator[str]:
        status = TaskStatus[task.status]
        step = self._program["steps"].get(task.step)
        if status.ended != (task.ended is not None):
            yield f"{_name(task)} is {status.name}, and its end is {task.ended!r}"
        if not status.ended and self._status in (RunStatus.success, RunStatus.cancelled):
            yield f"the run is {self._status.name}, and {_name(task)} is {status.name}"
        if status is TaskStatus.active and self._status is not RunStatus.running:
            yield f"no engine works on the run, and {_name(task)} is active"
        if status is TaskStatus.active and not task.attempt:
            yield f"{_name(task)} is active, and was never begun"
        if status is TaskStatus.failure and task.error is None:
            yield f"{_name(task)} failed, and nobody knows why"
        if task.due is not None and status is not TaskStatus.ready:
            yield f"{_name(task)} is {status.name}, and due"
        if step is None:
            return  # it waits for its step to come back
        for fired in _fired(task, status):
            for event in step["triggers"].get(fired.name, ()):
                if (event, task.sequence) not in self._happened:
                    yield f"{_name(task)} is {status.name}, and its {fired.name} did not trigger {event!r}"
        if status is TaskStatus.active:
            held = {row.pool: row.amount for row in self._rows.holds if (row.step, row.sequence) == (task.step, task.sequence)}
            for pool, amount in step["acquires"].items():
                if held.get(pool, 0) < amount:
                    yield f"{_name(task)} is active, and does not hold {amount} of {pool!r}"

    def _of_holds(self) -> Iterator[str]:
        used: dict[str, int] = {}
        for hold in self._rows.holds:
            used[hold.pool] = used.get(hold.pool, 0) + hold.amount
            task = self._tasks.get((hold.step, hold.sequence))
            step = self._program["steps"].get(hold.step)
            if task is None:
                yield f"step {hold.step!r} of sequence {hold.sequence!r} holds {hold.amount} of {hold.pool!r}, and has no task"
            elif step is not None and step["releases"] is None and TaskStatus[task.status].ended:
                yield f"{_name(task)} has ended, and holds {hold.amount} of {hold.pool!r}"
        for pool, amount in used.items():
            limit = self._program["pools"].get(pool)
            if limit is not None and amount > limit:
                yield f"{amount} of {pool!r} are held, and there are {limit}"


def _fired(task: TaskRow, status: TaskStatus) -> Iterator[StepStatus]:
    if status is TaskStatus.cancelled:
        return
    yield StepStatus.ready
    if task.attempt:
        yield StepStatus.active
    if status in (TaskStatus.success, TaskStatus.failure):
        yield StepStatus[status.name]
        yield StepStatus.complete


def _holds(expression: Any, leaf_holds: Callable[[int, Any], bool]) -> bool:
    # Depth first from the right, as gates number their watches; from the leaves up, since expressions are as deep as users like.
    order: list[Any] = []
    left = [expression]
    while left:
        each = left.pop()
        order.append(each)
        if not _is_leaf(each):
            left += _operands(each)
    number = sum(_is_watch(each) for each in order)
    values: list[bool] = []
    for each in reversed(order):
        if _is_leaf(each):
            number -= _is_watch(each)
            values.append(leaf_holds(number, each))
        else:
            count = len(_operands(each))
            true = sum(values[len(values) - count :])
            del values[len(values) - count :]
            values.append(true >= {"all": count, "any": 1}.get(each[0], each[1]))
    return values[0]


def _is_watch(expression: Any) -> bool:
    return not isinstance(expression, str) and expression[0] == "not by"


def _is_leaf(expression: Any) -> bool:
    return isinstance(expression, str) or _is_watch(expression)


def _operands(expression: Any) -> list[Any]:
    operands: list[Any] = expression[2 if expression[0] == "at least" else 1 :]
    return operands


def _name(task: TaskRow) -> str:
    return f"step {task.step!r} of sequence {task.sequence!r}"


def _named(delay: DelayRow) -> str:
    return f"the delay of {delay.target!r} after flow event {delay.event!r} of sequence {delay.sequence!r}"


__all__ = ["broken_invariants"]
