"""
Durable flows: steps a second, what a start and a wait cost, and how long the reactor is held.

Everything runs in processes of their own, in turns, so that whatever the machine does meanwhile hits all of them alike.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import attrs

DBOS = Path(__file__).with_name("_dbos.py")
NO_DBOS = """\
DBOS is not installed for {python}, so that nothing is compared with it.  Install it there, or in an environment of its own:
    python -m venv dbos-venv && dbos-venv/bin/pip install dbos
    python -m benchmarks --dbos dbos-venv/bin/python"""

SEQUENCES, STEPS = 1_000, 5
CHAIN = 300
CROWD = 10_000
IDLE_SECONDS = 5.0


@attrs.frozen
class Figure:
    """
    One line of the table.

    :ivar what: what was measured.
    :ivar values: of each round, in ``unit``.
    :ivar unit: what they are, such as ``steps/s``.
    :ivar target: what the best of them has to reach (a rate or ratio), or to stay below (anything else), or ``None``.
    :ivar more: whether more is better.
    """

    what: str
    values: tuple[float, ...]
    unit: str
    target: float | None = None
    more: bool = False

    @property
    def best(self) -> float:
        """The value of the round that the machine disturbed least."""
        return max(self.values) if self.more else min(self.values)

    @property
    def median(self) -> float:
        """The value in the middle."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the target is reached."""
        if self.target is None:
            return None
        return self.best >= self.target if self.more else self.best <= self.target


def table(title: str, figures: list[Figure]) -> str:
    """The figures, for people."""
    lines = [("what", "best", "median", "unit", "target", "met")]
    for figure in figures:
        target = "" if figure.target is None else f"{'>=' if figure.more else '<='} {figure.target:,g}"
        met = {None: "", True: "yes", False: "no"}[figure.met]
        lines.append((figure.what, _number(figure.best), _number(figure.median), figure.unit, target, met))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([title, "=" * len(title), text[0], "-" * len(text[0]), *text[1:]])


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def ask(name: str, **arguments: Any) -> dict[str, Any]:
    """Have a child measure something."""
    command = [sys.executable, "-m", "benchmarks._flow_child", name, json.dumps(arguments)]
    return _last_line(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def _last_line(output: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


class Places:
    """
    New stores of each kind, gone afterwards.

    :ivar postgresql: whether there is a server.
    """

    def __init__(self, folder: Path, server: str) -> None:
        self._folder = folder
        self._server = server
        self._databases: list[str] = []
        self.trouble = self._administer("SELECT 1")

    def _administer(self, statement: str) -> str | None:
        import psycopg

        try:
            with psycopg.connect(f"{self._server}/postgres", autocommit=True, connect_timeout=5) as connection:
                connection.execute(statement.encode())
        except psycopg.Error as error:
            return str(error)
        return None

    def sqlite(self, suffix: str = ".run.db") -> str:
        """The path of a file that is not there yet."""
        return str(self._folder / f"{uuid4().hex}{suffix}")

    def postgresql(self) -> str:
        """The URL of a new database."""
        name = f"evproc_bench_{uuid4().hex}"
        trouble = self._administer(f"CREATE DATABASE {name}")
        assert trouble is None, trouble
        self._databases.append(name)
        return f"{self._server}/{name}"

    def remove(self) -> None:
        """Remove the databases."""
        while self._databases:
            self._administer(f"DROP DATABASE {self._databases.pop()} WITH (FORCE)")


@contextmanager
def places(server: str) -> Iterator[Places]:
    """New stores, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="evproc-bench-") as folder:
        found = Places(Path(folder), server)
        try:
            yield found
        finally:
            found.remove()


class Dbos:
    """DBOS, in an interpreter that may be another than ours."""

    def __init__(self, python: str) -> None:
        self._python = python
        self.version = ""
        asked = [python, "-c", "import importlib.metadata, dbos; print(importlib.metadata.version('dbos'))"]
        try:
            self.version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            print(NO_DBOS.format(python=python))

    def seconds(self, url: str, kind: str, flows: int, steps: int) -> float:
        """What so many flows of so many steps take."""
        command = [self._python, str(DBOS), url, kind, str(flows), str(steps)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
        return float(_last_line(done.stdout)["seconds"])


def _take_turns(measured: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds):
        names = list(measured)
        for name in names if number % 2 == 0 else reversed(names):
            found[name].append(measured[name]())
    return found


def _ratios(above: list[float], below: list[float]) -> tuple[float, ...]:
    return tuple(one / other for one, other in zip(above, below, strict=True))


def throughput(place: Places, dbos: Dbos, rounds: int, peer_flows: int) -> Iterator[Figure]:
    """Many sequences at once, against the peer and against plain loops that write the same rows."""
    count = SEQUENCES * STEPS

    def ours(url: Callable[[], str], **options: Any) -> Callable[[], float]:
        return lambda: count / float(ask("throughput", store=url(), sequences=SEQUENCES, steps=STEPS, **options)["seconds"])

    def loop(url: Callable[[], str], group: int) -> Callable[[], float]:
        return lambda: count / float(ask("plain", store=url(), sequences=SEQUENCES, steps=STEPS, group=group)["seconds"])

    def peer(url: Callable[[], str], kind: str) -> Callable[[], float]:
        return lambda: peer_flows * STEPS / dbos.seconds(url(), kind, peer_flows, STEPS)

    kinds: dict[str, tuple[Callable[[], str], Callable[[], str], str]] = {
        # The better of its two ways each: on SQLite its threads stand in each other's way.
        "SQLite": (place.sqlite, lambda: f"sqlite:///{place.sqlite('.dbos')}", "coroutines"),
    }
    if place.trouble is None:
        kinds["PostgreSQL"] = (place.postgresql, place.postgresql, "threads")
    for kind, (our_url, peer_url, peer_kind) in kinds.items():
        what = f"{SEQUENCES:,} x {STEPS} steps, {kind}"
        measured = {
            what: ours(our_url),
            f"{what}, logged (INFO)": ours(our_url, logging_level=20),
            "  a plain loop, a commit a step": loop(our_url, 1),
            f"  a plain loop, {SEQUENCES:,} rows a commit": loop(our_url, SEQUENCES),
        }
        theirs = f"  DBOS {dbos.version}, {peer_flows:,} x {STEPS} steps, {peer_kind}"
        if dbos.version:
            measured[theirs] = peer(peer_url, peer_kind)
        found = _take_turns(measured, rounds)
        for name, values in found.items():
            target = 10_000 if name == what and kind == "SQLite" else None
            yield Figure(name, tuple(values), "steps/s", target, more=True)
        if dbos.version:
            target = 25 if kind == "SQLite" else None
            yield Figure("  times as fast as DBOS", _ratios(found[what], found[theirs]), "x", target, more=True)


def one_by_one(place: Places, dbos: Dbos, rounds: int) -> Iterator[Figure]:
    """One step after the other, where each needs the commit before."""

    def ours(url: Callable[[], str]) -> Callable[[], float]:
        return lambda: float(ask("throughput", store=url(), sequences=1, steps=CHAIN)["seconds"]) / CHAIN * 1e3

    def loop(url: Callable[[], str]) -> Callable[[], float]:
        return lambda: float(ask("plain", store=url(), sequences=1, steps=CHAIN, group=1)["seconds"]) / CHAIN * 1e3

    def peer(url: Callable[[], str]) -> Callable[[], float]:
        return lambda: dbos.seconds(url(), "threads", 1, CHAIN) / CHAIN * 1e3

    kinds: dict[str, tuple[Callable[[], str], Callable[[], str]]] = {
        "SQLite": (place.sqlite, lambda: f"sqlite:///{place.sqlite('.dbos')}")
    }
    if place.trouble is None:
        kinds["PostgreSQL"] = (place.postgresql, place.postgresql)
    for kind, (our_url, peer_url) in kinds.items():
        what, plain, theirs = f"{CHAIN} steps one by one, {kind}", "  a plain loop, a commit a step", f"  DBOS {dbos.version}"
        measured = {what: ours(our_url), plain: loop(our_url)}
        if dbos.version:
            measured[theirs] = peer(peer_url)
        found = _take_turns(measured, rounds)
        for name, values in found.items():
            yield Figure(name, tuple(values), "ms/step", 1.0 if name == what and kind == "SQLite" else None)
        yield Figure("  as long as a plain loop", _ratios(found[what], found[plain]), "x")
        if dbos.version:
            yield Figure("  times as fast as DBOS", _ratios(found[theirs], found[what]), "x", more=True)


def executors(place: Places, rounds: int, sequences: int) -> Iterator[Figure]:
    """What a step costs that does nothing, by where it does it; the start of threads and processes is in it."""

    def cost(executor: str) -> Callable[[], float]:
        return lambda: (
            float(ask("throughput", store=place.sqlite(), sequences=sequences, steps=STEPS, executor=executor)["seconds"])
            / (sequences * STEPS)
            * 1e6
        )

    measured = {f"{sequences:,} x {STEPS} steps, {name}": cost(name) for name in ("inline", "thread", "process")}
    for name, values in _take_turns(measured, rounds).items():
        yield Figure(name, tuple(values), "us/step")


def restarts(place: Places, rounds: int, crowd: int) -> Iterator[Figure]:
    """A process that goes on where another died."""
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        store = place.sqlite()
        ask("begin", store=store, sequences=crowd)
        answer = ask("restart", store=store, sequences=crowd, started=time.time())
        found["first"].append(answer["first"])
        found["all"].append(answer["all"])
        found["imported"].append(answer["imported"])
        for phase, longest in answer["stretches"].items():
            found[phase].append(longest["own"])
    what = f"restart, {crowd:,} open sequences"
    yield Figure(f"{what}: run() to the first step", tuple(found["first"]), "s", 1.0)
    yield Figure("  to the last, and the end", tuple(found["all"]), "s")
    yield Figure("  before that: Python starts and imports", tuple(found["imported"]), "s")
    yield Figure("  longest stretch on the reactor until the first step", tuple(found["start"]), "ms of CPU", 10.0)


def idleness(place: Places) -> Iterator[Figure]:
    """What a process does whose only flow waits for an hour to pass."""
    command = [sys.executable, "-m", "benchmarks._flow_child", "wait", json.dumps({"store": place.sqlite()})]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(1)
        before = _switches(child.pid)
        time.sleep(IDLE_SECONDS)
        after = _switches(child.pid)
        child.kill()
    yield Figure(f"wake-ups of all threads in {IDLE_SECONDS:g} s of a delay of an hour", (float(after - before),), "", 0)


def _switches(pid: int) -> int:
    # A thread that wakes up gives its processor back of its own will some time.
    return sum(
        int(line.split()[1])
        for status in Path(f"/proc/{pid}/task").glob("*/status")
        for line in status.read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches")
    )


def stretches(place: Places, rounds: int, crowd: int) -> Iterator[Figure]:
    """How long the reactor is held at a time: by us, and by Python's collector, which looks through everything that is there."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(rounds):
        answer = ask("stretches", store=place.sqlite(), sequences=crowd, steps=STEPS)
        for phase, longest in answer["stretches"].items():
            for what, value in longest.items():
                found[phase, what].append(value)
    for phase in ("start", "run", "end"):
        yield Figure(
            f"{crowd:,} x {STEPS} steps, {phase}: longest stretch on the reactor", tuple(found[phase, "own"]), "ms of CPU", 10.0
        )
        yield Figure("  longest collection of garbage", tuple(found[phase, "collector"]), "ms")


def everything(quick: bool, dbos_python: str, server: str) -> Iterator[tuple[str, list[Figure]]]:
    """All tables, as title and lines."""
    rounds = 2 if quick else 3
    dbos = Dbos(dbos_python)
    with places(server) as place:
        if place.trouble is not None:
            print(f"there is no PostgreSQL at {server} ({place.trouble.splitlines()[0]}): say --postgresql URL")
        yield "Flows: many at once", [*throughput(place, dbos, rounds, 100 if quick else SEQUENCES)]
        yield "Flows: one step after the other", [*one_by_one(place, dbos, rounds)]
        yield "Flows: executors", [*executors(place, rounds, 200 if quick else SEQUENCES)]
        yield "Flows: starting again", [*restarts(place, rounds, CROWD)]
        if Path("/proc/self/task").exists():
            yield "Flows: waiting", [*idleness(place)]
        yield "Flows: a reactor that others use, too", [*stretches(place, rounds, CROWD)]


def default_server() -> str:
    """Where PostgreSQL is, as the tests find it."""
    return os.environ.get("EVPROC_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432")
