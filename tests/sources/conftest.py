"""A clock to be advanced, and what was logged."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def logged() -> Iterator[Callable[[], list[str]]]:
    """Gives what the sources have logged by now, each with its failure, if it has one."""
    with capturedLogs() as events:

        def texts() -> list[str]:
            ours = [event for event in events if event.get("log_namespace") == "twisted_evproc.sources"]
            return [f"{formatEvent(event)} {getattr(event.get('log_failure'), 'value', '')!r}" for event in ours]

        yield texts
