"""
The tables, and how older ones become like them.

Columns are named and ordered as the fields of the rows (see ``flow/_rows.py``), after the run's ID.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import REAL, BigInteger, Boolean, Column, Double, Index, Integer, MetaData, Table, Text, literal_column, select
from sqlalchemy.schema import CreateIndex, CreateTable

from ...errors import StoreTooNew, StoreUnusable

if TYPE_CHECKING:
    from sqlalchemy.types import TypeEngine

    from ._database import Database

# STRICT tables of SQLite know INTEGER, REAL, TEXT and BLOB alone; REAL of PostgreSQL has four bytes only.
WHOLE = BigInteger().with_variant(Integer(), "sqlite")
REALS: TypeEngine[float] = Double().with_variant(REAL(), "sqlite")
TRUTH = Boolean().with_variant(Integer(), "sqlite")
TEXT = Text()

METADATA = MetaData()
#: Of a namespace of their own, with a version of their own: stores of flows do not change with it.
SEEN_METADATA = MetaData()


def _table(
    name: str,
    key: dict[str, TypeEngine[Any]],
    columns: dict[str, TypeEngine[Any]],
    optional: Sequence[str] = (),
    metadata: MetaData = METADATA,
) -> Table:
    return Table(
        name,
        metadata,
        *(Column(column, kind, primary_key=True, autoincrement=False) for column, kind in key.items()),
        *(Column(column, kind, nullable=column in optional) for column, kind in columns.items()),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


META = _table("meta", {"key": TEXT}, {"value": TEXT})
RUNS = _table(
    "runs",
    {"run_id": TEXT},
    {
        "name": TEXT,
        "status": TEXT,
        "recovery": WHOLE,
        "epoch": WHOLE,
        "owner": TEXT,
        "created": REALS,
        "ended": REALS,
        "program": TEXT,
        "number": WHOLE,
    },
    optional=("ended",),
)
RUNS_BY_NUMBER = Index("runs_by_number", RUNS.c.number)
TRIGGERS = _table("triggers", {"run_id": TEXT, "recovery": WHOLE, "event": TEXT, "sequence": TEXT}, {"at": REALS, "origin": TEXT})
TASKS = _table(
    "tasks",
    {"run_id": TEXT, "recovery": WHOLE, "step": TEXT, "sequence": TEXT},
    {
        "status": TEXT,
        "attempt": WHOLE,
        "order": WHOLE,
        "created": REALS,
        "started": REALS,
        "ended": REALS,
        "due": REALS,
        "result": TEXT,
        "error": TEXT,
        "handled": TRUTH,
        "failures": WHOLE,
    },
    optional=("started", "ended", "due", "result", "error"),
)
DELAYS = _table(
    "delays",
    {"run_id": TEXT, "recovery": WHOLE, "event": TEXT, "target": TEXT, "sequence": TEXT},
    {"activated": REALS, "due": REALS, "done": TRUTH},
)
HOLDS = _table("holds", {"run_id": TEXT, "pool": TEXT, "step": TEXT, "sequence": TEXT}, {"amount": WHOLE})
POOLS = _table("pools", {"name": TEXT}, {"limit": WHOLE})

SEEN_META = _table("evproc_seen_meta", {"key": TEXT}, {"value": TEXT}, metadata=SEEN_METADATA)
SEEN_EVENTS = _table("evproc_seen_event", {"scope": TEXT, "event_id": TEXT}, {"at": REALS}, metadata=SEEN_METADATA)
SEEN_EVENTS_BY_AGE = Index("evproc_seen_event_by_age", SEEN_EVENTS.c.at)

#: Changes a database in place from one version of the schema to the next, inside a transaction.
Migration = Callable[["Database"], None]

#: The first leads from version 1 to version 2, and so on.  A migration never changes once it is released.
MIGRATIONS: tuple[Migration, ...] = ()


class Tables(NamedTuple):
    """
    Tables that have a version together.

    :ivar meta: the one with the version.
    :ivar called: what they are, for messages.
    """

    metadata: MetaData
    meta: Table
    called: str


FLOW_TABLES = Tables(METADATA, META, "the store")
SEEN_TABLES = Tables(SEEN_METADATA, SEEN_META, "the events that were seen")

_VERSION = "schema_version"


def _make(database: Database, wanted: Tables) -> None:
    for table in wanted.metadata.sorted_tables:
        database.execute(str(CreateTable(table).compile(dialect=database.dialect)))
        for index in table.indexes:
            database.execute(str(CreateIndex(index).compile(dialect=database.dialect)))


def _found_version(database: Database, wanted: Tables) -> int | None:
    """The version of the tables that are there, ``None`` where there are none."""
    tables = database.tables()
    ours = wanted.metadata.tables.keys() & tables
    if wanted.meta.name not in tables:
        strange = ours if database.shared else tables
        if strange:
            raise StoreUnusable(
                database.name,
                f"holds something else, with tables {', '.join(sorted(strange))}; choose another place for {wanted.called}.",
            )
        return None
    version = select(wanted.meta.c.value).where(wanted.meta.c.key == literal_column(f"'{_VERSION}'"))
    try:
        return int(database.query(str(version.compile(dialect=database.dialect)))[0][0])
    except (IndexError, ValueError, database.error) as error:
        raise StoreUnusable(
            database.name, f"holds something else, with a table {wanted.meta.name} of its own; choose another place."
        ) from error


def bring_up_to_date(database: Database, migrations: Sequence[Migration] = MIGRATIONS, wanted: Tables = FLOW_TABLES) -> None:
    """
    Make the tables, or change those of an older version; inside a transaction.

    :raises twisted_evproc.errors.StoreTooNew: for tables of a newer version.
    :raises twisted_evproc.errors.StoreUnusable: for tables of something else.
    """
    known = 1 + len(migrations)
    found = _found_version(database, wanted)
    if found is not None and found > known:
        raise StoreTooNew(database.name, found, known)
    if found is None:
        _make(database, wanted)
    elif found < known:
        for migrate in migrations[found - 1 :]:
            migrate(database)
    if found != known:
        database.upsert(wanted.meta, [(_VERSION, str(known))])


def check_version(database: Database) -> None:
    """
    See that the tables are those of this version, for a reader, which changes nothing.

    :raises twisted_evproc.errors.StoreError: when they are not.
    """
    known = 1 + len(MIGRATIONS)
    found = _found_version(database, FLOW_TABLES)
    if found is None:
        raise StoreUnusable(database.name, "has nothing in it yet.")
    if found > known:
        raise StoreTooNew(database.name, found, known)
    if found < known:
        raise StoreUnusable(
            database.name, f"has schema version {found}, and {known} is read; run its flow once, which brings it up to date."
        )


__all__ = [
    "DELAYS",
    "FLOW_TABLES",
    "HOLDS",
    "META",
    "METADATA",
    "MIGRATIONS",
    "POOLS",
    "RUNS",
    "SEEN_EVENTS",
    "SEEN_TABLES",
    "TASKS",
    "TRIGGERS",
    "Migration",
    "Tables",
    "bring_up_to_date",
    "check_version",
]
