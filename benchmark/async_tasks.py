"""A worker's measurements of the async queues, with the tasks of an event loop."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sync_tasks import clean_start, construct, items, opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_TICK = 0.001  # s between two looks at the clock


@asynccontextmanager
async def aopened(
    path: str, durability: str, kind: str = "AsyncQueue", **options: Any
) -> AsyncIterator[Any]:
    """Open an async queue."""
    queue = construct(kind, path, durability, **options)
    await queue.qsize()  # both sides open their files at the first call
    try:
        yield queue
    finally:
        await queue.close()


async def _timed(callers: int, one: Callable[[int], Awaitable[None]]) -> float:
    """Return the seconds that ``callers`` tasks take, each awaiting ``one(its number)``."""
    start = clean_start()
    if callers == 1:
        await one(0)
    else:
        await asyncio.gather(*map(one, range(callers)))
    return time.perf_counter() - start


def tasks_put(
    path: str, count: int, durability: str, callers: int, kind: str = "AsyncQueue", **options: Any
) -> float:
    """Put about ``count`` items in all, one by one, from several tasks at once."""
    share = max(1, count // callers)
    batch = items(share)

    async def measure() -> float:
        async def one(_: int) -> None:
            for item in batch:
                await queue.put(item)

        async with aopened(path, durability, kind, **options) as queue:
            return await _timed(callers, one) / (share * callers)

    return asyncio.run(measure())


def tasks_ack(
    path: str, count: int, durability: str, callers: int, kind: str, **options: Any
) -> float:
    """Ack about ``count`` items in all, one by one, from several tasks at once."""
    share = max(1, count // callers)

    async def measure() -> float:
        async def one(number: int) -> None:
            for item in taken[number::callers]:
                await queue.ack(item)

        async with aopened(path, durability, kind, **options) as queue:
            await queue.put_many(items(share * callers))
            taken = await queue.get_many(share * callers)
            return await _timed(callers, one) / (share * callers)

    return asyncio.run(measure())


def tasks_get(path: str, count: int, durability: str, callers: int) -> float:
    """Take and finish about ``count`` items in all, one by one, from several tasks at once."""
    share = max(1, count // callers)
    with opened(path, durability) as queue:  # the same files
        for item in items(share * callers):
            queue.put(item)

    async def measure() -> float:
        async def one(_: int) -> None:
            for _ in range(share):
                await queue.get()
                await queue.task_done()

        async with aopened(path, durability) as queue:
            return await _timed(callers, one) / (share * callers)

    return asyncio.run(measure())


def sql_tasks_get(path: str, count: int, durability: str, callers: int) -> float:
    """Take about ``count`` items in all, which finishes them, one by one, from several tasks."""
    share = max(1, count // callers)

    async def measure() -> float:
        async def one(_: int) -> None:
            for _ in range(share):
                await queue.get()

        # Without auto_commit persist-queue commits what was put at task_done: that is sooner done.
        async with aopened(path, durability, "AsyncSQLiteQueue", auto_commit=False) as queue:
            await asyncio.gather(*map(queue.put, items(share * callers)))
            await queue.task_done()
        async with aopened(path, durability, "AsyncSQLiteQueue") as queue:
            return await _timed(callers, one) / (share * callers)

    return asyncio.run(measure())


def async_put_many(path: str, count: int, durability: str, chunksize: int) -> float:
    """Put ``count`` items with one call."""
    batch = items(count)

    async def measure() -> float:
        async with aopened(path, durability, chunksize=chunksize) as queue:
            start = clean_start()
            await queue.put_many(batch)
            return (time.perf_counter() - start) / count

    return asyncio.run(measure())


def loop_gap(path: str, count: int, durability: str, callers: int) -> float:
    """Return the longest time for which the event loop did not run a task that was ready.

    Meanwhile ``callers`` tasks put, take and finish ``count`` items.
    """
    share = max(1, count // callers)
    batch = items(share)

    async def measure() -> float:
        gaps = []

        async def look() -> None:
            while True:
                start = time.perf_counter()
                await asyncio.sleep(_TICK)
                gaps.append(time.perf_counter() - start - _TICK)

        async def one(_: int) -> None:
            for item in batch:
                await queue.put(item)
                await queue.get()
                await queue.task_done()

        async with aopened(path, durability) as queue:
            clean_start()
            looking = asyncio.create_task(look())
            await asyncio.gather(*map(one, range(callers)))
            looking.cancel()
        return max(gaps, default=0.0)

    return asyncio.run(measure())


def idle(path: str, queues: int, seconds: float) -> float:
    """Return the processor's share that ``queues`` empty queues take, each with a waiting get."""

    async def measure() -> float:
        waiting = [
            construct("AsyncQueue", os.path.join(path, str(number)), "process")
            for number in range(queues)
        ]
        gets = [asyncio.create_task(queue.get()) for queue in waiting]
        await asyncio.sleep(0.5)  # until all of them wait, and the watcher looks seldom
        start, used = time.perf_counter(), time.process_time()
        await asyncio.sleep(seconds)
        share = (time.process_time() - used) / (time.perf_counter() - start)
        for get in gets:
            get.cancel()
        await asyncio.gather(*gets, return_exceptions=True)
        for queue in waiting:
            await queue.close()
        return share

    return asyncio.run(measure())


TASKS: dict[str, Callable[..., float]] = {
    task.__name__: task
    for task in (tasks_put, tasks_get, tasks_ack, sql_tasks_get, async_put_many, loop_gap, idle)
}
