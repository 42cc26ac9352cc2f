"""An order, watched."""

from __future__ import annotations

from twisted_evproc import flow

ev = flow.Eventor(store=":memory:")

ordered = ev.add_event("ordered")
paid = ev.add_event("paid")

charging = ev.add_step("charge", lambda: "receipt 1", triggers={flow.StepStatus.success: paid})
shipping = ev.add_step("ship", lambda: None)

ev.add_assoc(ordered, charging)
ev.add_assoc(paid, shipping)


@ev.dispatcher.handler("during")
def show(change: flow.Change) -> None:
    print(f"{change.kind} {change.name!r} of order {change.sequence}: {change.status}")


@ev.dispatcher.handler("after", kind="task", name="ship", status="success")
def announce(change: flow.Change) -> None:
    print(f"Dear customer, order {change.sequence} is on its way.")


ev.trigger_event(ordered, 17)
ev()
