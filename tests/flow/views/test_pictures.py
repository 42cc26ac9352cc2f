"""Graphs, timelines and pages: what is in them, and that nothing in them does harm."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from tests.flow.views.scenes import BEGIN, HOSTILE, Play, hostile, shop
from twisted_evproc.flow import RunMode, RunRow, Snapshot, TaskRow
from twisted_evproc.flow.views import (
    Graph,
    Sight,
    Timeline,
    graph_of,
    graph_page,
    graph_svg,
    infer,
    timeline_of,
    timeline_page,
    timeline_svg,
)
from twisted_evproc.flow.views._svg import escaped, tag, text_width
from twisted_evproc.flow.views._timeline import MOST_BARS, Scale

NOTHING_OUTSIDE = re.compile(
    r"""(?:src|href|xlink:href|action|srcset)\s*=\s*["'](?!#)|url\(|@import|<script|<iframe|<object|<link"""
)


def node(graph: Graph, kind: str, name: str) -> str:
    (found,) = (each for each in graph.nodes if (each.kind, each.name) == (kind, name))
    return f"{found.look}: {found.label} {found.state}".rstrip()


def graph(play: Play, sequence: str | None = None, living: str | None = None) -> Graph:
    return graph_of(play.declared, play.sight(living), sequence, name=play.flow.name, now=play.now)


class _Balance(HTMLParser):
    """Sees that every element is closed by its own end."""

    EMPTY = frozenset({"meta", "input", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.add(name)
        self.attributes += attributes
        if name not in self.EMPTY:
            self.open.append(name)

    def handle_startendtag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.add(name)
        self.attributes += attributes

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name


def check_page(page: str) -> _Balance:
    assert page.startswith("<!DOCTYPE html>")
    parser = _Balance()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    assert "script" not in parser.seen
    assert not [name for name, _ in parser.attributes if name.startswith("on")]
    assert not NOTHING_OUTSIDE.search(page)
    return parser


def check_svg(text: str) -> ET.Element:
    root = ET.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root[0].tag.endswith("title") and root[0].text
    assert not NOTHING_OUTSIDE.search(text)
    return root


class TestGraph:
    def test_each_part_shows_how_it_stands(self) -> None:
        found = graph(shop())

        assert node(found, "event", "order") == "success: order"
        assert node(found, "step", "charge") == "success: charge done"
        assert node(found, "step", "pack") == "failure: pack failed"
        assert node(found, "step", "send") == "none: send not yet"
        assert [f"{each.look}: {each.label}" for each in found.nodes if each.kind == "gate"] == ["waiting: all", "none: any"]
        assert [each.label for each in found.nodes if each.kind == "watch"] == ["not by 1 minute"]
        assert [each.label for each in found.nodes if each.kind == "delay"] == ["after 1 hour"]
        assert {edge.label for edge in found.edges} == {"", "success"}

    def test_several_sequences_are_counted(self) -> None:
        play = shop(3)

        assert node(graph(play), "step", "pack") == "failure: pack 3 failed"
        assert node(graph(play), "event", "order") == "success: order 3×"
        assert node(graph(play, "2"), "step", "pack") == "failure: pack failed"
        assert "sequence 2" in graph(play, "2").caption

    def test_what_waits_and_what_runs(self) -> None:
        play = shop(packs=True)
        assert [each.look for each in graph(play).nodes if each.kind == "delay"] == ["waiting"]

        waiting = Play()
        go = waiting.flow.add_event("go")
        waiting.step("long", go, waiting.waiting("long"))
        waiting.flow.trigger_event(go, 1)
        waiting.run()
        assert node(graph(waiting, living="host:1"), "step", "long") == "active: long running"
        assert node(graph(waiting), "step", "long") == "interrupted: long interrupted"

    def test_what_a_recovery_skipped(self) -> None:
        play = shop(before=shop(), packs=True, mode=RunMode.recover)

        assert node(graph(play), "step", "charge") == "skipped: charge skipped"

    def test_a_flow_alone_has_no_states(self) -> None:
        play = shop()
        found = graph_of(play.declared, name="shop")

        assert {each.look for each in found.nodes} == {"plain"}
        assert found.caption == "5 steps, 7 flow events"

    def test_without_a_description_it_is_drawn_from_what_has_happened(self) -> None:
        play = shop()
        declared = infer(play.snapshot)
        found = graph_of(declared, Sight(declared, play.snapshot, None), now=play.now)

        assert node(found, "step", "pack") == "failure: pack failed"
        assert "no description" in found.caption
        assert any(found.nodes[edge.source].name == "charge" and found.nodes[edge.target].name == "paid" for edge in found.edges)

    def test_every_node_is_drawn_and_says_what_it_is(self) -> None:
        found = graph(shop())
        root = check_svg(graph_svg(found))
        drawn = [each for each in root.iter() if each.get("class", "").startswith("node ")]

        assert len(drawn) == len(found.nodes)
        assert all(each.get("aria-label") and each.find("{*}title") is not None for each in drawn)

    def test_the_page_links_each_node_to_its_details(self) -> None:
        found = graph(shop())
        page = graph_page(found)
        check_page(page)

        for number in range(len(found.nodes)):
            assert f'href="#node-{number}"' in page
            assert f'<section id="node-{number}"' in page
        assert "ValueError: no boxes" in page

    def test_a_flow_without_anything(self) -> None:
        empty = graph_of(Play().declared)

        check_svg(graph_svg(empty))
        check_page(graph_page(empty))


def run_row(**changes: object) -> RunRow:
    row = RunRow("r1", "shop", "success", 0, 1, "host:1", BEGIN, BEGIN + 100, "")
    return row._replace(**changes)  # type: ignore[arg-type]  # names and types are those of the row


def task(step: str, sequence: int, begun: float, ended: float | None, status: str = "success", *, recovery: int = 0) -> TaskRow:
    error = json.dumps({"type": "ValueError", "message": "no", "traceback": ""}) if status == "failure" else None
    end = None if ended is None else BEGIN + ended
    return TaskRow(
        recovery, step, str(sequence), status, 1, sequence, BEGIN + begun - 1, BEGIN + begun, end, None, None, error, False
    )


def timeline(tasks: list[TaskRow], now: float = 200, living: str | None = None, **changes: object) -> Timeline:
    snapshot = Snapshot(run_row(**changes), [], tasks, [], [], {})
    return timeline_of(Sight(infer(snapshot), snapshot, living), now=BEGIN + now)


class TestTimeline:
    def test_bars_are_where_their_times_are(self) -> None:
        found = timeline([task("a", 1, 1, 11), task("b", 1, 11, 21, "failure")])
        a, b = found.rows

        assert [found.scale.place(each) for each in (BEGIN, BEGIN + 21)] == [0, 1]
        assert found.scale.place(a.bars[0].ended) == found.scale.place(b.bars[0].begun or 0) == pytest.approx(11 / 21)
        assert (a.looks, b.looks) == ({"success": 1}, {"failure": 1})
        assert "ValueError: no" in b.bars[0].text

    def test_tasks_at_the_same_time_have_lanes_of_their_own(self) -> None:
        (row,) = timeline([task("a", 1, 1, 10), task("a", 2, 2, 9), task("a", 3, 12, 30)]).rows

        assert [bar.lane for bar in row.bars] == [0, 1, 0]
        assert row.lanes == 2

    def test_a_long_pause_is_left_out_and_said(self) -> None:
        found = timeline([task("a", 1, 1, 10), task("a", 1, 100_000, 100_010, recovery=1)], recovery=1)

        ((_, seconds),) = found.scale.pauses
        assert seconds == pytest.approx(99_989, abs=2)
        assert found.scale.place(BEGIN + 10) > 0.3
        assert "pauses are left out" in found.caption
        assert [text for _, text in found.marks] == ["recovery 1"]
        assert "1 day" in timeline_svg(found) or "28 hours" in timeline_svg(found)

    def test_what_runs_reaches_to_now_and_what_was_interrupted_does_not(self) -> None:
        tasks = [task("a", 1, 1, 10), task("b", 1, 5, None, "active")]

        running = timeline(tasks, living="host:1", status="running", ended=None)
        dead = timeline(tasks, status="running", ended=None)

        assert (running.rows[1].bars[0].ended, running.rows[1].looks) == (BEGIN + 200, {"active": 1})
        assert (dead.rows[1].bars[0].ended, dead.rows[1].looks) == (BEGIN + 10, {"interrupted": 1})

    def test_thousands_of_tasks_become_one_line_a_step(self) -> None:
        tasks = [task(f"s{number % 4}", number, number / 10, number / 10 + 3) for number in range(20_000)]
        tasks[7] = task("s3", 7, 1, 2, "failure")

        found = timeline(tasks, now=3000)
        text = timeline_svg(found)

        assert all(not row.bars and max(row.density) > 5 for row in found.rows)
        assert sum(found.rows[3].failures) == 1
        assert len(text) < 100_000
        check_svg(text)

    def test_fewer_are_bars(self) -> None:
        found = timeline([task("a", number, number * 5, number * 5 + 4) for number in range(MOST_BARS)], now=9000)

        assert len(found.rows[0].bars) == MOST_BARS

    def test_a_run_without_tasks(self) -> None:
        check_svg(timeline_svg(timeline([])))
        check_page(timeline_page(timeline([])))

    def test_of_a_real_run(self) -> None:
        play = shop(2)
        found = timeline_of(play.sight(), now=play.now)

        assert [row.step for row in found.rows] == ["charge", "pack"]
        check_page(timeline_page(found))

    @pytest.mark.parametrize("seconds", [0.003, 0.7, 5, 59, 700, 86_000, 40 * 86_400])
    def test_ticks_are_few_and_in_order(self, seconds: float) -> None:
        ticks = Scale(BEGIN, BEGIN + seconds, [(BEGIN, BEGIN + seconds)]).ticks(7)

        assert 2 <= len(ticks) <= 12
        assert ticks == sorted(ticks)
        assert all(0 <= place <= 1 for place, _ in ticks)


class TestHostile:
    @pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
    @pytest.mark.parametrize(
        "draw",
        [
            lambda play: graph_svg(graph(play)),
            lambda play: timeline_svg(timeline_of(play.sight(), now=play.now)),
        ],
    )
    def test_pictures_are_whole(self, text: str, draw: Callable[[Play], str]) -> None:
        if "\0" in text:
            text = text.replace("\0", "")
        found = draw(hostile(text))

        check_svg(found)
        assert "\u202e" not in found

    @pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
    @pytest.mark.parametrize(
        "draw",
        [
            lambda play: graph_page(graph(play)),
            lambda play: timeline_page(timeline_of(play.sight(), now=play.now)),
        ],
    )
    def test_pages_are_whole(self, text: str, draw: Callable[[Play], str]) -> None:
        found = draw(hostile(text))

        check_page(found)
        assert "\u202e" not in found and "\x1b" not in found and "\0" not in found

    def test_the_check_finds_what_is_not_escaped(self) -> None:
        # The control of the two tests above.
        with pytest.raises(AssertionError):
            check_page('<!DOCTYPE html><html><img src="http://x/"></html>')
        with pytest.raises(AssertionError):
            check_page("<!DOCTYPE html><html><script>1</script></html>")

    def test_escaped(self) -> None:
        assert escaped('<a href="x">&\'</a>') == "&lt;a href=&quot;x&quot;&gt;&amp;&#39;&lt;/a&gt;"
        assert escaped("a\nb\x00c\ud800d\ufffe") == "a b\ufffdc\ufffdd\ufffd"

    def test_tag(self) -> None:
        assert tag("a", "x", class_="b c", aria_label='"', href=None) == '<a class="b c" aria-label="&quot;">x</a>'
        assert tag("path", d="M0 0") == '<path d="M0 0"/>'

    def test_wide_characters_take_more_room(self) -> None:
        assert text_width("日本", 10) > text_width("ab", 10) > text_width("il", 10)
