"""What waits for its time: associations with a delay, and whatever else is due at some moment."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TypeAlias

from ._rows import DelayRow

#: Of a delay: its flow event, what follows from it, and the sequence.
Key: TypeAlias = tuple[str, str, str]


class Delays:
    """
    The delays of a run, each with what is to be done when it is over.

    :ivar changed: rows to commit.
    """

    def __init__(self) -> None:
        self.changed: dict[Key, DelayRow] = {}
        self._rows: dict[Key, DelayRow] = {}
        self._due: list[tuple[float, int, Callable[[float], None], Key | None]] = []
        self._timers = 0

    def __contains__(self, key: Key) -> bool:
        return key in self._rows

    def __getitem__(self, key: Key) -> DelayRow:
        return self._rows[key]

    def restore(self, key: Key, row: DelayRow, act: Callable[[float], None]) -> None:
        """Take up a delay that was begun before."""
        self._rows[key] = row
        if not row.done:
            self._at(row.due, act, key)

    def add(self, key: Key, row: DelayRow, act: Callable[[float], None]) -> None:
        """
        Wait from now on.

        :param act: called with the time when it is over, unless it ends before.
        """
        self._rows[key] = self.changed[key] = row
        self._at(row.due, act, key)

    def end(self, key: Key) -> None:
        """It is over, or nobody is to wait for it any more; where there is none, nothing happens."""
        row = self._rows.get(key)
        if row is not None and not row.done:
            self._rows[key] = self.changed[key] = row._replace(done=True)

    @property
    def pending(self) -> list[DelayRow]:
        """Those that are not over."""
        return [row for row in self._rows.values() if not row.done]

    def at(self, due: float, act: Callable[[float], None]) -> None:
        """Do something else at its time, of which there is no row here."""
        self._at(due, act, None)

    def _at(self, due: float, act: Callable[[float], None], key: Key | None) -> None:
        self._timers += 1
        heapq.heappush(self._due, (due, self._timers, act, key))

    @property
    def next_due(self) -> float | None:
        """When the next thing is due, or ``None``."""
        while self._due and self._is_moot(self._due[0][3]):
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def _is_moot(self, key: Key | None) -> bool:
        return key is not None and self._rows[key].done

    def pass_time(self, now: float) -> None:
        """Do what is due."""
        while self._due and self._due[0][0] <= now:
            _, _, act, _ = heapq.heappop(self._due)
            act(now)

    def stop(self) -> None:
        """Nothing is due any more; what waits stays as it is."""
        self._due.clear()
