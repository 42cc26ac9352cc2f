from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_evproc.cli._words import clipped, counted, event_in_words, printable, printable_lines, value_in_words


@given(st.text(st.characters()))
def test_nothing_that_steers_a_terminal_comes_through(text: str) -> None:
    assert printable(text).isprintable()
    assert value_in_words(text).isprintable()
    assert event_in_words({text: text}, {text: text}).isprintable()


def test_printable_text_stays_as_it_is() -> None:
    assert printable("Grüße, Ada") == "Grüße, Ada"
    assert printable("\x1b[31mred") == r"\x1b[31mred"
    assert printable_lines("a\n\tb\x07") == "a\n\tb\\x07"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("ada", "ada"),
        ("two words", '"two words"'),
        ("", '""'),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        (float("nan"), "nan"),
        ({"a": [1, "x"]}, "{a: [1, x]}"),
        ({1}, "{1}"),
    ],
)
def test_values(value: Any, words: str) -> None:
    assert value_in_words(value) == words


def test_long_values_are_clipped_without_being_written_out() -> None:
    endless: list[Any] = []
    endless.extend([endless] * 10)
    assert value_in_words("x" * 100, 10) == "x" * 9 + "…"
    assert len(value_in_words({"a": list(range(10**6))}, 30)) == 30
    assert clipped("abc", 3) == "abc"


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


def test_one_is_not_several() -> None:
    assert [counted(number, "crash", "crashes") for number in (0, 1, 2)] == ["0 crashes", "1 crash", "2 crashes"]
    assert [counted(number, "event") for number in (0, 1, 2)] == ["0 events", "1 event", "2 events"]


def test_nothing_a_handler_returns_ends_the_program() -> None:
    assert "Unspeakable" in value_in_words(Unspeakable(), 100)
    assert "int" in value_in_words(10**5_000)


def test_an_event_shows_its_details_first_and_what_fits_of_the_rest() -> None:
    event: dict[str, Any] = {"note": "y" * 60, "role": "admin", "user": "ada", "empty": None, "more": {}}
    assert event_in_words(event, {"user": "ada", "kind": None}, 30) == "user=ada"
    assert event_in_words(event, {"user": "ada"}, 100) == f"user=ada note={value_in_words('y' * 60)} role=admin"
    assert event_in_words("hello", {"user": "ada"}) == "user=ada hello"
    nothing: dict[str, Any] = {}
    assert event_in_words(nothing, {}) == "{}"
