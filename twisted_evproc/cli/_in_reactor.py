"""Running the reactor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import ReactorNotRestartable
from twisted.python.failure import Failure

from ..errors import ApplicationError

T = TypeVar("T")


def installed_reactor() -> Any:
    """The reactor; to be asked for once the application is loaded, which may choose another one."""
    from twisted.internet import reactor

    return reactor


def run_reactor(reactor: Any, place: str) -> None:
    """
    Run the reactor until somebody stops it.

    :param place: the application, for messages.
    :raises twisted_evproc.errors.ApplicationError: when it has been run before.
    """
    try:
        reactor.run()
    except ReactorNotRestartable:
        raise ApplicationError(
            place,
            'the application has already run the reactor while it was loaded; put reactor.run() under if __name__ == "__main__":',
        ) from None


def in_reactor(work: Callable[[], Deferred[T]], place: str) -> T:
    """
    Run the reactor until some work is done.

    :param work: begins it; SIGINT and SIGTERM cancel it.
    :param place: as of :func:`run_reactor`.
    :return: what came of it.
    :raises KeyboardInterrupt: when it was cancelled.
    """
    reactor = installed_reactor()
    results: list[T | Failure] = []

    def begin() -> None:
        working: Deferred[T] = maybeDeferred(work)
        reactor.addSystemEventTrigger("before", "shutdown", working.cancel)
        _ = working.addBoth(ended)

    def ended(result: T | Failure) -> None:
        results.append(result)
        reactor.callLater(0, stop)

    def stop() -> None:
        if reactor.running:
            reactor.stop()

    reactor.callWhenRunning(begin)
    run_reactor(reactor, place)
    result = results[0] if results else Failure(CancelledError())
    if isinstance(result, Failure):
        if result.check(CancelledError):
            raise KeyboardInterrupt
        result.raiseException()
    return result


__all__ = ["in_reactor", "installed_reactor", "run_reactor"]
