"""``AsyncBrokerQueue``: a named queue of a broker; ``AsyncStream``: a loop over it; for asyncio."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, overload

from ._broker import readers as brokerreads
from ._broker.options import MOST, PAGE, BrokerQueueFace, Message, Progress
from ._broker.statements import message_id, message_ids
from ._core import call
from ._core.arguments import T, whole
from ._core.deadline import FOREVER, NOW, Deadline
from ._core.queue_tasks import each, holding
from ._core.work import Work
from .exceptions import AsyncEmpty, QueueClosed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from typing_extensions import Self

    from ._core.store import Record
    from ._core.tasks import TaskSession
    from .async_broker import AsyncBroker

__all__ = ["AsyncBrokerQueue", "AsyncStream"]


class AsyncBrokerQueue(BrokerQueueFace[T]):
    """One queue of an ``AsyncBroker``: a handle, as cheap as its name.

    ``AsyncBroker.queue`` makes it.
    """

    _broker: AsyncBroker
    _session: TaskSession

    # -- in -------------------------------------------------------------------------

    async def write(self, item: T) -> int:
        """Store an item and return its id, which no other item of the broker has.

        Raises:
            SerializationError, ItemTooLarge: it cannot be stored; nothing was.
            QueueLocked: another process held the database's lock for too long.
            OSError: it could not be written (a full disk, say); nothing was stored.
            QueueClosed: the broker is closed.
            QueueFailed: a commit failed, or the file was removed; reopen the broker.
        """
        records = self._broker._records(self.name, (item,))
        number: int = (await self._session.run(call.append(records, FOREVER)))[0]
        return number

    async def write_many(self, items: Iterable[T]) -> list[int]:
        """Store items with one commit, all or none, and return their ids."""
        encode, now = self._broker._codec.encode, time.time()
        records = await each(lambda item: (self.name, encode(item), now), items)
        ids: Sequence[int] = ()
        if records:
            ids = await self._session.run(call.append(records, FOREVER))
        return list(ids)

    async def put(self, item: T, block: bool = True, timeout: float | None = None) -> int:
        """Store an item as ``write`` does; it never waits, since there is always room.

        Raises:
            ValueError: the timeout is negative.
            Everything that ``write`` raises.
        """
        Deadline.of(block, timeout)
        return await self.write(item)

    async def put_nowait(self, item: T) -> int:
        """Alias of ``write``."""
        return await self.write(item)

    async def put_many(self, items: Iterable[T]) -> list[int]:
        """Alias of ``write_many``."""
        return await self.write_many(items)

    # -- out ------------------------------------------------------------------------

    async def read(self, peek: bool = False, *, since: float | None = None) -> T | None:
        """Take the next item, or only look at it; None if there is none.  Never waits.

        Args:
            peek: only look.
            since: only an item that was written at this time or later, in seconds since 1970.

        Raises:
            QueueCorrupt: it cannot be decoded (see ``on_corrupt``).
            SerializationError, ItemTooLarge: it is whole but cannot be loaded here.
            QueueClosed: the broker is closed.
        """
        try:
            if peek:
                return await self.peek(since=since)
            item: T = (await self._session.run(self._take(1, NOW, since)))[0].item
        except AsyncEmpty:
            return None
        return item

    async def read_all(self, peek: bool = False, *, since: float | None = None) -> list[T]:
        """Take everything that is there, or only look at it; arguments are those of ``read``."""
        if peek:
            return [message.item for message in await self.browse(since=since, limit=None)]
        try:
            return [record.item for record in await self._session.run(self._take(MOST, NOW, since))]
        except AsyncEmpty:
            return []

    async def get(
        self,
        block: bool = True,
        timeout: float | None = None,
        id: int | None = None,  # noqa: A002 - persist-queue's name for it
    ) -> T:
        """Take the next item.

        Args:
            block: wait for an item if there is none.
            timeout: seconds to wait for one; None for as long as it takes.
            id: take the item with this id instead, if it waits; never waits itself.

        Raises:
            AsyncEmpty: there was none in time.
            ValueError: the timeout is negative.
            Everything that ``read`` raises.
        """
        deadline = Deadline.of(block, timeout)
        if id is None:
            taken = await self._session.run(self._take(1, deadline))
        else:
            act = partial(self._store.take_id, self.name, message_id(id))
            taken = await self._session.run(call.take(1, NOW, act=act, at=self._key))
        item: T = taken[0].item
        return item

    async def get_nowait(self) -> T:
        """Take the next item if there is one now: ``get(block=False)``."""
        item: T = (await self._session.run(self._take(1, NOW)))[0].item
        return item

    async def get_many(self, max_items: int, timeout: float | None = None) -> list[T]:
        """Wait for one item, then take all that are there, in their order.

        Args:
            max_items: the greatest number of items, 1 or more.
            timeout: seconds to wait for the first; None for as long as it takes.
        """
        most = whole("max_items", max_items, 1)
        return [
            record.item
            for record in await self._session.run(self._take(most, Deadline.of(True, timeout)))
        ]

    def process(
        self, block: bool = True, timeout: float | None = None
    ) -> AbstractAsyncContextManager[T]:
        """Take an item for the length of an ``async with`` block.

        It is finished when the block ends, and back in its place when the block raises.
        After an ``Exception`` this object does not hand it out again for
        0.1 s, then twice as long each time, up to 5 s; other items are handed out before that, and
        other objects may take it.  Arguments and errors are those of ``get``.

        In asyncio, the item is back in its place when the block is cancelled, too.
        """
        work = Work(self._hold_one)
        return holding(self, self._session, work, block, timeout)

    def _hold_one(self, deadline: Deadline) -> call.Call[list[Record]]:
        return call.take(1, deadline, True, self._holding(1), self._key)

    def stream(
        self, commit_interval: int = 1, *, peek: bool = False, follow: bool = False
    ) -> AsyncStream[T]:
        """Return an iterator over the items.

        With ``commit_interval=1`` each item is taken, with a commit, before the loop gets it:
        at most once.  With more, that many items are held, and finished with one commit when
        the loop body has had them: at least once.  Leaving the loop, in any way, gives
        back what the body has not got through with; no other consumer gets it before.  No lock and
        no transaction is held meanwhile: the body may do anything.

        Args:
            commit_interval: items for one commit.
            peek: look at the items that are there, and take none.
            follow: wait for more instead of ending when there are no more, until the broker
                is closed.

        Raises:
            QueueClosed: (the loop, without ``follow``) the broker was closed before its end.
            RuntimeError: (the loop) two callers ask for the next item of one stream at a time;
                call this for each.
        """
        interval = whole("commit_interval", commit_interval, 1)
        return AsyncStream(self, interval, peek=peek, follow=follow)

    def __aiter__(self) -> AsyncIterator[T]:
        """Take items until the broker is closed: ``stream(follow=True)``."""
        return self.stream(follow=True)

    # -- look -----------------------------------------------------------------------

    async def peek(self, *, since: float | None = None) -> T:
        """Return the next item and leave it there; ``since`` is that of ``read``.

        Raises:
            AsyncEmpty: there is none.
        """
        messages = await self.browse(since=since, limit=1)
        if not messages:
            raise AsyncEmpty("the queue is empty")
        return messages[0].item

    async def browse(
        self,
        *,
        after: int | None = None,
        before: int | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int | None = 100,
    ) -> list[Message[T]]:
        """Return items with their ids and times, in order of id, and leave them there.

        A page is found by key: the thousandth costs what the first does.

        Args:
            after: only ids above; of the next page, the last id of this one.
            before: only ids below.
            since: only what was written at this time or later, in seconds since 1970.
            until: only what was written before it.
            limit: how many at the most; None for all.
        """
        messages = self._broker._messages(
            self.name, limit, after=after, before=before, since=since, until=until
        )
        return await self._broker._look(messages)

    async def size(self) -> int:
        """Return how many items wait: exact, and at the same cost for any number."""
        return await self._broker._look(partial(brokerreads.size, name=self.name))

    qsize = size

    # threads only: def __len__(self) -> int:
    # threads only:     return self.size()

    # threads only: def __bool__(self) -> bool:
    # threads only:     return True  # a handle, also of a queue that is empty

    async def empty(self) -> bool:
        """Return whether nothing waits."""
        return await self.size() == 0

    async def _page_after(self, last: int) -> list[Record]:
        """Return the next items that a stream looks at."""
        return await self._broker._look(self._broker._seen(self.name, last, PAGE))

    # -- away -----------------------------------------------------------------------

    @overload
    async def move_to(self, to: str, id: int | None = None) -> int | None: ...

    @overload
    async def move_to(self, to: str, *, limit: int) -> list[int]: ...

    async def move_to(
        self,
        to: str,
        id: int | None = None,  # noqa: A002 - persist-queue's name for it
        limit: int | None = None,
    ) -> int | list[int] | None:
        """Move the oldest item, the one with this id, or the ``limit`` oldest, at one stroke.

        Returns:
            its id in the queue ``to``: the same, or a new one where that was taken; None if
            there was nothing to move.  With ``limit`` a list of those.
        """
        if limit is not None and id is None:
            return await self._broker.move(self.name, to, limit=limit)
        if limit is None:
            return await self._broker.move(self.name, to, id=id)
        raise ValueError("give the id of an item or a limit, one of the two")

    async def delete(self, ids: int | Iterable[int]) -> int:
        """Delete items that wait, by their ids; returns how many there were."""
        return await self._broker._write(self._store.delete, self.name, message_ids(ids))

    async def set_aside(self) -> bool:
        """Get past the next item if it cannot be loaded: move it to the table ``corrupt:...``.

        Returns:
            whether it was moved; False if it can be loaded, or there is none.

        Raises:
            FormatError: another serializer wrote the items.
        """
        return await self._broker._write(self._store.set_aside, self.name)

    async def purge(self) -> int:
        """Delete everything that waits; returns how many items."""
        return await self._broker._write(self._store.purge, self.name)


class AsyncStream(Progress[T]):
    """One loop over a queue; ``AsyncBrokerQueue.stream`` makes it."""

    _queue: AsyncBrokerQueue[T]
    _session: TaskSession

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        self._enter()
        try:
            if not self._step():
                await self._refill()
            return self._current()
        except (AsyncEmpty, QueueClosed) as error:
            self._session.passed(self._end())
            if isinstance(error, QueueClosed) and not self._follows:
                raise  # who knows what else was there
            raise StopAsyncIteration from None
        finally:
            self._turn.release()

    async def _refill(self) -> None:
        """Get the next items; raises ``Empty`` when there are none."""
        if self._ended:
            raise AsyncEmpty
        if self._peeks and self._begin(await self._queue._page_after(self._last)):
            return
        act, done = self._way(), self._done()
        key = self._queue._key
        self._begin(
            await self._session.run(
                call.take(self._interval, self._deadline, self._holds, act, key)
            )
        )
        self._session.passed(done)

    async def aclose(self) -> None:
        """Leave the loop: give back what its body has not got through with."""
        if left := self._leave():
            await self._session.give_back(left)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if left := self._leave():
            self._session.give_back_soon(left)
