"""
The way from synchronous threads into the reactor's thread.

crochet runs the reactor where nobody else does.  The waiting is our own: crochet's cannot carry a context, logs what nobody
fetched though it was only cancelled, and hangs where warnings are errors.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from functools import partial
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, TypeAlias, TypeVar, cast, overload

import crochet
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger, globalLogBeginner
from twisted.python import threadable
from twisted.python.failure import Failure

from .errors import BlockingError, BlockingTimeout, CalledFromReactor, ForkedProcess, NotSetUp

T = TypeVar("T")

_log = Logger()


class _Home:
    """
    In which process the reactor is that calls go to, and who waits for it.

    A reactor does not survive a fork: its thread stays in the parent, while its poller and the pipe that wakes it are shared, so
    that each process takes the other's wake-ups.  Nor does crochet's watch over the main thread where another thread forked.

    :ivar pid: the process that was set up, or ``None``; in a fork of one whose reactor runs, that one.
    :ivar inherited: the process in which the reactor, or crochet's watch, that we have was made; ``None`` where it is ours.
    """

    def __init__(self) -> None:
        self.pid: int | None = None
        self.inherited: int | None = None
        self.setting_up = threading.Lock()
        # Reentrant for signal handlers: they may make a call while the main thread is about to.
        self._lock = threading.RLock()
        self._stopped = False
        self._waiting: set[_Call] = set()
        self._forking_from_main = True

    def add(self, call: _Call) -> bool:
        """Somebody waits; or, as the answer says, need not, since the reactor has stopped."""
        with self._lock:
            if not self._stopped:
                self._waiting.add(call)
            return not self._stopped

    def discard(self, call: _Call) -> None:
        """Nobody waits any more."""
        with self._lock:
            self._waiting.discard(call)

    def reactor_stops(self) -> None:
        """Tell everybody who waits."""
        with self._lock:
            self._stopped = True
            for call in self._waiting:
                call.reactor_stopped()

    def before_fork(self) -> None:
        self._forking_from_main = threading.current_thread() is threading.main_thread()

    def in_child(self) -> None:
        # Another thread may have held them.
        self.setting_up, self._lock = threading.Lock(), threading.RLock()
        if self.pid is None and _reactor_runs():
            self.pid = os.getppid()
        if self.inherited is None and ("twisted.internet.reactor" in sys.modules or not self._forking_from_main):
            self.inherited = os.getppid()

    def settle(self) -> None:
        """The reactor is here; again when it begins to run, for a program that forks in between to become a daemon."""
        self.pid = os.getpid()


_home = _Home()
os.register_at_fork(before=_home.before_fork, after_in_child=_home.in_child)


def setup() -> None:
    """
    Have a reactor run that blocking calls can go to.

    Starts Twisted's reactor in a thread of its own by ``crochet.setup()``, unless it runs already, or ``crochet.no_setup()`` was
    called, which says that the program will run it.  May be called from any thread, and again.

    :raises twisted_evproc.errors.ForkedProcess: in a process whose reactor was made before it was forked.
    :raises twisted_evproc.errors.BlockingError: when the reactor has stopped already; it cannot be started twice.
    """
    shown_by = warnings.showwarning
    with _home.setting_up:
        if _home.pid == os.getpid():
            return
        if _home.pid is not None:
            raise ForkedProcess("blocking.setup()", _home.pid)
        if getattr(_reactor(), "_startedBefore", False):
            # Not public; yet without it a reactor that will never run again cannot be told from one that is about to.
            raise BlockingError("blocking.setup(): the reactor has run and stopped in this process, and cannot run again.")
        if _reactor_runs():
            if threadable.ioThread not in (thread.ident for thread in threading.enumerate()):
                # Its thread stayed in the parent, and this module was not there yet to see the fork.
                raise ForkedProcess("blocking.setup()", os.getppid())
            try:
                crochet.no_setup()
            except RuntimeError:
                pass  # crochet is set up already, by whoever runs the reactor
        elif _home.inherited is not None:
            raise ForkedProcess("blocking.setup()", _home.inherited)
        else:
            crochet.setup()
        _reactor().addSystemEventTrigger("before", "shutdown", _home.reactor_stops)
        _reactor().callWhenRunning(_home.settle)
        _reactor().callFromThread(_restore_warnings, shown_by)
        _home.settle()


def _restore_warnings(shown_by: Any) -> None:
    # crochet has begun Twisted's logging, and that takes Python's warnings too: crochet means to prevent it and no longer does.
    if threading.current_thread().name == "CrochetReactor" and warnings.showwarning == globalLogBeginner.showwarning:
        warnings.showwarning = shown_by


def _reactor() -> Any:
    # Looked up, not imported: importing it would install one.
    return sys.modules.get("twisted.internet.reactor")


def _reactor_runs() -> bool:
    return bool(getattr(_reactor(), "running", False))


@overload
def call_in_reactor(function: Callable[..., Deferred[T]], /, *args: Any, timeout: float | None = None, call: str = ...) -> T: ...
@overload
def call_in_reactor(
    function: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, timeout: float | None = None, call: str = ...
) -> T: ...
@overload
def call_in_reactor(function: Callable[..., T], /, *args: Any, timeout: float | None = None, call: str = ...) -> T: ...
def call_in_reactor(
    function: Callable[..., Any], /, *args: Any, timeout: float | None = None, call: str = "call_in_reactor()"
) -> Any:
    """
    Call a function in the reactor's thread, and wait for what it returns.

    The function, and the coroutine it may return, run in a copy of the caller's context.

    :param function: may return a value, a coroutine, or a Deferred, which becomes ours.
    :param timeout: seconds, or ``None`` for no limit.  After them, and when the waiting is interrupted (by Ctrl-C), a call whose
        turn has not come is not made, and one under way is cancelled, which is not waited for.  What it fails with then is
        logged, unless it is ``CancelledError``.
    :param call: what messages call it.
    :return: the value.  What the function raises is raised here, with its traceback.
    :raises twisted_evproc.errors.CalledFromReactor: in the reactor's thread; nothing is done then.
    :raises twisted_evproc.errors.NotSetUp: before :func:`setup`.
    :raises twisted_evproc.errors.ForkedProcess: in a process forked behind :func:`setup`.
    :raises twisted_evproc.errors.BlockingTimeout: when it takes longer than ``timeout``.
    :raises twisted_evproc.errors.BlockingError: when the reactor has stopped, or stops while this waits.  What is under way then
        is not cancelled: it has until the reactor has shut down.
    """
    _check_caller(call)
    answer = _Call(partial(function, *args), copy_context(), call).wait(timeout)
    try:
        return answer.get()
    finally:
        # An error leads to this frame by its traceback: if it were found from here, each would be garbage in a circle.
        del answer


def _check_caller(call: str) -> None:
    # The process first: in a forked one, nothing else that we could ask is true.
    if _home.pid is not None and _home.pid != os.getpid():
        raise ForkedProcess(call, _home.pid)
    if threadable.isInIOThread() and _reactor_runs():
        raise CalledFromReactor(call)
    if _home.pid is None:
        raise NotSetUp(call)


class _Value:
    """What a call has returned."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def get(self) -> Any:
        return self._value


class _Error:
    """What a call has raised, and where."""

    def __init__(self, error: BaseException, traceback: TracebackType | None) -> None:
        self._error = error
        self._traceback = traceback

    def get(self) -> Any:
        try:
            raise self._error.with_traceback(self._traceback)
        finally:
            del self  # as in call_in_reactor

    def log(self, call: str) -> None:
        if not isinstance(self._error, CancelledError):
            failure = Failure(self._error, type(self._error), self._traceback)
            _log.failure("{call} failed after nobody waited for it any more", failure=failure, call=call)


_Answer: TypeAlias = _Value | _Error


class _Call:
    """
    One call on its way.

    Made, waited for and given up in the caller's thread; begun, cancelled and ended in the reactor's.
    """

    def __init__(self, function: Callable[[], Any], context: Context, name: str) -> None:
        self._function = function
        self._context = context
        self._name = name
        self._lock = threading.Lock()
        self._given_up = False
        self._answers: SimpleQueue[_Answer | None] = SimpleQueue()
        self._deferred: Deferred[Any] | None = None

    def wait(self, timeout: float | None) -> _Answer:
        """Have it begun, and wait until it has ended."""
        answer: _Answer | None = None
        try:
            if _home.add(self):
                _reactor().callFromThread(self._begin)
                answer = self._answers.get(timeout=None if timeout is None else min(timeout, threading.TIMEOUT_MAX))
        except Empty:
            answer = self._give_up()
            if answer is None:
                raise BlockingTimeout(self._name, cast(float, timeout)) from None
        except BaseException:
            _ = self._give_up()
            raise
        finally:
            _home.discard(self)
        if answer is None:
            raise BlockingError(f"{self._name}: the reactor has stopped, so there is nobody to do it any more.")
        return answer

    def reactor_stopped(self) -> None:
        """Nobody will end it, and nobody is there to cancel it."""
        with self._lock:
            self._given_up = True
        self._answers.put(None)

    def _give_up(self) -> _Answer | None:
        # The answer, where it came in the last moment.
        with self._lock:
            self._given_up = True
        _reactor().callFromThread(self._cancel)
        return None if self._answers.empty() else self._answers.get()

    def _begin(self) -> None:
        if self._given_up:
            return
        try:
            returned = self._context.run(_made, self._function)
        except BaseException as error:  # noqa: BLE001  # whatever a handler raises, SystemExit included, is for the caller
            self._end(_Error(error, error.__traceback__ and error.__traceback__.tb_next))
            return
        if isinstance(returned, Deferred):
            self._deferred = returned
            _ = returned.addBoth(self._fired)
        else:
            self._end(_Value(returned))

    def _fired(self, result: Any) -> None:
        self._deferred = None
        self._end(_Error(cast(BaseException, result.value), result.tb) if isinstance(result, Failure) else _Value(result))

    def _end(self, answer: _Answer) -> None:
        with self._lock:
            if not self._given_up:
                self._answers.put(answer)
                return
        if isinstance(answer, _Error):
            answer.log(self._name)

    def _cancel(self) -> None:
        if self._deferred is not None:
            self._deferred.cancel()


def _made(function: Callable[[], Any]) -> Any:
    returned = function()
    return Deferred.fromCoroutine(returned) if isinstance(returned, Coroutine) else returned


__all__ = ["call_in_reactor", "setup"]
