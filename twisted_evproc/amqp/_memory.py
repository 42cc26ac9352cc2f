"""Events in memory: the transport for tests, and for programs that are not spread over processes yet."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from .._options import checked_clock, flag
from .._reactor import default_clock
from ..errors import ConfigurationError, SubscriptionRefused
from ._base import (
    FAIL_UNROUTABLE,
    MAX_EVENT_SIZE,
    MAX_WAITING,
    MAX_WAITING_SIZE,
    PUBLISH_TIMEOUT,
    WINDOW,
    Transport,
)
from ._dead import DeadLetters
from ._handling import Handling
from ._memory_queue import Consumer, MemoryDrawer, MemoryQueue, Stored
from ._memory_subscription import MemorySubscription
from ._options import SubscriptionOptions
from ._publisher import Message, Publisher
from ._state import BLOCKED, CONNECTING, DOWN, STOPPED, UP
from ._topology import Topology
from ._wire import WireSpec


@attrs.define(eq=False)
class _Exchange:
    route_by: str | None
    bindings: dict[str, WireSpec] = attrs.field(factory=dict)


class MemoryBroker:
    """
    What several :class:`MemoryTransport` objects have in common, each of which stands for a process.

    It keeps groups, their events and their dead letters as RabbitMQ does, as long as it lives itself.  Tests let it fail: see
    :meth:`go_down`, :meth:`block`, :meth:`cut` and :meth:`lose`.

    :ivar up: whether transports can connect.
    :ivar blocked: whether it takes no events for now.
    """

    def __init__(self, *, clock: IReactorTime | None = None) -> None:
        """
        :param clock: for everything that is not done at once; ``None`` for the global reactor.
        """
        self.given_clock: IReactorTime | None = checked_clock(clock, "clock")
        self.up = True
        self.blocked = False
        self._exchanges: dict[str, _Exchange] = {}
        self._queues: dict[str, MemoryQueue] = {}
        # Exchanges of the ladder, and the seconds that each keeps an event.
        self._rungs: dict[str, float] = {}
        self._transports: list[MemoryTransport] = []

    @property
    def clock(self) -> IReactorTime:
        """What keeps time: the one given, or the global reactor."""
        return default_clock(self.given_clock)

    # -- what tests do to it

    def go_down(self, reason: str = "the broker went down") -> None:
        """Cut all transports off, until :meth:`come_up`; groups and events stay."""
        self.up = False
        for transport in list(self._transports):
            transport.lost(reason)

    def come_up(self) -> None:
        """Let transports connect again, which they do in the clock's next turn."""
        self.up = True
        for transport in list(self._transports):
            transport.connect()

    def block(self, blocked: bool = True) -> None:
        """Take no events for now, as when memory or disk run out, or take them again."""
        self.blocked = flag(blocked, "blocked")
        for transport in list(self._transports):
            transport.block(blocked)

    def cut(self, transport: MemoryTransport) -> None:
        """Let the connection of a transport be lost; it connects again in the clock's next turn."""
        self._check_here(transport)
        transport.lost("the connection was cut")
        transport.connect()

    def lose(self, transport: MemoryTransport) -> None:
        """
        Let a transport be lost as if its process was killed: it does not come back.

        What it has not acknowledged goes to other members of its groups, or waits for one.
        """
        self._check_here(transport)
        self._transports.remove(transport)
        transport.lost("it was cut off for good")

    def _check_here(self, transport: Any) -> None:
        if transport not in self._transports:
            raise ConfigurationError(f"{transport!r} is not at this broker; give a MemoryTransport of it that was started")

    # -- what transports say

    def join(self, transport: MemoryTransport) -> None:
        """A transport is started."""
        self._transports.append(transport)

    def leave(self, transport: MemoryTransport) -> None:
        """A transport is stopped."""
        if transport in self._transports:
            self._transports.remove(transport)

    def queue(self, name: str) -> MemoryQueue | None:
        """The queue of a name, if there is one."""
        return self._queues.get(name)

    def refusal(self, topology: Topology) -> str:
        """Why an exchange cannot be used with these options; empty where it can."""
        exchange = self._exchanges.setdefault(topology.exchange, _Exchange(topology.route_by))
        if exchange.route_by == topology.route_by:
            return ""
        return (
            f"the exchange {topology.exchange!r} is routed by {exchange.route_by!r}, and not by {topology.route_by!r}: all "
            f"transports on one exchange have to name the same keyword.  Give route_by={exchange.route_by!r}, or another "
            f"exchange."
        )

    def declare(self, topology: Topology, group: str, options: SubscriptionOptions) -> None:
        """
        Make a group's queues; what is there stays.

        :raises twisted_evproc.errors.SubscriptionRefused: when they are there with other options.
        """
        refusal = self.refusal(topology)
        name, limit = topology.queue_name(group), options.crash_limit
        there = self._queues.get(name)
        if not refusal and there is not None and there.crash_limit != limit:
            refusal = (
                f"there is queue {name!r} already, made with other options: crash_limit={there.crash_limit}, not {limit}.  Give "
                f"all members of a group the same one, or delete() the group first."
            )
        if refusal:
            raise SubscriptionRefused(group, refusal)
        if there is None:
            dead = self._queues.setdefault(
                topology.dead_name(group), MemoryQueue(topology.dead_name(group), self.clock, None, None)
            )
            self._queues[name] = MemoryQueue(name, self.clock, limit, lambda message: self._bury(message, dead))
        for delay in options.retry_delays:
            self._rungs[topology.rung(delay)[0].name] = delay

    def bind(self, topology: Topology, group: str, spec: WireSpec) -> None:
        """
        Let a group match something, and nothing else.

        :raises twisted_evproc.errors.SubscriptionRefused: when there is no such group.
        """
        name = topology.queue_name(group)
        if name not in self._queues:
            raise SubscriptionRefused(group, f"it has no queue {name!r}; it was deleted, or never subscribed")
        self._exchanges[topology.exchange].bindings[name] = spec

    def delete(self, topology: Topology, group: str) -> None:
        """Remove a group with its events."""
        _ = self._exchanges[topology.exchange].bindings.pop(topology.queue_name(group), None)
        for name in (topology.queue_name(group), topology.dead_name(group)):
            queue = self._queues.pop(name, None)
            if queue is not None:
                queue.delete()

    def route(self, message: Message) -> bool:
        """Put a message where it belongs; gives whether that is anywhere."""
        if message.exchange in self._rungs:
            _ = self.clock.callLater(self._rungs[message.exchange], self._put, message.routing_key, message)
            return True
        if not message.exchange:
            return self._put(message.routing_key, message)
        found = [name for name, spec in self._exchanges[message.exchange].bindings.items() if spec.matches(message.headers)]
        for name in found:
            _ = self._put(name, message)
        return bool(found)

    def _put(self, name: str, message: Message) -> bool:
        queue = self._queues.get(name)
        if queue is None:
            return False
        queue.put(Stored(message.headers, message.body, message.content_type, message.id))
        return True

    def _bury(self, message: Stored, dead: MemoryQueue) -> None:
        # As RabbitMQ writes it.
        death = {"reason": "delivery_limit", "time": datetime.fromtimestamp(self.clock.seconds(), UTC), "count": 1}
        dead.put(Stored({**message.headers, "x-death": [death]}, message.body, message.content_type, message.id))


class MemoryConnection:
    """
    A transport's way to a broker; also the :class:`~twisted_evproc.amqp._publisher.Outlet` of its publisher.

    :ivar broker: the broker.
    :ivar is_open: whether it can be used.
    """

    def __init__(self, broker: MemoryBroker, publisher: Publisher) -> None:
        self.broker = broker
        self.is_open = True
        self._publisher = publisher
        self._consumers: list[Consumer] = []
        self._sent: list[tuple[int, Message]] = []

    def send(self, message: Message, number: int) -> None:
        """See :class:`Outlet`."""
        self._sent.append((number, message))
        if len(self._sent) == 1:
            _ = self.broker.clock.callLater(0, self._arrive)

    def _arrive(self) -> None:
        sent, self._sent = self._sent, []
        for number, message in sent:
            if not self.is_open:
                return  # it never arrived
            if not self.broker.route(message):
                self._publisher.returned(number)
            self._publisher.confirmed(number, False, True)

    def consume(
        self, queue: str, window: int, heard: Callable[[int, Stored], object], cancelled: Callable[[], object]
    ) -> Consumer:
        """Be given the messages of a queue."""
        there = self.broker.queue(queue)
        assert there is not None
        consumer = there.consume(window, heard, cancelled)
        self._consumers = [each for each in self._consumers if each.is_open]
        self._consumers.append(consumer)
        return consumer

    def close(self) -> None:
        """Be gone."""
        self.is_open = False
        consumers, self._consumers = self._consumers, []
        for consumer in consumers:
            consumer.close()


class MemoryDeadLetters(DeadLetters):
    """The dead letters of a group of a broker in memory."""

    async def _drawer(self, connection: Any) -> MemoryDrawer:
        broker: MemoryBroker = connection.broker
        await deferLater(broker.clock, 0)
        return MemoryDrawer(broker.queue(self._dead), self._dead)


class MemoryTransport(Transport):
    """
    Carries events within a process, and promises what :class:`AMQPTransport` does while the process lives.

    See :class:`~twisted_evproc.interfaces.IEventTransport`.  Nothing happens within a call: events are routed, delivered and
    confirmed in the clock's next turn, so that a test advances a :class:`twisted.internet.task.Clock`, by 0 seconds where nothing
    is to wait.
    """

    def __init__(
        self,
        broker: MemoryBroker | None = None,
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
        clock: IReactorTime | None = None,
        random: Random | None = None,
    ) -> None:
        """
        :param broker: what it has in common with other transports; ``None`` for one of its own.
        :param clock: for all waiting; ``None`` for that of the broker.

        The other options are those of :class:`AMQPTransport`.

        :raises twisted_evproc.errors.ConfigurationError: for an option that makes no sense.
        """
        if broker is None:
            broker = MemoryBroker(clock=clock)
        elif not isinstance(broker, MemoryBroker):
            raise ConfigurationError(f"broker={broker!r} has to be a MemoryBroker, or None for one of its own")
        super().__init__(
            exchange,
            route_by=route_by,
            codec=codec,
            source=source,
            unroutable=unroutable,
            max_event_size=max_event_size,
            clock=broker.given_clock if clock is None else clock,
            random=random,
            window=window,
            max_waiting=max_waiting,
            max_waiting_size=max_waiting_size,
            publish_timeout=publish_timeout,
        )
        self.broker = broker
        self._connection: MemoryConnection | None = None
        self._connecting: Any = None

    def dead_letters(self, group: str) -> DeadLetters:
        """See :meth:`AMQPTransport.dead_letters`."""
        return MemoryDeadLetters(self._topology, group, self.publisher, lambda: self._connection)

    def _subscription(self, group: str, target: Any, options: SubscriptionOptions, spec: WireSpec) -> MemorySubscription:
        return MemorySubscription(
            group,
            options,
            spec,
            Handling(target, options, self._codec, self._topology.queue_name(group), self._counts),
            topology=self._topology,
            publisher=self.publisher,
            connection=lambda: self._connection,
            forget=self._forget,
            clock=self.clock,
        )

    # -- what the broker says

    def connect(self) -> None:
        """Connect in the clock's next turn, if that is possible then."""
        if self._connection is None and self._connecting is None:
            self._teller.become(CONNECTING, self.reason)
            self._connecting = self.clock.callLater(0, self._connect)

    def _connect(self) -> None:
        self._connecting = None
        if not self.broker.up:
            self._teller.become(DOWN, self.reason or "the broker is down")
            return
        self._connection = connection = MemoryConnection(self.broker, self.publisher)
        self._counts.connects += 1
        refusal = self.broker.refusal(self._topology)
        if refusal:
            self._teller.become(DOWN, refusal)
        else:
            self.publisher.block(self.broker.blocked)
            self.publisher.attach(connection)
            self._tell_up()
        for subscription in list(self._subscriptions):
            subscription.connected()

    def lost(self, reason: str) -> None:
        """The connection is gone, or cannot come about."""
        self._hang_up()
        self._teller.become(DOWN, reason)

    def block(self, blocked: bool) -> None:
        """The broker takes nothing for now, or takes events again."""
        self.publisher.block(blocked)
        if self.state in {UP, BLOCKED}:
            self._tell_up()

    def _tell_up(self) -> None:
        if self.broker.blocked:
            self._teller.become(BLOCKED, "the broker takes no events for now")
        else:
            self._teller.become(UP)

    def _hang_up(self) -> None:
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        connection, self._connection = self._connection, None
        if connection is None:
            return
        # First of all: what subscriptions do when they are told must not reach the broker any more.
        connection.close()
        self.publisher.detach()
        for subscription in list(self._subscriptions):
            subscription.lost()

    # -- life

    def _open(self) -> None:
        self.broker.join(self)
        self.connect()

    async def _close(self) -> None:
        self.broker.leave(self)
        self._hang_up()
        self._teller.become(STOPPED)
