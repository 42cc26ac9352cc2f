"""Prints the tables: ``python -m benchmarks [--quick] [--only events|flows|amqp] [--json FILE]``."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import attrs

from . import amqp, dispatch, flow, processing, sources
from .harness import Row, table


def main() -> None:
    """Time everything, print it, and keep it where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and smaller crowds: a first impression")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    parser.add_argument("--only", choices=("events", "flows", "amqp"), help="one part of it")
    parser.add_argument(
        "--dbos", default=sys.executable, metavar="PYTHON", help="an interpreter that has DBOS, to compare flows with (this one)"
    )
    parser.add_argument(
        "--postgresql",
        default=flow.default_server(),
        metavar="URL",
        help="a PostgreSQL server where databases may be made for flows (%(default)s)",
    )
    parser.add_argument(
        "--amqp",
        default=amqp.default_broker(),
        metavar="URL",
        help="a RabbitMQ where exchanges and queues may be made (%(default)s)",
    )
    arguments = parser.parse_args()
    print(f"{platform.python_implementation()} {platform.python_version()} on {platform.machine()}\n")
    found: list[dict[str, Any]] = []
    if arguments.only in (None, "events"):
        found += [{**attrs.asdict(row), "met": row.met} for row in events(arguments.quick)]
    tables = []
    if arguments.only in (None, "flows"):
        tables.append(flow.everything(arguments.quick, arguments.dbos, arguments.postgresql))
    if arguments.only in (None, "amqp"):
        tables.append(amqp.everything(arguments.quick, arguments.amqp))
    for title, figures in chain.from_iterable(tables):
        print(f"{flow.table(title, figures)}\n", flush=True)
        found += [{**attrs.asdict(figure), "met": figure.met} for figure in figures]
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


def events(quick: bool) -> list[Row]:
    """Time what is done with events, and print it."""
    rounds, crowd, details = (5, 10_000, 100_000) if quick else (25, 100_000, 1_000_000)
    rows: list[Row] = [
        *dispatch.firing(rounds),
        *dispatch.nobody(rounds),
        *dispatch.eventual(rounds),
        *dispatch.many(rounds, crowd),
        *dispatch.cold(rounds),
    ]
    print(table(f"Dispatch, {rounds} rounds", rows))
    print(dispatch.memory(details))
    rows_by_name = [*processing.by_name(rounds)]
    print(f"\n{table('Processing by name', rows_by_name)}")
    rows_by_content = [*processing.by_content(rounds)]
    print(f"\n{table('Processing by content', rows_by_content)}")
    rows_of_sources = [*sources.passing(rounds)]
    print(f"\n{table('Sources', rows_of_sources)}")
    for line in sources.flood(details):
        print(line)
    print()
    return [*rows, *rows_by_name, *rows_by_content, *rows_of_sources]


if __name__ == "__main__":
    main()
