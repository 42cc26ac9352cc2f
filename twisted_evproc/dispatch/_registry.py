"""The handlers of a dispatcher, and which of them match given details."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any

from ..errors import OrderingError
from ..matching import EqualityIndex
from ._callee import HandlerID, removed
from ._order import ordered
from ._plan import Plan, in_start_order, keep
from ._registration import Registration

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
        return iter(sorted(self._by_id.values(), key=attrgetter("phase_index", "number")))

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
        if any(one.requires or one.required_by for one in added) or (added and self._ordered):
            self._check_order([*(one for one in self._by_id.values() if one not in gone), *added])
        self._plans.clear()
        for registration in gone:
            self.discard(registration)
        for registration in added:
            if not registration.alive():
                continue  # its function has gone before a transaction could take it in
            self._by_id[registration.id] = registration
            registration.complete = self._index.add(registration, registration.spec.conditions)
            self.keywords.update(registration.spec.keywords)
            self._ordered += bool(registration.requires or registration.required_by)

    def discard(self, registration: Registration) -> None:
        """Take a handler out; it is not called any more from now on."""
        registration.call = removed
        if self._by_id.pop(registration.id, None) is None:
            return
        self._plans.clear()
        self._index.discard(registration)
        self.keywords -= Counter(registration.spec.keywords)
        self._ordered -= bool(registration.requires or registration.required_by)

    def _found(self, details: Mapping[str, Any]) -> list[Registration]:
        return [
            one
            for one in self._index.candidates(details.get)
            if (one.complete and not one.spec.rest) or self._matches(one, details)
        ]

    def _matches(self, registration: Registration, details: Mapping[str, Any]) -> bool:
        try:
            spec = registration.spec
            return (spec.rest_mismatch(details) if registration.complete else spec.mismatch(details)) is None
        except Exception:
            self._report(registration, details)
            return False

    def plan(self, details: Mapping[str, Any]) -> Plan:
        """The plan for these details."""
        found = self._found(details)
        found.sort(key=_by_number)
        key = tuple(found)
        plan = self._plans.get(key)
        return keep(self._plans, key, Plan(in_start_order(found))) if plan is None else plan

    def _check_order(self, registrations: list[Registration]) -> None:
        named: dict[str, list[Registration]] = {}
        for registration in registrations:
            named.setdefault(registration.name, []).append(registration)
        for registration in registrations:
            for first, second in [
                *((other, registration) for name in registration.requires for other in named.get(name, ())),
                *((registration, other) for name in registration.required_by for other in named.get(name, ())),
            ]:
                if first.phase_index > second.phase_index:
                    raise OrderingError(
                        f"handler {second.name!r} in phase {second.phase!r} requires {first.name!r}, which runs "
                        f"only in the later phase {first.phase!r}.  Move one of them, or drop the requirement.",
                        [second.name, first.name],
                    )
        by_phase: dict[int, list[Registration]] = {}
        for registration in registrations:
            by_phase.setdefault(registration.phase_index, []).append(registration)
        for same_phase in by_phase.values():
            ordered(same_phase)
