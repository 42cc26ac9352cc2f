"""Match-specs over details."""

from __future__ import annotations

from typing import Any

import pytest

from twisted_evproc.matching import ANY, MatchSpec, glob, none_of, one_of, present


@pytest.mark.parametrize(
    ("wanted", "details", "mismatch"),
    [
        ({}, {}, None),
        ({}, {"role": "user"}, None),
        ({"role": "user"}, {"role": "user", "name": "bob"}, None),
        ({"role": "user"}, {"role": "admin"}, "role"),
        ({"role": "user"}, {}, "role"),
        ({"role": "user"}, {"role": None}, "role"),
        ({"role": None}, {}, None),
        ({"role": ANY}, {"role": None}, None),
        ({"role": present}, {"role": None}, "role"),
        ({"role": present}, {"role": 0}, None),
        ({"role": one_of("user", "admin")}, {"role": "admin"}, None),
        ({"role": none_of("user")}, {}, "role"),
        ({"role": glob("a*"), "name": "bob"}, {"role": "admin", "name": "bob"}, None),
        ({"role": glob("a*"), "name": "bob"}, {"role": "user", "name": "bob"}, "role"),
        ({"role": [1]}, {"role": [1]}, None),
        ({"role": [1]}, {"role": [2]}, "role"),
        ({"role": frozenset({1})}, {"role": {1}}, None),
        ({"level": 1}, {"level": True}, None),
    ],
)
def test_the_first_keyword_that_rules_out(wanted: dict[str, Any], details: dict[str, Any], mismatch: str | None) -> None:
    assert MatchSpec(wanted).mismatch(details) == mismatch


def test_conditions_are_what_an_index_can_look_up() -> None:
    spec = MatchSpec({"a": 1, "b": one_of("x", "y"), "c": glob("x*"), "d": [1], "e": None})
    assert spec.conditions == {"a": (1,), "b": ("x", "y")}
    assert [keyword for keyword, _ in spec.rest] == ["c", "d"]
    assert spec.keywords == {"a", "b", "c", "d"}


def test_it_shows_what_was_wanted_and_cannot_be_changed_through_it() -> None:
    wanted: dict[str, Any] = {"role": one_of("user", "admin"), "name": None}
    spec = MatchSpec(wanted)
    wanted["role"] = "guest"
    assert repr(spec) == "role=one_of('user', 'admin'), name=None"
    with pytest.raises(TypeError):
        spec.wanted["role"] = "guest"  # type: ignore[index]  # that it cannot be done is the test
