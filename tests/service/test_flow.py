"""A flow as a service."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from twisted_evproc import flow as evr
from twisted_evproc.errors import ConfigurationError, StoreInUse
from twisted_evproc.service import FlowService
from twisted_evproc.testing import FakeFlowStore, assert_pending, result_now


class Flow:
    """One step that ends when the test says so, and one behind it."""

    def __init__(self, run_mode: evr.RunMode = evr.RunMode.restart, store: FakeFlowStore | None = None) -> None:
        self.clock = Clock()
        self.store = store or FakeFlowStore()
        self.calls: list[str] = []
        self.pending: Deferred[int] = Deferred()
        eventor = self.eventor = evr.Eventor("flow", self.store, run_mode, executor="inline", clock=self.clock, logging_level=50)
        go, on = eventor.add_event("go"), eventor.add_event("on")
        first = eventor.add_step("first", self.first, triggers={evr.StepStatus.success: on})
        second = eventor.add_step("second", self.second)
        eventor.add_assoc(go, first)
        eventor.add_assoc(on, second)
        eventor.trigger_event(go, 1)

    def first(self) -> Deferred[int]:
        self.calls.append("first")
        return self.pending

    def second(self) -> None:
        self.calls.append("second")


def test_it_runs_from_the_start_on_to_its_end() -> None:
    flow = Flow()
    service = FlowService(flow.eventor)

    service.startService()
    assert flow.calls == ["first"]
    assert not service.ended
    flow.pending.callback(1)

    assert flow.calls == ["first", "second"]
    assert isinstance(service.ended, evr.FlowResult)
    assert service.ended.status is evr.RunStatus.success
    result_now(service.stopService())


def test_stopping_waits_for_what_runs_and_begins_nothing_new() -> None:
    flow = Flow()
    service = FlowService(flow.eventor)
    service.startService()

    stopping = service.stopService()
    assert_pending(stopping)
    flow.pending.callback(1)

    result_now(stopping)
    assert flow.calls == ["first"]
    later = Flow(evr.RunMode.continue_, flow.store)
    FlowService(later.eventor).startService()
    assert later.calls == ["second"]


def test_when_time_is_up_what_runs_is_ended_and_can_be_continued() -> None:
    flow = Flow()
    service = FlowService(flow.eventor, stop_timeout=3, clock=flow.clock)
    service.startService()

    stopping = service.stopService()
    flow.clock.advance(2.9)
    assert_pending(stopping)
    flow.clock.advance(0.2)

    result_now(stopping)
    later = Flow(evr.RunMode.continue_, flow.store)
    FlowService(later.eventor).startService()
    assert later.calls == ["first"]


def test_what_keeps_it_from_running_is_logged() -> None:
    flow = Flow()
    flow.store.refusal = StoreInUse("memory", "here:1")
    service = FlowService(flow.eventor)

    with capturedLogs() as logs:
        service.startService()

    assert isinstance(service.ended, Failure)
    assert [str(log["log_failure"].value) for log in logs if "log_failure" in log] == [str(flow.store.refusal)]
    result_now(service.stopService())


def test_only_flows() -> None:
    with pytest.raises(ConfigurationError, match="Eventor"):
        FlowService(object())  # type: ignore[arg-type]  # that is the point
