"""``evproc flow`` over real stores."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flow.views.scenes import Play
from twisted_evproc.cli import main
from twisted_evproc.cli._flow import FLOW_COMMANDS
from twisted_evproc.cli._flow_status import watch
from twisted_evproc.cli._flow_upkeep import age, collectable
from twisted_evproc.cli._output import Output
from twisted_evproc.flow import RunRow
from twisted_evproc.flow.views import Sight, read_description

ROOT = Path(__file__).parents[2]

SHOP = """
import os, signal, sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted_evproc.flow import *

def charge():
    return 1

def pack():
    if Path("no boxes").exists():
        raise ValueError("no boxes <b>")

def send():
    if Path("kill").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    if Path("wait").exists():
        print("waiting", flush=True)
        return Deferred()

def build_flow(run_mode):
    ev = Eventor("shop", "shop.db", run_mode, config={"executor": "inline", "max_concurrent": 0})
    order, paid, packed = (ev.add_event(name) for name in ("order", "paid", "packed"))
    ship = ev.add_event("ship", and_(paid, packed))
    sent = ev.add_event("sent")
    for step in (
        ev.add_step("charge", charge, triggers={StepStatus.success: paid}),
        ev.add_step("pack", pack, triggers={StepStatus.success: packed}),
    ):
        ev.add_assoc(order, step)
    ev.add_assoc(ship, ev.add_step("send", send, triggers={StepStatus.success: sent}))
    ev.trigger_event(order, 1)
    return ev

if __name__ == "__main__":
    sys.exit(0 if build_flow(RunMode.restart)() else 1)
"""

Shop = Callable[..., int]
Evproc = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def there(folder: Path) -> Path:
    (folder / "shop.py").write_text(SHOP)
    return folder


#: Runs that were played before: each is a process, and most tests only look.
Played = dict[tuple[tuple[str, ...], ...], tuple[int, Path]]


@pytest.fixture(scope="session")
def played() -> Played:
    return {}


@pytest.fixture
def shop(there: Path, environment: dict[str, str], played: Played, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Runs the shop's flow to its end, in a process of its own; with files that say what is to go wrong."""
    runs: list[tuple[str, ...]] = []

    def run(*files: str) -> int:
        for name in (name for files in runs for name in files):
            (there / name).unlink(missing_ok=True)
        for name in files:
            (there / name).touch()
        runs.append(files)
        if tuple(runs) not in played:
            child = subprocess.run(
                [sys.executable, "shop.py"], cwd=there, env=environment, capture_output=True, text=True, timeout=60, check=False
            )
            kept = tmp_path_factory.mktemp("played")
            for file in there.glob("shop.db*"):
                shutil.copy(file, kept)
            played[tuple(runs)] = child.returncode, kept
        status, kept = played[tuple(runs)]
        for file in kept.iterdir():
            shutil.copy(file, there)
        return status

    return run


@pytest.fixture
def living(there: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The shop's flow in a step that does not end."""
    (there / "wait").touch()
    with subprocess.Popen([sys.executable, "shop.py"], cwd=there, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "waiting\n"
        yield child
        child.kill()


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Performs ``evproc flow`` here: status, output, errors."""

    def perform(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["flow", *arguments])
        return (status, *capsys.readouterr())

    return perform


def objects(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


class TestList:
    def test_runs_with_what_became_of_their_tasks(self, shop: Shop, said: Any) -> None:
        assert (shop(), shop("no boxes"), shop("kill")) == (0, 1, -9)

        status, output, _ = said("list", "shop.db")
        first, second, third = output.splitlines()

        assert status == 0
        assert "shop  success; begun" in first and first.endswith("3 done")
        assert "shop  failure" in second and "1 failed" in second
        assert "shop  interrupted" in third and "is dead" in third and "1 interrupted, 2 done" in third

    def test_json(self, shop: Shop, said: Any) -> None:
        shop("kill")

        _, output, _ = said("list", "shop.db", "--json", "--name", "shop")
        (found,) = objects(output)

        assert (found["status"], found["owner_lives"], found["name"]) == ("interrupted", False, "shop")
        assert found["tasks"] == {"success": 2, "interrupted": 1}

    def test_a_living_engine_is_named(self, living: subprocess.Popen[str], said: Any) -> None:
        _, output, _ = said("list", "shop.db")

        assert re.search(rf"shop  running; .*; worked on by \S+:{living.pid}; 1 running, 2 done", output)

    def test_another_name_has_no_runs(self, shop: Shop, said: Any) -> None:
        shop()

        assert said("list", "shop.db", "--name", "other") == (0, "no runs of a flow 'other'\n", "")

    @pytest.mark.parametrize("command", ["status", "fsck", "graph", "why"])
    def test_a_program_of_another_flow_is_refused(self, shop: Shop, said: Any, there: Path, command: str) -> None:
        shop()
        (there / "other.py").write_text(SHOP.replace('Eventor("shop"', 'Eventor("other"'))
        more = ("newest", "send") if command == "why" else ()

        status, _, errors = said(command, "shop.db", *more, "--app", "other.py")

        assert (status, "other.py: its flow is 'other', and run " in errors) == (2, True)
        assert errors.endswith(" is of the flow 'shop'\n")

    def test_what_is_no_store_is_an_error(self, shop: Shop, said: Any, there: Path) -> None:
        shop()
        (there / "text.db").write_text("hello\n" * 1000)

        assert "there is no such file" in said("list", "other.db")[2]
        assert "store .: is a directory" in said("list", ".")[2]
        assert said("list", "text.db")[0] == 2
        assert "is an application, and this command takes the store of its runs" in said("list", "shop.py")[2]
        assert "is the store of a flow's runs, and this command takes the application" in said("recover", "--plan", "shop.db")[2]


class TestStatus:
    def test_steps_failures_and_the_newest_run(self, shop: Shop, said: Any) -> None:
        shop()
        shop("no boxes")

        status, output, _ = said("status", "shop.db")
        lines = output.splitlines()

        assert status == 0
        assert re.match(r"flow shop, run \w+: failure; begun", lines[0])
        assert "  pack    1 failed: ValueError: no boxes <b>" in lines
        assert "  send    not yet" in lines

    def test_what_was_interrupted_says_how_to_go_on(self, shop: Shop, said: Any) -> None:
        shop("kill")

        _, output, _ = said("status", "shop.db")

        assert "interrupted" in output and "'evproc flow recover APP --continue' goes on with it" in output

    def test_json(self, shop: Shop, said: Any) -> None:
        shop("no boxes")

        (found,) = objects(said("status", "shop.db", "newest", "--json")[1])

        assert found["status"] == "failure"
        assert found["steps"]["pack"] == {"tasks": {"failure": 1}, "last_error": "ValueError: no boxes <b>"}
        assert found["failures"] == [{"step": "pack", "sequence": "1", "error": "ValueError: no boxes <b>", "handled": False}]

    def test_a_run_by_the_beginning_of_its_id(self, shop: Shop, said: Any) -> None:
        shop()
        shop("no boxes")
        first, second = (found["run"] for found in objects(said("list", "shop.db", "--json")[1]))

        assert f"run {first}: success" in said("status", "shop.db", first[:12])[1]
        assert f"run {second}: failure" in said("status", "shop.db", second[:12])[1]
        assert "there is no run 'zz'" in said("status", "shop.db", "zz")[2]

    def test_a_recovery_that_there_is_not(self, shop: Shop, said: Any) -> None:
        shop()

        status, _, errors = said("status", "shop.db", "--recovery", "3")
        assert status == 2 and "has recoveries 0 to 0" in errors

    def test_watching_ends_with_the_run(self, shop: Shop, said: Any) -> None:
        shop()

        status, output, _ = said("status", "shop.db", "--watch")

        assert status == 0
        assert output.splitlines()[0] == f"[{'#' * 30}] 3/3  3 done"
        assert "run" in output.splitlines()[1]


class TestWatch:
    def test_a_line_for_each_change(self, capsys: pytest.CaptureFixture[str]) -> None:
        play = Play()
        go = play.flow.add_event("go")
        play.step("first", go, play.waiting("first"))
        play.step("second", go, play.waiting("second"))
        play.flow.trigger_event(go, 1)
        play.run()
        waited: list[float] = []

        def look() -> Sight:
            return Sight(read_description(play.snapshot.run.program), play.snapshot, "host:1" if play.pending else None)

        def sleep(seconds: float) -> None:
            waited.append(seconds)
            if len(waited) > 2:
                play.pending.popitem()[1].callback(None)
                play.clock.advance(0)

        watch(look, Output(sys.stdout), as_json=False, every=0.2, sleep=sleep)
        lines = capsys.readouterr().out.splitlines()

        assert waited == [0.2] * 4
        assert [line.partition("] ")[2] for line in lines[:3]] == ["0/2  2 running", "1/2  1 running, 1 done", "2/2  2 done"]


class TestWhy:
    def test_the_way_back(self, shop: Shop, said: Any) -> None:
        shop("no boxes")

        status, output, _ = said("why", "shop.db", "newest", "send")

        assert status == 0
        assert output.startswith("- step 'send' has not been reached for sequence 1\n")
        assert "\n    - it needs 'paid' and 'packed'\n" in output.replace("      - it", "    - it")
        assert "ValueError: no boxes <b>" in output

    def test_json(self, shop: Shop, said: Any) -> None:
        shop()

        first, *_ = objects(said("why", "shop.db", "newest", "sent", "1", "--json")[1])

        assert (first["depth"], first["mark"]) == (0, "yes")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("sned",), "there is|no such step or flow event; .*Did you mean 'send'?"),
            (("sent", "--kind", "step"), "no such step; it has 'charge', 'pack', 'send'"),
            (("send", "7"), "the run has no such sequence; it has 1"),
        ],
    )
    def test_what_is_not_there(self, shop: Shop, said: Any, arguments: tuple[str, ...], message: str) -> None:
        shop()

        status, _, errors = said("why", "shop.db", "newest", *arguments)

        assert status == 2
        assert re.search(message, errors)


class TestPictures:
    def test_files_by_their_names(self, shop: Shop, said: Any, there: Path) -> None:
        shop("no boxes")

        for command in ("graph", "timeline"):
            assert said(command, "shop.db", "-o", f"{command}.svg")[::2] == (0, f"evproc: wrote {command}.svg\n")
            assert said(command, "shop.db", "newest", "-o", f"{command}.html")[0] == 0
            assert (there / f"{command}.svg").read_text().startswith("<svg ")
            assert (there / f"{command}.html").read_text().startswith("<!DOCTYPE html>")

    def test_svg_on_the_output_and_json(self, shop: Shop, said: Any) -> None:
        shop("no boxes")

        assert said("graph", "shop.db", "--sequence", "1")[1].startswith("<svg ")
        (graph,) = objects(said("graph", "shop.db", "--json")[1])
        assert {"kind": "step", "look": "failure"}.items() <= next(n for n in graph["nodes"] if n["name"] == "pack").items()
        (timeline,) = objects(said("timeline", "shop.db", "--json")[1])
        assert [row["step"] for row in timeline["rows"]] == ["charge", "pack"]

    def test_of_an_application(self, there: Path, said: Any) -> None:
        (graph,) = objects(said("graph", "shop.py", "--json")[1])

        assert {each["look"] for each in graph["nodes"]} == {"plain"}
        assert not (there / "shop.db").exists()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("graph", "shop.db", "-o", "x.png"), ".svg or .html"),
            (("graph", "shop.db", "-o", "nowhere/x.svg"), "cannot be written"),
            (("graph", "shop.py", "newest"), "is an application, and has no runs"),
            (("graph", "shop.db", "--sequence", "9"), "no such sequence"),
            (("graph", "none.db"), "there is no such file"),
            (("graph", "nomodule"), "there is no module 'nomodule'"),
        ],
    )
    def test_what_makes_no_picture(self, shop: Shop, said: Any, arguments: tuple[str, ...], message: str) -> None:
        shop()

        status, _, errors = said(*arguments)

        assert status == 2 and message in errors


class TestRecover:
    def test_a_plan_does_nothing(self, shop: Shop, said: Any) -> None:
        shop("no boxes")

        status, output, _ = said("recover", "shop.py", "--plan")

        assert status == 0
        assert output.splitlines()[1:] == [
            "  charge [1]: counts as done (was success)",
            "  pack [1]: run again (was failure)",
            "  send [1]: run for the first time (not reached before, if what comes before it goes well)",
            "3 tasks: 1 counts as done, 1 run again, 1 run for the first time",
        ]
        assert objects(said("list", "shop.db", "--json")[1])[0]["recovery"] == 0

    def test_of_a_store_that_is_given_as_a_path(self, shop: Shop, said: Any, there: Path) -> None:
        shop("no boxes")
        (there / "shop.py").write_text(SHOP.replace('"shop.db"', 'Path("shop.db")'))

        status, output, _ = said("recover", "shop.py", "--plan")

        assert (status, output.splitlines()[-1]) == (0, "3 tasks: 1 counts as done, 1 run again, 1 run for the first time")

    def test_a_recovery_mends_what_failed(self, shop: Shop, said: Any, evproc: Evproc, there: Path) -> None:
        shop("no boxes")
        (there / "no boxes").unlink()

        child = evproc("flow", "recover", "shop.py", "--json")
        found = objects(child.stdout)

        assert child.returncode == 0, child.stderr
        assert found[-1]["summary"]["status"] == "success"
        assert (found[-1]["summary"]["recovery"], len(found)) == (1, 4)
        assert "was not run again in recovery 1" in said("why", "shop.db", "newest", "charge", "1")[1]

    def test_a_recovery_that_fails_again_says_so(self, shop: Shop, evproc: Evproc) -> None:
        shop("no boxes")

        child = evproc("flow", "recover", "shop.py")

        assert child.returncode == 1
        assert "pack [1] failed: ValueError: no boxes <b>" in child.stdout

    def test_an_application_that_has_run_the_reactor_is_told_so(self, shop: Shop, evproc: Evproc, there: Path) -> None:
        shop("no boxes")
        (there / "shop.py").write_text(f"{SHOP}\nreactor.callWhenRunning(reactor.stop)\nreactor.run()\n")

        child = evproc("flow", "recover", "shop.py")

        assert (child.returncode, child.stdout) == (2, "")
        assert "evproc: error: shop.py: the application has already run the reactor while it was loaded" in child.stderr

    def test_going_on_after_a_kill(self, shop: Shop, said: Any, evproc: Evproc, there: Path) -> None:
        shop("kill")
        (there / "kill").unlink()
        assert "  send [1]: run again (was active)" in said("recover", "shop.py", "--plan", "--continue")[1]

        child = evproc("flow", "recover", "shop.py", "--continue")

        assert child.returncode == 0, child.stderr
        (found,) = objects(said("list", "shop.db", "--json")[1])
        assert (found["status"], found["recovery"]) == ("success", 0)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("x = 1", "has no flow at its top level"),
            ("def build_flow(mode): return 1", "has to return an Eventor, not an int"),
            ("def build_flow(mode): raise KeyError('x')", "build_flow() failed"),
            (
                "from twisted_evproc.flow import Eventor\na = Eventor('a', 'a.db')\nb = Eventor('b', 'b.db')",
                "choose one: app.py:a, app.py:b",
            ),
            ("from twisted_evproc.flow import Eventor\na = Eventor('a', ':memory:')", "keeps its runs in memory"),
            ("from twisted_evproc.flow import Eventor\na = Eventor('a', 'sqlite://')", "keeps its runs in memory"),
            (
                "from twisted_evproc.flow import Eventor\nfrom twisted_evproc.testing import FakeFlowStore\n"
                "a = Eventor('a', FakeFlowStore())",
                "the store of its flow is an object",
            ),
            ("from twisted_evproc.flow import Eventor\na = Eventor('a', 'a.db')", "there is no such file"),
        ],
    )
    def test_what_cannot_be_recovered(self, there: Path, said: Any, text: str, message: str) -> None:
        (there / "app.py").write_text(text)

        status, _, errors = said("recover", "app.py", "--plan")

        assert status == 2 and message in errors

    def test_one_flow_of_several(self, shop: Shop, there: Path, said: Any) -> None:
        (there / "app.py").write_text(
            "from twisted_evproc.flow import Eventor\na = Eventor('a', 'a.db')\nb = Eventor('b', 'b.db')"
        )

        assert "store b.db: there is no such file" in said("recover", "app.py:b", "--plan")[2]
        assert "Did you mean 'a'" in said("recover", "app.py:aa", "--plan")[2]


class TestCancel:
    def test_a_run_that_was_interrupted(self, shop: Shop, said: Any) -> None:
        shop("kill")

        assert "is cancelled; it was running, and nobody worked on it" in said("cancel", "shop.db", "newest")[1]
        (found,) = objects(said("list", "shop.db", "--json")[1])
        assert (found["status"], found["tasks"]) == ("cancelled", {"success": 2, "cancelled": 1})
        assert said("fsck", "shop.db")[0] == 0

    def test_one_that_has_ended_stays_as_it_is(self, shop: Shop, said: Any) -> None:
        shop()

        assert "has ended already: success" in said("cancel", "shop.db", "newest")[1]
        assert objects(said("cancel", "shop.db", "newest", "--json")[1])[0]["cancelled"] is False

    def test_one_that_is_worked_on_is_refused(self, living: subprocess.Popen[str], said: Any) -> None:
        status, _, errors = said("cancel", "shop.db", "newest")

        assert status == 2
        assert f":{living.pid}, which alone may change it" in errors
        assert objects(said("list", "shop.db", "--json")[1])[0]["status"] == "running"


class TestGc:
    def test_old_runs_go_and_the_newest_stays(self, shop: Shop, said: Any) -> None:
        for files in ((), ("no boxes",), ("kill",), ()):
            shop(*files)
        runs = [found["run"] for found in objects(said("list", "shop.db", "--json")[1])]

        assert (
            "2 runs of 4 would be removed; 1 run not at an end stays"
            in said("gc", "shop.db", "--older-than", "0s", "--dry-run")[1]
        )
        assert len(objects(said("list", "shop.db", "--json")[1])) == 4
        assert said("gc", "shop.db", "--older-than", "1h")[1].startswith("0 runs of 4 removed")
        removed = objects(said("gc", "shop.db", "--older-than", "0s", "--json")[1])

        assert [found["run"] for found in removed] == runs[:2]
        assert [found["run"] for found in objects(said("list", "shop.db", "--json")[1])] == runs[2:]
        with sqlite3.connect("shop.db") as connection:
            for table in ("triggers", "tasks"):
                found = {run for (run,) in connection.execute(f"SELECT DISTINCT run_id FROM {table}")}
                assert found == set(runs[2:])

    def test_an_engine_that_works_on_the_store_is_left_alone(
        self, shop: Shop, there: Path, environment: dict[str, str], said: Any
    ) -> None:
        shop()
        (there / "wait").touch()
        with subprocess.Popen([sys.executable, "shop.py"], env=environment, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None and child.stdout.readline() == "waiting\n"
            status, _, errors = said("gc", "shop.db", "--older-than", "0s", "--keep", "0")
            child.kill()

        assert status == 2 and f":{child.pid}" in errors

    @pytest.mark.parametrize(
        ("text", "seconds"), [("30d", 30 * 86400), ("1.5h", 5400), ("2w", 14 * 86400), ("90s", 90), ("0m", 0)]
    )
    def test_ages(self, text: str, seconds: float) -> None:
        assert age(text) == seconds

    @pytest.mark.parametrize("text", ["30", "d", "-1d", "1 d", "1y", "1e3s", ""])
    def test_what_is_no_age(self, text: str, said: Any) -> None:
        status, _, errors = said("gc", "shop.db", f"--older-than={text}")

        assert status == 2 and "as in 30d or 12h" in errors

    def test_what_may_go(self) -> None:
        def run(number: int, name: str, status: str, ended: float | None) -> RunRow:
            return RunRow(str(number), name, status, 0, 1, "h:1", float(number), ended, "")

        runs = [
            run(1, "a", "success", 10),
            run(2, "a", "pending", 10),
            run(3, "b", "failure", 10),
            run(4, "a", "stuck", 99),
            run(5, "a", "running", None),
            run(6, "a", "cancelled", 10),
        ]

        assert [row.run_id for row in collectable(runs, 50, 0, 100)] == ["1", "3", "6"]
        assert [row.run_id for row in collectable(runs, 50, 1, 100)] == ["1"]


class TestFsck:
    def test_a_store_that_is_whole(self, shop: Shop, said: Any) -> None:
        shop()
        shop("no boxes")
        shop("kill")

        assert said("fsck", "shop.db")[:2] == (0, "shop.db, 3 runs: nothing is wrong\n")
        assert said("fsck", "shop.db", "newest")[1] == "shop.db, 1 run: nothing is wrong\n"

    def test_rows_that_do_not_fit_together(self, shop: Shop, said: Any) -> None:
        shop()
        with sqlite3.connect("shop.db") as connection:
            connection.execute("DELETE FROM triggers WHERE event = 'paid'")
            connection.execute("INSERT INTO holds VALUES ('gone', 'pool', 'step', '1', 1)")

        status, output, _ = said("fsck", "shop.db")

        assert status == 1
        assert "store: table holds has rows of run 'gone', which is not there" in output
        assert "'charge'" in output and "'paid'" in output
        assert len(objects(said("fsck", "shop.db", "--json")[1])) == len(output.splitlines()) - 1

    def test_a_newer_schema(self, shop: Shop, said: Any) -> None:
        shop()
        with sqlite3.connect("shop.db") as connection:
            connection.execute("UPDATE meta SET value = '99'")

        assert said("fsck", "shop.db")[0] == 2


class TestCommandLine:
    def test_every_command_has_help_with_examples(self, said: Any) -> None:
        for command in FLOW_COMMANDS:
            status, output, _ = said(command.name, "--help")
            assert status == 0
            assert all(example in output for example in command.examples)

    def test_without_a_command_it_names_them(self, said: Any) -> None:
        status, _, errors = said()

        assert status == 2 and "say what to do: list, status, why," in errors

    def test_an_unknown_option(self, said: Any) -> None:
        status, _, errors = said("status", "shop.db", "--wacht")

        assert status == 2 and "Did you mean '--watch'" in errors

    def test_nothing_of_a_flow_is_imported_for_other_commands(self, environment: dict[str, str]) -> None:
        code = "import sys; from twisted_evproc.cli import main; main(['--version']); print('twisted_evproc.flow' in sys.modules)"
        child = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
        )

        assert child.stdout.splitlines()[-1] == "False"

    def test_names_cannot_steer_the_terminal(self, there: Path, environment: dict[str, str], said: Any) -> None:
        program = SHOP.replace('"shop"', '"sh\\x1b[31mop"').replace('"pack"', '"pa\\ncked\\x07"')
        (there / "shop.py").write_text(program)
        subprocess.run([sys.executable, "shop.py"], cwd=there, env=environment, capture_output=True, timeout=60, check=True)

        for arguments in (("list", "shop.db"), ("status", "shop.db"), ("why", "shop.db", "newest", "send")):
            _, output, _ = said(*arguments)
            assert "\x1b" not in output and "\x07" not in output
        assert os.path.exists("shop.db")
