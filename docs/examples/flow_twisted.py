"""Orders that come from an event dispatcher, in a Twisted program; each parcel of an order is a sequence of its own."""

from __future__ import annotations

from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from twisted_evproc import EventDispatcher, flow


class Order(NamedTuple):
    number: int
    items: tuple[str, ...]


orders: dict[str, Order] = {}


def build_flow(reactor: Any) -> tuple[flow.Eventor, flow.FlowEvent]:
    ev = flow.Eventor(store=":memory:")

    ordered = ev.add_event("ordered")
    packed = ev.add_event("packed")

    def pack() -> int:
        # A plain function runs in a thread.
        order = orders[flow.current_step().sequence]
        for item in order.items:
            print(f"packing {item}")
            ev.trigger_event(packed, f"{order.number}-{item}")
        return len(order.items)

    async def ship() -> None:
        # This one runs on the reactor.
        await deferLater(reactor, 0.01)
        print(f"shipping {flow.current_step().sequence}")

    ev.add_assoc(ordered, ev.add_step("pack", pack))
    ev.add_assoc(packed, ev.add_step("ship", ship))
    return ev, ordered


async def main(reactor: Any) -> None:
    ev, ordered = build_flow(reactor)

    def take(order: Order) -> None:
        orders[str(order.number)] = order
        ev.trigger_event(ordered, order.number)

    shop = EventDispatcher(("kind",))
    await shop.add_event_handler(take, "during", kind="order")
    await shop.start()
    await shop.fire_event(Order(17, ("lamp", "bulb")), kind="order")

    result = await ev.run()
    print(f"{result.status.name}: {ev.result('pack', 17)} parcels")


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
