"""
What does an event mean?

Processing by name: handlers say which events they want and which handlers come first.
"""

from ._event import Event, Namespace, Scratch
from ._processor import Processor
from ._want import required_by, requires, want

__all__ = [
    "Event",
    "Namespace",
    "Processor",
    "Scratch",
    "required_by",
    "requires",
    "want",
]
