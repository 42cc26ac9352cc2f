"""Drives a run: commits what changes, runs what may run once that is committed, and waits for what is due."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from ..dispatch import peek
from ..errors import FlowDefinitionError, FlowError, ResultNotStorable, StepDied, StepTimeout
from ._attempt import Attempt
from ._errors import describe, summary
from ._model import NOT_DONE, Done, Step
from ._result import FlowResult, TaskResult
from ._rows import RunRow
from ._run import OUTSIDE, Change, Changes, Run
from ._status import RunStatus, StepReplay, TaskStatus
from ._task import Task
from ._time_limit import TimeLimit
from ._transitions import Input

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from ..interfaces import IFlowStore, IStepExecutor

#: The engine gives others their turn this often.
SLICE_SECONDS = 0.005
#: It looks at so many tasks at a time before it looks at the clock.
TASKS_AT_ONCE = 100
#: So many tasks begin with one commit at the most: what follows from a commit is done in slices, the commit itself is not.
STARTED_AT_ONCE = 1000
#: Back-offs grow no further.
MOST_DOUBLINGS = 16


class Engine:
    """
    Drives one recovery of one run.

    :ivar run: what follows from what.
    """

    def __init__(  # noqa: PLR0917  made in one place
        self,
        run: Run,
        row: RunRow,
        store: IFlowStore,
        executor_of: Callable[[Step], IStepExecutor | Deferred[IStepExecutor]],
        ask: Callable[[Attempt], Deferred[Any]],
        clock: IReactorTime,
        *,
        encode: Callable[[Step, Any], str],
        random: Callable[[], float],
        alone: bool,
        log: Logger,
        verbose: bool,
        tell: Callable[[Change], None],
    ) -> None:
        """
        :param row: the run as it was taken.
        :param executor_of: where the tasks of a step run; a Deferred while that is being started.
        :param ask: runs a probe.
        :param encode: a step's result as text; raises :class:`~twisted_evproc.errors.ResultNotStorable`.
        :param random: gives a number from 0 to 1, for the jitter of back-offs.
        :param alone: whether one task runs at a time.
        :param log: where to say what goes on.
        :param verbose: whether to log what goes well.
        :param tell: hears of changes that are committed.
        """
        self.run = run
        self._row = row
        self._store = store
        self._executor_of = executor_of
        self._ask = ask
        self._encode = encode
        self._clock = clock
        self._random = random
        self._alone = alone
        self._log = log
        self._verbose = verbose
        self._tell = tell
        self._committing = False
        self._turning = False
        self._ending = False
        # Something came from outside while the end was written down.
        self._disturbed = False
        # The store is to know that somebody works on the run.
        self._status_changed = True
        # What is committed, or need not be, and is to be acted on.
        self._ready: deque[tuple[Callable[[Any], None], Iterator[Any]]] = deque()
        self._running: dict[tuple[str, str], Deferred[Any]] = {}
        self._later: IDelayedCall | None = None
        self._due: IDelayedCall | None = None
        self._due_at = 0.0
        self._turned: Deferred[None] | None = None
        self._broken: Failure | None = None
        # Who waits for the next commit.
        self._promises: list[Deferred[None]] = []

    # -- a drive

    async def pace(self, work: Iterable[None]) -> None:
        """Do a piece of work, and let others have their turn in between."""
        slice_end = self._clock.seconds() + SLICE_SECONDS
        for _ in work:
            if self._clock.seconds() >= slice_end:
                self.run.prepare_changes()
                await deferLater(self._clock, 0)
                slice_end = self._clock.seconds() + SLICE_SECONDS
        if self._clock.seconds() >= slice_end - SLICE_SECONDS / 2:
            await deferLater(self._clock, 0)  # what comes next begins a slice of its own

    async def drive(self, max_loops: int) -> FlowResult:
        """
        Run until nothing is left to do.  Called once.

        :param max_loops: rounds; below 0 for as many as it takes.
        """
        loops = 0
        while True:
            loops = await self._rounds(loops, max_loops)
            result = await self._finish(loops)
            if not self._disturbed:
                return result
            self._disturbed = self._ending = False
            self._write_status(RunStatus.running)

    async def _rounds(self, loops: int, max_loops: int) -> int:
        while max_loops < 0 or loops < max_loops:
            self.turn()
            await self._until(lambda: self._is_idle)
            loops += 1
            due = self.run.next_due
            if self.run.halted or due is None or loops == max_loops:
                break
            await self._until(partial(self._has_moved, due))
        return loops

    def _has_moved(self, due: float) -> bool:
        # Whatever makes work ends the waiting: also a flow event from outside, or cancel().  What is due may make none.
        return not self._is_idle or self.run.halted or self.run.next_due != due

    async def _until(self, condition: Callable[[], bool]) -> None:
        while self._broken is None and not condition():
            self._turned = Deferred()
            await self._turned
        if self._broken is not None:
            self._broken.raiseException()

    @property
    def _is_idle(self) -> bool:
        return self._is_settled and not self._running and self.run.is_idle

    @property
    def _is_settled(self) -> bool:
        return not self._committing and not self._ready

    async def _finish(self, loops: int) -> FlowResult:
        self._ending = True
        status, stuck_for = self._verdict()
        self._write_status(status)
        self.turn()
        await self._until(lambda: self._is_settled and not self._status_changed)
        _cancel(self._due)
        tasks: list[TaskResult] = []
        await self.pace(self._list_tasks(tasks))
        return FlowResult(
            status,
            self._row.run_id,
            self.run.recovery,
            loops,
            tuple(tasks),
            tuple(task for task in tasks if task.status is TaskStatus.failure),
            len(self.run.pending_delays),
            stuck_for,
        )

    def _list_tasks(self, into: list[TaskResult]) -> Iterator[None]:
        for task in sorted(self.run.tasks.values(), key=lambda task: task.order):
            into.append(TaskResult(task.step, task.sequence, task.status, task.attempt, summary(task.error), task.handled))
            yield

    def _write_status(self, status: RunStatus) -> None:
        ended = None if status is RunStatus.running else self._clock.seconds()
        self._row = self._row._replace(status=status.name, ended=ended)
        self._status_changed = True

    def _verdict(self) -> tuple[RunStatus, tuple[str, ...]]:
        run = self.run
        if run.cancelled:
            return RunStatus.cancelled, ()
        if run.failed:
            return RunStatus.failure, ()
        if not (run.has_work or run.halted or run.next_due is not None):
            missing = {f"step {task.step!r}, which the program has no longer" for task in run.orphans}
            missing |= {
                f"{delay.target} behind flow event {delay.event!r}, which the program has no longer" for delay in run.lost_delays
            }
            missing |= {f"resource pool {pool!r}" for task in run.waiting for pool in run.program.steps[task.step].acquires}
            if missing:
                return RunStatus.stuck, tuple(sorted(missing))
        if run.pending_delays or run.has_work or run.waiting or run.orphans:
            return RunStatus.pending, ()
        return RunStatus.success, ()

    def now(self) -> float:
        """The time, in seconds since the epoch."""
        return self._clock.seconds()

    def trigger(self, event: str, sequence: str | None) -> None:
        """A flow event happens."""
        self._disturbed = self._ending
        _ = self.run.trigger(event, sequence, OUTSIDE, self._clock.seconds())
        self.turn()

    def trigger_durably(self, event: str, sequence: str | None) -> Deferred[None]:
        """A flow event happens; see :meth:`promise`."""
        promise: Deferred[None] = Deferred()
        self._disturbed = self._ending
        self.promise(event, sequence, promise)
        self.turn()
        return promise

    def promise(self, event: str, sequence: str | None, promise: Deferred[None]) -> None:
        """
        A flow event happens; called from outside, or before :meth:`drive`, which then commits it.

        :param promise: fires once it is committed, also where it had happened before; fails when it cannot be.
        """
        if self._broken is not None:
            promise.errback(self._broken)
            return
        if self.run.cancelled and (event, sequence) not in self.run.happened:
            promise.errback(FlowError(f"run {self._row.run_id!r} is cancelled and takes no flow events; begin another run"))
            return
        # Also where nothing follows: what made it happen may not be committed yet.
        self._promises.append(promise)
        _ = self.run.trigger(event, sequence, OUTSIDE, self._clock.seconds())

    def watch_begun(self) -> None:
        """See :meth:`Run.watch_begun`."""
        if self._broken is not None:
            return
        self._disturbed = self._ending
        self.run.watch_begun()
        if self._later is None:
            # Not at once: what is to follow from the expression is about to be declared.
            self._later = self._clock.callLater(0, self._go_on)

    def stop(self) -> None:
        """Begin nothing new.  What runs may finish; the rest is there when the run is continued."""
        self.run.halted = True
        self.turn()

    def abandon(self) -> None:
        """End what runs, without a trace in the store: as if the process had died."""
        self._turned = None  # drive() has ended, or is being ended
        self._break(Failure(CancelledError()), Failure(FlowError(f"run {self._row.run_id!r} was ended; run the flow again")))

    def cancel(self) -> None:
        """End what runs, and let nothing more happen."""
        self._disturbed = self._ending
        self.run.cancel(self._clock.seconds())
        # In the same commit as what becomes of the tasks.
        self._write_status(RunStatus.cancelled)
        for running in tuple(self._running.values()):
            running.cancel()
        self.turn()

    # -- turns: inputs have changed the run

    def turn(self) -> None:
        """See what may start now, commit what has changed, and act on what is committed, for as long as a slice lasts."""
        if self._turning or self._broken is not None:
            return
        self._turning = True
        try:
            more = self._advance(self._clock.seconds() + SLICE_SECONDS)
        except Exception:  # noqa: BLE001  nobody else would hear of it, and the run never end
            self._break(Failure())
            return
        finally:
            self._turning = False
        if more and self._later is None and self._broken is None:
            self._later = self._clock.callLater(0, self._go_on)
        self._watch_due()
        self._wake()

    def _go_on(self) -> None:
        self._later = None
        self.turn()

    def _advance(self, slice_end: float) -> bool:
        # Whether there is more to do at once.  A loop, since a store may commit before commit() returns.
        more = True
        while (more or self._ready) and self._broken is None:
            more = not self._ending and self._start()
            self._commit()
            if self._later is not None:
                return False  # the rest is for that turn: inputs that come close together would share no slice
            if self._ready:
                more = True
                if not self._act(slice_end):
                    return True
            if more and self._clock.seconds() >= slice_end:
                return True
        return False

    def _act(self, slice_end: float) -> bool:
        # Whether all that is ready is done.
        ready = self._ready
        while ready:
            act, subjects = ready[0]
            for subject in subjects:
                act(subject)
                if self._clock.seconds() >= slice_end:
                    return False
            if ready:  # nothing is after a failure
                ready.popleft()
        return True

    def _start(self) -> bool:
        now = self._clock.seconds()
        self.run.pass_time(now)
        room = STARTED_AT_ONCE - self.run.started
        return room > 0 and self.run.start_tasks(now, min(room, TASKS_AT_ONCE))

    def _commit(self) -> None:
        if self._committing:
            return  # what has changed in the meantime goes into the next one
        changes = self.run.take_changes()
        if not self._ending:
            self._await_turn(self._doubt, changes.doubtful)
        if self._status_changed:
            self._status_changed = False
            changes.batch.run = self._row
        promises, self._promises = self._promises, []
        if changes.batch:
            self._committing = True
            committed = self._store.commit(self._row.run_id, self._row.epoch, changes.batch)
            _ = committed.addCallbacks(partial(self._committed, changes, promises), partial(self._not_committed, promises))
        else:
            self._await_turn(_keep, promises)

    def _committed(self, changes: Changes, promises: list[Deferred[None]], _: None) -> None:
        if self._broken is not None:
            # Nothing is acted on any more, and yet these are kept.
            for promise in promises:
                _keep(promise)
            return
        self._committing = False
        self._await_turn(self._submit, changes.started)
        self._await_turn(self._tell, changes.told)
        self._await_turn(_keep, promises)
        self.turn()

    def _not_committed(self, promises: list[Deferred[None]], failure: Failure) -> None:
        self._promises[:0] = promises
        self._break(failure)

    def _await_turn(self, act: Callable[[Any], None], subjects: list[Any]) -> None:
        if subjects:
            self._ready.append((act, iter(subjects)))

    def _break(self, failure: Failure, of_promises: Failure | None = None) -> None:
        # The run belongs to another engine, or cannot be stored at all: end here, and what runs with it.
        self._committing = False
        self._broken = failure
        promises, self._promises = self._promises, []
        kept = [promise for act, subjects in self._ready if act is _keep for promise in subjects]
        self._ready.clear()
        _cancel(self._due)
        _cancel(self._later)
        for running in tuple(self._running.values()):
            running.cancel()
        self._wake()
        for promise in kept:
            _keep(promise)
        for promise in promises:
            promise.errback(of_promises or failure)

    def _wake(self) -> None:
        turned, self._turned = self._turned, None
        if turned is not None:
            turned.callback(None)

    def _watch_due(self) -> None:
        due = None if self._ending else self.run.next_due
        if self._due is not None and self._due.active():
            if due is not None and self._due_at == due:
                return
            self._due.cancel()
        self._due = None
        if due is not None and self._broken is None:
            self._due_at = due
            self._due = self._clock.callLater(max(0.0, due - self._clock.seconds()), self.turn)

    # -- tasks

    def _submit(self, task: Task) -> None:
        if task.key not in self.run.active:
            return  # cancelled in between
        step = self.run.program.steps[task.step]
        if self._verbose:
            self._log.info("[ Step {step}/{sequence} ] Trying to run", step=task.step, sequence=task.sequence)
        self._with_executor(self._submit_to, task, step)

    def _with_executor(self, act: Callable[[IStepExecutor | Failure, Task, Step], None], task: Task, step: Step) -> None:
        # What act gets is the executor, or why there is none.
        try:
            found = self._executor_of(step)
        except Exception:  # noqa: BLE001  whatever an executor raises when it is started
            act(Failure(), task, step)
            return
        if not isinstance(found, Deferred):
            act(found, task, step)
            return
        self._running[task.key] = found

        def started(result: IStepExecutor | Failure) -> None:
            del self._running[task.key]
            act(result, task, step)
            self.turn()

        _ = found.addBoth(started)

    def _submit_to(self, executor: IStepExecutor | Failure, task: Task, step: Step) -> None:
        try:
            if isinstance(executor, Failure):
                executor.raiseException()
            limit = self._limit(step)
            running = executor.submit(self._attempt(task, step, limit))
        except Exception:  # noqa: BLE001  an executor that cannot take it fails the step, not the run
            self._failed(Failure(), task, step)
        else:
            self._follow(running, limit, task, step)

    def _limit(self, step: Step) -> TimeLimit | None:
        return None if step.timeout is None else TimeLimit(self._clock, step.timeout)

    def _follow(self, running: Deferred[Any], limit: TimeLimit | None, task: Task, step: Step) -> None:
        found = peek(running)
        if not isinstance(found, Deferred):
            self._ended(found, task, step)
            return
        self._running[task.key] = running
        if limit is not None:
            limit.watch(running)

        def ended(result: Any) -> None:
            del self._running[task.key]
            if limit is not None:
                limit.end()
                if limit.is_over and isinstance(result, Failure) and result.check(CancelledError):
                    result = Failure(StepTimeout(step.name, limit.seconds))
            self._ended(result, task, step)
            self.turn()

        _ = running.addBoth(ended)
        if self._broken is not None or task.key not in self.run.active:
            running.cancel()  # its own function has cancelled the run

    def _ended(self, result: Any, task: Task, step: Step) -> None:
        if isinstance(result, Failure):
            self._failed(result, task, step)
        else:
            self._succeeded(result, task, step)

    def _attempt(self, task: Task, step: Step, limit: TimeLimit | None) -> Attempt:
        return Attempt(
            self._row.run_id,
            step.name,
            task.sequence,
            task.recovery,
            task.attempt,
            step.func,
            step.args,
            step.kwargs,
            self._alone,
            step.host,
            step.result == "discard",
            None if limit is None else limit.wait,
        )

    def _succeeded(self, value: Any, task: Task, step: Step) -> None:
        if task.key not in self.run.active:
            return  # cancelled in between
        try:
            text = self._encode(step, value)
        except Exception:  # noqa: BLE001  a value can raise anything when it is looked at
            self._failed(Failure(), task, step)
            return
        if self._verbose:
            self._log.info("[ Step {step}/{sequence} ] Completed, status: success", step=task.step, sequence=task.sequence)
        self.run.succeed(task, text, self._clock.seconds())

    def _failed(self, failure: Failure, task: Task, step: Step) -> None:
        if task.key not in self.run.active or self._broken is not None:
            return
        retry_in = None
        # An attempt that went with its engine is no failure of the step.
        if task.failures < step.retries and not isinstance(failure.value, ResultNotStorable | FlowDefinitionError):
            retry_in = step.backoff * 2 ** min(task.failures, MOST_DOUBLINGS) * (0.5 + self._random())
        self._log.failure(
            "[ Step {step}/{sequence} ] Attempt {attempt} failed{again}",
            failure,
            LogLevel.error if retry_in is None else LogLevel.warn,
            step=task.step,
            sequence=task.sequence,
            attempt=task.attempt,
            again="" if retry_in is None else f"; again in {retry_in:.1f} s",
        )
        self.run.fail(task, describe(failure), self._clock.seconds(), retry_in)

    # -- what was active when an engine died

    def _doubt(self, task: Task) -> None:
        if task.key not in self.run.doubtful:
            return  # cancelled in between
        step = self.run.program.steps[task.step]
        if task.status is TaskStatus.active:
            self._with_executor(self._adopt, task, step)
        else:
            self._not_adopted(task, step)

    def _adopt(self, executor: IStepExecutor | Failure, task: Task, step: Step) -> None:
        try:
            if isinstance(executor, Failure):
                executor.raiseException()
            limit = self._limit(step)
            adopted = executor.adopt(self._attempt(task, step, limit))
        except Exception:  # noqa: BLE001  an executor that cannot be asked fails the step, not the run
            self._resolve(task, step, Failure())
            return
        if adopted is None:
            self._not_adopted(task, step)
        else:
            self.run.resolve(task, Input.begin, self._clock.seconds())
            self._follow(adopted, limit, task, step)

    def _not_adopted(self, task: Task, step: Step) -> None:
        # It ended with the engine that had begun it.
        if step.probe is None:
            skips = step.recovery[TaskStatus.active] is StepReplay.skip
            self._resolve(task, step, Done() if skips else NOT_DONE)
            return
        try:
            self._probe(task, step, step.probe)
        except Exception:  # noqa: BLE001  as above
            self._resolve(task, step, Failure())

    def _probe(self, task: Task, step: Step, probe: Callable[[str], Any]) -> None:
        limit = self._limit(step)
        attempt = self._attempt(task, step, limit)
        key = task.key
        probing = self._ask(attrs.evolve(attempt, func=probe, args=(attempt.idempotency_key,), kwargs={}))
        self._running[key] = probing
        if limit is not None:
            limit.watch(probing)

        def answered(answer: Any) -> None:
            del self._running[key]
            if limit is not None:
                limit.end()
                if limit.is_over and isinstance(answer, Failure) and answer.check(CancelledError):
                    why = f"its probe did not answer within the step's time-out of {limit.seconds:g} s"
                    answer = Failure(StepDied(step.name, why))
            self._resolve(task, step, answer)
            self.turn()

        _ = probing.addBoth(answered)

    def _resolve(self, task: Task, step: Step, answer: Any) -> None:
        now = self._clock.seconds()
        if task.key not in self.run.doubtful or self._broken is not None:
            return
        if answer is NOT_DONE:
            self.run.resolve(task, Input.try_again, now)
            return
        try:
            if isinstance(answer, Failure):
                answer.raiseException()
            if not isinstance(answer, Done):
                raise StepDied(step.name, "its probe does not know whether it had done its work")
            text = self._encode(step, answer.value)
        except Exception:  # noqa: BLE001  whatever a probe raises
            failure = Failure()
            self._log.failure(
                "[ Step {step}/{sequence} ] Is in doubt", failure, LogLevel.error, step=task.step, sequence=task.sequence
            )
            self.run.resolve(task, Input.fail, now, why=describe(failure))
        else:
            self.run.resolve(task, Input.skip, now, value=text)


def _keep(promise: Deferred[None]) -> None:
    promise.callback(None)


def _cancel(timer: IDelayedCall | None) -> None:
    if timer is not None and timer.active():
        timer.cancel()
