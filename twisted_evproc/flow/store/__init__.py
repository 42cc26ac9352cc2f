"""
Where are runs kept, and the IDs of events that were seen?

In SQLite or PostgreSQL: one schema, one writer, one thread.  Libraries of databases are imported when a store is made.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, cast

from ..._reactor import default_clock
from ._json import decode, encode
from ._lock import this_process
from ._place import check_url
from ._seen import SeenEvents

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorFromThreads

    from ...interfaces import IFlowStore

    # For annotations: they need the libraries of databases.
    from ._reader import StoreReader as StoreReader
    from ._upkeep import StoreUpkeep as StoreUpkeep


def open_store(
    url: str | os.PathLike[str], *, durability: Literal["full", "normal"] = "full", reactor: IReactorFromThreads | None = None
) -> IFlowStore:
    """
    A store, not yet opened.

    :param url: ``:memory:``, the path of an SQLite file, ``sqlite:///path`` or ``postgresql://user:password@host/database``.
    :param durability: ``full``: what is committed survives the loss of power; ``normal``: it survives the end of the process, and
        the loss of power may take the newest of it.
    :param reactor: on whose thread results arrive; ``None`` takes the global one.
    :raises twisted_evproc.errors.ConfigurationError: for a URL of something else, or another durability.
    :raises twisted_evproc.errors.MissingExtra: when the database's library is not installed.
    """
    from ._place import database

    place = database(url, durability)
    from ._store import FlowStore

    return FlowStore(place, reactor if reactor is not None else cast("IReactorFromThreads", default_clock(None)))


def read_store(url: str | os.PathLike[str]) -> StoreReader:
    """
    What is in a store, for reading alone; blocks.  It disturbs no engine, and none need run.

    :param url: as of :func:`open_store`, but not ``:memory:``.
    :return: a context manager, open already.
    :raises twisted_evproc.errors.StoreError: when the store is not there or cannot be read.
    """
    from ._place import database

    place = database(url)
    from ._reader import StoreReader

    return StoreReader(place)


def maintain_store(url: str | os.PathLike[str]) -> StoreUpkeep:
    """
    A store whose runs are to be removed or cancelled while no engine has them; blocks.

    :param url: as of :func:`open_store`, but not ``:memory:``.
    :return: a context manager, open already.
    :raises twisted_evproc.errors.StoreError: when the store is not there, cannot be written, or an engine has it.
    """
    from ._upkeep import StoreUpkeep

    return StoreUpkeep(url)


__all__ = [
    # stores
    "check_url",
    "maintain_store",
    "open_store",
    "read_store",
    "this_process",
    # events that were seen
    "SeenEvents",
    # the values in them
    "decode",
    "encode",
]
