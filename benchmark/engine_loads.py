"""What ``measure_engines`` has a queue do: loads, a growing backlog, opening, many callers.

Each comes twice, for tasks and for threads.  What is put must come out, once.
"""

from __future__ import annotations

import asyncio
import queue as standard
import statistics
import threading
import time
from itertools import count as counter
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmark.engine_queues import FILL, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

ITEM_BYTES = 256
STEPS = 200  # of puts and gets over a backlog, at most


class LostError(Exception):
    """What came out is not what went in."""


class Result(NamedTuple):
    """What one measurement found.

    Attributes:
        value: in the unit of its picture.
        items: what was put, or timed over a backlog: never more than was really run.
        seconds: how long that took.
    """

    value: float
    items: int
    seconds: float


class Backlog(NamedTuple):
    """What was measured over so many items that wait."""

    waiting: int
    operations: int  # in each value
    values: list[float]  # microseconds for an operation


def _name(text: str) -> str:
    return text.ljust(ITEM_BYTES, ".")


def _produced(who: int, share: int) -> Iterator[str]:
    return (_name(f"{who}-{number}") for number in range(share))


def _shares(whole: int, parts: int) -> list[int]:
    return [whole // parts + (number < whole % parts) for number in range(parts)]


# -- several producers and consumers --------------------------------------------------


def load(kind: Kind, path: Path, producers: int, consumers: int, count: int) -> Result:
    """Return operations a second: each item is put once and got once.

    Raises:
        LostError: something else came out than went in.
    """
    puts = _shares(count, producers)
    if kind.tasks:
        seconds, got = asyncio.run(_load_tasks(kind, path, puts, consumers))
    else:
        seconds, got = _load_threads(kind, path, puts, consumers)
    wanted = {item for who, share in enumerate(puts) for item in _produced(who, share)}
    if len(got) != count or set(got) != wanted:
        raise LostError(f"{kind.name}: put {count}, got {len(got)}, {len(set(got))} different ones")
    return Result(2 * count / seconds, count, seconds)


async def _load_tasks(
    kind: Kind, path: Path, puts: Sequence[int], consumers: int
) -> tuple[float, list[str]]:
    got: list[str] = []
    async with kind.opened(path) as queue:

        async def produce(who: int, share: int) -> None:
            for item in _produced(who, share):
                await queue.put(item)

        async def consume(share: int) -> None:
            for _ in range(share):
                got.append(await queue.get())  # noqa: PERF401 - one at a time is the point

        start = time.perf_counter()
        await asyncio.gather(
            *(produce(who, share) for who, share in enumerate(puts)),
            *map(consume, _shares(sum(puts), consumers)),
        )
        return time.perf_counter() - start, got


def _load_threads(
    kind: Kind, path: Path, puts: Sequence[int], consumers: int
) -> tuple[float, list[str]]:
    got: list[str] = []
    with kind.opened(path) as queue:

        def produce(who: int, share: int) -> None:
            for item in _produced(who, share):
                queue.put(item)

        def consume(share: int) -> None:
            for _ in range(share):
                got.append(queue.get())  # noqa: PERF401 - one at a time is the point

        start = time.perf_counter()
        _in_threads(
            *((produce, who, share) for who, share in enumerate(puts)),
            *((consume, share) for share in _shares(sum(puts), consumers)),
        )
        return time.perf_counter() - start, got


def _in_threads(*calls: tuple[Any, ...]) -> None:
    """Make calls, each in a thread; raise what the first of them raises."""
    ended: standard.SimpleQueue[BaseException | None] = standard.SimpleQueue()

    def run(function: Callable[..., None], *arguments: Any) -> None:
        try:
            function(*arguments)
        except BaseException as error:  # noqa: BLE001 - raised below
            ended.put(error)
        else:
            ended.put(None)

    for call in calls:
        threading.Thread(target=run, args=call, daemon=True).start()
    for _ in calls:
        if (error := ended.get()) is not None:
            raise error


# -- many callers ---------------------------------------------------------------------


def callers(kind: Kind, path: Path, together: int, count: int) -> Result:
    """Return puts a second by so many tasks or threads together."""
    share = max(count // together, 1)
    if kind.tasks:
        seconds = asyncio.run(_callers_tasks(kind, path, together, share))
    else:
        seconds = _callers_threads(kind, path, together, share)
    return Result(share * together / seconds, share * together, seconds)


async def _callers_tasks(kind: Kind, path: Path, together: int, share: int) -> float:
    async with kind.opened(path) as queue:

        async def put(who: int) -> None:
            for item in _produced(who, share):
                await queue.put(item)

        start = time.perf_counter()
        await asyncio.gather(*map(put, range(together)))
        return time.perf_counter() - start


def _callers_threads(kind: Kind, path: Path, together: int, share: int) -> float:
    with kind.opened(path) as queue:

        def put(who: int) -> None:
            for item in _produced(who, share):
                queue.put(item)

        start = time.perf_counter()
        _in_threads(*((put, who) for who in range(together)))
        return time.perf_counter() - start


# -- a growing backlog, and opening it ------------------------------------------------


def backlog(
    kind: Kind, path: Path, backlogs: Sequence[int], rounds: int, seconds: float
) -> list[Backlog]:
    """Return what a put and a get cost behind and in front of so many items.

    Args:
        backlogs: in rising order; the queue is filled up from one to the next.
        rounds: values at each.
        seconds: where a value takes longer, or filling up seven times as long, is the end.
    """
    items = map(_name, map(str, counter()))
    if kind.tasks:
        return asyncio.run(_backlog_tasks(kind, path, items, backlogs, rounds, seconds))
    return _backlog_threads(kind, path, items, backlogs, rounds, seconds)


async def _backlog_tasks(
    kind: Kind, path: Path, items: Iterator[str], backlogs: Sequence[int], rounds: int,
    seconds: float,
) -> list[Backlog]:  # fmt: skip
    found: list[Backlog] = []
    waiting, rate = 0, 0.0  # seconds to put an item
    async with kind.opened(path) as queue:
        for wanted in backlogs:
            if rate * (wanted - waiting) > 7 * seconds:
                break
            start = time.perf_counter()
            for part in _parts(wanted - waiting, FILL if queue.put_many else 1):
                if queue.put_many is not None:
                    await queue.put_many(list(islice(items, part)))
                else:
                    await queue.put(next(items))
            rate = (time.perf_counter() - start) / (wanted - waiting)
            waiting = wanted
            found.append(Backlog(wanted, 0, []))
            for _ in range(rounds):
                steps, start = 0, time.perf_counter()
                while steps < STEPS and time.perf_counter() - start < seconds:
                    await queue.put(next(items))
                    await queue.get()
                    steps += 1
                if not _noted(found, steps, time.perf_counter() - start):
                    return found
    return found


def _backlog_threads(
    kind: Kind, path: Path, items: Iterator[str], backlogs: Sequence[int], rounds: int,
    seconds: float,
) -> list[Backlog]:  # fmt: skip
    found: list[Backlog] = []
    waiting, rate = 0, 0.0  # seconds to put an item
    with kind.opened(path) as queue:
        for wanted in backlogs:
            if rate * (wanted - waiting) > 7 * seconds:
                break
            start = time.perf_counter()
            for part in _parts(wanted - waiting, FILL if queue.put_many else 1):
                if queue.put_many is not None:
                    queue.put_many(list(islice(items, part)))
                else:
                    queue.put(next(items))
            rate = (time.perf_counter() - start) / (wanted - waiting)
            waiting = wanted
            found.append(Backlog(wanted, 0, []))
            for _ in range(rounds):
                steps, start = 0, time.perf_counter()
                while steps < STEPS and time.perf_counter() - start < seconds:
                    queue.put(next(items))
                    queue.get()
                    steps += 1
                if not _noted(found, steps, time.perf_counter() - start):
                    return found
    return found


def _parts(count: int, size: int) -> Iterator[int]:
    """Cut a number into pieces."""
    return (min(size, count - at) for at in range(0, count, size))


def _noted(found: list[Backlog], steps: int, spent: float) -> bool:
    """Note a value over the last backlog; return whether to go on."""
    last = found[-1]
    values = [*last.values, spent / (2 * steps) * 1e6]
    found[-1] = Backlog(last.waiting, min(2 * steps, last.operations or 2 * steps), values)
    return steps == STEPS


class Opening(NamedTuple):
    """How many milliseconds after it was begun a queue was open, and had said its size."""

    opened: float
    sized: float


def opening(kind: Kind, path: Path, waiting: int, rounds: int) -> list[Opening]:
    """Open a queue in which so many items wait.

    Raises:
        LostError: it says another number.
    """
    found = []
    for _ in range(rounds):
        if kind.tasks:
            size, times = asyncio.run(_opening_tasks(kind, path))
        else:
            size, times = _opening_threads(kind, path)
        if size not in (waiting, None):
            raise LostError(f"{kind.name}: {waiting} items waited, {size} are there")
        found.append(Opening(*(1e3 * seconds for seconds in times)))
    return found


async def _opening_tasks(kind: Kind, path: Path) -> tuple[int | None, tuple[float, float]]:
    start = time.perf_counter()
    async with kind.opened(path) as queue:
        opened = time.perf_counter() - start
        size = await queue.qsize() if queue.qsize else None
        return size, (opened, time.perf_counter() - start)


def _opening_threads(kind: Kind, path: Path) -> tuple[int | None, tuple[float, float]]:
    start = time.perf_counter()
    with kind.opened(path) as queue:
        opened = time.perf_counter() - start
        size = queue.qsize() if queue.qsize else None
        return size, (opened, time.perf_counter() - start)


def median(values: Sequence[float]) -> float:
    """Return the median, as it is written down."""
    return round(statistics.median(values), 2)
