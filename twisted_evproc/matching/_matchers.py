"""
Matchers: what stands in a match-spec, or in a filter's mapping, in place of a plain value.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, final

import attrs

from ..errors import FilterError
from ._patterns import glob_pattern, is_magic, regex_arguments, regex_pattern
from ._values import ValueSet, is_hashable, same


class Matcher(ABC):
    """
    A set of values that a keyword may have.

    The contract, on which the index and its caches rely: an answer depends on nothing but the value's equality class (``1``,
    ``1.0`` and ``True`` are one value, which is asked about once), asking has no side effect, and no type of value makes it raise
    (:func:`satisfies` hands on what its predicate raises).  ``None`` is no value: only :data:`ANY` accepts it.

    :cvar accepts_absence: whether the keyword may be absent.
    """

    __slots__ = ()

    accepts_absence: ClassVar[bool] = False

    @abstractmethod
    def matches(self, value: Any) -> bool:
        """Whether a value is accepted."""

    @property
    def values(self) -> tuple[Any, ...] | None:
        """
        Every value that is accepted, where these are finitely many and all hashable; otherwise ``None``.

        A value is accepted exactly if it equals one of them, so that a dict can stand in for :meth:`matches`.
        """
        return None

    def __bool__(self) -> NoReturn:
        # `one and other` would be `other`, and the half would be lost in silence.
        raise TypeError(
            f"{self!r} is neither true nor false: and, or and not do not combine matchers.  Write one_of() for several values, "
            f"and satisfies() with a function for the rest."
        )


@final
class AnyValue(Matcher):
    """The class of :data:`ANY`."""

    __slots__ = ()

    accepts_absence = True

    def matches(self, value: Any) -> bool:
        return True

    def __repr__(self) -> str:
        return "ANY"

    def __reduce__(self) -> str:
        return "ANY"


@final
class PresentValue(Matcher):
    """The class of :data:`present`."""

    __slots__ = ()

    def matches(self, value: Any) -> bool:
        return value is not None

    def __repr__(self) -> str:
        return "present"

    def __reduce__(self) -> str:
        return "present"


#: Accepts everything: any value, ``None``, and the keyword's absence.
ANY: AnyValue = AnyValue()

#: Accepts any value, but there has to be one: neither absence nor ``None``.
present: PresentValue = PresentValue()


def _plain_values(function: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values, after refusing what is no plain value."""
    if not values:
        raise FilterError(f"{function}() needs at least one value.  To accept any value that is there, use present.")
    for value in values:
        if value is None:
            raise FilterError(
                f"{function}() cannot take None: a detail that is None equals no value.  To accept everything, absence "
                f"included, use ANY in place of {function}(); to demand that there is a value, use present."
            )
        if isinstance(value, Matcher):
            raise FilterError(
                f"{function}() takes plain values, not the matcher {value!r}.  Register the handler once for each "
                f"matcher, or use satisfies() with a function."
            )
    if len(values) == 1 and isinstance(values[0], list | tuple | set | frozenset):
        raise FilterError(
            f"{function}({values[0]!r}) would speak of one value, the {type(values[0]).__name__} itself.  For its items, write "
            f"{function}(*items), here {function}({_listed(tuple(values[0]))})."
        )
    return values


def _listed(values: tuple[Any, ...]) -> str:
    return ", ".join(map(repr, values))


@final
@attrs.frozen(repr=False)
class OneOf(Matcher):
    """What :func:`one_of` makes."""

    accepted: ValueSet

    def matches(self, value: Any) -> bool:
        return value is not None and value in self.accepted

    @property
    def values(self) -> tuple[Any, ...] | None:
        return self.accepted.values if self.accepted.all_hashable else None

    def __repr__(self) -> str:
        return f"one_of({_listed(self.accepted.values)})"


@final
@attrs.frozen(repr=False)
class NoneOf(Matcher):
    """What :func:`none_of` makes."""

    refused: ValueSet

    def matches(self, value: Any) -> bool:
        return value is not None and value not in self.refused

    def __repr__(self) -> str:
        return f"none_of({_listed(self.refused.values)})"


@final
@attrs.frozen(repr=False)
class Glob(Matcher):
    """What :func:`glob` makes."""

    pattern: str
    _match: Callable[[str], object] = attrs.field(eq=False)

    def matches(self, value: Any) -> bool:
        if isinstance(value, str):
            return self._match(value) is not None
        return not is_magic(self.pattern) and same(self.pattern, value)

    @property
    def values(self) -> tuple[Any, ...] | None:
        return None if is_magic(self.pattern) else (self.pattern,)

    def __repr__(self) -> str:
        return f"glob({self.pattern!r})"

    def __reduce__(self) -> tuple[Callable[[str], Glob], tuple[str]]:
        return glob, (self.pattern,)


@final
@attrs.frozen(repr=False)
class Regex(Matcher):
    """What :func:`regex` makes."""

    pattern: re.Pattern[str]

    def matches(self, value: Any) -> bool:
        return isinstance(value, str) and self.pattern.search(value) is not None

    def __repr__(self) -> str:
        return f"regex({_listed(regex_arguments(self.pattern))})"


@final
@attrs.frozen(repr=False)
class Between(Matcher):
    """What :func:`between` makes."""

    low: Any
    high: Any

    def matches(self, value: Any) -> bool:
        if value is None:
            return False
        try:
            return bool((self.low is None or self.low <= value) and (self.high is None or value <= self.high))
        except Exception:  # noqa: BLE001  what cannot be compared lies nowhere, and raises what its type likes
            return False

    def __repr__(self) -> str:
        bounds = (("low", self.low), ("high", self.high))
        return f"between({', '.join(f'{name}={bound!r}' for name, bound in bounds if bound is not None)})"


@final
@attrs.frozen(repr=False, hash=False)
class Satisfies(Matcher):
    """What :func:`satisfies` makes."""

    predicate: Callable[[Any], object]

    def matches(self, value: Any) -> bool:
        return value is not None and bool(self.predicate(value))

    def __hash__(self) -> int:
        return hash(self.predicate) if is_hashable(self.predicate) else hash(type(self.predicate))

    def __repr__(self) -> str:
        return f"satisfies({callable_name(self.predicate)})"


def callable_name(function: object) -> str:
    """A callable as a ``repr`` shows it: its qualified name where it has one."""
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else repr(function)


def one_of(*values: Any) -> OneOf:
    """
    Accept any of these values.

    :param values: at least one; they need not be hashable.
    :raises twisted_evproc.errors.FilterError: without values, for ``None`` or a matcher among them, and for nothing but a list, a
        tuple or a set, whose items were meant.
    """
    return OneOf(ValueSet(_plain_values("one_of", values)))


def none_of(*values: Any) -> NoneOf:
    """
    Accept every value but these; the keyword has to be there.

    :param values: at least one; they need not be hashable.
    :raises twisted_evproc.errors.FilterError: without values, for ``None`` or a matcher among them, and for nothing but a list, a
        tuple or a set, whose items were meant.
    """
    return NoneOf(ValueSet(_plain_values("none_of", values)))


def glob(pattern: str) -> Glob:
    """
    Accept strings that match a shell pattern, whole and with case counting, as :func:`fnmatch.fnmatchcase` does.

    :param pattern: ``*`` is any text, ``?`` any character, ``[abc]`` and ``[!abc]`` one (not) of these.
    :raises twisted_evproc.errors.FilterError: for a pattern that is no string.
    """
    return Glob(pattern, glob_pattern(pattern).match)


def regex(pattern: str | re.Pattern[str], flags: int = 0) -> Regex:
    """
    Accept strings in which a regular expression is found, anywhere, as :func:`re.search` does.

    :param pattern: the expression, or what :func:`re.compile` made of it.
    :param flags: as for :func:`re.compile`.
    :raises twisted_evproc.errors.FilterError: for an expression that cannot be compiled.
    """
    return Regex(regex_pattern(pattern, flags))


def between(low: Any = None, high: Any = None) -> Between:
    """
    Accept values from ``low`` to ``high``, both included.

    Values that cannot be compared with the bounds, and NaN, are not accepted.  ``True`` counts as ``1``, which it equals.

    :param low: the smallest value, or ``None`` for no lower bound.
    :param high: the largest value, or ``None`` for no upper bound.
    :raises twisted_evproc.errors.FilterError: without a bound, and for bounds that have no order (NaN) or the wrong one.
    """
    if low is None and high is None:
        raise FilterError("between() needs a bound: give low, high or both.  To accept any value that is there, use present.")
    for name, bound in (("low", low), ("high", high)):
        if bound is not None and not _ordered(bound, bound):
            raise FilterError(f"between() cannot use {name}={bound!r}: it has no order.  Give a number, a string or a date.")
    if low is not None and high is not None and not _ordered(low, high):
        raise FilterError(
            f"between(low={low!r}, high={high!r}) is no range: low is not known to be smaller than or equal to high.  "
            f"Exchange them, or give bounds of one type."
        )
    return Between(low, high)


def _ordered(low: Any, high: Any) -> bool:
    try:
        return bool(low <= high)
    except Exception:  # noqa: BLE001  a foreign <= raises what it likes
        return False


def satisfies(predicate: Callable[[Any], object]) -> Satisfies:
    """
    Accept values for which a function gives something true.

    The function is asked once for each distinct value, and the answer kept: it has to be a function of nothing but the value's
    equality class (``1`` and ``True`` are one value).  What it raises is not caught here.  It is not asked about ``None``.

    :param predicate: called with the value.
    :raises twisted_evproc.errors.FilterError: for something that cannot be called.
    """
    if not callable(predicate):
        raise FilterError(f"satisfies() needs a function of the value, not {predicate!r}.  For one value, give the value itself.")
    return Satisfies(predicate)
