"""The scripts are given to the shells themselves, where these are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from twisted_evproc.cli import main
from twisted_evproc.cli._arguments import COMMANDS, make_parser
from twisted_evproc.cli._completion import SHELLS, syntax


def script_of(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def ask(shell: str, code: str, folder: Path) -> list[str]:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    flags = {"bash": ["--norc", "-c"], "zsh": ["-f", "-c"], "fish": ["--no-config", "-c"]}[shell]
    ended = subprocess.run([path, *flags, code], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stderr == ""
    assert ended.returncode == 0
    return ended.stdout.splitlines()


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_and_option_is_in_the_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    script = script_of(shell, capsys)
    for command in syntax(make_parser()):
        assert command.name in script
        for option in command.options:
            for spelling in option.spellings:
                assert (f"-l {spelling[2:]}" if shell == "fish" and spelling.startswith("--") else spelling.lstrip("-")) in script
    assert [command.name for command in syntax(make_parser())] == [command.name for command in COMMANDS]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("evproc r", ["run"]),
        ("evproc ", ["run", "explain", "handlers", "flow", "dead", "completion", "--help", "--version"]),
        ("evproc run shop.py --ev", ["--events"]),
        ("evproc completion z", ["zsh"]),
        ("evproc run --concurrency ", []),
    ],
)
def test_bash(words: str, wanted: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = words.split(" ")
    code = (
        f"{script_of('bash', capsys)}\nCOMP_WORDS=({' '.join(part or repr('') for part in parts)}); COMP_CWORD={len(parts) - 1}\n"
        "compopt() { :; }\n_evproc\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n"
    )
    assert [line for line in ask("bash", code, folder) if line] == wanted


def test_fish(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = script_of("fish", capsys)
    assert [line.split("\t")[0] for line in ask("fish", f"{script}\ncomplete -C 'evproc ex'", folder)] == ["explain"]
    assert [line.split("\t")[0] for line in ask("fish", f"{script}\ncomplete -C 'evproc run --ev'", folder)] == ["--events"]
    assert [line.split("\t")[0] for line in ask("fish", f"{script}\ncomplete -C 'evproc run sh'", folder)] == ["shop.py"]


def test_zsh(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "_evproc").write_text(script_of("zsh", capsys))
    # As completion calls it, with the functions that offer matches replaced by ones that print them.
    code = (
        '_describe() { print -l ${(P)2} }; _arguments() { print -rl -- "$@" }; compdef() { : }; _files() { : }\n'
        "source ./_evproc; words=(evproc %s ''); CURRENT=%d; _evproc"
    )
    assert any(line.startswith("run:") for line in ask("zsh", code % ("", 2), folder))
    lines = ask("zsh", code % ("run", 3), folder)
    assert any(line.startswith("--events[") and line.endswith(":FILE:_files") for line in lines)
    assert "1: :(bash zsh fish)" in ask("zsh", code % ("completion", 3), folder)
