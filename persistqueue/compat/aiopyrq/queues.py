"""``Queue``, and the lists that it shares with ``UniqueQueue``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..._redis.scripts import DELETE, DROP, MOST, MOVE, RECLAIM, SETTLE, Keys, script
from . import helpers
from ._server import (
    DEFAULT_SYNC_SLAVES_COUNT,
    DEFAULT_SYNC_SLAVES_TIMEOUT,
    Server,
    client_id,
    taken,
    value_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DEFAULT_SYNC_SLAVES_COUNT", "DEFAULT_SYNC_SLAVES_TIMEOUT", "Lists", "Queue"]

CHUNK_SIZE = 10
RETRY_SUFFIX = "-retry-count"
TIMEOUT_SUFFIX = "-retry-timeout"
PROCESSING_SUFFIX = "-processing"
PROCESSING_TIMEOUT_SUFFIX = "-timeouts"
PROCESSING_TIMEOUT = 7200  # s

#: KEYS pending front timeouts processing [unique]; ARGV how many, now.  One list for all gets.
_GET = script("""
local pending, front, timeouts, processing, unique = unpack(KEYS)
redis.call('llen', pending)
redis.call('hlen', timeouts)
redis.call('llen', processing)
if unique then
    redis.call('scard', unique)
end
local items = redis.call('rpop', front, ARGV[1]) or {}
if #items < tonumber(ARGV[1]) then
    for _, item in ipairs(redis.call('rpop', pending, ARGV[1] - #items) or {}) do
        items[#items + 1] = item
    end
end
if #items > 0 then
    redis.call('lpush', processing, unpack(items))
    if unique then
        redis.call('srem', unique, unpack(items))
    end
end
if redis.call('llen', processing) > 0 then
    redis.call('hset', timeouts, processing, ARGV[2])
end
return items
""")

#: KEYS count timeout; ARGV the item, this minute.  Answers how many tries, since which minute.
_TRIED = script("""
redis.call('hlen', KEYS[2])
if redis.call('hexists', KEYS[1], ARGV[1]) == 0 then
    redis.call('hset', KEYS[2], ARGV[1], ARGV[2])
end
local count = redis.call('hincrby', KEYS[1], ARGV[1], 1)
return {count, tonumber(redis.call('hget', KEYS[2], ARGV[1]) or ARGV[2])}
""")


class Lists:
    """A queue; each of its consumers has one list of what it has taken.

    Args:
        name: of the queue.
        redis: a client of ``redis.asyncio``, a pool, or a connection.
        synced_slaves_enabled: wait for replicas after each write, but not after a get.
        synced_slaves_count: how many have to confirm it.
        synced_slaves_timeout: milliseconds to wait for them; 100.
        max_retry_rollback, max_retry: tries that ``can_rollback_item`` always allows.
        max_timeout_in_queue, max_timeout: minutes in which it allows any number.
    """

    _UNIQUE = False

    def __init__(self, name: str, redis: Any, **kwargs: Any) -> None:
        self.client_id = client_id()
        self.options = kwargs
        self._name = name
        self._keys = Keys(name, unique=self._UNIQUE)
        self._server = Server(redis, kwargs)
        self.redis = self._server.redis
        self._max_retry = kwargs.get("max_retry_rollback") or kwargs.get("max_retry")
        self._max_timeout = kwargs.get("max_timeout_in_queue") or kwargs.get("max_timeout")

    # -- names ----------------------------------------------------------------------

    @property
    def retry_count_name(self) -> str:
        """The hash of how often items were tried."""
        return self._name + RETRY_SUFFIX

    @property
    def retry_timeout_name(self) -> str:
        """The hash of the minutes in which they were first tried."""
        return self._name + TIMEOUT_SUFFIX

    @property
    def processing_queue_name(self) -> str:
        """The list of items that this object has taken."""
        return f"{self._name}{PROCESSING_SUFFIX}-{self.client_id}"

    @property
    def timeouts_hash_name(self) -> str:
        """The hash of when consumers last took something."""
        return self._name + PROCESSING_TIMEOUT_SUFFIX

    # -- items ----------------------------------------------------------------------

    async def get_count(self) -> int:
        """Return how many items wait."""
        keys = self._keys
        return int(await self.redis.llen(keys.base) + await self.redis.llen(keys.front))

    async def get_items(self, count: int) -> list[Any]:
        """Take up to ``count`` items; if cancelled, they are given back."""
        return await taken(self._get_items(count), self.reject_items)

    async def _get_items(self, count: int) -> list[Any]:
        items: list[Any] = []
        keys = self._keys
        names = (keys.base, keys.front, keys.timeouts, self.processing_queue_name, *keys.set)
        while len(items) < count:
            wanted = min(count - len(items), MOST)
            found = await self._server.look(_GET, names, wanted, int(time.time()))
            items += found
            if len(found) < wanted:
                break
        return items

    async def ack_item(self, item: Any) -> None:
        """Finish an item that this object has taken, and forget how often it was tried."""
        await self.ack_items([item])

    async def ack_items(self, items: Sequence[Any]) -> None:
        """Finish items."""
        names = (self._keys.timeouts, self._keys.due, self.processing_queue_name)
        tries = (self.retry_count_name, self.retry_timeout_name)
        for chunk in helpers.create_chunks(list(map(value_of, items)), MOST):
            behind = [("HDEL", name, *chunk) for name in tries]
            await self._server.script(SETTLE, names, (len(chunk), *chunk), *behind)

    async def reject_item(self, item: Any) -> None:
        """Give an item back: it is the next."""
        await self.reject_items([item])

    async def reject_items(self, items: Sequence[Any]) -> None:
        """Give items back, in their order."""
        keys = self._keys
        names = (
            keys.base, keys.front, keys.timeouts, keys.due, keys.base,
            self.processing_queue_name, *keys.set,
        )  # fmt: skip
        values = list(map(value_of, reversed(items)))
        for chunk in helpers.create_chunks(values, MOST):
            pairs = [word for value in chunk for word in (1, value)]
            await self._server.script(MOVE, names, ("rpush", 1, *pairs))

    async def _delete(self, values: Sequence[Any], count: int) -> None:
        keys = self._keys
        for chunk in helpers.create_chunks(values, MOST):
            names = (keys.base, keys.front, *keys.set)
            await self._server.script(DELETE, names, (count, *chunk))

    # -- items that were taken and never finished -----------------------------------

    async def re_enqueue_timeout_items(self, timeout: int = PROCESSING_TIMEOUT) -> None:
        """Put back the items of consumers that took nothing for ``timeout`` seconds."""
        for name, stamp in await self._overdue(timeout):
            await self._reclaim(name, stamp)

    async def re_enqueue_all_items(self) -> None:
        """Put back the items of all consumers."""
        for name, _ in await self._get_sorted_processing_queues():
            await self._reclaim(name, "")

    async def _reclaim(self, name: Any, stamp: Any) -> None:
        """Put a consumer's items back, a part at a time: the server has other clients."""
        keys = self._keys
        names = (keys.base, keys.timeouts, keys.due, name, *keys.set)
        while not await self._server.script(RECLAIM, names, (MOST, 1, stamp)):
            pass

    async def drop_timeout_items(self, timeout: int = PROCESSING_TIMEOUT) -> None:
        """Delete the items of consumers that took nothing for ``timeout`` seconds."""
        for name, stamp in await self._overdue(timeout):
            await self._drop(name, stamp)

    async def drop_all_items(self) -> None:
        """Delete the items of all consumers."""
        for name, _ in await self._get_sorted_processing_queues():
            await self._drop(name, "")

    async def _drop(self, name: Any, stamp: Any) -> None:
        await self._server.script(DROP, (self._keys.timeouts, self._keys.due, name), (stamp,))

    async def _overdue(self, timeout: int) -> list[tuple[Any, Any]]:
        now = int(time.time())
        consumers = await self._get_sorted_processing_queues()
        return [(name, stamp) for name, stamp in consumers if int(float(stamp)) + timeout < now]

    async def _get_sorted_processing_queues(self) -> list[tuple[Any, Any]]:
        scan = self.redis.hscan_iter(self.timeouts_hash_name)
        return sorted(await helpers.async_iterate_to_list(scan), reverse=True)

    # -- the retry window -----------------------------------------------------------

    async def can_rollback_item(self, item: Any) -> bool:
        """Count one more try of an item; return whether it may be tried again.

        Raises:
            ValueError: the window is not given.
        """
        if not self._max_retry or not self._max_timeout:
            raise ValueError(
                "can_rollback_item needs max_retry_rollback and max_timeout_in_queue "
                "(or max_retry and max_timeout): give both"
            )
        minute = int(time.time() / 60)
        keys = (self.retry_count_name, self.retry_timeout_name)
        count, since = await self._server.look(_TRIED, keys, value_of(item), minute)
        return not (count > self._max_retry and minute - since > self._max_timeout)

    async def reset_blocked_item(self, item: Any) -> None:
        """Begin to count the tries of an item anew."""
        await self.redis.hdel(self.retry_count_name, value_of(item))
        await self.redis.hdel(self.retry_timeout_name, value_of(item))


class Queue(Lists):
    """A first-in first-out queue: what is put waits in a list; arguments as of ``Lists``."""

    def __init__(self, name: str, redis: Any, **kwargs: Any) -> None:
        super().__init__(name, redis, **kwargs)
        self.name = name

    async def add_item(self, item: Any) -> int:
        """Add an item: str, bytes, int or float; returns how many wait now."""
        (length,) = await self._server.write(("LPUSH", self._name, item))
        return int(length)

    async def add_items(self, items: Sequence[Any]) -> None:
        """Add items."""
        chunks = helpers.create_chunks(items, MOST)
        await self._server.write(*[("LPUSH", self._name, *chunk) for chunk in chunks])

    async def delete_item(self, item: Any, count: int = 0) -> None:
        """Delete waiting items: ``count`` of them from the newest on, 0 for all."""
        await self.delete_items([item], count)

    async def delete_items(self, items: Sequence[Any], count: int = 0) -> None:
        """Delete waiting items; of each as ``delete_item``."""
        await self._delete(items, count)
