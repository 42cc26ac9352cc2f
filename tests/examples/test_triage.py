"""The example that triages deliveries by content chooses as plain conditions do."""

from __future__ import annotations

import json
import os
import re
import runpy
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

#: A file of real deliveries, as published by @octokit/webhooks-examples, which the project does not ship.
REAL = os.environ.get("EVPROC_GITHUB_DELIVERIES", "")

FILES = [
    str(EXAMPLES / "github.jsonl"),
    pytest.param(REAL, marks=pytest.mark.skipif(not REAL, reason="EVPROC_GITHUB_DELIVERIES names no file of real deliveries")),
]


def plainly(delivery: Mapping[str, Any]) -> str:
    """The same decisions, written as conditions."""
    event, payload = delivery["event"], delivery["payload"]
    action = payload.get("action")
    chosen = "rest"
    owner = ((payload.get("repository") or {}).get("owner") or {}).get("login")
    if "repository" not in payload:
        chosen = "without_repository"
    elif owner is not None and owner == (payload.get("sender") or {}).get("login"):
        chosen = "by_the_owner"
    if event == "ping":
        chosen = "ping"
    elif fnmatchcase(event, "*_alert") and "alert" in payload:
        chosen = "alert"
    elif event == "security_advisory":
        chosen = "severe_advisory" if payload["security_advisory"].get("severity") in ("high", "critical") else "advisory"
    elif event == "pull_request" and "additions" in payload["pull_request"]:
        chosen = "large_pull_request" if payload["pull_request"]["additions"] > 100 else "small_pull_request"
    elif event == "workflow_run" and payload["workflow_run"].get("conclusion") in ("failure", "timed_out"):
        chosen = "failed_run"
    elif event == "workflow_run" and action == "completed":
        chosen = "finished_run"
    elif event == "issues":
        chosen = "issue_with_label" if payload["issue"].get("labels") else "issue"
    elif event.endswith("comment"):
        chosen = "comment_on_code" if "path" in payload["comment"] else "comment"
    elif event == "star" or (event == "watch" and action == "started"):
        chosen = "applause"
    elif event == "push":
        chosen = "push_to_default" if re.search(r"/(main|master)$", payload["ref"]) else "push"
    elif event == "release":
        chosen = "old_release" if payload["release"]["id"] < 20_000_000 else "release"
    elif event == "public" and payload["repository"]["private"] is False:
        chosen = "public"
    return chosen


@pytest.mark.parametrize("path", FILES)
def test_it_chooses_as_plain_conditions_do_and_explain_agrees(path: str) -> None:
    processor = runpy.run_path(str(EXAMPLES / "triage.py"))["processor"]
    chosen: set[str] = set()
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        delivery = json.loads(line)
        invoked: Deferred[Any] = processor.invoke(delivery)
        assert invoked.result == plainly(delivery), f"line {number}"
        explained = {verdict.name: verdict.reason for verdict in processor.explain(delivery).verdicts if verdict.runs}
        asked = explained.pop("by_the_owner", None)
        if invoked.result == "by_the_owner":
            assert asked == "if Dyn(is_by_the_owner) lets the event pass", f"line {number}"
        else:
            assert list(explained) == [invoked.result], f"line {number}"
        chosen.add(str(invoked.result))
    assert len(chosen) >= 5
