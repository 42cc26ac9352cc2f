from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from twisted_evproc.flow import Attempt
from twisted_evproc.flow.executors._environment import be_silent_about, speak_of


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EVENTOR_STEP_NAME", "EVENTOR_STEP_SEQUENCE", "EVENTOR_STEP_RECOVERY"):
        monkeypatch.delenv(name, raising=False)


def said() -> str | None:
    return os.environ.get("EVENTOR_STEP_NAME")


class TestSpeakOf:
    def test_says_nothing_of_one_that_is_not_alone(self, attempt: Callable[..., Attempt]) -> None:
        speak_of(attempt(int))

        assert said() is None

    def test_two_flows_leave_nothing_behind_in_whatever_order_they_end(self, attempt: Callable[..., Attempt]) -> None:
        first, second = attempt(int, alone=True, step="first"), attempt(int, alone=True, step="second")
        speak_of(first)
        speak_of(second)
        seen: list[Any] = [said()]
        be_silent_about(first)
        seen.append(said())
        be_silent_about(second)

        assert [*seen, said()] == ["second", "second", None]

    def test_being_silent_twice_does_not_matter(self, attempt: Callable[..., Attempt]) -> None:
        first, second = attempt(int, alone=True, step="first"), attempt(int, alone=True, step="second")
        speak_of(first)
        be_silent_about(first)
        speak_of(second)
        be_silent_about(first)

        assert said() == "second"
        be_silent_about(second)
