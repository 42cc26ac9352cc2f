"""What nobody takes is never said to be safe, and what somebody takes never to be unroutable, however many are under way."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import gatherResults

from twisted_evproc.amqp import AMQPTransport
from twisted_evproc.amqp._channel import BrokerChannel
from twisted_evproc.amqp._outlet import ChannelOutlet
from twisted_evproc.errors import EvprocError

EVENTS = 20_000
WINDOW = 1000


def routable(number: int) -> bool:
    """Half of them, in no simple order."""
    return (number * 7919) % 13 % 2 == 0 if number % 2 else number % 4 == 0


class Deaf(ChannelOutlet):
    """A planted fault: what comes back is not looked at."""

    def _returned(self, *_: Any) -> None:
        pass


class OneBefore(ChannelOutlet):
    """A planted fault: what comes back is taken for its neighbour."""

    def _returned(self, _: Any, __: Any, properties: Any, ___: bytes) -> None:
        self._publisher.returned(int(properties.correlation_id) + 1)


class Faulty(AMQPTransport):
    outlet: type[ChannelOutlet]

    async def _ready_to_publish(self, connection: Any) -> None:
        await super()._ready_to_publish(connection)
        outlet = self.outlet(BrokerChannel(await connection.channel()), self.publisher)
        await outlet.open()
        self.publisher.attach(outlet)


async def told_wrongly(transport: AMQPTransport, events: int) -> dict[int, str]:
    """Publishes so many events; gives the numbers of those of which something wrong was told, with what was told."""
    await transport.start()
    got: Counter[Any] = Counter()
    await transport.subscribe("group", lambda event: got.update([event]), role="here", window=1000)
    answers: dict[int, str] = {}

    def answered(result: Any, number: int) -> None:
        answers[number] = "confirmed"
        if not isinstance(result, str):
            _ = result.trap(EvprocError)
            answers[number] = result.type.__name__

    def publish(number: int) -> Any:
        return transport.publish(number, role="here" if routable(number) else "nowhere").addBoth(answered, number)

    await gatherResults([publish(number) for number in range(events)])
    statistics = transport.statistics()
    assert statistics.confirmed + statistics.unroutable == events
    await transport.stop()
    assert set(got) <= {number for number in range(events) if routable(number)}
    wanted = {number: "confirmed" if routable(number) else "Unroutable" for number in range(events)}
    return {number: answers[number] for number in range(events) if answers[number] != wanted[number]}


def test_half_of_them_are_unroutable() -> None:
    assert EVENTS * 0.45 < sum(map(routable, range(EVENTS))) < EVENTS * 0.55


@pytest_twisted.ensureDeferred
async def test_an_unroutable_event_is_never_said_to_be_safe(amqp_url: str, exchange: str) -> None:
    transport = AMQPTransport(amqp_url, exchange=exchange, window=WINDOW, max_waiting=EVENTS, publish_timeout=None)
    assert await told_wrongly(transport, EVENTS) == {}


@pytest.mark.parametrize("outlet", [Deaf, OneBefore])
@pytest_twisted.ensureDeferred
async def test_whoever_tells_wrongly_is_caught(amqp_url: str, exchange: str, outlet: type[ChannelOutlet]) -> None:
    transport = Faulty(amqp_url, exchange=exchange, publish_timeout=None)
    transport.outlet = outlet
    assert "confirmed" in (await told_wrongly(transport, 100)).values()
