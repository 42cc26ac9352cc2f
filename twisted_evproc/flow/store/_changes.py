"""Many batches as few statements."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._schema import DELAYS, HOLDS, POOLS, TASKS, TRIGGERS

if TYPE_CHECKING:
    from sqlalchemy import Table

    from .._rows import Batch
    from ._database import Database, Row

#: Tables of which rows are only ever written, and where a batch has them.
_TABLES: tuple[tuple[Table, Callable[[Batch], dict[Any, Any]]], ...] = (
    (TRIGGERS, lambda batch: batch.triggers),
    (TASKS, lambda batch: batch.tasks),
    (DELAYS, lambda batch: batch.delays),
)


class Changes:
    """
    The rows of batches, each key once: of several rows with one key the newest counts.
    """

    __slots__ = ("_batches",)

    def __init__(self) -> None:
        self._batches: dict[str, list[Batch]] = {}

    def add(self, run_id: str, batch: Batch) -> None:
        """Take up what a batch changes."""
        self._batches.setdefault(run_id, []).append(batch)

    def write(self, database: Database) -> None:
        """Write everything, inside a transaction."""
        for table, rows_of in _TABLES:
            rows = self._rows(rows_of, len(table.primary_key) - 1)
            if rows:
                database.upsert(table, rows)
        holds = self._rows(lambda batch: batch.holds, len(HOLDS.primary_key) - 1)
        if holds:
            self._write_holds(database, holds)
        pools = {pool.name: pool for batches in self._batches.values() for batch in batches for pool in batch.pools.values()}
        if pools:
            # Sorted: other engines may write the same pools, and two that lock rows in one order never wait for each other.
            database.upsert(POOLS, [row for _, row in sorted(pools.items())])
        runs = {run_id: batch.run for run_id, batches in self._batches.items() for batch in batches if batch.run is not None}
        if runs:
            database.execute_many(
                database.statements.change_run,
                [(row.status, row.recovery, row.ended, row.program, run_id) for run_id, row in runs.items()],
            )

    def _rows(self, rows_of: Callable[[Batch], dict[Any, Any]], key_length: int) -> list[Row]:
        # As they stand in the database: the run's ID and the fields, the key first.
        found: list[Row] = []
        for run_id, batches in self._batches.items():
            if len(batches) == 1:
                # Nearly always; in one batch no key is there twice.
                found += [(run_id, *row) for row in rows_of(batches[0]).values()]
            else:
                newest = {row[:key_length]: row for batch in batches for row in rows_of(batch).values()}
                found += [(run_id, *row) for row in newest.values()]
        return found

    def _write_holds(self, database: Database, rows: list[Row]) -> None:
        kept = [row for row in rows if row[-1]]
        if kept:
            database.upsert(HOLDS, kept)
        if len(kept) < len(rows):
            database.execute_many(database.statements.give_back, [row[:-1] for row in rows if not row[-1]])


__all__ = ["Changes"]
