"""The table of events that were seen: what is asked of it, and what is written."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ARRAY, ColumnElement, bindparam, delete, func, literal_column, select, tuple_

from ...errors import StoreUnusable
from ._json import encode
from ._schema import META, SEEN_EVENTS, SEEN_TABLES, TEXT, Migration, bring_up_to_date
from ._statements import text

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import Dialect

    from ._database import Database

#: Scope and ID.
Key = tuple[str, str]

#: How many are removed at a time.
SLICE: Final = 1_000

#: The first leads from version 1 to version 2, and so on.  A migration never changes once it is released.
SEEN_MIGRATIONS: tuple[Migration, ...] = ()

# In seconds since the epoch.
_NOW = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) AS double precision)",
}


def _prepare(place: Database) -> None:
    if not place.shared and META.name in place.tables():
        # Its engine counts on being the only one that writes there.
        raise StoreUnusable(
            place.name,
            "holds runs of flows, and only their engine may write there; give the events that were seen a file of their own, or "
            "put both into PostgreSQL.",
        )
    bring_up_to_date(place, SEEN_MIGRATIONS, SEEN_TABLES)


class SeenTable:
    """
    All but the making of it runs inside of transactions, in the thread that has the database.

    :param place: not yet opened; opening it makes this table, and no other.  A file may be open in several processes: each
        transaction is whole by itself, and SQLite keeps the writers apart.
    :param keep: for how many seconds an event counts as seen; ``None`` for ever.
    """

    def __init__(self, place: Database, keep: float | None) -> None:
        place.exclusive = False
        place.prepare = _prepare
        self._database = place
        self._keep = keep
        dialect = place.dialect
        self._now = text(select(literal_column(_NOW[dialect.name])), dialect)
        self._known = _known(dialect)
        self._purge = _purge(dialect)

    def known(self, keys: Sequence[Key], now: float | None) -> set[Key]:
        """
        Which of them are there, and not too old.

        :param keys: in order.
        :param now: the time; ``None`` for that of the database.
        """
        oldest = self._oldest(now)
        found: set[Key] = set()
        for scope, group in groupby(keys, key=itemgetter(0)):
            rows = self._database.query(self._known, (scope, self._array(event_id for _, event_id in group), oldest))
            found.update((scope, event_id) for (event_id,) in rows)
        return found

    def remember(self, keys: Collection[Key], now: float | None) -> Collection[Key]:
        """
        Write them all, or their new times.

        :param keys: in order: two processes that write the same never wait for each other in a circle.
        """
        at = self._time(now)
        self._database.upsert(SEEN_EVENTS, [(*key, at) for key in keys])
        return keys

    def purge(self, now: float | None) -> int:
        """
        Remove the oldest of those that are too old, :data:`SLICE` at most.

        :return: how many they were.
        """
        return len(self._database.query(self._purge, (self._oldest(now),)))

    def _oldest(self, now: float | None) -> float:
        return -math.inf if self._keep is None else self._time(now) - self._keep

    def _time(self, now: float | None) -> float:
        return float(self._database.query(self._now)[0][0]) if now is None else now

    def _array(self, event_ids: Iterable[str]) -> Any:
        chosen = list(event_ids)
        return encode(chosen) if self._database.dialect.name == "sqlite" else chosen


def _known(dialect: Dialect) -> str:
    columns = SEEN_EVENTS.c
    chosen: ColumnElement[bool]
    if dialect.name == "sqlite":
        chosen = columns.event_id.in_(select(func.json_each(bindparam("event_ids")).table_valued("value").c.value))
    else:
        chosen = columns.event_id == func.any(bindparam("event_ids", type_=ARRAY(TEXT)))
    statement = select(columns.event_id).where(columns.scope == bindparam("scope"), chosen, columns.at > bindparam("oldest"))
    return text(statement, dialect, "scope", "event_ids", "oldest")


def _purge(dialect: Dialect) -> str:
    columns = SEEN_EVENTS.c
    # What another process removes, or writes anew at this moment, is left to it.
    oldest = select(columns.scope, columns.event_id).where(columns.at <= bindparam("oldest")).order_by(columns.at)
    # Without an offset in words SQLAlchemy would give SQLite a parameter of its own.
    limited = oldest.limit(literal_column(str(SLICE))).offset(literal_column("0"))
    old = limited.with_for_update(skip_locked=True).cte("old")
    statement = delete(SEEN_EVENTS).where(tuple_(columns.scope, columns.event_id).in_(select(old.c.scope, old.c.event_id)))
    return text(statement.returning(literal_column("1")), dialect, "oldest")
