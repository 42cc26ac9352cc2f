"""In processes of their own: for functions that compute, or may crash, or have to end when they are told."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IReactorFDSet
from twisted.python.failure import Failure
from zope.interface import implementer

from ..._options import seconds
from ..._reactor import default_clock
from ...errors import ConfigurationError, EvprocError, StepDied
from ...interfaces import IStepExecutor
from .._attempt import Attempt
from ._child import Child
from ._functions import check_plain
from ._message import pack_job, unpack_answer
from ._size import check_size, processors
from ._stopping import Stopping

if TYPE_CHECKING:
    from ...interfaces import Eventual


@implementer(IStepExecutor)
class ProcessExecutor:
    """
    Calls functions in worker processes.

    Each is a Python of its own, started when there is work for it, and used again.  It does one step at a time, so that one that
    is killed takes no other step with it.  Workers end with the process that started them, however that ends.

    Functions and arguments go there by cloudpickle: a module that they come from has to be importable, while a function of the
    program itself, a closure or a lambda is copied, with the variables it refers to, as they are when the attempt begins.
    Functions have to be plain: an ``async`` one, and one that returns a Deferred, fails its step.
    """

    name = "process"

    def __init__(
        self,
        size: int | None = None,
        *,
        reactor: Any = None,
        grace: float = 5.0,
        max_bytes: int = 16 << 20,
    ) -> None:
        """
        :param size: how many workers there may be; ``None`` for the number of processors, and at least 2.
        :param reactor: an ``IReactorFDSet``, as all are that Twisted has for POSIX; ``None`` for the global one when it is first
            needed.
        :param grace: seconds from SIGTERM to SIGKILL when a step is cancelled.
        :param max_bytes: how large a pickled attempt or a result in JSON may be.
        :raises twisted_evproc.errors.ConfigurationError: for numbers that make no sense.
        """
        self._size = processors() if size is None else check_size(size)
        self._reactor = reactor
        allowed = seconds(grace, "grace")
        if allowed is None:
            raise ConfigurationError("grace=None: a step that does not end on SIGTERM has to be killed after some seconds")
        self._grace = allowed
        self._max_bytes = check_size(max_bytes)
        self._children: set[Child] = set()
        self._starting: set[Child] = set()
        self._idle: list[Child] = []
        self._busy: dict[Child, _Order] = {}
        self._waiting: OrderedDict[Deferred[Any], _Order] = OrderedDict()
        self._stopping = Stopping()

    def start(self) -> Eventual[Any]:
        """
        See :meth:`IStepExecutor.start`.

        :raises twisted_evproc.errors.ConfigurationError: for a reactor that cannot watch descriptors.
        """
        if self._reactor is None:
            self._reactor = default_clock(None)
        if not IReactorFDSet.providedBy(self._reactor):
            raise ConfigurationError(
                f"executor='process' needs a reactor that watches descriptors (IReactorFDSet), and {self._reactor!r:.80} does "
                f"not; give it reactor=, or use executor='thread'"
            )
        return None

    def submit(self, attempt: Attempt) -> Deferred[Any]:
        """See :meth:`IStepExecutor.submit`."""
        if self._stopping.is_under_way:
            return fail(CancelledError())
        try:
            _ = self.start()
            check_plain(attempt.func, attempt.step, self.name)
            packed = pack_job(attempt, self._max_bytes)
        except EvprocError:
            return fail(Failure())
        deferred: Deferred[Any] = Deferred(self._give_up)
        self._waiting[deferred] = _Order(attempt, packed, deferred)
        attempt.waits()
        self._assign()
        return deferred

    def adopt(self, attempt: Attempt) -> Deferred[Any] | None:
        """See :meth:`IStepExecutor.adopt`."""
        return None

    def stop(self, timeout: float | None = None) -> Deferred[None]:
        """
        See :meth:`IStepExecutor.stop`.

        What waits is cancelled, and idle workers end, at once.  Fires when no process is left.
        """
        stopped = self._stopping.begin(self._reactor, timeout if self._busy else None, self._cut_short)
        for deferred in tuple(self._waiting):
            deferred.cancel()
        idle, self._idle = self._idle, []
        for child in idle:
            child.end()
        for child in self._starting:
            child.kill()
        self._check_stopped()
        return stopped

    def _cut_short(self) -> None:
        for order in tuple(self._busy.values()):
            order.deferred.cancel()

    def _assign(self) -> None:
        while self._waiting and self._idle:
            child = self._idle.pop()
            # One that was killed while it was idle, and whose end has not come to us yet, takes nothing.
            if child.send(next(iter(self._waiting.values())).packed):
                _, self._busy[child] = self._waiting.popitem(last=False)
                self._busy[child].attempt.begins()
        # Those whose processes are on their way to their end count no more.
        while len(self._starting) < len(self._waiting) and len(self._starting) + len(self._busy) < self._size:
            try:
                child = Child(self._reactor, self, self._max_bytes)
            except OSError as error:
                if self._starting or self._busy:
                    return  # one of those will do the work in the end
                self._fail_oldest(f"it could not be started: {error}")
            else:
                self._children.add(child)
                self._starting.add(child)

    def _give_up(self, deferred: Deferred[Any]) -> None:
        if self._waiting.pop(deferred, None) is None:
            child = next(child for child, order in self._busy.items() if order.deferred is deferred)
            del self._busy[child]
            child.terminate(self._grace)
            self._assign()
        deferred.errback(CancelledError())

    def _fail_oldest(self, how: str) -> None:
        if self._waiting:
            _, order = self._waiting.popitem(last=False)
            order.deferred.errback(StepDied(order.attempt.step, how))

    def _check_stopped(self) -> None:
        if not self._children:
            self._stopping.over()

    # -- what its children tell: see Employer

    def ready(self, child: Child) -> None:
        """See :class:`Employer`."""
        if child not in self._starting:
            self._dismiss(child, "it said twice that it was ready")
            return
        self._starting.discard(child)
        self._idle.append(child)
        self._assign()

    def answered(self, child: Child, payload: bytes) -> None:
        """See :class:`Employer`."""
        order = self._busy.pop(child, None)
        if order is None:
            self._dismiss(child, "it answered what nobody had asked")
            return
        try:
            result = unpack_answer(payload, order.attempt)
        except Exception:  # noqa: BLE001  a worker that answers nonsense has been tampered with
            result = Failure()
        if self._stopping.is_under_way:
            child.end()
        else:
            self._idle.append(child)
            self._assign()
        order.deferred.callback(result)  # also a Failure, which then runs the errbacks

    def _dismiss(self, child: Child, how: str) -> None:
        # A step has written to the connection.  It gets no more work; what it does now fails when it has ended.
        if child in self._idle:
            self._idle.remove(child)
        child.kill(how)

    def exited(self, child: Child, how: str) -> None:
        """See :class:`Employer`."""
        self._children.discard(child)
        order = self._busy.pop(child, None)
        if child in self._idle:
            self._idle.remove(child)
        never_ready = child in self._starting
        self._starting.discard(child)
        if never_ready and not self._stopping.is_under_way:
            # Each such end takes one attempt with it: so a worker that can never start is not started for ever.
            self._fail_oldest(f"{how}, before it could begin; see what it has printed")
        self._assign()
        if order is not None:
            order.deferred.errback(StepDied(order.attempt.step, how))
        self._check_stopped()


@attrs.frozen(eq=False)
class _Order:
    """An attempt that waits or runs."""

    attempt: Attempt
    packed: bytes
    deferred: Deferred[Any]
