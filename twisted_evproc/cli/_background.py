"""An application that runs in the background, as part of a Twisted service: what becomes of its events is logged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import ILogObserver, LogEvent, Logger, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from ..dispatch import Outcome
from ..interfaces import IBackgroundUtility
from ._application import SOURCES_NAME, Application
from ._events import LineError
from ._feed import Feed
from ._live import SourceLines
from ._logs import failed_handler
from ._tally import Tally
from ._words import counted, event_in_words

_LOG = Logger(namespace="twisted_evproc.cli")


@implementer(ILogObserver)
class LogReport:
    """
    Logs what went wrong, once; see :class:`~twisted_evproc.cli._feed.Report`.

    Under some failure policies a dispatcher logs the failures of its handlers itself: those are in the log before the outcome is
    here, and are not logged again.
    """

    def __init__(self, name: str) -> None:
        """
        :param name: of what the lines come from.
        """
        self._name = name
        self._logged: dict[int, LogEvent] = {}

    def __call__(self, event: LogEvent) -> None:
        """Hear an event of the log."""
        failure = failed_handler(event)
        if failure is not None:
            self._logged[id(failure.value)] = event

    def outcome(self, number: int, outcome: Outcome) -> None:
        """See :meth:`Report.outcome`."""
        for result in outcome.results:
            if result.failure is not None and self._logged.pop(id(result.failure.value), None) is None:
                _LOG.failure(
                    "handler {handler} failed for event {number} of {name}: {event}",
                    result.failure,
                    handler=result.name,
                    number=number,
                    name=self._name,
                    event=event_in_words(outcome.event, outcome.details),
                )
        _LOG.debug(
            "event {number} of {name}: {event}: {outcome}",
            number=number,
            name=self._name,
            event=event_in_words(outcome.event, outcome.details),
            outcome="handled" if outcome.handled else "unhandled",
        )

    def refused(self, number: int, event: Any, details: Mapping[str, Any], failure: Failure) -> None:
        """See :meth:`Report.refused`."""
        words = event_in_words(event, details)
        if failure.check(CancelledError):
            _LOG.warn("event {number} of {name} was cancelled: {event}", number=number, name=self._name, event=words)
        else:
            _LOG.failure("event {number} of {name} was refused: {event}", failure, number=number, name=self._name, event=words)

    def broken(self, number: int, error: LineError) -> None:
        """See :meth:`Report.broken`."""
        _LOG.error("event {number} of {name} is broken: {error}", number=number, name=self._name, error=str(error))

    def idle(self) -> None:
        """See :meth:`Report.idle`."""
        # What no outcome has claimed came from events that handlers fired themselves; it is in the log.
        self._logged.clear()

    def summary(self, tally: Tally) -> None:
        """Say what it came to."""
        _LOG.info(
            "{name} ended: {events} in {tally.seconds:.1f} s, {tally.handled} handled, {tally.unhandled} unhandled, "
            "{failures}, {tally.cancelled} cancelled, {tally.broken_lines} broken",
            name=self._name,
            tally=tally,
            events=counted(tally.events, "event"),
            failures=counted(tally.failed, "failure"),
        )


@implementer(IBackgroundUtility)
class BackgroundApplication:
    """
    Feeds the events of its sources to an application.

    :ivar sources: where its events come from; may be empty.
    :ivar running: whether it was started, and not stopped since.
    """

    running = False

    def __init__(
        self,
        application: Application,
        clock: IReactorTime,
        when_running: Callable[[Callable[[], None]], object],
        ended: Callable[[Failure], None],
        *,
        concurrency: int = 1,
    ) -> None:
        """
        :param clock: for polling and time-outs.
        :param when_running: calls a function once the reactor runs: no handler is called before that, and before things are
            logged where they are to be.
        :param ended: hears of what ends it, once it works, without :meth:`stop`.
        :param concurrency: how many events are processed at the same time.
        :raises twisted_evproc.errors.ApplicationError: for what is no source.
        """
        self._application = application
        self._clock = clock
        self._when_running = when_running
        self._told_ended = ended
        self._concurrency = concurrency
        self._name = f"{application.place}:{SOURCES_NAME}"
        self.sources = application.own_sources()
        # A first look at them: what is no source is to be known before anything is started.
        _ = SourceLines(self._name, self.sources, clock)
        self._feed: Feed | None = None
        self._stops: list[Deferred[None]] = []

    def __repr__(self) -> str:
        return f"<application {self._application.place} with {len(self.sources)} sources>"

    def start(self) -> Deferred[None]:
        """
        See :meth:`IBackgroundUtility.start`.

        The dispatcher or processor is started first.  It fails with what keeps a source from starting; nothing runs then.
        """
        if self.running:
            return succeed(None)
        self.running = True
        lines = SourceLines(self._name, self.sources, self._clock, held=True)
        report = LogReport(self._name)
        self._feed = feed = Feed(
            self._application.runnable,
            lines,
            report,
            self._clock,
            mapping=self._application.mapping,
            concurrency=self._concurrency,
        )
        globalLogPublisher.addObserver(report)
        started: Deferred[None] = Deferred()
        _ = lines.started.addCallback(started.callback)
        _ = self._when_running(lines.release)
        self._run = feed.run().addBoth(self._ended, feed, report, started)
        return started

    def stop(self, timeout: float | None = None) -> Deferred[None]:
        """
        See :meth:`IBackgroundUtility.stop`.

        The sources are stopped first; then what they have brought is processed, then the dispatcher or processor is stopped.
        """
        feed = self._feed
        if feed is None:
            return succeed(None)
        stopped: Deferred[None] = Deferred()
        self._stops.append(stopped)
        if self.running:
            self.running = False
            feed.interrupt()
        if timeout is not None and not stopped.called:
            timer = self._clock.callLater(timeout, feed.interrupt)
            _ = stopped.addBoth(_cancelled, timer)
        return stopped

    def _ended(self, result: Failure | None, feed: Feed, report: LogReport, started: Deferred[None]) -> None:
        globalLogPublisher.removeObserver(report)
        self._feed = None
        by_itself, self.running = self.running, False
        if not started.called:
            started.errback(result if isinstance(result, Failure) else Failure(CancelledError("stopped before it worked")))
        else:
            report.summary(feed.tally)
            if isinstance(result, Failure):
                self._tell(result, by_itself)
        stops, self._stops = self._stops, []
        for stopped in stops:
            stopped.callback(None)

    def _tell(self, failure: Failure, by_itself: bool) -> None:
        if by_itself:
            self._told_ended(failure)
        else:
            _LOG.failure("{application!r} failed while it was stopped", failure, application=self)


def _cancelled(result: None, timer: IDelayedCall) -> None:
    if timer.active():
        timer.cancel()


__all__ = ["BackgroundApplication", "LogReport"]
