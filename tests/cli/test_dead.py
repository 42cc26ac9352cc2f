"""``evproc dead``: each command is a process of its own, on a broker of the tests' own."""

from __future__ import annotations

import json
import re
import signal
import socket
from pathlib import Path

import pytest

from tests.amqp.conftest import module_broker, own_broker  # noqa: F401  fixtures
from tests.cli.conftest import Command
from tests.cli.rabbit import Rabbit, rabbit  # noqa: F401  a fixture
from tests.cli.started import evproc as started
from twisted_evproc.amqp import DeadLetter, Envelope
from twisted_evproc.cli import main
from twisted_evproc.cli._amqp import URL_VARIABLE
from twisted_evproc.cli._dead import _row

#: Reads no event but those that say so.
BOOKS = """
from twisted_evproc import EventDispatcher
dispatcher = EventDispatcher(["kind"])
def to_event(record):
    return record["book"], {}
@dispatcher.handler("during")
def shelve(event):
    return event
"""


@pytest.fixture
def dead(rabbit: Rabbit, folder: Path, environment: dict[str, str]) -> Rabbit:  # noqa: F811  the fixture
    """A group ``books`` with three dead letters; commands find the broker by their environment."""
    environment[URL_VARIABLE] = rabbit.url
    (folder / "books.py").write_text(BOOKS)
    with started("run", "books.py", "--amqp", rabbit.url, "--exchange", rabbit.exchange, folder=folder) as run:
        run.wait_for("events come from group books")
        rabbit.publish('{"no": "b\\u00e4h"}', "id-1", kind="x y", n=1)
        run.wait_for("the event id-1 of .* is a dead letter now")
        rabbit.publish(b"\xff\x00", "id-2", content_type="image/png")
        run.wait_for("the event id-2 of .* is a dead letter now")
        rabbit.publish("{", "id-\x1b3", content_type="")
        run.wait_for(r"the event id-\\x1b3 of .* is a dead letter now")
        run.end(signal.SIGINT)
    return rabbit


def test_they_are_listed(dead: Rabbit, evproc: Command) -> None:
    ended = evproc("dead", "list", "books", "--exchange", dead.exchange)
    assert (ended.returncode, ended.stderr) == (0, "")
    heading, first, second, third, count = ended.stdout.splitlines()
    assert heading.split() == ["id", "died", "type", "details", "failures", "reason"]
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(
        rf'id-1 +{time}  shop.event  kind="x y" n=1  1         LineError: to_event\(\) failed: KeyError: .book. \(.*', first
    )
    assert re.fullmatch(rf"id-2 +{time}  shop.event  - +1         EventNotDecodable: the event id-2 cannot be read: .*", second)
    assert third.startswith(r"id-\x1b3 ")
    # One below the other.
    assert len({line.index("shop.event") for line in (first, second, third)} | {heading.index("type")}) == 1
    assert count == "3 dead letters of group books"

    ended = evproc("dead", "list", "books", "--exchange", dead.exchange, "--limit", "2")
    assert len(ended.stdout.splitlines()) == 4
    assert ended.stdout.splitlines()[-1] == "2 dead letters of group books, of 3"
    # Looked at, they are still there.
    assert evproc("dead", "list", "books", "--exchange", dead.exchange, "-q").stdout.count("shop.event") == 3


def test_they_are_listed_as_json(dead: Rabbit, evproc: Command) -> None:
    ended = evproc("dead", "list", "books", "--exchange", dead.exchange, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    rows = {row["id"]: row for row in map(json.loads, ended.stdout.splitlines())}
    assert set(rows) == {"id-1", "id-2", "id-\x1b3"}
    assert rows["id-1"]["data"] == {"no": "bäh"}
    assert rows["id-1"]["details"] == {"kind": "x y", "n": 1}
    assert rows["id-1"]["source"] == "/test"
    assert rows["id-1"]["failures"] == 1
    assert rows["id-2"]["data_base64"] == "/wA="
    assert rows["id-\x1b3"]["data_base64"] == "ew=="


def test_some_are_replayed_and_those_not_there_are_named(dead: Rabbit, evproc: Command, folder: Path) -> None:
    ended = evproc("dead", "replay", "books", "id-1", "--exchange", dead.exchange, "nope", "id-1", "no\x1bpe")
    assert ended.returncode == 1
    assert ended.stdout == "1 dead letter of group books replayed\n"
    assert ended.stderr.splitlines() == [
        "evproc: error: group books has no dead letter with the ID 'nope'",
        r"evproc: error: group books has no dead letter with the ID 'no\x1bpe'",
    ]
    (folder / "books.py").write_text(BOOKS.replace('["book"]', '["no"]'))
    with started("run", "books.py", "--amqp", dead.url, "--exchange", dead.exchange, folder=folder) as run:
        run.wait_for("^1 bäh | during: shelve -> bäh$")
        run.end(signal.SIGINT)
    ended = evproc("dead", "list", "books", "--exchange", dead.exchange, "--json")
    assert {json.loads(line)["id"] for line in ended.stdout.splitlines()} == {"id-2", "id-\x1b3"}


def test_some_or_all_are_purged(dead: Rabbit, evproc: Command) -> None:
    ended = evproc("dead", "purge", "books", "--json", "--exchange", dead.exchange, "id-2", "nope")
    assert ended.returncode == 1
    assert [(row["id"], row["done"]) for row in map(json.loads, ended.stdout.splitlines())] == [
        ("id-2", "purged"),
        ("nope", None),
    ]
    ended = evproc("dead", "purge", "books", "--all", "--exchange", dead.exchange)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "2 dead letters of group books purged\n", "")
    ended = evproc("dead", "list", "books", "--exchange", dead.exchange)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "no dead letters of group books\n", "")
    assert dead.next("books") is None


def test_a_group_that_is_not_there(rabbit: Rabbit, evproc: Command) -> None:  # noqa: F811
    for action in ("list", "purge", "replay"):
        more = () if action == "list" else ("--all",)
        ended = evproc("dead", action, "nobody", "--amqp", rabbit.url, "--exchange", rabbit.exchange, *more)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith(f"evproc: error: there is no group 'nobody' on the exchange '{rabbit.exchange}'")
        assert ended.stderr.count("\n") == 1


def test_a_name_that_is_not_there_is_not_made(rabbit: Rabbit, evproc: Command) -> None:  # noqa: F811
    for action in ("list", "replay", "purge"):
        more = () if action == "list" else ("--all",)
        ended = evproc("dead", action, "books", "--amqp", rabbit.url, "--exchange", rabbit.exchange, *more)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith(
            f"evproc: error: there is no group 'books' on the exchange '{rabbit.exchange}': no exchange of that name.  "
        )
    assert rabbit.exchange not in rabbit.broker.ctl("list_exchanges") + rabbit.broker.ctl("list_queues")

    rabbit.channel.exchange_declare(rabbit.exchange, "topic", durable=True)
    ended = evproc("dead", "list", "books", "--amqp", rabbit.url, "--exchange", rabbit.exchange)
    assert ended.returncode == 2
    assert f"on the exchange '{rabbit.exchange}': no queue '{rabbit.exchange}.books.dead'.  Correct" in ended.stderr
    assert rabbit.exchange not in rabbit.broker.ctl("list_queues")


def test_a_broker_that_does_not_let_us_in(rabbit: Rabbit, evproc: Command) -> None:  # noqa: F811
    wrong = rabbit.broker.url(password="seecret")
    ended = evproc("dead", "list", "books", "--amqp", wrong)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(r"evproc: error: the broker at .* refuses the user 'guest': .*  Correct the URL, .*\n", ended.stderr)
    assert "seecret" not in ended.stderr
    ended = evproc("dead", "list", "books", "--amqp", rabbit.broker.url("elsewhere"))
    assert re.fullmatch(r"evproc: error: the broker at .* has no virtual host 'elsewhere' .*\n", ended.stderr)


def test_a_broker_that_is_not_there_or_does_not_answer(evproc: Command) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        ended = evproc("dead", "list", "books", "--amqp", f"amqp://ada:secret@{address}")
        assert (ended.returncode, ended.stdout) == (2, "")
        assert re.fullmatch(
            rf"evproc: error: no connection to ada@{address}/: .* refused\.  Start the broker, or correct --amqp .*\n",
            ended.stderr,
        )
        # Now it takes connections, and says nothing.
        nobody.listen()
        ended = evproc("dead", "list", "books", "--amqp", f"amqp://ada:secret@{address}", "--timeout", "0.2")
        assert (ended.returncode, ended.stdout) == (2, "")
        assert re.fullmatch(rf"evproc: error: ada@{address}/ did not answer in 0\.2 s\.  Start the broker, .*\n", ended.stderr)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["list"], "required: GROUP"),
        (["lsit", "books"], "'lsit'"),
        (["purge", "books"], "dead purge: say which: their IDs, as 'evproc dead list books' shows them, or --all"),
        (["replay", "books"], "dead replay: say which"),
        (["purge", "books", "--all", "id-1"], "give IDs, or --all, not both"),
        (["list", "books", "id-1"], "dead list: lists them all; IDs can be given to replay and purge"),
        (["list", "books", "--all"], "--all can be given to replay and purge"),
        (["purge", "books", "--limit", "3", "--all"], "dead purge: has no --limit"),
        (["list", "books", "--limit", "0"], "'0' has to be a whole number, 1 or more"),
        (["list", "books", "--timeout", "0"], "'0' has to be a number of seconds, more than 0"),
        (["list", "books", "--timeout", "soon"], "'soon' has to be a number of seconds"),
        (
            ["list", "books"],
            "--amqp: say where the broker is, as in --amqp amqp://user:password@host, or in",
        ),
        (["list", "books", "--amqp", "http://ada:secret@host"], "the broker's URL has to begin with amqp:// or amqps://"),
        (["list", "books", "--amq=amqp://ada:secret@host"], "there is no option '--amq'.  Did you mean '--amqp'?"),
        (["list", "books", "--exchange", "amq.x", "--amqp", "amqp://h"], "names that begin with 'amq.' belong to the broker"),
    ],
)
def test_what_makes_no_sense_says_why_and_ends_with_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    assert main(["dead", *arguments]) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert "secret" not in said.err
    assert said.out == ""


def test_a_url_in_the_wrong_place_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["handlers", "shop.py", "amqp://ada:secret@host"]) == 2
    assert "'amqp://...' is one argument too many" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content_type", "body", "wanted"),
    [
        ("application/json; charset=utf-8", b"[1]", {"data": [1]}),
        ("application/vnd.shop+json", b"null", {"data": None}),
        ("", b"2", {"data": 2}),
        ("application/json", b"NaN", {"data_base64": "TmFO"}),
        ("text/plain", b"3", {"data_base64": "Mw=="}),
    ],
)
def test_data_is_json_or_base64(content_type: str, body: bytes, wanted: dict[str, object]) -> None:
    row = _row(DeadLetter(Envelope("id", "/x", "t", body, content_type), "broken", ""))
    assert {key: value for key, value in row.items() if key.startswith("data")} == wanted
