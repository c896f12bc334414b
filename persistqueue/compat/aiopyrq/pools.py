"""``Pool``: items that are due again some time after they were worked on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._redis.pool import POOL_ACK, POOL_ADD, POOL_DUE, POOL_REMOVE, POOL_TAKE
from . import helpers
from ._server import (
    DEFAULT_SYNC_SLAVES_COUNT,
    DEFAULT_SYNC_SLAVES_TIMEOUT,
    Server,
    client_id,
    taken,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_CHUNK_SIZE = 100
DEFAULT_ACK_TTL = 600  # s
DEFAULT_ACK_VALID_FOR = 129600  # s


class Pool:
    """A set of items, each with a time at which it is due.

    Args:
        name: of the pool, which is its key.
        redis: a client of ``redis.asyncio``, a pool of connections, or a connection.
        chunk_size: items in one step.
        synced_slaves_enabled: wait for replicas after each write, but not after a get.
        synced_slaves_count: how many have to confirm it.
        synced_slaves_timeout: milliseconds to wait for them.
        ack_ttl: seconds after which what was handed out and not acked is due again.
        ack_valid_for: seconds after which what was acked is due again.
    """

    def __init__(self, name: str, redis: Any, **kwargs: Any) -> None:
        self.client_id = client_id()
        self.name = name
        self.options = self._load_options(kwargs)
        self._server = Server(redis, self.options)
        self.redis = self._server.redis

    @staticmethod
    def _load_options(kwargs: dict[str, Any]) -> dict[str, Any]:
        defaults = {
            "chunk_size": DEFAULT_CHUNK_SIZE,
            "synced_slaves_enabled": False,
            "synced_slaves_count": DEFAULT_SYNC_SLAVES_COUNT,
            "synced_slaves_timeout": DEFAULT_SYNC_SLAVES_TIMEOUT,
            "ack_ttl": DEFAULT_ACK_TTL,
            "ack_valid_for": DEFAULT_ACK_VALID_FOR,
        }
        return {name: kwargs.get(name, default) for name, default in defaults.items()}

    async def get_count(self) -> int:
        """Return how many items are in the pool."""
        count: int = await self.redis.zcard(self.name)
        return count

    async def get_count_to_process(self) -> int:
        """Return how many items are due."""
        count: int = await self._server.look(POOL_DUE, (self.name,))
        return count

    async def is_in_pool(self, item: Any) -> bool:
        """Return whether an item is in the pool."""
        return await self.redis.zscore(self.name, item) is not None

    async def add_item(self, item: Any) -> None:
        """Add an item, which is due now."""
        await self.add_items([item])

    async def add_items(self, items: Sequence[Any]) -> None:
        """Add items, which are due now."""
        chunks = helpers.create_chunks(items, self.options["chunk_size"])
        await self._server.write(*[("EVAL", POOL_ADD[0], 1, self.name, *chunk) for chunk in chunks])

    async def get_items(self, count: int) -> list[Any]:
        """Return up to ``count`` items that are due; if cancelled, they are due at once."""
        return await taken(self._get_items(count), self._release)

    async def _get_items(self, count: int) -> list[Any]:
        arguments = (self.options["ack_ttl"], count)
        items: list[Any] = await self._server.look(POOL_TAKE, (self.name,), *arguments)
        return items

    async def _release(self, items: Sequence[Any]) -> None:
        await self._server.script(POOL_ACK, (self.name,), (0, *items))

    async def get_all_items(self) -> list[Any]:
        """Return all items that are due."""
        items: list[Any] = []
        while chunk := await self.get_items(self.options["chunk_size"]):
            items += chunk
            if len(chunk) < self.options["chunk_size"]:
                break
        return items

    async def ack_item(self, item: Any) -> None:
        """Mark a handed-out item as worked on."""
        await self.ack_items([item])

    async def ack_items(self, items: Sequence[Any]) -> None:
        """Mark several as worked on."""
        for chunk in helpers.create_chunks(items, self.options["chunk_size"]):
            arguments = (self.options["ack_valid_for"], *chunk)
            await self._server.script(POOL_ACK, (self.name,), arguments)

    async def remove_item(self, item: Any) -> None:
        """Take an item that was handed out out of the pool."""
        await self.remove_items([item])

    async def remove_items(self, items: Sequence[Any]) -> None:
        """Take several out."""
        for chunk in helpers.create_chunks(items, self.options["chunk_size"]):
            await self._server.script(POOL_REMOVE, (self.name,), chunk)

    async def clear_pool(self) -> None:
        """Take all items out."""
        while await self.redis.zremrangebyrank(self.name, 0, self.options["chunk_size"]):
            pass

    async def delete_item(self, item: Any) -> None:
        """Take an item out of the pool, handed out or not."""
        await self.delete_items([item])

    async def delete_items(self, items: Sequence[Any]) -> None:
        """Take several out."""
        chunks = helpers.create_chunks(items, self.options["chunk_size"])
        await self._server.write(*[("ZREM", self.name, *chunk) for chunk in chunks])
