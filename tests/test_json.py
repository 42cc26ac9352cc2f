from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_evproc._json import decode, encode


def no_constant(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")


def strictly(text: str) -> Any:
    value = json.loads(text, parse_constant=no_constant)
    json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate has no UTF-8
    assert text.isascii()
    assert "\n" not in text
    return value


@pytest.mark.parametrize(
    "text", ["NaN", "-Infinity", "[1e999]", "{", "", "1 2", "[" * 100_000, "9" * 5_000, r'"\ud800"', r'{"a\uDC00": 1}']
)
def test_refuses_what_is_no_strict_json(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode(text)


def test_reads_pairs_of_surrogates() -> None:
    assert decode(r'"\ud83d\ude00"') == "\U0001f600"


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(PLAIN)
def test_what_is_json_comes_back(value: Any) -> None:
    assert strictly(encode(value)) == value


ANYTHING = st.recursive(
    st.floats() | st.text(st.characters()) | st.binary() | st.complex_numbers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.floats() | st.text(st.characters()) | st.tuples(st.integers()), inner),
)


@given(ANYTHING)
def test_anything_else_becomes_strict_json_too(value: Any) -> None:
    strictly(encode(value))


def test_shows_other_types_as_their_repr() -> None:
    assert strictly(encode({"a": {1}, (1, 2): float("nan"), "b": "\ud800"})) == {"a": "{1}", "(1, 2)": "nan", "b": "\ufffd"}


def test_survives_a_circle() -> None:
    circle: list[Any] = []
    circle.append(circle)
    assert strictly(encode(circle)) == ["..."]


def test_keeps_pairs_of_surrogates() -> None:
    assert strictly(encode("\U0001f600")) == "\U0001f600"


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


def test_nothing_a_handler_returns_ends_the_program() -> None:
    shown = strictly(encode([Unspeakable(), 10**5_000]))
    assert "Unspeakable" in shown[0]
    assert "int" in shown[1]
    assert strictly(encode(10**4_000)) == 10**4_000
