"""Which database a URL means."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Literal

from ...errors import ConfigurationError, MissingExtra

if TYPE_CHECKING:
    from ._database import Database

_POSTGRESQL = re.compile(r"postgres(ql)?(\+psycopg)?://")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def check_url(url: str | os.PathLike[str]) -> None:
    """
    See that a URL means a store, as far as can be told without the library of its database.

    :raises twisted_evproc.errors.ConfigurationError: for one that is neither SQLite nor PostgreSQL.
    """
    place = os.fspath(url)
    known = place == "sqlite://" or place.startswith("sqlite:///") or _POSTGRESQL.match(place)
    if not known and (match := _SCHEME.match(place)):
        raise ConfigurationError(
            f"there is no store for {match[1]}://; use ':memory:', the path of a file, sqlite:///path or postgresql://..."
        )


def database(url: str | os.PathLike[str], durability: Literal["full", "normal"] = "full") -> Database:
    """
    The database that a URL means, not yet opened.

    :raises twisted_evproc.errors.ConfigurationError: for one that is neither SQLite nor PostgreSQL.
    :raises twisted_evproc.errors.MissingExtra: when its library is not installed.
    """
    place = os.fspath(url)
    if durability not in ("full", "normal"):
        raise ConfigurationError(f"the durability of a store is 'full' or 'normal', not {durability!r}")
    check_url(place)
    if match := _POSTGRESQL.match(place):
        return _postgresql(f"postgresql://{place[match.end() :]}", durability)
    if place == "sqlite://":
        return _sqlite(":memory:", durability)
    if place.startswith("sqlite:///"):
        return _sqlite(place.removeprefix("sqlite:///"), durability)
    return _sqlite(place, durability)


def _sqlite(path: str, durability: Literal["full", "normal"]) -> Database:
    if not path or "\0" in path:
        raise ConfigurationError(f"{path!r} is no path for a store; give that of a file, or ':memory:'")
    try:
        from ._sqlite import SQLiteDatabase
    except ModuleNotFoundError as error:
        raise MissingExtra("a store of flows", "flow") from error
    return SQLiteDatabase(path, durability)


def _postgresql(url: str, durability: Literal["full", "normal"]) -> Database:
    try:
        from ._postgresql import PostgreSQLDatabase
    except ModuleNotFoundError as error:
        raise MissingExtra("a store in PostgreSQL", "postgresql") from error
    return PostgreSQLDatabase(url, durability)


__all__ = ["check_url", "database"]
