"""``evproc flow list``."""

from __future__ import annotations

import argparse
import json
import sys
import time

from ._flow_store import add_json, add_store, counts_in_words, open_reader, run_as_json, status_in_words
from ._output import Output
from ._status import ExitStatus
from ._words import printable


def list_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``flow list``."""
    add_store(parser)
    parser.add_argument("--name", metavar="NAME", help="only the runs of the flow with this name")
    add_json(parser, "one object a run and line")


def list_runs(options: argparse.Namespace) -> int:
    """Perform ``flow list``."""
    from ..flow.views import ago, span, standing

    output = Output(sys.stdout)
    now = time.time()
    with open_reader(options.store) as reader:
        runs = reader.runs(options.name)
        for run in runs:
            living = reader.living_owner(run.run_id)
            # Once more: it may have ended in between.
            run = reader.run(run.run_id)
            status, counts = standing(run.status, living), reader.counts(run.run_id, run.recovery)
            if status == "interrupted" and "active" in counts:
                counts["interrupted"] = counts.pop("active")
            if options.json:
                output.line(json.dumps(run_as_json(run, status, living, counts)))
                continue
            parts = [f"{printable(run.run_id)}  {printable(run.name)}  {status_in_words(output, status)}"]
            if run.recovery:
                parts.append(f"recovery {run.recovery}")
            begun = f"begun {ago(run.created, now)}"
            if run.ended is not None and status not in ("running", "interrupted"):
                begun += (
                    f", {span(run.ended - run.created)} to its end" if status != "pending" else f", left {ago(run.ended, now)}"
                )
            parts.append(begun)
            if living is not None:
                parts.append(f"worked on by {printable(living)}")
            elif status == "interrupted":
                parts.append(f"its engine {printable(run.owner)} is dead")
            parts.append(counts_in_words(output, counts) or "no tasks")
            output.line("; ".join(parts))
        if not runs and not options.json:
            output.line("no runs" if options.name is None else f"no runs of a flow {printable(options.name)!r}")
    return ExitStatus.SUCCESS


__all__ = ["list_arguments", "list_runs"]
