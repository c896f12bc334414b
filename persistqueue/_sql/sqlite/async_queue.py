"""``AsyncSQLiteBase``: what every SQLite queue for asyncio does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._core.arguments import MAX_ITEM_BYTES, T
from ..._core.inflight import AT_ROW_DONE, AT_TAKE
from ..._core.tasks import TaskShell
from ...serializers import pickle
from ..async_queue import AsyncSQLBase
from ..options import SqliteFace
from .names import AsyncSqliteNames
from .stores import SqliteDeletingStore, SqliteReservingStore
from .worker import SqliteHops  # async only

if TYPE_CHECKING:
    import os
    from collections.abc import Callable


class AsyncSQLiteBase(AsyncSqliteNames, SqliteFace[T], AsyncSQLBase[T]):
    """A queue in a table of an SQLite database; the arguments are ``AsyncSQLiteQueue``'s."""

    _hops: SqliteHops  # async only

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str = "default",
        # threads only: multithreading: bool = False,
        # threads only: timeout: float = 10.0,
        # threads only: auto_commit: bool = True,
        serializer: Any = pickle,
        auto_commit: bool = True,  # async only
        # threads only: db_file_name: str | None = None,
        *,
        timeout: float = 10.0,  # async only
        db_file_name: str | None = None,  # async only
        maxsize: int = 0,
        durability: str = "power",
        on_corrupt: str = "raise",
        max_item_bytes: int = MAX_ITEM_BYTES,
    ) -> None:
        # threads only: self.multithreading = multithreading
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
            makes_directory=False,  # async only
            # threads only: makes_directory=True,
        )
        self._hops = SqliteHops()  # async only
        self._open(database, table)  # async only
        # threads only: self._open(self._at_its_place(database), table)
        # threads only: self._init()

    def _open(self, database: Any, table: Any) -> None:
        """Make the store, with the shell that fits how items are finished."""
        finish = AT_TAKE if self.auto_commit else AT_ROW_DONE
        way = SqliteDeletingStore if self.auto_commit else SqliteReservingStore
        self._store = way(database, table, self._codec, skip_corrupt=self._skips)
        self._shell = TaskShell(self._store, self.maxsize, finish, self.timeout, hops=self._hops)

    async def _look_at(self, rows: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        if not self.memory_sql:
            return await super()._look_at(rows)
        found: list[dict[str, Any]] = await self._shell.request(rows, writes=False)
        return found

    async def shrink_disk_usage(self) -> None:
        """Give the space of deleted rows back to the file system; takes a while."""
        await self._shell.count()
        await self._hops.run(self._store.shrink)
