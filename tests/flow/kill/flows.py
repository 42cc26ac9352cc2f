"""Flows of several shapes, to be killed; each ends the same however often that happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater

from twisted_evproc._reactor import default_clock
from twisted_evproc.flow import (
    NOT_DONE,
    Eventor,
    ResourcePool,
    RunMode,
    StepStatus,
    and_,
    at_least,
    current_step,
    done,
    or_,
)

SUCCESS, FAILURE, COMPLETE = StepStatus.success, StepStatus.failure, StepStatus.complete


def work(value: Any = None) -> Any:
    return value


def fail() -> None:
    raise ValueError("as always")


def fail_at_first() -> int:
    """Fails in its first two attempts."""
    attempt = current_step().attempt
    if attempt < 3:
        raise ValueError(f"attempt {attempt}")
    return 3


async def work_on_the_reactor(value: Any) -> Any:
    await deferLater(default_clock(None), 0.002)
    return value


def work_later() -> Deferred[str]:
    return succeed("now")


def flow(name: str, run_mode: RunMode, **config: Any) -> Eventor:
    return Eventor(name, run_mode=run_mode, logging_level=100, config=config)


def chain(run_mode: RunMode, length: int = 5, executor: str = "thread") -> Eventor:
    """One step after the other."""
    ev = flow("chain", run_mode, executor=executor)
    events = [ev.add_event(f"go {number}") for number in range(length + 1)]
    for number in range(length):
        step = ev.add_step(f"step {number}", work, (number,), triggers={SUCCESS: events[number + 1]})
        ev.add_assoc(events[number], step)
    ev.trigger_event(events[0], 1)
    return ev


def inline(run_mode: RunMode) -> Eventor:
    """On the reactor, plain functions and coroutines in turn."""
    ev = flow("inline", run_mode)
    events = [ev.add_event(f"e{number}") for number in range(4)]
    functions: list[Callable[..., Any]] = [work_later, work_on_the_reactor, work]
    for number, function in enumerate(functions):
        step = ev.add_step(
            f"s{number}",
            function,
            () if function is work_later else (number,),
            triggers={SUCCESS: events[number + 1]},
            config={"executor": "inline"},
        )
        ev.add_assoc(events[number], step)
    ev.trigger_event(events[0], 1)
    return ev


def processes(run_mode: RunMode) -> Eventor:
    """In worker processes."""
    return chain(run_mode, 2, "process")


def fan(run_mode: RunMode, width: int = 4) -> Eventor:
    """Fan-out, and several ways to join."""
    ev = flow("fan", run_mode, max_concurrent=0)
    start = ev.add_event("start")
    ended = []
    for number in range(width):
        ended.append(ev.add_event(f"done {number}"))
        ev.add_assoc(start, ev.add_step(f"branch {number}", work, (number,), triggers={SUCCESS: ended[-1]}))
    joins = {
        "all": tuple(ended),
        "any": or_(*ended),
        "two": at_least(2, *ended),
        "nested": and_(or_(ended[0], ended[1]), or_(ended[2], ended[3])),
    }
    for name, expr in joins.items():
        ev.add_assoc(ev.add_event(name, expr), ev.add_step(f"join {name}", work))
    ev.trigger_event(start, "s")
    return ev


def retries(run_mode: RunMode) -> Eventor:
    """A step that fails twice, however often it is killed."""
    ev = flow("retries", run_mode)
    start, ended = ev.add_event("start"), ev.add_event("ended")
    config = {"retries": 20, "backoff": 0.002}
    ev.add_assoc(start, ev.add_step("flaky", fail_at_first, triggers={SUCCESS: ended}, config=config))
    ev.add_assoc(ended, ev.add_step("last", work))
    ev.trigger_event(start, 1)
    return ev


def resources(run_mode: RunMode) -> Eventor:
    """Three that share two of something, and one that keeps it for a later step."""
    ev = flow("resources", run_mode, max_concurrent=0)
    pool, key = ResourcePool("gpu", 2), ResourcePool("key", 1)
    start = ev.add_event("start")
    for number in range(3):
        ev.add_assoc(start, ev.add_step(f"train {number}", work, (number,), acquires=[(pool, 1 + number % 2)]))
    taken = ev.add_event("taken")
    ev.add_assoc(start, ev.add_step("take", work, acquires=[(key, 1)], releases=[], triggers={SUCCESS: taken}))
    ev.add_assoc(taken, ev.add_step("give", work, releases=[(key, 1)]))
    ev.trigger_event(start, 1)
    return ev


def delays(run_mode: RunMode) -> Eventor:
    """Associations that wait."""
    ev = flow("delays", run_mode)
    events = [ev.add_event(name) for name in "abc"]
    ev.add_assoc(events[0], ev.add_step("first", work, triggers={SUCCESS: events[1]}), delay=0.01)
    ev.add_assoc(events[1], ev.add_step("second", work), events[2], delay=0.02)
    ev.add_assoc(events[2], ev.add_step("third", work))
    ev.trigger_event(events[0], 1)
    return ev


def sequences(run_mode: RunMode) -> Eventor:
    """The same for two sequences, a limit of one at a time on one of the steps."""
    ev = flow("sequences", run_mode, max_concurrent=3)
    start, ended = ev.add_event("start"), ev.add_event("ended")
    ev.add_assoc(start, ev.add_step("narrow", work, triggers={COMPLETE: ended}, config={"max_concurrent": 1}))
    ev.add_assoc(ended, ev.add_step("wide", work))
    for sequence in (1, "two"):
        ev.trigger_event(start, sequence)
    return ev


def failing(run_mode: RunMode) -> Eventor:
    """A failure that nothing follows from ends the run."""
    ev = flow("failing", run_mode)
    start, never = ev.add_event("start"), ev.add_event("never")
    ev.add_assoc(start, ev.add_step("bad", fail, triggers={SUCCESS: never}))
    ev.add_assoc(never, ev.add_step("unreached", work))
    ev.trigger_event(start, 1)
    return ev


def mending(run_mode: RunMode) -> Eventor:
    """A failure that something follows from."""
    ev = flow("mending", run_mode)
    start, failed, ended = (ev.add_event(name) for name in ("start", "failed", "ended"))
    ev.add_assoc(start, ev.add_step("bad", fail, triggers={FAILURE: failed, COMPLETE: ended}))
    ev.add_assoc(failed, ev.add_step("mend", work))
    ev.add_assoc(ended, ev.add_step("report", work))
    ev.trigger_event(start, 1)
    return ev


def ask(key: str) -> Any:
    return NOT_DONE if key.endswith("/1") else done("found")


def probed(run_mode: RunMode) -> Eventor:
    """A step in doubt is asked for."""
    ev = flow("probed", run_mode)
    start, ended = ev.add_event("start"), ev.add_event("ended")
    ev.add_assoc(start, ev.add_step("pay", work, ("paid",), triggers={SUCCESS: ended}, config={"probe": ask}))
    ev.add_assoc(ended, ev.add_step("last", work))
    ev.trigger_event(start, 1)
    return ev


def anonymous(run_mode: RunMode) -> Eventor:
    """The program leaves it to the run to number its sequences."""
    ev = flow("anonymous", run_mode)
    start = ev.add_event("start")
    ev.add_assoc(start, ev.add_step("only", work))
    ev.trigger_event(start)
    ev.trigger_event(start)
    return ev


def named(run_mode: RunMode) -> Eventor:
    """The program chooses the run's ID."""
    ev = Eventor("named", run_mode=run_mode, logging_level=100, run_id="order 17")
    start = ev.add_event("start")
    ev.add_assoc(start, ev.add_step("only", work))
    ev.trigger_event(start, 1)
    return ev


def fail_after_a_crash() -> None:
    if current_step().attempt == 2:
        raise ValueError("once")


def unlucky(run_mode: RunMode) -> Eventor:
    """A step that may fail once, and does when it was killed before."""
    ev = flow("unlucky", run_mode)
    start = ev.add_event("start")
    ev.add_assoc(start, ev.add_step("only", fail_after_a_crash, config={"retries": 1, "backoff": 0.002}))
    ev.trigger_event(start, 1)
    return ev


def looping(run_mode: RunMode) -> Eventor:
    """A step that makes the flow event happen that it follows from, for the next sequence."""
    ev = flow("looping", run_mode)
    start = ev.add_event("start")

    def again() -> None:
        sequence = int(current_step().sequence)
        if sequence < 3:
            ev.trigger_event(start, sequence + 1)

    ev.add_assoc(start, ev.add_step("again", again))
    ev.trigger_event(start, 1)
    return ev


def fail_until_recovered() -> str:
    if not current_step().recovery:
        raise ValueError("not in the first run")
    return "mended"


def recovering(run_mode: RunMode) -> Eventor:
    """Fails in its first run; each further one is a recovery, and not a continuation."""
    ev = flow("recovering", RunMode.recover if run_mode is RunMode.continue_ else run_mode, max_concurrent=0)
    start, halfway, ended = (ev.add_event(name) for name in ("start", "halfway", "ended"))
    ev.add_assoc(start, ev.add_step("well", work, triggers={SUCCESS: halfway}))
    ev.add_assoc(halfway, ev.add_step("bad", fail_until_recovered, triggers={SUCCESS: ended}), ev.add_step("beside", work))
    ev.add_assoc(ended, ev.add_step("last", work))
    ev.trigger_event(start, 1)
    return ev
