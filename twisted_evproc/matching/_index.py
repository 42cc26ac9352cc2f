"""
Finding the entries that an event can concern, without asking all of them.

Entries are grouped by *which* keys they put an equality on (their signature); inside a group a hash table leads from the values
to the entries.  A look-up costs one hash per signature in use, however many entries there are.  Sharing the values out over one
table per key and intersecting was tried first: it costs as much as the most popular value has entries.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from itertools import product
from typing import Any, Generic, TypeVar

from ._values import same

K = TypeVar("K", bound=Hashable)
E = TypeVar("E", bound=Hashable)

#: An entry that allows several values for several keys stands once in the table for each combination; beyond this many, the keys
#: with the most values are left to the entry's own check.
MAX_COMBINATIONS = 64


class EqualityIndex(Generic[K, E]):
    """
    Entries by necessary equality conditions.

    A candidate still has to be asked itself whatever its conditions do not say.  Values compare as dictionary keys do
    (``1 == 1.0 == True``).
    """

    def __init__(self) -> None:
        self._tables: dict[tuple[K, ...], dict[tuple[Any, ...], dict[E, None]]] = {}
        self._places: dict[E, tuple[tuple[K, ...], list[tuple[Any, ...]]]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def add(self, entry: E, conditions: Mapping[K, tuple[Any, ...]]) -> bool:
        """
        Add an entry.

        :param conditions: for each key the hashable values one of which an event needs to have there.
        :return: whether being a candidate means that all conditions hold; if not, the entry has to check them itself.
        """
        keys = sorted(conditions, key=lambda key: len(conditions[key]))
        combinations = 1
        for count, key in enumerate(keys):
            combinations *= len(conditions[key])
            if count and combinations > MAX_COMBINATIONS:
                del keys[count:]
                break
        signature = tuple(sorted(keys, key=repr))
        places = list(product(*(dict.fromkeys(conditions[key]) for key in signature)))
        table = self._tables.setdefault(signature, {})
        for place in places:
            table.setdefault(place, {})[entry] = None
        self._places[entry] = signature, places
        return len(signature) == len(conditions)

    def discard(self, entry: E) -> None:
        """Forget an entry and everything kept for it; one that is not here is ignored."""
        signature, places = self._places.pop(entry, ((), []))
        table = self._tables.get(signature, {})
        for place in places:
            bucket = table[place]
            del bucket[entry]
            if not bucket:
                del table[place]
        if not table:
            self._tables.pop(signature, None)

    def candidates(self, look_up: Callable[[K], Any]) -> list[E]:
        """
        The entries whose conditions hold, in no particular order.

        :param look_up: gives the event's value at a key, or, where there is none, something that equals no condition.
        """
        found: list[E] = []
        for signature, table in self._tables.items():
            # One is what most entries ask for, and map() costs as much as looking up.
            values = (look_up(signature[0]),) if len(signature) == 1 else tuple(map(look_up, signature))
            try:
                bucket = table.get(values)
            except Exception:  # noqa: BLE001  unhashable, or with a hash or an equality of its own that fails
                found.extend(self._scan(table.items(), values))
                continue
            if bucket:
                found.extend(bucket)
        return found

    @staticmethod
    def _scan(buckets: Iterable[tuple[tuple[Any, ...], dict[E, None]]], values: tuple[Any, ...]) -> list[E]:
        # An unhashable value may equal a hashable one (a set and a frozenset): only comparing tells.
        return [entry for place, bucket in buckets if all(map(same, place, values)) for entry in bucket]
