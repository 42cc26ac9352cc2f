"""Sends messages over a channel in confirm mode, and tells what the broker says of them."""

from __future__ import annotations

from typing import Any

from pika.spec import Basic, BasicProperties

from ._channel import BrokerChannel, ChannelClosed, properties_of
from ._publisher import Message, Publisher

#: What a frame has besides the properties in it.
_FRAME_BYTES = 32


class ChannelOutlet:
    """
    A channel that a publisher sends over.

    What the broker returns is told from what it takes by the message itself, not by the order: a return comes before the
    confirmation of the same message, but others may stand in between.  Each has its number with it, since an ID may be published
    twice.
    """

    def __init__(self, channel: BrokerChannel, publisher: Publisher) -> None:
        self._channel = channel
        self._publisher = publisher

    async def open(self) -> None:
        """Begin to hear the broker."""
        self._channel.raw.add_on_return_callback(self._returned)
        await self._channel.confirm(self._confirmed)
        _ = self._channel.closed.addCallback(self._closed)

    def send(self, message: Message, number: int) -> str | None:
        """See :class:`Outlet`; what a channel that is gone does not take is sent over the next one."""
        properties = properties_of(message.headers, message.content_type, message.id)
        properties.correlation_id = str(number)
        try:
            # The details of users are bounded; what foreign publishers have sent, and is put aside, is not.
            if not message.limited and (problem := self._too_long(properties)) is not None:
                return problem
            taken = self._channel.publish(message.exchange, message.routing_key, message.body, properties)
        except Exception as error:  # noqa: BLE001  the driver raises what it likes for what it cannot write; nothing was sent
            return f"its properties cannot be written: {error!r}"
        return "its properties cannot be written" if not taken and self._channel.is_open else None

    def _too_long(self, properties: BasicProperties) -> str | None:
        size = sum(map(len, properties.encode()))
        limit = self._channel.raw.connection.params.frame_max - _FRAME_BYTES
        if size <= limit:
            return None
        return (
            f"its headers have {size} bytes, and {limit} fit into a frame.  Send less in them, or raise the broker's frame_max."
        )

    def _confirmed(self, frame: Any) -> None:
        self._publisher.confirmed(frame.method.delivery_tag, frame.method.multiple, isinstance(frame.method, Basic.Ack))

    def _returned(self, _: Any, __: Any, properties: BasicProperties, ___: bytes) -> None:
        self._publisher.returned(int(properties.correlation_id))

    def _closed(self, why: ChannelClosed) -> ChannelClosed:
        self._publisher.closed(self, why.code, why.text)
        return why
