"""The reference page of names has every public name, and no other; and each of them says what it is."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest
from zope.interface.interface import InterfaceClass

import twisted_evproc
from tests.pages import literals, tables

PAGE = "reference/names"


def public_modules() -> dict[str, ModuleType]:
    """Those that have public names, but for the errors, which have a page of their own."""
    names = [each.name for each in pkgutil.walk_packages(twisted_evproc.__path__, "twisted_evproc.")]
    public = [name for name in names if not re.search(r"\._", name) and name != "twisted_evproc.errors"]
    return {name: importlib.import_module(name) for name in ["twisted_evproc", *public]}


MODULES = public_modules()
NAMES = [(module, name) for module, found in MODULES.items() for name in found.__all__]


def test_every_name_and_no_other() -> None:
    on_page = {each.section: sorted(literals(each.rows)) for each in tables(PAGE)}
    assert on_page == {module: sorted(found.__all__) for module, found in MODULES.items()}


@pytest.mark.parametrize("module", MODULES)
def test_a_name_is_listed_once_and_there(module: str) -> None:
    names = MODULES[module].__all__
    assert len({*names}) == len(names)
    assert [name for name in names if not hasattr(MODULES[module], name)] == []


def is_said(module: ModuleType, name: str) -> bool:
    """Whether a class or function has a docstring of its own, and anything else one behind it, or a comment before it."""
    value = getattr(module, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        return bool((value.__doc__ or "").strip())
    if isinstance(value, InterfaceClass):
        return bool(value.getDoc().strip())
    sources = "\n".join(path.read_text(encoding="utf-8") for path in sorted(Path(str(module.__file__)).parent.rglob("*.py")))
    assigned = rf"^(?:{name}(?:: .*)? = (?:[^\n]*|\((?:\n .*)+\n\))$\n\"\"\"| *#: .*\n(?: *#.*\n)* *{name}(?:: .*)? = )"
    return re.search(assigned, sources, re.MULTILINE) is not None


@pytest.mark.parametrize(("module", "name"), NAMES, ids=[f"{module}.{name}" for module, name in NAMES])
def test_a_name_says_what_it_is(module: str, name: str) -> None:
    assert is_said(MODULES[module], name), f"{module}.{name} has no docstring"
