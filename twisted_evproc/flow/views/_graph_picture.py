"""A graph as SVG."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ._graph import Edge, Graph, Node
from ._layers import Layout, Route, Size, lay_out
from ._marks import LOOKS, style
from ._svg import escaped, number, svg, tag, text_width

_MARGIN = 20.0
_HEIGHTS = {"event": 30.0, "step": 50.0, "gate": 26.0, "delay": 28.0, "watch": 28.0}
_KINDS = {"event": "flow event", "step": "step", "gate": "gate before", "delay": "delay before", "watch": "watch for"}

GRAPH_STYLE = (
    ".edge{fill:none;stroke:var(--line);stroke-width:1.4}.edge.back{stroke-dasharray:6 4}"
    ".head{fill:var(--line);stroke:none}"
    ".on{font-size:11px;paint-order:stroke;stroke:var(--paper);stroke-width:5px;stroke-linejoin:round}"
    ".name{font-size:13px}.step .name{font-weight:600}.word,.count{font-size:11.5px}"
    ".node{outline:none;text-decoration:none}.node:hover .frame,.node:focus-visible .frame{stroke-width:3}"
    ".node:focus-visible .ring{stroke:var(--accent)}.ring{fill:none;stroke:none;stroke-width:2.5}"
)


def graph_svg(graph: Graph, *, alone: bool = True) -> str:
    """
    A graph as SVG.

    :param alone: whether it is a file of its own; otherwise its nodes are links to ``#node-NUMBER``.
    """
    if not graph.nodes:
        empty = tag("text", escaped("There is nothing in this flow yet."), x=_MARGIN, y=40.0, class_="soft")
        return svg(320, 70, graph.title, graph.caption, [empty], style=_style() if alone else "")
    sizes = [_size(node) for node in graph.nodes]
    layout = lay_out(sizes, [(edge.source, edge.target) for edge in graph.edges])
    parts = [_edge(route) for route in layout.routes]
    parts += _labels(graph.edges, layout.routes)
    parts += _in_reading_order(graph, layout, sizes, alone=alone)
    picture = tag("g", *parts, transform=f"translate({number(_MARGIN)} {number(_MARGIN)})")
    width, height = layout.width + 2 * _MARGIN, layout.height + 2 * _MARGIN
    return svg(width, height, graph.title, graph.caption, [picture], style=_style() if alone else "")


def _style() -> str:
    return style() + GRAPH_STYLE


def _in_reading_order(graph: Graph, layout: Layout, sizes: list[Size], *, alone: bool) -> list[str]:
    # The keyboard goes through them from top to bottom.
    order = sorted(range(len(graph.nodes)), key=lambda one: (round(layout.places[one][1]), layout.places[one][0]))
    return [_node(one, graph.nodes[one], layout.places[one], sizes[one], alone=alone) for one in order]


def _size(node: Node) -> Size:
    mark = 20.0 if LOOKS[node.look].shape else 0.0
    if node.kind == "step":
        width = max(text_width(node.label, 13.6), text_width(node.state, 11.5) + mark) + 28
        return Size(max(width, 96), _HEIGHTS["step"])
    size = 11.5 if node.kind in ("gate", "delay", "watch") else 13
    width = text_width(node.label, size) + (text_width(f"  {node.state}", 11.5) if node.state else 0) + mark + 28
    return Size(width, _HEIGHTS[node.kind])


def describe_node(node: Node) -> str:
    """A node in one line."""
    name = f"'{node.name}'" if node.kind in ("event", "step") else f"'{node.name}': {node.label}"
    word = node.state or LOOKS[node.look].word
    if node.kind == "event" and node.look == "success":
        word = f"happened {node.state}".rstrip()
    return f"{_KINDS[node.kind]} {name}{': ' if word else ''}{word}"


def _node(index: int, node: Node, place: tuple[float, float], size: Size, *, alone: bool) -> str:
    width, height = size
    x, y = place[0] - width / 2, place[1] - height / 2
    parts = [
        tag("title", "&#10;".join(map(escaped, (describe_node(node), *node.details)))),
        tag("path", d=_outline(node.kind, width + 8, height + 8, -4, -4), class_="ring"),
        tag("path", d=_outline(node.kind, width, height), class_="frame"),
    ]
    shape = LOOKS[node.look].shape
    mark = 20.0 if shape else 0.0
    if node.kind == "step":
        parts.append(
            _text(node.label, width / 2, 20, "name", "middle")
            if node.state
            else _text(node.label, width / 2, 29.5, "name", "middle")
        )
        if node.state:
            left = (width - text_width(node.state, 11.5) - mark) / 2
            parts += [_mark(shape, left, 29), _text(node.state, left + mark, 39, "word")]
    else:
        baseline = height / 2 + 4.3
        parts.append(_mark(shape, 13, height / 2 - 6))
        kind = "name" if node.kind == "event" else "word"
        size_of = 13 if node.kind == "event" else 11.5
        parts.append(_text(node.label, 14 + mark, baseline, kind))
        if node.state:
            parts.append(_text(node.state, 20 + mark + text_width(node.label, size_of), baseline, "count soft"))
    label = "; ".join((describe_node(node), *node.details))
    return tag(
        "g" if alone else "a",
        *parts,
        class_=f"node {node.kind} {node.look}",
        transform=f"translate({number(x)} {number(y)})",
        href=None if alone else f"#node-{index}",
        role="img" if alone else None,
        aria_label=label[:600],
    )


def _text(text: str, x: float, y: float, kind: str, anchor: str | None = None) -> str:
    # Names may be written from right to left: that is to stay inside.
    return tag("text", escaped(text), x=x, y=y, class_=kind, text_anchor=anchor, unicode_bidi="isolate")


def _mark(shape: str, x: float, y: float) -> str:
    return tag("path", d=shape, class_="mark", transform=f"translate({number(x)} {number(y)})") if shape else ""


def _outline(kind: str, width: float, height: float, x: float = 0, y: float = 0) -> str:
    right, bottom, middle = x + width, y + height, y + height / 2
    n = number
    if kind in ("delay", "watch"):
        cut = 10.0
        return (
            f"M{n(x + cut)} {n(y)}H{n(right - cut)}L{n(right)} {n(middle)}L{n(right - cut)} {n(bottom)}"
            f"H{n(x + cut)}L{n(x)} {n(middle)}Z"
        )
    if kind == "gate":
        # Flat above, round below, as the gates of circuits.
        return (
            f"M{n(x)} {n(y)}H{n(right)}V{n(middle)}Q{n(right)} {n(bottom)} {n(right - width / 4)} {n(bottom)}"
            f"H{n(x + width / 4)}Q{n(x)} {n(bottom)} {n(x)} {n(middle)}Z"
        )
    r = height / 2 if kind == "event" else 7.0
    return (
        f"M{n(x + r)} {n(y)}H{n(right - r)}A{n(r)} {n(r)} 0 0 1 {n(right)} {n(y + r)}V{n(bottom - r)}"
        f"A{n(r)} {n(r)} 0 0 1 {n(right - r)} {n(bottom)}H{n(x + r)}A{n(r)} {n(r)} 0 0 1 {n(x)} {n(bottom - r)}V{n(y + r)}"
        f"A{n(r)} {n(r)} 0 0 1 {n(x + r)} {n(y)}Z"
    )


def _edge(route: Route) -> str:
    if route.source == route.target:
        x, y = route.points[0]
        line = f"M{number(x + 16)} {number(y)}c10 26 52 26 52 -22s-20 -44 -42 -34"
        return tag("path", d=line, class_="edge back")
    points = route.points
    d = [f"M{number(points[0][0])} {number(points[0][1])}"]
    for (ax, ay), (bx, by) in itertools.pairwise(points):
        if abs(ax - bx) < 0.05:
            d.append(f"V{number(by)}")
        else:
            bend = (by - ay) / 2
            d.append(f"C{number(ax)} {number(ay + bend)} {number(bx)} {number(by - bend)} {number(bx)} {number(by)}")
    x, y = points[0] if route.turned else points[-1]
    tip = 8.0 if route.turned else -8.0
    head = f"M{number(x)} {number(y)}L{number(x - 4.5)} {number(y + tip)}H{number(x + 4.5)}Z"
    return tag("path", d="".join(d), class_="edge back" if route.turned else "edge") + tag("path", d=head, class_="head")


def _labels(edges: Sequence[Edge], routes: Sequence[Route]) -> list[str]:
    """The statuses that lead on, once for each step and status, side by side."""
    found: dict[int, dict[str, list[tuple[float, float]]]] = {}
    for edge, route in zip(edges, routes, strict=True):
        if edge.label:
            (ax, ay), (bx, by) = (route.points[0], route.points[1]) if not route.turned else (route.points[-1], route.points[-2])
            place = ax + (bx - ax) * 0.3, ay + (by - ay) * 0.4 + 4
            found.setdefault(edge.source, {}).setdefault(edge.label, []).append(place)
    parts = []
    for of_source in found.values():
        right = -1e9
        for label, places in sorted(of_source.items(), key=lambda item: sum(x for x, _ in item[1]) / len(item[1])):
            half = text_width(label, 11) / 2
            x = max(sum(x for x, _ in places) / len(places), right + half)
            right = x + half + 8
            parts.append(tag("text", escaped(label), x=x, y=places[0][1], text_anchor="middle", class_="on soft"))
    return parts


__all__ = ["GRAPH_STYLE", "describe_node", "graph_svg"]
