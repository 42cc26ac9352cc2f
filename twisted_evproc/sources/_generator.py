"""What polled sources are made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zope.interface import implementer

from ..interfaces import Eventual, IEventGenerator
from ._event import QueuedEvent


@implementer(IEventGenerator)
class EventGenerator:
    """
    A generator of events, to be subclassed; by itself it has none.

    See :class:`~twisted_evproc.interfaces.IEventGenerator`.
    """

    def get_events(self) -> Eventual[Iterable[QueuedEvent]]:
        """See :meth:`IEventGenerator.get_events`."""
        return []

    def stop(self) -> Eventual[Any]:
        """See :meth:`IEventGenerator.stop`."""
        return None

    def __str__(self) -> str:
        return type(self).__name__
