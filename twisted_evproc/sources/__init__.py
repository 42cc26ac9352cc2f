"""
How do events come in?

Generators are polled, sources push; a pump queues their events and gives each to its handler.
"""

from ._event import QueuedEvent
from ._generator import EventGenerator
from ._handlers import (
    ChainEventHandler,
    DispatchEventHandler,
    EventHandler,
    ExecEventHandler,
    PrintEventHandler,
    RaiseEventHandler,
    as_handler,
)
from ._lines import LineSource
from ._log import LogObserverSource
from ._pump import EventPump, PumpStatistics
from ._queue import DROP_NEWEST, DROP_OLDEST, FAIL, WAIT, Overflow
from ._tail import FileTailSource
from ._timer import Tick, TimerSource
from ._webhook import WebhookEvent, WebhookSource

__all__ = [
    # the pump and what goes through it
    "DROP_NEWEST",
    "DROP_OLDEST",
    "FAIL",
    "WAIT",
    "EventPump",
    "Overflow",
    "PumpStatistics",
    "QueuedEvent",
    # what events come from
    "EventGenerator",
    "FileTailSource",
    "LineSource",
    "LogObserverSource",
    "Tick",
    "TimerSource",
    "WebhookEvent",
    "WebhookSource",
    # what they are given to
    "ChainEventHandler",
    "DispatchEventHandler",
    "EventHandler",
    "ExecEventHandler",
    "PrintEventHandler",
    "RaiseEventHandler",
    # for the packages that hand events to targets in their own way
    "as_handler",
]
