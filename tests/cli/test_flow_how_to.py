"""Every listing of the page on looking at flows is run as it stands there, one after the other."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "look-at-flows.rst"
BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n(?:   :caption: (\S+)\n)?\n((?:   .*\n|\n)+)", re.MULTILINE)


def test_the_listings_say_what_happens(tmp_path: Path) -> None:
    command = tmp_path / "bin" / "evproc"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m twisted_evproc "$@"\n')
    command.chmod(0o755)
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    path = f"{tmp_path / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "TERM": "dumb"}
    ran = 0
    for language, caption, text in BLOCK.findall(PAGE.read_text(encoding="utf-8") + "\n"):
        text = textwrap.dedent(text).strip("\n") + "\n"
        if caption:
            (tmp_path / caption).write_text(text)
        if language != "console":
            continue
        for line, wanted in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
            ended = subprocess.run(
                ["bash", "-c", line.replace("python ", f"{sys.executable} ")],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            said = ended.stderr + ended.stdout
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            assert doctest.OutputChecker().check_output(wanted, said, flags), f"{line}\nwanted:\n{wanted}\nsaid:\n{said}"
            ran += 1
    assert ran == 11
