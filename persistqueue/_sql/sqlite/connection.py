"""Transactions on an SQLite database.

A batch that writes is one ``BEGIN IMMEDIATE`` transaction, so that nobody else writes
between what it reads and what it writes.  A batch that only looks needs none.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

from ..._core.store import Stale, Undone
from ..connection import Transactions
from ..schema import prepare
from .backup import write_copy
from .errors import (
    ERRORS,
    SQLITE_ERRORS,
    TRANSLATED,
    SQLiteFailed,
    is_busy,
    is_io_error,
    is_read_only,
)
from .forks import gate

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from ..statements import Layout
    from .database import Database
    from .errors import SqliteError
    from .names import Spare
    from .openfiles import OpenFiles

E = TypeVar("E", bound=Exception)
R = TypeVar("R")
_BY_NAME = 8  # looks of the watcher: so often names are looked up as well
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
        self._connection: sqlite3.Connection | None = None
        self._files: OpenFiles | None = None  # that it has opened
        self._writing = False  # between the BEGIN of a batch and its end
        self._committing = False
        self._version = 0  # SQLite's count of what other connections committed
        self._lent = False  # whether the connection was given to a program
        self._changes = 0  # rows written by it when its last transaction ended, once it is lent
        self._spare: Spare | None = None
        self._looks = 0  # of the watcher
        self._glanced: tuple[int, bytes] | None = None  # what it saw when nothing had changed
        # The watcher uses the connection, too, while nobody else does: it holds the mutex and
        # has seen that the store is not busy.  The others are busy first, and pass the mutex.
        self._busy = False
        self._mutex = threading.Lock()
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

    def _enter(self) -> None:
        """Keep forks and the watcher away; ``_leave`` ends that, and doing it twice is harmless."""
        self._busy = True
        with self._mutex:
            pass
        gate.enter(self, self._database)

    def _leave(self) -> None:
        self._busy = False
        gate.leave(self)

    # -- opening and closing --------------------------------------------------------

    def open(self) -> bool:
        self._enter()
        try:
            if self.failed:
                self.suspend()
            return self._connection is not None or self._open()
        finally:
            self._leave()

    def _open(self) -> bool:
        connection, self._exclusive = None, False
        try:
            self._refuse_another()
            self._database.locate()
            gate.refuse(self._database)
            if not gate.make_way(self, self._database):
                return False
            connection = self._database.connect()
            self._database.settle(connection)
            prepare(connection, self._table, self._database.path)
            self._connection, self._files = connection, self._database.files
            self._lent = False
            self._version = self._read_version()
            self._opened()
            self._suspended, self.failed = False, ""
        except BaseException as error:
            self._connection = None
            if connection is not None:
                self._database.close(connection, self._database.files)
            if isinstance(error, Stale):  # busy
                return False
            if not isinstance(error, SQLITE_ERRORS) or isinstance(error, TRANSLATED):
                raise
            if is_busy(error):
                return False
            raise self._database.translate(error, self._table.name) from error
        return True

    def _refuse_another(self) -> None:
        """Raise if another database is there than before a fork; the next call opens that."""
        known = self._database.known
        if self._suspended and not self.failed and known is not None and (name := known.moved()):
            raise self._fail(self._database.removed(name))

    def close(self) -> None:
        self._enter()
        try:
            self._suspended, self.failed = False, ""
            self._close()
        finally:
            self._leave()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._database.close(connection, self._files)
        if self._spare is not None:
            self._spare.close()

    def suspend(self) -> None:
        """Close the connection; the next transaction goes on where this was."""
        if self._connection is not None and not self._database.memory:
            self._suspended = True
            self._close()
            if not self.failed:  # else others may use what this one has opened
                self._database.files = None

    def forget(self) -> None:
        self._mutex, self._busy = threading.Lock(), False
        if not self._database.memory:
            connection, self._connection = self._connection, None
            if connection is not None:  # it was in use
                _inherited.append(connection)  # closing it might take the parent's locks away
                gate.forbid(self._database)
        self._suspended, self.failed = False, ""
        self._forgotten()

    # -- a transaction --------------------------------------------------------------

    def begin(self, exclusive: bool) -> bool:
        self._committing = False
        self._enter()  # left at the end of the transaction
        if self._begin(exclusive):
            return True
        self._leave()
        return False

    def abandon(self) -> None:
        try:
            if self._connection is not None and self._connection.in_transaction:
                self._connection.rollback()
        finally:
            self._leave()

    def _begin(self, exclusive: bool) -> bool:
        self._writing = False
        if self.failed:
            raise SQLiteFailed(self.failed)
        if self._connection is None and not self._open():
            return False
        assert self._connection is not None
        self._exclusive = exclusive
        if self._lent:
            self._see_writes()
        if not exclusive:
            self._check(self._database.check)
            return True
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            version = self._read_version()
        except SQLITE_ERRORS as error:
            if is_busy(error):
                if self._spare is not None:
                    self._spare.step_aside()
                return False
            raise self._translated(error) from error
        self._check(self._database.check_idle)
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
        return self._lent and connection is not None and connection.total_changes != self._changes

    def _note_writes(self) -> None:
        if self._connection is not None:
            self._changes = self._connection.total_changes

    def _check(self, check: Callable[[], None]) -> None:
        """Let ``check`` see whether the files are those that others use."""
        try:
            check()
        except SQLiteFailed as error:
            self._fail(error)
            assert self._connection is not None
            self._connection.rollback()
            raise

    def _fail(self, error: E) -> E:
        """Vouch for nothing any more, until this is opened anew."""
        if not self._database.memory:
            self.failed = str(error)
        return error

    def commit(self) -> None:
        self._commit()
        self._writing = False
        self._leave()

    def _commit(self) -> None:
        connection = self._connection
        assert connection is not None
        self._ending()
        if not self._exclusive:
            return
        if self._lent:
            self._note_writes()
        self._committing = True
        try:
            self._database.commit(connection)
        except SQLiteFailed as error:
            self._committing = False
            raise self._fail(error) from None
        except SQLITE_ERRORS as error:
            self._committing = False
            raise self._commit_failed(connection, error) from error

    def _commit_failed(self, connection: sqlite3.Connection, error: SqliteError) -> Exception:
        ours = self._translated(error)
        if is_io_error(error):
            try:
                self._database.erase(connection)
            except SQLITE_ERRORS:
                return self._fail(
                    SQLiteFailed(
                        f"{self._database.path}: a commit failed ({ours}): whether it is stored "
                        "cannot be known before it is opened anew"
                    )
                )
        return ours

    def _translated(self, error: SqliteError) -> Exception:
        """Return what an error of SQLite is called; of the system, it is the connection's end."""
        ours = self._database.translate(error, self._table.name)
        if is_io_error(error) or (is_read_only(error) and isinstance(ours, OSError)):
            self._fail(ours)
        return ours

    def rollback(self) -> bool:
        try:
            return self._roll_back()
        finally:
            self._writing = False
            self._leave()

    def _roll_back(self) -> bool:
        connection = self._connection
        if connection is None or not self._exclusive:
            self._undone()
            return False
        if self._committing and not connection.in_transaction and self._is_stored():
            return True
        self._committing = False
        try:
            connection.rollback()
        finally:
            self._note_writes()
            self._undone()
        return False

    def _is_stored(self) -> bool:
        """Return whether a commit that was interrupted at its end is where others read it."""
        try:
            self._database.verify()
        except SQLiteFailed as error:
            self._fail(error)
            return False
        return True

    # -- the rest of a store --------------------------------------------------------

    def changed(self, getting: bool) -> bool:  # noqa: ARG002 - whoever waits
        if self._busy or not self._mutex.acquire(blocking=False):
            return False  # who is at work looks by himself
        try:
            return not self._busy and self._has_changed()
        finally:
            self._mutex.release()

    def _has_changed(self) -> bool:
        if self._database.memory:
            return self._has_own_writes()
        with gate.inside(self._database):
            if self._connection is None or self._files is None:
                return True
            self._looks += 1
            glance, self._glanced = self._files.glance(), None  # before the version is read
            try:
                if glance is not None or self._looks % _BY_NAME == 0:
                    self._database.check()
                if self._read_version() != self._version or self._has_own_writes():
                    return True
            except SQLITE_ERRORS as error:  # a batch says what it is
                return not is_busy(error)
            self._glanced = glance
        return False

    def probe(self) -> tuple[int, bytes] | None:
        return self._glanced  # for a hundred idle queues the version itself is too dear

    def sync(self) -> None:
        try:
            self._database.sync()
        except OSError as error:
            raise self._fail(error) from error.__cause__

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
            ours = self._translated(error)
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

    def backup(self, path: str) -> None:
        """Write a copy of the database to a new file; callable on any thread.

        Of one in memory, only as a call of the store.
        """
        patience = self._database.patience
        if self._database.memory:
            write_copy(self._usable(), path, patience)
            return
        with gate.inside(self._database):
            self._database.beside(
                lambda connection: write_copy(connection, path, patience), self._table.name
            )

    def shrink(self) -> None:
        """Rebuild the database without what was deleted, and give the space back."""
        with gate.inside(self._database):
            self._database.shrink(self._table.name)
