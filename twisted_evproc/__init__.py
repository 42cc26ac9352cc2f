"""
The event layer for Twisted applications.

What a first program needs is here; the rest is in the packages named after what they do.
"""

from .dispatch import (
    ABORT,
    COLLECT,
    LOG,
    RAISE,
    EventDispatcher,
    Explanation,
    FailurePolicy,
    HandlerID,
    HandlerResult,
    HandlerView,
    Outcome,
    Verdict,
)
from .errors import StopProcessing
from .interfaces import IBackgroundUtility, IDispatchObserver, IEventDispatcher
from .matching import ANY, between, glob, none_of, one_of, present, regex, satisfies

__all__ = [
    "ABORT",
    "ANY",
    "COLLECT",
    "LOG",
    "RAISE",
    "EventDispatcher",
    "Explanation",
    "FailurePolicy",
    "HandlerID",
    "HandlerResult",
    "HandlerView",
    "IBackgroundUtility",
    "IDispatchObserver",
    "IEventDispatcher",
    "Outcome",
    "StopProcessing",
    "Verdict",
    "between",
    "glob",
    "none_of",
    "one_of",
    "present",
    "regex",
    "satisfies",
]
