"""``evproc run --amqp``: each command is a process of its own, on a broker of the tests' own."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, LogLevel
from twisted.python.failure import Failure

from tests.amqp.conftest import module_broker, own_broker  # noqa: F401  fixtures
from tests.cli.rabbit import Rabbit, Unroutable, rabbit  # noqa: F401  a fixture
from tests.cli.started import evproc
from twisted_evproc.amqp import StateChange
from twisted_evproc.cli._amqp import (
    URL_VARIABLE,
    BriefTransportLog,
    GroupLines,
    default_group,
    in_options,
    make_transport,
    match_spec_of,
)
from twisted_evproc.cli._application import load
from twisted_evproc.cli._arguments import parse
from twisted_evproc.cli._run import _from_group
from twisted_evproc.errors import ApplicationError, ConfigurationError
from twisted_evproc.matching import one_of

READY = r"^evproc: events come from group (\S+) on exchange (\S+) at guest@127\.0\.0\.1:\d+/ \(interrupt to end\)$"

SHOP = """
import signal, sys
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted_evproc import EventDispatcher
from twisted_evproc.amqp import current_envelope

dispatcher = EventDispatcher(["kind", "user"], name="shop")
opened = Deferred()
signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(opened.callback, None))

@dispatcher.handler("before", kind="order")
def check(event):
    return current_envelope().id

@dispatcher.handler("after", kind="order")
async def pack(event):
    return current_envelope().redelivered

@dispatcher.handler("during", kind="bad")
def fail(event):
    raise ValueError("no such article")

@dispatcher.handler("after", kind="slow")
async def wait(event):
    for turn in range(5):
        # What is acknowledged too early has been by then.
        await deferLater(reactor, 0)
    print("waiting, given before:", current_envelope().redelivered, flush=True)
    await opened
    return "waited"
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


def test_the_events_of_a_group_have_outcomes(rabbit: Rabbit, shop: Path) -> None:  # noqa: F811  the fixture
    with evproc("run", "shop.py", "--amqp", rabbit.url, "--exchange", rabbit.exchange, folder=shop) as run:
        ready = run.wait_for(READY)
        assert (ready[1], ready[2]) == ("shop", rabbit.exchange)
        rabbit.publish('{"n": 1}', "id-1", kind="order", user="ada", more="unknown here")
        run.wait_for(r"^1 kind=order user=ada n=1 \| before: check -> id-1 \| after: pack -> false$")
        rabbit.publish('{"n": 2}', "id-2", kind="bad")
        run.wait_for(r"^2 kind=bad n=2 \| during: fail FAILED ValueError: no such article$")
        run.wait_for(
            rf"handling the event id-2 of {rabbit.exchange}.shop failed \(1 of 5\); again in 1 s: ValueError: no such article"
        )
        run.wait_for(r"^3 kind=bad n=2 \| during: fail FAILED")
        assert run.end(signal.SIGINT) == 130
    run.wait_for(r"^3 events .* 3 handled, 0 unhandled; 4 handler calls; 2 failures; 0 broken lines$")
    run.wait_for(r"^  failed fail: ValueError 2x$")
    assert "Traceback" not in run.text
    assert rabbit.next("shop") is None


def test_as_json_with_the_url_from_the_environment(rabbit: Rabbit, shop: Path) -> None:  # noqa: F811
    arguments = ("run", "shop.py", "--group", "books", "--exchange", rabbit.exchange, "--json")
    with evproc(*arguments, folder=shop, **{URL_VARIABLE: rabbit.url}) as run:
        assert run.wait_for(READY)[1] == "books"
        rabbit.publish('{"n": 1}', "id-1", kind="order", user="ada", other=1)
        found = json.loads(run.wait_for(r'^\{"line": 1.*$')[0])
        assert found["event"] == {"n": 1}
        assert found["details"] == {"kind": "order", "user": "ada"}
        assert [(result["handler"], result["value"]) for result in found["results"]] == [("check", "id-1"), ("pack", False)]
        assert run.end(signal.SIGTERM) == 143
    assert json.loads(run.wait_for(r'^\{"summary".*$')[0])["summary"]["handled"] == 1


def test_a_group_gets_what_matches(rabbit: Rabbit, shop: Path) -> None:  # noqa: F811
    match = ("--match", "kind=order", "--match", "kind=visit", "--match", "user=7")
    with evproc("run", "shop.py", "--amqp", rabbit.url, "--exchange", rabbit.exchange, *match, folder=shop) as run:
        run.wait_for(READY)
        for details in {"kind": "bad", "user": 7}, {"kind": "order", "user": "7"}, {"user": 7}:
            with pytest.raises(Unroutable):
                rabbit.publish("1", "not-wanted", **details)
        rabbit.publish("1", "id-1", kind="order", user=7)
        rabbit.publish("2", "id-2", kind="visit", user=7)
        run.wait_for(r"^1 kind=order user=7 1 \|")
        run.wait_for(r"^2 kind=visit user=7 2 \| unhandled$")
        run.end(signal.SIGINT)


def test_an_exchange_that_is_routed_otherwise(rabbit: Rabbit, shop: Path) -> None:  # noqa: F811
    arguments = ("run", "shop.py", "--amqp", rabbit.url, "--exchange", rabbit.exchange)
    with evproc(*arguments, "--route-by", "kind", folder=shop) as run:
        run.wait_for(READY)
        run.end(signal.SIGINT)
    with evproc(*arguments, folder=shop) as run:
        assert run.rest() == 2
    run.wait_for(
        r"^evproc: error: .* by the keyword 'kind', but here by no keyword: .*  Give --route-by 'kind', or another exchange"
    )
    assert "route_by" not in run.text
    assert (run.text.count("routed by"), run.text.count("trying again")) == (1, 0)


def test_an_event_is_acknowledged_after_all_phases(rabbit: Rabbit, shop: Path) -> None:  # noqa: F811
    arguments = ("run", "shop.py", "--amqp", rabbit.url, "--exchange", rabbit.exchange)
    with evproc(*arguments, folder=shop) as run:
        run.wait_for(READY)
        rabbit.publish("1", "id-1", kind="slow")
        run.wait_for("^waiting, given before: False$")
        run.process.kill()
        run.rest()
    with evproc(*arguments, folder=shop) as run:
        run.wait_for("^waiting, given before: True$")
        run.process.send_signal(signal.SIGUSR1)
        run.wait_for(r"^1 kind=slow 1 \| after: wait -> waited$")
        run.end(signal.SIGINT)
    assert rabbit.next("shop") is None


def test_a_signal_lets_what_was_handed_over_finish(rabbit: Rabbit, shop: Path) -> None:  # noqa: F811
    with evproc("run", "shop.py", "--amqp", rabbit.url, "--exchange", rabbit.exchange, "--window", "2", folder=shop) as run:
        run.wait_for(READY)
        for event_id in ("id-1", "id-2", "id-3"):
            rabbit.publish("1", event_id, kind="slow")
        run.wait_for("^waiting")
        run.process.send_signal(signal.SIGTERM)
        run.wait_for(r"^evproc: ending; 1 event still runs \(interrupt again to cancel\)$")
        run.process.send_signal(signal.SIGUSR1)
        assert run.rest() == 143
    run.wait_for("^2 events .* 2 handled")
    left = rabbit.next("shop")
    assert left is not None and left[0]["ce-id"] == "id-3"
    assert rabbit.next("shop") is None


def test_a_second_signal_gives_events_back(rabbit: Rabbit, shop: Path) -> None:  # noqa: F811
    with evproc("run", "shop.py", "--amqp", rabbit.url, "--exchange", rabbit.exchange, "--window", "2", folder=shop) as run:
        run.wait_for(READY)
        for event_id in ("id-1", "id-2"):
            rabbit.publish("1", event_id, kind="slow")
        run.wait_for("^waiting")
        run.process.send_signal(signal.SIGINT)
        run.wait_for("^evproc: ending;")
        assert run.end(signal.SIGINT) == 130
    run.wait_for(r"^1 kind=slow 1 \| cancelled$")
    run.wait_for("1 cancelled; .* 0 failures")
    found = [rabbit.next("shop"), rabbit.next("shop")]
    assert sorted(headers["ce-id"] for headers, _ in filter(None, found)) == ["id-1", "id-2"]
    assert all("x-evproc-failures" not in headers for headers, _ in filter(None, found))


def test_what_to_event_cannot_read_is_a_dead_letter_at_once(rabbit: Rabbit, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "books.py").write_text(
        "from twisted_evproc import EventDispatcher\n"
        "dispatcher = EventDispatcher(['kind', 'title'])\n"
        "def to_event(record):\n"
        "    return record['book'], {'title': record['book']}\n"
        "@dispatcher.handler('during', kind='book')\n"
        "def shelve(event):\n"
        "    return event\n"
    )
    with evproc("run", "books.py", "--amqp", rabbit.url, "--exchange", rabbit.exchange, folder=tmp_path) as run:
        run.wait_for(READY)
        rabbit.publish('{"no": 1}', "id-1", kind="book")
        run.wait_for(r"^group books:1: to_event\(\) failed: KeyError: 'book' \(.*books.py:4\)$")
        run.wait_for("the event id-1 of .* is a dead letter now: ")
        rabbit.publish('{"book": "Emma"}', "id-2", kind="book", more=1)
        run.wait_for(r"^2 kind=book title=Emma Emma \| during: shelve -> Emma$")
        run.end(signal.SIGINT)
    run.wait_for("1 broken line$")
    letter = rabbit.next("books.dead")
    assert letter is not None
    assert letter[0]["x-evproc-reason"].startswith("LineError: to_event() failed: KeyError")


def test_a_handler_that_ends_the_program_leaves_its_event_with_the_broker(rabbit: Rabbit, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "app.py").write_text(
        "from twisted.internet import reactor\n"
        "from twisted.internet.task import deferLater\n"
        "from twisted_evproc import EventDispatcher\n"
        "dispatcher = EventDispatcher()\n"
        "@dispatcher.handler('during')\n"
        "async def leave(event):\n"
        "    await deferLater(reactor, 0)\n"
        "    raise SystemExit(7)\n"
    )
    with evproc("run", "app.py", "--amqp", rabbit.url, "--exchange", rabbit.exchange, folder=tmp_path) as run:
        run.wait_for(READY)
        rabbit.publish("1", "id-1")
        assert run.rest() == 7
    assert "handling the event" not in run.text
    left = rabbit.next("app")
    assert left is not None and "x-evproc-failures" not in left[0]


def test_a_broker_that_goes_and_comes(rabbit: Rabbit, shop: Path) -> None:  # noqa: F811
    with evproc("run", "shop.py", "--amqp", rabbit.url, "--exchange", rabbit.exchange, folder=shop) as run:
        run.wait_for(READY)
        rabbit.close()
        rabbit.broker.kill()
        run.wait_for("^evproc: .*; trying again$")
        rabbit.broker.start()
        run.wait_for(r"^evproc: connected to guest@127\.0\.0\.1:\d+/ again$")
        rabbit.publish("1", "id-1", kind="order")
        run.wait_for("^1 kind=order 1 ")
        assert run.end(signal.SIGINT) == 130


def test_a_broker_that_is_not_there_is_waited_for(shop: Path) -> None:
    with socket.socket() as nobody:
        # Bound, and nobody listens: connections are refused.
        nobody.bind(("127.0.0.1", 0))
        url = f"amqp://ada:secret@127.0.0.1:{nobody.getsockname()[1]}"
        with evproc("run", "shop.py", "--amqp", url, folder=shop) as run:
            run.wait_for(r"^evproc: no connection to ada@127\.0\.0\.1:\d+/: .*; trying again$")
            assert run.end(signal.SIGTERM) == 143
    assert "secret" not in run.text
    assert "[twisted_evproc.amqp#warn]" not in run.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--amqp", "amqp://x", "--events", "-"], "--events: events come from a file or from a broker"),
        (["--group", "x", "--events", "-"], "leave out --events, or --amqp and --group"),
        (["--exchange", "x"], "--exchange: says which events of a broker to take: give --amqp URL"),
        (["--route-by", "x"], "--route-by: says"),
        (["--match", "x=1"], "--match: says"),
        (["--window", "5"], "--window: says"),
        (["--amqp", "amqp://x", "--concurrency", "3", "--window", "2"], "give --window 3 or more"),
    ],
)
def test_options_that_make_no_sense_together(arguments: list[str], words: str) -> None:
    with pytest.raises(ApplicationError) as caught:
        _from_group(parse(["run", "shop.py", *arguments]))
    assert words in str(caught.value)


def test_options_that_make_sense() -> None:
    assert _from_group(parse(["run", "shop.py", "--group", "x", "--window", "3", "--concurrency", "3"]))
    assert not _from_group(parse(["run", "shop.py", "--events", "x"]))


def test_where_the_broker_is_has_to_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    with pytest.raises(ApplicationError, match=f"say where the broker is, .* {URL_VARIABLE}"):
        make_transport(parse(["run", "shop.py", "--group", "x"]))
    monkeypatch.setenv(URL_VARIABLE, "amqp://ada:secret@one")
    assert str(make_transport(parse(["run", "shop.py", "--group", "x"])).address) == "ada@one:5672/"
    other = make_transport(parse(["run", "shop.py", "--amqp", "amqp://ada:x@two", "--exchange", "e", "--route-by", "kind"]))
    assert (str(other.address), other.exchange, other.route_by) == ("ada@two:5672/", "e", "kind")
    with pytest.raises(ConfigurationError) as caught:
        make_transport(parse(["run", "shop.py", "--amqp", "http://ada:secret@two"]))
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="^--exchange 'amq.x': names that begin"):
        make_transport(parse(["run", "shop.py", "--amqp", "amqp://x", "--exchange", "amq.x"]))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Give route_by='kind', or another exchange.", "Give --route-by 'kind', or another exchange."),
        ("Give route_by=None, or another exchange.", "Leave out --route-by, or give another exchange."),
        ("exchange='amq.x': names that begin with", "--exchange 'amq.x': names that begin with"),
        ("no connection to ada@one:5672/?x=1", "no connection to ada@one:5672/?x=1"),
    ],
)
def test_what_a_transport_says_names_options_of_the_command_line(said: str, shown: str) -> None:
    assert in_options(said) == shown


def test_values_to_match() -> None:
    known = ("kind", "n", "ok")
    pairs = ["kind=a b", "kind=c", "n=1", "ok=true", 'kind="1"']
    assert match_spec_of(pairs, known) == {"kind": one_of("a b", "c", "1"), "n": 1, "ok": True}
    assert match_spec_of(["any=x=y"], ()) == {"any": "x=y"}


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("kind", "--match kind: write it as KEY=VALUE"),
        ("=x", "write it as KEY=VALUE"),
        ("knd=x", "no keyword 'knd'; it has kind, window.  Did you mean 'kind'?"),
        ("window=3", "'window' is the name of an option"),
        ("kind=null", "null matches everything"),
    ],
)
def test_values_that_cannot_be_matched(pair: str, words: str) -> None:
    with pytest.raises(ApplicationError) as caught:
        match_spec_of([pair], ("kind", "window"))
    assert words in str(caught.value)


def test_the_group_of_an_application(folder: Path) -> None:
    assert default_group(str(folder / "shop.py")) == "shop"
    assert default_group("shop.events") == "events"
    assert default_group("shop") == "shop"


def group_lines(application: str, *match: str, group: str = "g") -> tuple[GroupLines, list[str]]:
    told: list[str] = []
    transport = make_transport(parse(["run", "shop.py", "--amqp", "amqp://ada:secret@one"]))
    return GroupLines(transport, group, load(application), match=match, window=1, tell=told.append), told


def test_what_the_application_cannot_take_is_known_before_anything_is_connected(folder: Path) -> None:
    (folder / "named.py").write_text("from twisted_evproc import Processor\nprocessor = Processor()\n")
    with pytest.raises(ApplicationError, match="the application has to define it"):
        group_lines("named.py")
    with pytest.raises(ConfigurationError, match=r"kind=1\.5 cannot cross the wire"):
        group_lines("shop.py", "kind=1.5")
    with pytest.raises(ConfigurationError, match="^--group 'amq.x': names that begin"):
        group_lines("shop.py", group="amq.x")


def test_changes_of_the_connection_are_told(folder: Path) -> None:
    lines, told = group_lines("shop.py")

    for state, reason in ("up", ""), ("down", "it is gone."), ("down", "really gone"), ("up", ""), ("blocked", "no memory left"):
        lines._state_changed(StateChange(f"transport_{state}", state, reason))
        if not lines.started.called:
            lines.started.callback(None)

    assert told == [
        "it is gone; trying again",
        "really gone; trying again",
        "connected to ada@one:5672/ again",
        "no memory left",
    ]
    assert str(lines) == "group g on exchange evproc at ada@one:5672/"


def test_changes_of_the_connection_name_options_of_the_command_line(folder: Path) -> None:
    lines, told = group_lines("shop.py")
    change = StateChange("transport_down", "down", "Give route_by='kind', or another exchange.")

    lines._state_changed(change)
    assert told == []  # the run ends with it
    lines.started.callback(None)
    lines._state_changed(change)

    assert told == ["Give --route-by 'kind', or another exchange; trying again"]


def test_the_log_of_a_transport_in_brief() -> None:
    heard: list[LogEvent] = []
    started: Deferred[None] = Deferred()
    log = BriefTransportLog(heard.append, started)
    failure = Failure(ValueError("no such article"))
    ours: dict[str, Any] = {"log_namespace": "twisted_evproc.amqp", "log_format": "it failed"}

    log({**ours, "log_level": LogLevel.warn})
    assert heard == []
    log({**ours, "log_level": LogLevel.critical, "log_failure": failure})
    brief = heard.pop()
    assert brief["log_format"].format(**brief) == "it failed: ValueError: no such article"
    assert "log_failure" not in brief
    refused = {**ours, "log_level": LogLevel.error, "refused": "Give route_by='kind'"}
    log(refused)
    assert heard == []  # the run ends with it
    started.callback(None)
    log(refused)
    assert heard.pop()["refused"] == "Give --route-by 'kind'"
    other = {"log_namespace": "x", "log_level": LogLevel.warn, "log_failure": failure}
    log(other)
    assert heard == [other]
