"""The contract of sources."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from ...errors import PumpStopped, QueueOverflow
from ...interfaces import IEventGenerator, IEventSource
from ...sources import QueuedEvent
from .._deferreds import result_now
from .._sources import FakeSink
from ._scene import dropped_in


class _Waiting:
    def wait_for(self, eventual: Any) -> Any:
        """
        The value of what ``start``, ``stop`` or ``get_events`` returned.

        Sources that work without a reactor have it at once.  For others, define it anew: let the reactor run until the value is
        there.
        """
        return result_now(eventual)


def check_events(events: Iterable[Any]) -> list[QueuedEvent]:
    """The events, if they are such that a pump can take them."""
    if isinstance(events, str | bytes) or not isinstance(events, Iterable):
        raise AssertionError(f"get_events() has to give an iterable of events, empty for none, not {events!r}")
    found = list(events)
    for event in found:
        assert isinstance(event, QueuedEvent), f"{event!r} is no QueuedEvent"
        handler = event.handler
        assert handler is None or callable(getattr(handler, "process_event", None)), f"{handler!r} is no IEventHandler"
        assert str(event), "an event has to be readable"
    return found


class EventGeneratorContract(_Waiting):
    """
    What every :class:`~twisted_evproc.interfaces.IEventGenerator` promises, as test methods.

    Mix it into a test class that defines ``make_generator()``, which returns a new generator for which nothing has happened yet,
    and ``happen(generator)``, which lets one thing happen that leads to one event.
    """

    def make_generator(self) -> Any:
        """A new generator."""
        raise NotImplementedError(f"{type(self).__name__} has to define make_generator()")

    def happen(self, generator: Any) -> None:
        """Let one more event happen."""
        raise NotImplementedError(f"{type(self).__name__} has to define happen(generator)")

    def _poll(self, generator: Any) -> list[QueuedEvent]:
        return check_events(self.wait_for(generator.get_events()))

    def test_it_provides_its_interface(self) -> None:
        assert verifyObject(IEventGenerator, self.make_generator())

    def test_it_has_no_events_before_something_happens(self) -> None:
        generator = self.make_generator()
        assert self._poll(generator) == []
        self.wait_for(generator.stop())

    def test_a_poll_gives_all_events_since_the_last_one(self) -> None:
        generator = self.make_generator()
        counts = []
        for happened in (1, 3, 0, 2):
            for _ in range(happened):
                self.happen(generator)
            counts.append(len(self._poll(generator)))
        assert counts == [1, 3, 0, 2]
        self.wait_for(generator.stop())

    def test_their_timestamps_are_in_order(self) -> None:
        generator = self.make_generator()
        for _ in range(3):
            self.happen(generator)
        times = [event.timestamp for event in self._poll(generator)]
        assert times == sorted(times), "events are to be given in the order in which they happened"
        self.wait_for(generator.stop())

    def test_it_can_be_stopped_without_being_polled(self) -> None:
        self.wait_for(self.make_generator().stop())

    def test_it_can_be_stopped_with_events_that_nobody_has_taken(self) -> None:
        generator = self.make_generator()
        self.happen(generator)
        self.wait_for(generator.stop())


class EventSourceContract(_Waiting):
    """
    What every :class:`~twisted_evproc.interfaces.IEventSource` promises, as test methods.

    Mix it into a test class that defines ``make_source()``, which returns a new source, and ``happen(source)``, which lets one
    thing happen to a started source that leads to one event.
    """

    def make_source(self) -> Any:
        """A new source."""
        raise NotImplementedError(f"{type(self).__name__} has to define make_source()")

    def happen(self, source: Any) -> None:
        """Let one more event happen."""
        raise NotImplementedError(f"{type(self).__name__} has to define happen(source)")

    def _started(self) -> tuple[Any, FakeSink]:
        source, sink = self.make_source(), FakeSink()
        self.wait_for(source.start(sink))
        return source, sink

    def _happen(self, source: Any, times: int) -> None:
        for _ in range(times):
            self.happen(source)

    def test_it_provides_its_interface(self) -> None:
        assert verifyObject(IEventSource, self.make_source())

    def test_each_event_is_put_once_in_order(self) -> None:
        source, sink = self._started()
        self._happen(source, 3)
        events = check_events(sink.events)
        assert len(events) == 3
        times = [event.timestamp for event in events]
        assert times == sorted(times)
        self.wait_for(source.stop())

    def test_it_waits_for_an_event_to_be_taken_before_it_puts_the_next(self) -> None:
        source, sink = self._started()
        sink.pause()
        self._happen(source, 3)
        assert len(sink.waiting) == 1, f"{len(sink.waiting)} events wait: none is to be put before the one before it is taken"
        for _ in range(3):
            sink.resume(1)
            assert len(sink.waiting) <= 1
        sink.resume()
        assert sink.waiting == []
        # What happened meanwhile may have become three events or one: sources differ in that.
        count = len(sink.events)
        assert 1 <= count <= 3
        self._happen(source, 1)
        assert len(sink.events) == count + 1, "it is to go on when there is room again"
        self.wait_for(source.stop())

    def test_a_dropped_event_does_not_end_it(self) -> None:
        source, sink = self._started()
        sink.drop()
        self._happen(source, 1)
        sink.resume()
        self._happen(source, 1)
        assert (len(sink.dropped), len(sink.events)) == (1, 1)
        self.wait_for(source.stop())

    def test_a_refused_event_does_not_end_it(self) -> None:
        with capturedLogs() as logged:
            source, sink = self._started()
            sink.refuse(QueueOverflow(1, "an event"))
            self._happen(source, 1)
            sink.resume()
            self._happen(source, 1)
            assert len(sink.events) >= 1
            self.wait_for(source.stop())
            del source
            assert dropped_in(logged) == [], "a Deferred of put() was dropped with its failure"

    def test_a_sink_that_takes_no_more_does_no_harm(self) -> None:
        with capturedLogs() as logged:
            source, sink = self._started()
            sink.refuse(PumpStopped("an event", "the sink"))
            self._happen(source, 2)
            self.wait_for(source.stop())
            del source
            assert dropped_in(logged) == [], "a Deferred of put() was dropped with its failure"

    def test_it_can_be_stopped_at_once(self) -> None:
        source, sink = self._started()
        self.wait_for(source.stop())
        assert sink.waiting == []

    def test_no_event_comes_when_it_is_stopped(self) -> None:
        source, sink = self._started()
        self._happen(source, 1)
        self.wait_for(source.stop())
        count = len(sink.events)
        with suppress(Exception):  # there may be nothing left to which something could happen
            self._happen(source, 1)
        assert len(sink.events) == count

    def test_it_can_be_stopped_while_an_event_waits(self) -> None:
        with capturedLogs() as logged:
            source, sink = self._started()
            sink.pause()
            self._happen(source, 2)
            stopping = source.stop()
            sink.resume()
            self.wait_for(stopping)
            assert sink.waiting == []
            count = len(sink.events)
            sink.pause()
            sink.resume()
            assert len(sink.events) == count
            del source, stopping
            assert dropped_in(logged) == []
