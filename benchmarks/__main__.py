"""Prints the tables: ``python -m benchmarks [--quick] [--json FILE]``."""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

import attrs

from . import dispatch, processing
from .harness import Row, table


def main() -> None:
    """Time everything, print it, and keep it where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and smaller crowds: a first impression")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    arguments = parser.parse_args()
    rounds, crowd, details = (5, 10_000, 100_000) if arguments.quick else (25, 100_000, 1_000_000)
    print(f"{platform.python_implementation()} {platform.python_version()} on {platform.machine()}, {rounds} rounds\n")
    rows: list[Row] = [
        *dispatch.firing(rounds),
        *dispatch.nobody(rounds),
        *dispatch.eventual(rounds),
        *dispatch.many(rounds, crowd),
        *dispatch.cold(rounds),
    ]
    print(table("Dispatch", rows))
    print(dispatch.memory(details))
    rows_by_name = [*processing.by_name(rounds)]
    print(f"\n{table('Processing by name', rows_by_name)}")
    rows_by_content = [*processing.by_content(rounds)]
    print(f"\n{table('Processing by content', rows_by_content)}")
    rows += [*rows_by_name, *rows_by_content]
    if arguments.json:
        arguments.json.write_text(json.dumps([{**attrs.asdict(row), "met": row.met} for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
