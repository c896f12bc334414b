"""The file format of ``dbm.sqlite3``, for every Python: one table, ``Dict(key, value)``."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from .._storage.sqlite import Database, close_quietly
from ..exceptions import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_CREATE = "CREATE TABLE IF NOT EXISTS Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)"
_PATIENCE = 10.0  # s


class DictFile:
    """Keys and values, both bytes; what is changed together is one transaction."""

    def __init__(self, path: str) -> None:
        self._database = Database(path, power=False, patience=_PATIENCE)
        try:
            self._connection = self._database.connect()
        except sqlite3.Error as error:
            raise self._database.translate(error, "Dict") from error
        try:
            self._create()
        except BaseException:
            self.close()
            raise

    def _create(self) -> None:
        tables = [row[0] for row in self._run("SELECT name FROM sqlite_master WHERE type='table'")]
        if tables and "Dict" not in tables:
            raise FormatError(
                f"{self._database.path} is an SQLite database of something else "
                f"(table {tables[0]}); nothing was changed"
            )
        self._run(_CREATE)

    def get(self, key: bytes) -> bytes | None:
        rows = self._run("SELECT value FROM Dict WHERE key = ?", (key,))
        return rows[0][0] if rows and isinstance(rows[0][0], bytes) else None

    def change(self, changes: Sequence[tuple[bytes, bytes]], delete: Iterable[bytes]) -> None:
        if not self._database.still_there():
            raise self._database.removed()
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.executemany("REPLACE INTO Dict (key, value) VALUES (?, ?)", changes)
                connection.executemany("DELETE FROM Dict WHERE key = ?", ((key,) for key in delete))
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._database.translate(error, "Dict") from error

    def sync(self) -> None:
        self._database.sync()

    def close(self) -> None:
        close_quietly(self._connection)

    def _run(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._database.translate(error, "Dict") from error
