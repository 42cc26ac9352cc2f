"""A flow as a description that can be kept beside its runs: what ``evproc flow`` draws and explains."""

from __future__ import annotations

import json
from typing import Any

from ..dispatch import qualified_name_of
from ._expressions import Count, NotBy, Operand, as_operand
from ._program import Program
from ._run import SCHEDULE


def describe_program(program: Program, asked: int | None = None) -> str:
    """
    A flow as JSON text.

    :param asked: the recovery that the run's newest one asks; ``None`` for the one before it.

    ``events``: name to expression or ``null``; ``steps``: name to what is declared of it; ``follows``: ``[event, "step" or
    "event", target, delay in seconds]``; ``schedules``: ``[event, cron expression and zone]``; ``pools``: name to limit.  An
    expression is a name, ``["all", ...]``, ``["any", ...]``, ``["at least", n, ...]`` or ``["not by", event, seconds]``.
    ``asked`` is there where it was chosen: whoever continues the run cannot know it.
    """
    return json.dumps(
        {
            "events": {
                event.name: None if event.expr is None else _expression(as_operand(event.expr))
                for event in program.events.values()
            },
            "steps": {
                step.name: {
                    "function": qualified_name_of(step.func),
                    "triggers": {status.name: list(events) for status, events in step.triggers.items()},
                    "acquires": dict(step.acquires),
                    "releases": None if step.releases is None else dict(step.releases),
                    "max_concurrent": step.max_concurrent,
                    "retries": step.retries,
                    "timeout": step.timeout,
                    "priority": step.priority,
                }
                for step in program.steps.values()
            },
            "follows": [
                [event, "step" if follows.step else "event", follows.target, follows.delay]
                for event in program.events
                for follows in program.consequences(event)
            ],
            "schedules": [[event, key.removeprefix(f"{SCHEDULE} ")] for event, key in program.schedules],
            "pools": {pool.name: pool.limit for pool in program.pools.values()},
            **({} if asked is None else {"asked": asked}),
        },
        separators=(",", ":"),
    )


def asked_in(description: str) -> int | None:
    """The recovery that the newest one of a run asks, where it was chosen; see :func:`describe_program`."""
    asked: int | None = json.loads(description).get("asked") if description else None
    return asked


def _expression(operand: Operand) -> Any:
    # Expressions are as deep as users like: without recursion, from the leaves up.
    made: dict[int, Any] = {}
    left: list[tuple[Operand, bool]] = [(operand, False)]
    while left:
        each, below_made = left.pop()
        if isinstance(each, NotBy):
            made[id(each)] = ["not by", each.event.name, each.seconds]
        elif not isinstance(each, Count):
            made[id(each)] = each.name
        elif below_made:
            made[id(each)] = [*_word(each), *(made[id(below)] for below in each.operands)]
        else:
            left.append((each, True))
            left += [(below, False) for below in each.operands]
    return made[id(operand)]


def _word(count: Count) -> list[Any]:
    if count.need == len(count.operands):
        return ["all"]
    return ["any"] if count.need == 1 else ["at least", count.need]
