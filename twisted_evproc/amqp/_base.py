"""What every transport does in the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str
from zope.interface import implementer

from .._options import checked_clock, needed_number, seconds
from .._reactor import default_clock
from ..dispatch import EventDispatcher
from ..errors import ConfigurationError, EventNotEncodable, EventTooLarge, TransportStopped, WireError
from ..interfaces import IEventDispatcher, IEventTransport
from ._codec import Encoded, JSONCodec
from ._envelope import Envelope, time_text, traceparent
from ._forwarding import Forwarding
from ._group import Subscription
from ._handling import check_keywords_of, check_target
from ._options import SubscriptionOptions, check_codec, check_names, split_options
from ._publisher import Message, Publisher
from ._state import StateTeller
from ._statistics import Counts, TransportStatistics
from ._topology import Topology, check_name
from ._wire import WireSpec, check_details, check_keyword

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from ._dead import DeadLetters

_LOG = Logger(namespace="twisted_evproc.amqp")

MAX_EVENT_SIZE = 1_048_576
WINDOW = 1000
MAX_WAITING = 10_000
MAX_WAITING_SIZE = 64 * 1_048_576
PUBLISH_TIMEOUT = 30.0
#: CloudEvents and the broker bound what an ID may be; longer ones are refused.
MAX_ID_BYTES = 255

FAIL_UNROUTABLE, DROP_UNROUTABLE = "fail", "drop"


@implementer(IEventTransport)
class Transport:
    """
    The common part: envelopes, subscriptions, life.  Derived classes carry.

    :ivar exchange: the exchange.
    :ivar route_by: the keyword that routes, or ``None``.
    :ivar running: whether it was started, and not stopped since.
    :ivar dispatcher: an :class:`~twisted_evproc.dispatch.EventDispatcher` that fires a :class:`StateChange` for every change of
        ``state``, with the keyword ``name``: ``transport_up``, ``transport_down``, ``transport_blocked``, ``transport_stopped``.
    """

    def __init__(
        self,
        exchange: str,
        *,
        route_by: str | None,
        codec: Any,
        source: str,
        unroutable: str,
        max_event_size: int,
        clock: IReactorTime | None,
        random: Random | None,
        window: int = WINDOW,
        max_waiting: int = MAX_WAITING,
        max_waiting_size: int = MAX_WAITING_SIZE,
        publish_timeout: float | None = PUBLISH_TIMEOUT,
    ) -> None:
        self.exchange = check_name(exchange, "exchange")
        if route_by is not None:
            if not isinstance(route_by, str):
                raise WireError(route_by, f"route_by={route_by!r} has to be a keyword, or None")
            check_keyword(route_by)
        self.route_by = route_by
        self._topology = Topology(exchange, route_by)
        self._codec: Any = JSONCodec() if codec is None else check_codec(codec)
        if not isinstance(source, str):
            raise ConfigurationError(
                f"source={source!r} has to be a URI reference that says who publishes, such as '/shop/orders'"
            )
        self._source = source or f"/{exchange}"
        if unroutable not in (FAIL_UNROUTABLE, DROP_UNROUTABLE):
            raise ConfigurationError(f"unroutable={unroutable!r} has to be 'fail' or 'drop'")
        self._drop_unroutable = unroutable == DROP_UNROUTABLE
        self._max_event_size = needed_number(max_event_size, "max_event_size", 1)
        self._window = needed_number(window, "window", 1)
        self._max_waiting = needed_number(max_waiting, "max_waiting", 0)
        self._max_waiting_size = needed_number(max_waiting_size, "max_waiting_size", 0)
        self._publish_timeout = seconds(publish_timeout, "publish_timeout")
        self._publisher: Publisher | None = None
        self._given_clock = checked_clock(clock, "clock")
        if random is not None and not isinstance(random, Random):
            raise ConfigurationError(f"random={random!r} has to be a random.Random, such as Random(1), or None for the system's")
        self._random = SystemRandom() if random is None else random
        # Random once, then counted: an ID costs nothing, and no two are equal.
        self._id_prefix = f"{self._random.getrandbits(96):024x}"
        self._id_number = 0
        self._counts = Counts()
        self._teller = StateTeller(repr(self))
        self._subscriptions: list[Subscription[Any]] = []
        self.running = False
        self._taking = False
        self._stopping: Deferred[None] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.exchange!r}>"

    @property
    def clock(self) -> IReactorTime:
        """What keeps time: the one given, or the global reactor."""
        if self._given_clock is None:
            self._given_clock = default_clock(None)
        clock: IReactorTime = self._given_clock
        return clock

    @property
    def dispatcher(self) -> EventDispatcher:
        """Fires a :class:`StateChange` for every change of ``state``."""
        return self._teller.dispatcher

    @property
    def state(self) -> str:
        """``stopped``, ``connecting``, ``up``, ``blocked`` or ``down``."""
        return self._teller.state

    @property
    def reason(self) -> str:
        """Why it is in that state, in words; empty where there is nothing to say."""
        return self._teller.reason

    # -- publishing

    def publish(self, event: Any, /, *, event_id: str | None = None, **details: Any) -> Deferred[str]:
        """See :meth:`IEventTransport.publish`."""
        return self._publish(event, details, event_id)

    def _publish(self, event: Any, details: Mapping[str, Any], event_id: str | None = None) -> Deferred[str]:
        envelope = self._sealed(event, event_id, details)
        if not self._taking:
            return fail(TransportStopped(f"{self!r} is not running; start() it before publishing"))
        self._counts.published += 1
        return self._send(envelope)

    def _sealed(self, event: Any, event_id: Any, details: Mapping[str, Any]) -> Envelope:
        checked = check_details(details)
        check_names(checked)
        if event_id is None:
            self._id_number += 1
            event_id = f"{self._id_prefix}-{self._id_number}"
        elif not isinstance(event_id, str) or not event_id.isprintable() or not 0 < len(event_id.encode()) <= MAX_ID_BYTES:
            raise ConfigurationError(f"event_id={event_id!r} has to be 1 to {MAX_ID_BYTES} bytes of printable text")
        try:
            encoded = self._codec.encode(event)
        except Exception as error:
            raise EventNotEncodable(event, safe_str(error)) from error
        if not isinstance(encoded, Encoded) or not isinstance(encoded.body, bytes):
            raise EventNotEncodable(event, f"its codec gave {encoded!r}, not an Encoded")
        if len(encoded.body) > self._max_event_size:
            raise EventTooLarge(len(encoded.body), self._max_event_size)
        return Envelope(
            event_id,
            self._source,
            encoded.type,
            encoded.body,
            encoded.content_type,
            checked,
            time_text(self.clock.seconds()),
            traceparent.get(),
        )

    def _send(self, envelope: Envelope) -> Deferred[str]:
        message = Message(
            self.exchange,
            self._topology.routing_key(envelope.details),
            envelope.headers(),
            envelope.body,
            envelope.content_type,
            envelope.id,
            droppable=self._drop_unroutable,
        )
        return self.publisher.submit(message)

    @property
    def publisher(self) -> Publisher:
        """What sends."""
        if self._publisher is None:
            self._publisher = Publisher(
                self.clock,
                self._counts,
                window=self._window,
                max_waiting=self._max_waiting,
                max_waiting_size=self._max_waiting_size,
                timeout=self._publish_timeout,
                name=repr(self),
                why=lambda: f"{self.state}: {self.reason}" if self.reason else self.state,
            )
        return self._publisher

    def forward(self, dispatcher: IEventDispatcher, phase: str = "after", **match_spec: Any) -> Deferred[Forwarding]:
        """See :meth:`IEventTransport.forward`."""
        forwarding: Deferred[Forwarding] = Deferred()
        forwarding.callback(Forwarding(self._publish, dispatcher, phase, match_spec, repr(self)))
        return forwarding

    # -- subscribing

    def subscribe(self, group: str, target: Any, /, **options_and_match_spec: Any) -> Deferred[Any]:
        """
        See :meth:`IEventTransport.subscribe`.

        :param options_and_match_spec: besides the match-spec, what :class:`SubscriptionOptions` has.
        :raises twisted_evproc.errors.ConfigurationError: for an option, a keyword or a target that makes no sense.
        """
        check_name(group, "group")
        options, spec = split_options(options_and_match_spec)
        _ = check_target(target)
        check_keywords_of(target, spec)
        if any(each.group == group and not each.ended for each in self._subscriptions):
            raise ConfigurationError(
                f"the group {group!r} is subscribed on {self!r} already: change() that subscription, or let both targets be "
                f"handlers of one dispatcher"
            )
        subscription = self._subscription(group, target, options, spec)
        self._subscriptions.append(subscription)
        if self.running:
            subscription.start()
        else:
            # Whoever starts it at once, or with the application, is not reminded of that.
            _ = self.clock.callLater(0, self._remind, subscription)
        return self._subscribed(subscription)

    def _remind(self, subscription: Subscription[Any]) -> None:
        if not self.running and subscription in self._subscriptions:
            _LOG.warn(
                "the group {group!r} waits for {transport!r}, which was not started: call start()",
                group=subscription.group,
                transport=self,
            )

    def dead_letters(self, group: str) -> DeadLetters:
        """See :meth:`IEventTransport.dead_letters`."""
        raise NotImplementedError

    def _subscription(self, group: str, target: Any, options: SubscriptionOptions, spec: WireSpec) -> Subscription[Any]:
        raise NotImplementedError

    def _subscribed(self, subscription: Subscription[Any]) -> Deferred[Any]:
        established = subscription.established()
        subscribed: Deferred[Any] = Deferred(lambda _: established.cancel())

        def give_up(failure: Any) -> None:
            leaving = subscription.unsubscribe()
            _ = leaving.addErrback(lambda _: None)
            subscribed.errback(failure)

        _ = established.addCallbacks(lambda _: subscribed.callback(subscription), give_up)
        return subscribed

    def _forget(self, subscription: Subscription[Any]) -> None:
        with suppress(ValueError):
            self._subscriptions.remove(subscription)

    # -- life

    def start(self) -> Deferred[None]:
        """
        Begin to connect.

        It never fails for a broker that is not there: that is a state, and is tried again.

        :return: fires at once; while the transport is being stopped, once that has ended and it begins anew.
        """
        started: Deferred[None] = Deferred()
        if self._stopping is not None:
            _ = self._stopping.addCallback(self._start_again, started)
            return started
        if not self.running:
            self.running = self._taking = True
            self._open()
            for subscription in self._subscriptions:
                subscription.start()
        started.callback(None)
        return started

    def _start_again(self, stopped: None, started: Deferred[None]) -> None:
        _ = self.start().addCallback(started.callback)

    def stop(self, timeout: float | None = None) -> Deferred[None]:
        """
        Take no more events in, finish those under way, and wait until what was published is confirmed.

        :param timeout: seconds after which handlers that still run are cancelled (their events stay with the broker), and events
            that are not confirmed fail with :class:`~twisted_evproc.errors.TransportStopped`; ``None`` for no limit.
        :return: fires once nothing is left, and the connection closed.
        """
        seconds(timeout, "timeout")
        ended: Deferred[None] = Deferred()
        if self.running:
            self.running = False
            stopping = self._stopping = Deferred.fromCoroutine(self._drain())
            _ = stopping.addBoth(self._drained)
        elif self._stopping is not None:
            stopping = self._stopping
        else:
            ended.callback(None)
            return ended
        # A later call may be in a greater hurry.
        within(self.clock, timeout, stopping, self._cut_short)
        finished: Deferred[Any] = stopping
        if any(subscription.is_calling_us for subscription in self._subscriptions):
            finished = DeferredList([subscription.others_finished() for subscription in self._subscriptions])
        _ = finished.addCallback(lambda _: ended.callback(None))
        return ended

    async def _drain(self) -> None:
        await DeferredList([subscription.stop_taking() for subscription in self._subscriptions], consumeErrors=True)
        # Until here, what handlers at work publish is still taken.
        self._taking = False
        await self.publisher.idle()
        # Nothing waits any more, but for a time-out that would come to nothing.
        self.publisher.give_up()
        await self._close()

    def _drained(self, result: Any) -> None:
        self._stopping = None
        if isinstance(result, Failure):
            _LOG.failure("{transport!r} was not stopped in order", result, transport=self)

    def _cut_short(self) -> None:
        for subscription in list(self._subscriptions):
            subscription.cut_short()
        self._taking = False
        self.publisher.give_up()

    def statistics(self) -> TransportStatistics:
        """See :meth:`IEventTransport.statistics`."""
        publisher = self.publisher
        return TransportStatistics(
            **{
                **vars(self._counts),
                "waiting": publisher.waiting,
                "waiting_size": publisher.waiting_size,
                "in_flight": publisher.in_flight,
            }
        )

    def _open(self) -> None:
        """Begin to connect."""
        raise NotImplementedError

    async def _close(self) -> None:
        """Leave the broker; nothing is under way any more."""
        raise NotImplementedError


def within(clock: IReactorTime, timeout: float | None, work: Deferred[Any], cut_short: Callable[[], object]) -> None:
    """Call ``cut_short`` when work has not ended in time."""
    if timeout is None:
        return
    call = clock.callLater(timeout, cut_short)

    def ended(result: Any) -> Any:
        if call.active():
            call.cancel()
        return result

    _ = work.addBoth(ended)
