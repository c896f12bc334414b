"""The broker beside SimpleBroker's newest release, taking turns, at one durability.

    python benchmark/broker_peers.py [--rounds N] [--waiting N] [--queues N] [--directory DIR]

SimpleBroker is installed into benchmark/.cache.  The first table has the medians of the rounds,
in items a second, and the median of their ratios.  The second says what a call costs beside many
items and many queues: microseconds, taken in turns in one run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import TYPE_CHECKING, Any

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from benchmark.progress import Progress  # noqa: E402
from benchmark.side import installed_beside  # noqa: E402
from persistqueue import AsyncBroker, Broker  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BODY = "x" * 256
SINGLE, SHARED, STREAMED = 300, 3000, 10_000  # items of one sample
INTERVAL = 50
THREADS = 4  # of SimpleBroker's async wrapper
FEW = 1000  # items that wait in a queue of the usual length
BULK = 50_000  # of them written at once
COLUMNS = "{:34} {:>10} {:>13} {:>7}"
GROWTH = "{:34} {:>10} {:>9}"


def rate(count: int, function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return count / (time.perf_counter() - began)


async def in_tasks(count: int, callers: int, call: Callable[[], Awaitable[Any]]) -> float:
    turns = iter(range(count))

    async def one() -> None:
        for _ in turns:
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(callers)))
    return count / (time.perf_counter() - began)


def ours(path: str) -> dict[str, float]:
    found = {}
    with Broker(path) as broker:
        queue = broker.queue("tasks")
        found["write"] = rate(SINGLE, lambda: [queue.write(BODY) for _ in range(SINGLE)])
        found["read"] = rate(SINGLE, lambda: [queue.read() for _ in range(SINGLE)])

    async def tasks() -> None:
        async with AsyncBroker(path) as broker:
            queue = broker.queue("tasks")
            for callers, count in ((1, SINGLE), (20, SHARED)):
                name = f"{callers} task{'s' * (callers > 1)}"
                found[f"async write, {name}"] = await in_tasks(
                    count, callers, lambda: queue.write(BODY)
                )
                found[f"async read, {name}"] = await in_tasks(count, callers, queue.read)
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
            for callers, count in ((1, SINGLE), (20, SINGLE)):
                name = f"{callers} task{'s' * (callers > 1)}"
                found[f"async write, {name}"] = await in_tasks(
                    count, callers, lambda: loop.run_in_executor(pool, queue.write, BODY)
                )
                found[f"async read, {name}"] = await in_tasks(
                    count, callers, lambda: loop.run_in_executor(pool, queue.read)
                )

    asyncio.run(tasks())
    queue.insert_messages([(BODY, number) for number in range(1, STREAMED + 1)])
    stream = queue.stream_messages(batch_processing=True, commit_interval=INTERVAL)
    found[f"stream, {INTERVAL} a commit"] = rate(STREAMED, lambda: [None for _ in stream])
    queue.close()
    return found


def compare(rounds: int, folder: str) -> None:
    """Print the first table."""
    sides = {"here": ours, "SimpleBroker": theirs}
    found: dict[str, dict[str, list[float]]] = {name: {} for name in sides}
    with Progress(2 * rounds) as progress:
        for number in range(rounds):
            for name in sorted(sides, reverse=bool(number % 2)):
                path = os.path.join(folder, f"{name}{number}.db")
                for what, figure in sides[name](path).items():
                    found[name].setdefault(what, []).append(figure)
                progress.step(name)
    print(COLUMNS.format("items a second", *sides, "ratio"))
    for what in found["here"]:
        here, there = (found[name][what] for name in sides)
        ratio = median(one / other for one, other in zip(here, there, strict=True))
        cells = f"{median(here):.0f}", f"{median(there):.0f}", f"{ratio:.1f}"
        print(COLUMNS.format(what, *cells))


def grow(rounds: int, waiting: int, queues: int, folder: str) -> None:
    """Print the second table."""
    usual = f"{FEW:,} items wait"
    places = {usual: (FEW, 0), f"{waiting:,} items wait": (waiting, 0)}
    places[f"{queues:,} queues beside"] = (FEW, queues)
    brokers = {name: Broker(os.path.join(folder, f"{name}.db")) for name in places}
    try:
        with Progress(len(places) * (rounds + 1)) as progress:
            for name, (items, others) in places.items():
                filled(brokers[name], items, others)
                progress.step(f"filled: {name}")
            found: dict[str, dict[str, list[float]]] = {name: {} for name in places}
            for number in range(rounds):
                for name in sorted(places, reverse=bool(number % 2)):
                    for what, seconds in costs(brokers[name]).items():
                        found[name].setdefault(what, []).append(seconds * 1e6)
                    progress.step(name)
    finally:
        for broker in brokers.values():
            broker.close()
    print(GROWTH.format("\nmicroseconds a call", "median", "ratio"))
    for name in places:
        for what, samples in found[name].items():
            ratio = median(samples) / median(found[usual][what])
            cells = f"{median(samples):.0f}", f"{ratio:.2f}"
            print(GROWTH.format(f"{what}, {name}", *cells))


def filled(broker: Broker, items: int, others: int) -> None:
    for at in range(0, items, BULK):
        broker.queue("tasks").write_many([BODY] * min(BULK, items - at))
    if others:
        broker.broadcast(BODY, queues=[f"other.{n}" for n in range(others)], create=True)


def costs(broker: Broker) -> dict[str, float]:
    """Return what a call costs, in seconds."""
    queue = broker.queue("tasks")
    return {
        "write": 1 / rate(SINGLE, lambda: [queue.write(BODY) for _ in range(SINGLE)]),
        "read": 1 / rate(SINGLE, lambda: [queue.read() for _ in range(SINGLE)]),
        "size": 1 / rate(SINGLE, lambda: [queue.size() for _ in range(SINGLE)]),
        "list_queues": 1 / rate(10, lambda: [broker.list_queues() for _ in range(10)]),
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
