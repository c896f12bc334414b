"""``SqliteEngine``."""

from __future__ import annotations

from ....engines.sqlite import SQLiteEngine as _SQLite
from .base import ReadyMade


class SqliteEngine(ReadyMade):
    """Items in a table of an SQLite database."""

    storage_engine = _SQLite
