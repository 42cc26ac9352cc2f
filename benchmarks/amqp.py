"""
Events over RabbitMQ, against the driver alone: events a second, what they cost a process, how long one takes.

Everything runs in processes of their own, in turns, so that whatever the machine does meanwhile hits all of them alike.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs

from .flow import IDLE_SECONDS, Figure, _last_line, _ratios, _switches

#: What of the driver's speed ours has to reach.
TARGET = 0.75
WINDOW = 1_000
PREFETCHES = (64, 1_000)
CROWD = 100_000
ROUTE_BY = "kind"
NO_AIO = "aio-pika is not installed, so that nothing is compared with it: pip install aio-pika"

DRIVER = "pika's Twisted adapter"


class Ratio(Figure):
    """How our rounds compare with those of a peer: the round in the middle decides, as the peer may have had a bad one."""

    @property
    def met(self) -> bool | None:
        """See :attr:`Figure.met`."""
        return None if self.target is None else self.median >= self.target


@attrs.frozen
class Peer:
    """
    Who publishes and consumes.

    :ivar name: in tables.
    :ivar child: how the functions of :mod:`benchmarks._amqp_child` begin.
    :ivar routed: whether its exchange routes by a keyword.
    :ivar publishing: what is given to the function that publishes.
    :ivar consuming: what is given to the function that consumes.
    :ivar consumer: what consumes, where there is more than one thing.
    """

    name: str
    child: str
    routed: bool = True
    publishing: dict[str, Any] = attrs.field(factory=dict)
    consuming: dict[str, Any] = attrs.field(factory=dict)
    consumer: str = ""


OURS = Peer(
    "AMQPTransport, route_by",
    "ours",
    publishing={"route_by": ROUTE_BY},
    consuming={"route_by": ROUTE_BY},
    consumer=", to a function",
)
OURS_OTHERWISE = Peer(
    "AMQPTransport, no route_by",
    "ours",
    routed=False,
    publishing={"route_by": None},
    consuming={"route_by": None, "dispatcher": True},
    consumer=", to a dispatcher, 3 phases",
)
PEERS = (Peer(DRIVER, "twisted"), Peer("pika's SelectConnection", "select"), Peer("aio-pika", "aio"))


def ask(name: str, **arguments: Any) -> dict[str, Any]:
    """Have a child measure something."""
    command = [sys.executable, "-m", "benchmarks._amqp_child", name, json.dumps(arguments)]
    return _last_line(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300).stdout)


class Place:
    """Exchanges and queues of this run alone, gone afterwards."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._exchanges = {
            routed: {"exchange": f"evproc_bench_{os.getpid()}_{kind}", "route_by": ROUTE_BY if routed else None}
            for routed, kind in ((True, "routed"), (False, "open"))
        }

    def __enter__(self) -> Place:
        for each in self._exchanges.values():
            ask("setup", url=self.url, **each)
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._exchanges.values():
            ask("remove", url=self.url, **each)

    def at(self, *, routed: bool = True) -> dict[str, Any]:
        """Where to: what a child needs to know."""
        return {"url": self.url, "exchange": self._exchanges[routed]["exchange"]}


def races(place: Place, rounds: int, count: int) -> Iterator[tuple[str, list[Figure]]]:
    """Each publishes, and then takes in what it has published, at each prefetch."""
    peers = [OURS, OURS_OTHERWISE, *PEERS]
    if find_spec("aio_pika") is None:
        print(NO_AIO)
        peers = [peer for peer in peers if peer.child != "aio"]
    published: dict[str, list[dict[str, float]]] = defaultdict(list)
    consumed: dict[tuple[str, int], list[dict[str, float]]] = defaultdict(list)
    peers_by_name = {peer.name: peer for peer in peers}
    for number in range(rounds * len(PREFETCHES)):
        window = PREFETCHES[number % len(PREFETCHES)]
        # The other way round in every other round, not at every other prefetch.
        for name in list(peers_by_name) if (number // len(PREFETCHES)) % 2 == 0 else reversed(peers_by_name):
            peer = peers_by_name[name]
            where = {**place.at(routed=peer.routed), "count": count}
            published[peer.name].append(ask(f"{peer.child}_publish", **where, window=WINDOW, **peer.publishing))
            consumed[peer.name, window].append(ask(f"{peer.child}_consume", **where, window=window, **peer.consuming))
    yield "AMQP: publish", [*_figures({peer.name: published[peer.name] for peer in peers})]
    for window in PREFETCHES:
        found = {f"{peer.name}{peer.consumer}": consumed[peer.name, window] for peer in peers}
        yield f"AMQP: consume, prefetch {window:,}", [*_figures(found)]


def _figures(found: dict[str, list[dict[str, float]]]) -> Iterator[Figure]:
    rates = {name: [each["rate"] for each in values] for name, values in found.items()}
    for name, values in rates.items():
        yield Figure(name, tuple(values), "events/s", more=True)
        if name.startswith("AMQPTransport"):
            yield Ratio(f"  times {DRIVER}", _ratios(values, rates[DRIVER]), "x", TARGET, more=True)
    for name, each in found.items():
        yield Figure(f"CPU of the process: {name}", tuple(value["cpu"] for value in each), "us/event")


def latencies(place: Place, rounds: int, count: int) -> Iterator[Figure]:
    """From publishing an event until it is handled, each after the one before: the median of each round."""
    found: dict[str, list[float]] = defaultdict(list)
    measured: dict[str, tuple[str, dict[str, Any]]] = {
        "AMQPTransport": ("ours_latency", {"route_by": ROUTE_BY}),
        DRIVER: ("twisted_latency", {}),
    }
    for number in range(rounds):
        for name in list(measured) if number % 2 == 0 else reversed(measured):
            child, more = measured[name]
            found[name].append(statistics.median(ask(child, **place.at(), count=count, **more)["seconds"]) * 1e3)
    for name, values in found.items():
        yield Figure(f"published to handled, {count:,} one by one: {name}", tuple(values), "ms")


def burdens(place: Place) -> Iterator[Figure]:
    """What a transport has, and does, while nothing goes on."""
    answer = ask("memory", count=CROWD)
    what = f"memory of {CROWD:,} events that wait for a broker, bodies of {answer['body']:.0f} bytes"
    yield Figure(what, (answer["bytes"],), "bytes/event")
    if Path("/proc/self/task").exists():
        command = [
            *(sys.executable, "-m", "benchmarks._amqp_child", "wait"),
            json.dumps({**place.at(), "route_by": ROUTE_BY}),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(1)
            before = _switches(child.pid)
            time.sleep(IDLE_SECONDS)
            after = _switches(child.pid)
            child.kill()
        yield Figure(f"wake-ups in {IDLE_SECONDS:g} s of two idle connections (heartbeats)", (float(after - before),), "")


def everything(quick: bool, url: str) -> Iterator[tuple[str, list[Figure]]]:
    """All tables, as title and lines."""
    problem = trouble(url)
    if problem is not None:
        print(problem)
        return
    rounds, count = (2, 5_000) if quick else (5, 20_000)
    with Place(url) as place:
        yield from races(place, rounds, count)
        yield "AMQP: one after the other", [*latencies(place, rounds, 200 if quick else 1_000)]
        yield "AMQP: nothing to do", [*burdens(place)]


def trouble(url: str) -> str | None:
    """Why nothing can be measured there, or ``None``."""
    try:
        import pika
    except ImportError:
        return "pika is not installed: pip install twisted_evproc[amqp]"
    try:
        pika.BlockingConnection(pika.URLParameters(url)).close()
    except Exception as error:
        return f"there is no RabbitMQ at {url} ({error!r}): say --amqp URL"
    return None


def default_broker() -> str:
    """Where RabbitMQ is."""
    return os.environ.get("EVPROC_TEST_AMQP", "amqp://guest:guest@127.0.0.1:5672/%2F")
