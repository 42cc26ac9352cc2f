"""How a declared flow runs: its store is opened, a run is taken, an engine drives it, and all is let go of again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from random import random
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakMethod, finalize

from twisted.internet.defer import Deferred
from twisted.logger import Logger, STDLibLogObserver
from twisted.python.threadable import isInIOThread

from .._reactor import default_clock
from ..errors import ConfigurationError, EvprocError, FlowDefinitionError, FlowError, ResultNotStorable, UnknownRun
from ._attempt import Attempt
from ._description import asked_in, describe_program
from ._engine import Engine
from ._model import Step
from ._recovery_plan import RecoveryPlan, plan_recovery
from ._requests import Requests, from_outside
from ._result import FlowResult
from ._run import Change, Run
from ._status import RunMode, RunStatus
from .executors import Executors
from .store import encode, open_store, this_process

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from ..interfaces import IFlowStore
    from ._eventor import Eventor
    from ._rows import RunRow, Snapshot

_LOG = Logger(namespace="twisted_evproc.flow")
#: Of synchronous programs: at once, so that it stands in order with what their steps log, and under our own name.
_PYTHON_LOG = Logger(namespace="twisted_evproc.flow", observer=STDLibLogObserver("twisted_evproc.flow"))


class Drive:
    """
    All runs of one flow, one after the other.

    :ivar running: whether one is under way: until it has let go of the store.
    :ivar run: the newest, as it stands; ``None`` before the first.
    :ivar engine: drives it; ``None`` while there is none.
    :ivar requests: flow events that are to happen once the flow runs.
    :ivar random: gives a number from 0 to 1, for the jitter of back-offs.
    """

    def __init__(self, flow: Eventor, executors: Executors, clock: IReactorTime | None, *, verbose: bool) -> None:
        """
        :param flow: its ``run_mode`` and ``run_id`` say which run is next, and are brought up to date.
        :param clock: ``None`` for the global reactor.
        :param verbose: whether to log what goes well.
        """
        self.running = False
        self.run: Run | None = None
        self.engine: Engine | None = None
        self.requests = Requests()
        self.random: Callable[[], float] = random
        self._flow = flow
        self._executors = executors
        self._clock = clock
        self._verbose = verbose
        self._log = _LOG
        # Flow events that were triggered durably while there was no engine.
        self._promises: list[tuple[str, str | None, Deferred[None]]] = []
        # stop() or cancel(), called before there was an engine.
        self._last_word: Callable[[Engine], None] | None = None
        self._memory: IFlowStore | None = None
        self._watched: IFlowStore | None = None
        # Whether the store has let commits wait.
        self._waited = False

    # -- from outside

    def begin(self, max_loops: int, *, blocking: bool = False) -> Deferred[FlowResult]:
        """
        Run the flow; see :meth:`Eventor.run`.

        :param blocking: whether synchronous code waits for it.
        """
        if isinstance(max_loops, bool) or not isinstance(max_loops, int):
            raise ConfigurationError(f"max_loops={max_loops!r} has to be a whole number")
        if self.running:
            raise FlowDefinitionError(f"{self._flow!r} runs already; wait until it has ended")
        self.running = True
        self._log = _PYTHON_LOG if blocking else _LOG
        return Deferred.fromCoroutine(self._drive(max_loops))

    def trigger(self, event: str, sequence: str | None) -> None:
        """A flow event happens, now or once the flow runs; from any thread."""
        self._in_reactor(self._trigger, event, sequence)

    def _trigger(self, event: str, sequence: str | None) -> None:
        if self.engine is None:
            self.requests.add(event, sequence)
        else:
            self.engine.trigger(event, sequence)

    def trigger_durably(self, event: str, sequence: str | None) -> Deferred[None]:
        """A flow event happens, now or once the flow runs; see :meth:`Eventor.trigger_durably`."""
        if self.engine is not None:
            return self.engine.trigger_durably(event, sequence)
        promise: Deferred[None] = Deferred()
        self._promises.append((event, sequence, promise))
        return promise

    def watch_begun(self) -> None:
        """The program has one more ``not_by``, maybe while it runs; from any thread."""
        self._in_reactor(self._watch_begun)

    def _watch_begun(self) -> None:
        if self.engine is not None:
            self.engine.watch_begun()

    def stop(self) -> None:
        """Begin nothing new; from any thread."""
        self._in_reactor(self._tell_engine, Engine.stop)

    def cancel(self) -> None:
        """End what runs, and let nothing more happen in this run; from any thread."""
        self._in_reactor(self._tell_engine, Engine.cancel)

    def _tell_engine(self, word: Callable[[Engine], None]) -> None:
        if self.running:
            self._last_word = word
        if self.engine is not None:
            word(self.engine)

    def _in_reactor(self, function: Callable[..., None], *args: Any) -> None:
        # While the flow runs, all that changes it happens in the reactor's thread.
        call_from_thread = getattr(default_clock(self._clock), "callFromThread", None) if self.running else None
        if call_from_thread is None or isInIOThread():
            function(*args)
        else:
            call_from_thread(function, *args)

    def plan(self, snapshot: Snapshot, mode: RunMode) -> RecoveryPlan:
        """What a run in this mode would do with each task, if it took this one up; nothing is done."""
        flow = self._flow
        self._check_run(snapshot.run)
        now = default_clock(self._clock).seconds()
        repeated = self.requests.fulfilled(snapshot.run.run_id) if mode is RunMode.recover else []
        requests = (*((event, sequence) for event, sequence, _ in repeated), *self.requests)
        return plan_recovery(flow.program, snapshot, requests, mode=mode, recovery_run=flow.recovery_run, now=now)

    # -- one run

    async def _drive(self, max_loops: int) -> FlowResult:
        try:
            result = await self._drive_once(max_loops)
            # What came while the store was being closed.
            while (self._promises or self.requests) and self._last_word is None:
                result = await self._drive_once(max_loops)
        except BaseException as error:
            self._end(error)
            raise
        self._end(None)
        return result

    def _end(self, why: BaseException | None) -> None:
        self.running = False
        self._last_word = None
        if not isinstance(why, EvprocError):
            why = FlowError(f"{self._flow!r} has ended before it could take the flow event; run() it again")
        promises, self._promises = self._promises, []
        for _, _, promise in promises:
            promise.errback(why)

    async def _drive_once(self, max_loops: int) -> FlowResult:
        store = self._open_store()
        if store is not self._watched:
            self._watch(store)
        try:
            await store.open()
            row, snapshot, asked = await self._take(store)
            engine = self._make_engine(store, row, snapshot)
            try:
                await self._begin(engine, row, snapshot, asked)
                result = await engine.drive(max_loops)
            finally:
                self.engine = None
                engine.abandon()
                await self._executors.stop()
        finally:
            if store is not self._memory:
                await store.close()
        self.requests.end(row.run_id)
        # Once more means going on.
        self._flow.run_mode, self._flow.run_id = RunMode.continue_, row.run_id
        if self._verbose:
            self._log.info("Processing finished with: {status}", status=result.status.name)
        return result

    def _open_store(self) -> IFlowStore:
        url = self._flow.store
        if not isinstance(url, str | os.PathLike):
            return cast("IFlowStore", url)
        if self._memory is not None:
            return self._memory
        store = open_store(url, durability=self._flow.config["durability"], reactor=cast("Any", self._clock))
        if os.fspath(url) in (":memory:", "sqlite://"):
            # What is in it lives as long as it is open, and it is to be there when the flow runs again.
            self._memory = store
            finalize(self, cast("Any", default_clock(self._clock)).callFromThread, store.close).atexit = False
        return store

    def _watch(self, store: IFlowStore) -> None:
        # A store may outlive the flow, and one in memory is to go with it.
        listener = WeakMethod(self._store_state)

        def hear(state: str) -> None:
            tell = listener()
            if tell is not None:
                tell(state)

        store.watch_state(hear)
        self._watched = store

    def _store_state(self, state: str) -> None:
        if state not in ("open", "closed"):
            self._log.warn("{flow}: {state}; nothing is lost, and it goes on when that is over", flow=self._flow, state=state)
        elif self._waited:
            self._log.warn("{flow}: the store is {state} again", flow=self._flow, state=state)
        self._waited = state not in ("open", "closed")

    async def _take(self, store: IFlowStore) -> tuple[RunRow, Snapshot, int | None]:
        flow = self._flow
        owner = this_process()
        run_id = flow.run_id
        if flow.run_mode is not RunMode.restart and run_id is None:
            runs = await store.runs(flow.name)
            run_id = runs[-1].run_id if runs else None
        if flow.run_mode is RunMode.restart or run_id is None:
            snapshot = await store.begin(flow.name, run_id, owner)
            # It is there from now on, also if this engine dies.
            mode, flow.run_mode, flow.run_id = flow.run_mode, RunMode.continue_, snapshot.run.run_id
        else:
            snapshot = await self._take_or_begin(store, run_id, owner)
            self._check_run(snapshot.run)
            mode = flow.run_mode
        row = snapshot.run
        recovers = mode is RunMode.recover and row.epoch > 1
        chosen = flow.recovery_run if recovers or flow.recovery_run is not None else asked_in(row.program)
        row = row._replace(program=describe_program(flow.program, chosen))
        if recovers or row.status != RunStatus.cancelled.name:
            row = row._replace(status=RunStatus.running.name, ended=None)
        if not recovers:
            return row, snapshot, chosen
        asked = row.recovery if chosen is None else chosen
        if asked > row.recovery:
            raise FlowDefinitionError(f"recovery_run={asked}: run {row.run_id!r} has recoveries 0 to {row.recovery}")
        return row._replace(recovery=row.recovery + 1), snapshot, asked

    async def _take_or_begin(self, store: IFlowStore, run_id: str, owner: str) -> Snapshot:
        try:
            return await store.take(run_id, owner)
        except UnknownRun:
            if self._flow.run_mode is RunMode.recover and await store.runs():
                raise  # what is to be recovered has been there, and was called otherwise
            # There is nothing to go on with yet: its first engine died before the run was made, or there was none.
            return await store.begin(self._flow.name, run_id, owner)

    def _check_run(self, run: RunRow) -> None:
        if run.name != self._flow.name:
            raise FlowDefinitionError(
                f"run {run.run_id!r} is one of flow {run.name!r}, and this is flow {self._flow.name!r}; choose another run_id, "
                f"or give the flow that name"
            )

    def _make_engine(self, store: IFlowStore, row: RunRow, snapshot: Snapshot) -> Engine:
        limit = self._flow.config["max_concurrent"]
        run = Run(
            self._flow.program,
            row.recovery,
            max_concurrent=limit,
            foreign_holds=snapshot.foreign_holds,
        )
        run.watched = self._is_watched
        self.run = run
        return Engine(
            run,
            row,
            store,
            self._executors.of_step,
            self._ask,
            default_clock(self._clock),
            encode=_encode,
            random=self.random,
            alone=limit == 1,
            log=self._log,
            verbose=self._verbose,
            tell=partial(self._tell, row.run_id),
        )

    async def _begin(self, engine: Engine, row: RunRow, snapshot: Snapshot, asked: int | None) -> None:
        if self._verbose:
            self._log.info(
                "Eventor store: {store}, run {run}, recovery {recovery}",
                store=str(self._flow.store),
                run=row.run_id,
                recovery=row.recovery,
            )

        def trigger(event: str, sequence: str | None, origin: str) -> str:
            return engine.run.trigger(event, sequence, origin, engine.now())

        await engine.pace(engine.run.restore_slowly(snapshot, asked, engine.now()))
        recovers = snapshot.run.recovery < row.recovery
        if recovers:
            await engine.pace(_repeat(engine, self.requests.fulfilled(row.run_id)))
        self.requests.begin(snapshot, row.recovery)
        await engine.pace(self.requests.replay(trigger))
        if recovers:
            # The program's own triggers it has just repeated itself.
            await engine.pace(_repeat(engine, from_outside(self._flow.program, snapshot, asked)))
        while not self.requests.are_replayed:
            # They came while others had their turn.
            await engine.pace(self.requests.replay(trigger))
        engine.run.follow_schedules(engine.now())
        self.engine = engine
        promises, self._promises = self._promises, []
        for event, sequence, promise in promises:
            engine.promise(event, sequence, promise)
        if self._last_word is not None:
            self._last_word(engine)

    # -- what the engine asks for

    def _is_watched(self) -> bool:
        # Firing costs as much as running a step does.
        return self._flow.dispatcher.is_listened_to

    def _ask(self, attempt: Attempt) -> Deferred[Any]:
        return self._executors.local_for(attempt.func).submit(attempt)

    def _tell(self, run_id: str, change: Change) -> None:
        flow = self._flow
        with self._log.failuresHandled("{flow}: {change} could not be told", flow=flow, change=change):
            firing = flow.dispatcher.fire_event(
                change,
                flow=flow.name,
                run=run_id,
                kind=change.kind,
                name=change.name,
                sequence=change.sequence,
                status=change.status,
            )
            # Whether a handler fails is its dispatcher's affair: it logs.
            _ = firing.addErrback(lambda _: None)


def _repeat(engine: Engine, triggers: Iterable[tuple[str, str, str]]) -> Iterator[None]:
    for event, sequence, origin in triggers:
        _ = engine.run.trigger(event, sequence, origin, engine.now())
        yield


def _encode(step: Step, value: Any) -> str:
    if step.result == "discard":
        return "null"
    try:
        return encode(value)
    except Exception as error:  # a value of a class of its own can raise anything when it is looked at
        raise ResultNotStorable(step.name, str(error)) from error
