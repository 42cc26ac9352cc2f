"""The command ``evproc``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ..errors import EvprocError
from ._arguments import parse
from ._status import ExitStatus


def main(argv: Sequence[str] | None = None) -> int:
    """
    Perform a command line.

    :param argv: the arguments behind the program's name; ``None`` takes those of this process.
    :return: the exit status.  ``run`` runs the reactor, and so only once in a process.
    """
    try:
        options = parse(sys.argv[1:] if argv is None else argv)
        if sys.stdout is None:
            return _unusable("standard output is closed; where nobody is to read it, write > /dev/null")
        status: int = options.perform(options)
        sys.stdout.flush()
    except SystemExit as ending:
        return _status_of(ending)
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return ExitStatus.BROKEN_PIPE
    except EvprocError as error:
        return _unusable(str(error))
    except OSError as error:
        return _unusable(f"the output cannot be written: {error.strerror}")
    return status


def _status_of(ending: SystemExit) -> int:
    # as the interpreter itself understands it
    if ending.code is None:
        return ExitStatus.SUCCESS
    if isinstance(ending.code, int):
        return ending.code
    print(ending.code, file=sys.stderr)
    return ExitStatus.HANDLERS_FAILED


def _unusable(problem: str) -> int:
    print(f"evproc: error: {problem}", file=sys.stderr)
    return ExitStatus.UNUSABLE


def _drop_output() -> None:
    # What is still in the buffer would be written, and fail, when the interpreter ends.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


__all__ = ["main"]
