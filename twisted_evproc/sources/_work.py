"""What a source does between its start and its stop: put events, and wait."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from ..interfaces import IEventSink
    from ._event import QueuedEvent

_LOG = Logger(namespace="twisted_evproc.sources")

#: Very many events, or handlers that never wait for anything, would otherwise keep the reactor from all else: others have their
#: turn this often.
SLICE_SECONDS = 0.01


class Work:
    """
    The work of a source from one start to the next stop.

    :ivar stopping: whether the source was asked to stop: the work is to end when what it waits for has come.
    """

    def __init__(self, source: object, sink: IEventSink, clock: IReactorTime) -> None:
        self.stopping = False
        self._source = source
        self._sink = sink
        self._clock = clock
        self._over = False
        self._running: Deferred[None] | None = None
        self._nap: Deferred[None] | None = None
        self._slice_end = 0.0
        self._refused = 0
        self._ends: list[Deferred[None]] = []

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin; what the coroutine fails with is logged."""
        self._begin_slice()
        self._running = Deferred.fromCoroutine(self._run(work))

    async def _run(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except CancelledError:
            pass
        except Exception:
            _LOG.failure("{source} has come to an end", source=self._source)
        finally:
            self._over = True
            if self._refused > 1:
                _LOG.error("{source}: {count} events were not taken in all", source=self._source, count=self._refused)
            ends, self._ends = self._ends, []
            for end in ends:
                end.callback(None)

    def end(self) -> Deferred[None]:
        """
        Ask the work to end.

        :return: fires, never with a failure, once it has.  Cancelling it takes back the event whose ``put`` waits.
        """
        end: Deferred[None] = Deferred(lambda _: self._give_up())
        self._ends.append(end)
        self.stopping = True
        self.wake()
        if self._over and not end.called:
            self._ends.remove(end)
            end.callback(None)
        return end

    def _give_up(self) -> None:
        if self._running is not None:
            self._running.cancel()

    async def nap(self, seconds: float | None = None) -> None:
        """Wait so many seconds, or until :meth:`wake` is called; not at all once the work is to end."""
        if self.stopping:
            return
        nap = self._nap = Deferred()
        timer = None if seconds is None else self._clock.callLater(seconds, self.wake)
        try:
            await nap
        finally:
            self._nap = None
            if timer is not None and timer.active():
                timer.cancel()
        self._begin_slice()

    def wake(self) -> None:
        """End the nap, if there is one."""
        nap, self._nap = self._nap, None
        if nap is not None:
            nap.callback(None)

    def put(self, event: QueuedEvent) -> Deferred[Any] | None:
        """
        Put an event.

        :return: to be waited for before the next; fails with ``CancelledError`` alone, when the event was taken back.  ``None``
            when there is nothing to wait for.
        """
        try:
            putting = self._sink.put(event)
        except Exception:
            self._not_taken(Failure())
            return None
        if putting.called and isinstance(putting.result, bool):
            # Looked at, not waited for: of a million lines most go this way.
            return self._turn() if self._clock.seconds() >= self._slice_end else None
        return putting.addErrback(self._not_taken).addCallback(self._begin_slice)

    def _turn(self) -> Deferred[Any]:
        # The event is put: cancelling takes nothing back.
        return deferLater(self._clock, 0).addErrback(lambda failure: failure.trap(CancelledError)).addCallback(self._begin_slice)

    def _begin_slice(self, _: object = None) -> None:
        self._slice_end = self._clock.seconds() + SLICE_SECONDS

    def _not_taken(self, failure: Failure) -> Failure | None:
        if failure.check(CancelledError):
            return failure
        # The first tells what is wrong; the rest are counted, for there may be millions.
        if not self._refused:
            _LOG.failure(
                "an event of {source} was not taken; if there are more, their number is logged at the end",
                failure,
                source=self._source,
            )
        self._refused += 1
        return None


def started_already(source: object) -> ConfigurationError:
    """The error for a source that works for a pump, and is started by another."""
    return ConfigurationError(f"{source} was started already: give each pump a source of its own")
