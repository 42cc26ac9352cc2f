"""The way to build and to run a flow."""

from __future__ import annotations

import inspect
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from datetime import tzinfo
from functools import partial
from pathlib import Path
from random import random
from typing import TYPE_CHECKING, Any, cast
from weakref import finalize

from twisted.internet.defer import Deferred
from twisted.logger import Logger, STDLibLogObserver
from twisted.python.threadable import isInIOThread

from .._bridge import call_in_reactor, setup
from .._reactor import default_clock
from ..dispatch import EventDispatcher
from ..errors import (
    ConfigurationError,
    EvprocError,
    FlowDefinitionError,
    FlowError,
    ResultNotStorable,
    StepFailed,
    StepNotRun,
    UnknownRun,
)
from ..interfaces import IFlowStore
from ._attempt import Attempt
from ._description import describe_program
from ._engine import Engine
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
from ._recovery_plan import RecoveryPlan, plan_recovery
from ._result import FlowResult
from ._run import OUTSIDE, PROGRAM, SCHEDULE, Change, Run
from ._schedule import Schedule
from ._status import RunMode, RunStatus, StepStatus, TaskStatus
from .executors import Executors, check_function
from .store import decode, encode, open_store, read_store

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from ._rows import RunRow, Snapshot

_LOG = Logger(namespace="twisted_evproc.flow")
#: Of synchronous programs: at once, so that it stands in order with what their steps log, and under our own name.
_PYTHON_LOG = Logger(namespace="twisted_evproc.flow", observer=STDLibLogObserver("twisted_evproc.flow"))

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
        :raises twisted_evproc.errors.FlowDefinitionError: for what makes no sense.
        """
        program = _calling_program()
        self.name = check_text(str(name) or (program.stem if program is not None else "flow"), "Eventor: name")
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
        self.store = store
        self.dispatcher = EventDispatcher(CHANGE_KEYWORDS, name=f"flow {self.name}")
        _ = self.dispatcher.start()
        self.run_mode = run_mode
        self.recovery_run = recovery_run
        self.run_id = run_id
        self._log = _LOG
        self._verbose = logging_level <= logging.INFO
        self._clock = clock
        self._executors = Executors(executor or self.config["executor"], self.config["task_construct"])
        self.program = Program()
        # Flow events that are to happen once the flow runs.
        self._requests: list[tuple[str, str | None]] = []
        self._replayed = 0
        # Flow events that were triggered durably while there was no engine.
        self._promises: list[tuple[str, str | None, Deferred[None]]] = []
        # Those of earlier runs of this object, which a recovery repeats, and the run that they belong to.
        self._fulfilled: list[tuple[str, str]] = []
        self._fulfilled_in: str | None = None
        # Sequences of requests of earlier runs of this object.
        self._numbered: set[str] = set()
        self._watched: IFlowStore | None = None
        # Whether the store has let commits wait.
        self._waited = False
        self._is_running = False
        self._engine: Engine | None = None
        # stop() or cancel(), called before there was an engine.
        self._last_word: Callable[[Engine], None] | None = None
        self._memory: IFlowStore | None = None
        self._run: Run | None = None
        self._random: Callable[[], float] = random

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
        return self.program.add_event(FlowEvent(name, expr))

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
        :param host: where it is to run, for executors that know of hosts.
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
        return self.program.add_step(step)

    def add_assoc(self, event: FlowEvent, *assocs: FlowEvent | Step, delay: float = 0) -> None:
        """
        Let steps and further flow events follow from a flow event.

        :param event: the flow event.
        :param assocs: what follows; also tuples and lists of these.
        :param delay: seconds from the flow event until it follows.
        :raises twisted_evproc.errors.FlowDefinitionError: for what is neither, or belongs to another flow.
        """
        name = self.program.check_event(event)
        wait = delay_seconds(delay, "delay")
        for assoc in assocs:
            if isinstance(assoc, tuple | list):
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
        self._in_reactor(self._trigger, name, tag)

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
        if self._engine is not None:
            return self._engine.trigger_durably(name, tag)
        promise: Deferred[None] = Deferred()
        self._promises.append((name, tag, promise))
        return promise

    def _trigger(self, name: str, tag: str | None) -> None:
        if self._engine is None:
            self._requests.append((name, tag))
        else:
            self._engine.trigger(name, tag)

    def _in_reactor(self, function: Callable[..., None], *args: Any) -> None:
        # While the flow runs, all that changes it happens in the reactor's thread.
        call_from_thread = getattr(default_clock(self._clock), "callFromThread", None) if self._is_running else None
        if call_from_thread is None or isInIOThread():
            function(*args)
        else:
            call_from_thread(function, *args)

    # -- running

    @property
    def running(self) -> bool:
        """Whether it runs: from :meth:`run` until it has let go of its store."""
        return self._is_running

    def run(self, max_loops: int = -1) -> Deferred[FlowResult]:
        """
        Run the flow, on the reactor.

        :param max_loops: rounds: each goes on until nothing can be done now, and each further one begins when the next delay is
            over.  Below 0 for as many as it takes.
        :return: fires with what it came to.  Fails when the store cannot be used, or another engine takes the run over.
            Cancelling it ends what runs, as if the process had died: the run can be continued.
        """
        return self._begin_run(max_loops, _LOG)

    def _begin_run(self, max_loops: int, log: Logger) -> Deferred[FlowResult]:
        if isinstance(max_loops, bool) or not isinstance(max_loops, int):
            raise ConfigurationError(f"max_loops={max_loops!r} has to be a whole number")
        if self._is_running:
            raise FlowDefinitionError(f"{self!r} runs already; wait until it has ended")
        self._is_running = True
        self._log = log
        return Deferred.fromCoroutine(self._drive(max_loops))

    def __call__(self, max_loops: int = -1) -> FlowResult:
        """
        Run the flow, from synchronous code, and wait for its end.

        See :meth:`run`.
        """
        setup()
        return call_in_reactor(self._begin_run, max_loops, _PYTHON_LOG, call=f"{self!r}()")

    def recover(self, *, plan: bool = False) -> FlowResult | RecoveryPlan:
        """
        Recover the flow's newest run, from synchronous code, and wait for its end.

        :param plan: do nothing, and say what it would do.
        :raises twisted_evproc.errors.UnknownRun: for a plan, when the store has no run of this flow.
        """
        self.run_mode = RunMode.recover
        if not plan:
            return self()
        with read_store(self.store) as reader:
            runs = [run.run_id for run in reader.runs(self.name)]
            return self.recovery_plan(reader.load(self.run_id or (runs[-1] if runs else self.name)))

    def recovery_plan(self, snapshot: Snapshot) -> RecoveryPlan:
        """
        What running the flow would do with each task of a run; nothing is done.

        :param snapshot: the run, as ``read_store(store).load(run_id)`` gives it.
        """
        now = default_clock(self._clock).seconds()
        repeated = self._fulfilled_of(snapshot.run.run_id) if self.run_mode is RunMode.recover else []
        requests = (*repeated, *self._requests)
        return plan_recovery(self.program, snapshot, requests, mode=self.run_mode, recovery_run=self.recovery_run, now=now)

    def stop(self) -> None:
        """Begin nothing new.  What runs may finish, and the run can be continued.  May be called from any thread."""
        self._in_reactor(self._tell_engine, Engine.stop)

    def cancel(self) -> None:
        """End what runs, and let nothing more happen in this run.  May be called from any thread."""
        self._in_reactor(self._tell_engine, Engine.cancel)

    def _tell_engine(self, word: Callable[[Engine], None]) -> None:
        if self._is_running:
            self._last_word = word
        if self._engine is not None:
            word(self._engine)

    async def _drive(self, max_loops: int) -> FlowResult:
        try:
            result = await self._drive_once(max_loops)
            # What came while the store was being closed.
            while (self._promises or self._requests) and self._last_word is None:
                result = await self._drive_once(max_loops)
        except BaseException as error:
            self._end(error)
            raise
        self._end(None)
        return result

    def _end(self, why: BaseException | None) -> None:
        self._is_running = False
        self._last_word = None
        if not isinstance(why, EvprocError):
            why = FlowError(f"{self!r} has ended before it could take the flow event; run() it again")
        promises, self._promises = self._promises, []
        for _, _, promise in promises:
            promise.errback(why)

    async def _drive_once(self, max_loops: int) -> FlowResult:
        store = self._open_store()
        if store is not self._watched:
            store.watch_state(self._store_state)
            self._watched = store
        try:
            await store.open()
            row, snapshot, asked = await self._take(store)
            engine = self._make_engine(store, row, snapshot)
            try:
                replayed = await self._begin(engine, row, snapshot, asked)
                result = await engine.drive(max_loops)
            finally:
                self._engine = None
                engine.abandon()
                await self._executors.stop()
        finally:
            if store is not self._memory:
                await store.close()
        self._keep_fulfilled(row.run_id, replayed)
        # Once more means going on.
        self.run_mode, self.run_id = RunMode.continue_, row.run_id
        if self._verbose:
            self._log.info("Processing finished with: {status}", status=result.status.name)
        return result

    def _keep_fulfilled(self, run_id: str, replayed: int) -> None:
        self._fulfilled = self._fulfilled_of(run_id)
        self._fulfilled_in = run_id
        self._fulfilled += [(event, sequence) for event, sequence in self._requests[:replayed] if sequence is not None]
        self._numbered |= {sequence for _, sequence in self._fulfilled}
        del self._requests[:replayed]

    def _fulfilled_of(self, run_id: str) -> list[tuple[str, str]]:
        return self._fulfilled if run_id == self._fulfilled_in else []

    def _store_state(self, state: str) -> None:
        if state not in ("open", "closed"):
            self._log.warn("{flow}: {state}; nothing is lost, and it goes on when that is over", flow=self, state=state)
        elif self._waited:
            self._log.warn("{flow}: the store is {state} again", flow=self, state=state)
        self._waited = state not in ("open", "closed")

    def _open_store(self) -> IFlowStore:
        if not isinstance(self.store, str | os.PathLike):
            return cast("IFlowStore", self.store)
        if self._memory is not None:
            return self._memory
        store = open_store(self.store, durability=self.config["durability"], reactor=cast("Any", self._clock))
        if os.fspath(self.store) in (":memory:", "sqlite://"):
            # What is in it lives as long as it is open, and it is to be there when the flow runs again.
            self._memory = store
            finalize(self, store.close).atexit = False
        return store

    async def _take(self, store: IFlowStore) -> tuple[RunRow, Snapshot, int | None]:
        owner = f"{socket.gethostname()}:{os.getpid()}"
        run_id = self.run_id
        if self.run_mode is not RunMode.restart and run_id is None:
            runs = await store.runs(self.name)
            run_id = runs[-1].run_id if runs else None
        if self.run_mode is RunMode.restart or run_id is None:
            snapshot = await store.begin(self.name, run_id, owner)
            # It is there from now on, also if this engine dies.
            mode, self.run_mode, self.run_id = self.run_mode, RunMode.continue_, snapshot.run.run_id
        else:
            snapshot = await self._take_or_begin(store, run_id, owner)
            mode = self.run_mode
        row = snapshot.run._replace(program=describe_program(self.program))
        recovers = mode is RunMode.recover and row.epoch > 1
        if recovers or row.status != RunStatus.cancelled.name:
            row = row._replace(status=RunStatus.running.name, ended=None)
        if not recovers:
            return row, snapshot, self.recovery_run
        asked = row.recovery if self.recovery_run is None else self.recovery_run
        if asked > row.recovery:
            raise FlowDefinitionError(f"recovery_run={asked}: run {row.run_id!r} has recoveries 0 to {row.recovery}")
        return row._replace(recovery=row.recovery + 1), snapshot, asked

    async def _take_or_begin(self, store: IFlowStore, run_id: str, owner: str) -> Snapshot:
        try:
            return await store.take(run_id, owner)
        except UnknownRun:
            # There is nothing to go on with yet: its first engine died before the run was made, or there was none.
            return await store.begin(self.name, run_id, owner)

    def _make_engine(self, store: IFlowStore, row: RunRow, snapshot: Snapshot) -> Engine:
        limit = self.config["max_concurrent"]
        run = Run(
            self.program,
            row.recovery,
            max_concurrent=limit,
            foreign_holds=snapshot.foreign_holds,
        )
        run.watched = self._is_watched
        self._run = run
        return Engine(
            run,
            row,
            store,
            self._executors.of_step,
            self._ask,
            default_clock(self._clock),
            encode=_encode,
            random=self._random,
            alone=limit == 1,
            log=self._log,
            verbose=self._verbose,
            tell=partial(self._tell, row.run_id),
        )

    async def _begin(self, engine: Engine, row: RunRow, snapshot: Snapshot, asked: int | None) -> int:
        if self._verbose:
            self._log.info(
                "Eventor store: {store}, run {run}, recovery {recovery}",
                store=str(self.store),
                run=row.run_id,
                recovery=row.recovery,
            )
        await engine.pace(engine.run.restore_slowly(snapshot, asked, engine.now()))
        if snapshot.run.recovery < row.recovery:
            await engine.pace(self._repeat(engine, row.run_id))
        before = self._unnumbered_before(snapshot, row)
        self._replayed = 0
        await engine.pace(self._replay(engine, before))
        if snapshot.run.recovery < row.recovery:
            # The program's own triggers it has just repeated itself.
            await engine.pace(self._replay_outside(engine, snapshot, asked))
        while self._replayed < len(self._requests):
            # They came while others had their turn.
            await engine.pace(self._replay(engine, before))
        engine.run.follow_schedules(engine.now())
        self._engine = engine
        promises, self._promises = self._promises, []
        for event, sequence, promise in promises:
            engine.promise(event, sequence, promise)
        if self._last_word is not None:
            self._last_word(engine)
        return len(self._requests)

    def _replay(self, engine: Engine, before: Mapping[str, Iterator[str]]) -> Iterator[None]:
        # They are kept until the run has ended, with their sequences: for a second trial, should this one fail.
        while self._replayed < len(self._requests):
            event, sequence = self._requests[self._replayed]
            if sequence is None:
                sequence = next(before.get(event, iter(())), None)
            self._requests[self._replayed] = event, engine.run.trigger(event, sequence, PROGRAM, engine.now())
            self._replayed += 1
            yield

    def _repeat(self, engine: Engine, run_id: str) -> Iterator[None]:
        for event, sequence in self._fulfilled_of(run_id):
            _ = engine.run.trigger(event, sequence, PROGRAM, engine.now())
            yield

    def _unnumbered_before(self, snapshot: Snapshot, row: RunRow) -> dict[str, Iterator[str]]:
        # A program that is continued repeats what it triggered without a sequence: the first such trigger of a flow event is the
        # first one that is there, and so on.
        named = set(self._requests)
        found: dict[str, list[str]] = {}
        for trigger in sorted(snapshot.triggers, key=lambda trigger: trigger.at):
            here = trigger.recovery == row.recovery and trigger.origin == PROGRAM
            if here and (trigger.event, trigger.sequence) not in named and trigger.sequence not in self._numbered:
                found.setdefault(trigger.event, []).append(trigger.sequence)
        return {event: iter(sequences) for event, sequences in found.items()}

    def _replay_outside(self, engine: Engine, snapshot: Snapshot, asked: int | None) -> Iterator[None]:
        for trigger in snapshot.triggers:
            if trigger.recovery == asked and trigger.origin in (OUTSIDE, SCHEDULE) and trigger.event in self.program.events:
                _ = engine.run.trigger(trigger.event, trigger.sequence, trigger.origin, engine.now())
                yield

    def _is_watched(self) -> bool:
        # Firing costs as much as running a step does.
        return self.dispatcher.is_listened_to

    def _ask(self, attempt: Attempt) -> Deferred[Any]:
        return self._executors.local_for(attempt.func).submit(attempt)

    def _tell(self, run_id: str, change: Change) -> None:
        with self._log.failuresHandled("{flow}: {change} could not be told", flow=self, change=change):
            firing = self.dispatcher.fire_event(
                change,
                flow=self.name,
                run=run_id,
                kind=change.kind,
                name=change.name,
                sequence=change.sequence,
                status=change.status,
            )
            # Whether a handler fails is its dispatcher's affair: it logs.
            _ = firing.addErrback(lambda _: None)

    # -- afterwards

    def result(self, step: Step | str, sequence: Any) -> Any:
        """
        The value of a step, as its function returned it (tuples come back as lists).

        :raises twisted_evproc.errors.StepNotRun: when it never ran to an end for that sequence.
        :raises twisted_evproc.errors.StepFailed: when it failed.
        """
        name, tag = str(step), str(sequence)
        task = None if self._run is None else self._run.tasks.get((name, tag))
        if task is None or not task.status.ended or task.status is TaskStatus.cancelled:
            raise StepNotRun(name, tag, "it never began" if task is None else f"it is {task.status.name}")
        if task.status is TaskStatus.failure:
            raise StepFailed(name, tag, summary(task.error) or "")
        return decode(task.result or "null")


def _encode(step: Step, value: Any) -> str:
    if step.result == "discard":
        return "null"
    try:
        return encode(value)
    except Exception as error:  # a value of a class of its own can raise anything when it is looked at
        raise ResultNotStorable(step.name, str(error)) from error


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
