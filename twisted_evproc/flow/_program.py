"""A flow as the engine follows it: what was declared, looked up by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from ..errors import FlowDefinitionError
from ._expressions import Gate, events_of, make_gate
from ._model import Association, FlowEvent, ResourcePool, Step
from ._schedule import Schedule


def watch_key(number: int, gate_event: str) -> str:
    """How a delay row names a ``not_by``: by its number in the expression of a flow event."""
    return f"not_by {number} {gate_event}"


class Program:
    """
    What a flow consists of.

    :ivar events: by name.
    :ivar steps: by name.
    :ivar pools: by name.
    :ivar schedules: by the name of their flow event, and their key.
    :ivar gates: by the name of the flow event that follows from each.
    :ivar listening: name of a flow event to the gates that count it, as ``(gate's event, nodes)``.
    :ivar watching: name of a flow event to the keys of the watches that it is not to happen.
    """

    def __init__(self) -> None:
        self.events: dict[str, FlowEvent] = {}
        self.steps: dict[str, Step] = {}
        self.pools: dict[str, ResourcePool] = {}
        self.gates: dict[str, Gate] = {}
        self.listening: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
        self.watching: dict[str, list[str]] = {}
        self.schedules: dict[tuple[str, str], Schedule] = {}
        self._consequences: dict[str, dict[str, Association]] = {}

    def add_event(self, event: FlowEvent) -> FlowEvent:
        """
        Add a flow event; one that is there already in the same form comes back as it is.

        :raises twisted_evproc.errors.FlowDefinitionError: when the name is taken by a different one.
        """
        known = self.events.get(event.name)
        gate = None if event.expr is None else make_gate(event.expr)
        if gate is not None:
            for operand in events_of(event.expr):
                self.check_event(operand)
        if known is not None:
            if self.gates.get(event.name) != gate:
                raise FlowDefinitionError(f"flow event {event.name!r} is defined twice, with different expressions")
            return known
        if gate is not None:
            self.gates[event.name] = gate
            for number, (_, watched, _) in enumerate(gate.watches):
                self.watching.setdefault(watched, []).append(watch_key(number, event.name))
            for name, nodes in gate.leaves.items():
                self.listening.setdefault(name, []).append((event.name, nodes))
        self.events[event.name] = event
        return event

    def check_event(self, event: Any) -> str:
        """
        The name of a flow event of this flow.

        :raises twisted_evproc.errors.FlowDefinitionError: when it belongs to another.
        """
        if not isinstance(event, FlowEvent):
            what = f"step {event.name!r}" if isinstance(event, Step) else f"{event!r:.80}"
            raise FlowDefinitionError(f"{what} is no flow event; take what add_event() gave")
        if self.events.get(event.name) is not event:
            raise FlowDefinitionError(f"flow event {event.name!r} belongs to another flow")
        return event.name

    def add_step(self, step: Step) -> Step:
        """
        Add a step; one that is there already in the same form comes back as it is.

        :raises twisted_evproc.errors.FlowDefinitionError: when the name is taken by a different one.
        """
        known = self.steps.setdefault(step.name, step)
        if known is not step and attrs.asdict(known, recurse=False) != attrs.asdict(step, recurse=False):
            raise FlowDefinitionError(f"step {step.name!r} is defined twice, differently")
        return known

    def add_pool(self, pool: ResourcePool) -> None:
        """
        Add a resource pool; the newest limit counts.

        :raises twisted_evproc.errors.FlowDefinitionError: when a step wants more than that.
        """
        for step in self.steps.values():
            if step.acquires.get(pool.name, 0) > pool.limit:
                raise FlowDefinitionError(
                    f"resource pool {pool.name!r} is given the limit {pool.limit}, and step {step.name!r} asks for "
                    f"{step.acquires[pool.name]}; it would wait for ever"
                )
        self.pools[pool.name] = pool

    def check_step(self, step: Any) -> str:
        """
        The name of a step of this flow.

        :raises twisted_evproc.errors.FlowDefinitionError: when it belongs to another.
        """
        if not isinstance(step, Step):
            raise FlowDefinitionError(
                f"{step!r:.80} is neither a step nor a flow event; take what add_step() or add_event() gave"
            )
        if self.steps.get(step.name) is not step:
            raise FlowDefinitionError(f"step {step.name!r} belongs to another flow")
        return step.name

    def add_schedule(self, schedule: Schedule) -> None:
        """Let a flow event happen by the calendar; the same one twice is once."""
        self.schedules[schedule.event, schedule.key] = schedule

    def associate(self, event: str, association: Association) -> None:
        """
        Let something follow from a flow event; the same twice is once.

        :raises twisted_evproc.errors.FlowDefinitionError: when it follows already, with another delay.
        """
        known = self._consequences.setdefault(event, {}).setdefault(association.key, association)
        if known != association:
            kind = "step" if association.step else "flow event"
            raise FlowDefinitionError(
                f"{kind} {association.target!r} follows from flow event {event!r} twice, with delays of {known.delay:g} and "
                f"{association.delay:g} seconds; each follows once in a sequence"
            )

    def consequences(self, event: str) -> Iterator[Association]:
        """What follows from a flow event."""
        return iter(self._consequences.get(event, {}).values())

    def association(self, event: str, key: str) -> Association | None:
        """One of the consequences, or ``None`` when the program has it no longer."""
        return self._consequences.get(event, {}).get(key)
