"""A worker's measurements on a MySQL server; ``path`` is a queue's name there."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import persistqueue

from sync_tasks import items

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FILLING = 10_000  # items in one put_many while a queue is filled


@contextmanager
def _opened(kind: str, path: str, where: dict[str, Any]) -> Iterator[Any]:
    """Open a queue; upstream's has no ``close``, and is not found in the package itself."""
    from persistqueue import mysqlqueue  # noqa: PLC0415 - only where PyMySQL is

    queue = getattr(mysqlqueue, kind)(**where, name=path)
    try:
        yield queue
    finally:
        getattr(queue, "close", int)()


def mysql_put(path: str, where: dict[str, Any], count: int) -> float:
    """Put ``count`` items, one by one."""
    batch = items(count)
    with _opened("MySQLQueue", path, where) as queue:
        start = time.perf_counter()
        for item in batch:
            queue.put(item)
        return (time.perf_counter() - start) / count


def mysql_get(path: str, where: dict[str, Any], count: int) -> float:
    """Take ``count`` items that are there, one by one."""
    with _opened("MySQLQueue", path, where) as queue:
        start = time.perf_counter()
        for _ in range(count):
            queue.get()
        return (time.perf_counter() - start) / count


def mysql_put_get(path: str, where: dict[str, Any], count: int) -> float:
    """Put ``count`` items, then take as many; only that is timed."""
    mysql_put(path, where, count)
    return mysql_get(path, where, count)


def mysql_fill(path: str, where: dict[str, Any], count: int) -> float:
    """Put ``count`` items as fast as it goes, for others to measure with."""
    start = time.perf_counter()
    with _opened("MySQLQueue", path, where) as queue:
        for first in range(0, count, _FILLING):
            queue.put_many(items(min(_FILLING, count - first)))
    return (time.perf_counter() - start) / count


def mysql_ack(path: str, where: dict[str, Any], count: int) -> float:
    """Ack ``count`` items, one by one."""
    with _opened("MySQLAckQueue", path, where) as queue:
        queue.put_many(items(count))
        taken = queue.get_many(count)
        start = time.perf_counter()
        for item in taken:
            queue.ack(item)
        return (time.perf_counter() - start) / count


def mysql_async(path: str, where: dict[str, Any], count: int, callers: int, verb: str) -> float:
    """Put or ack about ``count`` items in all from so many tasks at once."""
    return asyncio.run(_async(path, where, max(1, count // callers), callers, verb))


async def _async(path: str, where: dict[str, Any], share: int, callers: int, verb: str) -> float:
    kind = persistqueue.AsyncMySQLQueue if verb == "put" else persistqueue.AsyncMySQLAckQueue
    async with kind(**where, name=path) as queue:
        batch: Any = items(share * callers)
        if verb == "ack":
            await queue.put_many(batch)
            batch = await queue.get_many(len(batch))

        async def run(mine: list[Any]) -> None:
            for item in mine:
                await getattr(queue, verb)(item)

        start = time.perf_counter()
        await asyncio.gather(*(run(batch[n::callers]) for n in range(callers)))
        return (time.perf_counter() - start) / len(batch)


TASKS: dict[str, Callable[..., float]] = {
    task.__name__: task
    for task in (mysql_put, mysql_get, mysql_put_get, mysql_fill, mysql_ack, mysql_async)
}
