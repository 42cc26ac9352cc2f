"""Where transports are tested: in memory by a clock, and on a real broker."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater

from twisted_evproc.amqp import AMQPTransport, Envelope, MemoryBroker, MemoryTransport, current_envelope

#: Seconds after which a test that waits for the real broker is given up.
PATIENCE = 20


class Heard(list[Any]):
    """
    A handler that remembers events.

    :ivar envelopes: theirs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.envelopes: list[Envelope] = []
        self._waiting: list[tuple[int, Deferred[None]]] = []

    def __call__(self, event: Any) -> Any:
        envelope = current_envelope()
        assert envelope is not None
        self.envelopes.append(envelope)
        self.append(event)
        waiting, self._waiting = self._waiting, []
        for number, reached in waiting:
            if len(self) >= number:
                reached.callback(None)
            else:
                self._waiting.append((number, reached))

    def reached(self, number: int) -> Deferred[None]:
        """Fires once so many events are there."""
        reached: Deferred[None] = Deferred()
        if len(self) >= number:
            reached.callback(None)
        else:
            self._waiting.append((number, reached))
        return reached


class Slow(Heard):
    """A handler whose Deferreds are to be fired; ``pending`` has one for each event."""

    def __init__(self) -> None:
        super().__init__()
        self.pending: list[Deferred[Any]] = []

    def __call__(self, event: Any) -> Deferred[Any]:
        pending: Deferred[Any] = Deferred()
        self.pending.append(pending)
        super().__call__(event)
        return pending


class World:
    """
    A broker, and transports that are stopped behind the test.

    :ivar exchange: the exchange of its transports.
    """

    def __init__(self, exchange: str) -> None:
        self.exchange = exchange
        self.transports: list[Any] = []

    def make(self, **options: Any) -> Any:
        raise NotImplementedError

    async def until(self, deferred: Deferred[Any]) -> Any:
        """The value of a Deferred, once it is there."""
        raise NotImplementedError

    async def lose(self, transport: Any) -> None:
        """Let a transport go away, as if its process had died."""
        raise NotImplementedError

    async def cut(self, transport: Any) -> None:
        """Let a transport lose its connection; it comes back."""
        raise NotImplementedError

    def transport(self, **options: Any) -> Any:
        """One that is not started."""
        transport = self.make(**{"exchange": self.exchange, **options})
        self.transports.append(transport)
        return transport

    async def started(self, **options: Any) -> Any:
        transport = self.transport(**options)
        await self.until(transport.start())
        return transport

    async def error(self, deferred: Deferred[Any], *types: type[BaseException]) -> BaseException:
        """What a Deferred fails with."""
        with pytest.raises(types or Exception) as raised:
            _ = await self.until(deferred)
        return raised.value

    async def close(self) -> None:
        for transport in self.transports:
            await self.until(transport.stop(0.01))


class MemoryWorld(World):
    """Advances a clock as long as somebody waits."""

    def __init__(self, exchange: str) -> None:
        super().__init__(exchange)
        self.clock = Clock()
        self.broker = MemoryBroker(clock=self.clock)

    def make(self, **options: Any) -> MemoryTransport:
        return MemoryTransport(self.broker, **options)

    async def until(self, deferred: Deferred[Any]) -> Any:
        for _ in range(10_000):
            if deferred.called and not deferred.paused:
                return await deferred
            self.clock.advance(0.01)
        pytest.fail(f"nothing more happens: {[str(call) for call in self.clock.getDelayedCalls()]}")

    async def lose(self, transport: Any) -> None:
        self.broker.lose(transport)

    async def cut(self, transport: Any) -> None:
        self.broker.cut(transport)
        self.clock.advance(0)


class BrokerWorld(World):
    """Waits for what happens."""

    def __init__(self, exchange: str, url: str, reactor: Any) -> None:
        super().__init__(exchange)
        self._url = url
        self._reactor = reactor

    def make(self, **options: Any) -> AMQPTransport:
        return AMQPTransport(self._url, **options)

    async def until(self, deferred: Deferred[Any]) -> Any:
        return await deferred.addTimeout(PATIENCE, self._reactor)

    async def lose(self, transport: Any) -> None:
        for link in transport._links.values():
            if link.connection is not None:
                link.connection.abort()
            await link.stop()
        self.transports.remove(transport)

    async def cut(self, transport: Any) -> None:
        connection = transport._links["consume"].connection
        gone: Deferred[None] = Deferred()

        def tell(error: BaseException) -> BaseException:
            gone.callback(None)
            return error

        connection.closed.addCallback(tell)
        connection.abort()
        await gone
        await deferLater(self._reactor, 0)
