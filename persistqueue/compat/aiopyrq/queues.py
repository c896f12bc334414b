"""``Queue``: what is put waits in a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._redis.scripts import MOST
from . import helpers
from ._lists import (
    CHUNK_SIZE,
    PROCESSING_SUFFIX,
    PROCESSING_TIMEOUT,
    PROCESSING_TIMEOUT_SUFFIX,
    RETRY_SUFFIX,
    TIMEOUT_SUFFIX,
    Lists,
)
from ._server import DEFAULT_SYNC_SLAVES_COUNT, DEFAULT_SYNC_SLAVES_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "CHUNK_SIZE",
    "DEFAULT_SYNC_SLAVES_COUNT",
    "DEFAULT_SYNC_SLAVES_TIMEOUT",
    "PROCESSING_SUFFIX",
    "PROCESSING_TIMEOUT",
    "PROCESSING_TIMEOUT_SUFFIX",
    "RETRY_SUFFIX",
    "TIMEOUT_SUFFIX",
    "Queue",
]


class Queue(Lists):
    """A first-in first-out queue; arguments are those of ``Lists``."""

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
