"""Remembering what was handled: by which key, and in memory."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from twisted_evproc.amqp import RecentEvents
from twisted_evproc.amqp._dedupe import key_of
from twisted_evproc.errors import ConfigurationError
from twisted_evproc.interfaces import IDeduplicator

PARTS = st.text(st.sampled_from("a %20\0\udc80\N{SNOWMAN}"), max_size=4) | st.sampled_from(["x" * 300, "x" * 600])


@given(PARTS, PARTS, PARTS, PARTS)
def test_keys_are_as_different_as_sources_with_ids(source: str, event_id: str, other_source: str, other_id: str) -> None:
    same = (source, event_id) == (other_source, other_id)
    assert (key_of(source, event_id) == key_of(other_source, other_id)) is same


@given(PARTS, PARTS)
def test_a_table_takes_every_key(source: str, event_id: str) -> None:
    key = key_of(source, event_id)
    assert 0 < len(key) <= 512 and key.isprintable()


def test_keys_that_a_person_can_read() -> None:
    assert key_of("/shop", "17") == "/shop 17"


def test_it_provides_the_interface() -> None:
    assert verifyObject(IDeduplicator, RecentEvents(1))


def test_scopes_are_apart() -> None:
    recent = RecentEvents(10)
    recent.open()
    recent.remember("g", "1")
    assert [recent.seen(*each) for each in (("g", "1"), ("h", "1"), ("g", "2"))] == [True, False, False]
    recent.close()


def test_the_one_asked_for_longest_ago_is_forgotten() -> None:
    recent = RecentEvents(2)
    recent.remember("g", "1")
    recent.remember("g", "2")
    assert recent.seen("g", "1")
    recent.remember("g", "3")
    assert [recent.seen("g", each) for each in "123"] == [True, False, True]


def test_remembering_twice_takes_no_room() -> None:
    recent = RecentEvents(2)
    for event_id in "1222":
        recent.remember("g", event_id)
    assert [recent.seen("g", each) for each in "12"] == [True, True]


@pytest.mark.parametrize("size", [0, -1, None, True, 1.5])
def test_its_size_is_a_positive_number(size: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"the number of events to remember=.* has to be a whole number, 1 or more"):
        RecentEvents(size)
