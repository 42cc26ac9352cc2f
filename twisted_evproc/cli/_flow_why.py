"""``evproc flow why``."""

from __future__ import annotations

import argparse
import json
import sys
import time

from ..errors import ApplicationError
from ._flow_store import add_application, add_json, add_recovery, add_run, add_store, check_sequence, find_run, look, open_reader
from ._output import Output
from ._spelling import suggestion
from ._status import ExitStatus
from ._words import printable

_COLOURS = {"yes": "green", "no": "dim", "failed": "red", "waits": "yellow", "note": "cyan"}
#: What stands before a line, so that it is clear without colours as well.
_SIGNS = {"yes": "+", "no": "-", "failed": "x", "waits": "~", "note": "*"}


def why_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``flow why``."""
    add_store(parser)
    add_run(parser, optional=False)
    parser.add_argument("what", metavar="NAME", help="the name of a step or a flow event")
    parser.add_argument("sequence", metavar="SEQUENCE", nargs="?", help="default: the newest in which it is not done")
    parser.add_argument(
        "--kind",
        metavar="KIND",
        choices=("step", "event"),
        help="step or event, where a name is that of both (default: the step)",
    )
    add_application(parser)
    add_recovery(parser)
    add_json(parser, "one object a line")


def tell_why(options: argparse.Namespace) -> int:
    """Perform ``flow why``."""
    from ..flow.views import why

    output = Output(sys.stdout)
    with open_reader(options.store) as reader:
        sight = look(reader, find_run(reader, options.run), options.app, options.recovery)
    steps, events = set(sight.steps()), {*sight.declared.events, *(event for event, _ in sight.triggers)}
    known = {"step": steps, "event": events, None: steps | events}[options.kind]
    if options.what not in known:
        kind = {"step": "step", "event": "flow event", None: "step or flow event"}[options.kind]
        shown = ", ".join(repr(name) for name in sorted(known)[:12]) + (", ..." if len(known) > 12 else "")
        raise ApplicationError(
            options.what, f"the flow has no such {kind}; it has {shown or 'none'}.{suggestion(options.what, known)}"
        )
    # A sequence that has not begun is a fair question about a flow event; not if none is like it.
    check_sequence(sight, options.sequence)
    for reason in why(sight, options.what, options.sequence, options.kind, now=time.time()):
        if options.json:
            output.line(json.dumps(reason._asdict()))
        else:
            sign = output.colour(_SIGNS[reason.mark], _COLOURS[reason.mark])
            output.line(f"{'  ' * reason.depth}{sign} {printable(reason.text)}")
    return ExitStatus.SUCCESS


__all__ = ["tell_why", "why_arguments"]
