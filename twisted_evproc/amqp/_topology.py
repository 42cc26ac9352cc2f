"""
Which exchanges, queues and bindings carry events: names and arguments, without a broker.

An event enters at a topic exchange, its routing key made of the value of one keyword (``route_by``).  From there it goes to
queues that want nothing more, and to headers exchanges that look at the other keywords: one for each value of the routing keyword
that some match-spec names, and one for match-specs that leave it open.  So the broker scans only the bindings of one value, where
a single headers exchange would scan those of all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import quote

import attrs

from ..errors import ConfigurationError
from ._wire import Alternative, WireSpec, WireValue

#: The broker's names have 255 bytes, and ours add to what the user gives.
MAX_NAME_BYTES = 100
#: A word of a routing key that is longer than this is replaced by its hash; it becomes part of the name of an exchange.
_MAX_WORD = 140
#: The routing key of an event that has no value of the routing keyword.
NO_VALUE = "-"
EVERYTHING = "#"

#: What stays as it is in a part of a name, besides letters, digits and ``_-~``; the dot is dealt with by itself.
_PLAIN = " !\"#$&'()*+,/:;<=>?@[\\]^`{|}"

#: Dead letters wait for a person: the broker's limit on redeliveries must not end them while somebody looks at them.
_UNLIMITED = 1_000_000_000


def check_name(name: Any, what: str) -> str:
    """
    A name of an exchange or group.

    :raises twisted_evproc.errors.ConfigurationError: for any other; the broker keeps ``amq.`` for itself.
    """
    if not isinstance(name, str) or not name or not name.isprintable() or len(_escaped(name)) > MAX_NAME_BYTES:
        raise ConfigurationError(
            f"{what}={name!r} has to be a name of 1 to {MAX_NAME_BYTES} bytes of printable text (dots, '%' and what is not ASCII "
            f"count more than once); choose another one"
        )
    if name.startswith("amq."):
        raise ConfigurationError(f"{what}={name!r}: names that begin with 'amq.' belong to the broker; choose another one")
    return name


def _escaped(name: str) -> str:
    """A name as a part of a longer one, without dots: the queue of a group ``a.dead`` must not be the dead letters of ``a``."""
    return quote(name, safe=_PLAIN).replace(".", "%2E")


# Typed, since 1 == True.
@lru_cache(maxsize=1024, typed=True)
def word_of(value: WireValue) -> str:
    """The word of a routing key that stands for a value and its type: ``s.open``, ``i.5``, ``b.true``."""
    if value is True or value is False:
        return f"b.{str(value).lower()}"
    if isinstance(value, int):
        return f"i.{value}"
    # Dots part words, and * and # stand for others: neither may come from a value.
    word = quote(value, safe="").replace(".", "%2E")
    return f"s.{word}" if len(word) <= _MAX_WORD else f"h.{hashlib.sha256(value.encode()).hexdigest()}"


@attrs.frozen
class Exchange:
    """An exchange to declare."""

    name: str
    type: str
    arguments: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class Queue:
    """A durable queue to declare."""

    name: str
    arguments: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class Binding:
    """
    What makes events go from an exchange to an exchange or a queue.

    :ivar kind: what ``destination`` is.
    :ivar arguments: of a headers exchange: what to match.
    """

    source: str
    destination: str
    kind: Literal["exchange", "queue"]
    routing_key: str = ""
    arguments: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for equal bindings, ``1`` and ``True`` told apart."""
        arguments = tuple(sorted((name, type(value).__name__, str(value)) for name, value in self.arguments.items()))
        return (self.source, self.destination, self.kind, self.routing_key, arguments)


@attrs.frozen
class Route:
    """
    One way from the entry to a queue.

    :ivar exchange: the headers exchange on it, or ``None``.
    :ivar bindings: in the order in which they are to be made: the queue's before the one that lets events in.
    """

    exchange: Exchange | None
    bindings: tuple[Binding, ...]


class Topology:
    """
    The names on one exchange.

    :ivar exchange: the entry.
    :ivar route_by: the keyword that makes the routing key, or ``None``.
    """

    def __init__(self, exchange: str, route_by: str | None) -> None:
        """
        :raises twisted_evproc.errors.ConfigurationError: for a name or a keyword that the broker cannot have.
        """
        self.exchange = check_name(exchange, "exchange")
        if route_by is not None and (not route_by.isidentifier() or len(route_by.encode()) > MAX_NAME_BYTES):
            raise ConfigurationError(
                f"route_by={route_by!r} has to be a keyword (a Python identifier) of {MAX_NAME_BYTES} bytes at most, or None"
            )
        self.route_by = route_by
        self._prefix = _escaped(exchange)

    # -- publishing

    def routing_key(self, details: Mapping[str, WireValue]) -> str:
        """The routing key of an event."""
        value = None if self.route_by is None else details.get(self.route_by)
        return NO_VALUE if value is None else word_of(value)

    @property
    def marker(self) -> Exchange:
        """
        Says by its name which keyword routes.

        It is the entry's alternate exchange, the one argument that the broker compares, so that a program that routes by another
        keyword is told instead of missing events.  Nothing is bound to it: what it gets is as unroutable as before.
        """
        return Exchange(f"{self._prefix}.routed-by.{self.route_by or ''}", "fanout")

    @property
    def entry(self) -> Exchange:
        """The exchange that is published to."""
        return Exchange(self.exchange, "topic", {"alternate-exchange": self.marker.name})

    # -- groups

    def queue(self, group: str, crash_limit: int) -> Queue:
        """
        The queue of a group.

        :param crash_limit: how often the broker gives an event again whose member went away.
        """
        return Queue(
            self.queue_name(group),
            {
                "x-queue-type": "quorum",
                "x-delivery-limit": crash_limit,
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": self.dead_name(group),
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
            },
        )

    def dead_queue(self, group: str) -> Queue:
        """The queue of a group's dead letters."""
        return Queue(self.dead_name(group), {"x-queue-type": "quorum", "x-delivery-limit": _UNLIMITED})

    def note_queue(self, group: str) -> Queue:
        """The queue whose one message, the note, says what a group's queue is bound with, since the broker does not tell."""
        return Queue(
            f"{self.queue_name(group)}.bindings",
            {"x-queue-type": "quorum", "x-max-length": 1, "x-delivery-limit": _UNLIMITED},
        )

    def lock_name(self, group: str) -> str:
        """The queue that whoever changes a group's bindings has to itself."""
        return f"{self.queue_name(group)}.lock"

    def queue_name(self, group: str) -> str:
        """The name of a group's queue."""
        return f"{self._prefix}.{_escaped(group)}"

    def dead_name(self, group: str) -> str:
        """The name of the queue of a group's dead letters."""
        return f"{self.queue_name(group)}.dead"

    # -- retries

    def rung(self, delay: float) -> tuple[Exchange, Queue, Binding]:
        """
        A rung of the ladder: what is published there with a queue's name for routing key comes to that queue after the delay.

        :param delay: seconds.
        """
        name = f"{self._prefix}.retry.{round(delay * 1000)}ms"
        queue = Queue(
            name,
            {
                "x-queue-type": "quorum",
                "x-message-ttl": round(delay * 1000),
                "x-dead-letter-exchange": self.way_back.name,
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
            },
        )
        return Exchange(name, "fanout"), queue, Binding(name, name, "queue")

    @property
    def way_back(self) -> Exchange:
        """
        Leads from all rungs to the queues of the groups, and what belongs to none of them any more to the orphans.

        A rung keeps what leads nowhere, and a few of those are enough to keep all behind them.
        """
        return Exchange(f"{self._prefix}.retry.back", "direct", {"alternate-exchange": self.orphans[0].name})

    def back_to(self, group: str) -> Binding:
        """Lets events that have waited come back to a group; it goes when the group's queue goes."""
        return Binding(self.way_back.name, self.queue_name(group), "queue", self.queue_name(group))

    @property
    def orphans(self) -> tuple[Exchange, Queue, Binding]:
        """Where events end whose group was deleted while they waited: a queue that forgets at once."""
        name = f"{self._prefix}.retry.orphans"
        return Exchange(name, "fanout"), Queue(name, {"x-queue-type": "quorum", "x-message-ttl": 0}), Binding(name, name, "queue")

    # -- bindings

    def routes(self, queue: str, spec: WireSpec) -> Iterator[Route]:
        """Every way on which a queue is to get events."""
        for alternative in spec.alternatives():
            yield self._route(queue, alternative)

    def _route(self, queue: str, alternative: Alternative) -> Route:
        equal = dict(alternative.equal)
        value = None if self.route_by is None else equal.pop(self.route_by, None)
        key = EVERYTHING if value is None else word_of(value)
        # A value of its own on the second step only where there is more to look at.
        if not equal and not alternative.there:
            return Route(None, (Binding(self.exchange, queue, "queue", key),))
        second = Exchange(f"{self._prefix}.by.{key}", "headers")
        # No value in a binding means: there, with any value.
        wanted = {"x-match": "all", **equal, **dict.fromkeys(alternative.there)}
        return Route(
            second,
            (
                Binding(second.name, queue, "queue", "", wanted),
                Binding(self.exchange, second.name, "exchange", key),
            ),
        )
