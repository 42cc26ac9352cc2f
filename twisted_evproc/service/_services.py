"""Twisted services around what is started and stopped with the application."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from .._options import seconds
from ..errors import ConfigurationError
from ..interfaces import IBackgroundUtility
from ..sources import EventPump
from ._drained import DrainedService


class UtilityService(DrainedService):
    """
    Starts and stops any :class:`~twisted_evproc.interfaces.IBackgroundUtility` with the application.

    :ivar utility: what it starts and stops.
    :ivar stop_timeout: seconds after which what is left of its work is cancelled, or ``None``.
    """

    def __init__(self, utility: Any, stop_timeout: float | None = None, name: str | None = None) -> None:
        """
        :param utility: what to start and stop.
        :param stop_timeout: seconds after which stopping cancels the work that is left; ``None`` for no limit.
        :param name: under which a service collection finds it; ``None`` for no name.
        :raises twisted_evproc.errors.ConfigurationError: for what cannot be started and stopped, or a bad time-out.
        """
        if not IBackgroundUtility.providedBy(utility):
            raise ConfigurationError(
                f"{type(self).__name__} needs an object that provides IBackgroundUtility (start, stop, running), not {utility!r}"
            )
        self.utility = utility
        self.stop_timeout = seconds(stop_timeout, "stop_timeout")
        super().__init__(name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{f' {self.name!r}' if self.name else ''} of {self.utility!r}>"

    def begin(self) -> Deferred[None]:
        """See :meth:`IBackgroundUtility.start`."""
        started: Deferred[None] = self.utility.start()
        return started

    def end(self) -> Deferred[None]:
        """See :meth:`IBackgroundUtility.stop`."""
        stopped: Deferred[None] = self.utility.stop() if self.stop_timeout is None else self.utility.stop(self.stop_timeout)
        return stopped


class DispatcherService(UtilityService):
    """
    Starts and stops a dispatcher with the application.

    Stopping takes no new firing and waits for those under way.

    :ivar dispatcher: the dispatcher.
    """

    def __init__(self, dispatcher: Any, stop_timeout: float | None = None, name: str | None = None) -> None:
        """
        :param dispatcher: an :class:`~twisted_evproc.dispatch.EventDispatcher`, or another ``IBackgroundUtility``.
        :param stop_timeout: seconds after which handlers that still run are cancelled; ``None`` for no limit.
        :param name: under which a service collection finds it; ``None`` for no name.
        :raises twisted_evproc.errors.ConfigurationError: for anything else.
        """
        super().__init__(dispatcher, stop_timeout, name)
        self.dispatcher = dispatcher


class PumpService(UtilityService):
    """
    Starts and stops an event pump with the application.

    Stopping polls no more, stops the sources, and waits until every queued event has been processed; so the pump is to be stopped
    before the dispatcher it feeds, as a :class:`~twisted_evproc.service.ServiceStack` does.

    :ivar pump: the pump.
    """

    def __init__(self, pump: Any, stop_timeout: float | None = None, name: str | None = None) -> None:
        """
        :param pump: an :class:`~twisted_evproc.sources.EventPump`, or another ``IBackgroundUtility``.
        :param stop_timeout: seconds after which events that are left are given up; ``None`` for no limit.
        :param name: under which a service collection finds it; ``None`` for no name.
        :raises twisted_evproc.errors.ConfigurationError: for anything else.
        """
        super().__init__(pump, stop_timeout, name)
        self.pump = pump


class TransportService(UtilityService):
    """
    Starts and stops a transport with the application.

    Starting does not wait for the broker: one that is not there is a state of the transport, which goes on trying.  Stopping
    takes no more events in, finishes those under way, and waits until what was published is safe; so the transport is to be
    started behind the dispatcher it feeds and to be stopped before it, as a :class:`~twisted_evproc.service.ServiceStack` does.

    :ivar transport: the transport.
    """

    def __init__(self, transport: Any, stop_timeout: float | None = None, name: str | None = None) -> None:
        """
        :param transport: an :class:`~twisted_evproc.interfaces.IEventTransport`, or another ``IBackgroundUtility``.
        :param stop_timeout: seconds after which handlers that still run are cancelled, their events staying with the broker, and
            publications that are not confirmed fail; ``None`` for no limit.
        :param name: under which a service collection finds it; ``None`` for no name.
        :raises twisted_evproc.errors.ConfigurationError: for anything else.
        """
        super().__init__(transport, stop_timeout, name)
        self.transport = transport


class SourceService(UtilityService):
    """
    Brings the events of one source to a target for as long as the application runs.

    It has a pump of its own.

    :ivar source: the source.
    :ivar pump: the :class:`~twisted_evproc.sources.EventPump` around it.
    """

    def __init__(
        self, source: Any, target: Any, *, stop_timeout: float | None = None, name: str | None = None, **pump_options: Any
    ) -> None:
        """
        :param source: a generator that is polled, or a source that pushes.
        :param target: gets every event that brings no handler of its own: an :class:`~twisted_evproc.interfaces.IEventHandler`
            gets the queued event, a dispatcher or a processor its data.  For a dispatcher that is to be fired with details, give
            a :class:`~twisted_evproc.sources.DispatchEventHandler`.
        :param stop_timeout: seconds after which events that are left are given up; ``None`` for no limit.
        :param name: under which a service collection finds it, and that the pump shows in messages; ``None`` for no name.
        :param pump_options: whatever else an :class:`~twisted_evproc.sources.EventPump` takes.
        :raises twisted_evproc.errors.ConfigurationError: for anything else.
        """
        if target is None:
            raise ConfigurationError("SourceService needs a target for its events: a handler object, a dispatcher or a processor")
        self.source = source
        self.pump = EventPump(handler=target, name=name or "", **pump_options)
        self.pump.add_event_generator(source)
        super().__init__(self.pump, stop_timeout, name)

    def __repr__(self) -> str:
        return f"<SourceService{f' {self.name!r}' if self.name else ''} of {self.source}>"
