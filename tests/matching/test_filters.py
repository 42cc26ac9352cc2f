"""Filters are held against plain conditions, their algebra against plain sets, and all of them against hostile events."""

from __future__ import annotations

import copy
import math
import operator
import pickle
import re
import typing
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import IntEnum
from fnmatch import fnmatchcase
from fractions import Fraction
from numbers import Real
from types import MappingProxyType
from typing import Any, NoReturn

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from twisted_evproc import matching
from twisted_evproc.errors import FilterError
from twisted_evproc.matching import (
    ANY,
    MISSING,
    Accept,
    And,
    ContentFilter,
    Dyn,
    Eq,
    EqualityIndex,
    Exists,
    Geq,
    Glob,
    Gt,
    In,
    Leq,
    Lt,
    Matches,
    Not,
    NumCmp,
    Or,
    Predicate,
    Regex,
    as_filter,
    between,
    glob,
    look_up,
    none_of,
    one_of,
    present,
    regex,
    satisfies,
)
from twisted_evproc.matching._numbers import as_number


class Hostile:
    """Whatever is asked of it, it raises."""

    def _refuse(self, *_: object) -> NoReturn:
        raise RuntimeError("hostile")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __hash__ = __bool__ = __len__ = __iter__ = __str__ = _refuse
    __int__ = __index__ = __float__ = __getitem__ = __contains__ = _refuse


class HostileNumber(int):
    def __int__(self) -> NoReturn:
        raise RuntimeError("hostile")

    __index__ = __float__ = __lt__ = __le__ = __gt__ = __ge__ = __int__  # type: ignore[assignment]  # made to misbehave


class Level(IntEnum):
    HIGH = 3


def always(event: Any) -> bool:
    return True


def evaluate(text: str) -> Any:
    return eval(text, {**vars(matching), "Matches": Matches, "lt": operator.lt, "always": always, "re": re, "Decimal": Decimal})


SCALARS = st.sampled_from([None, False, True, 0, 1, 1.0, 2, "a", "b", "1", " 2 ", "ab", math.nan])
VALUES = SCALARS | st.lists(SCALARS, max_size=1) | st.sampled_from([frozenset({1}), {1}])
EVENTS = st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES | st.dictionaries(st.just("d"), VALUES), max_size=3)
PATHS = st.sampled_from(["a", "b", "c", "a.d", ("b",), "c.0"])
LEAVES: st.SearchStrategy[ContentFilter] = st.one_of(
    st.just(Accept()),
    st.builds(Exists, PATHS),
    st.builds(Eq, PATHS, VALUES),
    st.builds(In, PATHS, st.lists(VALUES, min_size=1, max_size=3)),
    st.builds(Lt, PATHS, st.integers(0, 2)),
    st.builds(Glob, PATHS, st.sampled_from(["a*", "a"])),
    st.builds(Regex, PATHS, st.just("^a")),
    st.builds(Matches, PATHS, st.sampled_from([present, between(1, 2), none_of("a")])),
    st.just(Predicate(always)),
    st.just(Dyn(always)),
)
FILTERS: st.SearchStrategy[ContentFilter] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda filters: And(*filters)),
        st.lists(inner, min_size=1, max_size=3).map(lambda filters: Or(*filters)),
        inner.map(Not),
    ),
    max_leaves=6,
)
ONE_OF_EACH: list[ContentFilter] = [
    Accept(),
    Exists("a.b"),
    Exists(("a.b", 1)),
    Eq("a", 1),
    Eq("a", [1, {"b": None}]),
    Eq("a", None),
    In("a", [1, "x", [2]]),
    NumCmp("a", operator.lt, 5),
    Leq("a", 2.5),
    Gt("a", "7"),
    Geq("a", Decimal("1.5")),
    Dyn(always),
    Dyn(always, "found"),
    Glob("a", "x*"),
    Regex("a", "^x", re.IGNORECASE),
    Regex("a", "^x"),
    Matches("a", between(low=1)),
    Predicate(always),
    And(Eq("a", 1), Exists("b")),
    Or(Eq("a", 1), Exists("b")),
    Not(Eq("a", 1)),
]
HOSTILE_VALUES: list[Any] = [
    Hostile(), HostileNumber(3), math.nan, math.inf, 10**5000, Decimal("sNaN"), Decimal("1E+999999"), "9" * 5000, "1e999999999",
    "\ud800", b"1", 2j, object(), int, [[]], {"": {}}, {1: 2},
]  # fmt: skip


class TestEveryFilter:
    @pytest.mark.parametrize("each", ONE_OF_EACH, ids=repr)
    def test_repr_makes_an_equal_one(self, each: ContentFilter) -> None:
        again = evaluate(repr(each))
        assert again == each
        assert hash(again) == hash(each)
        assert repr(again) == repr(each)

    @pytest.mark.parametrize("each", ONE_OF_EACH, ids=repr)
    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
    def test_copies_are_equal(self, each: ContentFilter, duplicate: Callable[[ContentFilter], ContentFilter]) -> None:
        assert duplicate(each) == each
        assert repr(duplicate(each)) == repr(each)

    def test_different_filters_are_different(self) -> None:
        # Lt is the one that two of them write
        assert len(set(ONE_OF_EACH)) == len(ONE_OF_EACH)
        assert all((one == other) is (one is other) for one in ONE_OF_EACH for other in ONE_OF_EACH)

    @pytest.mark.parametrize("each", ONE_OF_EACH, ids=repr)
    def test_does_not_change(self, each: ContentFilter) -> None:
        for name in ("keys", "value", "filters", "anything"):
            with pytest.raises(AttributeError, match="filters do not change"):
                setattr(each, name, 1)
            with pytest.raises(AttributeError, match="filters do not change"):
                delattr(each, name)

    @pytest.mark.parametrize("each", ONE_OF_EACH, ids=repr)
    @pytest.mark.parametrize("value", HOSTILE_VALUES, ids=lambda value: type(value).__name__)
    def test_answers_about_hostile_events(self, each: ContentFilter, value: Any) -> None:
        for event in (value, {"a": value}, {"a": {"b": value}}, [value], {"b": value, "a": 1}):
            assert each.matches(event) in (True, False)

    def test_is_no_other_thing(self) -> None:
        assert Eq("a", 1) != {"a": 1}
        assert Accept() != True  # noqa: E712  the comparison is the subject


class TestMeaning:
    """One filter of a kind against a condition in plain Python."""

    @given(event=EVENTS, path=PATHS)
    def test_exists(self, event: Any, path: Any) -> None:
        assert Exists(path).matches(event) == (look_up(event, path) is not MISSING)

    @given(event=EVENTS, path=PATHS, value=VALUES)
    def test_eq_and_in(self, event: Any, path: Any, value: Any) -> None:
        assert Eq(path, value).matches(event) == (look_up(event, path) in [value])
        assert In(path, [value, "a"]).matches(event) == (look_up(event, path) in [value, "a"])

    @given(event=EVENTS, path=PATHS)
    def test_glob_and_regex(self, event: Any, path: Any) -> None:
        found = look_up(event, path)
        assert Glob(path, "a*").matches(event) == (isinstance(found, str) and fnmatchcase(found, "a*"))
        assert Regex(path, "b|1").matches(event) == (isinstance(found, str) and re.search("b|1", found) is not None)

    @given(event=EVENTS, filters=st.lists(FILTERS, min_size=1, max_size=3))
    def test_and_or_not(self, event: Any, filters: list[ContentFilter]) -> None:
        answers = [each.matches(event) for each in filters]
        assert And(*filters).matches(event) == all(answers)
        assert Or(*filters).matches(event) == any(answers)
        assert Not(filters[0]).matches(event) == (not answers[0])

    def test_accept(self) -> None:
        assert Accept().matches({})
        assert Accept().matches(None)

    def test_none_is_a_value_and_absence_is_not(self) -> None:
        assert Eq("a", None).matches({"a": None})
        assert not Eq("a", None).matches({})
        assert Exists("a").matches({"a": None})

    def test_and_and_or_stop_at_the_first_answer(self) -> None:
        def never(event: Any) -> NoReturn:
            raise AssertionError("asked")

        assert not And(Eq("a", 1), never).matches({})
        assert Or(Eq("a", 1), never).matches({"a": 1})

    def test_functions_may_raise(self) -> None:
        for each in (Predicate(lambda event: event["a"]), Dyn(lambda event: event["a"])):
            with pytest.raises(KeyError):
                each.matches({})


NUMBERS: st.SearchStrategy[Any] = st.one_of(
    st.integers(),
    st.floats(allow_nan=False),
    st.fractions(),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-1000, max_value=1000),
)


class TestComparisons:
    @given(value=NUMBERS, target=NUMBERS)
    def test_are_those_of_the_numbers(self, value: Any, target: Any) -> None:
        exact = [
            Fraction(number) if not (isinstance(number, float) and math.isinf(number)) else number for number in (value, target)
        ]
        event = {"a": value}
        assert Lt("a", target).matches(event) == (exact[0] < exact[1])
        assert Leq("a", target).matches(event) == (exact[0] <= exact[1])
        assert Gt("a", target).matches(event) == (exact[0] > exact[1])
        assert Geq("a", target).matches(event) == (exact[0] >= exact[1])

    @given(value=st.integers() | st.decimals(allow_nan=False, allow_infinity=False), blanks=st.sampled_from(["", " ", "\t\n"]))
    def test_text_is_the_number_that_it_writes(self, value: Any, blanks: str) -> None:
        assume(abs(Decimal(value).adjusted()) < 4000)
        assert as_number(f"{blanks}{value}{blanks}") == value

    @pytest.mark.parametrize(
        ("text", "number"),
        [
            ("12", 12),
            (" 3.5 ", Fraction(7, 2)),
            ("+5", 5),
            ("-.5", Fraction(-1, 2)),
            ("5.", 5),
            ("1e3", 1000),
            ("25E-1", Fraction(5, 2)),
            ("007", 7),
        ],
    )
    def test_numeric_text(self, text: str, number: Any) -> None:
        assert as_number(text) == number

    @pytest.mark.parametrize(
        "value",
        [
            "", " ", "x", "1_000", "0x1F", "nan", "inf", "-Infinity", "1,5", "1 2", "--1", "1/2", "1e", ".", "٣", "²", "1e4300",
            "1e-4300", "1e999999999", "1e" + "9" * 50, "9" * 4301, " " * 5000 + "1", True, False, None, math.nan,
            Decimal("NaN"), Decimal("sNaN"), Decimal("1E+5000"), Decimal("1E-5000"), 2j, b"12", [1], {}, object(), MISSING,
            Hostile(), HostileNumber(3),
        ],
    )  # fmt: skip
    def test_what_is_no_number_never_matches(self, value: Any) -> None:
        assert as_number(value) is None
        for each in (Lt("a", 1), Leq("a", 1), Gt("a", 1), Geq("a", 1), NumCmp("a", operator.ne, 1)):
            assert not each.matches({"a": value})

    def test_integers_are_compared_exactly(self) -> None:
        assert Gt("a", 2**53).matches({"a": 2**53 + 1})
        assert Gt("a", 2**53).matches({"a": str(2**53 + 1)})
        assert Gt("a", 2**53).matches({"a": f"{2**53}.0000000000000000000000001"})
        assert Gt("a", 1e308).matches({"a": 10**400})
        assert Lt("a", math.inf).matches({"a": "9" * 4300})
        assert as_number("9" * 4300) == int("9" * 4300)

    def test_a_kind_of_integer_is_its_number(self) -> None:
        assert Geq("a", 3).matches({"a": Level.HIGH})
        assert Lt("a", Level.HIGH).matches({"a": 2})

    def test_other_kinds_of_real_numbers(self) -> None:
        class Half:
            def __float__(self) -> float:
                return 0.5

        class Ratio(Fraction):
            pass

        Real.register(Half)
        assert as_number(Half()) == 0.5
        assert as_number(Ratio(1, 3)) == Fraction(1, 3)

    def test_the_comparator_gets_the_number_first(self) -> None:
        divides = NumCmp("a", lambda number, target: number % target == 0, 5)
        assert divides.matches({"a": "10"})
        assert not divides.matches({"a": 7})

    def test_out_of_range_is_no_match_and_other_errors_pass(self) -> None:
        close = NumCmp("a", lambda number, target: abs(number - target) < 0.5, 1.25)
        assert close.matches({"a": 1})
        assert not close.matches({"a": 10**400})
        with pytest.raises(ZeroDivisionError):
            NumCmp("a", lambda number, target: target / number, 1).matches({"a": 0})

    def test_are_equal_by_number_and_comparator(self) -> None:
        assert Lt("a", 3) == Lt("a", 3.0) == Lt("a", "3") == NumCmp("a", operator.lt, Decimal(3))
        assert len({Lt("a", 3), Lt("a", 3.0), Lt("a", "3"), NumCmp("a", operator.lt, Decimal(3))}) == 1
        assert len({Lt("a", 3), Leq("a", 3), Gt("a", 3), Geq("a", 3), Lt("b", 3), Lt("a", 4)}) == 6


class TestCanonicalEquality:
    def test_what_is_settled(self) -> None:
        assert as_filter({}) == Accept()
        assert as_filter({"a": 1}) == Eq("a", 1) == And(Eq("a", 1))
        assert as_filter({"a": 1, "b": 2}) == as_filter({"b": 2, "a": 1}) == Eq("b", 2) & Eq("a", 1)
        assert Dyn(always) == Dyn(always) != Dyn(always, "name")
        assert Dyn(always) != Dyn(lambda event: True)

    @pytest.mark.parametrize(
        "equal",
        [
            [as_filter({}), Accept(), And(Accept()), And(Accept(), Accept()), Or(Accept()), as_filter({"a": ANY})],
            [
                Eq("a", 1),
                Eq("a", True),
                Eq(("a",), 1.0),
                In("a", [1]),
                In("a", [1, True]),
                Or(Eq("a", 1)),
                And(Or(And(Eq("a", 1))), Accept()),
            ],
            [as_filter({"a": typing.Any}), Exists("a")],
            [as_filter({"a": one_of(1, 2)}), In("a", (2, 1, 1)), In("a", {1, 2})],
            [as_filter({"a": glob("x*")}), Glob("a", "x*"), Matches("a", glob("x*"))],
            [
                as_filter({"a": regex("x", re.IGNORECASE)}),
                Regex("a", "x", re.IGNORECASE),
                Regex("a", re.compile("x", re.IGNORECASE)),
            ],
            [as_filter({"a": between(1, 2)}), Matches("a", between(1, 2))],
            [as_filter(always), Predicate(always)],
            [Or(Eq("a", 1), Or(Eq("b", 1), Eq("c", 1))), Or(Eq("c", 1), Eq("b", 1), Eq("a", 1), Eq("a", 1))],
            [And(Or(And(Eq("a", [1]), Exists("b"))), Exists("c")), And(Exists("c"), Exists("b"), Eq("a", [1]))],
        ],
        ids=lambda equal: repr(equal[1]),
    )
    def test_equal(self, equal: list[ContentFilter]) -> None:
        assert all(one == other and hash(one) == hash(other) for one in equal for other in equal)
        assert len({each.specificity for each in equal}) == 1
        necessary = [{keys: set(values) for keys, values in each.equalities().items()} for each in equal]
        assert all(one == necessary[0] for one in necessary)

    @given(filters=st.lists(FILTERS, min_size=1, max_size=4), data=st.data())
    def test_neither_order_nor_nesting_nor_repetition_counts(self, filters: list[ContentFilter], data: st.DataObject) -> None:
        shuffled = data.draw(st.permutations(filters))
        split = data.draw(st.integers(0, len(filters)))
        for kind in (And, Or):
            nested = [kind(*part) for part in (shuffled[:split], shuffled[split:]) if part]
            assert kind(*nested, filters[0]) == kind(*filters)
            assert hash(kind(*nested, filters[0])) == hash(kind(*filters))
            assert kind(*nested, filters[0]).specificity == kind(*filters).specificity

    @given(one=FILTERS, other=FILTERS, event=EVENTS)
    def test_equal_filters_give_equal_answers(self, one: ContentFilter, other: ContentFilter, event: Any) -> None:
        if one == other:
            assert hash(one) == hash(other)
            assert one.matches(event) == other.matches(event)
            assert one.specificity == other.specificity

    def test_values_that_cannot_be_hashed(self) -> None:
        assert hash(Eq("a", [1])) == hash(Eq("a", [1]))
        assert Eq("a", [1]) != Eq("a", [2])
        hostile = Hostile()
        assert Eq("a", hostile) == Eq("a", hostile) != Eq("a", Hostile())
        # they match the same, but have no common hash
        assert Eq("a", {1}) != Eq("a", frozenset({1}))

    def test_functions_that_are_equal_but_have_no_common_hash(self) -> None:
        class Hashable:
            def __call__(self, event: Any) -> bool:
                return True

            def __eq__(self, other: object) -> bool:
                return isinstance(other, Hashable)

            def __hash__(self) -> int:
                return 1

        class Unhashable(Hashable):
            __hash__ = None  # type: ignore[assignment]  # made to be unhashable

        assert Dyn(Hashable()) == Dyn(Hashable())
        assert Dyn(Unhashable()) == Dyn(Unhashable())
        assert Dyn(Hashable()) != Dyn(Unhashable())

    def test_meaning_the_same_is_not_enough(self) -> None:
        assert Not(Not(Eq("a", 1))) != Eq("a", 1)
        assert And(Eq("a", 1), Eq("b", 1)) != Or(Eq("a", 1), Eq("b", 1))


class TestOperators:
    @pytest.mark.parametrize("one", [Exists("a"), Eq("a", 1) & Eq("b", 2), Accept(), ~Accept()], ids=repr)
    def test_pythons_own_are_refused(self, one: Any) -> None:
        for ask in (lambda: one and Exists("b"), lambda: one or Exists("b"), lambda: not one):
            with pytest.raises(TypeError, match=rf"{re.escape(repr(one))} is neither.*&, \| and ~"):
                ask()

    def test_make_combinations(self) -> None:
        one, other, third = Eq("a", 1), Exists("b"), Lt("c", 1)
        assert repr(one & other & third) == "And(Eq('a', 1), Exists('b'), Lt('c', 1))"
        assert repr(one | other | third) == "Or(Eq('a', 1), Exists('b'), Lt('c', 1))"
        assert repr(one & (other | third)) == "And(Eq('a', 1), Or(Exists('b'), Lt('c', 1)))"
        assert repr(~one) == "Not(Eq('a', 1))"

    def test_take_mappings_and_predicates_on_either_side(self) -> None:
        assert {"a": 1} & Exists("b") == Exists("b") & {"a": 1} == as_filter({"a": 1, "b": typing.Any})
        assert {"a": 1} | Exists("b") == Exists("b") | {"a": 1} == Or(Eq("a", 1), Exists("b"))
        assert always & Exists("b") == Exists("b") & always == And(Predicate(always), Exists("b"))
        assert always | Exists("b") == Exists("b") | always

    @pytest.mark.parametrize("operate", [operator.and_, operator.or_])
    def test_refuse_other_things(self, operate: Callable[[Any, Any], Any]) -> None:
        for operands in ((Exists("a"), 1), ("a", Exists("a")), (Exists("a"), None)):
            with pytest.raises(TypeError, match="unsupported operand"):
                operate(*operands)

    def test_a_long_chain_does_not_nest(self) -> None:
        chain: ContentFilter = Accept()
        for number in range(1500):
            chain = chain | Eq("a", number)
        assert chain.matches({"a": 1})
        assert len(typing.cast(Or, chain).filters) == 1501
        assert chain == chain | Eq("a", 0)


class TestSpecificity:
    @pytest.mark.parametrize(
        ("each", "specificity"),
        [
            (Accept(), 0),
            (Exists("a"), 1),
            (Eq("a.b.c", 1), 1),
            (In("a", [1, 2]), 1),
            (Dyn(always), 1),
            (Not(And(Eq("a", 1), Eq("b", 1))), 1),
            (And(Eq("a", 1), Eq("b", 1)), 2),
            (And(Eq("a", 1), Accept(), Eq("a", 1)), 1),
            (Or(Eq("a", 1), And(Eq("a", 2), Eq("b", 1))), 1),
            (Or(And(Eq("a", 1), Eq("b", 2), Eq("c", 1)), And(Eq("a", 2), Eq("b", 1))), 2),
            (And(Or(Eq("a", 1), Eq("b", 2)), Exists("c")), 2),
            (as_filter({"a": 1, "b": typing.Any, "c": between(1, 2), "d": ANY}), 3),
            (Predicate(always), 1),
        ],
        ids=repr,
    )
    def test_counts_clauses(self, each: ContentFilter, specificity: int) -> None:
        assert each.specificity == specificity


class TestEqualities:
    @pytest.mark.parametrize(
        ("each", "equalities"),
        [
            (Accept(), {}),
            (Eq("a", 1), {("a",): (1,)}),
            (Eq("a", [1]), {}),
            (In("a", [1, 2]), {("a",): (1, 2)}),
            (In("a", [1, [2]]), {}),
            (And(Eq("a", 1), Eq(("b", "c"), None), Lt("d", 1)), {("a",): (1,), ("b", "c"): (None,)}),
            (And(In("a", [1, 2, 3]), In("a", [3, 4, 2])), {("a",): (2, 3)}),
            (And(Eq("a", 1), Eq("a", 2)), {("a",): ()}),
            (And(Eq("a", 1), And(Eq("a", 2), Exists("b")), Eq("a", 1)), {("a",): ()}),
            (And(Eq("a", 1), Not(Eq("b", 1)), Or(Eq("c", 1), Eq("d", 1))), {("a",): (1,)}),
            (Or(Eq("a", 1), Eq("a", 2)), {}),
            (Or(Eq("a", 1)), {("a",): (1,)}),
            (Not(Eq("a", 1)), {}),
            (Exists("a"), {}),
            (Dyn(always), {}),
        ],
        ids=repr,
    )
    def test_names_what_is_necessary(self, each: ContentFilter, equalities: Mapping[Any, Any]) -> None:
        assert each.equalities() == equalities

    @given(each=FILTERS, event=EVENTS)
    def test_no_match_without_them(self, each: ContentFilter, event: Any) -> None:
        for keys, values in each.equalities().items():
            assert all(hash(value) is not None for value in values)
            if each.matches(event):
                assert look_up(event, keys) in list(values)

    @given(filters=st.lists(FILTERS, min_size=1, max_size=6), event=EVENTS)
    def test_the_index_finds_every_filter_that_matches(self, filters: list[ContentFilter], event: Any) -> None:
        index: EqualityIndex[Any, int] = EqualityIndex()
        for number, each in enumerate(filters):
            index.add(number, each.equalities())
        candidates = index.candidates(lambda keys: look_up(event, keys))
        assert {number for number in candidates if filters[number].matches(event)} == {
            number for number, each in enumerate(filters) if each.matches(event)
        }


class TestAsFilter:
    def test_a_mapping_means_all_of_its_items(self) -> None:
        each = as_filter(
            MappingProxyType(
                {
                    "a.b": 1,
                    ("c.d",): typing.Any,
                    "e": one_of("x", "y"),
                    "f": glob("g*"),
                    "h": between(1, 2),
                    "i": satisfies(len),
                    "j": ANY,
                }
            )
        )
        event = {"a": {"b": 1}, "c.d": None, "e": "y", "f": "great", "h": 1.5, "i": [0]}
        assert each.matches(event)
        for key in event:
            assert not each.matches(
                {**event, key: "other", "i": [] if key == "i" else [0]} if key != "c.d" else {**event, key: 1} | {"e": 0}
            )
            assert not each.matches({name: value for name, value in event.items() if name != key})

    def test_a_mapping_as_a_value_is_compared(self) -> None:
        assert as_filter({"a": {"b": 1}}).matches({"a": {"b": 1}})
        assert not as_filter({"a": {"b": 1}}).matches({"a": {"b": 1, "c": 2}})

    def test_matchers_refuse_none_and_plain_none_is_compared(self) -> None:
        assert not as_filter({"a": present}).matches({"a": None})
        assert as_filter({"a": None}).matches({"a": None})

    def test_a_filter_stays_itself(self) -> None:
        each = Eq("a", 1)
        assert as_filter(each) is each

    def test_any_object_that_has_matches(self) -> None:
        class Own:
            def matches(self, event: Any) -> bool:
                return bool(event == 1)

        own = Own()
        assert as_filter(own).matches(1)
        assert not as_filter(own).matches(2)
        assert as_filter(own) == as_filter(own) != as_filter(Own())

    def test_a_class_can_be_a_predicate(self) -> None:
        assert as_filter(bool).matches(1)
        assert not as_filter(bool).matches(0)

    @pytest.mark.parametrize(
        ("value", "complaint"),
        [
            (None, "None is no filter"),
            ("a", "'a' is no filter.*mapping"),
            (1, "no filter"),
            (["a"], "no filter"),
            (re.compile("a"), "no filter"),
            (Eq, "Eq is a class"),
            (matching.Matcher, "Matcher is a class"),
            (one_of(1), r"matcher one_of\(1\) is no filter.*\{'path': one_of\(1\)\}"),
            ({"": 1}, "empty"),
            ({"": ANY}, "empty"),
            ({1: 1}, "dotted string or a tuple"),
        ],
    )
    def test_refuses_other_things(self, value: Any, complaint: str) -> None:
        with pytest.raises(FilterError, match=complaint):
            as_filter(value)


async def promised(event: Any) -> bool:
    return False


def wrong(value: object) -> Any:
    """A value that type checkers let pass where its type is the error."""
    return value


class TestRefusals:
    @pytest.mark.parametrize(
        ("make", "complaint"),
        [
            (lambda: Exists(wrong(1)), "path.*not 1"),
            (lambda: Eq("a..b", 1), "'a..b' has an empty segment"),
            (lambda: Eq("a", one_of(1)), r"Eq takes plain values.*\{'a': one_of\(1\)\}"),
            (lambda: Eq("a", typing.Any), r"Exists\('a'\)"),
            (lambda: Eq("a", MISSING), r"Not\(Exists\('a'\)\)"),
            (lambda: In("a", "text"), "collection of values, not 'text'"),
            (lambda: In("a", wrong(1)), "collection of values, not 1"),
            (lambda: In("a", []), "at least one value"),
            (lambda: In("a", [ANY]), "In takes plain values"),
            (lambda: Glob("a", wrong(1)), "glob pattern has to be a string"),
            (lambda: Regex("a", "("), "no valid regular expression"),
            (lambda: Matches("a", wrong(1)), "needs a matcher, not 1.*Eq"),
            (lambda: Lt("a", "x"), r"Lt\('a', ...\) cannot compare with 'x'"),
            (lambda: Geq("a", True), "cannot compare with True"),
            (lambda: Gt("a", None), "cannot compare with None"),
            (lambda: Leq("a", math.nan), "cannot compare with nan.*between"),
            (lambda: NumCmp("a", wrong("<"), 1), "function of two numbers, not '<'"),
            (lambda: Dyn(wrong("a")), "Dyn.*not 'a'"),
            (lambda: Dyn(always, ""), "cannot inject as ''"),
            (lambda: Dyn(always, wrong(1)), "cannot inject as 1"),
            (lambda: Predicate(wrong(1)), "Predicate.*not 1"),
            (lambda: Predicate(promised), "promised is async.*Dyn"),
            (And, r"And\(\) needs at least one filter.*Accept"),
            (Or, r"Or\(\) needs at least one filter"),
            (lambda: And(1), "1 is no filter"),
            (lambda: Not("a"), "'a' is no filter"),
        ],
    )
    def test_what_makes_no_sense(self, make: Callable[[], object], complaint: str) -> None:
        with pytest.raises(FilterError, match=complaint):
            make()

    @pytest.mark.parametrize(
        "each",
        [
            Dyn(promised),
            Dyn(lambda event: Deferred()),
            Predicate(lambda event: [promised(event)][0]),
            Predicate(lambda event: Deferred()),
        ],
    )
    def test_an_answer_that_is_still_to_come_is_not_taken_for_a_yes(self, each: ContentFilter) -> None:
        with pytest.raises(FilterError, match="has to answer at once"):
            each.matches({})


class TestDyn:
    def test_shows_what_an_event_processor_needs(self) -> None:
        each = Dyn(always, inject_as="found")
        assert each.resolver is always
        assert each.inject_as == "found"

    def test_is_the_truth_of_the_answer(self) -> None:
        assert Dyn(lambda event: event.get("a")).matches({"a": [0]})
        assert not Dyn(lambda event: event.get("a")).matches({"a": []})
