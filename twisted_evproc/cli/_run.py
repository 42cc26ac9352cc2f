"""``evproc run``: feeds events to an application on the real reactor."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..errors import ApplicationError
from ._amqp import URL_VARIABLE, GroupLines, default_group, log_briefly, make_transport
from ._application import EVENTS_NAME, SOURCES_NAME, Application, load
from ._events import JSONLines, Lines, ThreadReader, iterable_lines
from ._feed import Feed
from ._in_reactor import installed_reactor, run_reactor
from ._live import SourceLines
from ._logs import begin_logging
from ._output import Output
from ._report import JSONReport, Problems, TextReport
from ._spelling import suggestion
from ._status import ExitStatus
from ._tally import Tally
from ._traces import ending_of
from ._words import counted, printable

STANDARD_INPUT = "-"


def run(options: argparse.Namespace) -> int:
    """
    Perform the command.

    :return: the exit status.
    """
    log = begin_logging(sys.stderr, options.verbose)
    application = load(options.application)
    reactor = installed_reactor()
    with _lines(options, application, reactor) as lines:
        output = Output(sys.stdout, reactor)
        problems = Problems(lines.name, Output(sys.stderr), log, options.verbose)
        report = (JSONReport if options.json else TextReport)(output, problems, options.quiet)
        mapping = lines.mapping if isinstance(lines, GroupLines) else application.mapping
        feed = Feed(application.runnable, lines, report, reactor, mapping=mapping, concurrency=options.concurrency)
        if isinstance(lines, GroupLines) and not options.verbose:
            log_briefly(log, lines.started)
        if isinstance(lines, SourceLines | GroupLines) and not options.quiet:
            _ = lines.started.addCallback(_say_where_from, lines)
        ending = _Ending(feed, reactor)
        gone = False
        try:
            ending.result_of_run(application.place)
        except BrokenPipeError:
            gone = True
            raise
        except SystemExit as error:
            _say(ending_of(error))
            raise
        finally:
            log.release()
            feed.tally.failures.update(log.unclaimed)
            if not gone:
                report.summary(feed.tally)
                output.flush()
    return _status(feed.tally, ending.signal)


def _say_where_from(_: None, lines: SourceLines | GroupLines) -> None:
    _say(f"events come from {lines} (interrupt to end)")


def _say(what: str) -> None:
    print(f"evproc: {printable(what)}", file=sys.stderr, flush=True)


def _status(tally: Tally, signal_number: int | None) -> int:
    if signal_number is not None:
        return ExitStatus.INTERRUPTED if signal_number == signal.SIGINT else ExitStatus.TERMINATED
    if tally.failed:
        return ExitStatus.HANDLERS_FAILED
    return ExitStatus.BROKEN_LINES if tally.broken_lines else ExitStatus.SUCCESS


@contextmanager
def _lines(options: argparse.Namespace, application: Application, reactor: Any) -> Iterator[Lines]:
    events: str | None = options.events
    only_objects = application.mapping is None
    if _from_group(options):
        yield _group_lines(options, application)
        return
    if events is None and application.has_events and application.has_sources:
        raise ApplicationError(
            application.place,
            f"has both {EVENTS_NAME!r} and {SOURCES_NAME!r}; rename one of them, or give the events with --events FILE",
        )
    if events is None and application.has_sources:
        yield SourceLines(f"{application.place}:{SOURCES_NAME}", _some(application), reactor)
        return
    if events is None and application.has_events:
        yield iterable_lines(f"{application.place}:{EVENTS_NAME}", application.own_events())
        return
    if events is None or events == STANDARD_INPUT:
        if sys.stdin is None or (events is None and sys.stdin.isatty()):
            raise ApplicationError(
                application.place,
                f"there are no events: it has no {EVENTS_NAME!r} or {SOURCES_NAME!r} of its own and nothing is piped in.  Give a "
                f"file of JSON lines with --events FILE, or write --events - to type them",
            )
        yield JSONLines("standard input", ThreadReader(sys.stdin.fileno(), reactor), only_objects)
        return
    try:
        descriptor = os.open(events, os.O_RDONLY)
    except OSError as error:
        raise ApplicationError(events, f"the event file cannot be opened: {error.strerror}.{_similar(events)}") from error
    if Path(events).is_dir():
        os.close(descriptor)
        raise ApplicationError(events, "the event file is a directory; give a file of JSON lines")
    # Not closed at the end: the reading thread may sit in a read that only its process's end ends, and closing below it would
    # hand the number to whatever is opened next.
    yield JSONLines(events, ThreadReader(descriptor, reactor), only_objects)


def _from_group(options: argparse.Namespace) -> bool:
    """
    Whether the events are those of a group.

    :raises twisted_evproc.errors.ApplicationError: for options that do not go together.
    """
    wanted = options.amqp is not None or options.group is not None
    if wanted and options.events is not None:
        raise ApplicationError("--events", "events come from a file or from a broker: leave out --events, or --amqp and --group")
    if not wanted:
        for option in ("exchange", "route_by", "match", "window"):
            if getattr(options, option):
                raise ApplicationError(
                    f"--{option.replace('_', '-')}",
                    f"says which events of a broker to take: give --amqp URL too, or --group NAME with the URL in {URL_VARIABLE}",
                )
    if wanted and options.window is not None and options.window < options.concurrency:
        raise ApplicationError(
            "--window",
            f"the broker would hand over {options.window} at once, and --concurrency wants {options.concurrency}: give "
            f"--window {options.concurrency} or more",
        )
    return wanted


def _group_lines(options: argparse.Namespace, application: Application) -> GroupLines:
    group = default_group(application.place) if options.group is None else options.group
    window = options.window or options.concurrency
    return GroupLines(make_transport(options), group, application, match=options.match, window=window, tell=_say)


def _some(application: Application) -> tuple[Any, ...]:
    sources = application.own_sources()
    if not sources:
        raise ApplicationError(f"{application.place}:{SOURCES_NAME}", "is empty: no event would ever come")
    return sources


def _similar(events: str) -> str:
    folder = Path(events).parent
    if Path(events).exists() or not folder.is_dir():
        return ""
    return suggestion(Path(events).name, (each.name for each in folder.iterdir() if each.is_file()))


class _Ending:
    """
    Runs a feed until it ends: by itself, by a signal, or because the application stops the reactor.

    SIGINT and SIGTERM let what runs finish; a second one cancels it; a third one ends the process.

    :ivar signal: the first signal that came, or ``None``.
    """

    def __init__(self, feed: Feed, reactor: Any) -> None:
        self.signal: int | None = None
        self._feed = feed
        self._reactor = reactor
        self._result: Failure | None = None
        self._over: Deferred[None] = Deferred()
        self._shutting_down = False

    def result_of_run(self, place: str) -> None:
        """
        Run the reactor until the feed has ended.

        :raises BaseException: what the feed failed with.
        """
        self._reactor.callWhenRunning(self._start)
        run_reactor(self._reactor, place)
        if isinstance(self._result, Failure):
            self._result.raiseException()

    def _start(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signalled)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._shut_down)
        self._running = self._feed.run().addBoth(self._ended)

    def _ended(self, result: Failure | None) -> None:
        self._result = result
        self._over.callback(None)
        if not self._shutting_down:
            self._reactor.stop()

    def _shut_down(self) -> Deferred[None]:
        self._shutting_down = True
        if not self._over.called:
            self._feed.interrupt()
        return self._over

    def _signalled(self, number: int, frame: object) -> None:
        # Between any two instructions of whatever runs: only hand it over.
        if self.signal is not None:
            signal.signal(number, signal.SIG_DFL)
        self.signal = self.signal or number
        self._reactor.callFromThread(self._interrupt)

    def _interrupt(self) -> None:
        self._feed.interrupt()
        count = self._feed.running
        if count:
            _say(f"ending; {counted(count, 'event')} still {'runs' if count == 1 else 'run'} (interrupt again to cancel)")


__all__ = ["run"]
