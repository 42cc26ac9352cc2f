from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from twisted.application.service import IService, MultiService
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from zope.interface import implementer

from twisted_evproc import Event, EventDispatcher, EventProcessor, IBackgroundUtility, Processor, want
from twisted_evproc.errors import ConfigurationError
from twisted_evproc.interfaces import IEventHandler
from twisted_evproc.service import DispatcherService, PumpService, SourceService, UtilityService
from twisted_evproc.sources import DispatchEventHandler, EventGenerator, EventPump, QueuedEvent

if TYPE_CHECKING:
    from .conftest import Utility


def result(deferred: Deferred[Any]) -> Any:
    """What it has fired with; takes a failure out, so that nobody else hears of it."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    return found[0] if found else "pending"


@pytest.fixture
def logged() -> Iterator[Any]:
    """Reads what was logged as critical so far."""
    with capturedLogs() as events:
        yield lambda: [
            event["log_failure"].type for event in events if event["log_level"] is LogLevel.critical and "log_failure" in event
        ]


class TestStarting:
    def test_it_starts_its_utility_once(self, utility: Utility) -> None:
        service = UtilityService(utility)

        service.startService()
        service.startService()
        utility.started.callback(None)
        service.startService()

        assert utility.calls == ["start utility"]
        assert service.running

    def test_who_waits_hears_when_it_works(self, utility: Utility) -> None:
        service = UtilityService(utility)
        early = service.when_started()
        service.startService()
        late = service.when_started()

        assert not early.called and not late.called
        utility.started.callback(None)

        assert (result(early), result(late), result(service.when_started())) == (None, None, None)

    def test_a_failure_that_is_there_at_once_is_raised(self, logged: Any) -> None:
        @implementer(IBackgroundUtility)
        class Broken:
            running = False

            def start(self) -> Deferred[None]:
                return fail(OSError("no disk"))

            def stop(self, timeout: float | None = None) -> Deferred[None]:
                return succeed(None)

        service = UtilityService(Broken())
        waiting = service.when_started()

        with pytest.raises(OSError, match="no disk"):
            service.startService()

        assert not service.running
        assert result(waiting).check(OSError) and result(service.when_started()).check(OSError)
        assert logged() == []

    def test_a_start_that_raises_is_passed_on_and_a_stop_that_raises_then_is_logged(self, logged: Any) -> None:
        @implementer(IBackgroundUtility)
        class Broken:
            running = False

            def start(self) -> Deferred[None]:
                raise OSError("no disk")

            def stop(self, timeout: float | None = None) -> Deferred[None]:
                raise NotImplementedError

        service = UtilityService(Broken())

        with pytest.raises(OSError, match="no disk"):
            service.startService()
        assert not service.running
        assert logged() == [NotImplementedError]

    def test_a_failure_that_comes_later_is_logged_and_can_be_seen(self, utility: Utility, logged: Any) -> None:
        service = UtilityService(utility)
        service.startService()
        waiting = service.when_started()

        utility.started.errback(OSError("no disk"))

        assert logged() == [OSError]
        assert service.start_failure is not None and service.start_failure.check(OSError)
        assert not service.running
        assert result(waiting).check(OSError) and result(service.when_started()).check(OSError)

    def test_it_can_be_started_again_after_a_failure(self, utility: Utility, logged: Any) -> None:
        service = UtilityService(utility)
        service.startService()
        utility.started.errback(OSError("no disk"))
        service.startService()
        assert utility.calls == ["start utility", "stop utility"]
        utility.stopped.callback(None)
        assert utility.calls == ["start utility", "stop utility", "start utility"]
        utility.started.callback(None)

        assert service.running and service.start_failure is None
        assert result(service.when_started()) is None
        assert logged() == [OSError]

    def test_what_failed_to_start_is_stopped(self, utility: Utility, logged: Any) -> None:
        service = UtilityService(utility)
        service.startService()
        utility.started.errback(OSError("no disk"))

        assert utility.calls == ["start utility", "stop utility"]
        stopped = service.stopService()
        assert utility.calls == ["start utility", "stop utility"] and not stopped.called
        utility.stopped.callback(None)
        assert result(stopped) is None
        assert logged() == [OSError]


class TestStopping:
    def test_it_waits_for_its_utility(self, utility: Utility) -> None:
        service = UtilityService(utility, stop_timeout=2.5)
        service.startService()
        utility.started.callback(None)

        first, second = service.stopService(), service.stopService()

        assert not service.running
        assert utility.calls == ["start utility", "stop utility within 2.5"]
        assert not first.called and not second.called
        utility.stopped.callback(None)
        assert (result(first), result(second), result(service.stopService())) == (None, None, None)

    def test_before_it_was_started_it_changes_nothing(self, utility: Utility) -> None:
        assert result(UtilityService(utility).stopService()) is None
        assert utility.calls == []

    def test_a_failure_goes_to_everybody_who_stops_it(self, utility: Utility) -> None:
        service = UtilityService(utility)
        service.startService()
        utility.started.callback(None)
        first, second = service.stopService(), service.stopService()

        utility.stopped.errback(OSError("no disk"))

        assert result(first).check(OSError) and result(second).check(OSError)
        assert result(service.stopService()) is None

    def test_a_start_under_way_is_cancelled(self, utility: Utility, logged: Any) -> None:
        service = UtilityService(utility)
        service.startService()
        waiting, starting = service.when_started(), utility.started

        stopped = service.stopService()

        assert starting.called
        assert result(waiting).check(CancelledError)
        assert utility.calls == ["start utility", "stop utility"]
        utility.stopped.callback(None)
        assert result(stopped) is None
        assert logged() == [] and service.start_failure is None

    def test_what_a_cancelled_start_fails_with_is_logged(self, logged: Any) -> None:
        @implementer(IBackgroundUtility)
        class Stubborn:
            running = False

            def start(self) -> Deferred[None]:
                return Deferred(lambda deferred: deferred.errback(OSError("half done")))

            def stop(self, timeout: float | None = None) -> Deferred[None]:
                return Deferred()

        service = UtilityService(Stubborn())
        service.startService()
        service.stopService()

        assert logged() == [OSError]

    def test_starting_while_it_stops_comes_behind_that(self, utility: Utility) -> None:
        service = UtilityService(utility)
        service.startService()
        utility.started.callback(None)
        stopped = service.stopService()

        service.startService()
        again = service.when_started()

        assert utility.calls == ["start utility", "stop utility"] and service.running
        utility.stopped.callback(None)
        assert utility.calls == ["start utility", "stop utility", "start utility"]
        assert result(stopped) is None and not again.called
        utility.started.callback(None)
        assert result(again) is None

    def test_starting_and_stopping_while_it_stops_leaves_it_stopped(self, utility: Utility) -> None:
        service = UtilityService(utility)
        service.startService()
        utility.started.callback(None)
        first = service.stopService()
        service.startService()
        again = service.when_started()
        second = service.stopService()

        utility.stopped.callback(None)

        assert utility.calls == ["start utility", "stop utility"]
        assert result(first) is None and result(second) is None
        assert result(again).check(CancelledError)

    def test_a_failure_to_start_again_is_logged(self, logged: Any) -> None:
        @implementer(IBackgroundUtility)
        class Once:
            running = False
            starts = 0
            stopped: Deferred[None] = Deferred()

            def start(self) -> Deferred[None]:
                self.starts += 1
                return fail(OSError("only once")) if self.starts > 1 else Deferred()

            def stop(self, timeout: float | None = None) -> Deferred[None]:
                return self.stopped

        once = Once()
        service = UtilityService(once)
        service.startService()
        stopped = service.stopService()
        service.startService()
        once.stopped.callback(None)

        assert logged() == [OSError]
        assert result(stopped) is None
        assert not service.running

    @pytest.mark.parametrize("pending", [True, False])
    def test_what_it_starts_may_stop_it_at_once(self, pending: bool, logged: Any) -> None:
        @implementer(IBackgroundUtility)
        class Hasty:
            running = False
            starting: Deferred[None] = Deferred()
            stops = 0

            def start(self) -> Deferred[None]:
                stopped.append(service.stopService())
                return self.starting if pending else succeed(None)

            def stop(self, timeout: float | None = None) -> Deferred[None]:
                self.stops += 1
                return succeed(None)

        hasty, stopped = Hasty(), list[Any]()
        service = UtilityService(hasty)
        waiting = service.when_started()
        service.startService()

        assert (service.running, hasty.stops) == (0, 1)
        assert result(stopped[0]) is None and result(waiting).check(CancelledError)
        assert hasty.starting.called is pending
        assert not service.when_started().called and logged() == []

    def test_it_stops_with_its_parent(self, utility: Utility) -> None:
        parent = MultiService()
        service = UtilityService(utility, name="events")
        service.setServiceParent(parent)
        parent.startService()
        utility.started.callback(None)

        stopped = parent.stopService()

        assert parent.getServiceNamed("events") is service and IService.providedBy(service)
        assert not stopped.called
        utility.stopped.callback(None)
        assert stopped.called


class TestOptions:
    def test_what_cannot_be_started_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="UtilityService needs an object that provides IBackgroundUtility.*'it'"):
            UtilityService("it")

    @pytest.mark.parametrize("seconds", [0, -1, float("nan"), "5"])
    def test_a_time_out_that_is_none_is_refused(self, utility: Utility, seconds: Any) -> None:
        with pytest.raises(ConfigurationError, match="stop_timeout="):
            UtilityService(utility, seconds)

    def test_those_for_dispatchers_and_pumps_take_any_background_utility(self, utility: Utility) -> None:
        assert DispatcherService(utility).dispatcher is PumpService(utility).pump is utility
        with pytest.raises(ConfigurationError, match="DispatcherService needs an object that provides IBackgroundUtility"):
            DispatcherService(Processor())

    def test_it_shows_what_it_is_for(self, utility: Utility) -> None:
        assert repr(UtilityService(utility)) == "<UtilityService of <utility>>"
        assert repr(PumpService(utility, name="pump")) == "<PumpService 'pump' of <utility>>"


class TestDispatcherService:
    def test_it_drains_the_dispatcher(self) -> None:
        dispatcher = EventDispatcher(clock=Clock())
        work: Deferred[None] = Deferred()
        dispatcher.add_event_handler(lambda event: work, "during")
        service = DispatcherService(dispatcher, name="events")
        service.startService()
        fired = dispatcher.fire_event("order")

        stopped = service.stopService()

        assert not dispatcher.running and not stopped.called
        work.callback(None)
        assert result(stopped) is None and result(fired).handled

    def test_after_the_time_out_what_is_left_is_cancelled(self) -> None:
        clock = Clock()
        dispatcher = EventDispatcher(clock=clock)
        dispatcher.add_event_handler(lambda event: Deferred(), "during")
        service = DispatcherService(dispatcher, 5)
        service.startService()
        fired = dispatcher.fire_event("order")
        stopped = service.stopService()

        clock.advance(4.9)
        assert not stopped.called
        clock.advance(0.2)

        assert result(stopped) is None
        fired.addErrback(lambda failure: failure.trap(CancelledError))
        assert fired.called


class Numbers(EventGenerator):
    """Has a few events, once."""

    def __init__(self, *numbers: Any) -> None:
        self.numbers = list(numbers)
        self.stopped = False

    def get_events(self) -> Iterable[QueuedEvent]:
        numbers, self.numbers = self.numbers, []
        return [QueuedEvent(self, None, number) for number in numbers]

    def stop(self) -> None:
        self.stopped = True


class Pushing:
    """Pushes what the test says."""

    def start(self, sink: Any) -> None:
        self.sink = sink

    def stop(self) -> None:
        pass

    def __str__(self) -> str:
        return "pushing"


@implementer(IEventHandler)
class Kept:
    def __init__(self) -> None:
        self.events: list[QueuedEvent] = []

    def process_event(self, event: QueuedEvent) -> bool:
        self.events.append(event)
        return True


class TestPumpService:
    def test_what_is_queued_is_processed_before_it_has_stopped(self) -> None:
        class Waiting(Kept):
            work: Deferred[Any] = Deferred()

            def process_event(self, event: QueuedEvent) -> Any:
                super().process_event(event)
                return self.work

        waiting = Waiting()
        pump = EventPump(clock=Clock(), handler=waiting)
        numbers = Numbers(1)
        pump.add_event_generator(numbers)
        service = PumpService(pump)
        service.startService()

        stopped = service.stopService()

        assert numbers.stopped and not stopped.called
        waiting.work.callback(True)
        assert result(stopped) is None
        assert [event.data for event in waiting.events] == [1]


class TestSourceService:
    def test_a_handler_object_gets_the_queued_events(self) -> None:
        kept, numbers, clock = Kept(), Numbers(1, 2), Clock()
        service = SourceService(numbers, kept, name="numbers", clock=clock, poll_interval=3)
        service.startService()
        numbers.numbers = [3]
        clock.advance(3)

        assert [event.data for event in kept.events] == [1, 2, 3]
        assert kept.events[0].originator is numbers
        assert result(service.stopService()) is None and numbers.stopped
        assert (service.source, service.name, service.pump.name) == (numbers, "numbers", "numbers")

    def test_a_dispatcher_is_fired_with_the_data(self) -> None:
        dispatcher = EventDispatcher(["kind"])
        seen: list[Any] = []
        dispatcher.add_event_handler(seen.append, "during", kind="number")
        dispatcher.start()
        numbers = Numbers(1, 2)

        service = SourceService(numbers, DispatchEventHandler(dispatcher, details={"kind": "number"}), clock=Clock())
        service.startService()

        assert seen == [1, 2]

    def test_processors_are_given_the_data(self) -> None:
        class Named(Event):
            name = "number"

        by_name, by_content = Processor(), EventProcessor()
        seen: list[Any] = []

        @by_name.register
        @want("number")
        def hear(processor: Processor, event: Event) -> None:
            seen.append(event.name)

        @by_content.processor({"number": 2})
        def take(event: Any) -> None:
            seen.append(event["number"])

        SourceService(Numbers(Named()), by_name, clock=Clock()).startService()
        SourceService(Numbers({"number": 2}), by_content, clock=Clock()).startService()

        assert seen == ["number", 2]

    def test_a_source_may_push(self) -> None:
        pushing, kept = Pushing(), Kept()
        service = SourceService(pushing, kept, clock=Clock())
        service.startService()

        pushing.sink.put(QueuedEvent(pushing, None, "pushed"))

        assert [event.data for event in kept.events] == ["pushed"]
        assert repr(service) == "<SourceService of pushing>"

    def test_a_source_that_cannot_start_is_noticed_at_once(self) -> None:
        class Broken(Pushing):
            def start(self, sink: Any) -> None:
                raise OSError("address in use")

        service = SourceService(Broken(), Kept(), clock=Clock())

        with pytest.raises(OSError, match="address in use"):
            service.startService()
        assert not service.running

    @pytest.mark.parametrize(
        ("source", "target", "options"),
        [("no source", Kept(), {}), (Numbers(), None, {}), (Numbers(), "nobody", {}), (Numbers(), Kept(), {"max_queued": 0})],
    )
    def test_bad_input_is_refused(self, source: Any, target: Any, options: Any) -> None:
        with pytest.raises(ConfigurationError):
            SourceService(source, target, **options)
