"""``SQLiteEngine``: one table, ``queue(item BLOB)``, in the order of its row ids.

aiodiskqueue has the same table: each continues the other's file.  Ids are consecutive, so a
place is an id and counting costs nothing; a file whose ids have gaps is renumbered
when it is opened for the first time, and marked (``application_id``).
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .._sql.sqlite.database import Database
from .._sql.sqlite.errors import SQLITE_ERRORS, TRANSLATED
from ..exceptions import FormatError, QueueFailed
from .base import StorageEngine

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

_OURS = 0x70715245  # application_id: ids are consecutive
# Two queries: SQLite looks up one extreme, for both at once it reads the whole table.
_ENDS = "SELECT (SELECT MIN(rowid) FROM queue), (SELECT MAX(rowid) FROM queue)"
_PATIENCE = 10.0  # s to wait for a lock of a program that looks into the file


class SQLiteEngine(StorageEngine):
    """Keeps records as rows of an SQLite database, in a file of its own.

    For several processes use ``SQLiteQueue``: an engine's file has one queue at a time.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._file = SqliteFile(self.path, "queue")
        self._first = 1  # id of the oldest record
        self._next = 1  # id of the next record to come

    def open(self) -> int:
        with self._file.opening() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS queue (item BLOB)")
            self._check(connection)
            _number(connection)
            low, high = connection.execute(_ENDS).fetchone()
        self._first, self._next = (1, 1) if low is None else (low, high + 1)
        return self._next - self._first

    def append(self, records: Sequence[bytes]) -> None:
        rows = list(enumerate(records, self._next))
        with self._file.transaction() as connection:
            connection.executemany("INSERT INTO queue (rowid, item) VALUES (?, ?)", rows)
        self._next += len(rows)

    def read(self, start: int, count: int) -> Sequence[bytes | None]:
        low = self._first + start
        statement = "SELECT rowid, item FROM queue WHERE rowid >= ? AND rowid < ?"
        rows = dict(self._file.rows(statement, (low, low + count)))
        found = [rows.get(number) for number in range(low, low + count)]
        return [item if isinstance(item, bytes) else None for item in found]

    def remove(self, count: int) -> None:
        first = self._first + count
        with self._file.transaction() as connection:
            connection.execute("DELETE FROM queue WHERE rowid < ?", (first,))
        self._first = first

    def sync(self) -> None:
        self._file.sync()

    def close(self) -> None:
        self._file.close()

    def _check(self, connection: sqlite3.Connection) -> None:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(queue)")]
        if columns != ["item"]:
            raise FormatError(
                f"{self.path} has a table 'queue' with the columns {', '.join(columns)}: "
                "another program's; nothing was changed"
            )


def _number(connection: sqlite3.Connection) -> None:
    """Make the ids consecutive, once; aiodiskqueue and this class keep them so."""
    if connection.execute("PRAGMA application_id").fetchone()[0] == _OURS:
        return
    count, low, high = connection.execute(
        "SELECT COUNT(*), MIN(rowid), MAX(rowid) FROM queue"
    ).fetchone()
    if count and high - low + 1 != count:
        connection.execute("CREATE TEMP TABLE run AS SELECT item FROM queue ORDER BY rowid")
        connection.execute("DELETE FROM queue")
        connection.execute("INSERT INTO queue (rowid, item) SELECT rowid, item FROM run")
        connection.execute("DROP TABLE run")
    connection.execute(f"PRAGMA application_id = {_OURS}")


class SqliteFile:
    """An SQLite file that an engine has for itself; SQLite's errors are translated here.

    Args:
        path: the file; created when it is missing.
        table: the engine's, for messages.
    """

    def __init__(self, path: str, table: str) -> None:
        self._path = path
        self._table = table
        self._database: Database
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def opening(self) -> Iterator[sqlite3.Connection]:
        """Open the file, if it is closed, and begin a transaction; close it if that fails.

        Raises:
            OSError: it cannot be opened, or is a directory.
        """
        try:
            if self._connection is None:
                self._connect()
            with self.transaction() as connection:
                yield connection
        except BaseException:
            self.close()
            raise

    def _connect(self) -> None:
        if os.path.isdir(self._path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self._path)
        # power=False: commits are not synced one by one, ``sync`` does it for a whole batch.
        self._database = Database(self._path, power=False, patience=_PATIENCE)
        self._database.locate()
        with self._translated():
            self._connection = self._database.connect()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit the statements inside, or none of them."""
        connection = self._opened()
        self._database.check()
        with self._translated():
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                self._database.commit(connection)
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return every row of a query."""
        connection = self._opened()
        with self._translated():
            return connection.execute(statement, values).fetchall()

    def sync(self) -> None:
        """Force all commits to stable storage."""
        self._opened()
        self._database.sync()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._database.close(connection, self._database.files)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise QueueFailed(f"{self._path} is not open; open the queue again")
        return self._connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except TRANSLATED:
            raise
        except SQLITE_ERRORS as error:
            raise self._database.translate(error, self._table) from error
