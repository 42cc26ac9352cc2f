"""What a handler wants to see in the details of an event."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ._matchers import ANY, Matcher, OneOf
from ._paths import MISSING
from ._values import ValueSet


class MatchSpec:
    """
    Keywords and the values, or matchers, that the details need to have there.

    :ivar wanted: read-only mapping of keyword to value or matcher as given, wildcards included.
    :ivar conditions: keyword to hashable values, the part that an index can look up.
    :ivar rest: keyword and matcher of what ``conditions`` do not say.
    :ivar keywords: the keywords on which the answer depends.
    """

    __slots__ = ("_clauses", "conditions", "keywords", "rest", "wanted")

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        self.wanted: Mapping[str, Any] = MappingProxyType(dict(wanted))
        self.conditions: dict[str, tuple[Any, ...]] = {}
        clauses: list[tuple[str, Matcher]] = []
        rest: list[tuple[str, Matcher]] = []
        for keyword, value in wanted.items():
            if value is None or value is ANY:
                continue
            matcher = value if isinstance(value, Matcher) else OneOf(ValueSet([value]))
            clauses.append((keyword, matcher))
            if matcher.values is None:
                rest.append((keyword, matcher))
            else:
                self.conditions[keyword] = matcher.values
        self.rest = tuple(rest)
        self._clauses = tuple(clauses)
        self.keywords = frozenset(keyword for keyword, _ in clauses)

    def mismatch(self, details: Mapping[str, Any]) -> str | None:
        """
        The first keyword that rules the details out, or ``None`` when they match.
        """
        return _mismatch(self._clauses, details)

    def rest_mismatch(self, details: Mapping[str, Any]) -> str | None:
        """As :meth:`mismatch`, of what ``conditions`` do not say."""
        return _mismatch(self.rest, details)

    def __repr__(self) -> str:
        return ", ".join(f"{keyword}={value!r}" for keyword, value in self.wanted.items())


def detail(details: Mapping[str, Any], keyword: str) -> Any:
    """The value of a detail; ``None`` as a value is as good as none, it equals no match-spec value."""
    value = details.get(keyword)
    return MISSING if value is None else value


def _mismatch(clauses: tuple[tuple[str, Matcher], ...], details: Mapping[str, Any]) -> str | None:
    for keyword, matcher in clauses:
        value = detail(details, keyword)
        if not (matcher.accepts_absence if value is MISSING else matcher.matches(value)):
            return keyword
    return None
