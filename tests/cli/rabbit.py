"""The other side of a broker: a program of another make, which publishes to a group and looks into its queue."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any

import pika  # noqa: TID251  the other side is a program of another make
import pytest

from tests.amqp.broker import OwnBroker

#: Nobody gets what was published.
Unroutable: type[Exception] = pika.exceptions.UnroutableError

_NUMBERS = itertools.count(1)


class Rabbit:
    """
    :ivar url: of the broker.
    :ivar exchange: one that no other test uses.
    """

    def __init__(self, broker: OwnBroker) -> None:
        self.broker = broker
        self.url = broker.url()
        self.exchange = f"evproc_cli_{os.getpid()}_{next(_NUMBERS)}"
        self._connection: Any = None

    @property
    def channel(self) -> Any:
        if self._connection is None or self._connection.is_closed:
            self._connection = pika.BlockingConnection(pika.URLParameters(self.url))
            self._channel = self._connection.channel()
            self._channel.confirm_delivery()
        return self._channel

    def publish(self, body: bytes | str, event_id: str, *, content_type: str = "application/json", **details: Any) -> None:
        """Raises :data:`Unroutable` when no group gets it."""
        body = body.encode() if isinstance(body, str) else body
        headers = {"ce-specversion": "1.0", "ce-id": event_id, "ce-source": "/test", "ce-type": "shop.event", **details}
        properties = pika.BasicProperties(headers=headers, content_type=content_type, delivery_mode=2)
        self.channel.basic_publish(self.exchange, "-", body, properties, mandatory=True)

    def next(self, queue: str) -> tuple[Any, bytes] | None:
        """The next message of a queue of this exchange, with its headers; it is taken out."""
        _, properties, body = self.channel.basic_get(f"{self.exchange}.{queue}", auto_ack=True)
        return None if body is None else (dict(properties.headers), body)

    def close(self) -> None:
        if self._connection is not None and self._connection.is_open:
            self._connection.close()


@pytest.fixture
def rabbit(own_broker: OwnBroker) -> Iterator[Rabbit]:
    rabbit = Rabbit(own_broker)
    yield rabbit
    rabbit.close()


__all__ = ["Rabbit", "Unroutable", "rabbit"]
