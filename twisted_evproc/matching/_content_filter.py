"""
What every filter is: a condition on the event itself, as an object that can be combined, compared and shown.

The family is closed, which is what makes comparing possible; a condition of one's own is a :class:`Predicate`, or a :class:`Dyn`
where its answer is wanted too.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NoReturn

from ._matchers import callable_name
from ._paths import Keys
from ._values import is_hashable, same


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

    # The operators import what they make where they make it: a combination of filters is a filter itself.

    def __and__(self, other: Any) -> ContentFilter:
        from ._combinations import And, joined

        return joined(And, self, other)

    def __rand__(self, other: Any) -> ContentFilter:
        from ._combinations import And, joined

        return joined(And, other, self)

    def __or__(self, other: Any) -> ContentFilter:
        from ._combinations import Or, joined

        return joined(Or, self, other)

    def __ror__(self, other: Any) -> ContentFilter:
        from ._combinations import Or, joined

        return joined(Or, other, self)

    def __invert__(self) -> ContentFilter:
        from ._combinations import Not

        return Not(self)

    def __bool__(self) -> NoReturn:
        # Python's own operators cannot be asked: `one and other` would be `other`, and the half would be lost in silence.
        raise TypeError(f"{self!r} is neither true nor false.  Combine filters with &, | and ~ in place of and, or and not.")

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


#: Sets an attribute while a filter is made.
fill = object.__setattr__


def _shown(argument: object) -> str:
    return callable_name(argument) if inspect.isroutine(argument) or inspect.isclass(argument) else repr(argument)


class Comparable:
    """Any value as part of a clause: equal as in containers, and hashable even where the value is not."""

    __slots__ = ("_hash", "_hashable", "_value")

    def __init__(self, value: object) -> None:
        self._value = value
        self._hashable = is_hashable(value)
        self._hash = hash(value) if self._hashable else 0

    def __eq__(self, other: object) -> bool:
        # A set equals a frozenset, but they cannot have one hash: the two kinds have to stay apart.
        return isinstance(other, Comparable) and self._hashable is other._hashable and same(self._value, other._value)

    def __hash__(self) -> int:
        return self._hash
