"""``SQLiteEngine``: one table, ``queue(item BLOB)``, in the order of its row ids.

The table is aiodiskqueue's as well: either goes on with the other's file.  Ids are in one
run, so a place is an id and counting costs nothing; a file whose ids have gaps is renumbered
when it is opened for the first time, and marked (``application_id``).
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .._storage.sqlite import Database, close_quietly
from ..exceptions import FormatError, QueueFailed
from .base import StorageEngine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_OURS = 0x70715245  # application_id: ids are in one run
_ENDS = "SELECT MIN(rowid), MAX(rowid) FROM queue"
_PATIENCE = 10.0  # s to wait for a lock of a program that looks into the file


class SQLiteEngine(StorageEngine):
    """Keeps records as rows of an SQLite database, in a file of its own.

    For several processes use ``SQLiteQueue``: an engine's file has one queue at a time.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        # power=False: commits are not synced one by one, ``sync`` does it for a whole batch.
        self._database = Database(path, power=False, patience=_PATIENCE)
        self._connection: sqlite3.Connection | None = None
        self._first = 1  # id of the oldest record
        self._next = 1  # id of the next one to come

    def open(self) -> int:
        if self._connection is None:
            self._database = Database(self.path, power=False, patience=_PATIENCE)
            try:
                self._connection = self._database.connect()
            except sqlite3.Error as error:
                raise self._database.translate(error, "queue") from error
        try:
            with self._transaction() as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS queue (item BLOB)")
                self._check(connection)
                self._mark(connection)
                low, high = connection.execute(
                    "SELECT MIN(rowid), MAX(rowid) FROM queue"
                ).fetchone()
        except BaseException:
            self.close()
            raise
        self._first, self._next = (1, 1) if low is None else (low, high + 1)
        return self._next - self._first

    def append(self, records: Sequence[bytes]) -> None:
        rows = list(enumerate(records, self._next))
        with self._transaction() as connection:
            connection.executemany("INSERT INTO queue (rowid, item) VALUES (?, ?)", rows)
        self._next += len(rows)

    def read(self, start: int, count: int) -> Sequence[bytes | None]:
        low = self._first + start
        try:
            rows = dict(
                self._connected().execute(
                    "SELECT rowid, item FROM queue WHERE rowid >= ? AND rowid < ?",
                    (low, low + count),
                )
            )
        except sqlite3.Error as error:
            raise self._database.translate(error, "queue") from error
        found = [rows.get(number) for number in range(low, low + count)]
        return [item if isinstance(item, bytes) else None for item in found]

    def remove(self, count: int) -> None:
        first = self._first + count
        with self._transaction() as connection:
            connection.execute("DELETE FROM queue WHERE rowid < ?", (first,))
        self._first = first

    def sync(self) -> None:
        self._database.sync()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            close_quietly(connection)

    # -- the database ---------------------------------------------------------------

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            raise QueueFailed(f"{self.path} is not open; open the queue again")
        if not self._database.still_there():
            raise self._database.removed()
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connected()
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._database.translate(error, "queue") from error

    def _check(self, connection: sqlite3.Connection) -> None:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(queue)")]
        if columns != ["item"]:
            raise FormatError(
                f"{self.path} has a table 'queue' with the columns {', '.join(columns)}: "
                "another program's; nothing was changed"
            )

    def _mark(self, connection: sqlite3.Connection) -> None:
        """Put the ids in one run, once; aiodiskqueue and this class keep them so."""
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
