"""Calling a handler object, here or in a thread."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from .._reactor import default_clock
from ..dispatch import arrived, forwarded, settle
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorFromThreads, IReactorThreads, IReactorTime

    from ..interfaces import Eventual, IEventHandler
    from ._event import QueuedEvent

T = TypeVar("T")

#: The event whose handler we are in, also behind its awaits.
current_event: ContextVar[QueuedEvent | None] = ContextVar("twisted_evproc_current_event", default=None)
#: Gives what there is: a plain value, a Failure, or a Deferred that has not fired.
Caller: TypeAlias = "Callable[[IEventHandler, QueuedEvent], Any]"

#: In a thread that a handler was sent to: the way to send it another one, from the reactor.
in_thread: ContextVar[Caller | None] = ContextVar("twisted_evproc_in_thread", default=None)


def call_here(handler: IEventHandler, event: QueuedEvent) -> Any:
    """Caller a handler in a context of its own, and settle what it returns."""
    context = copy_context()
    _ = context.run(current_event.set, event)
    try:
        return settle(context.run(handler.process_event, event), context)
    except Exception:
        return Failure()


def threaded_call(clock: IReactorTime | None) -> Caller:
    """
    A way of calling handlers on the reactor's thread pool; what they return is waited for on the reactor.

    :param clock: the reactor where it has threads; otherwise the global one is taken.
    """
    reactor = _with_threads(clock)

    def call(handler: IEventHandler, event: QueuedEvent) -> Any:
        context = copy_context()
        _ = context.run(current_event.set, event)
        thread_context = context.copy()
        _ = thread_context.run(in_thread.set, call)
        pool = reactor.getThreadPool()
        returned = deferToThreadPool(
            cast("IReactorFromThreads", reactor), pool, thread_context.run, _plainly, handler.process_event, event
        )
        return returned.addCallback(lambda box: forwarded(settle(box[0], context)))

    return call


def _plainly(function: Callable[[Any], Any], event: Any) -> tuple[Any]:
    # In a box: a Deferred is not to be touched before it is back on the reactor's thread.
    return (function(event),)


async def eventually(returned: Eventual[T]) -> T:
    """What a user's function returned, once it is there; a coroutine runs on its own, and cancelling ends the waiting at once."""
    return cast("T", await arrived(forwarded(settle(returned))))


def _with_threads(clock: IReactorTime | None) -> IReactorThreads:
    reactor: Any = clock if callable(getattr(clock, "callFromThread", None)) else default_clock(None)
    if not callable(getattr(reactor, "getThreadPool", None)):
        raise ConfigurationError(f"in_thread=True needs a reactor that has threads, which {reactor!r} has not")
    return cast("IReactorThreads", reactor)
