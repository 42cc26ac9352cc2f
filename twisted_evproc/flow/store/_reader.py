"""What is in a store, for reading alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Self, TypeVar

from sqlalchemy import bindparam, func, select

from .._rows import PoolRow
from . import _runs
from ._schema import TASKS
from ._statements import text
from ._upkeep import store_problems

if TYPE_CHECKING:
    from types import TracebackType

    from .._rows import RunRow, Snapshot
    from ._database import Database

T = TypeVar("T")


class StoreReader:
    """
    A synchronous view of a store; a context manager.  Each answer is of one moment.

    :ivar name: path or URL of the store, without a password.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.name = database.name
        database.open_for_reading()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<StoreReader {self.name}>"

    def close(self) -> None:
        """Let go of the store."""
        self._database.close()

    def runs(self, name: str | None = None) -> list[RunRow]:
        """The runs of one flow, or of all, oldest first."""
        return self._read(lambda: _runs.listed(self._database, name))

    def run(self, run_id: str) -> RunRow:
        """
        One run.

        :raises twisted_evproc.errors.UnknownRun: when there is none.
        """
        return self._read(lambda: _runs.find(self._database, run_id))

    def load(self, run_id: str) -> Snapshot:
        """
        All that belongs to a run.  Takes it from nobody.

        :raises twisted_evproc.errors.UnknownRun: when there is none.
        """
        return self._read(lambda: _runs.load(self._database, _runs.find(self._database, run_id)))

    def counts(self, run_id: str, recovery: int) -> dict[str, int]:
        """How many tasks of a recovery of a run have which status."""
        database, columns = self._database, TASKS.c
        chosen = select(columns.status, func.count()).where(
            columns.run_id == bindparam("run_id"), columns.recovery == bindparam("recovery")
        )
        sql = text(chosen.group_by(columns.status), database.dialect, "run_id", "recovery")
        return self._read(lambda: {status: int(count) for status, count in database.query(sql, (run_id, recovery))})

    def pools(self) -> list[PoolRow]:
        """The resource pools, by name."""
        return self._read(lambda: [PoolRow._make(row) for row in self._database.query(self._database.statements.pools)])

    def living_owner(self, run_id: str) -> str | None:
        """
        ``host:pid`` of the engine that has a run and is alive, or ``None``.

        :raises twisted_evproc.errors.UnknownRun: when there is no such run.
        """
        return self._read(lambda: self._database.holder(run_id, _runs.find(self._database, run_id).owner))

    def problems(self) -> list[str]:
        """What is wrong with the store itself, one sentence each: damage on the disk, rows that belong to no run."""
        return store_problems(self._database)

    def _read(self, work: Callable[[], T]) -> T:
        try:
            self._database.begin_reading()
            try:
                return work()
            finally:
                self._database.rollback()
        except self._database.error as error:
            raise self._database.unusable(error) from error


__all__ = ["StoreReader"]
