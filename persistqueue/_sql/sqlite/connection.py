"""A connection to an SQLite database, and its transactions.

A batch that writes is one ``BEGIN IMMEDIATE`` transaction, so that no other connection writes
between what it reads and what it writes.  A batch that only looks needs none.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

from ..._core.store import Stale, Undone
from ..schema import missing, prepare
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
from .owners import FileOwner

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence, Sized

    from ..connection import Listener
    from ..statements import Layout, Table
    from .database import Database
    from .errors import SqliteError
    from .names import Spare
    from .openfiles import OpenFiles

E = TypeVar("E", bound=Exception)
R = TypeVar("R")
_BY_NAME = 8  # looks of the watcher: so often names are looked up as well
_inherited: list[Any] = []  # connections of a parent process: never to be closed here


class SqliteConnection:
    """A connection to an SQLite database; see ``SqlConnection``.

    Args:
        database: where it is.
        table: the one that is used; created when it is missing.

    Attributes:
        spare: a second connection, which programs use; its commits are noticed as others' are.
    """

    errors = ERRORS
    counts = True

    def __init__(self, database: Database, table: Layout) -> None:
        self.database = database
        self._table = table
        self._incomplete = False  # it lacks what reading can do without, and cannot be written
        self.failed = ""
        self.exclusive = self.suspended = False
        self.spare: Spare | None = None
        self._connection: sqlite3.Connection | None = None
        self._files: OpenFiles | None = None  # that it has opened
        self._writing = False  # between the BEGIN of a batch and its end
        self._committing = False
        self._version = 0  # SQLite's count of what other connections committed
        self._lent = False  # whether the connection was given to a program
        self._changes = 0  # rows written by it when its last transaction ended, once it is lent
        self._looks = 0  # of the watcher
        self._glanced: tuple[int, bytes] | None = None  # what it saw when nothing had changed
        # The watcher uses the connection, too, while it is idle: the watcher holds the mutex and
        # has seen that the connection is not busy.  The others are busy first, and pass the mutex.
        self._busy = False
        self._mutex = threading.Lock()
        gate.add(self)

    @property
    def driver(self) -> sqlite3.Connection | None:
        """SQLite's connection, for a program's statements; None when it is closed."""
        if self._connection is not None and not self._lent:
            self._lent, self._changes = True, self._connection.total_changes
        return self._connection

    def _enter(self) -> None:
        """Keep forks and the watcher away; ``_leave`` ends that, and doing it twice is harmless."""
        self._busy = True
        with self._mutex:
            pass
        gate.enter(self, self.database)

    def _leave(self) -> None:
        self._busy = False
        gate.leave(self)

    # -- opening and closing --------------------------------------------------------

    def open(self, listener: Listener) -> bool:
        self._enter()
        try:
            if self.failed:
                self.suspend()
            return self._connection is not None or self._open(listener)
        finally:
            self._leave()

    def _open(self, listener: Listener) -> bool:
        connection, self.exclusive = None, False
        try:
            self._refuse_another()
            self.database.locate()
            gate.refuse(self.database)
            if not gate.make_way(self, self.database):
                return False
            connection = self.database.connect()
            self.database.settle(connection)
            self._prepare(connection, to_write=False)
            self._connection, self._files = connection, self.database.files
            self._lent = False
            self._version = self._read_version()
            listener.opened()
            self.suspended, self.failed = False, ""
        except BaseException as error:
            self._connection = ours = None
            if isinstance(error, SQLITE_ERRORS) and not isinstance(error, TRANSLATED):
                ours = self.database.translate(error, self._table.name)  # while its files are open
            if connection is not None:
                self.database.close(connection, self.database.files)
            if isinstance(error, Stale) or isinstance(ours, ERRORS.locked):  # busy
                return False
            if ours is None:
                raise
            raise ours from error
        return True

    def _prepare(self, connection: sqlite3.Connection, *, to_write: bool) -> None:
        """See that the table is there; to read it, what is optional may be missing."""
        path = self.database.path
        try:
            prepare(connection, self._table, path)
            lacks: set[str] = set()
        except SQLITE_ERRORS as error:
            if to_write or not is_read_only(error):
                raise
            lacks = missing(connection, self._table, path)
            if not lacks.issubset(self._table.optional):
                raise
        self._incomplete = bool(lacks)
        self._table.choose(lacks)

    def _refuse_another(self) -> None:
        """Raise if another database is there than before a fork; the next call opens that."""
        known = self.database.known
        if self.suspended and not self.failed and known is not None and (name := known.moved()):
            raise self._fail(self.database.removed(name))

    def close(self) -> None:
        self._enter()
        try:
            self.suspended, self.failed = False, ""
            self._close()
        finally:
            self._leave()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self.database.close(connection, self._files)
        if self.spare is not None:
            self.spare.close()

    def suspend(self) -> None:
        """Close the connection; the next transaction goes on where this was."""
        if self._connection is not None and not self.database.memory:
            self.suspended = True
            self._close()
            if not self.failed:  # else others may use what this one has opened
                self.database.files = None

    def forget(self) -> None:
        self._mutex, self._busy = threading.Lock(), False
        if not self.database.memory:
            connection, self._connection = self._connection, None
            if connection is not None:  # it was in use
                _inherited.append(connection)  # closing it might take the parent's locks away
                gate.forbid(self.database)
        self.suspended, self.failed = False, ""

    # -- a transaction --------------------------------------------------------------

    def begin(self, exclusive: bool, listener: Listener) -> bool:
        self._writing = self._committing = False
        self._enter()  # left at the end of the transaction
        if self._begin(exclusive, listener):
            return True
        self._leave()
        return False

    def abandon(self) -> None:
        try:
            if self._connection is not None and self._connection.in_transaction:
                self._connection.rollback()
        finally:
            self._leave()

    def _begin(self, exclusive: bool, listener: Listener) -> bool:
        if self.failed:
            raise SQLiteFailed(self.failed)
        if self._connection is None and not self._open(listener):
            return False
        assert self._connection is not None
        self.exclusive = exclusive
        if self._lent:
            self._heed_own_writes(listener)
        if not exclusive:
            self._check(self.database.check)
            return True
        try:
            if self._incomplete:
                self._prepare(self._connection, to_write=True)  # it says why not
            self._connection.execute("BEGIN IMMEDIATE")
            version = self._read_version()
        except SQLITE_ERRORS as error:
            if is_busy(error):
                if self.spare is not None:
                    self.spare.step_aside()
                return False
            raise self._translated(error) from error
        self._check(self.database.check_idle)
        self._writing = True
        if version != self._version:
            self._version = version
            listener.overtaken()
        return True

    def _heed_own_writes(self, listener: Listener) -> None:
        """See whether a program has written through the connection."""
        if self._has_own_writes():
            listener.overtaken()
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
        if not self.database.memory:
            self.failed = str(error)
        return error

    def commit(self) -> None:
        connection = self._connection
        assert connection is not None
        if self.exclusive:
            if self._lent:
                self._note_writes()
            self._committing = True
            try:
                self.database.commit(connection)
            except SQLiteFailed as error:
                self._committing = False
                raise self._fail(error) from None
            except SQLITE_ERRORS as error:
                self._committing = False
                raise self._commit_failed(connection, error) from error
        self._writing = False
        self._leave()

    def _commit_failed(self, connection: sqlite3.Connection, error: SqliteError) -> Exception:
        ours = self._translated(error)
        if is_io_error(error):
            try:
                self.database.erase(connection)
            except SQLITE_ERRORS:
                return self._fail(
                    SQLiteFailed(
                        f"{self.database.path}: a commit failed ({ours}): whether it is stored "
                        "cannot be known before it is opened anew"
                    )
                )
        return ours

    def _translated(self, error: SqliteError) -> Exception:
        """Return what an error of SQLite is called; of the system, it is the connection's end."""
        ours = self.database.translate(error, self._table.name)
        if is_io_error(error) or (is_read_only(error) and isinstance(ours, OSError)):
            self._fail(ours)
        return ours

    def rollback(self, listener: Listener) -> bool:
        try:
            return self._roll_back(listener)
        finally:
            self._writing = False
            self._leave()

    def _roll_back(self, listener: Listener) -> bool:
        connection = self._connection
        if connection is None or not self.exclusive:
            listener.undone()
            return False
        if self._committing and not connection.in_transaction and self._is_stored():
            return True
        self._committing = False
        try:
            connection.rollback()
        finally:
            self._note_writes()
            listener.undone()
        return False

    def _is_stored(self) -> bool:
        """Return whether a commit that was interrupted at its end is where others read it."""
        try:
            self.database.verify()
        except SQLiteFailed as error:
            self._fail(error)
            return False
        return True

    # -- the rest of a store --------------------------------------------------------

    def hurry(self) -> None:
        """Do nothing: the lock belongs to another process, which is at work."""

    def changed(self, getting: bool) -> bool:  # noqa: ARG002 - whichever call waits
        if self._busy or not self._mutex.acquire(blocking=False):
            return False  # the call that is at work looks by itself
        try:
            return not self._busy and self._has_changed()
        finally:
            self._mutex.release()

    def _has_changed(self) -> bool:
        if self.database.memory:
            return self._has_own_writes()
        with gate.inside(self.database):
            if self._connection is None or self._files is None:
                return True
            self._looks += 1
            glance, self._glanced = self._files.glance(), None  # before the version is read
            try:
                if glance is not None or self._looks % _BY_NAME == 0:
                    self.database.check()
                if self._read_version() != self._version or self._has_own_writes():
                    return True
            except SQLITE_ERRORS as error:  # a batch says what it is
                return not is_busy(error)
            self._glanced = glance
        return False

    def glimpse(self, statement: str, values: Sequence[Any] = ()) -> list[Any] | None:
        if self._busy or not self._mutex.acquire(blocking=False):
            return None
        try:
            if self._busy or self._connection is None:
                return None
            return self._connection.execute(statement, values).fetchall()
        except SQLITE_ERRORS:  # a batch says what it is
            return None
        finally:
            self._mutex.release()

    def probe(self) -> tuple[int, bytes] | None:
        return self._glanced  # for a hundred idle queues the version itself is too dear

    def sync(self) -> None:
        try:
            self.database.sync()
        except OSError as error:
            raise self._fail(error) from error.__cause__

    # -- statements -----------------------------------------------------------------

    def execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        try:
            return self.usable().execute(statement, values)
        except (*SQLITE_ERRORS, MemoryError) as error:
            raise self.meaning(error) from error

    def many(self, statement: str, rows: Iterable[Sequence[Any]]) -> int:
        try:
            return max(self.usable().executemany(statement, rows).rowcount, 0)
        except (*SQLITE_ERRORS, MemoryError) as error:
            raise self.meaning(error) from error

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self.usable().execute(statement, values).fetchall()
        except (*SQLITE_ERRORS, MemoryError) as error:
            raise self.meaning(error) from error

    def one(self, statement: str, values: Sequence[Any] = ()) -> Any:
        return self.rows(statement, values)[0][0]

    def usable(self) -> sqlite3.Connection:
        """Return the connection; raises where a batch would go on without its transaction."""
        connection = self._connection
        assert connection is not None
        if self._writing and not connection.in_transaction:
            raise Undone(SQLiteFailed(f"{self.database.path}: SQLite undid the transaction"))
        return connection

    def meaning(self, error: SqliteError | MemoryError) -> Exception:
        """Return what an error of SQLite means for the transaction."""
        ours: Exception = MemoryError("SQLite had no memory")
        if isinstance(error, SQLITE_ERRORS):
            if not self.exclusive and is_busy(error):
                return Stale()
            ours = self._translated(error)
        # A full disk, a failing one, no memory: SQLite has undone everything by itself.
        if self._writing and self._connection is not None and not self._connection.in_transaction:
            ours.__cause__ = error
            return Undone(ours)
        return ours

    def insert_many(self, table: Table, rows: Sequence[Sequence[Any]]) -> range:
        self.many(table.insert, rows)
        # AUTOINCREMENT, in one transaction: no other row's id is in between.
        last: int = self.one("SELECT last_insert_rowid()")
        return range(last - len(rows) + 1, last + 1)

    def put_back(self, table: Table, row: Sequence[Any]) -> bool:
        return self.execute(table.put_back, row).rowcount > 0

    def create(self, statement: str) -> None:
        self.execute(statement)

    def refresh(self, listener: Listener) -> None:
        if not self.exclusive:
            try:
                version = self._read_version()
            except SQLITE_ERRORS as error:
                raise self.meaning(error) from error
            if version != self._version:
                self._version = version
                listener.overtaken()

    def at_once(self, function: Callable[[], R]) -> R:
        if self.usable().in_transaction:
            return function()
        self.execute("BEGIN")
        try:
            return function()
        finally:
            self.usable().rollback()

    def _read_version(self) -> int:
        assert self._connection is not None
        version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        return version

    def alone(self, function: Callable[[], object]) -> None:
        assert self._connection is not None
        self._connection.execute("BEGIN IMMEDIATE")
        self.exclusive = True
        function()
        self._connection.execute("COMMIT")
        self.exclusive = False

    def new_owner(self, held: Sized, lease: float | None) -> FileOwner:
        advice = "resume_unack_tasks(force=True)"
        return FileOwner(self.database, self._table.name, advice, held, lease)

    # -- beside the transaction, on any thread --------------------------------------

    def beside(self, function: Callable[[sqlite3.Connection], R]) -> R:
        """Call ``function`` with a connection of its own.

        A database in memory has one only, so there this is a call of the store.
        """
        if self.database.memory:
            return function(self.usable())
        with gate.inside(self.database):
            return self.database.beside(function, self._table.name)

    def rows_beside(self, statement: str) -> list[Any]:
        if self.database.memory:
            return self.rows(statement)
        return self.beside(lambda connection: connection.execute(statement).fetchall())

    def backup(self, path: str) -> None:
        """Write a copy of the database to a new file."""
        self.beside(lambda connection: write_copy(connection, path, self.database.patience))

    def shrink(self) -> None:
        """Rebuild the database without what was deleted, and give the space back."""
        if not self.database.memory:
            self.beside(self.database.shrink)
