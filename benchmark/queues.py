"""The queue types that are measured: one entry each, and nothing else to add."""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from benchmark.report import Report

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from benchmark.progress import Progress

COLUMNS = ("Write", "Write/Read(1 task_done)", "Write/Read(many task_done)")


@dataclass(frozen=True)
class Entry:
    """A row of the table.

    Attributes:
        name: of the row.
        open: returns a new queue, given a path that does not exist and a durability.
        finish: finishes all ``count`` items that were taken with one ``task_done``.
        waits: whether its methods are coroutines.
        needs: a module that it cannot do without.
    """

    name: str
    open: Callable[[str, str], Any]
    finish: Callable[[Any, int], Any] = lambda queue, count: queue.task_done(count)
    waits: bool = False
    needs: str = "persistqueue"

    @property
    def available(self) -> bool:
        """Whether what it needs is installed."""
        return find_spec(self.needs) is not None


def _file_queue(path: str, durability: str) -> Any:
    from persistqueue import Queue  # noqa: PLC0415 - each row imports what it needs

    return Queue(path, durability=durability)


def _async_file_queue(path: str, durability: str) -> Any:
    from persistqueue import AsyncQueue  # noqa: PLC0415 - each row imports what it needs

    return AsyncQueue(path, durability=durability)


ENTRIES = (
    Entry("File Queue", _file_queue),
    Entry("AsyncFileQueue", _async_file_queue, waits=True, needs="aiofiles"),
)


def measure(
    entries: Sequence[Entry], count: int, durability: str, directory: str, bar: Progress
) -> Report:
    """Return the table: seconds for ``count`` items, opening and closing included.

    The queues are made inside ``directory``.
    """
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
        for _ in range(count):
            queue.get()
            if many:
                queue.task_done()
        if not many:
            entry.finish(queue, count)
    queue.close()


async def _with_tasks(entry: Entry, column: str, count: int, path: str, durability: str) -> None:
    queue = entry.open(path, durability)
    for number in range(count):
        await queue.put(f"bench{number}")
    if column != "Write":
        many = column == "Write/Read(many task_done)"
        for _ in range(count):
            await queue.get()
            if many:
                await _outcome(queue.task_done())
        if not many:
            await _outcome(entry.finish(queue, count))
    await _outcome(queue.close())


async def _outcome(result: Awaitable[None] | None) -> None:
    """Await what a coroutine function returned; a plain function is done already."""
    if result is not None:
        await result
