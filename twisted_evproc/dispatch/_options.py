"""What the options of a dispatcher and of a registration may be."""

from __future__ import annotations

import keyword
from collections.abc import Iterable
from typing import Any

from ..errors import ConfigurationError, KeywordReserved

#: The options' names: never keywords of a match-spec.
RESERVED = frozenset(
    {
        "handler_name",
        "listen_fn",
        "max_calls",
        "phase",
        "required_by",
        "requires",
        "self",
        "timeout",
        "use_weakref",
        "where",
    }
)


def handler_names(names: Any, option: str) -> tuple[str, ...]:
    """
    One name of a handler or several, as a tuple.

    :raises twisted_evproc.errors.ConfigurationError: for anything else.
    """
    found = (names,) if isinstance(names, str) else tuple(names) if isinstance(names, Iterable) else None
    if found is None or not all(isinstance(name, str) and name for name in found):
        raise ConfigurationError(f"{option}={names!r} has to be the name of a handler, or several of them")
    return found


def several(names: Any, option: str) -> tuple[Any, ...]:
    """
    The names in a collection that is not itself one string.

    :raises twisted_evproc.errors.ConfigurationError: for anything else.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ConfigurationError(f"{option}={names!r} has to be several names, as in {option}=({names!r},)")
    return tuple(names)


def check_keywords(names: Iterable[Any]) -> tuple[str, ...]:
    """
    The names, if all of them can be keywords of a match-spec.

    :raises twisted_evproc.errors.KeywordReserved: naming the first that cannot.
    """
    names = tuple(names)
    for name in names:
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name) or name in RESERVED:
            raise KeywordReserved(name, RESERVED)
    return names


def check_phases(phases: tuple[Any, ...]) -> tuple[str, ...]:
    """
    The phases, if they are different names, at least one.

    :raises twisted_evproc.errors.ConfigurationError: for anything else.
    """
    if not phases or not all(isinstance(phase, str) and phase for phase in phases) or len(set(phases)) < len(phases):
        raise ConfigurationError(f"phases={phases!r} has to be at least one name, all of them different strings")
    return phases
