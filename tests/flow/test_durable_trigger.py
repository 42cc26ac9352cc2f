"""Flow events that are triggered durably: when they are safe, and when that cannot be said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred

from tests.flow.harness import World, chain, ended
from tests.flow.test_engine import WorkClock
from twisted_evproc.errors import FlowDefinitionError, FlowError, RunLost, StoreUnusable
from twisted_evproc.flow import Eventor, RunMode, RunStatus
from twisted_evproc.testing import FakeFlowStore


@pytest.fixture
def world() -> World:
    return World()


def outcome(promise: Deferred[Any]) -> list[Any]:
    """What it fired with so far."""
    found: list[Any] = []
    _ = promise.addCallbacks(found.append, lambda failure: found.append(failure.value))
    return found


def error_of(promise: Deferred[Any]) -> BaseException:
    [error] = outcome(promise)
    assert isinstance(error, BaseException)
    return error


def triggered(world: World) -> set[tuple[str, str]]:
    """What the store has."""
    return {(row.event, row.sequence) for row in world.store.snapshot().triggers}


def waiting(world: World, mode: RunMode = RunMode.restart) -> tuple[Eventor, Any]:
    """A flow that runs until the test lets its first step end."""
    ev = world.eventor(mode)
    go, _ = chain(ev, world.wait)
    ev.trigger_event(go, "first")
    return ev, go


class GatedStore(FakeFlowStore):
    """Opens and closes when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.opening: Deferred[None] | None = None
        self.closing: Deferred[None] | None = None

    def open(self) -> Deferred[None]:
        gate = super().open()
        if self.opening is not None:
            _ = gate.addCallback(lambda _: self.opening)
        return gate

    def close(self) -> Deferred[None]:
        gate, self.closing = self.closing, None
        if gate is None:
            return super().close()
        return gate.addCallback(lambda _: FakeFlowStore.close(self))


@pytest.fixture
def gated(world: World) -> GatedStore:
    world.store = GatedStore()
    return world.store


class TestIsSafeOnceItIsCommitted:
    def test_and_not_before(self, world: World) -> None:
        ev, go = waiting(world)
        _ = ev.run()
        world.store.hold = True
        safe = outcome(ev.trigger_durably(go, 1))
        assert safe == []
        assert ("go", "1") not in triggered(world)
        world.store.release()
        assert safe == [None]
        assert ("go", "1") in triggered(world)

    def test_while_another_commit_is_under_way(self, world: World) -> None:
        ev, go = waiting(world)
        _ = ev.run()
        world.store.hold = True
        ev.trigger_event(go, "other")
        safe = outcome(ev.trigger_durably(go, 1))
        world.store.release()
        assert safe == []
        assert ("go", "1") not in triggered(world)
        world.store.release()
        assert safe == [None]

    def test_a_second_time_not_before_the_first(self, world: World) -> None:
        ev, go = waiting(world)
        _ = ev.run()
        world.store.hold = True
        ev.trigger_event(go, 1)
        again = outcome(ev.trigger_durably(go, 1))
        assert again == []
        world.store.release()
        assert again == [None]

    def test_a_second_time_long_after_it(self, world: World) -> None:
        ev, go = waiting(world)
        _ = ev.run()
        ev.trigger_event(go, 1)
        world.store.hold = True
        world.store.release()
        assert outcome(ev.trigger_durably(go, "1")) == [None]
        assert world.calls.count("s1[1]") == 1

    def test_with_a_sequence_of_its_own(self, world: World) -> None:
        ev, go = waiting(world)
        _ = ev.run()
        assert outcome(ev.trigger_durably(go)) == [None]
        assert ("go", "1") in triggered(world)

    def test_and_what_then_follows_can_trigger_more(self, world: World) -> None:
        # The store commits before commit() returns.
        ev, _ = waiting(world)
        _ = ev.run()
        alone = ev.add_event("alone")
        safe = outcome(ev.trigger_durably(alone, 1).addCallback(lambda _: ev.trigger_durably(alone, 2)))
        assert safe == [None]
        ev.trigger_durably(alone, 3).addCallback(lambda _: ev.trigger_event(alone, 4))
        assert triggered(world) == {("go", "first"), ("alone", "1"), ("alone", "2"), ("alone", "3"), ("alone", "4")}

    def test_although_the_run_is_ended_meanwhile(self, world: World) -> None:
        ev, go = waiting(world)
        run = ev.run()
        world.store.hold = True
        safe = outcome(ev.trigger_durably(go, 1))
        run.cancel()
        # The store is closed, and commits what waits.
        assert isinstance(error_of(run), CancelledError)
        assert safe == [None]
        assert ("go", "1") in triggered(world)

    def test_although_the_one_before_who_hears_of_it_ends_the_run(self, world: World) -> None:
        ev, go = waiting(world)
        run = ev.run()
        world.store.hold = True
        first = outcome(ev.trigger_durably(go, 1).addCallback(lambda _: run.cancel()))
        second = outcome(ev.trigger_durably(go, 1))
        world.store.release()
        world.store.release()
        assert (first, second) == ([None], [None])
        assert isinstance(error_of(run), CancelledError)

    def test_many_in_slices(self, world: World) -> None:
        world.clock = clock = WorkClock()
        ev, go = waiting(world)
        run = ev.run()
        while "s1[first]" not in world.pending:
            clock.go_on()
        world.store.hold = True
        ev.trigger_event(go, "other")
        # Each who hears of it looks at the clock.
        safe: list[Any] = []
        for _ in range(1000):
            ev.trigger_durably(go, "other").addCallback(lambda _: safe.append(clock.seconds()))
        assert safe == []
        world.store.hold = False
        clock.longest, clock._since = 0, clock.looks
        world.store.release()
        while len(safe) < 1000:
            clock.go_on()
        assert clock.longest < 500
        run.cancel()
        assert isinstance(error_of(run), CancelledError)


class TestBeforeItRuns:
    def test_it_waits_for_that(self, world: World) -> None:
        ev, go = waiting(world)
        safe = outcome(ev.trigger_durably(go, 1))
        assert (safe, ev.running) == ([], False)
        _ = ev.run()
        assert safe == [None]
        assert world.calls == ["s1[first]", "s1[1]"]

    def test_it_is_taken_by_a_run_that_has_nothing_else_to_do(self, world: World) -> None:
        ev = world.eventor()
        go, _ = chain(ev, world.note())
        for sequence in range(3):
            safe = outcome(ev.trigger_durably(go, sequence))
            assert ended(ev.run())
            assert safe == [None]
        assert world.calls == ["s1[0]", "s1[1]", "s1[2]"]


class TestWhileTheRunBegins:
    def test_it_waits_for_its_first_commit(self, world: World, gated: GatedStore) -> None:
        gated.opening = Deferred()
        ev, go = waiting(world)
        _ = ev.run()
        safe = outcome(ev.trigger_durably(go, 1))
        gated.hold = True
        gated.opening.callback(None)
        assert safe == []
        gated.release()
        assert safe == [None]
        assert world.calls == ["s1[first]", "s1[1]"]

    def test_a_recovery_by_another_program_repeats_it(self, world: World, gated: GatedStore) -> None:
        gated.opening = Deferred()
        ev, go = waiting(world)
        run = ev.run()
        ev.trigger_durably(go, 1)
        gated.opening.callback(None)
        run.cancel()
        assert isinstance(error_of(run), CancelledError)
        world.calls.clear()
        again, _ = waiting(world, RunMode.recover)
        _ = again.run()
        assert sorted(world.calls) == ["s1[1]", "s1[first]"]

    def test_it_fails_with_what_keeps_the_run_from_beginning(self, world: World, gated: GatedStore) -> None:
        gated.opening = Deferred()
        ev, go = waiting(world)
        run = ev.run()
        promise = ev.trigger_durably(go, 1)
        trouble = StoreUnusable("here", "is away.")
        gated.opening.errback(trouble)
        assert error_of(promise) is trouble
        assert error_of(run) is trouble
        assert not ev.running

    def test_what_failed_is_not_triggered_by_the_next_run(self, world: World, gated: GatedStore) -> None:
        gated.opening = Deferred()
        ev, go = waiting(world)
        run = ev.run()
        promise = ev.trigger_durably(go, 1)
        gated.opening.errback(StoreUnusable("here", "is away."))
        gated.opening = None
        assert isinstance(error_of(promise), StoreUnusable)
        assert isinstance(error_of(run), StoreUnusable)
        _ = ev.run()
        assert world.calls == ["s1[first]"]

    def test_it_fails_when_the_run_is_ended(self, world: World, gated: GatedStore) -> None:
        gated.opening = Deferred()
        ev, go = waiting(world)
        run = ev.run()
        promise = ev.trigger_durably(go, 1)
        run.cancel()
        assert isinstance(error_of(run), CancelledError)
        with pytest.raises(FlowError, match=r"<Eventor 'test'> has ended before it could take the flow event; run\(\) it again"):
            raise error_of(promise)

    def test_who_hears_of_that_may_run_it_again(self, world: World, gated: GatedStore) -> None:
        gated.opening = Deferred()
        ev, go = waiting(world)
        run = ev.run()
        promise = ev.trigger_durably(go, 1)
        gated_open, gated.opening = gated.opening, None

        def again(_: Any) -> Deferred[None]:
            assert not ev.running
            ev.run()
            return ev.trigger_durably(go, 1)

        promise.addErrback(again)
        gated_open.errback(StoreUnusable("here", "is away."))
        assert isinstance(error_of(run), StoreUnusable)
        assert outcome(promise) == [None]
        assert world.calls == ["s1[first]", "s1[1]"]

    def test_stop_commits_it(self, world: World, gated: GatedStore) -> None:
        gated.opening = Deferred()
        ev, go = waiting(world)
        run = ev.run()
        safe = outcome(ev.trigger_durably(go, 1))
        ev.stop()
        gated.opening.callback(None)
        assert safe == [None]
        assert ended(run).status is RunStatus.pending
        assert world.calls == []

    @pytest.mark.parametrize("durably", [False, True])
    @pytest.mark.parametrize("mode", [RunMode.continue_, RunMode.recover])
    def test_at_any_moment_of_a_long_replay(self, world: World, mode: RunMode, durably: bool) -> None:
        world.clock = clock = WorkClock()

        def program(mode: RunMode) -> tuple[Eventor, Any]:
            ev = world.eventor(mode)
            go, _ = chain(ev, world.note())
            for number in range(300):
                ev.trigger_event(go, f"own {number}")
            return ev, go

        def finish(run: Deferred[Any]) -> None:
            while not run.called:
                clock.go_on()
            assert ended(run)

        ev, go = program(RunMode.restart)
        run = ev.run()
        while ev._drive.engine is None:
            clock.go_on()
        for number in range(300):
            ev.trigger_event(go, f"outside {number}")
        finish(run)
        ev, go = program(mode)
        run = ev.run()
        moments = 0
        promises = []
        while ev._drive.engine is None:
            moments += 1
            if durably:
                promises.append(ev.trigger_durably(go, f"moment {moments}"))
            else:
                ev.trigger_event(go, f"moment {moments}")
            clock.go_on()
        finish(run)
        assert moments > 5
        assert all(outcome(promise) == [None] for promise in promises)
        for moment in range(1, moments + 1):
            assert world.calls.count(f"s1[moment {moment}]") == 1


class TestWhileTheRunEnds:
    def test_the_end_is_written_down_it_goes_on(self, world: World) -> None:
        ev = world.eventor()
        go, _ = chain(ev, world.note())
        ev.trigger_event(go, "first")
        assert ended(ev.run())
        world.store.hold = True
        run = ev.run()
        world.store.release()
        safe = outcome(ev.trigger_durably(go, 1))
        while not run.called:
            world.store.release()
        assert safe == [None]
        assert world.calls == ["s1[first]", "s1[1]"]
        assert ended(run)

    @pytest.mark.parametrize("durably", [False, True])
    def test_its_store_is_closed_it_goes_on(self, world: World, gated: GatedStore, durably: bool) -> None:
        ev, go = waiting(world)
        run = ev.run()
        closing: Deferred[None] = Deferred()
        gated.closing = closing
        world.finish("s1[first]")
        assert ev.running
        safe = outcome(ev.trigger_durably(go, 1)) if durably else []
        if not durably:
            ev.trigger_event(go, 1)
        closing.callback(None)
        assert safe == [None] * durably
        assert not run.called
        world.finish("s1[1]")
        result = ended(run)
        assert (result.run_id, len(result.tasks), ev.running) == ("run1", 2, False)

    @pytest.mark.parametrize("word", ["stop", "cancel"])
    def test_it_was_told_to_it_does_not_go_on(self, world: World, gated: GatedStore, word: str) -> None:
        ev, go = waiting(world)
        run = ev.run()
        closing: Deferred[None] = Deferred()
        gated.closing = closing
        getattr(ev, word)()
        if word == "stop":
            world.finish("s1[first]")
        promise = ev.trigger_durably(go, 1)
        closing.callback(None)
        assert ended(run).status is (RunStatus.success if word == "stop" else RunStatus.cancelled)
        assert isinstance(error_of(promise), FlowError)
        assert world.calls == ["s1[first]"]

    def test_who_hears_of_that_goes_on_with_the_run(self, world: World, gated: GatedStore) -> None:
        ev, go = waiting(world, RunMode.recover)
        run = ev.run()
        closing: Deferred[None] = Deferred()
        gated.closing = closing
        ev.stop()
        world.finish("s1[first]")
        promise = ev.trigger_durably(go, 1)

        def again(_: Any) -> Deferred[None]:
            safe = ev.trigger_durably(go, 1)
            ev.run()
            return safe

        promise.addErrback(again)
        closing.callback(None)
        assert outcome(promise) == [None]
        assert ended(run)
        # Nothing was repeated, in no second recovery.
        assert world.calls == ["s1[first]", "s1[1]"]
        assert world.store.snapshot().run.recovery == 0

    def test_it_cannot_be_run_again_until_it_has_let_go_of_its_store(self, world: World, gated: GatedStore) -> None:
        ev, _ = waiting(world)
        run = ev.run()
        closing: Deferred[None] = Deferred()
        gated.closing = closing
        world.finish("s1[first]")
        with pytest.raises(FlowDefinitionError, match="runs already"):
            ev.run()
        closing.callback(None)
        assert ended(run)
        assert ended(ev.run())

    def test_a_run_that_is_ended_fails_what_is_not_committed(self, world: World) -> None:
        ev, go = waiting(world)
        run = ev.run()
        world.store.hold = True
        ev.trigger_event(go, "other")
        promise = ev.trigger_durably(go, 1)
        run.cancel()
        assert isinstance(error_of(run), CancelledError)
        with pytest.raises(FlowError, match="run 'run1' was ended; run the flow again"):
            raise error_of(promise)
        assert ("go", "1") not in triggered(world)


class TestFails:
    def test_when_another_engine_has_taken_the_run(self, world: World) -> None:
        ev, go = waiting(world)
        run = ev.run()
        world.store.hold = True
        under_way = ev.trigger_durably(go, "other")
        world.store.hold = False
        world.store.take("run1", "elsewhere")
        promise = ev.trigger_durably(go, 1)
        world.store.release()
        for failed in (under_way, promise, run):
            assert isinstance(error_of(failed), RunLost)
        assert not ev.running
        assert ("go", "1") not in triggered(world)

    def test_once_the_run_is_cancelled(self, world: World) -> None:
        ev, go = waiting(world)
        run = ev.run()
        world.store.hold = True
        ev.cancel()
        with pytest.raises(FlowError, match="run 'run1' is cancelled and takes no flow events; begin another run"):
            raise error_of(ev.trigger_durably(go, 1))
        happened = outcome(ev.trigger_durably(go, "first"))
        while not run.called:
            world.store.release()
        assert happened == [None]
        assert ended(run).status is RunStatus.cancelled
        world.store.hold = False
        assert ended(ev.run()).status is RunStatus.cancelled

    def test_when_a_cancelled_run_is_run_again(self, world: World, gated: GatedStore) -> None:
        ev, go = waiting(world)
        run = ev.run()
        ev.cancel()
        assert ended(run).status is RunStatus.cancelled
        gated.opening = Deferred()
        run = ev.run()
        promise = ev.trigger_durably(go, 1)
        gated.opening.callback(None)
        with pytest.raises(FlowError, match="run 'run1' is cancelled"):
            raise error_of(promise)
        assert ended(run).status is RunStatus.cancelled

    def test_for_a_flow_event_of_another_flow(self, world: World) -> None:
        ev, _ = waiting(world)
        _ = ev.run()
        with pytest.raises(FlowDefinitionError):
            ev.trigger_durably(world.eventor().add_event("elsewhere"), 1)


class TestCancelling:
    def test_ends_the_waiting_alone(self, world: World) -> None:
        ev, go = waiting(world)
        _ = ev.run()
        world.store.hold = True
        promise, other = ev.trigger_durably(go, 1), ev.trigger_durably(go, 2)
        promise.cancel()
        assert isinstance(error_of(promise), CancelledError)
        world.store.release()
        world.store.release()
        assert outcome(other) == [None]
        assert ("go", "1") in triggered(world)

    def test_while_the_run_begins(self, world: World, gated: GatedStore) -> None:
        gated.opening = Deferred()
        ev, go = waiting(world)
        _ = ev.run()
        promise = ev.trigger_durably(go, 1)
        promise.cancel()
        gated.opening.callback(None)
        assert isinstance(error_of(promise), CancelledError)
        assert ("go", "1") in triggered(world)


class TestWithADatabase:
    """Threads, and files."""

    @pytest_twisted.ensureDeferred
    async def test_it_is_there_when_the_store_is_looked_at(self, tmp_path: Path) -> None:
        path = tmp_path / "flow.db"
        hold: Deferred[None] = Deferred()
        ev = Eventor("f", path, RunMode.continue_, config={"executor": "inline"})
        go = ev.add_event("go")
        ev.add_assoc(go, ev.add_step("s", lambda: hold))
        run = ev.run()
        # At once, while the store is being opened; and later.
        await ev.trigger_durably(go, "early")
        await ev.trigger_durably(go, "late")
        assert self.sequences(path) == {"early", "late"}
        hold.callback(None)
        assert await run

    @pytest_twisted.ensureDeferred
    async def test_a_flow_that_ends_all_the_time_loses_none(self, tmp_path: Path) -> None:
        path = tmp_path / "flow.db"
        calls: list[str] = []
        ev = Eventor("f", path, RunMode.continue_, config={"executor": "inline"})
        go = ev.add_event("go")
        ev.add_assoc(go, ev.add_step("s", lambda: calls.append("s")))
        runs = []
        for number in range(100):
            if not ev.running:
                runs.append(ev.run())
            await ev.trigger_durably(go, number)
        for run in runs:
            assert await run
        assert self.sequences(path) == {str(number) for number in range(100)}
        assert len(calls) == 100

    @pytest_twisted.ensureDeferred
    async def test_it_waits_while_the_store_cannot_be_written(self, tmp_path: Path) -> None:
        import sqlite3

        path = tmp_path / "flow.db"
        hold: Deferred[None] = Deferred()
        ev = Eventor("f", path, RunMode.continue_, config={"executor": "inline"})
        go = ev.add_event("go")
        ev.add_assoc(go, ev.add_step("s", lambda: hold))
        run = ev.run()
        await ev.trigger_durably(go, 1)
        store = ev._drive._watched
        assert store is not None
        waits: Deferred[str] = Deferred()
        store.watch_state(lambda state: None if waits.called else waits.callback(state))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        safe = ev.trigger_durably(go, 2)
        assert "locked" in await waits
        assert not safe.called
        other.execute("ROLLBACK")
        other.close()
        await safe
        assert self.sequences(path) == {"1", "2"}
        hold.callback(None)
        assert await run

    def sequences(self, path: Path) -> set[str]:
        from twisted_evproc.flow.store import read_store

        with read_store(path) as reader:
            [run] = reader.runs("f")
            return {row.sequence for row in reader.load(run.run_id).triggers}
