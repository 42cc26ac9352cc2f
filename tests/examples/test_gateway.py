"""The gateway as its users meet it: real processes, netcat and curl."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..cli.started import Started, evproc, twist

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
#: Any port that is free.
ENDPOINTS = {"GATEWAY_LINES": "tcp:0:interface=127.0.0.1", "GATEWAY_WEBHOOK": "tcp:0:interface=127.0.0.1"}


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        words = f"{name} is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{words}, and no check may be left out here")
        pytest.skip(words)
    return path


class Gateway:
    """The example under way, and its clients."""

    def __init__(self, process: Started) -> None:
        found = process.wait_for(r"events come from lines on 127\.0\.0\.1:(\d+), webhook on (http://127\.0\.0\.1:\d+/events)")
        self.process = process
        self.port, self.url = found[1], found[2]

    def say(self, lines: str) -> None:
        netcat = program("nc")
        usage = subprocess.run([netcat, "-h"], capture_output=True, text=True, timeout=60, check=False)
        ending = ["-N"] if "OpenBSD" in usage.stdout + usage.stderr else ["-q", "1"]
        command = [netcat, *ending, "127.0.0.1", self.port]
        subprocess.run(command, input=lines, capture_output=True, text=True, timeout=60, check=True)

    def curl(self, *arguments: str, url: str = "") -> tuple[int, str]:
        """Gives the status and the answer's text."""
        command = [program("curl"), "--silent", "--show-error", "--max-time", "60", "--write-out", "\n%{http_code}", *arguments]
        ended = subprocess.run([*command, url or self.url], capture_output=True, text=True, timeout=90, check=True)
        text, _, status = ended.stdout.rpartition("\n")
        return int(status), text.strip()

    def post(self, body: str, *arguments: str) -> tuple[int, str]:
        return self.curl("--data-binary", body, "--header", "Content-Type: application/json", *arguments)


@contextmanager
def under_twist(plugins: Path) -> Iterator[Gateway]:
    arguments = ("--log-format=text", "evproc", "gateway.py")
    with twist(*arguments, folder=EXAMPLES, plugins=plugins, **ENDPOINTS) as process:
        yield Gateway(process)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with under_twist(tmp_path) as running:
        yield running


def test_lines_and_posts_reach_the_same_handlers(gateway: Gateway) -> None:
    gateway.say("boiler 71.5\nboiler 98\n")
    gateway.process.wait_for("too hot: boiler$")
    assert gateway.process.text.count("heard of: reading") == 2
    assert gateway.post('{"kind": "order", "item": "kettle"}') == (202, "Accepted: the event is queued.")
    gateway.process.wait_for("packed: kettle$")
    gateway.process.end(signal.SIGTERM)
    assert "3 events in" in gateway.process.text
    assert "0 failures, 0 cancelled, 0 broken" in gateway.process.text


def test_a_line_that_says_nothing_is_logged_and_the_next_is_heard(gateway: Gateway) -> None:
    gateway.say("boiler\nboiler 98\n")
    gateway.process.wait_for(r"event 1 of gateway\.py:sources is broken: lines on 127\.0\.0\.1:\d+: not enough values to unpack")
    gateway.process.wait_for("too hot: boiler$")


def test_what_cannot_be_taken_gets_the_right_status_and_words(gateway: Gateway) -> None:
    cases = {
        "large": (gateway.post('{"kind": "' + "x" * 2_000 + '"}'), 413, "too large: no more than 1000 bytes"),
        "json": (gateway.post('{"kind": }'), 400, "The body is no JSON: Expecting value in line 1, column 10."),
        "method": (gateway.curl("--request", "PUT", "--data", "{}"), 405, "use POST"),
        "host": (gateway.post("{}", "--header", "Host: evil.example"), 421, "evil.example"),
        "path": (gateway.curl("--data", "{}", url=gateway.url + "/no"), 404, "post to /events"),
        "type": (gateway.curl("--data", "{}", "--header", "Content-Type: text/plain"), 415, "send application/json"),
    }
    for name, ((status, text), wanted, words) in cases.items():
        assert status == wanted, (name, text)
        assert words in text, name
    gateway.process.end(signal.SIGTERM)
    assert "0 events in" in gateway.process.text


def test_sigterm_lets_what_was_accepted_be_finished(gateway: Gateway) -> None:
    for item in ("kettle", "teapot", "cup"):
        assert gateway.post(f'{{"kind": "order", "item": "{item}"}}')[0] == 202
    gateway.process.end(signal.SIGTERM)
    text = gateway.process.text
    said = [
        "packed: kettle",
        "packing: teapot",
        "packed: teapot",
        "packing: cup",
        "packed: cup",
        "3 events in",
        "loop terminated",
    ]
    assert sorted(said, key=text.index) == said
    assert text.index("Received SIGTERM") < text.index("3 events in")


def test_in_the_foreground(tmp_path: Path) -> None:
    with evproc("run", "gateway.py", folder=EXAMPLES, **ENDPOINTS) as process:
        gateway = Gateway(process)
        gateway.say("boiler 98\n")
        process.wait_for('^1 kind=reading device=boiler celsius=98.0 [|] before: note [|] during: warn -> "boiler is too hot"$')
        gateway.post('{"kind": "order", "item": "kettle"}')
        process.wait_for("^packing: kettle$")
        assert process.end(signal.SIGINT) == 130
        assert '2 kind=order item=kettle | before: note | during: pack -> "kettle is packed"' in process.text


def test_a_port_in_use_is_named(gateway: Gateway) -> None:
    endpoints = ENDPOINTS | {"GATEWAY_LINES": f"tcp:{gateway.port}:interface=127.0.0.1"}
    with evproc("run", "gateway.py", folder=EXAMPLES, **endpoints) as process:
        assert process.rest() == 2
        assert f"gateway.py:sources: lines on tcp:{gateway.port}:interface=127.0.0.1 cannot be started" in process.text
        assert "Traceback" not in process.text
