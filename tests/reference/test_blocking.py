"""The reference page of synchronous calls says what there is: every name and every method, and no other."""

from __future__ import annotations

import re

from tests.pages import called, public, table, wrong_calls
from twisted_evproc import blocking

PAGE = "reference/blocking"
CLASSES = [getattr(blocking, name) for name in blocking.__all__ if isinstance(getattr(blocking, name), type)]


def test_every_name() -> None:
    # What leads to a description stands in a role, and is made a literal like the others.
    rows = [[re.sub(r":class:`([^<]+) <.*>`", r"``\1``", row[0])] for row in table(PAGE, "Name")]
    assert sorted(called(rows)) == sorted(blocking.__all__)
    assert wrong_calls(rows, blocking) == []


def test_every_method() -> None:
    rows = table(PAGE, "Method")
    methods = {name for each in CLASSES for name in public(each)} - {"with_timeout"}
    assert sorted(called(rows)) == sorted(methods)
    for row in rows:
        for name in called([row]):
            for owner in CLASSES:
                if hasattr(owner, name):
                    assert wrong_calls([[literal] for literal in re.findall(rf"``{name}\(.*?``", row[0])], owner) == []
