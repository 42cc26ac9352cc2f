"""The command as users start it: a process of its own, on the real reactor."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from .conftest import Command
from .started import evproc as started_evproc

OUTCOMES = ["1 kind=order user=ada | before: check -> ada | during: pack -> {parcels: 1}", "2 kind=other | unhandled"]


def test_all_well(evproc: Command) -> None:
    ended = evproc("run", "shop.py", "--events", "orders.jsonl")
    *lines, summary = ended.stdout.splitlines()
    assert lines == OUTCOMES
    assert summary.startswith("2 events in ")
    assert summary.endswith(": 1 handled, 1 unhandled; 2 handler calls; 0 failures; 0 broken lines")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_events_from_standard_input(evproc: Command) -> None:
    for arguments in ([], ["--events", "-"]):
        ended = evproc("run", "shop:dispatcher", *arguments, stdin='{"kind": "order", "user": "bob"}')
        assert ended.stdout.startswith("1 kind=order user=bob | ")
        assert ended.returncode == 0


def test_the_applications_own_events(evproc: Command, folder: Path) -> None:
    (folder / "own.py").write_text("from shop import dispatcher\nevents = [{'kind': 'order', 'user': 'eve'}, 'anything']\n")
    ended = evproc("run", "own.py", "-q")
    assert ended.stdout.startswith("2 events in ")
    ended = evproc("run", "own.py", "--events", "orders.jsonl")
    assert ended.stdout.splitlines()[:2] == OUTCOMES


def test_own_events_that_are_none(evproc: Command, folder: Path) -> None:
    (folder / "own.py").write_text("from shop import dispatcher\nevents = 5\n")
    ended = evproc("run", "own.py")
    assert ended.returncode == 2
    assert "own.py:events: has to be an iterable of events" in ended.stderr


def test_own_events_that_fail_keep_the_summary(evproc: Command, folder: Path) -> None:
    (folder / "own.py").write_text("from shop import dispatcher\ndef events():\n    yield {}\n    1 / 0\n")
    ended = evproc("run", "own.py")
    assert ended.returncode == 2
    assert ended.stdout.splitlines()[-1].startswith("1 event in ")
    assert ended.stderr.startswith(f"evproc: error: {folder / 'own.py'}:4: own.py:events failed after 1 event:") or (
        ended.stderr.startswith("evproc: error: own.py:4: own.py:events failed after 1 event:")
    )


def test_no_events_and_a_terminal(folder: Path, environment: dict[str, str]) -> None:
    main, terminal = os.openpty()
    command = [sys.executable, "-m", "twisted_evproc", "run", "shop.py"]
    try:
        ended = subprocess.run(command, env=environment, stdin=terminal, capture_output=True, text=True, timeout=60, check=False)
    finally:
        os.close(main)
        os.close(terminal)
    assert ended.returncode == 2
    assert "shop.py: there are no events" in ended.stderr
    assert "--events FILE" in ended.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("order.jsonl", "order.jsonl: the event file cannot be opened: No such file or directory.  Did you mean 'orders.jsonl'?"),
        (".", ".: the event file is a directory"),
    ],
)
def test_an_event_file_that_is_none(evproc: Command, name: str, words: str) -> None:
    ended = evproc("run", "shop.py", "--events", name)
    assert ended.returncode == 2
    assert words in ended.stderr
    assert ended.stdout == ""


def test_an_application_that_cannot_be_loaded(evproc: Command, folder: Path) -> None:
    (folder / "broken.py").write_text("import shop\nshop.nothing\n")
    ended = evproc("run", "broken.py", "--events", "orders.jsonl")
    assert ended.returncode == 2
    assert ended.stderr.startswith("evproc: error: broken.py:2: the application cannot be loaded:\nTraceback")
    assert "importlib" not in ended.stderr


def test_an_application_that_has_run_the_reactor_itself(evproc: Command, folder: Path) -> None:
    (folder / "ran.py").write_text(
        "from shop import dispatcher\nfrom twisted.internet import reactor\nreactor.callLater(0, reactor.stop)\nreactor.run()\n"
    )
    ended = evproc("run", "ran.py", "--events", "orders.jsonl")
    assert ended.returncode == 2
    assert "ran.py: the application has already run the reactor while it was loaded" in ended.stderr


def test_failures_of_handlers(evproc: Command) -> None:
    ended = evproc("run", "shop.py", stdin='{"kind": "bad"}\n{"kind": "order", "user": "ada"}\n')
    assert ended.returncode == 1
    lines = ended.stdout.splitlines()
    assert lines[0] == "1 kind=bad | during: fail FAILED ValueError: no such article"
    assert lines[1].startswith("2 kind=order")
    assert lines[3] == "  failed fail: ValueError 1x"
    assert ended.stderr == ""


def test_verbose_shows_a_failure_once_with_its_traceback(evproc: Command, folder: Path) -> None:
    with (folder / "shop.py").open("a") as file:
        file.write("\nfrom twisted.logger import Logger\nLogger('shop').info('open')\n")
    ended = evproc("run", "shop.py", "-v", stdin='{"kind": "bad"}\n')
    assert ended.stderr.count("ValueError: no such article") == 1
    assert "standard input:1: fail failed:\nTraceback" in ended.stderr
    assert "[shop#info] open" in ended.stderr
    assert "open" not in evproc("run", "shop.py", stdin="").stderr


def test_a_failure_of_an_event_fired_by_a_handler_is_neither_lost_nor_shown_twice(evproc: Command, folder: Path) -> None:
    (folder / "nested.py").write_text(
        "from shop import dispatcher\n"
        "@dispatcher.handler('after', kind='order')\n"
        "def again(event):\n    dispatcher.fire_event('inner', kind='bad')\n"
    )
    ended = evproc("run", "nested.py", "--events", "orders.jsonl")
    assert ended.returncode == 1
    assert "  failed fail: ValueError 1x" in ended.stdout.splitlines()
    assert ended.stderr.count("ValueError: no such article") == 1


def test_broken_lines(evproc: Command) -> None:
    ended = evproc("run", "shop.py", stdin='{"kind": "order", "user": "ada"}\n\n{"kind": }\n[]\n{"kind": "other"}')
    assert ended.returncode == 3
    assert ended.stdout.splitlines()[:2] == [OUTCOMES[0], "5 kind=other | unhandled"]
    assert ended.stdout.endswith("; 2 broken lines\n")
    assert ended.stderr.splitlines() == [
        "standard input:3:10: not JSON: Expecting value; expected one JSON object a line",
        "standard input:4:1: expected one JSON object a line, not an array",
    ]


def test_failures_count_more_than_broken_lines(evproc: Command) -> None:
    assert evproc("run", "shop.py", "-q", stdin='{"kind": "bad"}\n[]\n').returncode == 1


def test_json_is_one_object_a_line_with_the_summary_last(evproc: Command) -> None:
    ended = evproc("run", "shop.py", "--json", stdin='{"kind": "order", "user": "ada"}\nx\n{"kind": "bad"}\n')
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [row.get("line") for row in rows] == [1, 2, 3, None]
    assert rows[1]["place"] == "standard input:2:1"
    assert rows[3]["summary"]["failures"] == {"fail": {"ValueError": 1}}
    assert rows[3]["summary"]["broken_lines"] == 1
    assert (ended.returncode, ended.stderr) == (1, "")


def test_concurrency_lets_events_overtake_each_other(evproc: Command, folder: Path) -> None:
    (folder / "gate.py").write_text(
        "from twisted.internet.defer import Deferred\nfrom twisted_evproc import EventDispatcher\n"
        "d = EventDispatcher(['n'])\ngate = Deferred()\n"
        "@d.handler('during', n=1)\nasync def wait(event):\n    await gate\n"
        "@d.handler('during', n=2)\ndef open_gate(event):\n    gate.callback(None)\n"
        "events = [{'n': 1}, {'n': 2}]\n"
    )
    ended = evproc("run", "gate.py", "--concurrency", "2")
    assert sorted(ended.stdout.splitlines()[:2]) == ["1 n=1 | during: wait", "2 n=2 | during: open_gate"]
    assert ended.returncode == 0


def test_an_application_that_stops_the_reactor(evproc: Command, folder: Path) -> None:
    (folder / "stops.py").write_text(
        "from twisted_evproc import EventDispatcher\nfrom twisted.internet import reactor\n"
        "d = EventDispatcher()\n@d.handler('during')\ndef leave(event):\n    reactor.stop()\n"
        "async def events():\n    from twisted.internet.task import deferLater\n    while True:\n"
        "        yield 'tick'\n        await deferLater(reactor, 3600)\n"
    )
    ended = evproc("run", "stops.py")
    assert ended.stdout.startswith("1 tick | during: leave\n1 event in ")
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("handler", ["def leave(event):\n    ", "async def leave(event):\n    await later(reactor, 0)\n    "])
def test_a_handler_that_ends_the_program(evproc: Command, folder: Path, handler: str) -> None:
    (folder / "leaves.py").write_text(
        "from twisted_evproc import EventDispatcher\nfrom twisted.internet import reactor\n"
        "from twisted.internet.task import deferLater as later\n"
        f"d = EventDispatcher()\n@d.handler('during')\n{handler}raise SystemExit(7)\nevents = [1, 2]\n"
    )
    ended = evproc("run", "leaves.py")
    assert ended.returncode == 7
    line = 8 if handler.startswith("async") else 7
    assert re.fullmatch(rf"evproc: leave\(\) \(.*leaves.py:{line}\) ends the program: SystemExit: 7\n", ended.stderr)
    assert " events in " in ended.stdout


class Running:
    """A command under way whose standard input is held open."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdin is not None and process.stdout is not None
        self.stdin: IO[str] = process.stdin
        self.stdout: IO[str] = process.stdout

    def say(self, line: str) -> None:
        self.stdin.write(line + "\n")
        self.stdin.flush()


@pytest.fixture
def running(folder: Path, environment: dict[str, str]) -> Iterator[Running]:
    (folder / "slow.py").write_text(
        "from twisted.internet.defer import Deferred\nfrom twisted_evproc import EventDispatcher\n"
        "d = EventDispatcher(['kind'])\nwaiting = []\n"
        "@d.handler('during', kind='slow')\nasync def slow(event):\n"
        "    print('begun', flush=True)\n    waiting.append(Deferred())\n    await waiting[-1]\n"
        "@d.handler('during', kind='open')\ndef open_all(event):\n    for each in waiting:\n        each.callback(None)\n"
    )
    command = [sys.executable, "-m", "twisted_evproc", "run", "slow.py", "--concurrency", "5"]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_it_waits_for_input(running: Running, number: int, status: int) -> None:
    running.say('{"kind": "other"}')
    assert running.stdout.readline() == "1 kind=other | unhandled\n"
    running.process.send_signal(number)
    assert running.stdout.readline().startswith("1 event in ")
    assert running.process.wait(60) == status


def test_a_second_signal_cancels_what_runs(running: Running) -> None:
    running.say('{"kind": "slow"}')
    assert running.stdout.readline() == "begun\n"
    running.process.send_signal(signal.SIGINT)
    assert running.process.stderr is not None
    assert running.process.stderr.readline() == "evproc: ending; 1 event still runs (interrupt again to cancel)\n"
    running.process.send_signal(signal.SIGINT)
    assert running.stdout.readline() == "1 kind=slow | cancelled\n"
    assert "1 cancelled" in running.stdout.readline()
    assert running.process.wait(60) == 130


def test_outcomes_come_as_they_happen(running: Running) -> None:
    running.say('{"kind": "slow"}')
    assert running.stdout.readline() == "begun\n"
    running.say('{"kind": "open"}')
    both = {running.stdout.readline(), running.stdout.readline()}
    assert both == {"1 kind=slow | during: slow\n", "2 kind=open | during: open_all\n"}
    running.stdin.close()
    assert running.process.wait(60) == 0


def test_whoever_reads_goes(folder: Path, environment: dict[str, str]) -> None:
    with (folder / "many.jsonl").open("w") as file:
        file.writelines('{"kind": "other"}\n' for _ in range(50_000))
    command = [sys.executable, "-m", "twisted_evproc", "run", "shop.py", "--events", "many.jsonl"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "1 kind=other | unhandled\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk(folder: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "twisted_evproc", "run", "shop.py", "--events", "orders.jsonl"]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "evproc: error: the output cannot be written: No space left on device" in ended.stderr


def test_memory_does_not_grow_with_the_file(folder: Path, environment: dict[str, str]) -> None:
    line = json.dumps({"kind": "other", "text": "x" * 1000}) + "\n"
    with (folder / "large.jsonl").open("w") as file:
        file.writelines(line for _ in range(60_000))
    code = (
        "import resource, sys; from twisted_evproc.cli import main; status = main(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(status)"
    )
    used = []
    for events in ("orders.jsonl", "large.jsonl"):
        command = [sys.executable, "-c", code, "run", "shop.py", "-q", "--events", events]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        used.append(int(ended.stdout.splitlines()[-1]))
    # kilobytes on Linux, bytes on macOS: the file alone would be more than as much again
    assert used[1] < used[0] * 1.3


TAIL = """
import json
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted_evproc import EventDispatcher
from twisted_evproc.sources import FileTailSource

dispatcher = EventDispatcher(["kind"])

class Tail(FileTailSource):
    ended = False
    def stop(self):
        self.ended = True
        return super().stop()

sources = [Tail("log.jsonl", decode=json.loads, from_start=True, poll_interval=0.05)]

@dispatcher.handler("during", kind="slow")
async def slow(event):
    gate = Deferred()
    print("begun", flush=True)
    # Ends after the source was stopped, which happens when the process is told to end.
    def ask():
        if sources[0].ended:
            gate.callback("finished")
        else:
            reactor.callLater(0.01, ask)
    ask()
    return await gate
"""


class TestSources:
    def test_they_feed_the_application_until_a_signal_and_what_they_brought_is_finished(self, folder: Path) -> None:
        (folder / "tail.py").write_text(TAIL)
        log = folder / "log.jsonl"
        log.write_text('{"kind": "a"}\n')
        with started_evproc("run", "tail.py", folder=folder) as process:
            process.wait_for(r"^evproc: events come from .*log\.jsonl \(interrupt to end\)$")
            process.wait_for("^1 kind=a [|] unhandled$")
            with log.open("a") as file:
                file.write('{"kind": "slow"}\n{"kind": "b"}\n')
            process.wait_for("^begun$")
            assert process.end(signal.SIGINT) == 130
            lines = [line for line in process.text.splitlines() if not line.startswith("evproc:")]
            assert lines[:4] == [
                "1 kind=a | unhandled",
                "begun",
                "2 kind=slow | during: slow -> finished",
                "3 kind=b | unhandled",
            ]
            assert lines[4].startswith("3 events in ")

    def test_a_second_signal_cancels(self, folder: Path) -> None:
        (folder / "tail.py").write_text(TAIL.replace("if sources[0].ended", "if False"))
        (folder / "log.jsonl").write_text('{"kind": "slow"}\n{"kind": "b"}\n')
        with started_evproc("run", "tail.py", folder=folder) as process:
            process.wait_for("^begun$")
            process.process.send_signal(signal.SIGTERM)
            process.wait_for("^evproc: ending; 1 event still runs")
            assert process.end(signal.SIGTERM) == 143
            assert "1 kind=slow | cancelled" in process.text
            assert "kind=b" not in process.text

    def test_events_given_on_the_command_line_come_instead(self, folder: Path, evproc: Command) -> None:
        (folder / "own.py").write_text("from shop import dispatcher\nsources = events = 'not looked at'\n")
        ended = evproc("run", "own.py", "--events", "orders.jsonl")
        assert ended.stdout.splitlines()[:2] == OUTCOMES
        assert (ended.returncode, ended.stderr) == (0, "")

    @pytest.mark.parametrize(
        ("rest", "words"),
        [
            ("sources = []\nevents = []", "own.py: has both 'events' and 'sources'; rename one of them, or give the events with"),
            ("sources = []", "own.py:sources: is empty: no event would ever come"),
            ("sources = 'x'", "own.py:sources: has to be a list of sources, or a function that returns one, not a str"),
            ("sources = ['x']", "own.py:sources: 'x' is no source of events"),
            (
                "class S:\n  def start(self, sink): raise OSError('locked')\n  def stop(self): pass\n"
                "  def __str__(self): return 'door'\nsources = [S()]",
                "own.py:sources: door cannot be started: OSError: locked",
            ),
        ],
    )
    def test_what_cannot_be_used(self, folder: Path, evproc: Command, rest: str, words: str) -> None:
        (folder / "own.py").write_text(f"from shop import dispatcher\n{rest}\n")
        ended = evproc("run", "own.py")
        assert ended.returncode == 2
        assert ended.stderr.startswith(f"evproc: error: {words}")

    def test_an_imported_module_of_that_name_means_nothing(self, folder: Path, evproc: Command) -> None:
        (folder / "own.py").write_text("from shop import dispatcher\nfrom twisted_evproc import sources\nevents = []\n")
        assert evproc("run", "own.py").returncode == 0

    def test_a_handler_that_ends_the_program(self, folder: Path, evproc: Command) -> None:
        (folder / "own.py").write_text(
            "from shop import dispatcher\nfrom twisted_evproc.sources import *\n"
            "class Two(EventGenerator):\n    def get_events(self):\n"
            "        return [QueuedEvent(self, None, {'kind': 'leave'}) for _ in range(5)]\n"
            "sources = [Two()]\n@dispatcher.handler('before', kind='leave')\ndef leave(event):\n    raise SystemExit(7)\n"
        )
        ended = evproc("run", "own.py")
        assert ended.returncode == 7
