"""What the commands on flows have in common: STORE and RUN on the command line, and the flow that a run is of."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from ..errors import ApplicationError, UnknownRun
from ._numbers import number
from ._output import Output
from ._spelling import suggestion
from ._words import printable

if TYPE_CHECKING:
    from ..flow import RunRow
    from ..flow.store import StoreReader
    from ..flow.views import Sight

#: RUN: the newest run of the store.
NEWEST = "newest"

# How each file of SQLite begins.
_SQLITE = b"SQLite format 3\0"

#: What colours the statuses of runs and tasks have.
COLOURS = {
    "success": "green",
    "failure": "red",
    "stuck": "red",
    "interrupted": "yellow",
    "pending": "yellow",
    "allocate": "yellow",
    "fueled": "yellow",
    "running": "cyan",
    "active": "cyan",
}

#: The statuses of tasks in words.
WORDS = {
    "success": "done",
    "failure": "failed",
    "active": "running",
    "interrupted": "interrupted",
    "allocate": "waiting for resources",
    "fueled": "about to run",
    "ready": "ready",
    "cancelled": "cancelled",
}


def is_sqlite(place: str) -> bool:
    """Whether this is a file of SQLite."""
    try:
        with open(place, "rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return False


def open_reader(store: str) -> StoreReader:
    """
    STORE, for reading.

    :raises twisted_evproc.errors.StoreError: when there is none, or it is of something else.
    :raises twisted_evproc.errors.ApplicationError: for what is plainly the application.
    """
    from ..flow.store import read_store

    if store.endswith(".py") and os.path.exists(store):
        beside = store[:-3] + ".run.db"
        hint = f"; its store may be {beside}" if os.path.exists(beside) else ""
        raise ApplicationError(store, f"is an application, and this command takes the store of its runs{hint}")
    return read_store(store)


def find_run(reader: StoreReader, wanted: str | None, name: str | None = None) -> RunRow:
    """
    RUN: its ID, the beginning of one, ``newest``, or nothing for the newest.

    :raises twisted_evproc.errors.UnknownRun: when there is none, or several begin so.
    :raises twisted_evproc.errors.ApplicationError: for a store without runs.
    """
    runs = reader.runs(name)
    if not runs:
        raise ApplicationError(reader.name, "the store has no runs yet; run its flow, and look again")
    if wanted is None or wanted == NEWEST:
        return runs[-1]
    found = [run for run in runs if run.run_id == wanted] or [run for run in runs if run.run_id.startswith(wanted)]
    if len(found) > 1:
        raise ApplicationError(
            wanted, f"{len(found)} runs begin so: {', '.join(run.run_id for run in found[-5:])}; say more of it"
        )
    if not found:
        raise UnknownRun(wanted, [run.run_id for run in runs[-5:]])
    return found[0]


def program_of(application: str, *runs: RunRow) -> str:
    """
    The description of an application's flow.

    :param runs: what is looked at by it.
    :raises twisted_evproc.errors.ApplicationError: for an application without a flow, or with another than a run is of.
    """
    from ..flow.views import describe_program
    from ._flow_application import load_flow

    flow = load_flow(application).flow()
    for run in runs:
        if run.name != flow.name:
            raise ApplicationError(application, f"its flow is {flow.name!r}, and run {run.run_id!r} is of the flow {run.name!r}")
    return describe_program(flow.program)


def look(reader: StoreReader, run: RunRow, application: str | None = None, recovery: int | None = None) -> Sight:
    """A run as it stands now."""
    from ..flow.views import Sight, infer, read_description

    program = "" if application is None else program_of(application, run)
    # The owner first: one that ends in between has then written its end.
    living = reader.living_owner(run.run_id)
    snapshot = reader.load(run.run_id)
    if recovery is not None and not 0 <= recovery <= snapshot.run.recovery:
        raise ApplicationError(f"recovery {recovery}", f"run {run.run_id!r} has recoveries 0 to {snapshot.run.recovery}")
    program = program or snapshot.run.program
    return Sight(read_description(program) if program else infer(snapshot), snapshot, living, recovery)


def check_sequence(sight: Sight, sequence: str | None) -> None:
    """
    See that a sequence is there.

    :raises twisted_evproc.errors.ApplicationError: when it is not.
    """
    known = sight.sequences()
    if sequence is not None and sequence not in known:
        shown = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
        raise ApplicationError(
            f"sequence {sequence}", f"the run has no such sequence; it has {shown or 'none yet'}.{suggestion(sequence, known)}"
        )


def counts_in_words(output: Output, counts: dict[str, int]) -> str:
    """``3 done, 1 failed``, coloured."""
    from ..flow.views import SHOWN

    known = [status for status in SHOWN if counts.get(status)]
    return ", ".join(output.colour(f"{counts[status]} {WORDS[status]}", COLOURS.get(status, "dim")) for status in known)


def status_in_words(output: Output, status: str) -> str:
    """The status of a run, coloured."""
    return output.colour(printable(status), COLOURS.get(status, "dim"))


def run_as_json(run: RunRow, status: str, living: str | None, counts: dict[str, int]) -> dict[str, Any]:
    """A run as an object."""
    return {
        "run": run.run_id,
        "name": run.name,
        "status": status,
        "recovery": run.recovery,
        "epoch": run.epoch,
        "owner": run.owner,
        "owner_lives": living is not None,
        "created": run.created,
        "ended": run.ended,
        "tasks": dict(counts),
    }


def add_store(parser: argparse.ArgumentParser) -> None:
    """The argument STORE."""
    parser.add_argument("store", metavar="STORE", help="the store: a path, sqlite:///path or postgresql://host/database")


def add_run(parser: argparse.ArgumentParser, *, optional: bool = True) -> None:
    """The argument RUN."""
    parser.add_argument(
        "run",
        metavar="RUN",
        nargs="?" if optional else None,
        help=f"its ID, or the beginning of it, or {NEWEST}" + (f" (default: {NEWEST})" if optional else ""),
    )


def add_application(parser: argparse.ArgumentParser) -> None:
    """The option --app."""
    parser.add_argument(
        "--app", metavar="APP", help="take the flow from this application (default: as it was stored with the run)"
    )


def add_recovery(parser: argparse.ArgumentParser) -> None:
    """The option --recovery."""
    parser.add_argument("--recovery", metavar="N", type=number, help="look at this recovery (default: the newest)")


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """The option --json."""
    parser.add_argument("--json", action="store_true", help=f"write JSON, {what}")


__all__ = [
    "COLOURS",
    "NEWEST",
    "WORDS",
    "add_application",
    "add_json",
    "add_recovery",
    "add_run",
    "add_store",
    "check_sequence",
    "counts_in_words",
    "find_run",
    "is_sqlite",
    "look",
    "open_reader",
    "program_of",
    "run_as_json",
    "status_in_words",
]
