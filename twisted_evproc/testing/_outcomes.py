"""Outcomes that no firing has led to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twisted.python.failure import Failure

from ..dispatch import Callee, Failed, Outcome, outcome_of


def made_outcome(
    event: Any, details: Mapping[str, Any], values: Iterable[Any] = (), failures: Iterable[BaseException] = ()
) -> Outcome:
    """
    The outcome of a firing in which handlers named ``made`` have returned and failed like this.

    :param values: what each of them has returned.
    :param failures: why others, behind them, have failed.
    """
    kept = (*values, *(Failed(Failure(error)) for error in failures))
    callees = tuple(Callee(bool, name="made", qualified_name="made") for _ in kept)
    return outcome_of(event, details, callees, kept)
