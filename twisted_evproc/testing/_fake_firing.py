"""A firing of the fake dispatcher: the same promises as the real one's, written down as one coroutine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from itertools import groupby
from operator import attrgetter
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from ..dispatch import (
    Action,
    Callee,
    Failed,
    FailurePolicy,
    Outcome,
    Report,
    Skipped,
    Stopped,
    outcome_of,
    requirements,
    result_of,
    settle,
    watch,
)
from ..errors import HandlersFailed, HandlerTimeout, StopProcessing
from ._fake_registration import FakeRegistration


class Host(Protocol):
    """What a firing needs of its dispatcher."""

    policy: FailurePolicy
    report: Report
    clock: IReactorTime

    def forget(self, registration: FakeRegistration) -> None: ...
    def firing_left(self, firing: FakeFiring) -> None: ...


class FakeCall:
    """One handler being called in one firing."""

    def __init__(self, firing: FakeFiring, registration: FakeRegistration) -> None:
        self.firing = firing
        self.registration = registration
        self.deferred: Deferred[Any] | None = None
        self.timer: IDelayedCall | None = None
        self.timed_out = self.done = False
        self.ended: Deferred[None] = Deferred()
        registration.calls.add(self)

    def end(self) -> None:
        """It has returned, for good."""
        self.done = True
        self.registration.calls.discard(self)
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        self.ended.callback(None)


#: The calls in which we are, outermost first; some may be over.
calls_around: ContextVar[tuple[FakeCall, ...]] = ContextVar("twisted_evproc_fake_calls", default=())

_PENDING = object()
_REMOVED = Skipped("it was removed", fulfils=True)


class FakeFiring:
    """
    One event on its way through its handlers.

    :ivar event: the event.
    :ivar details: the keyword arguments it was fired with.
    :ivar deferred: what ``fire_event`` returns.
    """

    def __init__(
        self,
        host: Host,
        event: Any,
        details: Mapping[str, Any],
        registrations: Sequence[FakeRegistration],
        rejected: Mapping[FakeRegistration, Failure],
    ) -> None:
        """
        :param registrations: the handlers that match, in the order in which they start.
        :param rejected: those of them whose filter failed.
        """
        self.host = host
        self.event = event
        self.details = details
        self.over = False
        self.deferred: Deferred[Outcome] = Deferred(lambda _: self._cancel())
        self._registrations = registrations
        self._rejected = rejected
        required = requirements(registrations)
        self._required = {one: [registrations[at] for at in sorted(required[place])] for place, one in enumerate(registrations)}
        # what came of each handler, in the order they were started
        self._values: dict[Callee, Any] = {}
        self._raised: dict[Callee, Failure] = {}
        self._calls: set[FakeCall] = set()
        # why no further handler is called: at once, or after this phase
        self._ending = ""
        self._abort = ""
        # SystemExit and its like, on the way to whoever waits for us
        self._passing: Failure | None = None
        self._wake: Deferred[None] | None = None

    def begin(self) -> Deferred[Outcome]:
        """Run as far as it goes."""
        self.host.report.notify("firing_started", self)
        _ = Deferred.fromCoroutine(self._run()).addBoth(self._finished)
        return self.deferred

    async def _run(self) -> None:
        for _, phase in groupby(self._registrations, key=attrgetter("phase_index")):
            await self._run_phase(list(phase))
            self._ending = self._ending or self._abort
        if not self.over:
            for registration in self._registrations:
                if registration not in self._values:
                    self._keep(registration, Skipped(self._ending))

    async def _run_phase(self, waiting: list[FakeRegistration]) -> None:
        while True:
            self._start_those_that_can(waiting)
            if self._passing is not None:
                self._passing.raiseException()
            if not self._calls:
                return
            self._wake = Deferred()
            await self._wake

    def _start_those_that_can(self, waiting: list[FakeRegistration]) -> None:
        progress = True
        while progress:
            progress = False
            for registration in tuple(waiting):
                if self._ending or self.over or self._passing is not None:
                    return
                obstacle = self._obstacle(registration)
                if obstacle is not None:
                    progress = True
                    waiting.remove(registration)
                    if obstacle:
                        self._keep(registration, Skipped(obstacle))
                    else:
                        self._start(registration)

    def _obstacle(self, registration: FakeRegistration) -> str | None:
        # None: it has to wait.  Empty: it may start.  Otherwise why it is skipped.
        for other in self._required[registration]:
            value = self._values.get(other, _PENDING)
            if value is _PENDING:
                return None
            if isinstance(value, Failed):
                return f"required handler {other.name!r} failed"
            if isinstance(value, Skipped) and not value.fulfils:
                return f"required handler {other.name!r} was skipped"
        return ""

    def _start(self, registration: FakeRegistration) -> None:
        if not registration.alive():
            self._keep(registration, _REMOVED)
            return
        self.host.report.notify("handler_started", self, registration.id, registration.name, registration.phase)
        self._values[registration] = _PENDING
        call = FakeCall(self, registration)
        if registration in self._rejected:
            self._ended(call, self._rejected[registration])
            return
        if registration.calls_left is not None:
            registration.calls_left -= 1
            if not registration.calls_left:
                self.host.forget(registration)
        token = calls_around.set((*(call for call in calls_around.get() if not call.done), call))
        try:
            returned = settle(registration.call(self.event))
        except Exception:  # noqa: BLE001  a handler's failure is kept, whatever it is
            returned = Failure()
        except BaseException:
            call.end()
            raise
        finally:
            calls_around.reset(token)
        if isinstance(returned, Deferred):
            self._wait_for(call, returned)
        else:
            self._ended(call, returned)

    def _wait_for(self, call: FakeCall, deferred: Deferred[Any]) -> None:
        call.deferred = deferred
        self._calls.add(call)
        if call.registration.timeout is not None:
            call.timer = self.host.clock.callLater(call.registration.timeout, self._time_out, call)
        watch(deferred, lambda result: self._ended(call, result))
        if self.over:
            # cancelled by the handler itself, before it had to wait
            deferred.cancel()

    def _time_out(self, call: FakeCall) -> None:
        assert call.deferred is not None
        call.timed_out = True
        call.deferred.cancel()
        if not call.done:
            self.host.report.handler_abandoned(call.registration, self.event)
            self._ended(call, None)

    def _ended(self, call: FakeCall, result: Any) -> None:
        if call.done or self.over:
            # Nobody waits for this result any more; a failure is told all the same.
            if isinstance(result, Failure) and not result.check(CancelledError, StopProcessing):
                self.host.report.handler_failed(call.registration, self.event, result)
        elif call.timed_out:
            assert call.registration.timeout is not None
            result = Failure(HandlerTimeout(call.registration.name, call.registration.phase, call.registration.timeout))
        if not call.done:
            call.end()
            self._calls.discard(call)
            if not self.over:
                self._keep(call.registration, self._judged(call.registration, result) if isinstance(result, Failure) else result)
        wake, self._wake = self._wake, None
        if wake is not None:
            wake.callback(None)

    def _judged(self, registration: FakeRegistration, failure: Failure) -> Failed | Stopped:
        error = failure.value
        if isinstance(error, StopProcessing):
            self._ending = self._ending or f"handler {registration.name!r} stopped the firing"
            return Stopped(error.retval, error.has_retval)
        if not isinstance(error, Exception):
            self._passing = failure
            return Failed(failure)
        action = self.host.policy.action_for(error)
        if action in (Action.LOG, Action.ABORT):
            self.host.report.handler_failed(registration, self.event, failure)
        if action in (Action.ABORT, Action.RAISE):
            self._abort = self._abort or f"handler {registration.name!r} failed in phase {registration.phase!r}"
        if action is Action.RAISE:
            self._raised[registration] = failure
        return Failed(failure, registration not in self._rejected)

    def _keep(self, registration: FakeRegistration, value: Any) -> None:
        self._values[registration] = value
        self.host.report.notify("handler_ended", self, result_of(registration, value))

    def _cancel(self) -> None:
        # the canceller of our Deferred, which fails with CancelledError behind this
        self.over = True
        self.host.report.notify("firing_ended", self, None)
        for call in tuple(self._calls):
            if call.deferred is not None:
                call.deferred.cancel()

    def _finished(self, result: Failure | None) -> None:
        if not self.over:
            self._tell(result)
        self.host.firing_left(self)

    def _tell(self, result: Failure | None) -> None:
        self.over = True
        if result is not None:
            self.host.report.notify("firing_ended", self, None)
            self.deferred.errback(result)
            return
        outcome = outcome_of(self.event, self.details, tuple(self._values), tuple(self._values.values()))
        self.host.report.notify("firing_ended", self, outcome)
        if self._raised:
            self.deferred.errback(self._failure(outcome))
        else:
            self.deferred.callback(outcome)

    def _failure(self, outcome: Outcome) -> Failure:
        raised = [(registration, self._raised[registration]) for registration in self._values if registration in self._raised]
        if len(raised) == 1:
            return raised[0][1]
        names = ", ".join(repr(registration.name) for registration, _ in raised)
        errors = [failure.value for _, failure in raised if isinstance(failure.value, Exception)]
        return Failure(HandlersFailed(f"handlers {names} failed", errors, outcome))
