"""Which functions can run away from the reactor?"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from ...errors import FlowDefinitionError


def is_async(function: Callable[..., Any]) -> bool:
    """Whether this is ``async def``, or an object that is called by such a method."""
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(type(function), "__call__", None))  # noqa: B004  not whether there is one


def check_plain(function: Callable[..., Any], step: str, executor: str) -> None:
    """
    Whether a function can run away from the reactor.

    :raises twisted_evproc.errors.FlowDefinitionError: when it is asynchronous.
    """
    if is_async(function):
        raise FlowDefinitionError(
            f"step {step!r}: an async function runs on the reactor and not by executor={executor!r}; leave the executor out, "
            f"or say 'inline'"
        )


def check_returned(value: Any, step: str, executor: str) -> None:
    """
    Whether a function that ran away from the reactor returned what can be used here.

    :raises twisted_evproc.errors.FlowDefinitionError: for a Deferred or a coroutine: nobody there could wait for it.
    """
    if isinstance(value, Coroutine):
        value.close()  # which also keeps Python from telling that nobody awaited it
    elif not isinstance(value, Deferred):
        return
    else:
        _ = value.addErrback(lambda _: None)
    raise FlowDefinitionError(
        f"step {step!r} returned a {type(value).__name__}, which only the reactor's thread can wait for, and "
        f"executor={executor!r} called it elsewhere; give it executor='inline', or return the value itself"
    )
