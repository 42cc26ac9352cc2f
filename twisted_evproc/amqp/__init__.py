"""
How do events get to other processes?

A transport publishes events and gives them to groups of subscribers: over RabbitMQ, or in memory.
"""

from ..errors import MissingExtra

try:
    import msgspec as _msgspec  # noqa: F401  only to see that it is there
except ImportError as error:
    raise MissingExtra("twisted_evproc.amqp", "amqp") from error

from ._base import Transport
from ._class_codec import ClassCodec
from ._codec import Encoded, JSONCodec
from ._dead import DeadLetter, DeadLetters
from ._dedupe import RecentEvents
from ._envelope import Envelope, current_envelope, enter_envelope, traceparent
from ._flow import FlowTrigger, forward_flow
from ._forwarding import Forwarding
from ._memory import MemoryBroker, MemoryTransport
from ._options import SubscriptionOptions
from ._state import StateChange
from ._statistics import TransportStatistics
from ._transport import AMQPTransport, DeadLetterTransport

__all__ = [
    # transports
    "AMQPTransport",
    "DeadLetterTransport",
    "MemoryBroker",
    "MemoryTransport",
    "Transport",
    # what goes over them
    "ClassCodec",
    "Encoded",
    "Envelope",
    "JSONCodec",
    "current_envelope",
    "enter_envelope",
    "traceparent",
    # flows
    "FlowTrigger",
    "forward_flow",
    # subscriptions and what they lead to
    "DeadLetter",
    "DeadLetters",
    "Forwarding",
    "RecentEvents",
    "StateChange",
    "SubscriptionOptions",
    "TransportStatistics",
]
