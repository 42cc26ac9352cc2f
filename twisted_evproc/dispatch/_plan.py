"""Which handlers run for given details, in which order: worked out once, used for every event with such details."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from twisted.python.failure import Failure

from ._order import ordered, requirements
from ._outcome import Failed
from ._step import Step

S = TypeVar("S", bound=Step)


class Plan:
    """
    The registrations that match certain details, in start order.

    :ivar steps: the registrations, by phase, then requirements, then registration.
    :ivar phase_ends: for each phase that has steps the position behind its last one.
    :ivar requires: for each step the positions of the steps it requires, or ``None`` where no step requires any.
    :ivar conditional: whether some step also wants to see the event itself (``where``).
    :ivar fast: the steps, if a plain loop may run them; ``None`` if a :class:`Firing` has to.
    """

    __slots__ = ("_narrowed", "conditional", "fast", "phase_ends", "requires", "steps")

    def __init__(self, steps: Sequence[Step], *, one_by_one: bool = False) -> None:
        """
        :param one_by_one: each step waits for the one before, as if it had a phase of its own.
        """
        self.steps = tuple(steps)
        required = requirements(steps)
        self.requires: list[set[int]] | None = required if any(required) else None
        self.phase_ends = [
            position + 1
            for position, step in enumerate(steps)
            if one_by_one or position + 1 == len(steps) or steps[position + 1].phase_index != step.phase_index
        ]
        self.conditional = any(step.where is not None for step in steps)
        self.fast: tuple[Step, ...] | None = None
        self._narrowed: dict[tuple[Step, ...], Plan] = {}

    def narrow(self, event: Any) -> tuple[Plan, dict[Step, Failed]]:
        """
        The plan for those whose ``where`` lets the event pass.

        :return: the plan, and the failures of filters that raised: their handlers stay in the plan, not to be called.
        """
        failed: dict[Step, Failed] = {}
        chosen = []
        for step in self.steps:
            if step.where is not None:
                try:
                    if not step.where.matches(event):
                        continue
                except Exception as error:
                    failed[step] = Failed(Failure(error))
            chosen.append(step)
        if len(chosen) == len(self.steps):
            return self, failed
        key = tuple(chosen)
        plan = self._narrowed.get(key)
        if plan is None:
            if len(self._narrowed) >= MAX_NARROWED:
                self._narrowed.clear()
            # Without those it had to wait for, a handler may stand elsewhere.
            plan = self._narrowed[key] = Plan(in_start_order(chosen))
        return plan, failed


#: How many of the combinations that filters over events can choose are kept for one plan.
MAX_NARROWED = 64


def in_start_order(matching: Sequence[S]) -> list[S]:
    """Steps by phase, inside a phase by requirement, then registration."""
    steps: list[S] = []
    rest = sorted(matching, key=lambda step: (step.phase_index, step.number))
    if not any(step.requires or step.required_by for step in rest):
        return rest
    start = 0
    for end in range(1, len(rest) + 1):
        if end == len(rest) or rest[end].phase_index != rest[start].phase_index:
            steps.extend(ordered(rest[start:end]))
            start = end
    return steps
