"""The flows with a fault planted under them: the controls of the harness, each of which it has to catch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater

from twisted_evproc._reactor import default_clock
from twisted_evproc.flow import Eventor, RunMode, Snapshot, TaskStatus
from twisted_evproc.flow._engine import Engine
from twisted_evproc.flow.crashtest import _life
from twisted_evproc.flow.store import open_store

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.flow.kill.flows import chain


def acts_before_it_commits(run_mode: RunMode) -> Eventor:
    """An engine that calls a step's function, and commits that it is active afterwards."""
    commit = Engine._commit

    def commit_late(self: Engine) -> None:
        take = self.run.take_changes

        def take_and_act() -> Any:
            changes = take()
            for task in changes.started:
                self._submit(task)
            changes.started.clear()
            return changes

        self.run.take_changes = take_and_act  # type: ignore[method-assign]  # the fault
        try:
            commit(self)
        finally:
            self.run.take_changes = take  # type: ignore[method-assign]  # the fault

    Engine._commit = commit_late  # type: ignore[method-assign]  # the fault
    return chain(run_mode, executor="inline")


def acknowledges_before_it_commits(run_mode: RunMode) -> Eventor:
    """A store that says that a change is durable, and makes it so some time later."""

    def open_liar(url: str, **options: Any) -> Any:
        store: Any = open_store(url, **options)
        commit, late = store.commit, Deferred[None]()
        late.callback(None)

        def commit_late(*arguments: Any) -> Deferred[None]:
            late.addCallback(lambda _: deferLater(default_clock(None), 0.05))
            late.addCallback(lambda _: commit(*arguments))
            return succeed(None)

        close = store.close
        store.commit = commit_late
        store.close = lambda: late.addCallback(lambda _: close())
        return store

    vars(_life)["open_store"] = open_liar
    return chain(run_mode)


def _with_tasks(run_mode: RunMode, change: Any) -> Eventor:
    ev = chain(run_mode)
    take = ev._drive._take

    async def take_changed(store: Any) -> Any:
        row, snapshot, asked = await take(store)
        return row, change(snapshot), asked

    ev._drive._take = take_changed  # type: ignore[method-assign]  # the fault
    return ev


def runs_successes_again(run_mode: RunMode) -> Eventor:
    """A continue_ to which a task that has succeeded is one that is ready."""

    def forget(snapshot: Snapshot) -> Snapshot:
        ready = TaskStatus.ready.name
        return snapshot._replace(tasks=[row._replace(status=ready, ended=None, result=None) for row in snapshot.tasks])

    return _with_tasks(run_mode, forget)


def drops_what_is_in_doubt(run_mode: RunMode) -> Eventor:
    """A continue_ that takes a task in doubt for one that is done."""

    def believe(snapshot: Snapshot) -> Snapshot:
        return snapshot._replace(
            tasks=[row._replace(status="success", result="null") if row.status == "active" else row for row in snapshot.tasks]
        )

    return _with_tasks(run_mode, believe)


def leaves_a_process(run_mode: RunMode) -> Eventor:
    """A step that starts a process which outlives its engine."""
    ev = Eventor("leaves", run_mode=run_mode, logging_level=100)
    start = ev.add_event("start")
    ev.add_assoc(start, ev.add_step("daemon", _start_daemon))
    ev.trigger_event(start, 1)
    return ev


def _start_daemon() -> None:
    import subprocess

    subprocess.Popen(["sleep", "600"], start_new_session=True, stdin=subprocess.DEVNULL)
