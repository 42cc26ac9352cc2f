"""The store as the engine sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import uuid4

from twisted.internet.defer import Deferred
from zope.interface import implementer

from ...interfaces import IFlowStore
from . import _runs
from ._thread import DatabaseThread
from ._writer import Commit

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorFromThreads

    from .._rows import Batch, RunRow, Snapshot
    from ._database import Database


def _new_id() -> str:
    return uuid4().hex


@implementer(IFlowStore)
class FlowStore:
    """
    Keeps runs in a database, with a thread of its own.

    :param database: where they are kept.
    :param reactor: on whose thread all results arrive.
    :param new_id: makes IDs of runs.
    """

    def __init__(self, database: Database, reactor: IReactorFromThreads, new_id: Callable[[], str] = _new_id) -> None:
        self._thread = DatabaseThread(database, reactor)
        self._new_id = new_id

    def __repr__(self) -> str:
        return f"<FlowStore {self._thread.database.name}: {self.state}>"

    @property
    def state(self) -> str:
        """See ``IFlowStore.state``."""
        return self._thread.state

    def open(self) -> Deferred[None]:
        """See :meth:`IFlowStore.open`.  A store that was closed can be opened again."""
        return self._thread.open()

    def runs(self, name: str | None = None) -> Deferred[list[RunRow]]:
        """See :meth:`IFlowStore.runs`."""
        return self._thread.call(lambda _: _runs.listed(self._thread.database, name))

    def begin(self, name: str, run_id: str | None, owner: str) -> Deferred[Snapshot]:
        """See :meth:`IFlowStore.begin`.  Its status is ``running``, its epoch 1."""
        chosen = self._new_id() if run_id is None else run_id
        return self._thread.call(lambda unsure: _runs.begin(self._thread.database, name, chosen, owner, unsure), chosen)

    def take(self, run_id: str, owner: str) -> Deferred[Snapshot]:
        """See :meth:`IFlowStore.take`."""
        return self._thread.call(lambda _: _runs.take(self._thread.database, run_id, owner), run_id)

    def commit(self, run_id: str, epoch: int, batch: Batch) -> Deferred[None]:
        """
        See :meth:`IFlowStore.commit`.

        The batch is the store's from now on: it is read in another thread.  Cancelling the Deferred does not take it back.  Fails
        with :class:`~twisted_evproc.errors.StoreUnusable` for what waiting does not mend; then so do all further commits of the
        run, until it is taken again.
        """
        return self._thread.put(Commit(run_id, epoch, batch, Deferred()))

    def watch_state(self, listener: Callable[[str], object]) -> None:
        """See :meth:`IFlowStore.watch_state`."""
        self._thread.watch_state(listener)

    def close(self) -> Deferred[None]:
        """
        See :meth:`IFlowStore.close`.

        Commits that wait for the database are tried once more, and fail with :class:`~twisted_evproc.errors.StoreUnusable` where
        it still cannot.  Once it has fired, the thread is gone.
        """
        return self._thread.close()


__all__ = ["FlowStore"]
