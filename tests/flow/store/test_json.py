from __future__ import annotations

import json
from collections import UserDict, namedtuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_evproc.flow.store import decode, encode
from twisted_evproc.flow.store._json import MAX_DEPTH

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner) | st.tuples(inner, inner),
)


def with_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: with_lists(item) for key, item in value.items()}
    return [with_lists(item) for item in value] if isinstance(value, list | tuple) else value


def shape(value: Any) -> Any:
    """Values and their types: ``1``, ``1.0`` and ``True`` are equal otherwise, and so are ``0.0`` and ``-0.0``."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else (type(value), repr(value))


@given(PLAIN)
def test_comes_back_with_tuples_as_lists(value: Any) -> None:
    text = encode(value)
    assert shape(decode(text)) == shape(with_lists(value))
    assert "\n" not in text
    json.loads(text, parse_constant=pytest.fail)


ANYTHING = st.recursive(
    st.floats() | st.text(st.characters()) | st.binary() | st.sets(st.integers()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()) | st.integers() | st.none(), inner),
)


@given(ANYTHING)
def test_anything_else_is_refused_or_comes_back(value: Any) -> None:
    try:
        text = encode(value)
    except TypeError:
        return
    assert decode(text) == value
    text.encode()


def test_integers_as_large_as_python_prints() -> None:
    assert decode(encode(-(10**4_299))) == -(10**4_299)
    with pytest.raises(TypeError, match=r"^result\[1\] is an integer of \d+ bits, too large"):
        encode([1, 10**4_300])


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"a": [0, 1, 2, {1}]}, "result['a'][3] is a set"),
        (b"x", "result is a bytes"),
        ([object()], "result[0] is an object"),
        (UserDict(), "result is an UserDict"),
        ({"a": {1: 2}}, "result['a'] has a key of type int; keys have to be strings"),
        ([float("nan")], "result[0] is nan, which JSON does not know"),
        ({"x": float("-inf")}, "result['x'] is -inf, which JSON does not know"),
        (("a\0b",), "result[0] has a NUL character in it"),
        ({"a\0b": 1}, "a key of result has a NUL character in it"),
        (["\ud800"], "result[0] has a lone surrogate in it, which is no character"),
        (range(3), "result is a range"),
    ],
)
def test_says_where_the_problem_is(value: Any, problem: str) -> None:
    with pytest.raises(TypeError) as caught:
        encode(value)
    assert str(caught.value) == problem


def test_the_root_has_a_name() -> None:
    with pytest.raises(TypeError, match=r"^args\[0\] is a set$"):
        encode((set(),), "args")


def test_a_circle_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(TypeError, match=r"^result\[0\].{,80}\.\.\. is nested more than 200 levels deep, or in itself$"):
        encode(circle)


def test_what_is_nested_as_deeply_as_is_allowed_comes_back() -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    assert decode(encode(value)) == value


def test_what_is_like_a_plain_value_comes_back_as_that() -> None:
    point = namedtuple("point", "x y")  # the shortest there is
    assert decode(encode(point(1, 2))) == [1, 2]


@pytest.mark.parametrize("text", ["NaN", "[1e999]", "{", "", "1 2"])
def test_reads_nothing_but_strict_json(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode(text)
