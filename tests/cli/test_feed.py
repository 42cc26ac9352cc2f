from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from twisted_evproc import RAISE, EventDispatcher, Outcome, StopProcessing
from twisted_evproc.cli._events import JSONLines, LineError, Lines, iterable_lines
from twisted_evproc.cli._feed import SLICE_SECONDS, Feed, mapped
from twisted_evproc.cli._runnable import DispatcherRunnable
from twisted_evproc.errors import ApplicationError


class Heard:
    """A report that keeps what it is told."""

    def __init__(self) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self.refusals: dict[int, Failure] = {}
        self.problems: dict[int, str] = {}

    def outcome(self, number: int, outcome: Outcome) -> None:
        self.outcomes[number] = outcome

    def refused(self, number: int, event: Any, details: Mapping[str, Any], failure: Failure) -> None:
        self.refusals[number] = failure

    def broken(self, number: int, error: LineError) -> None:
        self.problems[number] = str(error)

    def idle(self) -> None: ...


class Setting:
    """A dispatcher whose handlers wait for Deferreds that the test fires."""

    def __init__(self, **options: Any) -> None:
        self.dispatcher = EventDispatcher(["kind"], **options)
        self.runnable = DispatcherRunnable(self.dispatcher)
        self.clock = Clock()
        self.heard = Heard()
        self.pending: dict[Any, Deferred[Any]] = {}
        self.ended: list[Any] = []
        self.dispatcher.handler("during", kind="slow")(self._slow)

    def _slow(self, event: Any) -> Deferred[Any]:
        self.pending[event["n"]] = Deferred()
        return self.pending[event["n"]]

    def start(self, source: Lines, **options: Any) -> Feed:
        feed = Feed(self.runnable, source, self.heard, self.clock, **options)
        feed.run().addBoth(self.ended.append)
        return feed

    def end(self, feed: Feed) -> None:
        """End a feed that the test has seen enough of."""
        feed.interrupt()
        feed.interrupt()
        assert self.ended == [None]

    def feed(self, records: Any, **options: Any) -> Feed:
        return self.start(iterable_lines("app.py:events", records), **options)


def slow(count: int) -> list[dict[str, Any]]:
    return [{"kind": "slow", "n": n} for n in range(1, count + 1)]


def test_takes_one_event_at_a_time_in_order() -> None:
    setting = Setting()
    feed = setting.feed(slow(2))
    assert list(setting.pending) == [1]
    setting.pending[1].callback("one")
    assert list(setting.pending) == [1, 2]
    assert not setting.ended
    setting.pending[2].callback("two")
    assert setting.ended == [None]
    assert [outcome.values for outcome in setting.heard.outcomes.values()] == [("one",), ("two",)]
    assert (feed.tally.events, feed.tally.handled, feed.tally.handler_calls) == (2, 2, 2)
    assert not setting.dispatcher.running


def test_takes_as_many_at_a_time_as_it_may() -> None:
    setting = Setting()
    feed = setting.feed(slow(4), concurrency=2)
    assert list(setting.pending) == [1, 2]
    setting.pending[2].callback(None)
    assert list(setting.pending) == [1, 2, 3]
    assert list(setting.heard.outcomes) == [2]
    setting.end(feed)


def test_reads_no_further_than_it_needs() -> None:
    taken: list[int] = []

    def endless() -> Iterator[dict[str, Any]]:
        while True:
            taken.append(len(taken) + 1)
            yield {"kind": "slow", "n": len(taken)}

    setting = Setting()
    feed = setting.feed(endless, concurrency=3)
    assert taken == [1, 2, 3]
    setting.pending[2].callback(None)
    assert taken == [1, 2, 3, 4]
    setting.end(feed)


def test_gives_the_reactor_its_turn() -> None:
    setting = Setting()
    others: list[int] = []

    def records() -> Iterator[dict[str, Any]]:
        for number in range(3):
            setting.clock.rightNow += 2 * SLICE_SECONDS  # time passes while handlers work
            others.append(number)
            yield {}

    setting.feed(records)
    assert others == [0]
    setting.clock.advance(0)
    assert others == [0, 1, 2]
    assert setting.ended == [None]


def test_counts_what_becomes_of_events() -> None:
    setting = Setting()

    @setting.dispatcher.handler("before", kind="stop")
    def stop(event: Any) -> None:
        raise StopProcessing("sold out")

    @setting.dispatcher.handler("after", kind="bad", handler_name="bad")
    def bad(event: Any) -> None:
        raise ValueError("no")

    setting.dispatcher.handler("after", kind="stop")(lambda event: None)
    tally = setting.feed([{"kind": "stop"}, {"kind": "bad"}, {"kind": "bad"}, {"kind": "?"}]).tally
    assert (tally.events, tally.handled, tally.unhandled, tally.stopped) == (4, 3, 1, 1)
    assert (tally.handler_calls, tally.skipped) == (3, 1)
    assert tally.failures == {("bad", "ValueError"): 2}
    assert tally.as_json()["failures"] == {"bad": {"ValueError": 2}}


@pytest.mark.parametrize("failing", [1, 2])
def test_knows_whose_failure_it_was_under_the_policy_that_raises(failing: int) -> None:
    setting = Setting(on_failure=RAISE)

    def bad(event: Any) -> None:
        raise ValueError("no")

    for number in range(failing):
        setting.dispatcher.handler("during", handler_name=f"bad{number}", kind="bad")(bad)
    tally = setting.feed([{"kind": "bad"}, {"kind": "other"}]).tally
    assert tally.failures == {(f"bad{number}", "ValueError"): 1 for number in range(failing)}
    assert list(setting.heard.outcomes) == [1, 2]


def test_an_event_that_is_refused_is_a_failure_and_the_others_go_on() -> None:
    setting = Setting(max_concurrent_firings=1, max_waiting_firings=0)
    tally = setting.feed(slow(2), concurrency=2).tally
    setting.pending[1].callback(None)
    assert tally.failures == {("(refused)", "DispatcherOverloaded"): 1}
    assert list(setting.heard.refusals) == [2]
    assert setting.ended == [None]


def test_a_broken_line_is_reported_and_the_others_go_on() -> None:
    setting = Setting()
    chunks = [b'{"kind": 1}\n{oops\n', b'{"kind": 2}', b""]
    source = JSONLines("x.jsonl", lambda: _fired(chunks.pop(0)), True)
    feed = setting.start(source)
    assert list(setting.heard.outcomes) == [1, 3]
    assert list(setting.heard.problems) == [2]
    assert (feed.tally.events, feed.tally.broken_lines) == (2, 1)


def _fired(chunk: bytes) -> Deferred[bytes]:
    deferred: Deferred[bytes] = Deferred()
    deferred.callback(chunk)
    return deferred


def test_a_keyword_that_is_not_allowed_is_the_problem_of_its_line() -> None:
    setting = Setting()
    feed = setting.feed(["a", "b"], mapping=lambda record: (record, {"knd" if record == "a" else "kind": 1}))
    assert list(setting.heard.outcomes) == [2]
    assert "'knd' not among the match-spec keywords" in setting.heard.problems[1]
    assert "Did you mean 'kind'?" in setting.heard.problems[1]
    assert feed.tally.broken_lines == 1


@pytest.mark.parametrize("result", [None, "ab", ("event",), ("event", 5), ("event", {1: 2}), ("event", {}, 3)])
def test_a_mapping_that_gives_no_event_and_details(result: Any) -> None:
    with pytest.raises(LineError, match=r"to_event\(\) has to return \(event, details\)"):
        mapped({}, Setting().runnable, lambda record: result)


def test_a_mapping_that_fails_says_where() -> None:
    def to_event(record: Any) -> Any:
        return record["payload"]

    with pytest.raises(LineError, match=rf"to_event\(\) failed: KeyError: 'payload' \({__file__}:\d+\)"):
        mapped({}, Setting().runnable, to_event)


def test_the_keys_that_are_allowed_are_the_details_unless_the_application_says() -> None:
    runnable = Setting().runnable
    record = {"kind": [1], "other": 2}
    assert mapped(record, runnable, None) == (record, {"kind": [1]})
    assert mapped(5, runnable, None) == (5, {})


def test_interrupted_it_begins_no_further_event_and_finishes_the_running_ones() -> None:
    setting = Setting()
    feed = setting.feed(slow(3))
    feed.interrupt()
    assert not setting.ended
    setting.pending[1].callback(None)
    assert setting.ended == [None]
    assert list(setting.pending) == [1]
    assert feed.tally.events == 1


def test_interrupted_it_gives_up_waiting_for_lines() -> None:
    setting = Setting()
    waiting: Deferred[bytes] = Deferred()
    feed = setting.start(JSONLines("x", lambda: waiting, True))
    assert not setting.ended
    feed.interrupt()
    assert setting.ended == [None]
    assert not setting.dispatcher.running


def test_interrupted_twice_it_cancels_what_runs() -> None:
    setting = Setting()
    feed = setting.feed(slow(3), concurrency=2)
    feed.interrupt()
    feed.interrupt()
    assert setting.ended == [None]
    assert (feed.tally.events, feed.tally.cancelled, feed.tally.failed) == (2, 2, 0)
    assert [failure.type for failure in setting.heard.refusals.values()] == [CancelledError] * 2


def test_interrupted_twice_it_cancels_what_handlers_have_fired_themselves() -> None:
    setting = Setting()
    setting.dispatcher._clock = setting.clock

    @setting.dispatcher.handler("during", kind="nest")
    def nest(event: Any) -> None:
        setting.dispatcher.fire_event({"n": 9}, kind="slow")

    feed = setting.feed([{"kind": "nest"}])
    assert not setting.ended
    feed.interrupt()
    feed.interrupt()
    setting.clock.advance(1)
    assert setting.ended == [None]
    assert setting.pending[9].called


def test_a_source_that_breaks_fails_the_run_behind_the_events_it_gave() -> None:
    def records() -> Iterator[dict[str, Any]]:
        yield from slow(1)
        raise RuntimeError("the shelf is empty")

    setting = Setting()
    setting.feed(records, concurrency=2)
    assert not setting.ended
    setting.pending[1].callback(None)
    assert setting.ended[0].type is ApplicationError
    assert list(setting.heard.outcomes) == [1]


@pytest.mark.parametrize("when", ["at once", "later"])
def test_what_is_no_failure_of_a_handler_ends_the_run(when: str) -> None:
    setting = Setting()
    writes: list[int] = []

    def gone(number: int, outcome: Outcome) -> None:
        writes.append(number)
        raise BrokenPipeError

    setting.heard.outcome = gone  # type: ignore[method-assign]  # a report whose output is gone
    setting.feed([{"kind": "x"}, {"kind": "x"}] if when == "at once" else slow(2))
    for pending in setting.pending.values():
        pending.callback(None)
    assert setting.ended[0].type is BrokenPipeError
    assert writes == [1]


def test_a_system_exit_of_a_handler_ends_the_run() -> None:
    setting = Setting()

    @setting.dispatcher.handler("during", kind="exit")
    def leave(event: Any) -> None:
        raise SystemExit(7)

    setting.feed([{"kind": "exit"}, {"kind": "x"}])
    assert setting.ended[0].type is SystemExit
    assert not setting.heard.outcomes


def test_many_events_need_no_depth() -> None:
    setting = Setting()
    waiting: list[Callable[[Any], None]] = []

    @setting.dispatcher.handler("during", kind="x")
    def handle(event: Any) -> Deferred[Any]:
        deferred: Deferred[Any] = Deferred()
        waiting.append(deferred.callback)
        return deferred

    feed = setting.feed({"kind": "x"} for _ in range(3_000))
    while waiting:
        waiting.pop()(None)
    assert setting.ended == [None]
    assert feed.tally.events == 3_000
