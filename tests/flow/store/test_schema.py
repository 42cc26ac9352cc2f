"""The tables, their description, and how older ones become like them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from pytest_twisted import ensureDeferred

from twisted_evproc import flow
from twisted_evproc.errors import StoreTooNew, StoreUnusable
from twisted_evproc.flow.store import read_store
from twisted_evproc.flow.store._database import Database
from twisted_evproc.flow.store._schema import METADATA
from twisted_evproc.interfaces import IFlowStore

from .conftest import numbers, some

StoreAt = Callable[..., IFlowStore]
ROWS: dict[str, Any] = {
    "runs": flow.RunRow,
    "triggers": flow.TriggerRow,
    "tasks": flow.TaskRow,
    "delays": flow.DelayRow,
    "holds": flow.HoldRow,
    "pools": flow.PoolRow,
}


class TestSchema:
    @pytest.mark.parametrize("table", ROWS)
    def test_columns_are_the_fields_of_rows(self, table: str) -> None:
        columns = [column.name for column in METADATA.tables[table].c if column.name not in ("run_id", "number")]
        assert columns == [field for field in ROWS[table]._fields if field != "run_id"]

    @ensureDeferred
    async def test_tables_of_sqlite_are_strict(self, path: str, store_at: StoreAt) -> None:
        await store_at(path).open()
        connection = sqlite3.connect(path)
        found = connection.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite%'")
        assert dict(found.fetchall()) == dict.fromkeys(METADATA.tables, 1)
        connection.close()


def set_version(url: str, version: str) -> None:
    statement = f"UPDATE meta SET value = '{version}'"
    if url.startswith("postgresql"):
        with psycopg.connect(url) as connection:
            connection.execute(statement.encode())
    else:
        with sqlite3.connect(url) as file:
            file.execute(statement)
        file.close()


def add_colour(database: Database) -> None:
    database.execute("ALTER TABLE runs ADD COLUMN colour TEXT")


def paint(database: Database) -> None:
    database.execute("UPDATE runs SET colour = 'red'")


def fail(database: Database) -> None:
    database.execute("ALTER TABLE nothing ADD COLUMN colour TEXT")


class TestVersions:
    @pytest.mark.parametrize("version", ["2", "99"])
    @ensureDeferred
    async def test_a_newer_one_is_left_alone(self, lasting: str, store_at: StoreAt, version: str) -> None:
        store = store_at(lasting)
        await store.open()
        await store.close()
        set_version(lasting, version)
        with pytest.raises(StoreTooNew, match="upgrade twisted_evproc") as caught:
            await store.open()
        assert (caught.value.found, caught.value.known) == (int(version), 1)
        with pytest.raises(StoreTooNew):
            read_store(lasting)

    @ensureDeferred
    async def test_one_that_makes_no_sense(self, lasting: str, store_at: StoreAt) -> None:
        store = store_at(lasting)
        await store.open()
        await store.close()
        set_version(lasting, "blue")
        with pytest.raises(StoreUnusable, match="holds something else"):
            await store.open()

    @ensureDeferred
    async def test_an_older_one_is_brought_up_to_date(self, lasting: str, store_at: StoreAt) -> None:
        store: Any = store_at(lasting)
        thread = store._thread
        await store.open()
        await store.begin("flow", "run", "host:1")
        await store.commit("run", 1, some(1))
        await store.close()
        thread.database.migrations = (add_colour, paint)
        for _ in range(2):  # the second time nothing is left to do
            await store.open()
            found = await thread.call(lambda _: thread.database.query("SELECT colour, (SELECT value FROM meta) FROM runs"))
            assert found == [("red", "3")]
            await store.close()
        set_version(lasting, "2")
        thread.database.migrations = (fail, paint)
        await store.open()
        assert numbers((await store.take("run", "host:1")).tasks) == [1]

    @ensureDeferred
    async def test_a_migration_that_fails_changes_nothing(self, lasting: str, store_at: StoreAt) -> None:
        store: Any = store_at(lasting)
        thread = store._thread
        await store.open()
        await store.close()
        thread.database.migrations = (add_colour, fail)
        with pytest.raises(StoreUnusable, match="nothing"):
            await store.open()
        thread.database.migrations = ()
        await store.open()
        assert await thread.call(lambda _: thread.database.query("SELECT value FROM meta")) == [("1",)]
        with pytest.raises(StoreUnusable, match="colour"):
            await thread.call(lambda _: thread.database.query("SELECT colour FROM runs"))

    @ensureDeferred
    async def test_a_reader_of_an_older_one_says_what_to_do(self, lasting: str, store_at: StoreAt) -> None:
        store = store_at(lasting)
        await store.open()
        await store.close()
        set_version(lasting, "0")
        with pytest.raises(StoreUnusable, match="schema version 0, and 1 is read; run its flow once"):
            read_store(lasting)
