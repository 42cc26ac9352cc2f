"""The chat of the examples, as twistd runs it, talked to over TCP and stopped by a signal."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "chat.py"


class Client:
    """A terminal."""

    def __init__(self, port: int, name: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.lines = self.socket.makefile("r", encoding="utf-8", newline="\n")
        self.say(name)

    def say(self, *lines: str) -> None:
        self.socket.sendall("".join(f"{line}\n" for line in lines).encode())

    def hears(self) -> str:
        return self.lines.readline().rstrip("\n")

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    """The process, and the port it listens on."""
    command = [
        sys.executable,
        "-c",
        "from twisted.scripts.twistd import run; run()",
        "--nodaemon",
        "--no_save",
        "--pidfile=",
        f"--rundir={tmp_path}",
        f"--python={EXAMPLE}",
    ]
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "CHAT_ENDPOINT": "tcp:0:interface=127.0.0.1"},
    )
    try:
        assert child.stdout is not None
        seen = []
        for line in child.stdout:
            seen.append(line)
            found = re.search(r"ChatFactory starting on (\d+)", line)
            if found:
                break
        else:
            pytest.fail("it does not listen:\n" + "".join(seen))
        yield child, int(found[1])
    finally:
        child.kill()
        child.communicate()


def test_people_hear_each_other_and_are_told_when_it_closes(server: Any) -> None:
    child, port = server
    ada = Client(port, "ada")
    ada.say("/who")
    assert ada.hears() == "here: ada"
    grace = Client(port, "grace")
    assert ada.hears() == "grace has joined"

    grace.say("hello", "/who", "how are you?")
    assert [ada.hears(), ada.hears()] == ["grace: hello", "grace: how are you?"]
    assert grace.hears() == "here: ada, grace"

    second = Client(port, "ada")
    assert second.hears() == "ada is here already; choose another name"
    second.say("alan")
    assert [ada.hears(), grace.hears()] == ["alan has joined", "alan has joined"]
    second.close()
    assert [ada.hears(), grace.hears()] == ["alan has left", "alan has left"]

    os.kill(child.pid, signal.SIGTERM)

    assert [ada.hears(), grace.hears()] == ["the chat is closed, goodbye"] * 2
    assert [ada.hears(), grace.hears()] == ["", ""]
    log, _ = child.communicate(timeout=60)
    assert "closed; 2 present" in log
    assert "Traceback" not in log
    ada.close()
    grace.close()
