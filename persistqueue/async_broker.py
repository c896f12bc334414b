"""``AsyncBroker``: many named queues in one SQLite database, for asyncio."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload

from ._broker import readers as brokerreads
from ._broker.dump import PAGE, Dump, dump_text, opened, records
from ._broker.options import BrokerFace, Message, an_ordinary, different, one_or_all
from ._broker.readers import BrokerStats, QueueInfo, a_pattern
from ._broker.statements import queue_name, which_to_move
from ._broker.transaction import Exited, Transaction, TransactionJobs, TransactionQueue
from ._core import call
from ._core.arguments import absolute
from ._core.async_queue import AsyncOpened
from ._core.deadline import FOREVER
from ._core.inflight import UNLESS_HELD
from ._core.leases import LEASE
from ._core.store import Stale
from ._core.tasks import TaskSession
from ._core.worker import ThreadWorker, in_executor
from ._sql.sqlite.worker import SqliteWorker
from .async_brokerqueue import AsyncBrokerQueue, AsyncStream
from .async_jobqueue import AsyncJobQueue
from .brokerconfig import BrokerConfig
from .serializers import pickle

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Callable, Iterable
    from typing import IO

    from typing_extensions import Unpack

    from ._broker.readers import Ask
    from ._core.store import Store
    from .jobs import JobQueueOptions

__all__ = [
    "AsyncBroker",
    "AsyncBrokerQueue",
    "AsyncStream",
    "BrokerConfig",
    "BrokerStats",
    "Message",
    "QueueInfo",
    "Transaction",
    "TransactionJobs",
    "TransactionQueue",
]

P = ParamSpec("P")
R = TypeVar("R")


class AsyncBroker(BrokerFace, AsyncOpened):
    """Many named queues in one SQLite database.

    Each queue is the table that ``SQLiteQueue(path, name=...)`` uses, so both may work on it,
    at the same time and in any number of processes.  Tasks share an object and its commits.

    In asyncio, the event loop never waits for the disk.

    What survives what: when ``write`` has returned, the item survives loss of power
    (``durability="power"``) or death of the process (``"process"``).  ``read`` and ``get``
    finish an item: at most once.  ``process`` and ``stream(commit_interval=2)`` or more finish
    it when it was worked on: at least once.

    Args:
        path: the database's file, which is created if it is missing; or a directory that is
            there, which holds ``data.db``.  ``":memory:"`` for queues of this object alone.
        pool_size: connections for reading that stay open, beside the one that writes.
        config: settings; ``BrokerConfig.from_env()`` reads the environment.
        serializer: a module of ``persistqueue.serializers``, or any object with
            ``dumps(value)`` and ``loads(data)``.
        timeout: seconds to wait for the database's lock; instead of ``config``'s.
        durability: ``"power"`` or ``"process"``; instead of ``config``'s.
        max_item_bytes: longest encoded item; instead of ``config``'s.
        on_corrupt: ``"raise"`` ``QueueCorrupt`` at an item that cannot be decoded, or
            ``"skip"`` it: set it aside in a table of its own and go on.
        lease: seconds after which others get what streams and ``process`` blocks of this object
            hold, if its process gives no sign of life (it was stopped); None for never.  A thread
            gives the signs, so a block may take as long as it likes.  Death is noticed at once.

    Raises:
        FormatError: the file is no database, or holds something else.
        QueueLocked: another process held the lock for ``timeout`` seconds.
        OSError: the database cannot be created, read or written.
        ValueError, TypeError, AttributeError: an argument is wrong.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        pool_size: int = 4,
        config: BrokerConfig | None = None,
        serializer: Any = pickle,
        timeout: float | None = None,
        durability: str | None = None,
        max_item_bytes: int | None = None,
        on_corrupt: str = "raise",
        lease: float | None = LEASE,
    ) -> None:
        self._set_up(
            path,
            pool_size=pool_size,
            config=config,
            settings={
                "timeout": timeout,
                "durability": durability,
                "max_item_bytes": max_item_bytes,
            },
            serializer=serializer,
            on_corrupt=on_corrupt,
            lease=lease,
        )
        self._worker = SqliteWorker()  # async only
        self._reading = ThreadWorker(in_executor, self._pool_size)  # async only
        # The session of a broker takes by functions of the store, which name the queue.
        store = cast("Store", self._store)
        self._session = TaskSession(store, 0, UNLESS_HELD, self.config.timeout, worker=self._worker)

    # -- queues ---------------------------------------------------------------------

    def queue(self, name: str) -> AsyncBrokerQueue[Any]:
        """Return a queue; it exists from its first item on.

        Args:
            name: any text.  Names that differ in the case of A to Z only are one queue.
        """
        return AsyncBrokerQueue(self, name)

    def jobs(self, name: str, **options: Unpack[JobQueueOptions]) -> AsyncJobQueue[Any]:
        """Return a job queue in the same database: an object of its own, which has to be closed.

        ``tx.jobs(name)`` puts jobs inside ``transact``.

        Args:
            name: of the job queue; queues of the broker do not share its names.
            options: by keyword, as of ``AsyncJobQueue``; serializer, timeout, durability and
                ``max_item_bytes`` are the broker's.

        Raises:
            ValueError: the broker's database is in memory, so that no other object sees it.
            Everything that ``AsyncJobQueue`` raises.
        """
        if self._memory:
            raise ValueError("a database in memory is one object's: give the broker a path")
        return AsyncJobQueue(
            self.path,
            name,
            self._serializer,
            timeout=self.config.timeout,
            durability=self.config.durability,
            max_item_bytes=self.config.max_item_bytes,
            **options,
        )

    async def list_queues(self, pattern: str | None = None) -> list[QueueInfo]:
        """Return the queues in order of their names, with their counts.

        Args:
            pattern: names to list, as ``fnmatch`` understands it: ``worker.*``.
        """
        a_pattern(pattern)
        return await self._look(partial(brokerreads.queues, pattern=pattern))

    async def stats(self) -> BrokerStats:
        """Return the counts of all queues together."""
        return await self._look(brokerreads.stats)

    @overload
    async def move(self, source: str, to: str, *, id: int | None = None) -> int | None: ...

    @overload
    async def move(self, source: str, to: str, *, limit: int) -> list[int]: ...

    async def move(
        self,
        source: str,
        to: str,
        *,
        id: int | None = None,  # noqa: A002 - persist-queue's name for it
        limit: int | None = None,
    ) -> int | list[int] | None:
        """Move the oldest item, the one with this id, or the ``limit`` oldest, at one stroke.

        Returns:
            its id in the queue ``to``: the same, or a new one where that was taken; None if
            there was nothing to move.  With ``limit`` a list of those.
        """
        ids, most = which_to_move(source, to, id, limit)
        moved = await self._write(self._store.move, source, to, ids, most)
        return one_or_all(moved, limit)

    async def broadcast(
        self,
        item: Any,
        *,
        pattern: str | None = None,
        queues: Iterable[str] | None = None,
        create: bool = False,
    ) -> dict[str, int]:
        """Write an item to several queues in one transaction; to all, if nothing says which.

        Args:
            pattern: names of queues, as ``fnmatch`` understands it.
            queues: their names.
            create: create those of ``queues`` that are not there.

        Returns:
            the item's id in each queue, by name.

        Raises:
            NoSuchQueue: one of ``queues`` is not there; nothing was written.
            SerializationError, ItemTooLarge: the item cannot be stored.
        """
        if pattern is not None and queues is not None:
            raise ValueError("give a pattern or the names of queues, one of the two")
        a_pattern(pattern)
        names = None if queues is None else different(queues)
        data = self._codec.encode(item)
        return await self._write(self._broadcast, data, pattern, names, create)

    async def rename(self, name: str, new: str) -> None:
        """Give a queue another name.

        Raises:
            NoSuchQueue: it is not there.
            ValueError: there is one of that name already.
        """
        await self._write(self._store.rename, queue_name(name), queue_name(new))

    async def delete(self, name: str) -> int:
        """Remove a queue with all that is in it; returns how many items waited.

        A ``SQLiteQueue`` that is open on it gets an error at its next call.
        """
        return await self._write(self._store.drop, queue_name(name))

    async def vacuum(self, *, compact: bool = False, force: bool = False) -> None:
        """Give unused space back, and put back what dead processes held.

        Args:
            compact: rebuild the database: smaller, and it takes a while.
            force: put back what the living hold as well.  Such an item is worked on twice.
        """
        await self._write(self._store.tidy, living_too=bool(force))
        shrink = self._store.shrink if compact else self._store.trim
        await self._worker.run(shrink)

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Write a copy of the whole database, as it is at one moment, to a new file.

        Others go on meanwhile.  Items that are handed out and not finished are redelivered where
        the copy is opened.  Never copy the files of an open database by other means (see "How to
        back up").

        Args:
            path: of the copy; nothing may be there.

        Raises:
            FileExistsError: something is.
            OSError: the copy cannot be written; then nothing of it is left.
        """
        backup = partial(self._store.conn.backup, absolute(path))
        if self._memory:
            await self._session.run(call.look(backup))
            return
        await self._session.run(call.count())  # opens it; raises if it is closed
        await self._worker.run(backup)

    async def transact(self, function: Callable[[Transaction], R]) -> R:
        """Run a function as one transaction, with one commit.

        Args:
            function: gets a ``Transaction`` and may write, read, move and delete in any queue,
                and run SQL on tables of your own.  What it raises undoes everything.  It must
                not call the broker itself, and should do nothing else: when a commit fails
                that others share, it is called again.

        Returns:
            what the function returns.
        """
        an_ordinary(function)
        try:
            return await self._write(self._transact, function)
        except Exited as exited:
            raise exited.args[0] from None

    # -- dumps ----------------------------------------------------------------------

    async def dump(
        self, target: str | os.PathLike[str] | IO[str], pattern: str | None = None
    ) -> int:
        """Write what waits as lines of JSON: SimpleBroker's dump format, version 1.

        It shows one moment: items written meanwhile are not in it, and moved ones are in it
        once.  Items that streams hold are not in it.

        Args:
            target: a file's path, or a file that is open for text.
            pattern: names of queues, as ``fnmatch`` understands it.

        Returns:
            how many items were written.
        """
        a_pattern(pattern)
        async with self._opened_file(target, "w") as file:
            if self._memory:
                count, text = await self._look(
                    partial(dump_text, pattern=pattern, codec=self._codec)
                )
                await self._reading.run(partial(file.write, text))  # async only
                # threads only: file.write(text)
                return count
            dump = Dump(file, pattern, self._codec)
            # threads only: return self._look(dump.write)
            # async only
            thread = ThreadWorker(in_executor)
            try:
                return await self._look(dump.write, thread)
            finally:
                dump.stopped = True  # if this was cancelled
                thread.stop()
            # end

    async def load(self, source: str | os.PathLike[str] | IO[str]) -> int:
        """Read a dump, this class's or SimpleBroker's, into these queues.

        Items are put behind those that are there, with new ids, a thousand in a transaction: when
        the dump is damaged somewhere, what comes before stays.

        Args:
            source: a file's path, or a file that is open for text.

        Returns:
            how many items were read.

        Raises:
            FormatError: it is no dump, or a line is damaged (says which), or its items were
                encoded with another serializer.
        """
        count = 0
        async with self._opened_file(source, "r") as file:
            lines = records(file, self._codec)
            # threads only: while batch := list(islice(lines, PAGE)):
            while batch := await self._reading.run(lambda: list(islice(lines, PAGE))):  # async only
                await self._session.run(call.append(batch, FOREVER))
                count += len(batch)
        return count

    # -- for the methods ------------------------------------------------------------

    async def _write(self, function: Callable[P, R], *args: P.args, **options: P.kwargs) -> R:
        """Call a function of the store in a transaction: all of it happens, or nothing."""
        act = partial(function, *args, **options)
        return await self._session.run(call.write(partial(self._store.guard, act)))

    async def _look(
        self,
        function: Callable[[Ask], R],
        worker: ThreadWorker | None = None,  # async only
    ) -> R:
        """Read beside the commits."""
        if self._memory:
            found: R = await self._session.run(call.look(partial(function, self._store.rows)))
            return found
        while True:
            try:
                thread = worker or self._reading  # async only
                return await thread.run(self._readers.read, function)  # async only
                # threads only: return self._readers.read(function)
            except Stale:
                await self._write(self._store.adopt)

    # threads only: _opened_file = staticmethod(opened)
    # async only
    @asynccontextmanager
    async def _opened_file(
        self, target: str | os.PathLike[str] | IO[str], mode: str
    ) -> AsyncGenerator[IO[str], None]:
        """Open a dump on a thread, and close it there."""
        manager = opened(target, mode)
        file = await self._reading.run(manager.__enter__)
        try:
            yield file
        finally:
            await self._reading.run(partial(manager.__exit__, None, None, None))

    # end

    # -- end ------------------------------------------------------------------------

    async def close(self) -> None:
        """Let go of the files; it may be called again.

        Waiting callers wake up with ``QueueClosed``, later calls raise it.  Items that streams and
        ``process`` blocks hold are given back.
        """
        self._close_readers()
        await super().close()

    def _close_readers(self) -> None:
        self._readers.close()
        self._reading.stop()  # async only

    def __del__(self) -> None:
        if hasattr(self, "_session"):  # else the constructor raised
            with suppress(Exception):  # a destructor has no caller to tell
                self._close_readers()
            super().__del__()
