"""The command line: commands, arguments, options and help."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable, Sequence
from typing import NoReturn

import attrs
import twisted

from .._version import __version__
from ._completion import SHELLS, completion
from ._inspect import explain, handlers
from ._run import run
from ._spelling import suggestion
from ._status import MEANINGS

_APP = "a Python file or a module, each with :attribute or without; without, it has to have exactly one dispatcher"


@attrs.frozen
class Command:
    """
    One command.

    :ivar name: what is written behind ``evproc``.
    :ivar summary: one line.
    :ivar text: what the command's own help says on top of its options.
    :ivar examples: command lines.
    :ivar arguments: adds its arguments to a parser.
    :ivar perform: does it, and gives the exit status.
    """

    name: str
    summary: str
    text: str
    examples: tuple[str, ...]
    arguments: Callable[[argparse.ArgumentParser], None]
    perform: Callable[[argparse.Namespace], int]


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application", metavar="APP", help=_APP)
    parser.add_argument(
        "--events",
        metavar="FILE",
        help="JSON lines, one event a line; - is standard input (default: the application's own 'events', or standard input)",
    )
    parser.add_argument(
        "--concurrency",
        metavar="N",
        type=_count,
        default=1,
        help="events that are processed at the same time (default: 1, one after the other)",
    )
    parser.add_argument("--json", action="store_true", help="write JSON, one object a line, the last one {'summary': ...}")
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="write the summary only; broken lines still go to standard error"
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="also write logs and the tracebacks of failures to standard error"
    )


def _explain_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application", metavar="APP", help=_APP)
    parser.add_argument(
        "details", metavar="key=value", nargs="*", help="details; a value that is JSON is read as JSON, any other is text"
    )
    parser.add_argument(
        "--event",
        metavar="JSON",
        help="an event as a line of 'run' has it; its details are taken from it, key=value overrides them",
    )
    parser.add_argument("--json", action="store_true", help="write one JSON object")


def _handlers_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application", metavar="APP", help=_APP)
    parser.add_argument("--json", action="store_true", help="write JSON, one object a handler and line")


def _completion_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=tuple(SHELLS), help=f"one of {', '.join(SHELLS)}")


def _completion(options: argparse.Namespace) -> int:
    return completion(options.shell, make_parser())


COMMANDS: tuple[Command, ...] = (
    Command(
        "run",
        "feed events to an application",
        "Feeds events to an application and says what became of each: one outcome a line, and a summary.",
        (
            "evproc run accounts.py --events accounts.jsonl",
            "tail -f events.jsonl | evproc run shop.events:dispatcher --events -",
            "evproc run accounts.py --events accounts.jsonl --json | jq -c 'select(.handled == false)'",
        ),
        _run_arguments,
        run,
    ),
    Command(
        "explain",
        "say which handlers would run for an event, and why the others would not",
        "Says which handlers would run for an event and in which order, and what rules the others out.  Calls none of them.",
        (
            "evproc explain accounts.py event_type=created role=admin",
            """evproc explain accounts.py --event '{"event_type": "created", "user": "ada"}'""",
        ),
        _explain_arguments,
        explain,
    ),
    Command(
        "handlers",
        "list the handlers of an application",
        "Lists the handlers of an application in the order of their phases.",
        ("evproc handlers accounts.py", "evproc handlers shop.events:dispatcher --json"),
        _handlers_arguments,
        handlers,
    ),
    Command(
        "completion",
        "write a script that makes a shell complete evproc's commands and options",
        "Writes a script for a shell, which makes it complete evproc's commands, options and files.",
        (
            'eval "$(evproc completion bash)"',
            "evproc completion zsh > ~/.zfunc/_evproc",
            "evproc completion fish > ~/.config/fish/completions/evproc.fish",
        ),
        _completion_arguments,
        _completion,
    ),
)


def _count(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} has to be a whole number, 1 or more")
    return number


class _Parser(argparse.ArgumentParser):
    """Refuses abbreviated options, which would change their meaning with every new option."""

    def __init__(self, **options: object) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)  # type: ignore[arg-type]  # handed on


def make_parser() -> argparse.ArgumentParser:
    """The parser for the whole command line."""
    versions = f"evproc {__version__} (Twisted {twisted.__version__}, Python {platform.python_version()})"
    parser = _Parser(
        prog="evproc",
        description="Runs and inspects event dispatchers of twisted_evproc.",
        epilog=_epilog([command.examples[0] for command in COMMANDS]),
    )
    parser.add_argument("--version", action="version", version=versions, help="write the version and leave")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        own = commands.add_parser(command.name, help=command.summary, description=command.text, epilog=_epilog(command.examples))
        own.set_defaults(perform=command.perform, parser=own)
        command.arguments(own)
    return parser


def _epilog(examples: Sequence[str]) -> str:
    lines = ["examples:", *(f"  {example}" for example in examples), "", "exit status:"]
    lines += [f"  {status.value:>3}  {meaning}" for status, meaning in MEANINGS.items()]
    return "\n".join(lines)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """
    Understand a command line.

    :raises SystemExit: with 2 where it cannot be understood, after saying so; with 0 after help and version.
    """
    parser = make_parser()
    names = [command.name for command in COMMANDS]
    word = next((argument for argument in argv if not argument.startswith("-")), None)
    if word is not None and word not in names:
        parser.error(f"there is no command {word!r}; the commands are: {', '.join(names)}.{suggestion(word, names)}")
    options, unknown = parser.parse_known_args(argv)
    if "details" in options:
        # argparse gives up on further positional arguments behind an option.
        options.details += [argument for argument in unknown if not argument.startswith("-")]
        unknown = [argument for argument in unknown if argument.startswith("-")]
    if unknown:
        _refuse(options.parser, unknown[0])
    return options


def _refuse(parser: argparse.ArgumentParser, argument: str) -> NoReturn:
    if not argument.startswith("-"):
        parser.error(f"{argument!r} is one argument too many")
    known = [option for action in parser._actions for option in action.option_strings]
    parser.error(f"there is no option {argument!r}.{suggestion(argument.partition('=')[0], known)}")


__all__ = ["COMMANDS", "Command", "make_parser", "parse"]
