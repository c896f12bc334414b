"""The queue types that are measured: one entry each."""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import time
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from benchmark.progress import Progress
    from benchmark.report import Report

COLUMNS = ("Write", "Write/Read(1 task_done)", "Write/Read(many task_done)")


@dataclass(frozen=True)
class Entry:
    """A row of the table.

    Attributes:
        name: of the row.
        open: returns a new queue, given a path that does not exist and a durability.
        finish: finishes all items that were taken, given their list, with as few calls as it goes.
        finish_one: finishes one that was taken.
        waits: whether its methods are coroutines.
        needs: a module that must be installed.
    """

    name: str
    open: Callable[[str, str], Any]
    finish: Callable[[Any, list[Any]], Any] = lambda queue, items: queue.task_done(len(items))
    finish_one: Callable[[Any, Any], Any] = lambda queue, item: queue.task_done()  # noqa: ARG005
    waits: bool = False
    needs: str = "persistqueue"

    @property
    def available(self) -> bool:
        """Return whether the module that it needs is installed."""
        return find_spec(self.needs) is not None


def _file_queue(path: str, durability: str) -> Any:
    from persistqueue import Queue  # noqa: PLC0415 - each row imports what it needs

    return Queue(path, durability=durability)


def _async_file_queue(path: str, durability: str) -> Any:
    from persistqueue import AsyncQueue  # noqa: PLC0415 - each row imports what it needs

    return AsyncQueue(path, durability=durability)


def _sql(name: str, **options: Any) -> Callable[[str, str], Any]:
    """Return what opens a queue of the class with this name."""

    def opens(path: str, durability: str) -> Any:
        import persistqueue  # noqa: PLC0415 - each row imports what it needs

        return getattr(persistqueue, name)(path, durability=durability, **options)

    return opens


def _sql_entry(name: str, title: str = "", **options: Any) -> Entry:
    """Return the row of an SQLite class; ``task_done()`` is for all that was taken, or nothing."""
    waits = name.startswith("Async")
    return Entry(
        title or name,
        _sql(name, **options),
        finish=lambda queue, _: queue.task_done(),
        waits=waits,
        needs="aiosqlite" if waits else "sqlite3",
    )


def _ack_each(queue: Any, items: list[Any]) -> None:
    for item in items:
        queue.ack(item)


async def _async_ack_each(queue: Any, items: list[Any]) -> None:
    for item in items:
        await queue.ack(item)


def _acked(entry: Entry) -> Entry:
    """Return the row of an ack queue, where each item is acked, at once or at the end."""
    finish = _async_ack_each if entry.waits else _ack_each
    return replace(entry, finish=finish, finish_one=lambda queue, item: queue.ack(item))


ENTRIES = (
    Entry("File Queue", _file_queue),
    Entry("AsyncFileQueue", _async_file_queue, waits=True, needs="aiofiles"),
    _sql_entry("SQLiteQueue"),
    _sql_entry("SQLiteQueue", "SQLiteQueue (auto_commit=False)", auto_commit=False),
    _sql_entry("FILOSQLiteQueue"),
    _sql_entry("UniqueQ"),
    _sql_entry("PriorityQueue"),
    _acked(_sql_entry("SQLiteAckQueue")),
    _sql_entry("AsyncSQLiteQueue"),
    _sql_entry("AsyncSQLiteQueue", "AsyncSQLiteQueue (auto_commit=False)", auto_commit=False),
    _sql_entry("AsyncFILOSQLiteQueue"),
    _sql_entry("AsyncUniqueQ"),
    _sql_entry("AsyncPriorityQueue"),
    _acked(_sql_entry("AsyncSQLiteAckQueue")),
)


def measure(
    entries: Sequence[Entry], count: int, durability: str, directory: str, bar: Progress
) -> Report:
    """Return the table: seconds for ``count`` items, opening and closing included.

    The queues are made inside ``directory``.
    """
    from benchmark.report import Report  # noqa: PLC0415 - a worker imports none of its package

    report = Report({}, ("Queue type", *COLUMNS))
    for entry in entries:
        seconds = []
        for column in COLUMNS:
            with tempfile.TemporaryDirectory(dir=directory) as folder:
                path = os.path.join(folder, "queue")
                seconds.append(_run(entry, column, count, path, durability))
            bar.step(f"{entry.name}: {column}")
        report.rows.append([entry.name, *(f"{value:.4f}" for value in seconds)])
        report.data.append({"queue": entry.name, **dict(zip(COLUMNS, seconds, strict=True))})
    return report


def cell(path: str, queue: str, column: str, count: int, durability: str) -> float:
    """Return the seconds that an item takes in one cell; what is imported is there before."""
    [entry] = [entry for entry in ENTRIES if entry.name == queue]
    _run(entry, column, 1, f"{path}-first", durability)
    return _run(entry, column, count, path, durability) / count


def _run(entry: Entry, column: str, count: int, path: str, durability: str) -> float:
    """Return the seconds that one cell takes."""
    gc.collect()
    start = time.perf_counter()
    if entry.waits:
        asyncio.run(_with_tasks(entry, column, count, path, durability))
    else:
        _with_threads(entry, column, count, path, durability)
    return time.perf_counter() - start


def _with_threads(entry: Entry, column: str, count: int, path: str, durability: str) -> None:
    queue = entry.open(path, durability)
    for number in range(count):
        queue.put(f"bench{number}")
    if column != "Write":
        many = column == "Write/Read(many task_done)"
        taken = []
        for _ in range(count):
            taken.append(queue.get())
            if many:
                entry.finish_one(queue, taken[-1])
        if not many:
            entry.finish(queue, taken)
    queue.close()


async def _with_tasks(entry: Entry, column: str, count: int, path: str, durability: str) -> None:
    queue = entry.open(path, durability)
    for number in range(count):
        await queue.put(f"bench{number}")
    if column != "Write":
        many = column == "Write/Read(many task_done)"
        taken = []
        for _ in range(count):
            taken.append(await queue.get())
            if many:
                await _outcome(entry.finish_one(queue, taken[-1]))
        if not many:
            await _outcome(entry.finish(queue, taken))
    await _outcome(queue.close())


async def _outcome(result: Awaitable[None] | None) -> None:
    """Await what a coroutine function returned; a plain function is done already."""
    if result is not None:
        await result


TASKS: dict[str, Callable[..., float]] = {"cell": cell}
