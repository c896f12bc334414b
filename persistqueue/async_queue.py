"""``AsyncQueue``: a first-in first-out queue in a directory, for asyncio."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from ._core import call
from ._core.arguments import (
    DURABILITIES,
    MAX_ITEM_BYTES,
    NO_ITEM,
    ON_CORRUPT,
    T,
    absolute,
    check_room,
    one_of,
    whole,
)
from ._core.async_queue import AsyncQueueBase
from ._core.block import cannot_encode
from ._core.cursor import MOST_RECORDS
from ._core.deadline import FOREVER, Deadline
from ._core.framing import framing_of
from ._core.inflight import AT_TASK_DONE, AUTOSAVE
from ._core.queue_tasks import each
from ._core.tasks import TaskSession
from ._core.worker import ThreadWorker
from ._files.chunks import chunk_name

# threads only: from ._core.hooks import Lazy
# threads only: from ._files import names
# threads only: from ._files.names import HOOKS, atomic_rename, check_hooks
from ._files.names import ASYNC_HOOKS, check_hooks, if_open  # async only
from ._files.store import ChunkFileStore, beside
from .exceptions import Empty, Full, ItemTooLarge
from .serializers import async_pickle, pickle
from .serializers._coroutines import Driven, is_coroutine_function

# async only
try:
    import aiofiles.os
except ModuleNotFoundError:
    raise ImportError(
        'AsyncQueue needs the package aiofiles: pip install "persist-queue[async]"'
    ) from None
# end

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._core.disk import Disk, File
    from .engines._store import EngineStore
    from .engines.base import Engine

__all__ = ["AsyncQueue", "Empty", "Full"]  # async only
# threads only: __all__ = ["Empty", "Full", "Queue", "atomic_rename"]


class AsyncQueue(AsyncQueueBase[T]):
    """A first-in first-out queue that survives a restart, kept in a directory.

    Any number of tasks may share an object, and any number of objects and processes may share
    a directory: all of them may put, one of them may take.  Without ``autosave`` each of
    two objects that take gets EVERY item, not its share of them; the one that finds out
    logs a WARNING, once.  For several consuming processes there is ``AsyncSQLiteAckQueue``.

    In asyncio, the event loop never waits for the disk, and calls that come together share one
    commit.  Objects of ``Queue`` and ``AsyncQueue`` may share a directory.

    ::

        async with AsyncQueue("jobs") as q:
            await q.put({"n": 1})
            item = await q.get()
            await q.task_done()

    In asyncio, ``await AsyncQueue.create("jobs")`` and ``await AsyncQueue("jobs")`` open it,
    too; without any of these the first call opens the queue, and raises what opening raises.
    An object serves one event loop at a time, and several ``asyncio.run`` one after another.

    In asyncio, cancellation loses nothing: a ``get`` that is cancelled gives back what it took,
    in its place; a ``put`` that is cancelled stored all or nothing.

    In asyncio, ``dump`` and ``load`` of a serializer may be coroutine functions.

    What survives what: when ``put`` or ``put_many`` has returned, the items survive
    loss of power (``durability="power"``) or death of the process (``"process"``).
    When ``task_done`` has returned, the item stays finished if the process dies, in any order:
    stored are the oldest unfinished item and which items behind it are finished, as far as there
    is room (about 400 gaps).  With a serializer of your own and with ``engine=`` only the former
    is stored, and all behind it is redelivered after a restart.  A loss of power may
    bring more back, never lose any.  Delivery is at least once.  With ``autosave=True``
    it is at most once: what ``get`` has returned is gone (a loss of power may bring
    the last ones back).

    Items that are taken and not finished are kept in memory: 20,000 items of 1 kB that are
    never finished keep 22 MiB of memory.

    Args:
        path: the directory; created (0700) with its parents.
        maxsize: items that may wait before ``put`` does; 0 or less for no bound.  What
            another object has in hand counts as waiting.
        chunksize: items in one file, for a new queue; an existing one keeps its own.
        tempdir: a directory on the same file system for temporary files; None for
            the queue's own.
        serializer: ``persistqueue.serializers.pickle``, ``msgpack``, ``cbor2``,
            ``json``, or any object with ``dump(value, fp)`` and ``load(fp)``.
        autosave: finish an item when it is taken, instead of at ``task_done``.
        durability: ``"power"`` or ``"process"``: what an acknowledged put survives.
        on_corrupt: ``"raise"`` ``QueueCorrupt`` at a damaged record, or ``"skip"`` it:
            set it aside in a file beside the queue and go on.
        max_item_bytes: longest encoded item, checked before writing and reading.
        engine: where the items are kept, instead of chunk files: a class of
            ``persistqueue.engines``, a function that takes the path and returns an
            engine, or an engine.  ``path`` is then what the engine makes of it (a file,
            mostly), one queue object at a time may have it open, and ``chunksize`` and
            ``tempdir`` mean nothing.

    Raises:
        ValueError, TypeError, AttributeError: an argument is wrong.
        FormatError: another serializer or a newer version wrote the directory.
        QueueCorrupt: it is damaged and cannot be rebuilt.
        QueueLocked: another process held it for 10 s; with ``engine=``, has it open.
        OSError: the directory cannot be created, read or written.
    """

    _HOOKS: ClassVar = ASYNC_HOOKS  # async only
    # threads only: _HOOKS: ClassVar = HOOKS
    _store: ChunkFileStore | EngineStore
    _disk: Disk | None = None  # tests put a disk here that fails or loses power
    _driven: Driven | None = None  # a serializer with coroutine functions  # async only

    def __init__(
        self,
        path: str | os.PathLike[str],
        maxsize: int = 0,
        chunksize: int = 100,
        tempdir: str | os.PathLike[str] | None = None,
        serializer: Any = pickle,
        autosave: bool = False,
        *,
        durability: str = "power",
        on_corrupt: str = "raise",
        max_item_bytes: int = MAX_ITEM_BYTES,
        engine: Engine | None = None,
    ) -> None:
        check_hooks(type(self))
        self.path = absolute(path)
        self.maxsize = whole("maxsize", maxsize)
        self.chunksize = chunksize
        self.tempdir = tempdir
        self.serializer = serializer
        self.autosave = bool(autosave)
        self.durability = durability
        self._longest = max_item_bytes
        self._init(self.maxsize)
        serializer = self._adapted(serializer)  # async only
        self._framing = framing_of(serializer)
        whole("chunksize", chunksize, 1, MOST_RECORDS)
        power = one_of("durability", durability, DURABILITIES) == "power"
        skips = one_of("on_corrupt", on_corrupt, ON_CORRUPT) == "skip"
        whole("max_item_bytes", max_item_bytes, 1)
        store = None
        if engine is not None:
            from .engines._store import store_of  # noqa: PLC0415 - most queues never need it

            store = store_of(
                self.path,
                engine,
                self._framing,
                autosave=self.autosave,
                power=power,
                skip_corrupt=skips,
                longest=max_item_bytes,
            )
        self._store = store or ChunkFileStore(
            self.path,
            self._framing,
            longest=max_item_bytes,
            chunksize=chunksize,
            autosave=self.autosave,
            power=power,
            skip_corrupt=skips,
            tempdir=None if tempdir is None else beside(tempdir, self.path),
            disk=self._disk,
        )
        finish = AUTOSAVE if self.autosave else AT_TASK_DONE
        self._session = TaskSession(
            self._store, self.maxsize, finish, worker=ThreadWorker(aiofiles.os.wrap)
        )

    # -- put ------------------------------------------------------------------------

    async def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """Store an item at the end of the queue.

        Args:
            item: anything that the serializer takes; None is an item like any other.
            block: wait for room if the queue is full.
            timeout: seconds to wait for room; None for as long as it takes.

        Raises:
            AsyncFull: there was no room in time.
            SerializationError, ItemTooLarge: it cannot be stored; nothing was.
            AsyncQueueShutDown, QueueClosed: no more items are taken in.
            OSError: it could not be written (a full disk, say); nothing was stored.
                When a sync failed, the next call sees to that.
            QueueFailed: its directory was exchanged, and nothing was stored; or a sync failed
                before, and still does: a later call tries again.
            ValueError: the timeout is negative.
        """
        deadline = FOREVER if block and timeout is None else Deadline(block, timeout)
        # async only
        if self._driven is not None:
            record = await self._encode_there(self._driven, item)
            await self._session.run(call.append([record], deadline))
            return
        # end
        await self._session.run(call.append([self._encode(item)], deadline))

    async def put_nowait(self, item: T) -> None:
        """Store an item if there is room now: ``put(item, block=False)``."""
        await self.put(item, False)

    async def put_many(
        self, items: Iterable[T], block: bool = True, timeout: float | None = None
    ) -> None:
        """Store items in their order with one commit: all of them or none.

        Args:
            items: read to its end before anything is stored.
            block: wait until there is room for all.
            timeout: seconds to wait for room; None for as long as it takes.

        Raises:
            ValueError: they are more than ``maxsize``, so they would never fit.
            Everything that ``put`` raises.
        """
        deadline = Deadline.of(block, timeout)
        # async only
        if self._driven is not None:
            encode = partial(self._encode_there, self._driven)
            records = await each(encode, items, awaits=True)
        else:
            records = await each(self._encode, items)
        # end
        # threads only: records = [self._encode(item) for item in items]
        check_room(len(records), self.maxsize)
        if records:
            await self._session.run(call.append(records, deadline))

    # -- get ------------------------------------------------------------------------

    async def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Take the oldest item.

        Args:
            block: wait for an item if there is none.
            timeout: seconds to wait for one; None for as long as it takes.

        Raises:
            AsyncEmpty: there was none in time.
            QueueCorrupt: the next record is damaged (see ``on_corrupt``).
            SerializationError, ItemTooLarge: it is whole but cannot be loaded here.
            AsyncQueueShutDown, QueueClosed: no more items are handed out.
            ValueError: the timeout is negative.
        """
        item: T = (await self._session.run(call.take(1, Deadline.of(block, timeout))))[0].item
        return item

    async def get_nowait(self) -> T:
        """Take the oldest item if there is one now: ``get(block=False)``."""
        return await self.get(False)

    # -- finish ---------------------------------------------------------------------

    async def task_done(self, count: int = 1, *, item: object = NO_ITEM) -> None:
        """Finish items that were taken.

        They are not redelivered after a restart, unless there are more gaps between finished
        items than can be stored (about 400).  With a serializer of your own and with ``engine=``
        they are, behind an older unfinished item.

        Without ``item`` this is a count, as in the standard library: the oldest items
        that the calling task took (the oldest of all when it took none, or when
        the task that took those has ended).

        Args:
            count: how many.
            item: finish exactly this object, which ``get`` returned.

        Raises:
            ValueError: fewer are unfinished, or ``item`` was not handed out.
        """
        if item is not NO_ITEM:
            await self._session.run(call.item_done(item))
        else:
            await self._session.run(
                call.task_done(count if count == 1 else whole("count", count, 1))
            )

    # -- look -----------------------------------------------------------------------

    @property
    def unfinished_tasks(self) -> int:
        """Items that are stored or taken and not finished, after the last call."""
        return self._session.unfinished

    @property
    def info(self) -> dict[str, Any]:
        """The content of the file ``info`` after the last call that stored an item.

        With ``engine=`` there is no such file: the numbers are those it would hold.  A value
        that a program sets is ignored.
        """
        return self._store.state.mapping()

    @info.setter
    def info(self, value: dict[str, Any]) -> None:
        """Ignore it: each call reads the file."""

    @property
    def skipped(self) -> int:
        """Damaged records that this object set aside (``on_corrupt="skip"``)."""
        return self._store.skipped

    def __bool__(self) -> bool:
        return True

    def __contains__(self, item: object) -> bool:
        raise TypeError("'in' would have to take every item out; keep a set beside the queue")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path!r}>"

    # -- for the methods ------------------------------------------------------------

    def _encode(self, item: T) -> bytes:
        return self._checked(self._framing.encode(item))

    def _checked(self, record: bytes) -> bytes:
        if len(record) > self._longest:
            raise ItemTooLarge(
                f"the item is {len(record)} bytes long once encoded, "
                f"max_item_bytes is {self._longest}; nothing was stored"
            )
        return record

    # async only
    def _adapted(self, serializer: Any) -> Any:
        """Let coroutine functions run to their end on the store's thread."""
        verbs = [getattr(serializer, verb, None) for verb in ("dump", "load")]
        if serializer is async_pickle or not any(map(is_coroutine_function, verbs)):
            return serializer
        self._driven = Driven(serializer)
        return self._driven

    async def _encode_there(self, driven: Driven, item: T) -> bytes:
        try:
            record = await driven.encode(item)
        except Exception as error:
            raise cannot_encode(self._framing.name, item, error) from error
        return self._checked(record)

    # end
    # -- other names of persist-queue -----------------------------------------------

    update_info = True  # whether info is to be stored: a program may say so
    # threads only: mutex = Lazy(names.new_mutex)
    # threads only: not_empty = Lazy(names.not_empty)
    # threads only: not_full = Lazy(names.not_full)
    # threads only: all_tasks_done = Lazy(names.all_tasks_done)
    # threads only: tailf = names.tailf

    def _init(self, maxsize: int) -> None:
        """Called before the queue is opened, for subclasses."""

    @property
    def headf(self) -> File | None:
        """The chunk file that is written to.

        In asyncio, None while the queue is not open.
        """
        return if_open(self._store.headf)  # async only
        # threads only: return self._store.headf

    # async only
    @property
    def tailf(self) -> File | None:
        """The chunk file that is read from; None while the queue is not open."""
        return if_open(self._store.tailf)

    # end
    def _qfile(self, number: int) -> str:
        return os.path.join(self.path, chunk_name(number))

    def _infopath(self) -> str:
        return os.path.join(self.path, "info")

    def _qsize(self) -> int:
        return self._session.ready  # async only
        # threads only: return self.qsize()

    async def _loadinfo(self) -> dict[str, Any]:
        await self.qsize()
        return self.info
