"""``evproc flow cancel``, ``gc`` and ``fsck``."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ..errors import ApplicationError
from ._flow_store import (
    add_application,
    add_json,
    add_run,
    add_store,
    find_run,
    open_reader,
    program_of,
    status_in_words,
)
from ._numbers import NotANumber, number
from ._output import Output
from ._status import ExitStatus
from ._words import counted, printable

if TYPE_CHECKING:
    from ..flow import RunRow, Snapshot

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
#: Runs that have come to an end from which nothing goes on by itself; a pending one waits, and an interrupted one is to go on.
_OVER = ("success", "failure", "cancelled", "stuck")


def cancel_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``flow cancel``."""
    add_store(parser)
    add_run(parser, optional=False)
    add_json(parser, "one object")


def cancel(options: argparse.Namespace) -> int:
    """Perform ``flow cancel``."""
    from ..flow.store import maintain_store

    output = Output(sys.stdout)
    with open_reader(options.store) as reader:
        run = find_run(reader, options.run)
        living = reader.living_owner(run.run_id)
    if living is not None:
        raise ApplicationError(
            options.store,
            f"run {run.run_id!r} is worked on by {living}, which alone may change it; call its Eventor's cancel(), or end that "
            f"process and cancel the run then",
        )
    ended = run.status in ("success", "cancelled")
    if not ended:
        with maintain_store(options.store) as store:
            store.cancel(run.run_id, time.time())
    if options.json:
        output.line(json.dumps({"run": run.run_id, "before": run.status, "cancelled": not ended}))
    elif ended:
        output.line(f"run {printable(run.run_id)} has ended already: {status_in_words(output, run.status)}")
    else:
        output.line(f"run {printable(run.run_id)} is cancelled; it was {printable(run.status)}, and nobody worked on it")
    return ExitStatus.SUCCESS


def gc_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``flow gc``."""
    add_store(parser)
    parser.add_argument(
        "--older-than",
        metavar="AGE",
        required=True,
        type=age,
        help="remove runs that ended longer ago than this: a number and s, m, h, d or w, as in 30d",
    )
    parser.add_argument("--keep", metavar="N", type=number, default=1, help="keep the N newest runs of each flow (default: 1)")
    parser.add_argument("--name", metavar="NAME", help="only the runs of the flow with this name")
    parser.add_argument("--dry-run", action="store_true", help="say which, and remove nothing")
    add_json(parser, "one object a run and line")


def age(text: str) -> float:
    """``30d`` as seconds."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhdw])", text, re.ASCII)
    if match is None:
        raise NotANumber(f"{text!r} has to be a number and s, m, h, d or w, as in 30d or 12h")
    return float(match[1]) * _UNITS[match[2]]


def collectable(runs: Iterable[RunRow], older_than: float, keep: int, now: float) -> Iterator[RunRow]:
    """
    The runs that may go.

    :param runs: oldest first.
    :param older_than: in seconds.
    :param keep: so many of the newest of each flow stay.
    """
    seen: dict[str, int] = {}
    found = []
    for run in reversed(list(runs)):
        seen[run.name] = seen.get(run.name, 0) + 1
        if seen[run.name] > keep and run.status in _OVER and run.ended is not None and run.ended < now - older_than:
            found.append(run)
    return reversed(found)


def collect(options: argparse.Namespace) -> int:
    """Perform ``flow gc``."""
    from ..flow.store import maintain_store
    from ..flow.views import ago

    output = Output(sys.stdout)
    now = time.time()
    with open_reader(options.store) as reader:
        runs = reader.runs(options.name)
    going = list(collectable(runs, options.older_than, options.keep, now))
    if going and not options.dry_run:
        with maintain_store(options.store) as store:
            for run in going:
                store.remove(run.run_id)
    for run in going:
        if options.json:
            output.line(json.dumps({"run": run.run_id, "name": run.name, "status": run.status, "removed": not options.dry_run}))
        else:
            ended = ago(run.ended, now) if run.ended is not None else ""
            output.line(f"{printable(run.run_id)}  {printable(run.name)}  {status_in_words(output, run.status)}, ended {ended}")
    if not options.json:
        open_ones = sum(run.status not in _OVER for run in runs)
        kept = f"; {counted(open_ones, 'run')} not at an end {'stays' if open_ones == 1 else 'stay'}" if open_ones else ""
        verb = "would be removed" if options.dry_run else "removed"
        output.line(f"{counted(len(going), 'run')} of {len(runs)} {verb}{kept}")
    return ExitStatus.SUCCESS


def fsck_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``flow fsck``."""
    add_store(parser)
    parser.add_argument("run", metavar="RUN", nargs="?", help="its ID, or the beginning of it, or newest (default: all runs)")
    add_application(parser)
    add_json(parser, "one object a problem and line")


def check(options: argparse.Namespace) -> int:
    """Perform ``flow fsck``."""
    output = Output(sys.stdout)
    problems: list[tuple[str | None, str]] = []
    with open_reader(options.store) as reader:
        problems += [(None, problem) for problem in reader.problems()]
        runs = [find_run(reader, options.run)] if options.run is not None else reader.runs()
        program = "" if options.app is None else program_of(options.app, *runs)
        for run in runs:
            snapshot = reader.load(run.run_id)
            problems += [(run.run_id, problem) for problem in _broken(snapshot, program or snapshot.run.program)]
    for run_id, problem in problems:
        if options.json:
            output.line(json.dumps({"run": run_id, "problem": problem}))
        else:
            where = "store" if run_id is None else f"run {printable(run_id)}"
            output.line(f"{where}: {output.colour(printable(problem), 'red')}")
    if not options.json:
        state = output.colour("nothing is wrong", "green") if not problems else counted(len(problems), "problem")
        output.line(f"{printable(reader.name)}, {counted(len(runs), 'run')}: {state}")
    return ExitStatus.HANDLERS_FAILED if problems else ExitStatus.SUCCESS


def _broken(snapshot: Snapshot, program: str) -> list[str]:
    from ..flow.views import broken_invariants

    if not program:
        return []
    try:
        described = json.loads(program)
    except ValueError as error:
        return [f"the description of its flow is no JSON: {error}"]
    return broken_invariants(snapshot, described)


__all__ = [
    "age",
    "cancel",
    "cancel_arguments",
    "check",
    "collect",
    "collectable",
    "fsck_arguments",
    "gc_arguments",
]
