"""A picture as a page: one file, with nothing from outside, and no script."""

from __future__ import annotations

from collections.abc import Iterable

from ._graph import Graph, Node
from ._graph_picture import GRAPH_STYLE, describe_node, graph_svg
from ._marks import LOOKS, style
from ._svg import escaped, tag
from ._timeline import Timeline
from ._timeline_picture import TIMELINE_STYLE, timeline_svg

_PAGE_STYLE = """
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif}
header,main,footer{max-width:1500px;margin:0 auto;padding:0 20px}
h1{font-size:1.45rem;line-height:1.25;margin:22px 0 4px;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:28px 0 8px}
p{margin:0 0 12px}
.caption,.key,footer{color:var(--soft);overflow-wrap:anywhere}
.key{display:flex;flex-wrap:wrap;gap:4px 16px;list-style:none;margin:0 0 12px;padding:0;font-size:13px}
.key li{display:flex;align-items:center;gap:6px}
.fit{font-size:13px;color:var(--soft);display:inline-flex;gap:6px;align-items:center;margin:0 0 8px}
.picture{border:1px solid var(--rule);border-radius:10px;overflow:auto;max-height:82vh;text-align:center}
.picture>svg{display:inline-block;vertical-align:top}
.picture:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.tools:has(#fit:checked)+.picture>svg{width:100%;height:auto;max-height:80vh}
.card{display:none}
.card:target{display:block;position:fixed;left:50%;transform:translateX(-50%);bottom:16px;width:min(640px,calc(100vw - 24px));
max-height:50vh;overflow:auto;background:var(--paper);border:1px solid var(--strong);border-left-width:8px;border-radius:10px;
padding:12px 16px;box-shadow:0 6px 28px rgb(0 0 0/.28);z-index:1}
.card h3{margin:0 0 6px;font-size:1rem;padding-right:28px;overflow-wrap:anywhere}
.card ul{margin:0;padding-left:18px}.card li{overflow-wrap:anywhere}
.card a{position:absolute;right:10px;top:8px;width:30px;height:30px;line-height:28px;text-align:center;color:inherit;
text-decoration:none;border-radius:6px;font-size:20px}
.card a:focus-visible,.card a:hover{outline:2px solid var(--accent)}
.table{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px}
th,td{text-align:left;vertical-align:top;padding:5px 12px 5px 0;border-bottom:1px solid var(--rule)}
td{overflow-wrap:anywhere}td.state,td:first-child{white-space:nowrap;overflow-wrap:normal}
td .dot,.key .dot{display:inline-block;width:14px;height:14px;vertical-align:-2px}td .dot{margin-right:6px}
caption{text-align:left;color:var(--soft);padding-bottom:6px}
footer{font-size:13px;padding:18px 20px 28px}
@media (max-width:600px){header,main,footer{padding:0 12px}
.picture{max-height:75vh;text-align:left}th:first-child,td:first-child{display:none}td.state{white-space:normal}}
@media print{.tools,.card,.picture:focus-visible{display:none!important;outline:none}
.picture{overflow:visible;max-height:none;border:0}
.picture>svg{width:100%;height:auto;max-height:92vh}tr{break-inside:avoid}.table{break-before:auto}}
"""


def graph_page(graph: Graph) -> str:
    """A graph as an HTML page."""
    looks = dict.fromkeys(name for name in LOOKS if any(node.look == name for node in graph.nodes))
    cards = "".join(_card(index, node) for index, node in enumerate(graph.nodes))
    rows = [
        (node.look, describe_node(node).partition(" '")[0], node.name, _state(node), "; ".join(node.details))
        for node in graph.nodes
        if node.kind in ("event", "step")
    ]
    rows.sort(key=lambda row: row[1] != "step")
    return _page(
        graph.title,
        graph.caption,
        looks,
        picture=graph_svg(graph, alone=False),
        table=_table("Steps and flow events", ("kind", "name", "state", "more"), rows),
        own_style=GRAPH_STYLE,
        cards=cards,
    )


def timeline_page(timeline: Timeline) -> str:
    """A timeline as an HTML page."""
    looks = dict.fromkeys(name for name in LOOKS if any(row.looks.get(name) for row in timeline.rows))
    rows = [
        (
            next(iter(row.looks), "none"),
            "step",
            row.step,
            ", ".join(f"{count} {LOOKS[look].word}" for look, count in row.looks.items()),
            "; ".join(row.details),
        )
        for row in timeline.rows
    ]
    table = _table("Steps", ("kind", "name", "tasks", "more"), rows)
    return _page(
        timeline.title,
        timeline.caption,
        looks,
        picture=timeline_svg(timeline, alone=False),
        table=table,
        own_style=TIMELINE_STYLE,
    )


def _state(node: Node) -> str:
    return describe_node(node).rpartition(": ")[2] if node.state or LOOKS[node.look].word else ""


def _dot(look: str) -> str:
    mark = tag("path", d=LOOKS[look].shape or "M6 6", class_="mark")
    return f'<svg class="dot {look}" viewBox="-1 -1 14 14" aria-hidden="true">{mark}</svg>'


def _card(index: int, node: Node) -> str:
    lines = "".join(tag("li", escaped(line)) for line in node.details)
    heading = tag("h3", escaped(describe_node(node)), dir="auto")
    close = tag("a", "×", href="#picture", aria_label="close")
    return tag("section", heading, tag("ul", lines) if lines else "", close, id=f"node-{index}", class_=f"card {node.look}")


def _table(title: str, heads: tuple[str, str, str, str], rows: Iterable[tuple[str, str, str, str, str]]) -> str:
    head = tag("tr", *(tag("th", escaped(text), scope="col") for text in heads))
    body = "".join(
        tag(
            "tr",
            tag("td", escaped(kind)),
            tag("td", escaped(name), dir="auto"),
            tag("td", _dot(look), escaped(state), class_="state"),
            tag("td", escaped(more), dir="auto"),
        )
        for look, kind, name, state, more in rows
    )
    return tag("h2", escaped(title)) + tag("div", tag("table", tag("thead", head), tag("tbody", body)), class_="table")


def _page(title: str, caption: str, looks: Iterable[str], *, picture: str, table: str, own_style: str, cards: str = "") -> str:
    key = "".join(tag("li", _dot(look), escaped(LOOKS[look].word)) for look in looks if LOOKS[look].word)
    fit = tag("label", tag("input", type="checkbox", id="fit"), "fit the picture to the page", class_="fit")
    head = "".join(
        (
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", http_equiv="Content-Security-Policy", content="default-src 'none'; style-src 'unsafe-inline'"),
            tag("title", escaped(title)),
            tag("style", style() + own_style + _PAGE_STYLE),
        )
    )
    body = "".join(
        (
            tag("header", tag("h1", escaped(title), dir="auto"), tag("p", escaped(caption), class_="caption")),
            tag(
                "main",
                tag("ul", key, class_="key", aria_label="what the marks mean") if key else "",
                tag("div", fit, class_="tools"),
                tag("div", picture, class_="picture", id="picture", tabindex="0", role="region", aria_label="picture"),
                cards,
                table,
            ),
        )
    )
    return f"<!DOCTYPE html>\n{tag('html', tag('head', head), tag('body', body), lang='en')}\n"


__all__ = ["graph_page", "timeline_page"]
