"""Lines that come from a group's queue on a broker, each acknowledged once the application has finished with it."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from .._json import decode
from ..dispatch import Outcome
from ..errors import ApplicationError, ConfigurationError, HandlersFailed, SubscriptionRefused, TransportError
from ..matching import one_of
from ._application import Application, EventMapping
from ._events import Line, LineError
from ._feed import mapped
from ._incoming import DROP_SECONDS, IncomingLines
from ._spelling import suggestion
from ._traces import error_of, summary_of

if TYPE_CHECKING:
    from ..amqp import AMQPTransport, Envelope, StateChange

#: The environment variable in which the broker's URL may stand: other users see the command line, with the password in it.
URL_VARIABLE = "EVPROC_AMQP_URL"
EXCHANGE = "evproc"

_PARAMETER = re.compile(r"\b(exchange|group|route_by)=(?=')")
_TRANSPORT_LOG = "twisted_evproc.amqp"


def make_transport(options: argparse.Namespace) -> AMQPTransport:
    """
    The transport that ``--amqp``, ``--exchange`` and ``--route-by`` say.

    :raises twisted_evproc.errors.ApplicationError: when nothing says where the broker is.
    :raises twisted_evproc.errors.ConfigurationError: for what makes no sense; the password is not shown.
    :raises twisted_evproc.errors.MissingExtra: when the libraries are not installed.
    """
    url = _url(options)
    from ..amqp import AMQPTransport

    with _options_named():
        return AMQPTransport(url, exchange=options.exchange or EXCHANGE, route_by=options.route_by)


def make_dead_letter_transport(options: argparse.Namespace, **more: Any) -> AMQPTransport:
    """
    The transport that ``--amqp`` and ``--exchange`` say, for dead letters alone: nothing is made on the broker.

    :param more: parameters of the transport.
    :raises twisted_evproc.errors.EvprocError: as :func:`make_transport`.
    """
    url = _url(options)
    from ..amqp import DeadLetterTransport

    with _options_named():
        return DeadLetterTransport(url, exchange=options.exchange or EXCHANGE, **more)


def _url(options: argparse.Namespace) -> str:
    url: str | None = options.amqp or os.environ.get(URL_VARIABLE)
    if not url:
        raise ApplicationError(
            "--amqp",
            f"say where the broker is, as in --amqp amqp://user:password@host, or in the environment variable {URL_VARIABLE}, "
            f"which keeps the password out of the list of processes",
        )
    return url


def in_options(words: str) -> str:
    """What a transport says, with the options of the command line in place of its own parameters."""
    words = words.replace("Give route_by=None, or", "Leave out --route-by, or give")
    return _PARAMETER.sub(lambda found: f"--{found[1].replace('_', '-')} ", words)


@contextmanager
def _options_named() -> Iterator[None]:
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(in_options(str(error))) from error


def default_group(place: str) -> str:
    """The group of an application that is given none: the name of its file or module, without folder or package."""
    return Path(place).stem if Path(place).is_file() else place.rpartition(".")[2]


def match_spec_of(pairs: Iterable[str], known: Sequence[str]) -> dict[str, Any]:
    """
    What ``--match`` says; several values of one keyword are ``one_of`` them.

    :param known: the keywords that the application has; empty where it does not say.
    :raises twisted_evproc.errors.ApplicationError: for what is none, or not known.
    """
    from ..amqp import SubscriptionOptions

    taken = [field.name for field in attrs.fields(SubscriptionOptions)]
    values: dict[str, list[Any]] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        place = f"--match {pair}"
        if not equals or not key:
            raise ApplicationError(place, "write it as KEY=VALUE")
        if known and key not in known:
            raise ApplicationError(
                place, f"the application has no keyword {key!r}; it has {', '.join(known)}.{suggestion(key, known)}"
            )
        if key in taken:
            raise ApplicationError(place, f"{key!r} is the name of an option of subscriptions; match on another keyword")
        try:
            value = decode(text)
        except ValueError:
            value = text
        if value is None:
            raise ApplicationError(place, f"null matches everything: leave it out, or write {key}='\"null\"' for the text")
        values.setdefault(key, []).append(value)
    return {key: given[0] if len(given) == 1 else one_of(*given) for key, given in values.items()}


@attrs.frozen
class Arrival:
    """
    An event that came in.

    :ivar event: as the codec reads it.
    :ivar details: those it was published with.
    """

    event: Any
    details: Mapping[str, Any]


def arrival_mapping(application: Application) -> EventMapping:
    """
    From an :class:`Arrival` to what the application takes.

    Details are those of the arrival that are allowed.  An application's own ``to_event`` is asked for the event, and for more
    details.

    :raises twisted_evproc.errors.ApplicationError: for an application that would have to have a ``to_event``.
    """
    runnable, own = application.runnable, application.mapping
    allowed = frozenset(runnable.keywords())
    if own is None:
        # What needs one says so for any record; an event that came in should not have to find out.
        _ = runnable.to_event(None)

    def to_event(arrival: Arrival) -> tuple[Any, Mapping[str, Any]]:
        details = {key: value for key, value in arrival.details.items() if key in allowed}
        if own is None:
            return arrival.event, details
        event, more = mapped(arrival.event, runnable, own)
        return event, {**details, **more}

    return to_event


@attrs.frozen(eq=False)
class GroupLine:
    """
    An event of a group.

    :ivar done: fires once it is known what became of it; the event is then acknowledged, or tried again.
    """

    number: int
    envelope: Envelope
    event: Any
    done: Deferred[None]

    def record(self) -> Arrival:
        """See :meth:`Line.record`.  From here on the event's envelope is the current one, also for the handlers."""
        from ..amqp import enter_envelope

        enter_envelope(self.envelope)
        return Arrival(self.event, self.envelope.details)


class GroupLines(IncomingLines):
    """
    The events of a group, each a line.

    No more of them come than the window allows until some are finished.

    :ivar mapping: for the records of these lines.
    """

    def __init__(
        self,
        transport: AMQPTransport,
        group: str,
        application: Application,
        *,
        match: Sequence[str],
        window: int,
        tell: Callable[[str], object],
    ) -> None:
        """
        :param match: what ``--match`` says.
        :param window: how many events are under way at the same time.
        :param tell: hears of the connection.
        :raises twisted_evproc.errors.ConfigurationError: for what cannot be subscribed.
        :raises twisted_evproc.errors.ApplicationError: for what the application cannot take.
        """
        super().__init__(f"group {group}")
        self.mapping = arrival_mapping(application)
        self._transport = transport
        self._tell = tell
        self._number = 0
        self._arrived: list[GroupLine] = []
        self._down = False
        self._subscription: Any = None
        known = application.runnable.keywords() if application.mapping is None else ()
        match_spec = match_spec_of(match, known)
        with _options_named():
            # What is no event never will be one.
            self._subscribing = transport.subscribe(group, self._arrive, window=window, fatal=(LineError,), **match_spec)
        _ = self._subscribing.addCallbacks(self._works, self._refused)
        _ = transport.dispatcher.add_event_handler(self._state_changed, transport.dispatcher.phases[0])

    def __str__(self) -> str:
        return f"{self.name} on exchange {self._transport.exchange} at {self._transport.address}"

    def finished(self, line: Line, result: Outcome | Failure) -> None:
        """See :meth:`Lines.finished`."""
        assert isinstance(line, GroupLine)
        failure = _failure_of(result)
        if line.done.called or (failure is not None and not isinstance(failure.value, Exception)):
            return  # given back, or about to be: what ends the program says nothing about the event
        if failure is None:
            line.done.callback(None)
        else:
            line.done.errback(failure)

    def drain(self) -> bool:
        """See :meth:`Lines.drain`."""
        self._draining = self._transport.stop().addBoth(self._end)
        return True

    def close(self) -> Deferred[None]:
        """See :meth:`Lines.close`.  What is not finished by now stays with the broker."""
        if self._subscription is not None:
            self._subscription.cut_short()
        return self._transport.stop(DROP_SECONDS)

    def _waiting(self) -> Sequence[Line]:
        arrived, self._arrived = self._arrived, []
        return arrived

    def _begin(self) -> None:
        self._starting = self._transport.start()

    def _arrive(self, event: Any) -> Deferred[None]:
        from ..amqp import current_envelope

        envelope = current_envelope()
        assert envelope is not None
        self._number += 1
        line = GroupLine(self._number, envelope, event, Deferred())
        if not self._hand_over(line):
            self._arrived.append(line)
        return line.done

    def _works(self, subscription: Any) -> None:
        self._subscription = subscription
        self._down = False
        self.started.callback(None)

    def _refused(self, failure: Failure) -> None:
        if failure.check(SubscriptionRefused):
            failure = Failure(TransportError(in_options(failure.getErrorMessage())))
        self._end(failure)

    def _state_changed(self, change: StateChange) -> None:
        if change.name == "transport_down":
            self._down = True
            if not self.started.called and in_options(change.reason) != change.reason:
                return  # of an option, which no other attempt mends: the subscription is refused for the same, and ends the run
            self._tell(f"{in_options(change.reason).rstrip('.')}; trying again")
        elif change.name == "transport_blocked":
            self._tell(change.reason)
        elif change.name == "transport_up" and self._down and self.started.called:
            self._down = False
            self._tell(f"connected to {self._transport.address} again")


def _failure_of(result: Outcome | Failure) -> Failure | None:
    """As a subscription of the dispatcher itself has it."""
    if isinstance(result, Failure):
        return result
    if len(result.failures) > 1:
        errors = [error for error in map(error_of, result.failures) if isinstance(error, Exception)]
        return Failure(HandlersFailed(f"{len(errors)} handlers failed", errors, result))
    return result.failures[0] if result.failures else None


@implementer(ILogObserver)
class BriefTransportLog:
    """
    Hands events of the log on: those of a transport without what is shown elsewhere.

    Its warnings are of the connection, whose state is told; a traceback is a handler's, and an outcome has shown that.
    """

    def __init__(self, observer: Callable[[LogEvent], object], started: Deferred[None]) -> None:
        """
        :param observer: hears what is left.
        :param started: fires when events come; a group that is refused before ends the run, which then says why.
        """
        self._observer = observer
        self._started = started

    def __call__(self, event: LogEvent) -> None:
        """Hear an event of the log."""
        if event.get("log_namespace") == _TRANSPORT_LOG:
            if event["log_level"] is LogLevel.warn:
                return
            if "refused" in event:
                if not self._started.called:
                    return
                event = {**event, "refused": in_options(str(event["refused"]))}
            failure = event.get("log_failure")
            if isinstance(failure, Failure):
                reason = summary_of(error_of(failure))
                event = {**event, "log_format": event["log_format"] + ": {reason}", "reason": reason}
                del event["log_failure"]
        self._observer(event)


def log_briefly(log: ILogObserver, started: Deferred[None]) -> None:
    """Let an observer of the global log hear of transports in brief; see :class:`BriefTransportLog`."""
    globalLogPublisher.removeObserver(log)
    globalLogPublisher.addObserver(BriefTransportLog(log, started))


__all__ = [
    "EXCHANGE",
    "URL_VARIABLE",
    "Arrival",
    "BriefTransportLog",
    "GroupLine",
    "GroupLines",
    "arrival_mapping",
    "default_group",
    "in_options",
    "log_briefly",
    "make_dead_letter_transport",
    "make_transport",
    "match_spec_of",
]
