"""The webhook's side of ``twisted.web``: the one module of the sources that imports it."""

# mypy: disallow-untyped-calls=False
# Most of twisted.web has no annotations.

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import RESPONSES, HTTPChannel, Request, datetimeToString

from ._server import CLOSE_SECONDS, Server, address_text, is_tcp
from ._webhook_rules import ACCEPTED, FAILED, STOPPING, Answer, Head, Headers, bad_request, too_large

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

    from ._webhook import Reception

_LOG = Logger(namespace="twisted_evproc.sources")

TOO_SLOW = Answer(408, "The request took too long to come in: send it faster.")
HEAD_TOO_LARGE = Answer(431, "A line of the request's head is too long: send shorter headers.")
MALFORMED = bad_request("This is no HTTP request that can be understood, or its headers are too large.")


class _BodyTooLarge(Exception):
    """More came in chunks than is taken."""


class _Request(Request):
    """One request, whose body is held in memory up to the limit."""

    channel: Any
    content: Any
    refused: Answer | None = None
    _taking: Deferred[None] | None = None

    def gotLength(self, length: int | None) -> None:  # noqa: N802  called by Twisted
        """A place for the body; never a file."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802  called by Twisted
        """Take a piece of the body."""
        if self.content.tell() + len(data) > self.channel.reception.rules.max_body_bytes:
            raise _BodyTooLarge
        self.content.write(data)

    def process(self) -> None:
        """Answer, once the body is here."""
        self._taking = Deferred.fromCoroutine(self._process(self.content.read()))
        _ = self._taking.addErrback(self._failed)

    async def _process(self, body: bytes) -> None:
        self.give(self.refused or await self.channel.reception.take(self.channel.head(), body))

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            self.give(STOPPING)
            return
        _LOG.failure("an HTTP request failed", failure)
        self.give(FAILED)

    def give(self, answer: Answer) -> None:
        """Send an answer, if there is still somebody to read it."""
        if self._disconnected or self.finished:
            return
        _note(answer, self.channel)
        self.setResponseCode(answer.status, _reason(answer))
        body = _body(answer)
        for name, value in _headers(answer, body, last=not self.channel.persistent):
            self.setHeader(name, value)
        self.write(body)
        self.finish()

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802  called by Twisted
        """Take back what waits: the client does not know that it is queued, and will send it again."""
        super().connectionLost(reason)
        self.take_back()

    def take_back(self) -> None:
        """Put no event any more."""
        if self._taking is not None:
            self._taking.cancel()


class HTTPConnection(HTTPChannel):
    """
    One connection.

    What can be refused before the body is here is refused then.  The rest of such a request is read and thrown away for a while:
    a connection that is closed on unread data would take the answer with it.
    """

    requestFactory: Any = _Request  # noqa: N815  Twisted's name
    timeOut: Any  # noqa: N815  Twisted's name
    callLater: Any  # noqa: N815  Twisted's name
    _networkProducer: Any  # noqa: N815  Twisted's name
    _command: bytes
    _path: bytes

    def __init__(self, reception: Reception, server: Server, clock: Any, request_seconds: float) -> None:
        super().__init__()
        self.reception = reception
        # Twisted's mixin for time-outs takes both from here.
        self.callLater = clock.callLater
        self.timeOut = request_seconds
        self._server = server
        self._refused = False
        self._lost = False
        self._cut_off: IDelayedCall | None = None
        self._head: Head | None = None

    # -- reading

    def resetTimeout(self) -> None:  # noqa: N802  called by Twisted
        """Do nothing: the time is for the whole request, so that nobody holds a connection with a byte now and then."""

    def timeoutConnection(self) -> None:  # noqa: N802  called by Twisted
        """Close a connection that was idle, or a request that did not come in in time."""
        if self.requests:
            self.refuse(TOO_SLOW)
        else:
            self.loseConnection()

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: N802  called by Twisted
        """A line of a request's head that is too long."""
        self.refuse(HEAD_TOO_LARGE)

    def headerReceived(self, line: bytes) -> bool:  # noqa: N802  called by Twisted
        """A header.  A length of thousands of digits is more than Python reads as a number."""
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and len(value.strip()) > 18:
            self.refuse(too_large(self.reception.rules.max_body_bytes))
        return not self._refused and bool(super().headerReceived(line))

    def allHeadersReceived(self) -> None:  # noqa: N802  called by Twisted
        """Refuse what can be refused now; a client that expects to be told to go on is not told then."""
        request = self.requests[-1]
        self._head = self._read_head(request)
        answer = self.reception.rules.refusal(self._head)
        if answer is not None and self.length != 0:
            self.refuse(answer)
        else:
            request.refused = answer
            super().allHeadersReceived()

    def _read_head(self, request: Request) -> Head:
        return Head(
            self._command.decode("latin-1"),
            self._path.decode("latin-1"),
            Headers(_pairs(request)),
            self.length,
            address_text(self.getPeer()),
        )

    def head(self) -> Head:
        """The head of the request under way."""
        assert self._head is not None
        return self._head

    def rawDataReceived(self, data: bytes) -> None:  # noqa: N802  called by Twisted
        """A piece of a request's body."""
        if self._refused:
            return
        try:
            super().rawDataReceived(data)
        except _BodyTooLarge:
            self.refuse(too_large(self.reception.rules.max_body_bytes))

    def _respondToBadRequestAndDisconnect(self) -> None:  # noqa: N802  called by Twisted, which says nothing but "400"
        self.refuse(MALFORMED)

    def refuse(self, answer: Answer) -> None:
        """Answer before all of the request is here; nothing comes after that."""
        if self._refused:
            return
        self._refused = True
        _note(answer, self)
        self.setTimeout(None)
        # What else comes is no line of a head, and is thrown away.
        self.setRawMode()
        body = _body(answer)
        lines = [b"HTTP/1.1 %d %s" % (answer.status, _reason(answer))]
        lines += [b"%s: %s" % header for header in _headers(answer, body, last=True)]
        head = b"\r\n".join(lines) + b"\r\n\r\n"
        transport: Any = self.transport
        transport.write(head if getattr(self, "_command", b"") == b"HEAD" else head + body)
        self._networkProducer.unregisterProducer()
        if is_tcp(transport):
            # So the client sees the end of the answer at once, while we still read.
            transport.loseWriteConnection()
        self._cut_off = self.callLater(CLOSE_SECONDS, self._abort)

    # -- the end

    def let_end(self) -> None:
        """See :class:`Connection`."""
        if self._handlingRequest:
            self.persistent = False
        elif self.requests:
            self.refuse(STOPPING)
        else:
            self.loseConnection()

    def give_up(self) -> None:
        """See :class:`Connection`."""
        for request in tuple(self.requests):
            request.take_back()
        self._abort()

    def loseConnection(self) -> None:  # noqa: N802  called by Twisted
        """Close, at the latest after a while."""
        if self._cut_off is None:
            self._cut_off = self.callLater(CLOSE_SECONDS, self._abort)
        self.setTimeout(None)
        super().loseConnection()

    def _abort(self) -> None:
        if not self._lost:
            transport: Any = self.transport
            transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802  called by Twisted
        """Give back what is held."""
        self._lost = True
        if self._cut_off is not None and self._cut_off.active():
            self._cut_off.cancel()
        super().connectionLost(reason)
        self._server.gone(self)


def _pairs(request: Request) -> Iterator[tuple[str, str]]:
    for name, values in request.requestHeaders.getAllRawHeaders():
        for value in values:
            yield name.decode("latin-1"), value.decode("latin-1")


def _note(answer: Answer, connection: HTTPConnection) -> None:
    # Not louder: anybody can provoke as many of these as there is room on the disk.
    if answer.status != ACCEPTED.status:
        _LOG.debug(
            "{client} was answered {status}: {text}",
            client=address_text(connection.getPeer()),
            status=answer.status,
            text=answer.text,
        )


def _reason(answer: Answer) -> bytes:
    return RESPONSES.get(answer.status) or HTTPStatus(answer.status).phrase.encode("ascii")


def _body(answer: Answer) -> bytes:
    return f"{answer.text}\n".encode()


def _headers(answer: Answer, body: bytes, last: bool) -> list[tuple[bytes, bytes]]:
    """
    All headers of an answer.

    :param last: whether the connection is closed after it.
    """
    return [
        (b"Date", datetimeToString()),
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", b"%d" % len(body)),
        (b"Cache-Control", b"no-store"),
        (b"X-Content-Type-Options", b"nosniff"),
        *((name.encode("ascii"), value.encode("ascii")) for name, value in answer.headers),
        *([(b"Connection", b"close")] if last else []),
    ]
