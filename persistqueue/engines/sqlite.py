"""``SQLiteEngine``: one table, ``queue(item BLOB)``, in the order of its row ids.

The table is aiodiskqueue's as well: either goes on with the other's file.  Ids are in one
run, so a place is an id and counting costs nothing; a file whose ids have gaps is renumbered
when it is opened for the first time, and marked (``application_id``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exceptions import FormatError, QueueFailed
from .base import StorageEngine
from .sqlitefile import SqliteFile

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Sequence

_OURS = 0x70715245  # application_id: ids are in one run
# Two queries: SQLite looks up one extreme, for both at once it reads the whole table.
_ENDS = "SELECT (SELECT MIN(rowid) FROM queue), (SELECT MAX(rowid) FROM queue)"


class SQLiteEngine(StorageEngine):
    """Keeps records as rows of an SQLite database, in a file of its own.

    For several processes use ``SQLiteQueue``: an engine's file has one queue at a time.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._file: SqliteFile | None = None
        self._first = 1  # id of the oldest record
        self._next = 1  # id of the next one to come

    def open(self) -> int:
        if self._file is None:
            self._file = SqliteFile(self.path, "queue")
        try:
            with self._file.transaction() as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS queue (item BLOB)")
                self._check(connection)
                self._mark(connection)
                low, high = connection.execute(_ENDS).fetchone()
        except BaseException:
            self.close()
            raise
        self._first, self._next = (1, 1) if low is None else (low, high + 1)
        return self._next - self._first

    def append(self, records: Sequence[bytes]) -> None:
        rows = list(enumerate(records, self._next))
        with self._opened.transaction() as connection:
            connection.executemany("INSERT INTO queue (rowid, item) VALUES (?, ?)", rows)
        self._next += len(rows)

    def read(self, start: int, count: int) -> Sequence[bytes | None]:
        low = self._first + start
        rows = dict(
            self._opened.rows(
                "SELECT rowid, item FROM queue WHERE rowid >= ? AND rowid < ?", (low, low + count)
            )
        )
        found = [rows.get(number) for number in range(low, low + count)]
        return [item if isinstance(item, bytes) else None for item in found]

    def remove(self, count: int) -> None:
        first = self._first + count
        with self._opened.transaction() as connection:
            connection.execute("DELETE FROM queue WHERE rowid < ?", (first,))
        self._first = first

    def sync(self) -> None:
        self._opened.sync()

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    # -- the database ---------------------------------------------------------------

    @property
    def _opened(self) -> SqliteFile:
        if self._file is None:
            raise QueueFailed(f"{self.path} is not open; open the queue again")
        return self._file

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
