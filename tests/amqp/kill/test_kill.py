"""
The broker, consumers and publishers are killed under load: no event that was confirmed is lost, and a repeat has the same ID.

Kills happen after so many events, never after so much time.  The figures are printed.
"""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import gatherResults

from tests.amqp.kill.world import Load, World, id_of, in_words, settle_books
from twisted_evproc.amqp import AMQPTransport
from twisted_evproc.amqp._channel import BrokerChannel, properties_of
from twisted_evproc.amqp._publisher import Message, Publisher
from twisted_evproc.errors import Unroutable

BROKER_KILLS = 10
#: After these kills of the broker a consumer is killed, too; after the last of them while the broker is down.
CONSUMER_KILLS = (1, 3, 5, 7, 8)


@pytest_twisted.ensureDeferred
async def test_nothing_that_was_confirmed_is_lost(world: World, record_property: Any) -> None:
    consumers = [world.consumer(), world.consumer()]
    for consumer in consumers:
        await consumer.ready()
    world.broker.settle()
    # Shorter than the broker is away: some events fail, and may arrive all the same.
    transport = AMQPTransport(world.broker.url(), exchange=world.exchange, publish_timeout=4)
    await transport.start()
    load = Load(world, transport, 200)
    back: list[float] = []
    for kill in range(BROKER_KILLS):
        await load.more(300 + 37 * kill)
        if kill == CONSUMER_KILLS[-1]:
            world.broker.kill()
            consumers[0].kill()
            consumers[0] = world.consumer()
        answered = await world.restart()
        back.append(await world.handled_again(answered))
        if kill in CONSUMER_KILLS[:-1]:
            await world.handled_more(200)
            consumers[kill % 2].kill()
            consumers[kill % 2] = world.consumer()
    await load.more(500)
    # All are back by themselves: each takes its share.
    counts = [len(consumer.notes["h"]) for consumer in consumers]
    await world.happenings.until(
        lambda: all(len(consumer.notes["h"]) > count for consumer, count in zip(consumers, counts, strict=True))
    )
    await load.stop()
    await world.is_empty()
    await transport.stop()
    books = settle_books(load.sent, load.confirmed, world.written("d"), world.written("h"))
    told = f"{books}; {load.failed} failed to be confirmed; consumers back: {in_words(back)}"
    print(f"{BROKER_KILLS} broker kills, {len(CONSUMER_KILLS)} consumer kills: {told}")
    record_property("kills", told)
    assert books.lost == 0
    assert books.confirmed > 0 and books.handled >= books.confirmed
    assert transport.statistics().confirmed == books.confirmed


async def publish(transport: AMQPTransport, world: World, contents: range) -> list[str]:
    """Publishes events, and waits until all are confirmed."""
    published = [transport.publish(each, event_id=id_of(world.exchange, each), role="test") for each in contents]
    ids: list[str] = await gatherResults(published)
    return ids


@pytest_twisted.ensureDeferred
async def test_what_a_killed_consumer_was_handling_is_delivered_again(world: World) -> None:
    slow = world.consumer("hanging")
    await slow.ready()
    transport = AMQPTransport(world.broker.url(), exchange=world.exchange)
    await transport.start()
    sent = await publish(transport, world, range(5))
    await world.happenings.until(lambda: slow.notes["d"])
    slow.kill()
    await world.consumer().ready()
    await world.is_empty()
    await transport.stop()
    books = settle_books(sent, sent, world.written("d"), world.written("h"))
    assert (books.lost, books.handled, books.delivered, books.duplicates) == (0, 5, 6, 0)


@pytest_twisted.ensureDeferred
async def test_a_consumer_that_acknowledges_before_it_handles_is_caught(world: World) -> None:
    careless = world.consumer("careless")
    await careless.ready()
    transport = AMQPTransport(world.broker.url(), exchange=world.exchange)
    await transport.start()
    sent = await publish(transport, world, range(5))
    await world.happenings.until(lambda: len(careless.notes["d"]) >= 3)
    careless.kill()
    await world.consumer().ready()
    await world.is_empty()
    await transport.stop()
    assert settle_books(sent, sent, world.written("d"), world.written("h")).lost >= 2


@pytest_twisted.ensureDeferred
async def test_what_a_killed_publisher_was_told_is_there(world: World) -> None:
    consumer = world.consumer()
    await consumer.ready()
    publisher = world.publisher()
    await world.happenings.until(lambda: len(publisher.notes["c"]) >= 500)
    publisher.kill()
    await world.is_empty()
    confirmed = [note.event_id for note in world.written("c", "publisher")]
    sent = [f"own-{number}" for number in range(len(confirmed) + 102)]
    books = settle_books(sent, confirmed, world.written("d"), world.written("h"))
    assert books.lost == 0 and books.confirmed >= 500 and books.duplicates == 0


class CarelessOutlet:
    """A planted fault: what is sent counts as confirmed."""

    def __init__(self, channel: BrokerChannel, publisher: Publisher, clock: Any) -> None:
        self._channel = channel
        self._publisher = publisher
        self._clock = clock

    def send(self, message: Message, number: int) -> None:
        properties = properties_of(message.headers, message.content_type, message.id)
        self._channel.publish(message.exchange, message.routing_key, message.body, properties)
        self._clock.callLater(0, self._publisher.confirmed, number, False, True)


class CarelessTransport(AMQPTransport):
    async def _ready_to_publish(self, connection: Any) -> None:
        await super()._ready_to_publish(connection)
        self.publisher.attach(CarelessOutlet(BrokerChannel(await connection.channel()), self.publisher, self.clock))


@pytest_twisted.ensureDeferred
async def test_a_publisher_that_does_not_wait_for_confirmations_is_caught(world: World) -> None:
    consumer = world.consumer()
    await consumer.ready()
    world.broker.settle()
    transport = CarelessTransport(world.broker.url(), exchange=world.exchange)
    await transport.start()
    load = Load(world, transport, 500)
    await load.more(2000)
    await world.handled_again(await world.restart())
    await load.stop()
    await world.is_empty()
    await transport.stop()
    books = settle_books(load.sent, load.confirmed, world.written("d"), world.written("h"))
    print(f"without confirmations, 1 broker kill: {books}")
    assert books.lost > 0


def unroutable(failure: Any) -> None:
    _ = failure.trap(Unroutable)


class Patient:
    """A handler that fails until told not to; dead letters and retries are what comes of that."""

    def __init__(self, world: World) -> None:
        self._happenings = world.happenings
        self.failing = True
        self.calls: list[Any] = []
        self.handled: set[Any] = set()

    def __call__(self, event: Any) -> None:
        self.calls.append(event)
        self._happenings.changed()
        if self.failing:
            raise ValueError("not yet")
        self.handled.add(event)
        self._happenings.changed()


@pytest_twisted.ensureDeferred
async def test_retries_and_dead_letters_outlive_the_broker(world: World) -> None:
    transport = AMQPTransport(world.broker.url(), exchange=world.exchange)
    await transport.start()
    transport.dispatcher.add_event_handler(world.happenings.changed, "during")
    hopeless, later = Patient(world), Patient(world)
    await transport.subscribe("hopeless", hopeless, role="test", max_deliveries=1)
    # Longer than a dead broker waits, so that all are on the ladder when it is killed.
    subscription = await transport.subscribe("later", later, role="test", max_deliveries=3, retry_delays=(4,))
    world.broker.settle()
    await publish(transport, world, range(100))
    await world.happenings.until(lambda: len(hopeless.calls) >= 100 and len(later.calls) >= 100)
    dead = transport.dead_letters("hopeless")
    while await dead.count() < 100 or await world.size("retry.4000ms") < 100:
        pass
    later.failing = False
    await world.restart()
    await world.happenings.until(lambda: len(later.handled) == 100)
    assert later.handled == set(range(100))
    await world.happenings.until(lambda: transport.state == "up")
    letters = await dead.list()
    assert [letter.envelope.id for letter in letters] == [id_of(world.exchange, each) for each in range(100)]
    assert {letter.reason for letter in letters} == {"ValueError: not yet"}
    hopeless.failing = False
    await dead.replay()
    await world.happenings.until(lambda: hopeless.handled == set(range(100)))
    assert await dead.count() == 0
    assert subscription.active
    await transport.stop()


@pytest_twisted.ensureDeferred
async def test_a_group_whose_match_spec_is_changed_while_the_broker_is_killed_gets_the_new_one(world: World) -> None:
    transport = AMQPTransport(world.broker.url(), exchange=world.exchange, publish_timeout=None)
    await transport.start()
    got: list[Any] = []

    def handler(event: Any) -> None:
        got.append(event)
        world.happenings.changed()

    subscription = await transport.subscribe("group", handler, role="old")
    await transport.publish("before", role="old")
    world.broker.settle()
    changing = subscription.change(role="new", level=1)
    for _ in range(3):
        # Each takes about as long as one step of the change.  test_cut.py cuts at each of them.
        await transport.publish("meanwhile", role="old", level=0, event_id="meanwhile").addErrback(unroutable)
    await world.restart()
    await changing
    assert subscription.match_spec == {"role": "new", "level": 1}
    await transport.publish("after", role="new", level=1)
    await world.happenings.until(lambda: "after" in got)
    with pytest.raises(Unroutable):
        await transport.publish("never", role="old")
    assert "never" not in got
    await transport.stop()
