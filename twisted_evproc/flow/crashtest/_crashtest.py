"""Kills a flow at each change of its store in turn."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from random import Random
from time import monotonic

import attrs

from ...errors import ApplicationError
from ._history import FilePlace, History, Kill, history
from ._judge import State, differences
from ._lives import Lives
from ._watched import Point, Side


@attrs.frozen
class Undisturbed:
    """
    A run that nobody has killed.

    :ivar state: what the store says in the end.
    :ivar changes: how often the store was changed.
    :ivar seconds: how long its process took.
    """

    state: State
    changes: int
    seconds: float


@attrs.frozen
class Choice:
    """
    Which crashes to try.

    :ivar max_points: no more of the points than this, evenly spread; ``None`` for all.
    :ivar random: how many SIGKILLs at random moments on top.
    :ivar seed: of the random moments.
    :ivar timeout: seconds that a life may take.
    :ivar jobs: how many to try at the same time.
    """

    max_points: int | None = None
    random: int = 0
    seed: int = 0
    timeout: float = 60.0
    jobs: int = 1


def crash_test(
    application: str,
    loader: str,
    folder: Path,
    choice: Choice,
    *,
    begins: Callable[[Undisturbed, int], object],
    tell: Callable[[History], object],
) -> None:
    """
    Kill a flow at each change of its store, continue it, and see what became of it.  Blocks.

    :param application: what the flow is built from.
    :param loader: see :class:`~._lives.Lives`.
    :param folder: for stores, journals and logs; is made.  Of crashes without a fault nothing stays.
    :param choice: which crashes.
    :param begins: hears how the flow runs when nobody kills it, and how many crashes are to be tried.
    :param tell: hears of each crash, in order.
    :raises twisted_evproc.errors.ApplicationError: when the application cannot be loaded, does not come to an end, or ends
        differently each time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        pool = ThreadPoolExecutor(choice.jobs)
        # Left early, the servers are closed first: then nobody waits for them any more.
        stack.callback(pool.shutdown, cancel_futures=True)
        servers = SimpleQueue[Lives]()
        first = stack.enter_context(Lives(application, loader))
        calm = undisturbed(first, folder, choice.timeout)
        chosen = [*_points(calm.changes, choice.max_points), *_moments(calm.seconds, choice)]
        servers.put(first)
        for _ in range(min(choice.jobs, len(chosen)) - 1):
            servers.put(stack.enter_context(Lives(application, loader)))
        begins(calm, len(chosen))

        def crash(number: int, kill: Kill) -> History:
            lives = servers.get()
            try:
                return _crash(lives, folder / f"crash-{number:04}", kill, calm.state, choice.timeout)
            finally:
                servers.put(lives)

        for found in pool.map(crash, range(1, len(chosen) + 1), chosen):
            tell(found)


def undisturbed(lives: Lives, folder: Path, timeout: float) -> Undisturbed:
    """
    How a flow runs when nobody kills it.

    :raises twisted_evproc.errors.ApplicationError: when it does not come to an end, or not always to the same.
    """
    runs, seconds = [], []
    for number in (1, 2):
        place = folder / f"undisturbed-{number}"
        place.mkdir()
        began = monotonic()
        runs.append(history(lives, place, FilePlace(str(place / "flow.db")), (), None, timeout=timeout))
        seconds.append(monotonic() - began)
        if runs[-1].faults:
            raise ApplicationError(lives.application, f"without any crash: {runs[-1].faults[0]}")
    if different := list(differences(runs[0].state, runs[1].state)):
        raise ApplicationError(
            lives.application,
            f"two runs without any crash do not end the same, so that nothing can be said of one with a crash: {different[0]}",
        )
    for run in runs:
        shutil.rmtree(run.folder)
    return Undisturbed(runs[0].state, max(run.changes for run in runs), min(seconds))


def _crash(lives: Lives, folder: Path, kill: Kill, expected: State, timeout: float) -> History:
    folder.mkdir()
    found = history(lives, folder, FilePlace(str(folder / "flow.db")), (kill,), expected, timeout=timeout)
    if not found.faults:
        shutil.rmtree(folder)
    return found


def _points(changes: int, most: int | None) -> Iterator[Kill]:
    points = [Point(number, side) for number in range(1, changes + 1) for side in Side]
    step = 1.0 if most is None or most >= len(points) else len(points) / most
    for number in range(int(len(points) / step)):
        yield Kill(points[int(number * step)])


def _moments(seconds: float, choice: Choice) -> Iterator[Kill]:
    random = Random(choice.seed)
    for _ in range(choice.random):
        yield Kill(seconds=random.uniform(0.0, seconds))


__all__ = ["Choice", "Undisturbed", "crash_test", "undisturbed"]
