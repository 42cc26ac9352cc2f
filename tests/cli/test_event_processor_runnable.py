"""Applications built on an event processor, run as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

APPLICATION = """
from twisted_evproc import EventProcessor

processor = EventProcessor()

@processor.processor({"kind": "fine"})
async def fine(event, size: int = 0):
    return size

@processor.processor({"kind": "broken"})
def broken(event):
    raise OSError("disk full")
"""


def evproc(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "twisted_evproc", *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


def test_each_event_goes_to_its_processor_and_a_failure_is_shown_with_its_name(tmp_path: Path) -> None:
    application = tmp_path / "application.py"
    application.write_text(APPLICATION)
    events = [{"kind": "fine", "size": "3"}, {"kind": "broken"}, {"kind": "unknown"}, {"kind": "fine", "size": "x"}]
    ended = evproc("run", str(application), "--events", "-", stdin="\n".join(map(json.dumps, events)))
    lines = ended.stdout.splitlines()
    assert ended.returncode == 1
    assert lines[0].endswith("fine -> 3")
    assert "broken" in lines[1]
    assert "OSError: disk full" in lines[1]
    assert "no processor matches" in ended.stdout + ended.stderr
    assert "asks for field 'size'" in ended.stdout + ended.stderr


def test_explain_says_which_one_and_why() -> None:
    ended = evproc("explain", str(EXAMPLES / "triage.py"), "--event", '{"event": "star", "payload": {"action": "created"}}')
    assert ended.returncode == 0
    assert ended.stdout.splitlines()[0] == "1 of 21 handlers run"
    assert ended.stdout.splitlines()[2].split()[:4] == ["1", "rank", "1", "applause"]


def test_details_and_missing_events_are_refused_in_words() -> None:
    for arguments, words in (((), "say which one, as in --event JSON"), (("size=3",), "--event")):
        ended = evproc("explain", str(EXAMPLES / "triage.py"), *arguments)
        assert (ended.returncode, words in ended.stderr) == (2, True), ended.stderr


def test_handlers_lists_processors_best_first() -> None:
    ended = evproc("handlers", str(EXAMPLES / "triage.py"))
    assert ended.returncode == 0
    assert "rank 2" in ended.stdout.splitlines()[1]
    assert "rest" in ended.stdout.splitlines()[-1]
