"""
In what order: requirements between named things, as pure functions.

Shared by everything that is ordered by ``requires`` / ``required_by``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import Protocol, TypeVar

from ..errors import RequirementCycle


class Named(Protocol):
    """Something with a name (not necessarily its own alone) that is ordered by the names of others."""

    @property
    def name(self) -> str: ...
    @property
    def requires(self) -> tuple[str, ...]: ...
    @property
    def required_by(self) -> tuple[str, ...]: ...


N = TypeVar("N", bound=Named)


def requirements(items: Sequence[Named]) -> list[set[int]]:
    """
    For each item the positions of the items it requires.

    A required name that none of the items has counts as fulfilled; of a name that several have, all are required.
    """
    required: list[set[int]] = [set() for _ in items]
    if not any(item.requires or item.required_by for item in items):
        return required
    positions: dict[str, list[int]] = {}
    for position, item in enumerate(items):
        positions.setdefault(item.name, []).append(position)
    for position, item in enumerate(items):
        for name in item.requires:
            required[position].update(positions.get(name, ()))
        for name in item.required_by:
            for other in positions.get(name, ()):
                required[other].add(position)
    return required


def ordered(items: Sequence[N]) -> list[N]:
    """
    The items such that each comes after all it requires, otherwise in the order given.

    :raises RequirementCycle: when there is no such order; its ``chain`` spells the cycle out.
    """
    required = requirements(items)
    if not any(required):
        return list(items)
    dependants: list[list[int]] = [[] for _ in items]
    missing = [len(positions) for positions in required]
    for position, positions in enumerate(required):
        for other in positions:
            dependants[other].append(position)
    ready = [position for position, count in enumerate(missing) if not count]
    heapify(ready)
    found: list[N] = []
    while ready:
        position = heappop(ready)
        found.append(items[position])
        for other in dependants[position]:
            missing[other] -= 1
            if not missing[other]:
                heappush(ready, other)
    if len(found) < len(items):
        raise RequirementCycle([items[position].name for position in _cycle(required, missing)])
    return found


def _cycle(required: Sequence[Iterable[int]], missing: Sequence[int]) -> list[int]:
    # Every item that still misses something requires another such item: following that leads into a cycle.
    def next_of(position: int) -> int:
        return min(other for other in required[position] if missing[other])

    def walk(position: int) -> Iterator[int]:
        while True:
            yield position
            position = next_of(position)

    seen: list[int] = []
    for position in walk(next(position for position, count in enumerate(missing) if count)):
        if position in seen:
            return [*seen[seen.index(position) :], position]
        seen.append(position)
    raise AssertionError("unreachable: a finite walk comes back")  # pragma: no cover  the walk is endless
