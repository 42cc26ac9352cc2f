"""Transactions that are tried until the database takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from ...errors import FlowError, StoreUnusable

if TYPE_CHECKING:
    from ._database import Database

T = TypeVar("T")

#: State of a store whose commits do not wait.
OPEN = "open"


def back_off() -> Iterator[float]:
    """Seconds to wait before each further trial: 0.05, doubling up to 5."""
    delay = 0.05
    while True:
        yield delay
        delay = min(2 * delay, 5.0)


class Transactions:
    """
    Runs functions as transactions.

    :param database: an open one.
    :param pause: waits so many seconds; ``False`` when it was interrupted because the store is to be closed.
    :param tell: hears of each new state, in words.
    """

    def __init__(self, database: Database, pause: Callable[[float], bool], tell: Callable[[str], object]) -> None:
        self._database = database
        self._pause = pause
        self._tell = tell
        self._state = OPEN

    def run(self, work: Callable[[bool], T]) -> T:
        """
        Run a function inside a transaction, again and again while the database cannot.

        :param work: gets whether it may be there already: a failed COMMIT may have been one that was done.
        :return: what it returned.
        :raises twisted_evproc.errors.FlowError: what it raised itself; nothing is changed then.
        :raises twisted_evproc.errors.StoreUnusable: for any other error that stays, or when the store is closed while this waits.
        """
        delays = back_off()
        unsure = False
        patient = True
        while True:
            in_commit = False
            in_opening = self._database.lost
            try:
                if in_opening:
                    self._database.reopen()
                    in_opening = False
                self._database.begin()
                result = work(unsure)
                in_commit = True
                self._database.commit()
            except Exception as error:  # whatever it is, the transaction ends, and its owner hears of it
                unsure |= in_commit
                self._undo(in_commit or in_opening)
                reason = self._database.reason_to_wait(error)
                if reason is None:
                    raise self._final(error) from error
                self._enter(f"commits wait: {reason}")
                if not patient:
                    raise StoreUnusable(self._database.name, f"it was closed while commits waited: {reason}.") from error
                # Once interrupted, one more trial: the cause may be gone since the last.
                patient = self._pause(next(delays))
            else:
                self._enter(OPEN)
                return result

    def _undo(self, in_doubt: bool) -> None:
        """
        Get rid of the transaction.

        :param in_doubt: whether the connection goes with it.  After a failed COMMIT a rollback says nothing about what is on the
            disk: only a new connection shows that.  One that was opened by halves lacks its settings.
        """
        try:
            if in_doubt:
                self._database.abandon()
            elif not self._database.lost:
                self._database.rollback()
        except self._database.error:
            self._database.abandon()

    def _final(self, error: Exception) -> Exception:
        # What a driver raises is not always an error of its own: Python's encoder refuses lone surrogates.
        return error if isinstance(error, FlowError) else self._database.unusable(error)

    def _enter(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self._tell(state)


__all__ = ["OPEN", "Transactions", "back_off"]
