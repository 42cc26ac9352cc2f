"""
Who is told, in what order, and what came of it?

Registrations, their order, the plan made of them, the firing that runs it, and the outcome.
"""

from ._callee import Callee, HandlerID, handler_name, qualified_name_of
from ._dispatcher import EventDispatcher
from ._explain import Explanation, Verdict, verdict_on
from ._options import check_keywords, check_phases, handler_names, several
from ._order import ordered, requirements
from ._outcome import Failed, HandlerResult, Outcome, Skipped, Stopped, outcome_of, result_of
from ._plan import Plan, keep
from ._policy import ABORT, COLLECT, LOG, RAISE, Action, FailurePolicy, check_policy
from ._report import Report
from ._runner import MAX_DEPTH, Runner
from ._settle import arrived, forwarded, peek, settle, watch
from ._view import HandlerView, view_of

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
    "MAX_DEPTH",
    "Action",
    "Failed",
    "Plan",
    "Report",
    "Runner",
    "Skipped",
    "Callee",
    "Stopped",
    "arrived",
    "check_keywords",
    "check_phases",
    "check_policy",
    "forwarded",
    "handler_name",
    "handler_names",
    "keep",
    "ordered",
    "outcome_of",
    "peek",
    "qualified_name_of",
    "requirements",
    "result_of",
    "settle",
    "several",
    "verdict_on",
    "view_of",
    "watch",
]
