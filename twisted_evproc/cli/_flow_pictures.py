"""``evproc flow graph`` and ``evproc flow timeline``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import attrs

from ..errors import ApplicationError
from ._flow_store import (
    add_application,
    add_json,
    add_recovery,
    add_run,
    add_store,
    check_sequence,
    find_run,
    is_sqlite,
    look,
    open_reader,
    program_of,
)
from ._output import Output
from ._status import ExitStatus
from ._words import printable

_SUFFIXES = (".svg", ".html", ".htm")


def graph_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``flow graph``."""
    parser.add_argument(
        "place",
        metavar="STORE|APP",
        help="a store, as for the other commands, or an application: a Python file or a module, each with :attribute or without",
    )
    add_run(parser)
    parser.add_argument("--sequence", metavar="S", help="show this sequence (default: all of them together)")
    _add_file(parser)
    add_application(parser)
    add_recovery(parser)
    add_json(parser, "one object with the nodes and edges")


def timeline_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``flow timeline``."""
    add_store(parser)
    add_run(parser)
    _add_file(parser)
    add_json(parser, "one object with the rows")


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write FILE.svg or FILE.html (default: SVG on the standard output)"
    )


def draw_graph(options: argparse.Namespace) -> int:
    """Perform ``flow graph``."""
    from ..flow.views import graph_of, graph_page, graph_svg

    now = time.time()
    if _is_store(options.place):
        with open_reader(options.place) as reader:
            sight = look(reader, find_run(reader, options.run), options.app, options.recovery)
        check_sequence(sight, options.sequence)
        graph = graph_of(sight.declared, sight, options.sequence, name=sight.snapshot.run.name, now=now)
    else:
        if options.run is not None or options.sequence is not None:
            raise ApplicationError(
                options.place, "is an application, and has no runs; give its store, and the application with --app"
            )
        from ..flow.views import read_description
        from ._flow_application import load_flow

        graph = graph_of(read_description(program_of(options.place)), name=load_flow(options.place).flow().name)
    if options.json:
        return _write_json(attrs.asdict(graph))
    return _write(options.output, lambda: graph_svg(graph), lambda: graph_page(graph))


def draw_timeline(options: argparse.Namespace) -> int:
    """Perform ``flow timeline``."""
    from ..flow.views import timeline_of, timeline_page, timeline_svg

    with open_reader(options.store) as reader:
        sight = look(reader, find_run(reader, options.run))
    timeline = timeline_of(sight, now=time.time())
    if options.json:
        rows = [attrs.asdict(row, recurse=False) | {"bars": [bar._asdict() for bar in row.bars]} for row in timeline.rows]
        marks = [{"at": at, "text": text} for at, text in timeline.marks]
        return _write_json({"title": timeline.title, "begin": timeline.begin, "end": timeline.end, "rows": rows, "marks": marks})
    return _write(options.output, lambda: timeline_svg(timeline), lambda: timeline_page(timeline))


def _is_store(place: str) -> bool:
    if "://" in place:
        return True
    if os.path.isfile(place):
        return is_sqlite(place) or not place.endswith(".py")
    # What is not there: a path that looks like a database is a store, so that the error speaks of one.
    return place.endswith((".db", ".sqlite", ".sqlite3"))


def _write_json(value: Any) -> int:
    Output(sys.stdout).line(json.dumps(value))
    return ExitStatus.SUCCESS


def _write(file: str | None, svg: Any, page: Any) -> int:
    if file is None:
        Output(sys.stdout).line(svg())
        return ExitStatus.SUCCESS
    suffix = Path(file).suffix.lower()
    if suffix not in _SUFFIXES:
        raise ApplicationError(file, "what is to be written is said by the end of its name: .svg or .html")
    text = svg() if suffix == ".svg" else page()
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ApplicationError(file, f"cannot be written: {error.strerror}") from error
    print(f"evproc: wrote {printable(file)}", file=sys.stderr)
    return ExitStatus.SUCCESS


__all__ = ["draw_graph", "draw_timeline", "graph_arguments", "timeline_arguments"]
