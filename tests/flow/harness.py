"""A flow in a test: a store without a database, a clock without time, steps that end when the test says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from twisted_evproc.flow import Attempt, Eventor, FlowResult, RunMode, StepStatus, TaskStatus, current_step
from twisted_evproc.interfaces import IStepExecutor
from twisted_evproc.testing import FakeFlowStore


class World:
    """
    What outlives an engine: the store, the clock, and what the steps did.

    :ivar calls: ``step[sequence]`` of each call.
    :ivar pending: calls that have not ended, by ``step[sequence]``.
    """

    def __init__(self) -> None:
        self.store = FakeFlowStore()
        self.clock = Clock()
        self.clock.advance(1000)
        self.calls: list[str] = []
        self.pending: dict[str, Deferred[Any]] = {}

    def eventor(self, mode: RunMode = RunMode.restart, **options: Any) -> Eventor:
        """A flow over the store, inline."""
        config = {"max_concurrent": 0, "executor": "inline", **options.pop("config", {})}
        name = options.pop("name", "test")
        ev = Eventor(name, self.store, mode, config=config, clock=self.clock, **options)
        ev._drive.random = lambda: 0.5
        return ev

    def note(self, value: Any = None) -> Callable[[], Any]:
        """A function that notes its call, and returns a value, or raises it."""

        def function() -> Any:
            self.calls.append(here())
            if isinstance(value, Exception):
                raise value
            return value

        return function

    def wait(self) -> Deferred[Any]:
        """A function that ends when the test says so."""
        self.calls.append(here())
        deferred = self.pending[here()] = Deferred()
        return deferred

    def finish(self, call: str, value: Any = None) -> None:
        """Let a call end."""
        self.pending.pop(call).callback(value)

    def fail(self, call: str, error: Exception | None = None) -> None:
        """Let a call fail."""
        self.pending.pop(call).errback(error or ValueError("broken"))


def here() -> str:
    """The step that runs."""
    step = current_step()
    return f"{step.name}[{step.sequence}]"


def chain(ev: Eventor, *functions: Any, **options: Any) -> list[Any]:
    """Steps s1, s2, ... that run one after the other from event ``go``; gives ``go`` and the steps."""
    go = ev.add_event("go")
    events = [go, *(ev.add_event(f"e{number}") for number in range(2, len(functions) + 2))]
    steps = []
    for number, function in enumerate(functions, 1):
        steps.append(ev.add_step(f"s{number}", function, triggers={StepStatus.success: events[number]}, **options))
        ev.add_assoc(events[number - 1], steps[-1])
    return [go, *steps]


def ended(running: Deferred[FlowResult]) -> FlowResult:
    """The result of a run that has ended."""
    found: list[Any] = []
    _ = running.addBoth(found.append)
    assert found, "the run has not ended"
    if not isinstance(found[0], FlowResult):
        found[0].raiseException()
    result: FlowResult = found[0]
    return result


def statuses(result: FlowResult) -> dict[str, TaskStatus]:
    """What became of the tasks."""
    return {f"{task.step}[{task.sequence}]": task.status for task in result.tasks}


@implementer(IStepExecutor)
class OwnExecutor:
    """
    An executor of a user's own, which runs attempts when the test says so.

    :ivar attempts: those that were submitted, with what :meth:`submit` gave for each.
    """

    name = "own"

    def __init__(self) -> None:
        self.attempts: list[tuple[Attempt, Deferred[Any]]] = []

    def start(self) -> Any:
        """See :meth:`IStepExecutor.start`."""

    def submit(self, attempt: Attempt) -> Deferred[Any]:
        """See :meth:`IStepExecutor.submit`."""
        running: Deferred[Any] = Deferred()
        self.attempts.append((attempt, running))
        return running

    def adopt(self, attempt: Attempt) -> Deferred[Any] | None:
        """See :meth:`IStepExecutor.adopt`."""
        return None

    def stop(self, timeout: float | None = None) -> Deferred[None]:
        """See :meth:`IStepExecutor.stop`."""
        return succeed(None)
