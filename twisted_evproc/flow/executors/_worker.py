"""A worker process: does one step after the other, and ends with its engine."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
from contextvars import copy_context
from types import FrameType
from typing import Any, NoReturn

from .._attempt import inside
from ..store import encode
from ._frames import read_frame, write_frame
from ._functions import check_returned
from ._message import READY, UNSTORABLE, VALUE, Job, pack_error

PR_SET_PDEATHSIG = 1


class Terminated(BaseException):
    """SIGTERM came: the step is to clean up, and the process to end."""


class Worker:
    """The process, as seen from inside."""

    def __init__(self, descriptor: int, max_bytes: int) -> None:
        """
        :param descriptor: the connection to the engine.
        :param max_bytes: a longer answer is not sent.
        """
        self._descriptor = descriptor
        self._max_bytes = max_bytes
        self._pid = os.getpid()
        os.set_inheritable(descriptor, False)

    def work(self) -> None:
        """Until the engine closes the connection, or is gone."""
        _take_signals()
        arguments = read_frame(self._descriptor)
        if arguments is None:
            return
        sys.argv[:] = json.loads(arguments)
        write_frame(self._descriptor, READY)
        while True:
            packed = read_frame(self._descriptor)
            if packed is None:
                return
            _take_signals()  # a step may have changed that
            answer = copy_context().run(self._perform, packed)
            _flush()
            if os.getpid() != self._pid:
                os._exit(0)  # the step has forked, and this is the other process: only one may answer
            write_frame(self._descriptor, answer)

    def _perform(self, packed: bytes) -> bytes:
        try:
            job: Job = pickle.loads(packed)  # noqa: S301  from the engine that started us, over a connection nobody else has
        except Exception as error:  # noqa: BLE001  importing a module may raise anything
            error.add_note(
                "A worker process could not load the step's function or its arguments: they have to be importable there."
            )
            return pack_error(error)
        os.environ.update(job.environment)
        try:
            with inside(job.known):
                value = job.func(*job.args, **job.kwargs)
            check_returned(value, job.known.name, "process")
            return self._pack_value(None if job.discard else value)
        except Terminated:
            raise
        except BaseException as error:  # noqa: BLE001  whatever a step raises is its failure
            if error.__traceback__ is not None:
                error.__traceback__ = error.__traceback__.tb_next  # without this frame
            return pack_error(error)

    def _pack_value(self, value: Any) -> bytes:
        try:
            text = encode(value).encode()
        except TypeError as error:
            return UNSTORABLE + str(error).encode("utf-8", "backslashreplace")
        if len(text) >= self._max_bytes:
            problem = f"result is {len(text)} bytes as JSON, and a worker process sends back less than {self._max_bytes}"
            return UNSTORABLE + problem.encode()
        return VALUE + text


def main(parent: int, descriptor: int, max_bytes: int) -> None:
    """
    Be a worker process.

    :param parent: process ID of the engine.
    :param descriptor: the connection to it.
    :param max_bytes: a longer answer is not sent.
    """
    _die_with_parent()
    if os.getppid() != parent:
        return  # it died before we could ask to be told
    try:
        Worker(descriptor, max_bytes).work()
    except Terminated:
        _flush()
        _die_of(signal.SIGTERM)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the engine is gone, and with it whoever wanted the answer


def _take_signals() -> None:
    # Ctrl-C is for the engine to decide about.  Not SIG_IGN: programs that steps start would inherit that.
    _ = signal.signal(signal.SIGINT, lambda *_: None)
    _ = signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def _die_of(number: signal.Signals) -> None:
    _ = signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _die_with_parent() -> None:
    # The guard (see _child.py) does this everywhere; here the kernel does it, should the guard be gone.  It means the thread that
    # started us, which is the reactor's.
    if sys.platform == "linux":
        import ctypes

        _ = ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _flush() -> None:
    # Prints of a step are to be there when it has ended, also when the process is killed later.
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass  # there is none, or the step has closed it
