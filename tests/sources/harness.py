"""What the tests of listening sources share: connections, and what became of Deferreds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as global_reactor  # noqa: TID251  real connections need it
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

reactor: Any = global_reactor


def fired(deferred: Deferred[Any]) -> bool:
    return deferred.called


def error_name(failure: Failure) -> str:
    return type(failure.value).__name__


def lose(protocol: Any, reason: Exception | None = None) -> None:
    protocol.connectionLost(Failure(reason or ConnectionDone()))


async def until(condition: Callable[[], object]) -> None:
    """Let the reactor work until something is so; a test that waits in vain is ended by faulthandler_timeout or this."""
    end = reactor.seconds() + 20
    while not condition():
        assert reactor.seconds() < end, "waited in vain"
        await deferLater(reactor, 0.001)
