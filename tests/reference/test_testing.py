"""The reference page of testing says what there is: every function, class and attribute, and no other."""

from __future__ import annotations

import re

from tests.pages import called, is_call, literals, options, public, table, tables, targets, text_of, wrong_calls
from twisted_evproc import testing
from twisted_evproc.interfaces import IBackgroundUtility, IEventDispatcher
from twisted_evproc.testing import FakeDispatcher, Fired

PAGE = "reference/testing"


def test_everything_public_is_there() -> None:
    in_tables = {name for each in tables(PAGE) for name in (*called(each.rows), *targets(each.rows))}
    assert {*testing.__all__} - in_tables == {"Captured", "FakeDispatcher", "Fired", "capture"}
    assert all(re.search(rf"[`.]{name}\b", text_of(PAGE)) for name in testing.__all__)


def test_every_function() -> None:
    functions = [row for each in tables(PAGE) if each.header[0] == "Function" for row in each.rows]
    assert sorted(called(functions)) == sorted(name for name in testing.__all__ if re.match("assert|result|failure", name))
    assert wrong_calls(functions, testing) == []
    [capture] = re.findall(r"^``(capture\(.*\))``$", text_of(PAGE), re.MULTILINE)
    assert is_call(capture, testing.capture)


def test_every_class() -> None:
    classes = [name for each in tables(PAGE) if each.header[0] == "Class" for name in targets(each.rows)]
    assert sorted(classes) == sorted(
        name
        for name in testing.__all__
        if name.endswith("Contract") or (re.match("Fake|Manual|Recording", name) and name != "FakeDispatcher")
    )


def test_every_attribute_of_what_was_fired() -> None:
    attributes = literals(table(PAGE, "Attribute of ``Fired``"))
    assert {*attributes} == public(Fired) | {"event", "details", "outcome", "over"}


def test_everything_about_the_fake_dispatcher() -> None:
    rows = table(PAGE, "Beyond the interfaces")
    # What the two interfaces have stands there; forget() and firing_left() are called by its own parts.
    interfaces = {*IEventDispatcher.names(), *IBackgroundUtility.names()}
    methods = public(FakeDispatcher) - interfaces - {"forget", "firing_left"}
    assert {*called(rows)} == {*options(FakeDispatcher), "fired"} | methods
    assert wrong_calls(rows, FakeDispatcher) == []
