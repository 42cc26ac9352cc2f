"""An order that is killed in the middle of its payment, and goes on."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from twisted_evproc import flow

#: What stands for the bank: it remembers the keys of the payments it has made.
BANK = Path(__file__).with_name("bank.txt")


def reserve() -> None:
    print("reserving a lamp", flush=True)


def charge() -> None:
    step = flow.current_step()
    known = BANK.read_text().split() if BANK.exists() else []
    if step.idempotency_key in known:
        print(f"attempt {step.attempt}: the bank has this payment already", flush=True)
        return
    with BANK.open("a") as bank:
        print(step.idempotency_key, file=bank)
    print(f"attempt {step.attempt}: paid; now type, in another terminal: kill -9 {os.getpid()}", flush=True)
    time.sleep(600)


def ship() -> None:
    print("shipping", flush=True)


def build_flow(run_mode: flow.RunMode) -> flow.Eventor:
    ev = flow.Eventor(run_mode=run_mode)

    ordered = ev.add_event("ordered")
    reserved = ev.add_event("reserved")
    paid = ev.add_event("paid")

    reserving = ev.add_step("reserve", reserve, triggers={flow.StepStatus.success: reserved})
    charging = ev.add_step("charge", charge, triggers={flow.StepStatus.success: paid})
    shipping = ev.add_step("ship", ship)

    ev.add_assoc(ordered, reserving)
    ev.add_assoc(reserved, charging)
    ev.add_assoc(paid, shipping)

    ev.trigger_event(ordered, 17)
    return ev


def main(mode: str) -> None:
    print(build_flow(flow.RunMode(mode))().status.name)


if __name__ == "__main__":
    main(*sys.argv[1:])
