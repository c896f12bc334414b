"""aiodiskqueue's interface and its data files, over ``AsyncQueue``.

Change ``from aiodiskqueue import Queue`` into ``from persistqueue.compat.aiodiskqueue import
Queue``: that is the whole migration.  The logger is ``aiodiskqueue``, as before.
"""

from __future__ import annotations

import asyncio
import logging
import os
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..._core.arguments import absolute
from ..._core.queue_tasks import AsyncEmpty, AsyncFull
from ...async_queue import AsyncQueue
from ...exceptions import PersistQueueError, QueueCorrupt
from ..dbm import DbmEngine
from . import engines
from .engines.base import backup_of, engine_of

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Queue", "QueueEmpty", "QueueException", "QueueFull", "engines"]

T = TypeVar("T")
logger = logging.getLogger("aiodiskqueue")
#: Queues in use: two objects of one process on a data file are one queue.
_open: weakref.WeakValueDictionary[tuple[Any, ...], AsyncQueue[Any]] = weakref.WeakValueDictionary()
#: Openings under way, by event loop and the same key.
_opening: dict[tuple[Any, ...], asyncio.Task[AsyncQueue[Any]]] = {}


class QueueException(PersistQueueError):  # aiodiskqueue's name
    """Base of ``QueueEmpty`` and ``QueueFull``."""


class QueueEmpty(QueueException, AsyncEmpty):
    """``get_nowait`` found no item."""


class QueueFull(QueueException, AsyncFull):
    """``put_nowait`` found no room."""


class Queue(Generic[T]):
    """A first-in first-out queue for asyncio that survives a restart, in a data file.

    ``await Queue.create(...)`` makes one.  An item that ``get`` has returned is gone from the
    file; ``join`` waits for a ``task_done`` for each item, also for those that an earlier
    process had put.  A ``get`` that is cancelled leaves its item in the queue; a ``put`` that is
    cancelled has stored its item or nothing.

    Two objects of one process on a data file share one queue; a second process gets
    ``QueueLocked`` as long as the first one has it open.
    """

    _queue: AsyncQueue[T]
    _path: Path

    def __init__(self, *_args: Any, **_options: Any) -> None:
        raise TypeError("Queue can not be instantiated directly: use 'await Queue.create(...)'")

    @classmethod
    async def create(
        cls,
        data_path: str | os.PathLike[str],
        maxsize: int = 0,
        cls_storage_engine: Any = None,
        *,
        durability: str = "power",
    ) -> Self:
        """Open a data file, or create it, and return its queue.

        A damaged file is renamed to ``.bak``, with the reason in the log, and the queue
        begins anew.

        Args:
            data_path: the file; its directory must exist.
            maxsize: items that may wait before ``put`` does; 0 or less for no bound.
            cls_storage_engine: a class of ``engines``, or your own; ``DbmEngine`` when None.
            durability: ``"power"`` or ``"process"``: whether a put that has returned survives a
                loss of power, or only the end of the process.

        Raises:
            ValueError: the suffix is ``.bak``, which is for damaged files.
            TypeError: the engine is no subclass of ``FifoStorageEngine`` or ``StorageEngine``.
            QueueLocked: another process has the file open.
            FormatError: the file was written by another program or engine.
            OSError: the file cannot be read or written.
        """
        path = Path(data_path)
        if path.suffix == ".bak":
            raise ValueError("data_path must not end in .bak: that is for damaged files")
        engine_class = cls_storage_engine or DbmEngine
        engine = engine_of(engine_class)
        if isinstance(maxsize, int) and maxsize < 0:
            maxsize = 0
        key = (_real(path), maxsize, engine_class, durability)
        queue = _open.get(key)
        if queue is None or queue._session._closed:  # noqa: SLF001 - one package
            queue = AsyncQueue(
                path, maxsize, engine=engine, autosave=True, durability=durability,
                on_corrupt="skip",
            )  # fmt: skip
            queue = await _opened_once(key, queue, Path(absolute(path)))
        made = cls.__new__(cls)
        made._queue, made._path = queue, path  # noqa: SLF001 - not through __init__
        return made

    @property
    def maxsize(self) -> int:
        """Items that may wait before ``put`` does; 0 for no bound."""
        return self._queue.maxsize

    def qsize(self) -> int:
        """Return how many items could be taken, as of the last call that has come back."""
        return _ready(self._queue)

    def empty(self) -> bool:
        """Return whether nothing could be taken."""
        return self.qsize() == 0

    def full(self) -> bool:
        """Return whether ``put`` would have to wait."""
        return 0 < self.maxsize <= self.qsize()

    async def put(self, item: T) -> None:
        """Store an item at the end of the queue, and wait for room if it is full.

        Raises:
            SerializationError, ItemTooLarge: the item cannot be stored; nothing was.
            OSError: the file could not be written; nothing was stored.
        """
        await self._queue.put(item)

    async def put_nowait(self, item: T) -> None:
        """Store an item if there is room now.

        Raises:
            ~persistqueue.compat.aiodiskqueue.QueueFull: there is none.
            Everything that ``put`` raises.
        """
        try:
            await self._queue.put(item, block=False)
        except AsyncFull:
            raise QueueFull("the queue is full") from None

    async def get(self) -> T:
        """Take the oldest item, and wait for one if there is none."""
        return await self._queue.get()

    async def get_nowait(self) -> T:
        """Take the oldest item if there is one now.

        Raises:
            ~persistqueue.compat.aiodiskqueue.QueueEmpty: there is none.
        """
        try:
            return await self._queue.get(block=False)
        except AsyncEmpty:
            raise QueueEmpty("the queue is empty") from None

    async def task_done(self) -> None:
        """Mark an item that ``get`` has returned as processed.

        Raises:
            ValueError: it was called more often than items were taken.
        """
        await self._queue.task_done()

    async def join(self) -> None:
        """Wait until there was a ``task_done`` for every item."""
        await self._queue.join()

    async def close(self) -> None:
        """Close the data file (not needed, as in aiodiskqueue: a dropped queue closes its file)."""
        await self._queue.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {str(self._path)!r}>"


async def _opened_once(key: tuple[Any, ...], queue: AsyncQueue[Any], path: Path) -> AsyncQueue[Any]:
    """Open a queue, or wait for the task that opens it; return the open one."""
    mine = (asyncio.get_running_loop(), *key)
    opening = _opening.get(mine)
    if opening is None:
        opening = _opening[mine] = asyncio.ensure_future(_open_or_set_aside(queue, path))
        opening.add_done_callback(lambda _: _opening.pop(mine))
    # Other tasks may wait for it: a cancelled one must not cancel the opening.
    queue = await asyncio.shield(opening)
    _open[key] = queue
    return queue


async def _open_or_set_aside(queue: AsyncQueue[Any], path: Path) -> AsyncQueue[Any]:
    """Open a queue; where its file is damaged, rename that and begin anew."""
    try:
        await queue
    except QueueCorrupt:
        backup = _set_aside(path)
        logger.exception("Data file is corrupt and has been backed up: %s", backup)
        await queue
    if count := _ready(queue):
        logger.info("Read %d items from existing data file: %s", count, path)
    return queue


def _set_aside(path: Path) -> Path:
    backup = backup_of(path)
    # SQLite may have two files beside it; dbm.dumb has three instead of it.
    suffixes = ("", "-wal", "-shm") if path.exists() else (".dat", ".dir", ".bak")
    for suffix in suffixes:
        if os.path.exists(f"{path}{suffix}"):
            os.replace(f"{path}{suffix}", f"{backup}{suffix}")
    return backup


def _real(path: Path) -> str:
    return os.path.realpath(path)


def _ready(queue: AsyncQueue[Any]) -> int:
    """Return how many items could be taken, without waiting for the store."""
    return queue._session.ready  # noqa: SLF001 - one package
