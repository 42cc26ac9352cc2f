"""A database of our own."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import psycopg
import pytest

SERVER = os.environ.get("EVPROC_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432")

_NUMBERS = itertools.count(1)


@pytest.fixture
def database() -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    name = f"evproc_kill_{os.getpid()}_{next(_NUMBERS)}"
    try:
        with psycopg.connect(f"{SERVER}/postgres", autocommit=True, connect_timeout=5) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
    except psycopg.OperationalError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no PostgreSQL at {SERVER}: {error}")
    yield f"{SERVER}/{name}"
    with psycopg.connect(f"{SERVER}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
