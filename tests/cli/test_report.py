from __future__ import annotations

import io
import json
from typing import Any

import pytest
from twisted.internet.defer import CancelledError
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from twisted_evproc import COLLECT, EventDispatcher, Outcome, StopProcessing
from twisted_evproc.cli._events import LineError
from twisted_evproc.cli._logs import CommandLog
from twisted_evproc.cli._output import Output
from twisted_evproc.cli._report import JSONReport, Problems, TextReport
from twisted_evproc.cli._tally import Tally


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def outcome_of(kind: str) -> Outcome:
    dispatcher = EventDispatcher(["kind"], on_failure=COLLECT)
    dispatcher.start()

    @dispatcher.handler("before", kind="good")
    def check(event: Any) -> None: ...

    @dispatcher.handler("during", kind="good")
    def pack(event: Any) -> dict[str, int]:
        return {"parcels": 1}

    @dispatcher.handler("during", kind="bad")
    def fail(event: Any) -> None:
        raise ValueError("no\nsuch \x1b[31mthing")

    @dispatcher.handler("during", kind="bad", requires="fail")
    def need(event: Any) -> None: ...

    @dispatcher.handler("before", kind="stop")
    def refuse(event: Any) -> None:
        raise StopProcessing("sold out")

    dispatcher.add_event_handler(check, "after", kind="stop")
    outcomes: list[Outcome] = []
    firing = dispatcher.fire_event({"kind": kind, "n": 1}, kind=kind)
    firing.addCallback(outcomes.append)
    return outcomes[0]


class Setting:
    def __init__(self, kind: Any = TextReport, quiet: bool = False, verbose: bool = False, terminal: bool = False) -> None:
        self.out = Terminal() if terminal else io.StringIO()
        self.err = io.StringIO()
        self.log = CommandLog(lambda event: None, LogLevel.warn)
        self.report = kind(Output(self.out), Problems("x.jsonl", Output(self.err), self.log, verbose), quiet)

    def lines(self) -> list[str]:
        return self.out.getvalue().splitlines()

    def rows(self) -> list[Any]:
        return [json.loads(line) for line in self.lines()]


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("good", "3 kind=good n=1 | before: check | during: pack -> {parcels: 1}"),
        ("other", "3 kind=other n=1 | unhandled"),
        ("stop", '3 kind=stop n=1 | before: refuse -> "sold out" | stopped, 1 handler not called'),
    ],
)
def test_one_outcome_a_line(kind: str, line: str) -> None:
    setting = Setting()
    setting.report.outcome(3, outcome_of(kind))
    assert setting.lines() == [line]


def test_a_failure_stands_in_its_line_and_cannot_break_out_of_it() -> None:
    setting = Setting()
    setting.report.outcome(3, outcome_of("bad"))
    (line,) = setting.lines()
    assert line.startswith(r"3 kind=bad n=1 | during: fail FAILED ValueError: no\nsuch \x1b[31mthing, need skipped (")
    assert setting.err.getvalue() == ""


def test_verbose_adds_the_traceback_in_the_authors_frames() -> None:
    setting = Setting(verbose=True)
    setting.report.outcome(3, outcome_of("bad"))
    text = setting.err.getvalue()
    assert text.startswith("x.jsonl:3: fail failed:\nTraceback")
    assert __file__ in text
    assert "/dispatch/" not in text
    assert "\x1b" not in text


def test_quiet_leaves_broken_lines_and_the_summary() -> None:
    for kind in (TextReport, JSONReport):
        setting = Setting(kind, quiet=True)
        setting.report.outcome(3, outcome_of("bad"))
        setting.report.refused(4, {}, {}, Failure(RuntimeError("full")))
        setting.report.broken(5, LineError("no event", 7))
        assert setting.lines() == []
        assert setting.err.getvalue() == "x.jsonl:5:7: no event\n"
        setting.report.summary(Tally())
        assert len(setting.lines()) == 1


def test_broken_lines_without_a_column() -> None:
    setting = Setting()
    setting.report.broken(5, LineError("no event"))
    assert setting.err.getvalue() == "x.jsonl:5: no event\n"


def test_verbose_shows_where_a_mapping_failed() -> None:
    for kind in (TextReport, JSONReport):
        setting = Setting(kind, verbose=True)
        setting.report.broken(5, LineError("no event", cause=KeyError("payload")))
        assert "KeyError: 'payload'" in setting.err.getvalue()


def test_what_was_refused_or_cancelled() -> None:
    setting = Setting()
    setting.report.refused(4, {"a": 1}, {"kind": "x"}, Failure(RuntimeError("full")))
    setting.report.refused(5, "text", {}, Failure(CancelledError()))
    assert setting.lines() == ["4 kind=x a=1 | REFUSED RuntimeError: full", "5 text | cancelled"]


def test_colours_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    plain, coloured = Setting(), Setting(terminal=True)
    for setting in (plain, coloured):
        setting.report.outcome(1, outcome_of("bad"))
    assert "\x1b" not in plain.out.getvalue()
    assert "\x1b[31mFAILED\x1b[0m" in coloured.out.getvalue()
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            setting = Setting(terminal=True)
            setting.report.outcome(1, outcome_of("bad"))
            assert "\x1b" not in setting.out.getvalue()


def test_the_summary_counts() -> None:
    tally = Tally()
    for kind in ("good", "bad", "bad", "stop", "other"):
        tally.add(outcome_of(kind))
    tally.add_cancelled()
    tally.broken_lines, tally.seconds = 1, 2.0
    setting = Setting()
    setting.report.summary(tally)
    assert setting.lines() == [
        "6 events in 2.000 s (3 events/s): 4 handled, 1 unhandled, 1 stopped, 1 cancelled; 5 handler calls; 2 failures; "
        "1 broken line",
        "  failed fail: ValueError 2x",
    ]


def test_json_rows() -> None:
    setting = Setting(JSONReport)
    for number, kind in enumerate(("good", "bad", "stop", "other"), 1):
        setting.report.outcome(number, outcome_of(kind))
    setting.report.broken(5, LineError("no event", 7))
    setting.report.refused(6, {1}, {"kind": "x"}, Failure(RuntimeError("full")))
    tally = Tally(events=1, handled=1, seconds=0.5)
    setting.report.summary(tally)
    good, bad, stop, other, broken, refused, summary = setting.rows()
    assert good == {
        "line": 1,
        "event": {"kind": "good", "n": 1},
        "details": {"kind": "good"},
        "handled": True,
        "stopped": False,
        "value": None,
        "results": [
            {"handler": "check", "phase": "before", "value": None, "failure": None, "skipped": None},
            {"handler": "pack", "phase": "during", "value": {"parcels": 1}, "failure": None, "skipped": None},
        ],
    }
    assert bad["results"][0]["failure"] == {"type": "ValueError", "message": "no\nsuch \x1b[31mthing"}
    assert bad["results"][1]["skipped"]
    assert (stop["stopped"], stop["value"]) == (True, "sold out")
    assert other["handled"] is False
    assert broken == {"line": 5, "column": 7, "place": "x.jsonl:5:7", "broken": "no event"}
    assert refused["failure"] == {"type": "RuntimeError", "message": "full"}
    assert refused["event"] == "{1}"
    assert summary["summary"]["events_per_second"] == 2.0
