from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, gatherResults
from twisted.logger import capturedLogs

from twisted_evproc.errors import ConfigurationError
from twisted_evproc.flow import Attempt
from twisted_evproc.flow.executors import ThreadExecutor

from .test_contract import error_of, until

MakeAttempt = Callable[..., Attempt]


class Gate:
    """A function that waits until it is let go."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go = threading.Event()
        self.ended = threading.Event()

    def __call__(self) -> str | None:
        self.began.set()
        _ = self.go.wait(30)
        self.ended.set()
        return os.environ.get("EVENTOR_STEP_NAME")


def threads_of_steps() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "evproc step"}


class TestThreads:
    @pytest_twisted.ensureDeferred
    async def test_are_not_the_reactors_and_never_more_than_the_size(self, threads: ThreadExecutor, attempt: MakeAttempt) -> None:
        gates = [Gate() for _ in range(3)]
        running = [threads.submit(attempt(gate)) for gate in gates]
        await until(lambda: gates[0].began.is_set() and gates[1].began.is_set())
        assert not gates[2].began.is_set()
        for gate in gates:
            gate.go.set()
        _ = await gatherResults(running)

        assert await threads.submit(attempt(threading.get_ident)) != threading.get_ident()

    @pytest_twisted.ensureDeferred
    async def test_end_when_the_executor_stops(self, threads: ThreadExecutor, attempt: MakeAttempt) -> None:
        before = threads_of_steps()
        _ = await gatherResults([threads.submit(attempt(time.sleep, 0)) for _ in range(5)])
        assert threads_of_steps() - before
        await threads.stop()

        await until(lambda: not threads_of_steps() - before)

    @pytest_twisted.ensureDeferred
    async def test_ten_thousand_calls(self, threads: ThreadExecutor, attempt: MakeAttempt) -> None:
        submitted = [threads.submit(attempt(abs, -number)) for number in range(10_000)]
        for deferred in submitted[5_000:]:
            _ = deferred.addErrback(lambda _: "cancelled")
            deferred.cancel()

        assert await gatherResults(submitted) == [*range(5_000), *["cancelled"] * 5_000]

    @pytest.mark.parametrize("size", [0, -1, True, 1.5, None])
    def test_are_a_number_of_one_or_more(self, size: Any) -> None:
        with pytest.raises(ConfigurationError, match="size="):
            _ = ThreadExecutor(size)


class TestAbandoning:
    @pytest_twisted.ensureDeferred
    async def test_frees_the_place_at_once_and_counts(self, threads: ThreadExecutor, attempt: MakeAttempt) -> None:
        gates = [Gate(), Gate()]
        running = [threads.submit(attempt(gate)) for gate in gates]
        waiting = threads.submit(attempt(abs, -1))
        await until(lambda: all(gate.began.is_set() for gate in gates))
        with capturedLogs() as logs:
            running[0].cancel()
        assert isinstance(await error_of(running[0]), CancelledError)

        assert await waiting == 1
        assert threads.abandoned == 1
        assert ["run/s/7/1/2", 1] in [[log.get("attempt"), log.get("count")] for log in logs]
        for gate in gates:
            gate.go.set()
        _ = await running[1]

    @pytest_twisted.ensureDeferred
    async def test_the_thread_ends_when_the_function_returns_at_last(self, threads: ThreadExecutor, attempt: MakeAttempt) -> None:
        before = threads_of_steps()
        gate = Gate()
        running = threads.submit(attempt(gate))
        await until(gate.began.is_set)
        running.cancel()
        assert isinstance(await error_of(running), CancelledError)
        gate.go.set()

        await until(lambda: not threads_of_steps() - before)

    @pytest_twisted.ensureDeferred
    async def test_what_it_raises_at_last_is_logged(self, threads: ThreadExecutor, attempt: MakeAttempt) -> None:
        gate = Gate()

        def work() -> None:
            _ = gate()
            raise LookupError

        running = threads.submit(attempt(work))
        await until(gate.began.is_set)
        running.cancel()
        assert isinstance(await error_of(running), CancelledError)
        with capturedLogs() as logs:
            gate.go.set()
            await until(lambda: bool(logs))

        assert logs[0]["log_failure"].type is LookupError

    @pytest_twisted.ensureDeferred
    async def test_does_not_take_away_what_the_environment_says_of_the_next(
        self, threads: ThreadExecutor, attempt: MakeAttempt
    ) -> None:
        first, second = Gate(), Gate()
        abandoned = threads.submit(attempt(first, alone=True, step="first"))
        await until(first.began.is_set)
        abandoned.cancel()
        assert isinstance(await error_of(abandoned), CancelledError)
        running = threads.submit(attempt(second, alone=True, step="second"))
        await until(second.began.is_set)
        first.go.set()
        await until(first.ended.is_set)
        second.go.set()

        assert await running == "second"
        assert "EVENTOR_STEP_NAME" not in os.environ
