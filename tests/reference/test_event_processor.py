"""The reference page of processing by content says what there is: every method, filter, strategy and policy, and no other."""

from __future__ import annotations

import operator
from typing import Any

import pytest

from tests.pages import called, options, public, table, words, wrong_calls
from twisted_evproc import dispatch, matching, processing
from twisted_evproc.dispatch import FailurePolicy, Runner
from twisted_evproc.matching import ContentFilter, between
from twisted_evproc.processing import EventProcessor, InvocationStrategy

PAGE = "reference/event-processor"

#: For the parameters of filters.
ARGUMENTS: dict[str, Any] = {
    "path": "a",
    "value": 1,
    "values": [1, 2],
    "comparator": operator.lt,
    "target": 1,
    "pattern": "x*",
    "matcher": between(1, 5),
    "resolver": bool,
    "function": bool,
    "filter": {"a": 1},
}


def test_every_method() -> None:
    constructor, *rows = table(PAGE, "Method")
    assert wrong_calls([constructor], processing) == wrong_calls(rows, EventProcessor) == []
    # fire() is what sources call.
    assert sorted(called(rows)) == sorted((public(EventProcessor, Runner) | {"add_observer", "remove_observer"}) - {"fire"})


def filters() -> dict[str, type[ContentFilter]]:
    found = {name: getattr(matching, name) for name in matching.__all__}
    return {
        name: each
        for name, each in found.items()
        if isinstance(each, type) and issubclass(each, ContentFilter) and each is not ContentFilter
    }


def test_every_filter() -> None:
    named = [name for name in called(table(PAGE, "Filter")) if name.isidentifier()]
    assert sorted(named) == sorted(filters())


@pytest.mark.parametrize("name", sorted(filters().keys() - {"And", "Or"}))
def test_how_specific_a_filter_is(name: str) -> None:
    [row] = [row for row in table(PAGE, "Filter") if name in called([row])]
    parameters = options(filters()[name])
    made = filters()[name](*(ARGUMENTS[each] for each, default in parameters.items() if not default))
    assert str(made.specificity) == row[2]


def test_every_strategy() -> None:
    assert words(table(PAGE, "``invocation``")) == list(InvocationStrategy.__members__)


def test_every_policy() -> None:
    policies = [name for name in dispatch.__all__ if isinstance(getattr(dispatch, name), FailurePolicy)]
    assert sorted(words(table(PAGE, "``on_failure``"))) == sorted(policies)
