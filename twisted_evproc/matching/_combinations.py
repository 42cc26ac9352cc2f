"""Filters made of others, and of what stands for one: all of them, any of them, not this one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, final

from ..errors import FilterError
from . import _matchers
from ._at_path import Eq, Exists, Glob, In, Matches, Regex
from ._content_filter import ContentFilter, fill
from ._functions import Predicate
from ._matchers import Matcher
from ._paths import Keys, parse_path
from ._values import same


@final
class Accept(ContentFilter):
    """Every event."""

    __slots__ = ()

    def matches(self, event: Any) -> bool:
        return True

    @property
    def specificity(self) -> int:
        return 0

    def _arguments(self) -> tuple[Any, ...]:
        return ()

    def _clause(self) -> tuple[object, ...]:
        return And, frozenset()


class _Combined(ContentFilter):
    """
    Several filters.

    :ivar filters: as given.
    """

    __slots__ = ("_parts", "filters")

    filters: tuple[ContentFilter, ...]
    _parts: tuple[ContentFilter, ...]

    def __init__(self, *filters: Any) -> None:
        name = type(self).__name__
        if not filters:
            raise FilterError(f"{name}() needs at least one filter.  Use Accept() for every event.")
        fill(self, "filters", tuple(map(as_filter, filters)))
        parts: dict[ContentFilter, None] = {}
        for each in self.filters:
            parts.update(dict.fromkeys(self._flat(each)))
        fill(self, "_parts", tuple(parts))

    def _flat(self, part: ContentFilter) -> tuple[ContentFilter, ...]:
        # Parts hold no combination of one part only, so that looking one level down is enough.
        if isinstance(part, _Combined) and len(part._parts) == 1:
            part = part._parts[0]
        return part._parts if isinstance(part, _Combined) and type(part) is type(self) else (part,)

    def _arguments(self) -> tuple[Any, ...]:
        return self.filters

    def _clause(self) -> tuple[object, ...]:
        if len(self._parts) == 1:
            return self._parts[0]._clause()
        return type(self), frozenset(part._clause() for part in self._parts)


@final
class And(_Combined):
    """
    Events that pass every filter, asked in order until one says no.

    :param filters: at least one; filters, mappings or predicates.
    """

    __slots__ = ()

    def matches(self, event: Any) -> bool:
        for part in self._parts:  # noqa: SIM110  all() with a generator takes three times as long
            if not part.matches(event):
                return False
        return True

    @property
    def specificity(self) -> int:
        return sum(part.specificity for part in self._parts)

    def equalities(self) -> Mapping[Keys, tuple[Any, ...]]:
        merged: dict[Keys, tuple[Any, ...]] = {}
        for part in self._parts:
            for keys, values in part.equalities().items():
                if keys in merged:
                    values = tuple(one for one in merged[keys] if any(same(one, value) for value in values))
                merged[keys] = values
        return merged

    def _flat(self, part: ContentFilter) -> tuple[ContentFilter, ...]:
        return () if isinstance(part, Accept) else super()._flat(part)


@final
class Or(_Combined):
    """
    Events that pass at least one filter, asked in order until one says yes.

    :param filters: at least one; filters, mappings or predicates.
    """

    __slots__ = ()

    def matches(self, event: Any) -> bool:
        for part in self._parts:  # noqa: SIM110  any() with a generator takes three times as long
            if part.matches(event):
                return True
        return False

    @property
    def specificity(self) -> int:
        return min(part.specificity for part in self._parts)

    def equalities(self) -> Mapping[Keys, tuple[Any, ...]]:
        return self._parts[0].equalities() if len(self._parts) == 1 else {}


@final
class Not(ContentFilter):
    """
    Events that do not pass a filter.

    :param filter: a filter, a mapping or a predicate.
    """

    __slots__ = ("filter",)

    filter: ContentFilter

    def __init__(self, filter: Any) -> None:  # noqa: A002  what it is called everywhere else
        fill(self, "filter", as_filter(filter))

    def matches(self, event: Any) -> bool:
        return not self.filter.matches(event)

    def _arguments(self) -> tuple[Any, ...]:
        return (self.filter,)

    def _clause(self) -> tuple[object, ...]:
        return Not, self.filter._clause()


def joined(kind: type[_Combined], left: Any, right: Any) -> ContentFilter:
    """What an operator gives: both operands as filters of a combination; a long chain of operators does not nest."""
    if not (_is_filter_like(left) and _is_filter_like(right)):
        return cast("ContentFilter", NotImplemented)  # Python then asks the other operand
    return kind(*_operands(kind, left), *_operands(kind, as_filter(right)))


def _operands(kind: type[_Combined], one: Any) -> tuple[Any, ...]:
    return one.filters if isinstance(one, kind) else (one,)


def _is_filter_like(value: object) -> bool:
    return isinstance(value, (ContentFilter, Mapping)) or callable(value)


def _of_item(path: Any, value: Any) -> ContentFilter:
    """One item of a mapping as a filter."""
    if value is Any:
        return Exists(path)
    if value is _matchers.ANY:
        parse_path(path)
        return Accept()
    if isinstance(value, _matchers.OneOf):
        return In(path, value.accepted.values)
    if isinstance(value, _matchers.Glob):
        return Glob(path, value.pattern)
    if isinstance(value, _matchers.Regex):
        return Regex(path, value.pattern)
    if isinstance(value, Matcher):
        return Matches(path, value)
    return Eq(path, value)


def as_filter(value: Any) -> ContentFilter:
    """
    A filter from whatever may stand for one.

    :param value: a filter; or a mapping of path to value, all of which have to match: a plain value is compared (``None`` is a
        value, a mapping too), ``typing.Any`` demands that the path exists, a matcher that it accepts what is there (``ANY``,
        which accepts absence too, demands nothing); or a predicate, called with the event; or any object with a method
        ``matches(event)``.
    :raises twisted_evproc.errors.FilterError: for anything else.
    """
    if isinstance(value, ContentFilter):
        return value
    if isinstance(value, Mapping):
        items = [_of_item(path, wanted) for path, wanted in value.items()]
        return And(*items) if len(items) > 1 else items[0] if items else Accept()
    if isinstance(value, Matcher):
        raise FilterError(f"the matcher {value!r} is no filter: it looks at a value, not an event.  Write {{'path': {value!r}}}.")
    if isinstance(value, type):
        if issubclass(value, (ContentFilter, Matcher)):
            raise FilterError(f"{value.__name__} is a class, not a filter.  Call it with its arguments.")
        return Predicate(value)
    matches = getattr(value, "matches", None)
    if callable(matches):
        return Predicate(matches)
    if callable(value):
        return Predicate(value)
    raise FilterError(
        f"{value!r} is no filter.  Give a mapping of path to value, a filter such as Eq('path', 1), or a function of the event."
    )
