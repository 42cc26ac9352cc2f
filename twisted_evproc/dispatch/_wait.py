"""Waiting for an event."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall

from ..errors import UnknownHandler, WaitTimeout

if TYPE_CHECKING:
    from ._callee import HandlerID


def wait_for_event(
    register: Callable[[Callable[[Any], None]], HandlerID],
    forget: Callable[[HandlerID], Deferred[None]],
    call_later: Callable[..., IDelayedCall],
    limit: float | None,
    what: str,
) -> Deferred[Any]:
    """
    A Deferred of the next event that a one-time handler hears.

    :param register: registers the handler for one call, and gives its ID.
    :param forget: removes it before that.
    :param limit: seconds, or ``None``.
    :param what: what is waited for, for the error's text.
    """
    timer: IDelayedCall | None = None

    def heard(event: Any) -> None:
        if deferred.called:
            return  # cancelled within a transaction that was rolled back: the handler is there still
        if timer is not None:
            timer.cancel()
        deferred.callback(event)

    def too_late(seconds: float) -> None:
        remove()
        deferred.errback(WaitTimeout(seconds, what))

    def cancelled(_: object) -> None:
        if timer is not None and timer.active():
            timer.cancel()
        remove()

    def remove() -> None:
        # It is not there where a transaction that registered it was rolled back.
        _ = forget(handler_id).addErrback(lambda failure: failure.trap(UnknownHandler, CancelledError))

    deferred: Deferred[Any] = Deferred(cancelled)
    handler_id = register(heard)
    if limit is not None:
        timer = call_later(limit, too_late, limit)
    return deferred
