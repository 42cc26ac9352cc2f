"""Executors, and attempts for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
import pytest_twisted

from twisted_evproc.flow import Attempt
from twisted_evproc.flow.executors import InlineExecutor, ProcessExecutor, ThreadExecutor

KINDS: dict[str, Callable[[], Any]] = {
    "inline": InlineExecutor,
    "thread": partial(ThreadExecutor, 2),
    "process": partial(ProcessExecutor, 2, grace=0.5, max_bytes=1 << 20),
}


def attempt_at(function: Callable[..., Any], *args: Any, alone: bool = False, step: str = "s", **kwargs: Any) -> Attempt:
    return Attempt("run", step, "7", 1, 2, function, args, kwargs, alone)


@pytest.fixture
def attempt() -> Callable[..., Attempt]:
    return attempt_at


async def started(kind: str) -> AsyncIterator[Any]:
    executor = KINDS[kind]()
    _ = executor.start()
    yield executor
    await executor.stop(0.001)


# Of each kind one for all: workers take a quarter of a second to start.
@pytest_twisted.async_yield_fixture(scope="module", params=KINDS)
async def executor(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    async for made in started(request.param):
        yield made


@pytest_twisted.async_yield_fixture
async def inline() -> AsyncIterator[Any]:
    async for made in started("inline"):
        yield made


@pytest_twisted.async_yield_fixture
async def threads() -> AsyncIterator[Any]:
    async for made in started("thread"):
        yield made


@pytest_twisted.async_yield_fixture
async def processes() -> AsyncIterator[Any]:
    async for made in started("process"):
        yield made
