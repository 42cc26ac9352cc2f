"""
Who is told, in what order, and what came of it?

Registrations, their order, the plan made of them, the firing that runs it, and the outcome.
"""

from ._dispatcher import EventDispatcher
from ._explain import Explanation, Verdict
from ._outcome import HandlerResult, Outcome
from ._policy import ABORT, COLLECT, LOG, RAISE, FailurePolicy
from ._registration import HandlerView
from ._step import HandlerID

__all__ = [
    "ABORT",
    "COLLECT",
    "LOG",
    "RAISE",
    "EventDispatcher",
    "Explanation",
    "FailurePolicy",
    "HandlerID",
    "HandlerResult",
    "HandlerView",
    "Outcome",
    "Verdict",
]
