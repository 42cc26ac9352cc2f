"""Load limits and per-key order, on random programs of events that fire events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from twisted_evproc import EventDispatcher, Outcome
from twisted_evproc.errors import DispatcherOverloaded


@attrs.define(eq=False)
class Job:
    """An event that takes ``seconds``, then fires its ``nested`` one after the other and waits for each."""

    key: str | None
    seconds: int
    nested: list[Job]
    parent: Job | None = None

    def __attrs_post_init__(self) -> None:
        for job in self.nested:
            job.parent = self

    def family(self) -> Iterator[Job]:
        job: Job | None = self
        while job is not None:
            yield job
            job = job.parent


keys = st.sampled_from(["x", "y", None])
seconds = st.integers(0, 2)
jobs = st.recursive(
    st.builds(Job, keys, seconds, st.just([])),
    lambda children: st.builds(Job, keys, seconds, st.lists(children, max_size=2)),
    max_leaves=4,
)


class World:
    """A dispatcher whose one handler does what its job says, and keeps what the promises are about."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.dispatcher = EventDispatcher(["key"], clock=self.clock, **options)
        self.dispatcher.add_event_handler(self.handle, "during")
        self.dispatcher.start()
        self.active: list[Job] = []
        self.begun: list[Job] = []
        self.finished: list[Job] = []
        self.most = 0
        self.side_by_side: list[tuple[Job, Job]] = []

    def fire(self, job: Job) -> Deferred[Outcome]:
        return self.dispatcher.fire_event(job, **({} if job.key is None else {"key": job.key}))

    async def handle(self, job: Job) -> None:
        self.side_by_side.extend((other, job) for other in self.active if job.key is not None and other.key == job.key)
        self.begun.append(job)
        self.active.append(job)
        self.most = max(self.most, sum(one.parent is None for one in self.active))
        try:
            if job.seconds:
                pause: Deferred[None] = Deferred()
                self.clock.callLater(job.seconds, pause.callback, None)
                await pause
            for nested in job.nested:
                await self.fire(nested)
        finally:
            self.active.remove(job)
            self.finished.append(job)

    def run(self, roots: list[Job]) -> list[Deferred[Outcome]]:
        fired = [self.fire(job) for job in roots]
        for _ in range(200):
            if all(deferred.called for deferred in fired):
                break
            self.clock.advance(1)
        return fired


def tree(job: Job) -> Iterator[Job]:
    yield job
    for nested in job.nested:
        yield from tree(nested)


@given(st.lists(jobs, max_size=6), st.sampled_from([None, 1, 2]), st.booleans())
def test_everything_ends_within_the_limit_and_in_order(roots: list[Job], limit: int | None, serialized: bool) -> None:
    world = World(max_concurrent_firings=limit, serialize_by="key" if serialized else None)
    fired = world.run(roots)
    assert all(deferred.called for deferred in fired), "somebody waits for ever"
    assert Counter(map(id, world.finished)) == Counter(id(job) for root in roots for job in tree(root))
    if limit is not None:
        assert world.most <= limit
    if serialized:
        for key in ("x", "y"):
            assert [job for job in world.begun if job.parent is None and job.key == key] == [
                job for job in roots if job.key == key
            ]
        for first, second in world.side_by_side:
            # Only where one of them would wait for itself: two that were both fired at the top never share a key.
            assert first.parent is not None or second.parent is not None
    elif limit == 1:
        assert [job for job in world.begun if job.parent is None] == roots


@given(st.lists(st.builds(Job, keys, seconds, st.just([])), max_size=8))
def test_without_nested_events_no_two_of_a_key_run_side_by_side(roots: list[Job]) -> None:
    world = World(serialize_by="key")
    world.run(roots)
    assert world.side_by_side == []
    assert len(world.finished) == len(roots)


def test_a_nested_event_of_its_parents_key_does_not_wait_and_one_of_another_key_does() -> None:
    same = Job("x", 1, [Job("x", 1, [])])
    other = Job("y", 5, [])
    crossing = Job("z", 1, [Job("y", 1, [])])
    world = World(serialize_by="key")
    same_fired, other_fired, crossing_fired = (world.fire(job) for job in (same, other, crossing))
    world.clock.pump([1, 1])
    assert same_fired.called
    world.clock.pump([1, 1])
    assert [other_fired.called, crossing_fired.called] == [False, False]
    assert crossing.nested[0] not in world.begun
    world.clock.pump([1, 1])
    assert [other_fired.called, crossing_fired.called] == [True, True]


def test_two_that_wait_for_each_other_through_nested_events_do_not_wait_for_ever() -> None:
    world = World(serialize_by="key")
    fired = world.run([Job("x", 1, [Job("y", 1, [])]), Job("y", 1, [Job("x", 1, [])])])
    assert all(deferred.called for deferred in fired)


def test_past_the_limit_of_waiting_events_are_refused_and_the_others_are_not_lost() -> None:
    world = World(max_concurrent_firings=1, max_waiting_firings=2)
    fired = [world.fire(Job(None, 1, [])) for _ in range(5)]
    for refused in fired[3:]:
        failure: Any = refused.result
        refused.addErrback(lambda _: None)
        assert isinstance(failure.value, DispatcherOverloaded)
        assert failure.value.waiting == 2
    world.clock.pump([1, 1, 1])
    assert [deferred.called for deferred in fired] == [True] * 5
    assert len(world.finished) == 3


def test_a_waiting_event_that_is_cancelled_is_never_processed_and_holds_nobody_up() -> None:
    world = World(max_concurrent_firings=1, serialize_by="key")
    jobs = [Job("x", 1, []), Job("x", 1, []), Job("x", 1, []), Job("y", 1, [])]
    fired = [world.fire(job) for job in jobs]
    fired[1].addErrback(lambda _: None)
    fired[1].cancel()
    world.clock.pump([1] * 3)
    assert world.finished == [jobs[0], jobs[3], jobs[2]] or world.finished == [jobs[0], jobs[2], jobs[3]]
    assert jobs[1] not in world.begun


@pytest.mark.parametrize("options", [{"max_concurrent_firings": 1}, {"serialize_by": "key"}])
def test_a_long_queue_of_events_that_need_no_time_does_not_nest(options: dict[str, Any]) -> None:
    world = World(**options)
    fired = [world.fire(Job("x", 1, []))]
    fired.extend(world.fire(Job("x", 0, [])) for _ in range(3000))
    world.clock.advance(1)
    assert all(deferred.called for deferred in fired)
    outcomes: list[Any] = [deferred.result for deferred in fired]
    assert [outcome.failures for outcome in outcomes] == [()] * 3001
