from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_evproc.amqp._wire import (
    MAX_ALTERNATIVES,
    MAX_KEYWORD_BYTES,
    MAX_TABLE_BYTES,
    MAX_VALUE_BYTES,
    Alternative,
    WireSpec,
    check_details,
    check_keyword,
    check_value,
)
from twisted_evproc.errors import ConfigurationError, WireError
from twisted_evproc.matching import ANY, Matcher, between, glob, none_of, one_of, present, satisfies

KEYWORDS = st.sampled_from(["a", "b", "é"])
#: Few, so that they meet; with all that Python or a broker may take for one another.
VALUES: st.SearchStrategy[Any] = st.sampled_from(["", "1", "0", "True", "x", "é", 0, 1, -1, 2**40, True, False])
WANTED = st.one_of(VALUES, st.lists(VALUES, min_size=1, max_size=4), st.sampled_from([present, ANY, None]))


class Colour(StrEnum):
    RED = "red"


def as_matcher(wanted: Any) -> Any:
    return one_of(*wanted) if isinstance(wanted, list) else wanted


def alike(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


def naive_match(spec: dict[str, Any], details: dict[str, Any]) -> bool:
    for keyword, wanted in spec.items():
        if wanted is None or wanted is ANY:
            continue
        if keyword not in details:
            return False
        if wanted is present:
            continue
        values = wanted.values if isinstance(wanted, Matcher) else (wanted,)
        if not any(alike(details[keyword], value) for value in values or ()):
            return False
    return True


def fulfils(details: dict[str, Any], alternative: Alternative) -> bool:
    return all(name in details and alike(details[name], value) for name, value in alternative.equal.items()) and all(
        name in details for name in alternative.there
    )


class TestMatching:
    @given(st.dictionaries(KEYWORDS, WANTED), st.dictionaries(KEYWORDS, VALUES))
    def test_matches_as_a_naive_model_does(self, wanted: dict[str, Any], details: dict[str, Any]) -> None:
        spec = {keyword: as_matcher(value) for keyword, value in wanted.items()}

        assert WireSpec(spec).matches(details) is naive_match(spec, details)

    @given(st.dictionaries(KEYWORDS, WANTED), st.dictionaries(KEYWORDS, VALUES))
    def test_exactly_one_alternative_is_fulfilled_where_it_matches(self, wanted: dict[str, Any], details: dict[str, Any]) -> None:
        spec = WireSpec({keyword: as_matcher(value) for keyword, value in wanted.items()})
        alternatives = spec.alternatives()

        assert len(alternatives) == spec.number_of_alternatives
        assert sum(fulfils(details, alternative) for alternative in alternatives) == int(spec.matches(details))

    @pytest.mark.parametrize(("one", "other"), [(1, True), (0, False), ("1", 1), ("True", True), ("", 0)])
    def test_types_are_told_apart(self, one: Any, other: Any) -> None:
        assert WireSpec({"a": one}) != WireSpec({"a": other})
        assert not WireSpec({"a": one}).matches({"a": other})
        assert WireSpec({"a": one}).matches({"a": one})

    def test_the_order_of_alternatives_does_not_depend_on_the_order_given(self) -> None:
        one, other = (
            WireSpec({"a": one_of("x", "y", 2, False), "b": present}),
            WireSpec({"b": present, "a": one_of(False, 2, "y", "x")}),
        )

        assert one.alternatives() == other.alternatives()
        assert one == other and hash(one) == hash(other)

    def test_as_text_it_is_what_was_given(self) -> None:
        assert str(WireSpec({"a": one_of(1, 2), "b": ANY})) == "a=one_of(1, 2), b=ANY"
        assert str(WireSpec({})) == "(everything)"

    def test_it_equals_nothing_else(self) -> None:
        assert WireSpec({}) != {}


class WithAbsence(Matcher):
    accepts_absence = True

    def matches(self, value: Any) -> bool:
        return bool(value == "x")

    @property
    def values(self) -> tuple[Any, ...]:
        return ("x",)


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class TestRefusals:
    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (1.5, "k=1.5 cannot cross the wire: only str, int and bool .* can be matched on there.  Give it as one of these"),
            (float("nan"), "k=nan cannot cross"),
            (b"x", "k=b'x' cannot cross the wire: only str, int and bool"),
            ([1], r"k=\[1\] cannot cross"),
            (Colour.RED, "k=<Colour.RED: 'red'> cannot cross .* none of their subclasses"),
            (2**63, "k=9223372036854775808 cannot cross the wire: a whole number there has 64 bits.  Give it as a string."),
            (-(2**63) - 1, "64 bits"),
            pytest.param(
                10**5000, "k=<int> cannot cross the wire: a whole number there has 64 bits", id="too large to be written"
            ),
            ("a\0b", r"k='a\\x00b' cannot cross the wire: text there has no NUL.  Take it out."),
            ("\ud800", r"k='\\ud800' cannot cross the wire: half a surrogate pair is no text.  Give text that UTF-8 can write."),
            (
                "é" * (MAX_VALUE_BYTES // 2 + 1),
                f"k with {MAX_VALUE_BYTES + 2} bytes cannot cross the wire: .* Put it into the event.",
            ),
            (Hostile(), "k=<Hostile> cannot cross the wire"),
        ],
    )
    def test_values(self, value: Any, words: str) -> None:
        for check in (lambda: check_value("k", value), lambda: check_details({"k": value}), lambda: WireSpec({"k": value})):
            with pytest.raises(WireError, match=words) as caught:
                check()
            assert caught.value.keyword == "k"
            assert len(str(caught.value)) < 500

    @pytest.mark.parametrize("value", [2**63 - 1, -(2**63), "x" * MAX_VALUE_BYTES, "", True])
    def test_the_outermost_values_that_cross(self, value: Any) -> None:
        assert alike(check_value("k", value), value)

    @pytest.mark.parametrize("keyword", ["x-match", "ce-id", "", "1a", "a.b", "a" * (MAX_KEYWORD_BYTES + 1), "\ud800"])
    def test_keywords(self, keyword: str) -> None:
        for check in (lambda: check_keyword(keyword), lambda: check_details({keyword: 1}), lambda: WireSpec({keyword: ANY})):
            with pytest.raises(WireError, match="has to be a Python identifier of 255 bytes at most.  Choose another name"):
                check()

    @pytest.mark.parametrize("wanted", [glob("a*"), between(1, 2), none_of("a"), satisfies(bool), WithAbsence()])
    def test_matchers_that_are_no_values(self, wanted: Matcher) -> None:
        with pytest.raises(WireError, match="k=.* the broker matches on values, one_of.*Subscribe to more") as caught:
            WireSpec({"k": wanted})
        assert caught.value.keyword == "k"

    def test_one_of_equal_values_of_two_types_is_both(self) -> None:
        both = WireSpec({"a": one_of(1, True)})
        assert both.number_of_alternatives == 2
        assert both.matches({"a": 1}) and both.matches({"a": True})
        assert not WireSpec({"a": one_of(1)}).matches({"a": True})

    def test_a_value_of_one_of(self) -> None:
        with pytest.raises(WireError, match="k=1.5 cannot cross"):
            WireSpec({"k": one_of("a", 1.5)})

    def test_too_many_alternatives(self) -> None:
        assert len(WireSpec({"a": one_of(*range(16)), "b": one_of(*range(16))}).alternatives()) == MAX_ALTERNATIVES
        with pytest.raises(WireError, match="needs 272 bindings, and 256 are allowed.  Name fewer values") as caught:
            WireSpec({"a": one_of(*range(16)), "b": one_of(*range(17))})
        assert caught.value.keyword == "b"

    def test_more_details_than_fit_into_a_frame(self) -> None:
        value = "x" * MAX_VALUE_BYTES
        fits = {f"k{number}": value for number in range(MAX_TABLE_BYTES // (MAX_VALUE_BYTES + 8))}

        assert check_details(fits) == fits
        assert WireSpec(fits).matches(fits)
        with pytest.raises(WireError, match="details of more than 65536 bytes, last included, .*  Put into the event"):
            check_details({**fits, "last": value})
        with pytest.raises(WireError, match="needs a binding of [0-9]+ bytes, and 65536 are allowed.  Name fewer keywords"):
            WireSpec({**fits, "last": value})

    def test_the_error_is_one_that_a_caller_expects(self) -> None:
        assert issubclass(WireError, ConfigurationError) and issubclass(WireError, TypeError)

    def test_details_that_are_none_are_left_out(self) -> None:
        assert check_details({"a": None, "b": False}) == {"b": False}
