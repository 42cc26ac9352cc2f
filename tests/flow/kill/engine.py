"""
A process with an engine, told what to do on its standard input: ``engine.py STORE MODE CALLS [VARIANT]``.

Its flow has the steps ``first``, ``gate`` and ``last``, each of which writes its name to the file CALLS.  ``gate`` waits for
``go``.  ``limit`` forbids files to grow, ``unlimit`` allows it again.  It says when it is at the gate, each state of its store,
and how it ended.  Variants: ``without-gate`` has no such step any more, ``unstorable`` returns from ``last`` what has no form in
JSON.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from twisted_evproc.errors import EvprocError
from twisted_evproc.flow import Eventor, RunMode, StepStatus
from twisted_evproc.flow.store import open_store

GO = threading.Event()
UNLIMITED = resource.getrlimit(resource.RLIMIT_FSIZE)


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def note(calls: str, name: str) -> None:
    with Path(calls).open("a", encoding="utf-8") as file:
        file.write(f"{name}\n")


def plain(calls: str, name: str) -> str:
    note(calls, name)
    return name


def gate(calls: str) -> str:
    note(calls, "gate")
    say("at the gate")
    GO.wait()
    # More than what has been written of the log can hold.
    return "x" * 1_000_000


def unstorable(calls: str) -> Any:
    note(calls, "last")
    return object()


def obey() -> None:
    for line in sys.stdin:
        word = line.strip()
        if word == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, UNLIMITED[1]))
        elif word == "unlimit":
            resource.setrlimit(resource.RLIMIT_FSIZE, UNLIMITED)
        elif word == "go":
            GO.set()
        say(f"done {word}")


def build(store: Any, mode: RunMode, calls: str, variant: str) -> Eventor:
    ev = Eventor("trouble", store=store, run_mode=mode, logging_level=100)
    start, at_gate, passed = ev.add_event("start"), ev.add_event("at gate"), ev.add_event("passed")
    ev.add_assoc(start, ev.add_step("first", plain, (calls, "first"), triggers={StepStatus.success: at_gate}))
    if variant != "without-gate":
        ev.add_assoc(at_gate, ev.add_step("gate", gate, (calls,), triggers={StepStatus.success: passed}))
    last = ev.add_step("last", unstorable, (calls,)) if variant == "unstorable" else ev.add_step("last", plain, (calls, "last"))
    ev.add_assoc(passed, last)
    ev.trigger_event(start, 1)
    return ev


async def run(reactor: Any, url: str, mode: str, calls: str, variant: str = "") -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    threading.Thread(target=obey, daemon=True).start()
    store = open_store(url, reactor=reactor)
    store.watch_state(lambda state: say(f"state {state}"))
    try:
        result = await build(store, RunMode[mode], calls, variant).run()
    except EvprocError as error:
        say(f"error {type(error).__name__}: {error}")
    else:
        why = [*result.stuck_for, *(f"{task.step}: {task.error}" for task in result.failures)]
        say(f"ended {result.status.name} {'; '.join(why)}".rstrip())


if __name__ == "__main__":
    react(lambda reactor, *told: Deferred.fromCoroutine(run(reactor, *told)), sys.argv[1:])
