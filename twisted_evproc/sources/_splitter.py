"""Lines out of chunks of text."""

from __future__ import annotations

from codecs import getincrementaldecoder, lookup
from typing import TypeAlias

import attrs

from ..errors import ConfigurationError

#: Longer lines are reported and left out: memory stays bounded.
MAX_LINE_LENGTH = 65_536


@attrs.frozen
class LongLine:
    """
    A line that was longer than allowed.

    :ivar begin: its beginning.
    """

    begin: str


#: A line, or what is left of one that was too long.
Line: TypeAlias = str | LongLine


class LineSplitter:
    r"""
    Cuts chunks of bytes into lines of text, which end in ``\n`` or ``\r\n``, whatever the encoding and wherever the chunks end.

    What cannot be decoded appears as ``\x..``: nothing is lost, and the lines around it stay readable.
    """

    def __init__(self, encoding: str = "utf-8", max_length: int = MAX_LINE_LENGTH) -> None:
        """
        :param max_length: of a line, in characters.
        """
        self._decoder = getincrementaldecoder(encoding)("backslashreplace")
        self._max = max_length
        self._parts: list[str] = []
        self._length = 0

    @property
    def rest(self) -> bool:
        """Whether a line has begun that has not ended."""
        return bool(self._length)

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that end in this chunk."""
        first, *rest = self._decoder.decode(chunk).split("\n")
        self._extend(first)
        lines: list[Line] = []
        for part in rest:
            lines.append(self._end())
            self._extend(part)
        return lines

    def finish(self) -> list[Line]:
        """End the line begun, if there is one, and be ready for another text."""
        self._extend(self._decoder.decode(b"", final=True))
        self._decoder.reset()
        return [self._end()] if self._length else []

    def _extend(self, part: str) -> None:
        self._length += len(part)
        if part and self._length - len(part) <= self._max:
            self._parts.append(part)

    def _end(self) -> Line:
        line = "".join(self._parts)
        # The carriage return of \r\n is no part of the line.
        length = self._length - 1 if line.endswith("\r") else self._length
        self._parts, self._length = [], 0
        return LongLine(line[:80]) if length > self._max else line.removesuffix("\r")


def check_encoding(encoding: str) -> str:
    """
    An encoding's name, if there is such an encoding of text.

    :raises twisted_evproc.errors.ConfigurationError: for anything else.
    """
    try:
        known = lookup(encoding)
        b"a".decode(encoding, "backslashreplace")  # refuses encodings of bytes, such as hex
        getincrementaldecoder(encoding)("backslashreplace").decode(b"")
    except (LookupError, TypeError, ValueError) as error:
        raise ConfigurationError(f"encoding={encoding!r} is no encoding of text that Python knows: {error}") from error
    return known.name
