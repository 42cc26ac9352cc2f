"""A flow that is killed, and continued, and killed again, until it may end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import attrs

from ..._json import decode
from ...errors import StoreError
from .._fsck import broken_invariants
from .._rows import Snapshot
from .._status import RunMode
from ..store import read_store
from ._journal import Account, Journal
from ._judge import Fault, Lived, Repeat, State, faults, repeats
from ._life import Life
from ._lives import Ending, Lives
from ._watched import Point


class Place(Protocol):
    """Where the store of a history is."""

    @property
    def url(self) -> str:
        """Path or URL of a store that is not there yet."""

    def settle(self) -> None:
        """Wait until what a killed process has handed to the database has come to its end."""


@attrs.frozen
class FilePlace:
    """
    An SQLite file.

    :ivar url: its path.
    """

    url: str

    def settle(self) -> None:
        """See :class:`Place`: all that SQLite does it does in the process itself."""


@attrs.frozen
class Kill:
    """
    One SIGKILL: at a point, or so many seconds after the flow began; without both none, and another life follows all the same.

    :ivar point: where the process kills itself, or ``None``.
    :ivar seconds: when it is killed from outside, or ``None``.
    """

    point: Point | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        if self.seconds is not None:
            return f"{1000 * self.seconds:.1f} ms"
        return "not at all" if self.point is None else str(self.point)


NO_KILL = Kill()


@attrs.frozen
class History:
    """
    What became of a flow that was killed.

    :ivar kills: the SIGKILLs that were meant for it, in order, one a life.
    :ivar killed: how many of them met it alive.
    :ivar change: what was written, or was to be, when the first met it.
    :ivar in_flight: tasks whose attempts were under way in the store's eyes when one met it.
    :ivar repeats: what was called again for that.
    :ivar faults: what must not have happened.
    :ivar folder: with the store, the journals and the logs.
    :ivar state: what the store says in the end.
    :ivar changes: of the store, in the last life.
    """

    kills: tuple[Kill, ...]
    killed: int
    change: str
    in_flight: tuple[str, ...]
    repeats: tuple[Repeat, ...]
    faults: tuple[Fault, ...]
    folder: str
    state: State
    changes: int


def history(
    lives: Lives, folder: Path, place: Place, kills: Sequence[Kill], expected: State | None, *, timeout: float
) -> History:
    """
    Run a flow, kill it, continue it, and judge what became of it.

    :param lives: of the flow.
    :param folder: for the journals and logs; it is there, and empty.
    :param place: of the store.
    :param kills: one for each life; one more life goes to its own end.
    :param expected: what the store says in the end when nobody kills the flow; ``None`` where that is not known yet.
    :param timeout: seconds that a life may take.
    """
    lived: list[Lived] = []
    found: list[Fault] = []
    change, in_flight, killed = "", [], 0
    for number, kill in enumerate([*kills, None]):
        journal = Journal(str(folder / f"life-{number}.journal"))
        mode = RunMode.continue_ if number else RunMode.restart
        life = Life(place.url, journal.path, mode, None if kill is None else kill.point)
        log = str(folder / f"life-{number}.log")
        ending = lives.live(life, log, timeout, None if kill is None else kill.seconds)
        place.settle()
        account = journal.read()
        snapshot, unread = _snapshot(place.url)
        lived.append(Lived(account, State.of(snapshot)))
        found += _bad_ending(ending, account, log)
        found += _broken(snapshot)
        if unread is not None and any(write.durable for write in account.writes.values()):
            found.append(Fault(f"the store cannot be read: {unread}"))
        if not ending.killed and kill != NO_KILL:
            break
        killed += ending.killed
        change = change or _last_change(account)
        in_flight += [str(task) for task, standing in lived[-1].state.tasks.items() if standing.status == "active"]
    if expected is not None:
        found += faults(expected, lived)
    last = lived[-1]
    return History(
        tuple(kills),
        killed,
        change,
        tuple(in_flight),
        tuple(repeats(lived)),
        tuple(found),
        str(folder),
        last.state,
        len(last.account.writes),
    )


def _snapshot(url: str) -> tuple[Snapshot | None, str | None]:
    try:
        with read_store(url) as store:
            runs = store.runs()
            return (store.load(runs[-1].run_id) if runs else None), None
    except StoreError as error:
        # It was killed before there was a store.
        return None, str(error)


def _broken(snapshot: Snapshot | None) -> list[Fault]:
    if snapshot is None or not snapshot.run.program:
        return []
    return [
        Fault(f"the store does not agree with itself: {why}") for why in broken_invariants(snapshot, decode(snapshot.run.program))
    ]


def _last_change(account: Account) -> str:
    return account.writes[max(account.writes)].what if account.writes else "nothing is written yet"


def _bad_ending(ending: Ending, account: Account, log: str) -> list[Fault]:
    found = [Fault(f"a process outlived it: {command:.80}") for command in ending.left_over]
    if ending.timed_out:
        found.append(Fault(f"it did not end in time; see {log}"))
    elif account.error is not None:
        found.append(Fault(f"it could not go on: {account.error}"))
    elif not ending.killed and account.status is None:
        found.append(Fault(f"its process ended by {f'signal {ending.signal}' if ending.signal else 'itself'}; see {log}"))
    return found


__all__ = ["NO_KILL", "FilePlace", "History", "Kill", "Place", "history"]
