"""Webhooks, by real HTTP: raw bytes where they matter, Twisted's Agent and curl where a client's own behaviour does."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.error import CannotListenError, ConnectionLost
from twisted.internet.protocol import ProcessProtocol, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool  # noqa: TID251  a client that others wrote
from twisted.web.http_headers import Headers as AgentHeaders  # noqa: TID251  the same
from zope.interface.verify import verifyObject

from tests.sources.harness import error_name, fired, lose, reactor, until
from twisted_evproc import EventDispatcher
from twisted_evproc.errors import CannotListen, ConfigurationError, PumpStopped, QueueOverflow
from twisted_evproc.interfaces import IEventSource
from twisted_evproc.sources import DispatchEventHandler, EventHandler, EventPump, QueuedEvent, RaiseEventHandler
from twisted_evproc.sources._webhook import WebhookEvent, WebhookSource
from twisted_evproc.sources._webhook_rules import Headers
from twisted_evproc.testing import FakeSink

#: A file of real deliveries, as published by @octokit/webhooks-examples, which the project does not ship.
REAL = os.environ.get("EVPROC_GITHUB_DELIVERIES", "")

CURL = shutil.which("curl")
needs_curl = pytest.mark.skipif(CURL is None and os.environ.get("CI") != "true", reason="curl is not installed")


@attrs.frozen
class Reply:
    status: int
    headers: dict[str, str]
    body: str
    rest: bytes = b""


def parse(data: bytes, head_only: bool = False) -> Reply:
    """The first response in what came; fails where it is not whole."""
    head, separator, rest = data.partition(b"\r\n\r\n")
    assert separator, data
    status, *lines = head.decode().split("\r\n")
    assert re.fullmatch(r"HTTP/1\.[01] \d{3} [ -~]+", status)
    headers = dict(line.lower().split(": ", 1) for line in lines)
    if status.split()[1] == "100":
        return Reply(100, headers, "", rest)
    length = 0 if head_only else int(headers["content-length"])
    assert len(rest) >= length, data
    return Reply(int(status.split()[1]), headers, rest[:length].decode(), rest[length:])


def request(body: bytes | str = b"{}", *more: str, method: str = "POST", target: str = "/", without: str = "") -> bytes:
    body = body.encode() if isinstance(body, str) else body
    headers = ["Host: localhost", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    given = {line.partition(":")[0].lower() for line in more} | {without.lower()}
    kept = [line for line in headers if line.partition(":")[0].lower() not in given]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *kept, *more, "", ""]).encode("latin-1") + body


class Client(Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.closed = False

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed = True

    def send(self, data: bytes) -> None:
        transport: Any = self.transport
        transport.write(data)

    def end(self) -> None:
        transport: Any = self.transport
        transport.loseConnection()


def port(source: WebhookSource) -> int:
    return int(source.address.port)


async def connect(source: WebhookSource) -> Client:
    client: Client = await connectProtocol(clientFromString(reactor, f"tcp:127.0.0.1:{port(source)}"), Client())
    return client


def complete(data: bytes, head_only: bool = False) -> bool:
    try:
        return parse(data, head_only).status != 100 or complete(parse(data).rest)
    except AssertionError:
        return False


async def ask(source: WebhookSource, data: bytes, head_only: bool = False) -> Reply:
    client = await connect(source)
    client.send(data)
    await until(lambda: client.closed or complete(client.data, head_only))
    client.end()
    await until(lambda: client.closed)
    return parse(client.data, head_only)


@asynccontextmanager
async def serving(sink: Any = None, **options: Any) -> AsyncIterator[tuple[WebhookSource, FakeSink]]:
    sink = sink or FakeSink()
    source = WebhookSource(0, **options)
    await source.start(sink)
    try:
        yield source, sink
    finally:
        await source.stop()


def sign(body: bytes, secret: str = "s3cret") -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class TestAccepted:
    @pytest_twisted.ensureDeferred
    async def test_an_event_with_its_headers_path_and_client(self) -> None:
        async with serving(path="/hooks") as (source, sink):
            reply = await ask(
                source, request('{"a": [1, "\\u00fc"]}', "X-GitHub-Event: push", "X-Two: a", "x-two: b", target="/hooks?k=1")
            )
            assert (reply.status, reply.body) == (202, "Accepted: the event is queued.\n")
            (event,) = sink.events
            assert isinstance(event, WebhookEvent) and event.originator is source
            assert event.data == {"a": [1, "\N{LATIN SMALL LETTER U WITH DIAERESIS}"]}
            assert event.headers["x-github-event"] == event.headers["X-GITHUB-EVENT"] == "push"
            assert event.headers["X-Two"] == "a, b" and "X-Three" not in event.headers
            assert (event.path, event.query) == ("/hooks", "k=1")
            assert re.fullmatch(r"127\.0\.0\.1:\d+", event.client)
            assert str(source) == f"webhook on http://127.0.0.1:{port(source)}/hooks"

    @pytest_twisted.ensureDeferred
    async def test_what_every_answer_says_and_does_not_say(self) -> None:
        async with serving() as (source, _):
            for data in (request(), request("nonsense"), request(method="GET")):
                headers = (await ask(source, data)).headers
                assert {"date", "content-type", "content-length", "cache-control", "x-content-type-options"} <= set(headers)
                assert not {"server", "set-cookie", "x-powered-by", "last-modified"} & set(headers)

    @pytest_twisted.ensureDeferred
    async def test_to_data_gets_value_and_headers(self) -> None:
        async with serving(to_data=lambda value, headers: (headers["X-Kind"], value)) as (source, sink):
            assert (await ask(source, request("[1]", "X-Kind: k"))).status == 202
            assert sink.data == [("k", [1])]

    @pytest.mark.parametrize("host", ["localhost", "elsewhere.example"])
    @pytest_twisted.ensureDeferred
    async def test_a_whole_url_whose_host_outdoes_the_header(self, host: str) -> None:
        async with serving() as (source, sink):
            for target in ("http://localhost/?a=/b", "HTTPS://LOCALHOST:8080?a=/b"):
                reply = await ask(source, request("1", f"Host: {host}", target=target))
                assert reply.status == 202
            events: list[Any] = sink.events
            assert [(event.path, event.query) for event in events] == [("/", "a=/b")] * 2

    @pytest_twisted.ensureDeferred
    async def test_one_connection_after_another_request_and_pipelined(self) -> None:
        async with serving() as (source, sink):
            client = await connect(source)
            client.send(request("1"))
            await until(lambda: complete(client.data))
            client.send(request("2") + request("x") + request("3"))
            await until(lambda: client.data.count(b"HTTP/1.1") == 4)
            assert re.findall(rb"HTTP/1.1 (\d+)", client.data) == [b"202", b"202", b"400", b"202"]
            assert sink.data == [1, 2, 3] and not client.closed
            client.end()

    @pytest_twisted.ensureDeferred
    async def test_a_connection_is_closed_when_its_client_wants_that(self) -> None:
        async with serving() as (source, _):
            client = await connect(source)
            client.send(request("1", "Connection: close"))
            await until(lambda: client.closed)
            assert parse(client.data).status == 202 and client.data.lower().count(b"connection:") == 1

    @pytest_twisted.ensureDeferred
    async def test_a_body_in_chunks(self) -> None:
        async with serving() as (source, sink):
            head = request(b"", "Transfer-Encoding: chunked", without="Content-Length")
            assert (await ask(source, head + b'4\r\n{"a"\r\n4\r\n: 1}\r\n0\r\n\r\n')).status == 202
            assert sink.data == [{"a": 1}]

    @pytest_twisted.ensureDeferred
    async def test_a_dispatcher_matches_on_a_header(self) -> None:
        dispatcher = EventDispatcher(["kind"])
        dispatcher.start()
        heard: list[Any] = []
        dispatcher.add_event_handler(heard.append, "during", kind="push")
        handler = DispatchEventHandler(dispatcher, details=lambda event: {"kind": event.headers["X-GitHub-Event"]})
        source = WebhookSource(0, handler=handler)
        pump = EventPump()
        pump.add_event_generator(source)
        await pump.start()
        for kind in ("push", "ping"):
            assert (await ask(source, request(f'"{kind}"', f"X-GitHub-Event: {kind}"))).status == 202
        await until(lambda: pump.statistics().processed == 2)
        assert heard == ["push"]
        await pump.stop()

    @pytest_twisted.ensureDeferred
    async def test_a_handler_that_fails_later_does_not_change_the_answer(self) -> None:
        source = WebhookSource(0, handler=RaiseEventHandler(ZeroDivisionError("later")))
        pump = EventPump()
        pump.add_event_generator(source)
        await pump.start()
        assert (await ask(source, request())).status == 202
        await until(lambda: pump.statistics().failed == 1)
        await pump.stop()

    @pytest_twisted.ensureDeferred
    async def test_by_the_client_of_twisted(self) -> None:
        async with serving(secret="s3cret") as (source, sink):
            pool = HTTPConnectionPool(reactor, persistent=False)
            body = json.dumps({"n": 1}).encode()
            headers = AgentHeaders({"Content-Type": ["application/json; charset=UTF-8"], "X-Hub-Signature-256": [sign(body)]})
            url = f"http://localhost:{port(source)}/".encode()
            response = await Agent(reactor, pool=pool).request(b"POST", url, headers, FileBodyProducer(BytesIO(body)))
            answer = Client()
            response.deliverBody(answer)
            await until(lambda: answer.closed)
            assert (response.code, answer.data) == (202, b"Accepted: the event is queued.\n")
            assert sink.data == [{"n": 1}]
            await pool.closeCachedConnections()

    @pytest_twisted.ensureDeferred
    async def test_a_secret_is_kept_and_the_signature_of_the_body_checked(self) -> None:
        async with serving(secret="s3cret", signature_header="X-Sig") as (source, sink):
            for signature in (sign(b"{}"), sign(b"{}").upper().replace("SHA", "sha")):
                assert (await ask(source, request("{}", f"X-Sig: {signature}"))).status == 202
            assert len(sink.events) == 2
            assert "s3cret" not in repr(vars(source))


HOST = "Host: localhost"

REFUSED = [
    # how, what is sent, status, a word of the answer
    ("broken JSON", request('{"a":\n  nope}'), 400, "line 2, column 3"),
    ("no body", request(""), 400, "line 1, column 1"),
    ("NaN", request('{"a": NaN}'), 400, "NaN"),
    ("an infinite number", request("1e999"), 400, "out of range"),
    ("a number of too many digits", request("9" * 5_000), 400, "digits"),
    ("nested deeply", request("[" * 30_000 + "]" * 30_000), 400, "nested too deeply"),
    ("two values", request("{} {}"), 400, "column 4"),
    ("no UTF-8", request(b'"\xff"'), 400, "byte 2"),
    ("no Host", request("{}", without="Host"), 400, "no Host"),
    ("two Hosts", request("{}", HOST, HOST), 400, "2 Host"),
    ("a Host that is none", request("{}", "Host: a b"), 400, "names no host"),
    ("an empty Host", request("{}", "Host:"), 400, "names no host"),
    ("a user in Host", request("{}", "Host: localhost@evil"), 400, "names no host"),
    ("a wrong Host", request("{}", "Host: evil.example"), 421, "evil.example"),
    ("a Host that begins right", request("{}", "Host: localhost.evil.example"), 421, "evil.example"),
    ("a web page", request("{}", "Origin: https://evil.example"), 403, "web page"),
    ("a page without origin", request("{}", "Origin: null"), 403, "null"),
    ("a page on another port", request("{}", "Host: localhost:1", "Origin: http://localhost:2"), 403, "Origin"),
    ("another path", request("{}", target="/other"), 404, "/other"),
    ("a whole URL of another path", request("{}", target="http://localhost/other"), 404, "/other"),
    ("a whole URL of another host", request("{}", target="http://evil.example/"), 421, "evil.example"),
    ("a whole URL of no host", request("{}", target="http:///"), 400, "names no host"),
    ("a user in a whole URL", request("{}", target="http://localhost@evil/"), 400, "names no host"),
    ("a whole URL without Host", request("{}", target="http://localhost/", without="Host"), 400, "no Host"),
    (
        "a whole URL from a web page",
        request("{}", "Origin: http://evil", "Host: evil", target="http://localhost/"),
        403,
        "web page",
    ),
    ("a URL of another kind", request("{}", target="ftp://localhost/"), 404, "nothing at"),
    ("GET", request(b"", method="GET", without="Content-Length"), 405, "POST"),
    ("TRACE", request(b"", method="TRACE"), 405, "POST"),
    ("OPTIONS", request(b"", "Origin: http://localhost", method="OPTIONS"), 405, "POST"),
    ("PUT", request("{}", method="PUT"), 405, "POST"),
    ("DELETE", request(b"", method="DELETE"), 405, "POST"),
    ("a method of one's own", request("{}", method="BREW"), 405, "BREW"),
    ("no length", request(b"", without="Content-Length"), 411, "Content-Length"),
    ("too large", request("1" * 65_537), 413, "65536 bytes"),
    ("a length of many digits", request(b"", "Content-Length: " + "9" * 6_000), 413, "65536 bytes"),
    ("a form", request("a=1", "Content-Type: application/x-www-form-urlencoded"), 415, "application/json"),
    ("plain text", request("{}", "Content-Type: text/plain"), 415, "application/json"),
    ("no type", request("{}", without="Content-Type"), 415, "missing"),
    ("two types", request("{}", "Content-Type: application/json", "Content-Type: text/plain"), 415, "text/plain"),
    ("another charset", request("{}", "Content-Type: application/json; charset=utf-16"), 415, "utf-16"),
    ("compressed", request("{}", "Content-Encoding: gzip"), 415, "gzip"),
    ("a line that is no header", b"POST / HTTP/1.1\r\nnonsense\r\nHost: localhost\r\n\r\n", 400, "no HTTP request"),
    ("no HTTP", b"nonsense\r\n\r\n", 400, "no HTTP request"),
    ("two lengths", request("{}", "Content-Length: 2", "Content-Length: 3"), 400, "no HTTP request"),
    ("length and chunks", request("{}", "Transfer-Encoding: chunked", "Content-Length: 2"), 400, "no HTTP request"),
    ("too many headers", request("{}", *(f"X-{n}: 1" for n in range(600))), 400, "too large"),
    ("headers that are too large", request("{}", *(f"X-{n}: {'1' * 1000}" for n in range(20))), 400, "too large"),
    ("a header that is too long", request("{}", "X-Long: " + "1" * 20_000), 431, "too long"),
    (
        "chunks that are none",
        request(b"zz\r\n", "Transfer-Encoding: chunked", without="Content-Length"),
        400,
        "no HTTP request",
    ),
]


class TestRefused:
    @pytest.mark.parametrize(("data", "status", "word"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
    @pytest_twisted.ensureDeferred
    async def test_with_status_and_reason_in_words(self, data: bytes, status: int, word: str) -> None:
        async with serving() as (source, sink):
            with capturedLogs() as logs:
                reply = await ask(source, data)
            assert reply.status == status and word in reply.body
            assert reply.headers["content-type"] == "text/plain; charset=utf-8"
            assert len(reply.body) < 400 and "<" not in reply.body and reply.body.isascii()
            assert sink.events == []
            assert [log["status"] for log in logs if log["log_namespace"] == "twisted_evproc.sources"] == [status]
            # It goes on serving.
            assert (await ask(source, request("1"))).status == 202

    @pytest_twisted.ensureDeferred
    async def test_allow_and_other_headers_that_belong_to_a_status(self) -> None:
        async with serving(secret="s3cret") as (source, _):
            assert (await ask(source, request(method="GET"))).headers["allow"] == "post"
            unsigned = await ask(source, request())
            assert unsigned.status == 401 and 'header="x-hub-signature-256"' in unsigned.headers["www-authenticate"]
            assert (await ask(source, request(b"", without="Content-Type"))).headers["accept-post"] == "application/json"

    @pytest_twisted.ensureDeferred
    async def test_head_has_the_headers_of_the_answer_and_no_body(self) -> None:
        async with serving() as (source, _):
            reply = await ask(source, request(b"", method="HEAD"), head_only=True)
            assert (reply.status, reply.rest) == (405, b"") and int(reply.headers["content-length"]) > 0

    @pytest.mark.parametrize(
        "signature",
        [
            "",
            "sha256=",
            "sha1=" + "0" * 64,
            sign(b"{}", "other"),
            sign(b"{ }"),
            sign(b"{}").removeprefix("sha256="),
            sign(b"{}") + "0",
            "sha256=\xe9" + "0" * 63,
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_a_wrong_signature(self, signature: str) -> None:
        async with serving(secret="s3cret") as (source, sink):
            for lines in (
                [f"X-Hub-Signature-256: {signature}"],
                [f"X-Hub-Signature-256: {sign(b'{}')}", f"X-Hub-Signature-256: {signature}"],
                [],
            ):
                reply = await ask(source, request("{}", *lines))
                assert reply.status == 401 and "not signed" in reply.body
            assert sink.events == []

    @pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:65535"])
    @pytest_twisted.ensureDeferred
    async def test_names_of_this_machine_are_allowed_with_any_port(self, host: str) -> None:
        async with serving() as (source, _):
            assert (await ask(source, request("{}", f"Host: {host}", f"Origin: http://{host}"))).status == 202

    @pytest_twisted.ensureDeferred
    async def test_hosts_replace_them(self) -> None:
        async with serving(hosts=("Hooks.example.org:443",)) as (source, _):
            assert (await ask(source, request("{}", "Host: hooks.example.org"))).status == 202
            assert (await ask(source, request("{}", "Host: localhost"))).status == 421

    @pytest.mark.parametrize(
        "kind", ["application/json", "Application/JSON; charset=UTF-8", 'application/vnd.x+json; charset="utf-8"']
    )
    @pytest_twisted.ensureDeferred
    async def test_types_of_json(self, kind: str) -> None:
        async with serving() as (source, _):
            assert (await ask(source, request("{}", f"Content-Type: {kind}"))).status == 202

    @pytest_twisted.ensureDeferred
    async def test_to_data_that_fails_is_heard_of_by_the_error_handler_and_not_by_the_client(self) -> None:
        heard: list[Any] = []

        class Errors(EventHandler):
            def process_event(self, event: QueuedEvent) -> bool:
                heard.append(event.data)
                return True

        source = WebhookSource(0, to_data=lambda value, headers: value["secret key"])
        pump = EventPump(handler=Errors())
        pump.error_handler(Errors())
        pump.add_event_generator(source)
        await pump.start()
        reply = await ask(source, request('{"a": 1}'))
        assert reply.status == 500 and "secret key" not in reply.body
        await until(lambda: heard)
        ((error, original),) = heard
        assert isinstance(error, KeyError) and original.data == {"a": 1}
        # Sent again, as after any 500: the handler itself hears of it when to_data does not fail.
        assert (await ask(source, request('{"secret key": 1}'))).status == 202
        await until(lambda: heard[1:])
        assert heard[1:] == [1]
        await pump.stop()

    @pytest_twisted.ensureDeferred
    async def test_an_error_of_our_own_is_logged_and_not_told(self) -> None:
        source = WebhookSource(0)
        pump = EventPump()
        pump.add_event_generator(source)
        await pump.start()
        with capturedLogs() as logs:
            reply = await ask(source, request())
        assert reply.status == 500 and "Traceback" not in reply.body and "EventPump" not in reply.body
        assert any("has no handler" in str(log["log_failure"].value) for log in logs if "log_failure" in log)
        await pump.stop()


class TestLargeBodies:
    """The answer arrives although the body is never read; no more of it is held than is allowed."""

    @pytest_twisted.ensureDeferred
    async def test_from_the_length_alone(self) -> None:
        async with serving() as (source, _):
            client = await connect(source)
            client.send(request(b"", "Content-Length: 999999999999"))
            await until(lambda: complete(client.data))
            assert parse(client.data).status == 413 and parse(client.data).headers["connection"] == "close"
            client.end()

    @pytest_twisted.ensureDeferred
    async def test_the_end_of_the_answer_shows_at_once(self) -> None:
        class Timeless:
            """The real reactor, but its time stands still: no time-out helps here."""

            listenTCP = reactor.listenTCP  # noqa: N815  Twisted's name
            callLater = Clock().callLater  # noqa: N815  Twisted's name

        async with serving(reactor=Timeless()) as (source, _):
            client = await connect(source)
            client.send(request(b"", "Content-Length: 999999999999"))
            await until(lambda: client.closed)
            assert parse(client.data).status == 413

    @pytest_twisted.ensureDeferred
    async def test_to_a_client_that_sends_megabytes_before_it_reads(self) -> None:
        async with serving(max_body_bytes=1_000) as (source, sink):
            for head in (
                request(b"", "Content-Length: 4000000"),
                request(b"", "Transfer-Encoding: chunked", without="Content-Length"),
            ):
                reply = await ask(source, head + b"%x\r\n" % 4_000_000 + b"1" * 4_000_000)
                assert reply.status == 413
            assert sink.events == []

    @pytest_twisted.ensureDeferred
    async def test_the_limit_itself_is_allowed_in_one_piece_and_in_chunks(self) -> None:
        async with serving(max_body_bytes=10) as (source, sink):
            chunked = request(b"", "Transfer-Encoding: chunked", without="Content-Length")
            assert (await ask(source, request("1234567890"))).status == 202
            assert (await ask(source, chunked + b"5\r\n12345\r\n5\r\n67890\r\n0\r\n\r\n")).status == 202
            assert (await ask(source, chunked + b"5\r\n12345\r\n6\r\n678901\r\n0\r\n\r\n")).status == 413
            assert sink.data == [1234567890] * 2

    def test_no_file_is_made_of_a_body(self) -> None:
        for length in ("Content-Length: 200000", "Transfer-Encoding: chunked"):
            bench = Bench(FakeSink(), max_body_bytes=300_000)
            protocol, _ = bench.connection()
            protocol.dataReceived(request(b"", length, without="Content-Length"))
            assert isinstance(protocol.requests[0].content, BytesIO)
            lose(protocol)

    @pytest_twisted.ensureDeferred
    async def test_a_client_that_expects_to_be_told_to_go_on(self) -> None:
        async with serving() as (source, sink):
            client = await connect(source)
            client.send(request(b"", "Content-Length: 2", "Expect: 100-continue"))
            await until(lambda: client.data)
            assert parse(client.data).status == 100
            client.send(b"{}")
            await until(lambda: complete(client.data))
            assert parse(parse(client.data).rest).status == 202 and len(sink.events) == 1
            client.end()
            assert (await ask(source, request(b"", "Content-Length: 70000", "Expect: 100-continue"))).status == 413


class TestNoRoom:
    @pytest_twisted.ensureDeferred
    async def test_dropped_refused_stopped_and_no_failure_behind_it(self) -> None:
        async with serving() as (source, sink):
            sink.drop()
            replies = [await ask(source, request())]
            for error in (QueueOverflow(1, "event"), PumpStopped("event", "pump")):
                sink.refuse(error)
                replies.append(await ask(source, request()))
            for reply in replies:
                assert reply.status == 503 and int(reply.headers["retry-after"]) > 0 and "again" in reply.body
            sink.resume()
            assert (await ask(source, request())).status == 202

    @pytest_twisted.ensureDeferred
    async def test_answered_when_it_is_queued_and_not_before(self) -> None:
        async with serving(sink=FakeSink(room=0)) as (source, sink):
            client = await connect(source)
            client.send(request("1"))
            await until(lambda: sink.waiting)
            assert client.data == b""
            sink.resume()
            await until(lambda: complete(client.data))
            assert parse(client.data).status == 202
            client.end()

    @pytest_twisted.ensureDeferred
    async def test_when_too_many_wait_already(self) -> None:
        async with serving(sink=FakeSink(room=0), max_waiting=1) as (source, sink):
            first = await connect(source)
            first.send(request("1"))
            await until(lambda: sink.waiting)
            reply = await ask(source, request("2"))
            assert reply.status == 503 and len(sink.waiting) == 1
            sink.resume()
            await until(lambda: complete(first.data))
            assert sink.data == [1]
            assert (await ask(source, request("3"))).status == 202
            first.end()

    @pytest_twisted.ensureDeferred
    async def test_when_the_client_is_gone_its_event_is_taken_back(self) -> None:
        async with serving(sink=FakeSink(room=0), wait_seconds=1_000) as (source, sink):
            client = await connect(source)
            client.send(request("1"))
            await until(lambda: sink.waiting)
            client.end()
            await until(lambda: not sink.waiting)
            sink.resume()
            assert sink.data == []
            assert (await ask(source, request("2"))).status == 202


class Bench:
    """A source on a reactor in memory."""

    def __init__(self, sink: Any, **options: Any) -> None:
        self.reactor = MemoryReactorClock()
        self.source = WebhookSource(0, reactor=self.reactor, **options)
        self.sink = sink
        self.started = self.source.start(sink)
        self.factory: Any = self.reactor.tcpServers[-1][1]

    def connection(self) -> tuple[Any, Any]:
        protocol = self.factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
        if protocol is None:
            return None, None
        transport: Any = StringTransport()
        protocol.makeConnection(transport)
        return protocol, transport


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(FakeSink(), wait_seconds=7, request_seconds=10)
    yield made
    assert made.reactor.getDelayedCalls() == []


class TestTime:
    def test_an_event_that_waited_too_long_is_taken_back(self, bench: Bench) -> None:
        bench.sink.pause()
        protocol, transport = bench.connection()
        protocol.dataReceived(request("1"))
        bench.reactor.advance(6.9)
        assert transport.value() == b"" and len(bench.sink.waiting) == 1
        bench.reactor.advance(0.1)
        reply = parse(transport.value())
        assert reply.status == 503 and "within 7 s" in reply.body and bench.sink.waiting == []
        lose(protocol)

    def test_a_request_that_trickles_in_is_ended(self, bench: Bench) -> None:
        protocol, transport = bench.connection()
        protocol.dataReceived(b"POST / HTTP/1.1\r\n")
        for _ in range(10):
            assert transport.value() == b""
            protocol.dataReceived(b"X: 1\r\n")
            bench.reactor.advance(1)
        assert parse(transport.value()).status == 408
        bench.reactor.advance(5)
        assert transport.disconnected
        lose(protocol, ConnectionLost())

    def test_a_body_that_trickles_in_is_ended(self, bench: Bench) -> None:
        protocol, transport = bench.connection()
        protocol.dataReceived(request(b"", "Content-Length: 100"))
        for _ in range(10):
            protocol.dataReceived(b" ")
            bench.reactor.advance(1)
        assert parse(transport.value()).status == 408 and bench.sink.events == []
        protocol.dataReceived(b"1" * 90)
        assert bench.sink.events == []
        lose(protocol)

    def test_a_connection_without_a_request_is_closed(self, bench: Bench) -> None:
        protocol, transport = bench.connection()
        bench.reactor.advance(10)
        assert transport.disconnecting and transport.value() == b""
        lose(protocol)

    def test_the_time_begins_anew_with_each_request_and_rests_while_one_waits(self) -> None:
        bench = Bench(FakeSink(), wait_seconds=100, request_seconds=10)
        protocol, transport = bench.connection()
        for number in range(3):
            bench.reactor.advance(9)
            protocol.dataReceived(request(str(number)))
        bench.sink.pause()
        protocol.dataReceived(request("3"))
        bench.reactor.advance(50)
        bench.sink.resume()
        assert bench.sink.data == [0, 1, 2, 3] and not transport.disconnecting
        lose(protocol)
        assert bench.reactor.getDelayedCalls() == []

    def test_too_many_connections_are_turned_away(self) -> None:
        bench = Bench(FakeSink(), max_connections=2)
        kept = [bench.connection()[0] for _ in range(2)]
        with capturedLogs() as logs:
            assert bench.connection() == (None, None)
        assert "max_connections" in logs[0]["log_format"]
        for protocol in kept:
            lose(protocol)
        assert bench.connection()[0] is not None


class TestStop:
    def test_idle_connections_are_closed_and_a_slow_one_cut_off(self, bench: Bench) -> None:
        protocol, transport = bench.connection()
        stopped = bench.source.stop()
        assert transport.disconnecting and not fired(stopped)
        bench.reactor.advance(5)
        assert transport.disconnected
        lose(protocol, ConnectionLost())
        assert fired(stopped) and bench.source.address is None

    def test_a_request_that_waits_is_answered_and_then_its_connection_closed(self, bench: Bench) -> None:
        bench.sink.pause()
        protocol, transport = bench.connection()
        protocol.dataReceived(request("1"))
        stopped = bench.source.stop()
        assert not transport.disconnecting
        bench.sink.resume()
        reply = parse(transport.value())
        assert (reply.status, reply.headers["connection"]) == (202, "close")
        assert transport.disconnecting and not fired(stopped)
        protocol.dataReceived(request("2"))
        lose(protocol)
        assert fired(stopped) and bench.sink.data == [1]

    def test_a_request_that_is_not_all_here_is_told_to_come_again(self, bench: Bench) -> None:
        protocol, transport = bench.connection()
        protocol.dataReceived(request(b"", "Content-Length: 100"))
        stopped = bench.source.stop()
        reply = parse(transport.value())
        assert (reply.status, reply.headers["retry-after"]) == (503, "5") and not fired(stopped)
        protocol.dataReceived(b"1" * 100)
        lose(protocol)
        assert fired(stopped) and bench.sink.events == []

    def test_when_the_pump_gives_up_what_waits_is_taken_back(self, bench: Bench) -> None:
        bench.sink.pause()
        protocol, transport = bench.connection()
        protocol.dataReceived(request("1"))
        stopped = bench.source.stop()
        _ = stopped.addErrback(error_name)
        stopped.cancel()
        assert vars(stopped).get("result") == "CancelledError"
        assert bench.sink.waiting == [] and transport.disconnected and parse(transport.value()).status == 503
        lose(protocol, ConnectionLost())

    @pytest_twisted.ensureDeferred
    async def test_it_can_be_started_again_and_frees_its_address(self) -> None:
        source = WebhookSource(0)
        for number in range(2):
            sink = FakeSink()
            await source.start(sink)
            used = port(source)
            with pytest.raises(ConfigurationError, match="started already"):
                await source.start(sink)
            other = WebhookSource(used)
            with pytest.raises(CannotListen, match=f"tcp:{used}") as raised:
                await other.start(sink)
            assert isinstance(raised.value.__cause__, CannotListenError)
            assert (await ask(source, request(str(number)))).status == 202
            await source.stop()
            await other.start(sink)
            await other.stop()
            assert sink.data == [number]
        await source.stop()

    @pytest_twisted.ensureDeferred
    async def test_a_pump_that_stops_answers_what_waits(self) -> None:
        release: list[Deferred[bool]] = []

        class Slow(EventHandler):
            def process_event(self, event: QueuedEvent) -> Any:
                release.append(Deferred())
                return release[-1]

        source = WebhookSource(0)
        pump = EventPump(max_queued=1, handler=Slow())
        pump.add_event_generator(source)
        await pump.start()
        clients = [await connect(source) for _ in range(3)]
        for number, client in enumerate(clients):
            client.send(request(str(number)))
        await until(lambda: pump.statistics().waiting == 1)
        stopped = pump.stop()
        for _ in range(3):
            await until(release.__len__)
            release.pop().callback(True)
        await stopped
        await until(lambda: all(client.closed for client in clients))
        assert [parse(client.data).status for client in clients] == [202, 202, 202]
        assert pump.statistics().processed == 3


class Exit(ProcessProtocol):
    def __init__(self) -> None:
        self.out = self.errors = b""
        self.ended: Deferred[int] = Deferred()

    def outReceived(self, data: bytes) -> None:
        self.out += data

    def errReceived(self, data: bytes) -> None:
        self.errors += data

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(getattr(reason.value, "exitCode", None) or 0)


async def curl(source: WebhookSource, *arguments: str) -> tuple[int, str]:
    """Status and body, as a person at a terminal gets them."""
    assert CURL is not None, "curl is not installed"
    exited = Exit()
    url = f"http://127.0.0.1:{port(source)}/"
    command = [
        CURL,
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--max-time",
        "20",
        "--write-out",
        "%{http_code}",
        *arguments,
        url,
    ]
    reactor.spawnProcess(exited, CURL, command, env={})
    code = await exited.ended
    assert code == 0, exited.errors
    return int(exited.out[-3:]), exited.out[:-3].decode()


JSON = ("--header", "Content-Type: application/json")


@needs_curl
class TestByCurl:
    @pytest.mark.parametrize(
        ("arguments", "status"),
        [
            ((*JSON, "--data", '{"a": 1}'), 202),
            ((*JSON, "--data", '{"a": 1}', "--header", "Expect: 100-continue"), 202),
            ((*JSON, "--data", '{"a": 1}', "--header", "Transfer-Encoding: chunked"), 202),
            ((*JSON, "--data", '{"a": 1}', "--http1.0"), 202),
            ((*JSON, "--data", '{"a": '), 400),
            (("--data", "a=1"), 415),
            ((), 405),
            (("--head",), 405),
            ((*JSON, "--data", "{}", "--request", "PUT"), 405),
            ((*JSON, "--data", "{}", "--header", "Host: evil.example"), 421),
            ((*JSON, "--data", "{}", "--header", "Origin: https://evil.example"), 403),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_answers(self, arguments: tuple[str, ...], status: int) -> None:
        async with serving() as (source, sink):
            found, body = await curl(source, *arguments)
            assert found == status and body.strip()
            assert len(sink.events) == (status == 202)

    @pytest.mark.parametrize(
        "more",
        [
            ("--header", "Expect: 100-continue"),
            ("--header", "Expect:"),
            ("--header", "Expect:", "--header", "Transfer-Encoding: chunked"),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_the_answer_to_a_large_file_arrives(self, more: tuple[str, ...], tmp_path: Path) -> None:
        large = tmp_path / "large.json"
        large.write_bytes(b"1" * 3_000_000)
        async with serving() as (source, sink):
            status, body = await curl(source, *JSON, "--data-binary", f"@{large}", *more)
            assert status == 413 and "65536 bytes" in body and sink.events == []

    @pytest_twisted.ensureDeferred
    async def test_503_after_a_while(self) -> None:
        async with serving(sink=FakeSink(room=0), wait_seconds=0.01) as (source, sink):
            status, body = await curl(source, *JSON, "--data", "1")
            assert status == 503 and "no room" in body and sink.waiting == []


@pytest.mark.skipif(not REAL, reason="EVPROC_GITHUB_DELIVERIES names no file of real deliveries")
@pytest_twisted.ensureDeferred
async def test_real_deliveries_of_github() -> None:
    deliveries = [json.loads(line) for line in Path(REAL).read_text(encoding="utf-8").splitlines()]
    async with serving(
        path="/github", secret="s3cret", max_body_bytes=200_000, to_data=lambda value, headers: (headers["x-github-event"], value)
    ) as (source, sink):
        client = await connect(source)
        for number, delivery in enumerate(deliveries, 1):
            body = json.dumps(delivery["payload"]).encode()
            lines = [
                "User-Agent: GitHub-Hookshot/1234567",
                "Accept: */*",
                f"X-GitHub-Delivery: {number}",
                f"X-GitHub-Event: {delivery['event']}",
                "X-GitHub-Hook-ID: 1",
                f"X-Hub-Signature-256: {sign(body)}",
            ]
            client.send(request(body, *lines, target="/github"))
            await until(lambda: complete(client.data))
            assert parse(client.data).status == 202
            client.data = b""
        assert sink.data == [(delivery["event"], delivery["payload"]) for delivery in deliveries]
        client.end()


class TestOptions:
    def test_it_is_a_source(self) -> None:
        assert verifyObject(IEventSource, WebhookSource())
        assert str(WebhookSource(path="/hooks")) == "webhook on tcp:8080:interface=127.0.0.1, path /hooks"

    @pytest.mark.parametrize(
        "options",
        [
            {"endpoint": 3.5},
            {"path": "hooks"},
            {"path": "/a?b"},
            {"path": "/\u00fc"},
            {"handler": 3},
            {"to_data": "json"},
            {"hosts": "localhost"},
            {"hosts": ()},
            {"hosts": ("a b",)},
            {"hosts": (b"a",)},
            {"secret": ""},
            {"secret": 5},
            {"signature_header": "X Sig"},
            {"max_body_bytes": 0},
            {"max_body_bytes": None},
            {"max_waiting": 0},
            {"wait_seconds": 0},
            {"wait_seconds": None},
            {"request_seconds": float("nan")},
            {"max_connections": 0},
        ],
    )
    def test_what_makes_no_sense_is_named(self, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            WebhookSource(**options)

    def test_the_web_server_is_imported_when_it_starts(self) -> None:
        code = (
            "import sys; from twisted_evproc.sources._webhook import WebhookSource; WebhookSource();"
            "assert not [name for name in sys.modules if name.startswith(('twisted.web', 'twisted.internet.reactor'))]"
        )
        assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0

    def test_headers(self) -> None:
        headers = Headers([("A", "1"), ("b", "2"), ("a", "3")])
        assert dict(headers) == {"A": "1, 3", "b": "2"} and len(headers) == 2
        assert headers.get("c") is None and headers.all("a") == ("1", "3") and "B" in headers
