"""Values, events and outcomes in few words, safe for a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from twisted.python.reflect import safe_repr

EVENT_WIDTH = 80
VALUE_WIDTH = 48
NESTED_LEVELS = 3


def printable(text: str) -> str:
    """
    Text without characters that steer a terminal or cannot be shown, which appear as escapes.

    What an event carries comes from outside: it must not move the cursor.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def printable_lines(text: str) -> str:
    """As :func:`printable`, of several lines, which may have tabs."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


def clipped(text: str, width: int) -> str:
    """Text that is no longer than ``width`` characters."""
    return text if len(text) <= width else text[: width - 1] + "…"


def counted(number: int, noun: str, plural: str = "") -> str:
    """
    A number and what it is of.

    :param plural: where it takes more than an ``s``.
    """
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The rows of a table as lines, their columns one below the other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def value_in_words(value: Any, width: int = VALUE_WIDTH) -> str:
    """A value as JSON where it has such a form, otherwise its ``repr``; strings that need no quotes have none."""
    return clipped(printable(_in_words(value, width, NESTED_LEVELS)), width)


def _in_words(value: Any, width: int, levels: int) -> str:
    if isinstance(value, str):
        # What is not shown need not be looked at.
        value = value[: width + 1]
        bare = value and not value.isspace() and not set(value) & set(" \"'=|,;")
        return value if bare else json.dumps(value, ensure_ascii=False)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, Mapping):
        pairs = (f"{_in_words(key, width, 0)}: {_in_words(item, width, levels - 1)}" for key, item in value.items())
        return "{" + _joined(pairs, width, levels) + "}"
    if isinstance(value, list | tuple):
        return "[" + _joined((_in_words(item, width, levels - 1) for item in value), width, levels) + "]"
    return str(safe_repr(value))


def _joined(parts: Iterable[str], width: int, levels: int) -> str:
    # Only as far as it is shown: an event may be large, and contain itself.
    if levels <= 0:
        return "…"
    shown: list[str] = []
    for part in parts:
        shown.append(part)
        if sum(map(len, shown)) > width:
            break
    return ", ".join(shown)


def pairs_in_words(pairs: Mapping[str, Any]) -> str:
    """``key=value`` pairs."""
    return " ".join(_pair(key, value) for key, value in pairs.items())


def _pair(key: object, value: Any) -> str:
    return f"{printable(str(key))}={value_in_words(value)}"


def event_in_words(event: Any, details: Mapping[str, Any], width: int = EVENT_WIDTH) -> str:
    """The details, then what else the event has in so far as there is room.  ``None`` as a detail is as good as none."""
    parts = [_pair(key, value) for key, value in details.items() if value is not None]
    if not isinstance(event, Mapping):
        parts.append(value_in_words(event, width))
    room = width - sum(len(part) + 1 for part in parts)
    for key, value in event.items() if isinstance(event, Mapping) else ():
        if room <= 0:
            break
        if key not in details and isinstance(value, str | int | float | bool):
            pair = _pair(key, value)
            room -= len(pair) + 1
            if room >= 0:
                parts.append(pair)
    return clipped(" ".join(parts), width) or value_in_words(event, width)


__all__ = [
    "EVENT_WIDTH",
    "VALUE_WIDTH",
    "aligned",
    "clipped",
    "counted",
    "event_in_words",
    "pairs_in_words",
    "printable",
    "printable_lines",
    "value_in_words",
]
