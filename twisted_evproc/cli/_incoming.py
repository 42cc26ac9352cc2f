"""Lines that come in whenever something happens, until somebody ends it."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from ._events import Line, Lines

#: What is left is dropped at once; no time-out is an instant.
DROP_SECONDS = 0.001


class IncomingLines(Lines):
    """
    The common part: one who reads and waits.  Derived classes bring the lines.

    They begin to when they are read for the first time.

    :ivar started: fires with ``None`` once lines come in; where that fails, reading fails instead.
    """

    def __init__(self, name: str) -> None:
        """
        :param name: what messages call them.
        """
        self.name = name
        self.started: Deferred[None] = Deferred()
        self._reader: Deferred[Sequence[Line] | None] | None = None
        self._begun = False
        self._ended = False
        self._failure: Failure | None = None

    def read(self) -> Sequence[Line] | Deferred[Sequence[Line] | None] | None:
        """See :meth:`Lines.read`."""
        lines = self._waiting()
        if lines:
            return lines
        if self._failure is not None:
            failure, self._failure = self._failure, None
            failure.raiseException()
        if self._ended:
            return None
        reader = self._reader = Deferred(self._forget)
        if not self._begun:
            self._begun = True
            self._begin()
        return reader

    def _waiting(self) -> Sequence[Line]:
        """What has come in while nobody read; it is forgotten here."""
        raise NotImplementedError

    def _begin(self) -> None:
        """Let lines come in."""
        raise NotImplementedError

    def _hand_over(self, line: Line) -> bool:
        """Give a line to who waits for one; says whether anybody did."""
        reader, self._reader = self._reader, None
        if reader is None:
            return False
        reader.callback([line])
        return True

    def _end(self, failure: Failure | None) -> None:
        """Hear that no more will come, and why; what was cancelled before it worked has not failed."""
        self._ended = True
        if failure is not None and failure.check(CancelledError):
            failure = None
        reader, self._reader = self._reader, None
        if reader is None:
            self._failure = failure
        elif failure is None:
            reader.callback(None)
        else:
            reader.errback(failure)

    def _forget(self, _: object) -> None:
        self._reader = None


__all__ = ["DROP_SECONDS", "IncomingLines"]
