"""A group's events to a target: what subscriptions do in the same way, whatever carries the events."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str
from zope.interface import implementer

from ..dispatch import arrived, settle, watch
from ..errors import SubscriptionRefused, TransportError
from ..interfaces import ISubscription
from ._handling import Done, GivenBack, Handling, Later, Verdict
from ._put_aside import put_aside

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.internet.interfaces import IReactorTime

    from ._envelope import Envelope
    from ._options import SubscriptionOptions
    from ._publisher import Publisher
    from ._topology import Topology
    from ._wire import WireSpec

_LOG = Logger(namespace="twisted_evproc.amqp")

#: Seconds before something that the broker refused, or a deduplicator did not tell, is tried again.
AGAIN_SECONDS = 1.0


class Connection(Protocol):
    """A connection to a broker."""

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""


class Delivery(Protocol):
    """An event in our hands that the broker waits for an answer to, one of two."""

    @property
    def is_open(self) -> bool:
        """Whether an answer still reaches the broker; where it does not, the broker delivers the event again."""

    def acknowledge(self) -> None:
        """The broker is to forget it."""

    def give_back(self) -> None:
        """The broker is to deliver it again."""


_C = TypeVar("_C", bound=Connection)


@implementer(ISubscription)
@attrs.define(eq=False, repr=False, slots=False)
class Subscription(Generic[_C]):
    """
    See :class:`~twisted_evproc.interfaces.ISubscription`.  Derived classes take the events in.

    :ivar group: the group.
    :ivar options: how events are handled.
    :ivar ended: whether it is, or is about to be, no subscription any more: another one may have the group.
    """

    group: str
    options: SubscriptionOptions
    _spec: WireSpec
    _handling: Handling
    _topology: Topology = attrs.field(kw_only=True)
    _publisher: Publisher = attrs.field(kw_only=True)
    #: Gives the one that is there at present.
    _connection: Callable[[], _C | None] = attrs.field(kw_only=True)
    #: Is told that we have ended.
    _forget: Callable[[Any], object] = attrs.field(kw_only=True)
    _clock: IReactorTime = attrs.field(kw_only=True)
    ended: bool = attrs.field(init=False, default=False)
    _stopping: Deferred[None] | None = attrs.field(init=False, default=None)
    _queue: str = attrs.field(init=False)
    _bound: bool = attrs.field(init=False, default=False)
    _wanted: bool = attrs.field(init=False, default=False)
    _attempt: Deferred[None] | None = attrs.field(init=False, default=None)
    _refused: SubscriptionRefused | None = attrs.field(init=False, default=None)
    _waiting: list[Deferred[None]] = attrs.field(init=False, factory=list)
    _putting_aside: set[Deferred[str]] = attrs.field(init=False, factory=set)
    _wait_for_aside: list[Deferred[None]] = attrs.field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        self._queue = self._topology.queue_name(self.group)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.group!r} ({self._spec})>"

    @property
    def match_spec(self) -> Mapping[str, Any]:
        """See :class:`~twisted_evproc.interfaces.ISubscription`."""
        return self._spec.match_spec

    @property
    def active(self) -> bool:
        """See :class:`~twisted_evproc.interfaces.ISubscription`."""
        raise NotImplementedError

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
        if self.ended:
            return
        self._wanted = True
        self._handling.begin()
        self.connected()

    def connected(self) -> None:
        """A connection is there."""
        if self._wanted and self._attempt is None and self._connection() is not None and not self.active:
            self._attempt = attempt = Deferred.fromCoroutine(self._establish())
            _ = attempt.addBoth(self._attempted, attempt)

    def lost(self) -> None:
        """The connection is gone; what is under way goes on, and is delivered again."""
        self._cut_off()
        self._give_up_attempt()

    def stop_taking(self) -> Deferred[None]:
        """
        Take no more events.

        :return: fires once those under way have their verdict, and the broker knows it.  Who calls it again waits for the same;
            cancelling it ends the waiting alone.
        """
        stopping = self._stopping
        if stopping is None:
            stopping = self._stopping = Deferred.fromCoroutine(self._stop_taking())
            _ = stopping.addBoth(self._stopped)
        stopped: Deferred[None] = Deferred(lambda _: None)

        def tell(result: Any) -> None:
            if not stopped.called:
                stopped.callback(result)

        watch(stopping, tell)
        return stopped

    @property
    def is_calling_us(self) -> bool:
        """Whether we are being called by a handler at work; it cannot wait for its own end."""
        return self._handling.is_calling_us

    def others_finished(self) -> Deferred[None]:
        """Fires once all events have their verdict but for those whose handlers wait for that."""
        return self._handling.others_drained()

    def cut_short(self) -> None:
        """Cancel the handlers at work."""
        self._handling.cut_short()

    # -- what users say

    def change(self, **match_spec: Any) -> Deferred[None]:
        """See :meth:`ISubscription.change`."""
        return Deferred.fromCoroutine(self._change_unless_ended(self._handling.check_spec(match_spec)))

    async def _change_unless_ended(self, spec: WireSpec) -> None:
        self._check_not_ended()
        await self._change(spec)

    def _check_not_ended(self) -> None:
        if self.ended:
            raise TransportError(f"{self!r} has ended and binds its group no more; subscribe() the group with the new match-spec")

    def unsubscribe(self) -> Deferred[None]:
        """See :meth:`ISubscription.unsubscribe`."""
        self.ended = True
        stopped = self.stop_taking()
        return self.others_finished() if self.is_calling_us else stopped

    def delete(self) -> Deferred[None]:
        """See :meth:`ISubscription.delete`."""
        return Deferred.fromCoroutine(self._delete())

    # -- what derived classes do

    async def _begin_taking(self, connection: _C) -> None:
        """
        Make the group's queue where it is not there, and take its events.

        :raises SubscriptionRefused: when the broker does not let us.
        """
        raise NotImplementedError

    async def _end_taking(self) -> None:
        """Take no more events; what came in can still be answered."""
        raise NotImplementedError

    async def _leave(self) -> None:
        """Let the broker know all answers, and be gone."""
        raise NotImplementedError

    def _let_go(self) -> None:
        """What events came in over is gone."""
        raise NotImplementedError

    async def _change(self, spec: WireSpec) -> None:
        """Bind the group to something else; whoever has to wait before that sees again whether we have ended."""
        raise NotImplementedError

    async def _remove(self, connection: _C) -> None:
        """Remove the group from the broker."""
        raise NotImplementedError

    # -- being established

    async def _establish(self) -> None:
        while (connection := self._connection()) is not None:  # otherwise connected() comes again
            try:
                if self.options.dedupe is not None:
                    await arrived(settle(self.options.dedupe.open()))
                    if not self._wanted or self._connection() is not connection:
                        return  # cancelled, which a deduplicator need not heed
                await self._begin_taking(connection)
                return
            except CancelledError:
                raise
            except Exception as error:  # noqa: BLE001  whatever keeps it from being subscribed: told, and tried again
                if not connection.is_open:
                    return
                if isinstance(error, SubscriptionRefused):
                    self._refused = error
                    _LOG.error("{refused}", refused=error)
                    if self._waiting:
                        return
                else:
                    _LOG.failure("{subscription!r} cannot be established yet", subscription=self)
                await deferLater(self._clock, AGAIN_SECONDS)

    def _attempted(self, result: Any, attempt: Deferred[None]) -> None:
        if self._attempt is attempt:
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
                _ = self._clock.callLater(AGAIN_SECONDS, self.connected)

    def _give_up_attempt(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()

    def _tell(self, error: BaseException | None) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if each.called:
                continue
            if error is None:
                each.callback(None)
            else:
                each.errback(error)

    def _cut_off(self) -> None:
        self._let_go()
        # The broker delivers these again: what is not sent yet would only make a second copy.
        for aside in list(self._putting_aside):
            aside.cancel()

    # -- what follows from a verdict

    def _take(self, envelope: Envelope, delivery: Delivery) -> None:
        self._handling.take(envelope, partial(self._follow, envelope, delivery))

    def _take_again(self, envelope: Envelope, delivery: Delivery) -> None:
        # Otherwise it is with the broker again, or about to be.
        if self._wanted and delivery.is_open:
            self._handling.take(envelope, partial(self._follow, envelope, delivery), again=True)

    def _follow(self, envelope: Envelope, delivery: Delivery, verdict: Verdict) -> None:
        if not delivery.is_open:
            return
        if isinstance(verdict, Done):
            delivery.acknowledge()
        elif isinstance(verdict, GivenBack):
            delivery.give_back()
        elif isinstance(verdict, Later):
            # Given back, it would come again at once, and each time count for crash_limit.
            _ = self._clock.callLater(AGAIN_SECONDS, self._take_again, envelope, delivery)
        else:
            # It is acknowledged only once it is safe in its new place: twice rather than never.
            message = put_aside(verdict, envelope, self._topology, self.group, self._clock.seconds())
            aside = self._publisher.submit(message)
            self._putting_aside.add(aside)
            answered = aside.addCallbacks(lambda _: delivery.acknowledge(), lambda failure: self._not_aside(failure, delivery))
            _ = answered.addBoth(self._is_aside, aside)

    def _not_aside(self, failure: Failure, delivery: Delivery) -> None:
        if not delivery.is_open:
            return
        _LOG.error(
            "{subscription!r}: an event that failed could not be put aside, and is delivered again: {why}",
            subscription=self,
            why=safe_str(failure.value),
        )
        if self._wanted:
            _ = self._clock.callLater(AGAIN_SECONDS, delivery.give_back)
        else:
            delivery.give_back()

    def _is_aside(self, result: Any, aside: Deferred[str]) -> Any:
        self._putting_aside.discard(aside)
        if not self._putting_aside:
            waiting, self._wait_for_aside = self._wait_for_aside, []
            for each in waiting:
                each.callback(None)
        return result

    def _all_aside(self) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        if self._putting_aside:
            self._wait_for_aside.append(waiting)
        else:
            waiting.callback(None)
        return waiting

    # -- ending

    async def _stop_taking(self) -> None:
        self._wanted = False
        self._give_up_attempt()
        await self._end_taking()
        await self._handling.drained()
        await self._all_aside()
        await self._leave()

    def _stopped(self, result: Any) -> Any:
        self._stopping = None
        # Not before: while events are under way, who stops the transport waits for them.
        if self.ended:
            self._forget(self)
        return result

    async def _delete(self) -> None:
        connection = self._needed_connection()
        self.ended = True
        stopped = self.stop_taking()
        await (self.others_finished() if self.is_calling_us else stopped)
        await self._remove(connection)

    def _needed_connection(self) -> _C:
        connection = self._connection()
        if connection is None:
            raise TransportError(f"{self!r}: there is no connection to the broker at present; try again when the transport is up")
        return connection
