"""``AsyncSQLBase``: what every queue in an SQL table does, for asyncio."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from .._core import call
from .._core.arguments import NO_ITEM, T, check_room, whole
from .._core.async_queue import AsyncQueueBase
from .._core.deadline import FOREVER, Deadline
from .._core.queue_tasks import each
from ..exceptions import AsyncEmpty

# threads only: from .._core.hooks import Lazy
# threads only: from .names import HOOKS, PutEvent, cursor, new_lock
from .names import ASYNC_HOOKS  # async only
from .rows import Rows, in_range, no_row, row_id, to_update
from .statements import FIFO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .._core.call import R
    from .._core.store import Record
    from .._core.worker import Worker  # async only
    from .rows import RowId
    from .statements import Kind
    from .store import SqlStore


S = TypeVar("S")


class AsyncSQLBase(AsyncQueueBase[T]):
    """A queue in a table of an SQL database; a subclass says in which."""

    _HOOKS: ClassVar = ASYNC_HOOKS  # async only
    # threads only: _HOOKS: ClassVar = HOOKS
    _KIND: Kind = FIFO
    _TABLE_NAME = FIFO.prefix  # in front of the queue's name; a subclass may have its own
    _store: SqlStore
    _rows: Rows
    _worker: Worker  # async only
    name: str
    auto_commit: bool

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "_KIND" in vars(cls):  # each of these has a table of its own, other than its base
            cls._TABLE_NAME = cls._KIND.prefix

    # -- put ------------------------------------------------------------------------

    async def put(self, item: T, block: bool = True, timeout: float | None = None) -> int | None:
        """Store an item.

        Args:
            item: anything that the serializer takes; None is an item like any other.
            block: wait for room if the queue is full.
            timeout: seconds to wait for room; None for as long as it takes.

        Returns:
            the row's id; None if a unique queue holds an equal item already.

        Raises:
            AsyncFull: there was no room in time.
            SerializationError, ItemTooLarge: it cannot be stored; nothing was.
            AsyncQueueShutDown, QueueClosed: no more items are taken in.
            QueueLocked: another process held the database's lock for too long.
            OSError: it could not be written (a full disk, say); nothing was stored.
            QueueFailed: a commit failed, or the file was removed; reopen the queue.
            ValueError: the timeout is negative.
        """
        return await self._put(self._rows.of(item), block, timeout)

    async def put_nowait(self, item: T) -> int | None:
        """Store an item if there is room now: ``put(item, block=False)``."""
        return await self.put(item, False)

    async def put_many(
        self, items: Iterable[T], block: bool = True, timeout: float | None = None
    ) -> list[int | None]:
        """Store items in their order with one commit: all of them or none.

        Args:
            items: read to its end before anything is stored.
            block: wait until there is room for all.
            timeout: seconds to wait for room; None for as long as it takes.

        Returns:
            the rows' ids, as ``put`` returns them.

        Raises:
            ValueError: they are more than ``maxsize``, so they would never fit.
            Everything that ``put`` raises.
        """
        return await self._put_rows(self._rows.of, items, block, timeout)

    async def _put(self, row: tuple[object, ...], block: bool, timeout: float | None) -> int | None:
        deadline = FOREVER if block and timeout is None else Deadline(block, timeout)
        found: int | None = (await self._session.run(call.append([row], deadline)))[0]
        return found

    async def _put_rows(
        self,
        encode: Callable[[S], tuple[object, ...]],
        items: Iterable[S],
        block: bool,
        timeout: float | None,
    ) -> list[int | None]:
        deadline = Deadline.of(block, timeout)
        records = await each(encode, items)
        check_room(len(records), self.maxsize)
        return list(await self._session.run(call.append(records, deadline))) if records else []

    # -- get ------------------------------------------------------------------------

    async def get(
        self,
        block: bool = True,
        timeout: float | None = None,
        id: RowId | None = None,
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
        if id is None and not raw:
            item: T = (await self._session.run(call.take(1, deadline)))[0].item
            return item  # no call behind the take: Ctrl-C comes with calls
        if id is None:
            record = (await self._session.run(call.take(1, deadline)))[0]
        else:
            record = await self._take_id(row_id(id))
        return self._rows.shown(record) if raw else record.item

    async def _take_id(self, number: int) -> Record:
        if not in_range(number):
            raise AsyncEmpty(no_row(number))
        act = partial(self._store.guard, partial(self._store.take_id, number))
        try:
            taken = await self._session.run(call.take(1, Deadline(False), act=act))
        except AsyncEmpty:
            raise AsyncEmpty(no_row(number)) from None
        return taken[0]

    async def get_nowait(self, id: RowId | None = None, raw: bool = False) -> Any:
        """Take the next item if there is one now: ``get(block=False)``."""
        return await self.get(False, id=id, raw=raw)

    # -- finish ---------------------------------------------------------------------

    async def task_done(self, count: int | None = None, *, item: object = NO_ITEM) -> None:
        """Finish what was taken: with ``auto_commit=False`` it is not redelivered any more.

        Without arguments it is everything that the calling task took; if that is nothing,
        what tasks took that have ended; if that is nothing too, everything taken.  Where
        one task takes and another one finishes, name the item.

        In asyncio, ``wait_for(q.get(), 1)`` takes in a task of its own before Python 3.12:
        prefer ``q.get(timeout=1)``.

        With ``auto_commit=True`` an item is finished when it is taken, and this does nothing.

        Args:
            count: how many: in the same order of preference, the oldest first.
            item: finish exactly this object, which ``get`` returned.

        Raises:
            ValueError: fewer are unfinished, or ``item`` was not handed out.
        """
        if item is not NO_ITEM:
            await self._session.run(call.item_done(item))
        elif count is None:
            await self._session.run(call.all_done())
        else:
            await self._session.run(call.task_done(whole("count", count, 1)))

    # -- rows -----------------------------------------------------------------------

    async def update(self, item: object, id: RowId | None = None) -> int:
        """Replace a stored item; a row that is not there any more is left alone.

        Args:
            item: the new item, or what ``get(raw=True)`` returned with a new ``data``.
            id: of the row; with it, ``item`` is the new item, of any type.

        Returns:
            the id.

        Raises:
            ValueError: there is no id; or, in a unique queue, an equal item is there.
            SerializationError, ItemTooLarge: it cannot be stored.
        """
        number, item = to_update(item, id)
        data = self._rows.codec.encode(item)
        if in_range(number):
            await self._write(partial(self._store.update, number, data))
        return number

    async def queue(self) -> list[dict[str, Any]]:
        """Return everything that is stored, in order of id, and leave it there.

        Returns:
            dicts of ``id``, ``data`` and ``timestamp``.
        """
        return await self._look_at(lambda: self._rows.listed(self._store))

    async def _look_at(self, look: Callable[[], R]) -> R:
        await self._session.run(call.count())  # opens it; raises if it is closed
        found: R = await self._worker.run(look)
        return found

    async def _write(self, function: Callable[[], R]) -> R:
        return await self._session.run(call.write(partial(self._store.guard, function)))

    # -- look -----------------------------------------------------------------------

    @property
    def skipped(self) -> int:
        """Damaged rows that this object set aside (``on_corrupt="skip"``)."""
        return self._store.skipped

    @property
    def size(self) -> int:
        """How many items could be taken now.

        In asyncio, after the last call; ``qsize`` asks anew.
        """
        return self._store.counts(exact=False)[0]  # async only
        # threads only: return self.qsize()

    @property
    def unfinished_tasks(self) -> int:
        """Items that are stored and not finished.

        In asyncio, after the last call.
        """
        return self._session.unfinished  # async only
        # threads only: return self._session.run(call.look(lambda: self._store.counts()[1]))

    def __contains__(self, item: object) -> bool:
        raise TypeError("'in' would have to take every item out; queue() lists the items")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} in {self.path!r}>"

    # -- other names of persist-queue -----------------------------------------------

    _KEY_COLUMN = "_id"
    _MEMORY = ":memory:"
    cursor = 0  # async only
    # threads only: cursor = cursor
    # threads only: tran_lock = Lazy(new_lock)
    # threads only: action_lock = Lazy(new_lock)
    # threads only: put_event = Lazy(PutEvent)

    # threads only: def _init(self) -> None:
    # threads only:     """Called at the end of ``__init__``, for subclasses."""

    async def _count(self) -> int:
        return await self.qsize()

    @property
    def total(self) -> int:
        """Alias of ``size``; a value that a program sets is ignored."""
        return self.size

    @total.setter
    def total(self, value: int) -> None:
        """Ignore it: the rows are counted."""

    @property
    def _key_column(self) -> str:
        return self._KEY_COLUMN

    @property
    def _table_name(self) -> str:
        return self._store.table.quoted
