from __future__ import annotations

import os
from collections.abc import Callable, Generator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from twisted_evproc.flow import Attempt, current_step
from twisted_evproc.flow.executors import InlineExecutor

MakeAttempt = Callable[..., Attempt]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inline(clock: Clock) -> InlineExecutor:
    return InlineExecutor(clock=clock)


def end_of(deferred: Deferred[Any]) -> Any:
    """What it has fired with: a value, the class of an error, or ``None`` while it has not."""
    ends: list[Any] = []
    _ = deferred.addBoth(ends.append)
    return (ends[0].type if isinstance(ends[0], Failure) else ends[0]) if ends else None


def has_fired(deferred: Deferred[Any]) -> bool:
    return bool(deferred.called)


class TestWaiting:
    def test_for_a_deferred(self, inline: InlineExecutor, attempt: MakeAttempt) -> None:
        theirs: Deferred[int] = Deferred()
        ours = inline.submit(attempt(lambda: theirs))
        assert not has_fired(ours)
        theirs.callback(4)

        assert end_of(ours) == 4

    def test_for_a_coroutine_that_fails(self, inline: InlineExecutor, attempt: MakeAttempt) -> None:
        theirs: Deferred[int] = Deferred()

        async def work() -> None:
            await theirs
            raise LookupError

        ours = inline.submit(attempt(work))
        theirs.callback(4)

        assert end_of(ours) is LookupError

    def test_a_coroutine_that_leaves_the_program_fails(self, inline: InlineExecutor, attempt: MakeAttempt) -> None:
        async def work() -> None:
            raise SystemExit

        assert end_of(inline.submit(attempt(work))) is SystemExit


class TestKnowledge:
    def test_goes_along_behind_awaits(self, inline: InlineExecutor, attempt: MakeAttempt) -> None:
        pauses = [Deferred[None](), Deferred[None]()]
        seen = []

        async def work(pause: Deferred[None]) -> None:
            seen.append(current_step().name)
            await pause
            seen.append(current_step().name)

        _ = [inline.submit(attempt(work, pause, step=name)) for name, pause in zip("ab", pauses, strict=True)]
        pauses[1].callback(None)
        pauses[0].callback(None)

        assert seen == ["a", "b", "b", "a"]
        with pytest.raises(LookupError):
            _ = current_step()

    def test_goes_along_in_inline_callbacks(self, inline: InlineExecutor, attempt: MakeAttempt) -> None:
        pause: Deferred[None] = Deferred()

        @inlineCallbacks
        def work() -> Generator[Deferred[None], None, str]:
            yield pause
            return current_step().name

        ours = inline.submit(attempt(work, step="named"))
        pause.callback(None)

        assert end_of(ours) == "named"

    def test_the_environment_speaks_of_the_step_until_it_ends(
        self, inline: InlineExecutor, attempt: MakeAttempt, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("EVENTOR_STEP_NAME", raising=False)
        pause: Deferred[None] = Deferred()

        async def work() -> str:
            await pause
            return os.environ["EVENTOR_STEP_NAME"]

        ours = inline.submit(attempt(work, alone=True))
        pause.callback(None)

        assert end_of(ours) == "s"
        assert "EVENTOR_STEP_NAME" not in os.environ


class TestCancel:
    def test_ends_a_coroutine(self, inline: InlineExecutor, attempt: MakeAttempt) -> None:
        seen = []

        async def work() -> None:
            try:
                await Deferred()
            finally:
                seen.append("cleaned up")

        ours = inline.submit(attempt(work))
        ours.cancel()

        assert end_of(ours) is CancelledError
        assert seen == ["cleaned up"]
        assert inline.abandoned == 0

    def test_what_a_coroutine_returns_or_raises_then_does_not_count(self, inline: InlineExecutor, attempt: MakeAttempt) -> None:
        async def work(answer: Any) -> Any:
            try:
                await Deferred()
            except CancelledError:
                if isinstance(answer, Exception):
                    raise answer from None
                return answer

        returning, raising = inline.submit(attempt(work, 5)), inline.submit(attempt(work, ValueError("late")))
        with capturedLogs() as logs:
            returning.cancel()
            raising.cancel()

        assert [end_of(returning), end_of(raising)] == [CancelledError, CancelledError]
        assert inline.abandoned == 0
        assert [log["log_failure"].type for log in logs if "log_failure" in log] == [ValueError]

    def test_abandons_a_coroutine_that_goes_on(self, inline: InlineExecutor, attempt: MakeAttempt) -> None:
        pause: Deferred[None] = Deferred()

        async def work() -> None:
            try:
                await Deferred()
            except CancelledError:
                await pause
                raise ValueError from None

        ours = inline.submit(attempt(work))
        ours.cancel()
        assert end_of(ours) is CancelledError
        assert inline.abandoned == 1
        with capturedLogs() as logs:
            pause.callback(None)

        assert [log["log_failure"].type for log in logs] == [ValueError]

    def test_from_the_step_itself(self, inline: InlineExecutor, attempt: MakeAttempt) -> None:
        pause: Deferred[None] = Deferred()

        async def work() -> None:
            await pause
            ours.cancel()

        ours = inline.submit(attempt(work))
        pause.callback(None)

        assert end_of(ours) is CancelledError


class TestStop:
    def test_waits_for_what_runs(self, inline: InlineExecutor, attempt: MakeAttempt) -> None:
        theirs: Deferred[int] = Deferred()
        ours = inline.submit(attempt(lambda: theirs))
        stopped = inline.stop()
        assert not has_fired(stopped)
        assert end_of(inline.submit(attempt(int))) is CancelledError
        theirs.callback(4)

        assert has_fired(stopped)
        assert end_of(ours) == 4

    def test_ends_what_runs_after_the_time_out(self, inline: InlineExecutor, attempt: MakeAttempt, clock: Clock) -> None:
        ours = inline.submit(attempt(Deferred))
        stopped = inline.stop(3)
        clock.advance(2)
        assert not has_fired(stopped)
        clock.advance(1)

        assert has_fired(stopped)
        assert end_of(ours) is CancelledError
        assert not clock.getDelayedCalls()

    def test_leaves_no_timer_behind(self, inline: InlineExecutor, attempt: MakeAttempt, clock: Clock) -> None:
        theirs: Deferred[int] = Deferred()
        _ = inline.submit(attempt(lambda: theirs))
        _ = inline.stop(3)
        theirs.callback(4)

        assert not clock.getDelayedCalls()
