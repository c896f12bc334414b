"""The arguments by keyword that all SQLite queues have."""

from __future__ import annotations

from typing import TypedDict


class SharedOptions(TypedDict, total=False):
    """Those of the classes for threads; see ``SQLiteQueue``."""

    maxsize: int
    durability: str
    on_corrupt: str
    max_item_bytes: int


class SqliteOptions(SharedOptions, total=False):
    """Those of the classes for asyncio; for threads, these two have places of their own."""

    timeout: float
    db_file_name: str | None
