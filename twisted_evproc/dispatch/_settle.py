"""What a handler returned: a value, a failure, or the promise of one."""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

#: Types that are certainly plain values: asking ``isinstance`` of a Deferred costs more than a call.
PLAIN_TYPES = frozenset({type(None), bool, int, float, str, bytes, tuple, list, dict, set, frozenset})


class Removed:
    """What calling a registration gives when its handler must not be called any more."""

    def __repr__(self) -> str:
        return "REMOVED"


REMOVED = Removed()

_UNSETTLED = frozenset({Deferred, Failure, Removed})


def unsettled(found: Any) -> bool:
    """Whether what :func:`settle` gave is no value, but a Failure, a Deferred that has not fired, or ``REMOVED``."""
    kind = type(found)
    return kind not in PLAIN_TYPES and (kind in _UNSETTLED or isinstance(found, _UNSETTLED_CLASSES))


_UNSETTLED_CLASSES = (Deferred, Failure)


def settle(returned: Any, context: Context | None = None) -> Any:
    """
    What is there already of what a handler returned.

    :param context: in which a coroutine runs, now and later; ``None`` for a fresh copy of the current one.
    :return: a plain value, a Failure, or a Deferred that has not fired.  A coroutine has run as far as it could.
    """
    kind = type(returned)
    if kind is Deferred:
        if not returned.called:
            return returned
        if not returned.paused and type(returned.result) in PLAIN_TYPES:
            return returned.result
        return peek(returned)
    if kind is types.CoroutineType:
        if context is None:
            context = copy_context()
        try:
            awaited = context.run(returned.send, None)
        except StopIteration as stop:
            return stop.value
        except Exception:
            return Failure()
        return peek(Deferred.fromCoroutine(_rest(returned, awaited, context)))
    if kind in PLAIN_TYPES:
        return returned
    if isinstance(returned, Deferred):
        return peek(returned)
    if isinstance(returned, Coroutine):
        # a compiled one, say: wrapped in one of our own kind
        return settle(_wrapped(returned), context)
    return returned


async def _wrapped(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return await coroutine


def peek(deferred: Deferred[Any]) -> Any:
    """
    The value or the Failure a Deferred has fired with, or the Deferred itself while it has not.

    The result stays where it is for others who wait for the same Deferred (a callback of ours would leave them ``None``), and a
    failure counts as seen.
    """
    if not deferred.called or deferred.paused:
        return deferred
    result = deferred.result
    if isinstance(result, Failure):
        try:
            _ = next(deferred.__await__())
        except BaseException:
            pass
    return result


@types.coroutine
def _rest(coroutine: Coroutine[Any, Any, Any], awaited: Any, context: Context) -> Generator[Any, Any, Any]:
    # What is left of a coroutine that has begun.  All of it runs in one and the same context, so that a token of
    # ContextVar.set() can be used behind an await.
    try:
        while True:
            try:
                sent = yield awaited
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:
                awaited = context.run(coroutine.throw, error)
            else:
                awaited = context.run(coroutine.send, sent)
    except StopIteration as stop:
        return stop.value


def watch(deferred: Deferred[Any], ended: Any) -> None:
    """
    Call ``ended(result)`` with the value or the Failure that a pending Deferred fires with.

    The result is passed on to whoever waits behind us.  A failure that nobody behind us takes ends here: it has been reported.
    """

    def hear(result: Any) -> Any:
        if isinstance(result, Failure):
            _ = deferred.addErrback(end_of_failure)
        ended(result)
        return result

    _ = deferred.addBoth(hear)


def end_of_failure(failure: Failure) -> None:
    """Keeps a reported failure from being reported again when its Deferred is collected."""


def forwarded(found: Any) -> Any:
    """
    A Deferred of our own for one that belongs to somebody else, who may be waiting for it too; anything else as it is.

    Cancelling ours cancels the other.
    """
    if not isinstance(found, Deferred):
        return found
    ours: Deferred[Any] = Deferred(lambda _: found.cancel())

    def fire(result: Any) -> None:
        if not ours.called:
            ours.callback(result)  # also a Failure, which then runs the errbacks

    watch(found, fire)
    return ours


class _Shared(Deferred[Any]):
    """
    A Deferred of our own for a pending one, whose result awaiting it would take away from others who wait.

    Cancelling ours cancels the other, and waits for what comes of that: a handler may go on all the same.
    """

    def __init__(self, other: Deferred[Any]) -> None:
        super().__init__()
        self._other = other
        watch(other, self.callback)

    def cancel(self) -> None:
        self._other.cancel()


async def arrived(found: Any) -> Any:
    """What :func:`settle` gave, once it is there; others who wait for the same Deferred get it too."""
    if isinstance(found, Deferred):
        return await _Shared(found)
    if isinstance(found, Failure):
        found.raiseException()
    return found
