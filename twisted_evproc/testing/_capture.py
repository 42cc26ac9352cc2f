"""What is fired while a block runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, overload

from ..dispatch import HandlerResult, Outcome
from ..errors import ConfigurationError, KeywordNotAllowed
from ..matching import ANY, Matcher, MatchSpec, as_filter
from ._outcomes import made_outcome

if TYPE_CHECKING:
    from ..dispatch import HandlerID
    from ..interfaces import Filter, FiringView, Predicate


class Fired:
    """
    One event that was fired.

    :ivar event: the event.
    :ivar details: the keyword arguments it was fired with, read-only.
    :ivar outcome: what came of it; ``None`` while it is under way, and where it was cancelled.
    :ivar over: whether it is under way no more.
    """

    def __init__(self, event: Any, details: Mapping[str, Any], outcome: Outcome | None = None) -> None:
        self.event = event
        self.details: Mapping[str, Any] = MappingProxyType(dict(details))
        self.outcome = outcome
        self.over = outcome is not None
        self._results: list[HandlerResult] = []

    @property
    def results(self) -> tuple[HandlerResult, ...]:
        """What handlers have done: of the outcome if there is one, otherwise of those that have ended so far."""
        return tuple(self._results) if self.outcome is None else self.outcome.results

    @property
    def state(self) -> str:
        """In one word: ``running``, ``cancelled``, ``handled`` or ``unhandled``."""
        if self.outcome is None:
            return "cancelled" if self.over else "running"
        return "handled" if self.outcome.handled else "unhandled"

    def __repr__(self) -> str:
        shown = "".join(f", {name}={value!r}" for name, value in self.details.items())
        return f"<Fired {self.event!r}{shown}: {self.state}>"


class Captured(Sequence[Fired]):
    """
    What was fired, in the order of firing.

    It grows while its block runs; firings that began there are followed to their end, also behind it.

    :ivar remark: what a reader should know when nothing is in it; may be empty.
    """

    def __init__(self, fired: Sequence[Fired] = ()) -> None:
        self._fired = list(fired)
        self.remark: Callable[[], str] = str

    @property
    def events(self) -> list[Any]:
        """The events alone."""
        return [fired.event for fired in self._fired]

    def matching(self, where: Filter | Predicate | Mapping[str, Any] | None = None, **match_spec: Any) -> Captured:
        """
        Those that a handler with these options would hear.

        :param where: a filter, a mapping of path to value, or a predicate over the event.
        :param match_spec: keywords and the values, or matchers, that the details need to have.
        """
        found = Captured([fired for fired in self._fired if not misses(fired, wishes(where=where, details=match_spec))])
        found.remark = self.remark
        return found

    @overload
    def __getitem__(self, index: int) -> Fired: ...
    @overload
    def __getitem__(self, index: slice) -> Captured: ...
    def __getitem__(self, index: int | slice) -> Fired | Captured:
        return Captured(self._fired[index]) if isinstance(index, slice) else self._fired[index]

    def __len__(self) -> int:
        return len(self._fired)

    def __repr__(self) -> str:
        return f"<Captured {self._fired!r}>"


@contextmanager
def capture(
    dispatcher: Any, where: Filter | Predicate | Mapping[str, Any] | None = None, **match_spec: Any
) -> Iterator[Captured]:
    """
    Record what a dispatcher fires while a ``with`` block runs.  Handlers run as ever.

    Events that nobody handles are recorded too.  What is fired while the dispatcher is not started, or what it refuses, is not:
    that is no firing.

    :param dispatcher: an :class:`~twisted_evproc.dispatch.EventDispatcher`, one of the processors, a :class:`FakeDispatcher`, or
        whatever else can be observed by ``add_observer``.
    :param where: a filter, a mapping of path to value, or a predicate over the event: record no others.
    :param match_spec: keywords and the values, or matchers, that the details need to have: record no others.
    :return: gives a :class:`Captured`.
    :raises twisted_evproc.errors.ConfigurationError: for something that cannot be observed.
    :raises twisted_evproc.errors.KeywordNotAllowed: for a keyword with which nothing can be fired there.
    """
    if not callable(getattr(dispatcher, "add_observer", None)):
        raise ConfigurationError(f"{dispatcher!r} cannot be captured: it has no add_observer()")
    allowed = getattr(dispatcher, "allowed_match_spec_keywords", ())
    if allowed is not None and not set(match_spec) <= set(allowed):
        raise KeywordNotAllowed(set(match_spec) - set(allowed), allowed, repr(dispatcher))
    recorder = Recorder(dispatcher, where, match_spec)
    recorder.begin()
    try:
        yield recorder.captured
    finally:
        recorder.end()


class Recorder:
    """Observes a dispatcher, and what nobody handles where that makes no firing."""

    def __init__(self, dispatcher: Any, where: Any, match_spec: Mapping[str, Any]) -> None:
        self.captured = Captured()
        self.captured.remark = self._remark
        self._dispatcher = dispatcher
        self._wishes = wishes(where=where, details=match_spec)
        self._listens = callable(getattr(dispatcher, "on_unhandled", None))
        self._open = False
        self._observes = False
        self._under_way: dict[FiringView, Fired] = {}

    def begin(self) -> None:
        self._open = self._observes = True
        self._dispatcher.add_observer(self)
        if self._listens:
            # As soon as there is one such listener, events that nobody wants go there and make no firing: with ours, always.
            self._dispatcher.on_unhandled(self._unhandled)

    def end(self) -> None:
        self._open = False
        if self._listens:
            self._dispatcher.remove_unhandled_listener(self._unhandled)
        self._leave()

    def _leave(self) -> None:
        if self._observes and not self._open and not self._under_way:
            self._observes = False
            self._dispatcher.remove_observer(self)

    def _remark(self) -> str:
        running = getattr(self._dispatcher, "running", True)
        return "" if running else f"  {self._dispatcher!r} is not started: call start() first."

    def _take(self, event: Any, details: Mapping[str, Any]) -> Fired | None:
        if not self._open:
            return None
        fired = Fired(event, details)
        if misses(fired, self._wishes):
            return None
        self.captured._fired.append(fired)
        return fired

    def _unhandled(self, event: Any, details: Mapping[str, Any]) -> None:
        fired = self._take(event, details)
        if fired is not None:
            fired.over = True
            fired.outcome = made_outcome(event, details)

    def firing_started(self, firing: FiringView) -> None:
        fired = self._take(firing.event, firing.details)
        if fired is not None:
            self._under_way[firing] = fired

    def handler_started(self, firing: FiringView, handler_id: HandlerID, name: str, phase: str) -> None:
        pass

    def handler_ended(self, firing: FiringView, result: HandlerResult) -> None:
        if firing in self._under_way:
            self._under_way[firing]._results.append(result)

    def firing_ended(self, firing: FiringView, outcome: Outcome | None) -> None:
        fired = self._under_way.pop(firing, None)
        if fired is not None:
            fired.outcome = outcome
            fired.over = True
        self._leave()


Wish = Callable[[Fired], str]


def wishes(*, event: Any = ANY, where: Any = None, details: Mapping[str, Any]) -> list[Wish]:
    """
    What is asked of a firing, one function each: gives why it is not met, or nothing.

    :param event: a value, or a matcher.
    """
    found: list[Wish] = []
    if event is not ANY:
        found.append(lambda fired: "" if accepts(event, fired.event) else f"event is {fired.event!r}")
    for keyword, value in details.items():
        found.append(_detail_wish(keyword, value))
    if where is not None:
        found.append(_where_wish(where))
    return found


def misses(fired: Fired, wanted: Sequence[Wish]) -> list[str]:
    """Why a firing is not what is asked for, in words; empty if it is."""
    return [miss for wish in wanted if (miss := wish(fired))]


def accepts(wanted: Any, value: Any) -> bool:
    return bool(wanted.matches(value) if isinstance(wanted, Matcher) else wanted is value or wanted == value)


def _detail_wish(keyword: str, value: Any) -> Wish:
    spec = MatchSpec({keyword: value})

    def wish(fired: Fired) -> str:
        if spec.mismatch(fired.details) is None:
            return ""
        found = fired.details.get(keyword)
        return f"{keyword} is not there" if keyword not in fired.details else f"{keyword} is {found!r}"

    return wish


def _where_wish(where: Any) -> Wish:
    event_filter = as_filter(where)

    def wish(fired: Fired) -> str:
        try:
            return "" if event_filter.matches(fired.event) else f"where={where!r} does not let it pass"
        except Exception as error:  # noqa: BLE001  a filter of the user's over whatever was fired: it fails for that event alone
            return f"where={where!r} fails with {error!r}"

    return wish
