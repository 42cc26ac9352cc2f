from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = "docs/examples/accounts.py"
EVENTS = "docs/examples/accounts.jsonl"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "twisted_evproc", "run", EXAMPLE, "--events", EVENTS, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_as_the_readme_runs_it() -> None:
    ended = run()
    lines = ended.stdout.splitlines()
    assert lines[:4] == [
        '1 event_type=created user=ada role=admin | before: ask_for_second_factor -> "second factor demanded" '
        "| during: make_home -> /home/ada, copy_skeleton -> 2 | after: count -> 1",
        "2 event_type=created user=grace role=user | during: make_home -> /home/grace, copy_skeleton -> 2 | after: count -> 2",
        '3 event_type=created user=root2 role=admin | before: refuse_reserved_names -> "the name root2 is reserved" '
        "| stopped, 4 handlers not called",
        "4 event_type=login user=grace role=user | unhandled",
    ]
    assert lines[-1].endswith(": 6 handled, 1 unhandled, 1 stopped; 13 handler calls; 0 failures; 0 broken lines")
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("flag", ["--json", "-v", "-q"])
def test_with_every_form_of_output(flag: str) -> None:
    ended = run(flag)
    assert ended.returncode == 0
    if flag == "--json":
        summary = json.loads(ended.stdout.splitlines()[-1])["summary"]
        assert (summary["events"], summary["stopped"], summary["failures"]) == (7, 1, {})
