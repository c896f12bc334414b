"""``AsyncBroker`` of SimpleBroker's ``async_wrapper``: queues by their names, and watchers."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from .._core.log import warn
from ..async_brokerqueue import AsyncStream
from ._simplebroker_core import AsyncBrokerCore, PooledAsyncSQLiteRunner, stamp_of

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

    from typing_extensions import Self

    from ..async_brokerqueue import AsyncBrokerQueue
    from ..brokerconfig import BrokerConfig


class Watcher:
    """Calls a handler for each message of a queue, until it is stopped."""

    def __init__(
        self, queue: AsyncBrokerQueue[str], handler: Callable[[str, int], Any], peek: bool
    ) -> None:
        self._queue = queue
        self._handler = handler
        self._peek = peek
        self.stopped = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        """Hand messages over one at a time: at least once, on a thread."""
        try:
            async with self._queue.stream(2, peek=self._peek, follow=True) as stream:
                async for body in stream:
                    try:
                        await asyncio.to_thread(self._handler, body, stamp_of(stream.message))
                    except Exception:  # noqa: BLE001 - the next message is another one
                        warn("the handler of a watcher failed", traceback=True)
        except Exception:  # noqa: BLE001 - it is not awaited
            warn("a watcher of %r has ended", self._queue, traceback=True)
        finally:
            self.stopped.set()


class _Stamped(AsyncStream[Any]):
    """A stream of messages with their times."""

    def _current(self) -> tuple[str, int]:
        return super()._current(), stamp_of(self.message)


class AsyncBroker:
    """All queues of a database.

    Args:
        db_path: its file.
        max_workers: threads that read.
        config: settings; None for those of the environment.
    """

    def __init__(
        self,
        db_path: str | os.PathLike[str],
        max_workers: int = 4,
        config: BrokerConfig | None = None,
    ) -> None:
        self._runner = PooledAsyncSQLiteRunner(db_path, max_workers, max_workers, config)
        self._core = AsyncBrokerCore(self._runner)
        self._watchers: list[Watcher] = []

    async def push(self, queue: str, message: str) -> int:
        """Add a message to a queue; returns its id."""
        return await self._core.write(queue, message)

    async def pop(self, queue: str) -> str | None:
        """Take the next message; None if there is none."""
        return await self._queue(queue).read()

    async def peek(self, queue: str) -> str | None:
        """Return the next message and leave it there; None if there is none."""
        return await self._queue(queue).read(peek=True)

    async def size(self, queue: str) -> int:
        """Return how many messages wait."""
        return await self._queue(queue).size()

    async def watch_queue(
        self, queue: str, handler: Callable[[str, int], Any], peek: bool = False
    ) -> asyncio.Event:
        """Have a function called with each message and its time, on a thread.

        Returns:
            an event that is set when that has ended: with the broker.
        """
        watcher = Watcher(self._queue(queue), handler, peek)
        self._watchers.append(watcher)
        return watcher.stopped

    def stream_messages(self, queue: str, batch_size: int = 10) -> AsyncIterator[tuple[str, int]]:
        """Go through messages and their times for ever, waiting for more.

        A message is finished with its batch; leaving the loop gives back those that it has
        not got through with.
        """
        return _Stamped(self._queue(queue), max(batch_size, 2), peek=False, follow=True)

    async def close(self) -> None:
        """Stop the watchers, and let go of the database."""
        for watcher in self._watchers:
            watcher.task.cancel()  # what the handler has not got is given back
            with contextlib.suppress(asyncio.CancelledError):
                await watcher.task
        await self._runner.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _queue(self, name: str) -> AsyncBrokerQueue[str]:
        return self._core.queue(name)
