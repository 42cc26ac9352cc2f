"""Every listing of the pages is run: by Sphinx, by a test that takes it from its page, here, or it stands below with a reason."""

from __future__ import annotations

import configparser
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
from twisted.application.internet import TimerService
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import Clock

import twisted_evproc
from tests.pages import DOCS, ROOT, Listing, is_call, listings, text_of, typed, unknown_names
from twisted_evproc import EventDispatcher, amqp, flow, sources
from twisted_evproc.amqp import MemoryTransport
from twisted_evproc.flow import Eventor
from twisted_evproc.sources import EventPump
from twisted_evproc.testing import FakeFlowStore, failure_now, result_now

PAGES = ["README", *sorted(str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.rst"))]

#: By page and kind: the test that takes these listings from the page and runs them.
ELSEWHERE = {
    ("README", "console"): "tests/test_house.py",
    ("explanation/speed", ""): "tests/test_speed.py",
    ("how-to/command-line", "console"): "tests/cli/test_how_to.py",
    ("how-to/crash-test-a-flow", "console"): "tests/flow/test_crashtest.py",
    ("how-to/flows-across-processes", "console"): "tests/examples/test_amqp_flow.py",
    ("how-to/handle-poison-events", "python"): "tests/examples/test_amqp_dedupe.py",
    ("how-to/look-at-flows", "console"): "tests/cli/test_flow_how_to.py",
    ("how-to/poll-and-process", "console"): "tests/examples/test_main_loop.py",
    ("how-to/replay-dead-letters", "console"): "tests/examples/test_amqp_dead_letters.py",
    ("how-to/replay-dead-letters", ""): "tests/examples/test_amqp_dead_letters.py",
    ("how-to/run-with-tls", "console"): "tests/examples/test_amqp_tls.py",
    ("how-to/run-with-tls", "ini"): "tests/examples/test_amqp_tls.py",
    ("how-to/tail-a-log", "console"): "tests/examples/test_tail.py",
    ("how-to/take-webhooks", "console"): "tests/examples/test_webhook.py",
    ("tutorial/across-processes", "console"): "tests/examples/test_amqp_tutorial.py",
    ("tutorial/across-processes", ""): "tests/examples/test_amqp_tutorial.py",
    ("tutorial/durable-flows", "console"): "tests/examples/test_flow_tutorial.py",
}

#: Files that these tests write from the page before they run its commands, by page.
FILES = {"how-to/command-line", "how-to/crash-test-a-flow", "how-to/look-at-flows"}

#: Pages whose plain blocks are drawings.
DRAWINGS = {"explanation/across-processes", "explanation/architecture", "explanation/flows"}

#: By page and beginning: why a listing cannot be run as it stands there.
NOT_RUN = {
    ("README", ".venv/bin/pip install -e '.[docs]'"): "installs; .ci/run builds the pages with more options",
    ("how-to/command-line", "$ evproc run docs/examples/gateway.py"): "goes on: tests/examples/test_gateway.py, on other ports",
    ("how-to/command-line", "$ printf 'boiler 71.5"): "its other half",
    (
        "how-to/command-line",
        "$ export EVPROC_AMQP_URL",
    ): "needs this broker: tests/cli/test_run_amqp.py has its own",
    ("how-to/command-line", "$ evproc dead list shop"): "the same: tests/cli/test_dead.py",
    ("how-to/deploy-with-twist", "$ pip install ."): "installs, and goes on: tests/examples/test_gateway.py runs it under twist",
    ("how-to/deploy-with-twist", "$ printf 'boiler 98"): "its other half",
    ("how-to/deploy-with-twist", "[Unit]"): "is for systemd",
    ("how-to/fire-from-protocol-and-service", "$ twistd"): "goes on: tests/examples/test_chat.py, on another port",
    (
        "how-to/synchronous-code",
        "twisted_evproc.errors.ForkedProcess",
    ): "is an error: tests/test_bridge.py forks",
    ("how-to/take-webhooks", "new issue: It leaks"): "is what the server prints: tests/examples/test_webhook.py",
    ("how-to/take-webhooks", "location = /github"): "is for nginx",
    ("how-to/zca-utility", "$ pip install"): "installs",
    ("tutorial/across-processes", "pip install"): "installs",
    ("tutorial/durable-flows", "pip install"): "installs",
}

#: By page: names that a reader has, and why no listing shows where from.
GIVEN = {
    "how-to/fire-from-protocol-and-service": {"reactor": "the program's, as the page says; Sphinx gives it another"},
}

#: What the tests below run.
HERE: set[tuple[str, str]] = set()


def runs(page: str, start: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a test the text of the one listing of the page that begins so."""
    HERE.add((page, start))
    [found] = [each for each in listings(page) if each.start.startswith(start)]
    return pytest.mark.parametrize("text", [found.text], ids=[page])


def who_runs(listing: Listing) -> list[str]:
    """Every place that says it takes care of it."""
    singles = [("here", HERE), ("nobody", NOT_RUN)]
    found = [who for who, keys in singles for page, start in keys if listing.page == page and listing.start.startswith(start)]
    if listing.kind == "literalinclude":
        found.append("the test of the example")
    elif listing.page in FILES and listing.what:
        found.append("the test of the page")
    if listing.page in DRAWINGS and not listing.kind:
        found.append("nobody, a drawing")
    return found + [where for key, where in ELSEWHERE.items() if key == (listing.page, listing.kind)]


@pytest.mark.parametrize("page", PAGES)
def test_every_listing_is_run_by_one_test_or_has_its_reason(page: str) -> None:
    assert {f"{each.kind}: {each.start}": who_runs(each) for each in listings(page) if len(who_runs(each)) != 1} == {}


def test_what_is_said_of_listings_is_said_of_some() -> None:
    every = [each for page in PAGES for each in listings(page)]
    for page, start in (*HERE, *NOT_RUN):
        assert any(each.page == page and each.start.startswith(start) for each in every), start
    assert ELSEWHERE.keys() <= {(each.page, each.kind) for each in every}
    assert {each.page for each in every if each.what and each.page in FILES} == FILES
    assert {each.page for each in every if not each.kind} >= DRAWINGS


@pytest.mark.parametrize(("page", "kind"), ELSEWHERE)
def test_that_test_reads_the_page(page: str, kind: str) -> None:
    source = (ROOT / ELSEWHERE[page, kind]).read_text(encoding="utf-8")
    assert f"{page.rpartition('/')[2]}.rst" in source or f'"{page}"' in source


def test_files_written_by_those_tests_are_those_of_the_page() -> None:
    assert {each.page for page in FILES for each in listings(page) if each.kind == "python" and not each.what} == set()


def test_no_two_pages_save_different_files_under_one_name() -> None:
    saved = {(each.what, each.text) for page in FILES for each in listings(page) if each.what}
    assert len(saved) == len({name for name, _ in saved})


@pytest.mark.parametrize("path", sorted(path.name for path in (DOCS / "examples").iterdir() if path.is_file()))
def test_every_example_has_a_test(path: str) -> None:
    tests = "\n".join(each.read_text(encoding="utf-8") for each in (ROOT / "tests").rglob("*.py"))
    # Or doctests of its page, which import it.
    pages = "\n".join(text for page in PAGES for text in re.findall(r"^>>> .*", text_of(page), re.MULTILINE))
    assert re.search(rf"\b{path.removesuffix('.py')}\b", tests + pages) or re.search(rf"\b{re.escape(path)}\b", tests + pages)


def test_every_include_is_an_example() -> None:
    included = {
        each.what.rpartition("examples/")[2] for page in PAGES for each in listings(page) if each.kind == "literalinclude"
    }
    assert included <= {path.name for path in (DOCS / "examples").iterdir()}


@pytest.mark.parametrize("page", [page for page in PAGES if typed(page)])
def test_what_a_page_shows_can_be_typed(page: str) -> None:
    assert unknown_names(typed(page)) == GIVEN.get(page, {}).keys()


@pytest.mark.parametrize(
    ("pieces", "unknown"),
    [
        (["print(clock)"], {"clock"}),
        (["from time import time", "time()"], set()),
        (["time()", "from time import time"], {"time"}),
        (["from textwrap import *", "indent(dedent('a'), ' ')"], set()),
        (["def tell():\n    print(told)", "told = []"], set()),
        (["def tell():\n    print(told)"], {"told"}),
        (["class Tell(Base):\n    told = text"], {"Base", "text"}),
        (["class Tell:\n    def tell(self):\n        print([each for each in told])", "told = []"], set()),
    ],
)
def test_names_from_nowhere_are_found(pieces: list[str], unknown: set[str]) -> None:
    assert unknown_names(pieces) == unknown


def test_doctests_are_run() -> None:
    assert "-b doctest docs" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    outside = text_of("README").partition(".. what-it-is")[2].partition(".. first-commands")
    assert ">>> " in outside[0] and ">>> " not in outside[2]


@pytest.mark.parametrize("page", PAGES)
def test_every_extra_that_is_to_be_installed_is_one(page: str) -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    named = re.findall(r"(?:twisted_evproc|['\"`]\.)\[([\w,]+)\]", text_of(page))
    assert {extra for each in named for extra in each.split(",")} <= {*parser["options.extras_require"]}


def perform(text: str, **names: Any) -> dict[str, Any]:
    """What is there when a listing has been run in a coroutine; the value of a last line that is an expression is its ``_``."""
    *lines, last = text.rstrip("\n").split("\n")
    if not last.startswith(" ") and not re.match(r"\w+ = |await |import |from ", last) and not lines:
        last = f"_ = {last}"
    body = indent("\n".join([*lines, last, "return locals()"]), "    ")
    namespace = dict(names)
    exec(f"async def listed():\n{body}\n", namespace)
    found: dict[str, Any] = result_now(ensureDeferred(namespace["listed"]()))
    return found


@runs("README", "sources = ")
def test_sources_of_an_application(text: str) -> None:
    assert [type(each).__name__ for each in perform(text, **vars(sources))["sources"]] == ["FileTailSource", "WebhookSource"]


@pytest.mark.parametrize(
    ("page", "start", "owner"),
    [
        ("reference/amqp", "AMQPTransport(", amqp),
        ("reference/amqp", "MemoryTransport(", amqp),
        ("reference/flow", "Eventor(", flow),
    ],
)
def test_signatures_are_those_of_the_classes(page: str, start: str, owner: Any) -> None:
    [found] = [each for each in listings(page) if each.start.startswith(start)]
    written = " ".join(found.text.split()).replace("logging.INFO", str(logging.INFO))
    assert is_call(written, getattr(owner, start.rstrip("(")))


HERE |= {("reference/amqp", "AMQPTransport("), ("reference/amqp", "MemoryTransport("), ("reference/flow", "Eventor(")}


@runs("coming-from/evproc", "async def main")
def test_a_main_loop_by_name(text: str) -> None:
    coming = [succeed("not an event")]
    main = perform(text, evproc=twisted_evproc, next_event=coming.pop)["main"]
    assert "not an event" in str(failure_now(ensureDeferred(main(None)), twisted_evproc.EventException))


HERE.add(("coming-from/evproc", "[options.entry_points]"))


def test_entry_points_on_the_page_are_those_that_its_doctest_installs() -> None:
    written = [each for each in listings("coming-from/evproc") if each.kind == "ini"]
    page = text_of("coming-from/evproc")
    for each in written:
        parser = configparser.ConfigParser()
        parser.read_string(each.text)
        [(group, points)] = parser["options.entry_points"].items()
        assert r"\n".join([f"[{group}]", *points.strip().split("\n")]) in page
    assert len(written) == 2


@runs("coming-from/system-event-triggers", "from twisted.internet import reactor")
def test_a_bridge_from_the_reactor(text: str) -> None:
    sent: list[bytes] = []

    class Connection:
        async def send(self, data: bytes) -> None:
            sent.append(data)

    there = perform(text, connection=Connection())
    there["bridge"].remove()
    there["system"].fire_event("bye", system_event="shutdown")
    assert sent == [b"BYE"]


@runs("how-to/deploy-with-twist", "service = ")
def test_a_service_beside_the_sources(text: str) -> None:
    assert perform(text, TimerService=TimerService, report=print)["service"].step == 60


@runs("how-to/flows-across-processes", "async def confirm")
def test_a_step_that_publishes(text: str) -> None:
    clock = Clock()
    transport = MemoryTransport(exchange="shop", clock=clock)
    result_now(transport.start())
    heard: list[Any] = []
    subscribed = transport.subscribe("shop", heard.append, kind="confirmation")
    clock.pump([0] * 5)
    result_now(subscribed)
    confirm = perform(text, current_step=flow.current_step, transport=transport)["confirm"]
    ev = Eventor(name="shop", store=FakeFlowStore(), clock=clock, executor="inline")
    packed = ev.add_event("packed")
    ev.add_assoc(packed, ev.add_step("confirm", confirm))
    ev.trigger_event(packed, "17")
    run: Deferred[Any] = ev.run()
    clock.pump([0] * 20)
    assert result_now(run)
    assert heard == [{"number": "17"}]


@runs("how-to/poll-and-process", "await pump.stop")
def test_a_bounded_stop(text: str) -> None:
    pump = EventPump(clock=Clock())
    result_now(pump.start())
    perform(text, pump=pump)
    assert not pump.running


@runs("how-to/run-with-tls", "AMQPTransport(")
def test_a_transport_with_tls(text: str, tmp_path: Path) -> None:
    authorities = tmp_path / "ca.pem"
    authorities.touch()
    text = text.replace("/etc/shop/ca.pem", str(authorities))
    assert perform(text, AMQPTransport=amqp.AMQPTransport)["_"].state == "stopped"


@runs("how-to/synchronous-code", "import crochet")
def test_a_program_that_will_run_the_reactor(text: str) -> None:
    program = f"{text}\nfrom twisted_evproc.blocking import setup\nsetup()\nimport threading\nprint(threading.active_count())"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.stdout, ended.stderr) == ("1\n", "")


@runs("how-to/synchronous-code", "def post_fork")
def test_a_hook_of_a_server(text: str) -> None:
    # That it sets up each worker is shown by tests/test_blocking.py.
    assert callable(perform(text)["post_fork"])


@runs("how-to/take-webhooks", "WebhookSource(to_data=")
def test_data_with_headers(text: str) -> None:
    source = perform(text, **vars(sources))["_"]
    assert source._to_data({"a": 1}, {"X-GitHub-Event": "ping"}) == {"kind": "ping", "payload": {"a": 1}}


@runs("how-to/take-webhooks", 'WebhookSource("unix:')
def test_a_source_behind_a_proxy(text: str) -> None:
    assert isinstance(perform(text, secret="s3cret", **vars(sources))["_"], sources.WebhookSource)


@runs("how-to/take-webhooks", "LineSource(")
def test_lines(text: str) -> None:
    assert isinstance(perform(text, json=json, dispatcher=EventDispatcher(), **vars(sources))["_"], sources.LineSource)


@runs("how-to/test-your-handlers", "pytest.register")
def test_the_line_of_conftest(text: str) -> None:
    assert text in (ROOT / "tests" / "conftest.py").read_text(encoding="utf-8")
