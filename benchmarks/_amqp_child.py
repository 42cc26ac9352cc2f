"""
What :mod:`benchmarks.amqp` measures, each in a process of its own: ``python -m benchmarks._amqp_child NAME ARGUMENTS``.

The arguments are a JSON object; what was found is printed as one.  All publish the same messages to the same exchange, and
consume them from the same quorum queue, which are those that a transport of ours makes.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
import time
import tracemalloc
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec
import pika
from pika.spec import BasicProperties
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.task import deferLater, react

from twisted_evproc import EventDispatcher
from twisted_evproc.amqp import AMQPTransport
from twisted_evproc.errors import Overflow

#: The details that a publisher gives, and what the group wants of them.
KIND = "order"
ROUTING_KEY = f"s.{KIND}"
GROUP = "bench"
#: Seconds before a channel is closed: a quorum queue may give back what was acknowledged one by one right before.
SETTLE_SECONDS = 0.3

ENCODER, DECODER = msgspec.json.Encoder(), msgspec.json.Decoder()


def event(number: int) -> dict[str, Any]:
    """A small event."""
    return {"order": number, "customer": "c-1789", "total": 1999, "paid": True}


class Stretch:
    """How long something took: by the clock on the wall, and of this process's CPU."""

    def __init__(self) -> None:
        gc.collect()
        self._begun, self._cpu_before = time.perf_counter(), time.process_time()

    def ended(self, count: int) -> dict[str, Any]:
        """What is told of it, so many events having passed."""
        seconds, cpu = time.perf_counter() - self._begun, time.process_time() - self._cpu_before
        return {"rate": count / seconds, "cpu": cpu / count * 1e6}


class Counter:
    """
    Tells when the last of so many events was handled; what lies between the first and the last counts.

    :ivar found: what is told of it, once ``heard`` was called for the last event.
    """

    def __init__(self, count: int, ended: Callable[[], object]) -> None:
        self._count = count
        self._ended = ended
        self._heard = 0
        self._stretch: Stretch | None = None
        self.found: dict[str, Any] = {}

    def heard(self, _: Any) -> None:
        """An event was handled."""
        self._heard += 1
        if self._stretch is None:
            self._stretch = Stretch()
        elif self._heard == self._count:
            self.found = self._stretch.ended(self._count - 1)
            self._ended()


class Numbered:
    """
    Messages as our transport writes them.

    A program that has the driver alone has to write the event, to name it and to say the rest about it, too.
    """

    def __init__(self) -> None:
        self._prefix = uuid4().hex

    def __call__(self, number: int) -> tuple[bytes, dict[str, Any], str]:
        """The body, the headers and the ID of a message."""
        message_id = f"{self._prefix}-{number}"
        headers = {
            "kind": KIND,
            "level": number % 8,
            "ce-specversion": "1.0",
            "ce-id": message_id,
            "ce-source": "/bench",
            "ce-type": "twisted_evproc.event",
            "ce-time": "2026-01-01T00:00:00.000Z",
        }
        return ENCODER.encode(event(number)), headers, message_id


def properties(headers: dict[str, Any], message_id: str) -> BasicProperties:
    """What pika wants to know of a message."""
    return BasicProperties(content_type="application/json", headers=headers, delivery_mode=2, message_id=message_id)


def keep_busy(publish: Callable[[int], Deferred[Any]], count: int, window: int) -> Deferred[None]:
    """Publish so many, each as soon as one of ``window`` before it is confirmed."""
    ended: Deferred[None] = Deferred()
    begun = confirmed = 0

    def begin() -> None:
        nonlocal begun
        begun += 1
        publish(begun).addCallbacks(hear, ended.errback)

    def hear(_: Any) -> None:
        nonlocal confirmed
        confirmed += 1
        if begun < count:
            begin()
        elif confirmed == count:
            ended.callback(None)

    for _ in range(min(window, count)):
        begin()
    return ended


# -- ours


async def ours_publish(_: Any, url: str, exchange: str, *, route_by: str | None, count: int, window: int) -> dict[str, Any]:
    """:class:`AMQPTransport`, as it is."""
    transport = await up(url, exchange, route_by, window=window)
    stretch = Stretch()
    await keep_busy(lambda number: transport.publish(event(number), kind=KIND, level=number % 8), count, window)
    found = stretch.ended(count)
    await transport.stop()
    return found


async def ours_consume(
    _: Any, url: str, exchange: str, *, route_by: str | None, count: int, window: int, dispatcher: bool = False
) -> dict[str, Any]:
    """A function, or a dispatcher with a handler in each of its three phases."""
    ended: Deferred[None] = Deferred()
    counter = Counter(count, lambda: ended.callback(None))
    transport = await up(url, exchange, route_by)
    _ = await transport.subscribe(GROUP, phases(counter.heard) if dispatcher else counter.heard, kind=KIND, window=window)
    await ended
    await transport.stop()
    return counter.found


async def ours_latency(_: Any, url: str, exchange: str, route_by: str | None, count: int) -> dict[str, Any]:
    """Seconds from publishing an event until it is handled, each after the one before."""
    waiting: list[Deferred[None]] = []
    transport = await up(url, exchange, route_by)
    _ = await transport.subscribe(GROUP, lambda _: waiting.pop().callback(None), kind=KIND)
    found = await one_by_one(lambda number: transport.publish(event(number), kind=KIND, level=number % 8), waiting, count)
    await transport.stop()
    return found


async def up(url: str, exchange: str, route_by: str | None, **options: Any) -> AMQPTransport:
    """A transport that has its connection."""
    transport = AMQPTransport(url, exchange=exchange, route_by=route_by, source="/bench", **options)
    is_up = transport.dispatcher.wait_for_event(timeout=10, name="transport_up")
    await transport.start()
    _ = await is_up
    return transport


def phases(last: Callable[[Any], None]) -> EventDispatcher:
    """A dispatcher whose last handler is given."""
    dispatcher = EventDispatcher(("kind", "level"))
    dispatcher.start()
    for phase in ("before", "during"):
        dispatcher.add_event_handler(lambda _: None, phase, kind=KIND)
    dispatcher.add_event_handler(last, "after", kind=KIND)
    return dispatcher


async def one_by_one(publish: Callable[[int], Deferred[Any]], waiting: list[Deferred[None]], count: int) -> dict[str, Any]:
    """Publish an event, wait until it is handled and confirmed, and so on."""
    found = []
    for number in range(count):
        handled: Deferred[None] = Deferred()
        waiting.append(handled)
        begun = time.perf_counter()
        published = publish(number)
        await handled
        found.append(time.perf_counter() - begun)
        await published
    return {"seconds": found}


# -- pika's adapter for Twisted, as its documentation shows it


async def twisted_channel(reactor: Any, url: str) -> Any:
    """A channel of its own connection."""
    # It installs a reactor.
    from pika.adapters.twisted_connection import TwistedProtocolConnection

    parts = urlsplit(url)
    assert parts.hostname is not None
    endpoint = HostnameEndpoint(reactor, parts.hostname, parts.port or 5672)
    protocol = await connectProtocol(endpoint, TwistedProtocolConnection(pika.URLParameters(url)))
    await protocol.ready
    return await protocol.channel()


async def twisted_publish(reactor: Any, url: str, exchange: str, count: int, window: int) -> dict[str, Any]:
    """``basic_publish`` with confirmations."""
    channel = await twisted_channel(reactor, url)
    await channel.confirm_delivery()
    make = Numbered()

    def publish(number: int) -> Any:
        body, headers, message_id = make(number)
        return channel.basic_publish(exchange, ROUTING_KEY, body, properties(headers, message_id), mandatory=True)

    stretch = Stretch()
    await keep_busy(publish, count, window)
    return stretch.ended(count)


async def twisted_consume(reactor: Any, url: str, exchange: str, count: int, window: int) -> dict[str, Any]:
    """A loop over the queue that ``basic_consume`` gives."""
    ended: Deferred[None] = Deferred()
    counter = Counter(count, lambda: ended.callback(None))
    channel = await twisted_channel(reactor, url)
    await channel.basic_qos(prefetch_count=window)
    _ = loop = Deferred.fromCoroutine(take(channel, f"{exchange}.{GROUP}", counter.heard))
    await ended
    await deferLater(reactor, SETTLE_SECONDS)
    loop.addErrback(lambda _: None).cancel()
    return counter.found


async def take(channel: Any, queue: str, handle: Callable[[Any], object]) -> None:
    """Handle and acknowledge one message after the other."""
    received, _ = await channel.basic_consume(queue)
    while True:
        _, method, _, body = await received.get()
        handle(DECODER.decode(body))
        channel.basic_ack(method.delivery_tag)


async def twisted_latency(reactor: Any, url: str, exchange: str, count: int) -> dict[str, Any]:
    """As :func:`ours_latency`, over two connections, too."""
    waiting: list[Deferred[None]] = []
    publishing, consuming = await twisted_channel(reactor, url), await twisted_channel(reactor, url)
    await publishing.confirm_delivery()
    loop = Deferred.fromCoroutine(take(consuming, f"{exchange}.{GROUP}", lambda _: waiting.pop().callback(None)))
    make = Numbered()

    def publish(number: int) -> Any:
        body, headers, message_id = make(number)
        return publishing.basic_publish(exchange, ROUTING_KEY, body, properties(headers, message_id), mandatory=True)

    found = await one_by_one(publish, waiting, count)
    await deferLater(reactor, SETTLE_SECONDS)
    loop.addErrback(lambda _: None).cancel()
    return found


# -- pika alone


def select_publish(url: str, exchange: str, count: int, window: int) -> dict[str, Any]:
    """``SelectConnection`` and its own loop."""
    make = Numbered()
    open_tags: dict[int, None] = {}
    found: dict[str, Any] = {}
    stretch: Any = None
    begun = 0

    def publish(channel: Any) -> None:
        nonlocal begun
        begun += 1
        open_tags[begun] = None
        body, headers, message_id = make(begun)
        channel.basic_publish(exchange, ROUTING_KEY, body, properties(headers, message_id), mandatory=True)

    def begin(channel: Any) -> None:
        nonlocal stretch
        stretch = Stretch()
        for _ in range(min(window, count)):
            publish(channel)

    def ready(channel: Any) -> None:
        channel.confirm_delivery(lambda frame: hear(channel, frame.method), callback=lambda _: begin(channel))

    def hear(channel: Any, method: Any) -> None:
        assert isinstance(method, pika.spec.Basic.Ack)
        tags = [tag for tag in open_tags if tag <= method.delivery_tag] if method.multiple else [method.delivery_tag]
        for tag in tags:
            del open_tags[tag]
        for _ in range(min(len(tags), count - begun)):
            publish(channel)
        if not open_tags:
            found.update(stretch.ended(count))
            channel.connection.close()

    run_loop(url, ready)
    return found


def select_consume(url: str, exchange: str, count: int, window: int) -> dict[str, Any]:
    """A callback that acknowledges every message."""
    counters: list[Counter] = []

    def ready(channel: Any) -> None:
        loop = channel.connection.ioloop
        counters.append(Counter(count, lambda: loop.call_later(SETTLE_SECONDS, channel.connection.close)))
        channel.basic_qos(prefetch_count=window, callback=lambda _: channel.basic_consume(f"{exchange}.{GROUP}", hear))

    def hear(channel: Any, method: Any, _: Any, body: bytes) -> None:
        counters[0].heard(DECODER.decode(body))
        channel.basic_ack(method.delivery_tag)

    run_loop(url, ready)
    return counters[0].found


def run_loop(url: str, ready: Callable[[Any], None]) -> None:
    """Until the connection is closed."""
    connection: Any = pika.SelectConnection(
        pika.URLParameters(url),
        on_open_callback=lambda opened: opened.channel(on_open_callback=ready),
        on_close_callback=lambda closed, _: closed.ioloop.stop(),
    )
    connection.ioloop.start()


# -- aio-pika


async def aio_publish(url: str, exchange: str, count: int, window: int) -> dict[str, Any]:
    """``window`` tasks, each publishing one message after the other."""
    import aio_pika

    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(publisher_confirms=True)
        target = await channel.get_exchange(exchange, ensure=False)
        make = Numbered()
        numbers = iter(range(1, count + 1))

        async def work() -> None:
            for number in numbers:
                body, headers, message_id = make(number)
                message = aio_pika.Message(
                    body,
                    content_type="application/json",
                    headers=headers,
                    delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                    message_id=message_id,
                )
                _ = await target.publish(message, ROUTING_KEY, mandatory=True)

        stretch = Stretch()
        _ = await asyncio.gather(*(work() for _ in range(min(window, count))))
        return stretch.ended(count)


async def aio_consume(url: str, exchange: str, count: int, window: int) -> dict[str, Any]:
    """A callback that acknowledges every message."""
    import aio_pika

    ended = asyncio.Event()
    counter = Counter(count, ended.set)

    async def hear(message: Any) -> None:
        counter.heard(DECODER.decode(message.body))
        await message.ack()

    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=window)
        queue = await channel.get_queue(f"{exchange}.{GROUP}", ensure=False)
        _ = await queue.consume(hear)
        _ = await ended.wait()
        await asyncio.sleep(SETTLE_SECONDS)
    return counter.found


# -- what is no race


async def setup(_: Any, url: str, exchange: str, route_by: str | None) -> dict[str, Any]:
    """Makes exchange and queue."""
    transport = await up(url, exchange, route_by)
    _ = await transport.subscribe(GROUP, lambda _: None, kind=KIND)
    await transport.stop()
    return {}


async def remove(_: Any, url: str, exchange: str, route_by: str | None) -> dict[str, Any]:
    """Takes away what :func:`setup` made."""
    transport = await up(url, exchange, route_by)
    subscription = await transport.subscribe(GROUP, lambda _: None, kind=KIND)
    await subscription.delete()
    await transport.stop()
    # What groups share stays with the broker, which it costs nothing; here nobody comes again.
    from twisted_evproc.amqp._options import RETRY_DELAYS
    from twisted_evproc.amqp._topology import Topology

    topology = Topology(exchange, route_by)
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for delay in RETRY_DELAYS:
        rung, queue, _binding = topology.rung(delay)
        channel.queue_delete(queue.name)
        channel.exchange_delete(rung.name)
    for each in (topology.entry, topology.marker):
        channel.exchange_delete(each.name)
    connection.close()
    return {}


async def memory(_: Any, count: int) -> dict[str, Any]:
    """Bytes of events that wait for a broker that is not there, and whether one more is refused."""
    transport = AMQPTransport(
        "amqp://guest:guest@127.0.0.1:1/", exchange="bench", max_waiting=count, max_waiting_size=2**40, publish_timeout=None
    )
    await transport.start()
    tracemalloc.start()
    before, _peak = tracemalloc.get_traced_memory()
    waiting = [transport.publish(event(number), kind=KIND, level=number % 8) for number in range(count)]
    after, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    refused = None
    try:
        await transport.publish(event(count), kind=KIND)
    except Overflow as error:
        refused = error
    assert refused is not None
    assert transport.statistics().waiting == count
    for each in waiting:
        each.addErrback(lambda _: None)
    bodies = transport.statistics().waiting_size
    await transport.stop(0.001)
    return {"bytes": (after - before) / count, "body": bodies / count}


async def wait(reactor: Any, url: str, exchange: str, route_by: str | None) -> dict[str, Any]:
    """A transport with a subscription and nothing to do; says so, and waits to be killed."""
    transport = await up(url, exchange, route_by)
    _ = await transport.subscribe(GROUP, lambda _: None, kind=KIND)
    await deferLater(reactor, 0.5)
    print("{}", flush=True)
    await Deferred()
    raise AssertionError


ON_THE_REACTOR: tuple[Callable[..., Coroutine[Any, Any, dict[str, Any]]], ...] = (
    setup,
    remove,
    ours_publish,
    ours_consume,
    ours_latency,
    twisted_publish,
    twisted_consume,
    twisted_latency,
    memory,
    wait,
)


def main(name: str, arguments: dict[str, Any]) -> None:
    """Measure one thing."""
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    if name in ("select_publish", "select_consume"):
        print(json.dumps({"select_publish": select_publish, "select_consume": select_consume}[name](**arguments)))
        return
    if name in ("aio_publish", "aio_consume"):
        print(json.dumps(asyncio.run({"aio_publish": aio_publish, "aio_consume": aio_consume}[name](**arguments))))
        return
    measured = {function.__name__: function for function in ON_THE_REACTOR}[name]

    async def run(reactor: Any) -> None:
        print(json.dumps(await measured(reactor, **arguments)), flush=True)

    react(lambda reactor: Deferred.fromCoroutine(run(reactor)))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
