"""A service that takes time to start and to stop."""

from __future__ import annotations

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..dispatch import peek

_LOG = Logger(namespace="twisted_evproc.service")


class DrainedService(Service):
    """
    Keeps the order of starting and stopping, for services whose work takes time to begin and to end.

    Derived classes say in :meth:`begin` and :meth:`end` what that work is.  Between two calls of one there is always a call of
    the other, and none of them is called while :meth:`end` is still at work.

    :ivar start_failure: the Failure of the last start, or ``None``.
    """

    def __init__(self, name: str | None = None) -> None:
        """
        :param name: under which its parent finds it; ``None`` for no name.
        """
        self.start_failure: Failure | None = None
        self._begun = False
        self._starting: Deferred[None] | None = None
        self._stopping: Deferred[None] | None = None
        self._wait_for_start: list[Deferred[None]] = []
        self._wait_for_stop: list[Deferred[None]] = []
        if name is not None:
            Service.setName(self, name)

    def begin(self) -> Deferred[None]:
        """Begin the work; the Deferred is cancelled when the service is stopped before it has fired."""
        raise NotImplementedError

    def end(self) -> Deferred[None]:
        """Finish the work."""
        raise NotImplementedError

    def startService(self) -> None:  # noqa: N802  a name of Twisted's
        """
        Start.  Starting what runs changes nothing; what is still being stopped starts again behind that.

        A failure that is there at once is raised; one that comes later is logged as critical.  Either way ``start_failure`` keeps
        it, :meth:`when_started` fails with it, and the service is stopped, since a part of it may have begun.
        """
        if self.running:
            return
        Service.startService(self)
        self.start_failure = None
        if self._stopping is None:
            failure = self._begin()
            if failure is not None:
                failure.raiseException()

    def when_started(self) -> Deferred[None]:
        """
        Wait until it works.

        :return: fires with ``None`` once it works, at once where it does.  Fails with what made starting fail, and with
            ``CancelledError`` when it is stopped before.  Cancelling it ends the waiting alone.
        """
        if self.start_failure is not None:
            return fail(self.start_failure)
        if self.running and self._begun and self._starting is None:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._wait_for_start.append(waiting)
        return waiting

    def stopService(self) -> Deferred[None]:  # noqa: N802  a name of Twisted's
        """
        Stop, and let the work come to its end.  Stopping what does not run changes nothing.

        A start that is still under way is cancelled.

        :return: fires with ``None`` once it is over; fails with what made it fail.  Cancelling it ends the waiting alone.
        """
        Service.stopService(self)
        if self._starting is not None:
            starting, self._starting = self._starting, None
            starting.cancel()
        self._tell_started(Failure(CancelledError("stopped before it had started")))
        if self._stopping is not None:
            return self._stopped()
        if not self._begun:
            return succeed(None)
        self._begun = False
        stopping = maybeDeferred(self.end)
        if not isinstance(peek(stopping), Deferred):
            return stopping
        self._stopping = stopping
        stopped = self._stopped()
        _ = stopping.addBoth(self._ended)
        return stopped

    def _begin(self) -> Failure | None:
        self._begun = True
        starting = maybeDeferred(self.begin)
        found = peek(starting)
        if isinstance(found, Deferred):
            self._starting = starting
            _ = starting.addBoth(self._began, starting)
            if not self.running:
                # stopped by what it has begun
                self._starting = None
                starting.cancel()
        elif isinstance(found, Failure):
            self._failed_to_start(found)
            return found
        else:
            self._tell_started(None)
        return None

    def _began(self, result: Failure | None, starting: Deferred[None]) -> None:
        if self._starting is not starting:
            # stopped in the meantime, which has cancelled it
            if isinstance(result, Failure) and not result.check(CancelledError):
                _LOG.failure("{service!r} was stopped while it started, and failed", result, service=self)
            return
        self._starting = None
        if isinstance(result, Failure):
            self.report_start_failure(result)
            self._failed_to_start(result)
        else:
            self._tell_started(None)

    def report_start_failure(self, failure: Failure) -> None:
        """Log what made starting fail, where nobody waits for it in ``startService`` any more."""
        _LOG.failure("{service!r} could not be started, and does not run", failure, service=self)

    def _failed_to_start(self, failure: Failure) -> None:
        self.start_failure = failure
        self._tell_started(failure)
        _ = self.stopService().addErrback(self._failed_to_stop)

    def _failed_to_stop(self, failure: Failure) -> None:
        _LOG.failure("{service!r} could not be stopped after it had failed to start", failure, service=self)

    def _tell_started(self, result: Failure | None) -> None:
        waiting, self._wait_for_start = self._wait_for_start, []
        _tell(waiting, result)

    def _stopped(self) -> Deferred[None]:
        stopped: Deferred[None] = Deferred()
        self._wait_for_stop.append(stopped)
        return stopped

    def _ended(self, result: Failure | None) -> None:
        self._stopping = None
        waiting, self._wait_for_stop = self._wait_for_stop, []
        if self.running:
            # started again while it was stopping; whoever called that has its answer already
            failure = self._begin()
            if failure is not None:
                _LOG.failure("{service!r} could not be started again, and does not run", failure, service=self)
        _tell(waiting, result)


def _tell(waiting: list[Deferred[None]], result: Failure | None) -> None:
    for deferred in waiting:
        if isinstance(result, Failure):
            deferred.errback(result)
        else:
            deferred.callback(None)


__all__ = ["DrainedService"]
