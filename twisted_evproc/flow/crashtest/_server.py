"""
A process that forks one child for each life of a flow, so that imports cost once.

It forks before there is a reactor and while it has one thread; an application whose import changes that is imported by each
child anew.  All that a child leaves behind becomes this process's own, so that it knows when a life is over to the last process.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from ..._reactor import default_clock
from ...errors import ApplicationError
from .._status import RunMode
from ._life import Builder, Life, live
from ._watched import Point, Side

#: For what a life leaves behind: workers end with their engine, in no time.
LEFTOVER_SECONDS = 5.0

_PR_SET_CHILD_SUBREAPER = 36


def main(told: dict[str, Any]) -> None:
    """
    Serve until the other end closes.

    :param told: ``descriptor`` of the connection, ``loader`` (``module:function``, which takes ``application`` and gives a
        :data:`Builder`), and whether the import is left to the children (``late``).
    """
    _adopt_orphans()
    # What the store needs is imported when it is first opened: here that is too late.
    import_module("twisted_evproc.flow.store._store")
    import_module("twisted_evproc.flow.store._sqlite")
    connection = socket.socket(fileno=told["descriptor"])
    load = _loader(told["loader"], told["application"])
    build = None
    if not told["late"]:
        try:
            build = load()
            _check_idle(told["application"])
        except ApplicationError as error:
            problem = str(error).removeprefix(f"{error.place}: ")
            connection.sendall(json.dumps({"place": error.place, "problem": problem}).encode() + b"\n")
            return
        if "twisted.internet.reactor" in sys.modules or threading.active_count() > 1:
            _begin_again(told)
    connection.sendall(b"{}\n")
    with connection.makefile("rb") as orders:
        for line in orders:
            ending = _serve(json.loads(line), build, load, connection)
            connection.sendall(json.dumps(ending).encode() + b"\n")


def _loader(reference: str, application: str) -> Callable[[], Builder]:
    module, _, name = reference.partition(":")
    function = getattr(import_module(module), name)
    return lambda: function(application)


def _check_idle(application: str) -> None:
    if "twisted.internet.reactor" in sys.modules and getattr(default_clock(None), "running", False):
        raise ApplicationError(
            application,
            "it ran a flow, or the reactor, while it was loaded; put what is meant for running it as a script under "
            'if __name__ == "__main__":',
        )


def _begin_again(told: dict[str, Any]) -> NoReturn:
    os.set_inheritable(told["descriptor"], True)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-c", PROGRAM, json.dumps(told | {"late": True, "path": sys.path})])


#: What the process is started with.
PROGRAM = """\
import json, sys
told = json.loads(sys.argv[1])
sys.path[:], sys.argv[:] = told["path"], told["argv"]
from twisted_evproc.flow.crashtest._server import main
main(told)
"""


def _serve(
    order: dict[str, Any], build: Builder | None, load: Callable[[], Builder], connection: socket.socket
) -> dict[str, Any]:
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        connection.close()
        os.close(ours)
        _child(order, build, load, theirs)
    os.close(theirs)
    try:
        timed_out = not _watch(child, ours, order["kill_after"], time.monotonic() + order["timeout"], connection)
    finally:
        os.close(ours)
    _, status = os.waitpid(child, 0)
    return {"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, "timed_out": timed_out, "left_over": _left_over()}


def _child(order: dict[str, Any], build: Builder | None, load: Callable[[], Builder], lifeline: int) -> NoReturn:
    # Its parent's interpreter is not to be shut down twice.
    try:
        log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        point = None if order["point"] is None else Point(order["point"][0], Side[order["point"][1]])
        life = Life(order["store"], order["journal"], RunMode[order["mode"]], point)
        live(build or load(), life, lambda: os.write(lifeline, b"b"))
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001  nothing may go on in a copy of the server
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def _watch(child: int, lifeline: int, kill_after: float | None, deadline: float, connection: socket.socket) -> bool:
    """
    Wait for the end of a child, which closes the lifeline, and kill it when its time has come.

    :return: whether it ended in time.
    """
    kill_at = None
    while True:
        until = deadline if kill_at is None else min(deadline, kill_at)
        readable, _, _ = select.select([lifeline, connection.fileno()], [], [], max(0.0, until - time.monotonic()))
        if connection.fileno() in readable:
            # Nothing is sent to us meanwhile: whoever gave the order has gone.
            os.kill(child, signal.SIGKILL)
            os._exit(1)
        if lifeline in readable:
            if not os.read(lifeline, 1):
                return True
            if kill_after is not None:
                kill_at = time.monotonic() + kill_after
        elif time.monotonic() >= until:
            os.kill(child, signal.SIGKILL)
            if until == deadline:
                return False
            kill_at = None


def _adopt_orphans() -> None:
    # Linux alone has this; elsewhere what is left behind goes to process 1 and is not seen.
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _left_over() -> list[str]:
    """Wait until all that a child has started has ended, and end the rest, in words."""
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while True:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return []
        if not ended:
            if time.monotonic() > deadline:
                break
            time.sleep(0.001)
    children = [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    words = [Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip() for pid in children]
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return words


__all__ = ["PROGRAM", "main"]
