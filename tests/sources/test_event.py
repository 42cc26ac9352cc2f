"""The event on its way through a queue."""

from __future__ import annotations

import time
from typing import Any

import attrs
import pytest

from twisted_evproc.sources import EventGenerator, PrintEventHandler, QueuedEvent


class Broken:
    def __repr__(self) -> str:
        raise ValueError("planned")


def test_it_keeps_what_it_is_made_of_and_says_when_that_was() -> None:
    generator, handler = EventGenerator(), PrintEventHandler()
    before = time.time()
    event = QueuedEvent(generator, handler, {"a": 1})

    assert (event.originator, event.handler, event.data) == (generator, handler, {"a": 1})
    assert before <= event.timestamp <= time.time()


def test_its_text_says_where_it_comes_from_when_and_what_it_is() -> None:
    assert str(QueuedEvent(EventGenerator(), None, [1, 2], timestamp=0.25)) == (
        "event of EventGenerator at 1970-01-01T00:00:00.250+00:00: [1, 2]"
    )


def test_long_data_is_cut_in_its_text() -> None:
    assert len(str(QueuedEvent(None, None, "x" * 1_000_000))) < 300


@pytest.mark.parametrize("timestamp", [float("nan"), float("inf"), 1e300, -1e300, None, "soon"])
def test_a_nonsensical_time_does_not_break_its_text(timestamp: Any) -> None:
    assert "7" in str(QueuedEvent("here", None, 7, timestamp=timestamp))


def test_broken_data_does_not_break_its_text() -> None:
    assert "Broken" in str(QueuedEvent(Broken(), None, Broken()))


def test_it_is_frozen_and_equal_to_itself_alone() -> None:
    event = QueuedEvent(None, None, 1, timestamp=1)

    assert event != QueuedEvent(None, None, 1, timestamp=1)
    assert len({event, event}) == 1
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.data = 2  # type: ignore[misc]  # that it fails is the point
