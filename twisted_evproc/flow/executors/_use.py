"""An executor while flows use it: started by the first that needs it, stopped behind the last."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from ...dispatch import settle, watch

if TYPE_CHECKING:
    from ...interfaces import IStepExecutor

_LOG = Logger(namespace="twisted_evproc.flow")

# An object may be given to several flows.
_uses: dict[IStepExecutor, Use] = {}


class Use:
    """
    What flows that run have of an executor together.

    :ivar executor: the executor.
    :ivar is_over: whether it could not be started: the next that needs it tries anew.
    """

    def __init__(self, executor: IStepExecutor) -> None:
        """
        Start it; what that raises is let through.
        """
        self.executor = executor
        self.is_over = False
        self._flows = 0
        self._starting: Deferred[Any] | None = None
        self._waiting: list[Deferred[IStepExecutor]] = []
        started = settle(executor.start())
        if isinstance(started, Failure):
            started.raiseException()
        _uses[executor] = self
        if isinstance(started, Deferred):
            self._starting = started
            watch(started, self._started)

    @classmethod
    def begin(cls, executor: IStepExecutor) -> Use:
        """One more flow uses it."""
        use = _uses.get(executor) or cls(executor)
        use._flows += 1
        return use

    def ready(self) -> IStepExecutor | Deferred[IStepExecutor]:
        """
        The executor, once it can be given attempts.

        :return: while it is being started, a Deferred, which fails when that does.  Cancelling it ends the waiting alone.
        """
        if self._starting is None:
            return self.executor
        waiting: Deferred[IStepExecutor] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def _started(self, result: Any) -> None:
        self._starting = None
        if isinstance(result, Failure):
            self.is_over = True
            if _uses.get(self.executor) is self:
                del _uses[self.executor]
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(result if isinstance(result, Failure) else self.executor)

    def end(self, timeout: float) -> Deferred[None] | None:
        """
        One flow less uses it.

        :param timeout: as of :meth:`IStepExecutor.stop`.
        :return: fires when it has stopped, well or not; ``None`` where it goes on, or never began.
        """
        self._flows -= 1
        if self._flows or self.is_over:
            return None
        del _uses[self.executor]
        if self._starting is not None:
            self._starting.cancel()
        stopped: Deferred[None] = maybeDeferred(self.executor.stop, timeout)
        return stopped.addErrback(partial(_not_stopped, self.executor))


def _not_stopped(executor: IStepExecutor, failure: Failure) -> None:
    # What ran has ended, and is committed: nothing that a run came to depends on it.
    _LOG.failure("executor {name!r} could not be stopped", failure, name=executor.name)
