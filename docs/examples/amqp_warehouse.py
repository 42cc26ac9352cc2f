"""A warehouse that handles the orders of the shop, one after the other, until it is stopped or killed."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from twisted_evproc import EventDispatcher
from twisted_evproc.amqp import AMQPTransport, StateChange, current_envelope

URL = os.environ.get("EVPROC_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/")
EXCHANGE = os.environ.get("EVPROC_EXCHANGE", "shop")
#: How long it takes to pack an article, in seconds.
PACKING = float(os.environ.get("PACKING", "5"))

warehouse = EventDispatcher(["kind", "express"], name="warehouse")


def say(what: str) -> None:
    print(what, flush=True)


@warehouse.handler("before", kind="order")
def fetch(order: dict[str, Any]) -> None:
    say(f"fetching the {order['article']}")
    envelope = current_envelope()
    if envelope is not None and envelope.redelivered:
        say(f"  it was given to somebody before: {envelope.id}")


@warehouse.handler("during", kind="order")
async def pack(order: dict[str, Any]) -> None:
    await deferLater(reactor, PACKING)
    say(f"  packed the {order['article']}")


@warehouse.handler("during", kind="order", express=True)
def call_courier(order: dict[str, Any]) -> None:
    say("  a courier is on the way")


@warehouse.handler("after", kind="order")
def hand_over(order: dict[str, Any]) -> None:
    say(f"  handed over the {order['article']}")


def tell_state(change: StateChange) -> None:
    say(f"[{change.name}] {change.reason}".rstrip())


async def main() -> None:
    transport = AMQPTransport(URL, exchange=EXCHANGE, route_by="kind")
    await transport.dispatcher.add_event_handler(tell_state, "during")
    await warehouse.start()
    await transport.start()
    # Ctrl-C: what is under way is finished, for 20 seconds at most.
    reactor.addSystemEventTrigger("before", "shutdown", transport.stop, 20)
    await transport.subscribe("warehouse", warehouse, kind="order", window=1)
    say(f"process {os.getpid()} waits for orders")
    await Deferred()


if __name__ == "__main__":
    react(lambda _: Deferred.fromCoroutine(main()))
