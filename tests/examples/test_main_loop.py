"""The main loop, as a process of its own: Ctrl-C ends it after all pending events have been processed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "main_loop.py"


@contextmanager
def started() -> Iterator[subprocess.Popen[str]]:
    """The process, when it has processed its first event."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", str(EXAMPLE)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "door: 0\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_when_every_event_that_came_in_has_been_processed(number: int) -> None:
    with started() as process:
        # Readings come in faster than they are processed: from the first one on there are always some pending.
        process.send_signal(number)
        said, complained = process.communicate(timeout=60)

    lines = ["door: 0", *said.splitlines()]
    made = {name: int(count) for name, count in re.findall(r"^(\w+) stops after (\d+) readings$", said, re.MULTILINE)}
    assert complained == ""
    assert set(made) == {"door", "window"} and min(made.values()) >= 20

    failed = [line for line in lines if line.startswith("event of <EventPump> at ")]
    for name, count in made.items():
        handled = [int(line.removeprefix(f"{name}: ")) for line in lines if line.startswith(f"{name}: ")]
        assert handled == [reading for reading in range(count) if reading % 10 != 9]
    assert len(failed) == sum(made.values()) // 10
    assert all("makes no sense" in line for line in failed)
    assert lines[-1] == f"{sum(made.values())} processed, {len(failed)} failed, 0 left"
    # Some were pending when the signal came.
    assert lines.index(f"door stops after {made['door']} readings") < len(lines) - 2


def test_the_page_shows_what_it_prints() -> None:
    """Line by line: where the signal falls among them differs."""
    page = (ROOT / "docs" / "how-to" / "poll-and-process.rst").read_text(encoding="utf-8")
    listing = re.search(r"code-block:: console\n\n((?:   .*\n)+)", page)
    assert listing is not None
    command, *shown = textwrap.dedent(listing[1]).splitlines()
    assert command == f"$ python {EXAMPLE.relative_to(ROOT)}"
    with started() as process:
        process.send_signal(signal.SIGINT)
        said = "door: 0\n" + process.communicate(timeout=60)[0]
    for line in shown:
        if line != "...":
            pattern = re.sub(r"\d+", r"\\d+", re.escape(line.removeprefix("^C")).replace(r"\.\.\.", ".*"))
            assert re.search(f"^{pattern}$", said, re.MULTILINE), line
