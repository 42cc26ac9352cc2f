from __future__ import annotations

import sys
from pathlib import Path

import pytest

from twisted_evproc.cli._application import load
from twisted_evproc.errors import ApplicationError

MAKE = "from twisted_evproc import EventDispatcher\n"


def problem_of(reference: str) -> str:
    with pytest.raises(ApplicationError) as caught:
        load(reference)
    return str(caught.value)


@pytest.mark.parametrize("reference", ["shop.py", "shop.py:dispatcher", "./shop.py", "shop", "shop:dispatcher"])
def test_a_file_or_a_module_with_or_without_attribute(folder: Path, reference: str) -> None:
    assert load(reference).runnable.keywords() == ("kind", "user")


def test_an_attribute_of_an_attribute(folder: Path) -> None:
    (folder / "deep.py").write_text(f"{MAKE}class shop:\n    inner = EventDispatcher(['x'])\n")
    assert load("deep.py:shop.inner").runnable.keywords() == ("x",)


def test_a_file_imports_what_lies_beside_it(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "parts.py").write_text(f"{MAKE}dispatcher = EventDispatcher(['beside'])\n")
    (folder / "sub" / "whole.py").write_text("from parts import dispatcher\n")
    assert load("sub/whole.py").runnable.keywords() == ("beside",)


def test_a_file_named_like_a_module_does_not_take_its_place(folder: Path) -> None:
    (folder / "json.py").write_text(f"{MAKE}dispatcher = EventDispatcher(['mine'])\n")
    standard = sys.modules["json"]
    assert load("json.py").runnable.keywords() == ("mine",)
    assert sys.modules["json"] is standard


def test_two_names_of_one_dispatcher_are_one(folder: Path) -> None:
    (folder / "twice.py").write_text(f"{MAKE}one = two = EventDispatcher(['x'])\n")
    assert load("twice.py").runnable.keywords() == ("x",)


def test_a_missing_file(folder: Path) -> None:
    assert problem_of("shp.py") == (
        "shp.py: the application file does not exist; give the path of a Python file.  Did you mean 'shop.py'?"
    )
    assert "is a directory" in problem_of(f"{folder}/")


def test_a_missing_module(folder: Path) -> None:
    assert problem_of("nothing_here:x") == (
        "nothing_here: there is no module 'nothing_here' in the current directory or on the Python path."
    )
    assert "there is no module 'json.nothing'" in problem_of("json.nothing:x")
    (folder / "main-shop.py").write_text(MAKE)
    assert "neither a Python file (file.py) nor the name of a module" in problem_of("main-shop")


@pytest.mark.parametrize("reference", [":x", "shop.py:"])
def test_a_reference_with_a_part_missing(folder: Path, reference: str) -> None:
    assert "write file.py, file.py:attribute or module:attribute" in problem_of(reference)


def test_an_unknown_attribute_names_what_there_is(folder: Path) -> None:
    assert problem_of("shop.py:dispatchr") == (
        "shop.py:dispatchr: there is no 'dispatchr'; it has shop.py:dispatcher.  Did you mean 'dispatcher'?"
    )


def test_an_attribute_of_the_wrong_type_names_what_there_is(folder: Path) -> None:
    assert problem_of("shop.py:check") == (
        "shop.py:check: has to be an EventDispatcher or EventProcessor or Processor, not a function; it has shop.py:dispatcher."
    )
    assert "not the class EventDispatcher" in problem_of("shop.py:EventDispatcher")


def test_no_dispatcher(folder: Path) -> None:
    (folder / "empty.py").write_text("x = 1\n")
    problem = problem_of("empty.py")
    assert problem.startswith("empty.py: has no EventDispatcher or EventProcessor or Processor at its top level; make one there")
    assert "empty.py:attribute" in problem


def test_several_dispatchers(folder: Path) -> None:
    (folder / "both.py").write_text(f"{MAKE}a = EventDispatcher()\nb = EventDispatcher()\n")
    assert problem_of("both.py") == "both.py: has several things that can be run; choose one: both.py:a, both.py:b"


def test_a_file_that_fails_shows_its_own_frames_only(folder: Path) -> None:
    (folder / "broken.py").write_text("import json\n\ndef make():\n    json.loads('{')\n\nmake()\n")
    problem = problem_of("broken.py")
    assert 'broken.py", line 6, in <module>' in problem
    assert 'broken.py", line 4, in make' in problem
    assert "JSONDecodeError: Expecting property name" in problem
    assert "importlib" not in problem
    assert "twisted_evproc" not in problem


def test_a_mistake_found_by_the_package_is_placed_in_the_file(folder: Path) -> None:
    (folder / "wrong.py").write_text(f"{MAKE}\nd = EventDispatcher(['role'])\nd.add_event_handler(print, 'befor')\n")
    problem = problem_of("wrong.py")
    assert problem.startswith("wrong.py:4: the application cannot be loaded:")
    assert "no phase 'befor'" in problem
    assert "dispatch/" not in problem


def test_a_syntax_error(folder: Path) -> None:
    (folder / "typo.py").write_text("x = 1\ndef f(:\n")
    problem = problem_of("typo.py")
    assert "typo.py:2: the application cannot be loaded:" in problem
    assert "SyntaxError" in problem
    assert "importlib" not in problem


def test_a_module_that_fails_is_not_taken_for_a_missing_one(folder: Path) -> None:
    (folder / "needs.py").write_text("import not_installed\n")
    problem = problem_of("needs:x")
    assert "needs.py:1: the application cannot be loaded:" in problem
    assert "No module named 'not_installed'" in problem


def test_a_script_that_ends_itself(folder: Path) -> None:
    (folder / "script.py").write_text("import sys\nsys.exit(3)\n")
    problem = problem_of("script.py")
    assert "script.py:2: the application ended itself (SystemExit 3)" in problem
    assert 'if __name__ == "__main__":' in problem


def test_a_file_that_failed_can_be_loaded_again(folder: Path) -> None:
    (folder / "later.py").write_text("raise ValueError\n")
    problem_of("later.py")
    (folder / "later.py").write_text(f"{MAKE}dispatcher = EventDispatcher(['mended'])\n")
    assert load("later.py").runnable.keywords() == ("mended",)


def test_a_mapping_that_is_no_function(folder: Path) -> None:
    (folder / "mapped.py").write_text(f"{MAKE}d = EventDispatcher()\nto_event = 5\n")
    assert problem_of("mapped.py") == (
        "mapped.py:to_event: has to be a function that takes a record and returns (event, details), not an int"
    )
