"""Dead letters: events that the handlers of a group could not handle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import attrs
from twisted.internet.defer import Deferred

from .._options import whole_number
from ..errors import ConfigurationError, TransportError
from ._envelope import DIED_HEADER, FAILURES_HEADER, REASON_HEADER, Envelope, read_envelope, time_text
from ._publisher import Message, Publisher
from ._topology import Topology

if TYPE_CHECKING:
    from ._connection import BrokerConnection


@attrs.frozen
class DeadLetter:
    """
    An event that its group could not handle.

    :ivar envelope: the event; ``failures`` says how often handlers failed for it.
    :ivar reason: why it was given up, in words.
    :ivar died: when (RFC 3339), or ``""``.
    """

    envelope: Envelope
    reason: str
    died: str


def read_dead_letter(
    headers: Mapping[str, Any] | None, body: bytes, content_type: str | None, message_id: str | None
) -> DeadLetter:
    """What lies in the queue of dead letters, put there by us or by the broker."""
    given = headers or {}
    envelope = read_envelope(given, body, content_type, message_id, False)
    reason, died = given.get(REASON_HEADER), given.get(DIED_HEADER)
    deaths = given.get("x-death")
    by_broker = deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], Mapping) else {}
    # What we write when we give an event up; the reason of an earlier failure may be there without it.
    if not isinstance(died, str):
        time = by_broker.get("time")
        # The driver gives a time without a zone; it is UTC.
        died = time_text(time.replace(tzinfo=UTC).timestamp()) if isinstance(time, datetime) else ""
        if by_broker.get("reason") == "delivery_limit":
            reason = "each member that it was given to went away (crash_limit)"
        else:
            reason = f"the broker gave it up: {by_broker.get('reason', 'it does not say why')}"
    return DeadLetter(envelope, reason if isinstance(reason, str) else "", died)


#: Named here, since a class with a method ``list`` knows no other.
Letters: TypeAlias = list[DeadLetter]
Tags: TypeAlias = list[int]


class QueueMissing(TransportError):
    """There is no such queue; says what is missing, in words."""


class Drawer(Protocol):
    """A queue of dead letters, while somebody looks at it: what was taken out and not answered is back once it is closed."""

    async def count(self) -> int:
        """
        How many letters lie there.

        :raises QueueMissing: when there is no such queue.
        """

    async def take(self) -> tuple[int, DeadLetter] | None:
        """Take the next one out; gives it with the tag to answer by, or ``None``."""

    def acknowledge(self, tag: int) -> None:
        """It is to be gone."""

    def give_back(self, tag: int) -> None:
        """It is to lie there again."""

    def close(self) -> None:
        """Look no more."""


class DeadLetters:
    """
    The dead letters of one group.

    While they are looked at, others do not see them.
    """

    def __init__(
        self,
        topology: Topology,
        group: str,
        publisher: Publisher,
        connection: Callable[[], Any],
    ) -> None:
        """
        :param connection: gives the connection to the broker, or ``None`` while there is none.
        """
        self.group = group
        self._topology = topology
        self._publisher = publisher
        self._connection = connection
        self._dead = topology.dead_name(group)

    def count(self) -> Deferred[int]:
        """How many there are."""
        return Deferred.fromCoroutine(self._count())

    def list(self, limit: int | None = None) -> Deferred[Letters]:
        """
        The dead letters, oldest first.  They stay where they are.

        :param limit: how many at most; ``None`` for all.
        """
        return Deferred.fromCoroutine(self._each(whole_number(limit, "limit", 1), None, None))

    def replay(self, ids: Iterable[str] | None = None) -> Deferred[Letters]:
        """
        Give dead letters to the group again, oldest first, as if nothing had failed yet.

        :param ids: of the events; ``None`` for all.
        :return: fires with those that were replayed.
        """
        return Deferred.fromCoroutine(self._each(None, _ids(ids), self._put_back))

    def purge(self, ids: Iterable[str] | None = None) -> Deferred[Letters]:
        """
        Delete dead letters.

        :param ids: of the events; ``None`` for all.
        :return: fires with those that were deleted.
        """
        return Deferred.fromCoroutine(self._each(None, _ids(ids), None, delete=True))

    async def _count(self) -> int:
        drawer = await self._opened()
        try:
            taken, left = await self._begun(drawer)
            if taken is not None:
                drawer.give_back(taken[0])
            return left
        except QueueMissing as error:
            raise self._missing(error) from error
        finally:
            drawer.close()

    async def _each(
        self,
        limit: int | None,
        ids: frozenset[str] | None,
        act: Callable[[Envelope], Deferred[str]] | None,
        *,
        delete: bool = False,
    ) -> Letters:
        drawer = await self._opened()
        found: list[tuple[int, DeadLetter]] = []
        kept: Tags = []
        try:
            # Those that come in while we look are for the next time.
            taken, left = await self._begun(drawer)
            while taken is not None:
                tag, letter = taken
                if ids is None or letter.envelope.id in ids:
                    found.append(taken)
                else:
                    kept.append(tag)
                left -= 1
                taken = await drawer.take() if left else None
            # What was given back before may lie anywhere: the oldest one is known when all were seen.
            found.sort(key=_died)
            for tag, letter in found:
                if act is not None:
                    await act(letter.envelope)
                if act is not None or delete:
                    drawer.acknowledge(tag)
                else:
                    kept.append(tag)
            for tag in kept:
                drawer.give_back(tag)
            # Answered only after what was said before it.
            _ = await drawer.count()
        except QueueMissing as error:
            raise self._missing(error) from error
        finally:
            drawer.close()
        return [letter for _, letter in found[:limit]]

    async def _begun(self, drawer: Drawer) -> tuple[tuple[int, DeadLetter] | None, int]:
        """The first letter, and how many there are with it."""
        # The broker counts what it has done, and not what it is about to do; taking one out waits for that.  But a queue that is
        # not there has to be told first.
        _ = await drawer.count()
        taken = await drawer.take()
        return taken, 0 if taken is None else 1 + await drawer.count()

    def _put_back(self, envelope: Envelope) -> Deferred[str]:
        headers = {name: value for name, value in envelope.headers().items() if name != FAILURES_HEADER}
        return self._publisher.submit(
            Message(
                "",
                self._topology.queue_name(self.group),
                headers,
                envelope.body,
                envelope.content_type,
                envelope.id,
                limited=False,
            )
        )

    async def _opened(self) -> Drawer:
        connection = self._connection()
        if connection is None:
            raise TransportError("there is no connection to the broker at present; try again when the transport is up")
        return await self._drawer(connection)

    async def _drawer(self, connection: BrokerConnection) -> Drawer:
        # The driver is not needed for transports of another kind.
        from ._drawer import BrokerDrawer

        return BrokerDrawer(connection, await connection.channel(), self._topology.exchange, self._dead)

    def _missing(self, error: QueueMissing) -> TransportError:
        return TransportError(
            f"there is no group {self.group!r} on the exchange {self._topology.exchange!r}: {error}.  Correct the names; a group "
            f"is there once somebody has subscribed it."
        )


def _died(taken: tuple[int, DeadLetter]) -> str:
    return taken[1].died


def _ids(ids: Iterable[str] | None) -> frozenset[str] | None:
    if ids is None:
        return None
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise ConfigurationError(f"ids={ids!r} has to be a list of events' IDs, or None for all")
    return frozenset(ids)
