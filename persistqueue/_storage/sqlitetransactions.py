"""Transactions on an SQLite database.

A batch that writes is one ``BEGIN IMMEDIATE`` transaction, so that nobody else writes
between what it reads and what it writes.  A batch that only looks needs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from .base import Stale, Undone
from .forkgate import gate
from .layouts import prepare
from .sqlite import Watch, close_quietly
from .sqliteerrors import ERRORS, SQLITE_ERRORS, TRANSLATED, SQLiteFailed, is_busy, is_io_error
from .transactions import Transactions

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from .sqlite import Database
    from .sqliteerrors import SqliteError
    from .sqlitespare import Spare
    from .table import Layout

R = TypeVar("R")
_inherited: list[Any] = []  # connections of a parent process: never to be closed here


class SqliteTransactions(Transactions):
    """A connection to one table, opened by the first transaction.

    Args:
        database: where it is.
        table: what is used of it; created when it is missing.
    """

    errors = ERRORS

    def __init__(self, database: Database, table: Layout) -> None:
        super().__init__(database, table)
        self._database: Database = database
        self._watch = Watch(database)
        self._connection: sqlite3.Connection | None = None
        self._writing = False  # between the BEGIN of a batch and its end
        self._committing = False
        self._writes = 0  # rows written by this connection when the transaction began
        self._version = 0  # SQLite's count of what other connections committed
        self._failed = ""  # why nothing can be vouched for until this is opened again
        self._lent = False  # whether the connection was given to a program
        self._changes = 0  # rows written by it when its last transaction ended, once it is lent
        self._spare: Spare | None = None
        gate.add(self)

    @property
    def database(self) -> Database:
        """Where it is."""
        return self._database

    @property
    def connection(self) -> sqlite3.Connection | None:
        """The connection, for those who know what they do; None when it is closed."""
        if self._connection is not None and not self._lent:
            self._lent, self._changes = True, self._connection.total_changes
        return self._connection

    @property
    def spare(self) -> Spare | None:
        """A second connection, which programs use; what they write is noticed as others' is."""
        return self._spare

    @spare.setter
    def spare(self, spare: Spare) -> None:
        self._spare = spare

    # -- opening and closing --------------------------------------------------------

    def open(self) -> bool:
        gate.enter(self, self._database)
        try:
            if self._connection is not None and self._failed:
                self._close()
            return self._connection is not None or self._open()
        finally:
            gate.leave(self)

    def _open(self) -> bool:
        connection, self._exclusive = None, False
        try:
            self._database.locate()
            gate.refuse(self._database)
            connection = self._database.connect()
            prepare(connection, self._table, self._database.path)
            self._connection, self._failed, self._lent = connection, "", False
            self._version = self._read_version()
            self._watch = Watch(self._database)
            self._opened()
            self._suspended = False
        except BaseException as error:
            self._connection = None
            if connection is not None:
                close_quietly(connection)
            if isinstance(error, Stale):  # busy, while reading
                return False
            if not isinstance(error, SQLITE_ERRORS) or isinstance(error, TRANSLATED):
                raise
            if is_busy(error):
                return False
            raise self._database.translate(error, self._table.name) from error
        return True

    def close(self) -> None:
        gate.enter(self, self._database)
        try:
            self._suspended, self._failed = False, ""
            self._close()
        finally:
            gate.leave(self)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            close_quietly(connection)
        if self._spare is not None:
            self._spare.close()

    def suspend(self) -> None:
        """Close the connection before a fork; the next transaction goes on where this was."""
        if self._connection is not None and not self._database.memory:
            self._suspended = True
            self._close()

    def forget(self) -> None:
        if not self._database.memory:
            connection, self._connection = self._connection, None
            if connection is not None:  # it was in use
                _inherited.append(connection)  # closing it might take the parent's locks away
                gate.forbid(self._database)
        self._suspended, self._failed = False, ""
        self._forgotten()

    # -- a transaction --------------------------------------------------------------

    def begin(self, exclusive: bool) -> bool:
        gate.enter(self, self._database)  # left at the end of the transaction
        begun = False
        try:
            begun = self._begin(exclusive)
        finally:
            if not begun:
                gate.leave(self)
        return begun

    def _begin(self, exclusive: bool) -> bool:
        self._writing = False
        if self._failed:
            raise SQLiteFailed(self._failed)
        if self._connection is None and not self._open():
            return False
        assert self._connection is not None
        if self._connection.in_transaction:  # Ctrl-C came just behind a BEGIN
            self._connection.rollback()
        self._exclusive, self._committing = exclusive, False
        if self._lent:
            self._see_writes()
        if not exclusive:
            self._refuse_if_removed()
            self._watch.note()
            return True
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            version = self._read_version()
        except SQLITE_ERRORS as error:
            if is_busy(error):
                if self._spare is not None:
                    self._spare.step_aside()
                return False
            raise self._database.translate(error, self._table.name) from error
        self._writes = self._connection.total_changes
        self._refuse_if_removed()
        self._writing = True
        if version != self._version:
            self._version = version
            self._overtaken()
        self._begun()
        return True

    def _see_writes(self) -> None:
        """See whether a program has written through the connection that it was lent."""
        if self._has_own_writes():
            self._overtaken()
        self._note_writes()

    def _has_own_writes(self) -> bool:
        connection = self._connection
        return connection is not None and connection.total_changes != self._changes

    def _note_writes(self) -> None:
        if self._connection is not None:
            self._changes = self._connection.total_changes

    def _refuse_if_removed(self) -> None:
        if not self._database.still_there():
            error = self._database.removed()
            self._failed = str(error)
            assert self._connection is not None
            self._connection.rollback()
            raise error

    def commit(self) -> None:
        self._commit()
        self._writing = False
        gate.leave(self)

    def _commit(self) -> None:
        connection = self._connection
        assert connection is not None
        self._ending()
        if not self._exclusive:
            return
        if self._lent:
            self._note_writes()
        if connection.total_changes == self._writes:
            self._watch.note()  # nobody else can commit now, and this stores nothing
        self._committing = True
        try:
            self._database.commit(connection)
        except SQLITE_ERRORS as error:
            self._committing = False
            raise self._commit_failed(error) from error

    def _commit_failed(self, error: SqliteError) -> Exception:
        ours = self._database.translate(error, self._table.name)
        if not is_io_error(error):
            return ours
        self._failed = (
            f"{self._database.path}: a commit failed ({ours}): whether it is stored cannot be "
            "known; open the queue again to see what is there"
        )
        return SQLiteFailed(self._failed)

    def rollback(self) -> bool:
        try:
            return self._roll_back()
        finally:
            self._writing = False
            gate.leave(self)

    def _roll_back(self) -> bool:
        connection = self._connection
        if connection is None or not self._exclusive:
            self._undone()
            return False
        if self._committing and not connection.in_transaction:
            return True
        try:
            connection.rollback()
        finally:
            self._note_writes()
            self._undone()
        return False

    # -- the rest of a store --------------------------------------------------------

    def changed(self, getting: bool) -> bool:  # noqa: ARG002 - whoever waits
        return self._watch.changed() or (self._lent and self._has_own_writes())

    def sync(self) -> None:
        self._database.sync()

    # -- statements -----------------------------------------------------------------

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement; every one of a store's goes through here or ``_many``."""
        try:
            return self._usable().execute(statement, values)
        except (*SQLITE_ERRORS, MemoryError) as error:
            raise self._meaning(error) from error

    def _many(self, statement: str, rows: Iterable[Sequence[Any]]) -> sqlite3.Cursor:
        try:
            return self._usable().executemany(statement, rows)
        except (*SQLITE_ERRORS, MemoryError) as error:
            raise self._meaning(error) from error

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return every row at once: a half-read statement would hold on to a snapshot."""
        try:
            return self._usable().execute(statement, values).fetchall()
        except (*SQLITE_ERRORS, MemoryError) as error:
            raise self._meaning(error) from error

    def _usable(self) -> sqlite3.Connection:
        """Return the connection; raises where a batch would go on without its transaction."""
        connection = self._connection
        assert connection is not None
        if self._writing and not connection.in_transaction:
            raise Undone(SQLiteFailed(f"{self._database.path}: SQLite undid the transaction"))
        return connection

    def _meaning(self, error: SqliteError | MemoryError) -> Exception:
        ours: Exception = MemoryError("SQLite had no memory")
        if isinstance(error, SQLITE_ERRORS):
            if not self._exclusive and is_busy(error):
                return Stale()
            ours = self._database.translate(error, self._table.name)
        # A full disk, a failing one, no memory: SQLite has undone everything by itself.
        if self._writing and self._connection is not None and not self._connection.in_transaction:
            ours.__cause__ = error
            return Undone(ours)
        return ours

    def _refresh(self) -> None:
        """Outside a transaction: see whether others have committed."""
        if not self._exclusive:
            try:
                version = self._read_version()
            except SQLITE_ERRORS as error:
                raise self._meaning(error) from error
            if version != self._version:
                self._version = version
                self._overtaken()

    def _at_once(self, function: Callable[[], R]) -> R:
        if self._usable().in_transaction:
            return function()
        self._execute("BEGIN")
        try:
            return function()
        finally:
            self._usable().rollback()

    def _read_version(self) -> int:
        assert self._connection is not None
        version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        return version

    def _rows_beside(self, statement: str) -> list[Any]:
        if self._database.memory:
            return self._rows(statement)
        with gate.inside(self._database):
            rows: list[Any] = self._database.beside(
                lambda connection: connection.execute(statement).fetchall(), self._table.name
            )
        return rows

    def _alone(self, function: Callable[[], Any]) -> None:
        assert self._connection is not None
        self._connection.execute("BEGIN IMMEDIATE")
        self._exclusive = True
        function()
        self._connection.execute("COMMIT")
        self._exclusive = False

    def shrink(self) -> None:
        """Rebuild the database without what was deleted, and give the space back."""
        with gate.inside(self._database):
            self._database.shrink(self._table.name)
