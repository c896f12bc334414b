"""``AsyncRedisQueue`` and ``AsyncRedisUniqueQueue``: queues on a Redis server, for asyncio."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ._core import call
from ._core.arguments import NO_ITEM, T, check_room, one_of, whole
from ._core.async_queue import AsyncQueueBase
from ._core.deadline import Deadline
from ._core.queue_tasks import each
from ._core.tasks import TaskSession
from ._core.worker import ThreadWorker, in_executor
from ._redis.options import AIO_PY_RQ_LEASE, LOST, RedisFace
from ._redis.scripts import parts_of
from .exceptions import Empty, Full

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ._core.call import R
    from ._core.store import Record

__all__ = ["AsyncRedisQueue", "AsyncRedisUniqueQueue", "Empty", "Full"]


class AsyncRedisQueue(RedisFace[T], AsyncQueueBase[T]):
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

    What survives what: that is for the server to say (``appendonly``, ``appendfsync``); what
    it has acknowledged survives the death of any client.  An item that was taken is in the
    server until it is finished: with ``ack`` or ``task_done``, at the end of a ``process``
    block or a loop's step.  Items that a consumer held when it died are redelivered, in their
    order, when its ``lease`` is over; ``close`` gives them back at once.  While a consumer lives,
    its leases are renewed.  Delivery is at least once.

    A call whose answer was lost is made again and done once: the server knows the number of
    the last ``put``.  When the server stays away, that raises ``QueueUnreachable`` with
    ``stored=None``: it is not known whether it is stored.

    Args:
        name: of the queue; its keys begin with it.  For a Cluster: ``"{jobs}"``.
        redis: a URL, or a client or a connection pool of redis-py, of its asyncio half too.
            Its settings are used for a connection of this object's own.
        maxsize: items that may wait before ``put`` does; 0 or less for no bound.
        serializer: None for text; else as of ``SQLiteQueue``.
        layout: ``"shared"`` with aio-py-rq, ``"native"`` for keys of our own; None for what
            the serializer needs.
        lease: seconds after which what this consumer took is given to others, unless it is
            renewed, as it is while its process lives; None: only by ``re_enqueue_timeout_items``.
        synced_slaves_enabled: wait for replicas after each write.
        synced_slaves_count: how many have to confirm it.
        synced_slaves_timeout: milliseconds to wait for them.
        max_retry: for ``can_rollback_item``: tries that are always allowed.
        max_timeout: for ``can_rollback_item``: minutes in which any number is.
        on_corrupt: ``"raise"`` ``QueueCorrupt`` at a value that cannot be decoded, or
            ``"skip"`` it: move it to the list ``<name>-dead``.
        max_item_bytes: longest encoded item, checked before writing and reading.

    Raises:
        ValueError, TypeError, AttributeError: an argument is wrong.
        QueueUnreachable: the server cannot be reached.
        ServerRefused: it answers with an error: a wrong password, say.
        FormatError: the key holds something else, or another serializer's items.
    """

    _session: TaskSession

    def _open_session(self) -> None:
        finish, worker = self._finish_at(), ThreadWorker(in_executor)  # async only
        # threads only: finish = self._finish_at()
        self._session = TaskSession(self._store, self.maxsize, finish, worker=worker)

    # -- put ------------------------------------------------------------------------

    async def put(self, item: T, block: bool = True, timeout: float | None = None) -> Any:
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
        stored = await self._session.run(
            call.append([self._encode(item)], Deadline.of(block, timeout))
        )
        return bool(stored[0]) if self._UNIQUE else None

    async def put_nowait(self, item: T) -> Any:
        """Store an item if there is room now: ``put(item, block=False)``."""
        return await self.put(item, False)

    async def put_many(
        self, items: Iterable[T], block: bool = True, timeout: float | None = None
    ) -> Any:
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
        stored = await self._session.run(call.append(records, deadline)) if records else ()
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
        """Take up to so many items without waiting; an empty list says there is none."""
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
            whether it was this object's; False if its lease was over: then it is another
            consumer's, or comes again.  A WARNING says so.
        """
        return self._said(await self.ack_items([item]), [item]) > 0

    async def ack_many(self, items: Iterable[Any]) -> int:
        """Finish several items in one step; returns how many of them this object had taken."""
        wanted = list(items)
        return self._said(await self.ack_items(wanted), wanted)

    async def ack_items(self, items: Iterable[Any]) -> int:
        """Finish items; returns how many of them were this object's.  See ``ack``."""
        done, wanted = 0, list(items)
        while wanted:
            ack = call.settle_picked(self._picking(wanted))
            lost = await self._session.run(ack)
            done += len(ack.load) - len(lost or ())
            # What was lost, this object may have taken again: an equal item is as good.
            wanted = [record.item for record in lost or ()]
        return done

    async def nack(self, item: Any, *, to: str = "front") -> bool:
        """Give an item back, to be redelivered.  Otherwise as ``ack``.

        Args:
            item: as of ``ack``.
            to: ``"front"``, so that it is next, or ``"back"``, behind all others.
        """
        return await self.nack_many([item], to=to) > 0

    async def nack_many(self, items: Iterable[Any], *, to: str = "front") -> int:
        """Give several items back in one step, in their order; returns how many there were.

        ``to`` is that of ``nack``.
        """
        wanted, back = list(items), one_of("to", to, ("front", "back")) == "back"
        return self._said(await self._reject(wanted, back), wanted)

    async def reject_items(self, items: Iterable[Any]) -> int:
        """Give items back, to the front and in their order; returns how many were this object's.

        A unique queue drops those that wait again already.
        """
        return await self._reject(list(items), False)

    async def _reject(self, wanted: list[Any], back: bool) -> int:
        done = 0
        while wanted:
            pick = self._picking(wanted)
            nack: call.Call[Sequence[Record]] = (
                call.finish(self._store.put_behind, pick) if back else call.return_picked(pick)
            )
            lost = await self._session.run(nack)
            done += len(nack.load) - len(lost or ())
            # What was lost, this object may have taken again: an equal item is as good.
            wanted = [record.item for record in lost or ()]
        return done

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
                raise ValueError(LOST) from None
            raise

    async def heartbeat(self) -> int:
        """Renew the leases of this consumer's items.

        Returns:
            the number of batches that it holds.
        """
        alive: int = await self._session.run(call.write(self._store.heartbeat))
        return alive

    async def newest(self, count: int) -> list[T]:
        """Return the newest ``count`` items that wait, and leave them there; the newest is last."""
        items: list[T] = await self._session.run(
            call.look(partial(self._store.newest, whole("count", count, 1)))
        )
        return items

    async def recover(self, consumer: str) -> int:
        """Put back the items of a consumer that is gone.

        Args:
            consumer: its attribute of this name.

        Returns:
            the number of batches.
        """
        return await self._do(self._store.sweep.recover, consumer)

    # -- the verbs of aio-py-rq -----------------------------------------------------

    async def add_item(self, item: T) -> Any:
        """Do what ``put`` does."""
        return await self.put(item)

    async def add_items(self, items: Iterable[T]) -> Any:
        """Do what ``put_many`` does."""
        return await self.put_many(items)

    async def ack_item(self, item: Any) -> bool:
        """Finish an item: ``ack_items([item])``; returns whether it was taken by this object."""
        return await self.ack_items([item]) > 0

    async def reject_item(self, item: Any) -> bool:
        """Give an item back: ``reject_items([item])``; returns whether there was one."""
        return await self.reject_items([item]) > 0

    async def get_count(self) -> int:
        """Do what ``qsize`` does."""
        return await self.qsize()

    async def delete_item(self, item: Any, count: int = 0) -> int:
        """Delete waiting items that are equal to this one.

        Args:
            item: encoded, and compared with what is stored.
            count: how many, from the newest on; negative: from the oldest on; 0 for all.

        Returns:
            how many were deleted.
        """
        return await self.delete_items([item], count)

    async def delete_items(self, items: Iterable[Any], count: int = 0) -> int:
        """Delete waiting items that are equal to one of these; else as ``delete_item``."""
        values = await each(self._encode, items)
        done: int = await self._do(self._store.sweep.delete, values, whole("count", count))
        return done

    async def re_enqueue_timeout_items(self, timeout: float = AIO_PY_RQ_LEASE) -> int:
        """Put back what any consumer took, or whose lease was renewed, so many seconds ago.

        The oldest is next.  What aio-py-rq's consumers hold counts from their last get.

        Returns:
            the number of batches.
        """
        return await self._swept(self._store.sweep.reclaim, timeout)

    async def re_enqueue_all_items(self) -> int:
        """Put back everything that any consumer has taken; returns how many batches."""
        return await self._swept(self._store.sweep.reclaim, None)

    async def drop_timeout_items(self, timeout: float = AIO_PY_RQ_LEASE) -> int:
        """Delete what ``re_enqueue_timeout_items`` puts back."""
        return await self._swept(self._store.sweep.drop, timeout)

    async def drop_all_items(self) -> int:
        """Delete everything that any consumer has taken; returns how many batches."""
        return await self._swept(self._store.sweep.drop, None)

    async def can_rollback_item(self, item: Any) -> bool:
        """Count one more try of an item, and say whether it may be tried again.

        Returns:
            False if this was more than ``max_retry`` tries, in more than ``max_timeout``
            minutes.

        Raises:
            ValueError: the queue was made without these two.
        """
        self._check_window()
        return not self._blocked(await self._do(self._store.sweep.tried, self._encode(item)))

    async def reset_blocked_item(self, item: Any) -> None:
        """Begin to count the tries of an item anew; ``ack`` does so, too."""
        await self._do(self._store.sweep.forget_tries, self._encode(item))

    async def _swept(self, verb: Any, older: float | None) -> int:
        """Do something to all lists, a part at a time, and forget what this object had in them."""
        lists = await self._do(self._store.sweep.lists, older)
        for part in parts_of(lists):
            gone = await self._do(self._store.swept, verb, part)
            if gone:
                await self._session.run(call.finish(len, self._picking_in(gone)))
        if lists:
            await self._do(self._store.sweep.confirm)
        return len(lists)

    async def _do(self, function: Callable[..., R], *arguments: Any) -> R:
        return await self._session.run(call.write(partial(function, *arguments)))


class AsyncRedisUniqueQueue(AsyncRedisQueue[T]):
    """A queue in which equal items wait once; what was taken may be put again.

    Anything but text is stored as ``str(item)``, as aio-py-rq does; with a serializer, dicts
    in key order.
    """

    _UNIQUE = True
