"""Where a command writes."""

from __future__ import annotations

import os
from typing import TextIO

from twisted.internet.interfaces import IDelayedCall, IReactorTime

_COLOURS = {"dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class Output:
    """
    Lines of text on a stream, coloured where it is a terminal that wants it (``NO_COLOR`` and ``TERM=dumb`` are respected).

    :param clock: where the lines come one by one: they are flushed together once the reactor has its turn, which costs little
        when there are many and delays none when they are few.
    """

    def __init__(self, stream: TextIO, clock: IReactorTime | None = None) -> None:
        self._stream = stream
        self._clock = clock
        self._flushing: IDelayedCall | None = None
        self.coloured = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")

    def line(self, text: str) -> None:
        """
        Write a line.

        :raises BrokenPipeError: when nobody reads any more; other lines are then dropped.
        """
        self._stream.write(text + "\n")
        if self._clock is not None and self._flushing is None:
            self._flushing = self._clock.callLater(0, self._flush_later)

    def flush(self) -> None:
        """Hand on what was written; raises as :meth:`line`."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        self._stream.flush()

    def _flush_later(self) -> None:
        self._flushing = None
        try:
            self._stream.flush()
        except BrokenPipeError:
            # The next line, or the last flush, meets it again, where somebody hears of it.
            pass

    def colour(self, text: str, name: str) -> str:
        """Text in a colour, if there are colours here."""
        return f"\x1b[{_COLOURS[name]}m{text}\x1b[0m" if self.coloured else text


__all__ = ["Output"]
