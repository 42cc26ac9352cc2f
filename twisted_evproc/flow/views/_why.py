"""Why has a flow event happened, or not?  Why has a step run, or not?  The way back, in words."""

from __future__ import annotations

from typing import NamedTuple

from ...errors import FlowDefinitionError
from .._errors import summary
from .._rows import DelayRow, TaskRow, TriggerRow
from ._declared import DeclaredStep, Expression, Follows, expression_in_words, need_of, operands_of
from ._sight import Sight, watch_numbers
from ._words import ago, counted, shortened, span

_HOW_FAR = 40


class Reason(NamedTuple):
    """
    A line of an answer.

    :ivar depth: how far it is from the question.
    :ivar mark: ``yes`` (so it is), ``no`` (it is not), ``failed``, ``waits`` or ``note``.
    """

    depth: int
    mark: str
    text: str


def why(sight: Sight, name: str, sequence: str | None = None, kind: str | None = None, *, now: float) -> list[Reason]:
    """
    Why something has happened, or has not.

    :param name: of a step or a flow event.
    :param sequence: ``None`` for the one that says most: the newest in which it has not come to a good end.
    :param kind: ``step`` or ``event`` where a name is that of both.
    :raises twisted_evproc.errors.FlowDefinitionError: when the flow has neither.
    """
    is_step, is_event = name in sight.steps(), name in sight.declared.events or any(name == event for event, _ in sight.triggers)
    if kind is None:
        kind = "step" if is_step else "event"
    if not (is_step if kind == "step" else is_event):
        raise FlowDefinitionError(f"the flow has no {'step' if kind == 'step' else 'step or flow event'} {name!r}")
    answer = _Answer(sight, now)
    if sequence is None:
        sequence = _telling(sight, kind, name)
        others = len(sight.sequences()) - 1
        if sequence is not None and others > 0:
            answer.say(0, "note", f"for sequence {sequence}, the one that says most of {others + 1}; name another to ask for it")
    if sequence is None:
        answer.say(0, "no", "no flow event has happened in this run yet, so nothing has followed")
        answer.run()
        return answer.reasons
    if kind == "step":
        answer.step(name, sequence, 0)
    else:
        answer.event(name, sequence, 0)
    answer.run()
    return answer.reasons


def _telling(sight: Sight, kind: str, name: str) -> str | None:
    sequences = sight.sequences()
    for sequence in reversed(sequences):
        task = sight.tasks.get((name, sequence))
        if (task is None or task.status != "success") if kind == "step" else (name, sequence) not in sight.triggers:
            return sequence
    return sequences[-1] if sequences else None


class _Answer:
    """Collects the reasons; each thing is explained once."""

    def __init__(self, sight: Sight, now: float) -> None:
        self.reasons: list[Reason] = []
        self._sight = sight
        self._declared = sight.declared
        self._now = now
        self._explained: set[tuple[str, str]] = set()

    def say(self, depth: int, mark: str, text: str) -> None:
        self.reasons.append(Reason(depth, mark, text))

    def _when(self, at: float | None) -> str:
        return "at an unknown time" if at is None else ago(at, self._now)

    def _seen(self, kind: str, name: str, depth: int) -> bool:
        known = (kind, name) in self._explained
        self._explained.add((kind, name))
        if not known and depth > _HOW_FAR:
            self.say(depth, "note", f"and so on; ask about {_what(kind, name)} itself")
            return True
        return known

    # -- flow events

    def event(self, name: str, sequence: str, depth: int) -> None:
        trigger = self._sight.triggers.get((name, sequence))
        if self._seen("event", name, depth):
            self.say(
                depth,
                "yes" if trigger else "no",
                f"flow event '{name}' {'happened' if trigger else 'has not happened'}: see above",
            )
        elif trigger is not None:
            self._happened(trigger, depth)
        else:
            self._not_happened(name, sequence, depth)

    def _happened(self, trigger: TriggerRow, depth: int) -> None:
        kind, _, origin = trigger.origin.partition(" ")
        begin = f"flow event '{trigger.event}' happened for sequence {trigger.sequence}, {self._when(trigger.at)}"
        if kind == "step":
            fired = [status for step, status in self._declared.fired_by(trigger.event) if step.name == origin and status != "?"]
            self.say(depth, "yes", f"{begin}: step '{origin}' triggers it{_at_status(fired)}")
            self.step(origin, trigger.sequence, depth + 1)
        elif kind == "event":
            self.say(depth, "yes", f"{begin}: it follows from flow event '{origin}'")
            self.event(origin, trigger.sequence, depth + 1)
        elif kind == "expression":
            expression = self._declared.events.get(trigger.event)
            if expression is None:
                self.say(depth, "yes", f"{begin}: its expression came true")
                return
            self.say(depth, "yes", f"{begin}: it needs {expression_in_words(expression)}, and that came true")
            self._operands(trigger.event, expression, trigger.sequence, depth + 1, only=True)
        else:
            who = {
                "program": "the program triggered it",
                "outside": "it was triggered while the flow ran",
                "schedule": "its schedule said so",
            }
            self.say(depth, "yes", f"{begin}: {who.get(kind, trigger.origin)}")

    def _not_happened(self, name: str, sequence: str, depth: int) -> None:
        begin = f"flow event '{name}' has not happened for sequence {sequence}"
        expression = self._declared.events.get(name)
        associations = self._declared.leading_to("event", name)
        fired = list(self._declared.fired_by(name))
        if expression is None and not associations and not fired:
            if self._declared.complete:
                self.say(
                    depth, "no", f"{begin}: nothing in the flow leads to it; the program, or somebody outside, has to trigger it"
                )
            else:
                self.say(depth, "no", f"{begin}; what would lead to it is not known: the run has no description of its flow")
            return
        ways = (expression is not None) + len(associations) + len(fired)
        self.say(depth, "no", begin if ways == 1 else f"{begin}; any of {ways} things would lead to it:")
        if expression is not None:
            self.say(depth + 1, "no", f"it needs {expression_in_words(expression)}")
            self._operands(name, expression, sequence, depth + 2)
        for association in associations:
            self._association(association, sequence, depth + 1)
        for step, status in fired:
            self._firing(step, status, sequence, depth + 1)

    def _operands(self, gate: str, expression: Expression, sequence: str, depth: int, *, only: bool = False) -> None:
        """
        :param only: leave out what does not hold: the whole does.
        """
        numbers = watch_numbers(expression)
        left: list[tuple[Expression, int]] = [(expression, depth)]
        while left:
            each, level = left.pop()
            holds = self._sight.holds(each, sequence, gate, numbers)
            if only and not holds:
                continue
            below = operands_of(each)
            if isinstance(each, str):
                self.event(each, sequence, level)
            elif not below:
                self._watch(each, self._sight.watch(each, sequence, gate, numbers), holds, sequence, level)
            elif each is expression or len(below) == 1:
                left += [(one, level) for one in reversed(below)]
            else:
                found = sum(self._sight.holds(one, sequence, gate, numbers) for one in below)
                state = "holds" if holds else f"does not hold: {found} of the {need_of(each)} it needs"
                self.say(level, "yes" if holds else "no", f"{expression_in_words(each)} {state}")
                left += [(one, level + 1) for one in reversed(below)]

    def _watch(self, expression: Expression, row: DelayRow | None, holds: bool, sequence: str, depth: int) -> None:
        name, seconds = expression[1], expression[2]
        happened = self._sight.triggers.get((name, sequence))
        if holds:
            self.say(depth, "yes", f"'{name}' had not happened {span(seconds)} after the sequence began")
        elif happened is not None:
            self.say(
                depth, "no", f"'{name}' happened in time, {self._when(happened.at)}, and was to stay away for {span(seconds)}"
            )
        elif row is None:
            self.say(depth, "no", f"sequence {sequence} has not begun, and '{name}' is watched from then on for {span(seconds)}")
        else:
            self.say(depth, "waits", f"'{name}' has to stay away until {self._when(row.due)}{self._late(row.due)}")

    def _late(self, due: float) -> str:
        return "" if due > self._now or self._sight.status == "running" else "; nobody works on the run, so nothing came of it"

    def _association(self, association: Follows, sequence: str, depth: int) -> None:
        trigger = self._sight.triggers.get((association.event, sequence))
        follows = f"it follows from flow event '{association.event}'"
        if association.delay:
            follows += f" after {span(association.delay)}"
        if trigger is None:
            self.say(depth, "no", follows)
            self.event(association.event, sequence, depth + 1)
            return
        row = self._sight.delays.get((association.event, association.key, sequence))
        if row is not None and not row.done:
            self.say(
                depth,
                "waits",
                f"{follows}, which happened {self._when(trigger.at)}: due {self._when(row.due)}{self._late(row.due)}",
            )
        else:
            self.say(
                depth,
                "waits",
                f"{follows}, which happened {self._when(trigger.at)}; the program has learnt of this since, "
                f"and acts on it when the run is continued",
            )

    def _firing(self, step: DeclaredStep, status: str, sequence: str, depth: int) -> None:
        task = self._sight.tasks.get((step.name, sequence))
        self.say(depth, "no", f"it comes from {_status_in_words(status)} of step '{step.name}'")
        if (
            task is not None
            and task.status in ("success", "failure")
            and status in ("success", "failure")
            and task.status != status
        ):
            self.say(depth + 1, "no", f"step '{step.name}' {'succeeded' if task.status == 'success' else 'failed'} instead")
        self.step(step.name, sequence, depth + 1)

    # -- steps

    def step(self, name: str, sequence: str, depth: int) -> None:
        task = self._sight.tasks.get((name, sequence))
        if self._seen("step", name, depth):
            state = "has not run" if task is None else f"is {_STATES.get(self._sight.status_of(task), task.status)}"
            self.say(depth, "no" if task is None else "yes", f"step '{name}' {state}: see above")
        elif task is None:
            self._no_task(name, sequence, depth)
        else:
            self._task(task, depth)
            self._cause(name, sequence, depth + 1)

    def _no_task(self, name: str, sequence: str, depth: int) -> None:
        begin = f"step '{name}' has not been reached for sequence {sequence}"
        associations = self._declared.leading_to("step", name)
        if not associations:
            unknown = "what leads to it is not known: the run has no description of its flow"
            self.say(depth, "no", f"{begin}: {'no flow event leads to it' if self._declared.complete else unknown}")
            return
        self.say(
            depth, "no", begin if len(associations) == 1 else f"{begin}; any of {len(associations)} flow events would lead to it:"
        )
        for association in associations:
            self._association(association, sequence, depth + 1)

    def _cause(self, name: str, sequence: str, depth: int) -> None:
        causes = [
            (trigger.at, each)
            for each in self._declared.leading_to("step", name)
            if (trigger := self._sight.triggers.get((each.event, sequence))) is not None
        ]
        if causes:
            cause = min(causes, key=lambda found: found[0] + found[1].delay)[1]
            self.event(cause.event, sequence, depth)

    def _task(self, task: TaskRow, depth: int) -> None:
        status = self._sight.status_of(task)
        begin = f"step '{task.step}'"
        tries = "" if task.attempt < 2 else f", at attempt {task.attempt}"
        if status == "success" and not task.attempt:
            self.say(
                depth, "yes", f"{begin} was not run again in recovery {task.recovery}: it counts as done{self._before(task)}"
            )
        elif status == "success":
            took = "" if task.started is None or task.ended is None else f" after {span(task.ended - task.started)}"
            self.say(depth, "yes", f"{begin} succeeded {self._when(task.ended)}{took}{tries}")
        elif status == "failure":
            self.say(depth, "failed", f"{begin} failed {self._when(task.ended)}{tries}: {_error(task)}")
            if task.handled:
                self.say(depth + 1, "note", "its failure is handled: a flow event follows from it")
        elif status == "active":
            self.say(depth, "waits", f"{begin} runs since {self._when(task.started)}{tries}")
        elif status == "interrupted":
            self.say(
                depth,
                "waits",
                f"{begin} was begun {self._when(task.started)}, and its engine ended first: nobody knows how far it came; "
                f"when the run is continued, its recovery policy or its probe decides",
            )
        elif status == "cancelled":
            self.say(depth, "no", f"{begin} was cancelled {self._when(task.ended)}")
        elif status == "allocate":
            self.say(depth, "waits", f"{begin} waits for resources")
            self._resources(task, depth + 1)
        else:
            self._ready(task, begin, depth)

    def _before(self, task: TaskRow) -> str:
        earlier = [
            row
            for row in self._sight.snapshot.tasks
            if (row.step, row.sequence) == (task.step, task.sequence) and row.recovery < task.recovery and row.attempt
        ]
        if not earlier:
            return ""
        row = max(earlier, key=lambda row: row.recovery)
        past = _PAST.get(row.status, f"was {row.status}")
        return f" since it {past} in recovery {row.recovery}, {self._when(row.ended or row.started)}"

    def _ready(self, task: TaskRow, begin: str, depth: int) -> None:
        if task.due is not None:
            self.say(
                depth,
                "waits",
                f"{begin} waits for attempt {task.attempt + 1}, due {self._when(task.due)}; the last: {_error(task)}",
            )
            return
        self.say(depth, "waits", f"{begin} is ready since {self._when(task.created)} and has not begun")
        running = sum(row.status == "active" and row.step == task.step for row in self._sight.tasks.values())
        declared = self._declared.steps.get(task.step)
        if declared is not None and 1 <= declared.max_concurrent <= running:
            self.say(depth + 1, "waits", f"the step may run {declared.max_concurrent} at a time, and {running} of it run")
        elif self._sight.status == "running":
            active = [row for row in self._sight.tasks.values() if row.status == "active"]
            if active:
                names = ", ".join(f"'{row.step}' [{row.sequence}]" for row in active[:3])
                self.say(
                    depth + 1,
                    "waits",
                    f"{counted(len(active), 'task')} of the flow run{'s' if len(active) == 1 else ''}: {names}",
                )

    def _resources(self, task: TaskRow, depth: int) -> None:
        declared = self._declared.steps.get(task.step)
        for pool, amount in (declared.acquires if declared is not None else {}).items():
            limit = self._declared.pools.get(pool, 0)
            held = [hold for hold in self._sight.snapshot.holds if hold.pool == pool and hold.amount]
            foreign = self._sight.snapshot.foreign_holds.get(pool, 0)
            free = limit - foreign - sum(hold.amount for hold in held)
            enough = free >= amount
            text = f"it needs {amount} of '{pool}', of which {max(free, 0)} of {limit} {'is' if free == 1 else 'are'} free"
            holders = [f"step '{hold.step}' [{hold.sequence}] holds {hold.amount}" for hold in held[:5]]
            if len(held) > 5:
                holders.append(f"{len(held) - 5} more hold some")
            if foreign:
                holders.append(f"other runs hold {foreign}")
            self.say(depth, "yes" if enough else "waits", f"{text}{': ' if holders else ''}{', '.join(holders)}")
            if enough:
                self.say(depth + 1, "note", "others may be before it in the queue, or its limit of tasks at a time is reached")

    # -- the run

    def run(self) -> None:
        """Say what of the run as a whole keeps things from going on."""
        sight, run = self._sight, self._sight.snapshot.run
        if sight.recovery != run.recovery:
            self.say(0, "note", f"this is recovery {sight.recovery}; the newest is {run.recovery}")
        if sight.status == "interrupted":
            self.say(
                0, "note", f"the run is interrupted: its engine, {run.owner}, is not alive; continue the run, and it goes on"
            )
        elif run.status == "failure":
            unhandled = [row for row in sight.tasks.values() if row.status == "failure" and not row.handled]
            names = ", ".join(f"'{row.step}' [{row.sequence}]" for row in unhandled[:3])
            self.say(0, "note", f"the run has failed and begins nothing more: nothing handles the failure of {names or 'a step'}")
        elif run.status == "stuck":
            self.say(0, "note", "the run is stuck: what it waits for will not come by itself")
        elif run.status == "cancelled":
            self.say(0, "note", f"the run was cancelled {self._when(run.ended)}")
        elif run.status == "pending":
            self.say(0, "note", "nobody works on the run: delays wait until it is continued")


_STATES = {"success": "done", "failure": "failed", "active": "running", "allocate": "waiting for resources"}
_PAST = {"success": "succeeded", "failure": "failed", "active": "was begun"}


def _what(kind: str, name: str) -> str:
    return f"{'step' if kind == 'step' else 'flow event'} '{name}'"


def _status_in_words(status: str) -> str:
    return {"?": "something", "complete": "the end", "ready": "the making", "active": "the beginning"}.get(status, status)


def _at_status(fired: list[str]) -> str:
    return f" with its {' or '.join(map(_status_in_words, fired))}" if fired else ""


def _error(task: TaskRow) -> str:
    return shortened(summary(task.error) or "no error is known", 200)


__all__ = ["Reason", "why"]
