"""
What a test says about what was fired.

Plain functions that raise ``AssertionError``: for pytest, ``unittest`` and ``trial`` alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..dispatch import Outcome
from ..matching import ANY
from ._capture import Captured, Fired, Wish, accepts, misses, wishes

if TYPE_CHECKING:
    from ..interfaces import Filter, Predicate

#: How many firings a message shows.
SHOWN = 20


def assert_fired(
    captured: Sequence[Fired],
    /,
    event: Any = ANY,
    *,
    times: int | None = None,
    where: Filter | Predicate | Mapping[str, Any] | None = None,
    **details: Any,
) -> Captured:
    """
    Check that something was fired.

    :param captured: what :func:`capture` gives, or ``FakeDispatcher.fired``.
    :param event: the event, or a matcher for it.
    :param times: exactly how often; ``None`` for at least once.
    :param where: a filter, a mapping of path to value, or a predicate over the event.
    :param details: keywords and the values, or matchers, that the details need to have; there may be more.  Those named like a
        parameter are to be asked of ``captured.matching()`` before.
    :return: what matched.
    :raises AssertionError: saying what was fired instead, and what came nearest.
    """
    asked = wishes(event=event, where=where, details=details)
    found = Captured([fired for fired in captured if not misses(fired, asked)])
    if (not found) if times is None else len(found) != times:
        what = _wanted(event, where, details)
        count = "" if times is None else f", not {times}"
        problem = f"nothing was fired{what}" if times is None else f"fired {_times(len(found))}{count}{what}"
        raise AssertionError(_listed(problem, captured, asked))
    return found


def assert_not_fired(
    captured: Sequence[Fired],
    /,
    event: Any = ANY,
    *,
    where: Filter | Predicate | Mapping[str, Any] | None = None,
    **details: Any,
) -> None:
    """
    Check that nothing like that was fired.  The parameters are those of :func:`assert_fired`.

    :raises AssertionError: saying what was.
    """
    asked = wishes(event=event, where=where, details=details)
    found = [fired for fired in captured if not misses(fired, asked)]
    if found:
        raise AssertionError(_listed(f"fired {_times(len(found))}{_wanted(event, where, details)}", found, ()))


def assert_handled(
    captured: Sequence[Fired],
    /,
    event: Any = ANY,
    *,
    by: str | Iterable[str] = (),
    where: Filter | Predicate | Mapping[str, Any] | None = None,
    **details: Any,
) -> Captured:
    """
    Check that something was fired, and that handlers heard of it each time.

    :param by: the name of a handler, or several: each of them was called, each time.
    :return: what matched.
    :raises AssertionError: saying which handlers were called instead.
    """
    found = assert_fired(captured, event, where=where, **details)
    names = (by,) if isinstance(by, str) else tuple(by)
    for fired in found:
        called = [result.name for result in fired.results if not result.skipped]
        missing = [name for name in names if name not in called]
        if missing:
            raise AssertionError(f"{fired!r} did not call {_names(missing)}{_who(fired)}")
        if not called and not (fired.outcome is not None and fired.outcome.handled):
            raise AssertionError(f"nobody handled {fired!r}{_who(fired)}")
    return found


def assert_unhandled(
    captured: Sequence[Fired],
    /,
    event: Any = ANY,
    *,
    where: Filter | Predicate | Mapping[str, Any] | None = None,
    **details: Any,
) -> Captured:
    """
    Check that something was fired, and that no handler heard of it.

    :return: what matched.
    :raises AssertionError: saying who did.
    """
    found = assert_fired(captured, event, where=where, **details)
    for fired in found:
        if fired.state != "unhandled":
            raise AssertionError(f"{fired!r} is not unhandled{_who(fired)}")
    return found


def assert_no_failures(found: Sequence[Fired] | Outcome, /) -> None:
    """
    Check that all firings have come to an end, and no handler failed in them.

    :param found: what :func:`capture` gives, or one outcome.
    :raises AssertionError: with the tracebacks of all failures; the first of them is its cause.
    """
    failed: list[tuple[str, Any]] = []
    if isinstance(found, Outcome):
        failed.extend((f"event {found.event!r}", result) for result in found.results if result.failure is not None)
    else:
        for fired in found:
            if not fired.over:
                raise AssertionError(f"{fired!r} has not come to an end yet: whether it fails is not known")
            failed.extend((f"{fired!r}", result) for result in fired.results if result.failure is not None)
    if failed:
        parts = [f"{len(failed)} handler(s) failed:"]
        parts.extend(f"{result.name!r} for {what}:\n{result.failure.getTraceback()}" for what, result in failed)
        raise AssertionError("\n".join(parts)) from failed[0][1].failure.value


def assert_order(captured: Sequence[Fired], /, *events: Any) -> None:
    """
    Check that these events were fired in this order; there may be others between them.

    :param events: events, or matchers for them.
    :raises AssertionError: naming the first that is not there behind the one before.
    """
    position = 0
    for number, event in enumerate(events):
        place = next((at for at in range(position, len(captured)) if accepts(event, captured[at].event)), None)
        if place is None:
            behind = f" behind {events[number - 1]!r}" if number else ""
            asked = wishes(event=event, details={})
            raise AssertionError(_listed(f"{event!r} was not fired{behind}", captured, asked))
        position = place + 1


def _wanted(event: Any, where: Any, details: Mapping[str, Any]) -> str:
    parts = [] if event is ANY else [f"event={event!r}"]
    parts.extend(f"{keyword}={value!r}" for keyword, value in details.items())
    if where is not None:
        parts.append(f"where={where!r}")
    return f" with {', '.join(parts)}" if parts else ""


def _listed(problem: str, captured: Sequence[Fired], asked: Sequence[Wish]) -> str:
    if not captured:
        remark = captured.remark() if isinstance(captured, Captured) else ""
        return f"{problem}: nothing was fired at all.{remark}"
    missed = [misses(fired, asked) for fired in captured]
    # Among those that miss as few wishes the one that has the event itself: the first wish, where there is one about it.
    distances = [(len(miss), *(bool(wish(fired)) for wish in asked[:1])) for fired, miss in zip(captured, missed, strict=True)]
    nearest = distances.index(min(distances))
    lines = [f"{problem}; what was fired:"]
    for at, (fired, miss) in enumerate(zip(captured, missed, strict=True)):
        mark = ""
        if asked and not miss:
            mark = "   <- this"
        elif miss and at == nearest:
            mark = f"   <- nearest: {'; '.join(miss)}"
        if mark or at < SHOWN:
            lines.append(f"  {at + 1}. {_line(fired)}{mark}")
    if len(captured) > SHOWN:
        lines.append(f"  ... {len(captured)} in all")
    return "\n".join(lines)


def _line(fired: Fired) -> str:
    return (
        ", ".join([repr(fired.event), *(f"{keyword}={value!r}" for keyword, value in fired.details.items())]) + f": {fired.state}"
    )


def _who(fired: Fired) -> str:
    called = [result.name for result in fired.results if not result.skipped]
    skipped = [f"{result.name!r} was skipped ({result.reason})" for result in fired.results if result.skipped]
    return "; " + "; ".join([f"called: {_names(called) if called else 'nobody'}", *skipped])


def _names(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count} times")
