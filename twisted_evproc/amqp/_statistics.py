"""What a transport has done so far."""

from __future__ import annotations

import attrs


@attrs.frozen
class TransportStatistics:
    """
    What a transport has done since it was made, and what waits now.

    :ivar published: events given to ``publish``.
    :ivar confirmed: of these, those that are safe with the broker.
    :ivar unroutable: those that nobody was bound to.
    :ivar refused: those that the broker did not take or did not confirm in time, and those for which there was no room.
    :ivar waiting: events that have not been sent yet.
    :ivar waiting_size: their bytes.
    :ivar in_flight: events that were sent and not confirmed yet.
    :ivar received: deliveries that came in.
    :ivar handled: of these, those that were handled without a failure.
    :ivar duplicates: those that were dropped because the event had been handled before.
    :ivar retried: those that failed and are to be delivered again.
    :ivar dead: those that became dead letters.
    :ivar under_way: deliveries whose handlers are at work.
    :ivar connects: how often a connection to the broker came about.
    """

    published: int = 0
    confirmed: int = 0
    unroutable: int = 0
    refused: int = 0
    waiting: int = 0
    waiting_size: int = 0
    in_flight: int = 0
    received: int = 0
    handled: int = 0
    duplicates: int = 0
    retried: int = 0
    dead: int = 0
    under_way: int = 0
    connects: int = 0


class Counts:
    """The counters of a transport, which its parts count up."""

    def __init__(self) -> None:
        self.published = self.confirmed = self.unroutable = self.refused = 0
        self.received = self.handled = self.duplicates = self.retried = self.dead = self.under_way = self.connects = 0
