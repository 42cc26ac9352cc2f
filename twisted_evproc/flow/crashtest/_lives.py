"""Where lives are lived: the way to the server that forks them."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from types import TracebackType
from typing import Any

import attrs

from ...errors import ApplicationError
from ._life import Life
from ._server import PROGRAM


@attrs.frozen
class Ending:
    """
    How a life has ended.

    :ivar killed: whether by SIGKILL.
    :ivar signal: by which signal, or 0.
    :ivar timed_out: whether it took longer than allowed, and was killed for that.
    :ivar left_over: processes that outlived it, in words.
    """

    signal: int
    timed_out: bool
    left_over: tuple[str, ...]

    @property
    def killed(self) -> bool:
        """Whether it was killed, as it was meant to be."""
        return self.signal == signal.SIGKILL and not self.timed_out


class Lives:
    """
    A server for the lives of one application's flow; a context manager.  Blocks, and serves one thread.

    :ivar application: as given.
    """

    def __init__(self, application: str, loader: str) -> None:
        """
        :param application: what the flow is built from.
        :param loader: ``module:function``: takes the application, gives a :data:`~._life.Builder`.
        :raises twisted_evproc.errors.ApplicationError: when the application cannot be loaded.
        """
        self.application = application
        self._connection, theirs = socket.socketpair()
        told = {
            "descriptor": theirs.fileno(),
            "loader": loader,
            "application": application,
            "late": False,
            "path": sys.path,
            "argv": [application],
        }
        with theirs:
            # In a session of its own: Ctrl-C in a terminal goes to us alone, and we close the connection.
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, json.dumps(told)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._answers = self._connection.makefile("rb")
        try:
            said = self._answer()
            if "problem" in said:
                raise ApplicationError(said["place"], said["problem"])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Lives:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def live(self, life: Life, log: str, timeout: float, kill_after: float | None = None) -> Ending:
        """
        Have a life lived, to its end.

        :param log: path of the file that gets what the process prints.
        :param timeout: seconds that it may take.
        :param kill_after: seconds from the start of the flow to SIGKILL, or ``None``.
        """
        point = None if life.point is None else [life.point.number, life.point.side.name]
        order = {
            "store": life.store,
            "journal": life.journal,
            "mode": life.mode.name,
            "point": point,
            "log": log,
            "timeout": timeout,
            "kill_after": kill_after,
        }
        self._connection.sendall(json.dumps(order).encode() + b"\n")
        said = self._answer()
        return Ending(said["signal"], said["timed_out"], tuple(said["left_over"]))

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            raise ApplicationError(self.application, "the process that was to run it has ended; see what it has printed")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the server, and what it runs."""
        # Another thread may wait for an answer; and the server kills what it runs.
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._answers.close()
        self._connection.close()
        self._process.wait()


__all__ = ["Ending", "Lives"]
