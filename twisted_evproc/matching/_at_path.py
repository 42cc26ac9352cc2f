"""Filters on what stands at a path: that it is there, one value or several, and what a matcher accepts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, final

from ..errors import FilterError
from ._content_filter import Comparable, ContentFilter, fill
from ._matchers import Matcher, glob, regex
from ._paths import MISSING, Keys, PathLike, follow, parse_path, path_notation
from ._patterns import regex_arguments
from ._values import ValueSet, is_hashable, same


class AtPath(ContentFilter):
    """A condition on the value at one path."""

    __slots__ = ("keys",)

    keys: Keys

    def __init__(self, path: PathLike) -> None:
        fill(self, "keys", parse_path(path))

    @property
    def path(self) -> PathLike:
        """The path as it is written, dotted where that is possible."""
        return path_notation(self.keys)


@final
class Exists(AtPath):
    """
    Events that have something at a path, be it ``None``.

    :param path: dotted text, or a tuple of literal keys; see :func:`~twisted_evproc.matching.look_up`.
    """

    __slots__ = ()

    def matches(self, event: Any) -> bool:
        return follow(event, self.keys) is not MISSING

    def _arguments(self) -> tuple[Any, ...]:
        return (self.path,)

    def _clause(self) -> tuple[object, ...]:
        return Exists, self.keys


def _plain(value: Any, filter_name: str, path: PathLike) -> Any:
    """A value after refusing those that stand for others, and would silently never match."""
    if isinstance(value, Matcher):
        raise FilterError(f"{filter_name} takes plain values, not the matcher {value!r}.  Write {{{path!r}: {value!r}}} instead.")
    if value is Any:
        raise FilterError(f"{filter_name} takes plain values, not typing.Any.  Write Exists({path!r}) to accept any value.")
    if value is MISSING:
        raise FilterError(f"{filter_name} takes plain values, not MISSING.  Write Not(Exists({path!r})) to demand absence.")
    return value


@final
class Eq(AtPath):
    """
    Events that have a value at a path.

    :param path: as for :class:`Exists`.
    :param value: any value, ``None`` included; equal as in containers: the same object, or ``==``.
    """

    __slots__ = ("value",)

    value: Any

    def __init__(self, path: PathLike, value: Any) -> None:
        super().__init__(path)
        fill(self, "value", _plain(value, "Eq", self.path))

    def matches(self, event: Any) -> bool:
        found = follow(event, self.keys)
        return found is not MISSING and same(self.value, found)

    def equalities(self) -> Mapping[Keys, tuple[Any, ...]]:
        return {self.keys: (self.value,)} if is_hashable(self.value) else {}

    def _arguments(self) -> tuple[Any, ...]:
        return self.path, self.value

    def _clause(self) -> tuple[object, ...]:
        return Eq, self.keys, frozenset((Comparable(self.value),))


@final
class In(AtPath):
    """
    Events that have one of several values at a path.

    :param path: as for :class:`Exists`.
    :param values: at least one; they need not be hashable.
    """

    __slots__ = ("_known",)

    _known: ValueSet

    def __init__(self, path: PathLike, values: Iterable[Any]) -> None:
        super().__init__(path)
        if isinstance(values, (str, bytes, bytearray)) or not isinstance(values, Iterable):
            raise FilterError(
                f"In({self.path!r}, ...) needs a collection of values, not {values!r}.  Give a list, or use Eq for one value."
            )
        plain = [_plain(value, "In", self.path) for value in values]
        if not plain:
            raise FilterError(
                f"In({self.path!r}, ...) needs at least one value, or it never matches.  To accept any value, use Exists()."
            )
        fill(self, "_known", ValueSet(plain))

    @property
    def values(self) -> tuple[Any, ...]:
        """The values, without repetitions."""
        return self._known.values

    def matches(self, event: Any) -> bool:
        found = follow(event, self.keys)
        return found is not MISSING and found in self._known

    def equalities(self) -> Mapping[Keys, tuple[Any, ...]]:
        return {self.keys: self.values} if self._known.all_hashable else {}

    def _arguments(self) -> tuple[Any, ...]:
        return self.path, list(self.values)

    def _clause(self) -> tuple[object, ...]:
        return Eq, self.keys, frozenset(map(Comparable, self.values))


class Matches(AtPath):
    """
    Events whose value at a path is accepted by a matcher.

    :param path: as for :class:`Exists`.
    :param matcher: one of :mod:`twisted_evproc.matching`, such as ``between(1, 5)``.
    """

    __slots__ = ("matcher",)

    matcher: Matcher

    def __init__(self, path: PathLike, matcher: Matcher) -> None:
        super().__init__(path)
        if not isinstance(matcher, Matcher):
            raise FilterError(f"Matches({self.path!r}, ...) needs a matcher, not {matcher!r}.  Use Eq for a plain value.")
        fill(self, "matcher", matcher)

    def matches(self, event: Any) -> bool:
        found = follow(event, self.keys)
        return self.matcher.accepts_absence if found is MISSING else self.matcher.matches(found)

    def _arguments(self) -> tuple[Any, ...]:
        return self.path, self.matcher

    def _clause(self) -> tuple[object, ...]:
        return Matches, self.keys, Comparable(self.matcher)


@final
class Glob(Matches):
    """
    Events with text at a path that matches a shell pattern, whole and with case counting.

    :param path: as for :class:`Exists`.
    :param pattern: as for :func:`fnmatch.fnmatchcase`.
    """

    __slots__ = ("pattern",)

    pattern: str

    def __init__(self, path: PathLike, pattern: str) -> None:
        matcher = glob(pattern)
        super().__init__(path, matcher)
        fill(self, "pattern", matcher.pattern)

    def _arguments(self) -> tuple[Any, ...]:
        return self.path, self.pattern


@final
class Regex(Matches):
    """
    Events with text at a path in which a regular expression is found, anywhere.

    :param path: as for :class:`Exists`.
    :param pattern: the expression, or what :func:`re.compile` made of it.
    :param flags: as for :func:`re.compile`.
    """

    __slots__ = ("pattern",)

    pattern: re.Pattern[str]

    def __init__(self, path: PathLike, pattern: str | re.Pattern[str], flags: int = 0) -> None:
        matcher = regex(pattern, flags)
        super().__init__(path, matcher)
        fill(self, "pattern", matcher.pattern)

    def _arguments(self) -> tuple[Any, ...]:
        return self.path, *regex_arguments(self.pattern)
