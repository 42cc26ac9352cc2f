"""A handler as those see it who look on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from ._callee import Callee, HandlerID

if TYPE_CHECKING:
    from ..interfaces import Filter


@attrs.frozen(kw_only=True)
class HandlerView:
    """
    A registration as :meth:`EventDispatcher.handlers` lists it.

    :ivar handler_id: its ID.
    :ivar name: what ``requires`` and results call it.
    :ivar qualified_name: module and qualified name of the function.
    :ivar phase: its phase.
    :ivar match_spec: read-only mapping of keyword to value or matcher.
    :ivar where: the filter over the event, or ``None``.
    :ivar requires: names of handlers it waits for.
    :ivar required_by: names of handlers that wait for it.
    :ivar calls_left: calls until it is removed, or ``None`` for no limit.
    :ivar timeout: seconds, or ``None``.
    :ivar use_weakref: whether it goes with its function.
    :ivar running: number of calls that wait for something; calls of a handler that never had to wait are not counted.
    """

    handler_id: HandlerID
    name: str
    qualified_name: str
    phase: str
    match_spec: Mapping[str, Any]
    where: Filter | None
    requires: tuple[str, ...]
    required_by: tuple[str, ...]
    calls_left: int | None
    timeout: float | None
    use_weakref: bool
    running: int


def view_of(callee: Callee) -> HandlerView:
    """What can be said of any handler; whoever knows more of it evolves this."""
    return HandlerView(
        handler_id=callee.id,
        name=callee.name,
        qualified_name=callee.qualified_name,
        phase=callee.phase,
        match_spec={},
        where=callee.where,
        requires=callee.requires,
        required_by=callee.required_by,
        calls_left=None,
        timeout=callee.timeout,
        use_weakref=False,
        running=len(callee.running),
    )
