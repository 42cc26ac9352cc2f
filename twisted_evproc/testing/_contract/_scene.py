"""What the tests of the dispatcher's contract share."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent
from twisted.trial.unittest import SynchronousTestCase

from ...dispatch import HandlerID, Outcome
from .._deferreds import is_pending, result_now

#: The keywords that every dispatcher under test allows.
KEYWORDS = ("event_type", "role", "user")

#: The phases it has, unless a test asks for others.
PHASES = ("before", "during", "after")


class Scene:
    """
    A dispatcher, its clock, and handlers that write down when they are called and finish when told.

    :ivar phases: the dispatcher's phases.
    :ivar calls: the names of the handlers, in the order they were called.
    :ivar pending: by name of a handler the Deferred it has returned last.
    """

    def __init__(self, dispatcher: Any, clock: Clock, phases: Sequence[str]) -> None:
        self.dispatcher = dispatcher
        self.clock = clock
        self.phases = tuple(phases)
        self.calls: list[str] = []
        self.pending: dict[str, Deferred[Any]] = {}

    def plain(self, name: str, phase: str = "during", *, value: Any = None, **options: Any) -> HandlerID:
        """Add a handler that returns a value."""

        def handler(event: Any) -> Any:
            self.calls.append(name)
            return value

        return self.add(handler, phase, handler_name=name, **options)

    def failing(self, name: str, phase: str = "during", *, error: BaseException | None = None, **options: Any) -> HandlerID:
        """Add a handler that raises."""

        def handler(event: Any) -> None:
            self.calls.append(name)
            raise error if error is not None else ValueError(name)

        return self.add(handler, phase, handler_name=name, **options)

    def slow(self, name: str, phase: str = "during", **options: Any) -> HandlerID:
        """Add a handler whose Deferred is to be found in ``pending``."""

        def handler(event: Any) -> Deferred[Any]:
            self.calls.append(name)
            deferred: Deferred[Any] = Deferred()
            self.pending[name] = deferred
            return deferred

        return self.add(handler, phase, handler_name=name, **options)

    def add(self, handler: Callable[[Any], Any], phase: str = "during", **options: Any) -> HandlerID:
        """Add any handler."""
        handler_id: HandlerID = result_now(self.dispatcher.add_event_handler(handler, phase, **options))
        return handler_id

    def fire(self, event: Any = "event", /, **details: Any) -> Deferred[Outcome]:
        """Fire an event."""
        deferred: Deferred[Outcome] = self.dispatcher.fire_event(event, **details)
        return deferred

    def heard(self, event: Any = "event", /, **details: Any) -> list[str]:
        """The names of the handlers that one more event calls."""
        self.calls.clear()
        result_now(self.fire(event, **details))
        return list(self.calls)


class Contract:
    """Makes scenes; see :class:`DispatcherContract`."""

    def make_dispatcher(self, **options: Any) -> Any:
        """See :class:`DispatcherContract`."""
        raise NotImplementedError(f"{type(self).__name__} has to define make_dispatcher(**options)")

    def scene(self, *, phases: Sequence[str] = PHASES, started: bool = True, **options: Any) -> Scene:
        """A dispatcher, started unless that is not wanted, with its surroundings."""
        if isinstance(self, SynchronousTestCase):
            # What handlers fail with is logged; trial would take that for an error of the test.
            self.addCleanup(self.flushLoggedErrors)
        clock = Clock()
        dispatcher = self.make_dispatcher(allowed_match_spec_keywords=KEYWORDS, phases=phases, clock=clock, **options)
        if started:
            result_now(dispatcher.start())
        return Scene(dispatcher, clock, phases)


class Raised:
    """
    What a block has raised.

    :ivar value: the exception.
    """

    value: BaseException


@contextmanager
def raises(*types: type[BaseException], match: str = "") -> Iterator[Raised]:
    """
    Check that a block raises.

    :param types: what it may raise.
    :param match: a regular expression to be found in the message.
    """
    raised = Raised()
    try:
        yield raised
    except types as error:
        raised.value = error
        if not re.search(match, str(error)):
            raise AssertionError(f"{match!r} is not to be found in the message: {error}") from error
    else:
        raise AssertionError(f"{' or '.join(cls.__name__ for cls in types)} was not raised")


def refused(call: Callable[[], object], error: type[BaseException], match: str = "") -> None:
    """Check that a call raises at once, not by a Deferred."""
    with raises(error, match=match):
        call()


def fired(deferred: Deferred[Any]) -> bool:
    """Whether a Deferred has fired."""
    return not is_pending(deferred)


def failures_in(logged: Sequence[LogEvent]) -> list[type[BaseException]]:
    """The failures that were logged."""
    return [event["log_failure"].type for event in logged if event.get("log_failure") is not None]


def dropped_in(logged: Sequence[LogEvent]) -> list[LogEvent]:
    """What Twisted has said about Deferreds whose failure nobody has looked at."""
    gc.collect()
    return [event for event in logged if event.get("log_namespace") == "twisted.internet.defer"]
