"""Says whether a broker can be reached with a URL, and if not, why."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from twisted_evproc.amqp import AMQPTransport
from twisted_evproc.errors import EvprocError
from twisted_evproc.matching import one_of


async def main(url: str) -> None:
    try:
        transport = AMQPTransport(url, exchange="check")
    except EvprocError as error:
        raise SystemExit(f"wrong: {error}") from error
    change = transport.dispatcher.wait_for_event(15, name=one_of("transport_up", "transport_down"))
    await transport.start()
    found = await change
    print(f"{found.state}: {found.reason or transport.address}")
    await transport.stop()


def run(_: Any, url: str) -> Deferred[None]:
    return Deferred.fromCoroutine(main(url))


if __name__ == "__main__":
    react(run, sys.argv[1:])
