"""A group's events from RabbitMQ to a target."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str

from ..errors import SubscriptionRefused, TransportError, Unroutable
from ._acks import Acknowledger
from ._bindings import IN_USE, Locked, NoteMissing, bind_group, noted_sources
from ._channel import BrokerChannel, ChannelClosed
from ._connection import BrokerConnection
from ._envelope import read_envelope
from ._group import Delivery, Subscription
from ._refusal import explained
from ._wire import WireSpec

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

    from ._topology import Binding, Exchange, Queue

_LOG = Logger(namespace="twisted_evproc.amqp")

#: Seconds between the last acknowledgement and closing the channel: the broker may give back what was acknowledged right before.
SETTLE_SECONDS = 0.1
#: Seconds before something that another member has to itself is tried again.
LOCKED_SECONDS = 0.1
#: How often a note that has to be there is looked for; past that, whoever was to write the first one has not come to it.
MAX_NOTES_MISSED = 30
NOT_FOUND = 404
#: Codes with which the broker says that it will not do it, whoever asks again: no access, a queue of another make.
REFUSALS = frozenset({403, IN_USE})


@attrs.frozen
class _Delivery:
    """See :class:`~twisted_evproc.amqp._group.Delivery`."""

    tag: int
    channel: BrokerChannel
    acks: Acknowledger
    finished: Callable[[], object]

    @property
    def is_open(self) -> bool:
        """See :attr:`Delivery.is_open`."""
        return self.channel.is_open

    def acknowledge(self) -> None:
        """See :meth:`Delivery.acknowledge`."""
        self.acks.finished(self.tag)
        self.finished()

    def give_back(self) -> None:
        """See :meth:`Delivery.give_back`."""
        # Both at once: one that is forgotten and not yet given back would be acknowledged together with a later one, and be lost.
        self.acks.forget(self.tag)
        self.channel.give_back(self.tag)


@attrs.define(eq=False, repr=False, slots=False)
class AMQPSubscription(Subscription[BrokerConnection]):
    """See :class:`~twisted_evproc.amqp._group.Subscription`."""

    _channel: BrokerChannel | None = attrs.field(init=False, default=None)
    _consumer_tag: str | None = attrs.field(init=False, default=None)
    _acks: Acknowledger | None = attrs.field(init=False, default=None)
    _flush_call: IDelayedCall | None = attrs.field(init=False, default=None)
    #: One of ours at a time changes the bindings, in order.
    _turn: DeferredLock = attrs.field(init=False, factory=DeferredLock)
    _notes_missed: int = attrs.field(init=False, default=0)
    _cancelling: Deferred[Any] | None = attrs.field(init=False, default=None)

    @property
    def active(self) -> bool:
        """See :class:`~twisted_evproc.interfaces.ISubscription`."""
        return self._channel is not None and self._channel.is_open and self._consumer_tag is not None

    def cut_short(self) -> None:
        """Cancel the handlers at work, and wait no longer for a broker that does not answer."""
        super().cut_short()
        if self._cancelling is not None:
            self._cancelling.cancel()

    # -- coming

    async def _begin_taking(self, connection: BrokerConnection) -> None:
        try:
            # Declared before, it is there with its bindings, unless somebody has deleted it, or the broker has lost everything.
            if self._bound and not await self._is_there(connection, self._queue):
                self._bound = False
            while not self._bound:
                try:
                    await self._declare(connection)
                except Locked:
                    await deferLater(self._clock, LOCKED_SECONDS)
            await self._consume(connection)
        except ChannelClosed as error:
            if error.code in REFUSALS:
                raise SubscriptionRefused(self.group, explained(error.code, error.text, self._topology)) from error
            raise

    async def _opened(self, connection: BrokerConnection) -> BrokerChannel:
        return BrokerChannel(await connection.channel())

    async def _is_there(self, connection: BrokerConnection, queue: str) -> bool:
        channel = await self._opened(connection)
        try:
            _ = await channel.count(queue)
        except ChannelClosed as error:
            if error.code == NOT_FOUND:
                return False
            raise
        channel.close()
        return True

    async def _declare(self, connection: BrokerConnection) -> None:
        topology = self._topology
        channel = await self._opened(connection)
        try:
            await channel.declare_exchange(topology.marker)
            await channel.declare_exchange(topology.entry)
            await channel.declare_queue(topology.dead_queue(self.group))
            await channel.declare_queue(topology.queue(self.group, self.options.crash_limit))
            for exchange, queue, binding in (topology.orphans, *self._rungs()):
                await channel.declare_exchange(exchange)
                await channel.declare_queue(queue)
                await channel.bind(binding)
            await channel.declare_exchange(topology.way_back)
            await channel.bind(topology.back_to(self.group))
        finally:
            channel.close()
        await self._turn.acquire()
        try:
            await self._bind(connection, self._spec)
            self._bound = True
        finally:
            self._turn.release()

    def _rungs(self) -> list[tuple[Exchange, Queue, Binding]]:
        delays = self.options.retry_delays[: max(self.options.max_deliveries - 1, 0)]
        return [self._topology.rung(delay) for delay in sorted(set(delays))]

    async def _bind(self, connection: BrokerConnection, spec: WireSpec) -> None:
        # Whoever was cut off may have the note still, for a moment.
        noted = self._notes_missed < MAX_NOTES_MISSED
        noted = noted and await self._is_there(connection, self._topology.note_queue(self.group).name)
        channel = await self._opened(connection)
        try:
            unused = await bind_group(channel, self._topology, self.group, spec, self._publisher.submit, noted=noted)
            self._notes_missed = 0
        except NoteMissing:
            self._notes_missed += 1
            raise
        finally:
            channel.close()
        await self._delete_unused(connection, [exchange.name for exchange in unused])

    async def _delete_unused(self, connection: BrokerConnection, names: list[str]) -> None:
        for name in names:
            channel = await self._opened(connection)
            try:
                await channel.delete_unused_exchange(name)
            except ChannelClosed:
                pass  # others use it
            finally:
                channel.close()

    async def _consume(self, connection: BrokerConnection) -> None:
        channel = await self._opened(connection)
        acks = Acknowledger(channel.acknowledge)

        def heard(_: Any, method: Any, properties: Any, body: bytes) -> None:
            if not self._wanted:
                return  # it goes back when the channel is closed
            acks.arrived(method.delivery_tag)
            envelope = read_envelope(properties.headers, body, properties.content_type, properties.message_id, method.redelivered)
            self._take(envelope, _Delivery(method.delivery_tag, channel, acks, self._flush_soon))

        try:
            await channel.prefetch(self.options.window)
            self._channel, self._acks = channel, acks
            channel.raw.add_on_cancel_callback(lambda _: channel.close())
            _ = channel.closed.addCallback(self._channel_lost, channel)
            self._consumer_tag = await channel.consume(self._queue, heard)
        except BaseException:
            if self._channel is channel:
                self._let_go()
            channel.close()
            raise

    def _channel_lost(self, why: ChannelClosed, channel: BrokerChannel) -> None:
        if self._channel is channel:
            # The queue was deleted, or the broker did not like something: begin again.
            self._cut_off()
            connection = self._connection()
            if self._wanted and connection is not None and connection.is_open:
                _LOG.warn("{subscription!r}: {why}; subscribing again", subscription=self, why=why)
                _ = self._clock.callLater(LOCKED_SECONDS, self.connected)

    # -- what follows from a verdict

    def _flush_soon(self) -> None:
        if self._flush_call is None:
            # What else is finished in this turn of the reactor goes with it.
            self._flush_call = self._clock.callLater(0, self._flush)

    def _flush(self) -> None:
        self._flush_call = None
        if self._acks is not None:
            self._acks.flush()

    def _not_aside(self, failure: Failure, delivery: Delivery) -> None:
        if self._channel is None or not delivery.is_open or not failure.check(Unroutable):
            super()._not_aside(failure, delivery)
            return
        # Where it was to be put is gone: everything is declared again.
        _LOG.error("{subscription!r}: {why}", subscription=self, why=safe_str(failure.value))
        self._bound = False
        self._channel.close()

    # -- going

    def _let_go(self) -> None:
        self._channel = self._consumer_tag = None

    async def _end_taking(self) -> None:
        if self._channel is None or self._consumer_tag is None:
            return
        self._cancelling = self._channel.cancel(self._consumer_tag)
        try:
            await self._cancelling
        except (TransportError, CancelledError):
            pass  # the connection is gone, or as good as that: what was not acknowledged is delivered again
        self._cancelling = None

    async def _leave(self) -> None:
        channel, acks = self._channel, self._acks
        if channel is not None and acks is not None and channel.is_open:
            acks.flush()
            await deferLater(self._clock, SETTLE_SECONDS)
            channel.close()
        self._let_go()

    # -- at the broker

    async def _change(self, spec: WireSpec) -> None:
        _ = self._needed_connection()
        await self._turn.acquire()
        try:
            self._check_not_ended()
            old = self._spec
            # Whoever connects next makes it hold, should this be cut short.
            self._spec, self._bound = spec, False
            while True:
                connection = self._connection()
                try:
                    if connection is not None and connection.is_open:
                        await self._bind(connection, spec)
                        self._bound = True
                        return
                except Locked:
                    pass
                except TransportError as error:
                    if connection is not None and connection.is_open:
                        self._spec = old
                        raise SubscriptionRefused(self.group, str(error)) from error
                if not self._wanted:
                    raise TransportError(
                        f"{self!r} was ended while its match-spec was being changed; which one holds is not known"
                    )
                await deferLater(self._clock, LOCKED_SECONDS)
        finally:
            self._turn.release()

    async def _remove(self, connection: BrokerConnection) -> None:
        channel = await self._opened(connection)
        sources = await noted_sources(channel, self._topology, self.group)
        await deferLater(self._clock, 0)
        topology = self._topology
        for name in (self._queue, topology.note_queue(self.group).name, topology.dead_name(self.group)):
            await channel.delete_queue(name)
        channel.close()
        await self._delete_unused(connection, sources)
