"""Why a handler would run for an event, or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from ..matching import MISSING, detail
from ._callee import Callee, HandlerID
from ._plan import in_start_order
from ._registration import Registration
from ._registry import Registry


@attrs.frozen
class Verdict:
    """
    What would become of one handler.

    :ivar handler_id: its ID.
    :ivar name: its name.
    :ivar qualified_name: module and qualified name of the function.
    :ivar phase: its phase.
    :ivar runs: whether it would be called.
    :ivar position: its place in the order of starting, from 1, or ``None``.
    :ivar reason: what rules it out, or a condition or requirement to know of; in words, may be empty.
    """

    handler_id: HandlerID
    name: str
    qualified_name: str
    phase: str
    runs: bool
    position: int | None
    reason: str


@attrs.frozen
class Explanation:
    """
    What would become of an event, without anything being called.

    :ivar details: the keyword arguments asked about.
    :ivar verdicts: one for each handler: those that run, in the order of starting, then the others.
    """

    details: Mapping[str, Any]
    verdicts: tuple[Verdict, ...]

    def text(self) -> str:
        """A table for people, one line a handler."""
        count = sum(verdict.runs for verdict in self.verdicts)
        shown = ", ".join(f"{keyword}={value!r}" for keyword, value in self.details.items())
        lines = [f"{count} of {len(self.verdicts)} handlers run" + (f" for {shown}" if shown else "")]
        if self.verdicts:
            rows = [("", "phase", "handler", "why")]
            rows.extend((str(verdict.position or "-"), verdict.phase, verdict.name, verdict.reason) for verdict in self.verdicts)
            widths = [max(len(row[column]) for row in rows) for column in range(3)]
            lines.extend("  ".join(map(str.ljust, row, [*widths, 0])).rstrip() for row in rows)
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()


def explain(registry: Registry, event: Any, details: Mapping[str, Any]) -> Explanation:
    """
    Judge every handler.

    :param event: ``None`` where there is none to look at: ``where`` is reported then, not asked.
    """
    reasons: dict[Registration, str] = {}
    for registration in registry:
        reason = _details(registration, details)
        if reason:
            reasons[registration] = reason
        elif not registration.alive():
            reasons[registration] = "its function is no more"
        elif event is not None and registration.where is not None:
            reason = _where(registration, event)
            if reason:
                reasons[registration] = reason
    running = in_start_order([one for one in registry if one not in reasons])
    names = {one.name for one in running}
    verdicts = [verdict_on(one, position, _conditions(one, event, running, names)) for position, one in enumerate(running, 1)]
    verdicts.extend(verdict_on(one, None, reasons[one]) for one in registry if one in reasons)
    return Explanation(dict(details), tuple(verdicts))


def verdict_on(callee: Callee, position: int | None, reason: str, phase: str | None = None) -> Verdict:
    """
    The verdict on a handler.

    :param phase: what stands in for a phase where there are none.
    """
    phase = callee.phase if phase is None else phase
    return Verdict(callee.id, callee.name, callee.qualified_name, phase, position is not None, position, reason)


def _details(registration: Registration, details: Mapping[str, Any]) -> str:
    try:
        keyword = registration.spec.mismatch(details)
    except Exception as error:
        return f"a matcher of it fails with {error!r}"
    if keyword is None:
        return ""
    value = detail(details, keyword)
    found = "is not there" if value is MISSING else f"is {value!r}"
    return f"wants {keyword}={registration.spec.wanted[keyword]!r}, {keyword} {found}"


def _where(registration: Registration, event: Any) -> str:
    assert registration.where is not None
    try:
        return "" if registration.where.matches(event) else f"where={registration.where!r} does not let the event pass"
    except Exception as error:
        return f"where={registration.where!r} fails with {error!r}"


def _conditions(registration: Registration, event: Any, running: Iterable[Registration], names: set[str]) -> str:
    parts = []
    if registration.where is not None and event is None:
        parts.append(f"if where={registration.where!r} lets the event pass")
    first = sorted(
        {name for name in registration.requires if name in names}
        | {other.name for other in running if registration.name in other.required_by}
    )
    if first:
        parts.append(f"after {', '.join(first)}")
    return "; ".join(parts)
