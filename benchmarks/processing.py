"""What it costs to process an event by name, and by content."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from twisted_evproc import Event, EventProcessor, Processor, want

from .harness import Row, compare

WANTED = "event 1"


def named(kind: Any) -> Any:
    """An event of one library's class or another's."""

    class Named(kind):  # type: ignore[misc]  # whose class it is decides the library
        name = WANTED

    return Named()


def handlers(count: int, decorator: Callable[..., Callable[[Any], Any]]) -> Iterator[Callable[[Any, Any], Any]]:
    """That many functions, each wanting another name."""
    for number in range(count):

        def handle(processor: Any, event: Any) -> None:
            return None

        handle.__name__ = f"handler_{number}"
        yield decorator(f"event {number}")(handle)


def ours(count: int) -> Callable[[], object]:
    processor = Processor()
    for handler in handlers(count, want):
        processor.register(handler)
    event = named(Event)
    for _ in range(3):
        processor.process(event)
    return lambda: processor.process(event)


def evproc(count: int) -> Callable[[], object]:
    import evproc as library

    processor = library.Processor()
    for handler in handlers(count, library.want):
        processor.register(handler)
    event = named(library.Event)
    return lambda: processor.process(event)


def by_name(rounds: int, counts: tuple[int, ...] = (10, 1_000, 10_000)) -> Iterator[Row]:
    """One of many handlers wants the event, beside the library that processing by name comes from."""
    for count in counts:
        try:
            theirs = evproc(count)
        except ImportError as error:
            print(f"evproc is left out: {error}")
            return
        yield from compare(
            f"process, 1 of {count:,} handlers wants it",
            ours(count),
            {"evproc 0.2.0": theirs},
            rounds=rounds,
            targets={"evproc 0.2.0": 1_000} if count == 10_000 else None,
            faster=True,
        )


def chosen_by_us(count: int) -> Callable[[], object]:
    processor = EventProcessor()
    for number in range(count):
        processor.processor({"detail.kind": f"kind {number}"})(lambda event: None)
    event = {"detail": {"kind": "kind 1"}}
    processor.invoke(event)
    return lambda: processor.invoke(event)


def chosen_by_event_processor(count: int) -> Callable[[], object]:
    library: Any = import_module("event_processor")
    processor = library.EventProcessor()
    for number in range(count):

        def handle(event: Any) -> None:
            return None

        handle.__annotations__["event"] = library.Event
        processor.processor(library.filters.Eq("detail.kind", f"kind {number}"))(handle)

    event = {"detail": {"kind": "kind 1"}}
    return lambda: processor.invoke(event)


def by_content(rounds: int, counts: tuple[int, ...] = (10, 1_000, 10_000)) -> Iterator[Row]:
    """One of many filters matches the event, beside the library that processing by content comes from."""
    for count in counts:
        try:
            theirs = chosen_by_event_processor(count)
        except ImportError as error:
            print(f"event-processor is left out: {error}")
            return
        yield from compare(
            f"invoke, 1 of {count:,} filters matches",
            chosen_by_us(count),
            {"event-processor 3.2.1": theirs},
            rounds=rounds,
            targets={"event-processor 3.2.1": 1_000} if count == 10_000 else None,
            faster=True,
        )
