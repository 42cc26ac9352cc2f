"""A queue in memory that behaves as a quorum queue does."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from ._dead import DeadLetter, QueueMissing, read_dead_letter

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime


@attrs.define(eq=False)
class Stored:
    """
    A message in a queue.

    :ivar returns: how often it was given out and came back.
    :ivar place: its place in the queue, which it has again when it comes back.
    """

    headers: Mapping[str, Any]
    body: bytes
    content_type: str
    id: str
    returns: int = 0
    place: int = 0


class MemoryQueue:
    """
    Gives messages to consumers in turn, oldest first.

    :ivar name: its name.
    :ivar crash_limit: how often a message may come back.
    :ivar exists: whether it was not deleted.
    """

    def __init__(self, name: str, clock: IReactorTime, crash_limit: int | None, bury: Callable[[Stored], object] | None) -> None:
        """
        :param crash_limit: ``None`` for no limit.
        :param bury: takes messages that came back too often.
        """
        self.name = name
        self.crash_limit = crash_limit
        self.exists = True
        self._clock = clock
        self._bury = bury
        self._ready: deque[Stored] = deque()
        self._returned: list[Stored] = []
        self._consumers: deque[Consumer] = deque()
        self._places = 0
        self._delivery: Any = None

    def __len__(self) -> int:
        """How many messages wait; those that are given out do not count."""
        return len(self._ready) + len(self._returned)

    def put(self, message: Stored) -> None:
        """Add a message behind the others."""
        self._places += 1
        message.place = self._places
        self._ready.append(message)
        self.wake()

    def take_back(self, message: Stored) -> None:
        """A message was given out, and not acknowledged."""
        if not self.exists:
            return
        message.returns += 1
        if self.crash_limit is not None and message.returns > self.crash_limit and self._bury is not None:
            self._bury(message)
            return
        insort(self._returned, message, key=lambda each: each.place)
        self.wake()

    def pop(self) -> Stored | None:
        """The next message, or ``None``."""
        if self._returned:
            return self._returned.pop(0)
        return self._ready.popleft() if self._ready else None

    def consume(self, window: int, heard: Callable[[int, Stored], object], cancelled: Callable[[], object]) -> Consumer:
        """
        Be given messages from now on.

        :param window: how many may be unacknowledged.
        :param heard: takes a message, with a tag to answer by.
        :param cancelled: is told that the queue is gone.
        """
        consumer = Consumer(self, window, heard, cancelled)
        self._consumers.append(consumer)
        self.wake()
        return consumer

    def leave(self, consumer: Consumer) -> None:
        """Give a consumer no more."""
        if consumer in self._consumers:
            self._consumers.remove(consumer)

    def delete(self) -> None:
        """Be gone, with all messages."""
        self.exists = False
        self._ready.clear()
        self._returned.clear()
        consumers, self._consumers = list(self._consumers), deque()
        for consumer in consumers:
            consumer.close()
            consumer.cancelled()

    def wake(self) -> None:
        """Give out what can be given out, in the clock's next turn."""
        if self._delivery is None and self._consumers and len(self):
            self._delivery = self._clock.callLater(0, self._deliver)

    def _deliver(self) -> None:
        self._delivery = None
        while len(self):
            consumer = next((each for each in self._consumers if each.has_room), None)
            if consumer is None:
                return
            # The next one's turn.
            self._consumers.remove(consumer)
            self._consumers.append(consumer)
            message = self.pop()
            assert message is not None
            consumer.give(message)


class Consumer:
    """Who is given messages of a queue."""

    def __init__(
        self, queue: MemoryQueue, window: int, heard: Callable[[int, Stored], object], cancelled: Callable[[], object]
    ) -> None:
        self._queue = queue
        self._window = window
        self._heard = heard
        self.cancelled = cancelled
        self._given: dict[int, Stored] = {}
        self._tag = 0
        self.is_open = True

    @property
    def has_room(self) -> bool:
        """Whether one more may be given."""
        return self.is_open and len(self._given) < self._window

    def give(self, message: Stored) -> None:
        """Hand a message over."""
        self._tag += 1
        self._given[self._tag] = message
        self._heard(self._tag, message)

    def acknowledge(self, tag: int) -> None:
        """A message is finished with; those of a consumer that was closed are with the queue again, and stay there."""
        if self._given.pop(tag, None) is not None:
            self._queue.wake()

    def give_back(self, tag: int) -> None:
        """A message is to be given out again."""
        message = self._given.pop(tag, None)
        if message is not None:
            self._queue.take_back(message)
            self._queue.wake()

    def cancel(self) -> None:
        """Be given no more; what was given can still be answered."""
        self._queue.leave(self)

    def close(self) -> None:
        """Be gone, as when the connection is lost: what was not acknowledged is with the queue again."""
        self.is_open = False
        self._queue.leave(self)
        given, self._given = self._given, {}
        for message in given.values():
            self._queue.take_back(message)


class MemoryDrawer:
    """See :class:`~twisted_evproc.amqp._dead.Drawer`."""

    def __init__(self, queue: MemoryQueue | None, name: str) -> None:
        self._queue = queue
        self._name = name
        self._taken: dict[int, Stored] = {}

    async def count(self) -> int:
        """See :meth:`Drawer.count`."""
        return len(self._there())

    async def take(self) -> tuple[int, DeadLetter] | None:
        """See :meth:`Drawer.take`."""
        message = self._there().pop()
        if message is None:
            return None
        self._taken[message.place] = message
        return message.place, read_dead_letter(message.headers, message.body, message.content_type, message.id)

    def acknowledge(self, tag: int) -> None:
        """See :meth:`Drawer.acknowledge`."""
        del self._taken[tag]

    def give_back(self, tag: int) -> None:
        """See :meth:`Drawer.give_back`."""
        self._there().take_back(self._taken.pop(tag))

    def close(self) -> None:
        """See :meth:`Drawer.close`."""
        for tag in list(self._taken):
            self.give_back(tag)

    def _there(self) -> MemoryQueue:
        if self._queue is None or not self._queue.exists:
            raise QueueMissing(f"no queue {self._name!r}")
        return self._queue
