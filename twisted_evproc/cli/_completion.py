"""``evproc completion``: scripts for shells, made of the parser itself so that they cannot differ from it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator

import attrs

from ._output import Output


@attrs.frozen
class Option:
    """An option: its spellings, what it means, and what its value is (``None``: it takes none)."""

    spellings: tuple[str, ...]
    help: str
    value: str | None


@attrs.frozen
class Syntax:
    """
    What a shell has to know of a command.

    :ivar files: whether its first argument is a file.
    :ivar words: what its first argument may be, where that is one of a few words.
    """

    name: str
    help: str
    options: tuple[Option, ...]
    files: bool
    words: tuple[str, ...]


def syntax(parser: argparse.ArgumentParser) -> list[Syntax]:
    """The commands of a parser."""
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    helps = {choice.dest: choice.help or "" for choice in commands._choices_actions}
    return [_of_command(name, helps[name], own) for name, own in commands.choices.items()]


def _of_command(name: str, summary: str, parser: argparse.ArgumentParser) -> Syntax:
    options = tuple(
        Option(tuple(action.option_strings), action.help or "", None if action.nargs == 0 else str(action.metavar))
        for action in parser._actions
        if action.option_strings
    )
    first = next(action for action in parser._actions if not action.option_strings)
    return Syntax(name, summary, options, first.metavar == "APP", tuple(first.choices or ()))


def _bash(commands: list[Syntax]) -> Iterator[str]:
    yield '# bash completion for evproc.  Use:  eval "$(evproc completion bash)"'
    yield "_evproc() {"
    yield "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}"
    yield "    COMPREPLY=()"
    yield '    if [ "$COMP_CWORD" -eq 1 ]; then'
    names = " ".join(command.name for command in commands)
    yield f"        mapfile -t COMPREPLY < <(compgen -W '{names} --help --version' -- \"$word\")"
    yield "        return"
    yield "    fi"
    yield '    case "${COMP_WORDS[1]}:$before" in'
    for command in commands:
        for option in command.options:
            if option.value is not None:
                patterns = "|".join(f"{command.name}:{spelling}" for spelling in option.spellings)
                action = "compopt -o default" if option.value == "FILE" else ":"
                yield f"        {patterns}) {action}; return ;;"
    yield "    esac"
    yield '    case "${COMP_WORDS[1]}:$word" in'
    for command in commands:
        spellings = " ".join(spelling for option in command.options for spelling in option.spellings)
        yield f"        {command.name}:-*) mapfile -t COMPREPLY < <(compgen -W '{spellings}' -- \"$word\") ;;"
        if command.words:
            yield f"        {command.name}:*) mapfile -t COMPREPLY < <(compgen -W '{' '.join(command.words)}' -- \"$word\") ;;"
        elif command.files:
            yield f"        {command.name}:*) compopt -o default ;;"
    yield "    esac"
    yield "}"
    yield "complete -F _evproc evproc"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _zsh(commands: list[Syntax]) -> Iterator[str]:
    yield "#compdef evproc"
    yield "# zsh completion for evproc.  Write it to a file named _evproc in a folder of $fpath."
    yield "_evproc() {"
    yield "    local -a commands"
    yield "    commands=("
    for command in commands:
        yield f"        {_quoted(f'{command.name}:{command.help}')}"
    yield "    )"
    yield "    if (( CURRENT == 2 )); then"
    yield "        _describe command commands"
    yield "        _arguments '--help[show help]' '--version[write the version]'"
    yield "        return"
    yield "    fi"
    yield "    local command=${words[2]}"
    yield "    shift words; (( CURRENT-- ))"
    yield "    case $command in"
    for command in commands:
        yield f"        {command.name})"
        yield "            _arguments \\"
        for option in command.options:
            text = option.help.replace("[", "(").replace("]", ")").replace(":", " ")
            value = "" if option.value is None else f":{option.value}:{'_files' if option.value == 'FILE' else ' '}"
            for spelling in option.spellings:
                yield f"                {_quoted(f'{spelling}[{text}]{value}')} \\"
        if command.words:
            yield f"                {_quoted('1: :(' + ' '.join(command.words) + ')')} ;;"
        else:
            yield f"                {_quoted('1:application:_files')} {_quoted('*: : ')} ;;"
    yield "    esac"
    yield "}"
    yield 'if [ "$funcstack[1]" = _evproc ]; then _evproc "$@"; else compdef _evproc evproc; fi'


def _fish(commands: list[Syntax]) -> Iterator[str]:
    yield "# fish completion for evproc.  Write it to ~/.config/fish/completions/evproc.fish"
    yield "complete -c evproc -n __fish_use_subcommand -f -l help -d 'show help'"
    yield "complete -c evproc -n __fish_use_subcommand -f -l version -d 'write the version'"
    for command in commands:
        yield f"complete -c evproc -n __fish_use_subcommand -f -a {command.name} -d {_fish_quoted(command.help)}"
        seen = f"-n '__fish_seen_subcommand_from {command.name}'"
        if command.words:
            yield f"complete -c evproc {seen} -f -a '{' '.join(command.words)}'"
        for option in command.options:
            spelt = " ".join(f"-l {each[2:]}" if each.startswith("--") else f"-s {each[1:]}" for each in option.spellings)
            value = "" if option.value is None else " -r" if option.value == "FILE" else " -x"
            yield f"complete -c evproc {seen} {spelt}{value} -d {_fish_quoted(option.help)}"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


#: The shells there are scripts for.
SHELLS: dict[str, Callable[[list[Syntax]], Iterator[str]]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}


def completion(shell: str, parser: argparse.ArgumentParser) -> int:
    """Perform the command ``completion``."""
    output = Output(sys.stdout)
    for line in SHELLS[shell](syntax(parser)):
        output.line(line)
    output.flush()
    return 0


__all__ = ["SHELLS", "completion", "syntax"]
