"""
What goes to a worker process, and what comes back.

There, functions and arguments go by cloudpickle: a function of the program itself, a closure or a lambda goes by value.  Back
come results as strict JSON, which is what they have to be for the store anyway, and exceptions as text, with a pickle of theirs
where that works.  Pickles are taken from a process that we have started ourselves, over a connection that nobody else has.
"""

from __future__ import annotations

import base64
import json
import pickle
import traceback
from collections.abc import Callable
from typing import IO, Any

import attrs
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str

from ..._json import decode
from ...errors import FlowDefinitionError, MissingExtra, ResultNotStorable, StepFailed
from .._attempt import Attempt, CurrentStep, knowledge_of

#: The first byte of what a worker sends.
READY, VALUE, UNSTORABLE, ERROR = b"r", b"v", b"u", b"e"

#: The end of a message or a traceback says more than its beginning; more than this is not sent.
MAX_CHARACTERS = 100_000

#: An exception that is larger comes back as text.
MAX_PICKLE_BYTES = 1 << 20


@attrs.frozen
class Job:
    """
    What a worker is to do.

    :ivar known: what the function may know of its attempt.
    :ivar environment: what the environment is to say during the call.
    :ivar discard: whether nobody wants the result.
    """

    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    known: CurrentStep
    environment: dict[str, str]
    discard: bool


def pack_job(attempt: Attempt, max_bytes: int) -> bytes:
    """
    An attempt as it goes to a worker.

    :raises twisted_evproc.errors.FlowDefinitionError: for what cannot be pickled, or is larger than ``max_bytes``.
    :raises twisted_evproc.errors.MissingExtra: without cloudpickle.
    """
    dumps = _cloudpickle().dumps
    # Not every kind of attempt says whether anybody wants its result.
    discard = attempt.discard
    kwargs = dict(attempt.kwargs)
    job = Job(attempt.func, attempt.args, kwargs, knowledge_of(attempt), attempt.environment, discard)
    try:
        pickled: bytes = dumps(job)
    except Exception as error:
        culprit = _culprit(attempt, dumps)
        raise FlowDefinitionError(
            f"step {attempt.step!r}: {culprit} cannot be sent to a worker process ({type(error).__name__}: {safe_str(error)}).  "
            f"Let it make or open there what it needs, give it plain values as arguments, or give the step executor='thread'"
        ) from error
    if len(pickled) > max_bytes:
        raise FlowDefinitionError(
            f"step {attempt.step!r}: its function and arguments are {len(pickled)} bytes when pickled, and at most {max_bytes} "
            f"can be sent to a worker process; put large values into files and give it their names"
        )
    return pickled


def _cloudpickle() -> Any:
    try:
        import cloudpickle
    except ImportError as error:
        raise MissingExtra("executor='process'", "flow") from error
    return cloudpickle


def _culprit(attempt: Attempt, dumps: Callable[[Any], bytes]) -> str:
    parts = {f"argument {number} of its function": value for number, value in enumerate(attempt.args)}
    parts |= {f"argument {name!r} of its function": value for name, value in attempt.kwargs.items()}
    for what, value in parts.items():
        try:
            _ = dumps(value)
        except Exception:  # noqa: BLE001  as above
            return what
    name = getattr(attempt.func, "__qualname__", None)
    return f"its function {name}, or what that refers to," if name else f"its function {attempt.func!r:.80}"


def pack_error(error: BaseException) -> bytes:
    """An exception as it comes back from a worker."""
    described = {
        "type": type(error).__qualname__,
        "message": safe_str(error)[-MAX_CHARACTERS:],
        "traceback": "".join(_format(error))[-MAX_CHARACTERS:],
        "pickle": _pickle_of(error),
    }
    return ERROR + json.dumps(described).encode()


def _format(error: BaseException) -> list[str]:
    try:
        return traceback.format_exception(error)
    except Exception:  # noqa: BLE001  its __str__ may raise anything
        return [*traceback.format_tb(error.__traceback__), type(error).__qualname__, "\n"]


def _pickle_of(error: BaseException) -> str | None:
    # Many an exception can be pickled and cannot be unpickled: its __init__ wants other arguments.
    try:
        pickled: bytes = _cloudpickle().dumps(error)
        if len(pickled) > MAX_PICKLE_BYTES:
            return None
        _ = pickle.loads(pickled)  # noqa: S301  our own, from above
    except Exception:  # noqa: BLE001  whatever its methods raise
        return None
    return base64.b64encode(pickled).decode()


def unpack_answer(payload: bytes, attempt: Attempt) -> Any:
    """What a worker sent: the value, or a Failure."""
    kind, rest = payload[:1], payload[1:].decode()
    if kind == VALUE:
        return decode(rest)
    if kind == UNSTORABLE:
        return Failure(ResultNotStorable(attempt.step, rest))
    described = json.loads(rest)
    error = _unpickled(described["pickle"])
    if error is None:
        error = StepFailed(attempt.step, attempt.sequence, f"{described['type']}: {described['message']}".rstrip(": "))
    error.__cause__ = RemoteTraceback(described["traceback"])
    return RemoteFailure(error, described["traceback"])


def _unpickled(text: str | None) -> BaseException | None:
    if text is None:
        return None
    try:
        error = pickle.loads(base64.b64decode(text))  # noqa: S301  from our own child, see above
    except Exception:  # noqa: BLE001  what could be loaded there need not be here
        return None
    return error if isinstance(error, BaseException) else None


class RemoteTraceback(Exception):
    """The traceback of an exception, as it was in its process."""

    def __init__(self, text: str) -> None:
        self._text = text
        super().__init__(text)

    def __str__(self) -> str:
        return f'\n"""\n{self._text}"""'


class RemoteFailure(Failure):
    """A failure whose traceback is that of the process it happened in."""

    def __init__(self, error: BaseException, text: str) -> None:
        super().__init__(error)  # type: ignore[no-untyped-call]  # Twisted's
        self._text = text

    def printTraceback(  # noqa: N802  a method of Twisted's
        self,
        file: IO[str] | None = None,
        elideFrameworkCode: bool = False,  # noqa: N803  the same
        detail: str = "default",
    ) -> None:
        if file is None or detail == "brief":
            super().printTraceback(file, elideFrameworkCode, detail)  # type: ignore[no-untyped-call]  # Twisted's
        else:
            _ = file.write(self._text)
