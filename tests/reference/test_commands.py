"""The reference page says what the command line is."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from tests.pages import pairs, table, text_of
from twisted_evproc.cli._arguments import COMMANDS, make_parser
from twisted_evproc.cli._completion import SHELLS
from twisted_evproc.cli._flow import FLOW_COMMANDS
from twisted_evproc.cli._status import MEANINGS, ExitStatus
from twisted_evproc.cli._tally import Tally
from twisted_evproc.cli._twist import Options

PAGE = "reference/commands"
TEXT = text_of(PAGE)


def documented() -> dict[str, set[str]]:
    """By program, what its ``option`` directives say."""
    found: dict[str, set[str]] = {}
    program = ""
    for directive, text in re.findall(r"^\.\. (program|option):: (.+)$", TEXT, re.MULTILINE):
        if directive == "program":
            program = text
            found[program] = set()
        else:
            found[program].add(text)
    return found


def spelt(parser: argparse.ArgumentParser) -> set[str]:
    return {
        ", ".join(action.option_strings) + ("" if action.nargs == 0 else f" {action.metavar}")
        for action in parser._actions
        if action.option_strings
    }


def parsers() -> dict[str, argparse.ArgumentParser]:
    return dict(below("evproc", make_parser()))


def below(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """A command, and all commands that it has, by the words that call them."""
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, own in action.choices.items():
                yield from below(f"{name} {word}", own)


def test_every_command_and_option_and_no_other() -> None:
    programs = {program: spelt(parser) for program, parser in parsers().items()}
    assert documented() == programs | {"twist evproc": twist_options()}


def twist_options() -> set[str]:
    """As ``twist evproc --help`` spells them; what takes a value has it in the words of the page."""
    options = Options()
    values = {"stop-timeout": "SECONDS", "concurrency": "N"}
    return {f"--{name.rstrip('=')}" + (f" {values[name[:-1]]}" if name.endswith("=") else "") for name in options.longOpt}


def test_every_synopsis_has_the_arguments() -> None:
    for program, parser in parsers().items():
        synopsis = re.search(rf"^``({program} .*)``$", TEXT, re.MULTILINE)
        assert synopsis, program
        for action in parser._actions:
            name = action.metavar if not action.option_strings else action.option_strings[0]
            if name not in ("-h", "--version"):
                assert str(name) in synopsis[1], (program, name)


def test_what_each_command_does() -> None:
    words = " ".join(TEXT.split())
    for command in COMMANDS:
        if command.name != "completion":
            assert " ".join(command.text.split()) in words
    assert all(" ".join(command.text.split()) in words for command in FLOW_COMMANDS)
    assert all(f"``{shell}``" in words for shell in SHELLS)


def test_every_exit_status() -> None:
    assert pairs(table(PAGE, "status")) == {str(status.value): MEANINGS[status] for status in ExitStatus}


def test_every_count_of_the_summary() -> None:
    assert all(f"``{name}``" in TEXT for name in Tally().as_json())
