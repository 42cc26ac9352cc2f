"""Frames that the driver cannot read."""

from __future__ import annotations

import struct
from typing import Any

from pika import frame, spec
from pika.exceptions import InvalidFrameError
from twisted.python.reflect import safe_str

from ._envelope import UNREADABLE_HEADER

_START = struct.Struct(">BHL")
_HEADER = struct.Struct(">HHQ")


def read_frame(data: bytes) -> tuple[int, Any]:
    """
    The first frame in what has come, as the driver gives it, and how many bytes it has.

    A message whose properties the driver cannot read (a time that Python does not know, say) would end the connection, and again
    with each delivery.  It gets properties that say so, in the header ``UNREADABLE_HEADER``, in place of its own.
    """
    try:
        found: tuple[int, Any] = frame.decode_frame(data)
        return found
    except InvalidFrameError:
        raise
    except Exception as error:
        kind, channel, size = _START.unpack_from(data)
        if kind != spec.FRAME_HEADER:
            raise
        _, _, body_size = _HEADER.unpack_from(data, _START.size)
        why = f"{type(error).__name__}: {safe_str(error)}"[:200]
        properties = spec.BasicProperties(headers={UNREADABLE_HEADER: why})
        return _START.size + size + spec.FRAME_END_SIZE, frame.Header(channel, body_size, properties)
