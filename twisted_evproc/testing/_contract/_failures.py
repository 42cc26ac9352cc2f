"""What follows when handlers fail, by policy."""

from __future__ import annotations

from twisted.internet.defer import fail
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure

from ...dispatch import ABORT, COLLECT, LOG, RAISE
from ...errors import HandlersFailed, StopProcessing
from .._deferreds import result_now
from ._scene import Contract, dropped_in, failures_in, fired, raises, refused


class Failures(Contract):
    """What follows when handlers fail, by policy."""

    def test_log_logs_each_failure_once_at_once(self) -> None:
        with capturedLogs() as logged:
            scene = self.scene(on_failure=LOG)
            scene.failing("early", "before")
            scene.slow("slow", "before")
            scene.failing("late", "after", error=KeyError("x"))
            firing = scene.fire("the event")

            assert failures_in(logged) == [ValueError]
            (event,) = (event for event in logged if event.get("log_failure") is not None)
            text = event["log_format"].format(**event)
            assert "'before'" in text and "'the event'" in text and "handler" in text
            assert event["handler_name"] == "early"
            assert event["log_level"] is LogLevel.critical
            scene.pending["slow"].callback(None)
            assert len(result_now(firing).failures) == 2
            assert failures_in(logged) == [ValueError, KeyError]

    def test_collect_tells_the_outcome_alone(self) -> None:
        with capturedLogs() as logged:
            scene = self.scene(on_failure=COLLECT)
            scene.failing("f", "before")
            scene.plain("p", "after")
            outcome = result_now(scene.fire())

            assert [failure.type for failure in outcome.failures] == [ValueError]
            assert scene.calls == ["f", "p"]
            assert failures_in(logged) == []

    def test_abort_finishes_the_phase_and_skips_the_rest(self) -> None:
        with capturedLogs() as logged:
            scene = self.scene(on_failure=ABORT)
            scene.plain("b", "before")
            scene.failing("f")
            scene.slow("s")
            scene.plain("p")
            scene.plain("a", "after")
            firing = scene.fire()
            assert not fired(firing)
            scene.pending["s"].callback(None)
            outcome = result_now(firing)

            assert scene.calls == ["b", "f", "s", "p"]
            assert [(result.name, result.skipped) for result in outcome.results][-1] == ("a", True)
            assert len(outcome.failures) == 1
            assert failures_in(logged) == [ValueError]

    def test_raise_fails_with_the_failure_itself(self) -> None:
        with capturedLogs() as logged:
            scene = self.scene(on_failure=RAISE)
            error = ValueError("itself")
            scene.failing("f", "before", error=error)
            scene.plain("same phase", "before")
            scene.plain("later phase")
            with raises(ValueError, match="itself") as caught:
                result_now(scene.fire())

            assert caught.value is error
            assert scene.calls == ["f", "same phase"]
            assert failures_in(logged) == []
            assert dropped_in(logged) == []

    def test_raise_fails_with_a_group_of_several(self) -> None:
        scene = self.scene(on_failure=RAISE)
        scene.failing("f")
        scene.slow("s")
        scene.failing("g", error=KeyError("g"))
        firing = scene.fire()
        scene.pending["s"].errback(OSError("s"))
        with raises(HandlersFailed) as caught:
            result_now(firing)

        assert isinstance(caught.value, ExceptionGroup) and isinstance(caught.value, HandlersFailed)
        assert [type(error) for error in caught.value.exceptions] == [ValueError, OSError, KeyError]
        assert [result.name for result in caught.value.outcome.results] == ["f", "s", "g"]
        assert caught.value.split(KeyError)[0] is not None

    def test_raise_fails_once(self) -> None:
        scene = self.scene(on_failure=RAISE)
        scene.failing("f")
        firing = scene.fire()
        failures: list[Failure] = []
        _ = firing.addErrback(failures.append)
        assert [failure.type for failure in failures] == [ValueError]

    def test_each_policy_can_be_limited_to_types(self) -> None:
        with capturedLogs() as logged:
            scene = self.scene(on_failure=RAISE.only(KeyError, OSError, otherwise=COLLECT))
            scene.failing("value")
            assert len(result_now(scene.fire()).failures) == 1
            scene.failing("file", "after", error=FileNotFoundError("x"))
            with raises(FileNotFoundError):
                result_now(scene.fire())
            assert failures_in(logged) == []

    def test_the_fall_back_is_to_log(self) -> None:
        with capturedLogs() as logged:
            scene = self.scene(on_failure=ABORT.only(KeyError))
            scene.failing("value", "before")
            scene.plain("after", "after")
            assert scene.heard() == ["value", "after"]
            assert failures_in(logged) == [ValueError]

    def test_one_policy_may_fall_back_to_another(self) -> None:
        scene = self.scene(on_failure=COLLECT.only(ValueError, otherwise=RAISE.only(KeyError, otherwise=ABORT)))
        scene.failing("os", "before", error=OSError("x"), user="os")
        scene.failing("value", "before", user="value")
        scene.failing("key", "before", error=KeyError("x"), user="key")
        scene.plain("after", "after")

        assert scene.heard(user="value") == ["value", "after"]
        assert scene.heard(user="os") == ["os"]
        with raises(KeyError):
            result_now(scene.fire(user="key"))

    def test_no_failure_is_first_seen_at_collection(self) -> None:
        for policy in (LOG, COLLECT, ABORT, RAISE):
            with capturedLogs() as logged:
                scene = self.scene(on_failure=policy)
                scene.failing("raises")
                scene.add(lambda event: fail(KeyError("fails")))
                scene.slow("slow", max_calls=1)
                firing = scene.fire()
                scene.pending.pop("slow").errback(OSError("late"))
                _ = firing.addErrback(lambda failure: None)
                del firing
                assert dropped_in(logged) == []

    def test_stop_processing_is_no_failure_under_any_policy(self) -> None:
        for policy in (LOG, COLLECT, ABORT, RAISE):
            with capturedLogs() as logged:
                scene = self.scene(on_failure=policy)
                scene.add(lambda event: fail(StopProcessing(3)))
                assert result_now(scene.fire()).value == 3
                assert failures_in(logged) == []
                assert dropped_in(logged) == []

    def test_system_exit_passes_a_synchronous_handler(self) -> None:
        for error in (SystemExit, KeyboardInterrupt):
            for policy in (LOG, COLLECT, ABORT, RAISE):
                with capturedLogs() as logged:
                    scene = self.scene(on_failure=policy)
                    scene.failing("exits", error=error(), max_calls=2)
                    scene.plain("plain")
                    for _ in range(2):
                        refused(scene.fire, error)
                    assert scene.heard() == ["plain"]
                    assert failures_in(logged) == []
                    result_now(scene.dispatcher.stop())
