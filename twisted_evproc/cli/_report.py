"""What ``evproc run`` says: one outcome a line, for people or as JSON, and a summary."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str

from .._json import encode
from ..dispatch import HandlerResult, Outcome
from ._events import LineError
from ._logs import CommandLog
from ._output import Output
from ._tally import REFUSED, Tally
from ._traces import error_of, failure_traceback, summary_of, traceback_of
from ._words import counted, event_in_words, printable, printable_lines, value_in_words


class Problems:
    """
    What goes to the standard error stream: broken lines as ``file:line:column: problem``, and tracebacks where asked for.

    :param name: of what the lines come from.
    :param log: hears which failures are shown here.
    :param tracebacks: whether to show them.
    """

    def __init__(self, name: str, output: Output, log: CommandLog, tracebacks: bool) -> None:
        self._name = name
        self._output = output
        self._log = log
        self._tracebacks = tracebacks

    def place(self, number: int, error: LineError) -> str:
        """Where a line is broken."""
        return ":".join(map(str, filter(None, (self._name, number, error.column))))

    def broken(self, number: int, error: LineError) -> None:
        """Tell of a broken line."""
        self._output.line(f"{self.place(number, error)}: {printable(str(error))}")
        self.cause(error)

    def cause(self, error: LineError) -> None:
        """Show where the application's own code could not read a line."""
        if self._tracebacks and error.cause is not None:
            self._output.line(printable_lines(traceback_of(error.cause)))

    def claim(self, outcome: Outcome) -> None:
        """The failures of this outcome are shown here, and need not be logged."""
        for failure in outcome.failures:
            self._log.claim(failure)

    def failure(self, number: int, handler: str, failure: Failure) -> None:
        """Show where a handler failed, where that was asked for."""
        if self._tracebacks:
            self._output.line(f"{self._name}:{number}: {handler} failed:\n{printable_lines(failure_traceback(failure))}")

    def idle(self) -> None:
        """No event is under way."""
        self._log.release()


class TextReport:
    """
    For people.

    :param quiet: only broken lines and the summary.
    """

    def __init__(self, output: Output, problems: Problems, quiet: bool) -> None:
        self._output = output
        self._problems = problems
        self._quiet = quiet

    def outcome(self, number: int, outcome: Outcome) -> None:
        """See :meth:`Report.outcome`."""
        results = outcome.results
        self._problems.claim(outcome)
        if not self._quiet:
            # Whoever stops the firing makes all others skipped for the same reason: they are counted, not listed.
            shown = [result for result in results if not (outcome.stopped and result.skipped)]
            parts = [
                (f"{self._output.colour(phase, 'cyan')}: " if phase else "") + ", ".join(map(self._result, group))
                for phase, group in groupby(shown, key=lambda result: result.phase)
            ]
            if outcome.stopped:
                left = len(results) - len(shown)
                parts.append(
                    self._output.colour("stopped", "yellow") + (f", {counted(left, 'handler')} not called" if left else "")
                )
            if not outcome.handled:
                parts.append(self._output.colour("unhandled", "yellow"))
            self._line(number, outcome.event, outcome.details, parts)
        for result in results:
            if result.failure is not None:
                self._problems.failure(number, result.name, result.failure)

    def _result(self, result: HandlerResult) -> str:
        name = printable(result.name)
        if result.failure is not None:
            return f"{name} {self._output.colour('FAILED', 'red')} {printable(summary_of(error_of(result.failure)))}"
        if result.skipped:
            return f"{name} {self._output.colour('skipped', 'yellow')} ({printable(result.reason)})"
        return name if result.value is None else f"{name} -> {value_in_words(result.value)}"

    def refused(self, number: int, event: Any, details: Mapping[str, Any], failure: Failure) -> None:
        """See :meth:`Report.refused`."""
        if failure.check(CancelledError):
            said = self._output.colour("cancelled", "yellow")
        else:
            said = f"{self._output.colour('REFUSED', 'red')} {printable(summary_of(error_of(failure)))}"
            self._problems.failure(number, REFUSED, failure)
        if not self._quiet:
            self._line(number, event, details, [said])

    def broken(self, number: int, error: LineError) -> None:
        """See :meth:`Report.broken`."""
        self._problems.broken(number, error)

    def idle(self) -> None:
        """See :meth:`Report.idle`."""
        self._problems.idle()

    def _line(self, number: int, event: Any, details: Mapping[str, Any], parts: list[str]) -> None:
        self._output.line(" | ".join([f"{self._output.colour(str(number), 'dim')} {event_in_words(event, details)}", *parts]))

    def summary(self, tally: Tally) -> None:
        """Say what it came to."""
        said = [f"{tally.handled} handled", f"{tally.unhandled} unhandled"]
        said += [f"{count} {name}" for name, count in (("stopped", tally.stopped), ("cancelled", tally.cancelled)) if count]
        self._output.line(
            f"{counted(tally.events, 'event')} in {tally.seconds:.3f} s ({tally.events_per_second:,.0f} events/s): "
            f"{', '.join(said)}; {counted(tally.handler_calls, 'handler call')}; {counted(tally.failed, 'failure')}; "
            f"{counted(tally.broken_lines, 'broken line')}"
        )
        for (handler, exception), count in tally.failures.most_common():
            self._output.line(f"  {self._output.colour('failed', 'red')} {printable(handler)}: {exception} {count}x")


class JSONReport:
    """
    For programs: one JSON object a line, the last one ``{"summary": ...}``.

    :param quiet: only the summary; broken lines are then told to people.
    """

    def __init__(self, output: Output, problems: Problems, quiet: bool) -> None:
        self._output = output
        self._problems = problems
        self._quiet = quiet

    def outcome(self, number: int, outcome: Outcome) -> None:
        """See :meth:`Report.outcome`."""
        results = outcome.results
        self._problems.claim(outcome)
        if not self._quiet:
            row = {
                "line": number,
                "event": outcome.event,
                "details": dict(outcome.details),
                "handled": outcome.handled,
                "stopped": outcome.stopped,
                "value": outcome.value,
                "results": [
                    {
                        "handler": result.name,
                        "phase": result.phase,
                        "value": result.value,
                        "failure": None if result.failure is None else _failure_row(result.failure),
                        "skipped": result.reason if result.skipped else None,
                    }
                    for result in results
                ],
            }
            self._output.line(encode(row))
        for result in results:
            if result.failure is not None:
                self._problems.failure(number, result.name, result.failure)

    def refused(self, number: int, event: Any, details: Mapping[str, Any], failure: Failure) -> None:
        """See :meth:`Report.refused`."""
        cancelled = failure.check(CancelledError) is not None
        if not cancelled:
            self._problems.failure(number, REFUSED, failure)
        if not self._quiet:
            row = {"line": number, "event": event, "details": dict(details), "handled": False, "cancelled": cancelled}
            self._output.line(encode(row | {"failure": _failure_row(failure)}))

    def broken(self, number: int, error: LineError) -> None:
        """See :meth:`Report.broken`."""
        if self._quiet:
            self._problems.broken(number, error)
        else:
            place = self._problems.place(number, error)
            self._output.line(encode({"line": number, "column": error.column, "place": place, "broken": str(error)}))
            self._problems.cause(error)

    def idle(self) -> None:
        """See :meth:`Report.idle`."""
        self._problems.idle()

    def summary(self, tally: Tally) -> None:
        """Say what it came to."""
        self._output.line(encode({"summary": tally.as_json()}))


def _failure_row(failure: Failure) -> dict[str, str]:
    return {"type": type(error_of(failure)).__name__, "message": safe_str(failure.value)}


__all__ = ["JSONReport", "Problems", "TextReport"]
