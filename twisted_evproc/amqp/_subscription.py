"""A group's events from the broker to a target."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str
from zope.interface import implementer

from ..dispatch import arrived, settle
from ..errors import SubscriptionRefused, TransportError, Unroutable
from ..interfaces import ISubscription
from ._acks import Acknowledger
from ._bindings import IN_USE, Locked, NoteMissing, bind_group, noted_sources
from ._channel import BrokerChannel, ChannelClosed
from ._envelope import Envelope, read_envelope
from ._handling import Dead, Done, GivenBack, Handling, Retry, Verdict
from ._options import SubscriptionOptions
from ._publisher import Publisher
from ._put_aside import put_aside
from ._refusal import explained
from ._topology import Topology
from ._wire import WireSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.internet.interfaces import IReactorTime

    from ._connection import BrokerConnection

_LOG = Logger(namespace="twisted_evproc.amqp")

#: Seconds between the last acknowledgement and closing the channel: the broker may give back what was acknowledged right before.
SETTLE_SECONDS = 0.1
#: Seconds before something that the broker refused is tried again.
AGAIN_SECONDS = 1.0
LOCKED_SECONDS = 0.1
#: How often a note that has to be there is looked for; past that, whoever was to write the first one has not come to it.
MAX_NOTES_MISSED = 30
NOT_FOUND = 404
#: Codes with which the broker says that it will not do it, whoever asks again: no access, a queue of another make.
REFUSALS = frozenset({403, IN_USE})


@implementer(ISubscription)
class AMQPSubscription:
    """
    See :class:`~twisted_evproc.interfaces.ISubscription`.

    :ivar group: the group.
    :ivar options: how events are handled.
    """

    def __init__(
        self,
        group: str,
        options: SubscriptionOptions,
        spec: WireSpec,
        handling: Handling,
        *,
        topology: Topology,
        publisher: Publisher,
        connection: Callable[[], BrokerConnection | None],
        forget: Callable[[AMQPSubscription], object],
        clock: Callable[[], IReactorTime],
        begin: Callable[[], object],
    ) -> None:
        self.group = group
        self.options = options
        self._spec = spec
        self._handling = handling
        self._topology = topology
        self._publisher = publisher
        self._connection = connection
        self._forget = forget
        self._clock = clock
        self._begin = begin
        self._queue = topology.queue_name(group)
        self._channel: BrokerChannel | None = None
        self._consumer: str | None = None
        self._acks = Acknowledger(lambda tag, multiple: None)
        self._flush_call: Any = None
        self._bound = False
        # One of ours at a time changes the bindings, in order.
        self._turn = DeferredLock()
        self._notes_missed = 0
        self._cancelling: Deferred[Any] | None = None
        self._waiting: list[Deferred[None]] = []
        self._attempt: Deferred[None] | None = None
        self._storing: set[Deferred[str]] = set()
        self._wait_for_storing: list[Deferred[None]] = []
        self._wanted = False
        self._refused: SubscriptionRefused | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.group!r} ({self._spec})>"

    @property
    def match_spec(self) -> Mapping[str, Any]:
        """See :class:`~twisted_evproc.interfaces.ISubscription`."""
        return self._spec.match_spec

    @property
    def active(self) -> bool:
        """See :class:`~twisted_evproc.interfaces.ISubscription`."""
        return self._channel is not None and self._channel.is_open and self._consumer is not None

    # -- what the transport says

    def established(self) -> Deferred[None]:
        """Fires once events come in for the first time from now on; fails when the broker does not let us."""
        waiting: Deferred[None] = Deferred(lambda _: None)
        if self.active:
            waiting.callback(None)
        else:
            self._waiting.append(waiting)
        return waiting

    def start(self) -> None:
        """Take events as soon as there is a connection."""
        self._wanted = True
        self._handling.begin()
        self._begin()
        self.connected()

    def connected(self) -> None:
        """A connection is there."""
        if self._wanted and self._attempt is None and self._connection() is not None and not self.active:
            self._attempt = Deferred.fromCoroutine(self._establish())
            _ = self._attempt.addBoth(self._established)

    def lost(self) -> None:
        """The connection is gone; what is under way goes on, and is delivered again."""
        self._channel = self._consumer = None
        self._give_up_storing()
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()

    def stop_taking(self) -> Deferred[None]:
        """Take no more events; fires once those under way have their verdict, and the broker knows it."""
        return Deferred.fromCoroutine(self._stop_taking())

    def cut_short(self) -> None:
        """Cancel the handlers at work, and wait no longer for a broker that does not answer."""
        self._handling.cut_short()
        if self._cancelling is not None:
            self._cancelling.cancel()

    # -- what users say

    def change(self, **match_spec: Any) -> Deferred[None]:
        """See :meth:`ISubscription.change`."""
        return Deferred.fromCoroutine(self._change(self._handling.check_spec(match_spec)))

    def unsubscribe(self) -> Deferred[None]:
        """See :meth:`ISubscription.unsubscribe`."""
        self._forget(self)
        return self.stop_taking()

    def delete(self) -> Deferred[None]:
        """See :meth:`ISubscription.delete`."""
        return Deferred.fromCoroutine(self._delete())

    # -- being established

    async def _establish(self) -> None:
        while True:
            connection = self._connection()
            if connection is None:
                return  # connected() comes again
            try:
                if self.options.dedupe is not None:
                    await arrived(settle(self.options.dedupe.open()))
                if not self._bound or not await self._is_there(connection, self._queue):
                    # Whatever comes in between, one that is there again is not bound yet.
                    self._bound = False
                    await self._declare(connection)
                await self._consume(connection)
                return
            except CancelledError:
                raise
            except Locked:
                await deferLater(self._clock(), LOCKED_SECONDS)
            except Exception as error:  # noqa: BLE001  whatever keeps it from being subscribed: told, and tried again
                if not connection.is_open:
                    return
                if isinstance(error, ChannelClosed) and error.code in REFUSALS:
                    self._refused = self._refusal(error)
                    _LOG.error("{refused}", refused=self._refused)
                    if self._waiting:
                        return
                else:
                    _LOG.failure("{subscription!r} cannot be established yet", subscription=self)
                await deferLater(self._clock(), AGAIN_SECONDS)

    def _established(self, result: Any) -> None:
        self._attempt = None
        if isinstance(result, Failure) and not result.check(CancelledError):
            _LOG.failure("{subscription!r} is not established", result, subscription=self)
        refused, self._refused = self._refused, None
        if self.active:
            self._tell(None)
        elif refused is not None:
            self._tell(refused)
            # Whoever waited may have given it up by now.
            if self._wanted:
                _ = self._clock().callLater(AGAIN_SECONDS, self.connected)

    def _tell(self, error: BaseException | None) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if each.called:
                continue
            if error is None:
                each.callback(None)
            else:
                each.errback(error)

    def _refusal(self, error: ChannelClosed) -> SubscriptionRefused:
        return SubscriptionRefused(self.group, explained(error.code, error.text, self._topology))

    async def _opened(self, connection: BrokerConnection) -> BrokerChannel:
        return BrokerChannel(await connection.channel())

    async def _is_there(self, connection: BrokerConnection, queue: str) -> bool:
        # Declared before, it is there with its bindings, unless the broker has lost everything.
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
            for delay in sorted(set(self.options.retry_delays[: max(self.options.max_deliveries - 1, 0)])):
                exchange, queue, binding = topology.rung(delay)
                await channel.declare_exchange(exchange)
                await channel.declare_queue(queue)
                await channel.bind(binding)
        finally:
            channel.close()
        await self._turn.acquire()
        try:
            await self._bind(connection, self._spec)
            self._bound = True
        finally:
            self._turn.release()

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
            self._handling.take(envelope, lambda verdict: self._follow(verdict, envelope, method.delivery_tag, channel, acks))

        try:
            await channel.prefetch(self.options.window)
            self._channel, self._acks = channel, acks
            channel.raw.add_on_cancel_callback(lambda _: channel.close())
            _ = channel.closed.addCallback(self._channel_lost, channel)
            self._consumer = await channel.consume(self._queue, heard)
        except BaseException:
            if self._channel is channel:
                self._channel = self._consumer = None
            channel.close()
            raise

    def _channel_lost(self, why: ChannelClosed, channel: BrokerChannel) -> None:
        if self._channel is channel:
            # The queue was deleted, or the broker did not like something: begin again.
            self._channel = self._consumer = None
            self._give_up_storing()
            connection = self._connection()
            if self._wanted and connection is not None and connection.is_open:
                _LOG.warn("{subscription!r}: {why}; subscribing again", subscription=self, why=why)
                _ = self._clock().callLater(LOCKED_SECONDS, self.connected)

    def _give_up_storing(self) -> None:
        # The broker delivers these again: what is not sent yet would only make a second copy.
        for stored in list(self._storing):
            stored.cancel()

    # -- what follows from a verdict

    def _follow(self, verdict: Verdict, envelope: Envelope, tag: int, channel: BrokerChannel, acks: Acknowledger) -> None:
        if isinstance(verdict, Done):
            self._finish(tag, acks)
        elif isinstance(verdict, GivenBack):
            self._give_back(tag, channel, acks)
        else:
            self._store(verdict, envelope, tag, channel, acks)

    def _finish(self, tag: int, acks: Acknowledger) -> None:
        acks.finished(tag)
        if self._flush_call is None:
            # What else is finished in this turn of the reactor goes with it.
            self._flush_call = self._clock().callLater(0, self._flush)

    def _flush(self) -> None:
        self._flush_call = None
        self._acks.flush()

    def _store(self, verdict: Retry | Dead, envelope: Envelope, tag: int, channel: BrokerChannel, acks: Acknowledger) -> None:
        # It is acknowledged only once it is safe in its new place: twice rather than never.
        if not channel.is_open:
            return
        stored = self._publisher.submit(put_aside(verdict, envelope, self._topology, self.group, self._clock().seconds()))
        self._storing.add(stored)
        _ = stored.addBoth(self._stored, stored)
        _ = stored.addCallbacks(
            lambda _: self._finish(tag, acks),
            lambda failure: self._not_stored(failure, tag, channel, acks),
        )

    def _stored(self, result: Any, stored: Deferred[str]) -> Any:
        self._storing.discard(stored)
        if not self._storing:
            waiting, self._wait_for_storing = self._wait_for_storing, []
            for each in waiting:
                # behind what follows from this result
                _ = self._clock().callLater(0, each.callback, None)
        return result

    def _all_stored(self) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        if self._storing:
            self._wait_for_storing.append(waiting)
        else:
            waiting.callback(None)
        return waiting

    def _not_stored(self, failure: Failure, tag: int, channel: BrokerChannel, acks: Acknowledger) -> None:
        if not channel.is_open:
            return  # the broker delivers it again anyway
        if failure.check(Unroutable):
            # Where it was to be put is gone: everything is declared again.
            _LOG.error("{subscription!r}: {why}", subscription=self, why=safe_str(failure.value))
            self._bound = False
            channel.close()
        else:
            _LOG.error(
                "{subscription!r}: an event that failed could not be put aside, and is delivered again: {why}",
                subscription=self,
                why=safe_str(failure.value),
            )
            _ = self._clock().callLater(AGAIN_SECONDS, self._give_back, tag, channel, acks)

    def _give_back(self, tag: int, channel: BrokerChannel, acks: Acknowledger) -> None:
        # Both at once: one that is forgotten and not yet given back would be acknowledged together with a later one, and be lost.
        acks.forget(tag)
        channel.give_back(tag)

    # -- ending

    async def _stop_taking(self) -> None:
        self._wanted = False
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()
        channel, consumer = self._channel, self._consumer
        if channel is not None and consumer is not None:
            self._cancelling = channel.cancel(consumer)
            try:
                await self._cancelling
            except (TransportError, CancelledError):
                pass  # the connection is gone, or as good as that: what was not acknowledged is delivered again
            self._cancelling = None
        await self._handling.drained()
        if channel is not None and channel.is_open:
            await self._all_stored()
            self._acks.flush()
            await deferLater(self._clock(), SETTLE_SECONDS)
            channel.close()
        self._channel = self._consumer = None

    async def _change(self, spec: WireSpec) -> None:
        _ = self._connected()
        await self._turn.acquire()
        old = self._spec
        # Whoever connects next makes it hold, should this be cut short.
        self._spec, self._bound = spec, False
        try:
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
                await deferLater(self._clock(), LOCKED_SECONDS)
        finally:
            self._turn.release()

    async def _delete(self) -> None:
        connection = self._connected()
        self._forget(self)
        await self._stop_taking()
        channel = await self._opened(connection)
        sources = await noted_sources(channel, self._topology, self.group)
        await deferLater(self._clock(), 0)
        topology = self._topology
        for name in (self._queue, topology.note_queue(self.group).name, topology.dead_name(self.group)):
            await channel.delete_queue(name)
        channel.close()
        await self._delete_unused(connection, sources)

    def _connected(self) -> BrokerConnection:
        connection = self._connection()
        if connection is None:
            raise TransportError(f"{self!r}: there is no connection to the broker at present; try again when the transport is up")
        return connection
