"""Handler objects: what a queued event is given to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TextIO, TypeAlias

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from ..dispatch import forwarded, settle
from ..errors import ConfigurationError, ExecSourceError, HandlersFailed
from ..interfaces import IEventHandler
from ._call import Caller, eventually, in_thread
from ._event import QueuedEvent

#: The details an event is fired with: fixed ones, or made from the event.
Details: TypeAlias = Mapping[str, Any] | Callable[[QueuedEvent], Mapping[str, Any]]


@implementer(IEventHandler)
class EventHandler:
    """A handler object, to be subclassed; see :class:`~twisted_evproc.interfaces.IEventHandler`."""

    def process_event(self, event: QueuedEvent) -> Any:
        """See :meth:`IEventHandler.process_event`."""
        raise NotImplementedError(f"{type(self).__qualname__} has to define process_event(event)")

    def __str__(self) -> str:
        return type(self).__name__


class PrintEventHandler(EventHandler):
    """Prints events, one a line."""

    def __init__(self, file: TextIO | None = None) -> None:
        """
        :param file: where to; ``None`` for standard output as it is at the time of printing.
        """
        if file is not None and not callable(getattr(file, "write", None)):
            raise ConfigurationError(f"file={file!r} cannot be written to: give a text file, or None for standard output")
        self._file = file

    def process_event(self, event: QueuedEvent) -> bool:
        """See :meth:`IEventHandler.process_event`."""
        print(event, file=sys.stdout if self._file is None else self._file, flush=True)
        return True

    def __str__(self) -> str:
        if self._file is None:
            return "print to standard output"
        return f"print to {getattr(self._file, 'name', None) or f'a {type(self._file).__name__}'}"


class ExecEventHandler(EventHandler):
    """
    Executes Python source that the program itself gives.

    The source is compiled when the handler is made.  Nothing that came with an event is executed, and the event is not handed to
    the source.
    """

    def __init__(self, source: str, *, namespace: dict[str, Any] | None = None) -> None:
        """
        :param source: statements.  Never text that came from outside the program.
        :param namespace: the global names the source sees and sets, the same ones each time; ``None`` for none but the builtins.
        :raises twisted_evproc.errors.ExecSourceError: when the source does not compile.
        :raises twisted_evproc.errors.ConfigurationError: when the namespace is no ``dict``.
        """
        if not isinstance(source, str):
            raise ExecSourceError(f"the source of an ExecEventHandler has to be text, not {source!r:.80}")
        if namespace is not None and not isinstance(namespace, dict):
            raise ConfigurationError(
                f"namespace={namespace!r:.80} has to be a dict, the one kind of mapping that exec() can work in"
            )
        try:
            # Not with the __future__ statements of this module.
            self._code = compile(source, "<ExecEventHandler>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ExecSourceError(f"the source of an ExecEventHandler does not compile: {error}") from error
        self._source = source
        self._namespace: dict[str, Any] = {} if namespace is None else namespace

    def process_event(self, event: QueuedEvent) -> bool:
        """See :meth:`IEventHandler.process_event`."""
        exec(self._code, self._namespace)  # noqa: S102  the program's own source, compiled before any event came
        return True

    def __str__(self) -> str:
        first, *rest = self._source.strip().splitlines() or [""]
        return f"exec {first!r}{' ...' if rest else ''}"


class ChainEventHandler(EventHandler):
    """
    Hands an event to several handlers, one after the other, each after the one before has ended.

    The first false result ends the chain, and so does a failure.
    """

    def __init__(self, *handlers: Any) -> None:
        """
        :param handlers: :class:`~twisted_evproc.interfaces.IEventHandler` objects.
        """
        self._handlers = tuple(check_handler(handler, f"handler {number}") for number, handler in enumerate(handlers, 1))

    def process_event(self, event: QueuedEvent) -> Any:
        """
        See :meth:`IEventHandler.process_event`.

        :return: the false result that ended the chain, or that of the last handler; ``True`` for an empty chain.
        """
        result: Any = True
        for position, handler in enumerate(self._handlers):
            result = handler.process_event(event)
            if isinstance(result, Deferred | Coroutine):
                # Nothing is done with it here: this may be a thread, and it is for the reactor to wait for it.
                return self._rest(event, result, position + 1, in_thread.get())
            if not result:
                break
        return result

    async def _rest(self, event: QueuedEvent, unsettled: Any, position: int, threaded: Caller | None) -> Any:
        result = await eventually(unsettled)
        for handler in self._handlers[position:]:
            if not result:
                break
            # This is the reactor's thread, wherever the chain began.
            result = await eventually(threaded(handler, event) if threaded else handler.process_event(event))
        return result

    def __str__(self) -> str:
        return f"chain of {', then '.join(map(str, self._handlers)) or 'nothing'}"


class RaiseEventHandler(EventHandler):
    """
    Fails with an error that was known beforehand.

    So a source tells of input that it could not make an event of: it puts the input as data of an event with this handler, and
    the pump's error handler hears of it in its turn.
    """

    def __init__(self, error: Exception) -> None:
        self.error = error

    def process_event(self, event: QueuedEvent) -> Any:
        """See :meth:`IEventHandler.process_event`."""
        raise self.error

    def __str__(self) -> str:
        return f"raise {type(self.error).__name__}"


class DispatchEventHandler(EventHandler):
    """Hands the data of queued events to a dispatcher or a processor, and waits for what comes of it."""

    def __init__(self, dispatcher: Any, details: Details | None = None) -> None:
        """
        :param dispatcher: an :class:`~twisted_evproc.interfaces.IEventDispatcher`, a
            :class:`~twisted_evproc.processing.Processor` or an :class:`~twisted_evproc.processing.EventProcessor`.
        :param details: what a dispatcher's events are fired with: a mapping, or a function that makes one from the
            :class:`QueuedEvent`.  Processors take none.
        :raises twisted_evproc.errors.ConfigurationError: for anything else.
        """
        self._dispatcher = dispatcher
        self._details = details
        if details is not None and not callable(details) and not isinstance(details, Mapping):
            raise ConfigurationError(f"details={details!r} has to be a mapping, or a function of the queued event that makes one")
        if isinstance(details, Mapping) and not all(isinstance(keyword, str) for keyword in details):
            raise ConfigurationError(f"details={details!r} has to have keywords for keys, which are text")
        if isinstance(dispatcher, type):
            raise ConfigurationError(f"{dispatcher!r} is a class: give an instance of it, {dispatcher.__name__}(...)")
        # By method, not by class: dispatchers of other makes are welcome, and processors are siblings that this package must not
        # import.
        self._hand_over: Callable[[QueuedEvent], Any]
        if callable(getattr(dispatcher, "fire_event", None)):
            self._hand_over = self._fire
        else:
            take = getattr(dispatcher, "process", None) or getattr(dispatcher, "invoke", None)
            if not callable(take):
                raise ConfigurationError(
                    f"{dispatcher!r} takes no events: it has to be an EventDispatcher, a Processor or an EventProcessor"
                )
            if details is not None:
                raise ConfigurationError(
                    f"{dispatcher!r} chooses handlers by the event alone and takes no details; leave them out"
                )
            self._hand_over = lambda event: _true(take(event.data))

    def process_event(self, event: QueuedEvent) -> Any:
        """
        See :meth:`IEventHandler.process_event`.

        :return: ``True``, when a dispatcher's outcome has no failure; fails with the failure, or with
            :class:`~twisted_evproc.errors.HandlersFailed` for several.
        """
        return self._hand_over(event) if in_thread.get() is None else self._when_on_reactor(event)

    async def _when_on_reactor(self, event: QueuedEvent) -> Any:
        # Dispatchers belong to the reactor's thread: a pump that works in threads runs coroutines there.
        return await eventually(self._hand_over(event))

    def _fire(self, event: QueuedEvent) -> Any:
        details = self._details(event) if callable(self._details) else self._details or {}
        if not isinstance(details, Mapping):
            raise ConfigurationError(f"details have to be a mapping, but the function for them gave {details!r:.80}")
        found = forwarded(settle(self._dispatcher.fire_event(event.data, **details)))
        if isinstance(found, Deferred):
            return found.addCallback(_without_failures)
        if isinstance(found, Failure):
            return found
        return _without_failures(found)

    def __str__(self) -> str:
        return f"dispatch to {self._dispatcher!r}"


def _true(returned: Any) -> Any:
    # A handler's falsy result is its own affair: it says nothing about whether the event was processed.
    found = forwarded(settle(returned))
    if isinstance(found, Deferred):
        return found.addCallback(lambda _: True)
    return found if isinstance(found, Failure) else True


def _without_failures(outcome: Any) -> bool:
    failures: Sequence[Failure] = getattr(outcome, "failures", ())
    if len(failures) == 1:
        failures[0].raiseException()
    if failures:
        errors = [failure.value for failure in failures if isinstance(failure.value, Exception)]
        raise HandlersFailed(f"{len(errors)} handlers failed for event {outcome.event!r}", errors, outcome)
    return True


def check_handler(handler: Any, what: str) -> Any:
    """
    A handler object, if it is one.

    :raises twisted_evproc.errors.ConfigurationError: for anything else.
    """
    if isinstance(handler, type) or not callable(getattr(handler, "process_event", None)):
        raise ConfigurationError(
            f"{what} is {handler!r}, which has no process_event(event): give an event handler, such as PrintEventHandler() or "
            f"DispatchEventHandler(dispatcher)"
        )
    return handler


def as_handler(target: Any, what: str) -> Any:
    """
    The handler object for what a user gave: itself, or the one that hands events to a dispatcher or processor.

    :raises twisted_evproc.errors.ConfigurationError: for anything else.
    """
    if target is None or callable(getattr(target, "process_event", None)):
        return target if target is None else check_handler(target, what)
    if any(callable(getattr(target, name, None)) for name in ("fire_event", "process", "invoke")) and not isinstance(
        target, type
    ):
        return DispatchEventHandler(target)
    return check_handler(target, what)
