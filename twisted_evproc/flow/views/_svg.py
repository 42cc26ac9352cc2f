"""Elements of SVG and HTML, with everything escaped."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

_NARROW = frozenset("fijlrtI.,:;|!'()[] -")
_WIDE = frozenset("mwMW@%&")


def escaped(text: str) -> str:
    """Text for an element or an attribute; what XML cannot carry appears as a replacement character."""
    found = []
    for char in text:
        code = ord(char)
        if char in _ENTITIES:
            found.append(_ENTITIES[char])
        elif code < 32 or 127 <= code < 160:
            found.append(" " if char in "\t\n\r" else "\ufffd")
        elif 0xD800 <= code < 0xE000 or code & 0xFFFE == 0xFFFE or char in _STEERING:
            found.append("\ufffd")
        else:
            found.append(char)
    return "".join(found)


_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"}
# Overrides of the direction of writing reach beyond the text that they stand in.
_STEERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def tag(name: str, /, *content: str, **attributes: str | float | None) -> str:
    """
    An element.

    :param content: markup, put in as it is.
    :param attributes: escaped; ``_`` is written as ``-``, and one at the end is left out; ``None`` leaves the attribute out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"' for key, value in attributes.items() if value is not None
    )
    inside = "".join(content)
    return f"<{name}{written}>{inside}</{name}>" if inside or name not in _EMPTY else f"<{name}{written}/>"


_EMPTY = frozenset({"path", "rect", "line", "circle", "use", "br", "meta", "input", "polygon", "stop"})


def _value(value: str | float) -> str:
    return escaped(value) if isinstance(value, str) else number(value)


def number(value: float) -> str:
    """As short as is exact enough for a screen."""
    return f"{value:.1f}".removesuffix(".0")


def text_width(text: str, size: float) -> float:
    """About as wide as text is in common fonts: rather too much."""
    units = 0.0
    for char in text:
        if char in _NARROW:
            units += 0.36
        elif char in _WIDE:
            units += 0.92
        elif unicodedata.east_asian_width(char) in "WF":
            units += 1.05
        elif char.isupper():
            units += 0.72
        elif not unicodedata.combining(char):
            units += 0.585
    return units * size


def svg(width: float, height: float, title: str, description: str, content: Iterable[str], *, style: str) -> str:
    """
    A picture.

    :param style: CSS, for one that stands alone, or ``""``.
    """
    parts = [tag("title", escaped(title), id="title"), tag("desc", escaped(description), id="description")]
    if style:
        parts += [tag("style", style), tag("rect", width="100%", height="100%", fill="var(--paper)")]
    return tag(
        "svg",
        *parts,
        *content,
        xmlns="http://www.w3.org/2000/svg",
        width=number(width),
        height=number(height),
        viewBox=f"0 0 {number(width)} {number(height)}",
        aria_labelledby="title description",
    )


__all__ = ["escaped", "number", "svg", "tag", "text_width"]
