"""
A publisher in a process of its own: ``python publisher.py URL EXCHANGE FILE``.

It publishes for ever, 100 events at a time, and writes a line with ID and content for each that is confirmed, to standard output
and to a file that survives it.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_evproc.amqp import AMQPTransport


def told(failure: Failure) -> None:
    Logger().failure("it is broken", failure)


async def main(url: str, exchange: str, file: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    transport = AMQPTransport(url, exchange=exchange, publish_timeout=None)
    await transport.start()
    number = 0

    def publish(_: Any = None) -> None:
        nonlocal number
        number += 1
        content = number
        transport.publish(content, role="test", event_id=f"own-{content}").addCallback(confirmed, content).addErrback(told)

    def confirmed(event_id: str, content: int) -> None:
        for each in descriptor, 1:
            os.write(each, f"c {event_id} {content} 0\n".encode())
        publish()

    for _ in range(100):
        publish()


if __name__ == "__main__":
    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main(*sys.argv[1:])).addErrback(told))
    reactor.run()
