"""What has become of a Deferred, now."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from twisted_evproc.testing import assert_pending, failure_now, result_now


async def plus_one(waited: Deferred[int]) -> int:
    return await waited + 1


class TestResultNow:
    def test_values_deferreds_and_coroutines(self) -> None:
        assert [result_now(3), result_now(succeed(3)), result_now(plus_one(succeed(2)))] == [3, 3, 3]

    def test_it_can_be_asked_again(self) -> None:
        deferred = succeed("value")
        assert [result_now(deferred), result_now(deferred), deferred.result] == ["value"] * 3

    def test_failures_are_raised_and_count_as_handled(self) -> None:
        for _ in range(2):
            with pytest.raises(ValueError, match="planted"):
                result_now(fail(ValueError("planted")))

    def test_one_that_has_not_fired(self) -> None:
        with pytest.raises(AssertionError, match="the Deferred has not fired.*Advance the clock"):
            result_now(Deferred())
        with pytest.raises(AssertionError, match="coroutine object plus_one .* has not fired"):
            result_now(plus_one(Deferred()))


class TestFailureNow:
    def test_the_exception(self) -> None:
        error = ValueError("planted")
        assert failure_now(fail(error)) is error
        assert failure_now(fail(error), KeyError, ValueError) is error

    def test_an_assertion_error_is_one_as_any_other(self) -> None:
        assert str(failure_now(fail(AssertionError("planted")))) == "planted"

    def test_another_exception(self) -> None:
        with pytest.raises(AssertionError, match=r"failed, but not with KeyError: ValueError\('planted'\)") as caught:
            failure_now(fail(ValueError("planted")), KeyError)
        assert isinstance(caught.value.__cause__, ValueError)

    def test_a_value(self) -> None:
        with pytest.raises(AssertionError, match="did not fail; its value is 3"):
            failure_now(succeed(3))

    def test_one_that_has_not_fired(self) -> None:
        with pytest.raises(AssertionError, match="has not fired"):
            failure_now(Deferred())


class TestAssertPending:
    def test_one_that_has_not_fired(self) -> None:
        assert_pending(Deferred())

    def test_a_value(self) -> None:
        with pytest.raises(AssertionError, match="fired already, with 3"):
            assert_pending(succeed(3))

    def test_a_failure(self) -> None:
        with pytest.raises(AssertionError, match=r"failed with ValueError\('planted'\)"):
            assert_pending(fail(ValueError("planted")))

    def test_one_that_waits_for_another_is_pending(self) -> None:
        deferred = succeed(None).addCallback(lambda _: Deferred())
        assert_pending(deferred)
