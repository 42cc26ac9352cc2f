"""What has become of a Deferred, now."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar, overload

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..dispatch import settle

T = TypeVar("T")


@overload
def result_now(eventual: Deferred[T]) -> T: ...
@overload
def result_now(eventual: Coroutine[Any, Any, T]) -> T: ...
@overload
def result_now(eventual: T) -> T: ...
def result_now(eventual: Any) -> Any:
    """
    What a handler has returned, in the end: the value, if it is there without waiting.

    A coroutine runs as far as it can.  The result stays in a Deferred: it may be asked again, and by others.

    :param eventual: a plain value, a Deferred, or a coroutine.
    :raises AssertionError: while a Deferred or a coroutine still waits for something.
    :raises BaseException: what it has failed with, with its traceback; the failure counts as handled.
    """
    result = settle(eventual)
    if isinstance(result, Failure):
        result.raiseException()
    if isinstance(result, Deferred):
        raise _waits(eventual)
    return result


def failure_now(eventual: object, *types: type[BaseException]) -> BaseException:
    """
    The exception that a Deferred or a coroutine has failed with; the failure counts as handled.

    :param types: classes of which it has to be one; none for any.
    :raises AssertionError: when it has not fired, has fired with a value, or has failed with another exception.
    """
    result = settle(eventual)
    if isinstance(result, Deferred):
        raise _waits(eventual)
    if not isinstance(result, Failure):
        raise AssertionError(f"{_shown(eventual)} did not fail; its value is {result!r}")
    error: BaseException = result.value  # type: ignore[assignment]  # None only for failures without an exception
    if types and not isinstance(error, types):
        wanted = " or ".join(cls.__name__ for cls in types)
        raise AssertionError(f"{_shown(eventual)} failed, but not with {wanted}: {error!r}") from error
    return error


def is_pending(eventual: object) -> bool:
    """Whether it is a Deferred that has not fired, or that waits for another."""
    return isinstance(eventual, Deferred) and isinstance(settle(eventual), Deferred)


def assert_pending(deferred: Deferred[Any]) -> None:
    """
    Check that a Deferred has not fired yet.

    :raises AssertionError: saying what it has fired with; a failure counts as handled.
    """
    result = settle(deferred)
    if isinstance(result, Failure):
        raise AssertionError(f"the Deferred has fired already: it failed with {result.value!r}") from result.value
    if not isinstance(result, Deferred):
        raise AssertionError(f"the Deferred has fired already, with {result!r}")


def _waits(eventual: object) -> AssertionError:
    return AssertionError(
        f"{_shown(eventual)} has not fired: it still waits for something.  Advance the clock, or fire what it waits for, first."
    )


def _shown(eventual: object) -> str:
    return "the Deferred" if isinstance(eventual, Deferred) else f"{eventual!r}"
