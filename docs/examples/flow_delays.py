"""Reminders of an unpaid bill, sent by a program that is started now and then."""

from __future__ import annotations

import os
import sys

from twisted_evproc import flow

#: How many seconds a day has.
DAY = float(os.environ.get("DAY", "2"))


def write(letter: str) -> None:
    print(f"sending the {letter}")


def build_flow(run_mode: flow.RunMode) -> flow.Eventor:
    ev = flow.Eventor(run_mode=run_mode)

    delivered = ev.add_event("delivered")
    billed = ev.add_event("billed")
    reminded = ev.add_event("reminded")

    billing = ev.add_step("bill", write, args=("bill",), triggers={flow.StepStatus.success: billed})
    reminding = ev.add_step("remind", write, args=("reminder",), triggers={flow.StepStatus.success: reminded})
    warning = ev.add_step("warn", write, args=("last warning",))

    ev.add_assoc(delivered, billing)
    ev.add_assoc(billed, reminding, delay=2 * DAY)
    ev.add_assoc(reminded, warning, delay=2 * DAY)

    ev.trigger_event(delivered, 17)
    return ev


def main(mode: str) -> None:
    result = build_flow(flow.RunMode(mode))(max_loops=1)
    print(f"{result.status.name}, delays left: {result.pending_delays}")


if __name__ == "__main__":
    main(*sys.argv[1:])
