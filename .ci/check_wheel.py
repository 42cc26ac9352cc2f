"""Check what is in a wheel: the package with its data, twist's plugin, the licence, the command, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parent.parent
PACKAGE = "twisted_evproc"
#: Files that are no modules.
DATA = (f"{PACKAGE}/py.typed", f"{PACKAGE}/service/meta.zcml")
#: Modules that are installed into packages of others, by where they lie here.
DROPPED_IN = {f"{PACKAGE}/_dropin/twisted_evproc_plugin.py": "twisted/plugins/twisted_evproc_plugin.py"}


def problems(wheel: ZipFile) -> Iterator[str]:
    """What is missing from the wheel or does not belong there, in words."""
    names = set(wheel.namelist())
    modules = (path.relative_to(ROOT).as_posix() for path in (ROOT / PACKAGE).rglob("*.py"))
    wanted = {DROPPED_IN.get(module, module) for module in modules} | set(DATA)
    yield from (f"missing: {name}" for name in sorted(wanted - names))
    metadata = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    yield from (f"does not belong there: {name}" for name in sorted(names - wanted - metadata))
    if not any(name.endswith("/LICENSE") for name in metadata):
        yield "missing: the licence"
    entry_points = next((wheel.read(name).decode() for name in metadata if name.endswith("/entry_points.txt")), "")
    if f"evproc = {PACKAGE}.cli:main" not in entry_points:
        yield "missing: the evproc command"


if __name__ == "__main__":
    with ZipFile(sys.argv[1]) as wheel:
        found = list(problems(wheel))
    sys.exit("\n".join(found) or None)
