"""Which of the processors that match an event are invoked."""

from __future__ import annotations

from enum import Enum
from typing import Any

from ..matching import Accept, And, ContentFilter, Dyn, Eq, In, Not, Or
from ._injection import Invocation, signature_of


class InvocationStrategy(Enum):
    """
    How many of the matching processors are invoked.

    The best match has the highest rank, then the most specific filter, then was registered first.
    """

    #: The best match.
    FIRST_MATCH = "first match"
    #: All that match, best first.
    ALL_MATCHES = "all matches"
    #: The match, if it is the only one of the highest rank that matches; otherwise none, which gives ``None``.
    NO_MATCHES = "no matches"
    #: As ``NO_MATCHES``, but more than one fails with ``InvocationError``.
    NO_MATCHES_STRICT = "no matches, strict"


FIRST_MATCH = InvocationStrategy.FIRST_MATCH
ALL_MATCHES = InvocationStrategy.ALL_MATCHES
NO_MATCHES = InvocationStrategy.NO_MATCHES
NO_MATCHES_STRICT = InvocationStrategy.NO_MATCHES_STRICT


def is_dynamic(one: ContentFilter) -> bool:
    """Whether a filter asks a resolver, which may be injected and asynchronous."""
    if isinstance(one, And | Or):
        return any(map(is_dynamic, one.filters))
    return is_dynamic(one.filter) if isinstance(one, Not) else isinstance(one, Dyn)


def is_equality(one: ContentFilter) -> bool:
    """Whether a filter says nothing but what its :meth:`~ContentFilter.equalities` say."""
    if isinstance(one, And):
        return all(map(is_equality, one.filters))
    return isinstance(one, Accept) or (isinstance(one, Eq | In) and bool(one.equalities()))


async def matches(one: ContentFilter, invocation: Invocation, names: dict[str, Any]) -> bool:
    """
    Whether an event passes a filter, resolvers waited for.

    :param names: gets what resolvers gave that say ``inject_as``.
    """
    if not is_dynamic(one):
        return one.matches(invocation.event)
    if isinstance(one, And):
        for part in one.filters:
            if not await matches(part, invocation, names):
                return False
        return True
    if isinstance(one, Or):
        for part in one.filters:
            if await matches(part, invocation, names):
                return True
        return False
    if isinstance(one, Not):
        return not await matches(one.filter, invocation, names)
    assert isinstance(one, Dyn)
    found, _ = await signature_of(one.resolver).call(invocation)
    if one.inject_as is not None:
        names[one.inject_as] = found
    return bool(found)
