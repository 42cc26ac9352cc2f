"""The reference page of settings says what there is: every extra, environment variable and entry point, and no other."""

from __future__ import annotations

import configparser
import re

from tests.pages import ROOT, literals, table
from twisted_evproc.cli._amqp import URL_VARIABLE
from twisted_evproc.flow._attempt import Attempt

PAGE = "reference/settings"


def setup(section: str) -> dict[str, str]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return dict(parser[section])


def test_every_extra() -> None:
    assert sorted(literals(table(PAGE, "Extra"))) == sorted(setup("options.extras_require"))


def test_every_environment_variable() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "twisted_evproc").rglob("*.py")))
    used = set(re.findall(r"\b(?:environ(?:\.get\(|\.pop\(|\[)|getenv\()([^,)\]]+)", source))
    named = {use.strip('"') for use in used if use.startswith('"')}
    steps = Attempt("run", "step", "1", 0, 1, print, (), {}).environment
    # By a name of Python: the one for the URL, and those that speak of a step.
    assert used - {f'"{name}"' for name in named} == {"URL_VARIABLE", "name"}
    assert sorted(literals(table(PAGE, "Variable"))) == sorted({*named, URL_VARIABLE, *steps})


def test_every_entry_point() -> None:
    groups = [row[0] for row in table(PAGE, "Group")]
    assert groups == [*(f"``{group}``" for group in setup("options.entry_points")), "any that a program names"]
    assert "evproc = twisted_evproc.cli:main" in setup("options.entry_points")["console_scripts"]
    assert "twisted.plugins.twisted_evproc_plugin" in setup("options")["py_modules"]
