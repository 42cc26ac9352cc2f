"""The crash tester says what was lost and what was called again, of flows as users write them."""

from __future__ import annotations

import doctest
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from twisted_evproc.flow.crashtest._journal import Account, Begun, Journal, Standing, TaskKey, Write
from twisted_evproc.flow.crashtest._judge import Lived, State, faults, repeats

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "crash-test-a-flow.rst"

PAY = TaskKey(0, "pay", "1")
KEY = "run/pay/1"
CALLED = Begun(PAY, 1, KEY)
CALLED_AGAIN = Begun(PAY, 2, KEY)


def state(status: str, attempt: int = 1, run: str = "running", *events: str) -> State:
    return State(run, {PAY: Standing(status, attempt)}, frozenset((0, event, "1") for event in events), frozenset())


NO_RUN = State.of(None)
WELL = state("success", 1, "success", "paid")
AGAIN_WELL = state("success", 2, "success", "paid")


def lived(after: State, *begun: Begun, ended: Sequence[Begun] = (), writes: Sequence[Write] = ()) -> Lived:
    account = Account(dict(enumerate(writes, 1)), list(begun), {(each.task, each.attempt) for each in ended})
    return Lived(account, after)


def write(status: str, *events: str, durable: bool = True) -> Write:
    return Write(status, {PAY: Standing(status, 1)}, {(0, event, "1") for event in events}, durable)


def judged(*lives: Lived) -> list[str]:
    return list(map(str, faults(WELL, lives)))


class TestJudge:
    def test_an_attempt_in_flight_may_be_called_again(self) -> None:
        lives = lived(state("active"), CALLED), lived(AGAIN_WELL, CALLED_AGAIN)

        assert judged(*lives) == []
        [repeat] = repeats(lives)
        assert (str(repeat.task), repeat.key, repeat.ended) == ("pay[1]", KEY, False)

    def test_it_is_known_whether_the_attempt_before_had_ended(self) -> None:
        lives = lived(state("active"), CALLED, ended=[CALLED]), lived(WELL, CALLED_AGAIN)

        assert [repeat.ended for repeat in repeats(lives)] == [True]

    def test_one_that_was_not_in_flight_is_no_repeat(self) -> None:
        lives = lived(state("ready"), CALLED), lived(WELL, CALLED_AGAIN)

        assert repeats(lives) == []

    def test_a_step_that_is_recorded_is_not_to_run_again(self) -> None:
        assert judged(lived(state("success"), CALLED), lived(AGAIN_WELL, CALLED_AGAIN)) == [
            "pay[1] was run again though its record was committed"
        ]

    def test_what_was_acknowledged_counts_as_recorded(self) -> None:
        found = judged(lived(state("active"), CALLED, writes=[write("active"), write("success")]), lived(WELL, CALLED_AGAIN))

        assert "pay[1] was called durable as success, and the store has it as active" in found
        assert "pay[1] was run again though its record was committed" in found

    def test_what_was_handed_over_later_may_be_there(self) -> None:
        assert judged(lived(WELL, CALLED, writes=[write("active"), write("success", durable=False)])) == []

    def test_an_event_that_was_acknowledged_is_there(self) -> None:
        assert judged(lived(state("active"), CALLED, writes=[write("active", "paid")]), lived(AGAIN_WELL, CALLED_AGAIN)) == [
            "flow event paid[1] was called durable, and is not in the store"
        ]

    def test_an_attempt_is_in_the_store_before_it_is_called(self) -> None:
        found = judged(lived(state("ready", 0), CALLED), lived(WELL, CALLED))

        assert "pay[1] was begun, and the store does not know of it" in found
        assert "pay[1] was begun twice as attempt 1" in found

    def test_a_success_has_been_called(self) -> None:
        assert judged(lived(state("active")), lived(WELL)) == ["pay[1] counts as success, and its function was never called"]

    def test_the_end_is_as_without_a_crash(self) -> None:
        assert judged(lived(state("failure", 1, "failure"), CALLED)) == [
            "the run ended as failure, without a crash as success",
            "pay[1] is failure, without a crash it is success",
            "flow event paid[1] is lost",
        ]

    def test_a_run_that_is_gone_is_lost(self) -> None:
        assert "pay[1] is not made, without a crash it is success" in judged(lived(NO_RUN))


class TestJournal:
    def test_a_line_that_was_cut_off_was_not_written(self, tmp_path: Path) -> None:
        journal = Journal(str(tmp_path / "journal"))
        journal.handed(1, "the run is made")
        journal.durable(1)
        with Path(journal.path).open("a", encoding="utf-8") as file:
            file.write('["over", "succ')

        account = journal.read()

        assert account.writes == {1: Write("the run is made", durable=True)}
        assert account.status is None

    def test_none_is_an_empty_one(self, tmp_path: Path) -> None:
        assert Journal(str(tmp_path / "journal")).read() == Account()


FLOW = """
from twisted_evproc.flow import Eventor, RunMode, StepReplay, StepStatus

def work(value=None):
    return value

def build_flow(run_mode):
    ev = Eventor("shop", run_mode=run_mode, logging_level=100)
    start, paid = ev.add_event("start"), ev.add_event("paid")
    ev.add_assoc(start, ev.add_step("pay", work, triggers={StepStatus.success: paid}))
    ev.add_assoc(paid, ev.add_step("ship", work))
    ev.trigger_event(start, 1)
    return ev
"""

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def crashtest(tmp_path: Path) -> Command:
    """Runs ``evproc flow crashtest`` on a program."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()

    def run(program: str, *options: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "shop.py").write_text(program, encoding="utf-8")
        application = [] if options and options[0].startswith("shop") else ["shop.py"]
        return subprocess.run(
            [sys.executable, "-m", "twisted_evproc", "flow", "crashtest", *application, *options],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb", "TMPDIR": str(temporary)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


class TestCommand:
    def test_a_flow_as_it_should_be(self, crashtest: Command, tmp_path: Path) -> None:
        ended = crashtest(FLOW)

        assert (ended.returncode, ended.stderr) == (0, "")
        first, heading, *crashes, last = ended.stdout.splitlines()
        assert first.startswith("shop.py without a crash: success, 2 tasks, 5 changes of its store, ")
        assert heading.split("  ")[0] == "crash"
        assert [" ".join(line.split()[:2]) for line in crashes] == [
            f"{side} {number}" for number in range(1, 6) for side in ("before", "during", "after")
        ]
        assert re.search(
            r"^before 3 +pay\[1\] success, ship\[1\] active, paid\[1\] +pay\[1\] \(\w{32}/pay/1\)$", ended.stdout, re.M
        )
        assert last.startswith("15 crashes: nothing was lost; called again was only what was in flight: pay ")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["shop.py", "tmp"]
        assert list((tmp_path / "tmp").iterdir()) == []

    def test_an_effect_that_is_lost(self, crashtest: Command, tmp_path: Path) -> None:
        skipping = FLOW.replace('"ship", work', '"ship", work, recovery={StepStatus.active: StepReplay.skip}')

        ended = crashtest(skipping, "--store-folder", "kept")

        assert ended.returncode == 1
        assert "after 3     pay[1] success, ship[1] active, paid[1]\n" in ended.stdout
        assert "  FAULT ship[1] counts as success, and its function was never called\n" in ended.stdout
        assert ended.stdout.endswith("15 crashes: 1 of them lost something or did it again\n")
        [kept] = (tmp_path / "kept").iterdir()
        [crash] = kept.iterdir()
        assert f"see {kept.relative_to(tmp_path)}/{crash.name}" in ended.stdout
        assert {"flow.db", "life-0.journal", "life-1.log"} <= {path.name for path in crash.iterdir()}

    def test_json(self, crashtest: Command) -> None:
        ended = crashtest(FLOW, "--json", "--max-points", "5", "--random", "2", "--seed", "7", "--jobs", "2")

        *crashes, last = map(json.loads, ended.stdout.splitlines())
        assert ended.returncode == 0
        assert [crash["crash"] for crash in crashes[:5]] == ["before 1", "before 2", "before 3", "before 4", "before 5"]
        assert crashes[2]["killed"] is True
        assert crashes[2]["in_flight"] == ["pay[1]"]
        [again] = crashes[2]["called_again"]
        assert (again["step"], again["sequence"], again["had_ended"]) == ("pay", "1", True)
        assert again["key"].endswith("/pay/1")
        assert all(crash["crash"].endswith(" ms") for crash in crashes[5:])
        assert (last["summary"]["crashes"], last["summary"]["faulty"], last["summary"]["seed"]) == (7, 0, 7)

    def test_a_folder_that_cannot_be_made_is_named(self, crashtest: Command, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        ended = crashtest(FLOW, "--store-folder", "file/x")

        assert ended.returncode == 2
        assert ended.stderr == "evproc: error: --store-folder: no folder can be made in file/x: Not a directory\n"

    def test_a_flow_at_the_top_level_of_a_program_that_has_the_reactor(self, crashtest: Command) -> None:
        program = f"from twisted.internet import reactor\n{FLOW}\nflow = build_flow(RunMode.restart)\n"

        ended = crashtest(program, "shop.py:flow", "--max-points", "5")

        assert (ended.returncode, ended.stderr) == (0, "")
        assert "5 crashes: nothing was lost" in ended.stdout

    def test_steps_in_processes(self, crashtest: Command) -> None:
        ended = crashtest(FLOW.replace('"ship", work', '"ship", work, config={"executor": "process"}'), "--max-points", "5")

        assert (ended.returncode, ended.stderr) == (0, "")

    @pytest.mark.parametrize(
        ("program", "problem"),
        [
            ("", "has no flow"),
            ("def build_flow(run_mode):\n    return 1\n", "has to return an Eventor"),
            (FLOW + "\nfrom twisted_evproc.blocking import setup\nsetup()\n", "while it was loaded"),
            (FLOW.replace("return value", "import time; time.sleep(60)"), "did not end in time"),
            (
                FLOW.replace("return value", "file = open('calls', 'a'); file.write('x'); return 1 // (file.tell() < 3)"),
                "two runs without any crash do not end the same",
            ),
            (FLOW.replace("return value", "import os; os._exit(3)"), "its process ended by itself"),
        ],
        ids=["no flow", "something else", "runs when loaded", "without end", "by chance", "ends its process"],
    )
    def test_what_nothing_can_be_said_of(self, crashtest: Command, program: str, problem: str, tmp_path: Path) -> None:
        ended = crashtest(program, "--timeout", "3")

        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith("evproc: error: shop.py")
        assert problem in ended.stderr
        # What the process has printed is there to be seen; where nothing ran, nothing is left.
        logs = re.findall(r"; see (\S+\.log)", ended.stderr)
        assert all(Path(log).is_file() for log in logs)
        assert bool(list((tmp_path / "tmp").iterdir())) == (problem not in ("has no flow", "while it was loaded"))

    def test_ctrl_c_ends_all_of_it(self, tmp_path: Path) -> None:
        slow = FLOW.replace(
            "return value", "file = open('begun', 'w'); file.write('x'); file.flush(); import time; time.sleep(600)"
        )
        (tmp_path / "shop.py").write_text(slow, encoding="utf-8")
        os.mkfifo(tmp_path / "begun")
        process = subprocess.Popen(
            [sys.executable, "-m", "twisted_evproc", "flow", "crashtest", "shop.py", "--store-folder", "."],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        # Somebody writes once the step runs, and the other end closes when that process is gone.
        with (tmp_path / "begun").open(encoding="utf-8") as begun:
            assert begun.read(1) == "x"
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=60)[1] == ""
            assert begun.read() == ""
        assert process.returncode == 130

    @pytest.mark.parametrize("option", [("--random", "-1"), ("--timeout", "nan"), ("--jobs", "0")])
    def test_numbers_that_make_no_sense(self, crashtest: Command, option: tuple[str, str]) -> None:
        assert crashtest(FLOW, *option).returncode == 2


BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n(?:   :caption: (\S+)\n)?\n((?:   .*\n|\n)+)", re.MULTILINE)


def blocks() -> list[tuple[str, str, str]]:
    found = BLOCK.findall(PAGE.read_text(encoding="utf-8") + "\n")
    return [(language, caption, textwrap.dedent(text).strip("\n") + "\n") for language, caption, text in found]


def sessions() -> list[tuple[str, str]]:
    texts = [text for language, _, text in blocks() if language == "console"]
    return [part for text in texts for part in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)]


class TestPage:
    def test_there_are_listings(self) -> None:
        assert len(sessions()) >= 3
        assert {caption for _, caption, _ in blocks() if caption} == {"orders.py", "careful.py"}

    @pytest.mark.parametrize(("command", "wanted"), sessions())
    def test_a_listing_says_what_happens(self, command: str, wanted: str, tmp_path: Path) -> None:
        for _, caption, text in blocks():
            if caption:
                (tmp_path / caption).write_text(text, encoding="utf-8")
        program = tmp_path / "bin" / "evproc"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m twisted_evproc "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        environment = {
            **os.environ,
            "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "TERM": "dumb",
            "TMPDIR": str(tmp_path),
        }
        ended = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        said = ended.stderr + ended.stdout
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        assert doctest.OutputChecker().check_output(wanted, said, flags), f"{command}\nwanted:\n{wanted}\nsaid:\n{said}"
