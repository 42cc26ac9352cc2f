"""Processing events by content."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pkgutil import iter_modules
from reprlib import Repr
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs
from twisted.internet.defer import Deferred, fail

from .._options import checked_clock
from ..dispatch import (
    RAISE,
    Action,
    Callee,
    Explanation,
    FailurePolicy,
    HandlerView,
    Outcome,
    Plan,
    Runner,
    check_policy,
    handler_name,
    keep,
    qualified_name_of,
    verdict_on,
    view_of,
)
from ..errors import ConfigurationError, DecorationError, InvocationError
from ..matching import ContentFilter, EqualityIndex, as_filter, follow
from ._choice import ALL_MATCHES, FIRST_MATCH, NO_MATCHES_STRICT, InvocationStrategy, is_equality, matches, resolvers_of
from ._injection import Invocation, Signature, eventually, identity_of

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

F = TypeVar("F", bound=Callable[..., Any])

#: The parameters of :meth:`EventProcessor.processor`: no factory can be asked for by such a name.
_RESERVED = frozenset({"filter", "pre_processor", "rank", "self"})

_NO_DETAILS: Mapping[str, Any] = {}

_short = Repr()
_short.maxdict = _short.maxlist = 4
_short.maxlevel = 2


def passthrough(event: Any) -> Any:
    """The pre-processor that does nothing."""
    return event


@attrs.frozen(eq=False)
class Rule:
    """
    A registered processor.

    :ivar function: the user's function.
    :ivar filter: which events it is for.
    :ivar rank: the higher, the sooner it is chosen.
    :ivar pre_processor: gives the event that the function sees.
    :ivar products: factory and name, for each product the function gets behind the event.
    :ivar callee: by which plans know it.
    :ivar resolvers: what its filter asks, as :func:`~._choice.resolvers_of` finds it.
    """

    function: Callable[..., Any]
    filter: ContentFilter
    rank: int
    pre_processor: Callable[..., Any]
    products: tuple[tuple[Callable[..., Any], str], ...]
    callee: Callee
    resolvers: Mapping[int, Signature]

    @property
    def place(self) -> str:
        """Its rank, where handlers of a dispatcher have a phase."""
        return f"rank {self.rank}"

    def joining(self) -> Rule:
        """The same for another event processor."""
        return make_rule(self.function, self.filter, self.rank, self.pre_processor, self.products)


def make_rule(
    function: Callable[..., Any],
    filter: ContentFilter,  # noqa: A002  what it is called everywhere else
    rank: int,
    pre_processor: Callable[..., Any],
    products: tuple[tuple[Callable[..., Any], str], ...],
) -> Rule:
    """
    :raises twisted_evproc.errors.DecorationError: when the function cannot take what it would be given, or it cannot be found out
        what the parameters of something it needs ask for.
    """
    signature = Signature(function, len(products))
    prepares = None if pre_processor is passthrough else Signature(pre_processor)

    def call_plainly(invocation: Invocation) -> Any:
        return function(invocation.event)

    async def call(invocation: Invocation) -> Any:
        seen = invocation.seen if prepares is None else (await prepares.call(invocation))[0]
        own = invocation.seeing(seen, invocation.chosen.get(callee, {}))
        made = [await _product(factory, name, invocation) for factory, name in products]
        return (await signature.call(own, made))[0]

    plain = signature.takes_event_alone and prepares is None
    callee = Callee(call_plainly if plain else call, name=handler_name(function), qualified_name=qualified_name_of(function))
    return Rule(function, filter, rank, pre_processor, products, callee, resolvers_of(filter))


def _names(factory: str, names: Any) -> Iterable[str]:
    if isinstance(names, str):
        return (names,)
    if not isinstance(names, Iterable):
        raise DecorationError(f"{factory}={names!r} has to be the name of a product, or several of them")
    return names


async def _product(factory: Callable[..., Any], name: str, invocation: Invocation) -> Any:
    async def make() -> tuple[Any, bool]:
        return await eventually(factory(name)), True

    return (await invocation.cached((identity_of(factory), name), make))[0]


class EventProcessor(Runner):
    """
    Finds the right processor for a mapping by filters on its content, and calls it with what its parameters ask for.

    All methods belong to one thread, the reactor's where there is one.
    """

    def __init__(
        self,
        *,
        invocation: Any = FIRST_MATCH,
        on_failure: FailurePolicy = RAISE,
        clock: IReactorTime | None = None,
    ) -> None:
        """
        :param invocation: ``FIRST_MATCH``, ``ALL_MATCHES``, ``NO_MATCHES`` or ``NO_MATCHES_STRICT``.
        :param on_failure: what follows when a processor fails.
        :param clock: unused until processors have time-outs; ``None`` takes the global reactor then.
        :raises twisted_evproc.errors.ConfigurationError: for an option that makes no sense.
        """
        super().__init__(check_policy(on_failure, "on_failure"), checked_clock(clock, "clock"))
        if not isinstance(invocation, InvocationStrategy):
            strategies = ", ".join(one.name for one in InvocationStrategy)
            raise ConfigurationError(f"invocation={invocation!r} has to be one of {strategies}")
        self.invocation: InvocationStrategy = invocation
        self._rules: dict[tuple[ContentFilter, int], Rule] = {}
        self._factories: dict[str, Callable[..., Any]] = {}
        self._index: EqualityIndex[Any, Rule] = EqualityIndex()
        self._plans: dict[tuple[Callee, ...], Plan] = {}
        # those that match whenever the index finds them
        self._certain: set[Rule] = set()
        self._dynamic = False
        # functions given to processor() while nothing is decorated with what it gave
        self._undecorated: list[Callable[..., Any]] = []
        self._collects = self.policy.may(Action.COLLECT)

    def __repr__(self) -> str:
        count = len(self._rules)
        return f"<EventProcessor, {count} processor{'' if count == 1 else 's'}>"

    # -- registering

    def processor(
        self,
        filter: ContentFilter | Mapping[Any, Any] | Callable[[Any], object],  # noqa: A002  what it is called everywhere else
        pre_processor: Callable[..., Any] = passthrough,
        rank: int = 0,
        **dependency_names: Sequence[str] | str,
    ) -> Callable[[F], F]:
        """
        Decorate a function to process events; it comes back unchanged.

        :param filter: a mapping of dotted path to value (``typing.Any``: the path exists; ``{}``: every event), a filter, or a
            predicate.
        :param pre_processor: gives the event that the function sees; its parameters are injected, and it may be asynchronous.
        :param rank: the higher, the sooner it is chosen.
        :param dependency_names: name of a factory, and names of the products that the function gets behind the event.
        :raises twisted_evproc.errors.FilterError: for a filter that is none.
        :raises twisted_evproc.errors.DecorationError: for an unknown factory, a function that cannot take what it would get, and
            a filter that another processor has at the same rank.  Also raised by what asks for processors later, while a function
            was given as the filter and nothing is decorated.
        """
        checked = as_filter(filter)
        if isinstance(rank, bool) or not isinstance(rank, int):
            raise DecorationError(f"rank={rank!r} has to be a whole number")
        if not callable(pre_processor):
            raise DecorationError(f"pre_processor={pre_processor!r} has to be a function of the event")
        products = tuple(
            (self._factory(factory), name) for factory, names in dependency_names.items() for name in _names(factory, names)
        )

        def register(function: F) -> F:
            self._undecorated = [one for one in self._undecorated if one is not filter]
            if not callable(function):
                raise DecorationError(f"@processor(...) decorates a function, not {function!r}")
            self._add({(checked, rank): make_rule(function, checked, rank, pre_processor, products)})
            return function

        if isinstance(filter, FunctionType):
            self._undecorated.append(filter)
        return register

    def dependency_factory(self, factory: F) -> F:
        """
        Decorate a function that makes dependencies by name; it comes back unchanged.

        :param factory: called with a name that a processor gave for it, once an invocation; may be asynchronous.  Its own name is
            the keyword that :meth:`processor` takes.
        :raises twisted_evproc.errors.DecorationError: for a name that another factory has, or a parameter of :meth:`processor`.
        """
        name = handler_name(factory)
        if name in _RESERVED:
            raise DecorationError(
                f"a dependency factory cannot be called {name!r}, which is a parameter of processor(): give the function another "
                f"name"
            )
        self._add({}, {name: factory})
        return factory

    def add_subprocessor(self, other: EventProcessor) -> None:
        """
        Take over the processors and factories that another event processor has now.

        What is added to either later does not reach the other.  Processors keep the factories they were registered with.

        :raises twisted_evproc.errors.DecorationError: when both have a processor with the same filter and rank, or different
            factories of one name, and for what is no other event processor; nothing is taken over then.
        """
        if not isinstance(other, EventProcessor):
            raise DecorationError(f"{other!r} cannot be a subprocessor: it is no EventProcessor")
        if other is self:
            raise DecorationError(f"{self!r} cannot be its own subprocessor")
        other._check_decorated()
        self._add({key: rule.joining() for key, rule in other._rules.items()}, other._factories)

    def add_subprocessors(self, *others: EventProcessor) -> None:
        """
        Take over several, each as by :meth:`add_subprocessor`, all of them or none.
        """
        together = EventProcessor()
        for other in others:
            if other is self:
                raise DecorationError(f"{self!r} cannot be its own subprocessor")
            together.add_subprocessor(other)
        self.add_subprocessor(together)

    def add_subprocessors_in_package(self, package: ModuleType) -> None:
        """
        Take over the event processors that the modules of a package have among their names, all of them or none.

        :param package: the package; its modules are imported in the order of their names, its subpackages are not looked into.
        :raises twisted_evproc.errors.DecorationError: for what is no package.
        """
        if not hasattr(package, "__path__"):
            raise DecorationError(f"{package!r} is no package, whose modules could be looked into: import one, and give that")
        modules = [import_module(f"{package.__name__}.{found.name}") for found in iter_modules(package.__path__)]
        found = {id(thing): thing for module in modules for thing in vars(module).values() if isinstance(thing, EventProcessor)}
        self.add_subprocessors(*found.values())

    def _check_decorated(self) -> None:
        # A function may be a filter, so only this tells `@processor` above one, which registers nothing.
        if self._undecorated:
            name = qualified_name_of(self._undecorated[0])
            raise DecorationError(
                f"processor({name}) decorates no function: there, {name} is a filter.  To register it, write "
                f"@processor(filter) above it, with {{}} for every event."
            )

    def _factory(self, name: str) -> Callable[..., Any]:
        factory = self._factories.get(name)
        if factory is None:
            known = ", ".join(sorted(self._factories)) or "(none)"
            raise DecorationError(f"there is no dependency factory {name!r}; there are: {known}.  Register it first.")
        return factory

    def _add(
        self, rules: Mapping[tuple[ContentFilter, int], Rule], factories: Mapping[str, Callable[..., Any]] | None = None
    ) -> None:
        for (one, rank), rule in rules.items():
            known = self._rules.get((one, rank))
            if known is not None:
                raise DecorationError(
                    f"{rule.callee.qualified_name} and {known.callee.qualified_name} have the same filter {one!r} at the same "
                    f"rank {rank}.  Give one of them another rank."
                )
        for name, factory in (factories or {}).items():
            if self._factories.get(name, factory) is not factory:
                raise DecorationError(f"there is another dependency factory {name!r} already; give the new one another name")
        self._factories.update(factories or {})
        for key, rule in rules.items():
            self._rules[key] = rule
            self._dynamic = self._dynamic or bool(rule.resolvers)
            if self._index.add(rule, rule.filter.equalities()) and is_equality(rule.filter):
                self._certain.add(rule)
        self._plans.clear()

    # -- invoking

    def invoke(self, event: Mapping[str, Any]) -> Deferred[Any]:
        """
        Process an event.

        :return: fires with what the chosen processor returned; under ``ALL_MATCHES`` with a tuple of
            :class:`~twisted_evproc.dispatch.HandlerResult`, best match first.  Where the failure policy collects, there is such
            a result in place of a processor's value, too.  Fails with :class:`~twisted_evproc.errors.InvocationError` when
            nothing matches, with :class:`~twisted_evproc.errors.DependencyError` when a parameter has no value, and, under
            ``RAISE``, with what the processor raised.  Cancelling it cancels the processor.
        """
        firing: Deferred[Any] = self.fire(event)
        if not firing.called or type(firing.result) is not Outcome:
            return firing.addCallback(self._given)
        # Nobody else has it yet.  As a callback would have it: another Deferred would be a tenth of the whole.
        firing.result = self._given(firing.result)
        return firing

    def _given(self, outcome: Outcome) -> Any:
        if self.invocation is ALL_MATCHES:
            return outcome.results
        if self._collects:
            return next(iter(outcome.results), None)
        values = outcome.values
        return values[0] if values else outcome.value

    def fire(self, event: Mapping[str, Any]) -> Deferred[Outcome]:
        """As :meth:`invoke`, but gives the outcome."""
        try:
            if self._undecorated:
                self._check_decorated()
            if type(event) is not dict and not isinstance(event, Mapping):
                raise InvocationError(f"an event has to be a mapping, not {_shown(event)}")
            invocation = Invocation(event)
            candidates = self._index.candidates(partial(follow, event))
            if len(candidates) > 1:
                candidates.sort(key=_best_first)
            if self._dynamic and any(rule.resolvers for rule in candidates):
                return Deferred.fromCoroutine(self._fire_when_chosen(candidates, invocation))
            return self._run(self._choose(candidates, invocation), invocation)
        except Exception:
            return fail()

    async def _fire_when_chosen(self, candidates: Sequence[Rule], invocation: Invocation) -> Outcome:
        choosing = self._choosing(candidates, invocation)
        answer = None
        while True:
            try:
                rule = choosing.send(answer)
            except StopIteration as chosen:
                return await self._run(chosen.value, invocation)
            names: dict[str, Any] = {}
            answer = await matches(rule.filter, rule.resolvers, invocation, names)
            if names:
                invocation.chosen = {**invocation.chosen, rule.callee: names}

    def _choose(self, candidates: Sequence[Rule], invocation: Invocation) -> Sequence[Rule]:
        if self.invocation is FIRST_MATCH:
            for rule in candidates:
                if rule in self._certain or rule.filter.matches(invocation.event):
                    return (rule,)
            raise _no_match(invocation)
        choosing = self._choosing(candidates, invocation)
        answer = None
        while True:
            try:
                answer = choosing.send(answer).filter.matches(invocation.event)
            except StopIteration as chosen:
                return cast("Sequence[Rule]", chosen.value)

    def _choosing(self, candidates: Sequence[Rule], invocation: Invocation) -> Generator[Rule, bool | None, Sequence[Rule]]:
        # Asks, of one rule after the other, whether it matches: those who drive it know how to find that out.
        chosen: list[Rule] = []
        for rule in candidates:
            if chosen and self.invocation is not ALL_MATCHES and rule.rank < chosen[0].rank:
                break
            if (yield rule):
                chosen.append(rule)
                if self.invocation is FIRST_MATCH:
                    break
        if not chosen:
            raise _no_match(invocation)
        if len(chosen) > 1 and self.invocation is not ALL_MATCHES:
            if self.invocation is NO_MATCHES_STRICT:
                names = ", ".join(rule.callee.qualified_name for rule in chosen)
                raise InvocationError(f"several processors of rank {chosen[0].rank} match {_shown(invocation.event)}: {names}")
            return ()
        return chosen

    def _run(self, chosen: Sequence[Rule], invocation: Invocation) -> Deferred[Outcome]:
        callees = (chosen[0].callee,) if len(chosen) == 1 else tuple([rule.callee for rule in chosen])
        plan = self._plans.get(callees)
        if plan is None:
            plan = keep(self._plans, callees, Plan(callees, one_by_one=True))
        return self.run(plan, invocation, _NO_DETAILS)

    def event_of(self, argument: Invocation) -> Any:
        """See :meth:`Runner.event_of`."""
        return argument.event

    def forget_plans(self) -> None:
        """See :meth:`Runner.forget_plans`."""
        for plan in self._plans.values():
            self.choose_loop(plan)

    # -- looking

    def handlers(self) -> tuple[HandlerView, ...]:
        """The processors, best match first."""
        return tuple(
            attrs.evolve(view_of(rule.callee), phase=rule.place, where=rule.filter)
            for rule in sorted(self._rules.values(), key=_best_first)
        )

    def explain(self, event: Mapping[str, Any]) -> Explanation:
        """
        Say for every processor whether it would be invoked, or why not.  No processor is called, and no resolver: a filter that
        asks one is reported as a condition.
        """
        self._check_decorated()
        one_alone = self.invocation is not ALL_MATCHES
        alone_or_none = one_alone and self.invocation is not FIRST_MATCH
        tied: list[Rule] = []
        chosen: list[tuple[Rule, str]] = []
        others: list[tuple[Rule, str]] = []
        conditional: list[str] = []
        best: Rule | None = None
        for rule in sorted(self._rules.values(), key=_best_first):
            dynamic = bool(rule.resolvers)
            obstacle = "" if dynamic else _obstacle(rule, event)
            if obstacle:
                others.append((rule, obstacle))
            elif best is not None and alone_or_none and not dynamic and rule.rank == best.rank:
                tied.append(rule)
            elif best is not None and one_alone:
                others.append((rule, f"{best.callee.name} comes first: {_precedence(best, rule)}"))
            elif dynamic:
                chosen.append((rule, f"if {rule.filter!r} lets the event pass"))
                conditional.append(rule.callee.name)
            else:
                best = rule
                chosen.append((rule, f"unless {' or '.join(conditional)} is" if conditional and one_alone else ""))
        if tied:
            assert best is not None
            names = ", ".join(rule.callee.name for rule in (best, *tied))
            reason = f"several of rank {best.rank} match: {names}"
            chosen = [(rule, why) for rule, why in chosen if rule is not best]
            others[:0] = [(rule, reason) for rule in (best, *tied)]
        return Explanation(
            {},
            (
                *(verdict_on(rule.callee, position, reason, rule.place) for position, (rule, reason) in enumerate(chosen, 1)),
                *(verdict_on(rule.callee, None, reason, rule.place) for rule, reason in others),
            ),
        )


def _no_match(invocation: Invocation) -> InvocationError:
    return InvocationError(
        f"no processor matches {_shown(invocation.event)}.  Register a default one with the filter {{}}, or ask explain() why."
    )


def _obstacle(rule: Rule, event: Any) -> str:
    try:
        return "" if rule.filter.matches(event) else f"{rule.filter!r} does not let the event pass"
    except Exception as error:
        return f"{rule.filter!r} fails with {error!r}"


def _best_first(rule: Rule) -> tuple[int, int, int]:
    return -rule.rank, -rule.filter.specificity, rule.callee.number


def _precedence(best: Rule, other: Rule) -> str:
    if best.rank != other.rank:
        return f"its rank is {best.rank}"
    if best.filter.specificity != other.filter.specificity:
        return f"its filter is more specific ({best.filter.specificity} clauses)"
    return "it was registered first"


def _shown(event: object) -> str:
    try:
        return _short.repr(event)
    except Exception:
        return f"a {type(event).__name__} that cannot be shown"
