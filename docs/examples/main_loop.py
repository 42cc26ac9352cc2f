"""
The main loop of an application that polls: two generators, an error handler that prints, and Ctrl-C.

Run it, and press Ctrl-C.  It polls no more then, and ends when all events that came in have been processed::

    python docs/examples/main_loop.py
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from twisted_evproc.sources import EventGenerator, EventHandler, EventPump, PrintEventHandler, QueuedEvent


class Reading(EventHandler):
    """Stands for work that takes its time, and fails now and then."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor

    async def process_event(self, event: QueuedEvent) -> None:
        await deferLater(self.reactor, 0.03)
        if event.data % 10 == 9:
            raise ValueError(f"reading {event.data} makes no sense")
        print(f"{event.originator}: {event.data}", flush=True)


class Sensor(EventGenerator):
    """Has 20 new readings each time it is asked."""

    def __init__(self, name: str, handler: EventHandler) -> None:
        self.name = name
        self.handler = handler
        self.made = 0

    def get_events(self) -> list[QueuedEvent]:
        numbers = range(self.made, self.made + 20)
        self.made += 20
        return [QueuedEvent(self, self.handler, number) for number in numbers]

    def stop(self) -> None:
        print(f"{self} stops after {self.made} readings", flush=True)

    def __str__(self) -> str:
        return self.name


async def main(reactor: Any) -> None:
    pump = EventPump(poll_interval=1.0, clock=reactor)
    pump.error_handler(PrintEventHandler())
    for name in ("door", "window"):
        pump.add_event_generator(Sensor(name, Reading(reactor)))

    async def stop() -> None:
        await pump.stop()
        statistics = pump.statistics()
        print(f"{statistics.processed} processed, {statistics.failed} failed, {statistics.depth} left", flush=True)

    # What Ctrl-C does: the reactor waits for it before it ends.
    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(stop()))
    await pump.start()
    await Deferred()


if __name__ == "__main__":
    react(main)
