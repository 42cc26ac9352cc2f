from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from twisted_evproc import Outcome
from twisted_evproc.cli._application import Application, load

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "github.py"
EVENTS = EXAMPLE.with_suffix(".jsonl")
#: Real deliveries, not part of the package: one JSON object {"event": ..., "payload": ...} a line, beside the checkout.
#: A file of real deliveries, as published by @octokit/webhooks-examples, which the project does not ship.
REAL = os.environ.get("EVPROC_GITHUB_DELIVERIES", "")


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> Iterator[Application]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules = set(sys.modules)
    yield load(str(EXAMPLE))
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) == str(EXAMPLE):
            del sys.modules[name]


def process(application: Application, path: Path) -> list[Outcome]:
    outcomes: list[Outcome] = []
    application.runnable.start()
    assert application.mapping is not None
    for line in path.read_text().splitlines():
        event, details = application.mapping(json.loads(line))
        firing: Deferred[Any] = application.runnable.take(event, details)
        firing.addCallback(outcomes.append)
    return outcomes


def test_every_handler_has_its_delivery(application: Application) -> None:
    outcomes = process(application, EVENTS)
    called = {result.name for outcome in outcomes for result in outcome.results if not result.skipped}
    assert called == {view.name for view in application.runnable.handlers()}
    assert [outcome.stopped for outcome in outcomes] == [True] + [False] * (len(outcomes) - 1)
    assert not any(outcome.failures for outcome in outcomes)
    assert outcomes[1].values == ("bug", None)


def test_as_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "twisted_evproc", "run", str(EXAMPLE), "--events", str(EVENTS), "--json"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    *rows, summary = map(json.loads, ended.stdout.splitlines())
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(rows) == len(EVENTS.read_text().splitlines())
    assert (summary["summary"]["unhandled"], summary["summary"]["failures"]) == (0, {})


@pytest.mark.skipif(not REAL, reason="EVPROC_GITHUB_DELIVERIES names no file of real deliveries")
def test_real_deliveries(application: Application) -> None:
    outcomes = process(application, Path(REAL))
    assert len(outcomes) == len(Path(REAL).read_text().splitlines())
    assert not any(outcome.failures for outcome in outcomes)
    assert all(outcome.handled for outcome in outcomes)
    called = {result.name for outcome in outcomes for result in outcome.results}
    assert {"answer_ping", "ask_for_review", "label_issue", "thank", "raise_alarm", "read_advisory", "audit"} <= called
