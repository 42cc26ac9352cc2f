"""The tutorial of durable flows, done as a reader does it: each program in a process, its output that of the page."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
PAGE = (ROOT / "docs" / "tutorial" / "durable-flows.rst").read_text(encoding="utf-8")
#: So that nothing is due before a test says so.
LONG_DAYS = {"DAY": "1000000"}


class Command(NamedTuple):
    """A command of the page, and what it writes."""

    words: list[str]
    output: str


def commands(program: str) -> list[Command]:
    found = []
    for block in re.findall(r"^\.\. code-block:: console\n\n((?:   .*\n|\n)+)", PAGE, re.MULTILINE):
        for command in dedent(block).strip("\n").removeprefix("$ ").split("\n$ "):
            line, _, output = command.partition("\n")
            words = line.split()
            if words[:2] == ["python", program]:
                found.append(Command(words[1:], output.rstrip("\n") + "\n"))
    return found


def environment(more: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The reader's."""
    for example in EXAMPLES.glob("flow_*.py"):
        shutil.copy(example, tmp_path)
    return tmp_path


def run(command: Command, folder: Path, more: dict[str, str]) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        [sys.executable, *command.words],
        cwd=folder,
        env=environment(more),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".py") and path.name != "__pycache__"}


def test_every_program_is_on_the_page_and_run() -> None:
    included = re.findall(r"^\.\. literalinclude:: \.\./examples/(\S+)$", PAGE, re.MULTILINE)
    assert sorted(included) == sorted(path.name for path in EXAMPLES.glob("flow_*.py"))
    assert all(commands(program) for program in included)
    assert PAGE.count("   $ ") == sum(len(commands(program)) for program in included)


@pytest.mark.parametrize("program", ["flow_order.py", "flow_watch.py", "flow_twisted.py"])
def test_what_needs_no_store(program: str, folder: Path) -> None:
    (command,) = commands(program)
    ended = run(command, folder, {})
    assert (ended.stdout, ended.stderr) == (command.output, "")
    assert files(folder) == set()


def test_a_failed_step_is_recovered(folder: Path) -> None:
    failing, recovering = commands("flow_recover.py")
    first = run(failing, folder, {})
    assert first.stdout == failing.output
    assert "ValueError: the card has expired" in first.stderr
    second = run(recovering, folder, {})
    assert (second.stdout, second.stderr) == (recovering.output, "")
    assert files(folder) == {"flow_recover.run.db"}


def test_delays_outlive_their_program(folder: Path) -> None:
    for number, command in enumerate(commands("flow_delays.py")):
        if number >= 2:
            let_days_pass(folder / "flow_delays.run.db")
        ended = run(command, folder, LONG_DAYS)
        assert (ended.stdout, ended.stderr) == (command.output, "")
    assert number == 3


def let_days_pass(store: Path) -> None:
    database = sqlite3.connect(store)
    with database:
        assert database.execute("UPDATE delays SET due = activated WHERE NOT done").rowcount == 1
    database.close()


def test_no_more_tasks_than_a_pool_has_room_for(folder: Path) -> None:
    (command,) = commands("flow_resources.py")
    assert "at most 2 in" in command.output
    # On a busy machine two that may overlap need not.
    assert run(command, folder, {}).stdout in (command.output, command.output.replace("at most 2", "at most 1"))


def test_it_goes_on_when_it_was_killed(folder: Path) -> None:
    starting, continuing = commands("flow_killed.py")
    with subprocess.Popen(
        [sys.executable, *starting.words], cwd=folder, env=environment({}), stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            said = [child.stdout.readline() for _ in starting.output.splitlines()]
        finally:
            os.kill(child.pid, signal.SIGKILL)
    assert "".join(said).replace(f"kill -9 {child.pid}\n", "kill -9 4711\n") == starting.output
    assert child.returncode == -signal.SIGKILL

    ended = run(continuing, folder, {})
    assert (ended.stdout, ended.stderr) == (continuing.output, "")
    assert len((folder / "bank.txt").read_text().splitlines()) == 1
    assert files(folder) == {"bank.txt", "flow_killed.run.db"}
