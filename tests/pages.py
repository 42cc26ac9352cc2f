"""Tables and listings as the pages have them, and what the code says in their words."""

from __future__ import annotations

import ast
import builtins
import doctest
import importlib
import inspect
import re
import symtable
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

#: The cells of a row, each in one line.
Row = list[str]

HEADLINE = re.compile(r"([=~-])\1{2,}")


class Table(NamedTuple):
    """A table, the headline that it stands under, and its own title."""

    section: str
    title: str
    header: Row
    rows: list[Row]


def text_of(page: str) -> str:
    """
    A page as it is written.

    :param page: as other pages name it: ``reference/amqp``; or ``README``.
    """
    return ((ROOT if page == "README" else DOCS) / f"{page}.rst").read_text(encoding="utf-8")


def tables(page: str) -> list[Table]:
    """All tables of a page, in their order."""
    found = []
    section = ""
    lines = text_of(page).splitlines()
    for number, line in enumerate(lines):
        if HEADLINE.fullmatch(line):
            section = lines[number - 1]
        directive = re.match(r"( *)\.\. list-table::(.*)", line)
        if directive is not None:
            header, *rows = _rows(lines[number + 1 :], len(directive[1]))
            found.append(Table(section, directive[2].strip(), header, rows))
    return found


def _rows(lines: Iterable[str], indent: int) -> list[Row]:
    rows: list[Row] = []
    for line in lines:
        if line.strip() and not line.startswith(" " * (indent + 1)):
            break
        cell = re.match(rf" {{{indent + 3}}}([* ]) -(?: (.*))?$", line)
        if cell is not None:
            if cell[1] == "*":
                rows.append([])
            rows[-1].append(cell[2] or "")
        elif rows and line.strip():
            rows[-1][-1] = f"{rows[-1][-1]} {line.strip()}".strip()
    return rows


def table(page: str, first_header: str = "", *, section: str = "", title: str = "") -> list[Row]:
    """The rows of the one table that has this above its first column, this headline, this title; empty for any."""
    [found] = [
        each
        for each in tables(page)
        if first_header in ("", each.header[0]) and section in ("", each.section) and title in ("", each.title)
    ]
    return found.rows


def section_of(page: str, headline: str) -> str:
    """What stands below a headline, to the next."""
    parts = re.split(r"^(\S.*)\n(?:-{3,}|~{3,})\n", text_of(page), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[headline]


def words(rows: list[Row]) -> list[str]:
    """What stands in the first column, without the marks of code."""
    return [row[0].strip("`") for row in rows]


def pairs(rows: list[Row]) -> dict[str, str]:
    """What stands in the first two columns, without the marks of code."""
    return {row[0].strip("`"): row[1].strip("`") for row in rows}


def literals(rows: list[Row]) -> list[str]:
    """Every piece of code in the first column."""
    return [literal for row in rows for literal in re.findall(r"``(.+?)``", row[0])]


def called(rows: list[Row]) -> list[str]:
    """Every name in the first column, of what is called without its parameters."""
    return [literal.partition("(")[0] for literal in literals(rows)]


def targets(rows: list[Row]) -> list[str]:
    """Every name in the first column that leads to its description."""
    return [name for row in rows for name in re.findall(r":\w+:`[^`]*?\.?(\w+)>?`", row[0])]


def as_written(value: Any) -> str:
    """A value as a program writes it."""
    if type(value).__name__ == "NamedConstant":  # of Twisted's log levels
        return f"{value._container.__name__}.{value.name}"
    text = repr(value)
    return str(getattr(value, "__name__", None) or getattr(value, "name", text)) if text.startswith("<") else text


def options(function: Callable[..., Any]) -> dict[str, str]:
    """Each parameter that a caller names, with its default; empty for none."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        each.name: "" if each.default is each.empty else as_written(each.default)
        for each in inspect.signature(function).parameters.values()
        if each.name != "self" and each.kind not in kinds
    }


def wrong_calls(rows: list[Row], owner: Any) -> list[str]:
    """
    The calls in the first column that are none.

    :param owner: has what is called: a class, or a module.
    """
    return [
        literal
        for literal in literals(rows)
        if "(" in literal and not is_call(literal, getattr(owner, literal.partition("(")[0], None))
    ]


def is_call(written: str, function: Any) -> bool:
    """Whether parameters and their defaults are those of the function, in order; ``...`` stands for all that follow."""
    if function is None:
        return False
    definition = ast.parse(f"def {re.sub(r'(, )?[.]{3}[)]$', ')', written)}: pass").body[0]
    assert isinstance(definition, ast.FunctionDef)
    found = _parameters(definition.args)
    real = [
        ("*" if each.kind is each.VAR_POSITIONAL else "**" if each.kind is each.VAR_KEYWORD else each.name, _default(each))
        for each in inspect.signature(function).parameters.values()
        if each.name != "self"
    ]
    return found == (real[: len(found)] if written.endswith("...)") else real)


def _default(parameter: inspect.Parameter) -> str:
    return "" if parameter.default is parameter.empty else ast.unparse(ast.parse(as_written(parameter.default), mode="eval"))


def _parameters(arguments: ast.arguments) -> list[tuple[str, str]]:
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [*[None] * (len(plain) - len(arguments.defaults)), *arguments.defaults]
    found = [(each.arg, ast.unparse(default) if default else "") for each, default in zip(plain, defaults, strict=True)]
    found += [("*", "")] if arguments.vararg else []
    keyword_only = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    found += [(each.arg, ast.unparse(default) if default else "") for each, default in keyword_only]
    return [*found, *([("**", "")] if arguments.kwarg else [])]


def public(cls: type, *without: type) -> set[str]:
    """
    Names of methods and properties that a class defines or inherits.

    :param without: classes whose names are left out.
    """
    left_out = {name for each in (object, *without) for name in dir(each)}
    return {name for name in dir(cls) if not name.startswith("_")} - left_out


class Listing(NamedTuple):
    """
    Code on a page.

    :ivar kind: the language of a block, ``literalinclude``, or empty for one behind two colons.
    :ivar what: the file of an include, otherwise the caption, may be empty.
    """

    page: str
    kind: str
    what: str
    text: str

    @property
    def start(self) -> str:
        """Its first line."""
        return self.text.partition("\n")[0]


def listings(page: str) -> list[Listing]:
    """All listings of a page but doctests, in their order."""
    found = []
    lines = text_of(page).splitlines()
    for number, line in enumerate(lines):
        directive = re.match(r" *\.\. (code-block|literalinclude)::(?: (.*))?$", line)
        if directive is not None and directive[1] == "literalinclude":
            found.append(Listing(page, "literalinclude", directive[2], ""))
        elif directive is not None or (line.endswith("::") and not re.match(r" *\.\. ", line)):
            deeper = " " * (len(line) - len(line.lstrip()) + 1)
            end = next((at for at in range(number + 1, len(lines)) if lines[at] and not lines[at].startswith(deeper)), None)
            text = textwrap.dedent("\n".join(lines[number + 1 : end])).strip("\n")
            caption = re.match(r":caption: (.*)\n", text)
            text = re.sub(r"\A(?::\w+:.*\n)*\n*", "", text + "\n")
            found.append(Listing(page, directive[2] if directive else "", caption[1] if caption else "", text))
    return found


def typed(page: str) -> list[str]:
    """What a reader of the page types, in order: doctests, and code that is run and not hidden."""
    text = text_of(page)
    found = [(example.lineno, example.source) for example in doctest.DocTestParser().get_examples(text)]
    for block in re.finditer(r"^\.\. testcode::\n((?:   .*\n|\n)+)", text, re.MULTILINE):
        code = textwrap.dedent(block[1])
        if ":hide:" not in code:
            found.append((text.count("\n", 0, block.start()), code))
    return [code for _, code in sorted(found)]


def unknown_names(pieces: list[str]) -> set[str]:
    """
    Names that code uses and has from nowhere.

    What a function uses may be there later, since it is called later.

    :param pieces: code, in the order in which it is typed.
    """
    known = set(dir(builtins))
    unknown: set[str] = set()
    later: set[str] = set()
    for piece in pieces:
        top = symtable.symtable(piece, "<page>", "exec")
        known |= _made(top).union(*map(_made, _below(top)))
        for star in re.findall(r"^from (\S+) import \*", piece, re.MULTILINE):
            known |= set(importlib.import_module(star).__all__)
        unknown |= _used(top, top) - known
        later |= {name for table in _below(top) if table.get_type() == "function" for name in _used(table, top)}
    return unknown | later - known


def _below(table: symtable.SymbolTable) -> list[symtable.SymbolTable]:
    return [deeper for child in table.get_children() for deeper in (child, *_below(child))]


def _made(table: symtable.SymbolTable) -> set[str]:
    """Global names that code makes."""
    everywhere = table.get_type() == "module"
    made = (each for each in table.get_symbols() if each.is_assigned() or each.is_imported())
    return {each.get_name() for each in made if everywhere or each.is_declared_global()}


def _used(table: symtable.SymbolTable, top: symtable.SymbolTable) -> set[str]:
    """Global names that code uses when it is run, bodies of functions left out."""
    own = {each.get_name() for each in table.get_symbols() if each.is_referenced() and (table is top or each.is_global())}
    return own.union(*(_used(child, top) for child in table.get_children() if child.get_type() == "class"))
