"""The page on speed shows tables as the benchmarks print them: titles, rows, and the commands that lead to them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.pages import ROOT, listings, table, text_of
from twisted_evproc.sources import Overflow

PAGE = "explanation/speed"
SOURCES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "benchmarks").glob("*.py"))}
#: What of the page's blocks is printed.
PRINTED = [each.text for each in listings(PAGE) if not each.kind and not each.text.startswith("python ")]


def patterns() -> Iterator[str]:
    """Every text that the benchmarks can write, as an expression; what they put into it may be anything."""
    for source in SOURCES.values():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.escape(node.value.strip())
            if isinstance(node, ast.JoinedStr):
                parts = [re.escape(str(each.value)) if isinstance(each, ast.Constant) else ".+" for each in node.values]
                # Enough of its own to be told by.
                if sum(len(part) for part in parts if part != ".+") >= 6:
                    yield re.sub(r"^(\\ )+|(\\ )+$", "", "".join(parts))


#: Or two of them, as the name of a peer and what it does.
WRITTEN = re.compile(f"(?:{'|'.join(filter(None, patterns()))}){{1,2}}")


def blocks() -> Iterator[tuple[str, list[str]]]:
    """Each table with its title, as lines."""
    for text in PRINTED:
        for title, body in re.findall(r"^(\S.*)\n=+\n((?:.+\n?)+)", text, re.MULTILINE):
            yield title, body.splitlines()


def labels() -> Iterator[str]:
    for _, (header, _, *rows) in blocks():
        named = [0] if "against" not in header else [0, header.index("against")]
        for row in rows:
            yield from (re.split(r" {2,}", row[column:].strip())[0] for column in named if not row.startswith("memory: "))


def test_there_are_tables() -> None:
    assert len([*blocks()]) == len(re.findall(r"^   =+$", text_of(PAGE), re.MULTILINE)) == 13
    assert len([*labels()]) > 90


@pytest.mark.parametrize("title", [title for title, _ in blocks()])
def test_a_title_is_one_that_is_printed(title: str) -> None:
    assert WRITTEN.fullmatch(title)


@pytest.mark.parametrize("label", sorted({*labels()}))
def test_a_row_is_one_that_is_printed(label: str) -> None:
    assert WRITTEN.fullmatch(label)


def test_columns_are_those_that_are_printed() -> None:
    harness = {re.sub(r"[\"(),]", "", line) for line in re.findall(r"lines = \[\((.*)\)\]", SOURCES["harness"] + SOURCES["flow"])}
    assert {" ".join(header.replace("(ns)", "ns").split()) for _, (header, *_) in blocks()} == harness


def test_every_command_is_one() -> None:
    commands = re.findall(r"python -m benchmarks([^`\n]*)", text_of(PAGE))
    main = SOURCES["__main__"]
    choices = re.search(r'"--only", choices=\(([^)]*)\)', main)
    assert choices is not None
    parts = {*re.findall(r"\w+", choices[1])}
    assert {part for command in commands for part in re.findall(r"--only (\w+)", command)} == parts
    assert {option for command in commands for option in re.findall(r"--[\w-]+", command)} <= {*re.findall(r'"(--[\w-]+)"', main)}


def test_every_block_names_its_command() -> None:
    introductions = text_of(PAGE).split("::\n\n   ")[:-1]
    assert len(introductions) == len(PRINTED) + 1
    assert [each for each in introductions[1:] if "python -m benchmarks --only " not in each.rpartition("\n\n")[2]] == []


def test_every_overflow_is_measured() -> None:
    assert [row[0].strip("`") for row in table(PAGE)] == [*Overflow.__members__]
