"""The page on TLS does what it says: certificates are made, a broker takes them, a program connects, or says why not."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from tests.amqp.broker import OwnBroker
from tests.amqp.conftest import need_rabbitmq

ROOT = Path(__file__).parents[2]
CHECK = ROOT / "docs" / "examples" / "amqp_check.py"
PAGE = (ROOT / "docs" / "how-to" / "run-with-tls.rst").read_text(encoding="utf-8")

HAS_TLS = all(map(importlib.util.find_spec, ("OpenSSL", "service_identity")))
pytestmark = pytest.mark.skipif(
    not HAS_TLS and os.environ.get("CI") != "true", reason="pyOpenSSL and service_identity are not installed"
)

WELL = "amqps://guest:guest@localhost:5671/?ca_file=ca.pem"
#: What leads to each reason in the table of the page, as long as the broker wants no certificate of ours.
WRONG = {
    "a certificate that is not trusted": "amqps://guest:guest@localhost:5671/",
    "a certificate that is not for": f"{WELL}&server_name=broker.example.org",
    "does not speak TLS": "amqps://guest:guest@localhost:5672/?ca_file=ca.pem",
    "does not speak AMQP": "amqp://guest:guest@localhost:5671/",
    "refuses the user": "amqps://guest:wrong@localhost:5671/?ca_file=ca.pem",
    "no virtual host": "amqps://guest:guest@localhost:5671/nowhere?ca_file=ca.pem",
}


def sessions() -> list[tuple[str, str]]:
    """Each command of the page, and what it prints."""
    blocks = re.findall(r"^\.\. code-block:: console\n\n((?:   .*\n|\n)+)", PAGE, re.MULTILINE)
    text = "".join(dedent(block).strip("\n") + "\n" for block in blocks)
    return re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)


def settings() -> list[dict[str, str]]:
    """What the page has for the broker: first, and to be changed."""
    blocks = re.findall(r"^\.\. code-block:: ini\n\n((?:   .*\n)+)", PAGE, re.MULTILINE)
    return [dict(line.strip().split(" = ") for line in block.splitlines()) for block in blocks]


def checks() -> list[tuple[str, str]]:
    """The URLs that the page tries, and what comes of each."""
    found = [(re.fullmatch(r"python amqp_check\.py '(.+)'", command), printed) for command, printed in sessions()]
    return [(match[1], printed) for match, printed in found if match]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reader has made the certificates."""
    folder = tmp_path_factory.mktemp("tls")
    commands = [command for command, _ in sessions() if command.startswith(("openssl ", "printf "))]
    assert len(commands) == 7
    for command in commands:
        made = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
    return folder


def make_broker(folder: Path, given: dict[str, str]) -> OwnBroker:
    """A broker with the settings of the page, but for ports and folders."""
    broker = OwnBroker(folder)
    lines = [f"{name} = {value.replace('/etc/rabbitmq', str(folder))}" for name, value in given.items()]
    text = "\n".join(lines).replace("= 5671\n", f"= 127.0.0.1:{broker.tls_port}\n")
    with (broker.folder / "rabbitmq.conf").open("a") as file:
        file.write(f"{text}\n")
    return broker


@pytest.fixture(scope="module")
def tls_broker(folder: Path) -> Iterator[OwnBroker]:
    """The broker of the first part."""
    need_rabbitmq()
    with make_broker(folder, settings()[0]) as broker:
        yield broker


@pytest.fixture
def strict_broker(folder: Path) -> Iterator[OwnBroker]:
    """The broker of the second part."""
    need_rabbitmq()
    first, changed = settings()
    assert changed.keys() < first.keys()
    with make_broker(folder, {**first, **changed}) as broker:
        yield broker


def check(url: str, broker: OwnBroker, folder: Path) -> str:
    """What the program of the page says, with the ports of the page."""
    own = url.replace(":5671", f":{broker.tls_port}").replace(":5672", f":{broker.port}")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    ended = subprocess.run(
        [sys.executable, str(CHECK), own],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = ended.stdout + ended.stderr
    return said.replace(f":{broker.tls_port}", ":5671").replace(f":{broker.port}", ":5672")


def test_the_first_part_word_for_word(tls_broker: OwnBroker, folder: Path) -> None:
    *first, _ = checks()
    assert len(first) == 3
    for url, printed in first:
        assert check(url, tls_broker, folder) == printed


def test_a_broker_that_insists_on_our_certificate(strict_broker: OwnBroker, folder: Path) -> None:
    *_, (url, printed) = checks()
    assert "cert_file" in url
    assert check(url, strict_broker, folder) == printed
    assert "wants a certificate of ours" in check(WELL, strict_broker, folder)


@pytest.mark.parametrize("reason", WRONG)
def test_a_reason_of_the_table(reason: str, tls_broker: OwnBroker, folder: Path) -> None:
    said = check(WRONG[reason], tls_broker, folder)
    assert said.startswith("down: ")
    assert reason in said


def test_the_table_has_these_reasons() -> None:
    rows = re.findall(r"^   \* - ``(.+)``\n", PAGE, re.MULTILINE)
    assert set(rows) == {*WRONG, "wants a certificate of ours", "needs a library that is not installed"}
