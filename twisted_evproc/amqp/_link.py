"""Keeps a connection to the broker: connect, get ready, wait until it is lost, wait a little, connect again."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.reflect import safe_str

from ..errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from twisted.internet.interfaces import IReactorTime

    from ._connection import BrokerConnection

_LOG = Logger(namespace="twisted_evproc.amqp")

FIRST_DELAY = 0.1
GROWTH = 1.6
MAX_DELAY = 2.0


class Link:
    """
    One connection, again and again.

    :ivar connection: the connection, while it is ready.
    :ivar state: ``stopped``, ``connecting``, ``up`` or ``down``.
    :ivar reason: why it is down, in words.
    :ivar connects: how often it was up.
    """

    def __init__(
        self,
        name: str,
        *,
        connect: Callable[[], Deferred[BrokerConnection]],
        ready: Callable[[BrokerConnection], Coroutine[Any, Any, None]],
        lost: Callable[[], object],
        changed: Callable[[], object],
        clock: IReactorTime,
        random: Random,
    ) -> None:
        """
        :param connect: opens a connection.
        :param ready: makes it ready; a failure is one of connecting.
        :param lost: is told that the connection is gone.
        :param changed: is told that ``state`` is another one.
        """
        self._name = name
        self._connect = connect
        self._ready = ready
        self._lost = lost
        self._changed = changed
        self._clock = clock
        self._random = random
        self.connection: BrokerConnection | None = None
        self.state = "stopped"
        self.reason = ""
        self.connects = 0
        self._work: Deferred[None] | None = None
        self._runs = 0
        self._closing: Deferred[BaseException] | None = None

    def start(self) -> None:
        """Begin; what is there already goes on."""
        if self._work is None:
            self._runs += 1
            self._work = Deferred.fromCoroutine(self._run(self._runs))
            _ = self._work.addErrback(self._ended)

    async def stop(self) -> None:
        """End; fires once the connection is closed."""
        work, self._work = self._work, None
        if work is not None:
            self._runs += 1
            connection, self.connection = self.connection, None
            work.cancel()
            if connection is not None:
                self._lost()
                connection.close()
                self._closing = _lost(connection)
            closing, self._closing = self._closing, None
            if closing is not None:
                _ = await closing
        self._tell("stopped", "")

    async def _run(self, run: int) -> None:
        failures = 0
        while run == self._runs:
            self._tell("connecting", self.reason)
            try:
                connection = await self._connect()
                try:
                    await self._ready(connection)
                except BaseException:
                    connection.close()
                    self._closing = _lost(connection)
                    raise
            except CancelledError:
                raise
            except Exception as error:  # noqa: BLE001  whatever keeps it from being connected: it is told, and tried again
                if run != self._runs:
                    return  # what is cancelled while it connects fails in its own way
                reason = safe_str(error)
            else:
                self.connects += 1
                since = self._clock.seconds()
                self.connection = connection
                self._tell("up", "")
                ending = await _lost(connection)
                if run != self._runs:
                    return  # whoever was told that it is up has stopped it at once, and what runs is not cancelled
                self.connection = None
                self._lost()
                reason = connection.in_words(ending)
                # One that is cut off again and again at once is not to be tried at once for ever.
                if self._clock.seconds() - since >= MAX_DELAY:
                    failures = 0
            delay = self._delay(failures)
            failures += 1
            if self.state != "down" or self.reason != reason:
                _LOG.warn("{name}: {reason}; trying again", name=self._name, reason=reason)
            self._tell("down", reason)
            if run == self._runs:
                await deferLater(self._clock, delay)

    def _delay(self, failures: int) -> float:
        # Spread, so that those who lost the broker together do not come back together.
        return min(FIRST_DELAY * GROWTH ** min(failures, 20), MAX_DELAY) * self._random.uniform(0.5, 1.0)

    def _tell(self, state: str, reason: str) -> None:
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason = state, reason
            self._changed()

    def _ended(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            _LOG.failure("{name}: the connection is not kept any more", failure, name=self._name)
            self._tell("down", f"a defect: {safe_str(failure.value)}")


def _lost(connection: BrokerConnection) -> Deferred[BaseException]:
    # Cancelling the wait is not to cancel what others wait for too.
    lost: Deferred[BaseException] = Deferred()
    if connection.closed.called:
        lost.callback(TransportError("it was closed at once"))
        return lost

    def tell(error: BaseException) -> BaseException:
        if not lost.called:
            lost.callback(error)
        return error

    _ = connection.closed.addCallback(tell)
    return lost
