"""Lines over TCP, with real connections; over transports in memory where the moment matters."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import clientFromString, connectProtocol, serverFromString
from twisted.internet.error import CannotListenError, ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from tests.sources.harness import error_name, fired, lose, reactor, until
from twisted_evproc.errors import CannotListen, ConfigurationError, LineTooLong, PumpStopped, QueueOverflow
from twisted_evproc.interfaces import IEventSource
from twisted_evproc.sources import EventHandler, EventPump, QueuedEvent, RaiseEventHandler
from twisted_evproc.sources._lines import LineSource
from twisted_evproc.testing import FakeSink


class Client(Protocol):
    """The other end."""

    def __init__(self) -> None:
        self.lost: Deferred[object] = Deferred()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(reason.type)

    def send(self, data: bytes) -> Client:
        transport: Any = self.transport
        transport.write(data)
        return self

    async def end(self) -> None:
        transport: Any = self.transport
        transport.loseConnection()
        await self.lost


class Gathering(EventHandler):
    def __init__(self) -> None:
        self.data: list[Any] = []

    def process_event(self, event: QueuedEvent) -> bool:
        self.data.append(event.data)
        return True


def ours(logs: Any) -> list[Any]:
    """Without what Twisted's clients log."""
    return [log for log in logs if log["log_namespace"].startswith("twisted_evproc")]


async def connect(source: LineSource) -> Client:
    client: Client = await connectProtocol(clientFromString(reactor, f"tcp:127.0.0.1:{source.address.port}"), Client())
    return client


class TestOverTCP:
    @pytest_twisted.ensureDeferred
    async def test_each_line_is_an_event_and_the_last_needs_no_newline(self) -> None:
        source, sink = LineSource(), FakeSink()
        await source.start(sink)
        client = await connect(source)
        client.send("one\r\nzw\N{LATIN SMALL LETTER O WITH DIAERESIS}lf\n\nrest".encode())
        await client.end()
        await until(lambda: len(sink.events) == 4)
        assert sink.data == ["one", "zw\N{LATIN SMALL LETTER O WITH DIAERESIS}lf", "", "rest"]
        assert sink.events[0].originator is source and sink.events[0].handler is None
        await source.stop()

    @pytest_twisted.ensureDeferred
    async def test_two_connections_do_not_mix_their_lines(self) -> None:
        source, sink = LineSource(), FakeSink()
        await source.start(sink)
        one, two = await connect(source), await connect(source)
        one.send(b"he")
        two.send(b"bye\n")
        await until(lambda: sink.events)
        one.send(b"llo\n")
        await until(lambda: len(sink.events) == 2)
        assert sink.data == ["bye", "hello"]
        await source.stop()
        assert (await one.lost) is ConnectionDone
        await two.lost

    @pytest_twisted.ensureDeferred
    async def test_a_pump_takes_them_and_a_full_queue_loses_none(self) -> None:
        gathering = Gathering()
        pump = EventPump(max_queued=3, handler=gathering, clock=reactor)
        source = LineSource(decode=json.loads, reactor=reactor)
        pump.add_event_generator(source)
        await pump.start()
        client = await connect(source)
        client.send(b"".join(b"%d\n" % number for number in range(20_000)))
        await client.end()
        await until(lambda: len(gathering.data) == 20_000)
        assert gathering.data == list(range(20_000))
        await pump.stop()
        assert source.address is None

    @pytest_twisted.ensureDeferred
    async def test_it_can_be_started_again(self) -> None:
        source = LineSource()
        for _ in range(2):
            sink = FakeSink()
            await source.start(sink)
            client = (await connect(source)).send(b"x\n")
            await until(sink.events.__len__)
            await source.stop()
            await client.lost
        assert str(source) == "lines on tcp:0:interface=127.0.0.1"
        await source.stop()

    @pytest_twisted.ensureDeferred
    async def test_a_sender_is_slowed_down(self) -> None:
        source, sink = LineSource(), FakeSink(room=0)
        await source.start(sink)
        client = await connect(source)
        stuck: list[str] = []
        transport: Any = client.transport

        class Producer:
            def pauseProducing(self) -> None:
                stuck.append("paused")

            def resumeProducing(self) -> None:
                stuck.append("resumed")

            def stopProducing(self) -> None: ...

        transport.registerProducer(Producer(), True)
        line = b"x" * 999 + b"\n"
        client.send(line * 20_000)
        await until(lambda: sink.waiting)
        assert len(sink.waiting) == 1 and stuck == ["paused"]
        sink.resume()
        await until(lambda: len(sink.events) == 20_000)
        assert stuck[-1] == "resumed"
        transport.unregisterProducer()
        await client.end()
        await source.stop()

    @pytest_twisted.ensureDeferred
    async def test_too_many_connections_are_turned_away_and_logged_once(self) -> None:
        source, sink = LineSource(max_connections=1), FakeSink()
        await source.start(sink)
        first = await connect(source)
        first.send(b"first\n")
        await until(lambda: sink.events)
        with capturedLogs() as logs:
            for _ in range(3):
                await (await connect(source)).lost
            assert len(ours(logs)) == 1 and "max_connections" in ours(logs)[0]["log_format"]
            await first.end()
            await until(lambda: not source._server._connections)  # type: ignore[union-attr]  # started above
            again = (await connect(source)).send(b"again\n")
            await until(lambda: len(sink.events) == 2)
        assert [log["count"] for log in ours(logs)[1:]] == [3]
        await source.stop()
        await again.lost

    @pytest.mark.parametrize("endpoint", ["tcp:65536", "tcp6:port=99999:interface=[::]", "ssl:70000"])
    def test_a_port_that_cannot_be_is_refused(self, endpoint: str) -> None:
        with pytest.raises(ConfigurationError, match="a port number that is too large"):
            LineSource(endpoint)

    @pytest_twisted.ensureDeferred
    async def test_an_address_in_use_is_named_with_its_cause(self) -> None:
        first = LineSource()
        await first.start(FakeSink())
        second = LineSource(first.address.port)
        with pytest.raises(CannotListen, match=f"tcp:{first.address.port}:interface=127.0.0.1") as raised:
            await second.start(FakeSink())
        assert isinstance(raised.value.__cause__, CannotListenError)
        await first.stop()
        await second.start(FakeSink())
        await second.stop()

    @pytest_twisted.ensureDeferred
    async def test_a_text_that_is_no_endpoint(self) -> None:
        for text in ("nonsense:1", "tcp:port", "tcp", "ssl:0:privateKey=/nowhere.pem"):
            source = LineSource(text)
            with pytest.raises(ConfigurationError, match=text):
                await source.start(FakeSink())
            assert source.address is None

    @pytest_twisted.ensureDeferred
    async def test_started_twice(self) -> None:
        source = LineSource()
        await source.start(FakeSink())
        with pytest.raises(ConfigurationError, match="started already"):
            await source.start(FakeSink())
        await source.stop()

    @pytest_twisted.ensureDeferred
    async def test_a_unix_socket_and_an_endpoint_object(self, tmp_path: Path) -> None:
        name = str(tmp_path / "socket")
        source, sink = LineSource(serverFromString(reactor, f"unix:{name}")), FakeSink()
        await source.start(sink)
        assert str(source) == f"lines on {name}"
        client: Client = await connectProtocol(clientFromString(reactor, f"unix:{name}"), Client())
        client.send(b"by name\n")
        await until(lambda: sink.events)
        await source.stop()
        await client.lost
        assert not Path(name).exists()

    @pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
    @pytest_twisted.ensureDeferred
    async def test_over_ipv6(self) -> None:
        source = LineSource(r"tcp6:0:interface=\:\:1")
        await source.start(FakeSink())
        assert str(source) == f"lines on [::1]:{source.address.port}"
        await source.stop()

    @pytest_twisted.ensureDeferred
    async def test_a_peer_that_breaks_off(self) -> None:
        source, sink = LineSource(), FakeSink()
        await source.start(sink)
        with socket.create_connection((source.address.host, source.address.port)) as raw:
            raw.sendall(b"whole\n")
            await until(lambda: sink.events)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await until(lambda: not source._server._connections)  # type: ignore[union-attr]  # started above
        assert sink.data == ["whole"]
        await source.stop()


class Bench:
    """A source on a reactor in memory."""

    def __init__(self, sink: FakeSink, **options: Any) -> None:
        self.reactor = MemoryReactorClock()
        self.source = LineSource(reactor=self.reactor, **options)
        self.sink = sink
        self.source.start(sink)
        self.factory: Any = self.reactor.tcpServers[-1][1]

    def connection(self) -> tuple[Any, Any]:
        protocol = self.factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
        transport: Any = StringTransport()
        protocol.makeConnection(transport)
        return protocol, transport


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(FakeSink())
    yield made
    assert made.reactor.getDelayedCalls() == []


class TestBackPressure:
    def test_the_transport_is_paused_while_a_put_waits_and_no_longer(self, bench: Bench) -> None:
        protocol, transport = bench.connection()
        bench.sink.pause()
        protocol.dataReceived(b"a\nb\nc")
        assert transport.producerState == "paused" and len(bench.sink.waiting) == 1
        bench.sink.resume(1)
        assert transport.producerState == "paused" and bench.sink.data == ["a"]
        bench.sink.resume(1)
        assert transport.producerState == "producing" and bench.sink.data == ["a", "b"]
        bench.sink.resume()
        lose(protocol)
        assert bench.sink.data == ["a", "b", "c"]

    def test_one_that_waits_does_not_hold_up_another(self, bench: Bench) -> None:
        (one, paused), (two, free) = bench.connection(), bench.connection()
        bench.sink.pause()
        one.dataReceived(b"a\n")
        assert (paused.producerState, free.producerState) == ("paused", "producing")
        bench.sink.resume()
        two.dataReceived(b"b\n")
        assert bench.sink.data == ["a", "b"]
        lose(one)
        lose(two)

    def test_lines_of_a_peer_that_left_are_put_in_order(self, bench: Bench) -> None:
        protocol, _ = bench.connection()
        bench.sink.pause()
        protocol.dataReceived(b"a\nb\nc")
        lose(protocol)
        bench.sink.resume()
        assert bench.sink.data == ["a", "b", "c"]


class TestWhatCannotBeUsed:
    def test_a_line_that_is_too_long_is_reported_and_what_follows_is_read(self) -> None:
        bench = Bench(FakeSink(), max_line_length=10)
        protocol, _ = bench.connection()
        protocol.dataReceived(b"x" * 5)
        protocol.dataReceived(b"y" * 100_000 + b"\n0123456789\n")
        bad, good = bench.sink.events
        handler: Any = bad.handler
        assert isinstance(handler, RaiseEventHandler) and isinstance(handler.error, LineTooLong)
        assert bad.data.startswith("xxxxxyy") and "10 characters" in str(handler.error)
        assert (good.handler, good.data) == (None, "0123456789")
        lose(protocol)

    def test_a_line_that_cannot_be_decoded_goes_to_the_error_handler(self) -> None:
        bench = Bench(FakeSink(), decode=json.loads)
        protocol, _ = bench.connection()
        protocol.dataReceived(b'{"a": 1}\nnonsense\n2\n')
        assert bench.sink.data == [{"a": 1}, "nonsense", 2]
        handler: Any = bench.sink.events[1].handler
        assert isinstance(handler, RaiseEventHandler) and isinstance(handler.error, ValueError)
        lose(protocol)

    def test_bytes_outside_the_encoding_stay_readable(self, bench: Bench) -> None:
        protocol, _ = bench.connection()
        protocol.dataReceived(b"a\xffb\n")
        lose(protocol)
        assert bench.sink.data == ["a\\xffb"]

    @pytest.mark.parametrize("error", [QueueOverflow(1, "event"), PumpStopped("event", "pump"), ZeroDivisionError("sink")])
    def test_lines_that_are_refused_are_logged_once_and_counted(self, bench: Bench, error: Exception) -> None:
        protocol, transport = bench.connection()
        bench.sink.refuse(error)
        with capturedLogs() as logs:
            protocol.dataReceived(b"a\nb\nc\n")
            assert transport.producerState == "producing"
            assert len(logs) == 1
            lose(protocol)
            bench.source.stop()
        assert [log.get("count") for log in logs] == [None, 3]

    def test_a_line_that_nobody_handles_is_logged_and_the_connection_stays(self) -> None:
        clock = MemoryReactorClock()
        source = LineSource(reactor=clock)
        pump = EventPump(clock=clock)
        pump.add_event_generator(source)
        pump.start()
        factory: Any = clock.tcpServers[0][1]
        protocol = factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
        protocol.makeConnection(StringTransport())
        with capturedLogs() as logs:
            protocol.dataReceived(b"a\n")
        assert "no handler" in str(logs[0]["log_failure"].value)
        lose(protocol)
        pump.stop()


class TestStop:
    def test_lines_received_are_put_then_the_connection_is_closed_then_it_has_stopped(self, bench: Bench) -> None:
        protocol, transport = bench.connection()
        bench.sink.pause()
        protocol.dataReceived(b"a\nb\n")
        stopped = bench.source.stop()
        assert not transport.disconnecting and not fired(stopped)
        bench.sink.resume()
        assert bench.sink.data == ["a", "b"] and transport.disconnecting and not fired(stopped)
        lose(protocol)
        assert fired(stopped)

    def test_a_line_that_has_only_begun_is_left_out_and_logged(self, bench: Bench) -> None:
        protocol, _ = bench.connection()
        protocol.dataReceived(b"a\nhal")
        with capturedLogs() as logs:
            stopped = bench.source.stop()
            protocol.dataReceived(b"f\n")
            lose(protocol)
        assert fired(stopped) and bench.sink.data == ["a"]
        assert [log["log_format"] for log in logs] == ["{owner} stops while a line has begun to come in: it is left out"]

    def test_a_line_that_has_only_begun_when_the_connection_breaks_is_left_out_and_logged(self, bench: Bench) -> None:
        protocol, _ = bench.connection()
        protocol.dataReceived(b"100\n10")
        with capturedLogs() as logs:
            lose(protocol, ConnectionLost())
        assert bench.sink.data == ["100"]
        assert [(log["log_level"], log["log_format"].partition(":")[0]) for log in logs] == [
            (LogLevel.warn, "a connection of {owner} broke, and the line that had begun is left out")
        ]

    def test_a_peer_that_does_not_close_is_cut_off(self, bench: Bench) -> None:
        protocol, transport = bench.connection()
        stopped = bench.source.stop()
        assert transport.disconnecting and not transport.disconnected
        bench.reactor.advance(5)
        assert transport.disconnected
        lose(protocol, ConnectionLost())
        assert fired(stopped)

    def test_when_the_pump_gives_up_the_put_that_waits_is_taken_back(self, bench: Bench) -> None:
        protocol, transport = bench.connection()
        bench.sink.pause()
        protocol.dataReceived(b"a\nb\n")
        with capturedLogs() as logs:
            stopped = bench.source.stop()
            _ = stopped.addErrback(error_name)
            stopped.cancel()
        assert vars(stopped).get("result") == "CancelledError"
        assert bench.sink.waiting == [] and transport.disconnected
        assert any("gave up with {count}" in log["log_format"] and log["count"] == 1 for log in logs)
        lose(protocol, ConnectionLost())
        bench.sink.resume()
        assert bench.sink.data == []

    def test_a_pump_with_a_time_out_gives_up(self) -> None:
        clock = MemoryReactorClock()
        source = LineSource(reactor=clock)

        class Stuck(EventHandler):
            def process_event(self, event: QueuedEvent) -> Any:
                return Deferred()

        pump = EventPump(max_queued=1, handler=Stuck(), clock=clock)
        pump.add_event_generator(source)
        pump.start()
        factory: Any = clock.tcpServers[0][1]
        protocol = factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
        transport: Any = StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(b"a\nb\nc\nd\n")
        assert pump.statistics().waiting == 1
        stopped = pump.stop(timeout=3)
        clock.advance(3)
        assert fired(stopped) and transport.disconnected and pump.statistics().waiting == 0
        lose(protocol, ConnectionLost())
        assert clock.getDelayedCalls() == []

    def test_stopping_twice_waits_both_times(self, bench: Bench) -> None:
        protocol, _ = bench.connection()
        one, two = bench.source.stop(), bench.source.stop()
        assert not fired(one) and not fired(two)
        lose(protocol)
        assert fired(one) and fired(two)
        assert fired(bench.source.stop())


class TestOptions:
    def test_it_is_a_source(self) -> None:
        assert verifyObject(IEventSource, LineSource())

    @pytest.mark.parametrize(
        "options",
        [
            {"endpoint": ""},
            {"endpoint": -1},
            {"endpoint": 65_536},
            {"endpoint": True},
            {"endpoint": None},
            {"handler": 3},
            {"decode": "json"},
            {"encoding": "no-such"},
            {"max_line_length": 0},
            {"max_line_length": None},
            {"max_connections": 0},
            {"max_connections": 1.5},
        ],
    )
    def test_what_makes_no_sense_is_named(self, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            LineSource(**options)

    def test_a_dispatcher_as_handler(self) -> None:
        class Dispatcher:
            def fire_event(self, event: Any) -> Any:
                return succeed(None)

        bench = Bench(FakeSink(), handler=Dispatcher())
        protocol, _ = bench.connection()
        protocol.dataReceived(b"a\n")
        assert "dispatch to" in str(bench.sink.events[0].handler)
        lose(protocol)
