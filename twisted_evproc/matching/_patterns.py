"""Shell patterns and regular expressions, compiled, and refused where they are none."""

from __future__ import annotations

import re
from fnmatch import translate
from typing import Any

from ..errors import FilterError


def glob_pattern(pattern: str) -> re.Pattern[str]:
    """
    Compile a shell pattern, in which case counts.

    :raises twisted_evproc.errors.FilterError: for anything but a string.
    """
    if not isinstance(pattern, str):
        raise FilterError(f"a glob pattern has to be a string, not {pattern!r}.  For another type, give the value itself.")
    return re.compile(translate(pattern))


def is_magic(pattern: str) -> bool:
    """Whether a glob pattern may match anything but itself."""
    return any(character in pattern for character in "*?[")


def regex_pattern(pattern: str | re.Pattern[str], flags: int = 0) -> re.Pattern[str]:
    """
    Compile a regular expression.

    :param pattern: its text, or what :func:`re.compile` made of a text.
    :raises twisted_evproc.errors.FilterError: for an expression that cannot be compiled, and for one that is not for text.
    """
    text = pattern.pattern if isinstance(pattern, re.Pattern) else pattern
    if not isinstance(text, str):
        raise FilterError(f"a regular expression has to be a string, not {text!r}.  For bytes, use satisfies() with a function.")
    if isinstance(pattern, re.Pattern):
        if flags:
            raise FilterError(f"flags cannot be added to the compiled expression {pattern!r}.  Give them to re.compile().")
        return pattern
    try:
        return re.compile(text, flags)
    except (re.error, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise FilterError(f"{text!r} with flags {flags!r} is no valid regular expression: {error}.  Correct it.") from error


def regex_arguments(pattern: re.Pattern[str]) -> tuple[Any, ...]:
    """The arguments that make an equal expression; flags that are there anyway are left out."""
    implied = re.compile(pattern.pattern).flags if _compiles(pattern.pattern) else int(re.UNICODE)
    flags = pattern.flags & ~implied
    return (pattern.pattern, re.RegexFlag(flags)) if flags else (pattern.pattern,)


def _compiles(text: str) -> bool:
    # an expression may compile with its flags only: a bracket behind a # under re.VERBOSE
    try:
        re.compile(text)
    except re.error:
        return False
    return True
