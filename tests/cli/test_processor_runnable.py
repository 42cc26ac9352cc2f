"""An application built on a processor: run, explained and listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from twisted_evproc import Event, Processor, StopProcessing, want
from twisted_evproc.cli._runnable import ProcessorRunnable
from twisted_evproc.errors import ConfigurationError

from .conftest import Command

APPLICATION = """
from twisted_evproc import Event, Processor, StopProcessing, requires, want

processor = Processor()

class Upload(Event):
    def __init__(self, record):
        super().__init__(record)
        self.size = record.get("size", 0)

    @property
    def name(self):
        return self.ctxt["name"]

def to_event(record):
    return Upload(record), {}

@processor.register
@want("uploaded")
@requires("check")
async def store(processor, event):
    return [Upload({"name": "stored"})]

@processor.register
@want("uploaded")
def check(processor, event):
    if event.size > 100:
        raise ValueError("too large")

@processor.register
@want("stored")
def announce(processor, event):
    pass

@processor.register
@want("secret")
def refuse(processor, event):
    raise StopProcessing("go away")
"""

LINES = """
{"name": "uploaded", "size": 5}
{"name": "uploaded", "size": 500}
{"name": "secret"}
{"name": "other"}
{"size": 5}
"""


@pytest.fixture
def uploads(folder: Path) -> Path:
    (folder / "uploads.py").write_text(APPLICATION)
    (folder / "uploads.jsonl").write_text(LINES.lstrip())
    return folder


def test_run_shows_the_handlers_of_an_event_and_of_all_that_came_out_of_it(evproc: Command, uploads: Path) -> None:
    ended = evproc("run", "uploads.py", "--events", "uploads.jsonl")
    lines = ended.stdout.splitlines()
    assert lines[0] == "1 <Upload 'uploaded'> | check, store -> [<Upload 'stored'>], announce"
    assert lines[1].startswith("2 <Upload 'uploaded'> | check FAILED ValueError: too large, store skipped (")
    assert lines[2:4] == ["3 <Upload 'secret'> | refuse -> \"go away\" | stopped", "4 <Upload 'other'> | unhandled"]
    assert "failed check: ValueError 1x" in ended.stdout
    assert ended.returncode == 1


def test_json_gives_the_value_of_stop_processing(evproc: Command, uploads: Path) -> None:
    ended = evproc("run", "uploads.py", "--json", stdin='{"name": "secret"}\n')
    row = json.loads(ended.stdout.splitlines()[0])
    assert (row["stopped"], row["value"], [each["handler"] for each in row["results"]]) == (True, "go away", ["refuse"])


def test_explain_asks_to_event(evproc: Command, uploads: Path) -> None:
    ended = evproc("explain", "uploads.py", "--event", '{"name": "uploaded"}', "--json")
    verdicts = json.loads(ended.stdout)["verdicts"]
    assert [each["handler"] for each in verdicts if each["runs"]] == ["check", "store"]
    ended = evproc("explain", "uploads.py")
    assert (ended.returncode, "say which one, as in --event JSON" in ended.stderr) == (2, True)
    ended = evproc("explain", "uploads.py", "--event", '{"name": "uploaded"}', "size=5")
    assert (ended.returncode, "takes no details, but was given 'size'" in ended.stderr) == (2, True)


def test_handlers_are_listed(evproc: Command, uploads: Path) -> None:
    ended = evproc("handlers", "uploads.py")
    assert [line.split()[0] for line in ended.stdout.splitlines()] == ["handler", "store", "check", "announce", "refuse"]


def test_an_application_that_does_not_make_events_is_told_how(evproc: Command, uploads: Path) -> None:
    (uploads / "without.py").write_text("from twisted_evproc import Processor\nprocessor = Processor()\n")
    for command in (["run", "without.py", "--events", "uploads.jsonl"], ["explain", "without.py", "--event", "{}"]):
        ended = evproc(*command)
        assert ended.returncode == 2
        assert "to_event: the application has to define it" in ended.stderr
    (uploads / "wrong.py").write_text("from without import processor\ndef to_event(record):\n    return record, {}\n")
    ended = evproc("run", "wrong.py", stdin="{}\n")
    assert ended.returncode == 3
    assert "takes instances of Event, not {}" in ended.stderr


def test_events_of_its_own_need_no_to_event(evproc: Command, uploads: Path) -> None:
    (uploads / "own.py").write_text("from uploads import Upload, processor\nevents = [Upload({'name': 'stored'})]\n")
    ended = evproc("run", "own.py")
    assert ended.stdout.splitlines()[0] == "1 <Upload 'stored'> | announce"


class Named(Event):
    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    @property
    def name(self) -> str:
        return self._name


class TestChains:
    @pytest.fixture
    def waiting(self) -> dict[str, Deferred[Any]]:
        return {}

    @pytest.fixture
    def processor(self, waiting: dict[str, Deferred[Any]]) -> Processor:
        processor = Processor()

        @processor.register
        @want("slow a", "slow b")
        async def wait(processor: Processor, event: Event) -> Any:
            waiting[event.name] = Deferred()
            return await waiting[event.name]

        @processor.register
        @want("a", "b", "inner")
        def hear(processor: Processor, event: Event) -> None: ...

        @processor.register
        @want("outer")
        def nest(processor: Processor, event: Event) -> list[Event]:
            processor.process(Named("inner"))
            return [Named("a")]

        @processor.register
        @want("stop")
        def stop(processor: Processor, event: Event) -> None:
            raise StopProcessing(None)

        return processor

    @pytest.fixture
    def runnable(self, processor: Processor) -> ProcessorRunnable:
        runnable = ProcessorRunnable(processor)
        runnable.start()
        return runnable

    @staticmethod
    def names(taken: Deferred[Any]) -> list[str]:
        outcome: Any = taken.result
        return [result.name for result in outcome.results]

    def test_several_at_a_time_are_told_apart(self, runnable: ProcessorRunnable, waiting: dict[str, Deferred[Any]]) -> None:
        first, second = runnable.take(Named("slow a"), {}), runnable.take(Named("slow b"), {})
        assert self.names(runnable.take(Named("stop"), {})) == ["stop"]
        waiting["slow b"].callback([Named("b"), Named("b")])
        assert self.names(second) == ["wait", "hear", "hear"]
        waiting["slow a"].callback([Named("a")])
        assert self.names(first) == ["wait", "hear"]

    def test_what_a_handler_processes_itself_is_not_part_of_it(self, runnable: ProcessorRunnable) -> None:
        assert self.names(runnable.take(Named("outer"), {})) == ["nest", "hear"]

    def test_none_as_a_value_is_a_value(self, runnable: ProcessorRunnable) -> None:
        outcome: Any = runnable.take(Named("stop"), {}).result
        assert (outcome.stopped, outcome.has_value, outcome.value) == (True, True, None)

    def test_one_that_is_cancelled_has_no_outcome_and_disturbs_nobody(
        self, runnable: ProcessorRunnable, waiting: dict[str, Deferred[Any]]
    ) -> None:
        taken = runnable.take(Named("slow a"), {})
        caught: list[Any] = []
        taken.addErrback(caught.append)
        taken.cancel()
        assert caught[0].check(CancelledError)
        assert self.names(runnable.take(Named("a"), {})) == ["hear"]

    def test_stopping_waits_for_what_runs(self, runnable: ProcessorRunnable, waiting: dict[str, Deferred[Any]]) -> None:
        runnable.take(Named("slow a"), {})
        stopped = runnable.stop()
        assert not stopped.called
        waiting["slow a"].callback(None)
        assert stopped.called

    @pytest.mark.parametrize(("event", "details"), [({}, {}), (None, {}), (Named("a"), {"kind": 1})])
    def test_what_it_does_not_take_is_refused_at_once(self, runnable: ProcessorRunnable, event: Any, details: Any) -> None:
        with pytest.raises(ConfigurationError):
            runnable.take(event, details)
