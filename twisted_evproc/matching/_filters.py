"""
Filters: conditions on the event itself, as objects that can be combined, compared and shown.

The family is closed, which is what makes comparing possible; a condition of one's own is a :class:`Predicate`, or a :class:`Dyn`
where its answer is wanted too.
"""

from __future__ import annotations

import inspect
import math
import operator
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Real
from typing import Any, ClassVar, TypeAlias, final

from ..errors import FilterError
from . import _matchers
from ._matchers import Matcher, ValueSet, callable_name, is_hashable, same
from ._paths import MISSING, Keys, PathLike, follow, parse_path, path_notation

#: A number as comparisons see it.
Number: TypeAlias = int | float | Fraction

#: Gets the event's number and the target.
Comparator: TypeAlias = Callable[[Any, Any], object]

#: Numbers whose decimal notation has more digits than this are not read from text; Python's own limit for integers.
MAX_DIGITS = 4300

_NUMERAL = re.compile(
    r"[+-]?(?:(?P<whole>[0-9]+)(?:\.(?P<part>[0-9]*))?|\.(?P<only>[0-9]+))(?:[eE](?P<exponent>[+-]?[0-9]{1,9}))?"
)


class ContentFilter(ABC):
    """
    A condition on an event; immutable.

    Two filters are equal when they are made of equal clauses, in whatever order and nesting: ``And(a, And(b, a))`` is
    ``And(b, a)``, ``And(a)`` is ``a``.  Values are equal as they are to a dict (``1 == True``).  Filters that only mean the same
    (``Not(Not(a))`` and ``a``) are different.

    :cvar specificity: how much the filter demands.  The more, the sooner its handler is chosen.
    """

    __slots__ = ()

    @abstractmethod
    def matches(self, event: Any) -> bool:
        """
        Whether the event passes.

        Nothing that an event is made of makes this raise; what a function given by the user raises, passes through.
        """

    @property
    def specificity(self) -> int:
        """
        The number of clauses that an event has to fulfil.

        Conjunctions and mappings add up, a disjunction counts its least branch, :class:`Accept` nothing, any other filter one.
        """
        return 1

    def equalities(self) -> Mapping[Keys, tuple[Any, ...]]:
        """
        Equalities that are necessary for a match: compiled path to the hashable values one of which an event needs to have there.

        They need not be sufficient: a candidate still has to be asked.  No values at all for a path: nothing ever matches.
        """
        return {}

    @abstractmethod
    def _arguments(self) -> tuple[Any, ...]:
        """What the constructor was given."""

    @abstractmethod
    def _clause(self) -> tuple[object, ...]:
        """Something hashable that is equal for equal filters."""

    def __and__(self, other: Any) -> ContentFilter:
        return And(*_operands(And, self), *_operands(And, as_filter(other))) if _is_filter_like(other) else NotImplemented

    def __rand__(self, other: Any) -> ContentFilter:
        return And(as_filter(other), *_operands(And, self)) if _is_filter_like(other) else NotImplemented

    def __or__(self, other: Any) -> ContentFilter:
        return Or(*_operands(Or, self), *_operands(Or, as_filter(other))) if _is_filter_like(other) else NotImplemented

    def __ror__(self, other: Any) -> ContentFilter:
        return Or(as_filter(other), *_operands(Or, self)) if _is_filter_like(other) else NotImplemented

    def __invert__(self) -> ContentFilter:
        return Not(self)

    def __eq__(self, other: object) -> bool:
        return self._clause() == other._clause() if isinstance(other, ContentFilter) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._clause())

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name!r} of {self!r} cannot be set: filters do not change.  Make another one.")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{name!r} of {self!r} cannot be deleted: filters do not change.  Make another one.")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(_shown, self._arguments()))})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments()


_set = object.__setattr__


def _shown(argument: object) -> str:
    return callable_name(argument) if inspect.isroutine(argument) or inspect.isclass(argument) else repr(argument)


class _Comparable:
    """Any value as part of a clause: equal as in containers, and hashable even where the value is not."""

    __slots__ = ("_hash", "_hashable", "_value")

    def __init__(self, value: object) -> None:
        self._value = value
        self._hashable = is_hashable(value)
        self._hash = hash(value) if self._hashable else 0

    def __eq__(self, other: object) -> bool:
        # A set equals a frozenset, but they cannot have one hash: the two kinds have to stay apart.
        return isinstance(other, _Comparable) and self._hashable is other._hashable and same(self._value, other._value)

    def __hash__(self) -> int:
        return self._hash


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


class _AtPath(ContentFilter):
    """A condition on the value at one path."""

    __slots__ = ("keys",)

    keys: Keys

    def __init__(self, path: PathLike) -> None:
        _set(self, "keys", parse_path(path))

    @property
    def path(self) -> PathLike:
        """The path as it is written, dotted where that is possible."""
        return path_notation(self.keys)


@final
class Exists(_AtPath):
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
class Eq(_AtPath):
    """
    Events that have a value at a path.

    :param path: as for :class:`Exists`.
    :param value: any value, ``None`` included; equal as in containers: the same object, or ``==``.
    """

    __slots__ = ("value",)

    value: Any

    def __init__(self, path: PathLike, value: Any) -> None:
        super().__init__(path)
        _set(self, "value", _plain(value, "Eq", self.path))

    def matches(self, event: Any) -> bool:
        found = follow(event, self.keys)
        return found is not MISSING and same(self.value, found)

    def equalities(self) -> Mapping[Keys, tuple[Any, ...]]:
        return {self.keys: (self.value,)} if is_hashable(self.value) else {}

    def _arguments(self) -> tuple[Any, ...]:
        return self.path, self.value

    def _clause(self) -> tuple[object, ...]:
        return Eq, self.keys, frozenset((_Comparable(self.value),))


@final
class In(_AtPath):
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
        _set(self, "_known", ValueSet(plain))

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
        return Eq, self.keys, frozenset(map(_Comparable, self.values))


class Matches(_AtPath):
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
        _set(self, "matcher", matcher)

    def matches(self, event: Any) -> bool:
        found = follow(event, self.keys)
        return self.matcher.accepts_absence if found is MISSING else self.matcher.matches(found)

    def _arguments(self) -> tuple[Any, ...]:
        return self.path, self.matcher

    def _clause(self) -> tuple[object, ...]:
        return Matches, self.keys, _Comparable(self.matcher)


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
        matcher = _matchers.glob(pattern)
        super().__init__(path, matcher)
        _set(self, "pattern", matcher.pattern)

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
        matcher = _matchers.regex(pattern, flags)
        super().__init__(path, matcher)
        _set(self, "pattern", matcher.pattern)

    def _arguments(self) -> tuple[Any, ...]:
        return self.path, *_matchers.regex_arguments(self.pattern)


def _number_in_text(text: str) -> Number | None:
    # A float has 17 digits, and Fraction("1e999999999") takes minutes and all memory: hence exact, and bounded before converting.
    if len(text) > MAX_DIGITS + 100:
        return None
    numeral = _NUMERAL.fullmatch(text.strip())
    if numeral is None:
        return None
    whole, part, only, exponent = numeral.group("whole", "part", "only", "exponent")
    digits = (whole or "") + (part or "") + (only or "")
    if len(digits) + abs(int(exponent or 0)) > MAX_DIGITS:
        return None
    if part is None and only is None and exponent is None:
        return int(numeral.group())
    return Fraction(numeral.group())


def _number_in_decimal(value: Decimal) -> Number | None:
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        return float(value) if value.is_infinite() else None
    return Fraction(value) if len(digits) + abs(exponent) <= MAX_DIGITS else None


def as_number(value: Any) -> Number | None:
    """
    A value as a number that comparisons take without loss, or ``None`` where it is no number.

    Numbers are integers, floats, fractions, decimals and other reals, and text in decimal notation, blanks around it allowed.  No
    numbers are booleans, NaN, other text (``"nan"``, ``"inf"``, ``"1_000"``, ``"0x1F"``), and text or decimals that would take
    more than 4300 digits to write out.
    """
    if type(value) is int or type(value) is Fraction:
        return value
    if type(value) is float:
        return None if math.isnan(value) else value
    try:
        if isinstance(value, bool):
            return None
        if isinstance(value, str):
            return _number_in_text(str.__str__(value))
        if isinstance(value, Integral):
            return int(value)
        if isinstance(value, Fraction):
            return Fraction(value.numerator, value.denominator)
        if isinstance(value, Decimal):
            return _number_in_decimal(value)
        if isinstance(value, Real):
            number = float(value)
            return None if math.isnan(number) else number
    except Exception:  # noqa: BLE001  a type of number that fails to be one raises what it likes: events come from outside
        return None
    return None


class NumCmp(_AtPath):
    """
    Events with a number at a path that compares with another one.

    Numbers are compared as they are, without rounding: an integer as an integer, and numeric text (``"12"``, ``" 3.5 "``) as the
    integer or fraction that it writes.  Booleans, NaN and everything else never match.

    :param path: as for :class:`Exists`.
    :param comparator: called with the event's number and the target; gives something true for a match.  Filters are equal only
        with the same function: give functions of :mod:`operator`, or named ones, rather than a new ``lambda`` each time.  Running
        out of the range of floats (``OverflowError``) is no match; whatever else it raises passes through.
    :param target: the number to compare with.
    """

    __slots__ = ("_number", "comparator", "target")

    comparator: Comparator
    target: Any
    _number: Number

    def __init__(self, path: PathLike, comparator: Comparator, target: Any) -> None:
        super().__init__(path)
        name = type(self).__name__
        if not callable(comparator):
            raise FilterError(
                f"{name}({self.path!r}, ...) needs a function of two numbers, not {comparator!r}.  Give one such as operator.lt."
            )
        number = as_number(target)
        if number is None:
            raise FilterError(
                f"{name}({self.path!r}, ...) cannot compare with {target!r}: it is no number.  For values of other types, give "
                f"the matcher between() in a mapping."
            )
        _set(self, "comparator", comparator)
        _set(self, "target", target)
        _set(self, "_number", number)

    def matches(self, event: Any) -> bool:
        number = as_number(follow(event, self.keys))
        if number is None:
            return False
        try:
            return bool(self.comparator(number, self._number))
        except OverflowError:
            return False

    def _arguments(self) -> tuple[Any, ...]:
        return self.path, self.comparator, self.target

    def _clause(self) -> tuple[object, ...]:
        return NumCmp, self.keys, _Comparable(self.comparator), self._number


class _Ordered(NumCmp):
    """A comparison with a comparator of its own."""

    __slots__ = ()

    _compare: ClassVar[Comparator]

    def __init__(self, path: PathLike, value: Any) -> None:
        super().__init__(path, type(self)._compare, value)

    def _arguments(self) -> tuple[Any, ...]:
        return self.path, self.target


@final
class Lt(_Ordered):
    """
    Events with a number at a path that is less than ``value``; see :class:`NumCmp`.

    :param path: as for :class:`Exists`.
    :param value: a number.
    """

    __slots__ = ()
    _compare = operator.lt


@final
class Leq(_Ordered):
    """
    Events with a number at a path that is less than or equal to ``value``; see :class:`NumCmp`.

    :param path: as for :class:`Exists`.
    :param value: a number.
    """

    __slots__ = ()
    _compare = operator.le


@final
class Gt(_Ordered):
    """
    Events with a number at a path that is greater than ``value``; see :class:`NumCmp`.

    :param path: as for :class:`Exists`.
    :param value: a number.
    """

    __slots__ = ()
    _compare = operator.gt


@final
class Geq(_Ordered):
    """
    Events with a number at a path that is greater than or equal to ``value``; see :class:`NumCmp`.

    :param path: as for :class:`Exists`.
    :param value: a number.
    """

    __slots__ = ()
    _compare = operator.ge


def _answer(result: object, function: object) -> bool:
    """The truth of what a user's function gave, refusing what only will have one: a coroutine is always true."""
    if result is True or result is False or result is None:
        return bool(result)
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise FilterError(
            f"{callable_name(function)} has to answer at once here, but gave {result!r}.  Make it a plain function, or use Dyn "
            f"as the filter of an event processor, which waits for it."
        )
    return bool(result)


@final
class Dyn(ContentFilter):
    """
    Events for which a function gives something true.

    Filters are equal with the same function and the same name.

    :param resolver: by itself, and in a dispatcher, called with the event, and has to answer at once.
    :param inject_as: the name under which an event processor's handler gets the answer; ``None`` for none.
    """

    __slots__ = ("inject_as", "resolver")

    resolver: Callable[..., Any]
    inject_as: str | None

    def __init__(self, resolver: Callable[..., Any], inject_as: str | None = None) -> None:
        if not callable(resolver):
            raise FilterError(f"Dyn() needs a function, not {resolver!r}.  For a fixed condition, map paths to values.")
        if inject_as == "" or not isinstance(inject_as, str | None):
            raise FilterError(f"Dyn() cannot inject as {inject_as!r}.  Give the name of a parameter, or None.")
        _set(self, "resolver", resolver)
        _set(self, "inject_as", inject_as)

    def matches(self, event: Any) -> bool:
        return _answer(self.resolver(event), self.resolver)

    def _arguments(self) -> tuple[Any, ...]:
        return (self.resolver,) if self.inject_as is None else (self.resolver, self.inject_as)

    def _clause(self) -> tuple[object, ...]:
        return Dyn, _Comparable(self.resolver), self.inject_as


@final
class Predicate(ContentFilter):
    """
    Events for which a plain function of the event gives something true.

    :param function: called with the event; has to answer at once.  Filters are equal with the same function.
    """

    __slots__ = ("function",)

    function: Callable[[Any], object]

    def __init__(self, function: Callable[[Any], object]) -> None:
        if not callable(function):
            raise FilterError(f"Predicate() needs a function of the event, not {function!r}.")
        if inspect.iscoroutinefunction(function):
            raise FilterError(
                f"{callable_name(function)} is async, but a predicate has to answer at once.  Make it a plain function, or use "
                f"Dyn as the filter of an event processor."
            )
        _set(self, "function", function)

    def matches(self, event: Any) -> bool:
        return _answer(self.function(event), self.function)

    def _arguments(self) -> tuple[Any, ...]:
        return (self.function,)

    def _clause(self) -> tuple[object, ...]:
        return Predicate, _Comparable(self.function)


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
        _set(self, "filters", tuple(map(as_filter, filters)))
        parts: dict[ContentFilter, None] = {}
        for each in self.filters:
            parts.update(dict.fromkeys(self._flat(each)))
        _set(self, "_parts", tuple(parts))

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
        _set(self, "filter", as_filter(filter))

    def matches(self, event: Any) -> bool:
        return not self.filter.matches(event)

    def _arguments(self) -> tuple[Any, ...]:
        return (self.filter,)

    def _clause(self) -> tuple[object, ...]:
        return Not, self.filter._clause()


def _operands(kind: type[_Combined], one: ContentFilter) -> tuple[ContentFilter, ...]:
    # a & b & c reads And(a, b, c), and a long chain does not nest
    return one.filters if isinstance(one, kind) else (one,)


def _is_filter_like(value: object) -> bool:
    return isinstance(value, (ContentFilter, Mapping)) or callable(value)


def _at_path(path: Any, value: Any) -> ContentFilter:
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
        items = [_at_path(path, wanted) for path, wanted in value.items()]
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


__all__ = [
    "Accept",
    "And",
    "ContentFilter",
    "Dyn",
    "Eq",
    "Exists",
    "Geq",
    "Glob",
    "Gt",
    "In",
    "Leq",
    "Lt",
    "Matches",
    "Not",
    "NumCmp",
    "Or",
    "Predicate",
    "Regex",
    "as_filter",
]
