"""The page on dead letters does what it says: its programs run, and its commands bring their events back."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import pytest

from tests.amqp.conftest import amqp_url, broker, exchange, vhost  # noqa: F401  pytest finds fixtures by their names here

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
PAGE = (ROOT / "docs" / "how-to" / "replay-dead-letters.rst").read_text(encoding="utf-8")
SHOWN_ID = "5f0c2be1a94c7d6e38b1f042"


def sessions() -> list[tuple[str, str]]:
    """Each command of the page, and what it prints."""
    blocks = re.findall(r"^\.\. code-block:: console\n\n((?:   .*\n|\n)+)", PAGE, re.MULTILINE)
    text = "".join(dedent(block).strip("\n") + "\n" for block in blocks)
    return re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)


def said() -> list[str]:
    """What the page says that the payments print: with a bank that is closed, and with one that is open."""
    return [dedent(block) for block in re.findall(r"::\n\n((?:   .*\n)+)", PAGE) if block.startswith("   waiting")]


def plain(text: str, prefix: str) -> str:
    """Without what is another each time: IDs and times."""
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "T", text.replace(prefix, SHOWN_ID))


@pytest.fixture
def environment(amqp_url: str, exchange: str) -> dict[str, str]:  # noqa: F811  the fixtures imported above
    return {**os.environ, "PYTHONPATH": str(ROOT), "EVPROC_AMQP_URL": amqp_url, "EVPROC_EXCHANGE": exchange, "NO_COLOR": "1"}


@contextmanager
def payments(environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, str(EXAMPLES / "amqp_payments.py"), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def lines(child: subprocess.Popen[str], number: int) -> str:
    assert child.stdout is not None
    return "".join(child.stdout.readline() for _ in range(number))


def stop(child: subprocess.Popen[str]) -> None:
    os.kill(child.pid, signal.SIGINT)
    assert child.communicate(timeout=60) == ("", "")


def command(line: str, environment: dict[str, str], prefix: str) -> str:
    """What a command of the page prints, run against the tests' own broker and exchange."""
    line = line.replace("--exchange shop", f"--exchange {environment['EVPROC_EXCHANGE']}").replace(SHOWN_ID, prefix)
    line = line.replace("python ", f"{sys.executable} ").replace("amqp_shop.py", str(EXAMPLES / "amqp_shop.py"))
    line = line.replace("evproc dead", f"{sys.executable} -m twisted_evproc dead")
    ended = subprocess.run(line, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_the_page_word_for_word(environment: dict[str, str]) -> None:
    (sell, sold), (export, nothing), (show, shown), *bring_back, (count, none) = sessions()
    closed, opened = said()
    assert (export.split("=")[0], nothing) == ("export EVPROC_AMQP_URL", "")
    with payments(environment) as child:
        assert lines(child, 1) == "waiting for orders\n"
        output = command(sell, environment, "")
        (prefix, *_) = re.findall(r"the ID (\w+)-", output)
        assert plain(output, prefix) == sold
        # Both attempts at each of three; in between, and behind the last, an attempt is put aside before the next thing happens.
        heard = "waiting for orders\n" + lines(child, 6)
        assert sorted(heard.splitlines()) == sorted(closed.splitlines())
        stop(child)
    assert plain(command(show, environment, prefix), prefix) == plain(shown, prefix)
    with payments(environment, "open") as child:
        assert lines(child, 1) == "waiting for orders\n"
        assert len(bring_back) == 3
        for line, wanted in bring_back:
            assert command(line, environment, prefix) == wanted
        assert "waiting for orders\n" + lines(child, 2) == opened
        stop(child)
    assert command(count, environment, prefix) == none
