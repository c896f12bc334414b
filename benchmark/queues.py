"""The queue types that are measured: one entry each."""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmark.progress import Progress
    from benchmark.report import Report

COLUMNS = ("Write", "Write/Read(1 task_done)", "Write/Read(many task_done)")


@dataclass(frozen=True)
class Entry:
    """A row of the table.

    Attributes:
        name: of the row.
        kind: the name of the class.
        options: of the class.
    """

    name: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def waits(self) -> bool:
        """Whether its methods are coroutines."""
        return self.kind.startswith("Async")

    @property
    def needs(self) -> str:
        """A module that must be installed."""
        if not self.waits:
            return "persistqueue"
        return "aiofiles" if self.kind == "AsyncQueue" else "aiosqlite"

    @property
    def available(self) -> bool:
        """Whether the module that it needs is installed."""
        return find_spec(self.needs) is not None

    def open(self, path: str, durability: str) -> Any:
        """Return a new queue, at a path that does not exist."""
        import persistqueue  # noqa: PLC0415 - a worker's package is not always this one

        return getattr(persistqueue, self.kind)(path, durability=durability, **self.options)

    def finishing(self, taken: list[Any]) -> list[tuple[str, tuple[Any, ...]]]:
        """Return the calls that finish items which were taken, as few as it goes."""
        if "Ack" in self.kind:
            return [("ack", (item,)) for item in taken]
        # Of a SQLite class it is for all that was taken, or for nothing.
        return [("task_done", (len(taken),) if self.kind in ("Queue", "AsyncQueue") else ())]


def _entries() -> Iterator[Entry]:
    yield Entry("File Queue", "Queue")
    yield Entry("AsyncFileQueue", "AsyncQueue")
    for prefix in ("", "Async"):
        name = f"{prefix}SQLiteQueue"
        yield Entry(name, name)
        yield Entry(f"{name} (auto_commit=False)", name, {"auto_commit": False})
        for kind in ("FILOSQLiteQueue", "UniqueQ", "PriorityQueue", "SQLiteAckQueue"):
            yield Entry(prefix + kind, prefix + kind)


ENTRIES = tuple(_entries())


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
    for part in _parts(column, count):
        taken = [queue.get() for _ in range(part)]
        for verb, arguments in entry.finishing(taken):
            getattr(queue, verb)(*arguments)
    queue.close()


async def _with_tasks(entry: Entry, column: str, count: int, path: str, durability: str) -> None:
    queue = entry.open(path, durability)
    for number in range(count):
        await queue.put(f"bench{number}")
    for part in _parts(column, count):
        taken = [await queue.get() for _ in range(part)]
        for verb, arguments in entry.finishing(taken):
            await getattr(queue, verb)(*arguments)
    await queue.close()


def _parts(column: str, count: int) -> Sequence[int]:
    """Return how many items are taken each time before these are finished."""
    return {COLUMNS[0]: [], COLUMNS[1]: [count]}.get(column, [1] * count)


TASKS: dict[str, Callable[..., float]] = {"cell": cell}
