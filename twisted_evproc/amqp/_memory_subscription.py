"""A group's events from a broker in memory to a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str
from zope.interface import implementer

from ..dispatch import arrived, settle
from ..errors import SubscriptionRefused, TransportError
from ..interfaces import ISubscription
from ._envelope import Envelope, read_envelope
from ._handling import Done, GivenBack, Handling, Verdict
from ._memory_queue import Consumer, Stored
from ._options import SubscriptionOptions
from ._publisher import Publisher
from ._put_aside import put_aside
from ._topology import Topology
from ._wire import WireSpec

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from ._memory import MemoryConnection

_LOG = Logger(namespace="twisted_evproc.amqp")

#: Seconds before something that was refused is tried again.
AGAIN_SECONDS = 1.0


@implementer(ISubscription)
class MemorySubscription:
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
        connection: Callable[[], MemoryConnection | None],
        forget: Callable[[MemorySubscription], object],
        clock: IReactorTime,
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
        self._consumer: Consumer | None = None
        self._bound = False
        self._wanted = False
        self._attempt: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []
        self._storing: set[Deferred[str]] = set()
        self._all_stored: list[Deferred[None]] = []

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.group!r} ({self._spec})>"

    @property
    def match_spec(self) -> Mapping[str, Any]:
        """See :class:`~twisted_evproc.interfaces.ISubscription`."""
        return self._spec.match_spec

    @property
    def active(self) -> bool:
        """See :class:`~twisted_evproc.interfaces.ISubscription`."""
        return self._consumer is not None and self._consumer.is_open

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
        self.connected()

    def connected(self) -> None:
        """A connection is there."""
        if self._wanted and self._attempt is None and self._connection() is not None and not self.active:
            attempt = self._attempt = Deferred.fromCoroutine(self._establish())
            _ = attempt.addBoth(self._attempted)

    def lost(self) -> None:
        """The connection is gone; what is under way goes on, and is delivered again."""
        self._consumer = None
        self._give_up_attempt()
        # The broker delivers these again: what is not sent yet would only make a second copy.
        for stored in list(self._storing):
            stored.cancel()

    def stop_taking(self) -> Deferred[None]:
        """Take no more events; fires once those under way have their verdict, and the broker knows it."""
        return Deferred.fromCoroutine(self._stop_taking())

    def cut_short(self) -> None:
        """Cancel the handlers at work."""
        self._handling.cut_short()

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
        while (connection := self._connection()) is not None:
            await deferLater(self._clock, 0)
            try:
                if self.options.dedupe is not None:
                    await arrived(settle(self.options.dedupe.open()))
                self._consume(connection)
                self._tell(None)
                return
            except CancelledError:
                raise
            except SubscriptionRefused as error:
                _LOG.error("{refused}", refused=error)
                if self._tell(error):
                    return
            except Exception:  # noqa: BLE001  whatever keeps it from being subscribed: told, and tried again
                _LOG.failure("{subscription!r} cannot be established yet", subscription=self)
            await deferLater(self._clock, AGAIN_SECONDS)

    def _consume(self, connection: MemoryConnection) -> None:
        broker, topology = connection.broker, self._topology
        if not self._bound or broker.queue(topology.queue_name(self.group)) is None:
            broker.declare(topology, self.group, self.options)
            broker.bind(topology, self.group, self._spec)
            self._bound = True
        self._consumer = connection.consume(topology.queue_name(self.group), self.options.window, self._heard, self._cancelled)

    def _attempted(self, result: Any) -> None:
        self._attempt = None
        if isinstance(result, Failure) and not result.check(CancelledError):
            _LOG.failure("{subscription!r} is not established", result, subscription=self)

    def _give_up_attempt(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()

    def _tell(self, error: BaseException | None) -> bool:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.called:
                if error is None:
                    each.callback(None)
                else:
                    each.errback(error)
        return bool(waiting)

    def _cancelled(self) -> None:
        # Another member has deleted the group: it is made anew.
        self.lost()
        self.connected()

    # -- what follows from a verdict

    def _heard(self, tag: int, message: Stored) -> None:
        consumer = self._consumer
        assert consumer is not None
        envelope = read_envelope(message.headers, message.body, message.content_type, message.id, message.returns > 0)
        self._handling.take(envelope, lambda verdict: self._follow(verdict, envelope, tag, consumer))

    def _follow(self, verdict: Verdict, envelope: Envelope, tag: int, consumer: Consumer) -> None:
        if not consumer.is_open:
            return  # the broker has it again already
        if isinstance(verdict, Done):
            consumer.acknowledge(tag)
        elif isinstance(verdict, GivenBack):
            consumer.give_back(tag)
        else:
            # It is acknowledged only once it is safe in its new place: twice rather than never.
            message = put_aside(verdict, envelope, self._topology, self.group, self._clock.seconds())
            stored = self._publisher.submit(message)
            self._storing.add(stored)
            ended = stored.addCallbacks(
                lambda _: consumer.acknowledge(tag), lambda failure: self._not_stored(failure, tag, consumer)
            )
            _ = ended.addBoth(self._stored, stored)

    def _not_stored(self, failure: Failure, tag: int, consumer: Consumer) -> None:
        if not consumer.is_open:
            return
        _LOG.error(
            "{subscription!r}: an event that failed could not be put aside, and is delivered again: {why}",
            subscription=self,
            why=safe_str(failure.value),
        )
        if self._wanted:
            _ = self._clock.callLater(AGAIN_SECONDS, consumer.give_back, tag)
        else:
            consumer.give_back(tag)

    def _stored(self, result: Any, stored: Deferred[str]) -> Any:
        self._storing.discard(stored)
        if not self._storing:
            waiting, self._all_stored = self._all_stored, []
            for each in waiting:
                each.callback(None)
        return result

    # -- ending

    async def _stop_taking(self) -> None:
        self._wanted = False
        self._give_up_attempt()
        consumer = self._consumer
        if consumer is not None:
            consumer.cancel()
        await self._handling.drained()
        if self._storing:
            waiting: Deferred[None] = Deferred()
            self._all_stored.append(waiting)
            await waiting
        if consumer is not None:
            consumer.close()
        self._consumer = None

    async def _change(self, spec: WireSpec) -> None:
        connection = self._connected()
        await deferLater(self._clock, 0)
        connection.broker.bind(self._topology, self.group, spec)
        self._spec = spec

    async def _delete(self) -> None:
        connection = self._connected()
        self._forget(self)
        await self._stop_taking()
        connection.broker.delete(self._topology, self.group)

    def _connected(self) -> MemoryConnection:
        connection = self._connection()
        if connection is None:
            raise TransportError(f"{self!r}: there is no connection to the broker at present; try again when the transport is up")
        return connection
