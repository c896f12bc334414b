"""What a worker measures with threads, or with no more than one: the sync queue."""

from __future__ import annotations

import gc
import inspect
import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import persistqueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FILLING = 10_000  # items in one put_many while a queue is filled


def items(count: int) -> list[dict[str, Any]]:
    """Return dicts that are 100 bytes long with pickle protocol 4."""
    return [
        {"id": number, "user": f"user-{number:08d}", "state": "new", "note": "x" * 27}
        for number in range(100_000, 100_000 + count)
    ]


def construct(queue_type: Any, path: str, durability: str, chunksize: int = 100) -> Any:
    """Return a new object; upstream's know nothing of ``durability``."""
    if "durability" in inspect.signature(queue_type).parameters:
        return queue_type(path, chunksize=chunksize, durability=durability)
    return queue_type(path, chunksize=chunksize)


@contextmanager
def opened(path: str, durability: str, chunksize: int = 100) -> Iterator[Any]:
    """Open a queue; upstream's has no ``close``."""
    queue = construct(persistqueue.Queue, path, durability, chunksize)
    try:
        yield queue
    finally:
        getattr(queue, "close", int)()


def clean_start() -> float:
    """Return the time, when neither garbage nor unwritten pages of others are left."""
    gc.collect()
    if hasattr(os, "sync"):
        os.sync()
    return time.perf_counter()


def put(path: str, count: int, durability: str) -> float:
    """Put ``count`` items, one by one."""
    batch = items(count)
    with opened(path, durability) as queue:
        start = clean_start()
        for item in batch:
            queue.put(item)
        return (time.perf_counter() - start) / count


def get(path: str, count: int, durability: str) -> float:
    """Take and finish ``count`` items, one by one."""
    with opened(path, durability) as queue:
        for item in items(count):
            queue.put(item)
        start = clean_start()
        for _ in range(count):
            queue.get()
            queue.task_done()
        return (time.perf_counter() - start) / count


def threads_put(path: str, count: int, durability: str, threads: int) -> float:
    """Put about ``count`` items in all from several threads at once."""
    share = max(1, count // threads)
    batch = items(share)
    ready = threading.Barrier(threads + 1)

    def run() -> None:
        ready.wait()
        for item in batch:
            queue.put(item)

    with opened(path, durability) as queue, ThreadPoolExecutor(threads) as pool:
        runs = [pool.submit(run) for _ in range(threads)]
        start = clean_start()
        ready.wait()
        for each in runs:
            each.result()
        return (time.perf_counter() - start) / (share * threads)


def put_many(path: str, count: int, durability: str, chunksize: int) -> float:
    """Put ``count`` items with one call."""
    batch = items(count)
    with opened(path, durability, chunksize) as queue:
        start = clean_start()
        queue.put_many(batch)
        return (time.perf_counter() - start) / count


def plain_file(path: str, count: int) -> float:
    """Pickle ``count`` items, one after another, into a file."""
    batch = items(count)
    start = clean_start()
    with open(path, "wb") as file:
        for item in batch:
            pickle.dump(item, file, 4)
    return (time.perf_counter() - start) / count


def fill(path: str, count: int) -> float:
    """Put ``count`` items as fast as it goes, for others to measure with."""
    with opened(path, "process") as queue:
        for first in range(0, count, _FILLING):
            queue.put_many(items(min(_FILLING, count - first)))
    return 0.0


def exchange(path: str, count: int, durability: str, timed: str) -> float:
    """Put ``count`` items and take as many: what waits stays the same in number."""
    batch = items(count)
    with opened(path, durability) as queue:
        start = clean_start()
        for item in batch:
            queue.put(item)
        between = time.perf_counter()
        for _ in range(count):
            queue.get()
            queue.task_done()
        end = time.perf_counter()
    return {"put": between - start, "get": end - between}[timed] / count


TASKS: dict[str, Callable[..., float]] = {
    task.__name__: task for task in (put, get, threads_put, put_many, plain_file, fill, exchange)
}
