"""``evproc flow crashtest``: what a flow loses or does again when its process is killed."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import randrange
from tempfile import gettempdir, mkdtemp
from typing import TYPE_CHECKING, Any

from .._json import encode
from ..errors import ApplicationError
from ._flow_application import BUILD_NAME, load_flow
from ._numbers import count, seconds
from ._output import Output
from ._status import ExitStatus
from ._words import clipped, counted, printable

if TYPE_CHECKING:
    from ..flow.crashtest import Builder, Fault, History, Undisturbed

CHANGE_WIDTH = 52

_APP = f"a Python file or a module with a function {BUILD_NAME}(run_mode), or one Eventor; either with :attribute or without"


def crashtest_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("application", metavar="APP", help=_APP)
    parser.add_argument(
        "--store-folder",
        metavar="DIR",
        type=Path,
        help="where stores, journals and logs are made, in a folder of their own (default: among temporary files)",
    )
    parser.add_argument(
        "--max-points", metavar="N", type=count, help="at most so many of the points, evenly spread (default: all)"
    )
    parser.add_argument("--random", metavar="N", type=count, default=0, help="kill it at so many random moments too")
    parser.add_argument("--seed", metavar="N", type=int, help="of the random moments (default: another one each time)")
    parser.add_argument("--jobs", metavar="N", type=count, default=1, help="so many crashes at the same time (default: 1)")
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=seconds, default=60.0, help="how long each process may take (default: 60)"
    )
    parser.add_argument("--json", action="store_true", help="write JSON, one crash a line, the last one {'summary': ...}")


def load_builder(reference: str) -> Builder:
    """
    What builds the flow of an application, for the process that runs it.

    :param reference: APP on the command line.
    :raises twisted_evproc.errors.ApplicationError: where there is none.
    """
    return load_flow(reference).flow


def crashtest(options: argparse.Namespace) -> int:
    """Perform the command."""
    from ..flow.crashtest import Choice, crash_test

    seed = randrange(1 << 32) if options.seed is None else options.seed
    folder = _folder(options.store_folder)
    report = _Report(options.application, Output(sys.stdout), options.json, seed if options.random else None)
    choice = Choice(options.max_points, options.random, seed, options.timeout, options.jobs)
    loader = f"{__name__}:{load_builder.__name__}"
    # What is left of a crash with a fault, or of a run that failed without one, is what it can be understood by.
    keeps = True
    try:
        crash_test(options.application, loader, folder, choice, begins=report.begins, tell=report.crash)
        keeps = report.faulty > 0
    except KeyboardInterrupt:
        keeps = report.faulty > 0
        raise
    finally:
        if keeps or options.store_folder is not None:
            _remove_if_empty(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    report.summary()
    return ExitStatus.HANDLERS_FAILED if report.faulty else ExitStatus.SUCCESS


def _folder(place: Path | None) -> Path:
    try:
        if place is not None:
            place.mkdir(parents=True, exist_ok=True)
        return Path(mkdtemp(prefix="crashtest-", dir=place))
    except OSError as error:
        raise ApplicationError("--store-folder", f"no folder can be made in {place or gettempdir()}: {error.strerror}") from error


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        pass  # it is not


class _Report:
    """
    What the command says.

    :ivar faulty: how many crashes had a fault.
    """

    def __init__(self, application: str, output: Output, as_json: bool, seed: int | None) -> None:
        self.faulty = 0
        self._application = application
        self._output = output
        self._as_json = as_json
        self._seed = seed
        self._crashes = 0
        self._missed = 0
        self._again: Counter[str] = Counter()

    def begins(self, undisturbed: Undisturbed, crashes: int) -> None:
        """Hear of the runs without a crash."""
        if self._as_json:
            return
        state = undisturbed.state
        self._output.line(
            f"{printable(self._application)} without a crash: {state.status}, {counted(len(state.tasks), 'task')}, "
            f"{counted(undisturbed.changes, 'change')} of its store, {undisturbed.seconds:.2f} s; {_crashes(crashes)} to try"
        )
        if self._seed is not None:
            self._output.line(f"random moments by --seed {self._seed}")
        self._output.line(self._output.colour(_row("crash", "the change of the store", "called again (idempotency key)"), "dim"))

    def crash(self, history: History) -> None:
        """Hear of a crash."""
        self._crashes += 1
        self._missed += not history.killed
        self.faulty += bool(history.faults)
        self._again.update(repeat.task.step for repeat in history.repeats)
        if self._as_json:
            self._output.line(encode(_as_json(history)))
        else:
            self._lines(history)
        self._output.flush()

    def _lines(self, history: History) -> None:
        output = self._output
        change = history.change if history.killed else "it had ended before"
        again = ", ".join(f"{repeat.task} ({repeat.key})" for repeat in history.repeats)
        output.line(_row(str(history.kills[0]), change, again))
        for fault in history.faults:
            key = f" ({printable(fault.key)})" if fault.key else ""
            output.line(output.colour(f"  FAULT {printable(str(fault))}{key}", "red"))
        if history.faults:
            output.line(f"        see {history.folder}")

    def summary(self) -> None:
        """Say what it comes to."""
        if self._as_json:
            summary = {
                "crashes": self._crashes,
                "faulty": self.faulty,
                "missed": self._missed,
                "called_again": dict(self._again),
                "seed": self._seed,
            }
            self._output.line(encode({"summary": summary}))
        else:
            self._output.line(f"{_crashes(self._crashes)}: {self._verdict()}")
        self._output.flush()

    def _verdict(self) -> str:
        if self.faulty:
            return f"{self.faulty} of them lost something or did it again"
        if not self._again:
            return "nothing was lost, and nothing was called again"
        again = ", ".join(f"{printable(step)} {count}x" for step, count in self._again.items())
        return f"nothing was lost; called again was only what was in flight: {again}"


def _crashes(number: int) -> str:
    return counted(number, "crash", "crashes")


def _row(crash: str, change: str, again: str) -> str:
    return f"{crash:<10}  {clipped(printable(change), CHANGE_WIDTH):<{CHANGE_WIDTH}}  {printable(again)}".rstrip()


def _as_json(history: History) -> Mapping[str, Any]:
    return {
        "crash": str(history.kills[0]),
        "killed": bool(history.killed),
        "change": history.change,
        "in_flight": list(history.in_flight),
        "called_again": [
            {"step": repeat.task.step, "sequence": repeat.task.sequence, "key": repeat.key, "had_ended": repeat.ended}
            for repeat in history.repeats
        ],
        "faults": [_fault_as_json(fault) for fault in history.faults],
    }


def _fault_as_json(fault: Fault) -> Mapping[str, Any]:
    step, sequence = (None, None) if fault.task is None else (fault.task.step, fault.task.sequence)
    return {"problem": fault.problem, "step": step, "sequence": sequence, "key": fault.key}


__all__ = ["crashtest", "crashtest_arguments", "load_builder"]
