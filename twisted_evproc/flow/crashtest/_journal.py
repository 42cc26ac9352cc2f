"""What really happened in a life of a flow, written down outside of its store."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import attrs

from .._attempt import CurrentStep
from .._rows import Batch, TaskRow


class TaskKey(NamedTuple):
    """One execution of a step for one sequence."""

    recovery: int
    step: str
    sequence: str

    def __str__(self) -> str:
        return f"{self.step}[{self.sequence}]"


class Begun(NamedTuple):
    """A step's function was called; ``key`` is the idempotency key."""

    task: TaskKey
    attempt: int
    key: str


class Standing(NamedTuple):
    """How a task stands after its attempts so far."""

    status: str
    attempt: int


@attrs.define
class Write:
    """
    One change of the store.

    :ivar what: in words.
    :ivar tasks: how each task in it stands.
    :ivar events: the flow events in it, each with its recovery and sequence.
    :ivar durable: whether the store has said that it is.
    """

    what: str
    tasks: dict[TaskKey, Standing] = attrs.field(factory=dict)
    events: set[tuple[int, str, str]] = attrs.field(factory=set)
    durable: bool = False


@attrs.define
class Account:
    """
    What a journal says.

    :ivar writes: by their numbers, from 1.
    :ivar begun: calls of functions, in their order.
    :ivar ended: those of them that came to an end, well or not.
    :ivar status: of the run, where this life came to its own end.
    :ivar error: why it did not, in words.
    """

    writes: dict[int, Write] = attrs.field(factory=dict)
    begun: list[Begun] = attrs.field(factory=list)
    ended: set[tuple[TaskKey, int]] = attrs.field(factory=set)
    status: str | None = None
    error: str | None = None


@attrs.frozen
class Journal:
    """
    A file that is only appended to.  It has nothing but its path, so that worker processes can have it too.

    :ivar path: of the file.
    """

    path: str

    def _write(self, *entry: Any) -> None:
        line = json.dumps(entry).encode() + b"\n"
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            # One call, so that the lines of several processes do not mix.
            os.write(file, line)
            os.fsync(file)
        finally:
            os.close(file)

    def begun(self, step: CurrentStep) -> None:
        """A function is about to be called."""
        self._write("begun", step.recovery, step.name, step.sequence, step.attempt, step.idempotency_key)

    def ended(self, step: CurrentStep) -> None:
        """It has returned, or raised."""
        self._write("ended", step.recovery, step.name, step.sequence, step.attempt)

    def handed(self, number: int, what: str, batch: Batch | None = None) -> None:
        """A change is about to be handed to the store."""
        tasks = () if batch is None else [(*_key(row), row.status, row.attempt) for row in batch.tasks.values()]
        events = () if batch is None else [(row.recovery, row.event, row.sequence) for row in batch.triggers.values()]
        self._write("handed", number, what, tasks, events)

    def durable(self, number: int) -> None:
        """The store has said that a change is durable."""
        self._write("durable", number)

    def over(self, status: str | None, error: str | None) -> None:
        """The life has come to its end by itself."""
        self._write("over", status, error)

    def read(self) -> Account:
        """All of it so far."""
        account = Account()
        if not Path(self.path).exists():
            return account
        for line in Path(self.path).read_bytes().splitlines(keepends=True):
            # The last line may lack its end: then it was not written when the process died.
            if line.endswith(b"\n"):
                _enter(account, *json.loads(line))
        return account


def _enter(account: Account, kind: str, *entry: Any) -> None:
    if kind == "begun":
        recovery, step, sequence, attempt, key = entry
        account.begun.append(Begun(TaskKey(recovery, step, sequence), attempt, key))
    elif kind == "ended":
        recovery, step, sequence, attempt = entry
        account.ended.add((TaskKey(recovery, step, sequence), attempt))
    elif kind == "handed":
        number, what, tasks, events = entry
        standings = {TaskKey(*key): Standing(status, attempt) for *key, status, attempt in tasks}
        account.writes[number] = Write(what, standings, {(recovery, event, tag) for recovery, event, tag in events})
    elif kind == "durable":
        account.writes[entry[0]].durable = True
    else:
        account.status, account.error = entry


def _key(row: TaskRow) -> TaskKey:
    return TaskKey(row.recovery, row.step, row.sequence)


def standings(rows: Iterable[TaskRow]) -> dict[TaskKey, Standing]:
    """How tasks stand."""
    return {_key(row): Standing(row.status, row.attempt) for row in rows}


__all__ = ["Account", "Begun", "Journal", "Standing", "TaskKey", "Write", "standings"]
