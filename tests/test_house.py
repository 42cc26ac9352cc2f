"""What the project says about itself holds: its commands, its imports, its errors, its pages."""

from __future__ import annotations

import ast
import builtins
import configparser
import importlib.metadata
import importlib.util
import inspect
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from twisted_evproc import errors

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "twisted_evproc"
DOCS = ROOT / "docs"
README = (ROOT / "README.rst").read_text(encoding="utf-8")
CHECKS = (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def readme_commands() -> Callable[[str, str], list[str]]:
    spec = importlib.util.spec_from_file_location("readme_commands", ROOT / ".ci" / "readme_commands.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    commands: Callable[[str, str], list[str]] = module.commands
    return commands


def run_python(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


class TestReadme:
    def test_every_block_of_commands_is_one_that_the_checks_run(self) -> None:
        named = re.findall(r"^\.\. ([\w-]+)\n\.\. code-block:: console$", README, re.MULTILINE)

        assert named == re.findall(r"^readme ([\w-]+)$", CHECKS, re.MULTILINE) == ["main-job", "test-suite"]
        assert README.count("code-block:: console") == len(named)

    def test_the_checks_have_no_copy_of_the_commands(self) -> None:
        commands = readme_commands()
        own = {*commands(README, "main-job"), *commands(README, "test-suite")} - {"python3 -m venv .venv"}

        assert own
        assert not [command for command in own if command in CHECKS]

    def test_the_tests_come_last(self) -> None:
        assert CHECKS.rstrip().endswith("\nreadme test-suite")
        assert readme_commands()(README, "test-suite")[-1].endswith("-m pytest")

    def test_files_in_the_commands_exist(self) -> None:
        commands = " ".join(readme_commands()(README, "main-job"))
        files = re.findall(r"\bdocs/\S+", commands)

        assert files
        assert [file for file in files if not (ROOT / file).is_file()] == []

    @pytest.mark.parametrize(
        "readme",
        [
            "",
            ".. other\n.. code-block:: console\n\n   $ true\n",
            ".. main-job\n\n.. code-block:: console\n\n   $ true\n",
            ".. main-job\n.. code-block:: console\n\n   true\n",
        ],
    )
    def test_a_block_that_is_not_there_is_an_error(self, readme: str) -> None:
        with pytest.raises(ValueError, match="main-job"):
            readme_commands()(readme, "main-job")


def distribution_name(requirement: str) -> str:
    match = re.match(r"[\w.-]+", requirement.strip())
    assert match is not None, requirement
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def with_what_they_require(requirements: Iterable[str]) -> set[str]:
    """The distributions that come with an installation, extras left out."""
    known: set[str] = set()
    ahead = [distribution_name(requirement) for requirement in requirements]
    while ahead:
        name = ahead.pop()
        if name in known:
            continue
        known.add(name)
        try:
            further = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform or version of Python
        ahead += [distribution_name(requirement) for requirement in further if "extra ==" not in requirement]
    return known


class TestImport:
    PROBE = dedent("""
        import json, sys, threading
        before = set(sys.modules)
        import twisted_evproc
        threads = [thread.name for thread in threading.enumerate()]
        print(json.dumps({"modules": sorted(set(sys.modules) - before), "threads": threads}))
    """)

    @pytest.fixture(scope="class")
    @staticmethod
    def seen() -> dict[str, list[str]]:
        child = run_python("-W", "error", "-c", TestImport.PROBE)
        assert child.returncode == 0, child.stderr
        seen: dict[str, list[str]] = json.loads(child.stdout)
        return seen

    def test_it_installs_no_reactor(self, seen: dict[str, list[str]]) -> None:
        assert "twisted.internet.reactor" not in seen["modules"]
        assert "twisted.internet.defer" in seen["modules"]

    def test_it_starts_no_thread(self, seen: dict[str, list[str]]) -> None:
        assert seen["threads"] == ["MainThread"]

    def test_it_needs_nothing_but_what_it_requires(self, seen: dict[str, list[str]]) -> None:
        setup = configparser.ConfigParser()
        setup.read(ROOT / "setup.cfg", encoding="utf-8")
        required = with_what_they_require(setup["options"]["install_requires"].split("\n")[1:])
        homes = importlib.metadata.packages_distributions()

        foreign = {
            module: homes[top]
            for module in seen["modules"]
            for top in [module.partition(".")[0]]
            if top not in sys.stdlib_module_names and top != "twisted_evproc" and top in homes
            if not required & {distribution_name(home) for home in homes[top]}
        }

        assert foreign == {}
        assert "twisted" in required


def imported(node: ast.AST, module: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The full names of what a statement imports into a module."""
    if isinstance(node, ast.Import):
        yield from (tuple(alias.name.split(".")) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = module[: -node.level] if node.level else ()
        below = node.module.split(".") if node.module else []
        yield from ((*above, *below, alias.name) for alias in node.names)


def foreign_private_imports(package: Path) -> list[str]:
    """What the parts of a package import of each other past their façades; modules beside the parts are for all of them."""
    found = []
    for file in sorted(package.rglob("*.py")):
        module = file.relative_to(package.parent).with_suffix("").parts
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            for name in imported(node, module):
                private = any(part.startswith("_") and not part.endswith("__") for part in name[2:])
                if private and name[0] == package.name and name[1] != module[1]:
                    found.append(f"{'.'.join(module)}: {'.'.join(name)}")
    return found


def planted(folder: Path, statement: str) -> Path:
    """A package with this in one of its modules."""
    module = folder / "planted" / "cli" / "_main.py"
    module.parent.mkdir(parents=True)
    module.write_text(f"{statement}\n", encoding="utf-8")
    return folder / "planted"


class TestFacades:
    def test_no_package_reaches_into_another(self) -> None:
        assert foreign_private_imports(PACKAGE) == []

    @pytest.mark.parametrize(
        ("statement", "name"),
        [
            ("from ..flow._errors import summary", "flow._errors.summary"),
            ("from ..flow import _errors", "flow._errors"),
            ("from ..flow.store import _text", "flow.store._text"),
            ("from planted.flow.store._reader import StoreReader", "flow.store._reader.StoreReader"),
            ("import planted.flow._errors", "flow._errors"),
            ("from .._json import _strict", "_json._strict"),
            ("def later():\n    from ..flow._errors import summary", "flow._errors.summary"),
            ("if TYPE_CHECKING:\n    from ..flow._errors import summary", "flow._errors.summary"),
        ],
    )
    def test_one_that_does_is_found(self, tmp_path: Path, statement: str, name: str) -> None:
        assert foreign_private_imports(planted(tmp_path, statement)) == [f"planted.cli._main: planted.{name}"]

    @pytest.mark.parametrize(
        "statement", ["from ._words import _pair", "from .._json import encode", "from .._version import __version__"]
    )
    def test_what_is_ones_own_or_for_all_is_not(self, tmp_path: Path, statement: str) -> None:
        assert foreign_private_imports(planted(tmp_path, statement)) == []


def public_errors() -> dict[str, type[BaseException]]:
    return {name: getattr(errors, name) for name in errors.__all__}


def drawn_tree() -> dict[str, tuple[str | None, list[str]]]:
    """What the docstring draws: for each name the one above it, and the builtins in brackets."""
    drawn: dict[str, tuple[str | None, list[str]]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ((?:│   |    )*)(├── |└── |)([A-Z]\w+)(?: \[([\w, ]+)\])?(?:\s{2,}|$)", line)
        if match is not None:
            indent, branch, name, brackets = match.groups()
            depth = len(indent) // 4 + bool(branch)
            del above[depth:]
            drawn[name] = (above[-1] if above else None, brackets.split(", ") if brackets else [])
            above.append(name)
    return drawn


class TestErrors:
    def test_all_names_every_error(self) -> None:
        defined = {
            name
            for name, value in vars(errors).items()
            if inspect.isclass(value) and issubclass(value, BaseException) and value.__module__ == errors.__name__
        }

        assert defined == set(errors.__all__)

    def test_the_tree_shows_every_error(self) -> None:
        assert set(drawn_tree()) == set(errors.__all__)

    @pytest.mark.parametrize("name", sorted(errors.__all__))
    def test_the_tree_shows_where_it_stands(self, name: str) -> None:
        above, brackets = drawn_tree()[name]
        bases = {base.__name__ for base in public_errors()[name].__bases__}

        assert bases - {"Exception"} == {*brackets} | ({above} - {None})
        assert all(issubclass(getattr(builtins, bracket, None) or getattr(errors, bracket), Exception) for bracket in brackets)


def pages_under(page: Path) -> set[Path]:
    """The page and all that its tables of contents lead to."""
    found = {page}
    for block in re.findall(r"^\.\. toctree::\n((?:   .*\n|\n)+)", page.read_text(encoding="utf-8") + "\n", re.MULTILINE):
        for entry in block.split():
            if not entry.startswith(":"):
                for below in page.parent.glob(f"{entry}.rst"):
                    if below not in found:
                        found |= pages_under(below)
    return found


class TestPages:
    def test_every_page_can_be_reached(self) -> None:
        pages = {page for page in DOCS.rglob("*.rst") if not {"_build", "examples"} & set(page.relative_to(DOCS).parts)}

        assert len(pages) > 5
        assert sorted(pages - pages_under(DOCS / "index.rst")) == []


PACKAGE = ROOT / "twisted_evproc"


def drawn_modules(page: str) -> set[str]:
    """The modules that the page on architecture names: in its map, and what is drawn inside each package."""
    rows = re.findall(r"^   \* - (``.+)$", page.partition("The map")[2].partition("Inside the packages")[0], re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"``([\w.]+?)(?:\.py)?``", row)}
    drawing = re.search(r"belong together::\n\n((?:    .*\n|\n)+)", page)
    assert drawing is not None
    package = above = ""
    for line in drawing[1].splitlines():
        if (found := re.match(r"    (\w+)/|      (\w+)/", line)) is not None:
            above = found[1] or above
            package = above if found[1] else f"{above}/{found[2]}"
        named |= {f"{package}/{name}" for name in re.findall(r"(?<![\w/])_\w+\b(?!/)", line)}
    # Those of amqp are named on the way of a remote event.
    named |= {f"amqp/{name}" for name in re.findall(r"\b(_\w+)\.py", page.partition("The way of a remote event")[2])}
    return named


class TestArchitecture:
    PAGE = (DOCS / "explanation" / "architecture.rst").read_text(encoding="utf-8")

    def test_it_names_every_module_and_no_other(self) -> None:
        modules = {str(path.relative_to(PACKAGE).with_suffix("")) for path in PACKAGE.rglob("*.py")}
        # A package is named as a folder.  The plugin is the one module of its own.
        there = {module for module in modules if not module.endswith("/__init__") and not module.startswith("_dropin/")}

        assert drawn_modules(self.PAGE) == there

    def test_every_package_is_in_the_map(self) -> None:
        rows = re.findall(r"^   \* - (``.+)$", self.PAGE, re.MULTILINE)
        named = {name for row in rows for name in re.findall(r"``(\w+)/``", row)}
        packages = {path.parent.name for path in PACKAGE.glob("*/*.py")}

        assert named == packages

    def test_every_file_that_it_names_is_there(self) -> None:
        files = re.findall(r"\b(\w+(?:/\w+)*/_\w+\.py)", self.PAGE)

        assert len(files) > 20
        assert [file for file in files if not (PACKAGE / file).is_file()] == []


class TestNoDroppedFailure:
    """The control of the fixture that watches every test."""

    @pytest.mark.parametrize(
        ("body", "exit_code"),
        [("fail(ValueError('planted'))", 1), ("fail(ValueError('planted')).addErrback(lambda _: None)", 0)],
    )
    def test_a_dropped_failure_is_noticed(self, tmp_path: Path, body: str, exit_code: int) -> None:
        shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
        (tmp_path / "test_planted.py").write_text(
            f"from twisted.internet.defer import fail\n\ndef test_planted():\n    {body}\n", encoding="utf-8"
        )

        child = run_python("-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", cwd=tmp_path)

        assert child.returncode == exit_code, child.stdout
        assert ("ValueError: planted" in child.stdout) == bool(exit_code)
