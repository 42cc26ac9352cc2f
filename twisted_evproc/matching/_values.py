"""Values as matching sees them: the same or not, hashable or not, and as a set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final


def same(one: object, other: object) -> bool:
    """
    Whether two values are equal as Python's containers see it: the same object, or ``==``.

    A foreign ``==`` that raises, or whose answer has no truth value (an array), makes them different.
    """
    if one is other:
        return True
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001  a foreign == raises what it likes
        return False


def is_hashable(value: object) -> bool:
    """Whether a value can be a key of a dict, found out by trying."""
    try:
        hash(value)
    except Exception:  # noqa: BLE001  a foreign __hash__ raises what it likes
        return False
    return True


@final
class ValueSet:
    """
    A set of values, of which some may be unhashable; membership is equality, order does not count.

    :ivar values: without repetitions, in the order given; ``1`` and ``True``, which are equal, both stand there, for those who
        compare types too.
    """

    __slots__ = ("_hashable", "_unhashable", "values")

    def __init__(self, values: Iterable[Any]) -> None:
        distinct: set[tuple[type, Any]] = set()
        unhashable: list[Any] = []
        in_order: list[Any] = []
        for value in values:
            if is_hashable(value):
                if (type(value), value) in distinct:
                    continue
                distinct.add((type(value), value))
            elif any(same(value, known) for known in unhashable):
                continue
            else:
                unhashable.append(value)
            in_order.append(value)
        self.values = tuple(in_order)
        self._hashable = frozenset(value for _, value in distinct)
        self._unhashable = tuple(unhashable)

    @property
    def all_hashable(self) -> bool:
        return not self._unhashable

    def __contains__(self, value: object) -> bool:
        try:
            if value in self._hashable:
                return True
        except Exception:  # noqa: BLE001  unhashable, or its == raises for one of our values: then each is asked by itself
            return any(same(value, known) for known in self.values)
        return any(same(value, known) for known in self._unhashable)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ValueSet):
            return NotImplemented
        return (
            self._hashable == other._hashable
            and len(self._unhashable) == len(other._unhashable)
            and all(any(same(value, known) for known in other._unhashable) for value in self._unhashable)
        )

    def __hash__(self) -> int:
        return hash((self._hashable, len(self._unhashable)))

    def __reduce__(self) -> tuple[type[ValueSet], tuple[tuple[Any, ...]]]:
        return ValueSet, (self.values,)
