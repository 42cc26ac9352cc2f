"""The index finds what a linear search finds."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from twisted_evproc.matching import EqualityIndex
from twisted_evproc.matching._index import MAX_COMBINATIONS
from twisted_evproc.matching._values import same

KEYS = "abc"
values = st.sampled_from([0, 1, True, 1.0, "x", "y", (1,), frozenset({1})])
conditions = st.dictionaries(st.sampled_from(KEYS), st.lists(values, min_size=1, max_size=3).map(tuple), max_size=3)
events = st.dictionaries(st.sampled_from(KEYS), st.one_of(values, st.sampled_from([[1], {1}, {"x": 1}])), max_size=3)


def holds(entry: dict[str, tuple[Any, ...]], event: dict[str, Any]) -> bool:
    return all(key in event and any(same(event[key], value) for value in wanted) for key, wanted in entry.items())


@given(st.lists(conditions, max_size=12), st.data())
def test_candidates_are_those_whose_conditions_hold(entries: list[dict[str, tuple[Any, ...]]], data: st.DataObject) -> None:
    index: EqualityIndex[str, int] = EqualityIndex()
    for number, entry in enumerate(entries):
        assert index.add(number, entry)
    gone = data.draw(st.sets(st.sampled_from(range(len(entries))))) if entries else set()
    for number in gone:
        index.discard(number)
    event = data.draw(events)
    expected = [number for number, entry in enumerate(entries) if number not in gone and holds(entry, event)]
    assert sorted(index.candidates(event.get)) == expected


def test_an_unhashable_value_meets_the_hashable_one_it_equals() -> None:
    index: EqualityIndex[str, str] = EqualityIndex()
    index.add("set", {"a": (frozenset({1}),)})
    index.add("other", {"a": (frozenset({2}),)})
    assert index.candidates({"a": {1}}.get) == ["set"]


def test_nothing_is_left_of_entries_that_are_gone() -> None:
    index: EqualityIndex[str, int] = EqualityIndex()
    for number in range(100):
        index.add(number, {"a": (number, -number - 1), "b": ("x",)})
    for number in range(100):
        index.discard(number)
    index.discard(5)
    assert len(index) == 0
    assert index._tables == {}
    assert index._places == {}


def test_too_many_combinations_leave_a_key_to_the_entry_itself() -> None:
    index: EqualityIndex[str, str] = EqualityIndex()
    many = tuple(range(MAX_COMBINATIONS + 1))
    assert index.add("many", {"a": many, "b": ("x",)}) is False
    assert index.candidates({"a": -1, "b": "x"}.get) == ["many"]
    assert index.candidates({"a": 1, "b": "y"}.get) == []


def test_one_key_may_have_any_number_of_values() -> None:
    index: EqualityIndex[str, str] = EqualityIndex()
    assert index.add("many", {"a": tuple(range(1000))})
    assert index.candidates({"a": 999}.get) == ["many"]
    assert index.candidates({"a": 1000}.get) == []


class Hostile:
    """A value that fails whenever it is asked."""

    def __hash__(self) -> int:
        raise RuntimeError("no hash")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no equality")


def test_a_value_that_cannot_be_hashed_or_compared_equals_nothing() -> None:
    index: EqualityIndex[str, str] = EqualityIndex()
    index.add("one", {"a": (1,)})
    index.add("any", {})
    assert index.candidates({"a": Hostile()}.get) == ["any"]
