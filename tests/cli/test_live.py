from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from twisted_evproc.cli._events import Line, LineError
from twisted_evproc.cli._live import SourceLines
from twisted_evproc.errors import ApplicationError
from twisted_evproc.interfaces import IEventSink, IEventSource
from twisted_evproc.sources import EventGenerator, PrintEventHandler, QueuedEvent, RaiseEventHandler


@implementer(IEventSource)
class Tap:
    """Puts what the test says."""

    def __init__(self, starting: Any = None) -> None:
        self.starting = starting
        self.stopped = 0

    def start(self, sink: IEventSink) -> Any:
        self.sink: Any = sink
        if isinstance(self.starting, Exception):
            raise self.starting
        return self.starting

    def stop(self) -> None:
        self.stopped += 1

    def put(self, data: Any, handler: Any = None) -> Deferred[bool]:
        putting: Deferred[bool] = self.sink.put(QueuedEvent(self, handler, data))
        return putting

    def __str__(self) -> str:
        return "tap"


class Reader:
    """Reads lines until it is told to wait."""

    def __init__(self, *sources: Any, **options: Any) -> None:
        self.clock = Clock()
        self.lines = SourceLines("app.py:sources", sources, self.clock, **options)
        self.read: list[Any] = []

    def next(self) -> None:
        try:
            reading: Any = self.lines.read()
        except ApplicationError as error:
            self.read.append(str(error))
            return
        if not isinstance(reading, Deferred):
            reading = succeed(reading)
        reading.addErrback(lambda failure: str(failure.value)).addCallback(self._heard)

    def _heard(self, lines: Iterable[Line] | str | None) -> None:
        if lines is None or isinstance(lines, str):
            self.read.append(lines)
        else:
            self.read += [(line.number, told(line)) for line in lines]


def told(line: Line) -> Any:
    try:
        return line.record()
    except LineError as error:
        return str(error)


def test_sources_are_started_when_lines_are_wanted() -> None:
    tap = Tap()
    reader = Reader(tap)
    assert not hasattr(tap, "sink")
    reader.next()
    assert hasattr(tap, "sink")
    assert reader.lines.started.called


def test_events_are_numbered_lines_one_for_each_read() -> None:
    tap = Tap()
    reader = Reader(tap)
    reader.next()
    for data in ("a", "b", "c"):
        tap.put(data)
    assert reader.read == [(1, "a")]
    reader.next()
    reader.next()
    assert reader.read == [(1, "a"), (2, "b"), (3, "c")]


def test_sources_wait_when_nobody_reads() -> None:
    tap = Tap()
    reader = Reader(tap)
    reader.next()
    puts = [tap.put(number) for number in range(1_003)]
    # one read, one on offer, 1 000 queued
    assert [putting.called for putting in puts[1_001:]] == [True, False]
    reader.next()
    assert puts[-1].called


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (RaiseEventHandler(ValueError("torn")), "tap: torn"),
        (
            PrintEventHandler(),
            "tap: the event has a handler of its own (print to standard output), but here the application handles events; "
            "leave the handler out where the source is made",
        ),
    ],
)
def test_an_event_with_a_handler_of_its_own_is_a_broken_line_and_the_handler_is_not_called(
    handler: Any, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tap = Tap()
    reader = Reader(tap)
    reader.next()
    tap.put("data", handler)
    assert reader.read == [(1, words)]
    assert capsys.readouterr().out == ""


def test_generators_are_polled() -> None:
    class Counter(EventGenerator):
        count = 0

        async def get_events(self) -> list[QueuedEvent]:
            self.count += 1
            return [QueuedEvent(self, PrintEventHandler() if self.count == 2 else None, self.count)]

    reader = Reader(Counter())
    reader.next()
    reader.next()
    assert reader.read == [(1, 1)]
    reader.clock.advance(1)
    assert reader.read[1][1].startswith("Counter: the event has a handler of its own")


def test_draining_stops_the_sources_and_gives_what_they_have_brought() -> None:
    tap = Tap()
    reader = Reader(tap)
    reader.next()
    for data in ("a", "b", "c"):
        tap.put(data)
    assert reader.lines.drain()
    assert tap.stopped == 1
    for _ in range(3):
        reader.next()
    assert reader.read == [(1, "a"), (2, "b"), (3, "c"), None]


def test_draining_ends_a_read_under_way() -> None:
    reader = Reader(Tap())
    reader.next()
    reader.lines.drain()
    assert reader.read == [None]


def test_closing_drops_what_was_not_read() -> None:
    tap = Tap()
    reader = Reader(tap)
    reader.next()
    for data in ("a", "b", "c"):
        tap.put(data)
    closed = reader.lines.close()
    reader.clock.advance(1)
    assert closed.called
    assert tap.stopped == 1


def test_closing_what_was_never_read_starts_nothing() -> None:
    tap = Tap()
    assert Reader(tap).lines.close().called
    assert not hasattr(tap, "sink")
    assert tap.stopped == 0


def test_a_source_that_cannot_start_is_named_and_the_others_are_stopped() -> None:
    first = Tap()
    reader = Reader(first, Tap(OSError("in use")))
    reader.next()
    assert reader.read == ["app.py:sources: tap cannot be started: OSError: in use"]
    assert first.stopped == 1
    assert not reader.lines.started.called


def test_what_came_before_a_source_could_not_start_is_read_first() -> None:
    first, starting = Tap(), Deferred[None]()
    reader = Reader(first, Tap(starting))
    reader.next()
    first.put("a")
    first.put("b")
    starting.errback(OSError("in use"))
    reader.next()
    reader.next()
    assert reader.read == [(1, "a"), (2, "b"), "app.py:sources: tap cannot be started: OSError: in use"]


def test_lines_can_be_held() -> None:
    tap = Tap()
    reader = Reader(tap, held=True)
    reader.next()
    tap.put("a")
    tap.put("b")
    assert reader.read == []
    reader.lines.release()
    assert reader.read == [(1, "a")]
    reader.next()
    assert reader.read == [(1, "a"), (2, "b")]


@pytest.mark.parametrize(
    ("sources", "words"),
    [([Tap], "is a class: add an instance of it"), ([5], "5 is no source of events"), (["tap"], "'tap' is no source of events")],
)
def test_what_is_no_source(sources: list[Any], words: str) -> None:
    with pytest.raises(ApplicationError, match="^app.py:sources: ") as caught:
        SourceLines("app.py:sources", sources, Clock())
    assert words in str(caught.value)
