"""Events over RabbitMQ."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

from twisted.internet.defer import Deferred

from .._options import needed_number, needed_seconds
from ..errors import ConfigurationError, MissingExtra, TransportError
from ._base import (
    FAIL_UNROUTABLE,
    MAX_EVENT_SIZE,
    MAX_WAITING,
    MAX_WAITING_SIZE,
    PUBLISH_TIMEOUT,
    WINDOW,
    Transport,
)
from ._handling import Handling
from ._options import SubscriptionOptions
from ._refusal import explained
from ._state import BLOCKED, STOPPED, UP, combined
from ._url import endpoint_for, parse_url
from ._wire import WireSpec

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from ._channel import BrokerChannel
    from ._connection import BrokerConnection
    from ._dead import DeadLetters
    from ._link import Link
    from ._subscription import AMQPSubscription

HEARTBEAT = 10
#: The protocol has 16 bits for the seconds.
MAX_HEARTBEAT = 65_535
CONNECT_TIMEOUT = 10.0


class AMQPTransport(Transport):
    """
    Carries events over RabbitMQ, 3.10 or later.

    See :class:`~twisted_evproc.interfaces.IEventTransport` for what it promises.  It publishes over one connection and takes
    events in over another one, since the broker stops reading from those that publish when it runs out of memory or disk.
    """

    def __init__(
        self,
        url: str,
        *,
        exchange: str,
        route_by: str | None = None,
        codec: Any = None,
        source: str = "",
        unroutable: str = FAIL_UNROUTABLE,
        window: int = WINDOW,
        max_waiting: int = MAX_WAITING,
        max_waiting_size: int = MAX_WAITING_SIZE,
        max_event_size: int = MAX_EVENT_SIZE,
        publish_timeout: float | None = PUBLISH_TIMEOUT,
        heartbeat: int = HEARTBEAT,
        connect_timeout: float = CONNECT_TIMEOUT,
        clock: IReactorTime | None = None,
        random: Random | None = None,
    ) -> None:
        """
        :param url: of the broker: ``amqp://user:password@host:5672/virtual_host``, or ``amqps://`` for TLS, see the reference.
        :param exchange: the exchange that events go through; its name begins the names of all queues.
        :param route_by: the keyword that most match-specs name: the broker finds the groups by its value first.  All programs on
            one exchange have to name the same one.  ``None`` for none.
        :param codec: an :class:`~twisted_evproc.interfaces.ICodec`; ``None`` for :class:`JSONCodec`.
        :param source: the CloudEvents ``source`` of what is published, a URI reference; empty for ``/`` and the exchange.
        :param unroutable: ``"fail"``: publishing an event that nobody is bound to fails; ``"drop"``: it does not.
        :param window: how many events are sent before the first of them is confirmed, at most.
        :param max_waiting: how many more may wait; past it publishing fails with ``Overflow``.
        :param max_waiting_size: how many bytes these may have.
        :param max_event_size: how many bytes one event may have.
        :param publish_timeout: seconds after which publishing fails; ``None`` for no limit.
        :param heartbeat: seconds, 65535 at most; the broker counts as gone after one and a half to two times that without a word
            from it.
        :param connect_timeout: seconds for one attempt to connect.
        :param clock: for all waiting; ``None`` for the global reactor, which connects in any case.
        :param random: for the beginning of IDs, and for spreading reconnections; ``None`` for the system's.
        :raises twisted_evproc.errors.ConfigurationError: for an option that makes no sense.
        :raises twisted_evproc.errors.MissingExtra: when pika is not installed.
        """
        self.address = parse_url(url)
        super().__init__(
            exchange,
            route_by=route_by,
            codec=codec,
            source=source,
            unroutable=unroutable,
            max_event_size=max_event_size,
            clock=clock,
            random=random,
            window=window,
            max_waiting=max_waiting,
            max_waiting_size=max_waiting_size,
            publish_timeout=publish_timeout,
        )
        try:
            import pika  # noqa: F401  only to see that it is there
        except ImportError as error:
            raise MissingExtra("AMQPTransport", "amqp") from error
        self._heartbeat = needed_number(heartbeat, "heartbeat", 1)
        if self._heartbeat > MAX_HEARTBEAT:
            raise ConfigurationError(
                f"heartbeat={heartbeat!r} has to be {MAX_HEARTBEAT} seconds or less: the protocol has no room for more"
            )
        self._connect_timeout = needed_seconds(connect_timeout, "connect_timeout")
        self._links: dict[str, Link] = {}
        self._blocked: str | None = None

    def __repr__(self) -> str:
        return f"<AMQPTransport {self.exchange!r} at {self.address}>"

    # -- subscribing

    def _subscription(self, group: str, target: Any, options: SubscriptionOptions, spec: WireSpec) -> AMQPSubscription:
        from ._subscription import AMQPSubscription

        if self.running:
            self._link("consume").start()
        return AMQPSubscription(
            group,
            options,
            spec,
            Handling(target, options, self._codec, self._topology.queue_name(group), self._counts),
            topology=self._topology,
            publisher=self.publisher,
            connection=lambda: self._connection("consume"),
            forget=self._forget,
            clock=self.clock,
        )

    def dead_letters(self, group: str) -> DeadLetters:
        """The dead letters of a group: events that its handlers could not handle."""
        from ._dead import DeadLetters

        return DeadLetters(self._topology, group, self.publisher, lambda: self._connection("publish"))

    # -- connections

    def _connection(self, purpose: str) -> BrokerConnection | None:
        link = self._links.get(purpose)
        return None if link is None else link.connection

    def _link(self, purpose: str) -> Link:
        from ._link import Link

        link = self._links.get(purpose)
        if link is None:
            publishes = purpose == "publish"
            link = self._links[purpose] = Link(
                f"{self!r} ({purpose})",
                connect=lambda: self._connect(purpose, self._when_blocked if publishes else None),
                ready=self._ready_to_publish if publishes else self._ready_to_consume,
                lost=self._lost_publishing if publishes else self._lost_consuming,
                changed=self._state_changed,
                clock=self.clock,
                random=self._random,
            )
        return link

    def _connect(self, purpose: str, on_blocked: Callable[[str | None], object] | None) -> Deferred[BrokerConnection]:
        from twisted.internet import reactor

        from ._connection import BrokerConnection, OneConnection

        protocol = BrokerConnection(
            self.address,
            self.clock,
            heartbeat=self._heartbeat,
            purpose=f"{self.exchange} ({purpose})",
            on_blocked=on_blocked,
        )
        streaming: Deferred[Any] = endpoint_for(self.address, reactor, self._connect_timeout).connect(OneConnection(protocol))
        connecting: Deferred[BrokerConnection] = streaming.addCallback(lambda _: protocol.opened)
        _ = connecting.addErrback(self._not_connected)
        return connecting.addTimeout(
            self._connect_timeout, self.clock, lambda *_: _raise(f"{self.address} did not answer in {self._connect_timeout:g} s")
        )

    def _not_connected(self, failure: Any) -> None:
        if failure.check(TransportError):
            failure.raiseException()
        from twisted.internet.error import ConnectError, DNSLookupError

        if failure.check(ConnectError, DNSLookupError):
            raise TransportError(f"no connection to {self.address}: {failure.value}") from failure.value
        failure.raiseException()

    async def _declare(self, channel: BrokerChannel) -> None:
        from ._channel import ChannelClosed

        try:
            await channel.declare_exchange(self._topology.marker)
            await channel.declare_exchange(self._topology.entry)
        except ChannelClosed as error:
            if not error.code:
                raise
            raise TransportError(explained(error.code, error.text, self._topology)) from error

    async def _ready_to_publish(self, connection: BrokerConnection) -> None:
        from ._channel import BrokerChannel
        from ._outlet import ChannelOutlet

        channel = BrokerChannel(await connection.channel())
        await self._declare(channel)
        outlet = ChannelOutlet(channel, self.publisher)
        await outlet.open()
        self._blocked = None
        # A channel that the broker closes takes the connection with it: both are made anew.
        _ = channel.closed.addCallback(lambda why: connection.close(str(why)))
        self.publisher.block(False)
        self.publisher.attach(outlet)

    async def _ready_to_consume(self, connection: BrokerConnection) -> None:
        # Each subscription sees to itself, so that one that is refused does not keep others from working.
        self.clock.callLater(0, self._subscriptions_connected)

    def _subscriptions_connected(self) -> None:
        for subscription in list(self._subscriptions):
            subscription.connected()

    def _lost_publishing(self) -> None:
        self._blocked = None
        self.publisher.detach()

    def _lost_consuming(self) -> None:
        for subscription in list(self._subscriptions):
            subscription.lost()

    def _when_blocked(self, reason: str | None) -> None:
        self._blocked = reason
        self.publisher.block(reason is not None)
        self._state_changed()

    def _state_changed(self) -> None:
        self._counts.connects = sum(link.connects for link in self._links.values())
        states = [(link.state, link.reason) for link in self._links.values()]
        state, reason = combined(states or [(STOPPED, "")])
        if state == UP and self._blocked is not None:
            state, reason = BLOCKED, f"the broker takes no events for now: {self._blocked}"
        self._teller.become(state, reason)

    # -- life

    def _open(self) -> None:
        self._link("publish").start()
        if self._subscriptions:
            self._link("consume").start()

    async def _close(self) -> None:
        for link in list(self._links.values()):
            await link.stop()


class DeadLetterTransport(AMQPTransport):
    """
    For dead letters alone: connecting makes nothing on the broker.

    So a name that is not there can be told, where an :class:`AMQPTransport` would make an exchange of that name.
    """

    async def _declare(self, channel: BrokerChannel) -> None:
        pass


def _raise(message: str) -> NoReturn:
    raise TransportError(message)
