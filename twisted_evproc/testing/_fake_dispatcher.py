"""A dispatcher for tests: no index, no plans, everything written down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from .._options import checked_clock, seconds
from ..dispatch import (
    LOG,
    MAX_DEPTH,
    FailurePolicy,
    HandlerID,
    Outcome,
    Report,
    check_keywords,
    check_phases,
    check_policy,
    ordered,
    requirements,
    several,
)
from ..errors import FiringTooDeep, KeywordNotAllowed, OrderingError, UnknownHandler, UnknownPhase
from ..interfaces import IBackgroundUtility, IEventDispatcher
from ._capture import Captured, Fired, Wish, misses, wishes
from ._fake_firing import FakeCall, FakeFiring, calls_around
from ._fake_registration import FakeRegistration
from ._outcomes import made_outcome

if TYPE_CHECKING:
    from ..interfaces import Filter, Handler, Predicate


@implementer(IEventDispatcher, IBackgroundUtility)
class FakeDispatcher:
    """
    Takes the place of an :class:`~twisted_evproc.dispatch.EventDispatcher` in a test, and writes down what is fired.

    Handlers registered with it run, by the same rules; both pass :class:`DispatcherContract`.  What it has beyond the interfaces
    is here; it has no load limits, no transactions, no emitters.

    :ivar fired: everything that was fired, also while it was not started: a :class:`Captured`.
    :ivar clock: for time-outs: the one given, otherwise a :class:`twisted.internet.task.Clock` of its own.
    :ivar name: names it in messages.
    :ivar phases: names of its phases, in order.
    :ivar running: whether it was started, and not stopped since.
    :ivar allowed_match_spec_keywords: what may be matched on and fired with; ``None`` for any keyword.
    """

    def __init__(
        self,
        allowed_match_spec_keywords: Iterable[str] | None = None,
        phases: Iterable[str] = ("before", "during", "after"),
        *,
        name: str = "",
        on_failure: FailurePolicy = LOG,
        clock: Any = None,
    ) -> None:
        """
        :param allowed_match_spec_keywords: what handlers may match on and events may be fired with; ``None`` for any keyword.
        :param phases: names of the phases, in the order they run; at least one.
        :param name: names it in messages.
        :param on_failure: ``LOG``, ``COLLECT``, ``ABORT`` or ``RAISE``, or one of them limited to exception types.
        :param clock: for time-outs; ``None`` for one of its own, that the test advances.
        :raises twisted_evproc.errors.ConfigurationError: for an option that makes no sense.
        """
        self.name = str(name)
        self.allowed_match_spec_keywords = (
            None
            if allowed_match_spec_keywords is None
            else frozenset(check_keywords(several(allowed_match_spec_keywords, "allowed_match_spec_keywords")))
        )
        self.phases = check_phases(several(phases, "phases"))
        self.policy = check_policy(on_failure, "on_failure")
        self.clock = Clock() if clock is None else checked_clock(clock, "clock")
        self.report = Report(self)
        self.running = False
        self.fired = Captured()
        self._handlers: list[FakeRegistration] = []
        self._firings: list[FakeFiring] = []
        self._scripts: list[tuple[list[Wish], Callable[[Fired], Outcome | BaseException]]] = []
        # what stop() has returned, and the firings that each still waits for
        self._stopping: dict[Deferred[None], set[FakeFiring]] = {}
        # how many firings are on the stack
        self._depth = 0

    def __repr__(self) -> str:
        return f"<FakeDispatcher {self.name!r}>" if self.name else "<FakeDispatcher>"

    # -- life

    def start(self) -> Deferred[None]:
        """See :meth:`IBackgroundUtility.start`."""
        self.running = True
        return succeed(None)

    def stop(self, timeout: float | None = None) -> Deferred[None]:
        """See :meth:`IBackgroundUtility.stop`."""
        limit = seconds(timeout, "timeout")
        self.running = False
        # Those out of which it is called wait for it: it cannot wait for them.
        left = set(self._firings).difference(call.firing for call in calls_around.get() if not call.done)
        if not left:
            return succeed(None)
        stopped: Deferred[None] = Deferred(self._stopping.__delitem__)
        self._stopping[stopped] = left
        if limit is not None:
            timer = self.clock.callLater(limit, self._cut_short, stopped, limit)
            _ = stopped.addCallback(lambda _: timer.cancel() if timer.active() else None)
        return stopped

    def _cut_short(self, stopped: Deferred[None], limit: float) -> None:
        left = self._stopping.get(stopped, ())
        for firing in [firing for firing in self._firings if firing in left]:
            self.report.cut_short(firing.event, limit)
            firing.deferred.cancel()
            # who fired and forgot is not to read of it again as an unhandled error
            _ = firing.deferred.addErrback(lambda failure: None)
        if self._stopping.pop(stopped, None) is not None:
            stopped.callback(None)

    # -- handlers

    def add_event_handler(
        self,
        listen_fn: Handler,
        phase: str,
        use_weakref: bool = False,
        *,
        handler_name: str | None = None,
        where: Filter | Predicate | Mapping[str, Any] | None = None,
        requires: Iterable[str] | str = (),
        required_by: Iterable[str] | str = (),
        max_calls: int | None = None,
        timeout: float | None = None,
        **match_spec: Any,
    ) -> Deferred[HandlerID]:
        """See :meth:`IEventDispatcher.add_event_handler`."""
        self._check_keywords(match_spec)
        if phase not in self.phases:
            raise UnknownPhase(phase, self.phases, repr(self))
        registration = FakeRegistration(
            listen_fn,
            phase,
            self.phases.index(phase),
            match_spec,
            use_weakref=use_weakref,
            name=handler_name,
            where=where,
            requires=requires,
            required_by=required_by,
            max_calls=max_calls,
            timeout=timeout,
        )
        in_start_order([*self._handlers, registration])
        self._handlers.append(registration)
        return succeed(registration.id)

    def remove_event_handler(self, event_handler_id: HandlerID) -> Deferred[None]:
        """See :meth:`IEventDispatcher.remove_event_handler`."""
        for registration in self._handlers:
            if registration.id == event_handler_id:
                break
        else:
            return fail(UnknownHandler(event_handler_id, repr(self)))
        self.forget(registration)
        left = registration.calls.difference(calls_around.get())
        removed: Deferred[None] = Deferred()

        def ended(_: None, call: FakeCall) -> None:
            left.discard(call)
            if not left:
                removed.callback(None)

        for call in left:
            _ = call.ended.addCallback(ended, call)
        if not left:
            removed.callback(None)
        return removed

    def forget(self, registration: FakeRegistration) -> None:
        """A handler is not to be called any more."""
        registration.gone = True
        self._handlers.remove(registration)

    # -- firing

    def fire_event(self, event: Any, /, **event_details: Any) -> Deferred[Outcome]:
        """See :meth:`IEventDispatcher.fire_event`."""
        self._check_keywords(event_details)
        fired = Fired(event, event_details)
        self.fired._fired.append(fired)
        self._depth += 1
        try:
            deferred = self._fire(fired) if self._depth <= MAX_DEPTH else self._too_deep(fired)
        finally:
            self._depth -= 1
        _ = deferred.addBoth(partial(_note, fired))
        return deferred

    def _too_deep(self, fired: Fired) -> Deferred[Outcome]:
        error = FiringTooDeep(MAX_DEPTH, repr(self))
        self.report.too_deep(error, fired.event)
        return fail(error)

    def _fire(self, fired: Fired) -> Deferred[Outcome]:
        inside = any(call.firing.host is self and not call.done for call in calls_around.get())
        if not self.running and not inside:
            self.report.not_running(fired.event)
            return succeed(made_outcome(fired.event, fired.details))
        for asked, answer in reversed(self._scripts):
            if not misses(fired, asked):
                return self._answer(fired, answer(fired))
        registrations, rejected = self._matching(fired)
        firing = FakeFiring(self, fired.event, fired.details, in_start_order(registrations), rejected)
        self._firings.append(firing)
        if not self.running:
            # fired by a handler that is waited for: so is this
            for left in self._stopping.values():
                left.add(firing)
        deferred = firing.begin()
        result = deferred.result if deferred.called else None
        if isinstance(result, Failure) and not isinstance(result.value, Exception):
            # SystemExit and its like pass
            _ = deferred.addErrback(lambda failure: None)
            result.raiseException()
        return deferred

    def _matching(self, fired: Fired) -> tuple[list[FakeRegistration], dict[FakeRegistration, Failure]]:
        registrations: list[FakeRegistration] = []
        rejected: dict[FakeRegistration, Failure] = {}
        for registration in self._handlers:
            if not registration.alive():
                continue
            try:
                if registration.spec.mismatch(fired.details) is not None:
                    continue
            except Exception:  # noqa: BLE001  a matcher of the user's: its handler is not called
                self.report.matcher_failed(registration, fired.details)
                continue
            try:
                if registration.where is not None and not registration.where.matches(fired.event):
                    continue
            except Exception as error:  # noqa: BLE001  a filter of the user's: its handler counts as failed
                rejected[registration] = Failure(error)
            registrations.append(registration)
        return registrations, rejected

    def firing_left(self, firing: FakeFiring) -> None:
        """A firing is over, and none of its calls runs any more."""
        self._firings.remove(firing)
        for stopped, left in tuple(self._stopping.items()):
            left.discard(firing)
            if not left:
                del self._stopping[stopped]
                stopped.callback(None)

    def _check_keywords(self, names: Iterable[str]) -> None:
        allowed = self.allowed_match_spec_keywords
        if allowed is not None and not allowed.issuperset(names):
            raise KeywordNotAllowed(set(names) - allowed, allowed, repr(self))

    # -- scripting

    def answers(self, *values: Any, where: Filter | Predicate | Mapping[str, Any] | None = None, **match_spec: Any) -> None:
        """
        Answer matching events from now on with an outcome made up: handlers have returned ``values``.  None is called.

        The last script that matches counts.

        :param values: what the outcome's ``values`` are; none for an event that nobody handles.
        :param where: a filter, a mapping of path to value, or a predicate over the event.
        :param match_spec: keywords and the values, or matchers, that the details need to have.
        """
        self._script(where, match_spec, lambda fired: made_outcome(fired.event, fired.details, values))

    def fails_with(
        self, error: BaseException, *, where: Filter | Predicate | Mapping[str, Any] | None = None, **match_spec: Any
    ) -> None:
        """
        Let the Deferreds of matching events fail from now on.  No handler is called.

        :param error: what they fail with.
        :param where: as for :meth:`answers`; so is ``match_spec``.
        """
        self._script(where, match_spec, lambda fired: error)

    def _script(self, where: Any, match_spec: Mapping[str, Any], answer: Callable[[Fired], Outcome | BaseException]) -> None:
        self._check_keywords(match_spec)
        self._scripts.append((wishes(where=where, details=match_spec), answer))

    def _answer(self, fired: Fired, answer: Outcome | BaseException) -> Deferred[Outcome]:
        self.report.notify("firing_started", fired)
        self.report.notify("firing_ended", fired, None if isinstance(answer, BaseException) else answer)
        return fail(answer) if isinstance(answer, BaseException) else succeed(answer)

    # -- observers

    def add_observer(self, observer: Any) -> None:
        """
        Let an :class:`~twisted_evproc.interfaces.IDispatchObserver` hear of firings and handlers.

        :raises twisted_evproc.errors.ConfigurationError: when it lacks one of the interface's methods.
        """
        self.report.add_observer(observer)

    def remove_observer(self, observer: Any) -> None:
        """
        Undo :meth:`add_observer`.

        :raises twisted_evproc.errors.UnknownHandler: when it does not observe.
        """
        self.report.remove_observer(observer)


def _note(fired: Fired, result: Outcome | Failure) -> Any:
    fired.over = True
    if not isinstance(result, Failure):
        fired.outcome = result
    return result


def in_start_order(registrations: Iterable[FakeRegistration]) -> list[FakeRegistration]:
    """
    Handlers by phase, inside a phase by requirement, then registration.

    :raises twisted_evproc.errors.OrderingError: when a handler requires one of a later phase, or itself.
    """
    by_phase = sorted(registrations, key=attrgetter("phase_index"))
    for registration, required in zip(by_phase, requirements(by_phase), strict=True):
        for other in (by_phase[position] for position in required):
            if other.phase_index > registration.phase_index:
                raise OrderingError(
                    f"handler {registration.name!r} in phase {registration.phase!r} requires {other.name!r}, which runs "
                    f"only in the later phase {other.phase!r}.  Move one of them, or drop the requirement.",
                    [registration.name, other.name],
                )
    return [one for _, phase in groupby(by_phase, key=attrgetter("phase_index")) for one in ordered(list(phase))]
