"""How each status looks: a word, a shape and a colour.  No colour says anything that its shape does not."""

from __future__ import annotations

import attrs


@attrs.frozen
class Look:
    """
    :ivar word: what it is called.
    :ivar shape: lines on a field of 12 by 12, as SVG path data.
    :ivar light: the strong colour on light ground, as a text has to have; :ivar pale: the weak one.
    :ivar dark: the strong colour on dark ground; :ivar deep: the weak one.
    :ivar dashed: whether its frame is dashed.
    """

    word: str
    shape: str
    light: str
    pale: str
    dark: str
    deep: str
    dashed: bool = False


_TICK = "M2 6.5 5 9.5 10.5 2.5"
_CROSS = "M2.5 2.5 9.5 9.5M9.5 2.5 2.5 9.5"
_PLAY = "M3.5 2 10 6 3.5 10Z"
_GLASS = "M2.5 1.5H9.5L2.5 10.5H9.5Z"
_RING = "M6 2A4 4 0 1 1 5.99 2Z"
_BAR = "M2 6H10"
_BROKEN = "M7.5 1 4 6H8L4.5 11"
_SLASH = "M2.5 9.5 9.5 2.5M6 1A5 5 0 1 1 5.99 1Z"

LOOKS: dict[str, Look] = {
    "success": Look("done", _TICK, "#17663a", "#e2f3e8", "#7ddba0", "#123524"),
    "failure": Look("failed", _CROSS, "#a8201a", "#fde7e5", "#ff9c94", "#471715"),
    "active": Look("running", _PLAY, "#0b57a4", "#e1eefb", "#8cc4ff", "#10304f"),
    "interrupted": Look("interrupted", _BROKEN, "#8a3ffc", "#f1e8ff", "#c9a6ff", "#35205c"),
    "waiting": Look("waiting", _GLASS, "#7a4d00", "#fdf0d5", "#f3c46b", "#3f2d0b"),
    "ready": Look("ready", _RING, "#4a4f57", "#eceef1", "#c3c9d2", "#2b3038"),
    "cancelled": Look("cancelled", _SLASH, "#4a4f57", "#eceef1", "#c3c9d2", "#2b3038", dashed=True),
    "skipped": Look("skipped", _TICK, "#17663a", "#ffffff", "#7ddba0", "#16191d", dashed=True),
    "plain": Look("", "", "#4a4f57", "#f5f6f8", "#c3c9d2", "#22262c"),
    "none": Look("not yet", _BAR, "#5f656e", "#ffffff", "#9aa2ad", "#16191d", dashed=True),
}

#: A task's status to how it looks.
LOOK_OF = {"allocate": "waiting", "fueled": "waiting"}


def look_of(status: str) -> str:
    """The name of a look; statuses that newer versions know are shown as not begun."""
    status = LOOK_OF.get(status, status)
    return status if status in LOOKS else "none"


def style() -> str:
    """CSS for what is drawn: the colours follow what the reader's system prefers, and paper is white."""
    light = _colours("light", "pale")
    dark = _colours("dark", "deep")
    dashed = ",".join(f".{name}>.frame" for name, look in LOOKS.items() if look.dashed)
    return (
        ":root{color-scheme:light dark;--paper:#fff;--ink:#1c1f24;--soft:#5f656e;--line:#8a919c;--rule:#dde1e6;--accent:#0b57a4}"
        f"{light}"
        "@media screen and (prefers-color-scheme:dark){"
        ":root{--paper:#16191d;--ink:#e8eaed;--soft:#a4abb5;--line:#7c8490;--rule:#31363d;--accent:#8cc4ff}"
        f"{dark}}}"
        "svg text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','DejaVu Sans',sans-serif;fill:var(--ink)}"
        "svg .soft{fill:var(--soft)}"
        ".frame{fill:var(--weak);stroke:var(--strong);stroke-width:1.3}"
        f"{dashed}{{stroke-dasharray:4 3}}"
        ".mark{fill:none;stroke:var(--strong);stroke-width:1.8;stroke-linecap:round;stroke-linejoin:round}"
        "svg .word{fill:var(--strong)}"
    )


def _colours(strong: str, weak: str) -> str:
    return "".join(f".{name}{{--strong:{getattr(look, strong)};--weak:{getattr(look, weak)}}}" for name, look in LOOKS.items())


__all__ = ["LOOKS", "look_of", "style"]
