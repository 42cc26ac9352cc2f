"""The one place where the package falls back to the global reactor."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime


def default_clock(clock: IReactorTime | None) -> IReactorTime:
    """
    The clock given, or the global reactor.

    Importing the reactor installs it: so it is done when time is first needed, and never for a program that injects its clock.
    """
    if clock is not None:
        return clock
    from twisted.internet import reactor

    return cast("IReactorTime", reactor)
