"""Five loaves, and an oven that holds two."""

from __future__ import annotations

import time

from twisted_evproc import flow

oven = flow.ResourcePool("oven", limit=2)

baking_now: set[str] = set()
counts: list[int] = []


def bake() -> None:
    loaf = flow.current_step().sequence
    baking_now.add(loaf)
    counts.append(len(baking_now))
    time.sleep(0.2)
    baking_now.remove(loaf)


ev = flow.Eventor(store=":memory:", config={"max_concurrent": 0})

kneaded = ev.add_event("kneaded")
baking = ev.add_step("bake", bake, acquires=[(oven, 1)])
ev.add_assoc(kneaded, baking)

for _ in range(5):
    ev.trigger_event(kneaded)
result = ev()

print(f"{result.status.name}: {len(result.tasks)} loaves, at most {max(counts)} in the oven")
