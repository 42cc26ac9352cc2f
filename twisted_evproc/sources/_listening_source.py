"""A source that others connect to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed

from .._options import checked_clock, needed_number
from ._server import Server, check_endpoint, reactor_of
from ._work import started_already

if TYPE_CHECKING:
    from ..interfaces import IEventSink


class ListeningSource(ABC):
    """Listens from each start to the next stop."""

    def __init__(self, endpoint: Any, max_connections: int, reactor: Any) -> None:
        """
        :raises twisted_evproc.errors.ConfigurationError: for an option that makes no sense.
        """
        self._endpoint = check_endpoint(endpoint)
        self._max_connections = needed_number(max_connections, "max_connections", 1)
        self._reactor = checked_clock(reactor, "reactor")
        self._server: Server | None = None

    @abstractmethod
    def _builder(self, sink: IEventSink, reactor: Any) -> Callable[[Server], Any]:
        """What makes the protocol of each connection until the next stop."""

    @property
    def address(self) -> Any:
        """Where it listens, an ``IAddress`` (over TCP with ``host`` and ``port``); ``None`` while it does not."""
        return None if self._server is None else self._server.address

    def start(self, sink: IEventSink) -> Deferred[None]:
        """
        See :meth:`IEventSource.start`.

        Fails with :class:`~twisted_evproc.errors.CannotListen` when it cannot listen, and with
        :class:`~twisted_evproc.errors.ConfigurationError` when it does already, or the endpoint is no endpoint.
        """
        return Deferred.fromCoroutine(self._start(sink))

    async def _start(self, sink: IEventSink) -> None:
        if self._server is not None:
            raise started_already(self)
        reactor = reactor_of(self._reactor)
        build = self._builder(sink, reactor)
        self._server = server = Server(self._endpoint, self._max_connections, self, build)
        try:
            await server.open(reactor)
        except BaseException:
            self._server = None
            raise

    def stop(self) -> Deferred[None]:
        """
        See :meth:`IEventSource.stop`.

        Fires when all connections are closed.  Cancelling it takes back the events that wait, and cuts the connections off.
        """
        server = self._server
        if server is None:
            return succeed(None)
        return server.close().addBoth(self._stopped, server)

    def _stopped(self, result: Any, server: Server) -> Any:
        if self._server is server:
            self._server = None
        return result
