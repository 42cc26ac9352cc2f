"""The page on webhooks does what it says: its program runs as a process of its own, and its curl commands talk to it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import twisted_evproc.sources

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "webhook.py"
PAGE = (ROOT / "docs" / "how-to" / "take-webhooks.rst").read_text(encoding="utf-8")
START = "python docs/examples/webhook.py"

absent = [tool for tool in ("bash", "curl", "openssl") if shutil.which(tool) is None]
pytestmark = pytest.mark.skipif(bool(absent) and os.environ.get("CI") != "true", reason=f"not installed: {', '.join(absent)}")


def sessions() -> list[tuple[str, str]]:
    """Each command of the page, and what it prints."""
    blocks = re.findall(r"^\.\. code-block:: console\n\n((?:   .*\n|\n)+)", PAGE, re.MULTILINE)
    text = "".join(textwrap.dedent(block).strip("\n") + "\n" for block in blocks)
    return re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)


def parts() -> list[tuple[str, list[tuple[str, str]]]]:
    """What starts the server, and the commands that follow."""
    found: list[tuple[str, list[tuple[str, str]]]] = []
    for command, wanted in sessions():
        if command.endswith(START):
            found.append((command.removesuffix(START), []))
        else:
            found[-1][1].append((command, wanted))
    return found


@contextmanager
def running(**variables: str) -> Iterator[tuple[Any, int]]:
    """The process, and the port it listens on."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WEBHOOK_ENDPOINT": "tcp:0:interface=127.0.0.1", **variables}
    with subprocess.Popen(
        [sys.executable, str(EXAMPLE)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as child:
        try:
            assert child.stdout is not None
            first = child.stdout.readline()
            found = re.fullmatch(r"webhook on http://127\.0\.0\.1:(\d+)/github\n", first)
            if found is None:
                child.kill()
                pytest.fail(f"it does not listen: {first}{child.communicate()[1]}")
            yield child, int(found[1])
        finally:
            child.kill()


def stop(child: Any) -> tuple[str, str]:
    """What it said since it listens."""
    os.kill(child.pid, signal.SIGINT)
    said, errors = child.communicate(timeout=60)
    return said, errors


def bash(command: str, port: int) -> str:
    command = command.replace("127.0.0.1:8080", f"127.0.0.1:{port}").replace("curl ", "curl -sS --noproxy '*' --max-time 30 ")
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    return ended.stdout + ended.stderr


def test_the_page_has_two_parts() -> None:
    assert [start for start, _ in parts()] == ["", "WEBHOOK_SECRET=s3cret "]
    assert [len(commands) for _, commands in parts()] == [6, 4]


def test_the_first_part_word_for_word() -> None:
    with running() as (child, port):
        for command, wanted in parts()[0][1]:
            assert bash(command, port) == wanted, command
        assert stop(child) == ("new issue: It leaks\n", "")


def test_the_part_with_a_secret_word_for_word() -> None:
    unsigned, *signed = parts()[1][1]
    with running(WEBHOOK_SECRET="s3cret") as (child, port):
        assert bash(unsigned[0], port) == unsigned[1]
        # One shell, for what the first lines set the last one uses.
        assert bash("\n".join(command for command, _ in signed), port) == "".join(wanted for _, wanted in signed)
        assert stop(child) == ("ping: Speak like a human.\n", "")


def test_with_the_name_that_a_proxy_passes_on() -> None:
    command = "curl -H 'Host: {}' -H 'Content-Type: application/json' -d '{{}}' http://127.0.0.1:8080/github"
    with running(WEBHOOK_HOSTS="hooks.example.org hooks.example.net") as (child, port):
        assert bash(command.format("hooks.example.net"), port) == "Accepted: the event is queued.\n"
        assert bash(command.format("localhost"), port).startswith("There is no 'localhost' here")
        assert stop(child) == ("", "")


def test_a_failure_of_a_handler_is_told_once() -> None:
    post = "curl --json '{}' -H 'X-GitHub-Event: {}' http://127.0.0.1:8080/github"
    with running() as (child, port):
        for kind, body in (("issues", '{"action": "opened"}'), ("ping", '{"zen": "the end"}')):
            assert bash(post.format(body, kind), port) == "Accepted: the event is queued.\n"
        said, errors = stop(child)
        assert said == "ping: the end\n"
        assert errors.count("KeyError: 'issue'") == errors.count("Traceback") == 1


def test_the_table_has_every_answer() -> None:
    table = set(re.findall(r"^   \* - (\d{3})$", PAGE, re.MULTILINE))
    package = Path(twisted_evproc.sources.__file__).parent
    source = "".join((package / name).read_text() for name in ("_webhook_rules.py", "_http.py"))
    given = set(re.findall(r"Answer\(\s*(\d{3}),", source))
    assert table == given
