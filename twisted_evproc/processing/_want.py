"""What a handler declares about itself: which events it wants, and which handlers come first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import attrs

from ..dispatch import handler_name
from ..errors import ConfigurationError
from ..interfaces import Filter
from ..matching import as_filter

F = TypeVar("F", bound=Callable[..., Any])

# Where a function carries its declaration.
_ATTRIBUTE = "__twisted_evproc__"
# Where it says that it is registered: its own id, since functools.wraps() copies attributes to functions that are not.
_REGISTERED = "__twisted_evproc_registered__"


@attrs.frozen
class Wanted:
    """
    One ``@want``: one of the names, if there are any, and all of the filters.
    """

    names: frozenset[str] = frozenset()
    filters: tuple[Filter, ...] = ()

    def matches(self, name: str, event: Any) -> bool:
        """Whether it lets the event pass."""
        return (not self.names or name in self.names) and all(one.matches(event) for one in self.filters)

    def __str__(self) -> str:
        return ", ".join([*map(repr, sorted(self.names)), *map(repr, self.filters)])


@attrs.frozen
class Declaration:
    """
    What a function was decorated with.

    :ivar wanted: any of these has to match; empty for every event.
    :ivar requires: names of handlers that come first.
    :ivar required_by: names of handlers that come later.
    """

    wanted: tuple[Wanted, ...] = ()
    requires: tuple[str, ...] = ()
    required_by: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of events it can want, or ``None`` where they do not decide."""
        if not self.wanted or not all(wanted.names for wanted in self.wanted):
            return None
        return tuple(sorted(set().union(*(wanted.names for wanted in self.wanted))))

    @property
    def by_name_alone(self) -> bool:
        """Whether the event's name decides."""
        return not any(wanted.filters for wanted in self.wanted)

    @property
    def shown(self) -> str:
        """What it wants, in words."""
        return " or ".join(map(str, self.wanted))

    def wants(self, name: str, event: Any) -> bool:
        """Whether the handler wants the event."""
        return not self.wanted or any(wanted.matches(name, event) for wanted in self.wanted)


class Decorator:
    """
    Adds to the declaration of a function, and gives the function back unchanged.
    """

    def __init__(self, name: str, **additions: tuple[Any, ...]) -> None:
        self._name = name
        self._additions = additions

    def __call__(self, function: F) -> F:
        if isinstance(function, Decorator) or not callable(function):
            raise ConfigurationError(f"@{self._name}(...) decorates a function, not {function!r}")
        if getattr(function, _REGISTERED, None) == id(function):
            raise ConfigurationError(
                f"@{self._name}(...) comes too late for {handler_name(function)!r}, which is registered already.  It goes below "
                f"@register."
            )
        found = declaration_of(function)
        # Decorators apply from the bottom up: what stands first in the source comes first.
        more = {field: (*addition, *getattr(found, field)) for field, addition in self._additions.items()}
        try:
            setattr(function, _ATTRIBUTE, attrs.evolve(found, **more))
        except (AttributeError, TypeError) as error:
            raise ConfigurationError(
                f"@{self._name}(...) cannot mark {function!r}: decorate a method in its class, and put a function around "
                f"whatever else takes no attributes"
            ) from error
        return function

    def __repr__(self) -> str:
        return f"<@{self._name}(...), not yet applied to a function>"


def mark_registered(function: Any) -> None:
    """What a function is decorated with from now on would not be heard of, and is refused."""
    with suppress(AttributeError, TypeError):  # what takes no attributes cannot be decorated either
        setattr(function, _REGISTERED, id(function))


def declaration_of(function: Any) -> Declaration:
    """What a function was decorated with."""
    found = getattr(function, _ATTRIBUTE, None)
    return found if isinstance(found, Declaration) else Declaration()


def want(*wanted: str | Filter | Callable[[Any], object] | Mapping[Any, Any]) -> Decorator:
    """
    Say which events a handler wants.  Without it, a handler wants all.

    :param wanted: names of events, of which one has to be the event's; and filters, predicates or mappings of path to value over
        the event, all of which have to let it pass.  Several decorators are alternatives.
    :raises twisted_evproc.errors.ConfigurationError: for anything else.
    """
    if not wanted:
        raise ConfigurationError("@want() wants nothing: give it names of events, filters, or both")
    names = frozenset(one for one in wanted if isinstance(one, str))
    filters = tuple(as_filter(one) for one in wanted if not isinstance(one, str))
    return Decorator("want", wanted=(Wanted(names, filters),))


def requires(*names: str) -> Decorator:
    """
    Say which handlers have to come first.

    :param names: names of handlers.  Each has to be registered, and to want whatever event this handler wants.
    """
    return Decorator("requires", requires=_names(names, "requires"))


def required_by(*names: str) -> Decorator:
    """
    Say which handlers have to come later.

    :param names: names of handlers, which thereby require this one.
    """
    return Decorator("required_by", required_by=_names(names, "required_by"))


def _names(names: tuple[Any, ...], decorator: str) -> tuple[str, ...]:
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ConfigurationError(f"@{decorator}(...) takes names of handlers, not {names!r}")
    return names
