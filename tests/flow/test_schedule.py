"""Flow events that happen by the calendar."""

from __future__ import annotations

import json

import pytest

from tests.flow.harness import World, ended
from twisted_evproc.errors import ConfigurationError, FlowDefinitionError
from twisted_evproc.flow import Eventor, RunMode, RunStatus, StepStatus
from twisted_evproc.flow._fsck import broken_invariants

# The clock of a World begins at 1970-01-01T00:16:40Z.


def every_hour(world: World, mode: RunMode = RunMode.restart, value: object = None) -> Eventor:
    ev = world.eventor(mode)
    check = ev.add_event("check")
    ev.add_schedule(check, "0 * * * *")
    ev.add_assoc(check, ev.add_step("look", world.note(value)))
    return ev


def test_each_time_is_a_sequence_of_its_own() -> None:
    world = World()
    running = every_hour(world).run()

    world.clock.advance(3600)
    world.clock.advance(3600)

    assert world.calls == ["look[1970-01-01T01:00:00Z]", "look[1970-01-01T02:00:00Z]"]
    assert not running.called


def test_a_round_ends_when_nothing_can_be_done_before_the_next_time() -> None:
    world = World()

    result = ended(every_hour(world).run(max_loops=1))

    assert result.status is RunStatus.pending
    assert result.pending_delays == 1
    assert world.calls == []


def test_times_that_passed_while_nobody_looked_are_made_up_for_by_one() -> None:
    world = World()
    _ = ended(every_hour(world).run(max_loops=1))
    world.clock.advance(5 * 3600)

    result = ended(every_hour(world, RunMode.continue_).run(max_loops=1))

    assert world.calls == ["look[1970-01-01T01:00:00Z]"]
    assert result.pending_delays == 1
    world.clock.advance(3600)
    _ = ended(every_hour(world, RunMode.continue_).run(max_loops=1))
    assert world.calls[1:] == ["look[1970-01-01T06:00:00Z]"]


def test_a_recovery_takes_up_the_times_that_were() -> None:
    world = World()
    running = every_hour(world, value=ValueError("no")).run()
    world.clock.advance(3600)
    assert ended(running).status is RunStatus.failure

    _ = ended(every_hour(world, RunMode.recover).run(max_loops=1))

    assert world.calls == ["look[1970-01-01T01:00:00Z]"] * 2


def test_a_schedule_that_the_program_has_no_longer_is_left_alone() -> None:
    world = World()
    _ = ended(every_hour(world).run(max_loops=1))
    world.clock.advance(3600)

    without = world.eventor(RunMode.continue_)
    without.add_assoc(without.add_event("check"), without.add_step("look", world.note()))
    _ = ended(without.run(max_loops=1))
    assert world.calls == []

    _ = ended(every_hour(world, RunMode.continue_).run(max_loops=1))
    assert world.calls == ["look[1970-01-01T01:00:00Z]"]


def test_what_the_store_keeps_of_it_fits_together() -> None:
    world = World()
    running = every_hour(world).run(max_loops=2)
    world.clock.advance(3600)
    assert ended(running).status is RunStatus.pending

    snapshot = world.store.snapshot()
    assert broken_invariants(snapshot, json.loads(snapshot.run.program)) == []
    assert json.loads(snapshot.run.program)["schedules"] == [["check", "'0 * * * *' in UTC"]]


def test_a_zone_moves_the_times() -> None:
    world = World()
    ev = world.eventor()
    check, done = ev.add_event("check"), ev.add_event("done")
    ev.add_schedule(check, "30 6 * * *", "Asia/Kolkata")
    ev.add_assoc(check, ev.add_step("look", world.note(), triggers={StepStatus.success: done}))
    _ = ev.run()

    world.clock.advance(3600)

    assert world.calls == ["look[1970-01-01T01:00:00Z]"]


@pytest.mark.parametrize(
    ("cron", "zone", "said"),
    [
        ("* * *", None, "is no cron expression"),
        (5, None, "text"),
        ("0 * * * *", "Mars/X", "time_zone='Mars/X'"),
    ],
)
def test_what_makes_no_sense(cron: str, zone: str | None, said: str) -> None:
    ev = World().eventor()
    with pytest.raises(ConfigurationError, match=said):
        ev.add_schedule(ev.add_event("check"), cron, zone)


def test_an_event_of_another_flow() -> None:
    other = World().eventor().add_event("check")
    with pytest.raises(FlowDefinitionError, match="another flow"):
        World().eventor().add_schedule(other, "0 * * * *")
