"""
Synchronous programs: the same objects, with calls that wait, for any thread but the reactor's.

Call :func:`setup` once in each process, behind any fork.  Importing this module starts nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from twisted.internet.defer import Deferred

from . import _bridge
from ._bridge import setup
from ._options import seconds
from .errors import ConfigurationError
from .interfaces import IBackgroundUtility, IEventDispatcher
from .processing import EventProcessor, Processor
from .sources import EventPump

if TYPE_CHECKING:
    from .dispatch import EventDispatcher, Explanation, HandlerID, HandlerView, Outcome
    from .interfaces import Filter, Handler, IEventGenerator, IEventHandler, IEventSource, Predicate
    from .processing import Event
    from .sources import PumpStatistics, QueuedEvent

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


@overload
def call_in_reactor(function: Callable[..., Deferred[T]], /, *args: Any, timeout: float | None = None) -> T: ...
@overload
def call_in_reactor(function: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, timeout: float | None = None) -> T: ...
@overload
def call_in_reactor(function: Callable[..., T], /, *args: Any, timeout: float | None = None) -> T: ...
def call_in_reactor(function: Callable[..., Any], /, *args: Any, timeout: float | None = None) -> Any:
    """
    Call a function in the reactor's thread, and wait for what it returns.

    For what the classes here have no method for, and for several calls that belong together.

    :param function: may return a value, a coroutine, or a Deferred, which is then ours to cancel.
    :param timeout: seconds, or ``None`` for no limit.
    :return: the value; what the function raises is raised here, with its traceback.
    :raises twisted_evproc.errors.BlockingError: as for every call; see :class:`BlockingDispatcher`.
    :raises twisted_evproc.errors.ConfigurationError: for what is no function, and a bad time-out.
    """
    if not callable(function):
        raise ConfigurationError(f"call_in_reactor() takes a function and its arguments, not {function!r}")
    return _bridge.call_in_reactor(function, *args, timeout=seconds(timeout, "timeout"))


class _Caller:
    """What has calls that wait."""

    def __init__(self, behind: Any, timeout: float | None) -> None:
        self._behind = behind
        self._timeout = seconds(timeout, "timeout")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._behind!r}>"

    def with_timeout(self, timeout: float | None) -> Self:
        """
        The same object behind it, and another time-out.

        :param timeout: seconds for each call, or ``None`` for no limit.
        :raises twisted_evproc.errors.ConfigurationError: for what is neither.
        """
        other = copy(self)
        other._timeout = seconds(timeout, "timeout")
        return other

    def _call(self, method: str, /, *args: Any, **options: Any) -> Any:
        return self._wait(method, self._timeout, *args, **options)

    def _call_with_limit(self, method: str, limit: float | None, /, *args: Any, **options: Any) -> Any:
        # The call itself ends within its limit; our own time-out, on top of that, is for a reactor that is held up.
        ours = self._timeout if limit is None or self._timeout is None else self._timeout + limit
        return self._wait(method, ours, *args, **options)

    def _wait(self, method: str, limit: float | None, /, *args: Any, **options: Any) -> Any:
        function = partial(getattr(self._behind, method), *args, **options)
        return _bridge.call_in_reactor(function, timeout=limit, call=f"{method}() of {self._behind!r}")


class BlockingUtility(_Caller):
    """
    Starts and stops an :class:`~twisted_evproc.interfaces.IBackgroundUtility`.

    What is said of calls with :class:`BlockingDispatcher` holds here too.
    """

    def __init__(self, utility: IBackgroundUtility, timeout: float | None = None) -> None:
        """
        :param utility: what is started and stopped.
        :param timeout: seconds for each call, or ``None`` for no limit.
        :raises twisted_evproc.errors.ConfigurationError: for something else.
        """
        if not IBackgroundUtility.providedBy(utility):
            raise ConfigurationError(f"{type(self).__name__} takes what can be started and stopped, not {utility!r}")
        super().__init__(utility, timeout)

    @property
    def running(self) -> bool:
        """Whether it was started, and not stopped since."""
        return bool(self._behind.running)

    def start(self) -> None:
        """Start it, and wait until it works; see :meth:`IBackgroundUtility.start`."""
        self._call("start")

    def stop(self, timeout: float | None = None) -> None:
        """
        Stop it, and wait until nothing is left to do; see :meth:`IBackgroundUtility.stop`.

        :param timeout: seconds after which the work that is left is cancelled.
        """
        self._call_with_limit("stop", seconds(timeout, "timeout"), timeout)


class BlockingDispatcher(BlockingUtility):
    """
    A dispatcher for synchronous code: from any thread but the reactor's, and each call waits for what comes of it.

    Handlers run in the reactor's thread, in a copy of the caller's context: they see its context variables, and what they set is
    gone with the call.  Errors are raised in the caller with the traceback of the handler.  Each call

    * fails with :class:`~twisted_evproc.errors.CalledFromReactor`, :class:`~twisted_evproc.errors.NotSetUp` or
      :class:`~twisted_evproc.errors.ForkedProcess` before anything is done;
    * fails with :class:`~twisted_evproc.errors.BlockingTimeout` when it takes longer than ``timeout``.  It is cancelled then, and
      also when the waiting is interrupted by Ctrl-C.  A handler that does not return cannot be ended by that;
    * fails with :class:`~twisted_evproc.errors.BlockingError` when the reactor stops.
    """

    def __init__(self, dispatcher: EventDispatcher, timeout: float | None = None) -> None:
        """
        :param dispatcher: which other code may use too: in the reactor's thread, or through another object like this.
        :param timeout: seconds for each call, or ``None`` for no limit.
        :raises twisted_evproc.errors.ConfigurationError: for what is no dispatcher, or no number of seconds.
        """
        if not IEventDispatcher.providedBy(dispatcher):
            raise ConfigurationError(f"BlockingDispatcher takes an EventDispatcher, not {dispatcher!r}")
        super().__init__(dispatcher, timeout)

    def fire_event(self, event: Any, /, **event_details: Any) -> Outcome:
        """
        Fire an event, and wait for its outcome; see :meth:`IEventDispatcher.fire_event`.

        All keywords are details; for another time-out there is :meth:`with_timeout`.
        """
        outcome: Outcome = self._call("fire_event", event, **event_details)
        return outcome

    def emitter(self, **event_details: Any) -> Callable[[Any], Outcome]:
        """
        A callable that fires events with details fixed now, and waits.

        :return: takes the event, gives the outcome.
        """
        emit = self._call("emitter", **event_details)
        call = f"an emitter of {self._behind!r}"

        def emit_and_wait(event: Any) -> Outcome:
            outcome: Outcome = _bridge.call_in_reactor(emit, event, timeout=self._timeout, call=call)
            return outcome

        return emit_and_wait

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
    ) -> HandlerID:
        """
        Register a handler; see :meth:`IEventDispatcher.add_event_handler`.

        :param listen_fn: runs in the reactor's thread, so it must not block: it may go to another one with ``deferToThread()``.
        """
        handler_id: HandlerID = self._call(
            "add_event_handler",
            listen_fn,
            phase,
            use_weakref,
            handler_name=handler_name,
            where=where,
            requires=requires,
            required_by=required_by,
            max_calls=max_calls,
            timeout=timeout,
            **match_spec,
        )
        return handler_id

    def handler(self, phase: str, **options: Any) -> Callable[[F], F]:
        """
        Decorate a function to register it; the function comes back unchanged.

        :param phase: the name of its phase.
        :param options: whatever else :meth:`add_event_handler` takes, match-spec included.
        """

        def register(function: F) -> F:
            _ = self.add_event_handler(function, phase, **options)
            return function

        return register

    def remove_event_handler(self, event_handler_id: HandlerID) -> None:
        """Remove a handler, and wait until no call of it is running; see :meth:`IEventDispatcher.remove_event_handler`."""
        self._call("remove_event_handler", event_handler_id)

    def handlers(self) -> tuple[HandlerView, ...]:
        """The registrations, by phase, then in the order they were made."""
        views: tuple[HandlerView, ...] = self._call("handlers")
        return views

    def explain(self, event: Any = None, /, **event_details: Any) -> Explanation:
        """What would become of an event; see :meth:`EventDispatcher.explain`."""
        explanation: Explanation = self._call("explain", event, **event_details)
        return explanation

    def wait_for_event(
        self, timeout: float | None = None, where: Filter | Predicate | Mapping[str, Any] | None = None, **match_spec: Any
    ) -> Any:
        """
        Wait for the next matching event, which another thread or the reactor's fires.

        :param timeout: seconds after which it fails with :class:`~twisted_evproc.errors.WaitTimeout`; ``None`` leaves it to the
            time-out of this object.
        :param where: a filter or predicate over the event.
        :param match_spec: as for a handler.
        :return: the event.
        """
        return self._call_with_limit("wait_for_event", seconds(timeout, "timeout"), timeout, where, **match_spec)


class BlockingProcessor(_Caller):
    """
    A processor, by name or by content, for synchronous code.

    What is said of calls with :class:`BlockingDispatcher` holds here too.
    """

    def __init__(self, processor: Processor | EventProcessor, timeout: float | None = None) -> None:
        """
        :param processor: which other code may use too: in the reactor's thread, or through another object like this.
        :param timeout: seconds for each call, or ``None`` for no limit.
        :raises twisted_evproc.errors.ConfigurationError: for what is no processor, or no number of seconds.
        """
        if not isinstance(processor, Processor | EventProcessor):
            raise ConfigurationError(f"BlockingProcessor takes a Processor or an EventProcessor, not {processor!r}")
        super().__init__(processor, timeout)

    def process(self, event: Event) -> Any:
        """
        Process an event by name, and what its handlers return; see :meth:`Processor.process`.

        :raises twisted_evproc.errors.ConfigurationError: when the processor is one by content.
        """
        if not isinstance(self._behind, Processor):
            raise ConfigurationError(f"process() is for a Processor; {self._behind!r} is an EventProcessor: call invoke()")
        return self._call("process", event)

    def invoke(self, event: Mapping[str, Any]) -> Any:
        """
        Process an event by content; see :meth:`EventProcessor.invoke`.

        :raises twisted_evproc.errors.ConfigurationError: when the processor is one by name.
        """
        if not isinstance(self._behind, EventProcessor):
            raise ConfigurationError(f"invoke() is for an EventProcessor; {self._behind!r} is a Processor: call process()")
        return self._call("invoke", event)


class BlockingPump(BlockingUtility):
    """
    An :class:`~twisted_evproc.sources.EventPump` for synchronous code.

    What is said of calls with :class:`BlockingDispatcher` holds here too.
    """

    def __init__(self, pump: EventPump, timeout: float | None = None) -> None:
        """
        :param pump: which other code may use too: in the reactor's thread, or through another object like this.
        :param timeout: seconds for each call, or ``None`` for no limit.
        :raises twisted_evproc.errors.ConfigurationError: for what is no pump, or no number of seconds.
        """
        if not isinstance(pump, EventPump):
            raise ConfigurationError(f"BlockingPump takes an EventPump, not {pump!r}")
        super().__init__(pump, timeout)

    def error_handler(self, handler: IEventHandler | None) -> None:
        """Let a handler hear of failures; see :meth:`EventPump.error_handler`."""
        self._call("error_handler", handler)

    def add_event_generator(self, generator: IEventGenerator | IEventSource, poll_interval: float | None = None) -> None:
        """Take events from a source; see :meth:`EventPump.add_event_generator`."""
        self._call("add_event_generator", generator, poll_interval)

    def remove_event_generator(self, generator: IEventGenerator | IEventSource) -> None:
        """Stop a source and forget it, and wait until it has stopped."""
        self._call("remove_event_generator", generator)

    def put(self, event: QueuedEvent) -> bool:
        """
        Put an event into the queue, and wait while there is no room, if the pump does that.

        :return: whether it was taken.
        """
        return bool(self._call("put", event))

    def statistics(self) -> PumpStatistics:
        """What it has done so far."""
        statistics: PumpStatistics = self._call("statistics")
        return statistics


__all__ = [
    "BlockingDispatcher",
    "BlockingProcessor",
    "BlockingPump",
    "BlockingUtility",
    "call_in_reactor",
    "setup",
]
