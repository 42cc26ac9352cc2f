"""
Paths: where in an event a value stands.

A path never calls a method of an event, never changes it, and finds nothing rather than raise, whatever the event is made of.
"""

from __future__ import annotations

from collections import UserString
from collections.abc import Hashable, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final, TypeAlias, final

import attrs

from ..errors import FilterError

#: A path as it is written: dotted text, or a tuple of literal keys.
PathLike: TypeAlias = str | tuple[Hashable, ...]

#: A path as it is compiled.
Keys: TypeAlias = tuple[Hashable, ...]


class Missing(Enum):
    """The type of :data:`MISSING`; an enumeration, so that type checkers know it has one member and pickle keeps it that one."""

    MISSING = "MISSING"

    def __repr__(self) -> str:
        return "MISSING"


#: What a look-up gives where there is nothing; no value of an event is this one.
MISSING: Final = Missing.MISSING


@final
@attrs.frozen(repr=False)
class Numeral:
    """
    A segment of digits in a dotted path: it may be a key or an index.

    It equals neither the literal key ``"0"`` nor the literal key ``0``, because it finds more than either.

    :ivar text: the digits.
    :ivar number: their value; ``None`` where Python refuses to read so many.
    """

    text: str
    number: int | None

    def __repr__(self) -> str:
        return f"Numeral({self.text!r})"


def _segment(text: str, path: str) -> Hashable:
    if not text:
        raise FilterError(
            f"the path {path!r} has an empty segment.  Take out the superfluous dot; where a key is empty or has a dot in it, "
            f"give the path as a tuple of its keys."
        )
    if not _is_numeral(text):
        return text
    try:
        return Numeral(text, int(text))
    except ValueError:
        return Numeral(text, None)


def _is_numeral(text: str) -> bool:
    return text.isascii() and text.isdigit() and (text == "0" or text[0] != "0")


def _literal(key: Hashable) -> Hashable:
    # Keys that a dict takes for one another (1, 1.0, True; a string and its subclass) have to be one in sequences too: paths are
    # compared, and indexed, by their keys.
    if isinstance(key, str):
        return str.__str__(key)
    if isinstance(key, (int, float, Decimal, Fraction)):
        try:
            number = int(key)
        except (ValueError, OverflowError):
            return key
        return number if number == key else key
    return key


@lru_cache(maxsize=4096)
def _parse(path: PathLike) -> Keys:
    if isinstance(path, str):
        text = str.__str__(path)
        return tuple(_segment(segment, text) for segment in text.split("."))
    return tuple(map(_literal, path))


def parse_path(path: PathLike) -> Keys:
    """
    Compile a path into the keys to follow.

    :param path: dotted text, whose segments are keys, indices (digits without leading zeros) or names of attributes; or a tuple
        of literal keys, in which a dot is nothing special, text is never an index and a number is.
    :return: the keys; a segment of digits becomes a key of a type of its own.
    :raises twisted_evproc.errors.FilterError: for anything else, an empty path or segment, and a key that is not hashable.
    """
    if not isinstance(path, (str, tuple)):
        raise FilterError(f"a path has to be a dotted string or a tuple of keys, not {path!r}.  Write 'a.b' or ('a', 'b').")
    if not path:
        raise FilterError(f"the path {path!r} is empty.  Name at least one key.")
    try:
        return _parse(path)
    except TypeError as error:
        raise FilterError(f"the path {path!r} has a key that cannot be one: {error}.  Use keys that are hashable.") from error


#: Values with nothing inside them; their methods are not part of an event.
_LEAVES = frozenset({int, float, complex, bool, type(None), set, frozenset})
_TEXTS = (str, bytes, bytearray, memoryview, UserString)


def _in_mapping(value: Mapping[Any, Any], key: Hashable) -> Any:
    if type(key) is Numeral:
        if key.text in value:
            return value[key.text]
        key = key.number
        if key is None:
            return MISSING
    return value[key] if key in value else MISSING  # noqa: SIM401  get() may know nothing of a __getitem__ of the mapping's own


def _in_sequence(value: Sequence[Any], key: Hashable) -> Any:
    index = key.number if type(key) is Numeral else key
    if isinstance(index, int):
        return value[index] if 0 <= index < len(value) else MISSING
    if isinstance(value, tuple) and isinstance(key, str) and key in getattr(type(value), "_fields", ()):
        return _attribute(value, key)
    return MISSING


def _attribute(value: object, name: str) -> Any:
    return MISSING if name.startswith("_") else getattr(value, name, MISSING)


def _inside(value: Any, key: Hashable) -> Any:
    """What stands at one key of a value; asks before it takes, so that a defaultdict does not make the key."""
    if isinstance(value, Mapping):
        return _in_mapping(value, key)
    if type(value) in _LEAVES or isinstance(value, _TEXTS):
        return MISSING
    if isinstance(value, Sequence):
        return _in_sequence(value, key)
    return _attribute(value, key) if isinstance(key, str) else MISSING


def follow(event: Any, keys: Keys) -> Any:
    """The value at compiled keys, or :data:`MISSING`."""
    value = event
    try:
        for key in keys:
            value = value.get(key, MISSING) if type(value) is dict and type(key) is str else _inside(value, key)
            if value is MISSING:
                return MISSING
    except Exception:  # noqa: BLE001  see below
        # A mapping or a property with code of its own failed.  An event comes from outside: what cannot be read there is not
        # there, and must not keep the other handlers from it.
        return MISSING
    return value


def look_up(event: Any, path: PathLike, default: Any = MISSING) -> Any:
    """
    The value at a path of an event.

    In mappings a segment is a key; one of digits is tried as text first, then as a number.  In sequences it is an index, counted
    from the front (text and bytes are not looked into; a named tuple has its fields too).  On other objects it is an attribute,
    unless its name starts with an underscore.  A key, index or attribute whose look-up raises an ``Exception`` counts as missing.

    :param path: see :func:`parse_path`.
    :param default: what to give where there is nothing.
    :raises twisted_evproc.errors.FilterError: for a path that is none.
    """
    value = follow(event, parse_path(path))
    return default if value is MISSING else value


def path_notation(keys: Keys) -> PathLike:
    """Compiled keys as somebody would write them: dotted where that gives the same keys."""
    segments = [key.text if type(key) is Numeral else key for key in keys]
    if all(isinstance(segment, str) for segment in segments):
        dotted = ".".join(map(str, segments))
        try:
            if _parse(dotted) == keys:
                return dotted
        except FilterError:
            pass
    return keys
