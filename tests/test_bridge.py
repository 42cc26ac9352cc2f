from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from textwrap import dedent
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor  # noqa: TID251  # the real one, with real threads
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.python.threadable import isInIOThread

from twisted_evproc._bridge import _Call, call_in_reactor, setup
from twisted_evproc.errors import BlockingTimeout, CalledFromReactor

who: ContextVar[str] = ContextVar("who", default="nobody")


@pytest_twisted.async_fixture(autouse=True)
async def set_up() -> None:
    # Asynchronous, so that the reactor runs already, in this thread.  The threads that wait are the tests' own.
    setup()


def raise_lookup_error() -> None:
    raise LookupError("planted")


class TestCall:
    @pytest_twisted.ensureDeferred
    async def test_gives_a_value_a_deferreds_and_a_coroutines(self) -> None:
        async def later(value: int) -> int:
            await deferLater(reactor, 0)
            return value

        def ask() -> list[int]:
            return [
                call_in_reactor(lambda value: value, 1),
                call_in_reactor(deferLater, reactor, 0, lambda: 2),
                call_in_reactor(later, 3),
            ]

        assert await deferToThread(ask) == [1, 2, 3]

    @pytest_twisted.ensureDeferred
    async def test_is_made_in_the_reactors_thread(self) -> None:
        def ask() -> tuple[bool, bool]:
            return isInIOThread(), call_in_reactor(isInIOThread)

        assert await deferToThread(ask) == (False, True)

    @pytest.mark.parametrize("suspends", [False, True])
    @pytest_twisted.ensureDeferred
    async def test_raises_errors_with_their_own_traceback(self, suspends: bool) -> None:
        async def fails() -> None:
            if suspends:
                await deferLater(reactor, 0)
            raise_lookup_error()

        def ask(function: Callable[[], Any]) -> list[str]:
            with pytest.raises(LookupError, match="planted") as caught:
                call_in_reactor(function)
            return [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]

        assert [name for name in await deferToThread(ask, fails) if name in ("ask", "fails", "raise_lookup_error")] == [
            "ask",
            "fails",
            "raise_lookup_error",
        ]
        assert (await deferToThread(ask, raise_lookup_error))[-1] == "raise_lookup_error"

    @pytest_twisted.ensureDeferred
    async def test_lets_a_handlers_exit_through_to_the_caller_alone(self) -> None:
        def leave() -> None:
            raise SystemExit(3)

        def ask() -> int:
            with pytest.raises(SystemExit, match="3"):
                call_in_reactor(leave)
            return call_in_reactor(lambda: 1)

        assert await deferToThread(ask) == 1

    def test_from_the_reactors_thread_is_refused_and_nothing_done(self) -> None:
        done: list[None] = []
        with pytest.raises(CalledFromReactor, match=r"^the call\(\) was called from the reactor's thread"):
            call_in_reactor(done.append, None, call="the call()")
        assert done == []

    @pytest_twisted.ensureDeferred
    async def test_from_inside_another_is_refused(self) -> None:
        def ask() -> None:
            with pytest.raises(CalledFromReactor):
                call_in_reactor(call_in_reactor, int)

        await deferToThread(ask)

    @pytest_twisted.ensureDeferred
    async def test_errors_are_no_garbage_in_circles(self) -> None:
        class Planted(Exception):
            pass

        async def fails() -> None:
            raise Planted

        def fails_at_once() -> None:
            raise Planted

        def ask(function: Callable[[], Any]) -> weakref.ref[Planted]:
            try:
                call_in_reactor(function)
            except Planted as error:
                return weakref.ref(error)
            raise AssertionError("did not fail")

        def ask_often() -> list[weakref.ref[Planted]]:
            # the reactor's thread has let go of the last one when it has answered the next
            errors = [ask(function) for _ in range(10) for function in (fails, fails_at_once)]
            call_in_reactor(int)
            return errors

        gc.collect()
        gc.disable()
        try:
            errors = await deferToThread(ask_often)
            assert [error() for error in errors] == [None] * 20
        finally:
            gc.enable()


class TestContext:
    @pytest_twisted.ensureDeferred
    async def test_is_the_callers_and_what_is_set_goes_with_the_call(self) -> None:
        def see_and_set() -> str:
            seen = who.get()
            who.set("leaked")
            return seen

        async def see_and_set_later() -> list[str]:
            seen = who.get()
            await deferLater(reactor, 0)
            who.set("leaked")
            return [seen, who.get()]

        def ask() -> list[Any]:
            who.set("somebody")
            return [call_in_reactor(see_and_set), call_in_reactor(see_and_set_later), call_in_reactor(see_and_set), who.get()]

        seen = await deferToThread(copy_context().run, ask)
        assert seen == ["somebody", ["somebody", "leaked"], "somebody", "somebody"]
        assert await deferToThread(lambda: copy_context().run(call_in_reactor, who.get)) == "nobody"
        assert who.get() == "nobody"

    @pytest_twisted.ensureDeferred
    async def test_each_of_many_threads_gets_its_own_answers(self) -> None:
        async def answer(number: int) -> tuple[int, str]:
            if number % 3:
                await deferLater(reactor, 0)
            if number % 7 == 0:
                raise LookupError(number)
            return number, who.get()

        def ask(thread: int) -> int:
            who.set(str(thread))
            for number in range(thread * 1000, thread * 1000 + 100):
                if number % 7:
                    assert call_in_reactor(answer, number) == (number, str(thread))
                    continue
                with pytest.raises(LookupError) as caught:
                    call_in_reactor(answer, number)
                assert caught.value.args == (number,)
                assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "answer"
            return thread

        def ask_from_32_threads() -> list[int]:
            with ThreadPoolExecutor(32) as pool:
                return list(pool.map(lambda thread: copy_context().run(ask, thread), range(32)))

        assert await deferToThread(ask_from_32_threads) == list(range(32))


class TestTimeout:
    @pytest_twisted.ensureDeferred
    async def test_cancels_and_names_call_and_seconds(self) -> None:
        cancelled: list[Deferred[None]] = []

        def ask() -> None:
            with pytest.raises(BlockingTimeout, match=r"^the call\(\) took longer than its time-out of 0.01 s") as caught:
                call_in_reactor(Deferred, cancelled.append, timeout=0.01, call="the call()")
            assert caught.value.seconds == 0.01
            assert isinstance(caught.value, TimeoutError)
            assert caught.value.__cause__ is None
            call_in_reactor(int)

        with capturedLogs() as logged:
            await deferToThread(ask)
        assert len(cancelled) == 1
        assert [event for event in logged if "log_failure" in event] == []

    @pytest_twisted.ensureDeferred
    async def test_longer_than_a_thread_can_wait_is_no_error(self) -> None:
        assert await deferToThread(lambda: call_in_reactor(int, timeout=1e300)) == 0

    @pytest_twisted.ensureDeferred
    async def test_while_the_reactor_is_held_up_the_call_is_never_made(self) -> None:
        made: list[int] = []
        held, free = threading.Event(), threading.Event()

        def hold() -> None:
            held.set()
            assert free.wait(60)

        def ask() -> None:
            assert held.wait(60)
            with pytest.raises(BlockingTimeout):
                call_in_reactor(made.append, 1, timeout=0.01)
            free.set()
            call_in_reactor(made.append, 2)

        holding = deferToThread(call_in_reactor, hold)
        await deferToThread(ask)
        await holding
        assert made == [2]

    def test_an_answer_that_comes_in_the_last_moment_counts(self) -> None:
        asked = _Call(lambda: 1, copy_context(), "the call()")
        asked._begin()
        answer = asked._give_up()
        assert answer is not None
        assert answer.get() == 1

    @pytest_twisted.ensureDeferred
    async def test_an_error_that_comes_too_late_is_logged(self) -> None:
        def fail_when_cancelled(deferred: Deferred[None]) -> None:
            deferred.errback(LookupError("planted"))

        def ask() -> None:
            with pytest.raises(BlockingTimeout):
                call_in_reactor(Deferred, fail_when_cancelled, timeout=0.01, call="the call()")
            call_in_reactor(int)

        with capturedLogs() as logged:
            await deferToThread(ask)
        assert [
            (event["log_failure"].value.args, event["call"], event["log_namespace"]) for event in logged if "log_failure" in event
        ] == [(("planted",), "the call()", "twisted_evproc._bridge")]

    @pytest_twisted.ensureDeferred
    async def test_of_a_handler_is_its_own_error(self) -> None:
        # What the bridge tells a time-out by must not be mistaken when a handler meets it.
        import crochet  # noqa: TID251  # the errors are crochet's

        def ask(error: type[Exception]) -> None:
            with pytest.raises(error):
                call_in_reactor(lambda: Failure(error()).raiseException(), timeout=60)

        for error in (crochet.TimeoutError, crochet.ReactorStopped, TimeoutError, CancelledError):
            await deferToThread(ask, error)


def start_child(source: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", dedent(source)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end_of(child: subprocess.Popen[str]) -> tuple[list[str], str, int]:
    try:
        out, err = child.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)  # with the processes that it has forked
        out, err = child.communicate()
        pytest.fail(f"the child hangs; it said {out!r} and {err!r}")
    return out.splitlines(), err, child.returncode


def run_child(source: str) -> list[str]:
    """What a program says that ends well, and without a word on standard error."""
    out, err, code = end_of(start_child(source))
    assert (err, code) == ("", 0), out
    return out


class TestSetup:
    def test_importing_starts_nothing(self) -> None:
        assert run_child("""
            import sys, threading
            import twisted_evproc._bridge
            print(threading.active_count(), "twisted.internet.reactor" in sys.modules)
        """) == ["1 False"]

    def test_before_it_a_call_says_what_is_missing(self) -> None:
        said = run_child("""
            from twisted_evproc._bridge import call_in_reactor
            from twisted_evproc.errors import NotSetUp
            try:
                call_in_reactor(print, "made", call="the call()")
            except NotSetUp as error:
                print(error)
        """)
        assert said == ["the call() needs a reactor that runs in its thread: call twisted_evproc.blocking.setup() first."]

    def test_from_many_threads_starts_one_reactor(self) -> None:
        assert run_child("""
            import threading
            from concurrent.futures import ThreadPoolExecutor
            from twisted_evproc._bridge import call_in_reactor, setup
            def ask(number):
                setup()
                return call_in_reactor(threading.get_ident)
            with ThreadPoolExecutor(8) as pool:
                print(len(set(pool.map(ask, range(64)))))
        """) == ["1"]

    def test_behind_crochets_own_shares_its_reactor(self) -> None:
        assert run_child("""
            import crochet, threading
            from twisted_evproc._bridge import call_in_reactor, setup
            crochet.setup()
            setup()
            ident = crochet.wait_for(timeout=60)(threading.get_ident)
            print(ident() == call_in_reactor(threading.get_ident))
        """) == ["True"]

    def test_leaves_streams_warnings_hooks_and_signals_alone(self) -> None:
        out, err, code = end_of(
            start_child("""
                import signal, sys, threading, warnings
                from twisted_evproc._bridge import call_in_reactor, setup
                def things():
                    signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]
                    return [sys.stdout, sys.stderr, sys.excepthook, threading.excepthook, warnings.showwarning, *signals]
                before = things()
                setup()
                call_in_reactor(int)
                print(before == things())
                warnings.warn("look out")
            """)
        )
        assert (out, code) == (["True"], 0)
        assert "UserWarning: look out" in err

    def test_takes_the_reactor_that_the_program_runs(self) -> None:
        assert run_child("""
            import threading
            from twisted.internet import reactor
            from twisted_evproc._bridge import call_in_reactor, setup
            def ask():
                setup()
                print(call_in_reactor(threading.current_thread) is threading.main_thread())
                call_in_reactor(reactor.stop)
            reactor.callWhenRunning(threading.Thread(target=ask).start)
            reactor.run()
        """) == ["True"]

    def test_takes_the_reactor_that_the_program_will_run(self) -> None:
        assert run_child("""
            import crochet, threading
            crochet.no_setup()
            from twisted_evproc._bridge import call_in_reactor, setup
            setup()
            def ask():
                print(call_in_reactor(threading.current_thread) is threading.main_thread())
                call_in_reactor(reactor.stop)
            threading.Thread(target=ask).start()
            from twisted.internet import reactor
            reactor.run()
        """) == ["True"]

    def test_takes_a_reactor_that_was_made_before_the_program_became_a_daemon(self) -> None:
        assert run_child("""
            import crochet, os, threading
            crochet.no_setup()
            from twisted.internet import reactor
            from twisted_evproc._bridge import call_in_reactor, setup
            setup()
            child = os.fork()
            if child:
                os._exit(os.waitpid(child, 0)[1])
            def ask():
                setup()
                print(call_in_reactor(os.getpid) == os.getpid(), flush=True)
                call_in_reactor(reactor.stop)
            reactor.callWhenRunning(threading.Thread(target=ask).start)
            reactor.run()
        """) == ["True"]

    def test_behind_a_reactor_that_has_stopped_is_an_error(self) -> None:
        assert run_child("""
            from twisted.internet import reactor
            from twisted_evproc._bridge import setup
            from twisted_evproc.errors import BlockingError
            reactor.callWhenRunning(reactor.stop)
            reactor.run()
            try:
                setup()
            except BlockingError as error:
                print(error)
        """) == ["blocking.setup(): the reactor has run and stopped in this process, and cannot run again."]


class TestReactorStops:
    def test_who_waits_and_who_comes_later_are_told(self) -> None:
        said = run_child("""
            from concurrent.futures import ThreadPoolExecutor
            from twisted.internet.defer import Deferred
            from twisted_evproc._bridge import call_in_reactor, setup
            from twisted_evproc.errors import BlockingError
            setup()
            from twisted.internet import reactor
            def wait():
                return Deferred(lambda _: print("cancelled"))
            def stop():
                waiting = wait()
                reactor.callLater(0, reactor.stop)
                return waiting
            for _ in range(2):
                try:
                    call_in_reactor(stop, call="the call()")
                except BlockingError as error:
                    print(type(error).__name__, error, error.__cause__)
            setup()
        """)
        assert said == ["BlockingError the call(): the reactor has stopped, so there is nobody to do it any more. None"] * 2


class TestFork:
    FORK = """
        import os, threading
        from twisted_evproc._bridge import call_in_reactor, setup
        from twisted_evproc.errors import BlockingError

        def say(words):
            os.write(1, f"{words}\\n".encode())  # a line in one piece: print() writes its end apart when nothing is buffered

        def in_child(function):
            child = os.fork()
            if child == 0:
                try:
                    function()
                except BlockingError as error:
                    parent = getattr(error, "parent", None) == os.getppid()
                    say(type(error).__name__ + (" of the parent" if parent else ""))
                finally:
                    os._exit(0)
            return child

        def ask():
            say(call_in_reactor(os.getpid) == os.getpid())

        def set_up_and_ask():
            setup()
            ask()
    """

    def run_forking(self, source: str) -> list[str]:
        return run_child(dedent(self.FORK) + dedent(source))

    def test_behind_setup_a_call_fails_at_once_and_the_parents_goes_on(self) -> None:
        assert self.run_forking("""
            setup()
            os.waitpid(in_child(ask), 0)
            ask()
        """) == ["ForkedProcess of the parent", "True"]

    def test_behind_setup_another_setup_is_refused(self) -> None:
        assert self.run_forking("""
            setup()
            os.waitpid(in_child(set_up_and_ask), 0)
            ask()
        """) == ["ForkedProcess of the parent", "True"]

    def test_before_setup_each_process_has_a_reactor_of_its_own(self) -> None:
        assert (
            self.run_forking("""
            children = [in_child(set_up_and_ask) for _ in range(2)]
            set_up_and_ask()
            for child in children:
                os.waitpid(child, 0)
        """)
            == ["True"] * 3
        )

    def test_behind_an_import_of_the_reactor_it_is_not_shared(self) -> None:
        assert self.run_forking("""
            import twisted.internet.reactor
            os.waitpid(in_child(ask), 0)
            os.waitpid(in_child(set_up_and_ask), 0)
            set_up_and_ask()
        """) == ["NotSetUp", "ForkedProcess of the parent", "True"]

    RUNNING = """
        import os, sys, threading
        from twisted.internet import reactor
        def fork():
            if os.fork() == 0:
                try:
                    from twisted_evproc._bridge import call_in_reactor, setup
                    from twisted_evproc.errors import BlockingError
                    for function in (lambda: call_in_reactor(int), setup):
                        try:
                            function()
                        except BlockingError as error:
                            print(type(error).__name__, flush=True)
                finally:
                    os._exit(0)
            os.wait()
            reactor.callFromThread(reactor.stop)
        reactor.callWhenRunning(FORK)
        reactor.run()
    """

    @pytest.mark.parametrize("where", ["fork", "threading.Thread(target=fork).start"])
    def test_of_a_program_whose_reactor_runs_is_noticed(self, where: str) -> None:
        assert run_child("import twisted_evproc._bridge" + dedent(self.RUNNING).replace("FORK", where)) == ["ForkedProcess"] * 2

    def test_of_a_program_whose_reactor_runs_is_noticed_later_too(self) -> None:
        assert run_child("""
            import os, threading
            from twisted.internet import reactor
            running = threading.Event()
            reactor.callWhenRunning(running.set)
            threading.Thread(target=reactor.run, args=(False,)).start()
            running.wait()
            if os.fork() == 0:
                try:
                    from twisted_evproc._bridge import setup
                    from twisted_evproc.errors import ForkedProcess
                    try:
                        setup()
                    except ForkedProcess as error:
                        print(error.parent == os.getppid(), flush=True)
                finally:
                    os._exit(0)
            os.wait()
            reactor.callFromThread(reactor.stop)
        """) == ["True"]

    def test_while_another_thread_is_at_it_leaves_no_lock_behind(self) -> None:
        assert self.run_forking("""
            from twisted_evproc._bridge import _home
            for lock in (_home.setting_up, _home._lock):
                holding = threading.Thread(target=lock.acquire)
                holding.start()
                holding.join()
            os.waitpid(in_child(set_up_and_ask), 0)
        """) == ["True"]

    def test_from_a_thread_setup_is_refused(self) -> None:
        # crochet's watch would take the end of the thread that was the parent's main one for that of the program.
        assert self.run_forking("""
            def fork():
                os.waitpid(in_child(set_up_and_ask), 0)
            forking = threading.Thread(target=fork)
            forking.start()
            forking.join()
            set_up_and_ask()
        """) == ["ForkedProcess of the parent", "True"]


@pytest.fixture
def waiting_child() -> Iterator[subprocess.Popen[str]]:
    child = start_child("""
        import sys
        from twisted.internet.defer import Deferred
        from twisted_evproc._bridge import call_in_reactor, setup
        def wait():
            print("waiting", flush=True)
            return Deferred(lambda _: print("cancelled", flush=True))
        setup()
        try:
            call_in_reactor(wait)
        except KeyboardInterrupt:
            print("interrupted", call_in_reactor(int))
            sys.exit(7)
    """)
    yield child
    if child.poll() is None:
        child.kill()
        child.communicate()


class TestInterrupt:
    def test_a_signal_handler_may_call_too(self) -> None:
        assert run_child("""
            import os, signal
            from twisted.internet.defer import Deferred
            from twisted_evproc._bridge import call_in_reactor, setup
            setup()
            waiting = Deferred()
            def give_signal():
                os.kill(os.getpid(), signal.SIGUSR1)
                return waiting
            signal.signal(signal.SIGUSR1, lambda *_: call_in_reactor(waiting.callback, "called back"))
            print(call_in_reactor(give_signal))
        """) == ["called back"]

    def test_a_signal_handler_may_call_while_a_call_is_on_its_way(self) -> None:
        assert run_child("""
            from twisted_evproc._bridge import _home, call_in_reactor, setup
            setup()
            with _home._lock:  # as where the signal came in the middle of it
                print(call_in_reactor(int))
        """) == ["0"]

    @pytest.mark.skipif(os.name != "posix", reason="sends a signal")
    def test_cancels_and_passes_on(self, waiting_child: subprocess.Popen[str]) -> None:
        assert waiting_child.stdout is not None
        assert waiting_child.stdout.readline() == "waiting\n"
        waiting_child.send_signal(signal.SIGINT)
        out, err, code = end_of(waiting_child)
        assert (out, err, code) == (["cancelled", "interrupted 0"], "", 7)
