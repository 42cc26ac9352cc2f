"""An order in three steps, each of which follows from the one before."""

from __future__ import annotations

from twisted_evproc import flow


def reserve(item: str) -> dict[str, int]:
    print(f"reserving {item} for order {flow.current_step().sequence}")
    return {"shelf": 7}


def charge(euros: int) -> str:
    print(f"charging {euros} euros")
    return "receipt 1"


def ship() -> None:
    print("shipping")


ev = flow.Eventor(store=":memory:")

ordered = ev.add_event("ordered")
reserved = ev.add_event("reserved")
paid = ev.add_event("paid")

reserving = ev.add_step("reserve", reserve, args=("a lamp",), triggers={flow.StepStatus.success: reserved})
charging = ev.add_step("charge", charge, kwargs={"euros": 40}, triggers={flow.StepStatus.success: paid})
shipping = ev.add_step("ship", ship)

ev.add_assoc(ordered, reserving)
ev.add_assoc(reserved, charging)
ev.add_assoc(paid, shipping)

ev.trigger_event(ordered, 17)
result = ev()

print(result.status.name)
print(ev.result(reserving, 17), ev.result(charging, 17))
