"""The file format of ``dbm.sqlite3``, for every Python: one table, ``Dict(key, value)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exceptions import FormatError
from .sqlitefile import SqliteFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_CREATE = "CREATE TABLE IF NOT EXISTS Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)"


class DictFile:
    """Keys and values, both bytes; what is changed together is one transaction."""

    def __init__(self, path: str) -> None:
        self._file = SqliteFile(path, "Dict")
        try:
            self._create(path)
        except BaseException:
            self.close()
            raise

    def _create(self, path: str) -> None:
        found = self._file.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = [row[0] for row in found]
        if tables and "Dict" not in tables:
            raise FormatError(
                f"{path} is an SQLite database of something else (table {tables[0]}); "
                "nothing was changed"
            )
        self._file.rows(_CREATE)

    def get(self, key: bytes) -> bytes | None:
        rows = self._file.rows("SELECT value FROM Dict WHERE key = ?", (key,))
        return rows[0][0] if rows and isinstance(rows[0][0], bytes) else None

    def change(self, changes: Sequence[tuple[bytes, bytes]], delete: Iterable[bytes]) -> None:
        with self._file.transaction() as connection:
            connection.executemany("REPLACE INTO Dict (key, value) VALUES (?, ?)", changes)
            connection.executemany("DELETE FROM Dict WHERE key = ?", ((key,) for key in delete))

    def sync(self) -> None:
        self._file.sync()

    def close(self) -> None:
        self._file.close()
