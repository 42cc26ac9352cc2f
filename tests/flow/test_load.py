"""Many tasks at once, and nobody who listens: what is done less often, or not at all."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from zope.interface import implementer

from tests.flow.harness import World, chain, ended
from twisted_evproc.flow import Eventor, RunStatus, current_step
from twisted_evproc.flow._engine import STARTED_AT_ONCE
from twisted_evproc.flow._run import PROGRAM, Run
from twisted_evproc.interfaces import IDispatchObserver


@pytest.fixture
def world() -> World:
    return World()


class TestCrowd:
    def test_the_next_commit_does_not_grow_for_as_long_as_one_is_under_way(self, world: World) -> None:
        ev = world.eventor()
        go, _ = chain(ev, world.note())
        for sequence in range(3 * STARTED_AT_ONCE):
            ev.trigger_event(go, sequence)
        world.store.hold = True
        running = ev.run()
        world.clock.pump([0] * 5)
        world.store.hold = False
        world.store.release()

        assert ended(running)
        assert len(set(world.calls)) == len(world.calls) == 3 * STARTED_AT_ONCE
        assert (
            max(sum(row.status == "active" for row in batch.tasks.values()) for batch in world.store.commits) == STARTED_AT_ONCE
        )


class TestPreparation:
    def run_of(self, ev: Eventor) -> Run:
        return Run(ev.program, 0, max_concurrent=0, foreign_holds={})

    def test_what_changes_after_it_counts(self, world: World) -> None:
        ev = world.eventor()
        _, step = chain(ev, world.note())
        run = self.run_of(ev)
        _ = run.trigger("go", "1", PROGRAM, 0)
        run.prepare_changes()
        _ = run.start_tasks(0)

        assert [row.status for row in run.take_changes().batch.tasks.values()] == ["active"]
        assert run.tasks[step.name, "1"].attempt == 1

    def test_what_changed_before_it_is_there(self, world: World) -> None:
        ev = world.eventor()
        chain(ev, world.note())
        run = self.run_of(ev)
        _ = run.trigger("go", "1", PROGRAM, 0)
        run.prepare_changes()
        _ = run.trigger("go", "2", PROGRAM, 0)

        assert [row.sequence for row in run.take_changes().batch.tasks.values()] == ["1", "2"]
        assert not run.take_changes().batch


@implementer(IDispatchObserver)
class Observer:
    """Notes the events of firings that begin."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def firing_started(self, firing: Any) -> None:
        self.seen.append(firing.event)

    def handler_started(self, firing: Any, handler_id: Any, name: str, phase: str) -> None:
        pass

    def handler_ended(self, firing: Any, result: Any) -> None:
        pass

    def firing_ended(self, firing: Any, outcome: Any) -> None:
        pass


class TestListeners:
    def changes(self, heard: list[Any]) -> list[str]:
        return [f"{change.name} {change.status}" for change in heard]

    def test_without_any_nothing_is_noted(self, world: World) -> None:
        ev = world.eventor()
        go, _ = chain(ev, world.note())
        ev.trigger_event(go, 1)
        assert ended(ev.run())

        assert ev._drive.run is not None
        assert not ev._drive.run.watched()
        assert ev._drive.run.take_changes().told == []

    def test_a_handler_that_comes_late_hears_of_what_happens_from_then_on(self, world: World) -> None:
        heard: list[Any] = []
        ev = world.eventor()
        go, _ = chain(ev, world.wait)
        ev.trigger_event(go, 1)
        running = ev.run()
        _ = ev.dispatcher.add_event_handler(heard.append, "during")
        world.finish("s1[1]")

        assert ended(running)
        assert self.changes(heard) == ["s1 success", "e2 happened"]

    def test_a_listener_for_what_no_handler_wants_hears_too(self, world: World) -> None:
        heard: list[Any] = []
        ev = world.eventor()
        go, _ = chain(ev, world.note())
        ev.dispatcher.on_unhandled(lambda event, details: heard.append(event))
        ev.trigger_event(go, 1)

        assert ended(ev.run())
        assert self.changes(heard) == ["go happened", "s1 ready", "s1 active", "s1 success", "e2 happened"]

    def test_an_observer_hears_too(self, world: World) -> None:
        observer = Observer()
        ev = world.eventor()
        go, _ = chain(ev, world.note())
        ev.dispatcher.add_observer(observer)
        ev.trigger_event(go, 1)

        assert ended(ev.run())
        assert self.changes(observer.seen) == ["go happened", "s1 ready", "s1 active", "s1 success", "e2 happened"]


class TestCancelling:
    def test_out_of_a_step_that_then_waits(self, world: World) -> None:
        def function() -> Deferred[None]:
            ev.cancel()
            return Deferred()

        ev = world.eventor()
        go, _ = chain(ev, function)
        ev.trigger_event(go, 1)

        assert ended(ev.run()).status is RunStatus.cancelled


class TestCurrentStep:
    def test_is_known_behind_an_await_and_nowhere_else(self, world: World) -> None:
        seen: list[str] = []
        waiting: Deferred[None] = Deferred()

        async def function() -> None:
            seen.append(current_step().name)
            await waiting
            seen.append(current_step().idempotency_key)

        ev = world.eventor(run_id="r")
        go, _ = chain(ev, function)
        ev.trigger_event(go, 1)
        running = ev.run()
        with pytest.raises(LookupError):
            current_step()
        waiting.callback(None)

        assert ended(running)
        assert seen == ["s1", "r/s1/1"]
