"""The events that lines hold, one after the other or a few at a time, into something that takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from ..dispatch import Outcome
from ..errors import ConfigurationError, KeywordNotAllowed
from ._application import MAPPING_NAME, EventMapping
from ._events import Line, LineError, Lines
from ._runnable import Runnable
from ._spelling import suggestion
from ._tally import Tally
from ._traces import place_of, summary_of

#: Handlers that never wait would otherwise keep the reactor from everything else until the next chunk of input.
SLICE_SECONDS = 0.01
#: What is left is cancelled at once; no time-out is an instant.
CANCEL_SECONDS = 0.001


class Report(Protocol):
    """Hears what becomes of each line, in the order in which it is known."""

    def outcome(self, number: int, outcome: Outcome) -> None:
        """A line's event was processed."""

    def refused(self, number: int, event: Any, details: Mapping[str, Any], failure: Failure) -> None:
        """A line's event failed as a whole, or was cancelled (``CancelledError``): there is no outcome."""

    def broken(self, number: int, error: LineError) -> None:
        """A line held no event."""

    def idle(self) -> None:
        """No event is under way just now."""


class Feed:
    """
    Feeds a :class:`Runnable`.

    Events are started in the order of the lines; with a concurrency above 1 they may end in another.  Memory is bounded by what
    the lines hold and by the concurrency.

    :param mapping: from a record to ``(event, details)``; ``None`` takes the runnable's own way.
    :param concurrency: how many events are processed at the same time, 1 or more.
    :param clock: tells the time, and gives others their turn now and then.
    """

    def __init__(
        self,
        runnable: Runnable,
        lines: Lines,
        report: Report,
        clock: IReactorTime,
        *,
        mapping: EventMapping | None = None,
        concurrency: int = 1,
    ) -> None:
        self.tally = Tally()
        self._runnable = runnable
        self._lines = lines
        self._report = report
        self._clock = clock
        self._mapping = mapping
        self._concurrency = concurrency
        self._ended = False
        self._stopping = False
        self._interrupts = 0
        self._waiting: Deferred[Any] | None = None
        self._running: set[Deferred[Any]] = set()
        self._freed: Deferred[None] | None = None
        # What passes through handlers, or keeps the report from being written: the run is over.
        self._fatal: Failure | None = None

    def run(self) -> Deferred[None]:
        """
        Start the runnable, feed it, close the lines, finish what runs, stop the runnable.  Called once.

        :return: fires when all that is done.  Fails, also after all that, with
            :class:`~twisted_evproc.errors.ApplicationError` when no more lines can be had, with what passes through handlers
            (``SystemExit``, ``KeyboardInterrupt``), and with what the report raises.
        """
        return Deferred.fromCoroutine(self._run())

    def interrupt(self) -> None:
        """
        End early: begin no further event but those that have come in and cannot be had again.  What runs is finished; called a
        second time, what runs is cancelled, and what came in is dropped.
        """
        self._interrupts += 1
        if self._interrupts == 1 and not self._ended and self._lines.drain():
            return
        self._ended = True
        if self._waiting is not None:
            self._waiting.cancel()
        if self._interrupts > 1:
            for running in tuple(self._running):
                running.cancel()
            if self._stopping:
                self._stopped = self._runnable.stop(CANCEL_SECONDS)

    @property
    def running(self) -> int:
        """How many events are under way."""
        return len(self._running)

    def _is_ended(self) -> bool:
        return self._ended

    async def _run(self) -> None:
        began = self._clock.seconds()
        await self._runnable.start()
        try:
            await self._take_all()
        except CancelledError:
            if not self._ended:
                raise
        finally:
            self._ended = True
            await self._lines.close()
            while self._running:
                await self._slot()
            self._stopping = True
            await self._runnable.stop()
            self.tally.seconds = self._clock.seconds() - began
        if self._fatal is not None:
            self._fatal.raiseException()

    async def _take_all(self) -> None:
        slice_end = self._clock.seconds() + SLICE_SECONDS
        while not self._is_ended():
            lines = self._lines.read()
            if isinstance(lines, Deferred):
                lines = await self._wait(lines)
            if lines is None:
                return
            for line in lines:
                if self._clock.seconds() >= slice_end:
                    await self._wait(deferLater(self._clock, 0))
                    slice_end = self._clock.seconds() + SLICE_SECONDS
                if self._is_ended():
                    return
                self._take(line)
                while len(self._running) >= self._concurrency and not self._is_ended():
                    await self._wait(self._slot())

    async def _wait(self, what: Deferred[Any]) -> Any:
        # What interrupt() cancels: never an event's own Deferred, which may outlive the interruption.
        self._waiting = what
        try:
            return await what
        finally:
            self._waiting = None

    def _slot(self) -> Deferred[None]:
        self._freed = Deferred()
        return self._freed

    def _take(self, line: Line) -> None:
        number = line.number
        try:
            event, details = mapped(line.record(), self._runnable, self._mapping)
            try:
                outcome = self._runnable.take(event, details)
            except ConfigurationError as error:
                raise LineError(_with_suggestion(error)) from error
        except LineError as error:
            self.tally.broken_lines += 1
            self._report.broken(number, error)
            self._lines.finished(line, Failure(error))
            return

        def ended(result: Outcome | Failure) -> None:
            try:
                self._lines.finished(line, result)
                self._tell(number, event, details, result)
            except BaseException:  # noqa: BLE001  it is kept, and raised when the run is over
                self._fail(Failure())
            self._running.discard(outcome)
            if not self._running:
                self._report.idle()
            freed, self._freed = self._freed, None
            if freed is not None and not freed.called:
                freed.callback(None)

        self._running.add(outcome)
        self._last = outcome.addBoth(ended)

    def _tell(self, number: int, event: Any, details: Mapping[str, Any], result: Outcome | Failure) -> None:
        if not isinstance(result, Failure):
            self.tally.add(result)
            self._report.outcome(number, result)
            return
        if not isinstance(result.value, Exception):
            result.raiseException()
        if self._interrupts > 1 and result.check(CancelledError):
            self.tally.add_cancelled()
        else:
            self.tally.add_refused(result)
        self._report.refused(number, event, details, result)

    def _fail(self, failure: Failure) -> None:
        self._fatal = self._fatal or failure
        self._ended = True
        if self._waiting is not None:
            self._waiting.cancel()


def mapped(record: Any, runnable: Runnable, mapping: EventMapping | None) -> tuple[Any, Mapping[str, Any]]:
    """
    The event and the details of a record.

    :param mapping: the application's own way; ``None`` takes the runnable's.
    :raises LineError: when the application's own way fails, or does not give such a pair.
    """
    if mapping is None:
        return runnable.to_event(record)
    try:
        pair = mapping(record)
    except LineError:
        raise
    except Exception as error:
        raise LineError(f"{MAPPING_NAME}() failed: {summary_of(error)} ({place_of(error)})", cause=error) from error
    if not _is_event_and_details(pair):
        raise LineError(f"{MAPPING_NAME}() has to return (event, details), details with strings as keys, not {pair!r:.80}")
    event, details = pair
    return event, details


def _is_event_and_details(pair: object) -> bool:
    if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
        return False
    details = pair[1]
    return isinstance(details, Mapping) and all(isinstance(key, str) for key in details)


def _with_suggestion(error: ConfigurationError) -> str:
    if not isinstance(error, KeywordNotAllowed):
        return str(error)
    return str(error) + "".join(suggestion(keyword, error.allowed) for keyword in error.keywords[:1])


__all__ = ["Feed", "Report", "mapped"]
