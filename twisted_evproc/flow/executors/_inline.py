"""On the reactor: for functions that are quick, or that wait without blocking."""

from __future__ import annotations

from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ...dispatch import settle, watch
from ...interfaces import IStepExecutor
from .._attempt import Attempt, stay_inside
from ._environment import be_silent_about, speak_of
from ._stopping import Stopping

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from ...interfaces import Eventual

_LOG = Logger(namespace="twisted_evproc.flow")


@implementer(IStepExecutor)
class InlineExecutor:
    """
    Calls functions on the reactor's thread, and waits for the Deferreds and coroutines they return.

    :ivar abandoned: how many attempts were given up that went on after they were cancelled.
    """

    name = "inline"

    def __init__(self, *, clock: IReactorTime | None = None) -> None:
        """
        :param clock: for the time-out of :meth:`stop`; ``None`` for the global reactor.
        """
        self.abandoned = 0
        self._clock = clock
        self._running: dict[Deferred[Any], Attempt] = {}
        self._stopping = Stopping()

    def start(self) -> Eventual[Any]:
        """See :meth:`IStepExecutor.start`."""
        return None

    def submit(self, attempt: Attempt) -> Deferred[Any]:
        """See :meth:`IStepExecutor.submit`."""
        if self._stopping.is_under_way:
            return fail(CancelledError())
        context = copy_context()
        speak_of(attempt)
        try:
            found = settle(context.run(_call, attempt), context)
        except BaseException:  # noqa: BLE001  SystemExit too: let through to the reactor it would be logged, and the step never end
            found = Failure()
        if not isinstance(found, Deferred):
            be_silent_about(attempt)
            return fail(found) if isinstance(found, Failure) else succeed(found)
        ours: Deferred[Any] = Deferred(partial(self._give_up, found))
        self._running[ours] = attempt
        watch(found, partial(self._ended, ours, attempt))
        return ours

    def adopt(self, attempt: Attempt) -> Deferred[Any] | None:
        """See :meth:`IStepExecutor.adopt`."""
        return None

    def stop(self, timeout: float | None = None) -> Deferred[None]:
        """See :meth:`IStepExecutor.stop`."""
        if not self._running:
            return succeed(None)
        return self._stopping.begin(self._clock, timeout, self._cut_short)

    def _cut_short(self) -> None:
        for running in tuple(self._running):
            running.cancel()

    def _ended(self, ours: Deferred[Any], attempt: Attempt, result: Any) -> None:
        if self._running.pop(ours, None) is not None:
            be_silent_about(attempt)
            ours.callback(result)  # also a Failure, which then runs the errbacks
            self._check_stopped()
        elif isinstance(result, Failure) and not result.check(CancelledError):
            _LOG.failure("{attempt} was cancelled, and failed then", result, attempt=attempt.attempt_id)

    def _give_up(self, found: Deferred[Any], ours: Deferred[Any]) -> None:
        attempt = self._running.pop(ours)
        found.cancel()
        be_silent_about(attempt)
        # A coroutine that goes on behind CancelledError has its Deferred wait for another.
        if not found.called or found.paused:
            self.abandoned += 1
            _LOG.warn(
                "{attempt} goes on though it is cancelled: {count} abandoned so far",
                attempt=attempt.attempt_id,
                count=self.abandoned,
            )
        ours.errback(CancelledError())
        self._check_stopped()

    def _check_stopped(self) -> None:
        if not self._running:
            self._stopping.over()


def _call(attempt: Attempt) -> Any:
    # The context is the attempt's own, and a coroutine runs in it to its end.
    stay_inside(attempt)
    return attempt.func(*attempt.args, **attempt.kwargs)
