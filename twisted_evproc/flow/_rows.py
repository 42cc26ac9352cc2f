"""
What a store keeps of a run, as plain rows.

Rows are values: the engine makes a new one for each change and hands it to the store, which writes it over the row with the same
key.  Writing a row twice is writing it once; that makes a commit repeatable whose outcome is unknown.
"""

from __future__ import annotations

from typing import NamedTuple


class RunRow(NamedTuple):
    """
    One run of a flow; key: ``run_id``.

    :ivar run_id: chosen by the program, or made by the store.
    :ivar name: of the flow.
    :ivar status: a :class:`~twisted_evproc.flow.RunStatus` by name.
    :ivar recovery: the newest recovery number, 0 for the first.
    :ivar epoch: the fence: goes up each time an engine takes the run; only the engine with the newest can commit.
    :ivar owner: ``host:pid`` of the engine that took it last.
    :ivar created: seconds since the epoch, by the database's clock.
    :ivar ended: when it came to its present end, or ``None``.
    :ivar program: what the flow consisted of when it ran last, as JSON text; empty before it has.
    """

    run_id: str
    name: str
    status: str
    recovery: int
    epoch: int
    owner: str
    created: float
    ended: float | None
    program: str


class TriggerRow(NamedTuple):
    """
    A flow event that has happened; key: ``recovery, event, sequence``.

    :ivar at: when, in seconds since the epoch.
    :ivar origin: what made it happen: ``program``, ``program without sequence`` (it has taken the next free number), ``outside``,
        ``schedule``, ``step NAME``, ``event NAME`` or ``expression``.
    """

    recovery: int
    event: str
    sequence: str
    at: float
    origin: str


class TaskRow(NamedTuple):
    """
    One execution of a step for one sequence; key: ``recovery, step, sequence``.

    :ivar status: a :class:`~twisted_evproc.flow.TaskStatus` by name.
    :ivar attempt: how often it was begun.
    :ivar order: the place in the order in which tasks were made.
    :ivar created: when it was made; :ivar started: when its last attempt began; :ivar ended: when it ended; all in seconds
        since the epoch or ``None``.
    :ivar due: when its next attempt may begin, or ``None``.
    :ivar result: the step's result as JSON text, or ``None``.
    :ivar error: why it failed, as JSON text, or ``None``.
    :ivar handled: whether something was triggered by its failure.
    :ivar failures: how many of its attempts have failed; one that its engine took with it has not.
    """

    recovery: int
    step: str
    sequence: str
    status: str
    attempt: int
    order: int
    created: float
    started: float | None
    ended: float | None
    due: float | None
    result: str | None
    error: str | None
    handled: bool
    failures: int = 0


class DelayRow(NamedTuple):
    """
    An association, or a watch over an event that is not to stay away, that waits; key: ``recovery, event, target, sequence``.

    :ivar event: the event that activated it.
    :ivar target: ``step NAME``, ``event NAME``, ``not_by NUMBER NAME``, or ``schedule CRON``, which lets the event itself happen.
    :ivar activated: when; :ivar due: when it acts; both in seconds since the epoch.
    :ivar done: whether it has acted.
    """

    recovery: int
    event: str
    target: str
    sequence: str
    activated: float
    due: float
    done: bool


class HoldRow(NamedTuple):
    """
    So much of a resource pool that a task of a sequence holds; key: ``pool, step, sequence``.

    :ivar amount: 0 once it is given back.
    """

    pool: str
    step: str
    sequence: str
    amount: int


class PoolRow(NamedTuple):
    """A resource pool; key: ``name``; the newest limit counts."""

    name: str
    limit: int


class Batch:
    """
    Changes that are committed together or not at all.

    Each mapping goes from a key to the newest row.
    """

    __slots__ = ("delays", "holds", "pools", "run", "tasks", "triggers")

    def __init__(self) -> None:
        self.run: RunRow | None = None
        self.triggers: dict[tuple[str, str], TriggerRow] = {}
        self.tasks: dict[tuple[str, str], TaskRow] = {}
        self.delays: dict[tuple[str, str, str], DelayRow] = {}
        self.holds: dict[tuple[str, str, str], HoldRow] = {}
        self.pools: dict[str, PoolRow] = {}

    def __bool__(self) -> bool:
        return bool(self.triggers or self.tasks or self.delays or self.holds or self.pools or self.run is not None)


class Snapshot(NamedTuple):
    """
    A run as it is in the store.

    :ivar triggers: of all recoveries, and so on.
    :ivar holds: of this run, amounts above 0.
    :ivar foreign_holds: pool name to the amount that other runs in the store hold.
    """

    run: RunRow
    triggers: list[TriggerRow]
    tasks: list[TaskRow]
    delays: list[DelayRow]
    holds: list[HoldRow]
    foreign_holds: dict[str, int]
