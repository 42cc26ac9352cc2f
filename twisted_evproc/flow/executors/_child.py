"""A worker process, as seen from its engine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.abstract import FileDescriptor

from ._frames import FrameTooLong, Received, framed
from ._message import READY

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

#: The modules that the engine can import, the worker can.
PROGRAM = """\
import json, sys
told = json.loads(sys.argv[1])
sys.path[:] = told["path"]
from twisted_evproc.flow.executors._worker import main
main(told["parent"], told["descriptor"], told["max_bytes"])
"""

#: Ends the worker's process group, itself included, when its standard input closes: when the engine has ended, however it did.
#: The worker could not do that as surely: it may be in C code that keeps Python from running.
GUARD = "trap '' HUP INT TERM; read -r _; kill -KILL 0"

#: How long a worker may take for its end once it was told.
END_SECONDS = 2.0


class Employer(Protocol):
    """Who hears of a child.  Called on the reactor's thread."""

    def ready(self, child: Child) -> None:
        """It can take its first job."""

    def answered(self, child: Child, payload: bytes) -> None:
        """Its job has ended."""

    def exited(self, child: Child, how: str) -> None:
        """It has ended, is reaped, and has left nothing behind."""


class Child(FileDescriptor):
    """
    A worker process and its guard, in a process group of their own, so that Ctrl-C in a terminal goes to the engine only.

    ``subprocess`` starts them, by ``vfork`` and ``exec``, and a thread waits for the end.  Twisted's own processes need its
    handler of SIGCHLD, which is not there where the reactor runs in a thread, and may run Python between fork and exec.
    """

    def __init__(self, reactor: Any, employer: Employer, max_bytes: int) -> None:
        """
        Start it.

        :param reactor: an ``IReactorFDSet`` that also tells time and can be called from threads.
        :param max_bytes: a worker that sends more at once is killed.
        :raises OSError: when the system gives no more processes or descriptors.
        """
        super().__init__(reactor)
        self._reactor = reactor
        self._employer = employer
        self._received = Received(max_bytes)
        self._how: str | None = None
        self._listening = True
        self._timer: IDelayedCall | None = None
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        try:
            with theirs:
                self._process = _start_worker(theirs.fileno(), max_bytes)
            self.pid = self._process.pid
            self._watch_over()
        except OSError:
            self._socket.close()
            raise
        self.connected = 1
        reactor.addReader(self)
        # Not among the worker's own arguments: the system limits how long each of these may be.
        _ = self.send(json.dumps(sys.argv).encode())

    def _watch_over(self) -> None:
        guard = None
        try:
            self._guard = guard = _start_guard(self.pid)
            # Last of all: the worker may have ended already.
            threading.Thread(target=self._wait, name=f"evproc worker {self.pid}", daemon=True).start()
        except (OSError, RuntimeError) as error:
            _signal_group(self.pid, signal.SIGKILL)
            _ = self._process.wait()
            if guard is not None:
                _ = guard.communicate()
            raise OSError(str(error)) from error

    def logPrefix(self) -> str:  # noqa: N802  a method of Twisted's
        """See ``ILoggingContext.logPrefix``."""
        return f"worker process {self.pid}"

    # -- what it is told

    def send(self, payload: bytes) -> bool:
        """Give it a job; or, as the answer says, it is gone already."""
        data = framed(payload)
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return False
        if sent < len(data):
            self.write(data[sent:])
        return True

    def end(self) -> None:
        """Let it end of its own accord, soon; it does nothing now."""
        self._disconnect()
        self._kill_in(END_SECONDS, None)

    def terminate(self, grace: float) -> None:
        """Let it clean up for that many seconds, and end it."""
        self._stop_listening()
        _signal_group(self.pid, signal.SIGTERM)
        self._kill_in(grace, None)

    def kill(self, how: str | None = None) -> None:
        """
        End it.

        :param how: what to tell of its end; ``None`` for what the system tells.
        """
        self._how = self._how or how
        self._stop_listening()
        _signal_group(self.pid, signal.SIGKILL)

    # -- what comes from it

    def fileno(self) -> int:
        """See ``IFileDescriptor.fileno``."""
        return self._socket.fileno()

    def doRead(self) -> None:  # noqa: N802  a method of Twisted's
        """See ``IReadDescriptor.doRead``."""
        _ = self._read()

    def writeSomeData(self, data: bytes) -> int:  # noqa: N802  a method of Twisted's
        """See ``FileDescriptor.writeSomeData``."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)  # it is gone, and the thread will say how

    def _read(self) -> bool:
        # Whether there may be more.
        try:
            data = self._socket.recv(1 << 18)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._stop_listening()
            # The usual reason is that it has ended, and the thread is about to say how.
            self._kill_in(END_SECONDS, "it closed its connection to the engine")
            return False
        try:
            for payload in self._received.feed(data):
                if payload == READY:
                    self._employer.ready(self)
                else:
                    self._employer.answered(self, payload)
        except FrameTooLong as error:
            self.kill(f"it sent {error.length} bytes at once")
            return False
        return True

    def _wait(self) -> None:
        # In a thread of its own.
        code = self._process.wait()
        # Also what the step has started in the group.  The guard is in it and not reaped yet, so the number is still the group's.
        _signal_group(self.pid, signal.SIGKILL)
        self._reactor.callFromThread(self._exited, code)

    def _exited(self, code: int) -> None:
        # What it sent before its end counts.
        while self._listening and self._read():
            pass
        self._disconnect()
        self._cancel_timer()
        _ = self._guard.wait()  # killed already
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._employer.exited(self, self._how or describe_exit(code))

    def _stop_listening(self) -> None:
        self._listening = False
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)

    def _disconnect(self) -> None:
        self._stop_listening()
        self.connected = 0
        self._socket.close()

    def _kill_in(self, seconds: float, how: str | None) -> None:
        self._cancel_timer()
        self._timer = self._reactor.callLater(seconds, self.kill, how)

    def _cancel_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


def describe_exit(code: int) -> str:
    """How a process ended, by what ``Popen.returncode`` says."""
    if code >= 0:
        return f"exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"  # one of those for real time
    hint = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
    return f"killed by {name}{hint}"


def _start_worker(descriptor: int, max_bytes: int) -> subprocess.Popen[bytes]:
    if not sys.executable:
        raise OSError("this Python does not know its own program (sys.executable is empty)")
    told = {
        "path": list(map(str, sys.path)),
        "parent": os.getpid(),
        "descriptor": descriptor,
        "max_bytes": max_bytes,
    }
    # -O, -W, -X and their like: an assert of a step is to mean there what it means here.  multiprocessing uses it too.
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # not public
    return subprocess.Popen(
        [sys.executable, *flags, "-c", PROGRAM, json.dumps(told)],
        stdin=subprocess.DEVNULL,
        pass_fds=[descriptor],
        process_group=0,
    )


def _start_guard(group: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["/bin/sh", "-c", GUARD, f"guard of worker {group}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=group,
        cwd="/",
        env={},
        bufsize=0,
    )


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass  # all of it has ended; macOS says the second
