"""What every SQLite queue for asyncio does; the twin of ``sqlbase``."""

from __future__ import annotations

import time
from asyncio import sleep
from functools import partial
from typing import TYPE_CHECKING, Any

from ._async_errors import AsyncEmpty
from ._filequeue import NO_ITEM, T
from ._options import MAX_ITEM_BYTES, whole
from ._runtime.deadline import FOREVER, Deadline
from ._runtime.sqlitehops import SqliteHops
from ._runtime.takes import AT_TAKE, AT_TASK_DONE
from ._runtime.tasks import TaskShell
from ._sqlqueue import SqlFace, in_range, no_row, row_id, to_update
from ._storage.sqlways import DeletingStore, ReservingStore
from ._tasked import TaskedQueue
from .serializers import pickle

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    import aiosqlite

_TURN = 0.002  # s for which put_many may encode before the loop gets its turn


class AsyncSQLiteBase(SqlFace[T], TaskedQueue[T]):
    """A queue in a table of an SQLite database; the arguments are ``AsyncSQLiteQueue``'s."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str = "default",
        serializer: Any = pickle,
        auto_commit: bool = True,
        *,
        timeout: float = 10.0,
        db_file_name: str | None = None,
        maxsize: int = 0,
        durability: str = "power",
        on_corrupt: str = "raise",
        max_item_bytes: int = MAX_ITEM_BYTES,
    ) -> None:
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
            makes_directory=False,
        )
        self._hops = SqliteHops()
        self._build(database, table)

    def _build(self, database: Any, table: Any) -> None:
        """Make the store, with the shell that fits how items are finished."""
        finish = AT_TAKE if self.auto_commit else AT_TASK_DONE
        way = DeletingStore if self.auto_commit else ReservingStore
        self._store = way(database, table, self._codec, skip_corrupt=self._skips)
        self._shell = TaskShell(self._store, self.maxsize, finish, self._hops, self.timeout)

    # -- put ------------------------------------------------------------------------

    async def _put(self, row: tuple[Any, ...], block: bool, timeout: float | None) -> int | None:
        deadline = FOREVER if block and timeout is None else Deadline(block, timeout)
        found: int | None = (await self._shell.append([row], deadline))[0]
        return found

    async def _put_rows(
        self,
        encode: Callable[[Any], tuple[Any, ...]],
        items: Iterable[Any],
        block: bool,
        timeout: float | None,
    ) -> list[int | None]:
        deadline, now = Deadline.of(block, timeout), time.monotonic
        records: list[tuple[Any, ...]] = []
        turn = now() + _TURN
        for item in items:
            records.append(encode(item))
            if now() >= turn:
                await sleep(0)
                turn = now() + _TURN
        self._check_room(len(records))
        return list(await self._shell.append(records, deadline)) if records else []

    # -- get ------------------------------------------------------------------------

    async def get(
        self,
        block: bool = True,
        timeout: float | None = None,
        id: Any = None,  # noqa: A002 - persist-queue's name for it
        raw: bool = False,
    ) -> Any:
        """Take the next item.

        Args:
            block: wait for an item if there is none.
            timeout: seconds to wait for one; None for as long as it takes.
            id: take the row with this id instead, if it is there; never waits.
            raw: return a dict of ``pqid`` (the row's id), ``data`` and ``timestamp``.

        Raises:
            AsyncEmpty: there was none in time, or no row with this id.
            QueueCorrupt: the next row cannot be decoded (see ``on_corrupt``).
            SerializationError, ItemTooLarge: it is whole but cannot be loaded here.
            AsyncQueueShutDown, QueueClosed: no more items are handed out.
            ValueError: the timeout is negative.
        """
        deadline = Deadline.of(block, timeout)
        if id is None:
            return self._shown((await self._shell.take(1, deadline))[0], raw)
        return self._shown(await self._take_id(row_id(id)), raw)

    async def _take_id(self, number: int) -> Any:
        if not in_range(number):
            raise AsyncEmpty(no_row(number))
        act = partial(self._store.guard, partial(self._store.take_id, number))
        try:
            taken = await self._shell.take(1, Deadline(False), act=act)
        except AsyncEmpty:
            raise AsyncEmpty(no_row(number)) from None
        return taken[0]

    async def get_nowait(self, id: Any = None, raw: bool = False) -> Any:  # noqa: A002
        """Take the next item if there is one now: ``get(block=False)``."""
        return await self.get(False, id=id, raw=raw)

    # -- finish ---------------------------------------------------------------------

    async def task_done(self, count: int | None = None, *, item: Any = NO_ITEM) -> None:
        """Finish what was taken: with ``auto_commit=False`` it does not come again.

        Without arguments it is everything that the calling task took; everybody's
        when the task took nothing.  With ``auto_commit=True`` an item is finished
        when it is taken, and this does nothing.

        Args:
            count: how many, the caller's oldest first.
            item: finish exactly this object, which ``get`` returned.

        Raises:
            ValueError: fewer are unfinished, or ``item`` was not handed out.
        """
        if item is not NO_ITEM:
            await self._shell.item_done(item)
        elif count is None:
            await self._shell.all_done()
        else:
            await self._shell.task_done(whole("count", count, 1))

    @property
    def unfinished_tasks(self) -> int:
        """Items that are stored and not finished, as of the last call."""
        return self._shell.unfinished

    # -- rows -----------------------------------------------------------------------

    async def update(self, item: Any, id: Any = None) -> int:  # noqa: A002
        """Replace a stored item; a row that is not there any more is left alone.

        Args:
            item: the new item, or what ``get(raw=True)`` returned with a new ``data``.
            id: of the row; with it, ``item`` is the new item whatever it is.

        Returns:
            the id.

        Raises:
            ValueError: there is no id; or, in a unique queue, an equal item is there.
            SerializationError, ItemTooLarge: it cannot be stored.
        """
        number, item = to_update(item, id)
        data = self._codec.encode(item)
        if in_range(number):
            await self._write(partial(self._store.update, number, data))
        return number

    async def queue(self) -> list[dict[str, Any]]:
        """Return everything that is stored, in order of id, and leave it there.

        Returns:
            dicts of ``id``, ``data`` and ``timestamp``.
        """
        await self._shell.count()  # opens it; raises if it is closed
        rows: list[dict[str, Any]] = await self._hops.run(
            lambda: self._listed(self._store.all_rows())
        )
        return rows

    async def shrink_disk_usage(self) -> None:
        """Give the space of deleted rows back to the file system; takes a while."""
        await self._shell.count()
        await self._hops.run(self._store.shrink)

    async def _write(self, function: Any) -> Any:
        return await self._shell.request(partial(self._store.guard, function), writes=True)

    # -- look -----------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many items could be taken, as of the last call; ``qsize`` asks anew."""
        return self._store.counts(exact=False)[0]

    @property
    def total(self) -> int:
        """The same."""
        return self.size

    @property
    def _conn(self) -> aiosqlite.Connection | None:  # type: ignore[override]
        return self._hops.connection(self._store.connection)
