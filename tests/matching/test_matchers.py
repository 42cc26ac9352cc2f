"""Matchers accept exactly the values that they say, and raise for none."""

from __future__ import annotations

import copy
import math
import pickle
import re
from collections.abc import Callable
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_evproc import matching
from twisted_evproc.errors import FilterError
from twisted_evproc.matching import ANY, Matcher, between, glob, none_of, one_of, present, regex, satisfies


class Hostile:
    """Whatever is asked of it, it raises."""

    def _refuse(self, *_: object) -> NoReturn:
        raise RuntimeError("hostile")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __hash__ = __bool__ = __len__ = __iter__ = __str__ = _refuse


class Ambiguous:
    """Compares like an array: the answer has no truth value."""

    def __eq__(self, other: object) -> Any:
        return Hostile()

    __hash__ = None  # type: ignore[assignment]  # as arrays are


SCALARS = st.one_of(
    st.booleans(),
    st.integers(-3, 3),
    st.floats(-3, 3),
    st.sampled_from([math.nan, math.inf]),
    st.text("ab", max_size=2),
    st.binary(max_size=1),
)
VALUES = st.one_of(
    SCALARS, st.lists(SCALARS, max_size=2), st.frozensets(st.integers(0, 2), max_size=2), st.sets(st.integers(0, 2), max_size=2)
)
#: What one_of() and none_of() take: not a container alone, whose items are meant.
SEVERAL = st.lists(VALUES, min_size=2, max_size=4) | st.lists(SCALARS, min_size=1, max_size=1)
FOREIGN: list[Any] = [
    None, 0, True, 1.5, math.nan, Decimal("sNaN"), "text", "\ud800", b"bytes", [], {}, {1}, object(), int, len,
    10**400, Hostile(), Ambiguous(),
]  # fmt: skip

MATCHERS: list[Matcher] = [
    ANY,
    present,
    one_of("a", 1, None.__class__),
    one_of([1], {"k": {2}}),
    none_of("a", [1]),
    glob("a*"),
    glob("plain"),
    glob("[unclosed"),
    regex("^a.b$"),
    regex("a", re.IGNORECASE),
    regex("a # comment (", re.VERBOSE | re.DOTALL),
    regex("a", re.ASCII),
    between(1, 5),
    between(low="b"),
    between(high=2.5),
]


def evaluate(text: str) -> Any:
    return eval(text, {**vars(matching), "re": re, "NoneType": type(None), "len": len, "class": None})


class TestEveryMatcher:
    @pytest.mark.parametrize("matcher", MATCHERS, ids=repr)
    @pytest.mark.parametrize("value", FOREIGN, ids=lambda value: type(value).__name__)
    def test_answers_about_foreign_values(self, matcher: Matcher, value: Any) -> None:
        assert matcher.matches(value) in (True, False)

    @pytest.mark.parametrize("matcher", [each for each in MATCHERS if each is not ANY], ids=repr)
    def test_none_is_no_value(self, matcher: Matcher) -> None:
        assert not matcher.matches(None)
        assert not matcher.accepts_absence

    @pytest.mark.parametrize("matcher", [each for each in MATCHERS if "class" not in repr(each)], ids=repr)
    def test_repr_makes_an_equal_one(self, matcher: Matcher) -> None:
        again = evaluate(repr(matcher))
        assert again == matcher
        assert hash(again) == hash(matcher)
        assert repr(again) == repr(matcher)

    @pytest.mark.parametrize("matcher", MATCHERS, ids=repr)
    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda matcher: pickle.loads(pickle.dumps(matcher))])
    def test_copies_are_equal(self, matcher: Matcher, duplicate: Callable[[Matcher], Matcher]) -> None:
        again = duplicate(matcher)
        assert again == matcher
        assert [again.matches(value) for value in FOREIGN] == [matcher.matches(value) for value in FOREIGN]

    def test_different_matchers_are_different(self) -> None:
        assert len(set(MATCHERS)) == len(MATCHERS)

    @pytest.mark.parametrize("matcher", MATCHERS, ids=repr)
    @pytest.mark.parametrize("equals", [(1, 1.0, True, Decimal(1)), (0, False, -0.0), (frozenset({1}), {1}), (2, 2.0)])
    def test_equal_values_get_one_answer(self, matcher: Matcher, equals: tuple[Any, ...]) -> None:
        assert len({matcher.matches(value) for value in equals}) == 1

    @given(matcher=st.sampled_from(MATCHERS), value=VALUES)
    def test_finite_values_are_all_there_are(self, matcher: Matcher, value: Any) -> None:
        if matcher.values is not None:
            assert matcher.matches(value) == (value in matcher.values)
            assert len({hash(each) for each in matcher.values}) <= len(matcher.values)


class TestSingletons:
    @pytest.mark.parametrize("singleton", [ANY, present])
    def test_stays_itself(self, singleton: Matcher) -> None:
        assert pickle.loads(pickle.dumps(singleton)) is singleton
        assert copy.deepcopy(singleton) is singleton
        assert copy.copy(singleton) is singleton

    @pytest.mark.parametrize("matcher", MATCHERS, ids=repr)
    def test_pythons_own_operators_are_refused(self, matcher: Any) -> None:
        for ask in (lambda: matcher and present, lambda: matcher or present, lambda: not matcher):
            with pytest.raises(TypeError, match=rf"{re.escape(repr(matcher))} is neither.*one_of\(\)"):
                ask()

    def test_any_accepts_everything_and_absence(self) -> None:
        assert ANY.accepts_absence
        assert all(ANY.matches(value) for value in FOREIGN)
        assert ANY.values is None

    def test_present_accepts_everything_but_none(self) -> None:
        assert [value for value in FOREIGN if not present.matches(value)] == [None]


class TestOneOfAndNoneOf:
    @given(values=SEVERAL, value=VALUES)
    def test_membership_is_that_of_a_list(self, values: list[Any], value: Any) -> None:
        assert one_of(*values).matches(value) == (value in values)
        assert none_of(*values).matches(value) == (value not in values)

    @given(values=SEVERAL)
    def test_order_and_repetition_do_not_count(self, values: list[Any]) -> None:
        assert one_of(*values) == one_of(*reversed(values), *values)
        assert hash(one_of(*values)) == hash(one_of(*reversed(values), *values))
        assert none_of(*values) == none_of(*reversed(values))

    @pytest.mark.parametrize("make", [one_of, none_of])
    @pytest.mark.parametrize("items", [["NO", "SE"], ("NO", "SE"), {"NO"}, frozenset(["NO"]), []])
    def test_a_container_alone_is_not_taken_for_the_value(self, make: Callable[..., Matcher], items: Any) -> None:
        written = ", ".join(map(repr, items))
        with pytest.raises(FilterError, match=re.escape(f"write {make.__name__}(*items), here {make.__name__}({written}).")):
            make(items)

    def test_finite_values_only_where_all_are_hashable(self) -> None:
        # Equal here, and not in a broker.
        assert list(map(repr, one_of("a", 1, True, 1).values or ())) == ["'a'", "1", "True"]
        assert one_of("a", [1]).values is None
        assert none_of("a").values is None

    def test_the_same_nan_is_accepted_as_in_a_list(self) -> None:
        nan = math.nan
        assert one_of(nan).matches(nan)
        assert not one_of(nan).matches(float("nan"))

    def test_a_hostile_value_equals_itself(self) -> None:
        hostile = Hostile()
        assert one_of(hostile, 1).matches(hostile)
        assert not one_of(hostile, 1).matches(Hostile())

    @pytest.mark.parametrize("make", [one_of, none_of])
    @pytest.mark.parametrize(
        ("values", "remedy"), [((), "present"), ((1, None), "ANY"), ((ANY,), "satisfies"), ((1, glob("a*")), r"glob\('a\*'\)")]
    )
    def test_refuses_what_is_no_value(self, make: Callable[..., Matcher], values: tuple[Any, ...], remedy: str) -> None:
        with pytest.raises(FilterError, match=f"{make.__name__}.*{remedy}"):
            make(*values)


class TestGlob:
    @given(pattern=st.text("ab*?[]!-", max_size=5), value=st.text("ab*-]\n", max_size=4))
    def test_is_fnmatchcase(self, pattern: str, value: str) -> None:
        assert glob(pattern).matches(value) == fnmatchcase(value, pattern)

    def test_case_counts_and_the_whole_text_has_to_match(self) -> None:
        assert glob("a*c").matches("abc")
        assert not glob("a*c").matches("ABC")
        assert not glob("a*c").matches("abcd")

    def test_without_magic_it_is_one_value(self) -> None:
        assert glob("a.b").values == ("a.b",)
        assert glob("a*").values is None

    @pytest.mark.parametrize("pattern", [b"a*", 1, None, ["a"]])
    def test_refuses_what_is_no_text(self, pattern: Any) -> None:
        with pytest.raises(FilterError, match="glob pattern has to be a string"):
            glob(pattern)


class TestRegex:
    @given(value=st.text("abc", max_size=4))
    def test_searches(self, value: str) -> None:
        assert regex("a.?b").matches(value) == (re.search("a.?b", value) is not None)

    def test_flags_and_compiled_expressions(self) -> None:
        assert regex("A", re.IGNORECASE).matches("a")
        assert regex(re.compile("A", re.IGNORECASE)) == regex("A", re.IGNORECASE)
        assert regex("A") != regex("A", re.IGNORECASE)

    @pytest.mark.parametrize(
        ("pattern", "flags", "complaint"),
        [
            ("(", 0, r"'\(' .*no valid regular expression"),
            ("a", re.LOCALE, "no valid regular expression"),
            ("a", "i", "no valid regular expression"),
            (b"a", 0, "has to be a string.*satisfies"),
            (re.compile(b"a"), 0, "has to be a string"),
            (re.compile("a"), re.IGNORECASE, r"re\.compile\(\)"),
            (3, 0, "has to be a string"),
        ],
    )
    def test_refuses_what_cannot_be_compiled(self, pattern: Any, flags: Any, complaint: str) -> None:
        with pytest.raises(FilterError, match=complaint):
            regex(pattern, flags)


class TestBetween:
    @given(bounds=st.tuples(st.integers(-3, 3), st.integers(-3, 3)).map(sorted), value=st.integers(-5, 5) | st.floats(-5, 5))
    def test_includes_both_bounds(self, bounds: list[int], value: float) -> None:
        low, high = bounds
        assert between(low, high).matches(value) == (low <= value <= high)
        assert between(low).matches(value) == (low <= value)
        assert between(high=high).matches(value) == (value <= high)

    @pytest.mark.parametrize("value", ["2", b"2", [2], math.nan, Decimal("NaN"), Decimal("sNaN"), 2j, None, object(), Hostile()])
    def test_what_cannot_be_compared_lies_nowhere(self, value: Any) -> None:
        assert not between(1, 3).matches(value)

    @pytest.mark.parametrize(
        ("low", "high", "complaint"),
        [
            (None, None, "needs a bound"),
            (2, 1, r"between\(low=2, high=1\) is no range"),
            ("a", 1, "is no range"),
            (math.nan, None, "low=nan.*no order"),
            (None, Decimal("sNaN"), r"high=Decimal\('sNaN'\).*no order"),
            (object(), None, "no order"),
        ],
    )
    def test_refuses_what_is_no_range(self, low: Any, high: Any, complaint: str) -> None:
        with pytest.raises(FilterError, match=complaint):
            between(low, high)


class TestSatisfies:
    def test_asks_the_function(self) -> None:
        even = satisfies(lambda value: value % 2 == 0)
        assert even.matches(2)
        assert not even.matches(3)

    def test_is_not_asked_about_none(self) -> None:
        assert not satisfies(lambda value: True).matches(None)

    def test_hands_on_what_the_function_raises(self) -> None:
        with pytest.raises(ZeroDivisionError):
            satisfies(lambda value: 1 / value).matches(0)

    def test_is_compared_by_the_function(self) -> None:
        assert satisfies(len) == satisfies(len)
        assert satisfies(len) != satisfies(bool)
        assert evaluate(repr(satisfies(len))) == satisfies(len)

    def test_a_callable_that_is_not_hashable(self) -> None:
        class Limit:
            __hash__ = None  # type: ignore[assignment]  # made to be unhashable

            def __eq__(self, other: object) -> bool:
                return isinstance(other, Limit)

            def __call__(self, value: int) -> bool:
                return value < 3

        assert len({satisfies(Limit()), satisfies(Limit())}) == 1

    def test_refuses_what_cannot_be_called(self) -> None:
        with pytest.raises(FilterError, match=r"satisfies.*'a'"):
            satisfies("a")  # type: ignore[arg-type]  # the error is the subject
