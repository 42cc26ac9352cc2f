"""What the page on poison events says about a table of events that were handled, as a program runs it."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import DeferredQueue

from twisted_evproc.amqp import MemoryBroker, MemoryTransport

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "handle-poison-events.rst").read_text(encoding="utf-8")


def listing() -> tuple[str, str]:
    """The one that is no doctest: how it begins, and how it ends."""
    (block,) = re.findall(r"^\.\. code-block:: python\n\n((?:   .*\n|\n)+)", PAGE, re.MULTILINE)
    begin, end = dedent(block).split("# and in the end\n")
    return begin, end


def as_function(source: str, *names: str) -> Any:
    """The source as a coroutine function of these names, which gives what it has made of them and of ``seen``."""
    namespace: dict[str, Any] = {}
    exec(f"async def listed({', '.join(names)}):\n{indent(source, '    ')}\n    return seen", namespace)
    return namespace["listed"]


@pytest_twisted.ensureDeferred
async def test_what_was_handled_is_known_to_the_next_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    begin, end = listing()
    broker = MemoryBroker()
    charged: DeferredQueue[Any] = DeferredQueue()
    counts = []
    for article in ("bulb", "chair"):
        transport = MemoryTransport(broker, exchange="shop")
        await transport.start()
        seen = await as_function(begin, "transport", "charge")(transport, charged.put)
        await transport.publish("lamp", event_id="17", kind="order")
        await transport.publish(article, kind="order")
        if article == "bulb":
            assert await charged.get() == "lamp"
        # Behind the lamp in the queue: when this one is there, that one has come before, and stop() waits for both.
        assert await charged.get() == article
        await as_function(end, "transport", "seen")(transport, seen)
        assert seen.state == "closed"
        counts.append(transport.statistics())
    assert [(each.handled, each.duplicates) for each in counts] == [(2, 0), (1, 1)]
    assert [path.name for path in tmp_path.iterdir()] == ["seen.db"]
