"""
Which firings may begin: a bound on how many are under way, and one after the other per key.

A firing that a handler fired (*nested*) never waits behind the firing it came from: it takes no slot, and passes the key's queue
when its own ancestors hold the key or wait, through others, for the one that does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, fail

from ..matching import is_hashable, same
from ._firing import Firing
from ._outcome import Outcome


class Lane:
    """The firings of one key: those under way, and those that wait for them."""

    __slots__ = ("active", "nested", "offered", "queue")

    def __init__(self) -> None:
        self.active: list[Firing] = []
        self.nested: deque[Firing] = deque()
        self.queue: deque[Firing] = deque()
        # the one that waits for nothing but a slot
        self.offered: Firing | None = None

    @property
    def idle(self) -> bool:
        return not (self.active or self.nested or self.queue or self.offered)


class Admission:
    """
    Lets firings begin, in the order they came.

    Invariants: no more than ``limit`` firings that are not nested are under way; of each key no more than one, but for nested
    ones that would otherwise wait for themselves; a firing waits in exactly one place.
    """

    def __init__(
        self,
        limit: int | None,
        max_waiting: int | None,
        key_of: Callable[[Firing], Any],
        overloaded: Callable[[int], Exception],
    ) -> None:
        """
        :param limit: how many firings may be under way, ``None`` for any number.
        :param max_waiting: how many may wait, ``None`` for any number.
        :param key_of: the key of a firing, ``None`` where it has none.
        :param overloaded: makes the error for a firing refused while so many wait.
        """
        self._limit = limit
        self._max_waiting = max_waiting
        self._key_of = key_of
        self._overloaded = overloaded
        self._waiting = 0
        self._slots: set[Firing] = set()
        self._ready: deque[Firing] = deque()
        self._lanes: dict[Any, Lane] = {}
        self._nested_waiting: list[Firing] = []
        self._to_begin: deque[Firing] = deque()
        self._beginning = False

    def submit(self, firing: Firing) -> Deferred[Outcome]:
        """
        Begin a firing now, or as soon as it may.

        :return: its Deferred; fails at once when too many wait.
        """
        firing.key = _Key(self._key_of(firing))
        lane = self._lane(firing)
        inside = [ancestor for ancestor in firing.ancestors() if ancestor.host is firing.host]
        if inside:
            if lane is None or not lane.active or self._would_deadlock(inside, lane.active):
                self._take(firing, lane, slot=False)
                return firing.begin()
            lane.nested.append(firing)
            self._nested_waiting.append(firing)
            return firing.wait()
        free = lane is None or lane.idle
        if free and self._has_slot() and not self._ready:
            self._take(firing, lane, slot=True)
            return firing.begin()
        if self._max_waiting is not None and self._waiting >= self._max_waiting:
            self._tidy(firing.key)
            return fail(self._overloaded(self._waiting))
        self._waiting += 1
        if not free:
            assert lane is not None
            lane.queue.append(firing)
        else:
            self._offer(firing, lane)
        return firing.wait()

    def left(self, firing: Firing) -> None:
        """A firing is over, begun or not: whoever may begin now does."""
        if firing.begun:
            self._release(firing)
        else:
            self._withdraw(firing)
        self._begin()

    # -- slots and lanes

    def _has_slot(self) -> bool:
        return self._limit is None or len(self._slots) < self._limit

    def _lane(self, firing: Firing) -> Lane | None:
        key = firing.key
        return None if key.value is None else self._lanes.setdefault(key, Lane())

    def _tidy(self, key: _Key) -> None:
        lane = self._lanes.get(key)
        if lane is not None and lane.idle:
            del self._lanes[key]

    def _take(self, firing: Firing, lane: Lane | None, *, slot: bool) -> None:
        firing.begun = True
        if slot:
            self._slots.add(firing)
        if lane is not None:
            lane.active.append(firing)

    def _offer(self, firing: Firing, lane: Lane | None) -> None:
        if lane is not None:
            lane.offered = firing
        self._ready.append(firing)

    def _release(self, firing: Firing) -> None:
        self._slots.discard(firing)
        lane = self._lanes.get(firing.key)
        if lane is not None:
            lane.active.remove(firing)
            self._promote(lane)
            self._tidy(firing.key)

    def _promote(self, lane: Lane) -> None:
        if lane.active:
            return
        if lane.nested:
            firing = lane.nested.popleft()
            self._nested_waiting.remove(firing)
            self._take(firing, lane, slot=False)
            self._to_begin.append(firing)
        elif lane.queue and lane.offered is None:
            self._offer(lane.queue.popleft(), lane)

    def _withdraw(self, firing: Firing) -> None:
        lane = self._lanes.get(firing.key)
        if firing in self._nested_waiting:
            self._nested_waiting.remove(firing)
            assert lane is not None
            lane.nested.remove(firing)
            return
        self._waiting -= 1
        if lane is None or lane.offered is firing:
            self._ready.remove(firing)
            if lane is not None:
                lane.offered = None
                self._promote(lane)
        else:
            lane.queue.remove(firing)
        self._tidy(firing.key)

    def _begin(self) -> None:
        # A firing may end while it begins and let others begin: one loop for all of them, or a long queue of synchronous ones
        # would nest as deeply as it is long.
        if self._beginning:
            return
        self._beginning = True
        try:
            while True:
                while self._ready and self._has_slot():
                    firing = self._ready.popleft()
                    lane = self._lanes.get(firing.key)
                    if lane is not None:
                        lane.offered = None
                        if lane.active:
                            # a nested firing has passed it while it waited for its slot
                            lane.queue.appendleft(firing)
                            continue
                    self._waiting -= 1
                    self._take(firing, lane, slot=True)
                    self._to_begin.append(firing)
                if not self._to_begin:
                    return
                self._to_begin.popleft().begin_later()
        finally:
            self._beginning = False

    def _would_deadlock(self, ancestors: Iterable[Firing], holders: Iterable[Firing]) -> bool:
        # Whether one of the holders is an ancestor, or waits through a nested firing of its own for a key that leads to one.
        wanted = set(ancestors)
        seen: set[Firing] = set()
        reach = list(holders)
        while reach:
            holder = reach.pop()
            if holder in wanted:
                return True
            if holder in seen:
                continue
            seen.add(holder)
            for waiting in self._nested_waiting:
                if holder in waiting.ancestors():
                    reach.extend(self._lanes[waiting.key].active)
        return False


class _Key:
    """A key by value, unhashable values included: those of one type share a bucket and are compared."""

    __slots__ = ("_hash", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self._hash = hash(value) if is_hashable(value) else hash(type(value))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and same(self.value, other.value)
