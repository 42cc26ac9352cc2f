"""In threads of this process: for functions that block."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, cast

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..._reactor import default_clock
from ...errors import FlowDefinitionError
from ...interfaces import IStepExecutor
from .._attempt import Attempt, inside, knowledge_of
from ._environment import be_silent_about, speak_of
from ._functions import check_plain, check_returned
from ._size import check_size
from ._stopping import Stopping

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorFromThreads, IReactorTime

    from ...interfaces import Eventual

_LOG = Logger(namespace="twisted_evproc.flow")


@implementer(IStepExecutor)
class ThreadExecutor:
    """
    Calls functions in threads.

    The threads are its own, and daemons: a function that never returns keeps neither others from running nor the program from
    ending.  A thread that is abandoned (its step was cancelled or timed out) does not count towards the size any more, and ends
    when its function returns.

    Functions have to be plain: an ``async`` one, and one that returns a Deferred, fails its step.

    :ivar abandoned: how many calls were given up that still ran.
    """

    name = "thread"

    def __init__(self, size: int = 16, *, reactor: IReactorFromThreads | None = None) -> None:
        """
        :param size: how many calls may run at the same time; more wait.
        :param reactor: ``None`` for the global one when it is first needed.
        :raises twisted_evproc.errors.ConfigurationError: for a size below 1.
        """
        self.abandoned = 0
        self._size = check_size(size)
        self._reactor = reactor
        self._idle: list[_Worker] = []
        self._busy: dict[_Worker, _Call] = {}
        self._waiting: OrderedDict[Deferred[Any], _Call] = OrderedDict()
        self._stopping = Stopping()

    def start(self) -> Eventual[Any]:
        """See :meth:`IStepExecutor.start`."""
        if self._reactor is None:
            self._reactor = cast("IReactorFromThreads", default_clock(None))
        return None

    def submit(self, attempt: Attempt) -> Deferred[Any]:
        """See :meth:`IStepExecutor.submit`."""
        if self._stopping.is_under_way:
            return fail(CancelledError())
        try:
            check_plain(attempt.func, attempt.step, self.name)
        except FlowDefinitionError:
            return fail(Failure())
        _ = self.start()
        deferred: Deferred[Any] = Deferred(self._give_up)
        self._waiting[deferred] = _Call(attempt, copy_context(), deferred)
        attempt.waits()
        self._assign()
        return deferred

    def adopt(self, attempt: Attempt) -> Deferred[Any] | None:
        """See :meth:`IStepExecutor.adopt`."""
        return None

    def stop(self, timeout: float | None = None) -> Deferred[None]:
        """See :meth:`IStepExecutor.stop`.  What waits is cancelled at once; what runs after ``timeout`` is abandoned."""
        stopped = self._stopping.begin(cast("IReactorTime", self._reactor), timeout if self._busy else None, self._cut_short)
        for deferred in tuple(self._waiting):
            deferred.cancel()
        while self._idle:
            self._idle.pop().give(None)
        self._check_stopped()
        return stopped

    def _cut_short(self) -> None:
        for call in tuple(self._busy.values()):
            call.deferred.cancel()

    def _assign(self) -> None:
        while self._waiting and (self._idle or len(self._busy) < self._size):
            try:
                worker = self._idle.pop() if self._idle else _Worker(self._came_back)
            except RuntimeError:
                # The system gives no more threads.  Where one of ours is busy, it will do the work in the end.
                if self._busy:
                    return
                _, call = self._waiting.popitem(last=False)
                call.deferred.errback(Failure())
                continue
            _, call = self._waiting.popitem(last=False)
            self._busy[worker] = call
            speak_of(call.attempt)
            call.attempt.begins()
            worker.give(call.run)

    def _came_back(self, worker: _Worker, result: Any) -> None:
        # In the worker's thread.
        assert self._reactor is not None
        self._reactor.callFromThread(self._ended, worker, result)

    def _ended(self, worker: _Worker, result: Any) -> None:
        call = self._busy.pop(worker, None)
        if call is None or self._stopping.is_under_way:
            worker.give(None)
        else:
            self._idle.append(worker)
        if call is None:
            if isinstance(result, Failure):
                _LOG.failure("a call that was abandoned has failed", result)
            return
        be_silent_about(call.attempt)
        self._assign()
        call.deferred.callback(result)  # also a Failure, which then runs the errbacks
        self._check_stopped()

    def _give_up(self, deferred: Deferred[Any]) -> None:
        if self._waiting.pop(deferred, None) is None:
            worker, call = next((worker, call) for worker, call in self._busy.items() if call.deferred is deferred)
            del self._busy[worker]
            be_silent_about(call.attempt)
            self.abandoned += 1
            _LOG.warn(
                "{attempt} was given up, but a thread cannot be ended: {count} abandoned so far",
                attempt=call.attempt.attempt_id,
                count=self.abandoned,
            )
            self._assign()
        deferred.errback(CancelledError())
        self._check_stopped()

    def _check_stopped(self) -> None:
        if not self._busy:
            self._stopping.over()


@attrs.frozen(eq=False)
class _Call:
    """An attempt that waits or runs."""

    attempt: Attempt
    context: Context
    deferred: Deferred[Any]

    def run(self) -> Any:
        """Call the function."""
        return self.context.run(self._run)

    def _run(self) -> Any:
        attempt = self.attempt
        with inside(knowledge_of(attempt)):
            value = attempt.func(*attempt.args, **attempt.kwargs)
            check_returned(value, attempt.step, ThreadExecutor.name)
            return value


class _Worker:
    """One thread, which does one call after the other."""

    def __init__(self, came_back: Callable[[_Worker, Any], None]) -> None:
        """
        :raises RuntimeError: when the system gives no more threads.
        """
        self._came_back = came_back
        self._call: Callable[[], Any] | None = None
        self._given = threading.Semaphore(0)
        threading.Thread(target=self._work, name="evproc step", daemon=True).start()

    def give(self, call: Callable[[], Any] | None) -> None:
        """Give it something to call; ``None`` ends it."""
        self._call = call
        self._given.release()

    def _work(self) -> None:
        while True:
            _ = self._given.acquire()
            call, self._call = self._call, None
            if call is None:
                return
            try:
                result = call()
            except BaseException:  # noqa: BLE001  whatever a step raises is its failure
                result = Failure()
            # An idle thread is to hold on to nothing.
            del call
            self._came_back(self, result)
            del result
