"""Applications and event files in a folder of their own, and the command as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

APPLICATION = """
from twisted.internet.defer import Deferred
from twisted_evproc import EventDispatcher, StopProcessing

dispatcher = EventDispatcher(["kind", "user"], name="shop")

@dispatcher.handler("before", kind="order")
def check(event):
    return event["user"]

@dispatcher.handler("during", kind="order", requires="check")
async def pack(event):
    return {"parcels": 1}

@dispatcher.handler("during", kind="bad")
def fail(event):
    raise ValueError("no such article")

@dispatcher.handler("before", kind="stop")
def refuse(event):
    raise StopProcessing("sold out")

@dispatcher.handler("after", kind="stop")
def never(event):
    raise AssertionError("called after StopProcessing")
"""

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment() -> dict[str, str]:
    """Of processes: without colours, and able to import the package."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "TERM": "dumb"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with ``shop.py`` and ``orders.jsonl``; what is imported from it is forgotten."""
    (tmp_path / "shop.py").write_text(APPLICATION)
    (tmp_path / "orders.jsonl").write_text('{"kind": "order", "user": "ada"}\n{"kind": "other"}\n')
    monkeypatch.chdir(tmp_path)
    modules, path = set(sys.modules), list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        # Libraries stay: some of them cannot be imported twice.
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def evproc(folder: Path, environment: dict[str, str]) -> Command:
    """Runs ``evproc`` with arguments and ``stdin`` text."""

    def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "twisted_evproc", *arguments]
        return subprocess.run(
            command, cwd=folder, env=environment, input=stdin, capture_output=True, text=True, timeout=60, check=False
        )

    return run
