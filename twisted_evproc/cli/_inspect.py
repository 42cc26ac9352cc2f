"""``evproc explain`` and ``evproc handlers``: look at an application without running it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from .._json import decode, encode
from ..dispatch import HandlerView
from ..errors import ApplicationError, KeywordNotAllowed
from ._application import Application, load
from ._events import JSONLine, LineError
from ._feed import mapped
from ._output import Output
from ._spelling import suggestion
from ._words import aligned, pairs_in_words, printable


def explain(options: argparse.Namespace) -> int:
    """Perform the command.  See :mod:`twisted_evproc.cli`."""
    application = load(options.application)
    event: Any = None
    details: dict[str, Any] = {}
    if options.event is not None:
        event, details = _event(options.event, application)
    given: dict[str, Any] = {}
    for key, value in (_pair(text, application) for text in options.details):
        if key in given:
            raise ApplicationError(repr(key), "is given twice; an event has one value for each keyword")
        given[key] = value
    details = {**details, **given}
    try:
        explanation = application.runnable.explain(event, details)
    except KeywordNotAllowed as error:
        raise ApplicationError(application.place, f"{error}{suggestion(error.keywords[0], error.allowed)}") from error
    output = Output(sys.stdout)
    if options.json:
        verdicts = [
            {
                "handler": verdict.name,
                "function": verdict.qualified_name,
                "phase": verdict.phase,
                "runs": verdict.runs,
                "position": verdict.position,
                "reason": verdict.reason,
            }
            for verdict in explanation.verdicts
        ]
        output.line(encode({"event": event, "details": details, "verdicts": verdicts}))
    else:
        for line in explanation.text().splitlines():
            output.line(printable(line))
    output.flush()
    return 0


def _event(text: str, application: Application) -> tuple[Any, dict[str, Any]]:
    line = JSONLine(1, text.encode("utf-8", "surrogateescape"), application.mapping is None)
    try:
        event, details = mapped(line.record(), application.runnable, application.mapping)
    except LineError as error:
        place = "--event" if error.column is None else f"--event:{error.column}"
        raise ApplicationError(place, str(error)) from error
    return event, dict(details)


def _pair(text: str, application: Application) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        known = application.runnable.keywords()
        meant = "" if key in known else suggestion(key, known)
        raise ApplicationError(
            repr(text), f"write details as key=value; the keywords here are: {', '.join(known) or 'none'}.{meant}"
        )
    try:
        return key, decode(value)
    except ValueError:
        return key, value


def handlers(options: argparse.Namespace) -> int:
    """Perform the command.  See :mod:`twisted_evproc.cli`."""
    views = load(options.application).runnable.handlers()
    output = Output(sys.stdout)
    if options.json:
        for view in views:
            output.line(encode(_row(view)))
    else:
        cells: list[tuple[str, ...]] = [("phase", "handler", "match-spec", "options", "function")]
        cells += [
            (view.phase, view.name, pairs_in_words(view.match_spec) or "(every event)", _options(view), view.qualified_name)
            for view in views
        ]
        for number, line in enumerate(_table(cells)):
            output.line(line if number else output.colour(line, "dim"))
    output.flush()
    return 0


def _row(view: HandlerView) -> Mapping[str, Any]:
    return {
        "handler": view.name,
        "function": view.qualified_name,
        "phase": view.phase,
        "match_spec": dict(view.match_spec),
        "where": None if view.where is None else repr(view.where),
        "requires": view.requires,
        "required_by": view.required_by,
        "calls_left": view.calls_left,
        "timeout": view.timeout,
        "use_weakref": view.use_weakref,
    }


def _options(view: HandlerView) -> str:
    parts = []
    if view.where is not None:
        parts.append(f"where={view.where!r}")
    if view.requires:
        parts.append(f"requires={','.join(view.requires)}")
    if view.required_by:
        parts.append(f"required_by={','.join(view.required_by)}")
    if view.calls_left is not None:
        parts.append(f"calls_left={view.calls_left}")
    if view.timeout is not None:
        parts.append(f"timeout={view.timeout:g}")
    if view.use_weakref:
        parts.append("use_weakref")
    return " ".join(parts)


def _table(rows: list[tuple[str, ...]]) -> Iterable[str]:
    """The rows with columns one below the other, without those that are empty but for their heading."""
    shown = [column for column in range(len(rows[0])) if any(row[column] for row in rows[1:])] or range(len(rows[0]))
    return aligned([[printable(row[column]) for column in shown] for row in rows])


__all__ = ["explain", "handlers"]
