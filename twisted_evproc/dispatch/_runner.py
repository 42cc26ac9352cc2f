"""Running plans: in a plain loop as long as that will do, as a firing behind that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import copy_context
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from .._options import checked_clock
from .._reactor import default_clock
from ..errors import FiringTooDeep
from ._callee import Callee
from ._drain import Drain
from ._firing import Firing
from ._origin import Origin, current
from ._outcome import Outcome, outcome_of
from ._plan import Plan
from ._policy import FailurePolicy
from ._report import Report
from ._settle import PLAIN_TYPES, settle, unsettled

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Synchronous firings of one runner inside each other.  Each level takes up to twelve Python frames of the thousand there are.
MAX_DEPTH = 50


class Runner:
    """
    Runs plans for events.

    What decides which handlers hear an event (a dispatcher, a processor) derives from it, and makes the plans.

    :ivar policy: what follows when a handler fails.
    :ivar report: speaks to the log and to observers.
    :ivar drain: knows the firings under way.
    :ivar depth: how many firings are on the stack.
    """

    def __init__(self, policy: FailurePolicy, clock: IReactorTime | None) -> None:
        """
        :param clock: for time-outs; ``None`` takes the global reactor when the first time-out needs it.
        """
        self.policy = policy
        self._clock: IReactorTime | None = checked_clock(clock, "clock")
        self.depth = 0
        self.report = Report(self)
        self.drain = Drain(self.report, self.call_later)

    def run(self, plan: Plan, event: Any, details: Mapping[str, Any]) -> Deferred[Outcome]:
        """
        Run a plan.

        :return: as of :meth:`~twisted_evproc.interfaces.IEventDispatcher.fire_event`.
        """
        if self.depth >= MAX_DEPTH:
            return self.too_deep(event)
        if plan.fast is not None:
            return self.go_on(plan, event, details)
        firing = Firing(self, plan, event, details)
        self.drain.add(firing)
        return firing.begin()

    def go_on(
        self, plan: Plan, event: Any, details: Mapping[str, Any], first: Callee | None = None, returned: Any = None
    ) -> Deferred[Outcome]:
        """
        Run a plan plainly as long as nothing fails or has to be waited for.

        :param first: the callee that was called already, all before it having returned ``None``; without it,
            the run begins at the beginning.
        :param returned: what it returned.
        """
        callees = plan.callees
        if first is None:
            position = 0
            returned = _NOT_CALLED
        else:
            position = callees.index(first)
        values: list[Any] = [None] * position
        origin: Origin | None = None
        depth = self.depth
        self.depth = depth + 1
        try:
            for callee in callees[position:] if position else callees:
                if returned is _NOT_CALLED:
                    call = callee.call
                    returned = call(event)
                kind = type(returned)
                if kind is CoroutineType:
                    origin = Origin()
                    context = copy_context()
                    _ = context.run(current.set, origin)
                    returned = settle(returned, context)
                    if type(returned) not in PLAIN_TYPES and unsettled(returned):
                        break
                    origin.end()
                    origin = None
                elif kind not in PLAIN_TYPES:
                    returned = settle(returned)
                    if type(returned) not in PLAIN_TYPES and unsettled(returned):
                        break
                values.append(returned)
                returned = _NOT_CALLED
            else:
                # As succeed() does, which asks first whether this is a Deferred, and that is not cheap.
                deferred: Deferred[Outcome] = Deferred()
                deferred.called = True
                deferred.result = outcome_of(self.event_of(event), details, callees, tuple(values))
                return deferred
        except Exception:
            returned = Failure()
        finally:
            self.depth = depth
        firing = Firing(self, plan, event, details)
        self.drain.add(firing)
        return firing.take_over(values, returned, origin)

    def add_observer(self, observer: Any) -> None:
        """
        Let an :class:`~twisted_evproc.interfaces.IDispatchObserver` hear of firings and handlers.

        :raises twisted_evproc.errors.ConfigurationError: when it lacks one of the interface's methods.
        """
        self.report.add_observer(observer)
        self.forget_plans()

    def remove_observer(self, observer: Any) -> None:
        """
        Undo :meth:`add_observer`.

        :raises twisted_evproc.errors.UnknownHandler: when it does not observe.
        """
        self.report.remove_observer(observer)
        self.forget_plans()

    def choose_loop(self, plan: Plan) -> None:
        """Let a plain loop run the plan if nothing asks for more."""
        plan.fast = None
        for callee in plan.callees:
            if callee.may_suspend is not False:
                return
        if not plan.conditional and self.may_run_plainly(plan):
            plan.fast = plan.callees

    def may_run_plainly(self, plan: Plan) -> bool:
        """Whether nothing but the callees themselves could ask for more than a plain loop."""
        return not self.report.observers

    def too_deep(self, event: Any) -> Deferred[Outcome]:
        """What comes of an event fired too deep inside others."""
        error = FiringTooDeep(MAX_DEPTH, repr(self))
        self.report.too_deep(error, event)
        return fail(error)

    def event_of(self, argument: Any) -> Any:
        """The event, as outcomes and observers see it, in what the callees are called with."""
        return argument

    def forget_plans(self) -> None:
        """Something has changed on which the choice of loops rests."""

    def call_later(self, delay: float, function: Callable[..., Any], *args: Any) -> IDelayedCall:
        """Call a function after some seconds."""
        self._clock = default_clock(self._clock)
        return self._clock.callLater(delay, function, *args)

    def firing_left(self, firing: Firing) -> None:
        """A firing is over, and none of its calls runs any more."""
        self.drain.left(firing)
        if firing.plan.fast is None:
            self.choose_loop(firing.plan)


_NOT_CALLED: Any = object()
