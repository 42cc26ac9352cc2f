"""The reference page of errors has a row for each, with the builtins it derives from, and no other."""

from __future__ import annotations

import builtins

from tests.pages import literals, table, targets
from twisted_evproc import errors

PAGE = "reference/errors"


def also(name: str) -> set[str]:
    """The builtins that an error is, but for those that one of these derives from."""
    found = {base for base in getattr(errors, name).__mro__ if base.__module__ == builtins.__name__}
    nearest = {one.__name__ for one in found if not any(issubclass(other, one) for other in found - {one})}
    return nearest - {"Exception"}


def test_every_error_once() -> None:
    assert sorted(targets(table(PAGE, "Error"))) == sorted(errors.__all__)


def test_what_each_is_also() -> None:
    rows = {name: {*literals([row[1:]])} for row in table(PAGE, "Error") for name in targets([row])}
    assert {name: named for name, named in rows.items() if named != also(name)} == {}
