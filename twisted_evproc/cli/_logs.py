"""What is logged while a command runs, and that no handler's failure is shown twice, or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TextIO

from twisted.logger import FileLogObserver, ILogObserver, LogEvent, LogLevel, eventAsText, globalLogBeginner
from twisted.python.failure import Failure
from zope.interface import implementer

from ._words import printable_lines

#: So many failures are held back at most until it is known whether an outcome shows them.
MAX_HELD = 1_000


@implementer(ILogObserver)
class CommandLog:
    """
    Hands events of a log on, but for failures of handlers that an outcome shows.

    A dispatcher logs a failure before the outcome is there; so it is held back until the outcome :meth:`claims <claim>` it, or
    :meth:`release` says that none will: it then came from an event that a handler fired itself.

    :ivar unclaimed: what was released, as ``(handler, exception)``.
    :param observer: hears the rest.
    :param least: hears nothing below this level.
    """

    def __init__(self, observer: Callable[[LogEvent], object], least: LogLevel) -> None:
        self.unclaimed: Counter[tuple[str, str]] = Counter()
        self._observer = observer
        self._least = least
        self._held: dict[int, LogEvent] = {}

    def __call__(self, event: LogEvent) -> None:
        """Hear an event of the log."""
        level = event.get("log_level")
        if level is not None and level < self._least:
            return
        failure = failed_handler(event)
        if failure is not None:
            self._held[id(failure.value)] = event
            if len(self._held) > MAX_HELD:
                self.release()
        else:
            self._observer(event)

    def claim(self, failure: Failure) -> None:
        """This failure is shown elsewhere."""
        self._held.pop(id(failure.value), None)

    def release(self) -> None:
        """Hand on what no outcome has claimed."""
        held, self._held = self._held, {}
        for event in held.values():
            self.unclaimed[event["handler_name"], event["log_failure"].type.__name__] += 1
            self._observer(event)


def failed_handler(event: LogEvent) -> Failure | None:
    """The failure, where this is what a dispatcher or processor logs when one of its handlers has failed."""
    failure = event.get("log_failure")
    if isinstance(failure, Failure) and "handler_name" in event and event["log_namespace"].startswith("twisted_evproc."):
        return failure
    return None


def _format(event: LogEvent) -> str:
    return printable_lines(eventAsText(event)) + "\n"


def begin_logging(stream: TextIO, verbose: bool) -> CommandLog:
    """
    Write the log of this process to a stream.

    :param verbose: everything from ``info`` on; otherwise only warnings and worse.
    """
    log = CommandLog(FileLogObserver(stream, _format), LogLevel.info if verbose else LogLevel.warn)
    globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)
    return log


__all__ = ["CommandLog", "begin_logging", "failed_handler"]
