from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, capturedLogs
from twisted.python.failure import Failure

from twisted_evproc.cli._application import load
from twisted_evproc.cli._background import BackgroundApplication
from twisted_evproc.service import UtilityService

APPLICATION = """
from twisted.internet.defer import Deferred
from twisted_evproc import EventDispatcher, COLLECT, LOG, RAISE, ABORT
from twisted_evproc.sources import QueuedEvent

dispatcher = EventDispatcher(["kind"], on_failure={policy})
waiting = []
stopped = []

class Tap:
    def start(self, sink):
        self.put = lambda kind: sink.put(QueuedEvent(self, None, {{"kind": kind}}))
    def stop(self):
        stopped.append("tap")
    def __str__(self):
        return "tap"

tap = Tap()
sources = [tap]

@dispatcher.handler("during", kind="bad")
def bad(event):
    raise ValueError("bad")

@dispatcher.handler("during", kind="slow")
def slow(event):
    waiting.append(Deferred())
    return waiting[-1]

def to_event(record):
    return record, {{"kind": record["kind"]}} if record["kind"] != "wrong" else {{"colour": 1}}
"""


class Setting:
    made: ClassVar[list[Setting]] = []

    def __init__(self, folder: Path, policy: str = "LOG", **options: Any) -> None:
        (folder / "background_app.py").write_text(APPLICATION.format(policy=policy))
        application = load("background_app.py")
        self.made.append(self)
        self.module: Any = application._module
        self.clock = Clock()
        self.ended: list[Failure] = []
        self.held: list[Any] = []
        self.background = BackgroundApplication(application, self.clock, self.held.append, self.ended.append, **options)

    def start(self) -> None:
        started = self.background.start()
        assert started.called
        self.held[0]()


def fired(deferred: Deferred[Any]) -> bool:
    return bool(deferred.called)


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """Ends what a test has seen enough of."""
    yield
    while Setting.made:
        setting = Setting.made.pop()
        stopped = setting.background.stop(1)
        setting.clock.pump([1, 1, 1])
        assert fired(stopped)


@pytest.fixture
def logged() -> Iterator[Sequence[LogEvent]]:
    with capturedLogs() as events:
        yield events


@pytest.mark.parametrize("policy", ["LOG", "COLLECT", "ABORT", "RAISE", "COLLECT.only(OSError)"])
def test_every_failure_is_logged_once_whatever_the_policy(folder: Path, logged: Sequence[LogEvent], policy: str) -> None:
    setting = Setting(folder, policy)
    setting.start()
    setting.module.tap.put("bad")
    setting.module.tap.put("bad")
    failures = [event for event in logged if event.get("log_failure")]
    assert [str(event["log_failure"].value) for event in failures] == ["bad", "bad"]


def test_nothing_is_handled_before_the_reactor_runs(folder: Path) -> None:
    setting = Setting(folder)
    setting.background.start()
    setting.module.tap.put("slow")
    assert not setting.module.waiting
    setting.held[0]()
    assert setting.module.waiting


def test_stopping_waits_for_what_has_come_in(folder: Path) -> None:
    setting = Setting(folder)
    setting.start()
    setting.module.tap.put("slow")
    setting.module.tap.put("slow")
    stopped = setting.background.stop()
    assert setting.module.stopped == ["tap"]
    assert setting.module.dispatcher.running
    setting.module.waiting[0].callback(None)
    assert not fired(stopped)
    setting.module.waiting[1].callback(None)
    assert fired(stopped)
    assert not setting.module.dispatcher.running
    assert not setting.ended


def test_stopping_cancels_what_is_left_when_time_is_up(folder: Path) -> None:
    setting = Setting(folder)
    setting.start()
    setting.module.tap.put("slow")
    setting.module.tap.put("slow")
    stopped = setting.background.stop(5)
    setting.clock.advance(4.9)
    assert not fired(stopped)
    setting.clock.advance(0.2)
    setting.clock.advance(0.1)
    assert fired(stopped)
    assert len(setting.module.waiting) == 1


def test_it_can_be_started_again(folder: Path) -> None:
    setting = Setting(folder)
    setting.start()
    setting.background.stop()
    assert not setting.background.running
    assert setting.background.start().called
    setting.held[1]()
    setting.module.tap.put("slow")
    assert len(setting.module.waiting) == 1


def test_starting_and_stopping_twice_changes_nothing(folder: Path) -> None:
    setting = Setting(folder)
    assert setting.background.stop().called
    setting.start()
    assert setting.background.start().called
    assert setting.background.stop().called
    assert setting.background.stop().called


def test_events_that_cannot_be_fired_are_logged(folder: Path, logged: Sequence[LogEvent]) -> None:
    setting = Setting(folder)
    setting.start()
    setting.module.tap.put("wrong")
    (problem,) = [event for event in logged if event.get("log_level") == LogLevel.error]
    assert problem["number"] == 1
    assert "'colour' not among the match-spec keywords" in problem["error"]


def test_concurrency(folder: Path) -> None:
    setting = Setting(folder, concurrency=2)
    setting.start()
    for _ in range(3):
        setting.module.tap.put("slow")
    assert len(setting.module.waiting) == 2


def test_what_ends_it_by_itself_is_told(folder: Path) -> None:
    setting = Setting(folder)
    setting.start()
    setting.module.tap.put("slow")
    setting.module.waiting[0].errback(SystemExit(3))
    assert [type(failure.value) for failure in setting.ended] == [SystemExit]
    assert not setting.background.running


def test_it_can_be_stopped_while_a_source_starts(folder: Path) -> None:
    setting = Setting(folder)
    pending = Deferred[None]()
    setting.module.tap.start = lambda sink: pending
    started = setting.background.start().addErrback(lambda failure: failure.type)
    assert not fired(started)
    stopped = setting.background.stop()
    setting.clock.advance(1)
    assert fired(stopped)
    assert started.result is CancelledError
    assert not setting.module.dispatcher.running
    pending.callback(None)


def test_a_service_that_is_stopped_while_a_source_starts_says_so_once(folder: Path) -> None:
    setting = Setting(folder)
    setting.module.tap.start = lambda sink: Deferred()
    service = UtilityService(setting.background)
    service.startService()
    started = service.when_started().addErrback(lambda failure: failure.type)
    stopped = service.stopService()
    setting.clock.advance(1)
    assert fired(stopped)
    assert started.result is CancelledError
