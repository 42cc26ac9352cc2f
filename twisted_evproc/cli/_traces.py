"""Tracebacks as the author of an application wants to see them: without the frames that are not theirs."""

from __future__ import annotations

from pathlib import Path
from traceback import StackSummary, TracebackException, extract_tb

from twisted.internet import defer
from twisted.python import failure as twisted_failure
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str

_PACKAGE = str(Path(__file__).parent.parent)
_MACHINERY = (_PACKAGE, "<frozen ", defer.__file__, twisted_failure.__file__)


def _is_theirs(filename: str) -> bool:
    return not filename.startswith(_MACHINERY)


def _cut(trace: TracebackException) -> None:
    trace.stack = StackSummary.from_list([frame for frame in trace.stack if _is_theirs(frame.filename)])
    for other in (trace.__cause__, trace.__context__, *(trace.exceptions or ())):
        if other is not None:
            _cut(other)


def traceback_of(error: BaseException) -> str:
    """The traceback of an exception and of those behind it, cut to frames outside of this package."""
    trace = TracebackException.from_exception(error)
    _cut(trace)
    return "".join(trace.format()).rstrip("\n")


def error_of(failure: Failure) -> BaseException:
    """The exception of a failure, which always has one: ``Failure`` is typed more loosely than it behaves."""
    assert failure.value is not None
    return failure.value


def failure_traceback(failure: Failure) -> str:
    """As :func:`traceback_of`, of a failure; whole where Twisted has put its frames away as text."""
    error = error_of(failure)
    return failure.getTraceback().rstrip("\n") if error.__traceback__ is None else traceback_of(error)


def place_of(error: BaseException) -> str | None:
    """``file:line`` of the innermost frame outside of this package; of the text itself for a ``SyntaxError``."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{error.filename}:{error.lineno or 1}"
    for frame in reversed(extract_tb(error.__traceback__)):
        if _is_theirs(frame.filename):
            return f"{frame.filename}:{frame.lineno}"
    return None


def ending_of(error: SystemExit) -> str:
    """What ended the program, and by which function of the application: the outermost, which is the handler."""
    theirs = [frame for frame in extract_tb(error.__traceback__) if _is_theirs(frame.filename)]
    who = f"{theirs[0].name}() ({theirs[-1].filename}:{theirs[-1].lineno})" if theirs else "a handler"
    return f"{who} ends the program: {summary_of(error)}"


def summary_of(error: BaseException) -> str:
    """An exception on one line: its class and what it says."""
    text = safe_str(error)
    name = type(error).__name__
    return f"{name}: {text}" if text else name


__all__ = ["ending_of", "error_of", "failure_traceback", "place_of", "summary_of", "traceback_of"]
