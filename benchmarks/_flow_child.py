"""
What :mod:`benchmarks.flow` measures, each in a process of its own: ``python -m benchmarks._flow_child NAME ARGUMENTS``.

The arguments are a JSON object; what was found is printed as one.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import react

from twisted_evproc.flow import Eventor, FlowEvent, RunMode, StepStatus, TaskStatus, TriggerRow
from twisted_evproc.flow._task import Task
from twisted_evproc.flow.store._place import database
from twisted_evproc.flow.store._schema import TASKS, TRIGGERS
from twisted_evproc.flow.store._statements import upsert_rows

#: A tick of the probe on the reactor.
TICK_SECONDS = 0.001


def step(number: int) -> int:
    """Does nothing."""
    return number


def flow(store: str, functions: list[Callable[..., Any]], **options: Any) -> tuple[Eventor, FlowEvent]:
    """Steps one after the other, and the flow event they begin with."""
    config = {"max_concurrent": 0}
    ev = Eventor("benchmark", store, config=config, **{"executor": "inline", "logging_level": logging.WARNING, **options})
    events = [ev.add_event(f"event {number}") for number in range(len(functions))]
    for number, function in enumerate(functions):
        triggers = {StepStatus.success: events[number + 1]} if number + 1 < len(functions) else {}
        ev.add_assoc(events[number], ev.add_step(f"step {number}", function, (number,), triggers=triggers))
    return ev, events[0]


def rows_of(sequences: int, steps: int) -> list[list[tuple[Any, tuple[Any, ...]]]]:
    """What such a flow writes, commit by commit, where each step has commits of its own."""
    commits: list[list[tuple[Any, tuple[Any, ...]]]] = []
    now = time.time()

    def row(sequence: int, number: int, status: TaskStatus) -> tuple[Any, tuple[Any, ...]]:
        task = Task(f"step {number}", str(sequence), 0, sequence * steps + number, now)
        task.status, task.attempt, task.started = status, 1, now
        if status is TaskStatus.success:
            task.ended, task.result = now, str(number)
        return TASKS, ("run", *task.row())

    for sequence in range(sequences):
        for number in range(steps):
            happens = TRIGGERS, ("run", *TriggerRow(0, f"event {number}", str(sequence), now, f"step step {number - 1}"))
            before = [row(sequence, number - 1, TaskStatus.success)] if number else []
            commits.append([*before, happens, row(sequence, number, TaskStatus.active)])
        commits.append([row(sequence, steps - 1, TaskStatus.success)])
    return commits


def plain(store: str, sequences: int, steps: int, group: int) -> dict[str, Any]:
    """The rows of a flow, written by a plain loop."""
    place = database(store)
    place.open()
    commits = rows_of(sequences, steps)
    texts = {table: upsert_rows(table, place.dialect, 1) for table in (TASKS, TRIGGERS)}
    begun = time.perf_counter()
    for first in range(0, len(commits), group):
        place.begin()
        for table, text in texts.items():
            place.execute_many(text, [row for commit in commits[first : first + group] for kind, row in commit if kind is table])
        place.commit()
    seconds = time.perf_counter() - begun
    place.close()
    return {"seconds": seconds}


async def throughput(_: Any, store: str, sequences: int, steps: int, executor: str = "inline", **options: Any) -> dict[str, Any]:
    """All sequences at once."""
    ev, first = flow(store, [step] * steps, executor=executor, **options)
    begun = time.perf_counter()
    for sequence in range(sequences):
        ev.trigger_event(first, sequence)
    result = await ev.run()
    seconds = time.perf_counter() - begun
    assert result, result
    assert len(result.tasks) == sequences * steps
    return {"seconds": seconds}


async def begin(_: Any, store: str, sequences: int) -> dict[str, Any]:
    """Sequences that have a step behind them and one under way, when the process dies."""
    begun = 0
    all_begun: Deferred[None] = Deferred()

    def stay(_: int) -> Deferred[None]:
        nonlocal begun
        begun += 1
        if begun == sequences:
            all_begun.callback(None)
        return Deferred()

    ev, first = flow(store, [step, stay])
    for sequence in range(sequences):
        ev.trigger_event(first, sequence)
    _ = ev.run()
    await all_begun
    print("{}", flush=True)
    os._exit(0)


async def restart(reactor: Any, store: str, sequences: int, started: float) -> dict[str, Any]:
    """Go on where :func:`begin` died."""
    first_at: list[float] = []
    probe = Probe(reactor)

    def go_on(number: int) -> int:
        if not first_at:
            first_at.append(time.perf_counter())
        return number

    ev, _ = flow(store, [step, go_on], run_mode=RunMode.continue_)
    imported = time.time() - started
    gc.collect()
    probe.start()
    begun = time.perf_counter()
    result = await ev.run()
    probe.stop()
    ended = time.perf_counter()
    assert result, result
    assert len(result.tasks) == 2 * sequences
    return {
        "first": first_at[0] - begun,
        "all": ended - begun,
        "imported": imported,
        "stretches": probe.longest({"start": (begun, first_at[0]), "run and end": (first_at[0], ended)}),
    }


async def wait(reactor: Any, store: str) -> dict[str, Any]:
    """A flow with nothing to do for an hour; says so, and waits to be killed."""
    ev, first = flow(store, [step])
    last = ev.add_event("an hour later")
    ev.add_assoc(first, last, delay=3_600)
    ev.trigger_event(first, 1)
    _ = ev.run()
    reactor.callLater(0.5, print, "{}", flush=True)
    await Deferred()
    raise AssertionError


class Probe:
    """Looks how long the reactor does not come round: its clock, and the CPU time of its thread."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._ticks: list[tuple[float, float]] = []
        self._collections: list[tuple[float, float]] = []
        self._timer: Any = None

    def start(self) -> None:
        """Begin to tick."""
        gc.callbacks.append(self._collected)
        self._tick()

    def _collected(self, phase: str, _: dict[str, int]) -> None:
        now = time.perf_counter()
        if phase == "start":
            self._collections.append((now, now))
        elif self._collections:
            self._collections[-1] = self._collections[-1][0], now

    def _tick(self) -> None:
        self._ticks.append((time.perf_counter(), time.thread_time()))
        self._timer = self._reactor.callLater(TICK_SECONDS, self._tick)

    def stop(self) -> None:
        """End, with a last tick."""
        self._timer.cancel()
        self._tick()
        self._timer.cancel()
        gc.callbacks.remove(self._collected)

    def longest(self, phases: dict[str, tuple[float, float]]) -> dict[str, dict[str, float]]:
        """
        The longest stretches of each phase, in milliseconds: ``wall``, ``cpu``, and ``own`` (``cpu`` without the collector's).

        A stretch is what lies between two ticks, less the tick itself.
        """
        found = {name: {"wall": 0.0, "cpu": 0.0, "own": 0.0, "collector": 0.0} for name in phases}
        for (before, cpu_before), (after, cpu_after) in zip(self._ticks, self._ticks[1:], strict=False):
            collecting = sum(end - start for start, end in self._collections if before <= start < after)
            cpu = cpu_after - cpu_before
            for name, (start, end) in phases.items():
                if before < end and after > start:
                    values = {"wall": after - before - TICK_SECONDS, "cpu": cpu, "own": cpu - collecting, "collector": collecting}
                    for what, value in values.items():
                        found[name][what] = max(found[name][what], value * 1e3)
        return found


async def stretches(reactor: Any, store: str, sequences: int, steps: int) -> dict[str, Any]:
    """How long the reactor is held while many sequences run."""
    calls: list[float] = []

    def noted(number: int) -> int:
        calls.append(time.perf_counter())
        return number

    ev, first = flow(store, [noted] * steps)
    for sequence in range(sequences):
        ev.trigger_event(first, sequence)
    gc.collect()
    probe = Probe(reactor)
    probe.start()
    begun = time.perf_counter()
    result = await ev.run()
    probe.stop()
    ended = time.perf_counter()
    assert len(result.tasks) == sequences * steps
    phases = {"start": (begun, calls[0]), "run": (calls[0], calls[-1]), "end": (calls[-1], ended)}
    return {"seconds": ended - begun, "stretches": probe.longest(phases)}


def main(name: str, arguments: dict[str, Any]) -> None:
    """Measure one thing."""
    if name == "plain":
        print(json.dumps(plain(**arguments)))
        return
    # Imports the driver and all it takes; other programs do that once, too.
    _ = database(arguments["store"])
    measured = {function.__name__: function for function in (throughput, begin, restart, wait, stretches)}[name]

    async def run(reactor: Any) -> None:
        print(json.dumps(await measured(reactor, **arguments)), flush=True)

    react(lambda reactor: ensureDeferred(run(reactor)))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
