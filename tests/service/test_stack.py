from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.application.service import Application, IService, IServiceCollection, MultiService, Service
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from zope.interface.verify import verifyObject

from twisted_evproc import EventDispatcher
from twisted_evproc.errors import ConfigurationError
from twisted_evproc.service import DispatcherService, PumpService, ServiceStack, UtilityService
from twisted_evproc.sources import EventPump, QueuedEvent


def result(deferred: Deferred[Any]) -> Any:
    found: list[Any] = []
    deferred.addBoth(found.append)
    return found[0] if found else "pending"


@pytest.fixture
def logged() -> Iterator[Any]:
    """Reads the failures and errors logged so far."""
    with capturedLogs() as events:
        yield lambda: [
            event["log_failure"].type if event.get("log_failure") else event["log_format"]
            for event in events
            if event["log_level"] >= LogLevel.error
        ]


class Plain(Service):
    """A service of somebody else's, which stops when the test says so."""

    def __init__(self, calls: list[str], name: str) -> None:
        self.calls = calls
        self.setName(name)
        self.stopped: Deferred[None] = Deferred()

    def privilegedStartService(self) -> None:
        self.calls.append(f"privileged {self.name}")

    def startService(self) -> None:
        super().startService()
        self.calls.append(f"start {self.name}")

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self.calls.append(f"stop {self.name}")
        return self.stopped


class Refusing(Plain):
    def startService(self) -> None:
        raise OSError("address in use")


@pytest.fixture
def calls() -> list[Any]:
    return []


@pytest.fixture
def three(calls: list[Any]) -> tuple[Plain, Plain, Plain]:
    return Plain(calls, "dispatcher"), Plain(calls, "pump"), Plain(calls, "source")


Make = Callable[[str, list[Any]], Any]


class TestOrder:
    def test_children_start_in_order_and_stop_in_reverse_each_behind_the_one_before(
        self, calls: list[Any], three: tuple[Plain, Plain, Plain]
    ) -> None:
        dispatcher, pump, source = three
        stack = ServiceStack(*three)
        stack.startService()
        assert calls == ["start dispatcher", "start pump", "start source"]
        calls.clear()

        stopped = stack.stopService()
        assert calls == ["stop source"]
        source.stopped.callback(None)
        assert calls == ["stop source", "stop pump"]
        pump.stopped.callback(None)
        assert calls == ["stop source", "stop pump", "stop dispatcher"]

        assert not stopped.called
        dispatcher.stopped.callback(None)
        assert result(stopped) is None

    def test_a_multi_service_does_not_do_that(self, calls: list[Any], three: tuple[Plain, Plain, Plain]) -> None:
        multi = MultiService()
        for service in three:
            service.setServiceParent(multi)
        multi.startService()
        calls.clear()

        multi.stopService()

        assert calls == ["stop source", "stop pump", "stop dispatcher"]

    def test_each_starts_when_the_one_before_works(self, calls: list[Any], make_utility: Make) -> None:
        first, second = make_utility("first", calls), make_utility("second", calls)
        stack = ServiceStack(UtilityService(first), UtilityService(second))
        stack.startService()
        working = stack.when_started()

        assert calls == ["start first"]
        first.started.callback(None)
        assert calls == ["start first", "start second"]
        assert not working.called
        second.started.callback(None)
        assert result(working) is None

    def test_stopping_while_it_starts_stops_those_that_were_started(
        self, calls: list[Any], make_ready: Make, make_utility: Make, logged: Any
    ) -> None:
        first, second, third = make_ready("first", calls), make_utility("second", calls), make_utility("third", calls)
        stack = ServiceStack(*map(UtilityService, (first, second, third)))
        stack.startService()
        working = stack.when_started()

        stopped = stack.stopService()

        assert calls == ["start first", "start second", "stop second"]
        second.stopped.callback(None)
        first.stopped.callback(None)
        assert calls == ["start first", "start second", "stop second", "stop first"]
        assert result(stopped) is None and result(working).check(CancelledError)
        assert logged() == []

    def test_a_child_may_stop_it_while_it_is_started(self, calls: list[Any]) -> None:
        class Hasty(Plain):
            def startService(self) -> None:
                super().startService()
                stack.stopService()

        first, second, third = Plain(calls, "first"), Hasty(calls, "second"), Plain(calls, "third")
        stack = ServiceStack(first, second, third)
        stack.startService()
        second.stopped.callback(None)

        assert calls == ["start first", "start second", "stop second", "stop first"]

    def test_started_and_stopped_again(self, calls: list[Any], make_ready: Make) -> None:
        first, second = make_ready("first", calls), make_ready("second", calls)
        stack = ServiceStack(UtilityService(first), UtilityService(second))
        stack.startService()
        stopped = stack.stopService()
        stack.startService()

        assert calls == ["start first", "start second", "stop second"]
        second.stopped.callback(None)
        first.stopped.callback(None)
        assert result(stopped) is None
        assert calls[2:] == ["stop second", "stop first", "start first", "start second"]

    def test_a_stack_in_a_stack(self, calls: list[Any], make_ready: Make) -> None:
        names = ("first", "second", "third")
        first, second, third = (make_ready(name, calls) for name in names)
        inner = ServiceStack(UtilityService(second), UtilityService(third))
        stack = ServiceStack(UtilityService(first), inner)
        stack.startService()
        stopped = stack.stopService()
        for utility in (third, second, first):
            assert not stopped.called
            utility.stopped.callback(None)

        assert calls == [*(f"start {name}" for name in names), "stop third", "stop second", "stop first"]
        assert result(stopped) is None

    def test_nothing_is_fired_into_a_closed_dispatcher(self) -> None:
        clock = Clock()
        dispatcher, seen = EventDispatcher(clock=clock), []
        work: Deferred[None] = Deferred()

        @dispatcher.handler("during")
        def keep(event: Any) -> Deferred[None]:
            seen.append(event)
            return work

        pump = EventPump(handler=dispatcher, clock=clock)
        stack = ServiceStack(DispatcherService(dispatcher), PumpService(pump))
        stack.startService()
        for number in range(3):
            pump.put(QueuedEvent("test", None, number))

        stopped = stack.stopService()

        assert (seen, dispatcher.running, pump.running) == ([0], True, False)
        work.callback(None)
        assert seen == [0, 1, 2]
        assert (dispatcher.running, result(stopped)) == (False, None)


class TestFailures:
    def test_a_child_that_fails_to_stop_does_not_keep_the_others(
        self, calls: list[Any], three: tuple[Plain, Plain, Plain], logged: Any
    ) -> None:
        dispatcher, pump, source = three
        stack = ServiceStack(*three)
        stack.startService()
        calls.clear()

        stopped = stack.stopService()
        source.stopped.errback(OSError("no disk"))
        pump.stopped.errback(ValueError("no sense"))
        dispatcher.stopped.callback(None)

        assert calls == ["stop source", "stop pump", "stop dispatcher"]
        assert logged() == [OSError, ValueError]
        assert result(stopped) is None

    def test_a_child_whose_stop_raises_does_not_either(self, calls: list[Any], logged: Any) -> None:
        class Raising(Plain):
            def stopService(self) -> Deferred[None]:
                raise OSError("no disk")

        first = Plain(calls, "first")
        stack = ServiceStack(first, Raising(calls, "second"))
        stack.startService()
        stopped = stack.stopService()
        first.stopped.callback(None)

        assert calls[-1] == "stop first"
        assert logged() == [OSError] and result(stopped) is None

    def test_a_child_that_fails_to_start_is_raised_and_the_others_are_stopped(self, calls: list[Any]) -> None:
        first, second, last = Plain(calls, "first"), Plain(calls, "second"), Plain(calls, "last")
        stack = ServiceStack(first, second, Refusing(calls, "third"), last)

        with pytest.raises(OSError, match="address in use"):
            stack.startService()

        assert not stack.running
        assert calls == ["start first", "start second", "stop second"]
        second.stopped.callback(None)
        stopped = stack.stopService()
        assert not stopped.called
        first.stopped.callback(None)
        assert calls == ["start first", "start second", "stop second", "stop first"]
        assert result(stopped) is None

    def test_a_child_that_fails_to_start_later_is_logged_and_the_others_are_stopped(
        self, calls: list[Any], make_ready: Make, make_utility: Make, logged: Any
    ) -> None:
        first, second, last = make_ready("first", calls), make_utility("second", calls), make_utility("last", calls)
        stack = ServiceStack(*map(UtilityService, (first, second, last)))
        stack.startService()
        working = stack.when_started()

        second.started.errback(OSError("no disk"))

        # by the child, and by the stack, which does not run because of it
        assert logged() == [OSError, OSError]
        assert result(working).check(OSError)
        assert not stack.running and stack.start_failure is not None
        assert calls == ["start first", "start second", "stop second"]
        second.stopped.callback(None)
        assert calls[-1] == "stop first"


class TestTimeOuts:
    def test_each_child_has_its_time_to_stop(self, calls: list[Any], three: tuple[Plain, Plain, Plain], logged: Any) -> None:
        clock = Clock()
        dispatcher, pump, source = three
        stack = ServiceStack(*three, stop_timeout=5, clock=clock)
        stack.startService()
        calls.clear()
        stopped = stack.stopService()

        clock.advance(4.9)
        assert calls == ["stop source"]
        clock.advance(0.2)
        assert calls == ["stop source", "stop pump"]
        pump.stopped.callback(None)
        assert calls == ["stop source", "stop pump", "stop dispatcher"]
        dispatcher.stopped.callback(None)

        assert result(stopped) is None
        assert logged() == ["{service!r} takes more than {seconds} s to stop; the others go on"]
        assert clock.getDelayedCalls() == []
        source.stopped.callback(None)

    def test_a_child_that_fails_behind_its_time_is_logged(self, calls: list[Any], logged: Any) -> None:
        clock, child = Clock(), Plain(calls, "child")
        stack = ServiceStack(child, stop_timeout=1, clock=clock)
        stack.startService()
        stopped = stack.stopService()
        clock.advance(1)
        assert result(stopped) is None

        child.stopped.errback(OSError("no disk"))

        assert logged()[1:] == [OSError]

    def test_without_a_time_out_no_clock_is_needed(self, calls: list[Any]) -> None:
        clock, child = Clock(), Plain(calls, "child")
        stack = ServiceStack(child, clock=clock)
        stack.startService()
        stack.stopService()

        assert clock.getDelayedCalls() == []


class TestCollection:
    def test_it_is_a_service_and_a_collection(self) -> None:
        stack = ServiceStack()

        assert verifyObject(IService, stack) and verifyObject(IServiceCollection, stack)
        stack.startService()
        assert result(stack.stopService()) is None

    def test_it_finds_its_children(self, calls: list[Any], three: tuple[Plain, Plain, Plain]) -> None:
        stack = ServiceStack(*three, name="events")

        assert list(stack) == list(three)
        assert stack.getServiceNamed("pump") is three[1] and three[1].parent is stack
        assert repr(stack) == "<ServiceStack 'events' of 'dispatcher', 'pump', 'source'>"
        with pytest.raises(RuntimeError, match="same name"):
            Plain(calls, "pump").setServiceParent(stack)

    def test_privileges_are_used_in_order(self, calls: list[Any], three: tuple[Plain, Plain, Plain]) -> None:
        ServiceStack(*three).privilegedStartService()

        assert calls == ["privileged dispatcher", "privileged pump", "privileged source"]

    def test_a_child_added_while_it_runs_is_started_and_is_the_first_to_stop(self, calls: list[Any]) -> None:
        first, late = Plain(calls, "first"), Plain(calls, "late")
        stack = ServiceStack(first)
        stack.startService()

        late.setServiceParent(stack)
        stack.stopService()

        assert calls == ["start first", "privileged late", "start late", "stop late"]

    def test_a_child_added_while_it_starts_waits_for_those_before(self, calls: list[Any], make_utility: Make) -> None:
        first = make_utility("first", calls)
        stack = ServiceStack(UtilityService(first))
        stack.startService()
        Plain(calls, "late").setServiceParent(stack)

        assert calls == ["start first", "privileged late"]
        first.started.callback(None)
        assert calls == ["start first", "privileged late", "start late"]

    def test_a_late_child_that_cannot_start_does_not_stop_the_others(
        self, calls: list[Any], make_utility: Make, logged: Any
    ) -> None:
        stack = ServiceStack(Plain(calls, "first"))
        stack.startService()

        with pytest.raises(OSError, match="address in use"):
            Refusing(calls, "late").setServiceParent(stack)
        assert stack.running and calls == ["start first", "privileged late"]

        later = make_utility("later", calls)
        stack.removeService(stack.getServiceNamed("late"))
        UtilityService(later).setServiceParent(stack)
        later.started.errback(OSError("no disk"))
        assert stack.running and logged() == [OSError, OSError]

    def test_stopping_while_a_late_child_starts_is_no_failure(self, calls: list[Any], make_utility: Make, logged: Any) -> None:
        stack, later = ServiceStack(), make_utility("later", calls)
        stack.startService()
        UtilityService(later).setServiceParent(stack)

        stopped = stack.stopService()
        later.stopped.callback(None)

        assert calls == ["start later", "stop later"]
        assert result(stopped) is None and logged() == []

    def test_a_child_taken_out_is_stopped(self, calls: list[Any], three: tuple[Plain, Plain, Plain]) -> None:
        stack = ServiceStack(*three)
        stack.startService()
        calls.clear()

        leaving = three[1].disownServiceParent()

        assert calls == ["stop pump"] and leaving is three[1].stopped
        assert list(stack) == [three[0], three[2]]
        three[2].stopped.callback(None)
        stack.stopService()
        assert calls == ["stop pump", "stop source", "stop dispatcher"]

    def test_a_child_that_was_not_started_is_taken_out_as_it_is(
        self, calls: list[Any], three: tuple[Plain, Plain, Plain]
    ) -> None:
        stack = ServiceStack(*three)

        assert three[1].disownServiceParent() is None
        assert calls == []
        with pytest.raises(ValueError, match="no child"):
            stack.removeService(three[1])

    def test_a_child_taken_out_while_it_starts_does_not_stop_the_others(
        self, calls: list[Any], make_utility: Make, logged: Any
    ) -> None:
        leaving = UtilityService(make_utility("leaving", calls))
        stack = ServiceStack(Plain(calls, "first"), leaving, Plain(calls, "last"))
        stack.startService()

        stack.removeService(leaving)

        assert sorted(calls) == ["start first", "start last", "start leaving", "stop leaving"]
        assert stack.running and logged() == []
        assert result(stack.when_started()) is None

    def test_what_is_no_service_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="wrap a utility in a UtilityService"):
            ServiceStack(EventDispatcher())

    def test_it_goes_into_an_application(self, calls: list[Any]) -> None:
        application: Any = Application("events")
        stack = ServiceStack(Plain(calls, "child"))
        stack.setServiceParent(IServiceCollection(application))
        IService(application).startService()

        stopped = IService(application).stopService()

        assert calls == ["start child", "stop child"]
        assert not stopped.called


def test_a_pending_failure_of_a_child_is_no_dropped_failure(calls: list[Any]) -> None:
    class Failing(Plain):
        def stopService(self) -> Deferred[None]:
            return fail(OSError("no disk"))

    stack = ServiceStack(Failing(calls, "child"))
    stack.startService()

    assert result(stack.stopService()) is None
