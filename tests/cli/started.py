"""A command under way as a process of its own, whose output is waited for."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 60.0


class Started:
    """
    A process; both of its streams are one text.

    :ivar text: what it has written so far.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self.process = process
        self.text = ""
        self._descriptor = process.stdout.fileno()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read on until the output has this; fails when it ends before."""
        while not (found := re.search(pattern, self.text, re.MULTILINE)):
            assert self._read(), f"{pattern!r} never came:\n{self.text}"
        return found

    def end(self, number: signal.Signals) -> int:
        """Send a signal, and read to the end; gives the exit status."""
        self.process.send_signal(number)
        return self.rest()

    def rest(self) -> int:
        """Read to the end; gives the exit status."""
        while self._read():
            pass
        return self.process.wait(DEADLINE_SECONDS)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._descriptor], [], [], DEADLINE_SECONDS)
        assert ready, f"nothing more came in {DEADLINE_SECONDS} s:\n{self.text}"
        chunk = os.read(self._descriptor, 65_536)
        self.text += chunk.decode()
        return bool(chunk)


@contextmanager
def started(*command: str, folder: Path, **environment: str) -> Iterator[Started]:
    """Start a command, and kill it in the end if need be."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "TERM": "dumb", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            yield Started(process)
        finally:
            process.kill()


@contextmanager
def evproc(*arguments: str, folder: Path, **environment: str) -> Iterator[Started]:
    """``evproc`` with arguments."""
    environment.setdefault("PYTHONPATH", str(ROOT))
    with started(sys.executable, "-m", "twisted_evproc", *arguments, folder=folder, **environment) as process:
        yield process


@contextmanager
def twist(*arguments: str, folder: Path, plugins: Path, **environment: str) -> Iterator[Started]:
    """
    ``twist`` with arguments.

    :param plugins: a folder for the Python path, where the plugin is put as an installed wheel has it: what is installed for
        development lacks it.  Where the tests run without the package beside them, it is an installed wheel's own.
    """
    plugin = ROOT / "twisted_evproc" / "_dropin" / "twisted_evproc_plugin.py"
    installed = plugins / "twisted" / "plugins" / plugin.name
    if plugin.exists() and not installed.exists():
        installed.parent.mkdir(parents=True)
        installed.symlink_to(plugin)
    path = os.pathsep.join((str(plugins), str(ROOT)))
    code = "import sys; from twisted.application.twist._twist import Twist; sys.exit(Twist.main())"
    command = (sys.executable, "-c", code, *arguments)
    with started(*command, folder=folder, PYTHONPATH=path, **environment) as process:
        yield process


__all__ = ["Started", "evproc", "started", "twist"]
