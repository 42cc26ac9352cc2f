"""What an engine and its worker processes send each other: pieces of bytes, each behind its length."""

from __future__ import annotations

import os
from collections.abc import Iterator
from struct import Struct

_LENGTH = Struct("!Q")


class FrameTooLong(ValueError):
    """
    A frame is announced that is longer than allowed.

    :ivar length: its length in bytes.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        super().__init__(f"a frame of {length} bytes")


def framed(payload: bytes) -> bytes:
    """A payload as it is sent."""
    return _LENGTH.pack(len(payload)) + payload


class Received:
    """Payloads out of bytes that arrive in any pieces; never holds more than one of the longest, and what came with it."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = bytearray()

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """
        The payloads that are whole now.

        :raises FrameTooLong: while iterating.
        """
        self._bytes += piece
        while len(self._bytes) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._bytes)
            if length > self._max_bytes:
                raise FrameTooLong(length)
            end = _LENGTH.size + length
            if len(self._bytes) < end:
                return
            payload = bytes(self._bytes[_LENGTH.size : end])
            del self._bytes[:end]
            yield payload


def read_frame(descriptor: int) -> bytes | None:
    """Wait for a payload; ``None`` when the other side has closed."""
    header = _read(descriptor, _LENGTH.size)
    return None if header is None else _read(descriptor, _LENGTH.unpack(header)[0])


def write_frame(descriptor: int, payload: bytes) -> None:
    """Send a payload, and wait until it is on its way."""
    rest = memoryview(framed(payload))
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _read(descriptor: int, count: int) -> bytes | None:
    pieces = []
    while count:
        piece = os.read(descriptor, min(count, 1 << 20))
        if not piece:
            return None
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)
