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
from .errors import EventException, IncompatibleRequirementsException, ProcessorReregisterException, StopProcessing
from .interfaces import IBackgroundUtility, IDispatchObserver, IEventDispatcher
from .matching import ANY, between, glob, none_of, one_of, present, regex, satisfies
from .processing import (
    ALL_MATCHES,
    FIRST_MATCH,
    NO_MATCHES,
    NO_MATCHES_STRICT,
    Depends,
    Event,
    EventProcessor,
    Processor,
    required_by,
    requires,
    want,
)

__all__ = [
    "ABORT",
    "ALL_MATCHES",
    "ANY",
    "COLLECT",
    "FIRST_MATCH",
    "LOG",
    "NO_MATCHES",
    "NO_MATCHES_STRICT",
    "RAISE",
    "EventDispatcher",
    "EventProcessor",
    "Depends",
    "Event",
    "EventException",
    "Explanation",
    "FailurePolicy",
    "HandlerID",
    "HandlerResult",
    "HandlerView",
    "IBackgroundUtility",
    "IDispatchObserver",
    "IEventDispatcher",
    "IncompatibleRequirementsException",
    "Outcome",
    "Processor",
    "ProcessorReregisterException",
    "StopProcessing",
    "Verdict",
    "between",
    "glob",
    "none_of",
    "one_of",
    "present",
    "regex",
    "required_by",
    "requires",
    "satisfies",
    "want",
]
