"""
Follow a log, and dispatch its lines by their level.

Start it, let something write to the file, and end it by Ctrl-C::

    python docs/examples/tail.py app.log
    echo "2026-03-02 12:00:00 ERROR card: refused" >> app.log
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from typing import Any

from twisted.internet import reactor, task
from twisted.internet.defer import Deferred

from twisted_evproc import EventDispatcher, one_of
from twisted_evproc.sources import DispatchEventHandler, EventHandler, EventPump, FileTailSource, QueuedEvent

LINE = re.compile(r"(?P<time>\S+ \S+) (?P<level>[A-Z]+) (?P<part>\w+): (?P<text>.*)")

dispatcher = EventDispatcher(["level"])
seen: Counter[str] = Counter()


@dispatcher.handler("before")
def count(record: dict[str, str]) -> None:
    """Hears of every line."""
    seen[record["level"]] += 1


@dispatcher.handler("during", level=one_of("ERROR", "CRITICAL"))
def alarm(record: dict[str, str]) -> None:
    """Hears of errors alone."""
    print(f"{record['part']}: {record['text']}", flush=True)


def parse(line: str) -> dict[str, str]:
    """Makes the event's data of a line."""
    found = LINE.fullmatch(line)
    if found is None:
        raise ValueError("no log line")
    return found.groupdict()


class NotUnderstood(EventHandler):
    """Hears of failures: here, of lines that parse() could not read."""

    def process_event(self, event: QueuedEvent) -> None:
        """The original event has the line for its data."""
        error, original = event.data
        print(f"{error}: {original.data!r}", flush=True)


def details(event: QueuedEvent) -> dict[str, Any]:
    """What handlers are chosen by."""
    return {"level": event.data["level"]}


async def main(the_reactor: Any, path: str) -> None:
    """Runs until the process is told to end; then lets the pump finish, for five seconds at most."""
    pump = EventPump(handler=DispatchEventHandler(dispatcher, details))
    pump.error_handler(NotUnderstood())
    pump.add_event_generator(FileTailSource(path, decode=parse, poll_interval=0.2))
    await dispatcher.start()
    await pump.start()
    the_reactor.addSystemEventTrigger("before", "shutdown", pump.stop, timeout=5)
    print("following", path, flush=True)
    await Deferred()


if __name__ == "__main__":
    try:
        task.react(lambda the_reactor: Deferred.fromCoroutine(main(the_reactor, sys.argv[1])), (), reactor)
    finally:
        print(", ".join(f"{number} {level}" for level, number in sorted(seen.items())) or "no lines")
