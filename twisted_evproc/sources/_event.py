"""The event on its way through a queue."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs
from twisted.python.reflect import safe_repr, safe_str

if TYPE_CHECKING:
    from ..interfaces import IEventHandler

#: More of the data than this is not shown.
MAX_SHOWN = 200


@attrs.frozen(eq=False, str=False)
class QueuedEvent:
    """
    Something that happened, and who is to hear of it.

    :ivar originator: the object it comes from, as a rule the generator.
    :ivar handler: its :class:`~twisted_evproc.interfaces.IEventHandler`; ``None`` for the handler of the pump.
    :ivar data: any value.
    :ivar timestamp: when it was made, in seconds since the epoch.
    """

    originator: Any
    handler: IEventHandler | None
    data: Any
    timestamp: float = attrs.field(factory=time.time, kw_only=True)

    def __str__(self) -> str:
        try:
            when = datetime.fromtimestamp(self.timestamp, UTC).isoformat(timespec="milliseconds")
        except (ValueError, OverflowError, OSError, TypeError):
            when = safe_repr(self.timestamp)  # messages about an event are not to fail for its sake
        shown = safe_repr(self.data)
        if len(shown) > MAX_SHOWN:
            shown = f"{shown[:MAX_SHOWN]}..."
        return f"event of {safe_str(self.originator)} at {when}: {shown}"
