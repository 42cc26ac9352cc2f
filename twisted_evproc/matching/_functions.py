"""Filters that ask a function of the user's."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, final

from ..errors import FilterError
from ._content_filter import Comparable, ContentFilter, fill
from ._matchers import callable_name


def _answer(result: object, function: object) -> bool:
    """The truth of what a user's function gave, refusing what only will have one: a coroutine is always true."""
    if result is True or result is False or result is None:
        return bool(result)
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise FilterError(
            f"{callable_name(function)} has to answer at once here, but gave {result!r}.  Make it a plain function, or use Dyn "
            f"as the filter of an event processor, which waits for it."
        )
    return bool(result)


@final
class Dyn(ContentFilter):
    """
    Events for which a function gives something true.

    Filters are equal with the same function and the same name.

    :param resolver: by itself, and in a dispatcher, called with the event, and has to answer at once.
    :param inject_as: the name under which an event processor's handler gets the answer; ``None`` for none.
    """

    __slots__ = ("inject_as", "resolver")

    resolver: Callable[..., Any]
    inject_as: str | None

    def __init__(self, resolver: Callable[..., Any], inject_as: str | None = None) -> None:
        if not callable(resolver):
            raise FilterError(f"Dyn() needs a function, not {resolver!r}.  For a fixed condition, map paths to values.")
        if inject_as == "" or not isinstance(inject_as, str | None):
            raise FilterError(f"Dyn() cannot inject as {inject_as!r}.  Give the name of a parameter, or None.")
        fill(self, "resolver", resolver)
        fill(self, "inject_as", inject_as)

    def matches(self, event: Any) -> bool:
        return _answer(self.resolver(event), self.resolver)

    def _arguments(self) -> tuple[Any, ...]:
        return (self.resolver,) if self.inject_as is None else (self.resolver, self.inject_as)

    def _clause(self) -> tuple[object, ...]:
        return Dyn, Comparable(self.resolver), self.inject_as


@final
class Predicate(ContentFilter):
    """
    Events for which a plain function of the event gives something true.

    :param function: called with the event; has to answer at once.  Filters are equal with the same function.
    """

    __slots__ = ("function",)

    function: Callable[[Any], object]

    def __init__(self, function: Callable[[Any], object]) -> None:
        if not callable(function):
            raise FilterError(f"Predicate() needs a function of the event, not {function!r}.")
        if inspect.iscoroutinefunction(function):
            raise FilterError(
                f"{callable_name(function)} is async, but a predicate has to answer at once.  Make it a plain function, or use "
                f"Dyn as the filter of an event processor."
            )
        fill(self, "function", function)

    def matches(self, event: Any) -> bool:
        return _answer(self.function(event), self.function)

    def _arguments(self) -> tuple[Any, ...]:
        return (self.function,)

    def _clause(self) -> tuple[object, ...]:
        return Predicate, Comparable(self.function)
