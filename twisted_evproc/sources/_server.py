"""A server port of a source, and the connections that came by it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import ISSLTransport, IStreamServerEndpoint, ITCPTransport
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from .._reactor import default_clock
from ..errors import CannotListen, ConfigurationError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IListeningPort, IReactorTime

_LOG = Logger(namespace="twisted_evproc.sources")

#: A peer that does not take its leave in this time is cut off.
CLOSE_SECONDS = 5.0

#: What an endpoint's text begins with, up to the port number.
_PORT = re.compile(r"(?:tcp6?|ssl|tls):(?:port=)?(\d{1,18})(?!\d)")


class Connection(Protocol):
    """One connection; it tells :meth:`Server.gone` when it has ended and nothing waits any more."""

    def let_end(self) -> None:
        """Read no more, finish what was begun, and close."""

    def give_up(self) -> None:
        """Take back what waits, and close at once."""


def check_endpoint(endpoint: Any) -> Any:
    """
    An endpoint as its user gave it; a port number becomes one for this machine alone.

    :raises twisted_evproc.errors.ConfigurationError: for what is none.
    """
    if isinstance(endpoint, int) and not isinstance(endpoint, bool) and 0 <= endpoint <= 65_535:
        return f"tcp:{endpoint}:interface=127.0.0.1"
    # Twisted takes any number, and fails when it listens, by the socket that it then leaves open.
    port = _PORT.match(endpoint) if isinstance(endpoint, str) else None
    if port is not None and int(port[1]) > 65_535:
        raise ConfigurationError(f"endpoint={endpoint!r} has a port number that is too large: they go from 0 to 65535")
    if (isinstance(endpoint, str) and endpoint) or IStreamServerEndpoint.providedBy(endpoint):
        return endpoint
    raise ConfigurationError(
        f"endpoint={endpoint!r} has to be a Twisted server endpoint, such as 'tcp:8080:interface=127.0.0.1' or "
        f"'unix:/run/app.sock', or a port number from 0 to 65535"
    )


def address_text(address: object) -> str:
    """An address as text, empty where it has none (the client's end of a UNIX socket)."""
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    if isinstance(address, IPv4Address):
        return f"{address.host}:{address.port}"
    if isinstance(address, UNIXAddress):
        return (address.name or b"").decode("utf-8", "backslashreplace")
    return str(address)


class Server(Factory[Any]):
    """
    Listens from :meth:`open` to :meth:`close`, and is used once.

    :ivar owner: the source, for messages.
    :ivar port: what listens; ``None`` before, and when it is closed.
    :ivar closing: whether :meth:`close` was called.
    """

    noisy = False

    def __init__(self, endpoint: Any, max_connections: int, owner: object, build: Callable[[Server], Any]) -> None:
        """
        :param endpoint: what :func:`check_endpoint` gave.
        :param owner: the source, for messages.
        :param build: makes the protocol of a new connection, which is a :class:`Connection`.
        """
        self.port: IListeningPort | None = None
        self.closing = False
        self._endpoint = endpoint
        self._max = max_connections
        self.owner = owner
        self._build = build
        self._connections: dict[Connection, None] = {}
        self._closed = False
        self._closes: list[Deferred[None]] = []
        self._turned_away = 0

    @property
    def address(self) -> IAddress | None:
        """Where it listens."""
        return None if self.port is None else self.port.getHost()

    async def open(self, reactor: Any) -> None:
        """
        Listen.

        :raises twisted_evproc.errors.CannotListen: when that is not possible, with the reason as its cause.
        :raises twisted_evproc.errors.ConfigurationError: for a text that names no endpoint.
        """
        endpoint = self._endpoint
        if isinstance(endpoint, str):
            endpoint = _parsed(reactor, endpoint)
        try:
            port = await endpoint.listen(self)
        except (CannotListenError, OSError) as error:
            raise CannotListen(
                f"{self.owner} cannot be started: {error}  Stop what uses the address, or give another endpoint than "
                f"{self._endpoint!r}."
            ) from error
        if self.closing:
            await maybeDeferred(port.stopListening)
        else:
            self.port = port

    def buildProtocol(self, addr: IAddress | None) -> Any:  # noqa: N802  called by Twisted
        """Take a connection, or turn it away when there are too many."""
        if self.closing or len(self._connections) >= self._max:
            self._turn_away(addr)
            return None
        if self._turned_away:
            _LOG.warn("{owner} takes connections again; {count} were turned away", owner=self.owner, count=self._turned_away)
            self._turned_away = 0
        connection = self._build(self)
        self._connections[connection] = None
        return connection

    def _turn_away(self, address: IAddress | None) -> None:
        # Once for a crowd: a flood of connections is not to become a flood of messages.
        if not self._turned_away and not self.closing:
            _LOG.warn(
                "{owner} has {max_connections} connections, its max_connections: {peer} and those behind it are turned away",
                owner=self.owner,
                max_connections=self._max,
                peer=address_text(address),
            )
        self._turned_away += 1

    def gone(self, connection: Connection) -> None:
        """A connection has ended."""
        self._connections.pop(connection, None)
        self._tell_closed()

    def close(self) -> Deferred[None]:
        """
        Listen no more, and let every connection end.

        :return: fires when all are closed.  Cancelling it gives them up.
        """
        waiting: Deferred[None] = Deferred(self._given_up)
        self._closes.append(waiting)
        if not self.closing:
            self.closing = True
            port, self.port = self.port, None
            unbinding = maybeDeferred(port.stopListening) if port is not None else maybeDeferred(lambda: None)
            for connection in tuple(self._connections):
                connection.let_end()
            _ = unbinding.addErrback(self._not_unbound).addCallback(self._unbound)
        self._tell_closed()
        return waiting

    def _not_unbound(self, failure: Any) -> None:
        _LOG.failure("{owner} could not stop to listen", failure, owner=self.owner)

    def _unbound(self, _: object) -> None:
        self._closed = True
        self._tell_closed()

    def _tell_closed(self) -> None:
        if self._closed and not self._connections:
            closes, self._closes = self._closes, []
            for waiting in closes:
                waiting.callback(None)

    def _given_up(self, waiting: Deferred[None]) -> None:
        self._closes.remove(waiting)
        for connection in tuple(self._connections):
            connection.give_up()


def _parsed(reactor: Any, text: str) -> Any:
    try:
        return serverFromString(reactor, text)
    except (ValueError, TypeError, KeyError, ImportError, OSError) as error:
        raise ConfigurationError(
            f"endpoint={text!r} is no server endpoint that Twisted knows: {error}.  Such as 'tcp:8080:interface=127.0.0.1'."
        ) from error


def reactor_of(reactor: Any) -> Any:
    """The reactor given, or the global one."""
    return default_clock(cast("IReactorTime | None", reactor))


def is_tcp(transport: object) -> bool:
    """Whether a transport has what only TCP has, and is no TLS on top of it."""
    return ITCPTransport.providedBy(transport) and not ISSLTransport.providedBy(transport)
