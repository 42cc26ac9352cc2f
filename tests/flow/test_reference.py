"""The reference page of flows says what there is: every name, default, state and transition, and no other."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import attrs
import pytest

from twisted_evproc import flow
from twisted_evproc.flow import (
    Change,
    CurrentStep,
    Eventor,
    FlowResult,
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

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "flow.rst").read_text(encoding="utf-8")

#: A row: its cells as lines, each joined to one.
Row = list[str]


def tables(section: str) -> list[list[Row]]:
    """The tables in a section, each with its header row."""
    head = re.search(rf"^{re.escape(section)}\n([-~]+)\n", PAGE, re.MULTILINE)
    assert head, section
    text = PAGE[head.end() :]
    end = re.search(r"^.+\n(-{3,}|~{3,})$", text, re.MULTILINE)
    text = text[: end.start()] if end else text
    found: list[list[Row]] = []
    for block in re.split(r"^ *\.\. list-table::\n", text, flags=re.MULTILINE)[1:]:
        rows = re.findall(r"^ +\* - .*\n(?: {5,}.*\n)*", block, re.MULTILINE)
        found.append(
            [[" ".join(cell.split()) for cell in re.split(r"^ +(?:\* )?-(?= |$)", row, flags=re.MULTILINE)[1:]] for row in rows]
        )
    return found


def table(first_header: str) -> list[Row]:
    """The rows of the one table that has this above its first column."""
    sections = re.findall(r"^(.+)\n(?:-{3,}|~{3,})$", PAGE, re.MULTILINE)
    (found,) = [rows for section in sections for rows in tables(section) if rows[0][0] == first_header]
    return found[1:]


def words(rows: list[Row]) -> list[str]:
    """What stands in the first column, without the marks of code."""
    return [row[0].strip("`") for row in rows]


def documented_defaults(rows: list[Row]) -> dict[str, str]:
    return {row[0].strip("`"): row[1].strip("`") for row in rows}


def as_written(defaults: dict[str, Any]) -> dict[str, str]:
    return {name: repr(value) for name, value in defaults.items()}


class TestConfiguration:
    def test_of_a_flow(self) -> None:
        (rows,) = tables("Configuration of a flow")
        assert documented_defaults(rows[1:]) == as_written(FLOW_DEFAULTS)

    def test_of_a_step(self) -> None:
        (rows,) = tables("Configuration of a step")
        assert documented_defaults(rows[1:]) == as_written(STEP_DEFAULTS)

    def test_parameters_of_an_eventor(self) -> None:
        rows, _ = tables("The flow")
        parameters = inspect.signature(Eventor).parameters
        assert documented_defaults(rows[1:]) == as_written({name: each.default for name, each in parameters.items()})
        assert all(f"{name}=" in PAGE for name in parameters)

    def test_parameters_of_a_step(self) -> None:
        (rows,) = tables("Steps")
        assert words(rows[1:]) == [name for name in inspect.signature(Eventor.add_step).parameters if name != "self"]

    def test_methods_of_an_eventor(self) -> None:
        _, rows = tables("The flow")
        documented = {re.split(r"\(", word)[0].replace("eventor", "__call__") for word in words(rows[1:])}
        public = {name for name, value in vars(Eventor).items() if inspect.isfunction(value) and not name.startswith("_")}
        assert documented == public | {"__call__"}


@pytest.mark.parametrize("states", [StepStatus, TaskStatus, RunStatus, RunMode, StepReplay])
def test_every_state(states: Any) -> None:
    assert words(table(states.__name__)) == list(states.__members__)


def test_the_values_of_the_run_modes() -> None:
    assert documented_defaults(table("RunMode")) == {name: repr(mode.value) for name, mode in RunMode.__members__.items()}


def test_what_a_recovery_does_by_default() -> None:
    _, rows = tables("What a recovery does")
    assert documented_defaults(rows[1:]) == {status.name: replay.name for status, replay in DEFAULT_RECOVERY.items()}


def test_every_transition() -> None:
    def word(cell: str) -> str:
        return cell.replace("`", "")

    _, _, rows = tables("What becomes of a task")
    documented = {(word(before), what): (word(after), word(fires)) for before, what, after, fires, _ in rows[1:]}
    assert len(documented) == len(rows) - 1
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
    assert {word.split("(")[0] for word in words(table("Expression"))} - {"event", ""} == functions


def test_every_executor() -> None:
    assert set(words(table("Executor"))) == set(EXECUTORS)


@pytest.mark.parametrize("values", [CurrentStep, FlowResult, TaskResult])
def test_every_attribute(values: Any) -> None:
    assert words(table(values.__name__)) == list(attrs.fields_dict(values))


def test_the_environment() -> None:
    attempt = Attempt("run", "step", "1", 0, 1, print, (), {})
    assert words(table("Environment variable")) == list(attempt.environment)


def test_what_handlers_of_changes_match_on() -> None:
    assert sorted(words(table("Keyword"))) == sorted(CHANGE_KEYWORDS)
    assert all(f"``{field}``" in PAGE.partition("A ``Change`` has")[2] for field in Change._fields)


def test_every_name() -> None:
    (rows,) = tables("Names")
    assert sorted(words(rows[1:])) == sorted(flow.__all__)
