"""A firing, when those who hear of its calls come back to it, and when it is cancelled."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from twisted_evproc import COLLECT, LOG, RAISE, EventDispatcher
from twisted_evproc.testing import assert_pending, failure_now, result_now


def started(**options: Any) -> EventDispatcher:
    dispatcher = EventDispatcher(["kind"], clock=Clock(), **options)
    result_now(dispatcher.start())
    return dispatcher


@pytest.mark.parametrize("policy", [COLLECT, RAISE])
def test_who_waits_for_the_end_of_a_call_may_let_the_firing_end(policy: Any) -> None:
    dispatcher, first, second = started(on_failure=policy), Deferred[str](), Deferred[str]()
    handler_id = result_now(dispatcher.add_event_handler(lambda event: first, "during"))
    _ = dispatcher.add_event_handler(lambda event: second, "during")
    firing = dispatcher.fire_event("event")
    _ = dispatcher.remove_event_handler(handler_id).addCallback(lambda _: second.callback("second"))
    first.errback(ValueError("first"))
    if policy is RAISE:
        failure_now(firing, ValueError)
    else:
        outcome = result_now(firing)
        assert [result.failure and result.failure.type for result in outcome.results] == [ValueError, None]
        assert outcome.values == ("second",)


@pytest.mark.parametrize("policy", [LOG, COLLECT, RAISE])
def test_a_failure_in_a_firing_that_is_cancelled_is_told_once(policy: Any) -> None:
    dispatcher = started(on_failure=policy)

    def fail(event: Any) -> None:
        raise ValueError("lost?")

    with capturedLogs() as logged:
        _ = dispatcher.add_event_handler(fail, "during")
        _ = dispatcher.add_event_handler(lambda event: Deferred(), "during")
        firing = dispatcher.fire_event("event")
        assert_pending(firing)
        firing.cancel()
        failure_now(firing, CancelledError)
    assert [event["log_failure"].type for event in logged if "log_failure" in event] == [ValueError]


@pytest.mark.parametrize("policy", [LOG, COLLECT, RAISE])
def test_a_handler_that_fails_after_it_has_cancelled_its_firing_is_told(policy: Any) -> None:
    dispatcher, waiting = started(on_failure=policy), Deferred[None]()
    firings: list[Deferred[Any]] = []

    def fail(event: Any) -> None:
        firings[0].cancel()
        raise ValueError("lost?")

    _ = dispatcher.add_event_handler(lambda event: waiting, "before")
    _ = dispatcher.add_event_handler(fail, "during")
    firings.append(dispatcher.fire_event("event"))
    with capturedLogs() as logged:
        waiting.callback(None)
    failure_now(firings[0], CancelledError)
    assert [event["log_failure"].type for event in logged if "log_failure" in event] == [ValueError]


def test_cancelling_a_firing_that_is_its_own_handlers_result() -> None:
    dispatcher, waiting = started(), Deferred[Any]()
    firings: list[Deferred[Any]] = []
    _ = dispatcher.add_event_handler(lambda event: waiting, "before")
    _ = dispatcher.add_event_handler(lambda event: firings[0], "during")
    firings.append(dispatcher.fire_event("event"))
    waiting.callback(None)
    firings[0].cancel()
    # It failed, and its own handler heard of that.
    assert result_now(firings[0]) is None


def test_a_canceller_that_raises_keeps_no_other_call_from_being_cancelled() -> None:
    def broken(_: Deferred[Any]) -> None:
        raise ValueError("broken canceller")

    dispatcher = started()
    first, second = Deferred[Any](broken), Deferred[Any]()
    _ = dispatcher.add_event_handler(lambda event: first, "during")
    _ = dispatcher.add_event_handler(lambda event: second, "during")
    firing = dispatcher.fire_event("event")
    with capturedLogs() as logged:
        firing.cancel()
    failure_now(firing, CancelledError)
    assert second.called
    assert [event["log_failure"].type for event in logged if "log_failure" in event] == [ValueError]


def test_observers_cannot_change_the_details() -> None:
    dispatcher = started()
    refused: list[str] = []

    class Meddler:
        def firing_started(self, firing: Any) -> None:
            try:
                firing.details["kind"] = "changed"
            except TypeError as error:
                refused.append(str(error))

        def handler_started(self, *_: Any) -> None: ...

        def handler_ended(self, *_: Any) -> None: ...

        def firing_ended(self, *_: Any) -> None: ...

    dispatcher.add_observer(Meddler())
    emit = dispatcher.emitter(kind="as it was")
    assert dict(result_now(emit("event")).details) == {"kind": "as it was"}
    assert len(refused) == 1
