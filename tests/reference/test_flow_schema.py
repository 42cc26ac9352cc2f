"""The reference page of stores describes every table and column with its type, and no other."""

from __future__ import annotations

from typing import Any

from tests.pages import Row, options, pairs, table, tables, text_of
from twisted_evproc.flow.store import SeenEvents
from twisted_evproc.flow.store._schema import METADATA, MIGRATIONS, SEEN_METADATA

PAGE = "reference/flow-schema"


def columns(table: Any) -> list[Row]:
    """As the page has them, without what they mean."""
    words = {"TEXT": "text", "VARCHAR(512)": "text", "BIGINT": "integer", "DOUBLE": "real", "BOOLEAN": "boolean"}
    mark = {(True, False): ", key", (False, True): ", may be NULL", (False, False): ""}
    return [[f"``{each.name}``", words[str(each.type)] + mark[each.primary_key, bool(each.nullable)]] for each in table.c]


def test_every_table_and_column() -> None:
    described = {
        (each.title or each.section).strip("`"): [row[:2] for row in each.rows]
        for each in tables(PAGE)
        if each.header[0] == "Column"
    }
    assert described == {name: columns(each) for metadata in (METADATA, SEEN_METADATA) for name, each in metadata.tables.items()}


def test_the_version() -> None:
    assert f"schema version is {1 + len(MIGRATIONS)}." in text_of(PAGE)


def test_every_option_of_a_table_of_events_that_were_seen() -> None:
    assert pairs(table(PAGE, title="Options of ``SeenEvents``")) == options(SeenEvents)
