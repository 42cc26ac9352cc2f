"""Who holds how much of which resource pool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ._rows import HoldRow


class Pools:
    """
    The resource pools of a run.

    What is free follows from what is held, and that from rows: nothing can leak.
    """

    def __init__(self, limits: Mapping[str, int], foreign: Mapping[str, int]) -> None:
        """
        :param limits: pool name to limit.
        :param foreign: pool name to what other runs hold.
        """
        self._limits = dict(limits)
        self._used = {name: foreign.get(name, 0) for name in limits}
        # (step, sequence) -> pool -> amount
        self._holds: dict[tuple[str, str], dict[str, int]] = {}
        self.changed: dict[tuple[str, str, str], HoldRow] = {}

    def restore(self, holds: Iterable[HoldRow]) -> None:
        """Take up what the run held."""
        for hold in holds:
            self._holds.setdefault((hold.step, hold.sequence), {})[hold.pool] = hold.amount
            self._used[hold.pool] = self._used.get(hold.pool, 0) + hold.amount

    def free(self, pool: str) -> int:
        """How much of a pool is free."""
        return self._limits.get(pool, 0) - self._used.get(pool, 0)

    def has(self, key: tuple[str, str]) -> bool:
        """Whether a task holds anything."""
        return bool(self._holds.get(key))

    def take(self, key: tuple[str, str], wanted: Mapping[str, int]) -> None:
        """Give a task what it wants; all of it is free."""
        held = self._holds.setdefault(key, {})
        for pool, amount in wanted.items():
            self._set(key, held, pool, held.get(pool, 0) + amount)

    def give_back_all(self, key: tuple[str, str]) -> None:
        """A task gives back all that it holds."""
        held = self._holds.get(key, {})
        for pool in tuple(held):
            self._set(key, held, pool, 0)

    def give_back_everything(self) -> None:
        """All tasks give back all that they hold, those that have ended included."""
        for key in tuple(self._holds):
            self.give_back_all(key)

    def give_back(self, key: tuple[str, str], amounts: Mapping[str, int]) -> None:
        """A task gives back so much of what it, or an earlier task of its sequence, holds."""
        holders = [key, *(other for other in self._holds if other[1] == key[1] and other != key)]
        for pool, amount in amounts.items():
            for holder in holders:
                held = self._holds.get(holder, {})
                part = min(amount, held.get(pool, 0))
                if part:
                    self._set(holder, held, pool, held[pool] - part)
                    amount -= part

    def _set(self, key: tuple[str, str], held: dict[str, int], pool: str, amount: int) -> None:
        self._used[pool] = self._used.get(pool, 0) + amount - held.get(pool, 0)
        if amount:
            held[pool] = amount
        else:
            held.pop(pool, None)
            if not held:
                self._holds.pop(key, None)
        self.changed[pool, *key] = HoldRow(pool, *key, amount)
