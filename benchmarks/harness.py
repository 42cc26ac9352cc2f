"""Timing things against each other, so that what the machine does meanwhile hits all of them alike."""

from __future__ import annotations

import gc
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from timeit import Timer

import attrs

#: Each timed stretch lasts about this long: well above the clock's resolution, well below a scheduler's patience.
STRETCH_SECONDS = 0.01


@attrs.frozen
class Row:
    """
    One line of a table.

    :ivar what: what was done.
    :ivar ours: nanoseconds, the least of all rounds.
    :ivar against: what it is compared with.
    :ivar theirs: nanoseconds of that.
    :ivar ratio: the median of the ratios, round by round; of the peer over ours where ``faster`` is true.
    :ivar target: what the ratio has to reach, or ``None`` where there is no target.
    :ivar faster: whether the ratio says how many times faster we are, rather than how many times slower.
    """

    what: str
    ours: float
    against: str
    theirs: float
    ratio: float
    target: float | None = None
    faster: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the target is reached."""
        if self.target is None:
            return None
        return self.ratio >= self.target if self.faster else self.ratio <= self.target


def time_all(functions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """
    Nanoseconds a call of each function, round by round; in each round they take turns in a new order.
    """
    timers = {name: Timer(function) for name, function in functions.items()}
    numbers: dict[str, int] = {}
    for name, timer in timers.items():
        timer.timeit(10)
        once = max(min(timer.repeat(5, 20)) / 20, 1e-8)
        numbers[name] = max(1, int(STRETCH_SECONDS / once))
    found: dict[str, list[float]] = {name: [] for name in functions}
    names = list(functions)
    order = random.Random(0)
    for _ in range(rounds):
        order.shuffle(names)
        for name in names:
            gc.collect()
            found[name].append(timers[name].timeit(numbers[name]) / numbers[name] * 1e9)
    return found


def compare(
    what: str,
    ours: Callable[[], object],
    against: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    targets: Mapping[str, float] | None = None,
    faster: bool = False,
) -> list[Row]:
    """
    Time one thing against others.

    :param against: what it is compared with, by name.
    :param targets: what the ratios have to reach.
    :param faster: give the ratios as how many times faster we are.
    """
    times = time_all({"": ours, **against}, rounds)
    rows = []
    for name in against:
        ratios = [theirs / mine if faster else mine / theirs for mine, theirs in zip(times[""], times[name], strict=True)]
        rows.append(
            Row(
                what,
                min(times[""]),
                name,
                min(times[name]),
                statistics.median(ratios),
                (targets or {}).get(name),
                faster,
            )
        )
    return rows


def table(title: str, rows: Sequence[Row]) -> str:
    """The rows, for people."""
    lines = [("what", "ours (ns)", "against", "theirs (ns)", "ratio", "target", "met")]
    for row in rows:
        sign = "x faster" if row.faster else "x"
        target = "" if row.target is None else f"{'>=' if row.faster else '<='} {row.target:g}"
        met = {None: "", True: "yes", False: "no"}[row.met]
        lines.append((row.what, f"{row.ours:,.0f}", row.against, f"{row.theirs:,.0f}", f"{row.ratio:.2f} {sign}", target, met))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([title, "=" * len(title), text[0], "-" * len(text[0]), *text[1:]])
