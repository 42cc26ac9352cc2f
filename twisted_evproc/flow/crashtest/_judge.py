"""What a store and the journals say about a flow that was killed: nothing lost, nothing done again that was done?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from .._rows import Snapshot
from .._status import TaskStatus
from ._journal import Account, Standing, TaskKey, standings

#: One that has not begun at all.
NOTHING = Standing("not made", 0)


@attrs.frozen
class State:
    """
    What a store says.

    :ivar status: of the run, or ``None`` when there is none.
    :ivar tasks: how each stands, of all recoveries.
    :ivar events: what has happened, in all recoveries.
    :ivar waiting: delays that are not over.
    :ivar recovery: the newest.
    """

    status: str | None
    tasks: dict[TaskKey, Standing]
    events: frozenset[tuple[int, str, str]]
    waiting: frozenset[tuple[str, str, str]]
    recovery: int = 0

    @classmethod
    def of(cls, snapshot: Snapshot | None) -> State:
        """The state in a snapshot; ``None`` for a store without the run."""
        if snapshot is None:
            return cls(None, {}, frozenset(), frozenset())
        return cls(
            snapshot.run.status,
            standings(snapshot.tasks),
            frozenset((row.recovery, row.event, row.sequence) for row in snapshot.triggers),
            frozenset(
                (row.event, row.target, row.sequence)
                for row in snapshot.delays
                if not row.done and row.recovery == snapshot.run.recovery
            ),
            snapshot.run.recovery,
        )

    @property
    def outcome(self) -> dict[tuple[str, str], str]:
        """The status of each task in the newest recovery, by step and sequence."""
        return {_name(task): standing.status for task, standing in self.tasks.items() if task.recovery == self.recovery}

    @property
    def happened(self) -> set[tuple[str, str]]:
        """The flow events of the newest recovery, with their sequences."""
        return {(event, sequence) for recovery, event, sequence in self.events if recovery == self.recovery}


def _name(task: TaskKey) -> tuple[str, str]:
    # Recoveries do the same tasks again.
    return task.step, task.sequence


@attrs.frozen
class Lived:
    """
    One life of a flow.

    :ivar account: what its journal says.
    :ivar state: what the store says after it.
    """

    account: Account
    state: State


@attrs.frozen
class Repeat:
    """
    A function that was called again, since nobody knew whether its attempt before had come to its end.

    :ivar task: of which task.
    :ivar key: its idempotency key.
    :ivar ended: whether the attempt before had in fact ended.
    """

    task: TaskKey
    key: str
    ended: bool


@attrs.frozen
class Fault:
    """
    A promise that was broken.

    :ivar task: of which task, where it is about one.
    :ivar key: its idempotency key, where it is known.
    :ivar problem: in words.
    """

    problem: str
    task: TaskKey | None = None
    key: str | None = None

    def __str__(self) -> str:
        return self.problem if self.task is None else f"{self.task} {self.problem}"


def repeats(lives: Sequence[Lived]) -> list[Repeat]:
    """What was called again because it was in flight when the process was killed."""
    found = []
    for number, life in enumerate(lives[:-1]):
        later = {_name(begun.task): begun for after in reversed(lives[number + 1 :]) for begun in reversed(after.account.begun)}
        for begun in life.account.begun:
            in_flight = life.state.tasks.get(begun.task) == Standing(TaskStatus.active.name, begun.attempt)
            if in_flight and _name(begun.task) in later:
                ended = (begun.task, begun.attempt) in life.account.ended
                found.append(Repeat(begun.task, later[_name(begun.task)].key, ended))
    return found


def faults(expected: State, lives: Sequence[Lived]) -> list[Fault]:
    """
    What must not have happened.

    :param expected: the state after a run that nobody has killed.
    :param lives: all lives of a run, the last of which came to its own end.
    """
    found: list[Fault] = []
    for number, life in enumerate(lives):
        found += _lost_commits(life)
        found += _too_early(life)
        found += _run_again(life, lives[number + 1 :])
    found += _begun_twice(lives)
    found += _never_run(expected, lives)
    found += differences(expected, lives[-1].state)
    return list(dict.fromkeys(found))


def _lost_commits(life: Lived) -> Iterator[Fault]:
    # What the store has called durable is there, or what followed it.
    promised: dict[TaskKey, list[Standing]] = {}
    for _, write in sorted(life.account.writes.items()):
        for task, standing in write.tasks.items():
            if write.durable:
                promised[task] = [standing]
            elif task in promised:
                promised[task].append(standing)
        if write.durable:
            for _, event, sequence in write.events - life.state.events:
                yield Fault(f"flow event {event}[{sequence}] was called durable, and is not in the store")
    for task, allowed in promised.items():
        present = life.state.tasks.get(task, NOTHING)
        if present not in allowed:
            yield Fault(f"was called durable as {allowed[-1].status}, and the store has it as {present.status}", task)


def _too_early(life: Lived) -> Iterator[Fault]:
    for begun in life.account.begun:
        if life.state.tasks.get(begun.task, NOTHING).attempt < begun.attempt:
            yield Fault("was begun, and the store does not know of it", begun.task, begun.key)


def _run_again(life: Lived, later: Sequence[Lived]) -> Iterator[Fault]:
    recorded = [life.state.tasks, *(write.tasks for write in life.account.writes.values() if write.durable)]
    ended = {task: standing.status for tasks in recorded for task, standing in tasks.items() if TaskStatus[standing.status].ended}
    # What has failed is what a further recovery is for.
    succeeded = {_name(task) for task, status in ended.items() if status == TaskStatus.success.name}
    for after in later:
        for begun in after.account.begun:
            if begun.task in ended or _name(begun.task) in succeeded:
                yield Fault("was run again though its record was committed", begun.task, begun.key)


def _begun_twice(lives: Sequence[Lived]) -> Iterator[Fault]:
    seen = set()
    for begun in (begun for life in lives for begun in life.account.begun):
        if begun in seen:
            yield Fault(f"was begun twice as attempt {begun.attempt}", begun.task, begun.key)
        seen.add(begun)


def _never_run(expected: State, lives: Sequence[Lived]) -> Iterator[Fault]:
    begun = {_name(begun.task) for life in lives for begun in life.account.begun}
    called = {_name(task) for task, standing in expected.tasks.items() if standing.attempt}
    for task, standing in lives[-1].state.tasks.items():
        if standing.status == TaskStatus.success.name and _name(task) in called - begun:
            yield Fault("counts as success, and its function was never called", task)


def differences(expected: State, final: State) -> Iterator[Fault]:
    """What a state has not in common with that after a run without a crash."""
    if final.status != expected.status:
        yield Fault(f"the run ended as {final.status}, without a crash as {expected.status}")
    for step, sequence in sorted(expected.outcome.keys() | final.outcome.keys()):
        was, wanted = (state.outcome.get((step, sequence), NOTHING.status) for state in (final, expected))
        if was != wanted:
            yield Fault(f"is {was}, without a crash it is {wanted}", TaskKey(final.recovery, step, sequence))
    for event, sequence in sorted(expected.happened - final.happened):
        yield Fault(f"flow event {event}[{sequence}] is lost")
    for event, sequence in sorted(final.happened - expected.happened):
        yield Fault(f"flow event {event}[{sequence}] has happened, and does not without a crash")
    for event, target, sequence in final.waiting ^ expected.waiting:
        yield Fault(f"the delay from {event}[{sequence}] to {target} waits in one of them only")


__all__ = ["NOTHING", "Fault", "Lived", "Repeat", "State", "differences", "faults", "repeats"]
