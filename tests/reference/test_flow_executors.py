"""The reference page of executors says what there is: every executor and option, and no other."""

from __future__ import annotations

import pytest

from tests.pages import options, pairs, table, words
from twisted_evproc.flow import executors
from twisted_evproc.flow.executors import EXECUTORS

PAGE = "reference/flow-executors"


def test_every_executor() -> None:
    assert words(table(PAGE, "Name")) == [*EXECUTORS]


@pytest.mark.parametrize("name", [name for name in executors.__all__ if name.endswith("Executor")])
def test_every_option_with_its_default(name: str) -> None:
    assert pairs(table(PAGE, title=f"Options of ``{name}``")) == options(getattr(executors, name))
