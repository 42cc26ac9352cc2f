"""Runs as a whole: begun, taken, listed, loaded.  Each function is called inside a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import RunExists, RunInUse, UnknownRun
from .._rows import DelayRow, HoldRow, RunRow, Snapshot, TaskRow, TriggerRow
from .._status import RunStatus

if TYPE_CHECKING:
    from ._database import Database


def begin(database: Database, name: str, run_id: str, owner: str, unsure: bool) -> Snapshot:
    """
    Make a run.

    :param unsure: whether an earlier trial may have made it.
    :raises twisted_evproc.errors.RunExists: when there is one with this ID.
    """
    made = database.query(database.statements.begin, (run_id, name, owner))
    if not made:
        run = find(database, run_id)
        if not (unsure and (run.name, run.owner, run.epoch) == (name, owner, 1)):
            raise RunExists(run_id)
        made = [tuple(run)]
    # Nobody else can have a run that was not there.  Where a connection just lost still has the lock, commits try it again.
    database.hold(run_id)
    return load(database, RunRow._make(made[0]))


def take(database: Database, run_id: str, owner: str) -> Snapshot:
    """
    Make a run this engine's, and load it.

    :raises twisted_evproc.errors.UnknownRun: when there is none.
    :raises twisted_evproc.errors.RunInUse: when a living engine has it.
    """
    present = find(database, run_id)
    if not database.hold(run_id):
        raise RunInUse(run_id, present.owner)
    database.execute(database.statements.take, (owner, run_id))
    # Read again: RETURNING of SQLite gives a whole number for a real one.
    return load(database, find(database, run_id))


def listed(database: Database, name: str | None) -> list[RunRow]:
    """The runs of one flow or of all, oldest first."""
    statements = database.statements
    rows = database.query(statements.runs) if name is None else database.query(statements.runs_named, (name,))
    return [RunRow._make(row) for row in rows]


def find(database: Database, run_id: str) -> RunRow:
    """
    A run's row.

    :raises twisted_evproc.errors.UnknownRun: when there is none; the message names the newest ones.
    """
    found = database.query(database.statements.run, (run_id,))
    if not found:
        raise UnknownRun(run_id, [known for (known,) in database.query(database.statements.newest)])
    return RunRow._make(found[0])


def load(database: Database, run: RunRow) -> Snapshot:
    """All that belongs to a run."""
    statements, key = database.statements, (run.run_id,)
    return Snapshot(
        run=run,
        triggers=[TriggerRow._make(row) for row in database.query(statements.triggers, key)],
        # SQLite has no truth values.
        tasks=[TaskRow._make((*row[:-2], bool(row[-2]), row[-1])) for row in database.query(statements.tasks, key)],
        delays=[DelayRow._make((*row[:-1], bool(row[-1]))) for row in database.query(statements.delays, key)],
        holds=[HoldRow._make(row) for row in database.query(statements.holds, key)],
        foreign_holds=_foreign_holds(database, run.run_id),
    )


def _foreign_holds(database: Database, run_id: str) -> dict[str, int]:
    found: dict[str, int] = {}
    living: dict[str, bool] = {}
    for other, owner, status, pool, amount in database.query(database.statements.foreign_holds, (run_id,)):
        if other not in living:
            living[other] = status != RunStatus.running.name or database.holder(other, owner) is not None
        if living[other]:
            found[pool] = found.get(pool, 0) + int(amount)
    return found


__all__ = ["begin", "find", "listed", "load", "take"]
