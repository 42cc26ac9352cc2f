from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from twisted_evproc._version import __version__
from twisted_evproc.cli import main
from twisted_evproc.cli._arguments import COMMANDS


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "say what to do: run, explain, handlers, flow, dead, completion"),
        (
            ["rnu", "shop.py"],
            "there is no command 'rnu'; the commands are: run, explain, handlers, flow, dead, completion.  Did you mean 'run'?",
        ),
        (["run"], "required: APP"),
        (["--versio"], "there is no option '--versio'.  Did you mean '--version'?"),
        (["--hlp"], "there is no option '--hlp'.  Did you mean '--help'?"),
        (["run", "--version"], "evproc run: error: there is no option '--version'."),
        (["run", "--evnts=x"], "there is no option '--evnts'.  Did you mean '--events'?"),
        (["run", "-q"], "required: APP"),
        (["handlers", "folder"], "folder: is a directory; give the path of a Python file"),
        (["handlers", "./folder"], "the application file is a directory"),
        (["explain", "shop.py", "kind=order", "user=ada", "kind=x"], "'kind': is given twice"),
        (["run", "shop.py", "--evnts", "x"], "there is no option '--evnts'.  Did you mean '--events'?"),
        (["run", "shop.py", "--event", "x"], "there is no option '--event'.  Did you mean '--events'?"),
        (["run", "shop.py", "more"], "'more' is one argument too many."),
        (["run", "shop.py", "shop.py"], "'shop.py' is one argument too many.  For a file of events, write --events shop.py."),
        (["run", "shop.py", "--events"], "--events: expected one argument"),
        (["run", "shop.py", "--concurrency", "0"], "'0' has to be a whole number, 1 or more"),
        (["run", "shop.py", "--concurrency", "x"], "'x' has to be a whole number, 1 or more"),
        (["completion", "csh"], "there is no 'csh'; choose one of bash, zsh, fish.  Did you mean 'zsh'?"),
        (["flow", "lst"], "there is no 'lst'; choose one of list, status"),
        (["flow", "lst"], "Did you mean 'list'?"),
        (["explain"], "required: APP\n"),
        (["explain", "shop.py", "kind"], "'kind': write details as key=value; the keywords here are: kind, user.\n"),
        (["explain", "shop.py", "knd"], "the keywords here are: kind, user.  Did you mean 'kind'?\n"),
        (["explain", "shop.py", "knd=x"], "Did you mean 'kind'?"),
        (["explain", "shop.py", "--event", "{"], "--event:2: not JSON"),
        (["explain", "shop.py", "--event", "[]"], "expected one JSON object a line, not an array"),
        (["handlers", "orders.jsonl"], "orders.jsonl: is JSON, and no application; give the path of a Python file"),
        (["handlers", "nothing.py"], "nothing.py: the application file does not exist"),
    ],
)
def test_what_cannot_be_used_says_why_and_ends_with_2(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    (folder / "folder").mkdir()
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert "error: " in said.err
    assert said.out == ""


def test_a_closed_output_is_said(folder: Path, environment: dict[str, str]) -> None:
    for command in ("run shop.py --events orders.jsonl", "handlers shop.py"):
        ended = subprocess.run(
            f'"{sys.executable}" -m twisted_evproc {command} >&-',
            shell=True, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ended.returncode == 2
        assert ended.stderr.startswith("evproc: error: standard output is closed")
        assert ended.stderr.count("\n") == 1


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert f"evproc {__version__} " in capsys.readouterr().out
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(command.examples[0] in text for command in COMMANDS)
    for command in COMMANDS:
        assert main([command.name, "--help"]) == 0
        text = capsys.readouterr().out
        assert command.text in text
        assert all(example in text for example in command.examples)
        assert "exit status:" in text


def test_explain(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "shop.py", "kind=order"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 of 5 handlers run for kind='order'"
    assert lines[2].split() == ["1", "before", "check"]
    assert lines[3].split() == ["2", "during", "pack", "after", "check"]
    assert any(line.startswith("-") and "fail" in line and "wants kind='bad'" in line for line in lines)


def test_explain_takes_json_where_it_is_json_and_an_event_as_run_does(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["explain", "shop.py", "--event", '{"kind": "order", "user": "ada", "x": 1}', "user=5", "--json"]
    assert main(arguments) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["event"] == {"kind": "order", "user": "ada", "x": 1}
    assert row["details"] == {"kind": "order", "user": 5}
    assert [verdict["handler"] for verdict in row["verdicts"] if verdict["runs"]] == ["check", "pack"]
    assert row["verdicts"][0] == {
        "handler": "check",
        "function": "shop.check",
        "phase": "before",
        "runs": True,
        "position": 1,
        "reason": "",
    }


def test_explain_maps_the_event_as_the_application_does(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (folder / "shop.py").open("a") as file:
        file.write("\ndef to_event(record):\n    return record[1], {'kind': record[0]}\n")
    assert main(["explain", "shop.py", "--event", '["order", 5]', "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["event"], row["details"]) == (5, {"kind": "order"})
    assert main(["explain", "shop.py", "--event", "[]"]) == 2
    assert "to_event() failed: IndexError" in capsys.readouterr().err


def test_handlers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["handlers", "shop.py"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["phase", "handler", "match-spec", "options", "function"]
    assert lines[1].split() == ["before", "check", "kind=order", "shop.check"]
    assert lines[3].split() == ["during", "pack", "kind=order", "requires=check", "shop.pack"]
    assert len(lines) == 6


def test_handlers_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["handlers", "shop.py", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["handler"] for row in rows] == ["check", "refuse", "pack", "fail", "never"]
    assert rows[2] == {
        "handler": "pack",
        "function": "shop.pack",
        "phase": "during",
        "match_spec": {"kind": "order"},
        "where": None,
        "requires": ["check"],
        "required_by": [],
        "calls_left": None,
        "timeout": None,
        "use_weakref": False,
    }


def test_handlers_shows_every_option(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "all.py").write_text(
        "from twisted_evproc import EventDispatcher\n"
        "d = EventDispatcher()\n"
        "def heard(event): pass\n"
        "d.add_event_handler(heard, 'during', True, where={'a': 1}, required_by='x', max_calls=2, timeout=1.5)\n"
    )
    assert main(["handlers", "all.py"]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    for option in ("(every event)", "where=", "required_by=x", "calls_left=2", "timeout=1.5", "use_weakref"):
        assert option in line
