"""What the events of a run came to, in numbers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
from twisted.python.failure import Failure

from ..dispatch import Outcome

#: Stands in for a handler's name where an event was refused before any handler was called.
REFUSED = "(refused)"


@attrs.define
class Tally:
    """
    Counts of one run.

    :ivar events: events taken.
    :ivar handled: those for which at least one handler was called.
    :ivar unhandled: those that no handler wanted.
    :ivar stopped: those that a handler ended by ``StopProcessing``.
    :ivar cancelled: those given up half-way on request.
    :ivar handler_calls: calls of handlers.
    :ivar skipped: handlers that matched but were not called.
    :ivar failures: how often each handler failed with each class of exception.
    :ivar broken_lines: lines that held no event, or none that the application takes.
    :ivar seconds: how long it took.
    """

    events: int = 0
    handled: int = 0
    unhandled: int = 0
    stopped: int = 0
    cancelled: int = 0
    handler_calls: int = 0
    skipped: int = 0
    failures: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    broken_lines: int = 0
    seconds: float = 0.0

    @property
    def failed(self) -> int:
        """The number of failures."""
        return self.failures.total()

    @property
    def events_per_second(self) -> float:
        """The rate, 0 where no time passed."""
        return self.events / self.seconds if self.seconds else 0.0

    def add(self, outcome: Outcome) -> None:
        """Count an event that was processed."""
        self.events += 1
        if outcome.handled:
            self.handled += 1
        else:
            self.unhandled += 1
        self.stopped += outcome.stopped
        for result in outcome.results:
            if result.skipped:
                self.skipped += 1
                continue
            self.handler_calls += 1
            if result.failure is not None:
                self.failures[result.name, type(result.failure.value).__name__] += 1

    def add_refused(self, failure: Failure) -> None:
        """Count an event that failed as a whole."""
        self.events += 1
        self.unhandled += 1
        self.failures[REFUSED, type(failure.value).__name__] += 1

    def add_cancelled(self) -> None:
        """Count an event that was given up."""
        self.events += 1
        self.cancelled += 1

    def as_json(self) -> dict[str, Any]:
        """The counts under their names; failures by handler, then by exception."""
        failures: dict[str, dict[str, int]] = {}
        for (handler, exception), count in self.failures.items():
            failures.setdefault(handler, {})[exception] = count
        return {
            **{field.name: getattr(self, field.name) for field in attrs.fields(Tally)},
            "failures": failures,
            "seconds": round(self.seconds, 6),
            "events_per_second": round(self.events_per_second, 1),
        }


__all__ = ["REFUSED", "Tally"]
