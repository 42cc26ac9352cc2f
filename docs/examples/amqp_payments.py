"""Takes payments for the orders of the shop; fails as long as its command line does not say that the bank is open."""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.logger import globalLogBeginner

from twisted_evproc.amqp import AMQPTransport, StateChange

URL = os.environ.get("EVPROC_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/")
EXCHANGE = os.environ.get("EVPROC_EXCHANGE", "shop")

bank_is_open = "open" in sys.argv


def charge(order: dict[str, Any]) -> None:
    if not bank_is_open:
        print(f"no money for the {order['article']}", flush=True)
        raise ConnectionError("the bank does not answer")
    print(f"paid the {order['article']}", flush=True)


def tell_state(change: StateChange) -> None:
    print(f"[{change.name}] {change.reason}".rstrip(), flush=True)


async def main() -> None:
    transport = AMQPTransport(URL, exchange=EXCHANGE, route_by="kind")
    await transport.dispatcher.add_event_handler(tell_state, "during", name="transport_down")
    await transport.start()
    reactor.addSystemEventTrigger("before", "shutdown", transport.stop, 20)
    await transport.subscribe("payments", charge, kind="order", max_deliveries=2, retry_delays=(0.5,))
    print("waiting for orders", flush=True)
    await Deferred()


if __name__ == "__main__":
    # Failures would be logged with their tracebacks; here the lines above say enough.
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    react(lambda _: Deferred.fromCoroutine(main()))
