"""What the explanation says about publishers that are not ours is true, and enough for them."""

from __future__ import annotations

import ast
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pika  # a client that is not ours
import pytest
import pytest_twisted
from twisted.internet.defer import DeferredQueue

from twisted_evproc.amqp import AMQPTransport, current_envelope
from twisted_evproc.amqp._topology import Topology

PAGE = (Path(__file__).parents[2] / "docs" / "explanation" / "across-processes.rst").read_text(encoding="utf-8")


def words() -> dict[str, str]:
    """Values of the routing keyword as Python writes them, and their routing keys."""
    rows = re.findall(r"^   \* - ``([^`]+)``\n     - ``([^`]+)``$", PAGE, re.MULTILINE)
    return dict(rows)


def test_the_table_of_routing_keys() -> None:
    topology = Topology("shop", "kind")
    assert len(words()) == 5
    assert {value: topology.routing_key({"kind": ast.literal_eval(value)}) for value in words()} == words()
    assert topology.routing_key({}) == Topology("shop", None).routing_key({"kind": "order"}) == "-"


def test_when_a_word_becomes_a_hash() -> None:
    (limit,) = re.findall(r"longer\s+than\s+(\d+)\s+characters", PAGE)
    topology = Topology("shop", "kind")
    assert topology.routing_key({"kind": "x" * (int(limit) - 2)}).startswith("s.")
    assert re.fullmatch(r"h\.[0-9a-f]{64}", topology.routing_key({"kind": "x" * (int(limit) + 1)}))


def test_the_names_in_the_drawing() -> None:
    topology = Topology("shop", "kind")
    for name in (
        topology.queue_name("warehouse"),
        topology.dead_name("warehouse"),
        topology.marker.name,
        topology.rung(5.0)[0].name,
        topology.way_back.name,
        topology.orphans[0].name,
    ):
        assert re.search(rf"{re.escape(name)}(?![\w.-]*\w)", PAGE), name


@asynccontextmanager
async def group(url: str, exchange: str, **match_spec: Any) -> AsyncIterator[DeferredQueue[Any]]:
    """Where the events come that a group gets, each with its envelope."""
    heard: DeferredQueue[Any] = DeferredQueue()
    transport = AMQPTransport(url, exchange=exchange, route_by="kind")
    await transport.start()
    await transport.subscribe("foreign", lambda event: heard.put((event, current_envelope())), **match_spec)
    try:
        yield heard
    finally:
        await transport.stop()


def publish(url: str, exchange: str, routing_key: str, headers: dict[str, Any], **properties: Any) -> None:
    """As a program in another language does it; fails for what nobody is bound to."""
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        message = pika.BasicProperties(headers=headers, **properties)
        channel.basic_publish(exchange, routing_key, b'{"article": "lamp"}', message, mandatory=True)


@pytest.mark.parametrize(("written", "word"), words().items())
@pytest_twisted.ensureDeferred
async def test_a_foreign_publisher_is_heard(amqp_url: str, exchange: str, written: str, word: str) -> None:
    value = ast.literal_eval(written)
    async with group(amqp_url, exchange, kind=value, express=True) as heard:
        publish(amqp_url, exchange, word, {"kind": value, "express": True}, message_id="17")
        event, envelope = await heard.get()
        assert event == {"article": "lamp"}
        assert (envelope.id, envelope.details) == ("17", {"kind": value, "express": True})
        assert type(envelope.details["kind"]) is type(value)


@pytest_twisted.ensureDeferred
async def test_a_foreign_publisher_may_write_all_of_cloudevents(amqp_url: str, exchange: str) -> None:
    async with group(amqp_url, exchange) as heard:
        attributes = {
            "ce-id": "18",
            "ce-source": "/till",
            "ce-type": "sale",
            "ce-time": "2026-03-02T11:00:00Z",
            "ce-traceparent": "00",
        }
        publish(amqp_url, exchange, "-", attributes, content_type="application/vnd.till+json")
        _, envelope = await heard.get()
        assert (envelope.id, envelope.source, envelope.type) == ("18", "/till", "sale")
        assert (envelope.time, envelope.traceparent) == ("2026-03-02T11:00:00Z", "00")
        assert envelope.details == {}


@pytest_twisted.ensureDeferred
async def test_a_foreign_publisher_hears_that_nobody_is_bound(amqp_url: str, exchange: str) -> None:
    async with group(amqp_url, exchange, kind="order", express=True):
        for headers in ({"kind": "order", "express": 1}, {"kind": "order"}):
            with pytest.raises(pika.exceptions.UnroutableError):
                publish(amqp_url, exchange, "s.order", headers)
