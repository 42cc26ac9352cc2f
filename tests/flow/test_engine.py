"""The engine gives way: no stretch of work is long, however much there is to do."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.flow.harness import World, chain, ended
from twisted_evproc.flow import Eventor, ResourcePool, RunMode
from twisted_evproc.flow._engine import SLICE_SECONDS, TASKS_AT_ONCE

MANY = 3_000


class WorkClock(Clock):
    """A clock on which each look takes a little, so that work costs time without any passing."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.longest = 0
        self._since = 0

    def seconds(self) -> float:
        self.looks += 1
        self.longest = max(self.longest, self.looks - self._since)
        # A hundred looks are a slice.
        return super().seconds() + self.looks * SLICE_SECONDS / 100

    def go_on(self) -> None:
        """The next turn of the reactor."""
        self._since = self.looks
        due = [call for call in self.calls if call.getTime() <= self.seconds()]
        for call in due:
            self.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)


def drive(world: World, ev: Eventor) -> Any:
    clock: Any = world.clock
    run = ev.run()
    while not run.called:
        clock.go_on()
    return ended(run)


@pytest.fixture
def world() -> World:
    world = World()
    world.clock = WorkClock()
    return world


def flow(world: World, ev: Eventor, **options: Any) -> None:
    go, *_ = chain(ev, world.note(), world.note(), **options)
    for sequence in range(MANY):
        ev.trigger_event(go, sequence)


#: Looks at the clock for a slice and what may come behind its end: the tasks that are begun together.
BOUND = 200 + 2 * TASKS_AT_ONCE


@pytest.mark.parametrize("acquires", [(), [(ResourcePool("p", 5), 1)]])
@pytest.mark.parametrize("limit", [0, 1])
def test_while_it_runs(world: World, acquires: Any, limit: int) -> None:
    ev = world.eventor()
    flow(world, ev, acquires=acquires, config={"max_concurrent": limit})
    assert drive(world, ev)
    assert len(world.calls) == 2 * MANY
    assert world.clock.longest < BOUND  # type: ignore[attr-defined]  # a WorkClock


@pytest.mark.parametrize("mode", [RunMode.continue_, RunMode.recover])
def test_while_it_takes_up_a_run(world: World, mode: RunMode) -> None:
    ev = world.eventor()
    flow(world, ev)
    assert drive(world, ev)
    again = world.eventor(mode)
    flow(world, again)
    assert drive(world, again)
    assert len(world.calls) == 2 * MANY
    assert world.clock.longest < BOUND  # type: ignore[attr-defined]  # a WorkClock


def test_while_it_waits_nothing_happens(world: World) -> None:
    ev = world.eventor()
    go = ev.add_event("go")
    ev.add_assoc(go, ev.add_step("s", world.note()), delay=1000)
    for sequence in range(100):
        ev.trigger_event(go, sequence)
    _ = ev.run()
    while min(call.getTime() for call in world.clock.getDelayedCalls()) < 100:
        world.clock.go_on()  # type: ignore[attr-defined]  # a WorkClock
    commits = len(world.store.commits)
    assert len(world.clock.getDelayedCalls()) == 1
    Clock.advance(world.clock, 500)
    assert len(world.store.commits) == commits
    assert len(world.clock.getDelayedCalls()) == 1


def test_a_long_chain_needs_no_recursion() -> None:
    world = World()
    ev = world.eventor()
    go, *_ = chain(ev, *[world.note(number) for number in range(500)])
    ev.trigger_event(go, 1)
    assert ended(ev.run())
    assert len(world.calls) == 500
