"""Which handlers run for given details, in which order: worked out once, used for every event with such details."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from twisted.python.failure import Failure

from ._callee import Callee
from ._order import ordered, requirements
from ._outcome import Failed

C = TypeVar("C", bound=Callee)
K = TypeVar("K")
V = TypeVar("V")


class Plan:
    """
    The registrations that match certain details, in start order.

    :ivar callees: the registrations, by phase, then requirements, then registration.
    :ivar phase_ends: for each phase that has callees the position behind its last one.
    :ivar requires: for each callee the positions of the callees it requires, or ``None`` where no callee requires any.
    :ivar conditional: whether some callee also wants to see the event itself (``where``).
    :ivar fast: the callees, if a plain loop may run them; ``None`` if a :class:`Firing` has to.
    """

    __slots__ = ("_narrowed", "callees", "conditional", "fast", "phase_ends", "requires")

    def __init__(self, callees: Sequence[Callee], *, one_by_one: bool = False) -> None:
        """
        :param one_by_one: each callee waits for the one before, as if it had a phase of its own.
        """
        self.callees = tuple(callees)
        required = requirements(callees)
        self.requires: list[set[int]] | None = required if any(required) else None
        self.phase_ends = [
            position + 1
            for position, callee in enumerate(callees)
            if one_by_one or position + 1 == len(callees) or callees[position + 1].phase_index != callee.phase_index
        ]
        self.conditional = any(callee.where is not None for callee in callees)
        self.fast: tuple[Callee, ...] | None = None
        self._narrowed: dict[tuple[Callee, ...], Plan] = {}

    def narrow(self, event: Any) -> tuple[Plan, dict[Callee, Failed]]:
        """
        The plan for those whose ``where`` lets the event pass.

        :return: the plan, and the failures of filters that raised: their handlers stay in the plan, not to be called.
        """
        failed: dict[Callee, Failed] = {}
        chosen = []
        for callee in self.callees:
            if callee.where is not None:
                try:
                    if not callee.where.matches(event):
                        continue
                except Exception as error:
                    failed[callee] = Failed(Failure(error))
            chosen.append(callee)
        if len(chosen) == len(self.callees):
            return self, failed
        key = tuple(chosen)
        plan = self._narrowed.get(key)
        if plan is None:
            # Without those it had to wait for, a handler may stand elsewhere.
            plan = keep(self._narrowed, key, Plan(in_start_order(chosen)), MAX_NARROWED)
        return plan, failed


#: Plans kept, and look-ups kept that lead to them.  Past it they are forgotten together: counting uses would cost more than
#: making them anew.
MAX_PLANS = 1024

#: How many of the combinations that filters over events can choose are kept for one plan.
MAX_NARROWED = 64


def keep(table: dict[K, V], key: K, value: V, limit: int = MAX_PLANS) -> V:
    """Keep something in a table that is emptied when it is full."""
    if len(table) >= limit:
        table.clear()
    table[key] = value
    return value


def in_start_order(matching: Sequence[C]) -> list[C]:
    """Callees by phase, inside a phase by requirement, then registration."""
    callees: list[C] = []
    rest = sorted(matching, key=lambda callee: (callee.phase_index, callee.number))
    if not any(callee.requires or callee.required_by for callee in rest):
        return rest
    start = 0
    for end in range(1, len(rest) + 1):
        if end == len(rest) or rest[end].phase_index != rest[start].phase_index:
            callees.extend(ordered(rest[start:end]))
            start = end
    return callees
