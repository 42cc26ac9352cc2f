"""
A consumer in a process of its own: ``python consumer.py URL EXCHANGE GROUP FILE MANNER``.

It says ``ready`` once it is subscribed to ``role="test"``, and writes a line for each event that is delivered (``d``) and each
that is handled (``h``), with ID, content and time, to standard output and to a file that survives it.  Its manner is ``good``,
``hanging`` (no event is ever finished), or ``careless`` (the same, but what is delivered is acknowledged at once).
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_evproc.amqp import AMQPTransport, current_envelope
from twisted_evproc.amqp._handling import DONE


class Consumer:
    def __init__(self, file: str, manner: str) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._manner = manner

    def say(self, line: str) -> None:
        for descriptor in self._file, 1:
            os.write(descriptor, f"{line}\n".encode())

    def note(self, what: str, event: Any) -> None:
        envelope = current_envelope()
        assert envelope is not None
        self.say(f"{what} {envelope.id} {event} {time.monotonic()}")

    async def handle(self, event: Any) -> None:
        self.note("d", event)
        if self._manner != "good":
            await Deferred()
        await deferLater(reactor, 0)
        self.note("h", event)


class Careless(AMQPTransport):
    """A planted fault: the verdict comes before the handler."""

    def _subscription(self, *arguments: Any) -> Any:
        subscription = super()._subscription(*arguments)
        handling: Any = subscription._handling
        take = handling.take

        def too_early(envelope: Any, tell: Any) -> None:
            tell(DONE)
            take(envelope, lambda verdict: None)

        handling.take = too_early
        return subscription


def told(failure: Failure) -> None:
    Logger().failure("it is broken", failure)


async def main(url: str, exchange: str, group: str, file: str, manner: str) -> None:
    consumer = Consumer(file, manner)
    transport = (Careless if manner == "careless" else AMQPTransport)(url, exchange=exchange)
    await transport.start()
    # With one at a time the next delivery shows that the broker has heard of the one before.
    await transport.subscribe(group, consumer.handle, role="test", window=64 if manner == "good" else 1)
    consumer.say("ready")


if __name__ == "__main__":
    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main(*sys.argv[1:])).addErrback(told))
    reactor.run()
