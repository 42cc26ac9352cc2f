from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections import OrderedDict
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from twisted_evproc.amqp._class_codec import ClassCodec
from twisted_evproc.amqp._codec import JSON_TYPE, PLAIN_TYPE, JSONCodec
from twisted_evproc.errors import ConfigurationError
from twisted_evproc.interfaces import ICodec

CODEC = JSONCodec()
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=[])),
    st.binary(max_size=3),
    st.dates(),
    st.decimals(),
    st.sets(st.integers(), max_size=2),
)
KEYS = st.one_of(st.text(max_size=3), st.integers(0, 9), st.none(), st.booleans())
ANYTHING = st.recursive(
    LEAVES,
    lambda inside: st.one_of(
        st.lists(inside, max_size=3),
        st.tuples(inside, inside),
        st.dictionaries(st.text(max_size=3), inside),
        st.dictionaries(KEYS, inside),
    ),
    max_leaves=6,
)


def with_lists(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [with_lists(item) for item in value]
    return {key: with_lists(item) for key, item in value.items()} if isinstance(value, dict) else value


def is_json(value: Any) -> bool:
    """What comes back as it is; said once more, without the codec."""
    if isinstance(value, dict):
        return all(type(key) is str and is_json(key) and is_json(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_json, value))
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    return value is None or type(value) in (bool, int) or (type(value) is float and math.isfinite(value))


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def circle() -> list[Any]:
    value: list[Any] = []
    value.append({"again": value})
    return value


class Tone(enum.StrEnum):
    LOUD = "loud"


class Paint(enum.Enum):
    RED = "red"


class TestJSONCodec:
    def test_it_is_a_codec(self) -> None:
        verifyObject(ICodec, CODEC)

    @given(ANYTHING)
    def test_an_event_comes_back_equal_or_is_refused(self, event: Any) -> None:
        if not is_json(event):
            with pytest.raises((TypeError, ValueError)):
                CODEC.encode(event)
            return
        encoded = CODEC.encode(event)

        back = CODEC.decode(encoded.body, encoded.content_type, encoded.type)

        assert back == with_lists(event)
        assert repr(back) == repr(with_lists(event))  # 1 is not 1.0 is not True
        assert (encoded.content_type, encoded.type) == (JSON_TYPE, PLAIN_TYPE)

    @given(ANYTHING.filter(is_json))
    def test_the_body_is_what_everybody_calls_json(self, event: Any) -> None:
        assert json.loads(CODEC.encode(event).body) == with_lists(event)

    @pytest.mark.parametrize(
        ("event", "words"),
        [
            (math.nan, "the event is nan, for which JSON has no number.  Give None, or text"),
            ({"a": [1, -math.inf]}, r"the event\['a'\]\[1\] is -inf"),
            ({"a": b"x"}, r"the event\['a'\] is a bytes, .* Give plain values, or .*codec=ClassCodec"),
            ([date(2026, 1, 1)], r"the event\[0\] is a date"),
            ((1, {2}), r"the event\[1\] is a set"),
            ({"a": object()}, r"the event\['a'\] is an object"),
            ({1: 2}, r"the event has the key 1, and JSON knows only text for keys.  Give str\(1\)"),
            ({"a": {None: 2}}, r"the event\['a'\] has the key None"),
            (["\ud800"], r"the event\[0\] has half a surrogate pair in .* Give text that UTF-8 can write"),
            ({"\udc00": 1}, "the event has half a surrogate pair"),
            (Paint.RED, "the event is a Paint"),
        ],
    )
    def test_what_would_come_as_something_else_is_refused(self, event: Any, words: str) -> None:
        with pytest.raises(TypeError, match=words):
            CODEC.encode(event)

    def test_what_is_equal_to_plain_values_comes_as_these(self) -> None:
        assert CODEC.encode([Tone.LOUD, OrderedDict(a=(1,))]).body == b'["loud",{"a":[1]}]'

    def test_a_number_too_long_to_be_written(self) -> None:
        with pytest.raises(TypeError, match="4300 digits"):
            CODEC.encode({"a": 10**5000})

    @pytest.mark.parametrize("make", [lambda: nested(100_000), circle], ids=["deep", "circle"])
    def test_what_is_too_deep_is_refused(self, make: Any) -> None:
        with pytest.raises(ValueError, match="it is nested too deeply, or contains itself"):
            CODEC.encode(make())

    @pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000])
    def test_what_comes_in_too_deep_cannot_be_read(self, body: bytes) -> None:
        with pytest.raises(ValueError, match="it is nested too deeply"):
            CODEC.decode(body, "", "")

    @pytest.mark.parametrize("body", [b"", b"{", b"NaN", b'"\xff"', b"1 2", b"1e999", b'"\\ud800"'])
    def test_what_is_not_json_cannot_be_read(self, body: bytes) -> None:
        with pytest.raises(ValueError):  # noqa: PT011  the library's words
            CODEC.decode(body, JSON_TYPE, "")

    @pytest.mark.parametrize("media", ["", "application/json", "Application/JSON; charset=utf-8", "application/cloudevents+json"])
    def test_media_types_that_are_json(self, media: str) -> None:
        assert CODEC.decode(b"[1]", media, "any") == [1]

    @pytest.mark.parametrize("media", ["text/plain", "application/jsonp", "json"])
    def test_media_types_that_are_not(self, media: str) -> None:
        with pytest.raises(ValueError, match=f"it is {media}, and the codec reads application/json.  Publish JSON, or give"):
            CODEC.decode(b"[1]", media, "")

    def test_a_type_of_ones_own(self) -> None:
        assert JSONCodec("com.example.order").encode(1).type == "com.example.order"

    @pytest.mark.parametrize("event_type", ["", None, "a\nb", 5])
    def test_types_that_are_none(self, event_type: Any) -> None:
        with pytest.raises(ConfigurationError, match="event_type=.* has to be printable text that is not empty"):
            JSONCodec(event_type)


class Struct(msgspec.Struct):
    number: float | None = None
    pair: tuple[int, ...] = ()
    anything: Any = None


class SubStruct(Struct):
    pass


@attrs.define
class Inner:
    number: float


@attrs.define(eq=False)
class Identity:
    number: float | None
    when: datetime


@attrs.define
class Private:
    number: int = 1
    _secret: str = "unsaid"


@dataclasses.dataclass
class Data:
    id: UUID
    price: Decimal
    when: datetime
    body: bytes
    tags: set[str]
    inner: list[Inner]


class Model(pydantic.BaseModel):
    number: float | None = None
    other: int = pydantic.Field(default=3, alias="OTHER")
    hidden: int = pydantic.Field(default=1, exclude=True)

    @pydantic.computed_field  # type: ignore[prop-decorator]  # mypy does not support decorators on top of properties
    @property
    def twice(self) -> int:
        return 2 * self.other


class Unresolved(pydantic.BaseModel):
    field: Nowhere  # type: ignore[name-defined]  # noqa: F821  that is the point


@dataclasses.dataclass
class UnresolvedData:
    field: Nowhere  # type: ignore[name-defined]  # noqa: F821  that is the point


@dataclasses.dataclass
class Holder:
    value: object


DATA = Data(UUID(int=5), Decimal("1.50"), datetime(2026, 1, 1, tzinfo=UTC), b"\xff\0", {"a"}, [Inner(1.5)])
NOW = datetime(2026, 1, 1, 12, 0, 0, 123456, UTC)


class TestClassCodec:
    def test_it_is_a_codec(self) -> None:
        verifyObject(ICodec, ClassCodec(Inner))

    @pytest.mark.parametrize(
        "event",
        [Struct(1.5, (1, 2), {"a": [None]}), Inner(0.1), Private(5), DATA, Model(number=1.0, OTHER=4)],
        ids=lambda event: type(event).__name__,
    )
    def test_an_object_comes_back_equal_and_of_its_class(self, event: Any) -> None:
        codec = ClassCodec(Struct, Inner, Private, Data, Model)
        encoded = codec.encode(event)

        back = codec.decode(encoded.body, encoded.content_type, encoded.type)

        assert back == event and type(back) is type(event)
        assert encoded.type == f"{__name__}.{type(event).__qualname__}"

    def test_an_object_without_equality_is_compared_by_its_fields(self) -> None:
        codec = ClassCodec(Identity)

        back = codec.decode(codec.encode(Identity(1.5, NOW)).body, "", "")

        assert (back.number, back.when) == (1.5, NOW)
        with pytest.raises(TypeError, match="the event.number is nan, and would come as None"):
            codec.encode(Identity(math.nan, NOW))

    @given(st.floats(), st.integers(), st.text(st.characters(exclude_categories=[])))
    def test_nothing_changes_silently(self, number: float, integer: int, text: str) -> None:
        codec = ClassCodec(Struct, Model)
        for event in (Struct(number, (integer,), text), Model(number=number, OTHER=integer)):
            try:
                encoded = codec.encode(event)
            except (TypeError, ValueError):
                assert not (math.isfinite(number) and is_json(text))
                continue
            assert codec.decode(encoded.body, "", encoded.type) == event

    @pytest.mark.parametrize(
        ("event", "words"),
        [
            (
                Struct(math.nan),
                "the event.number is nan, and would come as None.  An event has to be read again as it was written",
            ),
            (Struct(anything=[1, math.inf]), r"the event.anything\[1\] is inf, and would come as None"),
            (Struct(anything=(1,)), r"the event.anything is \(1,\), and would come as \[1\]"),
            (Struct(anything=NOW), "the event.anything is datetime.* and would come as '2026"),
            (Struct(anything={1: 2}), "the event.anything would come with other contents"),
            (Struct(anything=object()), "Encoding objects of type object is unsupported"),
            (Inner(math.nan), "the event.number is nan, for which JSON has no number"),
            (Inner("x"), "Expected `float`, got `str` - at `.*number`"),  # type: ignore[arg-type]  # that is the point
            (Private(1, "said"), "the event._secret is 'said', and would come as 'unsaid'"),
            (Model(number=math.nan), "the event.number is nan, and would come as None"),
            (Model(hidden=2), "the event.hidden is 2, and would come as 1"),
        ],
    )
    def test_what_would_come_as_something_else_is_refused(self, event: Any, words: str) -> None:
        with pytest.raises(TypeError, match=words):
            ClassCodec(Struct, Inner, Private, Model).encode(event)

    @pytest.mark.parametrize("event", [5, SubStruct(), {"number": 1}])
    def test_other_classes_are_refused_subclasses_included(self, event: Any) -> None:
        with pytest.raises(
            TypeError, match=r"does not know the class .*, only '.*test_codec\.Struct'.  Give it to the ClassCodec"
        ):
            ClassCodec(Struct).encode(event)

    def test_a_circle(self) -> None:
        with pytest.raises(ValueError, match="it is nested too deeply, or contains itself"):
            ClassCodec(Struct).encode(Struct(anything=circle()))

    def test_names_of_ones_own(self) -> None:
        codec = ClassCodec(Inner, types={"com.example.placed": Struct})

        assert codec.encode(Struct()).type == "com.example.placed"
        assert codec.decode(b'{"number":2}', "", "com.example.placed") == Struct(2)

    def test_without_a_type_it_is_the_only_class(self) -> None:
        assert ClassCodec(types={"t": Inner}).decode(b'{"number":2}', "", "") == Inner(2)
        with pytest.raises(ValueError, match="does not know the type '', only 't', 'u'"):
            ClassCodec(types={"t": Inner, "u": Struct}).decode(b"{}", "", "")

    def test_a_type_that_is_not_known(self) -> None:
        with pytest.raises(ValueError, match="does not know the type 'u', only 't'.  Give its class .* with types={'u': ...}"):
            ClassCodec(types={"t": Inner}).decode(b"{}", "", "u")

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (b'{"number":"x"}', "it is no 'i': Expected `float`, got `str` - at `.*number`.  Publish what the class describes"),
            (b"{}", "it is no 'i': Object missing required field `number`"),
            (b"{", "it is no 'i': Input data was truncated"),
        ],
    )
    def test_a_body_that_is_not_of_the_class(self, body: bytes, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            ClassCodec(types={"i": Inner}).decode(body, "", "i")

    def test_a_body_that_is_not_of_the_model(self) -> None:
        with pytest.raises(
            ValueError, match="it is no 'm': number: Input should be a valid number, [^\n]*; OTHER: [^\n]*Publish"
        ) as caught:
            ClassCodec(types={"m": Model}).decode(b'{"number":"x","OTHER":[]}', "", "m")
        assert "pydantic.dev" not in str(caught.value)

    @pytest.mark.parametrize("cls", [Struct, Model])
    def test_a_body_that_is_too_deep(self, cls: type) -> None:
        with pytest.raises(ValueError, match="too deeply|recursion limit exceeded"):
            ClassCodec(cls).decode(b'{"anything":' + b"[" * 100_000, "", "")

    def test_another_media_type(self) -> None:
        with pytest.raises(ValueError, match="it is text/plain, and the codec reads"):
            ClassCodec(Inner).decode(b"{}", "text/plain", "")

    @pytest.mark.parametrize("cls", [int, 5, "x", list[int], None, object])
    def test_what_is_no_class_of_these_kinds(self, cls: Any) -> None:
        for make in (lambda: ClassCodec(cls), lambda: ClassCodec(types={"t": cls})):
            with pytest.raises(
                ConfigurationError, match="cannot be a class of a ClassCodec: it has to be a msgspec.Struct, .*  Make it one"
            ):
                make()

    @pytest.mark.parametrize("cls", [Unresolved, UnresolvedData])
    def test_annotations_that_cannot_be_followed(self, cls: type) -> None:
        with pytest.raises(ConfigurationError, match=f"{cls.__name__} cannot be .*Nowhere.* Correct its annotations"):
            ClassCodec(cls)

    def test_a_value_that_the_library_cannot_write(self) -> None:
        with pytest.raises(TypeError, match="Encoding objects of type object is unsupported.  An event has to be read again"):
            ClassCodec(Holder).encode(Holder(object()))

    def test_no_class_at_all(self) -> None:
        with pytest.raises(ConfigurationError, match="needs classes.  Give some, or use JSONCodec"):
            ClassCodec()

    def test_a_class_twice(self) -> None:
        with pytest.raises(ConfigurationError, match="Inner is given twice, as .*Inner' and 'i'.  Give it once"):
            ClassCodec(Inner, types={"i": Inner})

    def test_a_name_twice(self) -> None:
        with pytest.raises(ConfigurationError, match="two classes are to have the type '.*Inner'.  Give one of them another"):
            ClassCodec(Inner, types={f"{__name__}.Inner": Struct})

    @pytest.mark.parametrize("name", ["", "a\nb", 5])
    def test_names_that_are_none(self, name: Any) -> None:
        with pytest.raises(ConfigurationError, match="a key of types=.* has to be printable text"):
            ClassCodec(types={name: Inner})
