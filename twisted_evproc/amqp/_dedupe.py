"""Remembering what was handled: by which key, and in memory."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from zope.interface import implementer

from .._options import needed_number
from ..interfaces import IDeduplicator

#: A table takes no longer keys.
MAX_KEY = 512


def key_of(source: str, event_id: str) -> str:
    """What tells an event from all others: its source and its ID, neither of which does alone; or a hash of them."""
    # The first space parts them.
    key = f"{source.replace('%', '%25').replace(' ', '%20')} {event_id}"
    if len(key) <= MAX_KEY and key.isprintable():
        return key
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


@implementer(IDeduplicator)
class RecentEvents:
    """Remembers the events that were handled last, as long as the process lives."""

    def __init__(self, size: int) -> None:
        """
        :param size: how many, of all groups together.
        :raises twisted_evproc.errors.ConfigurationError: for no positive number.
        """
        self._size = needed_number(size, "the number of events to remember", 1)
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()

    def open(self) -> None:
        """See :meth:`IDeduplicator.open`."""

    def seen(self, scope: str, event_id: str) -> bool:
        """See :meth:`IDeduplicator.seen`."""
        key = (scope, event_id)
        if key not in self._seen:
            return False
        self._seen.move_to_end(key)
        return True

    def remember(self, scope: str, event_id: str) -> None:
        """See :meth:`IDeduplicator.remember`."""
        self._seen[scope, event_id] = None
        self._seen.move_to_end((scope, event_id))
        if len(self._seen) > self._size:
            _ = self._seen.popitem(last=False)

    def close(self) -> None:
        """See :meth:`IDeduplicator.close`."""
