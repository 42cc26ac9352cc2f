"""Which deliveries are acknowledged, and how."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_evproc.amqp._acks import Acknowledger


class Broker:
    """The broker's side: what it has not heard of yet, and what it would close the channel for."""

    def __init__(self) -> None:
        self.said: list[tuple[int, bool]] = []
        self.outstanding: list[int] = []

    def acknowledge(self, tag: int, multiple: bool) -> None:
        self.said.append((tag, multiple))
        assert tag in self.outstanding, "unknown delivery tag"
        self.outstanding = [other for other in self.outstanding if other != tag and not (multiple and other < tag)]


@pytest.fixture
def broker() -> Broker:
    return Broker()


def deliver(broker: Broker, acks: Acknowledger, *tags: int) -> None:
    for tag in tags:
        broker.outstanding.append(tag)
        acks.arrived(tag)


def test_what_is_finished_in_order_is_acknowledged_by_one_word(broker: Broker) -> None:
    acks = Acknowledger(broker.acknowledge)
    deliver(broker, acks, 1, 2, 3, 4)
    for tag in (2, 1, 3):
        acks.finished(tag)
    assert broker.said == []
    acks.flush()
    assert broker.said == [(3, True)]
    assert len(acks) == 1
    acks.flush()
    assert broker.said == [(3, True)]


def test_what_is_finished_behind_one_that_is_not_is_acknowledged_by_itself(broker: Broker) -> None:
    acks = Acknowledger(broker.acknowledge)
    deliver(broker, acks, 1, 2, 3, 4, 5)
    for tag in (5, 1, 3):
        acks.finished(tag)
    acks.flush()
    assert broker.said == [(1, True), (5, False), (3, False)]
    assert broker.outstanding == [2, 4]
    acks.finished(2)
    acks.flush()
    # Not 3: the broker has forgotten it, and would not know it.
    assert broker.said[3:] == [(2, True)]
    acks.finished(4)
    acks.flush()
    assert broker.outstanding == []
    assert len(acks) == 0


def test_a_delivery_that_was_given_back_does_not_hold_up_others(broker: Broker) -> None:
    acks = Acknowledger(broker.acknowledge)
    deliver(broker, acks, 1, 2, 3)
    acks.finished(2)
    broker.outstanding.remove(1)
    acks.forget(1)
    acks.flush()
    assert broker.said == [(2, True)]
    assert broker.outstanding == [3]


@pytest.mark.parametrize("answered", ["acknowledged", "given back", "never delivered"])
def test_nothing_is_answered_twice(broker: Broker, answered: str) -> None:
    acks = Acknowledger(broker.acknowledge)
    deliver(broker, acks, 1, 2)
    if answered == "acknowledged":
        acks.finished(1)
        acks.flush()
    elif answered == "given back":
        broker.outstanding.remove(1)
        acks.forget(1)
    said = len(broker.said)
    tag = 99 if answered == "never delivered" else 1
    acks.finished(tag)
    acks.finished(tag)
    acks.flush()
    acks.forget(tag)
    acks.flush()
    assert len(broker.said) == said
    assert 2 in broker.outstanding


@given(st.data())
def test_whatever_the_order_everything_finished_is_acknowledged_and_nothing_else(data: st.DataObject) -> None:
    broker = Broker()
    acks = Acknowledger(broker.acknowledge)
    arrived, unfinished, answered = 0, list[int](), set[int]()
    for action in data.draw(st.lists(st.sampled_from(["arrive", "arrive", "finish", "finish", "forget", "flush"]), max_size=60)):
        if action == "arrive":
            arrived += 1
            deliver(broker, acks, arrived)
            unfinished.append(arrived)
        elif action == "flush":
            acks.flush()
            assert set(broker.outstanding) == set(range(1, arrived + 1)) - answered
            assert len(acks) == len(unfinished)
        elif unfinished:
            tag = data.draw(st.sampled_from(unfinished))
            unfinished.remove(tag)
            answered.add(tag)
            if action == "finish":
                acks.finished(tag)
            else:
                broker.outstanding.remove(tag)
                acks.forget(tag)
