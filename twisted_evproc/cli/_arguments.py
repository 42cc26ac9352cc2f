"""The command line: commands, arguments, options and help."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn

import attrs
import twisted

from .._version import __version__
from ._amqp import EXCHANGE, URL_VARIABLE
from ._completion import SHELLS, completion
from ._dead import ACTIONS, dead
from ._flow import flow, flow_arguments
from ._inspect import explain, handlers
from ._numbers import count, seconds
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
        help="JSON lines, one event a line; - is standard input "
        "(default: the application's own 'events' or 'sources', or standard input)",
    )
    parser.add_argument(
        "--concurrency",
        metavar="N",
        type=count,
        default=1,
        help="events that are processed at the same time (default: 1, one after the other)",
    )
    _broker_arguments(parser)
    parser.add_argument(
        "--route-by", metavar="KEYWORD", help="the keyword that routes on this exchange, where its publishers have named one"
    )
    parser.add_argument(
        "--group",
        metavar="NAME",
        help="the group whose events to take from the broker (default: the name of the application's file)",
    )
    parser.add_argument(
        "--match",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="let the group get only events that match; several keys all have to, several values of one key are alternatives",
    )
    parser.add_argument(
        "--window",
        metavar="N",
        type=count,
        help="events that the broker hands over before the first of them is finished (default: as --concurrency)",
    )
    parser.add_argument("--json", action="store_true", help="write JSON, one object a line, the last one {'summary': ...}")
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="write the summary only; broken lines still go to standard error"
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="also write logs and the tracebacks of failures to standard error"
    )


def _broker_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--amqp",
        metavar="URL",
        help=f"the broker, as in amqp://user:password@host:port/virtual_host (default: what {URL_VARIABLE} says, "
        f"which nobody else sees)",
    )
    parser.add_argument("--exchange", metavar="NAME", help=f"the exchange that events go through (default: {EXCHANGE})")


def _dead_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", metavar="ACTION", choices=ACTIONS, help=f"one of {', '.join(ACTIONS)}")
    parser.add_argument("group", metavar="GROUP", help="the group whose handlers could not handle the events")
    parser.add_argument("ids", metavar="ID", nargs="*", default=[], help="which dead letters to replay or to purge")
    parser.add_argument("--all", action="store_true", help="replay or purge all of them")
    parser.add_argument("--limit", metavar="N", type=count, help="list so many at most, the oldest ones")
    _broker_arguments(parser)
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=seconds, default=10.0, help="how long the broker may not answer (default: 10)"
    )
    parser.add_argument("--json", action="store_true", help="write JSON, one object a dead letter and line")
    parser.add_argument("-q", "--quiet", action="store_true", help="do not say how many there are, or were")
    parser.add_argument("-v", "--verbose", action="store_true", help="also write logs to standard error")


def _explain_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application", metavar="APP", help=_APP)
    parser.add_argument(
        "details",
        metavar="key=value",
        nargs="*",
        default=[],
        help="details; a value that is JSON is read as JSON, any other is text",
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
            "evproc run gateway.py  # has 'sources' of its own: runs until Ctrl-C",
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
        "flow",
        "look at the runs of durable flows, recover them, and clean up after them",
        "Looks at the runs of durable flows: how they stand, and why.  Recovers and cancels them, and removes old ones.",
        (
            "evproc flow status shop.run.db",
            "evproc flow why shop.run.db newest send",
            "evproc flow graph shop.run.db -o shop.html",
        ),
        flow_arguments,
        flow,
    ),
    Command(
        "dead",
        "list, replay or purge the dead letters of a group on a broker",
        "Lists the dead letters of a group: events that its handlers could not handle.  Gives them to the group again, or "
        "deletes them.",
        (
            "evproc dead list warehouse",
            "evproc dead replay warehouse 5f0c2a81-7 5f0c2a81-9",
            "evproc dead purge warehouse --all --exchange shop",
        ),
        _dead_arguments,
        dead,
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


class _Parser(argparse.ArgumentParser):
    """Refuses abbreviated options, which would change their meaning with every new option, and says which word was meant."""

    def __init__(self, **options: object) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)  # type: ignore[arg-type]  # handed on
        self._argv: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As of argparse."""
        self._argv = args
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """As of argparse; an option that is not there goes before an argument that is missing."""
        if message.startswith("the following arguments are required"):
            before = takewhile(lambda argument: argument != "--", self._argv)
            given = [argument.partition("=")[0] for argument in before if argument.startswith("--")]
            unknown = [option for option in given if option not in self._option_string_actions]
            if unknown:
                _refuse(self, unknown[0])
        super().error(message)

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            names = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(
                action, f"there is no {value!r}; choose one of {', '.join(names)}.{suggestion(str(value), names)}"
            )


def make_parser() -> argparse.ArgumentParser:
    """The parser for the whole command line."""
    versions = f"evproc {__version__} (Twisted {twisted.__version__}, Python {platform.python_version()})"
    parser = _Parser(
        prog="evproc",
        description="Runs applications of twisted_evproc on events, and looks at their handlers, flows and dead letters.",
        epilog=_epilog([command.examples[0] for command in COMMANDS]),
    )
    parser.add_argument(
        "--version", action="version", version=versions, help="write the versions of the package, of Twisted and of Python"
    )
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
    if not argv:
        parser.error(f"say what to do: {', '.join(names)}")
    word = next((argument for argument in argv if not argument.startswith("-")), None)
    if word is not None and word not in names:
        parser.error(f"there is no command {word!r}; the commands are: {', '.join(names)}.{suggestion(word, names)}")
    options, unknown = parser.parse_known_args(argv)
    for more in ("details", "ids"):
        if more in options:
            # argparse gives up on further positional arguments behind an option.
            setattr(options, more, getattr(options, more) + [argument for argument in unknown if not argument.startswith("-")])
            unknown = [argument for argument in unknown if argument.startswith("-")]
    if unknown:
        _refuse(options.parser, unknown[0])
    return options


def _refuse(parser: argparse.ArgumentParser, argument: str) -> NoReturn:
    known = [option for action in parser._actions for option in action.option_strings]
    if not argument.startswith("-"):
        # A URL may have a password in it.
        scheme, found, _ = argument.partition("://")
        shown = f"{scheme}://..." if found else argument
        hint = f"  For a file of events, write --events {argument}." if "--events" in known and Path(argument).is_file() else ""
        parser.error(f"{shown!r} is one argument too many.{hint}")
    option = argument.partition("=")[0]
    parser.error(f"there is no option {option!r}.{suggestion(option, known)}")


__all__ = ["COMMANDS", "Command", "make_parser", "parse"]
