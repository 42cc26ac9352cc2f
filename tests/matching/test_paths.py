"""Paths find what they say, and never do anything else to an event."""

from __future__ import annotations

import math
import pickle
from collections import Counter, OrderedDict, UserDict, UserString, defaultdict, deque, namedtuple
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from types import MappingProxyType, SimpleNamespace
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_evproc.errors import FilterError
from twisted_evproc.matching import MISSING, look_up
from twisted_evproc.matching._paths import parse_path, path_notation

Point = namedtuple("Point", "x y")
Renamed: Any = namedtuple("Renamed", ["def"], rename=True)
KEYS = st.text("ab01.", max_size=3) | st.integers(-1, 2) | st.none() | st.booleans() | st.floats(allow_nan=True)
EVENTS = st.recursive(
    st.none() | st.integers() | st.text("ab", max_size=3),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3) | st.lists(inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=8,
)


class TestLookUp:
    @pytest.mark.parametrize(
        ("event", "path", "found"),
        [
            ({"a": 1}, "a", 1),
            ({"a": {"b": None}}, "a.b", None),
            ({"a": [{"b": 1}, {"b": 2}]}, "a.1.b", 2),
            ([[1, 2], [3]], "0.1", 2),
            ({"a": (1, 2)}, "a.0", 1),
            ({"a": deque([1, 2])}, "a.1", 2),
            ({"0": "text", 0: "number"}, "0", "text"),
            ({0: "number"}, "0", "number"),
            ({"007": 1}, "007", 1),
            ({"a.b": 1}, ("a.b",), 1),
            ({"": {"": 1}}, ("", ""), 1),
            ({1: {None: 2}}, (1, None), 2),
            ({"a": [5]}, ("a", 0), 5),
            ({"a": [5, 6]}, ("a", True), 6),
            ({"__class__": 1}, "__class__", 1),
            ({"\ud800": 1}, "\ud800", 1),
            ({"9" * 5000: 1}, "9" * 5000, 1),
            (MappingProxyType({"a": 1}), "a", 1),
            (OrderedDict(a=1), "a", 1),
            (UserDict(a=1), "a", 1),
            (SimpleNamespace(a={"b": 1}), "a.b", 1),
            ({"a": Point(1, 2)}, "a.y", 2),
            ({"a": Point(1, 2)}, "a.1", 2),
            (SimpleNamespace(a=1), ("a",), 1),
        ],
    )
    def test_finds(self, event: Any, path: Any, found: Any) -> None:
        assert look_up(event, path) == found
        assert look_up(event, path, "default") == found

    @pytest.mark.parametrize(
        ("event", "path"),
        [
            ({}, "a"),
            ({"a": 1}, "a.b"),
            ({"a": 1}, "9" * 5000),
            ({"a": 1}, "a.real"),
            ({"a": "text"}, "a.0"),
            ({"a": "text"}, "a.upper"),
            ({"a": UserString("text")}, "a.0"),
            ({"a": b"text"}, "a.0"),
            ({"a": bytearray(b"text")}, "a.0"),
            ({"a": memoryview(b"text")}, "a.0"),
            ({"a": {1}}, "a.pop"),
            ({"a": None}, "a.b"),
            ({"a": [1]}, "a.1"),
            ({"a": [1]}, "a.-1"),
            ({"a": [1]}, ("a", -1)),
            ({"a": [1]}, ("a", "0")),
            ({"a": [1, 2]}, "a.01"),
            ({"a": [1]}, "a.append"),
            ({"a": [1]}, "a." + "9" * 5000),
            ({"a": [1]}, "a." + "9" * 30),
            ({"a": [1]}, "a.٠"),
            ({"a": [1]}, "a.²"),
            ({"a": {}}, "a.keys"),
            ({"a": {}}, "a.__class__"),
            ({"a": Point(1, 2)}, "a.count"),
            ({"a": Renamed(1)}, "a._0"),
            (SimpleNamespace(_a=1), "_a"),
            (SimpleNamespace(a=1), "__dict__"),
            (SimpleNamespace(a=1), "__class__.__name__"),
            (SimpleNamespace(a=1), ("__class__",)),
            (SimpleNamespace(a=1), ("a", "_b")),
            (SimpleNamespace(a=1), "0"),
            (SimpleNamespace(a=1), "\ud800"),
            (None, "a"),
            ({"a": MISSING}, "a"),
        ],
    )
    def test_finds_nothing(self, event: Any, path: Any) -> None:
        assert look_up(event, path) is MISSING
        assert look_up(event, path, "default") == "default"

    @given(event=EVENTS, path=st.lists(KEYS, min_size=1, max_size=3).map(tuple))
    def test_literal_keys_are_what_subscription_finds(self, event: Any, path: tuple[Any, ...]) -> None:
        expected = event
        try:
            for key in path:
                if isinstance(expected, (list, tuple)) and (not isinstance(key, (int, float)) or key < 0):
                    raise LookupError
                if isinstance(expected, str):
                    raise LookupError
                expected = expected[int(key) if isinstance(expected, (list, tuple)) and key == int(key) else key]
        except (LookupError, TypeError, ValueError, OverflowError):
            expected = MISSING
        assert look_up(event, path) is expected

    @given(event=EVENTS, path=st.text("ab01._", min_size=1, max_size=6))
    def test_never_raises_but_for_a_bad_path(self, event: Any, path: str) -> None:
        if "" in path.split("."):
            with pytest.raises(FilterError, match="empty segment"):
                look_up(event, path)
        else:
            look_up(event, path)

    def test_a_deep_event(self) -> None:
        event: Any = 1
        for _ in range(5000):
            event = {"a": event}
        assert look_up(event, ".".join(["a"] * 5000)) == 1
        assert look_up(event, ".".join(["a"] * 5001)) is MISSING

    def test_an_event_that_contains_itself(self) -> None:
        event: dict[str, Any] = {}
        event["a"] = event
        assert look_up(event, "a.a.a") is event

    def test_nothing_is_made_by_looking(self) -> None:
        made: defaultdict[str, list[int]] = defaultdict(list)
        assert look_up(made, "a") is MISSING
        assert not made
        assert look_up(Counter("b"), "a") is MISSING


class Broken(Mapping[str, Any]):
    """A mapping that promises a key and fails to give it."""

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: str) -> NoReturn:
        raise RuntimeError("broken")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("broken")

    def __len__(self) -> int:
        raise RuntimeError("broken")


class BrokenDict(dict[str, Any]):
    def __getitem__(self, key: str) -> NoReturn:
        raise RuntimeError("broken")


class BrokenSequence(Sequence[Any]):
    def __getitem__(self, index: Any) -> NoReturn:
        raise RuntimeError("broken")

    def __len__(self) -> int:
        return 1 << 62


class BrokenObject:
    @property
    def a(self) -> NoReturn:
        raise RuntimeError("broken")

    def __getattr__(self, name: str) -> Any:
        return getattr(self, name + "x")


class Disguised:
    @property  # type: ignore[misc]  # made to misbehave
    def __class__(self) -> NoReturn:  # type: ignore[override]  # as above
        raise RuntimeError("broken")


class Watched:
    """Records which attributes it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        asked: list[str] = object.__getattribute__(self, "asked")
        if name == "asked":
            return asked
        asked.append(name)
        return object.__getattribute__(self, name)


class TestHostileEvents:
    @pytest.mark.parametrize("hostile", [Broken, BrokenDict, BrokenSequence, BrokenObject, Disguised])
    @pytest.mark.parametrize("path", ["a", "0", "b", "a.b"])
    def test_what_cannot_be_read_is_missing(self, hostile: type[Any], path: str) -> None:
        event = BrokenDict(a=1, b=1) if hostile is BrokenDict else hostile()
        assert look_up({"event": event}, "event." + path) is MISSING

    def test_names_with_an_underscore_are_not_even_asked_for(self) -> None:
        watched = Watched()
        for path in ("_a", "__dict__", "__init__.__globals__", ("__class__",)):
            assert look_up(watched, path) is MISSING
        assert set(watched.asked) <= {"__class__"}, "isinstance() asks for the class; no look-up does"

    def test_an_interrupt_is_no_missing_value(self) -> None:
        class Interrupted:
            @property
            def a(self) -> NoReturn:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            look_up(Interrupted(), "a")


class Colour(str, Enum):  # noqa: UP042  the older kind, whose str() is another text, is the subject
    RED = "red"


class TestParsePath:
    def test_digits_are_a_key_of_their_own(self) -> None:
        keys = {parse_path("a.0"), parse_path(("a", "0")), parse_path(("a", 0))}
        assert len(keys) == 3
        assert len(set(map(repr, keys))) == 3

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("a.b", ("a", "b")),
            (("a", 1), ("a", 1.0)),
            (("a", 1), ("a", True)),
            (("a", 1), ("a", Decimal(1))),
            ((Colour.RED,), "red"),
            (Colour.RED, "red"),
        ],
    )
    def test_one_path_written_in_two_ways(self, one: Any, other: Any) -> None:
        assert parse_path(one) == parse_path(other)
        event = {"red": 1, "a": [0, {"b": 2}], "b": 3}
        assert look_up(event, one) == look_up(event, other)

    def test_keys_are_a_path_again(self) -> None:
        keys = parse_path("a.0.b")
        assert parse_path(keys) == keys
        assert look_up({"a": [{"b": 1}]}, keys) == 1

    @pytest.mark.parametrize("path", ["", (), ".", "a.", ".a", "a..b"])
    def test_refuses_emptiness(self, path: Any) -> None:
        with pytest.raises(FilterError, match="empty"):
            parse_path(path)

    @pytest.mark.parametrize("path", [None, 1, ["a"], b"a", {"a"}, object])
    def test_refuses_other_types(self, path: Any) -> None:
        with pytest.raises(FilterError, match="dotted string or a tuple"):
            parse_path(path)

    def test_refuses_unhashable_keys(self) -> None:
        with pytest.raises(FilterError, match="hashable"):
            parse_path(("a", ["b"]))  # type: ignore[arg-type]  # the error is the subject

    @pytest.mark.parametrize("key", [math.inf, math.nan, Decimal("NaN"), 1.5])
    def test_numbers_that_are_no_index_are_keys(self, key: Any) -> None:
        assert look_up({key: 1}, (key,)) == 1
        assert look_up([1, 2], (key,)) is MISSING

    @given(
        path=st.lists(KEYS, min_size=1, max_size=3).map(tuple)
        | st.text("ab01.", min_size=1).filter(lambda text: "" not in text.split("."))
    )
    def test_notation_gives_the_same_keys(self, path: Any) -> None:
        keys = parse_path(path)
        assert parse_path(path_notation(keys)) == keys
        if isinstance(path, str):
            assert path_notation(keys) == path


class TestMissing:
    def test_is_one_object(self) -> None:
        assert repr(MISSING) == "MISSING"
        assert pickle.loads(pickle.dumps(MISSING)) is MISSING
