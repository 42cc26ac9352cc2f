"""
The statements, as text.

SQLAlchemy Core builds and compiles them once for each kind of database.  They are then run on the driver's own cursor: three
times as quick as through SQLAlchemy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ARRAY, ColumnElement, Table, bindparam, func, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ._schema import DELAYS, HOLDS, POOLS, RUNS, TASKS, TRIGGERS

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import Dialect
    from sqlalchemy.sql.elements import ClauseElement

#: The columns of a :class:`~twisted_evproc.flow.RunRow`, in its order.
_RUN = [column for column in RUNS.c if column.name != "number"]


def text(statement: ClauseElement, dialect: Dialect, *parameters: str) -> str:
    """
    A statement as the driver takes it.

    :param parameters: the names of its parameters in the order in which they will be given.
    """
    compiled = statement.compile(dialect=dialect)
    if tuple(compiled.positiontup or ()) != parameters:  # type: ignore[attr-defined]  # compiled SQL has it, other elements do not
        raise AssertionError(f"{compiled}: parameters are {compiled.positiontup}")  # type: ignore[attr-defined]  # as above
    return str(compiled)


def _upsert(table: Table, dialect: Dialect, rows: Any) -> Any:
    kind = sqlite if dialect.name == "sqlite" else postgresql
    statement = kind.insert(table)
    names = [column.name for column in table.c]
    if isinstance(rows, list):
        statement = statement.values(rows)
    else:
        statement = statement.from_select(names, rows)
    changed = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
    return statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=changed)


def upsert_rows(table: Table, dialect: Dialect, count: int) -> str:
    """Writes so many rows over those that have their keys; parameters: row by row.  For more than one row: SQLite only."""
    names = [column.name for column in table.c]
    one = text(_upsert(table, dialect, [{name: bindparam(name) for name in names}]), dialect, *names)
    # Rows are all alike: compiling hundreds of them would take longer than writing thousands.
    row = f"({', '.join('?' * len(names))})"
    return one.replace(row, ", ".join([row] * count))


def upsert_columns(table: Table, dialect: Dialect) -> str:
    """Writes any number of rows over those that have their keys; parameters: an array for each column."""
    arrays = [bindparam(column.name, type_=ARRAY(column.type)) for column in table.c]
    rows = select(func.unnest(*arrays).table_valued(*(column.name for column in table.c)).render_derived())
    return text(_upsert(table, dialect, rows), dialect, *(column.name for column in table.c))


class Statements:
    """
    What is read and written in both kinds of database.

    :param now: the database's clock, in seconds since the epoch.
    """

    def __init__(self, dialect: Dialect, now: str) -> None:
        self._dialect = dialect
        # Where several engines share a store, another run that is said to be running may be: whoever reads asks for its holder.
        self._running = ("running",) if dialect.name == "postgresql" else ()
        self._of_run()
        self._of_runs(literal_column(now))

    def _of_runs(self, now: ColumnElement[float]) -> None:
        kind = sqlite if self._dialect.name == "sqlite" else postgresql
        number = select(func.coalesce(func.max(RUNS.c.number), literal_column("0")) + literal_column("1")).scalar_subquery()
        new = {
            "run_id": bindparam("run_id"),
            "name": bindparam("name"),
            "status": literal_column("'running'"),
            "recovery": literal_column("0"),
            "epoch": literal_column("1"),
            "owner": bindparam("owner"),
            "created": now,
            "program": literal_column("''"),
            "number": number,
        }
        begin = kind.insert(RUNS).values(new).on_conflict_do_nothing().returning(*_RUN)
        self.begin = text(begin, self._dialect, "run_id", "name", "owner")
        take = update(RUNS).values(epoch=RUNS.c.epoch + literal_column("1"), owner=bindparam("o"))
        self.take = text(take.where(RUNS.c.run_id == bindparam("r")), self._dialect, "o", "r")
        changed = update(RUNS).values(
            status=bindparam("s"), recovery=bindparam("n"), ended=bindparam("e"), program=bindparam("p")
        )
        self.change_run = text(changed.where(RUNS.c.run_id == bindparam("r")), self._dialect, "s", "n", "e", "p", "r")
        runs = select(*_RUN).order_by(RUNS.c.number)
        self.runs = text(runs, self._dialect)
        self.runs_named = text(runs.where(RUNS.c.name == bindparam("n")), self._dialect, "n")
        self.run = text(select(*_RUN).where(RUNS.c.run_id == bindparam("r")), self._dialect, "r")
        locked = select(RUNS.c.run_id, RUNS.c.epoch).where(RUNS.c.run_id == bindparam("r")).with_for_update()
        self.epoch = text(locked, self._dialect, "r")
        newest = select(func.max(RUNS.c.number) - literal_column("20")).scalar_subquery()
        self.newest = text(select(RUNS.c.run_id).where(RUNS.c.number > newest), self._dialect)

    def _of_run(self) -> None:
        def rows(table: Table, *order: str, key: str = "run_id") -> str:
            fields = [column for column in table.c if column.name != key]
            chosen = select(*fields).where(table.c[key] == bindparam("r"))
            return text(chosen.order_by(*(table.c[name] for name in order)), self._dialect, "r")

        self.triggers = rows(TRIGGERS, "recovery", "at", "event", "sequence")
        self.tasks = rows(TASKS, "recovery", "order", "step", "sequence")
        self.delays = rows(DELAYS, "recovery", "due", "event", "target", "sequence")
        self.holds = rows(HOLDS, "pool", "step", "sequence")
        # A run that has ended gives nothing back any more, and what a dead engine held is free.
        alive = RUNS.c.status.in_([literal_column(f"'{status}'") for status in ("pending", "stuck", *self._running)])
        of_run = (RUNS.c.run_id, RUNS.c.owner, RUNS.c.status, HOLDS.c.pool)
        others = select(*of_run, func.sum(HOLDS.c.amount)).join_from(HOLDS, RUNS, HOLDS.c.run_id == RUNS.c.run_id)
        foreign = others.where(HOLDS.c.run_id != bindparam("r"), alive).group_by(*of_run)
        self.foreign_holds = text(foreign, self._dialect, "r")
        given_back = HOLDS.delete().where(
            *(HOLDS.c[name] == bindparam(name) for name in ("run_id", "pool", "step", "sequence")),
        )
        self.give_back = text(given_back, self._dialect, "run_id", "pool", "step", "sequence")
        self.pools = text(select(*POOLS.c).order_by(POOLS.c.name), self._dialect)


__all__ = ["Statements", "text", "upsert_columns", "upsert_rows"]
