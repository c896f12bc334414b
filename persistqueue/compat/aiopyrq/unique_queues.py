"""``UniqueQueue``: equal items wait once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._redis.scripts import MOST, PUT
from . import helpers
from ._server import value_of
from .queues import (  # noqa: F401 - aio-py-rq has these constants here, too
    CHUNK_SIZE,
    DEFAULT_SYNC_SLAVES_COUNT,
    DEFAULT_SYNC_SLAVES_TIMEOUT,
    PROCESSING_SUFFIX,
    PROCESSING_TIMEOUT,
    PROCESSING_TIMEOUT_SUFFIX,
    RETRY_SUFFIX,
    TIMEOUT_SUFFIX,
    Lists,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

SET_QUEUE_SUFFIX = "-unique"


class UniqueQueue(Lists):
    """A queue that takes an item no second time while it waits; arguments as of ``Lists``."""

    _UNIQUE = True

    def __init__(self, queue_name: str, redis: Any, **kwargs: Any) -> None:
        super().__init__(queue_name, redis, **kwargs)
        self.queue_name = queue_name

    @property
    def set_name(self) -> str:
        """The set of what waits."""
        return self._name + SET_QUEUE_SUFFIX

    async def add_item(self, item: Any) -> None:
        """Add an item, as its ``str``, unless it waits already."""
        await self.add_items([item])

    async def add_items(self, items: Sequence[Any]) -> None:
        """Add items; else as ``add_item``."""
        keys = self._keys
        for chunk in helpers.create_chunks(list(map(value_of, items)), MOST):
            names = (keys.base, keys.front, keys.put, *keys.set)
            await self._server.script(PUT, names, ("-", 0, *chunk))

    async def delete_item(self, item: Any) -> None:
        """Delete a waiting item."""
        await self.delete_items([item])

    async def delete_items(self, items: Sequence[Any]) -> None:
        """Delete waiting items."""
        await self._delete(list(map(value_of, items)), 1)
