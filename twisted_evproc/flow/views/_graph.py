"""A flow as a graph: what is a node, what leads to what, and how it stands."""

from __future__ import annotations

from collections import Counter

import attrs

from .._errors import summary
from .._rows import TaskRow
from ._declared import Declared, DeclaredStep, Expression, Follows, expression_in_words, need_of, operands_of
from ._marks import LOOKS, look_of
from ._sight import SHOWN, Sight, watch_numbers
from ._words import ago, counted, moment, shortened, span

#: Sequences and errors that the details of a node name.
_NAMED = 8


@attrs.frozen
class Node:
    """
    :ivar kind: ``event``, ``step``, ``gate``, ``delay`` or ``watch``.
    :ivar name: of the event or step; what a gate, delay or watch is for, otherwise.
    :ivar label: what is written on it.
    :ivar state: a few words on how it stands, or ``""``.
    :ivar look: see ``_marks``.
    :ivar details: lines.
    """

    kind: str
    name: str
    label: str
    state: str
    look: str
    details: tuple[str, ...] = ()


@attrs.frozen
class Edge:
    """
    :ivar source: number of a node; :ivar target: likewise.
    :ivar label: a status of a step, or ``""``.
    """

    source: int
    target: int
    label: str = ""


@attrs.frozen
class Graph:
    """
    :ivar title: what it is of.
    :ivar caption: how it stands, in a line.
    """

    title: str
    caption: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def graph_of(
    declared: Declared, sight: Sight | None = None, sequence: str | None = None, *, name: str = "", now: float = 0.0
) -> Graph:
    """
    A flow as a graph.

    :param sight: a run; ``None`` for the flow alone.
    :param sequence: ``None`` for all sequences of the run together.
    :param name: of the flow.
    """
    builder = _Builder(declared, sight, sequence, now)
    builder.build()
    title = f"Flow {name}" if name else "Flow"
    return Graph(title, _caption(declared, sight, sequence, now), tuple(builder.nodes), tuple(builder.edges))


def _caption(declared: Declared, sight: Sight | None, sequence: str | None, now: float) -> str:
    if sight is None:
        return f"{counted(len(declared.steps), 'step')}, {counted(len(declared.events), 'flow event')}"
    run = sight.snapshot.run
    parts = [f"Run {run.run_id}: {sight.status}, begun {moment(run.created, now)}"]
    if run.ended is not None and sight.status not in ("running", "interrupted"):
        parts[0] += f", {'left' if sight.status in ('pending', 'stuck') else 'ended'} {moment(run.ended, now)}"
    if sight.recovery:
        parts.append(f"recovery {sight.recovery}")
    parts.append(f"sequence {sequence}" if sequence is not None else counted(len(sight.sequences()), "sequence"))
    if not declared.complete:
        parts.append("drawn from what has happened: the run has no description of its flow")
    return "; ".join(parts)


class _Builder:
    def __init__(self, declared: Declared, sight: Sight | None, sequence: str | None, now: float) -> None:
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        self._declared = declared
        self._sight = sight
        self._sequence = sequence
        self._now = now
        self._numbers: dict[tuple[str, str], int] = {}
        self._happened: dict[str, list[str]] = {}
        self._counts: dict[str, Counter[str]] = {}
        self._chosen: list[str] = []
        if sight is not None:
            self._chosen = sight.sequences() if sequence is None else [sequence]
            self._counts = sight.counts_by_step(sequence)
            for event, found in sight.triggers:
                if sequence in (None, found):
                    self._happened.setdefault(event, []).append(found)

    def build(self) -> None:
        events = dict.fromkeys([*self._declared.events, *self._happened])
        steps = list(self._declared.steps) if self._sight is None else self._sight.steps()
        for event in events:
            self._numbers["event", event] = self._add(self._event(event))
        for step in steps:
            self._numbers["step", step] = self._add(self._step(step))
        for event, expression in self._declared.events.items():
            if expression is not None:
                self._gate(event, expression)
        for association in self._declared.follows:
            self._association(association)
        for declared in self._declared.steps.values():
            self._triggers(declared)

    def _add(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def _event(self, name: str) -> Node:
        label = shortened(name, 30)
        expression = self._declared.events.get(name)
        details = [] if expression is None else [f"needs {expression_in_words(expression)}"]
        if self._sight is None:
            return Node("event", name, label, "", "plain", tuple(details))
        found = self._happened.get(name, [])
        if not found:
            return Node("event", name, label, "", "none", ("has not happened", *details))
        rows = [self._sight.triggers[name, sequence] for sequence in found]
        newest = max(rows, key=lambda row: row.at)
        if len(rows) == 1:
            details.insert(0, f"happened for sequence {newest.sequence}, {ago(newest.at, self._now)}, by {newest.origin}")
        else:
            details.insert(0, f"happened for {len(rows)} sequences, last for {newest.sequence}, {ago(newest.at, self._now)}")
        return Node(
            "event",
            name,
            label,
            f"{len(rows)}×" if self._sequence is None and len(self._chosen) > 1 else "",
            "success",
            tuple(details),
        )

    def _step(self, name: str) -> Node:
        declared = self._declared.steps.get(name)
        details = _declaration(declared) if declared is not None else ["the program has this step no longer"]
        label = shortened(name, 30)
        if self._sight is None:
            return Node("step", name, label, "", "plain", tuple(details))
        counts = self._counts.get(name, Counter())
        status = next((status for status in SHOWN if counts[status]), "none")
        tasks = [task for task in self._sight.tasks.values() if task.step == name and self._sequence in (None, task.sequence)]
        look = look_of(status)
        if status == "success" and not any(task.attempt for task in tasks):
            look = "skipped"
        if sum(counts.values()) > 1:
            state = ", ".join(f"{counts[each]} {_word(each)}" for each in SHOWN if counts[each])
        else:
            state = LOOKS[look].word
        if len(tasks) == 1:
            details = [*_task_details(self._sight, tasks[0], self._now), *details]
        else:
            details = [*_failures(tasks), *details]
        return Node("step", name, label, shortened(state, 34), look, tuple(details))

    def _gate(self, event: str, expression: Expression) -> None:
        numbers = watch_numbers(expression)
        left = [(expression, self._numbers["event", event])]
        while left:
            each, target = left.pop()
            below = operands_of(each)
            if isinstance(each, str):
                self.edges.append(Edge(self._numbers["event", each], target))
            elif not below:
                watch = self._add(self._watch(event, each, numbers))
                self.edges += [Edge(self._numbers["event", each[1]], watch), Edge(watch, target)]
            elif len(below) == 1:
                left.append((below[0], target))
            else:
                gate = self._add(self._gate_node(event, each, numbers))
                self.edges.append(Edge(gate, target))
                left += [(one, gate) for one in reversed(below)]

    def _gate_node(self, event: str, expression: Expression, numbers: dict[int, int]) -> Node:
        below = operands_of(expression)
        need = need_of(expression)
        label = {"all": "all", "any": "any"}.get(expression[0], f"{need} of {len(below)}")
        details = [expression_in_words(expression)]
        state, look = "", "plain"
        if self._sight is not None:
            holding = [one for one in self._chosen if self._sight.holds(expression, one, event, numbers)]
            look = "success" if holding else "none"
            if len(self._chosen) == 1:
                found = sum(self._sight.holds(each, self._chosen[0], event, numbers) for each in below)
                details.append(f"{found} of {len(below)} hold, {need} needed")
                look = "success" if holding else "waiting" if found else "none"
            elif holding:
                details.append(f"holds for {counted(len(holding), 'sequence')}")
        return Node("gate", event, label, state, look, tuple(details))

    def _watch(self, event: str, expression: Expression, numbers: dict[int, int]) -> Node:
        label = f"not by {span(expression[2])}"
        details = [f"'{expression[1]}' has not happened {span(expression[2])} after the sequence began"]
        if self._sight is None:
            return Node("watch", event, label, "", "plain", tuple(details))
        rows = [(one, self._sight.watch(expression, one, event, numbers)) for one in self._chosen]
        waiting = [row for _, row in rows if row is not None and not row.done]
        if any(self._sight.stayed_away(expression, one, event, numbers) for one, _ in rows):
            look = "success"
        else:
            look = "waiting" if waiting else "none"
        if waiting:
            details.append(
                f"{counted(len(waiting), 'sequence')} waited on; next due {ago(min(row.due for row in waiting), self._now)}"
            )
        return Node("watch", event, label, "", look, tuple(details))

    def _association(self, association: Follows) -> None:
        source = self._numbers.get(("event", association.event))
        target = self._numbers.get((association.kind, association.target))
        if source is None or target is None:
            return
        if not association.delay:
            self.edges.append(Edge(source, target))
            return
        delay = self._add(self._delay(association))
        self.edges += [Edge(source, delay), Edge(delay, target)]

    def _delay(self, association: Follows) -> Node:
        label = f"after {span(association.delay)}"
        details = [f"'{association.target}' follows {span(association.delay)} after '{association.event}'"]
        if self._sight is None:
            return Node("delay", association.target, label, "", "plain", tuple(details))
        rows = [
            row for one in self._chosen if (row := self._sight.delays.get((association.event, association.key, one))) is not None
        ]
        waiting = [row for row in rows if not row.done]
        if waiting:
            due = min(row.due for row in waiting)
            details.append(f"{counted(len(waiting), 'sequence')} waiting; next due {ago(due, self._now)}")
            return Node("delay", association.target, label, f"due {moment(due, self._now)}", "waiting", tuple(details))
        return Node("delay", association.target, label, "", "success" if rows else "none", tuple(details))

    def _triggers(self, step: DeclaredStep) -> None:
        source = self._numbers["step", step.name]
        for status, events in step.triggers.items():
            for event in events:
                target = self._numbers.get(("event", event))
                if target is not None:
                    self.edges.append(Edge(source, target, "" if status == "?" else status))


def _declaration(step: DeclaredStep) -> list[str]:
    found = []
    if step.function:
        found.append(f"calls {step.function}")
    if step.acquires:
        found.append("acquires " + ", ".join(f"{amount} of '{pool}'" for pool, amount in step.acquires.items()))
    if step.max_concurrent >= 1:
        found.append(f"runs {step.max_concurrent} at a time")
    if step.retries:
        found.append(f"is tried again {counted(step.retries, 'time')}")
    if step.timeout is not None:
        found.append(f"may take {span(step.timeout)}")
    return found


def _task_details(sight: Sight, task: TaskRow, now: float) -> list[str]:
    found = [f"sequence {task.sequence}: {_word(sight.status_of(task))}, {counted(task.attempt, 'attempt')}"]
    if task.started is not None:
        took = "" if task.ended is None else f", took {span(task.ended - task.started)}"
        found.append(f"began {ago(task.started, now)}{took}")
    if task.due is not None:
        found.append(f"next attempt {ago(task.due, now)}")
    if task.error is not None:
        found.append(shortened(summary(task.error) or "", 300))
    return found


def _failures(tasks: list[TaskRow]) -> list[str]:
    failed = [task for task in tasks if task.error is not None]
    found = [f"sequence {task.sequence}: {shortened(summary(task.error) or '', 160)}" for task in failed[:_NAMED]]
    if len(failed) > _NAMED:
        found.append(f"and {len(failed) - _NAMED} more that failed")
    return found


def _word(status: str) -> str:
    return LOOKS[look_of(status)].word


__all__ = ["Edge", "Graph", "Node", "graph_of"]
