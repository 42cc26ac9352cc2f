"""A warehouse whose orders are sequences of a durable flow, and a shop, elsewhere, that orders and hears how far it has come."""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from twisted_evproc import one_of
from twisted_evproc.amqp import AMQPTransport, FlowTrigger, forward_flow
from twisted_evproc.flow import Eventor, FlowEvent, RunMode, StepStatus, current_step

URL = os.environ.get("EVPROC_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/")
EXCHANGE = os.environ.get("EVPROC_EXCHANGE", "orders")
STORE = os.environ.get("STORE", "warehouse.db")
#: How long it takes to pack an order, in seconds.
PACKING = float(os.environ.get("PACKING", "5"))


def say(what: str) -> None:
    print(what, flush=True)


def build_flow(run_mode: RunMode = RunMode.continue_) -> tuple[Eventor, FlowEvent]:
    ev = Eventor("warehouse", STORE, run_mode, config={"max_concurrent": 0})
    ordered, packed = ev.add_event("ordered"), ev.add_event("packed")

    async def pack() -> None:
        say(f"packing {current_step().sequence}, attempt {current_step().attempt}")
        await deferLater(reactor, PACKING)

    def ship() -> None:
        say(f"shipping {current_step().sequence}")

    ev.add_assoc(ordered, ev.add_step("pack", pack, triggers={StepStatus.success: packed}))
    ev.add_assoc(packed, ev.add_step("ship", ship))
    return ev, ordered


async def warehouse() -> None:
    ev, ordered = build_flow()
    # Nobody need listen to what it tells.
    transport = AMQPTransport(URL, exchange=EXCHANGE, route_by="kind", unroutable="drop")
    forward_flow(transport, ev, kind="task")
    await transport.start()
    # What was begun when it was killed goes on now, not with the next order.
    going_on = ev.run()
    await transport.subscribe("warehouse", FlowTrigger(ev, ordered, lambda order: order["number"]), kind="order")
    say(f"process {os.getpid()} waits for orders")
    await going_on
    await Deferred()


async def shop(numbers: list[str]) -> None:
    missing = set(numbers)
    all_shipped: Deferred[None] = Deferred()

    def hear(change: dict[str, Any]) -> None:
        say(f"order {change['sequence']}: {change['name']} {change['status']}")
        if change["status"] == "failure" or (change["name"], change["status"]) == ("ship", "success"):
            missing.discard(change["sequence"])
        if not missing and not all_shipped.called:
            all_shipped.callback(None)

    transport = AMQPTransport(URL, exchange=EXCHANGE, route_by="kind")
    await transport.start()
    await transport.subscribe("shop", hear, kind="task", status=one_of("active", "success", "failure"), window=1)
    for number in numbers:
        await transport.publish({"number": number}, kind="order", event_id=f"order-{number}")
    await all_shipped
    await transport.stop()


def run(_: Any, role: str, *numbers: str) -> Deferred[None]:
    return Deferred.fromCoroutine(shop(list(numbers)) if role == "shop" else warehouse())


if __name__ == "__main__":
    react(run, sys.argv[1:])
