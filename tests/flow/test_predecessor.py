"""The predecessor's own examples, and what was wrong with it.  Only the import is changed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.flow.harness import World, chain, ended
from tests.flow.test_eventor import die
from twisted_evproc import errors as evr_errors
from twisted_evproc import flow as evr

ROOT = Path(__file__).parents[2]

SIMPLE = """
from twisted_evproc import flow as evr
import logging

logger = logging.getLogger(__name__)

def prog(progname):
    logger.info("doing what %s is doing" % progname)
    return progname

ev = evr.Eventor(store=':memory:')

ev1s = ev.add_event('run_step1')
ev2s = ev.add_event('run_step2')
ev3s = ev.add_event('run_step3')

s1 = ev.add_step('s1', func=prog, kwargs={'progname': 'prog1'}, triggers={evr.StepStatus.success: (ev2s,),})
s2 = ev.add_step('s2', func=prog, kwargs={'progname': 'prog2'}, triggers={evr.StepStatus.success: (ev3s,), })
s3 = ev.add_step('s3', func=prog, kwargs={'progname': 'prog3'},)

ev.add_assoc(ev1s, s1)
ev.add_assoc(ev2s, s2)
ev.add_assoc(ev3s, s3)

ev.trigger_event(ev1s, 1)
result = ev()
print(result.status.name, [(t.step, t.status.name, ev.result(t.step, 1)) for t in result.tasks])
"""

RECOVERY = """
from twisted_evproc import flow as evr
import logging
import math

logger = logging.getLogger(__name__)

def square(x):
    print("square", x, flush=True)
    return x * x

def square_root(x):
    print("square_root", x, flush=True)
    return math.sqrt(x)

def divide(x, y):
    print("divide", x, y, flush=True)
    return x / y

def build_flow(run_mode=evr.RunMode.restart, param=9):
    ev = evr.Eventor(run_mode=run_mode, logging_level=logging.INFO)

    ev1s = ev.add_event('run_step1')
    ev1d = ev.add_event('done_step1')
    ev2s = ev.add_event('run_step2')
    ev2d = ev.add_event('done_step2')
    ev3s = ev.add_event('run_step3', expr=(ev1d, ev2d))

    s1 = ev.add_step('s1', func=square, kwargs={'x': 3}, triggers={evr.StepStatus.success: (ev1d, ev2s,)},)
    s2 = ev.add_step('s2', square_root, kwargs={'x': param}, triggers={evr.StepStatus.success: (ev2d,), },
                     recovery={evr.StepStatus.failure: evr.StepReplay.rerun, evr.StepStatus.success: evr.StepReplay.skip})
    s3 = ev.add_step('s3', divide, kwargs={'x': 9, 'y': 3},)

    ev.add_assoc(ev1s, s1)
    ev.add_assoc(ev2s, s2)
    ev.add_assoc(ev3s, s3)
    ev.trigger_event(ev1s, 3)
    return ev

# start regularly; it would fail in step 2
ev = build_flow(param=-9)
print(ev().status.name)

# rerun in recovery
ev = build_flow(evr.RunMode.recover, param=9)
print(ev().status.name, ev.result('s1', 3), ev.result('s2', 3), ev.result('s3', 3))
"""

DELAYS = """
from twisted_evproc import flow as evr
import logging
import os
import time

def prog(progname):
    print(progname, os.getenv("EVENTOR_STEP_SEQUENCE"), flush=True)
    return progname

def build_flow(run_mode):
    ev = evr.Eventor(run_mode=run_mode, logging_level=logging.INFO)

    ev1s = ev.add_event('run_step1')
    ev2s = ev.add_event('run_step2')
    ev3s = ev.add_event('run_step3')

    s1 = ev.add_step('s1', func=prog, kwargs={'progname': 'prog1'}, triggers={evr.StepStatus.success: (ev2s,),})
    s2 = ev.add_step('s2', func=prog, kwargs={'progname': 'prog2'}, triggers={evr.StepStatus.success: (ev3s,), })
    s3 = ev.add_step('s3', func=prog, kwargs={'progname': 'prog3'},)

    ev.add_assoc(ev1s, s1, delay=0)
    ev.add_assoc(ev2s, s2, delay=DELAY)
    ev.add_assoc(ev3s, s3, delay=DELAY)

    ev.trigger_event(ev1s, 1)
    return ev

ev = build_flow(run_mode=evr.RunMode.restart)
print(ev(max_loops=1).status.name)

for loop in range(4):
    delay = DELAY / 2 if loop in [1, 2] else DELAY * 1.5
    time.sleep(delay)
    ev = build_flow(run_mode=evr.RunMode.continue_)
    print(ev(max_loops=1).status.name)
""".replace("DELAY", "0.6")

RESOURCES = """
from twisted_evproc import flow as evr
import logging

def prog(progname):
    return progname

rp1 = evr.ResourcePool('RP1', limit=2)
rp2 = evr.ResourcePool('RP2', limit=2)

ev = evr.Eventor(logging_level=logging.INFO)
start = ev.add_event('start')
s1 = ev.add_step('s0.s00.s1', func=prog, kwargs={'progname': 'prog1'}, acquires=[(rp2, 1), ],)
ev.add_assoc(start, s1)
ev.trigger_event(start, 1)
print(ev().status.name, ev.result(s1, 1))
"""


def run_program(folder: Path, source: str, *, status: int = 0) -> list[str]:
    program = folder / "program.py"
    _ = program.write_text(source)
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == status, done.stderr
    return done.stdout.splitlines()


class TestExamples:
    def test_simple(self, tmp_path: Path) -> None:
        tasks = [("s1", "success", "prog1"), ("s2", "success", "prog2"), ("s3", "success", "prog3")]
        assert run_program(tmp_path, SIMPLE) == [f"success {tasks}"]
        assert [path.name for path in tmp_path.iterdir()] == ["program.py"]

    def test_recovery(self, tmp_path: Path) -> None:
        assert run_program(tmp_path, RECOVERY) == [
            "square 3",
            "square_root -9",
            "failure",
            "square_root 9",
            "divide 9 3",
            "success 9 3.0 3.0",
        ]
        assert all(path.name.startswith("program.") for path in tmp_path.iterdir())
        assert (tmp_path / "program.run.db").exists()

    def test_delays(self, tmp_path: Path) -> None:
        # Only that what is due ran, in order and once: a machine that is slow may find more of it due at once.
        printed = run_program(tmp_path, DELAYS)
        assert [line for line in printed if line.startswith("prog")] == ["prog1 1", "prog2 1", "prog3 1"]
        assert printed[:2] == ["prog1 1", "pending"]
        assert printed[-1] == "success"

    def test_resources(self, tmp_path: Path) -> None:
        assert run_program(tmp_path, RESOURCES) == ["success prog1"]

    def test_delays_on_a_clock(self) -> None:
        world = World()

        def build_flow(mode: evr.RunMode) -> evr.Eventor:
            ev = world.eventor(mode)
            ev1s, ev2s, ev3s = (ev.add_event(f"run_step{number}") for number in (1, 2, 3))
            s1 = ev.add_step("s1", world.note(), triggers={evr.StepStatus.success: (ev2s,)})
            s2 = ev.add_step("s2", world.note(), triggers={evr.StepStatus.success: (ev3s,)})
            s3 = ev.add_step("s3", world.note())
            ev.add_assoc(ev1s, s1, delay=0)
            ev.add_assoc(ev2s, s2, delay=10)
            ev.add_assoc(ev3s, s3, delay=10)
            ev.trigger_event(ev1s, 1)
            return ev

        ran = [ended(build_flow(evr.RunMode.restart).run(1))]
        calls = [len(world.calls)]
        for loop in range(4):
            world.clock.advance(5 if loop in (1, 2) else 15)
            ran.append(ended(build_flow(evr.RunMode.continue_).run(1)))
            calls.append(len(world.calls))
        assert calls == [1, 2, 2, 3, 3]
        assert all(ran)


class TestDefects:
    """FLOWS.md has the list."""

    @pytest.fixture
    def world(self) -> World:
        return World()

    def test_or_when_only_the_second_happens(self, world: World) -> None:
        ev = world.eventor()
        a, b = ev.add_event("a"), ev.add_event("b")
        ev.add_assoc(ev.add_event("either", evr.or_(a, b)), ev.add_step("s", world.note()))
        ev.trigger_event(b, 1)
        assert ended(ev.run())
        assert world.calls == ["s[1]"]

    @pytest.mark.parametrize("name", ["sum", "queue", "x.y", "a b", "__import__('os')", "1", "not_by 0 x", "ä\n"])
    def test_any_text_is_a_name_and_nothing_is_evaluated_from_it(self, world: World, name: str) -> None:
        for mode in (evr.RunMode.restart, evr.RunMode.continue_):
            ev = world.eventor(mode)
            first, other = ev.add_event(name), ev.add_event("other")
            both = ev.add_event(f"{name} {name}", evr.and_(first, evr.or_(first, other), evr.not_by(other, 5)))
            ev.add_assoc(first, other, delay=50)
            ev.add_assoc(both, ev.add_step(name, world.note()), delay=1)
            ev.trigger_event(first, name)
            run = ev.run(1) if mode is evr.RunMode.restart else ev.run()
            if mode is evr.RunMode.continue_:
                for _ in range(60):
                    world.clock.advance(1)
            assert ended(run)
        assert world.calls == [f"{name}[{name}]"]

    def test_success_and_complete_triggers_given_as_tuples(self, world: World) -> None:
        ev = world.eventor()
        go, a, b = ev.add_event("go"), ev.add_event("a"), ev.add_event("b")
        ev.add_assoc(go, ev.add_step("s", world.note(), triggers={evr.StepStatus.success: (a,), evr.StepStatus.complete: (b,)}))
        ev.add_assoc(ev.add_event("both", (a, b)), ev.add_step("t", world.note()))
        ev.trigger_event(go, 1)
        assert ended(ev.run())
        assert world.calls == ["s[1]", "t[1]"]

    def test_a_second_sequence_past_max_concurrent(self, world: World) -> None:
        ev = world.eventor(config={"max_concurrent": 1})
        go, _ = chain(ev, world.wait)
        ev.trigger_event(go, 1)
        ev.trigger_event(go, 2)
        run = ev.run()
        assert list(world.pending) == ["s1[1]"]
        world.finish("s1[1]")
        world.finish("s1[2]")
        assert len(ended(run).tasks) == 2

    def test_a_task_left_ready_at_the_crash_runs_once(self, world: World) -> None:
        ev = world.eventor(config={"max_concurrent": 1})
        go, _ = chain(ev, world.wait)
        ev.trigger_event(go, 1)
        ev.trigger_event(go, 2)
        die(ev.run())
        run = ev.run()
        for call in ("s1[1]", "s1[2]"):
            world.finish(call)
        assert ended(run)
        assert world.calls == ["s1[1]", "s1[1]", "s1[2]"]

    def test_sigkill_in_a_step_then_continue_and_then_recover(self, tmp_path: Path) -> None:
        source = """
        import os, signal, sys
        from pathlib import Path
        from twisted_evproc import flow as evr
        HERE = Path(__file__).parent
        MODE = (HERE / "mode").read_text()

        def step(name):
            print(name, flush=True)
            if name == "two" and MODE == "restart":
                os.kill(os.getpid(), signal.SIGKILL)
            if name == "three" and MODE == "continue_":
                raise ValueError("not yet")
            return name

        ev = evr.Eventor(run_mode=evr.RunMode[MODE], logging_level=50)
        e1, e2, e3 = (ev.add_event(f"e{n}") for n in (1, 2, 3))
        ev.add_assoc(e1, ev.add_step("one", step, ("one",), triggers={evr.StepStatus.success: e2}))
        ev.add_assoc(e2, ev.add_step("two", step, ("two",), triggers={evr.StepStatus.success: e3}))
        ev.add_assoc(e3, ev.add_step("three", step, ("three",)))
        ev.trigger_event(e1, 1)
        print(ev().status.name)
        """
        printed = []
        for mode, status in (("restart", -signal.SIGKILL), ("continue_", 0), ("recover", 0)):
            _ = (tmp_path / "mode").write_text(mode)
            printed.append(run_program(tmp_path, dedent(source), status=status))
        assert printed == [["one", "two"], ["two", "three", "failure"], ["three", "success"]]

    @pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), 9)", "set()"])
    def test_a_step_process_that_dies_or_returns_what_cannot_be_stored_fails_at_once(self, tmp_path: Path, end: str) -> None:
        source = f"""
        import os
        from twisted_evproc import flow as evr

        def step():
            return {end}

        ev = evr.Eventor(store=":memory:", executor="process")
        go = ev.add_event("go")
        ev.add_assoc(go, ev.add_step("s", step))
        ev.trigger_event(go, 1)
        result = ev()
        print(result.status.name, result.failures[0].error.split(":")[0])
        """
        [printed] = run_program(tmp_path, dedent(source))
        assert printed == ("failure ResultNotStorable" if end == "set()" else "failure StepDied")

    @pytest.mark.parametrize("value", [0, "", False, None, []])
    def test_falsy_results_are_kept(self, world: World, value: Any) -> None:
        ev = world.eventor()
        go, step = chain(ev, world.note(value))
        ev.trigger_event(go, 1)
        assert ended(ev.run())
        assert ev.result(step, 1) == value

    def test_a_delayed_association_added_later_does_not_disturb_older_runs(self, world: World) -> None:
        ev = world.eventor()
        go, _ = chain(ev, world.note())
        ev.trigger_event(go, 1)
        assert ended(ev.run())
        again = world.eventor(run_id="other")
        go = again.add_event("go")
        again.add_assoc(go, *(again.add_step(name, world.note()) for name in ("s1", "late")), delay=30)
        again.trigger_event(go, 1)
        assert ended(again.run(1)).status is evr.RunStatus.pending
        older = world.eventor(evr.RunMode.continue_, run_id="run1")
        chain(older, world.note())
        assert ended(older.run()).status is evr.RunStatus.success
        assert world.calls == ["s1[1]"]

    def test_two_writers_cannot_trigger_twice(self, world: World) -> None:
        ev = world.eventor()
        go, _ = chain(ev, world.note())
        run = ev.run(0)
        assert ended(run)
        world.store.hold = True
        first = ev.run()
        ev.trigger_event(go, 1)
        second = world.eventor(evr.RunMode.continue_)
        go, _ = chain(second, world.note())
        second.trigger_event(go, 1)
        later = second.run()
        while not later.called:
            world.store.release()
        assert ended(later)
        with pytest.raises(evr_errors.RunLost):
            ended(first)
        assert world.calls == ["s1[1]"]

    def test_nothing_is_left_in_the_temporary_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tmp_path / "tmp"
        folder.mkdir()
        monkeypatch.setenv("TMPDIR", str(folder))
        for source in (SIMPLE, RECOVERY.replace("Eventor(", "Eventor(executor='process', ")):
            _ = run_program(tmp_path, source)
        assert list(folder.iterdir()) == []
        assert tempfile.gettempdir() != str(folder)


class TestBlockingPrograms:
    def test_running_once_more_goes_on_also_in_memory(self, tmp_path: Path) -> None:
        source = """
        from twisted_evproc import flow as evr
        ev = evr.Eventor(store=":memory:")
        go = ev.add_event("go")
        step = ev.add_step("s", lambda: print("ran") or 5)
        ev.add_assoc(go, step)
        ev.trigger_event(go, 1)
        print(ev().run_id == ev().run_id)
        ev.trigger_event(go, 2)
        print(len(ev().tasks), ev.result(step, 1))
        """
        assert run_program(tmp_path, dedent(source)) == ["ran", "True", "ran", "2 5"]

    def test_flow_events_from_the_threads_of_steps(self, tmp_path: Path) -> None:
        source = """
        from twisted_evproc import flow as evr
        ev = evr.Eventor(store=":memory:")
        go = ev.add_event("go")

        def step():
            n = int(evr.current_step().sequence)
            if n < 5:
                ev.trigger_event(go)
            if n == 4:
                ev.stop()
            return n

        ev.add_assoc(go, ev.add_step("s", step))
        ev.trigger_event(go)
        first = ev()
        second = ev()
        print(first.status.name, second.status.name, len(second.tasks))
        """
        assert run_program(tmp_path, dedent(source)) == ["pending success 5"]
