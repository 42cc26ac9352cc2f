"""Every listing of the how-to page is run as it stands there."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "command-line.rst"
BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n(?:   :caption: (\S+)\n)?\n((?:   .*\n|\n)+)", re.MULTILINE)


def blocks() -> list[tuple[str, str, str]]:
    found = BLOCK.findall(PAGE.read_text() + "\n")
    return [(language, caption, textwrap.dedent(text).strip("\n") + "\n") for language, caption, text in found]


def sessions() -> list[tuple[str, str]]:
    texts = [text for language, _, text in blocks() if language == "console"]
    return [
        (command, wanted) for text in texts for command, wanted in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)
    ]


@pytest.fixture
def listings(tmp_path: Path) -> Path:
    for _, caption, text in blocks():
        if caption:
            (tmp_path / caption).write_text(text)
    command = tmp_path / "bin" / "evproc"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m twisted_evproc "$@"\n')
    command.chmod(0o755)
    return tmp_path


def test_there_are_listings() -> None:
    assert len(sessions()) >= 10
    captions = {caption for _, caption, _ in blocks() if caption}
    assert captions == {"shop.py", "orders.jsonl", "deliveries.py", "uploads.py", "countdown.py"}


@pytest.mark.parametrize(("command", "wanted"), sessions())
def test_a_listing_says_what_happens(command: str, wanted: str, listings: Path) -> None:
    path = f"{listings / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "TERM": "dumb"}
    ended = subprocess.run(
        ["bash", "-c", command], cwd=listings, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    # Both streams, as a terminal shows them: in these listings what is wrong comes first.
    said = ended.stderr + ended.stdout
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.OutputChecker().check_output(wanted, said, flags), f"{command}\nwanted:\n{wanted}\nsaid:\n{said}"
