"""Events that were seen, kept in a database, so that a second delivery is not handled again."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..._options import checked_clock, seconds
from ..._reactor import default_clock
from ...errors import ConfigurationError
from ...interfaces import IDeduplicator

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorFromThreads, IReactorTime

    from ._seen_table import Key

_LOG = Logger(namespace="twisted_evproc.flow.store")

#: The most that one transaction writes.
_GROUP = 1_000
# For so many that are written, twice as many that are too old may go: old ones never outgrow the new.
_WRITTEN_BEFORE_PURGE = 500
_ID_CHARACTERS = 512
# With the ID it has to fit into an entry of an index of PostgreSQL, 2 704 bytes at most.
_SCOPE_BYTES = 512


class _Lane:
    """
    Questions that wait for one transaction after the other: those that come while one is under way share the next.

    :param run: begins a transaction over keys in order; fires with those that are known then.
    """

    def __init__(self, run: Callable[[list[Key]], Deferred[Collection[Key]]]) -> None:
        self._run = run
        self._waiting: dict[Key, list[tuple[Deferred[Any], bool]]] = {}
        self._under_way: list[dict[Key, list[tuple[Deferred[Any], bool]]]] = []

    def add(self, key: Key, *, asks: bool) -> Deferred[Any]:
        """
        Take a key into the next transaction, or into one that has it already.

        :param asks: whether to fire with the answer, or with ``None``.
        """
        done: Deferred[Any] = Deferred()
        group = next((group for group in self._under_way if key in group), self._waiting)
        group.setdefault(key, []).append((done, asks))
        if not self._under_way:
            self._begin()
        return done

    def __contains__(self, key: Key) -> bool:
        return key in self._waiting or any(key in group for group in self._under_way)

    def flush(self) -> None:
        """Begin with all that waits."""
        while self._waiting:
            self._begin()

    def _begin(self) -> None:
        keys = sorted(islice(self._waiting, _GROUP))
        group = {key: self._waiting.pop(key) for key in keys}
        self._under_way.append(group)
        # It ends there: failures go to those who asked.
        _ = self._run(keys).addBoth(self._ended, group)

    def _ended(self, result: Any, group: dict[Key, list[tuple[Deferred[Any], bool]]]) -> None:
        # By identity: groups of the same keys may be equal.
        self._under_way = [other for other in self._under_way if other is not group]
        if self._waiting and not self._under_way:
            self._begin()
        for key, questions in group.items():
            for done, asks in questions:
                done.callback(result if isinstance(result, Failure) else key in result if asks else None)


@implementer(IDeduplicator)
class SeenEvents:
    """
    IDs of events that were handled, in a table that outlives the process.

    One table serves any number of scopes.  In PostgreSQL any number of processes share it, and it may stand beside a flow's
    store, in the same database.  In SQLite processes on the same machine may share its file, but the file is its own: that of a
    flow's store is refused with :class:`~twisted_evproc.errors.StoreUnusable`, and an engine refuses this one, since an engine
    counts on being the only one that writes into its file.

    While the database cannot be written (locked, disk full, connection lost), questions and answers wait and are tried again,
    with back-off; :attr:`state` says why.  What is kept in memory is what callers wait for.  Methods are called on the reactor's
    thread and block nobody; cancelling a Deferred takes nothing back.

    :ivar url: as it was given, without a password.
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        *,
        keep: float | None = 604_800.0,
        clock: IReactorTime | None = None,
        reactor: IReactorFromThreads | None = None,
    ) -> None:
        """
        :param url: ``:memory:``, the path of an SQLite file, ``sqlite:///path`` or ``postgresql://user:password@host/database``.
        :param keep: seconds for which an ID counts as seen, by default a week; what is older is removed, some at a time, as new
            ones come.  ``None``: for ever, and nothing is removed.
        :param clock: whose ``seconds()`` are compared; ``None`` takes the database's time, which all processes share.
        :param reactor: on whose thread results arrive; ``None`` takes the global one.
        :raises twisted_evproc.errors.ConfigurationError: for a URL of something else, or a ``keep`` that is no time.
        :raises twisted_evproc.errors.MissingExtra: when the database's library is not installed.
        """
        from ._place import database

        keep = seconds(keep, "keep")
        self._clock: IReactorTime | None = checked_clock(clock, "clock")
        # What is not installed is said here, before a module is imported that needs it.
        place = database(url)
        self.url = place.name
        from ._seen_table import SLICE, SeenTable
        from ._thread import DatabaseThread

        self._table = SeenTable(place, keep)
        self._slice = SLICE
        self._thread = DatabaseThread(place, reactor if reactor is not None else cast("IReactorFromThreads", default_clock(None)))
        self._lookups = _Lane(lambda keys: self._transaction(self._table.known, keys))
        self._remembers = _Lane(self._write)
        self._purges = keep is not None
        self._purging = False
        self._written = 0
        self._open = False

    def __repr__(self) -> str:
        return f"<SeenEvents {self.url}: {self.state}>"

    @property
    def state(self) -> str:
        """``open``, ``closed``, or why the database is waited for at present, in words."""
        return self._thread.state

    def watch_state(self, listener: Callable[[str], object]) -> None:
        """Let a function hear of each new :attr:`state`."""
        self._thread.watch_state(listener)

    def open(self) -> Deferred[None]:
        """
        Open the database, and make the table where it is not there.  After :meth:`close` it can be opened again.

        :return: fires once it can be used.  Fails with :class:`~twisted_evproc.errors.StoreTooNew` when a newer version made the
            table, with :class:`~twisted_evproc.errors.StoreUnusable` for what else is in the way.
        """
        return self._thread.open().addCallback(self._opened)

    def _opened(self, _: None) -> None:
        self._open = True
        self._purge()

    def seen(self, scope: str, event_id: str) -> Deferred[bool]:
        """
        Whether an event was remembered, by whichever process, and not more than ``keep`` seconds ago.

        :param scope: see :meth:`remember`.
        :return: waits for a :meth:`remember` of the same event that is under way, and is ``True`` then.  Fails with
            :class:`~twisted_evproc.errors.StoreUnusable` when this is closed, or for what waiting does not mend, and with
            :class:`~twisted_evproc.errors.ConfigurationError` for what is no scope or ID.
        """
        try:
            key = _key(scope, event_id)
        except ConfigurationError:
            return fail()
        return (self._remembers if key in self._remembers else self._lookups).add(key, asks=True)

    def remember(self, scope: str, event_id: str) -> Deferred[None]:
        """
        Remember an event.  One that is there already counts from now on anew.

        Calls that come while a transaction is under way share the next.

        :param scope: within which IDs are one event: exchange and group; up to 512 bytes in UTF-8.
        :param event_id: up to 512 characters.
        :return: fires once it would survive the loss of power; fails as that of :meth:`seen`.
        """
        try:
            key = _key(scope, event_id)
        except ConfigurationError:
            return fail()
        return self._remembers.add(key, asks=False)

    def close(self) -> Deferred[None]:
        """
        Finish what was asked for and let go of the database.

        What waits for the database is tried once more, and fails with :class:`~twisted_evproc.errors.StoreUnusable` where it
        still cannot.
        """
        self._open = False
        self._lookups.flush()
        self._remembers.flush()
        return self._thread.close()

    def _transaction(self, work: Callable[[Any, float | None], Any], keys: list[Key]) -> Deferred[Collection[Key]]:
        now = self._now()
        return self._thread.call(lambda _: work(keys, now))

    def _now(self) -> float | None:
        return None if self._clock is None else self._clock.seconds()

    def _write(self, keys: list[Key]) -> Deferred[Collection[Key]]:
        done = self._transaction(self._table.remember, keys)
        self._written += len(keys)
        if self._written >= _WRITTEN_BEFORE_PURGE:
            self._purge()
        return done

    def _purge(self) -> None:
        if self._purging or not self._purges or not self._open:
            return
        self._purging = True
        self._written = 0
        now = self._now()
        # Behind the transaction that was put last; what comes meanwhile takes its turn between two slices.
        _ = self._thread.call(lambda _: self._table.purge(now)).addCallbacks(self._purged, self._purge_failed)

    def _purged(self, count: int) -> None:
        self._purging = False
        if count >= self._slice:
            self._purge()

    def _purge_failed(self, failure: Failure) -> None:
        # They are tried again as new ones come.
        self._purging = False
        if self._open:
            _LOG.failure("{seen} could not remove what is too old", failure, seen=self)


def _key(scope: Any, event_id: Any) -> Key:
    if _size(scope) > _SCOPE_BYTES:
        raise ConfigurationError(f"scope={scope!r:.100} has to be text of {_SCOPE_BYTES} bytes at most; shorten it")
    if not isinstance(event_id, str) or len(event_id) > _ID_CHARACTERS or _size(event_id) == _NO_TEXT:
        raise ConfigurationError(
            f"event_id={event_id!r:.100} has to be text of {_ID_CHARACTERS} characters at most, without NUL and lone surrogates; "
            f"give events shorter IDs"
        )
    return scope, event_id


_NO_TEXT = 1 << 62


def _size(value: Any) -> int:
    """Of text, in bytes; :data:`_NO_TEXT` for what no database takes as such."""
    if not isinstance(value, str) or "\0" in value:
        return _NO_TEXT
    try:
        return len(value.encode())
    except UnicodeEncodeError:
        return _NO_TEXT
