"""Times and names in words."""

from __future__ import annotations

import time

_UNITS = ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute"))


def span(seconds: float) -> str:
    """
    So many seconds in words, rounded to what matters.

    >>> span(0.0004), span(2.5), span(90), span(7300), span(3 * 86400)
    ('0 ms', '2.5 s', '90 s', '2 hours', '3 days')
    """
    seconds = abs(seconds)
    for size, unit in _UNITS:
        whole = seconds % size == 0
        number = round(seconds / size)
        if seconds and (whole or seconds >= 2 * size):
            return f"{number} {unit}{'' if number == 1 else 's'}"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    return f"{seconds:.0f} s"


def moment(at: float, now: float) -> str:
    """A time by the local clock; with the date where that is not today's."""
    there, here = time.localtime(at), time.localtime(now)
    return time.strftime("%H:%M:%S" if there[:3] == here[:3] else "%Y-%m-%d %H:%M:%S", there)


def ago(at: float, now: float) -> str:
    """A time, and how long ago it was, or how long it will take."""
    distance = now - at
    when = "now" if abs(distance) < 0.5 else f"{span(distance)} ago" if distance > 0 else f"in {span(distance)}"
    return f"{moment(at, now)} ({when})"


def counted(number: int, noun: str, nouns: str = "") -> str:
    """A number and what it is of."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}".replace(",", " ")


def shortened(text: str, width: int) -> str:
    """Text that is no longer than ``width`` characters, on one line."""
    clean = "".join(char if char.isprintable() else "␣" if char.isspace() else "�" for char in text)
    return clean if len(clean) <= width else clean[: width - 1] + "…"


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts ``2`` before ``10``."""
    if text.isascii() and text.isdigit() and len(text) < 20:
        return ((0, int(text), ""),)
    return ((1, 0, text),)


__all__ = ["ago", "counted", "moment", "natural", "shortened", "span"]
