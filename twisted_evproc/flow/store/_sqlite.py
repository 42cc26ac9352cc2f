"""SQLite: a file with one engine, or memory."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import quote

from sqlalchemy import bindparam, select
from sqlalchemy.dialects import sqlite

from ...errors import StoreUnusable
from ._database import Database, Row
from ._lock import FileLock, holder
from ._schema import RUNS, check_version
from ._statements import Statements, text, upsert_rows

if TYPE_CHECKING:
    from sqlalchemy import Table
    from sqlalchemy.engine.default import DefaultDialect

MEMORY = ":memory:"

_NOW = "(julianday('now') - 2440587.5) * 86400.0"
_DIALECT: DefaultDialect = sqlite.dialect()
# Each statement lets go of the interpreter lock, and a busy reactor gives it back after some milliseconds only: so few
# statements, of many rows each.  Their sizes are fixed, so that each is parsed once.
_SIZES = (256, 64, 16, 4, 1)
_BUSY_MILLISECONDS = 100
# A transaction of another process takes milliseconds: to wait for it is no reason to say that commits wait.
_SHARED_BUSY_MILLISECONDS = 500
# Seconds between trials of what SQLite refuses at once, busy timeout or not, while another connection has the file open: above
# all the change to a write-ahead log (https://sqlite.org/c3ref/busy_handler.html).  Almost 5 s in all.
_PAUSES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, *[0.2] * 24)

_WAITS = {
    sqlite3.SQLITE_BUSY: "the database is locked by another connection",
    sqlite3.SQLITE_LOCKED: "a table is locked by another connection",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk does not read or write",
    sqlite3.SQLITE_NOMEM: "there is not enough memory",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
    sqlite3.SQLITE_PROTOCOL: "the database is locked by another connection",
    sqlite3.SQLITE_INTERRUPT: "a statement was interrupted",
}


@cache
def _statements() -> Statements:
    return Statements(_DIALECT, _NOW)


@cache
def _upsert(table: Table, count: int) -> str:
    return upsert_rows(table, _DIALECT, count)


@cache
def _epochs(count: int) -> str:
    names = [f"run_{number}" for number in range(count)]
    chosen = select(RUNS.c.run_id, RUNS.c.epoch).where(RUNS.c.run_id.in_([bindparam(name) for name in names]))
    return text(chosen, _DIALECT, *names)


class SQLiteDatabase(Database):
    """
    :param path: of the file, or ``:memory:``.
    :param durability: see :func:`~twisted_evproc.flow.store.open_store`.
    :ivar pause: waits so many seconds, between trials to open what another process is opening.
    """

    pause: Callable[[float], object] = staticmethod(time.sleep)
    error: ClassVar[type[Exception]] = sqlite3.Error
    shared: ClassVar[bool] = False
    dialect = _DIALECT

    def __init__(self, path: str, durability: Literal["full", "normal"] = "full") -> None:
        self._in_memory = path == MEMORY
        # Two names of one file are one store.
        self._path = path if self._in_memory else os.path.realpath(path)
        self.name = path
        self._synchronous = {"full": "FULL", "normal": "NORMAL"}[durability]
        self.statements = _statements()
        self._connection: sqlite3.Connection | None = None
        self._lock: FileLock | None = None

    def open(self) -> None:
        if sqlite3.sqlite_version_info < (3, 37):
            raise StoreUnusable(self.name, f"needs SQLite 3.37 at least, and this is {sqlite3.sqlite_version}; upgrade Python.")
        if not self._in_memory:
            self._check_place()
        if self.exclusive and not self._in_memory:
            self._lock = FileLock(self._lock_path, self.name)
        try:
            self._connect(busy_milliseconds=5_000)
            self.begin()
            self.prepare(self)
            self.commit()
            self.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
            self._patiently(self._set_up_writing)
        except BaseException as error:
            self.close()
            if isinstance(error, self.error):
                raise self.unusable(error) from error
            raise

    def _check_place(self) -> None:
        # All that SQLite says of each is that it cannot open the file.
        folder = os.path.dirname(self._path)
        if os.path.isdir(self._path):
            raise StoreUnusable(self.name, "is a directory; give the path of a file.")
        if not os.path.isdir(folder):
            raise StoreUnusable(self.name, f"there is no folder {folder}; make it, or correct the path.")
        if os.path.exists(self._path) and not os.access(self._path, os.R_OK):
            raise StoreUnusable(self.name, "permission to read it is denied.")

    @property
    def _lock_path(self) -> str:
        return f"{self._path}.lock"

    def _connect(self, mode: str = "rwc", busy_milliseconds: int = _BUSY_MILLISECONDS) -> None:
        # The connection is closed by the thread that made it, but for one that died.
        place = MEMORY if self._in_memory else f"file:{quote(self._path)}?mode={mode}"
        self._connection = sqlite3.connect(place, uri=True, isolation_level=None, cached_statements=256, check_same_thread=False)
        self.execute(f"PRAGMA busy_timeout = {busy_milliseconds}")
        self.execute("PRAGMA trusted_schema = OFF")
        # No files elsewhere than beside the store.
        self.execute("PRAGMA temp_store = MEMORY")

    def _patiently(self, step: Callable[[], None]) -> None:
        for pause in _PAUSES:
            try:
                return step()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                self.pause(pause)
        return step()

    def _set_up_writing(self) -> None:
        if not self._in_memory:
            [(mode,)] = self.query("PRAGMA journal_mode = WAL")
            if mode != "wal":
                raise StoreUnusable(self.name, f"cannot have a write-ahead log there ({mode}); choose a local disk.")
            self.execute(f"PRAGMA synchronous = {self._synchronous}")
            self.execute("PRAGMA journal_size_limit = 67108864")
        self.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS if self.exclusive else _SHARED_BUSY_MILLISECONDS}")

    def open_for_reading(self) -> None:
        if self._in_memory:
            raise StoreUnusable(self.name, "is in the memory of its engine alone; give the flow a file as its store.")
        if not os.path.exists(self._path):
            raise StoreUnusable(self.name, "there is no such file.")
        self._check_place()
        try:
            self._connect("ro", busy_milliseconds=5_000)
            check_version(self)
        except BaseException as error:
            self.close()
            if isinstance(error, self.error):
                raise self.unusable(error) from error
            raise

    def reopen(self) -> None:
        # Without "c": a file that is gone is not replaced by an empty one.
        self._connect("rw")
        self._set_up_writing()

    def abandon(self) -> None:
        if not self._in_memory:
            self._disconnect()
        elif self._open.in_transaction:
            # Another connection would be another, empty database; and in memory a transaction that failed can be undone.
            self.rollback()

    def close(self) -> None:
        try:
            self._disconnect()
        finally:
            lock, self._lock = self._lock, None
            if lock is not None:
                lock.release()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @property
    def lost(self) -> bool:
        return self._connection is None

    @property
    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.ProgrammingError("there is no connection")
        return self._connection

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return self._open.execute(sql, parameters).fetchall()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        self._open.execute(sql, parameters)

    def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        self._open.executemany(sql, rows)

    def upsert(self, table: Table, rows: Collection[Row]) -> None:
        left = len(rows)
        following = iter(rows)
        for size in _SIZES:
            while left >= size:
                self.execute(_upsert(table, size), list(chain.from_iterable(islice(following, size))))
                left -= size

    def epochs(self, run_ids: Collection[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        left = len(run_ids)
        following = iter(run_ids)
        for size in _SIZES:
            while left >= size:
                found.update(self.query(_epochs(size), list(islice(following, size))))
                left -= size
        return found

    def begin(self) -> None:
        # A plain BEGIN would fail at its first write without waiting for the lock.
        self.execute("BEGIN IMMEDIATE")

    def begin_reading(self) -> None:
        self.execute("BEGIN")

    def tables(self) -> set[str]:
        found = self.query("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
        return {name for (name,) in found}

    def hold(self, run_id: str) -> bool:
        # Who has the store has its runs.
        return True

    def let_go(self, run_id: str) -> None:
        pass

    def holder(self, run_id: str, owner: str) -> str | None:
        held_by = holder(self._lock_path)
        return held_by if held_by == owner else None

    def reason_to_wait(self, error: BaseException) -> str | None:
        code = getattr(error, "sqlite_errorcode", None)
        if not isinstance(error, sqlite3.Error) or code is None:
            return None
        reason = _WAITS.get(code & 0xFF)
        return f"{reason} ({self.words(error)})" if reason else None


__all__ = ["MEMORY", "SQLiteDatabase"]
