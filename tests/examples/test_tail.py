"""The example that follows a log, as its readers run it: a process that is told to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import listings

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "tail.py"


def started(log: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(EXAMPLE), log.name],
        cwd=log.parent,
        env={**os.environ, "PYTHONPATH": str(EXAMPLE.parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_follows_a_log_until_it_is_told_to_end(tmp_path: Path, ending: signal.Signals) -> None:
    log = tmp_path / "app.log"
    log.write_text("2026-03-02 11:00:00 ERROR card: there before\n", encoding="utf-8")
    with started(log) as child:
        assert child.stdout is not None and child.stderr is not None
        try:
            assert child.stdout.readline() == "following app.log\n"
            with log.open("a", encoding="utf-8") as file:
                file.write("2026-03-02 12:00:00 INFO shop: opened\n2026-03-02 12:00:01 ERROR card: refused\ngarbage\n")
            assert child.stdout.readline() == "card: refused\n"
            assert child.stdout.readline() == "no log line: 'garbage'\n"
            log.rename(tmp_path / "app.log.1")
            log.write_text("2026-03-02 13:00:00 CRITICAL shop: on fire\n", encoding="utf-8")
            assert child.stdout.readline() == "shop: on fire\n"
            child.send_signal(ending)
            rest, errors = child.communicate(timeout=60)
        finally:
            child.kill()

    assert (rest, errors) == ("1 CRITICAL, 1 ERROR, 1 INFO\n", "")
    assert child.returncode == 0


def test_the_page_word_for_word(tmp_path: Path) -> None:
    shown, written = (each.text for each in listings("how-to/tail-a-log") if each.kind == "console")
    command, following, *lines, last = shown.splitlines(keepends=True)
    assert command == "$ python docs/examples/tail.py app.log\n"
    with started(tmp_path / "app.log") as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == following
            for line in written.splitlines():
                subprocess.run(line.removeprefix("$ "), shell=True, cwd=tmp_path, check=True)
            assert [child.stdout.readline() for _ in lines] == lines
            child.send_signal(signal.SIGINT)
            assert child.communicate(timeout=60) == (last.removeprefix("^C"), "")
        finally:
            child.kill()
