"""How the classes of aio-py-rq talk to the server: through the client that they are given."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING, Any

from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError

from ...exceptions import PersistQueueError
from .helpers import check_synced_slaves

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

DEFAULT_SYNC_SLAVES_COUNT = 0
DEFAULT_SYNC_SLAVES_TIMEOUT = 100


def client_of(redis: Any) -> Any:
    """Return a client for a pool, a connection, or a client."""
    if isinstance(redis, AbstractConnection):
        only: Any = lambda **_: redis  # noqa: E731 - called as a class is
        return Redis(connection_pool=BlockingConnectionPool(1, connection_class=only))
    return Redis(connection_pool=redis) if isinstance(redis, ConnectionPool) else redis


def client_id() -> str:
    """Return the name of a consumer that begins now."""
    return f"{socket.gethostname()}[{os.getpid()}][{int(time.time())}]"


class Server:
    """A client, and the number of replicas that have to confirm a write.

    Args:
        redis: a client, a pool, or a connection.
        options: ``synced_slaves_enabled``, ``synced_slaves_count``, ``synced_slaves_timeout``.

    Raises:
        ValueError: it is enabled without a count.
    """

    def __init__(self, redis: Any, options: dict[str, Any]) -> None:
        self.redis = client_of(redis)
        self._count = 0
        if options.get("synced_slaves_enabled"):
            self._count = options.get("synced_slaves_count") or DEFAULT_SYNC_SLAVES_COUNT
            if self._count < 1:
                raise ValueError("synced_slaves_enabled needs synced_slaves_count, of 1 or more")
        self._timeout = options.get("synced_slaves_timeout") or DEFAULT_SYNC_SLAVES_TIMEOUT

    async def write(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Send commands over one connection, and let replicas confirm them.

        Raises:
            NotEnoughSyncedSlavesError: they are done, but too few replicas have confirmed it.
        """
        synced = bool(self._count and commands)
        async with self.redis.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            if synced:
                pipeline.execute_command("WAIT", self._count, self._timeout)
            answers: list[Any] = await pipeline.execute()
        if synced:
            check_synced_slaves(answers.pop(), self._count)
        return answers

    async def script(
        self,
        script: tuple[str, str],
        keys: Sequence[Any],
        arguments: Sequence[Any],
        *behind: tuple[Any, ...],
    ) -> Any:
        """Run a script that writes, and commands behind it; returns the script's answer."""
        rest = (len(keys), *keys, *arguments)
        try:
            answers = await self.write(("EVALSHA", script[1], *rest), *behind)
        except NoScriptError:
            answers = await self.write(("EVAL", script[0], *rest), *behind)
        return answers[0]

    async def look(self, script: tuple[str, str], keys: Sequence[Any], *arguments: Any) -> Any:
        """Run a script whose writing no replica has to confirm."""
        rest = (len(keys), *keys, *arguments)
        try:
            return await self.redis.execute_command("EVALSHA", script[1], *rest)
        except NoScriptError:
            return await self.redis.execute_command("EVAL", script[0], *rest)


async def taken(
    take: Coroutine[Any, Any, list[Any]], give_back: Callable[[list[Any]], Awaitable[None]]
) -> list[Any]:
    """Return what ``take`` returns; if cancelled or destroyed, see it through and give it back."""
    task = asyncio.ensure_future(take)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _see_through(task, give_back)
        raise
    except GeneratorExit:  # nothing can be awaited here
        with contextlib.suppress(RuntimeError):  # the loop is closed
            task.get_loop().call_soon_threadsafe(_see_through_soon, task, give_back)
        raise


async def _see_through(
    task: asyncio.Task[list[Any]], give_back: Callable[[list[Any]], Awaitable[None]]
) -> None:
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    if not task.cancelled() and task.exception() is None and task.result():
        with contextlib.suppress(PersistQueueError):  # it is given back all the same
            await give_back(task.result())


_seen_through: set[asyncio.Task[None]] = set()  # a loop has weak references only


def _see_through_soon(
    task: asyncio.Task[list[Any]], give_back: Callable[[list[Any]], Awaitable[None]]
) -> None:
    job = asyncio.ensure_future(_see_through(task, give_back))
    _seen_through.add(job)
    job.add_done_callback(_seen_through.discard)


def value_of(item: Any) -> Any:
    """Return an item as it is stored: bytes as they are, anything else as its ``str``."""
    return item if isinstance(item, bytes) else str(item)
