from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_each_request_gets_its_own_answer_and_the_program_ends() -> None:
    ended = subprocess.run(
        [sys.executable, "docs/examples/synchronous.py"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},  # what stands here, be it installed or not
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert sorted(ended.stdout.splitlines()) == ["409 Conflict: no kettle left"] * 2 + ["its own letter"] * 3
    assert (ended.returncode, ended.stderr) == (0, "")
