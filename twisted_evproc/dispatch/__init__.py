"""
Who is told, in what order, and what came of it?

Registrations, their order, the plan made of them, the firing that runs it, and the outcome.
"""

from ._dispatcher import EventDispatcher
from ._explain import Explanation, Verdict
from ._order import ordered
from ._outcome import HandlerResult, Outcome
from ._plan import Plan
from ._policy import ABORT, COLLECT, LOG, RAISE, Action, FailurePolicy, check_policy
from ._registration import HandlerView
from ._runner import Runner
from ._settle import peek, settle, watch
from ._step import HandlerID, Step, handler_name, qualified_name_of

__all__ = [
    # for users
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
    # for the packages that run handlers in their own way
    "Action",
    "Plan",
    "Runner",
    "Step",
    "check_policy",
    "handler_name",
    "ordered",
    "peek",
    "qualified_name_of",
    "settle",
    "watch",
]
