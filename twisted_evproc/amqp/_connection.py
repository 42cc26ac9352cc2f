"""
A connection to the broker: pika's AMQP on a Twisted transport.

pika has an adapter for Twisted of its own.  This one is here because that one installs the global reactor when it is imported,
leaves a dead connection open as long as something is unsent, and tells what the broker returns by the order alone.  Both stand
on ``pika.connection.Connection``, which is made to be derived from.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import pika
from pika.channel import Channel
from pika.connection import Connection
from pika.exceptions import (
    AMQPError,
    AMQPHeartbeatTimeout,
    ConnectionClosedByBroker,
    ConnectionClosedByClient,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import AlreadyCalled, AlreadyCancelled, ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from .._version import __version__
from ..errors import TransportError
from . import _stranger
from ._frames import read_frame

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport

    from ._url import Address

# What goes wrong is told by our state and errors; pika's own account of it is there for who asks for it.
logging.getLogger("pika").addHandler(logging.NullHandler())

#: Seconds that the other side has for taking what is unsent, once a connection is to be closed.
CLOSE_SECONDS = 1.0
#: The broker sends something every half heartbeat.  A third look without anything new is no accident: the first one may come too
#: early by chance, and the second one when this process was busy and has not read for a while.
MAX_SILENT_LOOKS = 3


class _Adapter(Connection):  # type: ignore[misc]  # pika has no annotations for mypy
    """The part of a connection that pika leaves to the network library."""

    def __init__(self, parameters: pika.ConnectionParameters, clock: IReactorTime, **callbacks: Any) -> None:
        self._clock = clock
        self._stream: ITCPTransport | None = None
        self._abort_call: IDelayedCall | None = None
        super().__init__(parameters, internal_connection_workflow=False, **callbacks)

    def give_up(self, error: Exception) -> None:
        """The other side does not answer any more."""
        if self._stream is not None:
            self._terminate_stream(error)

    def connected(self, stream: ITCPTransport) -> None:
        """The stream is there."""
        self._stream = stream
        self._on_stream_connected()

    def received(self, data: bytes) -> None:
        """Bytes have come."""
        self._on_data_available(data)

    def lost(self, error: BaseException) -> None:
        """The stream is gone."""
        self._stream = None
        abort_call, self._abort_call = self._abort_call, None
        if abort_call is not None and abort_call.active():
            abort_call.cancel()
        # When we have closed it, that has a better reason than the way in which it ended.
        if self._error is not None and (abort_call is not None or isinstance(error, ConnectionDone | ConnectionAborted)):
            self._on_stream_terminated(None)
        else:
            self._on_stream_terminated(error if isinstance(error, Exception) else ConnectionLost(str(error)))

    # -- called by pika

    def _read_frame(self) -> tuple[int, Any]:
        return read_frame(self._frame_buffer)

    def _adapter_connect_stream(self) -> None:
        raise NotImplementedError("the stream is connected by an endpoint")

    def _adapter_disconnect_stream(self) -> None:
        stream = self._stream
        if stream is not None and self._abort_call is None:
            stream.loseConnection()
            # Closing waits until everything is sent, which a dead peer never takes.
            self._abort_call = self._clock.callLater(CLOSE_SECONDS, self._abort)

    def _abort(self) -> None:
        if self._stream is not None:
            self._stream.abortConnection()

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._stream is not None:
            self._stream.write(data)

    def _adapter_call_later(self, delay: float, callback: Callable[[], object]) -> IDelayedCall:
        return self._clock.callLater(delay, callback)

    def _adapter_remove_timeout(self, timeout_id: object) -> None:
        try:
            cast("IDelayedCall", timeout_id).cancel()
        except (AlreadyCalled, AlreadyCancelled):
            pass

    def _adapter_add_callback_threadsafe(self, callback: Callable[[], object]) -> None:
        raise NotImplementedError("a transport belongs to the reactor's thread")


def _stop_call(error: BaseException, call: IDelayedCall) -> BaseException:
    if call.active():
        call.cancel()
    return error


class BrokerConnection(Protocol):
    """
    An open connection, or one that is about to be opened.

    :ivar opened: fires with the connection once it can be used; fails when it cannot.
    :ivar closed: fires with the exception that says why it is gone.
    """

    def __init__(
        self,
        address: Address,
        clock: IReactorTime,
        *,
        heartbeat: int,
        purpose: str,
        on_blocked: Callable[[str | None], object] | None = None,
    ) -> None:
        """
        :param heartbeat: seconds; the other side counts as gone after one and a half to two times that without a byte from it.
        :param purpose: what the broker's lists show.
        :param on_blocked: hears why the broker takes nothing for now, and ``None`` when it does again.
        """
        self.opened: Deferred[BrokerConnection] = Deferred(lambda _: self.abort())
        self.closed: Deferred[BaseException] = Deferred()
        self._why = ""
        self._address = address
        self._clock = clock
        self._is_open = False
        self._interval = heartbeat / 2
        self._heard = True
        self._silent_looks = 0
        self._look_call: IDelayedCall | None = None
        self._adapter = _Adapter(
            pika.ConnectionParameters(
                host=address.host,
                port=address.port,
                virtual_host=address.virtual_host,
                credentials=pika.PlainCredentials(address.user, address.password),
                heartbeat=heartbeat,
                client_properties={"product": "twisted_evproc", "version": __version__, "connection_name": purpose},
            ),
            clock,
            on_open_callback=self._when_open,
            on_open_error_callback=self._when_failed,
            on_close_callback=self._when_closed,
        )
        if on_blocked is not None:
            tell = on_blocked
            self._adapter.add_on_connection_blocked_callback(lambda _, frame: tell(frame.method.reason))
            self._adapter.add_on_connection_unblocked_callback(lambda _, __: tell(None))

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._is_open and self._adapter.is_open

    def channel(self) -> Deferred[Channel]:
        """
        Open a channel.

        :return: fires with it; fails when the connection is gone before.
        """
        if not self.is_open:
            return fail(TransportError("the connection is closed"))
        waiting: list[Deferred[Channel]] = []

        def give_up(_: Deferred[Channel]) -> None:
            waiting.clear()
            if channel.is_open or channel.is_opening:
                channel.close()

        def fire(channel: Channel) -> None:
            if waiting:
                waiting.pop().callback(channel)

        def lose(_: Channel, error: BaseException) -> None:
            if waiting:
                waiting.pop().errback(TransportError(self.in_words(error)))

        opened: Deferred[Channel] = Deferred(give_up)
        waiting.append(opened)
        channel = self._adapter.channel(on_open_callback=fire)
        channel.add_on_close_callback(lose)
        return opened

    def close(self, why: str = "") -> None:
        """
        Close in order, or by force where the other side does not answer; ``closed`` fires once it is.

        :param why: in words, for who asks later.
        """
        self._why = self._why or why
        if self._adapter.is_open:
            self._adapter.close()
            if not self.closed.called:
                abort_call = self._clock.callLater(CLOSE_SECONDS, self.abort)
                _ = self.closed.addCallback(_stop_call, abort_call)
        elif not self._adapter.is_closed:
            self.abort()

    def abort(self) -> None:
        """Close at once."""
        if self.transport is not None:
            cast("ITCPTransport", self.transport).abortConnection()

    # -- called by Twisted

    def connectionMade(self) -> None:  # noqa: N802  a name of Twisted's
        """The stream is there."""
        stream = cast("ITCPTransport", self.transport)
        # Confirmations and acknowledgements are small, and somebody waits for each.
        if callable(getattr(stream, "setTcpNoDelay", None)):
            stream.setTcpNoDelay(True)
        self._adapter.connected(stream)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802  a name of Twisted's
        """Bytes have come."""
        self._heard = True
        self._adapter.received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802  a name of Twisted's
        """The stream is gone."""
        self._adapter.lost(cast("BaseException", reason.value))

    # -- called by pika

    def _when_open(self, _: Connection) -> None:
        self._is_open = True
        self._look_call = self._clock.callLater(self._interval, self._look)
        if not self.opened.called:
            self.opened.callback(self)

    def _when_failed(self, _: Connection, error: BaseException) -> None:
        self._over(error)

    def _when_closed(self, _: Connection, error: BaseException) -> None:
        self._over(error)

    def _look(self) -> None:
        # pika looks too, and gives the other side five seconds more.
        self._silent_looks = 0 if self._heard else self._silent_looks + 1
        self._heard = False
        if self._silent_looks < MAX_SILENT_LOOKS:
            self._look_call = self._clock.callLater(self._interval, self._look)
        else:
            self._look_call = None
            self._adapter.give_up(
                AMQPHeartbeatTimeout(f"nothing was heard from it for {self._interval * self._silent_looks:g} s")
            )

    def _over(self, error: BaseException) -> None:
        self._is_open = False
        look_call, self._look_call = self._look_call, None
        if look_call is not None:
            look_call.cancel()
        if not self.opened.called:
            self.opened.errback(TransportError(self.in_words(error)))
        if not self.closed.called:
            self.closed.callback(error)

    def in_words(self, error: BaseException) -> str:
        """Why a connection was refused or lost, and what to do about it."""
        address = self._address
        if isinstance(error, ProbableAuthenticationError):
            return (
                f"the broker at {address.host}:{address.port} refuses the user {address.user!r}: unknown, a wrong password, or "
                f"not allowed from here.  Correct the URL, or the user on the broker."
            )
        if isinstance(error, ProbableAccessDeniedError) or (
            isinstance(error, ConnectionClosedByBroker) and error.reply_code == 530
        ):
            return (
                f"the broker at {address.host}:{address.port} has no virtual host {address.virtual_host!r} that the user "
                f"{address.user!r} may use.  Correct the URL, or make it on the broker."
            )
        if isinstance(error, ConnectionClosedByClient):
            return self._why or "closed"
        if isinstance(error, ConnectionClosedByBroker):
            return f"the broker closed the connection: {error.reply_text} ({error.reply_code})"
        if self._adapter.server_properties is None:
            return _stranger.in_words(error, address)
        if isinstance(error, AMQPHeartbeatTimeout):
            return f"the connection to {address.host}:{address.port} is dead: {error.args[0]}"
        if isinstance(error, AMQPError):
            return f"the connection to {address.host}:{address.port} was lost: {error!r}"
        return f"the connection to {address.host}:{address.port} was lost: {error}"


class OneConnection(Factory):
    """Makes one connection, without a word in the log at each attempt."""

    noisy = False

    def __init__(self, connection: BrokerConnection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: object) -> BrokerConnection:  # noqa: N802  a name of Twisted's
        """See :class:`~twisted.internet.protocol.Factory`."""
        return self._connection
