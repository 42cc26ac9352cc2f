"""Events out of lines: what sources of lines are told, and do alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._options import needed_number
from ..errors import ConfigurationError, LineTooLong
from ._event import QueuedEvent
from ._handlers import RaiseEventHandler, as_handler
from ._splitter import Line, LineSplitter, LongLine, check_encoding


class LineEvents:
    """
    Makes events of lines, as the options of a source say.

    :ivar encoding: of the lines, by the name that Python has for it.
    """

    def __init__(self, handler: Any, decode: Callable[[str], Any] | None, encoding: str, max_line_length: int) -> None:
        """
        :param decode: makes an event's data of a line; ``None`` for the line itself.
        :param max_line_length: in characters.
        :raises twisted_evproc.errors.ConfigurationError: for an option that makes no sense.
        """
        self._handler = as_handler(handler, "handler")
        if decode is not None and not callable(decode):
            raise ConfigurationError(f"decode={decode!r} has to be a function of a line, or None for the line itself")
        self._decode = decode
        self.encoding = check_encoding(encoding)
        self._max_line_length = needed_number(max_line_length, "max_line_length", 1)

    def splitter(self) -> LineSplitter:
        """What cuts one text into lines."""
        return LineSplitter(self.encoding, self._max_line_length)

    def event(self, source: object, line: Line) -> QueuedEvent:
        """The event of a line; one that fails where the line is too long, or cannot be decoded."""
        if isinstance(line, LongLine):
            return QueuedEvent(source, RaiseEventHandler(LineTooLong(self._max_line_length, source)), line.begin)
        try:
            return QueuedEvent(source, self._handler, line if self._decode is None else self._decode(line))
        except Exception as error:
            return QueuedEvent(source, RaiseEventHandler(error), line)
