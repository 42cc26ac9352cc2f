"""
What does an event mean?

Processing by name: handlers say which events they want and which handlers come first.  Processing by content: the right handler
for a mapping is found by filters on it, and called with what its parameters ask for.
"""

from ._choice import ALL_MATCHES, FIRST_MATCH, NO_MATCHES, NO_MATCHES_STRICT, InvocationStrategy
from ._event import Event, Namespace, Scratch
from ._event_processor import EventProcessor, passthrough
from ._injection import Depends
from ._processor import Processor
from ._want import required_by, requires, want

__all__ = [
    # by name
    "Event",
    "Namespace",
    "Processor",
    "Scratch",
    "required_by",
    "requires",
    "want",
    # by content
    "ALL_MATCHES",
    "FIRST_MATCH",
    "NO_MATCHES",
    "NO_MATCHES_STRICT",
    "Depends",
    "EventProcessor",
    "InvocationStrategy",
    "passthrough",
]
