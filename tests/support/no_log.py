"""SQLite as it works where a file system has no shared memory: without a write-ahead log."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest


class NoLog(sqlite3.Connection):
    """A connection on a file system that has no shared memory."""

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        return super().execute(sql.replace("journal_mode=WAL", "journal_mode=DELETE"), *values)


@pytest.fixture
def no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(
        "persistqueue._sql.sqlite.database.sqlite3.connect",
        lambda *args, **options: connect(*args, **{"factory": NoLog, **options}),
    )
