"""Publishers, consumers and a broker that are killed, and the books about what became of the events."""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import time
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import fdesc, reactor
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.amqp.broker import BrokerFailed, OwnBroker
from twisted_evproc.amqp import AMQPTransport
from twisted_evproc.errors import EvprocError

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


class Happenings:
    """Lets tests wait until something is so: whoever changes something says so."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], object], Deferred[None]]] = []

    def until(self, condition: Callable[[], object]) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self._waiting.append((condition, waiting))
        self.changed()
        return waiting

    def changed(self, _: Any = None) -> None:
        for each in list(self._waiting):
            if each in self._waiting and each[0]():
                self._waiting.remove(each)
                each[1].callback(None)


@attrs.frozen
class Note:
    """A line of a child."""

    what: str
    event_id: str
    content: int
    seconds: float


def read_note(line: str) -> Note:
    what, event_id, content, seconds = line.split()
    return Note(what, event_id, int(content), float(seconds))


class Child(FileDescriptor):
    """
    A process whose standard output is read; it dies with us.

    :ivar notes: what it has written, by the first word.
    """

    def __init__(self, happenings: Happenings, program: str, *arguments: str) -> None:
        super().__init__(reactor)
        self._happenings = happenings
        self._rest = ""
        self._ready = False
        self.notes: defaultdict[str, list[Note]] = defaultdict(list)
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, str(HERE / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self.process.stdout is not None
        self._descriptor = self.process.stdout.fileno()
        fdesc.setNonBlocking(self._descriptor)
        self.connected = 1
        self.startReading()

    def fileno(self) -> int:
        return self._descriptor

    def doRead(self) -> Any:
        return fdesc.readFromFD(self._descriptor, self._received)

    def _received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data.decode()).split("\n")
        for line in lines:
            if line == "ready":
                self._ready = True
            else:
                note = read_note(line)
                self.notes[note.what].append(note)
        self._happenings.changed()

    def connectionLost(self, reason: Any) -> None:
        super().connectionLost(reason)
        self._happenings.changed()

    def ready(self) -> Deferred[None]:
        return self._happenings.until(lambda: self._ready or self._over())

    def _over(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"{self.process.args!r} has ended with {self.process.returncode}")
        return False

    def handled_since(self, seconds: float) -> float | None:
        """When it handled the first event after some time."""
        handled = self.notes["h"]
        first = bisect(handled, seconds, key=lambda note: note.seconds)
        return handled[first].seconds if first < len(handled) else None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.stopReading()
        assert self.process.stdout is not None
        self.process.stdout.close()


class World:
    """
    One exchange with one group of consumers.

    :ivar folder: where the consumers write.
    """

    def __init__(self, broker: OwnBroker, exchange: str, folder: Path) -> None:
        self.broker = broker
        self.exchange = exchange
        self.folder = folder
        self.happenings = Happenings()
        self.children: list[Child] = []
        self._numbers = itertools.count()

    def consumer(self, manner: str = "good", group: str = "group") -> Child:
        file = str(self.folder / f"consumer-{next(self._numbers)}")
        return self._child("consumer.py", self.broker.url(), self.exchange, group, file, manner)

    def publisher(self) -> Child:
        return self._child("publisher.py", self.broker.url(), self.exchange, str(self.folder / "publisher"))

    def _child(self, program: str, *arguments: str) -> Child:
        child = Child(self.happenings, program, *arguments)
        self.children.append(child)
        return child

    def close(self) -> None:
        for child in self.children:
            if child.process.poll() is None:
                child.kill()

    async def handled_again(self, seconds: float) -> float:
        """Waits for the first event that is handled after some time; gives how long after."""

        def times() -> list[float]:
            return [when for child in self.children if (when := child.handled_since(seconds)) is not None]

        await self.happenings.until(times)
        return min(times()) - seconds

    def written(self, what: str, pattern: str = "consumer-*") -> list[Note]:
        """What children have written to their files."""
        lines = [line for file in self.folder.glob(pattern) for line in file.read_text().splitlines()]
        return [read_note(line) for line in lines if line.startswith(f"{what} ")]

    async def handled_more(self, count: int) -> None:
        """Waits until so many more are handled, as far as is heard."""
        wanted = self._handled() + count
        await self.happenings.until(lambda: self._handled() >= wanted)

    def _handled(self) -> int:
        return sum(len(child.notes["h"]) for child in self.children)

    async def restart(self) -> float:
        """Kills the broker and starts it again; gives when it answered."""
        self.broker.kill()
        self.broker.spawn()
        await deferToThread(self.broker.wait)
        return time.monotonic()

    async def is_empty(self, group: str = "group") -> None:
        """Waits until no event of a group waits or is under way; asking takes its time."""
        while await self.size(group):
            pass

    async def size(self, queue: str) -> int:
        """How many events a queue holds; what ``rabbitmqctl`` says of it is five seconds old."""
        server = f"{{'%2F_{self.exchange}.{queue}', node()}}"
        query = f"element(2, ra:consistent_query({server}, fun rabbit_fifo:query_messages_total/1))"
        while True:
            try:
                return int(await deferToThread(self.broker.evaluate, query))
            except BrokerFailed:
                # Under load a call of the node fails now and then.
                if not self.broker.running:
                    raise


class Load:
    """
    Publishes all the time, so many events at once, until told to stop.

    :ivar sent: the IDs of all events, in order.
    :ivar confirmed: the IDs of those that are said to be safe.
    """

    def __init__(self, world: World, transport: AMQPTransport, at_once: int) -> None:
        self._world = world
        self._transport = transport
        self._stopped = False
        self._open = 0
        self.sent: list[str] = []
        self.confirmed: list[str] = []
        self.failed = 0
        for _ in range(at_once):
            self._publish()

    def _publish(self) -> None:
        content = len(self.sent)
        event_id = id_of(self._world.exchange, content)
        self.sent.append(event_id)
        self._open += 1
        self._transport.publish(content, event_id=event_id, role="test").addCallbacks(
            self.confirmed.append, self._failed
        ).addBoth(self._next)

    def _failed(self, failure: Any) -> None:
        _ = failure.trap(EvprocError)
        self.failed += 1

    def _next(self, result: Any) -> Any:
        self._open -= 1
        if not self._stopped:
            # Not from here: in a loop of answers that come at once nothing else would ever happen.
            reactor.callLater(0, self._publish_next)
        self._world.happenings.changed()
        return result

    def _publish_next(self) -> None:
        if not self._stopped:
            self._publish()

    def more(self, count: int) -> Deferred[None]:
        """Waits until so many more are confirmed."""
        wanted = len(self.confirmed) + count
        return self._world.happenings.until(lambda: len(self.confirmed) >= wanted)

    def stop(self) -> Deferred[None]:
        """Publishes no more, and waits until all is answered."""
        self._stopped = True
        return self._world.happenings.until(lambda: not self._open)


def id_of(exchange: str, content: int) -> str:
    return f"{exchange}-{content}"


@attrs.frozen
class Books:
    """The six counters."""

    sent: int
    confirmed: int
    delivered: int
    handled: int
    duplicates: int
    lost: int


def settle_books(sent: Iterable[str], confirmed: Iterable[str], delivered: Iterable[Note], handled: Iterable[Note]) -> Books:
    """
    Balances.

    :raises AssertionError: for an event that was never sent, or came with another ID than it was sent with.
    """
    sent_ids, confirmed_ids = list(sent), set(confirmed)
    times = Counter(note.event_id for note in handled)
    deliveries = list(delivered)
    ids = defaultdict(set)
    for note in deliveries:
        ids[note.content].add(note.event_id)
    for content, found in ids.items():
        assert found == {sent_ids[content]}, f"event {content} came as {found}"
    return Books(
        sent=len(sent_ids),
        confirmed=len(confirmed_ids),
        delivered=len(deliveries),
        handled=len(times),
        duplicates=sum(times.values()) - len(times),
        lost=len(confirmed_ids - times.keys()),
    )


def in_words(seconds: Iterable[float]) -> str:
    values = sorted(seconds)
    return f"median {statistics.median(values):.2f} s, most {values[-1]:.2f} s"
