"""Resources: all or wait, first come first served, given back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.flow.harness import World, ended
from twisted_evproc.flow import Eventor, ResourcePool, RunMode, RunStatus, StepStatus

GPU, DISK = ResourcePool("gpu", 2), ResourcePool("disk", 1)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def ev(world: World) -> Eventor:
    return world.eventor(config={"stop_on_exception": False})


def holds(world: World) -> dict[str, int]:
    rows = world.store._rows["run1"]["holds"].values()
    return {f"{row.pool} {row.step}[{row.sequence}]": row.amount for row in rows if row.amount}


def steps(world: World, ev: Eventor, **acquires: list[Any]) -> None:
    go = ev.add_event("go")
    for name, wanted in acquires.items():
        ev.add_assoc(go, ev.add_step(name, world.wait, acquires=wanted))
    ev.trigger_event(go, 1)


def test_a_step_starts_when_it_has_all_of_them(world: World, ev: Eventor) -> None:
    steps(world, ev, a=[(DISK, 1)], b=[(GPU, 1), (DISK, 1)])
    run = ev.run()
    assert (world.calls, holds(world)) == (["a[1]"], {"disk a[1]": 1})
    world.finish("a[1]")
    assert holds(world) == {"gpu b[1]": 1, "disk b[1]": 1}
    world.finish("b[1]")
    assert ended(run)
    assert holds(world) == {}


def test_first_come_first_served(world: World, ev: Eventor) -> None:
    steps(world, ev, a=[(GPU, 1)], b=[(GPU, 2)], c=[(GPU, 1)])
    _ = ev.run()
    assert world.calls == ["a[1]"]
    world.finish("a[1]")
    assert world.calls == ["a[1]", "b[1]"]
    world.finish("b[1]")
    assert world.calls == ["a[1]", "b[1]", "c[1]"]


def test_the_head_does_not_block_those_who_need_other_pools(world: World, ev: Eventor) -> None:
    steps(world, ev, a=[(GPU, 2)], b=[(GPU, 1)], c=[(DISK, 1)])
    _ = ev.run()
    assert world.calls == ["a[1]", "c[1]"]


def test_those_who_wait_are_served_in_the_order_they_came_also_of_several_steps(world: World, ev: Eventor) -> None:
    go = ev.add_event("go")
    ev.add_assoc(go, ev.add_step("a", world.wait, acquires=[(DISK, 1)]), ev.add_step("b", world.wait, acquires=[(DISK, 1)]))
    for sequence in (1, 2, 3):
        ev.trigger_event(go, sequence)
    _ = ev.run()
    while world.pending:
        world.finish(next(iter(world.pending)))
    assert world.calls == ["a[1]", "b[1]", "a[2]", "b[2]", "a[3]", "b[3]"]


def test_who_waits_for_a_place_alone_goes_before_who_waits_for_them_and_is_less_urgent(world: World) -> None:
    ev = world.eventor(config={"max_concurrent": 2})
    low, high = ev.add_event("low"), ev.add_event("high")
    ev.add_assoc(low, ev.add_step("low", world.wait, acquires=[(DISK, 1)]))
    ev.add_assoc(high, ev.add_step("high", world.wait, config={"priority": 9}))
    ev.trigger_event(low, 1)
    ev.trigger_event(low, 2)
    _ = ev.run()
    ev.trigger_event(high, 1)
    ev.trigger_event(high, 2)
    assert world.calls == ["low[1]", "high[1]"]
    world.finish("low[1]")
    assert world.calls[2:] == ["high[2]"]
    world.finish("high[1]")
    assert world.calls[3:] == ["low[2]"]


@pytest.mark.parametrize(("pool", "first"), [(GPU, "high[1]"), (DISK, "low[1]")])
def test_of_those_who_wait_the_more_urgent_goes_first_unless_another_came_before_to_the_same_pool(
    world: World, pool: ResourcePool, first: str
) -> None:
    ev = world.eventor(config={"max_concurrent": 2})
    all_of_them = ev.add_step("all", world.wait, acquires=[(GPU, 2), (DISK, 1)])
    low = ev.add_step("low", world.wait, acquires=[(DISK, 1)])
    high = ev.add_step("high", world.wait, acquires=[(pool, 1)], config={"priority": 9})
    events = []
    for step in (all_of_them, low, high, ev.add_step("other", world.wait)):
        events.append(ev.add_event(step.name))
        ev.add_assoc(events[-1], step)
    ev.trigger_event(events[0], 1)
    _ = ev.run()
    for event in events[1:]:
        ev.trigger_event(event, 1)
    assert world.calls == ["all[1]", "other[1]"]
    world.finish("all[1]")
    assert world.calls[2:] == [first]


@pytest.mark.parametrize("fails", [False, True])
def test_are_given_back_on_success_and_failure(world: World, ev: Eventor, fails: bool) -> None:
    steps(world, ev, a=[(DISK, 1)])
    run = ev.run()
    (world.fail if fails else world.finish)("a[1]")
    _ = ended(run)
    assert holds(world) == {}


@pytest.mark.parametrize(
    ("first", "second", "left"),
    [
        (None, None, {}),
        ([], [], {"gpu a[1]": 2}),
        ([], [(GPU, 2)], {}),
        ([], [(GPU, 1)], {"gpu a[1]": 1}),
        ([(GPU, 1)], None, {"gpu a[1]": 1}),
    ],
)
def test_releases_says_what_is_given_back(world: World, ev: Eventor, first: Any, second: Any, left: dict[str, int]) -> None:
    go, then = ev.add_event("go"), ev.add_event("then")
    ev.add_assoc(go, ev.add_step("a", world.note(), acquires=[(GPU, 2)], releases=first, triggers={StepStatus.success: then}))
    ev.add_assoc(then, ev.add_step("b", world.note(), releases=second))
    ev.trigger_event(go, 1)
    assert ended(ev.run())
    assert holds(world) == left


def test_a_run_that_waits_for_what_nobody_gives_back_is_stuck_and_says_for_what(world: World, ev: Eventor) -> None:
    go = ev.add_event("go")
    ev.add_assoc(go, ev.add_step("a", world.note(), acquires=[(DISK, 1)], releases=[]))
    ev.trigger_event(go, 1)
    ev.trigger_event(go, 2)
    result = ended(ev.run())
    assert not result
    assert (result.status, result.stuck_for) == (RunStatus.stuck, ("resource pool 'disk'",))


def test_the_newest_limit_counts(world: World, ev: Eventor) -> None:
    test_a_run_that_waits_for_what_nobody_gives_back_is_stuck_and_says_for_what(world, ev)
    again = world.eventor(RunMode.continue_)
    go = again.add_event("go")
    again.add_assoc(go, again.add_step("a", world.note(), acquires=[(ResourcePool("disk", 2), 1)], releases=[]))
    assert ended(again.run()).status is RunStatus.success


def test_are_held_across_a_crash_and_taken_once(world: World, ev: Eventor) -> None:
    steps(world, ev, a=[(DISK, 1)], b=[(DISK, 1)])
    run = ev.run()
    run.cancel()
    _ = run.addErrback(lambda _: None)
    run = ev.run()
    assert world.calls == ["a[1]", "b[1]"]  # who was first waits behind: its attempt died, and it comes anew
    for call in ("b[1]", "a[1]"):
        world.finish(call)
    assert ended(run)
    assert holds(world) == {}


def test_a_recovery_does_not_hold_what_the_recovery_before_held(world: World, ev: Eventor) -> None:
    steps(world, ev, a=[(DISK, 1)])
    run = ev.run()
    run.cancel()
    _ = run.addErrback(lambda _: None)
    again = world.eventor(RunMode.recover)
    steps(world, again, a=[(DISK, 1)])
    run = again.run()
    world.finish("a[1]")
    assert ended(run).recovery == 1
    assert holds(world) == {}


def test_a_retry_does_not_hold_them_while_it_waits(world: World, ev: Eventor) -> None:
    go = ev.add_event("go")
    ev.add_assoc(go, ev.add_step("a", world.wait, acquires=[(DISK, 1)], config={"retries": 1, "backoff": 5}))
    ev.trigger_event(go, 1)
    _ = ev.run()
    world.fail("a[1]")
    assert holds(world) == {}
    world.clock.advance(5)
    assert holds(world) == {"disk a[1]": 1}
