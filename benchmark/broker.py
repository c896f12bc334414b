"""The broker against SimpleBroker's newest release, in one run and at one durability.

``python -m benchmark.broker [rounds] [directory]`` installs SimpleBroker into a folder of its
own.  Each round measures everything on one side, then on the other, the next round the other
way round; what is printed is the median over the rounds, in items a second.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from persistqueue import AsyncBroker, Broker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BODY = "x" * 256
SINGLE, SHARED, STREAMED = 300, 3000, 10_000  # items of one sample
INTERVAL = 50
THREADS = 4  # of SimpleBroker's async wrapper
COLUMNS = "{:34} {:>10} {:>13} {:>7}"


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


def ours(path: Path) -> dict[str, float]:
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


def theirs(path: Path) -> dict[str, float]:
    import simplebroker  # noqa: PLC0415 - installed by now

    found = {}
    queue = simplebroker.Queue("tasks", db_path=str(path), persistent=True)
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


def main(rounds: int, directory: Path) -> None:
    site = directory / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--target", str(site), "simplebroker"],
        check=True,
    )
    sys.path.insert(0, str(site))
    sides = {"here": ours, "SimpleBroker": theirs}
    found: dict[str, dict[str, list[float]]] = {name: {} for name in sides}
    for number in range(rounds):
        for name in sorted(sides, reverse=bool(number % 2)):
            for what, figure in sides[name](directory / f"{name}{number}.db").items():
                found[name].setdefault(what, []).append(figure)
    print(COLUMNS.format("items a second", *sides, "ratio"))
    for what in found["here"]:
        here, there = (median(found[name][what]) for name in sides)
        print(COLUMNS.format(what, f"{here:.0f}", f"{there:.0f}", f"{here / there:.1f}"))


if __name__ == "__main__":
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as folder:
        main(rounds, Path(folder))
