"""Events that are objects of known classes, as JSON."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import msgspec
from twisted.python.reflect import safe_repr
from zope.interface import implementer

from ..errors import ConfigurationError, listing
from ..interfaces import ICodec
from ._codec import JSON_TYPE, TOO_DEEP, Encoded, check_event_type, check_json

_REMEDY = "An event has to be read again as it was written: correct the value, or the class"


@attrs.frozen
class _Form:
    """How objects of one class are written and read."""

    name: str
    write: Callable[[Any], bytes]
    read: Callable[[bytes], Any]


@implementer(ICodec)
class ClassCodec:
    """
    Objects of known classes: ``msgspec.Struct``, attrs classes, dataclasses and pydantic models.

    The CloudEvents ``type`` says which class an event is of.  What is read is equal to what was written; what would come as
    something else, such as NaN, is refused.  An object of a subclass is not one of the class.
    """

    def __init__(self, *classes: type, types: Mapping[str, type] | None = None) -> None:
        """
        :param classes: classes whose ``type`` is made of their module's and their own name.
        :param types: a ``type`` for each of some more classes.  It stays the same when a class moves or gets another name.
        :raises twisted_evproc.errors.ConfigurationError: for what is no class of these kinds, has a field that JSON cannot hold,
            or is there twice.
        """
        self._by_class: dict[type, _Form] = {}
        self._by_name: dict[str, _Form] = {}
        for cls in classes:
            _check_class(cls)
            self._add(f"{cls.__module__}.{cls.__qualname__}", cls)
        for name, cls in (types or {}).items():
            check_event_type("a key of types", name)
            _check_class(cls)
            self._add(name, cls)
        if not self._by_class:
            raise ConfigurationError("a ClassCodec needs classes.  Give some, or use JSONCodec for plain values.")

    def _add(self, name: str, cls: type) -> None:
        if cls in self._by_class:
            raise ConfigurationError(
                f"the class {_title(cls)} is given twice, as {self._by_class[cls].name!r} and {name!r}.  Give it once."
            )
        if name in self._by_name:
            raise ConfigurationError(f"two classes are to have the type {name!r}.  Give one of them another, with types={{...}}.")
        self._by_class[cls] = self._by_name[name] = _form(name, cls)

    def encode(self, event: Any) -> Encoded:
        """See :meth:`ICodec.encode`."""
        form = self._by_class.get(type(event))
        if form is None:
            raise TypeError(
                f"the codec does not know the class {_title(type(event))}, only {listing(map(_title, self._by_class))}.  Give it "
                f"to the ClassCodec, too."
            )
        try:
            body = form.write(event)
            # The libraries write NaN as null, and leave out what is not to be shown: reading it again tells.
            read = form.read(body)
            problem = None if read == event else _problem(event, read, "the event")
        except RecursionError:
            raise ValueError(TOO_DEEP) from None
        except Exception as error:
            raise TypeError(f"{_reason(event, error)}.  {_REMEDY}") from error
        if problem is not None:
            raise TypeError(f"{problem}.  {_REMEDY}")
        return Encoded(body, JSON_TYPE, form.name)

    def decode(self, body: bytes, content_type: str, event_type: str) -> Any:
        """See :meth:`ICodec.decode`.  Without a ``type``, an event is one of the only class, if there is only one."""
        check_json(content_type)
        form = self._by_name.get(event_type)
        if form is None and not event_type and len(self._by_name) == 1:
            form = next(iter(self._by_name.values()))
        if form is None:
            raise ValueError(
                f"the codec does not know the type {event_type!r}, only {listing(self._by_name)}.  Give its class to the "
                f"ClassCodec, with types={{{event_type or '...'!r}: ...}}."
            )
        try:
            return form.read(body)
        except RecursionError:
            raise ValueError(f"{form.name!r}: {TOO_DEEP}") from None
        except Exception as error:
            raise ValueError(
                f"it is no {form.name!r}: {_words(error)}.  Publish what the class describes, or let the class take this, too."
            ) from error


def _title(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _is_pydantic(cls: type) -> bool:
    # Whoever has such a class has imported pydantic.
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(cls, pydantic.BaseModel)


def _check_class(cls: Any) -> None:
    known = isinstance(cls, type) and (
        issubclass(cls, msgspec.Struct) or attrs.has(cls) or dataclasses.is_dataclass(cls) or _is_pydantic(cls)
    )
    if not known:
        raise ConfigurationError(
            f"{safe_repr(cls)} cannot be a class of a ClassCodec: it has to be a msgspec.Struct, an attrs class, a dataclass or "
            f"a pydantic model.  Make it one, or use JSONCodec for plain values."
        )


def _form(name: str, cls: type) -> _Form:
    try:
        if _is_pydantic(cls):
            model: Any = cls
            _ = model.model_rebuild()
            return _Form(name, _write_model, model.model_validate_json)
        return _Form(name, msgspec.json.Encoder().encode, msgspec.json.Decoder(cls).decode)
    except Exception as error:
        raise ConfigurationError(
            f"{_title(cls)} cannot be a class of a ClassCodec: {_words(error)}.  Correct its annotations."
        ) from error


def _write_model(event: Any) -> bytes:
    text: str = event.model_dump_json(by_alias=True, round_trip=True)
    return text.encode()


def _fields(value: Any) -> list[str] | None:
    """The names of an object's fields, or ``None`` for what has none."""
    cls = type(value)
    if isinstance(value, msgspec.Struct):
        return list(cls.__struct_fields__)
    if attrs.has(cls):
        return [field.name for field in attrs.fields(cls)]
    if dataclasses.is_dataclass(cls):
        return [field.name for field in dataclasses.fields(cls)]
    if _is_pydantic(cls):
        return [*cls.model_fields, *(value.__pydantic_extra__ or ())]
    return None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What a value is made of, each with how one gets there."""
    names = _fields(value)
    if names is not None:
        yield from ((f".{name}", getattr(value, name, None)) for name in names)
    elif isinstance(value, Mapping):
        yield from ((f"[{safe_repr(key)}]", item) for key, item in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"[{at}]", item) for at, item in enumerate(value))


def _problem(value: Any, read: Any, place: str) -> str | None:
    """What has become something else; objects of classes without ``==`` of their own are compared by their fields."""
    if type(value) is not type(read):
        return _changed(value, read, place)
    parts = list(_parts(value))
    others = list(_parts(read))
    if [step for step, _ in parts] != [step for step, _ in others]:
        return f"{place} would come with other contents: {safe_repr(read)[:100]}"
    for (step, item), (_, other) in zip(parts, others, strict=True):
        problem = None if item is other or item == other else _problem(item, other, place + step)
        if problem is not None:
            return problem
    # Without parts it is a value like a number, or an object of an empty class.
    return None if parts or _fields(value) is not None or value == read else _changed(value, read, place)


def _changed(value: Any, read: Any, place: str) -> str:
    return f"{place} is {safe_repr(value)[:100]}, and would come as {safe_repr(read)[:100]}"


def _reason(event: Any, error: Exception) -> str:
    try:
        return _not_a_number(event) or _words(error)
    except Exception:  # noqa: BLE001  the event's own code, or a circle; the first error says more
        return str(error)


def _words(error: Exception) -> str:
    """An error in one line; pydantic's have a line for each field, and an advertisement."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and isinstance(error, pydantic.ValidationError):
        return "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'the event'}: {each['msg']}" for each in error.errors(include_url=False)
        )
    return " ".join(str(error).split())


def _not_a_number(value: Any, place: str = "the event") -> str | None:
    """Where a value has a number that JSON has not, whose ``null`` no class takes."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{place} is {value!r}, for which JSON has no number"
    return next(filter(None, (_not_a_number(item, place + step) for step, item in _parts(value))), None)
