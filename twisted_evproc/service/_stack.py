"""Services that rest on each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from .._options import seconds
from .._reactor import default_clock
from ..dispatch import peek
from ..errors import ConfigurationError
from ._drained import DrainedService

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

_LOG = Logger(namespace="twisted_evproc.service")


class ServiceStack(DrainedService, MultiService):
    """
    A service collection whose children rest on those before them.

    They are started in order, each when the one before works, and stopped in reverse order, each when the one behind it has come
    to its end.  So put the dispatcher first and what feeds it behind: nothing is fired into a dispatcher that is closed.  (A
    ``MultiService`` stops all of its children at once.)

    A child that cannot be started keeps those behind it from being started, and those before it are stopped again; the failure
    comes out of ``startService``, or is logged where it comes late.  A child that fails to stop, or takes too long, is logged
    and does not keep the others from being stopped.

    Children are any ``IService``; whether one works is asked of its ``when_started()``, if it has that.

    :ivar stop_timeout: seconds that each child may take to stop, or ``None``.
    """

    def __init__(
        self, *services: Any, stop_timeout: float | None = None, name: str | None = None, clock: IReactorTime | None = None
    ) -> None:
        """
        :param services: the first children, in the order they are started.
        :param stop_timeout: seconds that each child may take to stop before the next is stopped; ``None`` for no limit.
        :param name: under which a service collection finds it; ``None`` for no name.
        :param clock: for the time-out; ``None`` takes the global reactor when it is needed.
        :raises twisted_evproc.errors.ConfigurationError: for a child that is no service, or a bad time-out.
        """
        MultiService.__init__(self)
        self.stop_timeout = seconds(stop_timeout, "stop_timeout")
        self._clock = clock
        # children that were started and not stopped since, in that order
        self._up: list[Any] = []
        self._bringing_up = False
        for service in services:
            if not IService.providedBy(service):
                raise ConfigurationError(f"ServiceStack takes services, not {service!r}; wrap a utility in a UtilityService")
        DrainedService.__init__(self, name)
        for service in services:
            service.setServiceParent(self)

    def __repr__(self) -> str:
        names = ", ".join(repr(service.name) if service.name else repr(service) for service in self)
        return f"<ServiceStack{f' {self.name!r}' if self.name else ''} of {names or 'nothing'}>"

    def addService(self, service: Any) -> None:  # noqa: N802  a name of Twisted's
        """
        Put a child on top.  Where the stack runs, it is started as soon as all others work; that it fails to does not stop them.

        :raises RuntimeError: where a child has its name already.
        """
        with self._without_starting():
            MultiService.addService(self, service)
        if self.running:
            service.privilegedStartService()
        if self.running and self._begun and not self._bringing_up:
            self._start_late(service)

    def removeService(self, service: Any) -> Any:  # noqa: N802  a name of Twisted's
        """
        Take a child out, and stop it where it was started.  Those behind it do without it, also where it was still starting.

        :return: what its ``stopService`` gives, or ``None``.
        :raises ValueError: for what is no child.
        """
        if service not in self.services:
            raise ValueError(f"{service!r} is no child of {self!r}")
        with self._without_starting():
            MultiService.removeService(self, service)
        if service not in self._up:
            return None
        self._up.remove(service)
        return service.stopService()

    @contextmanager
    def _without_starting(self) -> Iterator[None]:
        # MultiService keeps the list and the names; when a child is started and stopped is for us to say.
        running, self.running = self.running, 0
        try:
            yield
        finally:
            self.running = running

    def begin(self) -> Deferred[None]:
        """Start the children in order."""
        return Deferred.fromCoroutine(self._bring_up())

    def end(self) -> Deferred[None]:
        """Stop the children in reverse order.  Never fails: failures are logged."""
        return Deferred.fromCoroutine(self._take_down())

    def _start_late(self, service: Any) -> None:
        starting = Deferred.fromCoroutine(self._bring_up())
        found = peek(starting)
        if isinstance(found, Failure):
            found.raiseException()
        _ = starting.addErrback(self._failed_late, service)

    def _failed_late(self, failure: Failure, service: Any) -> None:
        if self.running or not failure.check(CancelledError):
            _LOG.failure("{service!r} could not be started, and does not run", failure, service=service)

    async def _bring_up(self) -> None:
        self._bringing_up = True
        try:
            while self.running and (below := [service for service in self.services if service not in self._up]):
                service = below[0]
                # Before it is started: that may make us stop, and then it is to be stopped too.
                self._up.append(service)
                try:
                    service.startService()
                except BaseException:
                    self._up.remove(service)
                    raise
                if hasattr(service, "when_started"):
                    try:
                        await service.when_started()
                    except Exception:
                        # Taken out, it is not our concern any more; that is what has cancelled its start.
                        if service in self.services:
                            raise
        finally:
            self._bringing_up = False

    async def _take_down(self) -> None:
        while self._up:
            service = self._up.pop()
            try:
                await self._limited(maybeDeferred(service.stopService), service)
            except Exception:  # noqa: BLE001  other people's service: whatever it raises is logged
                _LOG.failure("{service!r} of {stack!r} failed to stop; the others go on", service=service, stack=self)

    def _limited(self, stopping: Deferred[Any], service: Any) -> Deferred[None]:
        """Wait for a child no longer than it may take; its Deferred is not cancelled."""
        over: Deferred[None] = Deferred()

        def ended(result: Any) -> None:
            if timer is not None and timer.active():
                timer.cancel()
            if not over.called:
                if isinstance(result, Failure):
                    over.errback(result)
                else:
                    over.callback(None)
            elif isinstance(result, Failure):
                _LOG.failure("{service!r} failed to stop, behind its time", result, service=service)

        def too_late(limit: float) -> None:
            _LOG.error("{service!r} takes more than {seconds} s to stop; the others go on", service=service, seconds=limit)
            over.callback(None)

        timer = None
        if self.stop_timeout is not None and not stopping.called:
            timer = default_clock(self._clock).callLater(self.stop_timeout, too_late, self.stop_timeout)
        _ = stopping.addBoth(ended)
        return over
