"""How a program declares a flow, and says when it is to run."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Mapping
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from .._bridge import call_in_reactor, setup
from .._options import checked_clock
from ..dispatch import EventDispatcher
from ..errors import FlowDefinitionError, StepFailed, StepNotRun
from ..interfaces import IFlowStore
from ._drive import Drive
from ._errors import summary
from ._model import (
    FLOW_DEFAULTS,
    Association,
    FlowEvent,
    Step,
    amounts,
    at_least_number,
    check_config,
    check_step_config,
    check_text,
    check_truth,
    delay_seconds,
    make_recovery,
    one_or_several,
)
from ._program import Program
from ._recovery_plan import RecoveryPlan
from ._result import FlowResult
from ._schedule import Schedule
from ._status import RunMode, StepStatus, TaskStatus
from .executors import Executors, check_function
from .store import check_url, decode, read_store

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from ._rows import Snapshot

#: What handlers of ``Eventor.dispatcher`` can match on.
CHANGE_KEYWORDS = ("flow", "kind", "name", "run", "sequence", "status")


class Eventor:
    """
    A flow: flow events, steps that run when they happen, and what follows from what.

    :ivar name: of the flow; a store finds its runs by it.
    :ivar run_mode: how the next run begins.
    :ivar run_id: the run it goes on with, or ``None`` for the newest.
    :ivar recovery_run: number of the recovery that a new one asks, or ``None`` for the newest.
    :ivar program: what it consists of.
    :ivar store: where its runs are kept: path or URL.
    :ivar dispatcher: an :class:`~twisted_evproc.dispatch.EventDispatcher` that fires every change of state once it is committed.
    """

    def __init__(  # noqa: PLR0917  the predecessor's
        self,
        name: str = "",
        store: Any = "",
        run_mode: RunMode = RunMode.restart,
        recovery_run: int | None = None,
        logging_level: int = logging.INFO,
        config: Mapping[str, Any] = {},
        *,
        run_id: str | None = None,
        executor: Any = None,
        clock: IReactorTime | None = None,
    ) -> None:
        """
        :param name: names the flow; empty for the name of the calling program.
        :param store: ``":memory:"``, the path of an SQLite file, or a PostgreSQL URL; empty for ``<calling program>.run.db``
            beside the program.
        :param run_mode: begin a new run, recover the newest, or continue it.
        :param recovery_run: number of the recovery whose tasks a new recovery asks; ``None`` for the newest.
        :param logging_level: from ``logging``: above ``INFO`` only failures are logged.
        :param config: see the reference of configuration.
        :param run_id: the run, in place of the newest; for a new run the ID it gets.
        :param executor: where steps run that do not say so: a name or an :class:`~twisted_evproc.interfaces.IStepExecutor`.
        :param clock: for time-outs, delays and time stamps; ``None`` for the global reactor.
        :raises twisted_evproc.errors.ConfigurationError: for what makes no sense.
        """
        program = _calling_program()
        if not isinstance(name, str):
            raise FlowDefinitionError(f"Eventor: name={name!r:.80} has to be text")
        self.name = check_text(name or (program.stem if program is not None else "flow"), "Eventor: name")
        self.config = check_config(config, FLOW_DEFAULTS, "Eventor")
        check_truth(self.config["stop_on_exception"], "Eventor")
        if self.config["durability"] not in ("full", "normal"):
            raise FlowDefinitionError(f"durability={self.config['durability']!r} has to be 'full' or 'normal'")
        if not isinstance(run_mode, RunMode):
            raise FlowDefinitionError(f"run_mode={run_mode!r} has to be one of {', '.join(map(str, RunMode))}")
        if recovery_run is not None:
            _ = at_least_number(recovery_run, "Eventor: recovery_run", 0)
        if not isinstance(logging_level, int):
            raise FlowDefinitionError(f"logging_level={logging_level!r} has to be a number, as logging.INFO is")
        _ = at_least_number(self.config["max_concurrent"], "Eventor: max_concurrent", None)
        if run_id is not None and (not isinstance(run_id, str) or not check_text(run_id, "run_id")):  # type: ignore[redundant-expr]  # users' input
            raise FlowDefinitionError(f"run_id={run_id!r:.80} has to be the ID of a run, as text")
        if store in (None, ""):
            if program is None:
                raise FlowDefinitionError("there is no calling program to name a store after: say store=':memory:' or a path")
            store = str(program.with_suffix(".run.db"))
        elif not isinstance(store, str | os.PathLike) and not IFlowStore.providedBy(store):
            raise FlowDefinitionError(f"store={store!r:.80} has to be ':memory:', a path, a URL, or an IFlowStore")
        if isinstance(store, str | os.PathLike):
            check_url(store)
        self.store = store
        self.dispatcher = EventDispatcher(CHANGE_KEYWORDS, name=f"flow {self.name}")
        _ = self.dispatcher.start()
        self.run_mode = run_mode
        self.recovery_run = recovery_run
        self.run_id = run_id
        self._executors = Executors(self.config["executor"] if executor is None else executor, self.config["task_construct"])
        self.program = Program()
        self._drive = Drive(self, self._executors, checked_clock(clock, "Eventor: clock"), verbose=logging_level <= logging.INFO)

    def __repr__(self) -> str:
        return f"<Eventor {self.name!r}>"

    # -- what it consists of

    def add_event(self, name: str, expr: Any = None) -> FlowEvent:
        """
        Add a flow event.

        :param name: any text, not empty.
        :param expr: when it follows from others: a flow event, a tuple (all of them), ``and_(...)``, ``or_(...)``,
            ``at_least(n, ...)``, ``not_by(event, seconds)``, nested as you like.
        :raises twisted_evproc.errors.FlowDefinitionError: for a name that is taken by a different one, or what is no expression.
        """
        _check_name(name, "a flow event")
        event = self.program.add_event(FlowEvent(name, expr))
        if expr is not None and self.program.gates[name].watches:
            self._drive.watch_begun()
        return event

    def add_step(  # noqa: PLR0917  the predecessor's
        self,
        name: str,
        func: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] = {},
        triggers: Mapping[StepStatus, Any] = {},
        acquires: Any = (),
        releases: Any = None,
        recovery: Mapping[Any, Any] = {},
        config: Mapping[str, Any] = {},
        host: str | None = None,
    ) -> Step:
        """
        Add a step.

        :param name: any text, not empty.
        :param func: called with ``args`` and ``kwargs``; what it returns has to have a form in JSON.
        :param triggers: what of a task triggers which flow events: :class:`StepStatus` to one flow event, or several.
        :param acquires: ``[(pool, amount), ...]``: what a task needs before it starts.
        :param releases: what it gives back at its end: ``None`` for what it acquired, ``[]`` for nothing, or a list as above.
        :param recovery: :class:`StepStatus` to :class:`StepReplay`: what a recovery does with a task, by the status it had.
        :param config: see the reference of configuration.
        :param host: where it is to run, for executors that know of hosts; ``None``, ``""`` or ``"localhost"`` for the others.
        :raises twisted_evproc.errors.FlowDefinitionError: for what makes no sense.
        """
        _check_name(name, "a step")
        what = f"step {name!r}"
        if not callable(func):
            raise FlowDefinitionError(f"{what}: func={func!r:.80} cannot be called")
        if not isinstance(triggers, Mapping):
            raise FlowDefinitionError(f"{what}: triggers has to be a mapping of StepStatus to flow events, not {triggers!r:.80}")
        fired: dict[StepStatus, tuple[str, ...]] = {}
        for status, events in triggers.items():
            if not isinstance(status, StepStatus):
                raise FlowDefinitionError(f"{what}: triggers has {status!r}; its keys are {', '.join(map(str, StepStatus))}")
            several = one_or_several(events, FlowEvent, f"{what}, triggers of {status}")
            fired[status] = tuple(map(self.program.check_event, several))
        if not isinstance(args, tuple | list):
            raise FlowDefinitionError(f"{what}: args={args!r:.80} has to be a tuple")
        if not isinstance(kwargs, Mapping):
            raise FlowDefinitionError(f"{what}: kwargs={kwargs!r:.80} has to be a mapping")
        if not all(isinstance(key, str) for key in kwargs):
            raise FlowDefinitionError(f"{what}: kwargs={kwargs!r:.80} has to have strings as its keys")
        chosen = check_step_config(config, what)
        stop_on_exception = chosen.pop("stop_on_exception")
        check_truth(stop_on_exception, what, optional=True)
        if chosen["executor"] is not None:
            self._executors.check(chosen["executor"])
            check_function(func, name, chosen["executor"])
        step = Step(
            name,
            func,
            tuple(args),
            dict(kwargs),
            fired,
            amounts(acquires, f"{what}, acquires", self.program.add_pool),
            None if releases is None else amounts(releases, f"{what}, releases", self.program.add_pool),
            make_recovery(recovery, what),
            self.config["stop_on_exception"] if stop_on_exception is None else stop_on_exception,
            host=host,
            **chosen,
        )
        self._executors.check_host(step)
        return self.program.add_step(step)

    def add_assoc(self, event: FlowEvent, *assocs: FlowEvent | Step, delay: float = 0) -> None:
        """
        Let steps and further flow events follow from a flow event.

        :param event: the flow event.
        :param assocs: what follows; also tuples and lists of these.
        :param delay: seconds from the flow event until it follows.
        :raises twisted_evproc.errors.FlowDefinitionError: for what is neither, belongs to another flow, or follows already with
            another delay; and without any.
        """
        name = self.program.check_event(event)
        if not assocs:
            raise FlowDefinitionError(
                f"add_assoc() says nothing that follows from flow event {name!r}; name steps or flow events"
            )
        wait = delay_seconds(delay, "delay")
        for assoc in assocs:
            if isinstance(assoc, tuple | list):
                if assoc:
                    self.add_assoc(event, *assoc, delay=delay)
            elif isinstance(assoc, FlowEvent):
                self.program.associate(name, Association(False, self.program.check_event(assoc), wait))
            else:
                self.program.associate(name, Association(True, self.program.check_step(assoc), wait))

    def add_schedule(self, event: FlowEvent, cron: str, time_zone: str | tzinfo | None = None) -> None:
        """
        Let a flow event happen by the calendar, each time for a sequence of its own: the time that was due, as
        ``2026-11-21T06:00:00Z``.

        Times that pass while the flow does not run are made up for by one, when it is continued.  A flow with a schedule does not
        end by itself.  Needs the extra ``cron``.

        :param event: the flow event.
        :param cron: a cron expression: five fields, as ``30 3 * * MON-FRI``, or six with seconds first.
        :param time_zone: its zone, by name (``Europe/Oslo``) or as an object; ``None`` for UTC.
        :raises twisted_evproc.errors.ConfigurationError: for what makes no sense.
        """
        self.program.add_schedule(Schedule(self.program.check_event(event), cron, time_zone))

    def trigger_event(self, event: FlowEvent, sequence: Any = None) -> None:
        """
        Let a flow event happen.  A second time for a sequence nothing follows.

        May be called before the flow runs, and while it does, from any thread, the functions of steps included.

        :param sequence: any text or number; 1 and ``"1"`` are the same.  ``None`` for the next free number of the run.
        :raises twisted_evproc.errors.FlowDefinitionError: for a flow event of another flow, or text that no store takes.
        """
        name = self.program.check_event(event)
        tag = None if sequence is None else check_text(str(sequence), "sequence")
        self._drive.trigger(name, tag)

    def trigger_durably(self, event: FlowEvent, sequence: Any = None) -> Deferred[None]:
        """
        As :meth:`trigger_event`, on the reactor's thread alone, and wait until it cannot be lost any more.

        A flow that does not run takes it when it is run; one that is about to end goes on, unless it was told to stop.  What is
        triggered so belongs to the run, not to the program: a recovery repeats it by itself.

        :return: fires once it is committed, also where nothing follows since it had happened before.  While the store cannot be
            written, it waits.  Fails when the run is cancelled, or ends before: then it may be committed or not, and can be
            triggered again.  Cancelling it ends the waiting, and takes nothing back.
        :raises twisted_evproc.errors.FlowDefinitionError: for a flow event of another flow, or text that no store takes.
        """
        name = self.program.check_event(event)
        tag = None if sequence is None else check_text(str(sequence), "sequence")
        return self._drive.trigger_durably(name, tag)

    # -- running

    @property
    def running(self) -> bool:
        """Whether it runs: from :meth:`run` until it has let go of its store."""
        return self._drive.running

    def run(self, max_loops: int = -1) -> Deferred[FlowResult]:
        """
        Run the flow, on the reactor.

        :param max_loops: rounds: each goes on until nothing can be done now, and each further one begins when the next delay is
            over.  Below 0 for as many as it takes.
        :return: fires with what it came to.  Fails when the store cannot be used, or another engine takes the run over.
            Cancelling it ends what runs, as if the process had died: the run can be continued.
        """
        return self._drive.begin(max_loops)

    def __call__(self, max_loops: int = -1) -> FlowResult:
        """
        Run the flow, from synchronous code, and wait for its end.

        See :meth:`run`.
        """
        setup()
        return call_in_reactor(partial(self._drive.begin, max_loops, blocking=True), call=f"{self!r}()")

    def recover(self, *, plan: bool = False) -> FlowResult | RecoveryPlan:
        """
        Recover the flow's newest run, from synchronous code, and wait for its end.

        :param plan: do nothing, and say what it would do.
        :raises twisted_evproc.errors.UnknownRun: for a plan, when the store has no run of this flow.
        :raises twisted_evproc.errors.StoreError: for a plan, when the store cannot be read from outside, as one in memory.
        :raises twisted_evproc.errors.FlowDefinitionError: for a plan, when the store is an object.
        """
        if not plan:
            self.run_mode = RunMode.recover
            return self()
        if not isinstance(self.store, str | os.PathLike):
            raise FlowDefinitionError(
                f"{self!r}: a plan reads a store of which it has the path or URL, and this one is an object; give "
                f"recovery_plan() the run as it stands"
            )
        with read_store(self.store) as reader:
            runs = [run.run_id for run in reader.runs(self.name)]
            snapshot = reader.load(self.run_id or (runs[-1] if runs else self.name))
        return self._drive.plan(snapshot, RunMode.recover)

    def recovery_plan(self, snapshot: Snapshot) -> RecoveryPlan:
        """
        What running the flow would do with each task of a run; nothing is done.

        :param snapshot: the run, as ``read_store(store).load(run_id)`` gives it.
        """
        return self._drive.plan(snapshot, self.run_mode)

    def stop(self) -> None:
        """Begin nothing new.  What runs may finish, and the run can be continued.  May be called from any thread."""
        self._drive.stop()

    def cancel(self) -> None:
        """End what runs, and let nothing more happen in this run.  May be called from any thread."""
        self._drive.cancel()

    # -- afterwards

    def result(self, step: Step | str, sequence: Any) -> Any:
        """
        The value of a step, as its function returned it (tuples come back as lists).

        :raises twisted_evproc.errors.StepNotRun: when it never ran to an end for that sequence.
        :raises twisted_evproc.errors.StepFailed: when it failed.
        """
        name, tag = str(step), str(sequence)
        run = self._drive.run
        task = None if run is None else run.tasks.get((name, tag))
        if task is None and name not in self.program.steps:
            raise StepNotRun(name, tag, "the flow has no such step")
        if task is None or not task.status.ended or task.status is TaskStatus.cancelled:
            raise StepNotRun(name, tag, "it never began" if task is None else f"it is {task.status.name}")
        if task.status is TaskStatus.failure:
            raise StepFailed(name, tag, summary(task.error) or "")
        return decode(task.result or "null")


def _check_name(name: Any, what: str) -> None:
    if not isinstance(name, str) or not name:
        raise FlowDefinitionError(f"{what} needs a name, not {name!r:.80}")
    _ = check_text(name, f"name of {what}")


def _calling_program() -> Path | None:
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("twisted_evproc."):
        frame = frame.f_back
    file = None if frame is None else frame.f_globals.get("__file__")
    return None if file is None else Path(file).resolve()
