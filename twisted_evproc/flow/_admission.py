"""Which tasks may begin now, and who comes first."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping

from ._model import Step
from ._pools import Pools
from ._status import TaskStatus
from ._task import Task
from ._transitions import Input


class Admission:
    """
    The tasks of a run that are to begin, and those that run.

    :ivar active: tasks that run, by step and sequence.
    """

    def __init__(self, steps: Mapping[str, Step], pools: Pools, max_concurrent: int) -> None:
        """
        :param steps: by name.
        :param max_concurrent: tasks that may run at the same time; below 1 for any number.
        """
        self.active: dict[tuple[str, str], Task] = {}
        self._steps = steps
        self._pools = pools
        self._limit = max_concurrent if max_concurrent >= 1 else None
        # Tasks that may start as far as they themselves are concerned: best first.
        self._ready: list[tuple[int, int, Task]] = []
        # Those that a limit of their step holds back.
        self._parked: dict[str, list[tuple[int, int, Task]]] = {}
        # Those that wait for resources, by step, first come first served.
        self._waiting: dict[str, dict[tuple[str, str], Task]] = {}
        # Of the tasks that wait for resources, who came first.
        self._arrivals: dict[tuple[str, str], int] = {}
        self._arrived = 0
        # Those that wait for their next attempt.
        self._backing_off: dict[tuple[str, str], Task] = {}
        # How many run.
        self._of_step: dict[str, int] = {}

    def add(self, task: Task) -> None:
        """A task is to begin, as soon as it may."""
        if task.status is TaskStatus.allocate:
            self._await_resources(task)
        else:
            heapq.heappush(self._ready, (-self._steps[task.step].priority, task.order, task))

    def back_off(self, task: Task) -> None:
        """A task is to begin, but not before :meth:`come_back`."""
        self._backing_off[task.key] = task

    def come_back(self, task: Task) -> None:
        """A task has waited for its next attempt."""
        del self._backing_off[task.key]
        task.due = None
        self.add(task)

    def enter(self, task: Task) -> None:
        """A task runs."""
        self.active[task.key] = task
        self._of_step[task.step] = self._of_step.get(task.step, 0) + 1

    def leave(self, task: Task) -> None:
        """A task runs no longer."""
        del self.active[task.key]
        self._of_step[task.step] -= 1
        parked = self._parked.get(task.step)
        if parked:
            heapq.heappush(self._ready, heapq.heappop(parked))

    def admit(self, most: int, tell: Callable[[Task, Input], None]) -> int:
        """
        Let tasks begin that may, by priority; then those that waited for resources, then those that were made first.

        :param most: how many to look at.
        :param tell: hears what happens to each: ``want_resources``, ``get_resources``, ``begin``.
        :return: how many more could have been looked at.
        """
        waiting = self._next_waiting()
        while most > 0 and not self._is_full and (waiting is not None or self._ready):
            most -= 1
            if waiting is not None and not self._is_ready_above(waiting):
                self._serve(waiting, tell)
                waiting = self._next_waiting()
                continue
            entry = heapq.heappop(self._ready)
            task = entry[2]
            step = self._steps[task.step]
            if self._is_at_limit(step):
                heapq.heappush(self._parked.setdefault(task.step, []), entry)
                continue
            if step.acquires and not self._pools.has(task.key):
                tell(task, Input.want_resources)
                self._await_resources(task)
            else:
                self.enter(task)
                tell(task, Input.begin)
            if step.acquires:
                waiting = self._next_waiting()
        return most

    def _is_ready_above(self, waiting: Task) -> bool:
        return bool(self._ready) and -self._ready[0][0] > self._steps[waiting.step].priority

    def _next_waiting(self) -> Task | None:
        # All tasks of a step want the same, so that those behind its first one need not be looked at.
        heads = sorted((self._arrivals[next(iter(tasks))], name) for name, tasks in self._waiting.items())
        blocked: set[str] = set()
        found: Step | None = None
        for _, name in heads:
            step = self._steps[name]
            if self._is_at_limit(step):
                continue
            if (
                (found is None or step.priority > found.priority)
                and blocked.isdisjoint(step.acquires)
                and all(self._pools.free(pool) >= n for pool, n in step.acquires.items())
            ):
                found = step
            # Who comes later does not overtake, be it ever so urgent.
            blocked.update(step.acquires)
        return None if found is None else next(iter(self._waiting[found.name].values()))

    def _serve(self, task: Task, tell: Callable[[Task, Input], None]) -> None:
        tasks = self._waiting[task.step]
        del tasks[task.key], self._arrivals[task.key]
        if not tasks:
            del self._waiting[task.step]
        self._pools.take(task.key, self._steps[task.step].acquires)
        tell(task, Input.get_resources)
        self.enter(task)
        tell(task, Input.begin)

    def _await_resources(self, task: Task) -> None:
        self._arrived += 1
        self._arrivals[task.key] = self._arrived
        self._waiting.setdefault(task.step, {})[task.key] = task

    def _is_at_limit(self, step: Step) -> bool:
        return step.max_concurrent >= 1 and self._of_step.get(step.name, 0) >= step.max_concurrent

    @property
    def _is_full(self) -> bool:
        return self._limit is not None and len(self.active) >= self._limit

    @property
    def has_more(self) -> bool:
        """Whether :meth:`admit` could have something to look at."""
        return bool(self._ready or self._waiting) and not self._is_full

    @property
    def has_work(self) -> bool:
        """Whether tasks run, or are to begin and do not wait for resources."""
        return bool(self.active or self._ready or any(self._parked.values()) or self._backing_off)

    @property
    def waiting(self) -> list[Task]:
        """Tasks that wait for resources."""
        return [task for tasks in self._waiting.values() for task in tasks.values()]

    def clear(self) -> None:
        """No task runs, and none is to begin."""
        self.active.clear()
        self._ready.clear()
        self._parked.clear()
        self._waiting.clear()
        self._arrivals.clear()
        self._backing_off.clear()
        self._of_step.clear()
