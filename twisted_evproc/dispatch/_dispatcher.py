"""The dispatcher."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from .._options import flag, seconds, whole_number
from ..errors import (
    ConfigurationError,
    DispatcherOverloaded,
    KeywordInUse,
    KeywordNotAllowed,
    UnknownHandler,
    UnknownPhase,
)
from ..interfaces import IBackgroundUtility, IEventDispatcher
from ._admission import Admission
from ._callee import HandlerID
from ._drain import trap_cancelled
from ._explain import Explanation, explain
from ._firing import Firing
from ._options import check_keywords, check_phases, several
from ._origin import calls_above, enclosing
from ._outcome import Outcome, outcome_of
from ._plan import MAX_PLANS, Plan
from ._policy import LOG, FailurePolicy, check_policy
from ._registration import Registration
from ._registry import Registry
from ._runner import MAX_DEPTH, Runner
from ._settle import settle, watch
from ._view import HandlerView
from ._wait import wait_for_event

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from ..interfaces import Filter, Handler, Predicate, UnhandledListener
    from ._call import Call

F = TypeVar("F", bound=Callable[..., Any])
L = TypeVar("L", bound=Callable[..., Any])


@implementer(IEventDispatcher, IBackgroundUtility)
class EventDispatcher(Runner):
    """
    Tells handlers about events, phase by phase.

    See :class:`~twisted_evproc.interfaces.IEventDispatcher` for what it promises.

    :ivar name: names it in messages.
    :ivar phases: names of its phases, in order.
    :ivar running: whether it was started, and not stopped since.
    """

    def __init__(
        self,
        allowed_match_spec_keywords: Iterable[str] = (),
        phases: Iterable[str] = ("before", "during", "after"),
        *,
        name: str = "",
        on_failure: FailurePolicy = LOG,
        max_concurrent_firings: int | None = None,
        max_waiting_firings: int | None = None,
        serialize_by: str | None = None,
        clock: IReactorTime | None = None,
    ) -> None:
        """
        :param allowed_match_spec_keywords: what handlers may match on and events may be fired with.
        :param phases: names of the phases, in the order they run; at least one.
        :param name: names it in messages.
        :param on_failure: ``LOG``, ``COLLECT``, ``ABORT`` or ``RAISE``, or one of them limited to exception types.
        :param max_concurrent_firings: how many firings may be under way; more wait in order.  ``None`` for any number.
        :param max_waiting_firings: how many may wait; past it ``fire_event`` fails with
            :class:`~twisted_evproc.errors.DispatcherOverloaded`.  ``None`` for any number.
        :param serialize_by: a keyword: events with the same value of it are processed one after the other, in order.
        :param clock: for time-outs; ``None`` takes the global reactor when the first time-out needs it.
        :raises twisted_evproc.errors.ConfigurationError: for an option that makes no sense.
        """
        super().__init__(check_policy(on_failure, "on_failure"), clock)
        self.name = str(name)
        self._keywords = frozenset(check_keywords(several(allowed_match_spec_keywords, "allowed_match_spec_keywords")))
        self.phases = check_phases(several(phases, "phases"))
        self._phase_index = {phase: index for index, phase in enumerate(self.phases)}
        self._serialize_by = serialize_by
        if serialize_by is not None and serialize_by not in tuple(self._keywords):
            raise KeywordNotAllowed([serialize_by], self._keywords, f"{self!r} (serialize_by)")
        limit = whole_number(max_concurrent_firings, "max_concurrent_firings", 1)
        max_waiting = whole_number(max_waiting_firings, "max_waiting_firings", 0)
        if max_waiting is not None and limit is None and serialize_by is None:
            raise ConfigurationError("max_waiting_firings bounds nothing without max_concurrent_firings or serialize_by")
        self._admission = (
            None
            if limit is None and serialize_by is None
            else Admission(limit, max_waiting, self._key_of, lambda waiting: DispatcherOverloaded(waiting, repr(self)))
        )
        self.running = False
        self._unhandled: tuple[UnhandledListener, ...] = ()
        self._registry = Registry(self.report.matcher_failed)
        self._staged: _Batch | None = None
        # keywords fired with -> (picks the values that matter, those values -> plan).  Replaced, never emptied, when anything
        # changes: whoever holds the old one sees that it is old.  Weak references replace it from any thread.
        self._shapes: dict[tuple[str, ...], tuple[Callable[[Any], Any], dict[Any, Plan]]] = {}
        self._planned = 0

    def __repr__(self) -> str:
        return f"<EventDispatcher {self.name!r}>" if self.name else "<EventDispatcher>"

    # -- life

    def start(self) -> Deferred[None]:
        """See :meth:`IBackgroundUtility.start`."""
        if not self.running:
            self.running = self.drain.open = True
            self.forget_plans()
        return succeed(None)

    def stop(self, timeout: float | None = None) -> Deferred[None]:
        """
        See :meth:`IBackgroundUtility.stop`.

        Firings that wait for their turn are finished too, and so is what running handlers fire.  A firing out of which it is
        called is not waited for.  After the time-out what is left is cancelled, and not waited for.
        """
        limit = seconds(timeout, "timeout")
        if self.running:
            self.running = self.drain.open = False
            self.forget_plans()
        return self.drain.wait(limit, inside=self.depth > 0)

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
        self._check_details(match_spec)
        registration = Registration(
            listen_fn,
            phase,
            self._index_of_phase(phase),
            match_spec,
            use_weakref=flag(use_weakref, "use_weakref"),
            name=handler_name,
            where=where,
            requires=requires,
            required_by=required_by,
            max_calls=max_calls,
            timeout=timeout,
            gone=self._drop,
            lost=self._lose,
        )
        if self._staged is not None:
            self._staged.added[registration.id] = registration
        else:
            self._registry.purge()
            self._registry.change([registration], ())
            self.forget_plans()
        return succeed(registration.id)

    def handler(self, phase: str, **options: Any) -> Callable[[F], F]:
        """
        Decorate a function to register it; the function comes back unchanged.

        :param phase: the name of its phase.
        :param options: whatever else :meth:`add_event_handler` takes, match-spec included.
        :raises twisted_evproc.errors.UnknownPhase: for no phase of the dispatcher's: at once, as in ``@dispatcher.handler``
            without parentheses, which would register nothing.
        """
        self._index_of_phase(phase)

        def register(function: F) -> F:
            self.add_event_handler(function, phase, **options)  # type: ignore[unused-awaitable]  # the ID is not wanted
            return function

        return register

    def remove_event_handler(self, event_handler_id: HandlerID) -> Deferred[None]:
        """See :meth:`IEventDispatcher.remove_event_handler`."""
        if not isinstance(event_handler_id, HandlerID):
            return fail(UnknownHandler(event_handler_id, repr(self)))  # type: ignore[unreachable]  # of callers without types
        batch = self._staged
        if batch is not None and batch.added.pop(event_handler_id, None) is not None:
            return succeed(None)
        if event_handler_id not in self._registry or (batch is not None and event_handler_id in batch.gone):
            return fail(UnknownHandler(event_handler_id, repr(self)))
        registration = self._registry[event_handler_id]
        if batch is not None:
            batch.gone[event_handler_id] = registration, Deferred()
            return batch.gone[event_handler_id][1]
        self._drop(registration)
        return self._finished_calls(registration)

    def _finished_calls(self, registration: Registration) -> Deferred[None]:
        inside = set(calls_above(enclosing()))
        # A call that could not be tracked may be the very one that asks, if any call does: better not to wait than for ever.
        any_inside = bool(inside) or self.depth > 0
        left = {call for call in registration.running if call not in inside and (call.known or not any_inside)}
        if not left:
            return succeed(None)
        deferred: Deferred[None] = Deferred()

        def ended(call: Call) -> None:
            left.discard(call)
            if not left and not deferred.called:
                deferred.callback(None)

        for call in left:
            call.when_done(ended)
        return deferred

    def handlers(self) -> tuple[HandlerView, ...]:
        """The registrations, by phase, then in the order they were made."""
        self._purge()
        return tuple(one.view() for one in self._registry)

    @contextmanager
    def transaction(self) -> Iterator[EventDispatcher]:
        """
        Take what is added and removed in a ``with`` block together at its end, or not at all when it ends with an exception.

        No event meets half of the new handlers.  IDs are given at once.  A transaction inside another joins it.

        :raises twisted_evproc.errors.OrderingError: at the end, when the requirements of the new set could not be met.
        """
        if self._staged is not None:
            yield self
            return
        self._staged = batch = _Batch()
        try:
            yield self
            self._staged = None
            self._registry.purge()
            self._registry.change(batch.added.values(), (one for one, _ in batch.gone.values()))
        except BaseException:
            self._staged = None
            for _, deferred in batch.gone.values():
                deferred.cancel()
                _ = deferred.addErrback(trap_cancelled)
            raise
        self.forget_plans()
        for registration, deferred in batch.gone.values():
            _ = self._finished_calls(registration).chainDeferred(deferred)

    # -- keywords

    @property
    def allowed_match_spec_keywords(self) -> frozenset[str]:
        """What handlers may match on and events may be fired with."""
        return self._keywords

    def allow_match_spec_keywords(self, *names: str) -> None:
        """
        Allow more keywords.

        :raises twisted_evproc.errors.KeywordReserved: for an option's name, or what is no identifier.
        """
        self._keywords |= frozenset(check_keywords(names))
        self.forget_plans()

    def disallow_match_spec_keywords(self, *names: str) -> None:
        """
        Allow keywords no longer.

        :raises twisted_evproc.errors.KeywordInUse: while a handler, or ``serialize_by``, uses one; nothing is changed then.
        :raises twisted_evproc.errors.KeywordNotAllowed: for one that is not allowed anyway.
        """
        names = check_keywords(names)
        self._check_details(names)
        self._purge()
        staged = () if self._staged is None else self._staged.added.values()
        for name in names:
            users = [one.name for one in (*self._registry, *staged) if name in one.spec.wanted]
            if users or name == self._serialize_by:
                raise KeywordInUse(name, users or ["serialize_by"])
        self._keywords -= frozenset(names)
        self.forget_plans()

    # -- firing

    def fire_event(self, event: Any, /, **event_details: Any) -> Deferred[Outcome]:
        """See :meth:`IEventDispatcher.fire_event`."""
        try:
            values_of, plans = self._shapes[tuple(event_details)]
            plan = plans[values_of(event_details)]
        except Exception:
            plan = self._plan(event_details)
        callees = plan.fast
        depth = self.depth
        if callees is None or depth >= MAX_DEPTH:
            return self._fire(plan, event, event_details)
        self.depth = depth + 1
        try:
            for callee in callees:
                call = callee.call  # called in one expression it would be looked up as a method is, at twice the price
                returned = call(event)
                if returned is not None:
                    break
            else:
                outcome = Outcome()
                outcome._event = event
                outcome._details = event_details
                outcome._callees = callees
                outcome._values = None
                # As succeed() does; calling it would be a tenth of the whole.
                deferred: Deferred[Outcome] = Deferred()
                deferred.called = True
                deferred.result = outcome
                return deferred
        except Exception:
            returned = Failure()
        finally:
            self.depth = depth
        return self.go_on(plan, event, event_details, callee, returned)  # type: ignore[possibly-undefined]  # no call, no way here

    def emitter(self, **event_details: Any) -> Callable[[Any], Deferred[Outcome]]:
        """
        A callable that fires events with details fixed now: the fastest way to fire.

        :return: takes the event, gives what :meth:`fire_event` gives.
        """
        self._check_details(event_details)
        shapes: Any = None
        plan: Any = None

        # The loop of fire_event once more: calling a function for it would cost half as much as the loop.
        def emit(event: Any) -> Deferred[Outcome]:
            nonlocal shapes, plan
            if shapes is not self._shapes:
                self._purge()
                shapes = self._shapes
                plan = self._plan(event_details)
            callees = plan.fast
            depth = self.depth
            if callees is None or depth >= MAX_DEPTH:
                return self._fire(plan, event, event_details)
            self.depth = depth + 1
            try:
                for callee in callees:
                    call = callee.call
                    returned = call(event)
                    if returned is not None:
                        break
                else:
                    outcome = Outcome()
                    outcome._event = event
                    outcome._details = event_details
                    outcome._callees = callees
                    outcome._values = None
                    deferred: Deferred[Outcome] = Deferred()
                    deferred.called = True
                    deferred.result = outcome
                    return deferred
            except Exception:
                returned = Failure()
            finally:
                self.depth = depth
            return self.go_on(plan, event, event_details, callee, returned)  # type: ignore[possibly-undefined]  # as above

        return emit

    def wait_for_event(
        self, timeout: float | None = None, where: Filter | Predicate | Mapping[str, Any] | None = None, **match_spec: Any
    ) -> Deferred[Any]:
        """
        Wait for the next matching event.

        It is heard in the first phase, before handlers of later phases have seen it.

        :param timeout: seconds, or ``None`` for no limit.
        :param where: a filter or predicate over the event.
        :param match_spec: as for a handler.
        :return: fires with the event; fails with :class:`~twisted_evproc.errors.WaitTimeout`.  Cancelling it ends the waiting.
        """

        def register(heard: Callable[[Any], None]) -> HandlerID:
            adding = self.add_event_handler(
                heard, self.phases[0], handler_name="wait_for_event", where=where, max_calls=1, **match_spec
            )
            return cast("HandlerID", adding.result)  # it has fired: adding is synchronous

        what = ", ".join(f"{name}={value!r}" for name, value in match_spec.items()) or "anything"
        return wait_for_event(register, self.remove_event_handler, self.call_later, seconds(timeout, "timeout"), what)

    def explain(self, event: Any = None, /, **event_details: Any) -> Explanation:
        """
        Say for every handler whether it would run, in which order, or which clause rules it out.  No handler is called.

        :param event: the event; ``None`` to ask about details alone: filters over events are reported then, not asked.
        """
        self._check_details(event_details)
        self._purge()
        return explain(self._registry, event, event_details)

    # -- listeners

    def on_unhandled(self, listener: L) -> L:
        """
        Hear of events that no handler wanted.  Can be used as a decorator.

        :param listener: called with the event and its details (a read-only mapping); may return a Deferred or be ``async def``.
            The firing does not wait for it; its failure is logged.
        """
        if not callable(listener):
            raise ConfigurationError(f"on_unhandled takes a function of event and details, not {listener!r}")
        self._unhandled = (*self._unhandled, listener)
        self.forget_plans()
        return listener

    def remove_unhandled_listener(self, listener: UnhandledListener) -> None:
        """
        Undo :meth:`on_unhandled`.

        :raises twisted_evproc.errors.UnknownHandler: when it does not listen.
        """
        if listener not in self._unhandled:
            raise UnknownHandler(listener, repr(self))
        self._unhandled = tuple(other for other in self._unhandled if other != listener)
        self.forget_plans()

    @property
    def is_listened_to(self) -> bool:
        """Whether a handler, an observer or a listener for unhandled events is there."""
        self._purge()
        return bool(self._registry or self._unhandled or self.report.observers)

    def _index_of_phase(self, phase: Any) -> int:
        index = self._phase_index.get(phase) if type(phase) is str else None
        if index is None:
            raise UnknownPhase(phase, self.phases, repr(self))
        return index

    # -- plans

    def forget_plans(self) -> None:
        self._shapes = {}
        self._planned = 0

    def _purge(self) -> None:
        if self._registry.purge():
            self.forget_plans()

    def _lose(self, registration: Registration) -> None:
        # In whichever thread the collector runs: note it, and make every plan old.
        self._registry.lost(registration)
        self._shapes = {}

    def _drop(self, registration: Registration) -> None:
        self._registry.discard(registration)
        self.forget_plans()

    def _check_details(self, details: Iterable[str]) -> None:
        if not self._keywords.issuperset(details):
            raise KeywordNotAllowed(set(details) - self._keywords, self._keywords, repr(self))

    def _plan(self, details: Mapping[str, Any]) -> Plan:
        self._check_details(details)
        self._purge()
        plan = self._registry.plan(details)
        self.choose_loop(plan)
        if not self.running:
            return plan
        shapes = self._shapes
        names = tuple(details)
        if names not in shapes:
            used = [name for name in names if self._registry.keywords[name]]
            shapes[names] = (itemgetter(*used) if used else len), {}
        values_of, plans = shapes[names]
        if self._planned >= MAX_PLANS:
            self.forget_plans()
        try:
            plans[values_of(details)] = plan
            self._planned += 1
        except Exception:
            pass  # unhashable values: such details are looked up each time
        return plan

    def may_run_plainly(self, plan: Plan) -> bool:
        return (
            self.running and self._admission is None and not self.report.observers and (bool(plan.callees) or not self._unhandled)
        )

    # -- firing, with everything

    def _fire(self, plan: Plan, event: Any, details: Mapping[str, Any]) -> Deferred[Outcome]:
        if self.depth >= MAX_DEPTH:
            return self.too_deep(event)
        if not self.running and not self.depth and not any(call.firing.host is self for call in calls_above(enclosing())):
            self.report.not_running(event)
            return succeed(outcome_of(event, details, (), None))
        rejected = None
        if plan.conditional or not plan.callees:
            # What filters and listeners fire is inside this, as what handlers fire is.
            self.depth += 1
            try:
                plan, rejected = plan.narrow(event)
                if not plan.callees and self._unhandled:
                    self._tell_unhandled(event, details)
                    return succeed(outcome_of(event, details, (), None))
            finally:
                self.depth -= 1
        firing = Firing(self, plan, event, details, rejected)
        self.drain.add(firing)
        if self._admission is None:
            return firing.begin()
        deferred = self._admission.submit(firing)
        if not firing.begun and deferred.called:
            self.drain.left(firing)
        return deferred

    def _tell_unhandled(self, event: Any, details: Mapping[str, Any]) -> None:
        for listener in self._unhandled:
            try:
                returned = settle(listener(event, MappingProxyType(details)))
            except Exception:
                returned = Failure()
            if isinstance(returned, Deferred):
                watch(returned, partial(self._listener_ended, listener))
            else:
                self._listener_ended(listener, returned)

    def _listener_ended(self, listener: UnhandledListener, result: Any) -> None:
        if isinstance(result, Failure):
            self.report.listener_failed(listener, result)

    def _key_of(self, firing: Firing) -> Any:
        return None if self._serialize_by is None else firing.details.get(self._serialize_by)

    def firing_left(self, firing: Firing) -> None:
        super().firing_left(firing)
        if self._admission is not None:
            self._admission.left(firing)


class _Batch:
    """What a transaction will add and remove."""

    def __init__(self) -> None:
        self.added: dict[HandlerID, Registration] = {}
        # with the Deferred that remove_event_handler has returned
        self.gone: dict[HandlerID, tuple[Registration, Deferred[None]]] = {}
