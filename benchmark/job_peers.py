"""Job queues beside litequeue and localqueue, one caller and a hundred, taking turns.

    python benchmark/job_peers.py [--rounds N] [--waiting N] [--durability process|power]

Both are installed into benchmark/.cache; localqueue needs Python 3.11, its "relaxed" and "durable"
are process and power; litequeue knows no power.  The first table is for one caller without
asyncio; its second half is measured beside jobs that wait.  The second table is for asyncio, here
alone.  Each row is the median of the rounds, in items a second.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # a checkout

from benchmark.progress import Progress
from benchmark.report import beside, console, in_turns
from benchmark.side import installed_beside
from persistqueue import AsyncJobQueue, JobQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PEERS = ("litequeue==0.9", "localqueue==1.4.1")
ITEM = "x" * 256
TASKS = 100


@contextmanager
def place(directory: str) -> Iterator[str]:
    """Give a new folder, for one side in one round."""
    folder = tempfile.mkdtemp(prefix="jobs-", dir=directory)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def rates(
    put: Callable[[str], Any], work: Callable[[], Any], count: int, waiting: int
) -> dict[str, float]:
    """Return how many items a second one caller puts, and works on."""
    found = {}
    for beside_it in (0, waiting):
        for _ in range(beside_it):
            put(ITEM)
        name = f", {beside_it:,} wait" if beside_it else ""
        for what, call in (("put", lambda: put(ITEM)), ("take + ack", work)):
            before = time.perf_counter()
            for _ in range(count):
                call()
            found[what + name] = count / (time.perf_counter() - before)
    return found


def ours(folder: str, durability: str, count: int, waiting: int) -> dict[str, float]:
    with JobQueue[str](os.path.join(folder, "jobs.db"), durability=durability) as queue:

        def work() -> None:
            with queue.process():
                pass

        return rates(queue.put, work, count, waiting)


def litequeue(folder: str, count: int, waiting: int) -> dict[str, float]:
    from litequeue import LiteQueue  # type: ignore[import-not-found]  # noqa: PLC0415

    queue = LiteQueue(os.path.join(folder, "jobs.db"))
    return rates(queue.put, lambda: queue.done(queue.pop().message_id), count, waiting)


def localqueue(folder: str, durability: str, count: int, waiting: int) -> dict[str, float]:
    from localqueue import (  # type: ignore[import-not-found]  # noqa: PLC0415
        DurabilityMode,
        SimpleQueue,
    )

    mode = DurabilityMode.DURABLE if durability == "power" else DurabilityMode.RELAXED
    with SimpleQueue(folder, durability=mode) as queue:
        return rates(queue.put, lambda: queue.ack(queue.get()), count, waiting)


async def tasks(folder: str, durability: str, count: int) -> dict[str, float]:
    """Return how many items a second a hundred tasks put and work on, and a worker."""
    found = {}
    async with AsyncJobQueue[str](os.path.join(folder, "jobs.db"), durability=durability) as queue:

        async def puts() -> None:
            for _ in range(count // TASKS):
                await queue.put(ITEM)

        async def works() -> None:
            for _ in range(count // TASKS):
                async with queue.process():
                    pass

        async def nothing(_: str) -> None:
            return

        async def worker() -> None:
            async with queue.worker(nothing, concurrency=TASKS):
                await queue.join()

        for name, call, times in (
            ("put", puts, TASKS),
            ("process", works, TASKS),
            ("", puts, TASKS),
            ("worker", worker, 1),
        ):
            before = time.perf_counter()
            await asyncio.gather(*(call() for _ in range(times)))
            if name:
                found[f"{TASKS} tasks: {name}"] = count / (time.perf_counter() - before)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--waiting", type=int, default=20_000)
    parser.add_argument("--durability", choices=("process", "power"), default="process")
    parser.add_argument("--dir", default=os.curdir, help="where the queues are put")
    chosen = parser.parse_args()
    sys.path.append(installed_beside(*PEERS))
    count, waiting, level = chosen.count, chosen.waiting, chosen.durability

    def in_place(side: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
        with place(chosen.dir) as folder:
            return side(folder, *arguments)

    sides = {
        "here": lambda: in_place(ours, level, count, waiting),
        "localqueue": lambda: in_place(localqueue, level, count, waiting),
    }
    if level == "process":
        sides["litequeue"] = lambda: in_place(litequeue, count, waiting)
    alone = {"here": lambda: in_place(lambda folder: asyncio.run(tasks(folder, level, 20 * count)))}
    with Progress((len(sides) + 1) * chosen.rounds) as bar:
        one = beside("items a second", in_turns(sides, chosen.rounds, bar), more=True)
        many = beside("items a second", in_turns(alone, chosen.rounds, bar), more=True)
    print(console(one), console(many), sep="\n\n")


if __name__ == "__main__":
    main()
