"""An order whose payment fails; a recovery goes on with another card."""

from __future__ import annotations

import sys

from twisted_evproc import flow


def reserve() -> None:
    print("reserving a lamp")


def charge(card: str) -> str:
    if card == "expired":
        raise ValueError("the card has expired")
    print(f"charging the {card} card")
    return "receipt 1"


def ship() -> None:
    print("shipping")


def build_flow(run_mode: flow.RunMode, card: str) -> flow.Eventor:
    ev = flow.Eventor(run_mode=run_mode)

    ordered = ev.add_event("ordered")
    reserved = ev.add_event("reserved")
    paid = ev.add_event("paid")
    ready_to_go = ev.add_event("ready to go", expr=(reserved, paid))

    reserving = ev.add_step("reserve", reserve, triggers={flow.StepStatus.success: reserved})
    charging = ev.add_step("charge", charge, kwargs={"card": card}, triggers={flow.StepStatus.success: paid})
    shipping = ev.add_step("ship", ship)

    ev.add_assoc(ordered, reserving, charging)
    ev.add_assoc(ready_to_go, shipping)

    ev.trigger_event(ordered, 17)
    return ev


def main(mode: str, card: str) -> None:
    result = build_flow(flow.RunMode(mode), card)()
    print(f"{result.status.name} in recovery {result.recovery}")
    for failure in result.failures:
        print(f"{failure.step} of order {failure.sequence}: {failure.error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
