"""What ``measure_engines`` has a queue do: loads, a growing backlog, many callers.

Each is written once, as coroutines.  For a queue of threads these never wait for an event loop:
a verb returns when it is done, and each part runs in a thread of its own.
"""

from __future__ import annotations

import asyncio
import queue as standard
import threading
import time
from itertools import count as counter
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from benchmark.engine_queues import FILL, Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
    from pathlib import Path

R = TypeVar("R")
ITEM_BYTES = 256
STEPS = 200  # of puts and gets over a backlog, at most


class LostError(Exception):
    """The items that came out are not those that went in."""


class Result(NamedTuple):
    """What one measurement found.

    Attributes:
        value: in the unit of its picture.
        items: how many were put: never more than were really run.
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


# -- tasks or threads -----------------------------------------------------------------


class Opened(NamedTuple):
    """An open queue; its verbs are coroutine functions, or None.

    Attributes:
        together: runs coroutines at once, as tasks or threads, and awaits them all.
    """

    put: Any
    get: Any
    put_many: Any
    together: Callable[..., Awaitable[Any]]


def _run(kind: Kind, path: Path, body: Callable[[Opened], Coroutine[Any, Any, R]]) -> R:
    """Run a body over the open queue."""
    if kind.tasks:
        return asyncio.run(_in_loop(kind, path, body))
    with kind.opened(path) as queue:
        verbs = map(_as_coroutine, (queue.put, queue.get, queue.put_many))
        return _ended(body(Opened(*verbs, _in_threads)))


async def _in_loop(kind: Kind, path: Path, body: Callable[[Opened], Coroutine[Any, Any, R]]) -> R:
    async with kind.opened(path) as queue:
        return await body(Opened(queue.put, queue.get, queue.put_many, asyncio.gather))


def _as_coroutine(verb: Callable[..., Any] | None) -> Any:
    if verb is None:
        return None

    async def call(*arguments: Any) -> Any:
        return verb(*arguments)

    return call


def _ended(coroutine: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine that never waits for an event loop, and return its result."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: R = end.value
        return result
    raise RuntimeError("it waits for an event loop")


async def _in_threads(*parts: Coroutine[Any, Any, None]) -> None:
    """Run coroutines, each in a thread; raise what the first of them raises."""
    ended: standard.SimpleQueue[BaseException | None] = standard.SimpleQueue()

    def run(part: Coroutine[Any, Any, None]) -> None:
        try:
            _ended(part)
        except BaseException as error:  # noqa: BLE001 - raised below
            ended.put(error)
        else:
            ended.put(None)

    for part in parts:
        threading.Thread(target=run, args=(part,), daemon=True).start()
    for _ in parts:
        if (error := ended.get()) is not None:
            raise error


# -- several producers and consumers, many callers ------------------------------------


def _name(text: str) -> str:
    return text.ljust(ITEM_BYTES, ".")


def _produced(who: int, share: int) -> Iterator[str]:
    return (_name(f"{who}-{number}") for number in range(share))


def _shares(whole: int, parts: int) -> list[int]:
    return [whole // parts + (number < whole % parts) for number in range(parts)]


async def _produce(queue: Opened, who: int, share: int) -> None:
    for item in _produced(who, share):
        await queue.put(item)


def load(kind: Kind, path: Path, producers: int, consumers: int, count: int) -> Result:
    """Return operations a second: each item is put once and got once.

    Raises:
        LostError: other items came out than went in.
    """
    puts, got = _shares(count, producers), list[str]()

    async def consume(queue: Opened, share: int) -> None:
        for _ in range(share):
            got.append(await queue.get())

    async def body(queue: Opened) -> float:
        start = time.perf_counter()
        await queue.together(
            *(_produce(queue, who, share) for who, share in enumerate(puts)),
            *(consume(queue, share) for share in _shares(count, consumers)),
        )
        return time.perf_counter() - start

    seconds = _run(kind, path, body)
    wanted = {item for who, share in enumerate(puts) for item in _produced(who, share)}
    if len(got) != count or set(got) != wanted:
        raise LostError(f"{kind.name}: put {count}, got {len(got)}, {len(set(got))} different ones")
    return Result(2 * count / seconds, count, seconds)


def callers(kind: Kind, path: Path, together: int, count: int) -> Result:
    """Return the puts a second of ``together`` tasks or threads together."""
    share = max(count // together, 1)

    async def body(queue: Opened) -> float:
        start = time.perf_counter()
        await queue.together(*(_produce(queue, who, share) for who in range(together)))
        return time.perf_counter() - start

    seconds = _run(kind, path, body)
    return Result(share * together / seconds, share * together, seconds)


# -- a growing backlog ----------------------------------------------------------------


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

    async def body(queue: Opened) -> list[Backlog]:
        found: list[Backlog] = []
        waiting, rate = 0, 0.0  # seconds to put an item
        for wanted in backlogs:
            if rate * (wanted - waiting) > 7 * seconds:
                break
            start = time.perf_counter()
            await _fill(queue, items, wanted - waiting)
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

    return _run(kind, path, body)


async def _fill(queue: Opened, items: Iterator[str], count: int) -> None:
    if queue.put_many is None:
        for item in islice(items, count):
            await queue.put(item)
    else:
        for at in range(0, count, FILL):
            await queue.put_many(list(islice(items, min(FILL, count - at))))


def _noted(found: list[Backlog], steps: int, spent: float) -> bool:
    """Note a value over the last backlog; return whether to go on."""
    last = found[-1]
    values = [*last.values, spent / (2 * steps) * 1e6]
    found[-1] = Backlog(last.waiting, min(2 * steps, last.operations or 2 * steps), values)
    return steps == STEPS
