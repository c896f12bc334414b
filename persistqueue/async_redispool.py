"""``AsyncRedisPool``: items that are worked on again and again, on a Redis server, for asyncio."""

from __future__ import annotations

import asyncio

# threads only: import threading
from typing import TYPE_CHECKING, Any, TypeVar

from ._core.arguments import T, whole
from ._core.forks import follow
from ._core.log import warn
from ._core.queue_tasks import each
from ._core.worker import ThreadWorker, in_executor
from ._redis.pool import PoolFace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["AsyncRedisPool"]

R = TypeVar("R")


class AsyncRedisPool(PoolFace[T]):
    """A set of items, each of which is due again some time after it was worked on.

    ``get_items`` hands out due items.  ``ack_item`` marks an item as worked on: it is due again
    after ``ack_valid_for`` seconds.  An item that is not acked is due again after
    ``ack_ttl`` seconds, so nothing is lost with a worker that dies.

    In asyncio, the event loop never waits for the server, and what a ``get_items`` got that was
    cancelled is due at once.  ``RedisPool`` and ``AsyncRedisPool`` have the same key.

    It uses the key of aio-py-rq's ``Pool``, and workers of both kinds may share one.  Items
    are text, as of ``RedisUniqueQueue``.

    Args:
        name: of the pool, which is its key.
        redis: a URL, or a client or a connection pool of redis-py, of its asyncio half too.
        serializer: None for text; else as of ``RedisQueue``.
        ack_ttl: seconds after which what was handed out and not acked is due again.
        ack_valid_for: seconds after which what was acked is due again.
        chunk_size: items in one step of ``get_all_items``.
        synced_slaves_enabled: wait for replicas after each write, but not in ``get_items``.
        synced_slaves_count: how many have to confirm it.
        synced_slaves_timeout: milliseconds to wait for them.
        max_item_bytes: longest encoded item.

    Raises:
        ValueError, TypeError, AttributeError: an argument is wrong.

    Every method raises:
        QueueUnreachable, ServerRefused, FormatError: as of ``RedisQueue``.
        QueueClosed: after ``close``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._worker = ThreadWorker(in_executor)  # async only
        # threads only: self._mutex = threading.RLock()  # one call at a time on the connection
        follow(self)

    # -- items ----------------------------------------------------------------------

    async def add_item(self, item: T) -> None:
        """Add an item that is due now; an item that is there already becomes due."""
        await self.add_items([item])

    async def add_items(self, items: Iterable[T]) -> None:
        """Add several items, as ``add_item`` does."""
        await self._do(self._add, await each(self._encode, items))

    async def get_items(self, count: int) -> list[T]:
        """Take up to ``count`` due items, the longest due first; never wait."""
        most = whole("count", count, 0)
        values = await self._do(self._take, most, undo=self._give_back)  # async only
        # threads only: values = self._do(self._take, most)
        try:
            return self._decoded(values)
        except Exception:  # one of them: the others are due as before
            await self._do(self._give_back, values)
            raise

    async def get_all_items(self) -> list[T]:
        """Return all items that are due now."""
        items: list[T] = []
        while chunk := await self.get_items(self.chunk_size):
            items += chunk
            if len(chunk) < self.chunk_size:
                break
        return items

    async def ack_item(self, item: T) -> bool:
        """Mark an item as worked on.

        Returns:
            whether it was handed out, and not acked since.
        """
        return await self.ack_items([item]) > 0

    async def ack_items(self, items: Iterable[T]) -> int:
        """Mark several items as worked on; returns how many of them were handed out."""
        return await self._do(self._ack, await each(self._encode, items))

    async def remove_item(self, item: T) -> bool:
        """Remove a handed-out item from the pool; returns as ``ack_item`` does."""
        return await self.remove_items([item]) > 0

    async def remove_items(self, items: Iterable[T]) -> int:
        """Remove several items; returns how many of them were handed out."""
        return await self._do(self._remove, await each(self._encode, items))

    async def delete_item(self, item: T) -> bool:
        """Delete an item, handed out or not; returns whether it was there."""
        return await self.delete_items([item]) > 0

    async def delete_items(self, items: Iterable[T]) -> int:
        """Delete several items; returns how many were there."""
        return await self._do(self._delete, await each(self._encode, items))

    async def clear_pool(self) -> int:
        """Delete all items; returns how many there were."""
        return await self._do(self._clear)

    async def set_aside(self) -> bool:
        """Move the first item that cannot be loaded to the list ``<key>-dead``.

        It is in the way of ``get_items``, which raises ``QueueCorrupt``, ``SerializationError``
        or ``ItemTooLarge`` each time.  ``skipped`` counts it.

        Returns:
            whether there was one.
        """
        return await self._do(self._set_aside)

    # -- look -----------------------------------------------------------------------

    async def get_count(self) -> int:
        """Return how many items are in the pool."""
        return await self._do(self._count)

    async def get_count_to_process(self) -> int:
        """Return how many items are due now."""
        return await self._do(self._count_due)

    async def is_in_pool(self, item: T) -> bool:
        """Return whether an item is in the pool, due or not."""
        return await self._do(self._holds, self._encode(item))

    # -- end ------------------------------------------------------------------------

    # async only
    async def _do(
        self,
        function: Callable[..., R],
        *arguments: Any,
        undo: Callable[[R], None] | None = None,
    ) -> R:
        """Call a function on the pool's thread; ``undo`` it there if the caller is gone."""
        hop = self._worker.submit(self._run, function, *arguments)
        try:
            return await asyncio.wrap_future(hop)
        except (asyncio.CancelledError, GeneratorExit):  # GeneratorExit: it is destroyed
            if undo is not None:
                self._worker.start(self._undo, undo, hop)
            raise

    def _undo(self, undo: Callable[[R], None], hop: Future[R]) -> None:
        if hop.cancelled() or hop.exception() is not None:
            return
        try:
            self._run(undo, hop.result())
        except Exception:  # noqa: BLE001 - it is due again after ack_ttl, in any case
            warn("%s: what was taken could not be given back", self.path, traceback=True)

    # end
    # threads only: def _do(self, function: Callable[..., R], *arguments: Any) -> R:
    # threads only:     with self._mutex:
    # threads only:         return self._run(function, *arguments)

    async def close(self) -> None:
        """Close the connection; a second call does nothing."""
        if not self._closed:
            await self._worker.run(self._shut)
            self._worker.stop()  # async only

    def _shut(self) -> None:
        # threads only: with self._mutex:
        self._closed = True  # async only
        self._link.drop()  # async only
        # threads only:     self._closed = True
        # threads only:     self._link.drop()

    # async only
    async def aclose(self) -> None:
        """Alias of ``close``, for ``contextlib.aclosing``."""
        await self.close()

    # end

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def after_fork(self) -> None:
        """Forget the connection: it is the parent process's."""
        # threads only: self._mutex = threading.RLock()
        self._link.forget()

    def __del__(self) -> None:
        link = getattr(self, "_link", None)  # None: the constructor raised
        if link is not None:
            self._worker.stop()  # async only
            link.drop()
