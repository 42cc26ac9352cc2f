"""Which of the processors that match an event are invoked."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from ..matching import Accept, And, ContentFilter, Dyn, Eq, In, Not, Or
from ._injection import Invocation, Signature


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


def resolvers_of(one: ContentFilter) -> dict[int, Signature]:
    """
    The signatures of the resolvers that a filter asks, by the identity of the part that asks: equal ones are not the same.

    :raises twisted_evproc.errors.DecorationError: when the parameters of one cannot be found out.
    """
    if isinstance(one, And | Or):
        return {key: signature for part in one.filters for key, signature in resolvers_of(part).items()}
    if isinstance(one, Not):
        return resolvers_of(one.filter)
    return {id(one): Signature(one.resolver)} if isinstance(one, Dyn) else {}


def is_equality(one: ContentFilter) -> bool:
    """Whether a filter says nothing but what its :meth:`~ContentFilter.equalities` say."""
    if isinstance(one, And):
        return all(map(is_equality, one.filters))
    return isinstance(one, Accept) or (isinstance(one, Eq | In) and bool(one.equalities()))


async def matches(one: ContentFilter, resolvers: Mapping[int, Signature], invocation: Invocation, names: dict[str, Any]) -> bool:
    """
    Whether an event passes a filter, resolvers waited for.

    :param resolvers: as :func:`resolvers_of` found them.
    :param names: gets what resolvers gave that say ``inject_as``.
    """
    if not is_dynamic(one):
        return one.matches(invocation.event)
    if isinstance(one, And):
        for part in one.filters:
            if not await matches(part, resolvers, invocation, names):
                return False
        return True
    if isinstance(one, Or):
        for part in one.filters:
            if await matches(part, resolvers, invocation, names):
                return True
        return False
    if isinstance(one, Not):
        return not await matches(one.filter, resolvers, invocation, names)
    assert isinstance(one, Dyn)
    found, _ = await resolvers[id(one)].call(invocation)
    if one.inject_as is not None:
        names[one.inject_as] = found
    return bool(found)
