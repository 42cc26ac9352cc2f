"""What the check of a run's rows finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.flow.harness import World, chain, ended
from twisted_evproc.flow import ResourcePool, Snapshot, not_by, or_
from twisted_evproc.flow._fsck import broken_invariants


def snapshot(world: World) -> Snapshot:
    return world.store.snapshot("run1")


@pytest.fixture
def rows() -> Snapshot:
    world = World()
    ev = world.eventor()
    go, s1, s2 = chain(ev, world.note(1), world.wait, acquires=[(ResourcePool("p", 1), 1)])
    ev.add_event("either", or_(go, not_by(ev.add_event("never"), 5)))
    ev.add_event("quiet", not_by(ev.add_event("other"), 5))
    ev.add_assoc(go, ev.add_event("late"), delay=50)
    ev.trigger_event(go, 1)
    _ = ev.run()
    world.clock.advance(10)
    assert (s1.name, s2.name) == ("s1", "s2")
    return snapshot(world)


def check(rows: Snapshot) -> list[str]:
    return broken_invariants(rows, json.loads(rows.run.program))


def test_nothing_in_a_sound_run(rows: Snapshot) -> None:
    assert check(rows) == []


def without(rows: Snapshot, event: str) -> Snapshot:
    return rows._replace(triggers=[row for row in rows.triggers if row.event != event])


def task(rows: Snapshot, step: str, **changes: Any) -> Snapshot:
    return rows._replace(tasks=[row._replace(**changes) if row.step == step else row for row in rows.tasks])


FAULTS: dict[str, Callable[[Snapshot], Snapshot]] = {
    "step 's1' did not follow": lambda rows: rows._replace(tasks=[row for row in rows.tasks if row.step != "s1"]),
    "its success did not trigger 'e2'": lambda rows: without(rows, "e2"),
    "the expression of flow event 'either' holds": lambda rows: without(rows, "either"),
    "the expression of flow event 'quiet' holds": lambda rows: without(rows, "quiet"),
    "nothing waits for event 'late'": lambda rows: rows._replace(delays=[]),
    "is over, and nothing followed": lambda rows: rows._replace(delays=[row._replace(done=True) for row in rows.delays]),
    "does not hold 1 of 'p'": lambda rows: rows._replace(holds=[]),
    "has ended, and holds 1 of 'p'": lambda rows: rows._replace(holds=[row._replace(step="s1") for row in rows.holds]),
    "and has no task": lambda rows: rows._replace(holds=[row._replace(step="s9") for row in rows.holds]),
    "3 of 'p' are held, and there are 1": lambda rows: rows._replace(holds=[row._replace(amount=3) for row in rows.holds]),
    "no engine works on the run, and step 's2'": lambda rows: rows._replace(run=rows.run._replace(status="pending")),
    "the run is success, and step 's2'": lambda rows: rows._replace(run=rows.run._replace(status="success")),
    "a delay is not over": lambda rows: rows._replace(run=rows.run._replace(status="success")),
    "the run is failure, and no task is": lambda rows: rows._replace(run=rows.run._replace(status="failure")),
    "was never begun": lambda rows: task(rows, "s2", attempt=0),
    "is active, and due": lambda rows: task(rows, "s2", due=3.0),
    "and its end is None": lambda rows: task(rows, "s1", ended=None),
    "failed, and nobody knows why": lambda rows: task(rows, "s1", status="failure"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault(rows: Snapshot, fault: str) -> None:
    assert any(fault in problem for problem in check(FAULTS[fault](rows)))


def test_deep_expressions() -> None:
    world = World()
    ev = world.eventor()
    go, expression = ev.add_event("go"), None
    expression = or_(go)
    for _ in range(300):
        expression = or_(expression, go)
    ev.add_event("deep", expression)
    ev.trigger_event(go, 1)
    assert ended(ev.run())
    rows = snapshot(world)
    assert check(rows) == []
    assert "deep" in check(without(rows, "deep"))[0]
