from __future__ import annotations

import decimal
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, gatherResults
from twisted.internet.task import Clock, deferLater

from twisted_evproc._reactor import default_clock
from twisted_evproc.errors import ConfigurationError, FlowDefinitionError, MissingExtra, ResultNotStorable, StepDied, StepFailed
from twisted_evproc.flow import Attempt
from twisted_evproc.flow.executors import ProcessExecutor

from .test_contract import error_of, until

MakeAttempt = Callable[..., Attempt]


def lives(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def children() -> list[str]:
    """Processes that we have started, zombies included."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=True
    ).stdout
    return [line for line in listed.splitlines() if " ps -o " not in line]


def work_until(place: Path, name: str = "go") -> int:
    import time

    (place / f"{os.getpid()}.began").touch()
    while not (place / name).exists():
        time.sleep(0.002)
    return os.getpid()


def began(place: Path) -> list[int]:
    return [int(path.stem) for path in place.glob("*.began")]


class TestWorkers:
    @pytest_twisted.ensureDeferred
    async def test_are_other_processes_and_used_again(self, processes: ProcessExecutor, attempt: MakeAttempt) -> None:
        pids = [await processes.submit(attempt(os.getpid)) for _ in range(5)]

        assert len(set(pids)) == 1
        assert pids[0] != os.getpid()

    @pytest_twisted.ensureDeferred
    async def test_there_are_as_many_as_are_needed_up_to_the_size(
        self, processes: ProcessExecutor, attempt: MakeAttempt, tmp_path: Path
    ) -> None:
        running = [processes.submit(attempt(work_until, tmp_path)) for _ in range(5)]
        await until(lambda: len(began(tmp_path)) == 2)
        (tmp_path / "go").touch()

        assert len(set(await gatherResults(running))) == 2

    @pytest_twisted.ensureDeferred
    async def test_keep_nothing_from_one_step_to_the_next(self, processes: ProcessExecutor, attempt: MakeAttempt) -> None:
        def soil() -> None:
            os.environ["EVENTOR_STEP_NAME"] = "soiled"
            decimal.setcontext(decimal.Context(prec=5))
            _ = signal.signal(signal.SIGTERM, signal.SIG_IGN)

        def look() -> list[Any]:
            return [
                os.environ["EVENTOR_STEP_NAME"],
                decimal.getcontext().prec,
                signal.getsignal(signal.SIGTERM) is signal.SIG_IGN,
            ]

        await processes.submit(attempt(soil))
        assert await processes.submit(attempt(look)) == ["s", 28, False]
        assert "EVENTOR_STEP_NAME" not in os.environ

    @pytest_twisted.ensureDeferred
    async def test_have_the_variables_of_a_step_in_their_environment_always(
        self, processes: ProcessExecutor, attempt: MakeAttempt
    ) -> None:
        names = ("EVENTOR_STEP_NAME", "EVENTOR_STEP_SEQUENCE", "EVENTOR_STEP_RECOVERY")

        assert await processes.submit(attempt(lambda: [os.environ[name] for name in names])) == ["s", "7", "1"]

    @pytest_twisted.ensureDeferred
    async def test_import_what_this_process_can(
        self, processes: ProcessExecutor, attempt: MakeAttempt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _ = (tmp_path / "module_beside_the_program.py").write_text("def triple(number):\n    return 3 * number\n")
        monkeypatch.syspath_prepend(tmp_path)
        from module_beside_the_program import triple  # type: ignore[import-not-found]  # it is made above

        assert await processes.submit(attempt(triple, 4)) == 12

    @pytest_twisted.ensureDeferred
    async def test_know_the_arguments_of_the_program_however_many(
        self, processes: ProcessExecutor, attempt: MakeAttempt, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["program", *map(str, range(100_000))])

        assert await processes.submit(attempt(lambda: [sys.argv[0], len(sys.argv)])) == ["program", 100_001]

    @pytest_twisted.ensureDeferred
    async def test_say_what_they_cannot_import(
        self, processes: ProcessExecutor, attempt: MakeAttempt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _ = (tmp_path / "module_that_moves.py").write_text("def triple(number):\n    return 3 * number\n")
        _ = await processes.submit(attempt(int))
        monkeypatch.syspath_prepend(tmp_path)
        from module_that_moves import triple  # type: ignore[import-not-found]  # it is made above

        error = await error_of(processes.submit(attempt(triple, 4)))
        assert isinstance(error, ModuleNotFoundError)
        assert "have to be importable there" in error.__notes__[0]

    @pytest_twisted.ensureDeferred
    async def test_decide_nothing_on_ctrl_c(self, processes: ProcessExecutor, attempt: MakeAttempt, tmp_path: Path) -> None:
        running = processes.submit(attempt(work_until, tmp_path))
        await until(lambda: bool(began(tmp_path)))
        (pid,) = began(tmp_path)
        assert os.getpgid(pid) == pid != os.getpgid(0)
        os.kill(pid, signal.SIGINT)
        (tmp_path / "go").touch()

        assert await running == pid


class TestDeath:
    @pytest.mark.parametrize(
        ("end", "how"),
        [
            (lambda: os.kill(os.getpid(), signal.SIGKILL), "killed by SIGKILL, as the system does when memory runs out"),
            (lambda: os.kill(os.getpid(), signal.SIGTERM), "killed by SIGTERM"),
            (lambda: os.kill(os.getpid(), signal.SIGSEGV), "killed by SIGSEGV"),
            (lambda: os._exit(3), "exit status 3"),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_of_a_worker_says_how(self, processes: ProcessExecutor, attempt: MakeAttempt, end: Any, how: str) -> None:
        error = await error_of(processes.submit(attempt(end)))

        assert type(error) is StepDied
        assert str(error) == f"the process that ran step 's' ended without an answer: {how}"
        assert await processes.submit(attempt(abs, -1)) == 1

    @pytest_twisted.ensureDeferred
    async def test_takes_no_other_step_with_it(self, processes: ProcessExecutor, attempt: MakeAttempt, tmp_path: Path) -> None:
        running = [processes.submit(attempt(work_until, tmp_path)) for _ in range(2)]
        waiting = [processes.submit(attempt(abs, -number)) for number in range(10)]
        await until(lambda: len(began(tmp_path)) == 2)
        victim, survivor = began(tmp_path)
        os.kill(victim, signal.SIGKILL)
        # The one that is left cannot do what waits.
        assert await gatherResults(waiting) == list(range(10))
        (tmp_path / "go").touch()

        ends = [await deferred.addErrback(lambda failure: failure.type) for deferred in running]
        assert sorted(map(str, ends)) == sorted([str(StepDied), str(survivor)])

    @pytest_twisted.ensureDeferred
    async def test_of_an_idle_worker_fails_nothing(self, processes: ProcessExecutor, attempt: MakeAttempt) -> None:
        for _ in range(3):
            pid = await processes.submit(attempt(os.getpid))
            os.kill(pid, signal.SIGKILL)
            while lives(pid):
                pass  # the reactor is to hear of it only after the next step is submitted
            assert await processes.submit(attempt(os.getpid)) != pid

    @pytest_twisted.ensureDeferred
    async def test_is_noticed_though_a_forked_process_lives_on(
        self, processes: ProcessExecutor, attempt: MakeAttempt, tmp_path: Path
    ) -> None:
        def fork(place: Path) -> None:
            import time

            if os.fork() == 0:
                (place / str(os.getpid())).touch()
                time.sleep(100)
            while not list(place.iterdir()):
                time.sleep(0.002)
            os._exit(1)

        assert isinstance(await error_of(processes.submit(attempt(fork, tmp_path))), StepDied)
        (grandchild,) = tmp_path.iterdir()
        await until(lambda: not lives(int(grandchild.name)))

    @pytest_twisted.ensureDeferred
    async def test_of_a_forked_process_is_not_that_of_the_worker(self, processes: ProcessExecutor, attempt: MakeAttempt) -> None:
        def fork() -> str:
            pid = os.fork()
            if pid == 0:
                return "from the other"
            _ = os.waitpid(pid, 0)
            return "from the worker"

        assert await processes.submit(attempt(fork)) == "from the worker"
        assert await processes.submit(attempt(abs, -3)) == 3

    @pytest_twisted.ensureDeferred
    async def test_a_worker_that_hangs_up_is_ended(self, processes: ProcessExecutor, attempt: MakeAttempt) -> None:
        def hang_up() -> None:
            import time

            os.closerange(3, 100)
            time.sleep(100)

        error = await error_of(processes.submit(attempt(hang_up)))

        assert "it closed its connection to the engine" in str(error)

    @pytest_twisted.ensureDeferred
    async def test_a_worker_that_sends_too_much_is_ended(self, processes: ProcessExecutor, attempt: MakeAttempt) -> None:
        def flood() -> None:
            import time

            for descriptor in range(3, 100):
                try:
                    os.write(descriptor, b"\xff" * 8)
                except OSError:
                    pass
            time.sleep(100)

        error = await error_of(processes.submit(attempt(flood)))

        assert f"it sent {2**64 - 1} bytes at once" in str(error)

    @pytest_twisted.ensureDeferred
    async def test_a_worker_that_answers_unasked_fails_nothing(self, processes: ProcessExecutor, attempt: MakeAttempt) -> None:
        def chatter() -> int:
            for descriptor in range(3, 100):
                try:
                    os.write(descriptor, b"\0" * 7 + b"\5" + b"vnull" + b"\0" * 7 + b"\1" + b"r")
                except OSError:
                    pass
            return os.getpid()

        assert await processes.submit(attempt(chatter)) is None
        await deferLater(default_clock(None), 0)  # behind the executor, which is still reading what came
        assert await processes.submit(attempt(abs, -2)) == 2

    @pytest_twisted.ensureDeferred
    async def test_a_worker_that_cannot_start_fails_the_step(
        self, processes: ProcessExecutor, attempt: MakeAttempt, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for program, how in (
            ("/bin/false", "exit status 1, before it could begin"),
            ("/no/such/python", "it could not be started: [Errno 2]"),
        ):
            monkeypatch.setattr(sys, "executable", program)
            error = await error_of(processes.submit(attempt(int)))
            assert type(error) is StepDied
            assert how in str(error)
        monkeypatch.undo()

        assert await processes.submit(attempt(abs, -1)) == 1


class TestCancel:
    @pytest_twisted.ensureDeferred
    async def test_ends_the_worker_and_what_the_step_has_started(
        self, processes: ProcessExecutor, attempt: MakeAttempt, tmp_path: Path
    ) -> None:
        def start(place: Path) -> None:
            with subprocess.Popen(["sleep", "100"]) as sleeping:
                (place / f"{sleeping.pid}.began").touch()
                (place / f"{os.getpid()}.began").touch()
                _ = sleeping.wait()

        running = processes.submit(attempt(start, tmp_path))
        await until(lambda: len(began(tmp_path)) == 2)
        running.cancel()
        assert running.called
        assert isinstance(await error_of(running), CancelledError)

        await until(lambda: not any(map(lives, began(tmp_path))))

    @pytest_twisted.ensureDeferred
    async def test_lets_the_step_clean_up(self, processes: ProcessExecutor, attempt: MakeAttempt, tmp_path: Path) -> None:
        def work(place: Path) -> None:
            try:
                _ = work_until(place)
            finally:
                (place / "cleaned up").touch()

        running = processes.submit(attempt(work, tmp_path))
        await until(lambda: bool(began(tmp_path)))
        running.cancel()
        assert isinstance(await error_of(running), CancelledError)

        await until((tmp_path / "cleaned up").exists)

    @pytest_twisted.ensureDeferred
    async def test_kills_a_step_that_does_not_end(self, processes: ProcessExecutor, attempt: MakeAttempt, tmp_path: Path) -> None:
        def work(place: Path) -> None:
            while True:
                try:
                    _ = work_until(place)
                except BaseException:  # noqa: BLE001  that is what the test is about
                    pass

        running = processes.submit(attempt(work, tmp_path))
        await until(lambda: bool(began(tmp_path)))
        (pid,) = began(tmp_path)
        running.cancel()
        assert isinstance(await error_of(running), CancelledError)
        assert lives(pid)

        await processes.stop()
        assert not lives(pid)


class TestWhatTravels:
    @pytest_twisted.ensureDeferred
    async def test_large_arguments_and_results_up_to_the_limit(self, processes: ProcessExecutor, attempt: MakeAttempt) -> None:
        text = "x" * 1_000_000

        assert await processes.submit(attempt(str.upper, text)) == text.upper()
        error = await error_of(processes.submit(attempt(len, text + text)))
        assert isinstance(error, FlowDefinitionError)
        assert "at most 1048576" in str(error)
        error = await error_of(processes.submit(attempt(lambda: text * 2)))
        assert isinstance(error, FlowDefinitionError | ResultNotStorable)
        error = await error_of(processes.submit(attempt(lambda: "x" * 2_000_000)))
        assert type(error) is ResultNotStorable
        assert "result is 2000002 bytes as JSON" in str(error)

    @pytest_twisted.ensureDeferred
    async def test_what_has_no_form_in_json_is_an_error_that_says_where(
        self, processes: ProcessExecutor, attempt: MakeAttempt
    ) -> None:
        error = await error_of(processes.submit(attempt(lambda: {"a": [1, {2}]})))

        assert type(error) is ResultNotStorable
        assert "result['a'][1] is a set" in str(error)

    @pytest_twisted.ensureDeferred
    async def test_what_cannot_be_pickled_is_named(self, processes: ProcessExecutor, attempt: MakeAttempt) -> None:
        lock = threading.Lock()

        def use() -> bool:
            return lock.locked()

        for made, name in (
            (attempt(use), "its function TestWhatTravels"),
            (attempt(print, 1, lock), "argument 1 of its function"),
            (attempt(print, file=lock), "argument 'file' of its function"),
        ):
            error = await error_of(processes.submit(made))
            assert type(error) is FlowDefinitionError
            assert f"step 's': {name}" in str(error)
            assert "cannot pickle '_thread.lock' object" in str(error)
            assert "executor='thread'" in str(error)

    @pytest_twisted.ensureDeferred
    async def test_an_exception_of_the_programs_own_is_of_the_same_class(
        self, processes: ProcessExecutor, attempt: MakeAttempt
    ) -> None:
        class Broken(Exception):
            pass

        def work() -> None:
            raise Broken("by value", 3)

        error = await error_of(processes.submit(attempt(work)))

        assert type(error) is Broken
        assert error.args == ("by value", 3)
        assert "in work\n" in str(error.__cause__)

    @pytest_twisted.ensureDeferred
    async def test_an_exception_that_cannot_travel_comes_as_text(self, processes: ProcessExecutor, attempt: MakeAttempt) -> None:
        class Particular(Exception):
            def __init__(self, place: str, problem: str) -> None:
                super().__init__(f"{place}: {problem}")

        class Locked(Exception):
            def __init__(self) -> None:
                super().__init__("locked")
                self.lock = threading.Lock()

        class Mute(Exception):
            def __str__(self) -> str:
                raise ValueError

            __repr__ = __str__

        def work(make: Callable[[], Exception]) -> None:
            raise make()

        for make, text in ((lambda: Particular("here", "bad"), "Particular: here: bad"), (Locked, "Locked: locked")):
            error = await error_of(processes.submit(attempt(work, make)))
            assert type(error) is StepFailed
            assert text in str(error)
            assert "in work\n" in str(error.__cause__)
        # What has no text at all does not stop the worker either.
        assert isinstance(await error_of(processes.submit(attempt(work, Mute))), Exception)

    @pytest_twisted.ensureDeferred
    async def test_nobody_asks_about_a_result_that_is_discarded(self, processes: ProcessExecutor) -> None:
        made = Attempt("run", "s", "7", 0, 1, lambda: {1}, (), {}, discard=True)

        assert await processes.submit(made) is None

    @pytest_twisted.ensureDeferred
    async def test_without_cloudpickle_the_extra_is_named(
        self, processes: ProcessExecutor, attempt: MakeAttempt, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "cloudpickle", None)

        error = await error_of(processes.submit(attempt(int)))
        assert type(error) is MissingExtra
        assert "twisted_evproc[flow]" in str(error)


class TestStop:
    @pytest_twisted.ensureDeferred
    async def test_leaves_nothing_behind(self, processes: ProcessExecutor, attempt: MakeAttempt, tmp_path: Path) -> None:
        def left() -> list[Any]:
            return [
                children(),
                sorted(os.listdir("/proc/self/fd")) if sys.platform == "linux" else None,
            ]

        def waiting() -> set[threading.Thread]:
            return {thread for thread in threading.enumerate() if thread.name.startswith("evproc worker")}

        before, others = left(), waiting()
        place = tmp_path / "temporary"
        place.mkdir()

        def work() -> list[str]:
            import tempfile

            tempfile.tempdir = str(place)
            return os.listdir(place)

        _ = await gatherResults([processes.submit(attempt(work)) for _ in range(4)])
        running = processes.submit(attempt(work_until, tmp_path))
        await until(lambda: bool(began(tmp_path)))
        assert left() != before
        await processes.stop(0.001)
        assert isinstance(await error_of(running), CancelledError)

        await until(lambda: not waiting() - others)  # a thread is there a moment longer than its last call
        assert left() == before
        assert not list(place.iterdir())

    @pytest_twisted.ensureDeferred
    async def test_while_workers_start(self, processes: ProcessExecutor, attempt: MakeAttempt) -> None:
        before = children()
        waiting = [processes.submit(attempt(int)) for _ in range(3)]
        assert len(children()) == len(before) + 4
        await processes.stop()

        assert [type(await error_of(deferred)) for deferred in waiting] == [CancelledError] * 3
        assert children() == before


class TestConfiguration:
    @pytest.mark.parametrize("options", [{"size": 0}, {"size": True}, {"grace": 0}, {"grace": None}, {"max_bytes": 0}])
    def test_refuses_what_makes_no_sense(self, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match=next(iter(options)).replace("max_bytes", "size")):
            _ = ProcessExecutor(**options)

    def test_refuses_a_reactor_that_cannot_watch_descriptors(self) -> None:
        with pytest.raises(ConfigurationError, match="needs a reactor that watches descriptors"):
            _ = ProcessExecutor(reactor=Clock()).start()


class TestPrograms:
    """Programs as users write them, in processes of their own."""

    @staticmethod
    def start(place: Path, text: str) -> subprocess.Popen[str]:
        program = place / "program.py"
        _ = program.write_text(dedent(text))
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        return subprocess.Popen(
            [sys.executable, str(program)],
            env=environment,
            cwd=place,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.PIPE,
            text=True,
        )

    def test_without_a_main_guard_functions_of_their_own_work_and_print(self, tmp_path: Path) -> None:
        _ = (tmp_path / "beside.py").write_text("def double(number):\n    return 2 * number\n")
        program = self.start(
            tmp_path,
            """
            import os, signal
            import beside
            from twisted_evproc import flow

            class Odd(Exception):
                pass

            FACTOR = 3

            def helper(number):
                return beside.double(number) * FACTOR

            def work(number):
                print("printed", flow.current_step().name)
                return helper(number)

            def fail():
                raise Odd("very")

            def die():
                os.kill(os.getpid(), signal.SIGKILL)  # what was printed before is not lost with it

            ev = flow.Eventor(name="p", store=":memory:", executor="process")
            begin = ev.add_event("begin")
            failed = ev.add_event("failed")
            worked = ev.add_step("works", work, (7,))
            triggers = {flow.StepStatus.failure: failed}
            ev.add_assoc(begin, worked)
            for name, function in ("fails", fail), ("dies", die):
                ev.add_assoc(begin, ev.add_step(name, function, triggers=triggers))
            ev.trigger_event(begin, 1)
            result = ev()
            print("result", ev.result(worked, 1), *sorted(failure.error[:9] for failure in result.failures))
            """,
        )
        out, err = program.communicate(timeout=60)

        assert program.returncode == 0, err
        assert out.splitlines() == ["printed works", "result 42 Odd: very StepDied:"]

    @pytest.mark.parametrize("stuck", ["time.sleep(100)", "re.match('(a+)+$', 'a' * 60 + 'b')"], ids=["asleep", "in C code"])
    def test_that_are_killed_take_workers_and_what_these_started_with_them(self, tmp_path: Path, stuck: str) -> None:
        program = self.start(
            tmp_path,
            f"""
            import os, re, subprocess, time
            from twisted.internet import reactor
            from twisted_evproc.flow import Attempt
            from twisted_evproc.flow.executors import ProcessExecutor

            def work():
                print(os.getpid(), subprocess.Popen(["sleep", "100"]).pid, flush=True)
                {stuck}

            executor = ProcessExecutor(2)
            reactor.callWhenRunning(lambda: executor.submit(Attempt("r", "s", "1", 0, 1, work, (), {{}})))
            reactor.run()
            """,
        )
        assert program.stdout is not None
        pids = list(map(int, program.stdout.readline().split()))
        assert len(pids) == 2 and all(map(lives, pids))
        program.kill()
        # Standard output is open in all of them; it ends when the last has ended.
        _ = program.communicate(timeout=60)

        assert not any(map(lives, pids))

    def test_that_are_killed_while_workers_start_leave_none(self, tmp_path: Path) -> None:
        for _ in range(3):
            program = self.start(
                tmp_path,
                """
                import os, signal
                from twisted.internet import reactor
                from twisted_evproc.flow import Attempt
                from twisted_evproc.flow.executors import ProcessExecutor
                executor = ProcessExecutor(2)
                for _ in range(2):
                    executor.submit(Attempt("r", "s", "1", 0, 1, print, (), {}))
                print("started", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
                """,
            )
            # Both processes have standard output: it would not end while one of them is there.
            out, err = program.communicate(timeout=60)
            assert (out, err) == ("started\n", "")
