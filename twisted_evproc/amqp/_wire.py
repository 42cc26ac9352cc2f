"""What of details and match-specs can cross the wire, and what matches what there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import product
from typing import Any, TypeAlias

import attrs

from ..errors import WireError
from ..matching import ANY, Matcher, one_of, present

#: A value on which groups can match.
WireValue: TypeAlias = str | int | bool
#: A value with its type, since ``1 == True``.
Typed: TypeAlias = tuple[type, WireValue]

#: What the broker's tables and their keys can hold.
MAX_KEYWORD_BYTES = 255
MAX_VALUE_BYTES = 8192
#: Headers have to fit into one frame, which holds 128 KiB unless broker or client want less: with more, the broker closes the
#: connection.
MAX_TABLE_BYTES = 65_536
_LEAST, _MOST = -(2**63), 2**63 - 1

#: Bindings are made at a few hundred a second: a match-spec that needs more of them is a mistake.
MAX_ALTERNATIVES = 256


def check_value(keyword: str, value: Any) -> WireValue:
    """
    A value that can cross the wire.

    :raises twisted_evproc.errors.WireError: for any other.
    """
    kind = type(value)
    if kind is bool:
        return bool(value)
    if kind is int:
        if _LEAST <= value <= _MOST:
            return int(value)
        raise WireError(
            keyword, f"{keyword}={_shown(value)} cannot cross the wire: a whole number there has 64 bits.  Give it as a string."
        )
    if kind is str:
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise WireError(
                keyword,
                f"{keyword}={_shown(value)} cannot cross the wire: half a surrogate pair is no text.  Give text that UTF-8 can "
                f"write.",
            ) from None
        if "\0" in value:
            raise WireError(keyword, f"{keyword}={_shown(value)} cannot cross the wire: text there has no NUL.  Take it out.")
        if size > MAX_VALUE_BYTES:
            raise WireError(
                keyword,
                f"{keyword} with {size} bytes cannot cross the wire: {MAX_VALUE_BYTES} at most are matched on.  Put it into the "
                f"event.",
            )
        return str(value)
    raise WireError(
        keyword,
        f"{keyword}={_shown(value)} cannot cross the wire: only str, int and bool (and none of their subclasses) can be matched "
        f"on there.  Give it as one of these, or put it into the event.",
    )


def _shown(value: object) -> str:
    try:
        return _cut(repr(value))
    except Exception:  # noqa: BLE001  code of the value's own; and Python does not write very large integers
        return f"<{type(value).__name__}>"


def _cut(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}..."


def _size(keyword: str, value: WireValue) -> int:
    """How many bytes a keyword and its value take in the broker's tables, at most."""
    return len(keyword.encode()) + 6 + _value_size(value)


def _value_size(value: WireValue) -> int:
    return len(value.encode()) if isinstance(value, str) else 8


# A program uses the same few keywords again and again.
@lru_cache(maxsize=1024)
def _keyword_size(keyword: str) -> int:
    return len(check_keyword(keyword).encode()) + 6


def check_details(details: Mapping[str, Any]) -> dict[str, WireValue]:
    """
    Details that can cross the wire; those that are ``None`` are left out, as a detail that is ``None`` equals nothing.

    :raises twisted_evproc.errors.WireError: for any other.
    """
    checked = {}
    size = 0
    for keyword, value in details.items():
        length = _keyword_size(keyword)
        if value is not None:
            kind = type(value)
            # What most events have, without the way through check_value().
            if kind is str and len(value) <= 64 and value.isascii() and "\0" not in value:
                checked[keyword] = value
                size += length + len(value)
            else:
                checked[keyword] = check_value(keyword, value)
                size += length + _value_size(checked[keyword])
            if size > MAX_TABLE_BYTES:
                raise WireError(
                    keyword,
                    f"details of more than {MAX_TABLE_BYTES} bytes, {keyword} included, cannot cross the wire.  Put into the "
                    f"event what nobody matches on.",
                )
    return checked


def check_keyword(keyword: str) -> str:
    """
    A keyword that can cross the wire; headers of the envelope and of the broker (``ce-...``, ``x-...``) are none.

    :raises twisted_evproc.errors.WireError: for any other.
    """
    if not keyword.isidentifier() or len(keyword.encode()) > MAX_KEYWORD_BYTES:
        raise WireError(
            keyword,
            f"{_shown(keyword)} cannot cross the wire: a keyword has to be a Python identifier of {MAX_KEYWORD_BYTES} bytes at "
            f"most.  Choose another name.",
        )
    return keyword


@attrs.frozen
class Alternative:
    """
    One way to fulfil a match-spec, as the broker sees it.

    :ivar equal: keywords and the value each has to have.
    :ivar there: keywords that have to be there, with any value.
    """

    equal: Mapping[str, WireValue]
    there: tuple[str, ...]


class WireSpec:
    """
    A match-spec as it can cross the wire.

    :ivar match_spec: as it was given.
    :ivar clauses: keyword to the values it may have, each with its type; ``None`` for any value.  Keywords that may be absent are
        left out.
    """

    __slots__ = ("clauses", "match_spec")

    def __init__(self, match_spec: Mapping[str, Any]) -> None:
        """
        :param match_spec: keywords, and values, ``one_of(...)``, ``present``, ``ANY`` or ``None``.
        :raises twisted_evproc.errors.WireError: for what the broker cannot match on.
        """
        self.match_spec: Mapping[str, Any] = dict(match_spec)
        self.clauses: dict[str, frozenset[Typed] | None] = {}
        for keyword, wanted in match_spec.items():
            check_keyword(keyword)
            if wanted is None or wanted is ANY:
                continue
            if wanted is present:
                self.clauses[keyword] = None
                continue
            matcher = wanted if isinstance(wanted, Matcher) else one_of(check_value(keyword, wanted))
            if matcher.values is None or matcher.accepts_absence:
                raise WireError(
                    keyword,
                    f"{keyword}={_shown(wanted)} cannot cross the wire: the broker matches on values, one_of(...), present and "
                    f"ANY.  Subscribe to more, and let the handlers of a dispatcher choose.",
                )
            values = (check_value(keyword, value) for value in matcher.values)
            self.clauses[keyword] = frozenset((type(value), value) for value in values)
        largest = sum(
            max((_size(keyword, value) for _, value in values), default=0) if values is not None else _size(keyword, "")
            for keyword, values in self.clauses.items()
        )
        if largest > MAX_TABLE_BYTES:
            raise WireError(
                max(self.clauses, key=len),
                f"the match-spec needs a binding of {largest} bytes, and {MAX_TABLE_BYTES} are allowed.  Name fewer keywords, or "
                f"shorter values.",
            )
        if self.number_of_alternatives > MAX_ALTERNATIVES:
            raise WireError(
                max(self.clauses, key=lambda keyword: len(self.clauses[keyword] or ())),
                f"the match-spec ({_cut(str(self))}) needs {self.number_of_alternatives} bindings, and {MAX_ALTERNATIVES} are "
                f"allowed.  Name fewer values, and let the handlers of a dispatcher choose.",
            )

    @property
    def number_of_alternatives(self) -> int:
        """How many ways there are to fulfil it."""
        number = 1
        for values in self.clauses.values():
            number *= 1 if values is None else len(values)
        return number

    def alternatives(self) -> list[Alternative]:
        """Every way to fulfil it, in an order that depends on the match-spec alone."""
        there = tuple(sorted(keyword for keyword, values in self.clauses.items() if values is None))
        named = {keyword: sorted(values, key=_order) for keyword, values in sorted(self.clauses.items()) if values is not None}
        return [
            Alternative({keyword: value for keyword, (_, value) in zip(named, choice, strict=True)}, there)
            for choice in product(*named.values())
        ]

    def matches(self, details: Mapping[str, WireValue]) -> bool:
        """Whether details fulfil it, compared with their types."""
        for keyword, values in self.clauses.items():
            value = details.get(keyword)
            if value is None or not (values is None or (type(value), value) in values):
                return False
        return True

    def __eq__(self, other: object) -> bool:
        return self.clauses == other.clauses if isinstance(other, WireSpec) else NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset(self.clauses.items()))

    def __str__(self) -> str:
        return ", ".join(f"{keyword}={value!r}" for keyword, value in self.match_spec.items()) or "(everything)"


def _order(typed: Typed) -> tuple[str, Any]:
    return typed[0].__name__, typed[1]
