"""Expressions and the gates they become."""

from __future__ import annotations

from typing import Any

import pytest

from twisted_evproc.errors import FlowDefinitionError
from twisted_evproc.flow import FlowEvent, and_, at_least, not_by, or_
from twisted_evproc.flow._expressions import events_of, make_gate

A, B, C = FlowEvent("a"), FlowEvent("b"), FlowEvent("c")


def opens_at(expression: Any, *events: str) -> list[int]:
    """After how many of the events the gate opens."""
    gate = make_gate(expression)
    left = list(gate.needs)
    return [number for number, event in enumerate(events, 1) for node in gate.leaves.get(event, ()) if gate.count(left, node)]


class TestWhenAGateOpens:
    @pytest.mark.parametrize(
        ("expression", "events", "opens"),
        [
            (A, "a", [1]),
            ((A, B), "ab", [2]),
            ((A, B), "ba", [2]),
            ([A, B], "a", []),
            (or_(A, B), "b", [1]),
            (or_(A, B), "ab", [1]),
            (and_(A, or_(B, C)), "ca", [2]),
            (and_(A, or_(B, C)), "bca", [3]),
            (or_((A, B), C), "bac", [2]),
            (at_least(2, A, B, C), "ca", [2]),
            (at_least(2, A, B, C), "cab", [2]),
            (and_(A, A), "a", [1]),
            (at_least(2, A, A), "a", [1]),
            (or_(and_(A, B), and_(A, C)), "acb", [2]),
        ],
    )
    def test_once_and_as_soon_as_the_expression_holds(self, expression: Any, events: str, opens: list[int]) -> None:
        assert opens_at(expression, *events) == opens

    def test_expressions_are_as_deep_as_users_like(self) -> None:
        deep: Any = A
        for _ in range(5000):
            deep = and_(deep, B)
        assert opens_at(deep, "a", "b") == [2]
        assert next(iter(events_of(deep))) is B


class TestWhatIsNoExpression:
    @pytest.mark.parametrize("left", [A, and_(A, B), not_by(A, 1)], ids=str)
    def test_pythons_own_operators_are_refused(self, left: Any) -> None:
        for ask in (lambda: left and C, lambda: left or C, lambda: not left):
            with pytest.raises(TypeError, match=r"neither true nor false.*and_\(a, b\)"):
                ask()

    @pytest.mark.parametrize("wrong", ["a", 1, None, (A, "b"), [[A], 3]])
    def test_is_named(self, wrong: Any) -> None:
        with pytest.raises(FlowDefinitionError, match="is no expression: it takes flow events"):
            and_(wrong)

    @pytest.mark.parametrize("empty", [and_, or_])
    def test_nor_is_one_without_operands(self, empty: Any) -> None:
        with pytest.raises(FlowDefinitionError, match="needs at least one operand"):
            empty()
        with pytest.raises(FlowDefinitionError, match="needs at least one operand"):
            or_(())

    @pytest.mark.parametrize("number", [0, 3, -1, True, 1.0, None, "1"])
    def test_at_least_needs_a_number_that_can_be_reached(self, number: Any) -> None:
        with pytest.raises(FlowDefinitionError, match="needs a number from 1 to that of its operands, which are 2"):
            at_least(number, A, B)

    @pytest.mark.parametrize("seconds", [0, -1, None, "3", float("nan"), float("inf")])
    def test_not_by_needs_seconds(self, seconds: Any) -> None:
        with pytest.raises(FlowDefinitionError, match="not_by: seconds=.* has to be a number of seconds above 0;"):
            not_by(A, seconds)

    def test_not_by_takes_an_event(self) -> None:
        with pytest.raises(FlowDefinitionError, match="is no expression"):
            not_by(and_(A, B), 3)  # type: ignore[arg-type]  # the point
