"""The reference page of flows says what there is: every name, default, state and transition, and no other."""

from __future__ import annotations

import inspect
from typing import Any

import attrs
import pytest

from tests.pages import called, is_call, options, pairs, public, section_of, table, words, wrong_calls
from twisted_evproc import flow
from twisted_evproc.flow import (
    Change,
    CurrentStep,
    Eventor,
    FlowResult,
    PlannedTask,
    RecoveryPlan,
    RunMode,
    RunStatus,
    StepReplay,
    StepStatus,
    TaskResult,
    TaskStatus,
    _expressions,
)
from twisted_evproc.flow._attempt import Attempt
from twisted_evproc.flow._eventor import CHANGE_KEYWORDS
from twisted_evproc.flow._model import FLOW_DEFAULTS, STEP_DEFAULTS
from twisted_evproc.flow._status import DEFAULT_RECOVERY
from twisted_evproc.flow._transitions import TRANSITIONS
from twisted_evproc.flow.executors import EXECUTORS

PAGE = "reference/flow"


def as_written(defaults: dict[str, Any]) -> dict[str, str]:
    return {name: repr(value) for name, value in defaults.items()}


class TestConfiguration:
    def test_of_a_flow(self) -> None:
        assert pairs(table(PAGE, section="Configuration of a flow")) == as_written(FLOW_DEFAULTS)

    def test_of_a_step(self) -> None:
        assert pairs(table(PAGE, section="Configuration of a step")) == as_written(STEP_DEFAULTS)

    def test_parameters_of_an_eventor(self) -> None:
        assert pairs(table(PAGE, "Parameter", section="The flow")) == options(Eventor)

    def test_parameters_of_a_step(self) -> None:
        assert words(table(PAGE, section="Steps")) == [*options(Eventor.add_step)]

    def test_methods_of_an_eventor(self) -> None:
        rows = table(PAGE, "Method", section="The flow")
        [blocking] = [row for row in rows if called([row]) == ["eventor"]]
        rows.remove(blocking)
        assert sorted(called(rows)) == sorted(public(Eventor))
        assert wrong_calls(rows, Eventor) == []
        assert is_call(words([blocking])[0], Eventor.__call__)


@pytest.mark.parametrize("states", [StepStatus, TaskStatus, RunStatus, RunMode, StepReplay])
def test_every_state(states: Any) -> None:
    assert words(table(PAGE, states.__name__)) == list(states.__members__)


def test_the_values_of_the_run_modes() -> None:
    assert pairs(table(PAGE, "RunMode")) == {name: repr(mode.value) for name, mode in RunMode.__members__.items()}


def test_what_a_recovery_does_by_default() -> None:
    assert pairs(table(PAGE, "Status before", section="What a recovery does")) == {
        status.name: replay.name for status, replay in DEFAULT_RECOVERY.items()
    }


def test_every_transition() -> None:
    def word(cell: str) -> str:
        return cell.replace("`", "")

    rows = table(PAGE, "Status before", section="What becomes of a task")
    documented = {(word(before), what): (word(after), word(fires)) for before, what, after, fires, _ in rows}
    assert len(documented) == len(rows)
    assert documented == {
        ("none" if before is None else before.name, what.value): (
            transition.status.name,
            ", ".join(fired.name for fired in transition.fires) or "none",
        )
        for (before, what), transition in TRANSITIONS.items()
    }


def test_every_expression() -> None:
    functions = {
        name
        for name in flow.__all__
        if inspect.isfunction(getattr(flow, name)) and getattr(flow, name).__module__ == _expressions.__name__
    }
    assert len(functions) == 4
    assert {word.split("(")[0] for word in words(table(PAGE, "Expression"))} - {"event", ""} == functions


def test_every_executor() -> None:
    assert set(words(table(PAGE, "Executor"))) == set(EXECUTORS)


@pytest.mark.parametrize("values", [CurrentStep, FlowResult, TaskResult, RecoveryPlan, PlannedTask])
def test_every_attribute(values: Any) -> None:
    assert words(table(PAGE, values.__name__)) == list(attrs.fields_dict(values))


def test_the_environment() -> None:
    attempt = Attempt("run", "step", "1", 0, 1, print, (), {})
    assert words(table(PAGE, "Environment variable")) == list(attempt.environment)


def test_what_handlers_of_changes_match_on() -> None:
    assert sorted(words(table(PAGE, "Keyword"))) == sorted(CHANGE_KEYWORDS)
    assert all(f"``{field}``" in section_of(PAGE, "Changes").partition("A ``Change`` has")[2] for field in Change._fields)
