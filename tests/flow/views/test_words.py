from __future__ import annotations

import pytest

from twisted_evproc.errors import FlowDefinitionError
from twisted_evproc.flow.views import ago, counted, expression_in_words, read_description, shortened, span
from twisted_evproc.flow.views._words import natural


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ms"),
        (0.25, "250 ms"),
        (2, "2 s"),
        (2.5, "2.5 s"),
        (45, "45 s"),
        (60, "1 minute"),
        (90, "90 s"),
        (150, "2 minutes"),
        (3600, "1 hour"),
        (7300, "2 hours"),
        (86400, "1 day"),
        (-3 * 86400, "3 days"),
    ],
)
def test_spans(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_times_say_how_far_they_are() -> None:
    assert ago(1000, 1000.2).endswith("(now)")
    assert ago(1000, 1060).endswith("(1 minute ago)")
    assert ago(1000, 970).endswith("(in 30 s)")
    assert ago(0, 1e9).startswith(("1969-", "1970-"))


def test_counts() -> None:
    assert (counted(1, "task"), counted(12_000, "task")) == ("1 task", "12 000 tasks")


def test_numbers_are_sorted_by_size() -> None:
    assert sorted(["10", "b", "9", "a", "²"], key=natural) == ["9", "10", "a", "b", "²"]


def test_shortened_text_is_one_line() -> None:
    assert shortened("a\nb\x1b", 10) == "a␣b�"
    assert shortened("abcdef", 4) == "abc…"


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("a", "'a'"),
        (["all", "a", "b", "c"], "'a', 'b' and 'c'"),
        (["any", "a", "b"], "one of ('a', 'b')"),
        (["all", "a", ["any", "b", ["all", "c", "d"]]], "'a' and one of ('b', all of ('c', 'd'))"),
        (["at least", 2, "a", "b", "c"], "2 of ('a', 'b', 'c')"),
        (["not by", "a", 3600], "'a' staying away for 1 hour"),
        (["all", "a"], "'a'"),
    ],
)
def test_expressions(expression: object, words: str) -> None:
    assert expression_in_words(expression) == words


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"events": 1, "steps": {}, "follows": [], "pools": {}}', "[" * 100_000])
def test_a_description_that_cannot_be_read(text: str) -> None:
    with pytest.raises(FlowDefinitionError, match="cannot be read"):
        read_description(text)


def test_what_newer_versions_describe_is_passed_over() -> None:
    found = read_description(
        '{"events": {"a": null}, "steps": {"s": {"triggers": {"success": ["a"]}, "colour": "red"}},'
        ' "follows": [["a", "step", "s", 1.5, "new"]], "pools": {}, "more": 1}'
    )
    assert list(found.fired_by("a")) == [(found.steps["s"], "success")]
    assert found.leading_to("step", "s")[0].delay == 1.5
