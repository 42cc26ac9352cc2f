"""The reference page of processing by name says what there is: every decorator, method and attribute, and no other."""

from __future__ import annotations

from tests.pages import called, literals, public, table, wrong_calls
from twisted_evproc import processing
from twisted_evproc.dispatch import Runner
from twisted_evproc.processing import Event, Processor

PAGE = "reference/processor"


def test_every_decorator() -> None:
    decorators = {name for name in processing.__all__ if getattr(processing, name).__module__ == processing.want.__module__}
    assert {literal.partition("(")[0] for literal in literals(table(PAGE, "Decorator"))} == {
        f"@{name}" for name in decorators
    } | {"@want"}


def test_every_method() -> None:
    constructor, *rows = table(PAGE, "Method")
    assert wrong_calls([constructor], processing) == wrong_calls(rows, Processor) == []
    # fire() is what sources call.
    assert sorted(called(rows)) == sorted((public(Processor, Runner) | {"add_observer", "remove_observer"}) - {"fire"})


def test_every_attribute_of_an_event() -> None:
    named = {literal.partition(".")[0] for literal in literals(table(PAGE, "Attribute"))}
    assert named == public(Event)
