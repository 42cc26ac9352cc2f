"""What is done to a store while no engine works on it: cancelling and removing runs, and looking whether it is whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from sqlalchemy import bindparam, delete, select

from ...errors import RunInUse
from .._cancellation import cancellation
from . import _runs
from ._changes import Changes
from ._lock import this_process
from ._place import database
from ._schema import DELAYS, HOLDS, RUNS, TASKS, TRIGGERS
from ._statements import text

if TYPE_CHECKING:
    from types import TracebackType

    from .._rows import RunRow
    from ._database import Database

#: The tables of what belongs to a run; the run itself goes last.
_OF_RUN = (TRIGGERS, TASKS, DELAYS, HOLDS, RUNS)


class StoreUpkeep:
    """
    A synchronous hold of a store; a context manager.

    :ivar name: path or URL of the store, without a password.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        """
        :param url: as of :func:`~twisted_evproc.flow.store.open_store`.
        :raises twisted_evproc.errors.StoreInUse: when a living engine has an SQLite store.
        :raises twisted_evproc.errors.StoreError: when the store cannot be used.
        """
        self._database = database(url)
        self.name = self._database.name
        self._database.open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._database.close()

    def remove(self, run_id: str) -> None:
        """
        Remove a run, and all that belongs to it.

        :raises twisted_evproc.errors.RunInUse: when a living engine has it.
        """

        def work(run: RunRow) -> None:
            for table in _OF_RUN:
                statement = delete(table).where(table.c.run_id == bindparam("run_id"))
                self._database.execute(text(statement, self._database.dialect, "run_id"), (run.run_id,))

        self._held(run_id, work)

    def cancel(self, run_id: str, now: float) -> None:
        """
        Cancel a run as an engine would.

        :param now: the time, in seconds since the epoch.
        :raises twisted_evproc.errors.RunInUse: when a living engine has it.
        """

        def work(run: RunRow) -> None:
            batch = Changes()
            batch.add(run_id, cancellation(_runs.take(self._database, run_id, this_process()), now))
            batch.write(self._database)

        self._held(run_id, work)

    def _held(self, run_id: str, work: Callable[[RunRow], None]) -> None:
        try:
            self._database.begin()
            try:
                run = _runs.find(self._database, run_id)
                if not self._database.hold(run_id):
                    raise RunInUse(run_id, run.owner)
                work(run)
            except BaseException:
                self._database.rollback()
                raise
            self._database.commit()
        except self._database.error as error:
            raise self._database.unusable(error) from error
        finally:
            if not self._database.lost:
                self._database.let_go(run_id)


def store_problems(place: Database) -> list[str]:
    """
    What is wrong with a store that is open: whether its pages are whole, and its rows belong to runs.

    The version of its tables was looked at when it was opened.
    """
    found: list[str] = []
    place.begin_reading()
    try:
        if place.dialect.name == "sqlite":
            found += [f"SQLite: {problem}" for (problem,) in place.query("PRAGMA integrity_check") if problem != "ok"]
        for table in _OF_RUN[:-1]:
            statement = select(table.c.run_id).distinct().where(table.c.run_id.not_in(select(RUNS.c.run_id)))
            for (run_id,) in place.query(text(statement, place.dialect)):
                found.append(f"table {table.name} has rows of run {run_id!r}, which is not there")
    except place.error as error:
        found.append(place.words(error))
    finally:
        place.rollback()
    return found


__all__ = ["StoreUpkeep", "store_problems"]
