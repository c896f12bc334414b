"""SimpleBroker's async classes, with its names and results, on ``AsyncBroker``.

``async_broker``, ``AsyncBrokerCore``, ``AsyncQueue`` and ``PooledAsyncSQLiteRunner`` of its
``async_pooled_broker``, ``AsyncBroker`` of its ``async_wrapper``, and ``Queue``.  Messages are
text, names are its names, settings come from its ``BROKER_*`` variables.  The database is this
package's; ``Broker.load`` reads a dump of SimpleBroker's.  A file of SimpleBroker's own that
holds messages is refused (``FormatError``).

Better than there: a cancelled read loses nothing, ``write`` returns an id, the body of a
stream may do what it likes, and ``read(all_messages=True)`` returns all messages.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ..brokerconfig import BrokerConfig
from ._simplebroker_core import (
    ROOM,
    AsyncBrokerCore,
    PooledAsyncSQLiteRunner,
    SyncBroker,
    checked_body,
    checked_name,
)
from ._simplebroker_wrapper import AsyncBroker

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Iterator
    from types import TracebackType

    from typing_extensions import Self

__all__ = [
    "AsyncBroker",
    "AsyncBrokerCore",
    "AsyncQueue",
    "PooledAsyncSQLiteRunner",
    "Queue",
    "async_broker",
]

DEFAULT_DB_NAME = "broker.db"


class AsyncQueue:
    """One queue.

    Args:
        name: of the queue.
        broker: what ``async_broker`` gave.
    """

    def __init__(self, name: str, broker: AsyncBrokerCore) -> None:
        self.name = checked_name(name)
        self._core = broker

    async def write(self, message: str) -> int:
        """Add a message; returns its id."""
        return await self._core.write(self.name, message)

    async def read(self, peek: bool = False, all_messages: bool = False) -> Any:
        """Take the next message, or look at it; None if there is none.

        With ``all_messages`` a list of all.
        """
        if all_messages:
            return await self.read_all(peek)
        return await self._core.queue(self.name).read(peek)

    async def read_all(self, peek: bool = False) -> list[str]:
        """Take all messages, or look at them."""
        return await self._core.queue(self.name).read_all(peek)

    def stream(
        self, peek: bool = False, all_messages: bool = True, commit_interval: int = 1
    ) -> AsyncIterator[str]:
        """Go through messages: ``async for message in queue.stream()``.

        With ``commit_interval=1`` a message is gone when the loop gets it.  With more, that
        many are finished together when the loop has had them; leaving it gives the rest back.
        """
        if all_messages:
            queue = self._core.queue(self.name)
            return queue.stream(commit_interval, peek=peek)
        return self._core.stream_read(self.name, peek, False, commit_interval=commit_interval)

    async def size(self) -> int:
        """Return how many messages wait."""
        return await self._core.queue(self.name).size()

    async def move_to(self, destination: str, message_id: int | None = None) -> Any:
        """Move the oldest message, or the one with this id; returns it as a dict, or None."""
        return await self._core.move(self.name, destination, message_id=message_id)


@asynccontextmanager
async def async_broker(
    db_path: str | os.PathLike[str],
    *,
    pool_size: int = 10,
    max_connections: int = 20,
    config: BrokerConfig | None = None,
) -> AsyncIterator[AsyncBrokerCore]:
    """Open a database for the length of an ``async with`` block."""
    runner = PooledAsyncSQLiteRunner(db_path, pool_size, max_connections, config)
    try:
        yield AsyncBrokerCore(runner)
    finally:
        await runner.close()


class Queue:
    """One queue, without asyncio.

    Args:
        name: of the queue.
        db_path: the database's file.
        persistent: accepted; the database is open until ``close``.
        config: settings; None for those of the environment.
    """

    def __init__(
        self,
        name: str,
        *,
        db_path: str | os.PathLike[str] = DEFAULT_DB_NAME,
        persistent: bool = True,  # noqa: ARG002 - see above
        config: BrokerConfig | None = None,
    ) -> None:
        self.name = checked_name(name)
        self._config = config or BrokerConfig.from_env()
        room = self._config.max_item_bytes + ROOM
        self._broker = SyncBroker(db_path, config=self._config, max_item_bytes=room)
        self._queue = self._broker.queue(name)

    def write(self, message: str) -> int:
        """Add a message; returns its id."""
        return self._queue.write(checked_body(message, self._config.max_item_bytes))

    def read(self) -> str | None:
        """Take the next message; None if there is none."""
        return self._queue.read()

    def peek(self) -> str | None:
        """Return the next message and leave it there; None if there is none."""
        return self._queue.read(peek=True)

    def stream(self, commit_interval: int = 1, *, peek: bool = False) -> Iterator[str]:
        """Go through messages."""
        return self._queue.stream(commit_interval, peek=peek)

    def size(self) -> int:
        """Return how many messages wait."""
        return self._queue.size()

    def has_pending(self) -> bool:
        """Return whether a message waits."""
        return not self._queue.empty()

    def delete(self, message_id: int | None = None) -> bool:
        """Delete the message with this id, or all; returns whether there was any."""
        return bool(self._queue.purge() if message_id is None else self._queue.delete(message_id))

    def move(self, destination: str) -> int | None:
        """Move the oldest message to another queue; returns its id there."""
        return self._queue.move_to(checked_name(destination))

    def close(self) -> None:
        """Let go of the database."""
        self._broker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
