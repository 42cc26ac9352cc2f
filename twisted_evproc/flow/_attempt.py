"""One attempt at a task, as executors get it, and what its function can know of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import attrs


@attrs.frozen(eq=False)
class Attempt:
    """
    One attempt at a task.

    :ivar run_id: the run.
    :ivar step: name of the step.
    :ivar sequence: its sequence.
    :ivar recovery: number of the recovery, 0 for the first run.
    :ivar number: counted from 1 within the recovery.
    :ivar func: what to call; may be ``async def``.
    :ivar args: its arguments.
    :ivar kwargs: its keyword arguments.
    :ivar alone: whether the flow runs one step at a time, so that the environment of the process can speak of it.
    :ivar host: where it is to run, or ``None``.
    :ivar discard: whether nobody wants the result.
    :ivar waiting: hears whether it waits for its turn, see :meth:`waits`; ``None`` where nobody counts the time.
    """

    run_id: str
    step: str
    sequence: str
    recovery: int
    number: int
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    alone: bool = False
    host: str | None = None
    discard: bool = False
    waiting: Callable[[bool], object] | None = None

    def waits(self) -> None:
        """
        For executors: the attempt waits for its turn, until :meth:`begins`; the step's time-out does not count so long.

        On the reactor's thread, before ``submit`` or ``adopt`` returns: an attempt that is not said to wait counts as one that
        has begun.
        """
        if self.waiting is not None:
            _ = self.waiting(True)

    def begins(self) -> None:
        """For executors: an attempt that waited is about to run.  On the reactor's thread."""
        if self.waiting is not None:
            _ = self.waiting(False)

    @property
    def attempt_id(self) -> str:
        """Unique for each attempt."""
        return f"{self.run_id}/{self.step}/{self.sequence}/{self.recovery}/{self.number}"

    @property
    def idempotency_key(self) -> str:
        """The same for all attempts at what is to be done once: outside services can tell repetitions by it."""
        return f"{self.run_id}/{self.step}/{self.sequence}"

    @property
    def environment(self) -> dict[str, str]:
        """What the environment of a step says of it."""
        return {
            "EVENTOR_STEP_NAME": self.step,
            "EVENTOR_STEP_SEQUENCE": self.sequence,
            "EVENTOR_STEP_RECOVERY": str(self.recovery),
        }


@attrs.frozen
class CurrentStep:
    """
    What a step's function can know of the attempt it is in.

    :ivar name: of the step.
    :ivar sequence: its sequence.
    :ivar recovery: number of the recovery.
    :ivar attempt: counted from 1.
    :ivar idempotency_key: the same for all attempts at this task, also after a crash.
    """

    name: str
    sequence: str
    recovery: int
    attempt: int
    idempotency_key: str


# An attempt in place of what is known of it is made into that by whoever asks: few do.
_known: ContextVar[CurrentStep | Attempt | None] = ContextVar("twisted_evproc_current_step", default=None)


def current_step() -> CurrentStep:
    """
    The step whose function we are in.

    :raises LookupError: outside of any.
    """
    known = _known.get()
    if known is None:
        raise LookupError("current_step() is for the functions of steps, while a flow runs them")
    return known if isinstance(known, CurrentStep) else knowledge_of(known)


def knowledge_of(attempt: Attempt) -> CurrentStep:
    """What the function of an attempt may know."""
    return CurrentStep(attempt.step, attempt.sequence, attempt.recovery, attempt.number, attempt.idempotency_key)


def stay_inside(attempt: Attempt) -> None:
    """Let :func:`current_step` tell of an attempt in all that runs in the present context."""
    _ = _known.set(attempt)


@contextmanager
def inside(step: CurrentStep) -> Iterator[None]:
    """Let :func:`current_step` tell of a step in a ``with`` block."""
    token = _known.set(step)
    try:
        yield
    finally:
        _known.reset(token)
