"""``evproc flow status``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ._flow_store import (
    add_application,
    add_json,
    add_recovery,
    add_run,
    add_store,
    counts_in_words,
    find_run,
    look,
    open_reader,
    run_as_json,
    status_in_words,
)
from ._numbers import seconds_between
from ._output import Output
from ._status import ExitStatus
from ._words import clipped, printable

if TYPE_CHECKING:
    from ..flow import TaskRow
    from ..flow.views import Sight

#: Waiting tasks and delays that are named, rather than counted.
_NAMED = 10
_ERROR_WIDTH = 100
_BAR_WIDTH = 30


def status_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``flow status``."""
    add_store(parser)
    add_run(parser)
    parser.add_argument("--watch", action="store_true", help="go on until the run ends, and show what changes")
    parser.add_argument(
        "--every",
        metavar="SECONDS",
        type=seconds_between(0.05, 3600),
        default=0.5,
        help="with --watch, look that often (default: 0.5)",
    )
    add_application(parser)
    add_recovery(parser)
    add_json(parser, "one object; with --watch one a change and line")


def tell_status(options: argparse.Namespace) -> int:
    """Perform ``flow status``."""
    output = Output(sys.stdout)
    with open_reader(options.store) as reader:
        run = find_run(reader, options.run)

        def now_there() -> Sight:
            return look(reader, run, options.app, options.recovery)

        if options.watch:
            return watch(now_there, output, as_json=options.json, every=options.every)
        _write(now_there(), output, as_json=options.json)
    return ExitStatus.SUCCESS


def watch(
    look_again: Callable[[], Sight],
    output: Output,
    *,
    as_json: bool,
    every: float,
    sleep: Callable[[float], object] = time.sleep,
) -> int:
    """
    Show a run until nobody works on it any more.

    :param look_again: the run as it stands.
    :param sleep: waits so many seconds.
    """
    with _Screen(output, as_json=as_json) as show:
        while True:
            sight = look_again()
            show(sight)
            if sight.status != "running":
                break
            sleep(every)
    if not as_json:
        _write(sight, output, as_json=False)
    return ExitStatus.SUCCESS


class _Screen:
    """Shows the newest state: in place on a terminal, a line a change elsewhere."""

    def __init__(self, output: Output, *, as_json: bool) -> None:
        self._output = output
        self._as_json = as_json
        self._last = ""
        self._live: Any = None

    def __enter__(self) -> Callable[[Sight], None]:
        if not self._as_json and self._output.coloured:
            try:
                from rich.live import Live
            except ImportError:
                return self._line
            self._live = Live(transient=True, auto_refresh=False)
            self._live.start()
            return lambda sight: self._live.update(_rich_table(sight), refresh=True)
        return self._line

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def _line(self, sight: Sight) -> None:
        text = json.dumps(state_as_json(sight)) if self._as_json else _progress(sight, self._output)
        if text != self._last:
            self._last = text
            self._output.line(text)
            self._output.flush()


def _progress(sight: Sight, output: Output) -> str:
    counts = sight.counts()
    total = sum(counts.values())
    ended = sum(counts[status] for status in ("success", "failure", "cancelled"))
    full = _BAR_WIDTH * ended // total if total else 0
    return f"[{'#' * full}{'.' * (_BAR_WIDTH - full)}] {ended}/{total}  {counts_in_words(output, counts) or 'no tasks yet'}"


def _rich_table(sight: Sight) -> Any:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    from ._flow_store import COLOURS, WORDS

    grid = Table.grid(padding=(0, 2))
    by_step = sight.counts_by_step()
    for step in sight.steps():
        counts: Mapping[str, int] = by_step.get(step, {})
        total = sum(counts.values())
        ended = counts.get("success", 0) + counts.get("failure", 0) + counts.get("cancelled", 0)
        words = Text(", ").join(
            Text(f"{count} {WORDS.get(status, status)}", COLOURS.get(status, "")) for status, count in counts.items()
        )
        grid.add_row(
            Text(clipped(printable(step), 30)),
            ProgressBar(max(total, 1), ended, width=_BAR_WIDTH),
            Text(f"{ended}/{total}"),
            words,
        )
    run = sight.snapshot.run
    heading = Text(f"flow {printable(run.name)}, run {printable(run.run_id)}: {sight.status}")
    waiting = [Text(printable(line)) for line in list(_waits(sight, time.time()))[:_NAMED]]
    return Group(heading, grid, *waiting)


def _write(sight: Sight, output: Output, *, as_json: bool) -> None:
    if as_json:
        output.line(json.dumps(state_as_json(sight)))
        return
    for line in lines(sight, output, time.time()):
        output.line(line)


def lines(sight: Sight, output: Output, now: float) -> Iterator[str]:
    """How a run stands, in words."""
    from ..flow.views import ago

    run = sight.snapshot.run
    heading = f"flow {printable(run.name)}, run {printable(run.run_id)}: {status_in_words(output, sight.status)}"
    if run.recovery:
        heading += f", recovery {sight.recovery}" + (f" of {run.recovery}" if sight.recovery != run.recovery else "")
    yield f"{heading}; begun {ago(run.created, now)}"
    if sight.living is not None:
        yield f"  worked on by {printable(sight.living)}"
    elif sight.status == "interrupted":
        yield f"  its engine, {printable(run.owner)}, is dead; 'evproc flow recover APP --continue' goes on with it"
    elif run.ended is not None:
        yield f"  {'left' if sight.status in ('pending', 'stuck') else 'ended'} {ago(run.ended, now)}"
    steps = sight.steps()
    width = min(30, max((len(printable(step)) for step in steps), default=0))
    by_step = sight.counts_by_step()
    for step in steps:
        counts = by_step.get(step)
        name = clipped(printable(step), 30).ljust(width)
        words = counts_in_words(output, counts) if counts else output.colour("not yet", "dim")
        error = sight.last_error(step)
        yield f"  {name}  {words}" + (f": {clipped(printable(error), _ERROR_WIDTH)}" if error else "")
    waits = list(_waits(sight, now))
    if waits:
        yield "waiting:"
        yield from (f"  {printable(line)}" for line in waits[:_NAMED])
        if len(waits) > _NAMED:
            yield f"  and {len(waits) - _NAMED} more"


def _waits(sight: Sight, now: float) -> Iterator[str]:
    from ..flow.views import ago

    for task in sorted(sight.tasks.values(), key=lambda task: task.order):
        if task.status == "allocate":
            yield f"'{task.step}' [{task.sequence}] waits for {_wanted(sight, task)}"
        elif task.due is not None and task.status == "ready":
            yield f"'{task.step}' [{task.sequence}] waits for attempt {task.attempt + 1}, due {ago(task.due, now)}"
    for delay in sight.pending_delays():
        kind, _, name = delay.target.partition(" ")
        if kind == "not_by":
            watched = name.partition(" ")[2]
            yield f"'{watched}' [{delay.sequence}] happens unless '{delay.event}' does by {ago(delay.due, now)}"
        else:
            yield f"'{name}' [{delay.sequence}] follows '{delay.event}', due {ago(delay.due, now)}"


def _wanted(sight: Sight, task: TaskRow) -> str:
    declared = sight.declared.steps.get(task.step)
    if declared is None or not declared.acquires:
        return "resources"
    parts = []
    for pool, amount in declared.acquires.items():
        holders = [f"'{hold.step}' [{hold.sequence}] has {hold.amount}" for hold in sight.snapshot.holds if hold.pool == pool]
        foreign = sight.snapshot.foreign_holds.get(pool)
        if foreign:
            holders.append(f"other runs have {foreign}")
        shown = ", ".join(holders[:3]) + (", ..." if len(holders) > 3 else "")
        parts.append(f"{amount} of '{pool}' ({sight.declared.pools.get(pool, 0)} in all{'; ' if shown else ''}{shown})")
    return " and ".join(parts)


def state_as_json(sight: Sight) -> dict[str, Any]:
    """How a run stands, as an object."""
    from ..flow.views import summary

    by_step = sight.counts_by_step()
    return {
        **run_as_json(sight.snapshot.run, sight.status, sight.living, sight.counts()),
        "looked_at": sight.recovery,
        "steps": {step: {"tasks": dict(by_step.get(step, {})), "last_error": sight.last_error(step)} for step in sight.steps()},
        "failures": [
            {"step": task.step, "sequence": task.sequence, "error": summary(task.error), "handled": task.handled}
            for task in sight.tasks.values()
            if task.status == "failure"
        ],
        "waiting": [
            {"step": task.step, "sequence": task.sequence, "status": task.status, "due": task.due}
            for task in sight.tasks.values()
            if task.status == "allocate" or task.due is not None
        ],
        "delays": [
            {"event": row.event, "target": row.target, "sequence": row.sequence, "due": row.due} for row in sight.pending_delays()
        ],
    }


__all__ = ["lines", "state_as_json", "status_arguments", "tell_status", "watch"]
