"""A flow as it was declared, read back from its description."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import attrs

from ...errors import FlowDefinitionError
from .._rows import Snapshot
from ._words import span

#: The name of a flow event, or ``["all", ...]``, ``["any", ...]``, ``["at least", n, ...]``, ``["not by", event, seconds]``.
Expression: TypeAlias = Any


class Follows(NamedTuple):
    """
    What follows from a flow event.

    :ivar kind: ``step`` or ``event``.
    :ivar delay: in seconds.
    """

    event: str
    kind: str
    target: str
    delay: float

    @property
    def key(self) -> str:
        """As a delay row names it."""
        return f"{self.kind} {self.target}"


@attrs.frozen
class DeclaredStep:
    """
    A step.

    :ivar function: its qualified name, or ``""`` where it is not known.
    :ivar triggers: a :class:`~twisted_evproc.flow.StepStatus` by name to flow events.
    :ivar releases: ``None`` for what was acquired.
    """

    name: str
    function: str = ""
    triggers: dict[str, list[str]] = attrs.field(factory=dict)
    acquires: dict[str, int] = attrs.field(factory=dict)
    releases: dict[str, int] | None = None
    max_concurrent: int = 0
    retries: int = 0
    timeout: float | None = None
    priority: int = 0


@attrs.frozen
class Declared:
    """
    A flow.

    :ivar events: name to expression or ``None``.
    :ivar pools: name to limit.
    :ivar complete: whether it is what the program declared; otherwise it is what can be told from what has happened.
    """

    events: dict[str, Expression]
    steps: dict[str, DeclaredStep]
    follows: list[Follows]
    pools: dict[str, int]
    complete: bool = True

    def leading_to(self, kind: str, target: str) -> list[Follows]:
        """The associations that lead to a step, or an event."""
        return [each for each in self.follows if each.kind == kind and each.target == target]

    def fired_by(self, event: str) -> Iterator[tuple[DeclaredStep, str]]:
        """The steps that trigger a flow event, and by which status."""
        for step in self.steps.values():
            for status, events in step.triggers.items():
                if event in events:
                    yield step, status


def read_description(text: str) -> Declared:
    """
    A flow, from what :func:`~twisted_evproc.flow._description.describe_program` made of it.

    Names that newer versions added are passed over.

    :raises twisted_evproc.errors.FlowDefinitionError: for other text.
    """
    known = {field.name for field in attrs.fields(DeclaredStep)}
    try:
        found = json.loads(text)
        return Declared(
            dict(found["events"]),
            {
                name: DeclaredStep(name=name, **{key: value for key, value in step.items() if key in known - {"name"}})
                for name, step in found["steps"].items()
            },
            [Follows(*each[:4]) for each in found["follows"]],
            dict(found["pools"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FlowDefinitionError(f"the description of the flow cannot be read: {type(error).__name__}: {error}") from error


def infer(snapshot: Snapshot) -> Declared:
    """What can be told of a flow from what has happened in a run, where its description is not there."""
    steps = {task.step: DeclaredStep(task.step) for task in snapshot.tasks}
    events: dict[str, Expression] = {}
    follows: dict[Follows, None] = {}
    for trigger in snapshot.triggers:
        events.setdefault(trigger.event, None)
        kind, _, name = trigger.origin.partition(" ")
        if kind == "event":
            events.setdefault(name, None)
            follows[Follows(name, "event", trigger.event, 0.0)] = None
        elif kind == "step":
            fired = steps.setdefault(name, DeclaredStep(name)).triggers.setdefault("?", [])
            if trigger.event not in fired:
                fired.append(trigger.event)
    for delay in snapshot.delays:
        kind, _, name = delay.target.partition(" ")
        events.setdefault(delay.event, None)
        if kind != "not_by":
            _ = steps.setdefault(name, DeclaredStep(name)) if kind == "step" else events.setdefault(name, None)
            follows = {each: None for each in follows if each[:3] != (delay.event, kind, name)}
            follows[Follows(delay.event, kind, name, delay.due - delay.activated)] = None
    pools = {hold.pool: 0 for hold in snapshot.holds}
    return Declared(events, steps, list(follows), pools, complete=False)


def expression_in_words(expression: Expression) -> str:
    """An expression as people write it: ``b and one of (c, d)``."""
    # From the leaves up, without recursion: expressions are as deep as users like.
    made: dict[int, str] = {}
    left: list[tuple[Expression, bool]] = [(expression, False)]
    while left:
        each, below_made = left.pop()
        if isinstance(each, str):
            made[id(each)] = f"'{each}'"
        elif each[0] == "not by":
            made[id(each)] = f"'{each[1]}' staying away for {span(each[2])}"
        elif below_made:
            made[id(each)] = _joined(each, [made[id(below)] for below in operands_of(each)], top=each is expression)
        else:
            left.append((each, True))
            left += [(below, False) for below in operands_of(each)]
    return made[id(expression)]


def operands_of(expression: Expression) -> list[Expression]:
    """What stands below a node of an expression; empty for events and ``not by``."""
    if isinstance(expression, str) or expression[0] == "not by":
        return []
    return list(expression[2:] if expression[0] == "at least" else expression[1:])


def need_of(expression: Expression) -> int:
    """How many of its operands a node needs."""
    if expression[0] == "at least":
        return int(expression[1])
    return len(expression) - 1 if expression[0] == "all" else 1


def _joined(expression: Expression, words: list[str], *, top: bool) -> str:
    if len(words) == 1:
        return words[0]
    if expression[0] == "all":
        text = f"{', '.join(words[:-1])} and {words[-1]}"
        return text if top else f"all of ({', '.join(words)})"
    if expression[0] == "any":
        return f"one of ({', '.join(words)})"
    return f"{expression[1]} of ({', '.join(words)})"


__all__ = [
    "Declared",
    "DeclaredStep",
    "Expression",
    "Follows",
    "expression_in_words",
    "infer",
    "need_of",
    "operands_of",
    "read_description",
]
