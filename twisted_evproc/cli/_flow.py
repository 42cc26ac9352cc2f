"""``evproc flow``: looking at durable flows, and after them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import attrs

from ._crashtest import crashtest, crashtest_arguments
from ._flow_list import list_arguments, list_runs
from ._flow_pictures import draw_graph, draw_timeline, graph_arguments, timeline_arguments
from ._flow_recover import recover, recover_arguments
from ._flow_status import status_arguments, tell_status
from ._flow_upkeep import cancel, cancel_arguments, check, collect, fsck_arguments, gc_arguments
from ._flow_why import tell_why, why_arguments
from ._status import ExitStatus


@attrs.frozen
class FlowCommand:
    """
    A command below ``evproc flow``.

    :ivar name: what is written behind it.
    :ivar text: one line.
    :ivar examples: command lines.
    :ivar arguments: adds its arguments to a parser.
    :ivar perform: does it, and gives the exit status.
    """

    name: str
    text: str
    examples: tuple[str, ...]
    arguments: Callable[[argparse.ArgumentParser], None]
    perform: Callable[[argparse.Namespace], int]


FLOW_COMMANDS: tuple[FlowCommand, ...] = (
    FlowCommand(
        "list",
        "Lists the runs of a store, the oldest first.",
        ("evproc flow list shop.run.db", "evproc flow list shop.run.db --json | jq -r 'select(.status == \"interrupted\").run'"),
        list_arguments,
        list_runs,
    ),
    FlowCommand(
        "status",
        "Says how a run stands: its steps, their failures, and what it waits for.",
        ("evproc flow status shop.run.db", "evproc flow status shop.run.db --watch"),
        status_arguments,
        tell_status,
    ),
    FlowCommand(
        "why",
        "Says why a step has run, or a flow event has happened, or why not.",
        ("evproc flow why shop.run.db newest send", "evproc flow why shop.run.db 3ab2 ship 42"),
        why_arguments,
        tell_why,
    ),
    FlowCommand(
        "graph",
        "Draws a flow, with how each part of a run stands.",
        ("evproc flow graph shop.run.db -o shop.html", "evproc flow graph shop.py -o shop.svg"),
        graph_arguments,
        draw_graph,
    ),
    FlowCommand(
        "timeline",
        "Draws when which step ran, in all recoveries of a run.",
        ("evproc flow timeline shop.run.db -o when.html",),
        timeline_arguments,
        draw_timeline,
    ),
    FlowCommand(
        "recover",
        "Runs a flow's next recovery, or says what it would do.",
        ("evproc flow recover shop.py --plan", "evproc flow recover shop.py", "evproc flow recover shop.py --continue"),
        recover_arguments,
        recover,
    ),
    FlowCommand(
        "cancel",
        "Cancels a run that no engine works on.",
        ("evproc flow cancel shop.run.db newest",),
        cancel_arguments,
        cancel,
    ),
    FlowCommand(
        "gc",
        "Removes runs that ended long ago.",
        ("evproc flow gc shop.run.db --older-than 30d --dry-run", "evproc flow gc shop.run.db --older-than 30d --keep 5"),
        gc_arguments,
        collect,
    ),
    FlowCommand(
        "fsck",
        "Sees whether a store is whole, and whether what it says of its runs fits together.",
        ("evproc flow fsck shop.run.db",),
        fsck_arguments,
        check,
    ),
    FlowCommand(
        "crashtest",
        "Kills a flow at every change of its store, and says what is lost or done again.",
        ("evproc flow crashtest orders.py", "evproc flow crashtest shop.flows:build_flow --max-points 30 --random 20"),
        crashtest_arguments,
        crashtest,
    ),
)


def flow_arguments(parser: argparse.ArgumentParser) -> None:
    """The commands below ``evproc flow``."""
    commands = parser.add_subparsers(title="commands", dest="flow_command", metavar="FLOW_COMMAND")
    for command in FLOW_COMMANDS:
        epilog = _examples(command.examples)
        own = commands.add_parser(command.name, help=command.text, description=command.text, epilog=epilog)
        own.set_defaults(perform=command.perform, parser=own)
        command.arguments(own)


def _examples(examples: Sequence[str]) -> str:
    return "\n".join(["examples:", *(f"  {example}" for example in examples)])


def flow(options: argparse.Namespace) -> int:
    """Say that a command is missing; those above are performed instead of this."""
    options.parser.error(f"say what to do: {', '.join(command.name for command in FLOW_COMMANDS)}")
    return ExitStatus.UNUSABLE


__all__ = ["FLOW_COMMANDS", "FlowCommand", "flow", "flow_arguments"]
