"""The state of a transport, for those who look on."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
from twisted.logger import Logger

from ..dispatch import EventDispatcher

_LOG = Logger(namespace="twisted_evproc.amqp")

STOPPED, CONNECTING, UP, BLOCKED, DOWN = "stopped", "connecting", "up", "blocked", "down"

#: What the dispatcher of a transport is fired with when a state begins.
NAMES = {UP: "transport_up", DOWN: "transport_down", BLOCKED: "transport_blocked", STOPPED: "transport_stopped"}


@attrs.frozen
class StateChange:
    """
    A transport is in another state.

    :ivar name: ``transport_up``, ``transport_down``, ``transport_blocked`` or ``transport_stopped``.
    :ivar state: the state it is in.
    :ivar reason: why, in words; empty where there is nothing to say.
    """

    name: str
    state: str
    reason: str


class StateTeller:
    """
    Keeps the state, and tells it.

    :ivar state: the state.
    :ivar reason: why.
    :ivar dispatcher: fires every change, with the keyword ``name``.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.state = STOPPED
        self.reason = ""
        self._told = STOPPED
        self.dispatcher = EventDispatcher(("name",), name=name)
        _ = self.dispatcher.start()

    def become(self, state: str, reason: str = "") -> None:
        """Be in a state."""
        self.state, self.reason = state, reason
        # Connecting is the way to another state, and no news by itself.
        if state == self._told or state not in NAMES:
            return
        self._told = state
        change = StateChange(NAMES[state], state, reason)
        with _LOG.failuresHandled("{name}: {change} could not be told", name=self._name, change=change):
            _ = self.dispatcher.fire_event(change, name=change.name).addErrback(lambda _: None)


def combined(states: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """The state that several connections are in together: the worst of them."""
    order = {DOWN: 0, CONNECTING: 1, STOPPED: 2, BLOCKED: 3, UP: 4}
    return min(states, key=lambda each: order[each[0]])
