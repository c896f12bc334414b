"""An SQLite file that an engine has to itself: opened, and written in transactions."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .._sql.sqlite.database import Database
from .._sql.sqlite.errors import SQLITE_ERRORS, TRANSLATED

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

_PATIENCE = 10.0  # s to wait for a lock of a program that looks into the file


class SqliteFile:
    """An open file; SQLite's errors are translated here.

    Args:
        path: the file; created when it is missing.
        table: the engine's, for messages.

    Raises:
        OSError: it cannot be opened, or is a directory.
    """

    def __init__(self, path: str, table: str) -> None:
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        self._table = table
        # power=False: commits are not synced one by one, ``sync`` does it for a whole batch.
        self._database = Database(path, power=False, patience=_PATIENCE)
        self._database.locate()
        with self._translated():
            self._connection: sqlite3.Connection = self._database.connect()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit what is done inside, or nothing of it."""
        self._database.check()
        connection = self._connection
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
        with self._translated():
            return self._connection.execute(statement, values).fetchall()

    def sync(self) -> None:
        """Force what is committed to stable storage."""
        self._database.sync()

    def close(self) -> None:
        """Close it."""
        self._database.close(self._connection, self._database.files)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except TRANSLATED:
            raise
        except SQLITE_ERRORS as error:
            raise self._database.translate(error, self._table) from error
