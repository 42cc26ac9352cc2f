"""The page of flows across processes, done as a reader does it: a warehouse that is killed, and shops."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.amqp.conftest import amqp_url, broker, exchange, vhost  # noqa: F401  pytest finds fixtures by their names here
from tests.cli.started import ROOT, Started, started
from twisted_evproc.flow.store import read_store

PAGE = (ROOT / "docs" / "how-to" / "flows-across-processes.rst").read_text(encoding="utf-8")
PROGRAM = ROOT / "docs" / "examples" / "amqp_flow.py"

Run = Callable[..., AbstractContextManager[Started]]


def printed(command: str) -> list[list[str]]:
    """What the page says that a command prints, for each time it is there."""
    found = re.findall(rf"^   \$ python {re.escape(command)}\n((?:   (?!\$).+\n)+)", PAGE, re.MULTILINE)
    return [[line.strip() for line in text.splitlines()] for text in found]


def of_order_19(lines: list[str]) -> list[str]:
    """What is said of it; the number of a process may begin with it, too."""
    return [line for line in lines if re.search(r"\b19\b", line)]


@pytest.fixture
def run(amqp_url: str, exchange: str, tmp_path: Path) -> Run:  # noqa: F811  the fixtures imported above
    def start(*arguments: str, **environment: Any) -> AbstractContextManager[Started]:
        environment = {"PYTHONPATH": str(ROOT), "EVPROC_AMQP_URL": amqp_url, "EVPROC_EXCHANGE": exchange, **environment}
        return started(sys.executable, str(PROGRAM), *arguments, folder=tmp_path, **environment)

    return start


def test_orders_are_packed_and_shipped_and_the_shop_hears_of_it(run: Run) -> None:
    [wanted] = printed("amqp_flow.py shop 17 18")
    with run("warehouse", PACKING="0.1") as warehouse:
        waits = warehouse.wait_for(r"^process \d+ waits for orders$")
        assert re.sub(r"\d+", "4711", waits[0]) == printed("amqp_flow.py warehouse")[0][0]
        with run("shop", "17", "18") as shop:
            assert shop.rest() == 0
        heard = shop.text.splitlines()
        # How two orders mix is left to chance; each is told in order.
        assert sorted(heard) == sorted(wanted)
        for number in ("17", "18"):
            assert [line for line in heard if f" {number}:" in line] == [line for line in wanted if f" {number}:" in line]


def test_a_warehouse_that_is_killed_goes_on_and_ships_once(run: Run, tmp_path: Path) -> None:
    with run("warehouse", PACKING="100000") as warehouse:
        warehouse.wait_for("waits for orders$")
        with run("shop", "19") as shop:
            warehouse.wait_for("^packing 19, attempt 1$")
            shop.wait_for("^order 19: pack active$")
            assert [shop.text.splitlines()] == printed("amqp_flow.py shop 19")
            warehouse.end(signal.SIGKILL)
            with run("warehouse", PACKING="0") as again:
                assert shop.rest() == 0
                # Ordered anew, nothing happens: the order is known.
                again.wait_for("^shipping 19$")
                with run("shop", "19", "20") as second:
                    second.wait_for("^order 20: ship success$")
                _, wanted = printed("amqp_flow.py warehouse")
                assert of_order_19(again.text.splitlines()) == of_order_19(wanted)
    assert shop.text.splitlines()[-1] == "order 19: ship success"
    with read_store(tmp_path / "warehouse.db") as reader:
        [flow] = reader.runs("warehouse")
        assert sorted(trigger.sequence for trigger in reader.load(flow.run_id).triggers if trigger.event == "ordered") == [
            "19",
            "20",
        ]
