"""What options may be that every part of the package has: times, numbers, yes or no, and clocks."""

from __future__ import annotations

from typing import Any

from .errors import ConfigurationError


def seconds(value: Any, option: str) -> float | None:
    """
    A number of seconds above zero, or ``None``.

    :raises twisted_evproc.errors.ConfigurationError: for anything else; NaN and infinity included, which a test's clock would
        take.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ConfigurationError(f"{option}={value!r} has to be a number of seconds above 0, or None for no limit")
    return value


def needed_seconds(value: Any, option: str) -> float:
    """
    A number of seconds above zero.

    :raises twisted_evproc.errors.ConfigurationError: for anything else, ``None`` included.
    """
    try:
        number = seconds(value, option)
    except ConfigurationError:
        number = None
    if number is None:
        raise ConfigurationError(f"{option}={value!r} has to be a number of seconds above 0; there is no doing without a limit")
    return number


def whole_number(value: Any, option: str, least: int) -> int | None:
    """
    A whole number, or ``None``.

    :raises twisted_evproc.errors.ConfigurationError: for anything else, or less than ``least``.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{option}={value!r} has to be a whole number, {least} or more, or None for no limit")
    return value


def needed_number(value: Any, option: str, least: int) -> int:
    """
    A whole number.

    :raises twisted_evproc.errors.ConfigurationError: for anything else, or less than ``least``; ``None`` included.
    """
    try:
        number = whole_number(value, option, least)
    except ConfigurationError:
        number = None
    if number is None:
        raise ConfigurationError(
            f"{option}={value!r} has to be a whole number, {least} or more; there is no doing without a limit"
        )
    return number


def flag(value: Any, option: str) -> bool:
    """
    Yes or no.

    :raises twisted_evproc.errors.ConfigurationError: for anything but ``True`` and ``False``: the text ``"no"`` would be a yes.
    """
    if not isinstance(value, bool):
        raise ConfigurationError(f"{option}={value!r} has to be True or False")
    return value


def checked_clock(clock: Any, option: str) -> Any:
    """
    What keeps time, or ``None``.

    :raises twisted_evproc.errors.ConfigurationError: for anything else.
    """
    if clock is not None and not callable(getattr(clock, "callLater", None)):
        raise ConfigurationError(
            f"{option}={clock!r} keeps no time: give a reactor, a twisted.internet.task.Clock in tests, or None for the global "
            f"reactor"
        )
    return clock
