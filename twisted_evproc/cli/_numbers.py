"""Numbers on a command line."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


class NotANumber(argparse.ArgumentTypeError, ValueError):
    """Says what a value has to be; shown as it is by ``argparse`` and by ``twist``."""


def count(text: str) -> int:
    """A whole number, 1 or more."""
    return _whole(text, 1)


def number(text: str) -> int:
    """A whole number, 0 or more."""
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    found = int(text) if text.isascii() and text.isdigit() else -1
    if found < least:
        raise NotANumber(f"{text!r} has to be a whole number, {least} or more")
    return found


def seconds(text: str) -> float:
    """A time, longer than none and not without end."""
    found = _float(text)
    if not 0 < found < math.inf:
        raise NotANumber(f"{text!r} has to be a number of seconds, more than 0")
    return found


def seconds_between(least: float, most: float) -> Callable[[str], float]:
    """Reads a time that is between these."""

    def read(text: str) -> float:
        found = _float(text)
        if not least <= found <= most:
            raise NotANumber(f"{text!r} has to be a number of seconds, from {least:g} to {most:g}")
        return found

    return read


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


__all__ = ["NotANumber", "count", "number", "seconds", "seconds_between"]
