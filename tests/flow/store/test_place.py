from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from twisted_evproc.errors import ConfigurationError
from twisted_evproc.flow.store import open_store, read_store
from twisted_evproc.flow.store._place import database
from twisted_evproc.flow.store._transactions import back_off


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (":memory:", ":memory:"),
        ("sqlite://", ":memory:"),
        ("sqlite:///:memory:", ":memory:"),
        ("a b.db", "a b.db"),
        (Path("x.db"), "x.db"),
        ("sqlite:///x.db", "x.db"),
        ("sqlite:////tmp/x.db", "/tmp/x.db"),
        ("postgresql://ann:geheim@host:55/flows?connect_timeout=3", "postgresql://ann@host:55/flows"),
        ("postgres://host/flows", "postgresql://host/flows"),
        ("postgresql+psycopg://host/flows?password=geheim", "postgresql://host/flows"),
    ],
)
def test_what_a_url_means(url: Any, name: str) -> None:
    assert database(url).name == name


def test_a_password_is_nowhere_to_be_seen() -> None:
    store = open_store("postgresql://ann:geheim@host/flows", reactor=Clock())  # type: ignore[arg-type]  # nothing is asked of it
    assert repr(store) == "<FlowStore postgresql://ann@host/flows: closed>"
    connected = database("postgresql://ann:geheim@host/flows")
    assert connected.words(ValueError("no geheim.\n  here.")) == "no ***. here"
    short = database("postgresql://nouser:x@host/flows")
    assert short.words(ValueError('role "nouser" does not exist')) == 'role "nouser" does not exist'
    assert short.words(ValueError("no postgresql://nouser:x@host")) == "no postgresql://nouser:***@host"


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])), st.text("abc"))
def test_no_url_lets_its_password_out(rest: str, host: str) -> None:
    try:
        name = database(f"postgresql://ann:geheim9@{host}{rest}").name
    except ConfigurationError as error:
        name = str(error)
    assert "geheim9" not in name


@pytest.mark.parametrize("url", ["mysql://host/flows", "", "a\0b", "sqlite:///", "oracle+x://ann:geheim@host"])
def test_what_is_no_place(url: str) -> None:
    for make in (open_store, read_store):
        with pytest.raises(ConfigurationError) as caught:
            make(url)
        assert "geheim" not in str(caught.value)


def test_durability_has_two_kinds() -> None:
    with pytest.raises(ConfigurationError, match="'full' or 'normal', not 'much'"):
        open_store(":memory:", durability="much")  # type: ignore[arg-type]  # on purpose


def test_trials_come_ever_more_slowly() -> None:
    delays = back_off()
    assert [round(next(delays), 2) for _ in range(9)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_databases_are_imported_when_a_store_is_made() -> None:
    probe = (
        "import sys, twisted_evproc.flow.store as s; import twisted_evproc.flow;"
        "print([m for m in ('sqlalchemy', 'psycopg', 'sqlite3', 'twisted.internet.reactor') if m in sys.modules]);"
        "from twisted.internet.task import Clock; s.open_store(':memory:', reactor=Clock());"
        "print([m for m in ('sqlalchemy', 'psycopg', 'sqlite3', 'twisted.internet.reactor') if m in sys.modules])"
    )
    child = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60)
    assert child.stdout.splitlines() == ["[]", "['sqlalchemy', 'sqlite3']"]
