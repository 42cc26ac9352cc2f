"""Events that others post over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.logger import Logger
from zope.interface import implementer

from .._options import needed_number, needed_seconds
from ..errors import ConfigurationError, PumpStopped, QueueOverflow
from ..interfaces import IEventSource
from ._event import QueuedEvent
from ._handlers import RaiseEventHandler, as_handler
from ._listening_source import ListeningSource
from ._server import Server, address_text
from ._webhook_rules import (
    ACCEPTED,
    FAILED,
    MAX_BODY_BYTES,
    UNUSABLE,
    Answer,
    Head,
    Refused,
    Rules,
    check_header_name,
    check_hosts,
    check_path,
    check_secret,
    come_again,
)

if TYPE_CHECKING:
    from ..interfaces import IEventSink

_LOG = Logger(namespace="twisted_evproc.sources")


@attrs.frozen(eq=False, str=False, kw_only=True)
class WebhookEvent(QueuedEvent):
    """
    What was posted to a :class:`WebhookSource`.

    :ivar headers: of the request, by name; upper and lower case are the same.
    :ivar path: of the request, as it was sent.
    :ivar query: what followed it after a question mark, as it was sent.
    :ivar client: address and port of whoever posted it, or of the proxy in between.
    """

    headers: Mapping[str, str]
    path: str
    query: str
    client: str


@implementer(IEventSource)
class WebhookSource(ListeningSource):
    """
    An HTTP server that takes a JSON value by ``POST``, and puts a :class:`WebhookEvent` for it.

    Answered with 202 once the event is queued, and not before; what a handler makes of it later changes nothing about that.
    Whoever is answered anything else, or nothing, sends it again, and no handler gets anything of it then; where it was
    ``to_data`` that failed, the error handler hears of each attempt.  The how-to "Take webhooks" lists the answers.

    When it is stopped, requests that wait for room go on waiting; others are answered 503.
    """

    def __init__(
        self,
        endpoint: Any = "tcp:8080:interface=127.0.0.1",
        *,
        path: str = "/",
        handler: Any = None,
        to_data: Callable[[Any, Mapping[str, str]], Any] | None = None,
        hosts: Iterable[str] | None = None,
        secret: str | bytes | None = None,
        signature_header: str = "X-Hub-Signature-256",
        max_body_bytes: int = MAX_BODY_BYTES,
        max_waiting: int = 100,
        wait_seconds: float = 5.0,
        max_connections: int = 100,
        request_seconds: float = 30.0,
        reactor: Any = None,
    ) -> None:
        """
        :param endpoint: a Twisted server endpoint, as text or as an ``IStreamServerEndpoint``; or a port number, for this machine
            alone.  Port 0 is any that is free; ``address`` tells it.
        :param path: the one path that takes events, as it stands in the request.
        :param handler: an :class:`~twisted_evproc.interfaces.IEventHandler`, a dispatcher or a processor; ``None`` for the
            handler of the pump.
        :param to_data: makes an event's data of the JSON value and the headers; ``None`` for the value itself.  When it fails the
            pump's error handler hears of it, and the client is answered 500.
        :param hosts: names by which clients may call this server, without port; ``None`` for ``localhost``, ``127.0.0.1`` and
            ``[::1]``.  Others are refused, so that no web page can reach it by a name of its own.
        :param secret: shared with the sender, who signs each body with it (HMAC with SHA-256); ``None`` takes unsigned ones.
        :param signature_header: where the signature stands, as ``sha256=`` and hexadecimal digits.
        :param max_body_bytes: of a body; never more of it is held.
        :param max_waiting: how many requests may wait for room in the queue.
        :param wait_seconds: how long one waits at most.
        :param max_connections: how many at the same time; more are turned away, and that is logged.
        :param request_seconds: within which a request has to come in, and the next one after it.
        :param reactor: ``None`` for the global reactor.
        :raises twisted_evproc.errors.ConfigurationError: for an option that makes no sense.
        """
        super().__init__(endpoint, max_connections, reactor)
        if to_data is not None and not callable(to_data):
            raise ConfigurationError(
                f"to_data={to_data!r} has to be a function of a JSON value and the headers, or None for the value"
            )
        self._rules = Rules(
            check_path(path),
            check_hosts(hosts),
            check_secret(secret),
            check_header_name(signature_header, "signature_header"),
            needed_number(max_body_bytes, "max_body_bytes", 1),
        )
        self._handler = as_handler(handler, "handler")
        self._to_data = to_data
        self._max_waiting = needed_number(max_waiting, "max_waiting", 1)
        self._wait_seconds = needed_seconds(wait_seconds, "wait_seconds")
        self._request_seconds = needed_seconds(request_seconds, "request_seconds")

    def __str__(self) -> str:
        address = self.address
        if address is None:
            return f"webhook on {self._endpoint}, path {self._rules.path}"
        secure = isinstance(self._endpoint, str) and self._endpoint.startswith(("ssl:", "tls:"))
        return f"webhook on {'https' if secure else 'http'}://{address_text(address)}{self._rules.path}"

    def _builder(self, sink: IEventSink, reactor: Any) -> Callable[[Server], Any]:
        # Here and not above: whoever takes no webhooks does without the web server.
        from ._http import HTTPConnection

        reception = Reception(
            self._rules, self._event, sink, clock=reactor, max_waiting=self._max_waiting, wait_seconds=self._wait_seconds
        )

        def build(server: Server) -> HTTPConnection:
            return HTTPConnection(reception, server, reactor, self._request_seconds)

        return build

    def _event(self, head: Head, value: Any) -> tuple[WebhookEvent, Answer]:
        handler, data, answer = self._handler, value, ACCEPTED
        if self._to_data is not None:
            try:
                data = self._to_data(value, head.headers)
            except Exception as error:
                handler, answer = RaiseEventHandler(error), UNUSABLE
        event = WebhookEvent(self, handler, data, headers=head.headers, path=head.path, query=head.query, client=head.client)
        return event, answer


class Reception:
    """
    Takes requests, and says what became of them.

    :ivar rules: which ones it takes.
    """

    def __init__(
        self,
        rules: Rules,
        make_event: Callable[[Head, Any], tuple[WebhookEvent, Answer]],
        sink: IEventSink,
        *,
        clock: Any,
        max_waiting: int,
        wait_seconds: float,
    ) -> None:
        """
        :param make_event: of a head and a JSON value; gives also the answer for when it is queued.
        :param sink: what the events are put into.
        :param max_waiting: how many puts may wait.
        :param wait_seconds: how long each of them.
        """
        self.rules = rules
        self._make_event = make_event
        self._sink = sink
        self._clock = clock
        self._max_waiting = max_waiting
        self._wait_seconds = wait_seconds
        self._waiting = 0

    async def take(self, head: Head, body: bytes) -> Answer:
        """
        Put the event of a request that the rules let through so far.

        Cancelling it takes the event back, unless it is queued.
        """
        try:
            event, answer = self._make_event(head, self.rules.value(head, body))
            return await self._put(event) or answer
        except Refused as refused:
            return refused.answer
        except CancelledError:
            raise
        except Exception:
            _LOG.failure("a request to {path} of {client} failed", path=head.path, client=head.client)
            return FAILED

    async def _put(self, event: WebhookEvent) -> Answer | None:
        if self._waiting >= self._max_waiting:
            return come_again(f"{self._waiting} events wait for room in the queue already.")
        putting = self._sink.put(event)
        if not putting.called:
            _ = putting.addTimeout(self._wait_seconds, self._clock)
        self._waiting += 1
        try:
            queued = await putting
        except TookTooLong:
            return come_again(f"There was no room in the queue within {self._wait_seconds:g} s.")
        except QueueOverflow:
            return come_again("The queue is full.")
        except PumpStopped:
            return come_again("No more events are taken at the moment.")
        finally:
            self._waiting -= 1
        return None if queued else come_again("The queue is full.")
