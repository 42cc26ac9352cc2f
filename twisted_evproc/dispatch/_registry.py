"""The handlers of a dispatcher, and which of them match given details."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any

from ..errors import OrderingError
from ..matching import EqualityIndex
from ._order import ordered
from ._plan import Plan, in_start_order
from ._registration import Registration
from ._step import HandlerID, removed

#: Plans kept, and look-ups kept that lead to them.  Past it they are forgotten together: counting uses would cost more than
#: making them anew.
MAX_PLANS = 1024

_by_number = attrgetter("number")


class Registry:
    """
    Registrations by ID and by match-spec.

    Changes are given as a batch, taken together or not at all.
    """

    def __init__(self, report: Callable[[Registration, Mapping[str, Any]], None]) -> None:
        """
        :param report: told, while the exception is being handled, of a handler whose matcher failed, and of the details.
        """
        self._report = report
        self._by_id: dict[HandlerID, Registration] = {}
        # Details without number can choose the same handlers.
        self._plans: dict[tuple[Registration, ...], Plan] = {}
        self._index: EqualityIndex[str, Registration] = EqualityIndex()
        #: how many handlers match on a keyword
        self.keywords: Counter[str] = Counter()
        # how many handlers speak of the names of others
        self._ordered = 0
        # Filled by weak references as they die, in whichever thread that is: only ever appended to there.
        self._lost: deque[Registration] = deque()
        self.lost = self._lost.append

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, handler_id: object) -> bool:
        return handler_id in self._by_id

    def __getitem__(self, handler_id: HandlerID) -> Registration:
        return self._by_id[handler_id]

    def __iter__(self) -> Iterator[Registration]:
        """By phase, then in order of registration."""
        return iter(sorted(self._by_id.values(), key=lambda step: (step.phase_index, step.number)))

    def purge(self) -> bool:
        """
        Forget the handlers that are no more.

        :return: whether there were any.
        """
        found = False
        while self._lost:
            found = True
            self.discard(self._lost.popleft())
        return found

    def change(self, added: Iterable[Registration], gone: Iterable[Registration]) -> None:
        """
        Take handlers in and out, together.

        :raises twisted_evproc.errors.OrderingError: when the requirements could not be met; nothing is changed then.
        """
        added, gone = list(added), set(gone)
        if any(step.requires or step.required_by for step in added) or (added and self._ordered):
            self._check_order([*(step for step in self._by_id.values() if step not in gone), *added])
        self._plans.clear()
        for step in gone:
            self.discard(step)
        for step in added:
            self._by_id[step.id] = step
            step.complete = self._index.add(step, step.spec.conditions)
            self.keywords.update(step.spec.keywords)
            self._ordered += bool(step.requires or step.required_by)

    def discard(self, step: Registration) -> None:
        """Take a handler out; it is not called any more from now on."""
        step.call = removed
        if self._by_id.pop(step.id, None) is None:
            return
        self._plans.clear()
        self._index.discard(step)
        self.keywords -= Counter(step.spec.keywords)
        self._ordered -= bool(step.requires or step.required_by)

    def _found(self, details: Mapping[str, Any]) -> list[Registration]:
        return [
            step
            for step in self._index.candidates(details.get)
            if (step.complete and not step.spec.rest) or self._matches(step, details)
        ]

    def _matches(self, step: Registration, details: Mapping[str, Any]) -> bool:
        try:
            return (step.spec.rest_mismatch(details) if step.complete else step.spec.mismatch(details)) is None
        except Exception:
            self._report(step, details)
            return False

    def plan(self, details: Mapping[str, Any]) -> Plan:
        """The plan for these details."""
        found = self._found(details)
        found.sort(key=_by_number)
        key = tuple(found)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            plan = self._plans[key] = Plan(in_start_order(found))
        return plan

    def _check_order(self, steps: list[Registration]) -> None:
        named: dict[str, list[Registration]] = {}
        for step in steps:
            named.setdefault(step.name, []).append(step)
        for step in steps:
            for first, second in [
                *((other, step) for name in step.requires for other in named.get(name, ())),
                *((step, other) for name in step.required_by for other in named.get(name, ())),
            ]:
                if first.phase_index > second.phase_index:
                    raise OrderingError(
                        f"handler {second.name!r} in phase {second.phase!r} requires {first.name!r}, which runs "
                        f"only in the later phase {first.phase!r}.  Move one of them, or drop the requirement.",
                        [second.name, first.name],
                    )
        by_phase: dict[int, list[Registration]] = {}
        for step in steps:
            by_phase.setdefault(step.phase_index, []).append(step)
        for same_phase in by_phase.values():
            ordered(same_phase)
