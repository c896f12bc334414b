"""The half of every SQLite store that knows nothing of queues: transactions.

A batch that writes is one ``BEGIN IMMEDIATE`` transaction, so that nobody else writes
between what it reads and what it writes.  A batch that only looks needs none.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, TypeVar

from ..exceptions import QueueFailed
from .base import Stale
from .layouts import prepare
from .sqlite import Watch, close_quietly, is_busy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .sqlite import Database
    from .table import Layout

R = TypeVar("R")
_inherited: list[Any] = []  # connections of a parent process: never to be closed here


class Transactions:
    """A connection to one table, opened by the first transaction.

    Args:
        database: where it is.
        table: what is used of it; created when it is missing.
    """

    def __init__(self, database: Database, table: Layout) -> None:
        self._database = database
        self._table = table
        self._watch = Watch(database)
        self._connection: sqlite3.Connection | None = None
        self._exclusive = False
        self._committing = False
        self._writes = 0  # rows written by this connection when the transaction began
        self._version = 0  # SQLite's count of what other connections committed
        self._failed = ""  # why nothing can be vouched for until this is opened again

    @property
    def connection(self) -> sqlite3.Connection | None:
        """The connection, for those who know what they do; None when it is closed."""
        return self._connection

    # -- what a subclass adds -------------------------------------------------------

    def _opened(self) -> None:
        """See what is there; in a transaction of its own."""

    def _begun(self) -> None:
        """A transaction that writes has begun."""

    def _overtaken(self) -> None:
        """Others have committed: nothing in memory can be trusted."""

    def _ending(self) -> None:
        """The transaction is about to be committed."""

    def _undone(self) -> None:
        """The transaction came to nothing."""

    def _forgotten(self) -> None:
        """This is the child of a fork: what was handed out is the parent's."""

    # -- opening and closing --------------------------------------------------------

    def open(self) -> bool:
        connection = None
        try:
            connection = self._database.connect()
            prepare(connection, self._table, self._database.path)
            self._connection, self._failed = connection, ""
            self._version = self._read_version()
            self._watch = Watch(self._database)
            self._opened()
        except BaseException as error:
            self._connection = None
            if connection is not None:
                close_quietly(connection)
            if not isinstance(error, sqlite3.Error):
                raise
            if is_busy(error):
                return False
            raise self._database.translate(error, self._table.name) from error
        return True

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            close_quietly(connection)

    def forget(self) -> None:
        if not self._database.memory:
            connection, self._connection = self._connection, None
            _inherited.append(connection)  # closing it might take the parent's locks away
        self._forgotten()

    # -- a transaction --------------------------------------------------------------

    def begin(self, exclusive: bool) -> bool:
        if self._connection is None and not self.open():
            return False
        if self._failed:
            raise QueueFailed(self._failed)
        assert self._connection is not None
        if self._connection.in_transaction:  # Ctrl-C came just behind a BEGIN
            self._connection.rollback()
        self._exclusive, self._committing = exclusive, False
        if not exclusive:
            self._watch.note()
            return True
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            version = self._read_version()
        except sqlite3.Error as error:
            if is_busy(error):
                return False
            raise self._database.translate(error, self._table.name) from error
        self._writes = self._connection.total_changes
        self._refuse_if_removed()
        if version != self._version:
            self._version = version
            self._overtaken()
        self._begun()
        return True

    def _refuse_if_removed(self) -> None:
        if not self._database.still_there():
            self._failed = (
                f"{self._database.path} was removed or replaced while it was in use: what is put "
                "would be lost; open the queue again"
            )
            assert self._connection is not None
            self._connection.rollback()
            raise QueueFailed(self._failed)

    def commit(self) -> None:
        connection = self._connection
        assert connection is not None
        self._ending()
        if not self._exclusive:
            return
        if connection.total_changes == self._writes:
            self._watch.note()  # nobody else can commit now, and this stores nothing
        self._committing = True
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._committing = False
            raise self._commit_failed(error) from error

    def _commit_failed(self, error: sqlite3.Error) -> Exception:
        ours = self._database.translate(error, self._table.name)
        if not str(error).startswith("disk I/O error"):
            return ours
        self._failed = (
            f"{self._database.path}: a commit failed ({ours}): whether it is stored cannot be "
            "known; open the queue again to see what is there"
        )
        return QueueFailed(self._failed)

    def rollback(self) -> bool:
        connection = self._connection
        if connection is None or not self._exclusive:
            self._undone()
            return False
        if self._committing and not connection.in_transaction:
            return True
        try:
            connection.rollback()
        finally:
            self._undone()
        return False

    def abandon(self) -> None:
        """Nobody queues for SQLite's lock."""

    def guard(self, function: Callable[[], R]) -> R:
        """Call ``function``; if it raises, what it wrote in this transaction is undone."""
        if not self._exclusive:
            return function()
        self._execute("SAVEPOINT one_call")
        try:
            result = function()
        except BaseException:
            self._execute("ROLLBACK TO one_call")
            self._overtaken()
            raise
        finally:
            assert self._connection is not None
            if self._connection.in_transaction:
                self._execute("RELEASE one_call")
        return result

    # -- the rest of a store --------------------------------------------------------

    def flush(self) -> None:
        """Nothing is in memory only."""

    def unsaved(self) -> bool:
        return False

    def changed(self) -> bool:
        return self._watch.changed()

    def sync(self) -> None:
        self._database.sync()

    # -- statements -----------------------------------------------------------------

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement; every one of a store's goes through here or ``_many``."""
        assert self._connection is not None
        try:
            return self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise self._meaning(error) from error

    def _many(self, statement: str, rows: Iterable[Sequence[Any]]) -> sqlite3.Cursor:
        assert self._connection is not None
        try:
            return self._connection.executemany(statement, rows)
        except sqlite3.Error as error:
            raise self._meaning(error) from error

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return every row at once: a half-read statement would hold on to a snapshot."""
        assert self._connection is not None
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._meaning(error) from error

    def _one(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """Return the first column of the only row."""
        return self._rows(statement, values)[0][0]

    def _meaning(self, error: sqlite3.Error) -> Exception:
        if not self._exclusive and is_busy(error):
            return Stale()
        return self._database.translate(error, self._table.name)

    def _refresh(self) -> None:
        """Outside a transaction: see whether others have committed."""
        if not self._exclusive:
            try:
                version = self._read_version()
            except sqlite3.Error as error:
                raise self._meaning(error) from error
            if version != self._version:
                self._version = version
                self._overtaken()

    def _read_version(self) -> int:
        assert self._connection is not None
        version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        return version
