"""Processing events by name."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure

from .._options import checked_clock
from ..dispatch import (
    RAISE,
    Callee,
    Explanation,
    HandlerView,
    Outcome,
    Plan,
    Runner,
    handler_name,
    keep,
    ordered,
    peek,
    qualified_name_of,
    verdict_on,
    view_of,
    watch,
)
from ..errors import (
    ChainTooLong,
    ConfigurationError,
    EventException,
    HandlerNotCallable,
    IncompatibleRequirementsException,
    ProcessorReregisterException,
    RequirementCycle,
)
from ..matching import EqualityIndex
from ._event import Event
from ._injection import eventually
from ._want import Decorator, declaration_of, mark_registered

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

F = TypeVar("F", bound=Callable[..., Any])


class Handler(Callee):
    """
    A registered handler.

    :ivar declaration: what it was decorated with.
    """

    __slots__ = ("declaration",)

    def __init__(self, processor: Processor, function: Callable[..., Any], name: Any) -> None:
        self.declaration = declaration_of(function)
        known_as = handler_name(function, name)

        def call(event: Event) -> Any:
            returned = function(processor, event)
            if returned is None:
                return None
            if isinstance(returned, Deferred):
                returned = peek(returned)
            if isinstance(returned, Deferred | Coroutine):
                return _events_later(returned, known_as)
            return _events(returned, known_as)

        super().__init__(
            call,
            name=known_as,
            qualified_name=qualified_name_of(function),
            requires=self.declaration.requires,
            required_by=self.declaration.required_by,
        )


class Processor(Runner):
    """
    Calls the handlers that want an event, one after the other, and then processes the events they return.

    Handlers are called with the processor and the event, in an order in which each comes after those it requires, otherwise in
    the order they were registered; each is waited for before the next is called.  All methods belong to one thread, the reactor's
    where there is one.
    """

    def __init__(self, *, max_chained_events: Any = 10_000, clock: IReactorTime | None = None) -> None:
        """
        :param max_chained_events: how many events may come out of one.
        :param clock: unused until handlers have time-outs; ``None`` takes the global reactor then.
        :raises twisted_evproc.errors.ConfigurationError: for an option that makes no sense.
        """
        super().__init__(RAISE, checked_clock(clock, "clock"))
        if isinstance(max_chained_events, bool) or not isinstance(max_chained_events, int) or max_chained_events < 0:
            raise ConfigurationError(f"max_chained_events={max_chained_events!r} has to be a whole number, 0 or more")
        self.max_chained_events = max_chained_events
        self._handlers: dict[str, Handler] = {}
        # name of a handler -> those that said, of themselves, that it requires them
        self._required_by: dict[str, list[str]] = {}
        self._index: EqualityIndex[str, Handler] = EqualityIndex()
        # name of an event -> handlers that may want it, and whether its name alone decides
        self._candidates: dict[str, tuple[tuple[Handler, ...], bool]] = {}
        self._plans: dict[tuple[Handler, ...], Plan] = {}

    def register(self, function: F, name: str | None = None) -> F:
        """
        Register a handler.

        :param function: called with the processor and the event; may return an iterable of events, or a Deferred of one, be
            ``async def``, or a generator of events, which runs to its end before the next handler is called.
        :param name: what ``requires`` of others call it; ``None`` takes the function's own.
        :return: the function, so that this can be a decorator.
        :raises twisted_evproc.errors.ProcessorReregisterException: for a name that is taken.
        """
        if isinstance(function, Decorator):
            raise HandlerNotCallable(function, "it is a decorator that was given the function as if that were its argument")
        handler = Handler(self, function, name)
        known = self._handlers.get(handler.name)
        if known is not None:
            raise ProcessorReregisterException(handler.name, known.qualified_name)
        mark_registered(function)
        self._handlers[handler.name] = handler
        for later in handler.required_by:
            self._required_by.setdefault(later, []).append(handler.name)
        names = handler.declaration.names
        self._index.add(handler, {} if names is None else {"name": names})
        self._candidates.clear()
        self._plans.clear()
        return function

    def load_from(self, group: str) -> None:
        """
        Register the functions that installed packages name in an entry point group, under the names of the entry points.

        They are registered in the order of their names.  All of them are loaded before the first is registered.

        :param group: name of the group, such as ``app.handlers``.
        :raises twisted_evproc.errors.EventException: for an entry point that cannot be loaded; its cause is the exception.
        :raises twisted_evproc.errors.ProcessorReregisterException: for a name that is taken.
        """
        found = [(point.name, _load(point)) for point in sorted(entry_points(group=group), key=lambda point: point.name)]
        for name, function in found:
            self.register(function, name)

    def process(self, event: Event) -> Deferred[Any]:
        """
        Process an event, and the events that its handlers return, first in, first out.

        :return: fires with ``None``, or with the value of a ``StopProcessing`` that was given one, once all is done.  Fails with
            a handler's exception, with :class:`~twisted_evproc.errors.IncompatibleRequirementsException` when a required handler
            is missing or does not want the event, and with :class:`~twisted_evproc.errors.ChainTooLong`; what has not been
            processed by then is not.  Cancelling it cancels the handler that runs.
        """
        return _Chain(self, _checked(event, "process() takes")).run()

    def handlers(self) -> tuple[HandlerView, ...]:
        """The registered handlers, in the order they were registered."""
        return tuple(
            attrs.evolve(view_of(handler), match_spec={"wants": handler.declaration.shown} if handler.declaration.wanted else {})
            for handler in self._handlers.values()
        )

    def explain(self, event: Event) -> Explanation:
        """
        Say for every handler whether it would run for an event, in which order, or why not.  No handler is called; filters are.
        """
        name = _checked(event, "explain() takes").name
        wanting = [handler for handler in self._handlers.values() if handler.declaration.wants(name, event)]
        verdicts = [
            verdict_on(handler, position, _after(handler, wanting))
            for position, handler in enumerate(self._in_order(wanting, name), 1)
        ]
        verdicts.extend(
            verdict_on(handler, None, f"wants {handler.declaration.shown}")
            for handler in self._handlers.values()
            if handler not in wanting
        )
        return Explanation({"name": name}, tuple(verdicts))

    # -- choosing

    def fire(self, event: Event) -> Deferred[Outcome]:
        """
        Call the handlers of one event; the lists of events that they return are in the outcome.
        """
        return self.run(self._plan(event), event, {})

    def forget_plans(self) -> None:
        """See :meth:`Runner.forget_plans`."""
        for plan in self._plans.values():
            self.choose_loop(plan)

    def _plan(self, event: Event) -> Plan:
        name = event.name
        if not isinstance(name, str):
            raise EventException(f"the name of an event has to be a string, not {name!r}")
        candidates, by_name_alone = self._candidates.get(name) or self._candidates_for(name)
        if not by_name_alone:
            candidates = tuple(handler for handler in candidates if handler.declaration.wants(name, event))
        plan = self._plans.get(candidates)
        if plan is None:
            plan = keep(self._plans, candidates, Plan(self._in_order(candidates, name), one_by_one=True))
        return plan

    def _candidates_for(self, name: str) -> tuple[tuple[Handler, ...], bool]:
        found = sorted(self._index.candidates({"name": name}.get), key=lambda handler: handler.number)
        by_name_alone = all(handler.declaration.by_name_alone for handler in found)
        return keep(self._candidates, name, (tuple(found), by_name_alone))

    def _in_order(self, wanting: Iterable[Handler], name: str) -> list[Handler]:
        chosen = {handler.name: handler for handler in wanting}
        for handler in chosen.values():
            for required in (*handler.requires, *self._required_by.get(handler.name, ())):
                if required not in chosen:
                    problem = "which does not want it" if required in self._handlers else "which is not registered"
                    raise IncompatibleRequirementsException([*_who_require(handler, chosen), required], name, problem)
        try:
            return ordered(list(chosen.values()))
        except RequirementCycle as error:
            raise IncompatibleRequirementsException(error.chain, name, "a cycle") from error


class _Chain:
    """An event, and all that come out of it."""

    def __init__(self, processor: Processor, event: Event) -> None:
        self._processor = processor
        self._queue = deque([event])
        self._left = processor.max_chained_events
        self._under_way: Deferred[Outcome] | None = None
        self._deferred: Deferred[Any] | None = None

    def run(self) -> Deferred[Any]:
        try:
            found = self._advance()
        except Exception:
            return fail()
        if found is _WAITING:
            self._deferred = Deferred(self._cancel)
            return self._deferred
        return fail(found) if isinstance(found, Failure) else succeed(found)

    def _advance(self) -> Any:
        while self._queue:
            event = self._queue.popleft()
            if self._left < 0:
                raise ChainTooLong(self._processor.max_chained_events, event)
            self._left -= 1
            firing = self._processor.fire(event)
            found = peek(firing)
            if found is firing:
                self._under_way = firing
                watch(firing, self._heard)
                return _WAITING
            if isinstance(found, Failure) or self._take(found):
                return found if isinstance(found, Failure) else found.value
        return None

    def _take(self, outcome: Outcome) -> bool:
        """Queue what the handlers of an event have returned; whether that is the end of all."""
        for events in outcome.values:
            if events is not None:
                self._queue.extend(events)
        return outcome.has_value

    def _heard(self, found: Any) -> None:
        assert self._deferred is not None
        if self._deferred.called:
            return
        try:
            if not isinstance(found, Failure):
                found = found.value if self._take(found) else self._advance()
        except Exception:
            found = Failure()
        if found is not _WAITING:
            self._deferred.callback(found)

    def _cancel(self, deferred: Deferred[Any]) -> None:
        self._queue.clear()
        deferred.errback(CancelledError())
        if self._under_way is not None:
            self._under_way.cancel()


_WAITING: Any = object()


def _events(returned: Any, handler: str) -> list[Event] | Failure | None:
    if returned is None or isinstance(returned, Failure):
        return returned
    # All of them at once: the body of a generator is the handler's, and runs in its turn.
    try:
        events = iter(returned)
    except TypeError:
        raise EventException(
            f"handler {handler!r} returned {returned!r}: a handler returns None or an iterable of events; return [event] for one"
        ) from None
    return [_checked(event, f"handler {handler!r} returned an iterable of") for event in events]


async def _events_later(returned: Any, handler: str) -> list[Event] | Failure | None:
    return _events(await eventually(returned), handler)


def _checked(event: Any, taker: str) -> Event:
    if not isinstance(event, Event):
        raise EventException(f"{taker} {event!r}, which is no Event: derive its class from twisted_evproc.Event")
    return event


def _load(point: EntryPoint) -> Any:
    try:
        return point.load()
    except Exception as error:
        raise EventException(
            f"entry point {point.name!r} of group {point.group!r} ({point.value}) cannot be loaded: {error!r}"
        ) from error


def _who_require(handler: Handler, chosen: dict[str, Handler]) -> list[str]:
    # From whoever is required by nobody down to the handler: how the requirement came about.
    chain = [handler.name]
    while True:
        above = next(
            (
                other.name
                for other in chosen.values()
                if other.name not in chain and (chain[0] in other.requires or other.name in chosen[chain[0]].required_by)
            ),
            None,
        )
        if above is None:
            return chain
        chain.insert(0, above)


def _after(handler: Handler, wanting: Iterable[Handler]) -> str:
    names = sorted({*handler.requires, *(other.name for other in wanting if handler.name in other.required_by)})
    return f"after {', '.join(names)}" if names else ""
