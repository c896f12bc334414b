# Written by tools/unasync.py: change async_queue.py instead.
"""``SQLiteBase``: what every SQLite queue for threads does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._core.arguments import MAX_ITEM_BYTES, T
from ..._core.inflight import AT_ROW_DONE, AT_TAKE
from ..._core.threads import ThreadShell
from ...serializers import pickle
from ..options import SqliteFace
from ..queue import SQLBase
from .names import SqliteNames
from .stores import SqliteDeletingStore, SqliteReservingStore

if TYPE_CHECKING:
    import os
    from collections.abc import Callable


class SQLiteBase(SqliteNames, SqliteFace[T], SQLBase[T]):
    """A queue in a table of an SQLite database; the arguments are ``SQLiteQueue``'s."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str = "default",
        multithreading: bool = False,
        timeout: float = 10.0,
        auto_commit: bool = True,
        serializer: Any = pickle,
        db_file_name: str | None = None,
        *,
        maxsize: int = 0,
        durability: str = "power",
        on_corrupt: str = "raise",
        max_item_bytes: int = MAX_ITEM_BYTES,
    ) -> None:
        self.multithreading = multithreading
        database, table = self._set_up(
            path,
            name,
            timeout=timeout,
            auto_commit=auto_commit,
            serializer=serializer,
            db_file_name=db_file_name,
            maxsize=maxsize,
            durability=durability,
            on_corrupt=on_corrupt,
            max_item_bytes=max_item_bytes,
            makes_directory=True,
        )
        self._open(self._at_its_place(database), table)
        self._init()

    def _open(self, database: Any, table: Any) -> None:
        """Make the store, with the shell that fits how items are finished."""
        finish = AT_TAKE if self.auto_commit else AT_ROW_DONE
        way = SqliteDeletingStore if self.auto_commit else SqliteReservingStore
        self._store = way(database, table, self._codec, skip_corrupt=self._skips)
        self._shell = ThreadShell(self._store, self.maxsize, finish, self.timeout)

    def _look_at(self, rows: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        if not self.memory_sql:
            return super()._look_at(rows)
        found: list[dict[str, Any]] = self._shell.request(rows, writes=False)
        return found

    def shrink_disk_usage(self) -> None:
        """Give the space of deleted rows back to the file system; takes a while."""
        self._shell.count()
        self._store.shrink()
