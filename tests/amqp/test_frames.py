"""Messages whose properties the driver cannot read."""

from __future__ import annotations

import struct
from typing import Any

import pika
import pytest
import pytest_twisted
from pika import frame, spec
from pika.exceptions import InvalidFrameError
from twisted.internet.defer import Deferred

from twisted_evproc.amqp import AMQPTransport
from twisted_evproc.amqp._frames import read_frame


class Broken(pika.BasicProperties):  # type: ignore[misc]  # pika has no annotations for mypy
    """Has a header with a time that Python does not know."""

    def encode(self) -> list[bytes]:
        table = b"\x04when" + b"T" + struct.pack(">Q", 2**60)
        return [struct.pack(">H", self.FLAG_HEADERS), struct.pack(">I", len(table)), table]


def marshalled(properties: Any, size: int = 5) -> bytes:
    data: bytes = frame.Header(7, size, properties).marshal()
    return data


def test_what_can_be_read_is_as_the_driver_reads_it() -> None:
    data = marshalled(pika.BasicProperties(headers={"n": 1}, message_id="id"))
    size, found = read_frame(data + b"more")
    assert (size, found.channel_number, found.body_size) == (len(data), 7, 5)
    assert (found.properties.headers, found.properties.message_id) == ({"n": 1}, "id")
    assert read_frame(data[:-1]) == (0, None)


def test_properties_that_cannot_be_read_say_so() -> None:
    data = marshalled(Broken())
    with pytest.raises((OSError, OverflowError, ValueError)):
        frame.decode_frame(data)
    size, found = read_frame(data + b"more")
    assert (size, found.channel_number, found.body_size) == (len(data), 7, 5)
    assert list(found.properties.headers) == ["x-evproc-unreadable"]


def test_frames_that_are_none_are_still_refused() -> None:
    data = marshalled(pika.BasicProperties())
    with pytest.raises(InvalidFrameError):
        read_frame(data[:-1] + b"x")
    with pytest.raises(KeyError):
        read_frame(frame.Frame(spec.FRAME_METHOD, 1)._marshal([b"\xff\xff\xff\xff"]))


@pytest_twisted.ensureDeferred
async def test_such_an_event_is_a_dead_letter_and_the_next_one_is_handled(amqp_url: str, exchange: str) -> None:
    handled: Deferred[Any] = Deferred()
    transport = AMQPTransport(amqp_url, exchange=exchange)
    await transport.start()
    subscription = await transport.subscribe("g", handled.callback)
    with pika.BlockingConnection(pika.URLParameters(amqp_url)) as foreign:
        channel = foreign.channel()
        channel.basic_publish(exchange, "-", b"1", Broken())
        channel.basic_publish(exchange, "-", b"2")
    assert await handled == 2
    await subscription.unsubscribe()  # by then the other one has been put aside
    (letter,) = await transport.dead_letters("g").list()
    assert letter.envelope.body == b"1"
    assert "its headers are broken (" in letter.reason
    assert transport.statistics().connects == 2
    await transport.stop()
