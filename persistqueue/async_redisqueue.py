"""``AsyncRedisQueue`` and ``AsyncRedisUniqueQueue``: queues on a Redis server, for asyncio."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ._core import call
from ._core.arguments import MAX_ITEM_BYTES, NO_ITEM, ON_CORRUPT, T, check_room, one_of, whole
from ._core.async_queue import AsyncQueueBase
from ._core.deadline import Deadline, checked_lease
from ._core.inflight import AckMode, InFlightAcks, InFlightLeased
from ._core.leases import LEASE
from ._core.log import warn
from ._core.queue_tasks import each
from ._core.tasks import TaskSession
from ._core.worker import ThreadWorker, in_executor
from ._redis.scripts import Keys, parts_of
from ._redis.settings import (
    LOCAL,
    Replicas,
    Settings,
    checked_name,
    codec_of,
    is_native,
    native_base,
)
from ._redis.store import RedisStore
from .exceptions import Empty, Full

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ._core.call import Call, Pick, R
    from ._core.inflight import AnyInFlight
    from ._core.store import Record
    from ._redis.recovery import Stamped

__all__ = ["AsyncRedisQueue", "AsyncRedisUniqueQueue", "Empty", "Full"]

AIO_PY_RQ_LEASE = 7200.0  # s; what its collectors count from
_LOST = (
    "task_done(): its lease was over, or it was put back: it is another consumer's, or "
    "comes again; nothing was finished"
)


class AsyncRedisQueue(AsyncQueueBase[T]):
    """A first-in first-out queue on a Redis server, for any number of hosts.

    In asyncio, the event loop never waits for the server, and calls that come together go there
    together: a hundred puts are one command.  ``RedisQueue`` and ``AsyncRedisQueue`` have the
    same keys.

    ::

        async with AsyncRedisQueue("jobs", "redis://localhost:6379/0") as q:
            await q.put("first")
            item = await q.get()
            await q.ack(item)

    In asyncio, ``await AsyncRedisQueue.create("jobs", ...)`` opens it, too; without any of these
    the first call does, and raises what opening raises.  An object serves one event loop at a
    time, and several ``asyncio.run`` one after another.

    In asyncio, cancellation loses nothing: a ``get`` that is cancelled gives back what it took,
    in its place; a ``put`` that is cancelled stored all or nothing.

    It uses the keys of aio-py-rq, so workers of both kinds may share a queue.  Values are
    text: a str comes out as it went in, anything else as its JSON text.  With
    ``serializer=serializers.json`` everything that JSON has comes out as it went in; any
    other serializer takes keys of its own.

    What the server has acknowledged survives the death of any client; what survives the
    server's own death is its setting (``appendonly``, ``appendfsync``).  An item that was taken
    is in the server until it is finished: with ``ack`` or ``task_done``, at the end of a
    ``process`` block or a loop's step.  Items that a consumer held when it died are redelivered,
    in their order, when its ``lease`` is over; ``close`` gives them back at once.  While a
    consumer lives, its leases are renewed.  Delivery is at least once.

    A call whose answer was lost is made again and done once: the server knows the number of
    the last ``put``.  When the server stays away, a put raises ``QueueUnreachable`` with
    ``stored=None``: it is not known whether it is stored.

    Args:
        name: the queue's keys begin with it.  For a Cluster: ``"{jobs}"``.
        redis: a URL, or a client or a connection pool of redis-py, of its asyncio half too.
            Its settings are used for a connection of this object's own.
        maxsize: items that may wait before ``put`` does; 0 or less for no bound.
        serializer: None for text; else as of ``SQLiteQueue``.
        lease: seconds after which others get what this consumer took, unless the lease is
            renewed, as it is while its process lives; None: only by ``re_enqueue_timeout_items``.
        synced_slaves_enabled: wait for replicas after each write.
        synced_slaves_count: the number of replicas that have to confirm it.
        synced_slaves_timeout: milliseconds to wait for them.
        on_corrupt: ``"raise"`` ``QueueCorrupt`` at a value that cannot be decoded, or
            ``"skip"`` it: move it to the list ``<name>-dead``.
        max_item_bytes: longest encoded item, checked before writing and reading.

    Raises:
        ValueError, TypeError, AttributeError: an argument is wrong.
        QueueUnreachable: the server cannot be reached.
        ServerRefused: it answers with an error: a wrong password, say.
        FormatError: the key holds something else, or another serializer's items.
    """

    _UNIQUE = False
    _session: TaskSession
    _store: RedisStore

    def __init__(
        self,
        name: str,
        redis: Any = LOCAL,
        maxsize: int = 0,
        serializer: Any = None,
        *,
        lease: float | None = LEASE,
        synced_slaves_enabled: bool = False,
        synced_slaves_count: int = 0,
        synced_slaves_timeout: int = 100,
        on_corrupt: str = "raise",
        max_item_bytes: int = MAX_ITEM_BYTES,
    ) -> None:
        self.name = checked_name(name)
        self.maxsize = whole("maxsize", maxsize)
        self.serializer = serializer
        self.lease = checked_lease(lease)
        longest = whole("max_item_bytes", max_item_bytes, 1)
        settings, native = Settings(redis), is_native(serializer)
        self.path = f"{settings.label}/{name}"
        codec = codec_of(serializer, unique=self._UNIQUE, longest=longest)
        self._encode = codec.encode
        self._store = RedisStore(
            settings,
            Keys(native_base(name) if native else name, unique=self._UNIQUE),
            codec,
            maxsize=self.maxsize,
            native=native,
            lease=self.lease,
            skip_corrupt=one_of("on_corrupt", on_corrupt, ON_CORRUPT) == "skip",
            replicas=Replicas.of(
                settings, synced_slaves_enabled, synced_slaves_count, synced_slaves_timeout
            ),
        )
        finish = AckMode(partial(InFlightLeased, lost=self._store.held.lost))
        worker = ThreadWorker(in_executor)  # async only
        self._session = TaskSession(self._store, self.maxsize, finish, worker=worker)

    # -- put ------------------------------------------------------------------------

    async def put(self, item: T, block: bool = True, timeout: float | None = None) -> bool | None:
        """Store an item at the end of the queue.

        Args:
            item: anything that the serializer takes.
            block: wait for room if the queue is full.
            timeout: seconds to wait for room; None for as long as it takes.

        Returns:
            None, or of a unique queue whether it was stored (False if an equal item waits).

        Raises:
            AsyncFull: there was no room in time.
            SerializationError, ItemTooLarge: it cannot be stored; nothing was.
            AsyncQueueShutDown, QueueClosed: no more items are taken in.
            QueueUnreachable: the server cannot be reached; its ``stored`` is None if the
                connection was lost before the answer came.
            ServerOutOfMemory, ServerRefused: the server says no; nothing was stored.
            NotEnoughReplicas: it is stored, but too few replicas have confirmed it.
            ValueError: the timeout is negative.
        """
        stored: Sequence[int] = await self._session.run(
            call.append([self._encode(item)], Deadline.of(block, timeout))
        )
        return bool(stored[0]) if self._UNIQUE else None

    async def put_nowait(self, item: T) -> bool | None:
        """Store an item if there is room now: ``put(item, block=False)``."""
        return await self.put(item, False)

    async def put_many(
        self, items: Iterable[T], block: bool = True, timeout: float | None = None
    ) -> list[bool] | None:
        """Store items in their order in one step: all of them or none.

        Args:
            items: read to its end before anything is stored.
            block: wait until there is room for all.
            timeout: seconds to wait for room; None for as long as it takes.

        Returns:
            None; of a unique queue a list of what ``put`` returns.

        Raises:
            ValueError: they are more than ``maxsize``, so they would never fit.
            Everything that ``put`` raises.
        """
        deadline = Deadline.of(block, timeout)
        records = await each(self._encode, items)
        check_room(len(records), self.maxsize)
        stored: Sequence[int] = ()
        if records:
            stored = await self._session.run(call.append(records, deadline))
        return list(map(bool, stored)) if self._UNIQUE else None

    # -- get ------------------------------------------------------------------------

    async def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Take the oldest item; it is this object's until it is finished, or its lease over.

        Args:
            block: wait for an item if there is none.
            timeout: seconds to wait for one; None for as long as it takes.

        Raises:
            AsyncEmpty: there was none in time.
            QueueCorrupt: the next value cannot be decoded (see ``on_corrupt``).
            SerializationError, ItemTooLarge: it is whole but cannot be loaded here.
            AsyncQueueShutDown, QueueClosed: no more items are handed out.
            QueueUnreachable, ServerRefused: the server cannot be asked.
            ValueError: the timeout is negative.
        """
        item: T = (await self._session.run(call.take(1, Deadline.of(block, timeout))))[0].item
        return item

    async def get_nowait(self) -> T:
        """Take the oldest item if there is one now: ``get(block=False)``."""
        return await self.get(False)

    async def get_items(self, count: int) -> list[T]:
        """Take up to ``count`` items without waiting; an empty list says there is none."""
        most = whole("count", count, 0)
        if not most:
            return []
        try:
            return [
                record.item for record in await self._session.run(call.take(most, Deadline(False)))
            ]
        except Empty:
            return []

    # -- finish ---------------------------------------------------------------------

    async def ack(self, item: Any) -> bool:
        """Finish an item: what ``get`` returned, or else an equal one that this object took.

        Returns:
            whether it was this object's.  If its lease was over, it is another consumer's, or
            comes again, and a WARNING says so.
        """
        return await self.ack_many([item]) > 0

    async def ack_many(self, items: Iterable[Any]) -> int:
        """Finish several items in one step; returns how many of them this object had taken."""
        return await self._let_go(items, call.settle_picked)

    async def nack(self, item: Any, *, to: str = "front") -> bool:
        """Give an item back, to be redelivered.  Otherwise as ``ack``.

        Args:
            item: as of ``ack``.
            to: ``"front"``, so that it is next, or ``"back"``, behind all others.
        """
        return await self.nack_many([item], to=to) > 0

    async def nack_many(self, items: Iterable[Any], *, to: str = "front") -> int:
        """Give several items back in one step, in their order; returns how many there were.

        ``to`` is that of ``nack``.  A unique queue drops those that wait again already.
        """
        if one_of("to", to, ("front", "back")) == "front":
            return await self._let_go(items, call.return_picked)
        to_back = partial(self._store.held.move, to_back=True)
        return await self._let_go(items, partial(call.finish, to_back))

    async def _let_go(
        self, items: Iterable[Any], made: Callable[[Pick], Call[Sequence[Record]]]
    ) -> int:
        """Finish items, or give them back, by the calls that are made of their picks."""
        wanted = list(items)
        done, count = 0, len(wanted)
        several = count == 1 and isinstance(wanted[0], (list, tuple, set))
        while wanted:
            finish = made(self._picking(wanted))
            lost = await self._session.run(finish) or ()
            done += len(finish.load) - len(lost)
            # What was lost, this object may have taken again: an equal item is as good.
            wanted = [record.item for record in lost]
        if done < count:
            warn(
                "%s: nothing changed for %d of %d items: finished already, given to others after "
                "their lease, or not taken by this queue object%s",
                self.path,
                count - done,
                count,
                "; ack_many and nack_many take several items" if several else "",
            )
        return done

    def _picking(self, items: Iterable[Any]) -> Pick:
        """Return what picks the records of items: of the very object, else of an equal one."""

        def pick(book: AnyInFlight, owner: object) -> Iterator[Record]:
            assert isinstance(book, InFlightAcks)
            for item in items:
                record = book.same(item, owner) or book.alike(item, owner)
                if record is not None:
                    yield record

        return pick

    async def task_done(self, count: int = 1, *, item: Any = NO_ITEM) -> None:
        """Finish items that were taken.

        Without ``item`` this is a count, as in the standard library: the oldest items
        that the calling task took (the oldest of all when it took none, or when
        the task that took those has ended).

        Args:
            count: how many.
            item: finish exactly this object, which ``get`` returned.

        Raises:
            ValueError: fewer are unfinished, or ``item`` was not handed out; or their lease
                was over, so that they are another consumer's, or come again.
        """
        left, lost = (1 if item is not NO_ITEM else whole("count", count, 1)), 0
        try:
            while left:
                if item is not NO_ITEM:
                    strangers = await self._session.run(call.item_done(item))
                else:
                    strangers = await self._session.run(call.task_done(left))
                left = len(strangers or ())  # this object may have taken them again
                lost += left
        except ValueError:
            if lost:
                raise ValueError(_LOST) from None
            raise

    async def heartbeat(self) -> int:
        """Renew the leases of this consumer's items.

        Returns:
            the number of batches that it holds.
        """
        return await self._do(self._store.held.heartbeat)

    async def newest(self, count: int) -> list[T]:
        """Return the newest ``count`` items that wait, and leave them there; the newest is last."""
        items: list[T] = await self._session.run(
            call.look(partial(self._store.newest, whole("count", count, 1)))
        )
        return items

    # -- by value, and of all consumers ---------------------------------------------

    async def delete_item(self, item: Any, count: int = 0) -> int:
        """Delete waiting items that are equal to this one.

        Args:
            item: encoded, and compared with the stored values.
            count: from the newest on; negative: from the oldest on; 0 for all.

        Returns:
            how many were deleted.
        """
        return await self.delete_items([item], count)

    async def delete_items(self, items: Iterable[Any], count: int = 0) -> int:
        """Delete waiting items that are equal to one of these, as ``delete_item`` does."""
        values = await each(self._encode, items)
        done: int = await self._do(self._store.sweep.delete, values, whole("count", count))
        return done

    async def re_enqueue_timeout_items(self, timeout: float = AIO_PY_RQ_LEASE) -> int:
        """Put back what any consumer took, or renewed, ``timeout`` seconds ago or earlier.

        The oldest item is next.  Items of aio-py-rq's consumers count from their last get.

        Returns:
            the number of batches.
        """
        return await self._swept(self._store.sweep.reclaim, timeout)

    async def re_enqueue_all_items(self) -> int:
        """Put back everything that any consumer has taken; returns how many batches."""
        return await self._swept(self._store.sweep.reclaim, None)

    async def drop_timeout_items(self, timeout: float = AIO_PY_RQ_LEASE) -> int:
        """Delete the items that ``re_enqueue_timeout_items`` would put back; same result."""
        return await self._swept(self._store.sweep.drop, timeout)

    async def drop_all_items(self) -> int:
        """Delete everything that any consumer has taken; returns how many batches."""
        return await self._swept(self._store.sweep.drop, None)

    async def _swept(
        self, verb: Callable[[Sequence[Stamped]], list[bytes]], older: float | None
    ) -> int:
        """Reclaim or drop all lists, a part at a time, and forget what this object had in them."""

        def pick(book: AnyInFlight, _: object) -> list[Record]:
            assert isinstance(book, InFlightAcks)
            return book.within(gone)

        lists = await self._do(self._store.sweep.lists, older)
        for part in parts_of(lists):
            gone = await self._do(self._store.swept, verb, part)
            if gone:
                await self._session.run(call.finish(len, pick))
        if lists:
            await self._do(self._store.sweep.confirm)
        return len(lists)

    async def _do(self, function: Callable[..., R], *arguments: Any) -> R:
        return await self._session.run(call.write(partial(function, *arguments)))

    # -- look -----------------------------------------------------------------------

    @property
    def unfinished_tasks(self) -> int:
        """A lower bound of the items that are stored and not finished, as of the last call."""
        return self._session.unfinished

    @property
    def skipped(self) -> int:
        """Values that this object set aside (``on_corrupt="skip"``)."""
        return self._store.skipped

    @property
    def consumer(self) -> str:
        """The beginning of the names of the lists that hold the items of this object."""
        return self._store.keys.consumer

    def __contains__(self, item: object) -> bool:
        raise TypeError("'in' would have to take every item out; keep a set beside the queue")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path!r}>"


class AsyncRedisUniqueQueue(AsyncRedisQueue[T]):
    """A queue in which equal items wait once; what was taken may be put again.

    Anything but text is stored as ``str(item)``, as aio-py-rq does; with a serializer, dicts
    in key order.
    """

    _UNIQUE = True
