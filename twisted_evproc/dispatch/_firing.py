"""
One event on its way through its handlers, as soon as a plain loop is not enough.

States of a firing: *waiting* (made, not begun), *advancing* (starting handlers, on the stack), *suspended* (handlers under way),
*over* (the outcome or the failure is known; handlers that ignore being cancelled may still be under way).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import Context, copy_context
from types import MappingProxyType
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from ..errors import HandlersFailed, HandlerTimeout, StopProcessing
from ._call import Call
from ._callee import Callee
from ._origin import Origin, calls_above, current, enclosing
from ._outcome import Failed, Outcome, Skipped, Stopped, outcome_of, result_of
from ._plan import Plan
from ._policy import Action, FailurePolicy
from ._report import Report
from ._settle import PLAIN_TYPES, REMOVED, end_of_failure, settle


class Host(Protocol):
    """What a firing needs of its dispatcher."""

    policy: FailurePolicy
    report: Report
    depth: int

    def call_later(self, delay: float, function: Callable[..., Any], *args: Any) -> IDelayedCall: ...
    def event_of(self, argument: Any) -> Any: ...
    def firing_left(self, firing: Firing) -> None: ...
    def forget_plans(self) -> None: ...


class Firing:
    """
    Runs the callees of a plan for one event.

    :ivar argument: what the callees are called with.
    :ivar event: the event, as outcomes and observers see it.
    :ivar parent: the handler's turn in which it was fired, if any.
    :ivar deferred: what ``fire_event`` returned, once it has.
    """

    __slots__ = (
        "_abort",
        "_advancing",
        "_calls",
        "_context",
        "_details",
        "_ending",
        "_left",
        "_phase",
        "_position",
        "_raised",
        "_rejected",
        "_waiting",
        "argument",
        "begun",
        "deferred",
        "event",
        "host",
        "key",
        "over",
        "parent",
        "plan",
        "values",
    )

    def __init__(
        self,
        host: Host,
        plan: Plan,
        event: Any,
        details: Mapping[str, Any],
        rejected: Mapping[Callee, Failed] | None = None,
    ) -> None:
        """
        :param event: what the callees are called with.
        :param rejected: callees whose filter failed: not to be called, failed already.
        """
        self.host = host
        self.plan = plan
        self.argument = event
        self.event = host.event_of(event)
        self._details = details
        self.parent = enclosing()
        self.deferred: Deferred[Outcome] | None = None
        self.begun = False
        self.over = False
        #: what the load limits know it by
        self.key: Any = None
        # position -> what came of the callee, in start order; PENDING while it runs
        self.values: dict[int, Any] = {}
        self._rejected = rejected
        self._phase = 0
        self._position = 0
        self._waiting: list[int] = []
        self._calls: dict[Call, None] = {}  # in the order they began, as they are cancelled
        # why no further handler is called: at once, or after this phase
        self._ending = ""
        self._abort = ""
        # by position, of those that make the Deferred fail; under None what passes through
        self._raised: dict[int | None, Failure] = {}
        self._advancing = False
        self._left = False
        self._context: Context | None = None

    # -- from outside

    def begin(self) -> Deferred[Outcome]:
        """
        Run as far as it goes.

        :return: its Deferred.
        """
        self.begun = True
        if self.host.report.observers:
            self.host.report.notify("firing_started", self)
        self._advance()
        return self._deferred()

    def take_over(self, values: Sequence[Any], returned: Any, origin: Origin | None) -> Deferred[Outcome]:
        """
        Go on where a plain loop met what it does not handle.

        :param values: what the callees before have returned.
        :param returned: what the callee behind them gave, as :func:`~._settle.settle` understood it.
        :param origin: of that callee, if its handler knows one.
        """
        self.begun = True
        self.values.update(enumerate(values))
        position = len(values)
        self._position = position + 1
        while self.plan.phase_ends[self._phase] <= position:
            self._phase += 1
        self.values[position] = PENDING
        call = Call(self, position, self.plan.callees[position])
        call.began_as(origin)
        self._advance(call, returned)
        return self._deferred()

    def wait(self) -> Deferred[Outcome]:
        """Its Deferred, before it has begun."""
        self._context = copy_context()
        self.deferred = Deferred(self._cancel)
        return self.deferred

    def begin_later(self) -> None:
        """Begin, after :meth:`wait`."""
        if self.over:
            return
        assert self._context is not None and self.deferred is not None
        try:
            _ = self._context.run(self.begin)
        except BaseException:
            self.deferred.errback(Failure())

    @property
    def details(self) -> Mapping[str, Any]:
        """The keyword arguments it was fired with, read-only."""
        return MappingProxyType(self._details)

    @property
    def doubtful(self) -> bool:
        """Whether a call is under way of which it cannot be told what its handler does."""
        return any(not call.known for call in self._calls)

    def ancestors(self) -> Iterator[Firing]:
        """The firings out of which this one was fired, innermost first."""
        return (call.firing for call in calls_above(self.parent))

    def _deferred(self) -> Deferred[Outcome]:
        if self.over:
            # It may have been fired already, while it advanced, if somebody had to wait for it to begin.
            if self.deferred is None:
                self.deferred = self._result()
        else:
            self._context = self._context or copy_context()
            if self.deferred is None:
                self.deferred = Deferred(self._cancel)
        return self.deferred

    # -- phases

    def _resume(self) -> None:
        if self._advancing or self.over:
            return
        assert self._context is not None and self.deferred is not None
        try:
            self._context.run(self._advance)
        except BaseException:
            # SystemExit and its like pass; there is no caller to pass to but whoever waits for us.
            self.deferred.errback(Failure())

    def _advance(self, call: Call | None = None, returned: Any = None) -> None:
        host = self.host
        host.depth += 1
        self._advancing = True
        try:
            if call is not None:
                self._returned(call, returned)
            while True:
                self._start_ready()
                if self._calls or self.over:
                    return
                self._ending = self._ending or self._abort
                self._phase += 1
                if self._ending or self._phase >= len(self.plan.phase_ends):
                    break
        except BaseException as error:
            self._drop(f"{type(error).__name__} passed through")
            raise
        finally:
            host.depth -= 1
            self._advancing = False
        self._finish()

    def _start_ready(self) -> None:
        plan = self.plan
        end = plan.phase_ends[self._phase] if plan.phase_ends else 0
        if plan.requires is None:
            while self._position < end and not self._ending:
                self._position += 1
                self._start(self._position - 1)
            return
        self._waiting.extend(range(self._position, end))
        self._position = max(self._position, end)
        progress = True
        while progress:
            progress = False
            for position in tuple(self._waiting):
                if self._ending:
                    return
                obstacle = self._obstacle(plan.requires[position])
                if obstacle is None:
                    continue
                progress = True
                self._waiting.remove(position)
                if obstacle:
                    self._keep(position, Skipped(obstacle))
                else:
                    self._start(position)

    def _obstacle(self, required: set[int]) -> str | None:
        # None: it has to wait.  Empty: it may start.  Otherwise why it is skipped.
        for position in sorted(required):
            value = self.values.get(position, PENDING)
            if value is PENDING:
                return None
            if type(value) is Failed:
                return f"required handler {self.plan.callees[position].name!r} failed"
            if type(value) is Skipped and not value.fulfils:
                return f"required handler {self.plan.callees[position].name!r} was skipped"
        return ""

    # -- handlers

    def _start(self, position: int) -> None:
        callee = self.plan.callees[position]
        if not callee.alive():
            self._keep(position, _REMOVED)
            return
        if self.host.report.observers:
            self.host.report.notify("handler_started", self, callee.id, callee.name, callee.phase)
        self.values[position] = PENDING
        call = Call(self, position, callee)
        rejected = self._rejected.get(callee) if self._rejected else None
        if rejected is not None:
            self._record(call, rejected.failure, called=False)
            return
        handler = callee.call
        token = current.set(call)
        try:
            returned = settle(handler(self.argument))
        except Exception:
            returned = Failure()
        except BaseException:
            call.end()
            raise
        finally:
            current.reset(token)
        if callee.may_suspend is None and not isinstance(returned, Deferred):
            callee.may_suspend = False
        self._returned(call, returned)

    def _returned(self, call: Call, returned: Any) -> None:
        if type(returned) in PLAIN_TYPES or not isinstance(returned, Deferred):
            self._record(call, returned)
            return
        callee = call.callee
        if not callee.may_suspend:
            callee.may_suspend = True
            self.host.forget_plans()
        call.deferred = returned
        self._calls[call] = None
        if callee.timeout is not None:
            call.timer = self.host.call_later(callee.timeout, self._time_out, call)
        _ = returned.addBoth(self._heard, call)
        if self.over:
            # cancelled by the handler itself, before it had to wait
            returned.cancel()

    def _heard(self, result: Any, call: Call) -> Any:
        """What a call was waiting for is there: take note, and pass it on to whoever else waits for it."""
        if isinstance(result, Failure):
            _ = call.deferred.addErrback(end_of_failure)
        if call.abandoned:
            self._report_late(call, result)
        else:
            self._ended(call, result)
        return result

    def _ended(self, call: Call, result: Any) -> None:
        self._calls.pop(call, None)
        if call.timed_out:
            result = self._timeout(call, result)
        if self.over:
            self._report_late(call, result)
            call.end()
            self._leave()
        elif isinstance(result, Failure) and not isinstance(result.value, Exception):
            # SystemExit and its like pass; there is no caller to pass to but whoever waits for us.
            call.end()
            self._raised = {None: result}
            self._drop(f"{type(result.value).__name__} passed through")
            if self.deferred is not None:
                self.deferred.errback(result)
        else:
            self._record(call, result)
            if not self._calls or self._waiting:
                self._resume()

    def _time_out(self, call: Call) -> None:
        call.timer = None
        call.timed_out = True
        self._cancel_call(call)
        if not call.over:
            call.abandoned = True
            self.host.report.handler_abandoned(call.callee, self.event)
            self._ended(call, None)

    @staticmethod
    def _timeout(call: Call, result: Any) -> Failure:
        callee = call.callee
        assert callee.timeout is not None
        error = HandlerTimeout(callee.name, callee.phase, callee.timeout)
        if isinstance(result, Failure) and not result.check(CancelledError):
            error.__cause__ = result.value
        return Failure(error)

    def _report_late(self, call: Call, result: Any) -> None:
        # Nobody waits for this result any more; a failure is told all the same.
        if isinstance(result, Failure) and not result.check(CancelledError, StopProcessing):
            self.host.report.handler_failed(call.callee, self.event, result)

    def _record(self, call: Call, result: Any, *, called: bool = True) -> None:
        try:
            if isinstance(result, Failure):
                result = self._failed(call, result, called)
            elif result is REMOVED:
                result = _REMOVED
            self._keep(call.position, result)
        finally:
            # Last: whoever waits for its end may let the firing go on.
            call.end()

    def _keep(self, position: int, value: Any) -> None:
        self.values[position] = value
        if self.host.report.observers:
            self.host.report.notify("handler_ended", self, result_of(self.plan.callees[position], value))

    def _failed(self, call: Call, failure: Failure, called: bool) -> Failed | Stopped:
        callee = call.callee
        error = _error_of(failure)
        if isinstance(error, StopProcessing):
            self._ending = self._ending or f"handler {callee.name!r} stopped the firing"
            return Stopped(error.retval, error.has_retval)
        if not isinstance(error, Exception):
            raise error
        action = self.host.policy.action_for(error)
        if action not in _UNLOGGED or self.over:
            self.host.report.handler_failed(callee, self.event, failure)
        if action in (Action.ABORT, Action.RAISE):
            phase = f" in phase {callee.phase!r}" if callee.phase else ""
            self._abort = self._abort or f"handler {callee.name!r} failed{phase}"
        if action is Action.RAISE:
            self._raised[call.position] = failure
        return Failed(failure, called)

    # -- the end

    def _finish(self) -> None:
        self.over = True
        for position in range(len(self.plan.callees)):
            if position not in self.values:
                self._keep(position, Skipped(self._ending))
        if self.host.report.observers:
            self.host.report.notify("firing_ended", self, self.outcome())
        if self.deferred is not None:
            self.deferred.callback(self._raise() if self._raised else self.outcome())
        self._leave()

    def outcome(self) -> Outcome:
        """What came of it."""
        callees = tuple(map(self.plan.callees.__getitem__, self.values))
        return outcome_of(self.event, self._details, callees, tuple(self.values.values()))

    def _result(self) -> Deferred[Outcome]:
        return fail(self._raise()) if self._raised else succeed(self.outcome())

    def _raise(self) -> Failure:
        if len(self._raised) == 1:
            return next(iter(self._raised.values()))
        positions = [position for position in self.values if position in self._raised]
        names = ", ".join(repr(self.plan.callees[position].name) for position in positions)
        errors = [error for error in (self._raised[position].value for position in positions) if isinstance(error, Exception)]
        return Failure(HandlersFailed(f"handlers {names} failed", errors, self.outcome()))

    def _cancel(self, deferred: Deferred[Outcome]) -> None:
        # the canceller of our Deferred, which fails with CancelledError behind this
        self._drop("the firing was cancelled")

    def _drop(self, reason: str) -> None:
        if self.over:
            return  # cancelled once more, by what it has cancelled itself
        self.over = True
        self._ending = reason
        # There will be no outcome for those failures that only an outcome would have told.
        for position, value in self.values.items():
            if type(value) is Failed and self.host.policy.action_for(_error_of(value.failure)) in _UNLOGGED:
                self.host.report.handler_failed(self.plan.callees[position], self.event, value.failure)
        if self.host.report.observers and self.begun:
            self.host.report.notify("firing_ended", self, None)
        for call in tuple(self._calls):
            if not call.over:
                self._cancel_call(call)
        self._leave()

    def _cancel_call(self, call: Call) -> None:
        try:
            call.deferred.cancel()
        except Exception:
            # Out of the handler's own canceller.
            self.host.report.handler_failed(call.callee, self.event, Failure())

    def _leave(self) -> None:
        if not self._calls and not self._left:
            self._left = True
            self.host.firing_left(self)
            # What a handler has left behind may hold us: we are not to hold what was before.
            self._context = self.parent = None


def _error_of(failure: Failure) -> BaseException:
    return failure.value  # type: ignore[return-value]  # None only for failures without an exception


class _Pending:
    def __repr__(self) -> str:
        return "PENDING"


PENDING = _Pending()
#: Of failures that are told by the outcome, or by the Deferred, alone.
_UNLOGGED = frozenset({Action.COLLECT, Action.RAISE})
_REMOVED = Skipped("it was removed", fulfils=True)
