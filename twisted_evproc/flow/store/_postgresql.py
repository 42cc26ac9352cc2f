"""PostgreSQL: several engines may share a store; each run has one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import ARRAY, bindparam, func, select
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from ...errors import ConfigurationError
from ._database import Database, Row
from ._schema import RUNS, TEXT, check_version
from ._statements import Statements, text, upsert_columns

if TYPE_CHECKING:
    from sqlalchemy import Table
    from sqlalchemy.engine.default import DefaultDialect

_NOW = "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"
_DIALECT: DefaultDialect = PGDialect_psycopg(paramstyle="format")  # type: ignore[no-untyped-call]  # SQLAlchemy has no types there

#: What a URL need not say: a peer that is gone is noticed after half a minute, by either side.
_DEFAULTS: dict[str, Any] = {
    "application_name": "twisted_evproc",
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}
# The server's side: the lock of a client that is gone is freed.  A row that somebody else locks is a reason to wait, and to
# say so.
_SETTINGS = (
    "SET tcp_keepalives_idle = 10",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 4",
    "SET tcp_user_timeout = 30000",
    "SET idle_in_transaction_session_timeout = 60000",
    "SET lock_timeout = 3000",
    "SET client_encoding = 'UTF8'",
    "SET client_min_messages = warning",
)
# By the first two characters of the SQLSTATE.
_WAITS = {
    "08": "the connection is lost",
    "25": "the database takes no changes at present",
    "40": "another transaction is in the way",
    "53": "the server has not enough disk or memory",
    "55": "another transaction is in the way",
    "57": "the server ended the connection",
    "58": "the server's disk does not read or write",
}


@cache
def _statements() -> Statements:
    return Statements(_DIALECT, _NOW)


@cache
def _upsert(table: Table) -> str:
    # Binary: for the text form of an array the driver searches each item for what is to be quoted, in Python.
    return upsert_columns(table, _DIALECT).replace("%s", "%b")


@cache
def _epochs() -> str:
    chosen = bindparam("runs", type_=ARRAY(TEXT))
    # In the order of their keys: two engines that lock several runs never wait for each other.
    locked = select(RUNS.c.run_id, RUNS.c.epoch).where(RUNS.c.run_id == func.any(chosen)).order_by(RUNS.c.run_id)
    return text(locked.with_for_update(), _DIALECT, "runs")


class PostgreSQLDatabase(Database):
    """
    :param url: as libpq reads it.
    :param durability: see :func:`~twisted_evproc.flow.store.open_store`.
    """

    error: ClassVar[type[Exception]] = psycopg.Error
    shared: ClassVar[bool] = True
    dialect = _DIALECT

    def __init__(self, url: str, durability: Literal["full", "normal"] = "full") -> None:
        try:
            given = conninfo_to_dict(url)
        except psycopg.Error:
            # Its message has the URL in it, and with that the password.
            raise ConfigurationError(
                "the URL of the store is none that PostgreSQL reads; write postgresql://user:password@host/database"
            ) from None
        self._parameters = _DEFAULTS | given
        self._password = str(given.get("password") or "")
        self.name = _name(given)
        self._durability = durability
        self.statements = _statements()
        self._connection: psycopg.Connection[Row] | None = None
        self._schema = ""
        self._held: set[str] = set()
        self._wanted: set[str] = set()

    def open(self) -> None:
        try:
            self._connect()
            self.begin()
            self.execute("SELECT pg_advisory_xact_lock(%s)", (self._key("schema"),))
            self.prepare(self)
            self.commit()
        except BaseException as error:
            self.close()
            if isinstance(error, self.error):
                raise self.unusable(error) from error
            raise

    def open_for_reading(self) -> None:
        try:
            self._connect()
            self.execute("SET default_transaction_read_only = on")
            check_version(self)
        except BaseException as error:
            self.close()
            if isinstance(error, self.error):
                raise self.unusable(error) from error
            raise

    def _connect(self) -> None:
        self._connection = psycopg.connect(**self._parameters, autocommit=True)
        for setting in _SETTINGS:
            self.execute(setting)
        [(schema, synchronous)] = self.query("SELECT current_schema(), current_setting('synchronous_commit')")
        self._schema = str(schema)
        if self._durability == "normal":
            self.execute("SET synchronous_commit = off")
        elif synchronous == "off":
            # What a server demands beyond that, such as remote_apply, stays.
            self.execute("SET synchronous_commit = on")

    def reopen(self) -> None:
        self._connect()
        # The server may hold the locks of a connection that was lost for a while, and another engine may have taken a run: its
        # epoch tells then.  While it is the same, commits are safe without the lock, and it is tried again with each.
        self._wanted |= self._held
        self._held.clear()

    def abandon(self) -> None:
        self._disconnect()

    def close(self) -> None:
        try:
            if self._held and not self.lost:
                # The server would free them too, but some time after we are gone.
                self.execute("SELECT pg_advisory_unlock_all()")
        except psycopg.Error:
            pass
        finally:
            self._held.clear()
            self._wanted.clear()
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @property
    def lost(self) -> bool:
        return self._connection is None or self._connection.closed

    @property
    def _open(self) -> psycopg.Connection[Row]:
        if self._connection is None:
            raise psycopg.OperationalError("there is no connection")
        return self._connection

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return self._open.execute(sql.encode(), parameters or None).fetchall()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        self._open.execute(sql.encode(), parameters or None)

    def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        with self._open.cursor() as cursor:
            cursor.executemany(sql.encode(), rows)

    def upsert(self, table: Table, rows: Collection[Row]) -> None:
        if rows:
            self.execute(_upsert(table), [list(values) for values in zip(*rows, strict=True)])

    def epochs(self, run_ids: Collection[str]) -> dict[str, int]:
        found: dict[str, int] = dict(self.query(_epochs(), (list(run_ids),)))
        for run_id in self._wanted.intersection(run_ids):
            self.hold(run_id)
        return found

    def begin(self) -> None:
        self.execute("BEGIN")

    def begin_reading(self) -> None:
        self.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def tables(self) -> set[str]:
        return {name for (name,) in self.query("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")}

    def hold(self, run_id: str) -> bool:
        # Session locks count: one more would need one more unlock.
        if run_id not in self._held:
            [(locked,)] = self.query("SELECT pg_try_advisory_lock(%s)", (self._key(f"run {run_id}"),))
            (self._held if locked else self._wanted).add(run_id)
        if run_id in self._held:
            self._wanted.discard(run_id)
        return run_id in self._held

    def let_go(self, run_id: str) -> None:
        self._wanted.discard(run_id)
        if run_id in self._held:
            self._held.discard(run_id)
            self.execute("SELECT pg_advisory_unlock(%s)", (self._key(f"run {run_id}"),))

    def _key(self, what: str) -> int:
        digest = hashlib.blake2b(f"twisted_evproc\0{self._schema}\0{what}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, signed=True)

    def holder(self, run_id: str, owner: str) -> str | None:
        key = self._key(f"run {run_id}") & 0xFFFF_FFFF_FFFF_FFFF
        held = self.query(
            "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            " AND classid::bigint = %s AND objid::bigint = %s",
            (key >> 32, key & 0xFFFF_FFFF),
        )
        return owner if held else None

    def reason_to_wait(self, error: BaseException) -> str | None:
        if not isinstance(error, psycopg.Error):
            return None
        if error.sqlstate is None:
            lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
            return f"the connection is lost ({self.words(error)})" if lost else None
        reason = _WAITS.get(error.sqlstate[:2])
        return f"{reason} ({self.words(error)})" if reason else None

    def words(self, error: BaseException) -> str:
        words = super().words(error)
        # Not within a word: there it is another one, which would be made unreadable, and would tell the password.
        return re.sub(rf"(?<!\w){re.escape(self._password)}(?!\w)", "***", words) if self._password else words


def _name(given: dict[str, Any]) -> str:
    user = f"{given['user']}@" if given.get("user") else ""
    port = f":{given['port']}" if given.get("port") else ""
    return f"postgresql://{user}{given.get('host', '')}{port}/{given.get('dbname', '')}"


__all__ = ["PostgreSQLDatabase"]
