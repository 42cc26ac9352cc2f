"""
What follows from what: a run as a machine without time, threads or SQL.

Inputs are method calls, with the time as a parameter; what they change is collected until :meth:`Run.take_changes`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from operator import attrgetter
from typing import NamedTuple

from ._admission import Admission
from ._delays import Delays, Key
from ._model import Step
from ._pools import Pools
from ._program import Program, watch_key
from ._rows import Batch, DelayRow, PoolRow, Snapshot, TaskRow, TriggerRow
from ._schedule import Schedule
from ._status import RunStatus, StepReplay, StepStatus, TaskStatus
from ._task import Task
from ._transitions import TRANSITIONS, Input

PROGRAM = "program"
#: The run has chosen the sequence.
UNNUMBERED = "program without sequence"
OUTSIDE = "outside"
SCHEDULE = "schedule"


class Change(NamedTuple):
    """
    A change of state, for those who look on.

    :ivar kind: ``event`` or ``task``.
    :ivar name: of the flow event or step.
    :ivar sequence: its sequence.
    :ivar status: of a task; ``happened`` for a flow event.
    """

    kind: str
    name: str
    sequence: str
    status: str


class Changes(NamedTuple):
    """
    What has changed in a run.

    :ivar batch: the rows to commit.
    :ivar started: the tasks to run once they are committed.
    :ivar doubtful: tasks that were active when their engine died: :meth:`Run.resolve` each.
    :ivar told: what to tell those who look on, once it is committed.
    """

    batch: Batch
    started: list[Task]
    doubtful: list[Task]
    told: list[Change]


class Run:
    """
    One recovery of one run of a flow.

    :ivar failed: whether a failure was left unhandled.
    :ivar halted: whether nothing new is to start.
    :ivar active: tasks that run, by step and sequence.
    :ivar tasks: all tasks of this recovery.
    :ivar asked: what earlier recoveries knew of tasks, by step and sequence.
    :ivar happened: ``(event, sequence)`` to when.
    :ivar doubtful: tasks of which nobody knows yet whether an earlier engine has finished them.
    :ivar watched: tells whether anybody wants to be told of changes.
    :ivar lost_delays: delays that are over, of what the program has no longer.
    :ivar orphans: tasks that have not ended, of steps that the program has no longer.
    """

    def __init__(self, program: Program, recovery: int, *, max_concurrent: int, foreign_holds: Mapping[str, int]) -> None:
        """
        :param max_concurrent: tasks that may run at the same time; below 1 for any number.
        :param foreign_holds: pool name to what other runs hold of it.
        """
        self.program = program
        self.recovery = recovery
        self.failed = False
        self.halted = False
        self.cancelled = False
        self.tasks: dict[tuple[str, str], Task] = {}
        self.happened: dict[tuple[str, str], float] = {}
        self.watched: Callable[[], bool] = bool
        self.orphans: list[Task] = []
        self.lost_delays: list[DelayRow] = []
        self.pools = Pools({pool.name: pool.limit for pool in program.pools.values()}, foreign_holds)
        self._admission = Admission(program.steps, self.pools, max_concurrent)
        self.active = self._admission.active
        self._delays = Delays()
        self._order = 0
        self._next_sequence = 1
        self._begun: dict[str, float] = {}
        self._left: dict[tuple[str, str], list[int]] = {}
        # When delays began in earlier recoveries: what is replayed is not waited for anew.
        self._waits_since: dict[Key, float] = {}
        self.asked: dict[tuple[str, str], TaskRow] = {}
        self.doubtful: dict[tuple[str, str], Task] = {}
        self._new_doubts: list[Task] = []
        self._work: deque[tuple[str, str, str, float]] = deque()
        self._triggers: dict[tuple[str, str], TriggerRow] = {}
        self._dirty: dict[tuple[str, str], Task] = {}
        self._rows: dict[tuple[str, str], TaskRow] = {}
        self._started: list[Task] = []
        self._changes: list[Change] = []
        self._first_batch = True
        # start_tasks() has something to look at, as far as is known without looking.
        self._more = False

    # -- taking up what is there

    def restore(self, snapshot: Snapshot, asked: int | None, now: float) -> None:
        """Take up a run that was begun before, in one go; see :meth:`restore_slowly`."""
        for _ in self.restore_slowly(snapshot, asked, now):
            pass

    def restore_slowly(self, snapshot: Snapshot, asked: int | None, now: float) -> Iterator[None]:
        """
        Take up a run that was begun before.

        :param asked: the newest of the earlier recoveries that tasks ask; ``None`` for the one before this.
        :return: take all of it: each item is a place to let others have their turn, before anything else is done with the run.
        """
        newest = self.recovery - 1 if asked is None else asked
        for row in sorted(snapshot.tasks, key=attrgetter("recovery")):
            key = row.step, row.sequence
            # A task that was made and never begun knows less than the one before it.
            if row.recovery <= newest and (row.attempt or TaskStatus[row.status].ended or key not in self.asked):
                self.asked[key] = row
            yield
        yield from self._ask_delays(snapshot, newest)
        self.pools.restore(snapshot.holds)
        if snapshot.run.recovery < self.recovery:
            # What the tasks of earlier recoveries still held is free.
            for hold in snapshot.holds:
                self.pools.give_back_all((hold.step, hold.sequence))
            return
        if snapshot.run.status == RunStatus.cancelled.name:
            self.cancelled = self.halted = True
        yield from self._restore_rows(snapshot)
        for delay in snapshot.delays:
            if delay.recovery == self.recovery and delay.done:
                self._stayed_away(delay, now)
        if self.cancelled:
            self._work.clear()
            self._delays.stop()
            return
        # What the program has learnt since acts now, once: all that was done before is there, and is not done again.
        for (event, sequence), at in tuple(self.happened.items()):
            self._follow(event, sequence, at, now)
            yield
        for task in tuple(self.tasks.values()):
            self._fire_again(task, now)
            yield
        self._spread(now)

    def _ask_delays(self, snapshot: Snapshot, newest: int) -> Iterator[None]:
        if newest < 0 or not snapshot.delays:
            return
        happened: dict[tuple[int, str, str], float] = {}
        for trigger in snapshot.triggers:
            happened[trigger.recovery, trigger.event, trigger.sequence] = trigger.at
            yield
        # Watches whose event came in time.  It is replayed only now, and is to be in time again.
        in_time: set[Key] = set()
        for row in sorted(snapshot.delays, key=attrgetter("recovery")):
            if row.recovery <= newest:
                key = row.event, row.target, row.sequence
                at = happened.get((row.recovery, row.event, row.sequence))
                if at is not None and row.target.startswith("not_by "):
                    (in_time.add if at < row.due else in_time.discard)(key)
                self._waits_since[key] = row.activated
            yield
        for key in in_time:
            del self._waits_since[key]
            yield

    def _restore_rows(self, snapshot: Snapshot) -> Iterator[None]:
        for row in snapshot.tasks:
            if row.recovery == self.recovery:
                self._restore_task(Task.from_row(row))
                yield
            self._order = max(self._order, row.order + 1)
        for delay in snapshot.delays:
            if delay.recovery == self.recovery:
                self._restore_delay(delay)
                yield
        triggers = [row for row in snapshot.triggers if row.recovery == self.recovery]
        yield
        triggers.sort(key=attrgetter("at"))
        yield
        for trigger in triggers:
            self._note(trigger.event, trigger.sequence, trigger.at)
            yield

    def _restore_task(self, task: Task) -> None:
        self.tasks[task.key] = task
        step = self.program.steps.get(task.step)
        if step is None and not task.status.ended:
            self.orphans.append(task)
        elif task.status is TaskStatus.active:
            self.doubtful[task.key] = task
            self._new_doubts.append(task)
        elif task.status is TaskStatus.failure and not task.handled:
            self._unhandled(step)
        elif not task.status.ended:
            assert step is not None
            if task.status is TaskStatus.fueled:
                task.status = TRANSITIONS[task.status, Input.try_again].status
            if not (task.status is TaskStatus.ready and not task.attempt and self._is_doubted(task, step)):
                self._queue(task)

    def _restore_delay(self, delay: DelayRow) -> None:
        key = delay.event, delay.target, delay.sequence
        self._delays.restore(key, delay, partial(self._delay_over, key))

    def _fire_again(self, task: Task, now: float) -> None:
        fired: list[StepStatus] = [StepStatus.ready]
        if task.attempt:
            fired.append(StepStatus.active)
        if task.status is TaskStatus.success:
            fired += [StepStatus.success, StepStatus.complete]
        elif task.status is TaskStatus.failure:
            fired += [StepStatus.failure, StepStatus.complete]
        self._fire(task, fired, now)

    def resolve(self, task: Task, found: Input, now: float, value: str | None = None, why: str | None = None) -> None:
        """
        Say what became of a task that was active when its engine died.

        :param found: ``skip`` (it has done its work), ``try_again`` (it has not), ``begin`` (it still runs) or ``fail``.
        :param value: its result as JSON, for ``skip``.
        :param why: its error as JSON, for ``fail``.
        """
        del self.doubtful[task.key]
        self._more = True
        if found is Input.begin:
            self._admission.enter(task)
            return
        step = self.program.steps[task.step]
        if found is Input.try_again:
            if task.status is TaskStatus.active:
                self.pools.give_back_all(task.key)
                self._apply(task, found, now)
            self._queue(task)
        elif found is Input.skip:
            self._end(task, step, Input.skip, now, result=value)
        else:
            self._end(task, step, Input.fail, now, error=why)
        self._spread(now)

    # -- inputs

    def trigger(self, event: str, sequence: str | None, origin: str, now: float) -> str:
        """
        A flow event happens; a second time for a sequence, nothing follows.

        :param sequence: ``None`` for the next free number.
        :return: the sequence.
        """
        if sequence is None:
            while (text := str(self._next_sequence)) in self._begun:
                self._next_sequence += 1
            sequence = text
        if not self.cancelled:
            self._work.append((event, sequence, origin, now))
            self._spread(now)
        return sequence

    def succeed(self, task: Task, result: str, now: float) -> None:
        """A task's function has returned."""
        self._admission.leave(task)
        self._more = True
        self._end(task, self.program.steps[task.step], Input.succeed, now, result=result)
        self._spread(now)

    def fail(self, task: Task, error: str, now: float, retry_in: float | None = None) -> None:
        """
        A task's function has failed.

        :param retry_in: seconds until the next attempt, or ``None`` when there is none.
        """
        step = self.program.steps[task.step]
        self._admission.leave(task)
        self._more = True
        task.failures += 1
        if retry_in is not None:
            self.pools.give_back_all(task.key)
            task.due = now + retry_in
            task.error = error
            self._apply(task, Input.try_again, now)
            self._queue(task)
        else:
            self._end(task, step, Input.fail, now, error=error)
        self._spread(now)

    def cancel(self, now: float) -> None:
        """
        Nothing more is to happen.

        What runs is cancelled as far as the run is concerned, and to be ended.
        """
        self.cancelled = self.halted = True
        for task in tuple(self.tasks.values()):
            if not task.status.ended:
                task.due = None
                task.ended = now
                self._apply(task, Input.cancel, now)
        self.pools.give_back_everything()
        self._admission.clear()
        self.doubtful.clear()
        self._new_doubts.clear()
        self._delays.stop()

    def watch_begun(self) -> None:
        """
        An expression was added that says what is not to happen: watch over that in the sequences that have begun, too.

        What is over by now follows with the next :meth:`pass_time`.
        """
        if self.cancelled:
            return
        for sequence, at in self._begun.items():
            self._watch(sequence, at)
        for (event, sequence), at in self.happened.items():
            for watch in self.program.watching.get(event, ()):
                if at < self._delays[event, watch, sequence].due:
                    self._delays.end((event, watch, sequence))

    def pass_time(self, now: float) -> None:
        """What is due happens."""
        self._delays.pass_time(now)
        self._spread(now)

    @property
    def next_due(self) -> float | None:
        """When the next thing is due, or ``None``."""
        return self._delays.next_due

    @property
    def pending_delays(self) -> list[DelayRow]:
        """Associations that wait."""
        return self._delays.pending

    # -- starting tasks

    def start_tasks(self, now: float, most: int = 1 << 30) -> bool:
        """
        Begin the tasks that may run now.

        :param most: how many to look at.
        :return: whether there are more to look at.
        """
        if self.halted or self._new_doubts:
            return False  # what was begun before comes before what is new
        left = self._admission.admit(most, partial(self._admitted, now))
        self._spread(now)
        self._more = left <= 0 and self._admission.has_more
        return self._more

    def _admitted(self, now: float, task: Task, what: Input) -> None:
        if what is Input.begin:
            task.attempt += 1
            task.started = now
            task.due = None
            self._started.append(task)
        self._apply(task, what, now)

    # -- what is left

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs, or could start now."""
        if self.active or self.doubtful or self._started or (self._more and not self.halted):
            return False
        return self.halted or not self.has_work

    @property
    def has_work(self) -> bool:
        """Whether there are tasks that do not wait for resources, and have not ended."""
        return bool(self.doubtful) or self._admission.has_work

    @property
    def waiting(self) -> list[Task]:
        """Tasks that wait for resources."""
        return self._admission.waiting

    # -- changes

    @property
    def started(self) -> int:
        """How many tasks have begun since changes were taken."""
        return len(self._started)

    def prepare_changes(self) -> None:
        """Do a part of the work of :meth:`take_changes` before: what has changed by now."""
        rows = self._rows
        for key, task in self._dirty.items():
            rows[key] = task.row()
        self._dirty.clear()

    def take_changes(self) -> Changes:
        """What has changed since the last call."""
        self.prepare_changes()
        batch = Batch()
        batch.triggers, self._triggers = self._triggers, {}
        batch.tasks, self._rows = self._rows, {}
        batch.delays, self._delays.changed = self._delays.changed, {}
        batch.holds, self.pools.changed = self.pools.changed, {}
        if self._first_batch:
            self._first_batch = False
            batch.pools = {pool.name: PoolRow(pool.name, pool.limit) for pool in self.program.pools.values()}
        started, self._started = self._started, []
        changes, self._changes = self._changes, []
        doubtful, self._new_doubts = self._new_doubts, []
        return Changes(batch, started, doubtful, changes)

    # -- inside

    def _spread(self, now: float) -> None:
        # Without recursion: chains of flow events are as long as users like.
        work = self._work
        while work:
            event, sequence, origin, at = work.popleft()
            if (event, sequence) in self.happened:
                continue
            self._triggers[event, sequence] = TriggerRow(self.recovery, event, sequence, at, origin)
            if self.watched():
                self._changes.append(Change("event", event, sequence, "happened"))
            self._note(event, sequence, at)
            self._follow(event, sequence, at, now)

    def _note(self, event: str, sequence: str, at: float) -> None:
        self.happened[event, sequence] = at
        if sequence not in self._begun:
            self._begun[sequence] = at
            self._watch(sequence, at)
        for watch in self.program.watching.get(event, ()):
            key = event, watch, sequence
            if key not in self._delays:
                continue  # another thread has just added the expression: watch_begun() is to come
            if at >= self._delays[key].due:
                self._delay_over(key, at)  # the clock was late to say so
            else:
                self._delays.end(key)
        for gate_event, nodes in self.program.listening.get(event, ()):
            self._count(gate_event, sequence, nodes, at)

    def _count(self, gate_event: str, sequence: str, nodes: Iterable[int], at: float) -> None:
        gate = self.program.gates[gate_event]
        left = self._left.get((gate_event, sequence))
        if left is None:
            left = self._left[gate_event, sequence] = list(gate.needs)
        for node in nodes:
            if gate.count(left, node):
                self._work.append((gate_event, sequence, "expression", at))
                for number, (_, event, _) in enumerate(gate.watches):
                    # It has been decided, one way or the other: nobody is to wait for it.
                    self._delays.end((event, watch_key(number, gate_event), sequence))

    def _watch(self, sequence: str, at: float) -> None:
        for gate_event, gate in self.program.gates.items():
            for number, (_, event, seconds) in enumerate(gate.watches):
                key = event, watch_key(number, gate_event), sequence
                if key not in self._delays:
                    self._delay(key, at, seconds)

    def _follow(self, event: str, sequence: str, at: float, now: float) -> None:
        for association in self.program.consequences(event):
            if association.delay > 0:
                key = event, association.key, sequence
                if key not in self._delays and not self._has_acted(association.step, association.target, sequence):
                    self._delay(key, at, association.delay)
            else:
                # Of a program that had it wait, and does no longer.
                self._delays.end((event, association.key, sequence))
                self._engage(event, association.step, association.target, sequence, now)

    def _has_acted(self, step: bool, target: str, sequence: str) -> bool:
        return (target, sequence) in (self.tasks if step else self.happened)

    def _delay(self, key: Key, at: float, seconds: float) -> None:
        at = self._waits_since.get(key, at)
        self._wait_until(key, at, at + seconds)

    def _wait_until(self, key: Key, at: float, due: float) -> None:
        event, target, sequence = key
        row = DelayRow(self.recovery, event, target, sequence, at, due, False)
        self._delays.add(key, row, partial(self._delay_over, key))

    def _delay_over(self, key: Key, now: float) -> None:
        event, target, sequence = key
        delay = self._delays[key]
        if delay.done:
            return
        kind, _, name = target.partition(" ")
        if kind == SCHEDULE:
            known = (event, target) in self.program.schedules
        else:
            known = kind == "not_by" or self.program.association(event, target) is not None
        if not known:
            # The program has it no longer; should it come back, the delay is still there.
            self.lost_delays.append(delay)
            return
        self._delays.end(key)
        if kind == "not_by":
            self._stayed_away(delay, now)
        elif kind == SCHEDULE:
            self._work.append((event, sequence, SCHEDULE, now))
            self._schedule(self.program.schedules[event, target], now)
        else:
            self._engage(event, kind == "step", name, sequence, now)

    def follow_schedules(self, now: float) -> None:
        """Wait for the next time of each schedule that does not wait already; called once, when all else is taken up."""
        waiting = {(delay.event, delay.target) for delay in self.pending_delays}
        for key, schedule in self.program.schedules.items():
            if key not in waiting and not self.halted:
                self._schedule(schedule, now)

    def _schedule(self, schedule: Schedule, now: float) -> None:
        # What fell due while nobody looked counts once: the next time is one that is still to come.
        due, sequence = schedule.next_after(now)
        self._wait_until((schedule.event, schedule.key, sequence), now, due)

    def _stayed_away(self, delay: DelayRow, now: float) -> None:
        kind, _, name = delay.target.partition(" ")
        if kind != "not_by" or self.happened.get((delay.event, delay.sequence), now) < delay.due:
            return
        number, _, gate_event = name.partition(" ")
        gate = self.program.gates.get(gate_event)
        if gate is not None and int(number) < len(gate.watches) and gate.watches[int(number)][1] == delay.event:
            self._count(gate_event, delay.sequence, (gate.watches[int(number)][0],), now)

    def _engage(self, event: str, step: bool, target: str, sequence: str, now: float) -> None:
        if not step:
            self._work.append((target, sequence, f"event {event}", now))
        elif (target, sequence) not in self.tasks:
            self._make(self.program.steps[target], sequence, now)

    def _make(self, step: Step, sequence: str, now: float) -> None:
        task = Task(step.name, sequence, self.recovery, self._order, now)
        self._order += 1
        self.tasks[task.key] = task
        self._apply(task, Input.make, now)
        before = self.asked.get(task.key)
        if before is None:
            self._queue(task)
        elif self._is_doubted(task, step):
            pass
        elif step.recovery[TaskStatus[before.status]] is StepReplay.skip:
            self._end(task, step, Input.skip, now, result=before.result)
        else:
            self._queue(task)

    def _is_doubted(self, task: Task, step: Step) -> bool:
        # Whether the recovery before left in doubt what a probe can tell.
        before = self.asked.get(task.key)
        if before is None or before.status != TaskStatus.active.name or step.probe is None:
            return False
        self.doubtful[task.key] = task
        self._new_doubts.append(task)
        return True

    def _queue(self, task: Task) -> None:
        if task.due is None or task.status is TaskStatus.allocate:
            self._admission.add(task)
        else:
            self._admission.back_off(task)
            self._delays.at(task.due, lambda _: self._admission.come_back(task))

    def _end(
        self, task: Task, step: Step, what: Input, now: float, *, result: str | None = None, error: str | None = None
    ) -> None:
        task.ended = now
        task.due = None
        task.result = result
        task.error = error
        if step.releases is None:
            self.pools.give_back_all(task.key)
        elif step.releases:
            self.pools.give_back(task.key, step.releases)
        if what is Input.fail:
            task.handled = step.handles_failure
            if not task.handled:
                self._unhandled(step)
        self._apply(task, what, now)

    def _unhandled(self, step: Step | None) -> None:
        self.failed = True
        if step is None or step.stop_on_exception:
            self.halted = True

    def _apply(self, task: Task, what: Input, now: float) -> None:
        transition = TRANSITIONS[None if what is Input.make else task.status, what]
        task.status = transition.status
        self._dirty[task.key] = task
        if self.watched():
            self._changes.append(Change("task", task.step, task.sequence, task.status.name))
        if transition.fires:
            self._fire(task, transition.fires, now)

    def _fire(self, task: Task, fires: Iterable[StepStatus], now: float) -> None:
        step = self.program.steps.get(task.step)
        if step is None or not step.triggers:
            return
        for fired in fires:
            for event in step.triggers.get(fired, ()):
                self._work.append((event, task.sequence, f"step {task.step}", now))
