"""A shop that publishes an order for each article on its command line, and ends once they are safe."""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from twisted_evproc.amqp import AMQPTransport, StateChange
from twisted_evproc.errors import TransportError

URL = os.environ.get("EVPROC_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/")
EXCHANGE = os.environ.get("EVPROC_EXCHANGE", "shop")


def tell_state(change: StateChange) -> None:
    print(f"[{change.name}] {change.reason}".rstrip(), flush=True)


async def main(articles: list[str]) -> None:
    transport = AMQPTransport(URL, exchange=EXCHANGE, route_by="kind")
    # It goes on trying for as long as nobody stops it; why is good to know.
    await transport.dispatcher.add_event_handler(tell_state, "during", name="transport_down")
    await transport.start()
    for article in articles:
        try:
            event_id = await transport.publish({"article": article}, kind="order", express=article == "bulb")
        except TransportError as error:
            print(f"{article}: {error}")
        else:
            print(f"{article}: safe, with the ID {event_id}")
    await transport.stop()


def run(_: Any, *articles: str) -> Deferred[None]:
    return Deferred.fromCoroutine(main(list(articles)))


if __name__ == "__main__":
    react(run, sys.argv[1:])
