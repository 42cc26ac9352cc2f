"""How a command ended, as a number for the shell."""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """The exit statuses of ``evproc``."""

    SUCCESS = 0
    HANDLERS_FAILED = 1
    UNUSABLE = 2
    BROKEN_LINES = 3
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


#: What each means, as the help and the reference say it.
MEANINGS: dict[ExitStatus, str] = {
    ExitStatus.SUCCESS: "all went well; events that no handler wanted are no fault",
    ExitStatus.HANDLERS_FAILED: "handlers failed, events were refused, or a check found something wrong",
    ExitStatus.UNUSABLE: "the command line, the application or the event file cannot be used",
    ExitStatus.BROKEN_LINES: "lines were broken, but all else went well",
    ExitStatus.INTERRUPTED: "ended by SIGINT (Ctrl-C)",
    ExitStatus.BROKEN_PIPE: "whoever read the output has gone",
    ExitStatus.TERMINATED: "ended by SIGTERM",
}

__all__ = ["MEANINGS", "ExitStatus"]
