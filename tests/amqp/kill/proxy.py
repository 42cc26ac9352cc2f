"""Between a transport and its broker: cuts connections, or stops to forward."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IListeningPort, ITCPTransport
from twisted.internet.protocol import Factory, Protocol

from tests.amqp.kill.world import Happenings

#: Type, channel and size; a byte after the payload ends a frame.
_HEAD = struct.Struct(">BHI")


class Broker(Protocol):
    """The side of the broker: counts its frames."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._rest = b""

    def dataReceived(self, data: bytes) -> None:
        self._rest += data
        while len(self._rest) >= _HEAD.size:
            size = _HEAD.size + _HEAD.unpack_from(self._rest)[2] + 1
            if len(self._rest) < size:
                return
            frame, self._rest = self._rest[:size], self._rest[size:]
            if self._client.cut_before(frame):
                self._client.cut()
                return
            cast(ITCPTransport, self._client.transport).write(frame)

    def connectionLost(self, reason: Any = None) -> None:
        self._client.cut()


class ToBroker(Factory):
    noisy = False

    def __init__(self, client: Client) -> None:
        self._client = client

    def buildProtocol(self, addr: object) -> Broker:
        return Broker(self._client)


class Client(Protocol):
    """The side of the client."""

    factory: Proxy

    def __init__(self) -> None:
        self.purpose = ""
        self._broker: Broker | None = None
        self._early = b""
        self._over = False

    def connectionMade(self) -> None:
        self.factory.clients.append(self)
        self.factory.happenings.changed()
        if not self.factory.silent:
            endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.factory.broker_port)
            endpoint.connect(ToBroker(self)).addCallbacks(self._connected, lambda _: self.cut())

    def _connected(self, broker: Broker) -> None:
        self._broker = broker
        if self._over:
            self.cut()
        else:
            self.dataReceived(b"")

    def dataReceived(self, data: bytes) -> None:
        self._early += data
        # The client tells what the connection is for, in its second frame.
        for purpose in "publish", "consume":
            if not self.purpose and f"({purpose})".encode() in self._early:
                self.purpose = purpose
        if self._broker is not None:
            early, self._early = self._early, b""
            cast(ITCPTransport, self._broker.transport).write(early)

    def cut_before(self, frame: bytes) -> bool:
        return self.factory.cut_before(self.purpose, frame)

    def freeze(self) -> None:
        """Nothing comes through any more, and nobody is told."""
        for side in self, self._broker:
            if side is not None:
                cast(Any, side.transport).pauseProducing()

    def cut(self) -> None:
        if not self._over:
            self._over = True
            self.factory.clients.remove(self)
            cast(ITCPTransport, self.transport).abortConnection()
            self.factory.happenings.changed()
        if self._broker is not None:
            cast(ITCPTransport, self._broker.transport).abortConnection()

    def connectionLost(self, reason: Any = None) -> None:
        self.cut()


class Proxy(Factory):
    """
    A port that leads to the broker.

    :ivar clients: the connections at present.
    :ivar silent: whether connections are taken and not answered.
    :ivar frames: how many frames the broker has sent on connections for ``counted``.
    :ivar cut_at: the frame in place of which the connection is cut; ``None`` for none.  It happens once.
    """

    noisy = False

    def __init__(self, happenings: Happenings, broker_port: int) -> None:
        self.happenings = happenings
        self.broker_port = broker_port
        self.clients: list[Client] = []
        self.silent = False
        self.counted = ""
        self.frames = 0
        self.cut_at: int | None = None
        self._port: IListeningPort = cast(Any, reactor).listenTCP(0, self, interface="127.0.0.1")
        self.port: int = cast(Any, self._port.getHost()).port

    def buildProtocol(self, addr: object) -> Any:
        client = Client()
        client.factory = self
        return client

    def cut_instead_of(self, number: int | None, purpose: str) -> None:
        """Cut the connection that is for something, in place of a frame from the broker, counted from now on."""
        self.counted, self.frames, self.cut_at = purpose, 0, number

    def cut_before(self, purpose: str, frame: bytes) -> bool:
        # Heartbeats come when they come; the first frame of a connection comes before it is known what it is for.
        if frame[0] == 8 or purpose != self.counted:
            return False
        self.frames += 1
        # Not before the frame has its way.
        cast(Any, reactor).callLater(0, self.happenings.changed)
        if self.frames == self.cut_at:
            self.cut_at = None
            return True
        return False

    def of(self, purpose: str) -> list[Client]:
        return [client for client in self.clients if client.purpose == purpose]

    def cut(self) -> None:
        for client in list(self.clients):
            client.cut()

    def close(self) -> Deferred[None]:
        self.cut()
        stopped: Any = self._port.stopListening()
        waiting: Deferred[None] = Deferred()
        stopped.addCallback(lambda _: waiting.callback(None))
        return waiting


class Hurried:
    """A clock on which everything happens sooner: what is to wait for seconds waits for milliseconds."""

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def seconds(self) -> float:
        return cast(float, cast(Any, reactor).seconds() * self._factor)

    def callLater(self, delay: float, function: Callable[..., object], *arguments: Any, **options: Any) -> Any:
        return cast(Any, reactor).callLater(delay / self._factor, function, *arguments, **options)

    def getDelayedCalls(self) -> list[Any]:
        return cast(list[Any], cast(Any, reactor).getDelayedCalls())
