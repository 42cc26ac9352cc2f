"""
The way to the broker is cut at every step of every conversation, or leads nowhere: all comes back by itself, and stops when told.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import LogLevel, capturedLogs

from tests.amqp.broker import OwnBroker
from tests.amqp.kill.proxy import Hurried, Proxy
from tests.amqp.kill.world import Happenings
from twisted_evproc.amqp import AMQPTransport, StateChange
from twisted_evproc.amqp._channel import BrokerChannel
from twisted_evproc.amqp._connection import BrokerConnection
from twisted_evproc.errors import TransportError, Unroutable

#: Seconds of the transport in one of the tests.
HURRY = 20.0


def unroutable(failure: Any) -> None:
    _ = failure.trap(Unroutable)


def not_sent(failure: Any) -> None:
    _ = failure.trap(TransportError)


class Place:
    """A virtual host of the broker behind a proxy."""

    def __init__(self, broker: OwnBroker, vhost: str, exchange: str) -> None:
        self._broker = broker
        self._vhost = vhost
        self._exchange = exchange
        self.happenings = Happenings()
        self.proxy = Proxy(self.happenings, broker.port)
        self.got: list[Any] = []

    def transport(self, **options: Any) -> AMQPTransport:
        url = self._broker.url(self._vhost).replace(f":{self._broker.port}/", f":{self.proxy.port}/")
        # The broker sends its heartbeats by its own clock: those are not what these tests are about.
        options = {"heartbeat": 600, "clock": Hurried(HURRY), "publish_timeout": None, "connect_timeout": 100, **options}
        transport = AMQPTransport(url, exchange=self._exchange, **options)
        transport.dispatcher.add_event_handler(self._changed, "during")
        return transport

    def _changed(self, change: StateChange) -> None:
        self.happenings.changed()

    def handle(self, event: Any) -> None:
        self.got.append(event)
        self.happenings.changed()

    async def came(self, event: Any) -> None:
        await self.happenings.until(lambda: event in self.got)


@pytest.fixture
def place(broker: OwnBroker, vhost: str, exchange: str) -> Iterator[Place]:
    place = Place(broker, vhost, exchange)
    yield place
    _ = pytest_twisted.blockon(place.proxy.close())


@pytest.fixture
def quiet() -> Iterator[None]:
    """Nothing that happens here is a defect."""
    with capturedLogs() as events:
        yield
    loud = [event for event in events if event.get("log_level") in {LogLevel.critical, LogLevel.error}]
    assert not loud, [str(event.get("log_failure") or event) for event in loud]


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("purpose", ["publish", "consume"])
@pytest_twisted.ensureDeferred
async def test_cut_at_every_step_of_subscribing_and_publishing(place: Place, purpose: str) -> None:
    number = 0
    while True:
        number += 1
        transport = place.transport()
        place.proxy.cut_instead_of(number, purpose)
        await transport.start()
        subscription = await transport.subscribe(f"group-{number}", place.handle, role=f"{number}", level=1, retry_delays=(1,))
        assert subscription.active
        event_id = await transport.publish(number, role=f"{number}", level=1)
        await place.came(number)
        with pytest.raises(Unroutable):
            await transport.publish(number, role=f"{number}", level=2)
        assert event_id
        cut = place.proxy.cut_at is None
        place.proxy.cut_instead_of(None, "")
        await transport.stop()
        await place.happenings.until(lambda: not place.proxy.clients)
        if not cut:
            break
    # The handshake alone has four frames.
    assert number > {"publish": 8, "consume": 25}[purpose]
    print(f"{purpose}: cut at {number - 1} frames")


@pytest.mark.usefixtures("quiet")
@pytest_twisted.ensureDeferred
async def test_cut_at_every_step_of_a_change(place: Place) -> None:
    transport = place.transport()
    await transport.start()
    subscription = await transport.subscribe("group", place.handle, role="0", level=1)
    number = 0
    cut = True
    while cut:
        number += 1
        place.proxy.cut_instead_of(number, "consume")
        # Now on the first step of the topology, now on the second one.
        spec, old = ({"role": f"{each}", **({"level": 1} if each % 2 else {})} for each in (number, number - 1))
        await subscription.change(**spec)
        assert subscription.match_spec == spec
        cut = place.proxy.cut_at is None
        place.proxy.cut_instead_of(None, "")
        await transport.publish(number, role=f"{number}", level=1)
        await place.came(number)
        with pytest.raises(Unroutable):
            await transport.publish("old", role=old["role"], level=1)
    assert number > 10
    assert "old" not in place.got
    await transport.stop()


@pytest_twisted.ensureDeferred
async def test_two_members_that_change_the_match_spec_at_once(place: Place) -> None:
    transports = [place.transport(), place.transport()]
    members = []
    for transport in transports:
        await transport.start()
        members.append(await transport.subscribe("group", place.handle, role="0"))
    changes = [member.change(role=f"{member_number}-{each}") for each in range(5) for member_number, member in enumerate(members)]
    await gatherResults(changes)
    taken = []
    for role in ["0", *(f"{member}-{each}" for member in range(2) for each in range(5))]:
        try:
            await transports[0].publish(role, role=role)
        except Unroutable:
            continue
        taken.append(role)
    # Whoever came last, and nothing else; each of the members ends with its own last one.
    assert taken in (["0-4"], ["1-4"])
    assert [member.match_spec for member in members] == [{"role": "0-4"}, {"role": "1-4"}]
    for transport in transports:
        await transport.stop()


@pytest_twisted.ensureDeferred
async def test_whoever_dies_while_it_changes_the_match_spec_keeps_nobody_from_it(place: Place) -> None:
    first, second = place.transport(), place.transport()
    await first.start()
    member = await first.subscribe("group", place.handle, role="0")
    await second.start()
    other = await second.subscribe("group", place.handle, role="0")
    place.proxy.cut_instead_of(8, "consume")
    abandoned = member.change(role="1")
    await place.happenings.until(lambda: place.proxy.frames >= 6)
    changing = other.change(role="2")
    await gatherResults([changing, abandoned])
    await second.publish("there", role=member.match_spec["role"]).addErrback(unroutable)
    await other.change(role="3")
    await second.publish("three", role="3")
    await place.came("three")
    await first.stop()
    await second.stop()


@pytest_twisted.ensureDeferred
async def test_a_queue_that_is_deleted_is_declared_again(place: Place, broker: OwnBroker, vhost: str, exchange: str) -> None:
    transport = place.transport()
    await transport.start()
    subscription = await transport.subscribe("group", place.handle, role="a")
    broker.ctl("delete_queue", "-p", vhost, f"{exchange}.group")
    while True:
        try:
            await transport.publish("again", role="a")
        except Unroutable:
            continue
        break
    await place.came("again")
    assert subscription.active
    await transport.stop()


@pytest_twisted.ensureDeferred
async def test_a_channel_that_the_broker_closes_is_opened_again(place: Place) -> None:
    transport = place.transport()
    await transport.start()
    subscription: Any = await transport.subscribe("group", place.handle, role="a")
    channel = subscription._channel
    # There is no such delivery.
    channel.acknowledge(4711)
    await channel.closed
    await transport.publish("again", role="a")
    await place.came("again")
    assert subscription.active
    await transport.stop()


@pytest_twisted.ensureDeferred
async def test_a_connection_that_is_half_open_is_found(place: Place) -> None:
    transport = place.transport(heartbeat=1, clock=None, window=10_000)
    await transport.start()
    await transport.subscribe("group", place.handle, role="a")
    await transport.publish("first", role="a")
    await place.came("first")
    connections: list[Any] = [link.connection for link in transport._links.values()]
    assert len(connections) == len(place.proxy.clients) == 2
    for client in place.proxy.clients:
        client.freeze()
    # More than the system takes for a peer that reads nothing: the rest stays with us, unsent.
    publishing: list[Any] = [transport.publish("x" * 1_000_000, role="b").addErrback(unroutable) for _ in range(20)]
    publishing.append(transport.publish("second", role="a"))
    await place.happenings.until(lambda: transport.state == "down")
    assert "is dead: nothing was heard from it" in transport.reason
    await gatherResults(publishing)
    await place.came("second")
    assert not any(connection.transport.connected for connection in connections)
    await transport.stop()


@pytest_twisted.ensureDeferred
async def test_a_broker_that_does_not_answer(place: Place) -> None:
    place.proxy.silent = True
    transport = place.transport(connect_timeout=2)
    await transport.start()
    subscribing = transport.subscribe("group", place.handle, role="a")
    await place.happenings.until(lambda: transport.state == "down")
    assert "did not answer in 2 s" in transport.reason
    place.proxy.silent = False
    place.proxy.cut()
    assert (await subscribing).active
    await transport.stop()


async def unanswered(place: Place, transport: AMQPTransport, subscribing: Deferred[Any]) -> None:
    place.proxy.silent = True
    place.proxy.cut()
    await transport.start()
    await place.happenings.until(lambda: len(place.proxy.clients) >= 2)


async def absent(place: Place, transport: AMQPTransport, subscribing: Deferred[Any]) -> None:
    place.proxy.silent = True
    await transport.start()
    await place.happenings.until(lambda: transport.state == "down")


async def half_open(place: Place, transport: AMQPTransport, subscribing: Deferred[Any]) -> None:
    await transport.start()
    await subscribing
    await place.happenings.until(lambda: transport.state == "up")
    for client in place.proxy.clients:
        client.freeze()


async def half_subscribed(place: Place, transport: AMQPTransport, subscribing: Deferred[Any]) -> None:
    place.proxy.cut_instead_of(1000, "consume")
    await transport.start()
    await place.happenings.until(lambda: place.proxy.frames >= 10)


async def cut(place: Place, transport: AMQPTransport, subscribing: Deferred[Any]) -> None:
    await half_open(place, transport, subscribing)
    place.proxy.cut()


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("state", [unanswered, absent, half_open, half_subscribed, cut])
@pytest_twisted.ensureDeferred
async def test_stopping_ends_in_any_state(place: Place, state: Any) -> None:
    transport = place.transport(connect_timeout=2 if state is absent else 100)
    before = timers()
    subscribing = transport.subscribe("group", place.handle, role="a")
    subscribing.addErrback(not_sent)
    await state(place, transport, subscribing)
    publishing = transport.publish("last", role="b").addErrback(not_sent)
    await transport.stop(timeout=1)
    assert transport.state == "stopped"
    assert publishing.called
    place.proxy.cut()
    await place.happenings.until(lambda: not place.proxy.clients)
    assert timers() == before
    # And it can be used again.
    place.proxy.silent = False
    place.proxy.cut_instead_of(None, "")
    await transport.start()
    await subscribing
    while True:
        try:
            await transport.publish("again", role="a")
        except Unroutable:
            continue
        break
    await place.came("again")
    await transport.stop()


def timers() -> list[str]:
    """What is to happen, and not at once."""
    return [str(call) for call in reactor.getDelayedCalls() if call.getTime() > reactor.seconds()]


def living() -> dict[str, int]:
    gc.collect()
    kinds = [type(each) for each in gc.get_objects()]
    return {kind.__name__: kinds.count(kind) for kind in (BrokerChannel, BrokerConnection, Deferred)}


@pytest_twisted.ensureDeferred
async def test_reconnecting_leaves_nothing_behind(place: Place) -> None:
    transport = place.transport()
    await transport.start()
    subscription = await transport.subscribe("group", place.handle, role="a")
    found = []
    for number in range(51):
        place.proxy.cut()
        await transport.publish(number, role="a")
        await place.came(number)
        # Both connections are back.
        await place.happenings.until(lambda: transport.state == "up" and subscription.active)
        if number % 50 == 0:
            await place.happenings.until(lambda: len(place.proxy.clients) == 2)
            found.append((living(), len(timers())))
    assert found[0] == found[1]
    await transport.stop()
