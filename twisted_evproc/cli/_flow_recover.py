"""``evproc flow recover``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from ..errors import ApplicationError
from ._flow_application import load_flow
from ._flow_store import counts_in_words, find_run, open_reader, status_in_words
from ._in_reactor import in_reactor
from ._logs import begin_logging
from ._numbers import number
from ._output import Output
from ._status import ExitStatus
from ._words import clipped, counted, printable

if TYPE_CHECKING:
    from ..flow import Eventor, FlowResult, RecoveryPlan, RunMode, Snapshot

_WORDS = {
    "rerun": ("run again", "yellow"),
    "skip": ("counts as done", "green"),
    "ask the probe": ("its probe is asked", "cyan"),
    "run": ("run for the first time", "yellow"),
    "wait": ("wait for resources", "yellow"),
    "keep": ("stays as it is", "dim"),
}


def recover_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``flow recover``."""
    parser.add_argument(
        "application",
        metavar="APP",
        help="a Python file or a module, each with :attribute or without; without, it has a function build_flow(run_mode), or "
        "exactly one Eventor",
    )
    parser.add_argument("--plan", action="store_true", help="say what would become of each task, and do nothing")
    parser.add_argument(
        "--continue",
        dest="going_on",
        action="store_true",
        help="go on where the run stopped, rather than beginning its next recovery",
    )
    parser.add_argument("--run", metavar="RUN", help="the run's ID, or the beginning of it (default: the flow's newest run)")
    parser.add_argument(
        "--from", metavar="N", dest="recovery_run", type=number, help="ask the statuses of recovery N (default: of the newest)"
    )
    parser.add_argument("--max-loops", metavar="N", type=number, help="rounds, see Eventor.run (default: as many as it takes)")
    parser.add_argument(
        "--json", action="store_true", help="write JSON, one object a task and line, the last one {'summary': ...}"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="also write logs to standard error")


def recover(options: argparse.Namespace) -> int:
    """Perform ``flow recover``."""
    from ..flow import RunMode

    if options.going_on and options.recovery_run is not None:
        raise ApplicationError("--from", "is for recoveries; going on with --continue asks no earlier one")
    mode = RunMode.continue_ if options.going_on else RunMode.recover
    if options.plan:
        flow, snapshot = _prepared(options, mode)
        plan = flow.recovery_plan(snapshot)
        _write_plan(plan, Output(sys.stdout), as_json=options.json)
        return ExitStatus.SUCCESS
    log = begin_logging(sys.stderr, options.verbose)
    try:
        flow, _ = _prepared(options, mode)
        # Interrupted, the flow ends as if its process had died: it can be continued.
        result = in_reactor(lambda: flow.run(-1 if options.max_loops is None else options.max_loops), options.application)
    finally:
        log.release()
    return _write_result(result, Output(sys.stdout), as_json=options.json)


def _prepared(options: argparse.Namespace, mode: RunMode) -> tuple[Eventor, Snapshot]:
    """The flow, about to go on with the run that is meant, and that run as it stands."""
    flow = load_flow(options.application).flow(mode)
    if not isinstance(flow.store, str | os.PathLike):
        raise ApplicationError(options.application, "the store of its flow is an object; give the flow the path or URL of one")
    place = os.fspath(flow.store)
    if place in (":memory:", "sqlite://"):
        raise ApplicationError(options.application, "its flow keeps its runs in memory, where nothing is left to recover")
    with open_reader(place) as reader:
        run = find_run(reader, options.run or flow.run_id, flow.name)
        snapshot = reader.load(run.run_id)
    flow.run_id = run.run_id
    if options.recovery_run is not None:
        flow.recovery_run = options.recovery_run
    return flow, snapshot


def _write_plan(plan: RecoveryPlan, output: Output, *, as_json: bool) -> None:
    counts = Counter(task.does for task in plan.tasks)
    if as_json:
        for task in plan.tasks:
            output.line(json.dumps(attrs.asdict(task)))
        summary: dict[str, Any] = {**attrs.asdict(plan), "tasks": dict(counts)}
        output.line(json.dumps({"summary": summary}))
        return
    going_on = plan.asked is None
    output.line(
        f"run {printable(plan.run_id)} would go on, in recovery {plan.recovery}:"
        if going_on
        else f"recovery {plan.recovery} of run {printable(plan.run_id)}, which asks recovery {plan.asked}:"
    )
    for task in plan.tasks:
        words, colour = _WORDS[task.does]
        before = "not reached before" if task.before is None else f"was {task.before}"
        later = "" if task.at_once else ", if what comes before it goes well"
        name = f"{clipped(printable(task.step), 40)} [{clipped(printable(task.sequence), 30)}]"
        output.line(f"  {name}: {output.colour(words, colour)} ({before}{later})")
    if plan.delays:
        output.line(f"  then {counted(plan.delays, 'delay')} would be left to wait for")
    for step in plan.orphans:
        output.line(f"  {printable(step)}: the program has it no longer, and the run would be stuck with its open tasks")
    shown = ", ".join(f"{count} {_WORDS[does][0]}" for does, count in counts.items())
    output.line(f"{counted(len(plan.tasks), 'task')}: {shown or 'nothing would happen'}")


def _write_result(result: FlowResult, output: Output, *, as_json: bool) -> int:
    counts = Counter(task.status.name for task in result.tasks)
    if as_json:
        for task in result.tasks:
            output.line(json.dumps({**attrs.asdict(task, recurse=False), "status": task.status.name}))
        summary = {
            "run": result.run_id,
            "status": result.status.name,
            "recovery": result.recovery,
            "loops": result.loops,
            "tasks": dict(counts),
            "pending_delays": result.pending_delays,
            "stuck_for": list(result.stuck_for),
        }
        output.line(json.dumps({"summary": summary}))
    else:
        for task in result.failures:
            handled = " (handled)" if task.handled else ""
            output.line(f"  {printable(task.step)} [{printable(task.sequence)}] failed{handled}: {printable(task.error or '')}")
        words = counts_in_words(output, counts) or "no tasks"
        output.line(
            f"run {printable(result.run_id)}, recovery {result.recovery}: {status_in_words(output, result.status.name)}; {words}"
            + (f"; {result.pending_delays} delays wait" if result.pending_delays else "")
            + (f"; stuck for {', '.join(map(printable, result.stuck_for))}" if result.stuck_for else "")
        )
    return ExitStatus.SUCCESS if result else ExitStatus.HANDLERS_FAILED


__all__ = ["recover", "recover_arguments"]
