"""``twist evproc`` as users start it: a process of its own, with the plugin as a wheel installs it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from .started import Started, twist

APPLICATION = """
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from zope.interface import implementer
from twisted_evproc import EventDispatcher
from twisted_evproc.interfaces import IEventSource
from twisted_evproc.sources import QueuedEvent, PrintEventHandler, RaiseEventHandler

dispatcher = EventDispatcher(["kind"])
# Not earlier is a signal heard.
reactor.callWhenRunning(reactor.callLater, 0, print, "reactor runs")

@implementer(IEventSource)
class Shelf:
    handlers = {"broken": RaiseEventHandler(ValueError("torn")), "handled": PrintEventHandler()}

    def __init__(self, *kinds):
        self.kinds = kinds

    def start(self, sink):
        for kind in self.kinds:
            sink.put(QueuedEvent(self, self.handlers.get(kind), {"kind": kind}))

    def stop(self):
        print("shelf closed")

    def __str__(self):
        return "shelf"

@dispatcher.handler("during", kind="plain")
def plain(event):
    print("plain event")

@dispatcher.handler("during", kind="bad")
def bad(event):
    raise ValueError("no such article")

@dispatcher.handler("during", kind="leave")
async def leave(event):
    raise SystemExit(7)

@dispatcher.handler("during", kind="slow")
async def slow(event):
    gate = Deferred()
    # Ends some time after the process was told to end, and not before.
    reactor.addSystemEventTrigger("before", "shutdown", reactor.callLater, 0.2, gate.callback, None)
    print("slow begun")
    await gate
    print("slow ended")

@dispatcher.handler("during", kind="endless")
async def endless(event):
    print("endless begun")
    await Deferred()
"""

Twist = Callable[..., AbstractContextManager[Started]]


@pytest.fixture
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Twist:
    """Runs ``twist --log-format=text`` in the folder."""
    (folder / "app.py").write_text(APPLICATION)
    return partial(twist, "--log-format=text", folder=folder, plugins=tmp_path_factory.mktemp("plugins"))


def application(folder: Path, rest: str) -> str:
    (folder / "app.py").write_text(APPLICATION + rest + "\n")
    return "app.py"


def test_twist_lists_it_and_it_has_help(run: Twist) -> None:
    with run("--help") as process:
        assert process.rest() == 0
        assert "evproc" in process.text
    with run("evproc", "--help") as process:
        assert process.rest() == 0
        for words in ("APP", "--stop-timeout", "--concurrency", "Examples:", "twist evproc gateway.py"):
            assert words in process.text
    with run("evproc", "--version") as process:
        assert process.rest() == 0
        assert process.text.startswith("evproc ")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], 64, "say which application: twist evproc APP"),
        (["app.py", "--concurrency=2"], 64, "'--concurrency=2' is one argument too many; options stand before APP"),
        (["--concurrency=0", "app.py"], 64, "'0' has to be a whole number, 1 or more"),
        (["--stop-timeout=soon", "app.py"], 64, "'soon' has to be a number of seconds, more than 0"),
        (
            ["ap.py"],
            2,
            "twist evproc: error: ap.py: the application file does not exist; give the path of a Python file.  Did you",
        ),
    ],
)
def test_what_cannot_be_used_says_why(run: Twist, arguments: list[str], status: int, words: str) -> None:
    with run("evproc", *arguments) as process:
        assert process.rest() == status
        assert words in process.text
        assert "Traceback" not in process.text


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("sources = 5", "app.py:sources: has to be a list of sources, or a function that returns one, not an int"),
        ("sources = [Shelf]", "is a class: add an instance of it"),
        ("sources = [Shelf()] * 2", "shelf was added to"),
        ("def sources(): 1 / 0", "sources() failed:\nTraceback"),
        ("", "app.py: nothing would ever happen: it has neither 'sources' nor a 'service'.  Let it name the"),
        ("sources, service, events = [], None, [{}]", "neither 'sources' nor a 'service'; its 'events' are for 'evproc run'."),
        ("from twisted.application.service import Service as service", "app.py:service: has to be an instance, not the class"),
    ],
)
def test_sources_and_services_that_are_none(run: Twist, folder: Path, rest: str, words: str) -> None:
    with run("evproc", application(folder, rest)) as process:
        assert process.rest() == 2
        assert process.text.startswith("twist evproc: error: ")
        assert words in process.text
        assert "twisted_evproc/cli" not in process.text


def test_events_of_its_sources_reach_handlers(run: Twist, folder: Path) -> None:
    with run("evproc", application(folder, "def sources():\n    return [Shelf('plain', 'other')]")) as process:
        process.wait_for("app.py:sources: events come from shelf$")
        process.wait_for("plain event")
        process.wait_for("reactor runs")
        assert process.end(signal.SIGTERM) == -signal.SIGTERM
        assert "2 events in " in process.text
        assert "1 handled, 1 unhandled, 0 failures" in process.text


def test_what_goes_wrong_is_logged_once_and_the_rest_goes_on(run: Twist, folder: Path) -> None:
    with run("evproc", application(folder, "sources = [Shelf('bad', 'broken', 'handled', 'plain')]")) as process:
        process.wait_for("plain event")
        process.wait_for("reactor runs")
        process.end(signal.SIGTERM)
        assert process.text.count("ValueError: no such article") == 1
        assert "event 2 of app.py:sources is broken: shelf: torn" in process.text
        assert "event 3 of app.py:sources is broken: shelf: the event has a handler of its own (print to" in process.text
        assert "1 failure, 0 cancelled, 2 broken" in process.text


def test_a_signal_lets_the_event_in_work_and_those_that_wait_be_finished(run: Twist, folder: Path) -> None:
    with run("evproc", application(folder, "sources = [Shelf('slow', 'plain')]")) as process:
        process.wait_for("slow begun")
        process.wait_for("reactor runs")
        process.end(signal.SIGTERM)
        said = ["Received SIGTERM", "shelf closed", "slow ended", "plain event", "2 events in", "Main loop terminated"]
        assert [words for words in said if words in process.text] == said
        assert sorted(said, key=process.text.index) == said


def test_the_time_for_stopping_can_be_limited(run: Twist, folder: Path) -> None:
    with run("evproc", "--stop-timeout=0.1", application(folder, "sources = [Shelf('endless', 'plain')]")) as process:
        process.wait_for("endless begun")
        process.wait_for("reactor runs")
        process.end(signal.SIGTERM)
        assert "1 cancelled" in process.text
        assert "plain event" not in process.text


def test_concurrency(run: Twist, folder: Path) -> None:
    with run("evproc", "--concurrency=2", application(folder, "sources = [Shelf('slow', 'plain')]")) as process:
        process.wait_for("slow begun")
        process.wait_for("plain event")
        process.wait_for("reactor runs")
        process.end(signal.SIGTERM)
        assert process.text.index("plain event") < process.text.index("slow ended")


@pytest.mark.parametrize("later", ["", "    await deferLater(reactor, 0)\n"])
def test_a_source_that_cannot_start_ends_the_process_and_is_named(run: Twist, folder: Path, later: str) -> None:
    rest = (
        "from twisted.internet.task import deferLater\n"
        f"class Locked(Shelf):\n  async def start(self, sink):\n{later}    raise OSError('locked')\nsources = [Shelf(), Locked()]"
    )
    with run("evproc", application(folder, rest)) as process:
        assert process.rest() == 2
        assert process.text.count("app.py:sources: shelf cannot be started: OSError: locked") == 1
        assert "Traceback" not in process.text
        # the other one had been started
        assert process.text.count("shelf closed") == 1


def test_a_handler_that_ends_the_program(run: Twist, folder: Path) -> None:
    with run("evproc", application(folder, "sources = [Shelf('leave')]")) as process:
        assert process.rest() == 7
        assert "leave() (" in process.text
        assert "ends the program: SystemExit: 7" in process.text


def test_a_service_of_its_own_is_started_first_and_stopped_last(run: Twist, folder: Path) -> None:
    rest = (
        "from twisted.application.service import Service\nclass Own(Service):\n"
        "    def startService(self):\n        print('own started')\n"
        "    def stopService(self):\n        print('own stopped')\nservice = Own()\nsources = [Shelf('plain')]"
    )
    with run("evproc", application(folder, rest)) as process:
        process.wait_for("plain event")
        process.wait_for("reactor runs")
        process.end(signal.SIGTERM)
        said = ["own started", "plain event", "shelf closed", "own stopped"]
        assert sorted(said, key=process.text.index) == said


def test_an_application_without_sources_has_its_dispatcher_started(run: Twist, folder: Path) -> None:
    rest = (
        "from twisted.application.service import Service\nclass Own(Service):\n    def startService(self):\n"
        "        reactor.callWhenRunning(dispatcher.fire_event, {}, kind='plain')\nservice = Own()\nevents = [1]"
    )
    with run("evproc", application(folder, rest)) as process:
        process.wait_for("plain event")
        process.wait_for("reactor runs")
        process.end(signal.SIGTERM)
        assert "not started" not in process.text
        assert "app.py has events that are not used: they are for 'evproc run'" in process.text
