from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from zope.interface import implementer

from twisted_evproc import ABORT, COLLECT, LOG, RAISE, EventDispatcher, IEventDispatcher
from twisted_evproc.errors import ConfigurationError, KeywordNotAllowed
from twisted_evproc.service import SystemEvent, bridge_system_events


class Reactor(ReactorBase):
    """The triggers of a real reactor, and a clock that the test moves."""

    def __init__(self) -> None:
        self.clock = Clock()
        super().__init__()

    def installWaker(self) -> None:
        """It never sleeps."""

    def callLater(self, delay: float, callable: Any, *args: Any, **kw: Any) -> Any:  # noqa: A002  as ReactorBase calls it
        return self.clock.callLater(delay, callable, *args, **kw)

    def start(self) -> None:
        self.startRunning(installSignalHandlers=False)

    def removeAll(self) -> list[Any]:
        return []


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def dispatcher(reactor: Reactor) -> EventDispatcher:
    dispatcher = EventDispatcher(["system_event"], clock=reactor.clock)
    dispatcher.start()
    return dispatcher


@pytest.fixture
def logged() -> Iterator[Any]:
    """Reads the failures and errors logged so far."""
    with capturedLogs() as events:
        yield lambda: [
            event["log_failure"].type if event.get("log_failure") else event["log_format"]
            for event in events
            if event["log_level"] >= LogLevel.error
        ]


def heard(dispatcher: EventDispatcher, **match_spec: Any) -> list[Any]:
    events: list[Any] = []
    dispatcher.add_event_handler(events.append, "during", **match_spec)
    return events


def runs(reactor: Reactor) -> bool:
    return reactor.running


def stop(reactor: Reactor) -> None:
    reactor.stop()
    reactor.runUntilCurrent()


class TestTelling:
    def test_startup_and_shutdown_are_fired_with_their_type_as_a_detail(
        self, reactor: Reactor, dispatcher: EventDispatcher
    ) -> None:
        all_of_them, shutdowns = heard(dispatcher), heard(dispatcher, system_event="shutdown")
        bridge_system_events(dispatcher, reactor)
        assert all_of_them == []

        reactor.start()
        assert all_of_them == [SystemEvent("startup", "after", reactor)] and shutdowns == []
        stop(reactor)

        assert all_of_them[1:] == shutdowns == [SystemEvent("shutdown", "before", reactor)]
        assert not runs(reactor)

    def test_persist_where_it_is_asked_for(self, reactor: Reactor, dispatcher: EventDispatcher) -> None:
        events = heard(dispatcher)
        bridge_system_events(dispatcher, reactor, ("persist",))
        reactor.start()
        reactor.fireSystemEvent("persist")

        assert events == [SystemEvent("persist", "before", reactor)]

    def test_one_type_may_be_given_by_itself(self, reactor: Reactor, dispatcher: EventDispatcher) -> None:
        events = heard(dispatcher)
        bridge_system_events(dispatcher, reactor, "shutdown")
        reactor.start()
        stop(reactor)

        assert [event.type for event in events] == ["shutdown"]

    def test_threads_work_when_the_startup_is_told(self, reactor: Reactor, dispatcher: EventDispatcher) -> None:
        running: list[bool] = []
        dispatcher.add_event_handler(lambda event: running.append(reactor.running), "during")
        bridge_system_events(dispatcher, reactor)
        reactor.start()

        assert running == [True]

    def test_a_startup_that_is_over_is_told_at_once(self, reactor: Reactor, dispatcher: EventDispatcher) -> None:
        reactor.start()
        events = heard(dispatcher)
        bridge = bridge_system_events(dispatcher, reactor)

        assert [event.type for event in events] == ["startup"]
        assert repr(bridge) == "<SystemEventBridge into <EventDispatcher>, to come: 'shutdown'>"

    @pytest.mark.parametrize("phase", ["before", "during", "after"])
    def test_in_another_phase_of_the_reactor(self, reactor: Reactor, dispatcher: EventDispatcher, phase: str) -> None:
        order: list[str] = []
        for name in ("before", "during", "after"):
            reactor.addSystemEventTrigger(name, "shutdown", order.append, name)
        dispatcher.add_event_handler(lambda event: order.append(f"told {event.reactor_phase}"), "during")
        bridge_system_events(dispatcher, reactor, ["shutdown"], reactor_phase=phase)
        reactor.start()
        stop(reactor)

        assert order.index(f"told {phase}") == order.index(phase) + 1
        assert len(order) == 4

    def test_under_another_keyword(self, reactor: Reactor) -> None:
        dispatcher = EventDispatcher(["what"])
        dispatcher.start()
        events = heard(dispatcher, what="startup")
        bridge_system_events(dispatcher, reactor, keyword="what")
        reactor.start()

        assert len(events) == 1


class TestWaiting:
    def test_the_reactor_waits_for_all_handlers(self, reactor: Reactor, dispatcher: EventDispatcher) -> None:
        first: Deferred[None] = Deferred()
        second: Deferred[None] = Deferred()
        dispatcher.add_event_handler(lambda event: first, "before")
        dispatcher.add_event_handler(lambda event: second, "after")
        bridge_system_events(dispatcher, reactor, ["shutdown"])
        reactor.start()

        stop(reactor)
        assert runs(reactor)
        first.callback(None)
        assert runs(reactor)
        second.callback(None)
        assert not runs(reactor)
        assert reactor.clock.getDelayedCalls() == []

    def test_it_waits_no_longer_than_it_should(self, reactor: Reactor, dispatcher: EventDispatcher, logged: Any) -> None:
        cancelled: list[Any] = []
        dispatcher.add_event_handler(lambda event: Deferred(cancelled.append), "during")
        bridge_system_events(dispatcher, reactor, ["shutdown"], timeout=5)
        reactor.start()
        stop(reactor)

        reactor.clock.advance(4.9)
        assert runs(reactor)
        reactor.clock.advance(0.2)

        assert not runs(reactor) and len(cancelled) == 1
        assert logged() == ["handlers of {dispatcher!r} take more than {seconds} s for {event}: cancelled, the reactor goes on"]

    def test_a_handler_that_swallows_its_cancellation_does_not_keep_it(
        self, reactor: Reactor, dispatcher: EventDispatcher
    ) -> None:
        async def stubborn(event: Any) -> None:
            while True:
                try:
                    await Deferred()
                except BaseException:
                    if done:
                        raise

        done: list[Any] = []
        dispatcher.add_event_handler(stubborn, "during")
        bridge_system_events(dispatcher, reactor, ["shutdown"], timeout=5)
        reactor.start()
        stop(reactor)
        reactor.clock.advance(5)

        assert not runs(reactor)
        done.append(True)

    def test_without_a_time_out_it_waits_for_ever(self, reactor: Reactor, dispatcher: EventDispatcher) -> None:
        dispatcher.add_event_handler(lambda event: Deferred(), "during")
        bridge_system_events(dispatcher, reactor, ["shutdown"], timeout=None)
        reactor.start()
        stop(reactor)
        reactor.clock.advance(1e9)

        assert runs(reactor)


class TestFailures:
    @pytest.mark.parametrize("policy", [LOG, COLLECT, ABORT, RAISE])
    def test_each_is_logged_once_and_the_reactor_goes_on(self, reactor: Reactor, policy: Any, logged: Any) -> None:
        dispatcher = EventDispatcher(["system_event"], on_failure=policy)
        dispatcher.start()

        @dispatcher.handler("during")
        def fail(event: Any) -> None:
            raise OSError("no disk")

        bridge_system_events(dispatcher, reactor, ["shutdown"])
        reactor.start()
        stop(reactor)

        assert not runs(reactor)
        assert logged() == [OSError]

    def test_of_a_dispatcher_that_cannot_be_told(self, reactor: Reactor, logged: Any) -> None:
        @implementer(IEventDispatcher)
        class Broken:
            def fire_event(self, event: Any, /, **details: Any) -> Any:
                raise OSError("no disk")

            def add_event_handler(self, *args: Any, **options: Any) -> Any:
                """Not wanted here."""

            def remove_event_handler(self, event_handler_id: Any) -> Any:
                """Not wanted here."""

        bridge_system_events(Broken(), reactor, ["shutdown"])
        reactor.start()
        stop(reactor)

        assert not runs(reactor)
        assert logged() == [OSError]


class TestRemoving:
    def test_nothing_is_told_any_more(self, reactor: Reactor, dispatcher: EventDispatcher) -> None:
        events = heard(dispatcher)
        bridge = bridge_system_events(dispatcher, reactor)
        bridge.remove()
        bridge.remove()
        reactor.start()
        stop(reactor)

        assert events == []

    def test_what_was_told_already_is_not_asked_for_again(self, reactor: Reactor, dispatcher: EventDispatcher) -> None:
        events = heard(dispatcher)
        bridge = bridge_system_events(dispatcher, reactor)
        reactor.start()
        bridge.remove()
        stop(reactor)

        assert [event.type for event in events] == ["startup"]

    def test_a_handler_may_do_it(self, reactor: Reactor, dispatcher: EventDispatcher) -> None:
        dispatcher.add_event_handler(lambda event: bridge.remove(), "during")
        bridge = bridge_system_events(dispatcher, reactor, ["shutdown"])
        reactor.start()
        stop(reactor)

        assert not runs(reactor)


class TestOptions:
    def test_a_keyword_that_is_not_allowed_is_refused(self, reactor: Reactor) -> None:
        with pytest.raises(KeywordNotAllowed, match="'system_event' not among .* allow_match_spec_keywords"):
            bridge_system_events(EventDispatcher(["user"]), reactor)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"event_types": ["shutdwon"]}, "'persist', 'shutdown', 'startup'"),
            ({"event_types": []}, "one or more of"),
            ({"event_types": 3}, "one or more of"),
            ({"reactor_phase": "later"}, "'before', 'during', 'after'"),
            ({"timeout": 0}, "timeout=0"),
        ],
    )
    def test_other_mistakes_are_named(
        self, reactor: Reactor, dispatcher: EventDispatcher, options: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=words):
            bridge_system_events(dispatcher, reactor, **options)
        reactor.start()

    def test_what_is_no_dispatcher_or_no_reactor_is_refused(self, reactor: Reactor, dispatcher: EventDispatcher) -> None:
        with pytest.raises(ConfigurationError, match="IEventDispatcher"):
            bridge_system_events("dispatcher", reactor)
        with pytest.raises(ConfigurationError, match="addSystemEventTrigger"):
            bridge_system_events(dispatcher, Clock())


class TestRealReactor:
    """In another process, ended by a signal."""

    PROGRAM = """
        import sys
        from pathlib import Path
        from twisted.internet import reactor
        from twisted.internet.task import deferLater
        from twisted.internet.threads import deferToThread
        from twisted_evproc import EventDispatcher
        from twisted_evproc.service import bridge_system_events

        dispatcher = EventDispatcher(["system_event"])
        done = Path(sys.argv[1])

        @dispatcher.handler("during", system_event="startup")
        async def begin(event):
            await deferToThread(done.write_text, "begun\\n")
            print("ready", flush=True)

        @dispatcher.handler("before", system_event="shutdown")
        async def hand_over(event):
            await deferLater(reactor, 0.05)
            await deferToThread(done.write_text, done.read_text() + "handed over\\n")

        @dispatcher.handler("during", system_event="shutdown")
        def fail(event):
            raise OSError("no disk")

        @dispatcher.handler("after", system_event="shutdown")
        async def say_so(event):
            await deferLater(reactor, 0.05)
            done.write_text(done.read_text() + "said so\\n")

        @dispatcher.handler("after", system_event="shutdown")
        async def hang(event):
            if sys.argv[2] == "hang":
                await deferLater(reactor, 1e6)

        dispatcher.start()
        bridge_system_events(dispatcher, reactor, timeout=1.0 if sys.argv[2] == "hang" else 60.0)
        reactor.run()
        done.write_text(done.read_text() + "reactor stopped\\n")
    """

    @pytest.mark.parametrize("manner", ["finish", "hang"])
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_handlers_have_finished_when_the_process_ends(self, tmp_path: Path, number: signal.Signals, manner: str) -> None:
        done = tmp_path / "done"
        child = subprocess.Popen(
            [sys.executable, "-c", dedent(self.PROGRAM), str(done), manner],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert child.stdout is not None and child.stdout.readline() == "ready\n"
            os.kill(child.pid, number)
            child.communicate(timeout=60)
        finally:
            child.kill()
            child.wait()

        assert done.read_text(encoding="utf-8").splitlines() == ["begun", "handed over", "said so", "reactor stopped"]
