"""Lines over the network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..errors import PumpStopped, QueueOverflow
from ..interfaces import IEventSource
from ._line_events import LineEvents
from ._listening_source import ListeningSource
from ._server import CLOSE_SECONDS, Server, address_text, is_tcp
from ._splitter import MAX_LINE_LENGTH, Line, LineSplitter

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

    from ..interfaces import IEventSink

_LOG = Logger(namespace="twisted_evproc.sources")


@implementer(IEventSource)
class LineSource(ListeningSource):
    """
    Listens, and puts an event for each line that comes by a connection.

    While a ``put`` waits, its connection is not read: a full queue slows the peer down.  What a peer sent is not acknowledged to
    it; a peer that has to know whether its event was queued speaks to a :class:`WebhookSource`.

    A connection's last line needs no newline where its peer closes it.  When the connection breaks, or the source is stopped,
    lines that have come in whole are put; one that has only begun is left out, and logged.
    """

    def __init__(
        self,
        endpoint: Any = "tcp:0:interface=127.0.0.1",
        *,
        handler: Any = None,
        decode: Callable[[str], Any] | None = None,
        encoding: str = "utf-8",
        max_line_length: int = MAX_LINE_LENGTH,
        max_connections: int = 100,
        reactor: Any = None,
    ) -> None:
        """
        :param endpoint: a Twisted server endpoint, as text or as an ``IStreamServerEndpoint``; or a port number, for this machine
            alone.  Port 0 is any that is free; ``address`` tells it.
        :param handler: an :class:`~twisted_evproc.interfaces.IEventHandler`, a dispatcher or a processor; ``None`` for the
            handler of the pump.
        :param decode: makes an event's data of a line, such as ``json.loads``; ``None`` for the line itself.
        :param encoding: of the lines.  What cannot be decoded appears as ``\\x..``.
        :param max_line_length: in characters.  Longer lines go to the pump's error handler as
            :class:`~twisted_evproc.errors.LineTooLong`.
        :param max_connections: how many at the same time; more are turned away, and that is logged.
        :param reactor: ``None`` for the global reactor.
        :raises twisted_evproc.errors.ConfigurationError: for an option that makes no sense.
        """
        super().__init__(endpoint, max_connections, reactor)
        self._events = LineEvents(handler, decode, encoding, max_line_length)
        self._refused = 0

    def __str__(self) -> str:
        address = self.address
        return f"lines on {self._endpoint if address is None else address_text(address)}"

    def _builder(self, sink: IEventSink, reactor: Any) -> Callable[[Server], Any]:
        self._refused = 0
        return partial(_LineConnection, self.put_line, sink, reactor, self._events.splitter)

    def _stopped(self, result: Any, server: Server) -> Any:
        if self._server is server and self._refused > 1:
            _LOG.error("{source}: {count} lines were not taken in all", source=self, count=self._refused)
        return super()._stopped(result, server)

    def put_line(self, sink: IEventSink, line: Line) -> Deferred[Any]:
        """
        Put an event for a line.

        :return: fires, never with a failure, once the next may come.
        """
        try:
            putting: Deferred[Any] = sink.put(self._events.event(self, line))
        except Exception:
            self._not_taken(Failure())
            putting = succeed(False)
        return putting.addErrback(self._not_taken)

    def _not_taken(self, failure: Failure) -> None:
        # The first tells what is wrong; the rest are counted, for a peer may send millions.
        self._refused += 1
        if self._refused > 1:
            return
        if failure.check(QueueOverflow, PumpStopped, CancelledError):
            why = "it was taken back" if failure.check(CancelledError) else str(failure.value)
            _LOG.error("a line of {source} was not taken, more are counted: {why}", source=self, why=why)
        else:
            _LOG.failure("a line of {source} was not taken, more are counted", failure, source=self)


class _LineConnection(Protocol):
    """
    One connection.

    Not more than one chunk waits: while a ``put`` does, the transport is paused.
    """

    def __init__(
        self,
        put_line: Callable[[IEventSink, Line], Deferred[Any]],
        sink: IEventSink,
        reactor: Any,
        splitter: Callable[[], LineSplitter],
        server: Server,
    ) -> None:
        self._put_line = put_line
        self._sink = sink
        self._reactor = reactor
        self._splitter = splitter()
        self._server = server
        self._received: deque[Line] = deque()
        self._putting: Deferred[Any] | None = None
        self._busy = False
        self._paused = False
        self._ending = False
        self._lost = False
        self._cut_off: IDelayedCall | None = None

    def connectionMade(self) -> None:  # noqa: N802  called by Twisted
        """A peer that vanished without a word is not to hold its place for ever."""
        transport: Any = self.transport
        if is_tcp(transport):
            transport.setTcpKeepAlive(True)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802  called by Twisted
        """Put the lines that end here."""
        if not self._ending:
            self._received.extend(self._splitter.feed(data))
            self._go_on()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802  called by Twisted
        """Put the last line, unless the connection broke in the middle of it."""
        self._lost = True
        if self._cut_off is not None and self._cut_off.active():
            self._cut_off.cancel()
        if not self._ending:
            if reason.check(ConnectionDone) is not None:
                self._received.extend(self._splitter.finish())
            elif self._splitter.rest:
                # Nobody knows what else was to come: the first half of a number is another number.
                _LOG.warn(
                    "a connection of {owner} broke, and the line that had begun is left out: {reason}",
                    owner=self._server.owner,
                    reason=reason.value,
                )
            else:
                _LOG.info("a connection of {owner} broke: {reason}", owner=self._server.owner, reason=reason.value)
        self._go_on()

    def let_end(self) -> None:
        """See :class:`Connection`."""
        if self._splitter.rest and not self._ending and not self._lost:
            _LOG.warn("{owner} stops while a line has begun to come in: it is left out", owner=self._server.owner)
        self._ending = True
        self._go_on()

    def give_up(self) -> None:
        """See :class:`Connection`."""
        self._ending = True
        if self._received:
            _LOG.error(
                "{owner} gave up with {count} lines of a connection not put: dropped",
                owner=self._server.owner,
                count=len(self._received),
            )
        self._received.clear()
        if self._putting is not None:
            self._putting.cancel()
        self._abort()

    def _go_on(self) -> None:
        if not self._busy:
            self._busy = True
            _ = Deferred.fromCoroutine(self._work()).addErrback(self._broken)

    async def _work(self) -> None:
        try:
            while self._received:
                putting = self._put_line(self._sink, self._received.popleft())
                if not putting.called:
                    self._pause()
                    self._putting = putting
                    await putting
                    self._putting = None
        finally:
            self._busy = False
        self._after_work()

    def _broken(self, failure: Failure) -> None:
        _LOG.failure("{owner} closes a connection", failure, owner=self._server.owner)
        self.give_up()

    def _after_work(self) -> None:
        transport: Any = self.transport
        if self._lost:
            self._server.gone(self)
        elif self._ending:
            if self._cut_off is None:
                self._cut_off = self._reactor.callLater(CLOSE_SECONDS, self._abort)
                transport.loseConnection()
        elif self._paused:
            self._paused = False
            transport.resumeProducing()

    def _pause(self) -> None:
        transport: Any = self.transport
        if not self._lost and not self._paused:
            self._paused = True
            transport.pauseProducing()

    def _abort(self) -> None:
        transport: Any = self.transport
        if self._cut_off is not None and self._cut_off.active():
            self._cut_off.cancel()
        if not self._lost:
            transport.abortConnection()
