"""
Do RabbitMQ, the transport in memory and a dispatcher choose the same handlers?

Random match-specs and details, the same ones every time; ``EVPROC_SEED=n`` tries others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock

from tests.amqp.worlds import PATIENCE
from twisted_evproc import EventDispatcher
from twisted_evproc._reactor import default_clock
from twisted_evproc.amqp import AMQPTransport, MemoryTransport, _topology
from twisted_evproc.amqp._channel import BrokerChannel, properties_of
from twisted_evproc.amqp._topology import Topology
from twisted_evproc.amqp._wire import WireSpec
from twisted_evproc.matching import ANY, one_of, present
from twisted_evproc.testing import result_now

KEYWORDS = ("first", "second", "third", "x")
TEXTS = ("", "a", "A", "1", "0", "True", "false", "5", "a.b", "#", "*", "é %", "i.5", "-", "x" * 141, "x" * 140 + "y")
#: In a process 1 == True, on the wire it is not: the three can be compared only where nothing of both kinds is there.
PLAIN = (*TEXTS, 5, -7, 2, 2**40, -(2**63), True, False)
#: For the two that look at types.
MIXED = ("1", "0", "True", "", 0, 1, True, False, 5)

ROUNDS, SPECS, EVENTS = 10, 50, 40
SEEDS = (1, 2, 3, 4) if "EVPROC_SEED" not in os.environ else (int(os.environ["EVPROC_SEED"]),)


@attrs.frozen
class Case:
    """
    What is decided at once.

    :ivar specs: match-specs.
    :ivar events: the details of events.
    """

    name: str
    route_by: str | None
    specs: Sequence[dict[str, Any]]
    events: Sequence[dict[str, Any]]


def cases(seed: int, rounds: int, values: Sequence[Any]) -> Iterator[Case]:
    random = Random(seed)
    for number in range(rounds):
        # A few values a round, so that they meet.
        few = random.sample(values, min(6, len(values)))
        yield Case(
            f"EVPROC_SEED={seed}, round {number}",
            "first" if number % 2 else None,
            [{}, *(spec_of(random, few) for _ in range(SPECS - 1))],
            [{}, *(details_of(random, few) for _ in range(EVENTS - 1))],
        )


def spec_of(random: Random, values: Sequence[Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    for keyword in KEYWORDS:
        kind = random.choice(("left out", "left out", "value", "value", "one_of", "present", "ANY", "None"))
        if kind == "value":
            spec[keyword] = random.choice(values)
        elif kind == "one_of":
            spec[keyword] = one_of(*random.sample(values, random.randint(1, 3)))
        elif kind != "left out":
            spec[keyword] = {"present": present, "ANY": ANY, "None": None}[kind]
    return spec if WireSpec(spec).number_of_alternatives <= 6 else spec_of(random, values)


def details_of(random: Random, values: Sequence[Any]) -> dict[str, Any]:
    details = {keyword: random.choice((*values, *values, None)) for keyword in KEYWORDS}
    return {keyword: value for keyword, value in details.items() if random.random() < 0.8}


#: For each match-spec, the numbers of the events that it gets.
Chosen = list[list[int]]


def by_dispatcher(case: Case) -> Chosen:
    dispatcher = EventDispatcher(KEYWORDS)
    _ = dispatcher.start()
    chosen: Chosen = [[] for _ in case.specs]
    for spec, heard in zip(case.specs, chosen, strict=True):
        _ = dispatcher.add_event_handler(heard.append, "during", **spec)
    for number, details in enumerate(case.events):
        _ = result_now(dispatcher.fire_event(number, **details))
    return chosen


def by_memory(case: Case) -> Chosen:
    clock = Clock()
    transport = MemoryTransport(exchange="agreement", route_by=case.route_by, clock=clock, unroutable="drop")
    _ = transport.start()
    chosen: Chosen = [[] for _ in case.specs]
    for number, (spec, heard) in enumerate(zip(case.specs, chosen, strict=True)):
        _ = transport.subscribe(f"g{number}", heard.append, **spec)
    clock.advance(0)
    published = [transport.publish(number, **details) for number, details in enumerate(case.events)]
    clock.advance(0)
    for each in published:
        _ = result_now(each)
    return chosen


class Broker:
    """Binds queues as subscriptions are bound, and asks RabbitMQ."""

    def __init__(self, url: str, exchange: str) -> None:
        self._url = url
        self._exchange = exchange
        self._round = 0

    async def chosen(self, case: Case) -> Chosen:
        self._round += 1
        exchange = f"{self._exchange}_{self._round}"
        transport = AMQPTransport(self._url, exchange=exchange, route_by=case.route_by, unroutable="drop")
        await transport.start()
        try:
            await transport.publish("up")
            connection = transport._connection("publish")
            assert connection is not None
            channel = BrokerChannel(await connection.channel())
            return await self._ask(case, transport, channel, Topology(exchange, case.route_by))
        finally:
            await transport.stop(1)

    async def _ask(self, case: Case, transport: AMQPTransport, channel: BrokerChannel, topology: Topology) -> Chosen:
        chosen: Chosen = [[] for _ in case.specs]
        await channel.confirm(lambda _: None)
        ends = [await self._bound(channel, topology, spec, heard) for spec, heard in zip(case.specs, chosen, strict=True)]
        await gatherResults([transport.publish(number, **details) for number, details in enumerate(case.events)])
        for queue, _ in ends:
            # What was confirmed is in the queues before it.
            channel.publish("", queue, b"end", properties_of({}, "", ""))
        await gatherResults([end for _, end in ends]).addTimeout(PATIENCE, default_clock(None))
        return chosen

    async def _bound(
        self, channel: BrokerChannel, topology: Topology, spec: dict[str, Any], heard: list[int]
    ) -> tuple[str, Deferred[None]]:
        queue = f"{topology.exchange}.{id(heard)}"
        end: Deferred[None] = Deferred()

        def hear(_: Any, __: Any, ___: Any, body: bytes) -> None:
            if body == b"end":
                end.callback(None)
            else:
                heard.append(int(body))

        # For this connection alone.  What is called next waits for the answer.
        channel.raw.queue_declare(queue, exclusive=True, callback=lambda _: None)
        calls: list[Deferred[Any]] = []
        for route in topology.routes(queue, WireSpec(spec)):
            if route.exchange is not None:
                calls.append(channel.declare_exchange(route.exchange))
            calls += [channel.bind(binding) for binding in route.bindings]
        calls.append(channel.consume(queue, hear))
        await gatherResults(calls)
        return queue, end


def disagreement(case: Case, **choices: Chosen) -> str:
    """Where they choose differently, in words; empty where they do not."""
    for number, spec in enumerate(case.specs):
        found = {name: chosen[number] for name, chosen in choices.items()}
        if len({tuple(sorted(events)) for events in found.values()}) > 1:
            events = [event for each in found.values() for event in each]
            details = [case.events[event] for event in sorted(set(events)) if events.count(event) < len(found)]
            return f"{case.name}, route_by={case.route_by!r}: {spec} matches for some of them, not for others, {details}; {found}"
    return ""


@pytest.fixture
def broker_choice(amqp_url: str, exchange: str) -> Broker:
    return Broker(amqp_url, exchange)


@pytest.mark.parametrize("seed", SEEDS)
@pytest_twisted.ensureDeferred
async def test_all_three_agree(broker_choice: Broker, seed: int) -> None:
    matched = 0
    for case in cases(seed, ROUNDS, PLAIN):
        broker = await broker_choice.chosen(case)
        assert disagreement(case, dispatcher=by_dispatcher(case), memory=by_memory(case), broker=broker) == ""
        matched += sum(map(len, broker))
    # They would agree on nothing, too.
    assert ROUNDS * SPECS * EVENTS / 20 < matched < ROUNDS * SPECS * EVENTS / 2


@pytest.mark.parametrize("seed", SEEDS)
@pytest_twisted.ensureDeferred
async def test_types_are_told_apart(broker_choice: Broker, seed: int) -> None:
    for case in cases(seed, 2, MIXED):
        assert disagreement(case, memory=by_memory(case), broker=await broker_choice.chosen(case)) == ""


@pytest_twisted.ensureDeferred
async def test_a_fault_is_found(broker_choice: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_topology, "word_of", lambda value: f"s.{value}")
    found = [disagreement(case, memory=by_memory(case), broker=await broker_choice.chosen(case)) for case in cases(1, 2, MIXED)]
    # It shows only where a keyword routes.
    assert found[0] == ""
    assert found[1].startswith("EVPROC_SEED=1, round 1, route_by='first': {")
