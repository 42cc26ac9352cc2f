"""A timeline as SVG."""

from __future__ import annotations

import itertools
import time

from ._marks import LOOKS, style
from ._svg import escaped, number, svg, tag, text_width
from ._timeline import BINS, Bar, Row, Timeline
from ._words import span

_WIDE = 820.0
_TOP = 46.0
_LANE = 18.0
_BAR = 13.0
_TALL = 46.0
_GAP = 12.0
_MARGIN = 16.0

TIMELINE_STYLE = (
    ".bar{fill:var(--weak);stroke:var(--strong);stroke-width:1.2}.skipped .bar,.cancelled .bar{stroke-dasharray:3 2}"
    ".interrupted .bar{stroke-dasharray:5 2}.failure .bar{fill:var(--strong)}.failure .seq{fill:var(--paper)!important}"
    ".wait{stroke:var(--line);stroke-width:1.4;stroke-dasharray:1.5 2.5}"
    ".grid{stroke:var(--rule);stroke-width:1}.tick{font-size:11px}.label{font-size:13px;font-weight:600}.under{font-size:11px}"
    ".seq{font-size:10px;pointer-events:none}.recovery{stroke:var(--ink);stroke-width:1.4;stroke-dasharray:6 3}"
    ".pause{fill:var(--paper);stroke:var(--line)}.area{fill:var(--weak);stroke:var(--strong);stroke-width:1}"
    ".fail{stroke:var(--strong);stroke-width:2}.task:hover .bar,.task:focus-visible .bar{stroke-width:2.6}"
    ".task{outline:none}"
)


def timeline_svg(timeline: Timeline, *, alone: bool = True) -> str:
    """
    A timeline as SVG.

    :param alone: whether it is a file of its own.
    """
    css = style() + TIMELINE_STYLE if alone else ""
    if not timeline.rows:
        empty = tag("text", "No step of this run has been reached yet.", x=20.0, y=40.0, class_="soft")
        return svg(360, 70, timeline.title, timeline.caption, [empty], style=css)
    left = _MARGIN + max(90.0, *(max(text_width(row.label, 13.5), text_width(_under(row), 11)) for row in timeline.rows)) + 14
    heights = [_height(row) for row in timeline.rows]
    bottom = _TOP + sum(heights) + _GAP * len(heights)
    parts = _grid(timeline, left, bottom)
    top = _TOP
    for row, height in zip(timeline.rows, heights, strict=True):
        parts += _row(timeline, row, left, top, height)
        top += height + _GAP
    parts += _pauses(timeline, left, bottom)
    parts += _recoveries(timeline, left, bottom)
    return svg(left + _WIDE + 2 * _MARGIN, bottom + _MARGIN, timeline.title, timeline.caption, parts, style=css)


def _height(row: Row) -> float:
    return max(_LANE * row.lanes, 34.0) if row.bars else _TALL


def _under(row: Row) -> str:
    return ", ".join(f"{count} {LOOKS[look].word}" for look, count in row.looks.items())


def _grid(timeline: Timeline, left: float, bottom: float) -> list[str]:
    ticks = timeline.scale.ticks(7)
    fine = any(abs(b[1] - a[1]) < 1 for a, b in itertools.pairwise(ticks))
    parts = []
    free = -1.0
    begin = timeline.begin
    parts.append(
        tag(
            "text",
            escaped(f"from {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(begin))}"),
            x=_MARGIN,
            y=16.0,
            class_="tick soft",
        )
    )
    for place, at in ticks:
        x = left + place * _WIDE
        parts.append(tag("line", x1=x, y1=_TOP - 10, x2=x, y2=bottom, class_="grid"))
        text = f"+{_short(at - begin)}" if fine else time.strftime("%H:%M:%S", time.localtime(at))
        width = text_width(text, 11)
        if x - width / 2 > free:
            parts.append(tag("text", escaped(text), x=x, y=_TOP - 16, text_anchor="middle", class_="tick soft"))
            free = x + width / 2 + 8
    return parts


def _short(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.3f}".rstrip("0").rstrip(".") + " s"


def _row(timeline: Timeline, row: Row, left: float, top: float, height: float) -> list[str]:
    under = tag("text", escaped(_under(row)), x=_MARGIN, y=top + 29, class_="under soft")
    parts = [
        tag(
            "text",
            tag("title", escaped(row.step)),
            escaped(row.label),
            x=_MARGIN,
            y=top + 14,
            class_="label",
            unicode_bidi="isolate",
        ),
        under,
        tag("line", x1=_MARGIN, y1=top + height + _GAP / 2, x2=left + _WIDE, y2=top + height + _GAP / 2, class_="grid"),
    ]
    if row.bars:
        return parts + [_bar(timeline, bar, left, top) for bar in row.bars]
    return parts + _density(row, left, top)


def _bar(timeline: Timeline, bar: Bar, left: float, top: float) -> str:
    place = timeline.scale.place
    y = top + bar.lane * _LANE + 2
    made = left + place(bar.made) * _WIDE
    begun = left + place(bar.made if bar.begun is None else bar.begun) * _WIDE
    ended = left + place(bar.ended) * _WIDE
    parts = [tag("title", escaped(bar.text))]
    if begun - made > 2:
        parts.append(tag("line", x1=made, y1=y + _BAR / 2, x2=begun, y2=y + _BAR / 2, class_="wait"))
    if bar.begun is None:
        parts.append(tag("circle", cx=made + 4, cy=y + _BAR / 2, r=4.0, class_="bar"))
    else:
        parts.append(tag("rect", x=begun, y=y, width=max(ended - begun, 3.0), height=_BAR, rx=2.5, class_="bar"))
        if ended - begun > text_width(bar.label, 10) + 8:
            parts.append(tag("text", escaped(bar.label), x=begun + 4, y=y + 10, class_="seq"))
    return tag("g", *parts, class_=f"task {bar.look}", role="img", tabindex="0", aria_label=bar.text)


def _density(row: Row, left: float, top: float) -> list[str]:
    peak = max(row.density) or 1
    base, room = top + _TALL - 2, _TALL - 8
    step = _WIDE / BINS
    d = [f"M{number(left)} {number(base)}"]
    level = -1.0
    for index, count in enumerate(row.density):
        y = base - room * count / peak
        if y != level:
            d.append(f"H{number(left + index * step)}V{number(y)}")
            level = y
    d.append(f"H{number(left + _WIDE)}V{number(base)}Z")
    total = sum(row.looks.values())
    text = f"'{row.step}': {total} tasks, at most {peak} in one part of the scale; {'; '.join(row.details)}"
    parts = [
        tag(
            "path", tag("title", escaped(text)), d="".join(d), class_=f"area {'active' if row.looks.get('active') else 'success'}"
        )
    ]
    failed = "".join(
        f"M{number(left + (index + 0.5) * step)} {number(base)}v-7" for index, count in enumerate(row.failures) if count
    )
    if failed:
        parts.append(tag("path", tag("title", "here tasks failed"), d=failed, class_="fail failure"))
    parts.append(tag("text", f"{peak}", x=left + _WIDE + 6, y=top + 12, class_="tick soft"))
    return [tag("g", *parts, role="img", aria_label=text)]


def _pauses(timeline: Timeline, left: float, bottom: float) -> list[str]:
    parts = []
    for place, seconds in timeline.scale.pauses:
        x = left + place * _WIDE
        d = f"M{number(x - 4)} {number(_TOP - 8)}V{number(bottom)}H{number(x + 4)}V{number(_TOP - 8)}Z"
        parts.append(tag("path", tag("title", escaped(f"a pause of {span(seconds)}")), d=d, class_="pause"))
        parts.append(tag("text", escaped(span(seconds)), x=x, y=_TOP - 30, text_anchor="middle", class_="tick soft"))
    return parts


def _recoveries(timeline: Timeline, left: float, bottom: float) -> list[str]:
    parts = []
    for at, text in timeline.marks:
        x = left + timeline.scale.place(at) * _WIDE
        parts.append(tag("line", tag("title", escaped(text)), x1=x, y1=_TOP - 8, x2=x, y2=bottom, class_="recovery"))
        outside = x + 4 + text_width(text, 11) > left + _WIDE
        parts.append(
            tag(
                "text",
                escaped(text),
                x=x - 4 if outside else x + 4,
                y=bottom + 11,
                text_anchor="end" if outside else None,
                class_="tick",
            )
        )
    return parts


__all__ = ["TIMELINE_STYLE", "timeline_svg"]
