# Written by tools/unasync.py: change async_redispool.py instead.
"""``RedisPool``: items that are worked on again and again, on a Redis server, for threads."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

from ._core.arguments import T, whole
from ._core.forks import follow
from ._core.queue_threads import each
from ._redis.pool import PoolFace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["RedisPool"]

R = TypeVar("R")


class RedisPool(PoolFace[T]):
    """A set of items, each of which is due again some time after it was worked on.

    ``get_items`` hands out due items.  ``ack_item`` marks an item as worked on: it is due again
    after ``ack_valid_for`` seconds.  An item that is not acked is due again after
    ``ack_ttl`` seconds, so nothing is lost with a worker that dies.

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
        self._mutex = threading.RLock()  # one call at a time on the connection
        follow(self)

    # -- items ----------------------------------------------------------------------

    def add_item(self, item: T) -> None:
        """Add an item that is due now; an item that is there already becomes due."""
        self.add_items([item])

    def add_items(self, items: Iterable[T]) -> None:
        """Add several items, as ``add_item`` does."""
        self._do(self._add, each(self._encode, items))

    def get_items(self, count: int) -> list[T]:
        """Take up to ``count`` due items, the longest due first; never wait."""
        most = whole("count", count, 0)
        values = self._do(self._take, most)
        try:
            return self._decoded(values)
        except Exception:  # one of them: the others are due as before
            self._do(self._give_back, values)
            raise

    def get_all_items(self) -> list[T]:
        """Return all items that are due now."""
        items: list[T] = []
        while chunk := self.get_items(self.chunk_size):
            items += chunk
            if len(chunk) < self.chunk_size:
                break
        return items

    def ack_item(self, item: T) -> bool:
        """Mark an item as worked on.

        Returns:
            whether it was handed out, and not acked since.
        """
        return self.ack_items([item]) > 0

    def ack_items(self, items: Iterable[T]) -> int:
        """Mark several items as worked on; returns how many of them were handed out."""
        return self._do(self._ack, each(self._encode, items))

    def remove_item(self, item: T) -> bool:
        """Remove a handed-out item from the pool; returns as ``ack_item`` does."""
        return self.remove_items([item]) > 0

    def remove_items(self, items: Iterable[T]) -> int:
        """Remove several items; returns how many of them were handed out."""
        return self._do(self._remove, each(self._encode, items))

    def delete_item(self, item: T) -> bool:
        """Delete an item, handed out or not; returns whether it was there."""
        return self.delete_items([item]) > 0

    def delete_items(self, items: Iterable[T]) -> int:
        """Delete several items; returns how many were there."""
        return self._do(self._delete, each(self._encode, items))

    def clear_pool(self) -> int:
        """Delete all items; returns how many there were."""
        return self._do(self._clear)

    def set_aside(self) -> bool:
        """Move the first item that cannot be loaded to the list ``<key>-dead``.

        It is in the way of ``get_items``, which raises ``QueueCorrupt``, ``SerializationError``
        or ``ItemTooLarge`` each time.  ``skipped`` counts it.

        Returns:
            whether there was one.
        """
        return self._do(self._set_aside)

    # -- look -----------------------------------------------------------------------

    def get_count(self) -> int:
        """Return how many items are in the pool."""
        return self._do(self._count)

    def get_count_to_process(self) -> int:
        """Return how many items are due now."""
        return self._do(self._count_due)

    def is_in_pool(self, item: T) -> bool:
        """Return whether an item is in the pool, due or not."""
        return self._do(self._holds, self._encode(item))

    # -- end ------------------------------------------------------------------------

    def _do(self, function: Callable[..., R], *arguments: Any) -> R:
        with self._mutex:
            return self._run(function, *arguments)

    def close(self) -> None:
        """Close the connection; a second call does nothing."""
        if not self._closed:
            self._shut()

    def _shut(self) -> None:
        with self._mutex:
            self._closed = True
            self._link.drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def after_fork(self) -> None:
        """Forget the connection: it is the parent process's."""
        self._mutex = threading.RLock()
        self._link.forget()

    def __del__(self) -> None:
        link = getattr(self, "_link", None)  # None: the constructor raised
        if link is not None:
            link.drop()
