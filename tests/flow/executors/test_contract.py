"""What every executor promises."""

from __future__ import annotations

import gc
import os
import sys
import weakref
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater
from zope.interface.verify import verifyObject

from twisted_evproc._reactor import default_clock
from twisted_evproc.flow import Attempt, current_step
from twisted_evproc.interfaces import IStepExecutor

MakeAttempt = Callable[..., Attempt]


async def error_of(deferred: Deferred[Any]) -> BaseException:
    failures: list[Any] = []
    await deferred.addErrback(failures.append)
    assert failures, "it succeeded"
    error = failures[0].value
    assert isinstance(error, BaseException)
    return error


class TestExecutor:
    def test_provides_the_interface(self, executor: Any) -> None:
        assert verifyObject(IStepExecutor, executor)

    @pytest_twisted.ensureDeferred
    async def test_fires_with_what_the_function_returned(self, executor: Any, attempt: MakeAttempt) -> None:
        value = await executor.submit(attempt(lambda a, *, b: {"a": a, "b": [b, None, 1.5, ""]}, 1, b="é"))

        assert value == {"a": 1, "b": ["é", None, 1.5, ""]}

    @pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
    @pytest_twisted.ensureDeferred
    async def test_keeps_falsy_values(self, executor: Any, attempt: MakeAttempt, value: Any) -> None:
        assert await executor.submit(attempt(lambda: value)) == value

    @pytest_twisted.ensureDeferred
    async def test_fails_with_the_exception(self, executor: Any, attempt: MakeAttempt) -> None:
        def stumble() -> None:
            raise LookupError("no such thing", 3)

        failures: list[Any] = []
        await executor.submit(attempt(stumble)).addErrback(failures.append)

        assert failures[0].type is LookupError
        assert failures[0].value.args == ("no such thing", 3)
        assert "in stumble" in failures[0].getTraceback()

    @pytest_twisted.ensureDeferred
    async def test_fails_also_with_what_is_no_ordinary_exception(self, executor: Any, attempt: MakeAttempt) -> None:
        def leave() -> None:
            sys.exit("enough")

        error = await error_of(executor.submit(attempt(leave)))

        assert type(error) is SystemExit
        assert error.args == ("enough",)

    @pytest_twisted.ensureDeferred
    async def test_goes_on_after_failures(self, executor: Any, attempt: MakeAttempt) -> None:
        for _ in range(5):
            assert isinstance(await error_of(executor.submit(attempt(lambda: 1 / 0))), ZeroDivisionError)

        assert await executor.submit(attempt(lambda: 5)) == 5

    @pytest_twisted.ensureDeferred
    async def test_tells_the_function_its_step(self, executor: Any, attempt: MakeAttempt) -> None:
        def ask() -> list[Any]:
            step = current_step()
            return [step.name, step.sequence, step.recovery, step.attempt, step.idempotency_key]

        assert await executor.submit(attempt(ask)) == ["s", "7", 1, 2, "run/s/7"]
        with pytest.raises(LookupError, match="current_step"):
            _ = current_step()

    @pytest_twisted.ensureDeferred
    async def test_lets_the_environment_speak_of_a_step_that_is_alone(
        self, executor: Any, attempt: MakeAttempt, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("EVENTOR_STEP_NAME", raising=False)
        monkeypatch.setenv("EVENTOR_STEP_SEQUENCE", "mine")
        names = ("EVENTOR_STEP_NAME", "EVENTOR_STEP_SEQUENCE", "EVENTOR_STEP_RECOVERY")

        assert await executor.submit(attempt(lambda: [os.environ.get(name) for name in names], alone=True)) == ["s", "7", "1"]
        assert [os.environ.get(name) for name in names] == [None, "mine", None]

    @pytest_twisted.ensureDeferred
    async def test_takes_many_at_once(self, executor: Any, attempt: MakeAttempt) -> None:
        numbers = await gatherResults([executor.submit(attempt(abs, -number)) for number in range(2_000)])

        assert numbers == list(range(2_000))

    @pytest_twisted.ensureDeferred
    async def test_keeps_nothing_of_what_has_ended(self, executor: Any, attempt: MakeAttempt) -> None:
        class Thing:
            def __call__(self) -> int:
                return 1

        thing = Thing()
        gone = weakref.ref(thing)
        await executor.submit(attempt(thing))
        del thing

        await deferLater(default_clock(None), 0)  # behind the executor, which is still telling us
        assert gone() is None

    @pytest_twisted.ensureDeferred
    async def test_keeps_nothing_of_what_has_failed(self, executor: Any, attempt: MakeAttempt) -> None:
        class Thing:
            def __call__(self) -> None:
                raise ValueError

        thing = Thing()
        gone = weakref.ref(thing)
        assert isinstance(await error_of(executor.submit(attempt(thing))), ValueError)
        del thing

        # A thread lets go of what it raised a moment after it has told us: certainly when it has done something else.
        await executor.submit(attempt(int))
        _ = gc.collect()
        assert gone() is None

    @pytest_twisted.ensureDeferred
    async def test_adopts_nothing(self, executor: Any, attempt: MakeAttempt) -> None:
        assert executor.adopt(attempt(int)) is None

    @pytest_twisted.ensureDeferred
    async def test_stops_at_once_when_nothing_runs_and_can_be_used_again(self, executor: Any, attempt: MakeAttempt) -> None:
        await executor.stop()
        await executor.stop(0.001)
        _ = executor.start()

        assert await executor.submit(attempt(abs, -3)) == 3
        await executor.stop()


class TestAwayFromTheReactor:
    @pytest.fixture(params=["threads", "processes"])
    def away(self, request: pytest.FixtureRequest) -> Any:
        return request.getfixturevalue(request.param)

    @pytest_twisted.ensureDeferred
    async def test_refuses_async_functions_in_words(self, away: Any, attempt: MakeAttempt) -> None:
        async def wait() -> None: ...

        error = await error_of(away.submit(attempt(wait)))

        assert "async function runs on the reactor" in str(error)
        assert repr("s") in str(error)

    @pytest_twisted.ensureDeferred
    async def test_refuses_coroutines_and_deferreds_that_functions_return(self, away: Any, attempt: MakeAttempt) -> None:
        def coroutine() -> Any:
            async def wait() -> None: ...

            return wait()

        def deferred() -> Any:
            from twisted.internet.defer import fail

            return fail(ValueError())

        for function, kind in ((coroutine, "coroutine"), (deferred, "Deferred")):
            error = await error_of(away.submit(attempt(function)))
            assert f"returned a {kind}, which only the reactor's thread can wait for" in str(error)

    @pytest_twisted.ensureDeferred
    async def test_what_waits_and_is_cancelled_never_runs(self, away: Any, attempt: MakeAttempt, tmp_path: Any) -> None:
        def work(place: Any) -> None:
            import time

            place.touch()
            while not (place.parent / "go").exists():
                time.sleep(0.001)

        running = [away.submit(attempt(work, tmp_path / str(number))) for number in range(2)]
        waiting = away.submit(attempt(work, tmp_path / "never"))
        waiting.cancel()
        assert isinstance(await error_of(waiting), CancelledError)
        _ = (tmp_path / "go").touch()
        _ = await gatherResults(running)

        assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "go"]

    @pytest_twisted.ensureDeferred
    async def test_tells_of_each_attempt_whether_it_waits(self, away: Any, attempt: MakeAttempt, tmp_path: Any) -> None:
        def work(place: Any) -> None:
            import time

            place.touch()
            while not (place.parent / "go").exists():
                time.sleep(0.001)

        told: list[list[bool]] = [[], [], []]
        submitted = [
            away.submit(attrs.evolve(attempt(work, tmp_path / str(number)), waiting=heard.append))
            for number, heard in enumerate(told)
        ]
        await until(lambda: len(list(tmp_path.iterdir())) == 2)
        assert told == [[True, False], [True, False], [True]]
        _ = (tmp_path / "go").touch()
        _ = await gatherResults(submitted)

        assert told[2] == [True, False]

    @pytest_twisted.ensureDeferred
    async def test_stop_cancels_what_waits_lets_what_runs_end_and_takes_nothing_new(
        self, away: Any, attempt: MakeAttempt, tmp_path: Any
    ) -> None:
        def work(place: Any) -> str:
            import time

            place.touch()
            while not (place.parent / "go").exists():
                time.sleep(0.001)
            return "done"

        running = [away.submit(attempt(work, tmp_path / str(number))) for number in range(2)]
        await until(lambda: len(list(tmp_path.iterdir())) == 2)
        waiting = away.submit(attempt(work, tmp_path / "never"))
        stopped = away.stop()
        late = away.submit(attempt(int))
        assert isinstance(await error_of(waiting), CancelledError)
        assert isinstance(await error_of(late), CancelledError)
        assert not stopped.called
        _ = (tmp_path / "go").touch()
        await stopped

        assert [deferred.result for deferred in running] == ["done", "done"]

    @pytest_twisted.ensureDeferred
    async def test_stop_gives_up_what_runs_after_the_time_out(self, away: Any, attempt: MakeAttempt, tmp_path: Any) -> None:
        def work(place: Any) -> None:
            import time

            (place / "began").touch()
            while not (place / "go").exists():
                time.sleep(0.001)

        running = away.submit(attempt(work, tmp_path))
        await until((tmp_path / "began").exists)
        await away.stop(0.001)

        assert isinstance(await error_of(running), CancelledError)
        _ = (tmp_path / "go").touch()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await deferLater(default_clock(None), 0.002)
