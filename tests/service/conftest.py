"""What the tests of services share."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from zope.interface import implementer

from twisted_evproc import IBackgroundUtility


@implementer(IBackgroundUtility)
class Utility:
    """
    Starts and stops when the test says so.

    :ivar calls: what was asked of it; shared with others where the test gives the list.
    """

    def __init__(self, name: str = "utility", calls: list[Any] | None = None) -> None:
        self.name = name
        self.running = False
        self.calls = [] if calls is None else calls
        self.started: Deferred[None] = Deferred()
        self.stopped: Deferred[None] = Deferred()

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def start(self) -> Deferred[None]:
        self.running = True
        self.calls.append(f"start {self.name}")
        self.started = Deferred()
        return self.started

    def stop(self, timeout: float | None = None) -> Deferred[None]:
        self.running = False
        self.calls.append(f"stop {self.name}" + (f" within {timeout}" if timeout else ""))
        self.stopped = Deferred()
        return self.stopped


class Ready(Utility):
    """Starts at once, and stops when the test says so."""

    def start(self) -> Deferred[None]:
        super().start().callback(None)
        return self.started


@pytest.fixture
def utility() -> Utility:
    return Utility()


@pytest.fixture
def make_utility() -> type[Utility]:
    return Utility


@pytest.fixture
def make_ready() -> type[Utility]:
    return Ready
