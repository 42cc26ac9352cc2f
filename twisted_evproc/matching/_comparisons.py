"""Filters that compare the number at a path with another one."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias, final

from ..errors import FilterError
from ._at_path import AtPath
from ._content_filter import Comparable, fill
from ._numbers import Number, as_number
from ._paths import PathLike, follow

#: Gets the event's number and the target.
Comparator: TypeAlias = Callable[[Any, Any], object]


class NumCmp(AtPath):
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
        fill(self, "comparator", comparator)
        fill(self, "target", target)
        fill(self, "_number", number)

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
        return NumCmp, self.keys, Comparable(self.comparator), self._number


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
