"""What a writer, or a reader, needs of a database, and what differs between the two kinds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import StoreError, StoreUnusable
from ._schema import MIGRATIONS, Migration, bring_up_to_date

if TYPE_CHECKING:
    from sqlalchemy import Table
    from sqlalchemy.engine.default import DefaultDialect

    from ._statements import Statements

Row = tuple[Any, ...]


def _prepare(database: Database) -> None:
    bring_up_to_date(database, database.migrations)


class Database(ABC):
    """
    One connection to a database.  Belongs to the thread that opens it.

    :ivar name: for messages; without a password.
    :ivar error: what the driver raises.
    :ivar shared: whether tables of others may stand beside ours.
    :ivar migrations: how older tables become like today's.
    :ivar exclusive: whether a file is for one process alone.
    :ivar prepare: makes the tables, or brings them up to date; called with this, inside a transaction that opening begins.
    """

    name: str
    error: ClassVar[type[Exception]]
    shared: ClassVar[bool]
    dialect: DefaultDialect
    statements: Statements
    migrations: Sequence[Migration] = MIGRATIONS
    exclusive: bool = True
    prepare: Callable[[Database], None] = staticmethod(_prepare)

    @abstractmethod
    def open(self) -> None:
        """
        Lock what one engine alone may have, connect, and :attr:`prepare`.

        :raises twisted_evproc.errors.StoreError: when that cannot be; nothing is held then.
        """

    @abstractmethod
    def open_for_reading(self) -> None:
        """Connect so that nothing can be changed."""

    @abstractmethod
    def reopen(self) -> None:
        """Connect again after a failure, and take up again what was held."""

    @abstractmethod
    def abandon(self) -> None:
        """Give up the connection, in whatever state it is; :meth:`reopen` makes another."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything.  Not an error where nothing is held."""

    @property
    @abstractmethod
    def lost(self) -> bool:
        """Whether the connection is of no use any more."""

    @abstractmethod
    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows of a statement."""

    @abstractmethod
    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement that has no rows."""

    @abstractmethod
    def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each row of parameters."""

    @abstractmethod
    def upsert(self, table: Table, rows: Collection[Row]) -> None:
        """Write rows over those with the same keys; the keys in ``rows`` differ."""

    @abstractmethod
    def epochs(self, run_ids: Collection[str]) -> dict[str, int]:
        """The epochs of runs, which then stay as they are until the transaction ends."""

    @abstractmethod
    def begin(self) -> None:
        """Begin a transaction that will write."""

    @abstractmethod
    def begin_reading(self) -> None:
        """Begin a transaction in which all that is read is of one moment."""

    def commit(self) -> None:
        """End the transaction.  When it fails, the outcome is unknown."""
        self.execute("COMMIT")

    def rollback(self) -> None:
        """Undo the transaction."""
        self.execute("ROLLBACK")

    @abstractmethod
    def tables(self) -> set[str]:
        """The names of the tables that are there."""

    @abstractmethod
    def hold(self, run_id: str) -> bool:
        """
        Make the run this engine's until it is let go, or the connection ends.

        :return: ``False`` when another has it; it is then tried again with each commit of the run.
        """

    @abstractmethod
    def let_go(self, run_id: str) -> None:
        """Hold the run no more."""

    @abstractmethod
    def holder(self, run_id: str, owner: str) -> str | None:
        """
        ``host:pid`` of the living engine that has a run, or ``None``.

        :param owner: what stands in the run's row.
        """

    @abstractmethod
    def reason_to_wait(self, error: BaseException) -> str | None:
        """Why an error may be gone later, in words; ``None`` for one that stays."""

    def unusable(self, error: BaseException) -> StoreError:
        """An error as the store's callers see it."""
        return error if isinstance(error, StoreError) else StoreUnusable(self.name, f"{self.words(error)}.")

    def words(self, error: BaseException) -> str:
        """What an error says, on one line."""
        return " ".join(str(error).split()).rstrip(".") or type(error).__name__


__all__ = ["Database", "Row"]
