"""Runs to look at: played without a database, a thread or time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from twisted_evproc.flow import Eventor, FlowEvent, ResourcePool, RunMode, Snapshot, StepStatus, and_, at_least, not_by, or_
from twisted_evproc.flow._description import describe_program
from twisted_evproc.flow.views import Declared, Sight, read_description
from twisted_evproc.testing import FakeFlowStore

#: When plays begin.
BEGIN = 1_000_000.0

HOSTILE = (
    "<script>alert(1)</script>",
    "\"quoted\" & 'single'",
    "two\nlines\tand\x01 an odd one\x1b[31m",
    "x" * 3000,
    "\u202eright to left \u05e9\u05dc\u05d5\u05dd",
    "]]><!--",
    "日本語の名前" * 20,
)


class Play:
    """A flow over a store without a database, inline, with a clock that the test moves."""

    def __init__(self, name: str = "shop", mode: RunMode = RunMode.restart, before: Play | None = None, **options: Any) -> None:
        self.clock: Clock = Clock() if before is None else before.clock
        if before is None:
            self.clock.advance(BEGIN)
        self.store: FakeFlowStore = FakeFlowStore() if before is None else before.store
        config = {"executor": "inline", "max_concurrent": 0, "stop_on_exception": False, **options.pop("config", {})}
        self.flow = Eventor(name, self.store, mode, config=config, clock=self.clock, **options)
        self.pending: dict[str, Deferred[Any]] = {}

    def step(self, name: str, after: FlowEvent, function: Callable[[], Any] = lambda: None, **options: Any) -> Any:
        """A step that follows an event."""
        step = self.flow.add_step(name, function, **options)
        self.flow.add_assoc(after, step)
        return step

    def waiting(self, name: str) -> Callable[[], Any]:
        """A function that ends when the test says so."""

        def function() -> Any:
            self.pending[name] = Deferred()
            return self.pending[name]

        return function

    def run(self, max_loops: int = 1) -> Play:
        """Begin; what ends by itself has ended then."""
        self.running = self.flow.run(max_loops)
        self.clock.advance(0)
        return self

    @property
    def declared(self) -> Declared:
        return read_description(describe_program(self.flow.program))

    @property
    def snapshot(self) -> Snapshot:
        return self.store.snapshot()

    def sight(self, living: str | None = None, recovery: int | None = None) -> Sight:
        return Sight(self.declared, self.snapshot, living, recovery)

    @property
    def now(self) -> float:
        return self.clock.seconds()


def fail() -> None:
    raise ValueError("no boxes")


def shop(sequences: int = 1, *, packs: bool = False, before: Play | None = None, mode: RunMode = RunMode.restart) -> Play:
    """An order is charged, packed and sent; packing fails, and nobody handles that."""
    play = Play(before=before, mode=mode)
    flow = play.flow
    order, paid, packed, by_hand = (flow.add_event(name) for name in ("order", "paid", "packed", "by hand"))
    ship = flow.add_event("ship", and_(paid, or_(packed, by_hand)))
    play.step("charge", order, triggers={StepStatus.success: paid})
    play.step("pack", order, (lambda: 1) if packs else fail, triggers={StepStatus.success: packed})
    sent = flow.add_event("sent")
    play.step("send", ship, triggers={StepStatus.success: sent})
    late = flow.add_event("late", not_by(paid, 60))
    play.step("remind", late)
    flow.add_assoc(sent, flow.add_step("ask", lambda: None), delay=3600)
    for sequence in range(1, sequences + 1):
        flow.trigger_event(order, sequence)
    return play.run()


def hostile(text: str) -> Play:
    """A flow in which everything has one name."""
    play = Play(name=text)
    flow = play.flow
    event, other = flow.add_event(text), flow.add_event(f"{text}2")
    both = flow.add_event(f"{text}3", at_least(2, event, other, not_by(other, 5)))

    def broken() -> None:
        raise ValueError(text)

    pool = ResourcePool(text, 1)
    play.step(text, event, broken, triggers={StepStatus.failure: other}, acquires=[(pool, 1)])
    flow.add_assoc(both, flow.add_step(f"{text}4", lambda: None), delay=5)
    flow.trigger_event(event, text)
    return play.run()
