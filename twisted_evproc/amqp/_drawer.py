"""A queue of the broker, while somebody looks at what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pika.channel import Channel

from ._channel import BrokerChannel, ChannelClosed
from ._dead import DeadLetter, QueueMissing, read_dead_letter

if TYPE_CHECKING:
    from ._connection import BrokerConnection

NOT_FOUND = 404


class BrokerDrawer:
    """See :class:`~twisted_evproc.amqp._dead.Drawer`."""

    def __init__(self, connection: BrokerConnection, channel: Channel, exchange: str, queue: str) -> None:
        self._connection = connection
        self._channel = BrokerChannel(channel)
        self._exchange = exchange
        self._queue = queue

    async def count(self) -> int:
        """See :meth:`Drawer.count`."""
        try:
            return await self._channel.count(self._queue)
        except ChannelClosed as error:
            if error.code == NOT_FOUND:
                raise await self._missing() from error
            raise

    async def _missing(self) -> QueueMissing:
        # What is not there has closed the channel.
        channel = BrokerChannel(await self._connection.channel())
        try:
            await channel.find_exchange(self._exchange)
        except ChannelClosed as error:
            if error.code == NOT_FOUND:
                return QueueMissing("no exchange of that name")
            raise
        channel.close()
        return QueueMissing(f"no queue {self._queue!r}")

    async def take(self) -> tuple[int, DeadLetter] | None:
        """See :meth:`Drawer.take`."""
        found = await self._channel.get(self._queue)
        if found is None:
            return None
        method, properties, body = found
        return method.delivery_tag, read_dead_letter(properties.headers, body, properties.content_type, properties.message_id)

    def acknowledge(self, tag: int) -> None:
        """See :meth:`Drawer.acknowledge`."""
        self._channel.acknowledge(tag)

    def give_back(self, tag: int) -> None:
        """See :meth:`Drawer.give_back`."""
        self._channel.give_back(tag)

    def close(self) -> None:
        """See :meth:`Drawer.close`."""
        self._channel.close()
