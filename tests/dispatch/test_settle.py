"""What a handler returned, as far as it is there."""

from __future__ import annotations

import gc
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure

from twisted_evproc.dispatch._settle import arrived, forwarded, settle, unsettled, watch

VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="")


@pytest.mark.parametrize("value", [None, 0, "x", [1], object(), ValueError("a value like another")])
def test_plain_values_are_themselves(value: object) -> None:
    assert settle(value) is value
    assert not unsettled(value)


def test_a_fired_deferred_gives_its_value_and_keeps_it() -> None:
    deferred = succeed("value")
    assert settle(deferred) == settle(deferred) == "value"
    assert deferred.result == "value"


def test_a_failed_deferred_gives_its_failure_to_everyone_and_is_not_reported_at_collection() -> None:
    with capturedLogs() as logged:
        deferred: Deferred[Any] = fail(ValueError("x"))
        assert settle(deferred) is settle(deferred) is deferred.result
        assert unsettled(deferred.result)
        del deferred
        gc.collect()
    assert [event for event in logged if event["log_level"] >= LogLevel.error] == []


def test_a_pending_deferred_is_itself() -> None:
    deferred: Deferred[Any] = Deferred()
    assert settle(deferred) is deferred
    chained: Deferred[Any] = succeed(None).addCallback(lambda _: deferred)
    assert settle(chained) is chained
    deferred.callback("value")
    assert settle(chained) == "value"


def test_coroutines_run_as_far_as_they_can() -> None:
    async def at_once() -> str:
        return await succeed("value")

    async def fails() -> None:
        raise ValueError("x")

    async def waits() -> str:
        return (await waited_for) + "!"

    waited_for: Deferred[str] = Deferred()
    assert settle(at_once()) == "value"
    failure = settle(fails())
    assert isinstance(failure, Failure)
    assert failure.check(ValueError)
    pending = settle(waits())
    assert isinstance(pending, Deferred)
    waited_for.callback("value")
    assert settle(pending) == "value!"


def test_a_coroutine_keeps_one_context_of_its_own_all_the_way() -> None:
    async def handler() -> str:
        token = VARIABLE.set("inside")
        await waited_for
        found = VARIABLE.get()
        VARIABLE.reset(token)
        return found

    waited_for: Deferred[None] = Deferred()
    pending = copy_context().run(settle, handler())
    assert VARIABLE.get() == ""
    waited_for.callback(None)
    assert settle(pending) == "inside"
    assert VARIABLE.get() == ""


def test_cancelling_reaches_what_a_coroutine_waits_for() -> None:
    seen: list[str] = []

    async def handler() -> None:
        try:
            await waited_for
        except CancelledError:
            seen.append("cancelled")
            raise

    waited_for: Deferred[None] = Deferred(lambda _: seen.append("canceller"))
    pending = settle(handler())
    pending.cancel()
    assert seen == ["canceller", "cancelled"]
    assert settle(pending).check(CancelledError)


def test_what_is_no_deferred_needs_none_of_our_own() -> None:
    assert forwarded(5) == 5


def test_a_deferred_of_our_own_leaves_the_result_to_others() -> None:
    deferred: Deferred[str] = Deferred()
    heard: list[Any] = []
    for _ in range(2):
        forwarded(deferred).addCallback(heard.append)
    deferred.addCallback(heard.append)
    deferred.callback("value")
    assert heard == ["value", "value", "value"]


@pytest.mark.parametrize("result", ["value", Failure(ValueError("x"))])
def test_awaiting_leaves_the_result_to_others(result: Any) -> None:
    deferred: Deferred[Any] = Deferred()
    heard: list[Any] = []
    for _ in range(2):
        Deferred.fromCoroutine(arrived(deferred)).addBoth(heard.append)
    deferred.addBoth(heard.append)
    deferred.callback(result)
    assert [getattr(each, "value", each) for each in heard] == [getattr(result, "value", result)] * 3


def test_what_is_awaited_is_cancelled_and_waited_for() -> None:
    end: Deferred[str] = Deferred()

    async def stubborn() -> str:
        try:
            await Deferred()
        except CancelledError:
            pass
        return await end

    heard: list[Any] = []
    waiting = Deferred.fromCoroutine(arrived(settle(stubborn())))
    waiting.addBoth(heard.append)
    waiting.cancel()
    assert heard == []
    end.callback("value")
    assert heard == ["value"]


def test_watching_passes_the_result_on_to_others() -> None:
    for result in ("value", Failure(ValueError("x"))):
        deferred: Deferred[Any] = Deferred()
        heard: list[Any] = []
        watch(deferred, heard.append)
        watch(deferred, heard.append)
        deferred.callback(result)
        assert heard == [result, result]


def test_a_watched_failure_that_nobody_takes_is_not_reported_at_collection() -> None:
    with capturedLogs() as logged:
        deferred: Deferred[Any] = Deferred()
        watch(deferred, lambda result: None)
        deferred.errback(ValueError("x"))
        del deferred
        gc.collect()
    assert [event for event in logged if event["log_level"] >= LogLevel.error] == []
