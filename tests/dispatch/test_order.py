"""Ordering by requirements."""

from __future__ import annotations

from itertools import pairwise

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_evproc.dispatch._order import ordered
from twisted_evproc.errors import RequirementCycle


@attrs.frozen
class Item:
    name: str
    requires: tuple[str, ...] = ()
    required_by: tuple[str, ...] = ()


def names(*items: Item) -> str:
    return "".join(item.name for item in ordered(items))


def test_without_requirements_the_order_is_the_one_given() -> None:
    assert names(Item("c"), Item("a"), Item("b")) == "cab"


def test_requirements_come_first_and_otherwise_the_order_stays() -> None:
    assert names(Item("a", requires=("c",)), Item("b"), Item("c")) == "bca"
    assert names(Item("a"), Item("b"), Item("c", required_by=("a",))) == "bca"


def test_a_name_that_is_not_there_counts_as_fulfilled() -> None:
    assert names(Item("a", requires=("z",)), Item("b", required_by=("y",))) == "ab"


def test_a_requirement_waits_for_all_of_that_name() -> None:
    assert names(Item("a", requires=("b",)), Item("b"), Item("c"), Item("b")) == "bcba"


@pytest.mark.parametrize(
    ("items", "chain"),
    [
        ([Item("a", requires=("a",))], ("a", "a")),
        ([Item("a", requires=("b",)), Item("b", requires=("a",))], ("a", "b", "a")),
        ([Item("a", required_by=("b",)), Item("b", required_by=("a",))], ("a", "b", "a")),
        (
            [Item("x", requires=("a",)), Item("a", requires=("b",)), Item("b", requires=("c",)), Item("c", requires=("a",))],
            ("a", "b", "c", "a"),
        ),
    ],
)
def test_a_cycle_is_spelt_out(items: list[Item], chain: tuple[str, ...]) -> None:
    with pytest.raises(RequirementCycle) as caught:
        ordered(items)
    assert caught.value.chain == chain
    assert " requires ".join(map(repr, chain)) in str(caught.value)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sets(st.sampled_from("abcdef"), max_size=2)), max_size=8))
def test_every_requirement_is_met_or_there_is_a_cycle(drawn: list[tuple[str, set[str]]]) -> None:
    items = [Item(name, tuple(sorted(required))) for name, required in drawn]
    try:
        found = ordered(items)
    except RequirementCycle as error:
        chain = error.chain
        assert chain[0] == chain[-1]
        for first, second in pairwise(chain):
            assert any(item.name == first and second in item.requires for item in items)
        return
    assert sorted(map(id, found)) == sorted(map(id, items))
    for position, item in enumerate(found):
        assert not any(other.name in item.requires for other in found[position:])
