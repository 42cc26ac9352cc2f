from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred

from twisted_evproc.errors import FlowDefinitionError
from twisted_evproc.flow import Eventor, Step
from twisted_evproc.flow.executors import EXECUTORS, Executors, InlineExecutor, ProcessExecutor, ThreadExecutor


async def waits() -> None: ...


class Waits:
    async def __call__(self) -> None: ...


def step_of(function: Callable[..., Any], **config: Any) -> Step:
    return Eventor(name="f", store=":memory:").add_step("s", function, config=config)


def class_chosen(default: Any, step: Step, construct: Any = None) -> type:
    return type(Executors(default, construct).of_step(step))


class TestChoice:
    @pytest.mark.parametrize("function", [waits, Waits(), functools.partial(waits)])
    @pytest.mark.parametrize("default", [None, *EXECUTORS])
    def test_what_is_async_runs_on_the_reactor_whatever_the_flow_says(self, default: Any, function: Any) -> None:
        assert class_chosen(default, step_of(function)) is InlineExecutor

    def test_what_is_plain_runs_in_threads_unless_somebody_says_otherwise(self) -> None:
        assert class_chosen(None, step_of(len)) is ThreadExecutor
        assert class_chosen("process", step_of(len)) is ProcessExecutor
        assert class_chosen("process", step_of(len, executor="inline")) is InlineExecutor

    def test_a_step_that_says_itself_where_to_run_runs_there(self) -> None:
        assert class_chosen(None, step_of(len, executor="thread")) is ThreadExecutor

    def test_an_async_function_that_is_to_run_in_a_thread_is_refused(self) -> None:
        with pytest.raises(FlowDefinitionError, match="leave the executor out"):
            step_of(waits, executor="thread")

    @pytest.mark.parametrize(("construct", "kind"), [("Process", ProcessExecutor), ("Thread", ThreadExecutor)])
    def test_knows_what_the_predecessor_calls_them(self, construct: str, kind: type) -> None:
        assert class_chosen(None, step_of(len), f"multiprocessing.{construct}") is kind

    def test_an_executor_of_their_own_decides_itself_about_async_functions(self) -> None:
        class Own:
            name = "own"

            def start(self) -> None: ...
            def submit(self, attempt: Any) -> Deferred[Any]: ...  # type: ignore[empty-body]  # nobody calls it
            def adopt(self, attempt: Any) -> None: ...
            def stop(self, timeout: float | None = None) -> Deferred[None]: ...  # type: ignore[empty-body]  # the same

        assert class_chosen(Own(), step_of(waits)) is Own

    @pytest_twisted.ensureDeferred
    async def test_one_that_several_flows_use_is_stopped_by_the_last(self) -> None:
        calls: list[str] = []

        class Counting(InlineExecutor):
            def start(self) -> None:
                calls.append("start")

            def stop(self, timeout: float | None = None) -> Deferred[None]:
                calls.append("stop")
                return super().stop(timeout)

        shared, step = Counting(), step_of(len)
        flows = [Executors(shared, None) for _ in range(2)]
        for _ in range(2):
            assert [flow.of_step(step) for flow in flows] == [shared, shared]
            await flows[0].stop()
            await flows[0].stop()
            assert calls == ["start"]
            await flows[1].stop()
            assert calls == ["start", "stop"]
            calls.clear()

    @pytest_twisted.ensureDeferred
    async def test_one_that_several_flows_wait_for_is_given_up_by_the_last(self) -> None:
        starting: list[Deferred[None]] = []

        class Slow(InlineExecutor):
            def start(self) -> Deferred[None]:
                starting.append(Deferred())
                return starting[-1]

        shared, step = Slow(), step_of(len)
        flows = [Executors(shared, None) for _ in range(2)]
        waiting = [flow.of_step(step) for flow in flows]
        assert [isinstance(each, Deferred) for each in waiting] == [True, True]
        await flows[0].stop()
        assert not starting[0].called
        starting[0].callback(None)
        assert [await each for each in waiting if isinstance(each, Deferred)] == [shared, shared]
        assert [flows[1].of_step(step)] == [shared]
        await flows[1].stop()

        waits = flows[1].of_step(step)
        await flows[1].stop()
        assert isinstance(waits, Deferred)
        with pytest.raises(CancelledError):
            await waits

    @pytest.mark.parametrize("wrong", ["processes", 3, object()])
    def test_refuses_what_is_none_and_says_what_there_is(self, wrong: Any) -> None:
        with pytest.raises(FlowDefinitionError, match="inline, thread, process"):
            _ = Executors(wrong, None)
        with pytest.raises(FlowDefinitionError, match="Process, Thread"):
            _ = Executors(None, "Fork")
