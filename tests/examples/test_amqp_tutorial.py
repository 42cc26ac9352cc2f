"""The tutorial of events between processes, done as a reader does it: two programs, one of which is killed, and a third."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from textwrap import dedent

import pytest

from tests.amqp.conftest import amqp_url, broker, exchange, vhost  # noqa: F401  pytest finds fixtures by their names here

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
PAGE = (ROOT / "docs" / "tutorial" / "across-processes.rst").read_text(encoding="utf-8")
SHOP, WAREHOUSE = "amqp_shop.py", "amqp_warehouse.py"
#: Longer than any test.
FOR_EVER = "100000"


def sessions() -> list[tuple[str, str]]:
    """Each command of the page, and what it prints."""
    blocks = re.findall(r"^\.\. code-block:: console\n\n((?:   .*\n|\n)+)", PAGE, re.MULTILINE)
    text = "".join(dedent(block).strip("\n") + "\n" for block in blocks)
    return re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)


def printed(command: str) -> list[str]:
    """What the page says that a command prints, one for each time it is there."""
    return [wanted for found, wanted in sessions() if found == f"python {command}"]


def handled() -> str:
    """What the page says that the warehouse prints for two orders."""
    (found,) = re.findall(r"you see::\n\n((?:   .*\n)+)", PAGE)
    return dedent(found)


def plain(text: str, name: str) -> str:
    """Without what is another each time: numbers of processes, IDs, the name of the exchange."""
    text = re.sub(r"\b[0-9a-f]{24}-", "ID-", text)
    return re.sub(r"process \d+", "process N", text).replace(repr(name), "'shop'")


@pytest.fixture
def environment(amqp_url: str, exchange: str) -> dict[str, str]:  # noqa: F811  the fixtures imported above
    return {**os.environ, "PYTHONPATH": str(ROOT), "EVPROC_AMQP_URL": amqp_url, "EVPROC_EXCHANGE": exchange}


def shop(environment: dict[str, str], *articles: str) -> str:
    ended = subprocess.run(
        [sys.executable, str(EXAMPLES / SHOP), *articles],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


@contextmanager
def warehouse(environment: dict[str, str], packing: str) -> Iterator[subprocess.Popen[str]]:
    """One that waits for orders."""
    with subprocess.Popen(
        [sys.executable, str(EXAMPLES / WAREHOUSE)],
        env={**environment, "PACKING": packing},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def lines(child: subprocess.Popen[str], last: str) -> str:
    """What it prints, up to a line that begins like this."""
    said = ""
    assert child.stdout is not None
    for line in child.stdout:
        said += line
        if line.startswith(last):
            return said
    assert child.stderr is not None
    pytest.fail(f"it ended after: {said}{child.stderr.read()}")


def test_the_programs_on_the_page_are_these() -> None:
    included = re.findall(r"^\.\. literalinclude:: \.\./examples/(\S+)$", PAGE, re.MULTILINE)
    assert included == [SHOP, WAREHOUSE]
    # What this module runs: everything but the restart of the reader's own broker, whose effect the kill harness shows.
    assert [command for command, _ in sessions()] == [
        "python amqp_shop.py lamp",
        "python amqp_warehouse.py",
        "python amqp_shop.py lamp bulb",
        "python amqp_shop.py bulb chair",
        "kill -9 4711",
        "python amqp_warehouse.py",
        "python amqp_warehouse.py",
        "sudo systemctl restart rabbitmq-server",
    ]


def test_an_order_that_nobody_takes(environment: dict[str, str]) -> None:
    name = environment["EVPROC_EXCHANGE"]
    (wanted,) = printed("amqp_shop.py lamp")
    assert plain(shop(environment, "lamp"), name) == plain(wanted, name)


@pytest.mark.parametrize("program", [[SHOP, "lamp"], ["amqp_payments.py"], [WAREHOUSE]], ids=" ".join)
def test_a_broker_that_does_not_let_it_in_is_told_of(environment: dict[str, str], program: list[str]) -> None:
    url = environment["EVPROC_AMQP_URL"].replace("guest:guest@", "guest:wrong@")
    with subprocess.Popen(
        [sys.executable, str(EXAMPLES / program[0]), *program[1:]],
        env={**environment, "EVPROC_AMQP_URL": url},
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert child.stdout is not None
            assert re.match(r"\[transport_down\] .* refuses the user", child.stdout.readline())
        finally:
            child.kill()


def test_orders_are_handled_phase_by_phase(environment: dict[str, str]) -> None:
    name = environment["EVPROC_EXCHANGE"]
    first, _, third = printed(WAREHOUSE)
    (wanted,) = printed("amqp_shop.py lamp bulb")
    with warehouse(environment, "0.01") as child:
        assert plain(lines(child, "process"), name) == plain(first, name) == plain(third, name)
        assert plain(shop(environment, "lamp", "bulb"), name) == plain(wanted, name)
        assert lines(child, "  handed over the bulb") == handled()
        os.kill(child.pid, signal.SIGINT)
        rest, errors = child.communicate(timeout=60)
    assert (rest, errors) == ("[transport_stopped]\n", "")


def test_what_a_killed_one_had_begun_comes_again(environment: dict[str, str]) -> None:
    name = environment["EVPROC_EXCHANGE"]
    (wanted,) = printed("amqp_shop.py bulb chair")
    with warehouse(environment, "0.01") as child:
        lines(child, "process")
        shop(environment, "lamp", "bulb")
        lines(child, "  handed over the bulb")
        os.kill(child.pid, signal.SIGINT)
        child.communicate(timeout=60)
    with warehouse(environment, FOR_EVER) as child:
        lines(child, "process")
        sold = shop(environment, "bulb", "chair")
        assert plain(sold, name) == plain(wanted, name)
        assert lines(child, "  a courier") == "fetching the bulb\n  a courier is on the way\n"
        os.kill(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    with warehouse(environment, "0.01") as child:
        said = lines(child, "  handed over the chair")
    assert plain(said, name) == plain(printed(WAREHOUSE)[1], name)
    first_id, _ = re.findall(r"with the ID (\S+)", sold)
    assert f"given to somebody before: {first_id}\n" in said


def test_two_share_the_orders(environment: dict[str, str]) -> None:
    with ExitStack() as stack:
        children = [stack.enter_context(warehouse(environment, FOR_EVER)) for _ in range(2)]
        for child in children:
            lines(child, "process")
        shop(environment, "lamp", "chair")
        # Each has its hands full with one, and the other order can only go to the other.
        assert sorted(lines(child, "fetching") for child in children) == ["fetching the chair\n", "fetching the lamp\n"]
