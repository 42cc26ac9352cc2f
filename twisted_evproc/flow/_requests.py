"""Flow events that a program triggers while no engine takes them, and those that it triggered in the run before."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ._program import Program
from ._rows import Snapshot
from ._run import OUTSIDE, PROGRAM, SCHEDULE, UNNUMBERED


class Requests:
    """Flow events that are to happen once the flow runs, as ``(event, sequence)``."""

    def __init__(self) -> None:
        # As (event, sequence, origin).  They are kept until the run has ended, with their sequences: for a second trial, should
        # this one fail.
        self._waiting: list[tuple[str, str | None, str]] = []
        self._replayed = 0
        # Event to the sequences that it has in the run already, for requests without one.
        self._there: dict[str, Iterator[str]] = {}
        # Those of earlier runs of this object, which a recovery repeats, and the run that they belong to.
        self._fulfilled: list[tuple[str, str, str]] = []
        self._fulfilled_in: str | None = None
        # Sequences of requests of earlier runs of this object.
        self._numbered: set[str] = set()

    def __iter__(self) -> Iterator[tuple[str, str | None]]:
        return ((event, sequence) for event, sequence, _ in self._waiting)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, event: str, sequence: str | None) -> None:
        """
        One more.

        :param sequence: ``None`` for the next free one of the run.
        """
        self._waiting.append((event, sequence, UNNUMBERED if sequence is None else PROGRAM))

    def begin(self, snapshot: Snapshot, recovery: int) -> None:
        """
        A run takes them up, from the first.

        :param snapshot: the run as it was taken.
        :param recovery: the one that it works under.
        """
        self._replayed = 0
        # A program that is continued repeats what it triggered without a sequence: the first such trigger of a flow event is the
        # first one that is there, and so on.
        named = set(self)
        found: dict[str, list[str]] = {}
        for trigger in sorted(snapshot.triggers, key=lambda trigger: trigger.at):
            here = trigger.recovery == recovery and trigger.origin == UNNUMBERED
            if here and (trigger.event, trigger.sequence) not in named and trigger.sequence not in self._numbered:
                found.setdefault(trigger.event, []).append(trigger.sequence)
        self._there = {event: iter(sequences) for event, sequences in found.items()}

    @property
    def are_replayed(self) -> bool:
        """Whether the run has them all; more may come while others have their turn."""
        return self._replayed == len(self._waiting)

    def replay(self, trigger: Callable[[str, str | None, str], str]) -> Iterator[None]:
        """
        Let those happen that the run has not yet.

        :param trigger: lets a flow event happen, by its name, sequence and origin, and gives its sequence.
        :return: take all of it: each item is a place to let others have their turn.
        """
        while self._replayed < len(self._waiting):
            event, sequence, origin = self._waiting[self._replayed]
            if sequence is None:
                sequence = next(self._there.get(event, iter(())), None)
            self._waiting[self._replayed] = event, trigger(event, sequence, origin), origin
            self._replayed += 1
            yield

    def end(self, run_id: str) -> None:
        """The run has ended, and had all that were replayed."""
        self._fulfilled = self.fulfilled(run_id)
        self._fulfilled_in = run_id
        replayed = self._waiting[: self._replayed]
        self._fulfilled += [(event, sequence, origin) for event, sequence, origin in replayed if sequence is not None]
        self._numbered |= {sequence for _, sequence, _ in self._fulfilled}
        del self._waiting[: self._replayed]

    def fulfilled(self, run_id: str) -> list[tuple[str, str, str]]:
        """Those that a run has had from this object before, as ``(event, sequence, origin)``."""
        return self._fulfilled if run_id == self._fulfilled_in else []


def from_outside(program: Program, snapshot: Snapshot, recovery: int | None) -> Iterator[tuple[str, str, str]]:
    """
    What happened in a recovery without the program: the one after it repeats that, since the program will not.

    :return: ``(event, sequence, origin)`` of each.
    """
    for trigger in snapshot.triggers:
        if trigger.recovery == recovery and trigger.origin in (OUTSIDE, SCHEDULE) and trigger.event in program.events:
            yield trigger.event, trigger.sequence, trigger.origin
