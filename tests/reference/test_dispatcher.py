"""The reference page of the dispatcher says what there is: every option, value, policy and method, and no other."""

from __future__ import annotations

import attrs
import pytest

from tests.pages import called, literals, options, pairs, public, table, words, wrong_calls
from twisted_evproc import dispatch, matching
from twisted_evproc.dispatch import (
    EventDispatcher,
    Explanation,
    FailurePolicy,
    HandlerResult,
    HandlerView,
    Outcome,
    Runner,
    Verdict,
)
from twisted_evproc.dispatch._plan import MAX_PLANS
from twisted_evproc.dispatch._runner import MAX_DEPTH

PAGE = "reference/dispatcher"


def test_every_option_with_its_default() -> None:
    assert pairs(table(PAGE, section="Options of the dispatcher")) == options(EventDispatcher)


def test_every_option_of_a_handler_with_its_default() -> None:
    *rows, (rest, _, _) = table(PAGE, section="Options of a handler")
    assert pairs(rows) == options(EventDispatcher.add_event_handler)
    assert rest == "anything else"


def test_every_matcher() -> None:
    matchers = {
        name
        for name in matching.__all__
        for value in [getattr(matching, name)]
        if isinstance(value, matching.Matcher) or (callable(value) and value.__module__ == matching.Matcher.__module__)
    }
    assert {*called(table(PAGE, "Value"))} - {"None"} == matchers - {"Matcher"}


def test_every_policy() -> None:
    policies = [name for name in dispatch.__all__ if isinstance(getattr(dispatch, name), FailurePolicy)]
    assert sorted(words(table(PAGE, "Policy"))) == sorted(policies)
    assert [getattr(dispatch, name).action.name for name in policies] == policies == sorted(dispatch.Action.__members__)


def test_every_method_and_attribute() -> None:
    rows = table(PAGE, "Method or attribute")
    given = {name for name in vars(EventDispatcher()).keys() - vars(Runner(dispatch.LOG, None)) if not name.startswith("_")}
    methods = public(EventDispatcher, Runner) | given | {"add_observer", "remove_observer"}
    assert sorted(called(rows)) == sorted(methods)
    assert wrong_calls(rows, EventDispatcher) == []


def test_everything_about_an_outcome() -> None:
    assert sorted(literals(table(PAGE, "Attribute", section="The outcome"))) == sorted(public(Outcome))


@pytest.mark.parametrize("values", [HandlerResult, HandlerView, Explanation, Verdict])
def test_every_attribute(values: type) -> None:
    fields = {*attrs.fields_dict(values)}
    assert sorted(called(table(PAGE, values.__name__))) == sorted(fields | public(values))


def test_the_limits() -> None:
    numbers = [row[0].replace(" ", "") for row in table(PAGE, "Number")]
    assert numbers == [str(MAX_DEPTH), str(MAX_PLANS)]
