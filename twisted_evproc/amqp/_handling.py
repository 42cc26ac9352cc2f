"""What is done with an event that came in, and what follows from how that went."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import copy_context
from functools import partial
from typing import Any, TypeAlias

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str

from ..dispatch import arrived, settle, watch
from ..errors import ConfigurationError, EventNotDecodable, TransportError, WireError
from ..interfaces import IEventHandler
from ..sources import DispatchEventHandler, QueuedEvent, as_handler
from ._dedupe import key_of
from ._envelope import Envelope, current_envelope, enter_envelope
from ._options import SubscriptionOptions, check_names, check_spelling
from ._statistics import Counts
from ._wire import WireSpec

_LOG = Logger(namespace="twisted_evproc.amqp")

#: A reason travels in a header, and headers have to fit into a frame.
MAX_REASON_BYTES = 2000


@attrs.frozen
class Done:
    """The event was handled, or had been before: it is acknowledged."""


@attrs.frozen
class Retry:
    """The event is to be delivered again after ``delay`` seconds."""

    delay: float
    reason: str


@attrs.frozen
class Dead:
    """The event becomes a dead letter."""

    reason: str


@attrs.frozen
class GivenBack:
    """Handling it was cut short: it stays with the broker, which delivers it again."""


@attrs.frozen
class Later:
    """Whether the event was handled before could not be told: it is to be taken again, and stays in our hands until then."""


Verdict: TypeAlias = Done | Retry | Dead | GivenBack | Later
DONE = Done()
GIVEN_BACK = GivenBack()
LATER = Later()

#: Hands an event to its target; gives a value, a Deferred or a coroutine.
Target: TypeAlias = Callable[[Any, Envelope], Any]


def check_target(target: Any) -> Target:
    """
    What hands events to a target.

    :raises twisted_evproc.errors.ConfigurationError: for something that takes no events.
    """
    if isinstance(target, type):
        raise ConfigurationError(f"the target of a subscription is {target!r}, a class: give an instance of it")
    if callable(getattr(target, "fire_event", None)):
        return _queued(DispatchEventHandler(target, _Details(target)))
    if any(callable(getattr(target, name, None)) for name in ("process_event", "process", "invoke")):
        return _queued(as_handler(target, "the target of a subscription"))
    if callable(target):
        return lambda event, _: target(event)
    raise ConfigurationError(
        f"the target of a subscription is {target!r}, which takes no events: give a dispatcher, a processor, an event handler or "
        f"a function of the event"
    )


def check_keywords_of(target: Any, spec: WireSpec) -> None:
    """
    See that a target that allows certain keywords allows those of a match-spec, and that none looks like an option elsewhere.

    :raises twisted_evproc.errors.WireError: for one that it does not, or that does.
    """
    allowed = getattr(target, "allowed_match_spec_keywords", None)
    if allowed is None:
        check_spelling(spec.match_spec)
        return
    unknown = sorted(set(spec.match_spec) - set(allowed))
    if unknown:
        known = ", ".join(sorted(allowed)) or "(none)"
        raise WireError(unknown[0], f"{unknown[0]!r} is no match-spec keyword of {target!r}; allowed there: {known}.")


def _queued(handler: IEventHandler) -> Target:
    return lambda event, envelope: handler.process_event(QueuedEvent(envelope, handler, event))


class _Details:
    """The details that a dispatcher is fired with: those that it allows."""

    def __init__(self, dispatcher: Any) -> None:
        self._dispatcher = dispatcher

    def __call__(self, event: QueuedEvent) -> Mapping[str, Any]:
        dispatcher = self._dispatcher
        if not getattr(dispatcher, "running", True):
            # It would call nobody, and the event be lost.
            raise TransportError(f"{dispatcher!r} does not run; start it before the transport, and stop it after it")
        details: Mapping[str, Any] = event.originator.details
        # A publisher may know more keywords than we: they say more about the event, and choose nobody here.
        allowed = getattr(dispatcher, "allowed_match_spec_keywords", details)
        return {keyword: value for keyword, value in details.items() if keyword in allowed}


@attrs.define(eq=False)
class _Work:
    """
    An event without a verdict.

    :ivar found: what its target gave; ``None`` while that is being called.
    :ivar waits: whether its target waits for the others to have their verdict.
    """

    envelope: Envelope
    tell: Callable[[Verdict], object]
    found: Deferred[Any] | None = None
    waits: bool = False


class Handling:
    """Handles the events of one subscription, and says what is to follow."""

    def __init__(self, target: Any, options: SubscriptionOptions, codec: Any, scope: str, counts: Counts) -> None:
        self._target = target
        self._call = check_target(target)
        self._options = options
        self._decode = (options.codec or codec).decode
        self._scope = scope
        self._counts = counts
        # Without what was given up.
        self._under_way: dict[_Work, None] = {}
        # By the keys that are to be remembered: who waits for the delivery at work.
        self._in_hand: dict[str, list[Deferred[None]]] = {}
        # Who waits for all to have their verdict, and who for those that do not wait themselves.
        self._idle: list[Deferred[None]] = []
        self._others_idle: list[Deferred[None]] = []
        self._ended = False

    def check_spec(self, match_spec: Mapping[str, Any]) -> WireSpec:
        """
        A match-spec that the target can have.

        :raises twisted_evproc.errors.WireError: for any other.
        """
        check_names(match_spec)
        spec = WireSpec(match_spec)
        check_keywords_of(self._target, spec)
        return spec

    @property
    def under_way(self) -> int:
        """How many events have no verdict yet."""
        return len(self._under_way)

    def take(self, envelope: Envelope, tell: Callable[[Verdict], object], *, again: bool = False) -> None:
        """
        Handle an event.

        :param tell: hears the verdict, once, at once where the handlers return at once.
        :param again: whether the verdict on the same delivery was :class:`Later` before.
        """
        if not again:
            self._counts.received += 1
        # Before the target is called, which may end its own subscription.
        work = _Work(envelope, tell)
        self._under_way[work] = None
        self._counts.under_way += 1
        try:
            if self._options.dedupe is None:
                found = self._handled(envelope)
            else:
                found = settle(self._handled_once(envelope), copy_context())
        except BaseException:
            self._take_out(work)
            raise
        if isinstance(found, Deferred):
            work.found = found
            watch(found, partial(self._hear, work))
        else:
            self._hear(work, found)

    def _hear(self, work: _Work, result: Any) -> None:
        if work not in self._under_way:
            return
        self._take_out(work)
        try:
            work.tell(self._verdict(work.envelope, result))
        finally:
            self._tell_idle()

    def _take_out(self, work: _Work) -> None:
        del self._under_way[work]
        self._counts.under_way -= 1

    def _tell_idle(self) -> None:
        idle: list[Deferred[None]] = []
        if not self._under_way:
            idle, self._idle = self._idle, []
        if self._others_idle and all(work.waits for work in self._under_way):
            idle, self._others_idle = idle + self._others_idle, []
        for waiting in idle:
            if not waiting.called:
                waiting.callback(None)

    def drained(self) -> Deferred[None]:
        """Fires once no event is without a verdict."""
        return self._waiting_in(self._idle)

    @property
    def is_calling_us(self) -> bool:
        """Whether we are being called by the target, about an event that has no verdict yet."""
        envelope = current_envelope()
        return envelope is not None and any(work.envelope is envelope for work in self._under_way)

    def others_drained(self) -> Deferred[None]:
        """As :meth:`drained`, for a target: without the event that it has, and those whose targets wait in the same way."""
        envelope = current_envelope()
        for work in self._under_way:
            work.waits = work.waits or work.envelope is envelope
        return self._waiting_in(self._others_idle)

    def _waiting_in(self, those: list[Deferred[None]]) -> Deferred[None]:
        waiting: Deferred[None] = Deferred(lambda _: None)
        those.append(waiting)
        self._tell_idle()
        return waiting

    def cut_short(self) -> None:
        """Cancel what is at work; their events are given back, and what goes on all the same is not waited for."""
        self._ended = True
        for work in list(self._under_way):
            if work.found is not None:
                work.found.cancel()
        stubborn = list(self._under_way)
        if stubborn:
            _LOG.warn(
                "{number} events of {scope} are given back while their handlers go on", number=len(stubborn), scope=self._scope
            )
        for work in stubborn:
            self._hear(work, Failure(CancelledError()))

    def begin(self) -> None:
        """Work again after :meth:`cut_short`."""
        self._ended = False

    def _handled(self, envelope: Envelope) -> Any:
        context = copy_context()
        context.run(enter_envelope, envelope)
        try:
            if envelope.unreadable:
                raise EventNotDecodable(envelope.id, f"its headers are broken ({envelope.unreadable})")
            try:
                event = self._decode(envelope.body, envelope.content_type, envelope.type)
            except Exception as error:
                raise EventNotDecodable(envelope.id, safe_str(error)) from error
            return settle(context.run(self._call, event, envelope), context)
        except Exception:  # noqa: BLE001  other people's code raises what it likes: it is kept, and told
            return Failure()

    async def _handled_once(self, envelope: Envelope) -> Any:
        dedupe = self._options.dedupe
        if not envelope.id:
            return await arrived(self._handled(envelope))
        key = key_of(envelope.source, envelope.id)
        # Delivered again while the first delivery is at work, after a lost connection say: what comes of that one decides.
        while (waiting := self._in_hand.get(key)) is not None:
            turn: Deferred[None] = Deferred()
            waiting.append(turn)
            await turn
        self._in_hand[key] = []
        try:
            try:
                if await arrived(settle(dedupe.seen(self._scope, key))):
                    return _SEEN
            except Exception as error:
                if isinstance(error, CancelledError) and self._ended:
                    raise
                _LOG.failure(
                    "{dedupe!r} cannot tell whether the event {id} of {scope} was handled before, and is asked again",
                    dedupe=dedupe,
                    id=envelope.id,
                    scope=self._scope,
                )
                return _UNKNOWN
            value = await arrived(self._handled(envelope))
            try:
                await arrived(settle(dedupe.remember(self._scope, key)))
            except Exception:  # noqa: BLE001  whatever went wrong: it was handled
                # A duplicate may come of this, and one is certain to come of handling it again.
                _LOG.failure(
                    "{dedupe!r} could not remember the event {id} of {scope}, which was handled",
                    dedupe=dedupe,
                    id=envelope.id,
                    scope=self._scope,
                )
            return value
        finally:
            for turn in self._in_hand.pop(key):
                turn.callback(None)

    def _verdict(self, envelope: Envelope, result: Any) -> Verdict:
        counts = self._counts
        if result is _SEEN:
            counts.duplicates += 1
            return DONE
        if result is _UNKNOWN:
            return LATER
        if not isinstance(result, Failure):
            counts.handled += 1
            return DONE
        error = result.value
        if isinstance(error, CancelledError) and self._ended:
            return GIVEN_BACK
        reason = _reason(error)
        options, failures = self._options, envelope.failures + 1
        hopeless = isinstance(error, (EventNotDecodable, *options.fatal))
        if hopeless or failures >= options.max_deliveries:
            counts.dead += 1
            _LOG.failure("the event {id} of {scope} is a dead letter now", result, id=envelope.id, scope=self._scope)
            return Dead(reason)
        counts.retried += 1
        delay = options.delay_after(failures)
        _LOG.failure(
            "handling the event {id} of {scope} failed ({failures} of {most}); again in {delay:g} s",
            result,
            id=envelope.id,
            scope=self._scope,
            failures=failures,
            most=options.max_deliveries,
            delay=delay,
        )
        return Retry(delay, reason)


def _reason(error: BaseException | None) -> str:
    # Names of files that are no UTF-8 are in Python's errors as half characters, which no header takes.
    text = f"{type(error).__name__}: {safe_str(error)}"[:MAX_REASON_BYTES]
    # The cut may part a character.
    return text.encode("utf-8", "backslashreplace")[:MAX_REASON_BYTES].decode("utf-8", "ignore")


_SEEN = object()
_UNKNOWN = object()
