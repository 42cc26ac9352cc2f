"""A group's events from a broker in memory to a target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from twisted.internet.task import deferLater

from ._envelope import read_envelope
from ._group import Subscription
from ._memory_queue import Consumer, Stored

if TYPE_CHECKING:
    from ._memory import MemoryConnection
    from ._wire import WireSpec


@attrs.frozen
class _Delivery:
    """See :class:`~twisted_evproc.amqp._group.Delivery`."""

    consumer: Consumer
    tag: int

    @property
    def is_open(self) -> bool:
        """See :attr:`Delivery.is_open`."""
        return self.consumer.is_open

    def acknowledge(self) -> None:
        """See :meth:`Delivery.acknowledge`."""
        self.consumer.acknowledge(self.tag)

    def give_back(self) -> None:
        """See :meth:`Delivery.give_back`."""
        self.consumer.give_back(self.tag)


@attrs.define(eq=False, repr=False, slots=False)
class MemorySubscription(Subscription["MemoryConnection"]):
    """See :class:`~twisted_evproc.amqp._group.Subscription`."""

    _consumer: Consumer | None = attrs.field(init=False, default=None)

    @property
    def active(self) -> bool:
        """See :class:`~twisted_evproc.interfaces.ISubscription`."""
        return self._consumer is not None and self._consumer.is_open

    # -- coming

    async def _begin_taking(self, connection: MemoryConnection) -> None:
        await deferLater(self._clock, 0)
        broker = connection.broker
        if not self._bound or broker.queue(self._queue) is None:
            broker.declare(self._topology, self.group, self.options)
            broker.bind(self._topology, self.group, self._spec)
            self._bound = True
        self._consumer = connection.consume(self._queue, self.options.window, self._heard, self._cancelled)

    def _heard(self, tag: int, message: Stored) -> None:
        assert self._consumer is not None
        envelope = read_envelope(message.headers, message.body, message.content_type, message.id, message.returns > 0)
        self._take(envelope, _Delivery(self._consumer, tag))

    def _cancelled(self) -> None:
        # Another member has deleted the group: it is made anew.
        self.lost()
        self.connected()

    # -- going

    def _let_go(self) -> None:
        self._consumer = None

    async def _end_taking(self) -> None:
        if self._consumer is not None:
            self._consumer.cancel()

    async def _leave(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
        self._let_go()

    # -- at the broker

    async def _change(self, spec: WireSpec) -> None:
        connection = self._needed_connection()
        await deferLater(self._clock, 0)
        self._check_not_ended()
        connection.broker.bind(self._topology, self.group, spec)
        self._spec = spec

    async def _remove(self, connection: MemoryConnection) -> None:
        connection.broker.delete(self._topology, self.group)
