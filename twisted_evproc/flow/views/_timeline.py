"""When did what run?  Tasks as bars on a scale of time, however many there are."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import attrs

from .._errors import summary
from .._rows import TaskRow
from ._marks import LOOKS, look_of
from ._sight import Sight, standing
from ._words import counted, moment, natural, shortened, span

#: A picture with more tasks than this shows steps, not tasks.
MOST_BARS = 400
#: A step with more lanes than this shows how many of its tasks ran, not which.
MOST_LANES = 8
#: Parts of the scale for which it is counted how many tasks ran.
BINS = 300
#: Time in which nothing happens, of which a part of the whole that is larger is left out.
_LONG_PAUSE = 0.06


#: Looks, the one that asks for attention first.
_BY_WEIGHT = sorted(LOOKS, key=lambda look: (*("failure", "interrupted", "active", "waiting", "ready"), look).index(look))

#: Recovery to the end of what is known of it.
Ends: TypeAlias = Mapping[int, float]


class Bar(NamedTuple):
    """
    A task.

    :ivar lane: counted from 0.
    :ivar made: when it began to wait; :ivar begun: when its last attempt began, or ``None``; :ivar ended: when it ended, or now.
    :ivar look: see ``_marks``.
    :ivar text: what it is.
    :ivar label: few words to write on it, or ``""``.
    """

    lane: int
    made: float
    begun: float | None
    ended: float
    look: str
    text: str
    label: str


@attrs.frozen
class Row:
    """
    A step.

    :ivar label: what stands before it.
    :ivar bars: its tasks; empty where they are too many.
    :ivar lanes: how many.
    :ivar density: for each part of the scale how many tasks ran; :ivar failures: and how many failed.  Empty where there
        are bars.
    :ivar looks: how many tasks look how.
    """

    step: str
    label: str
    bars: tuple[Bar, ...]
    lanes: int
    density: tuple[int, ...]
    failures: tuple[int, ...]
    looks: dict[str, int]
    details: tuple[str, ...]


class Scale:
    """
    Time to places from 0 to 1, pauses left out.

    :ivar pauses: ``(place, seconds left out)``.
    :ivar spans: ``(begin, end, place of begin, place of end)``.
    """

    def __init__(self, begin: float, end: float, busy: Iterable[tuple[float, float]]) -> None:
        end = max(end, begin + 1e-6)
        merged: list[list[float]] = [[begin, begin]]
        for start, stop in sorted([*busy, (end, end)]):
            if start > merged[-1][1]:
                merged.append([start, max(start, stop)])
            else:
                merged[-1][1] = max(merged[-1][1], stop)
        work = sum(stop - start for start, stop in merged) or end - begin
        parts: list[list[float]] = [merged[0][:]]
        for start, stop in merged[1:]:
            if start - parts[-1][1] > max(work * 0.5, (end - begin) * _LONG_PAUSE):
                parts.append([start, stop])
            else:
                parts[-1][1] = stop
        total = sum(stop - start for start, stop in parts)
        gap = 0.03 if len(parts) > 1 else 0.0
        gap = min(gap, 0.5 / max(1, len(parts) - 1))
        room = 1 - gap * (len(parts) - 1)
        # A moment between two pauses is to be seen as well.
        least = min(0.04, room / len(parts) / 2) if len(parts) > 1 else 0.0
        spare = room - least * len(parts)
        self.spans: list[tuple[float, float, float, float]] = []
        self.pauses: list[tuple[float, float]] = []
        place = 0.0
        for start, stop in parts:
            if self.spans:
                self.pauses.append((place + gap / 2, start - self.spans[-1][1]))
                place += gap
            wide = least + (spare * (stop - start) / total if total else spare / len(parts))
            self.spans.append((start, stop, place, place + wide))
            place += wide

    def place(self, at: float) -> float:
        """Where a time is."""
        before = self.spans[0][2]
        for start, stop, left, right in self.spans:
            if at < start:
                return before
            if at <= stop:
                return left + (right - left) * ((at - start) / (stop - start) if stop > start else 0.5)
            before = right
        return before

    def ticks(self, most: int) -> list[tuple[float, float]]:
        """``(place, time)`` of round times."""
        found: list[tuple[float, float]] = []
        for start, stop, left, right in self.spans:
            number = max(1, round(most * (right - left)))
            step = _round_step((stop - start) / number)
            # Fine ones are counted from the beginning, coarse ones are times of day.
            origin = self.spans[0][0] if step < 1 else -float(time.localtime(start).tm_gmtoff)
            at = start if step <= 0 else start - (start - origin) % step + (step if start != origin else 0)
            if len(self.spans) > 1 or step <= 0 or at > stop:
                found.append((left, start))
            while step > 0 and at < stop:
                if not found or self.place(at) - found[-1][0] > 0.6 / most:
                    found.append((self.place(at), at))
                at += step
        return found


_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


def _round_step(rough: float) -> float:
    if rough <= 0:
        return 0.0
    if rough > _STEPS[-1]:
        return _round_step(rough / 86400) * 86400
    if rough >= 1:
        return float(next(step for step in _STEPS if step >= rough))
    size = 1.0
    while size > rough:
        size /= 10
    return next(size * step for step in (1, 2, 5, 10) if size * step >= rough * 0.999)


@attrs.frozen
class Timeline:
    """
    :ivar marks: ``(time, text)`` of recoveries.
    :ivar now: the end of what runs.
    """

    title: str
    caption: str
    begin: float
    end: float
    scale: Scale
    rows: tuple[Row, ...]
    marks: tuple[tuple[float, str], ...]


def timeline_of(sight: Sight, *, now: float) -> Timeline:
    """When the tasks of a run ran, in all its recoveries."""
    run = sight.snapshot.run
    tasks = sorted(sight.snapshot.tasks, key=lambda task: (task.recovery, task.order))
    alive = sight.status == "running"
    known = [at for task in tasks for at in (task.created, task.started, task.ended) if at is not None]
    known += [trigger.at for trigger in sight.snapshot.triggers]
    begin = min(known, default=run.created)
    last = max(known, default=run.created)
    open_end = now if alive else max(last, run.ended or last) if sight.status != "interrupted" else last
    ends: dict[int, float] = {}
    for task in tasks:
        own = max(at for at in (task.created, task.started, task.ended) if at is not None)
        ends[task.recovery] = max(own, ends.get(task.recovery, own))
    ends[run.recovery] = max(open_end, ends.get(run.recovery, open_end))
    busy = [(task.started if task.started is not None else task.created, _end(task, ends)) for task in tasks]
    busy += [(trigger.at, trigger.at) for trigger in sight.snapshot.triggers]
    scale = Scale(begin, max(open_end if alive else last, begin), busy)
    by_step: dict[str, list[TaskRow]] = {}
    for task in tasks:
        by_step.setdefault(task.step, []).append(task)
    many = len(tasks) > MOST_BARS
    rows = tuple(_row(sight, step, of_step, scale, ends, many=many) for step, of_step in by_step.items())
    starts: dict[int, float] = {}
    for task in tasks:
        starts[task.recovery] = min(task.created, starts.get(task.recovery, task.created))
    marks = tuple((at, f"recovery {recovery}") for recovery, at in sorted(starts.items()) if recovery)
    caption = f"Run {run.run_id}: {standing(run.status, sight.living)}; {counted(len(tasks), 'task')}"
    if tasks:
        caption += f" from {moment(begin, now)} on, {span(max(open_end, last) - begin)} in all"
    if scale.pauses:
        caption += "; pauses are left out"
    return Timeline(f"Timeline of flow {run.name}", caption, begin, max(open_end, last), scale, rows, marks)


def _end(task: TaskRow, ends: Ends) -> float:
    """When a task ended; what was active then ended with its recovery, as far as is known."""
    if task.ended is not None:
        return task.ended
    begun = task.started if task.started is not None else task.created
    return max(begun, ends[task.recovery]) if task.status == "active" else begun


def _row(sight: Sight, step: str, tasks: Sequence[TaskRow], scale: Scale, ends: Ends, *, many: bool) -> Row:
    looks: Counter[str] = Counter(_look(sight, task) for task in tasks)
    ordered = {look: looks[look] for look in _BY_WEIGHT if looks[look]}
    took = sorted(
        task.ended - task.started for task in tasks if task.started is not None and task.ended is not None and task.attempt
    )
    details = []
    if took:
        details.append(f"took {span(took[len(took) // 2])} (median), {span(took[-1])} at most")
    waited = sorted(task.started - task.created for task in tasks if task.started is not None and task.attempt == 1)
    if waited and waited[-1] >= 0.001:
        details.append(f"waited up to {span(waited[-1])} before it began")
    again = sum(task.attempt > 1 for task in tasks)
    if again:
        details.append(f"{counted(again, 'task')} needed more than one attempt")
    lanes, count = _lanes(tasks, ends, scale)
    label = shortened(step, 26)
    if many or count > MOST_LANES:
        density, failures = _density(tasks, scale, ends)
        return Row(step, label, (), 0, density, failures, ordered, tuple(details))
    bars = tuple(_bar(sight, task, lane, ends) for task, lane in zip(tasks, lanes, strict=True))
    return Row(step, label, bars, count, (), (), ordered, tuple(details))


def _look(sight: Sight, task: TaskRow) -> str:
    if task.status == "success" and not task.attempt:
        return "skipped"
    if task.status == "active" and (task.recovery != sight.snapshot.run.recovery or sight.status != "running"):
        return "interrupted"
    return look_of(task.status)


def _lanes(tasks: Sequence[TaskRow], ends: Ends, scale: Scale) -> tuple[list[int], int]:
    """A lane for each task, so that no two are in the same place."""
    free: list[float] = []
    found = [0] * len(tasks)
    for number in sorted(range(len(tasks)), key=lambda one: (tasks[one].created, natural(tasks[one].sequence))):
        task = tasks[number]
        begin = scale.place(task.created)
        lane = next((lane for lane, end in enumerate(free[: MOST_LANES + 1]) if end <= begin), len(free))
        end = max(scale.place(_end(task, ends)), begin) + 0.006
        if lane == len(free):
            free.append(end)
        else:
            free[lane] = end
        found[number] = lane
    return found, len(free)


def _density(tasks: Sequence[TaskRow], scale: Scale, ends: Ends) -> tuple[tuple[int, ...], tuple[int, ...]]:
    change = [0] * (BINS + 1)
    failures = [0] * BINS
    for task in tasks:
        begun = task.started if task.started is not None else task.created
        first = min(BINS - 1, int(scale.place(begun) * BINS))
        last = min(BINS - 1, int(scale.place(_end(task, ends)) * BINS))
        change[first] += 1
        change[last + 1] -= 1
        if task.status == "failure":
            failures[last] += 1
    density, running = [], 0
    for each in change[:BINS]:
        running += each
        density.append(running)
    return tuple(density), tuple(failures)


def _bar(sight: Sight, task: TaskRow, lane: int, ends: Ends) -> Bar:
    look = _look(sight, task)
    end = _end(task, ends)
    parts = [f"'{task.step}', sequence {task.sequence}: {LOOKS[look].word}"]
    if task.recovery:
        parts.append(f"recovery {task.recovery}")
    if task.attempt > 1:
        parts.append(f"attempt {task.attempt}")
    if task.started is not None and task.attempt:
        parts.append(
            f"began {moment(task.started, end)}, {'took' if task.ended is not None else 'for'} {span(end - task.started)}"
        )
        if task.started - task.created >= 0.001:
            parts.append(f"{span(task.started - task.created)} after it was made")
    if task.error is not None:
        parts.append(shortened(summary(task.error) or "", 200))
    begun = task.started if task.attempt else None
    return Bar(lane, task.created, begun, end, look, "; ".join(parts), shortened(task.sequence, 16))


__all__ = ["Bar", "Row", "Scale", "Timeline", "timeline_of"]
