"""The broker beside SimpleBroker's newest release, taking turns, at one durability.

    python benchmark/broker_peers.py [--rounds N] [--waiting N] [--queues N] [--directory DIR]

SimpleBroker is installed into benchmark/.cache.  The first table has the medians of the rounds,
in items a second.  The second says what a call costs beside many items and many queues.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import count as counter
from typing import TYPE_CHECKING, Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # a checkout

from benchmark.progress import Progress
from benchmark.report import beside, console, in_turns
from benchmark.side import installed_beside
from persistqueue import AsyncBroker, Broker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    Call: TypeAlias = Callable[[], Awaitable[Any]]

BODY = "x" * 256
SINGLE, SHARED, STREAMED = 300, 3000, 10_000  # items of one sample
INTERVAL = 50
THREADS = 4  # of SimpleBroker's async wrapper
FEW = 1000  # items that wait in a queue of the usual length
BULK = 50_000  # of them written at once


def rate(count: int, function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return count / (time.perf_counter() - began)


async def in_tasks(count: int, callers: int, call: Call) -> float:
    turns = iter(range(count))

    async def one() -> None:
        for _ in turns:
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(callers)))
    return count / (time.perf_counter() - began)


async def both(shared: int, write: Call, read: Call) -> dict[str, float]:
    """Measure writing and reading by one task, and by twenty (``shared`` items)."""
    found = {}
    for callers, count in ((1, SINGLE), (20, shared)):
        name = f"{callers} task{'s' * (callers > 1)}"
        found[f"async write, {name}"] = await in_tasks(count, callers, write)
        found[f"async read, {name}"] = await in_tasks(count, callers, read)
    return found


def ours(path: str) -> dict[str, float]:
    found = {}
    with Broker(path) as broker:
        queue = broker.queue("tasks")
        found["write"] = rate(SINGLE, lambda: [queue.write(BODY) for _ in range(SINGLE)])
        found["read"] = rate(SINGLE, lambda: [queue.read() for _ in range(SINGLE)])

    async def tasks() -> None:
        async with AsyncBroker(path) as broker:
            queue = broker.queue("tasks")
            found.update(await both(SHARED, lambda: queue.write(BODY), queue.read))
            await queue.write_many([BODY] * STREAMED)
            began = time.perf_counter()
            async for _ in queue.stream(commit_interval=INTERVAL):
                pass
            found[f"stream, {INTERVAL} a commit"] = STREAMED / (time.perf_counter() - began)

    asyncio.run(tasks())
    return found


def theirs(path: str) -> dict[str, float]:
    import simplebroker  # noqa: PLC0415 - installed by now

    found = {}
    queue = simplebroker.Queue("tasks", db_path=path, persistent=True)
    found["write"] = rate(SINGLE, lambda: [queue.write(BODY) for _ in range(SINGLE)])
    found["read"] = rate(SINGLE, lambda: [queue.read() for _ in range(SINGLE)])

    async def tasks() -> None:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(THREADS) as pool:
            write = partial(loop.run_in_executor, pool, queue.write, BODY)
            found.update(await both(SINGLE, write, partial(loop.run_in_executor, pool, queue.read)))

    asyncio.run(tasks())
    queue.insert_messages([(BODY, number) for number in range(1, STREAMED + 1)])
    stream = queue.stream_messages(batch_processing=True, commit_interval=INTERVAL)
    found[f"stream, {INTERVAL} a commit"] = rate(STREAMED, lambda: [None for _ in stream])
    queue.close()
    return found


def compare(rounds: int, folder: str) -> None:
    """Print the first table."""
    numbers = counter()

    def new() -> str:
        return os.path.join(folder, f"{next(numbers)}.db")

    sides = {"here": lambda: ours(new()), "SimpleBroker": lambda: theirs(new())}
    with Progress(2 * rounds) as progress:
        found = in_turns(sides, rounds, progress)
    print(console(beside("items a second", found, more=True)))


def grow(rounds: int, waiting: int, queues: int, folder: str) -> None:
    """Print the second table."""
    usual = f"{FEW:,} items wait"
    places = {usual: (FEW, 0), f"{waiting:,} items wait": (waiting, 0)}
    places[f"{queues:,} queues beside"] = (FEW, queues)
    with ExitStack() as stack, Progress(len(places) * (rounds + 1)) as progress:
        sides = {}
        for name, (items, others) in places.items():
            broker = stack.enter_context(Broker(os.path.join(folder, f"{name}.db")))
            filled(broker, items, others)
            sides[name] = partial(costs, broker)
            progress.step(f"filled: {name}")
        found = in_turns(sides, rounds, progress)
    print(console(beside("us a call", found, more=False)))


def filled(broker: Broker, items: int, others: int) -> None:
    for at in range(0, items, BULK):
        broker.queue("tasks").write_many([BODY] * min(BULK, items - at))
    if others:
        broker.broadcast(BODY, queues=[f"other.{n}" for n in range(others)], create=True)


def costs(broker: Broker) -> dict[str, float]:
    """Return what a call costs, in microseconds."""
    queue = broker.queue("tasks")
    return {
        "write": 1e6 / rate(SINGLE, lambda: [queue.write(BODY) for _ in range(SINGLE)]),
        "read": 1e6 / rate(SINGLE, lambda: [queue.read() for _ in range(SINGLE)]),
        "size": 1e6 / rate(SINGLE, lambda: [queue.size() for _ in range(SINGLE)]),
        "list_queues": 1e6 / rate(10, lambda: [broker.list_queues() for _ in range(10)]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("--rounds", type=int, default=7, help="samples of each side (7)")
    add("--waiting", type=int, default=1_000_000, help="items in a long queue (1,000,000)")
    add("--queues", type=int, default=1000, help="queues beside (1,000)")
    add("--directory", help="where the databases are: on the disk that you ask about")
    options = parser.parse_args()
    sys.path.append(installed_beside("simplebroker"))
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        compare(options.rounds, folder)
        grow(options.rounds, options.waiting, options.queues, folder)


if __name__ == "__main__":
    main()
