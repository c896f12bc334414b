"""A worker's measurements of the sync queues: with one thread, or several."""

from __future__ import annotations

import gc
import inspect
import os
import pickle
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
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


def construct(
    kind: str, path: str, durability: str, where: dict[str, Any] | None = None, **options: Any
) -> Any:
    """Return a new object of a class; upstream's know nothing of ``durability``.

    Args:
        where: a MySQL server; then the last part of ``path`` is the queue's name.
    """
    if where is not None:
        from persistqueue import mysqlqueue  # noqa: PLC0415 - only where PyMySQL is

        home: Any = mysqlqueue if hasattr(mysqlqueue, kind) else persistqueue
        return getattr(home, kind)(**where, name=os.path.basename(path), **options)
    queue_type = getattr(persistqueue, kind)
    if "durability" in inspect.signature(queue_type).parameters:
        options["durability"] = durability
    return queue_type(path, **options)


@contextmanager
def opened(path: str, durability: str, kind: str = "Queue", **options: Any) -> Iterator[Any]:
    """Open a queue; upstream's ``Queue`` has no ``close``."""
    queue = construct(kind, path, durability, **options)
    try:
        yield queue
    finally:
        getattr(queue, "close", int)()


def clean_start() -> float:
    """Collect garbage and write out unwritten pages, then return the time."""
    gc.collect()
    if hasattr(os, "sync"):
        os.sync()
    return time.perf_counter()


def put(path: str, count: int, durability: str, kind: str = "Queue", **options: Any) -> float:
    """Put ``count`` items, one by one."""
    batch = items(count)
    with opened(path, durability, kind, **options) as queue:
        start = clean_start()
        for item in batch:
            queue.put(item)
        return (time.perf_counter() - start) / count


def get(path: str, count: int, durability: str, kind: str = "Queue", **options: Any) -> float:
    """Take and finish ``count`` items, one by one."""
    with opened(path, durability, kind, **options) as queue:
        for item in items(count):
            queue.put(item)
        start = clean_start()
        for _ in range(count):
            queue.get()
            if kind == "Queue":  # a get of an SQLite queue finishes its item
                queue.task_done()
        return (time.perf_counter() - start) / count


def ack(path: str, count: int, durability: str, kind: str, **options: Any) -> float:
    """Ack ``count`` items, one by one."""
    with opened(path, durability, kind, **options) as queue:
        queue.put_many(items(count))
        taken = queue.get_many(count)
        start = clean_start()
        for item in taken:
            queue.ack(item)
        return (time.perf_counter() - start) / count


def threads_put(
    path: str, count: int, durability: str, threads: int, kind: str = "Queue", **options: Any
) -> float:
    """Put about ``count`` items in all from several threads at once."""
    share = max(1, count // threads)
    batch = items(share)
    ready = threading.Barrier(threads + 1)

    def run() -> None:
        ready.wait()
        for item in batch:
            queue.put(item)

    with opened(path, durability, kind, **options) as queue, ThreadPoolExecutor(threads) as pool:
        runs = [pool.submit(run) for _ in range(threads)]
        start = clean_start()
        ready.wait()
        for each in runs:
            each.result()
        return (time.perf_counter() - start) / (share * threads)


def put_many(path: str, count: int, durability: str, kind: str = "Queue", **options: Any) -> float:
    """Put ``count`` items with one call."""
    batch = items(count)
    with opened(path, durability, kind, **options) as queue:
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


def executemany(path: str, count: int) -> float:
    """Pickle ``count`` items into a table like ``SQLiteQueue``'s, in one transaction, by hand."""
    batch = items(count)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute(
            "CREATE TABLE queue_default"
            " (_id INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB, timestamp FLOAT)"
        )
        start = clean_start()
        with database:
            database.executemany(
                "INSERT INTO queue_default (data, timestamp) VALUES (?, ?)",
                ((pickle.dumps(item, 4), time.time()) for item in batch),
            )
        return (time.perf_counter() - start) / count


def fill(path: str, count: int, kind: str = "Queue", **options: Any) -> float:
    """Put ``count`` items, for others to measure with."""
    with opened(path, "process", kind, **options) as queue:
        for first in range(0, count, _FILLING):
            queue.put_many(items(min(_FILLING, count - first)))
    return 0.0


def exchange(path: str, count: int, kind: str, **options: Any) -> float:
    """Put ``count`` items, then take as many; only that is timed, and as many wait as before."""
    with opened(path, "process", kind, **options) as queue:
        queue.put_many(items(count))
        start = clean_start()
        for _ in range(count):
            queue.get()
        return (time.perf_counter() - start) / count


TASKS: dict[str, Callable[..., float]] = {
    task.__name__: task
    for task in (
        put, get, ack, threads_put, put_many, plain_file, executemany, fill, exchange,
    )
}  # fmt: skip
