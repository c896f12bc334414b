"""The Redis queues beside aio-py-rq, in one process and on one server, taking turns.

    python benchmark/redis_peers.py [--rounds N] [--count N] [--durability none|everysec|always]

Starts a redis-server of its own (from the PATH).  aio-py-rq is installed into benchmark/.cache.
Each row is the median of the rounds, in microseconds per item, with the ratio of the medians.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

import redis.asyncio  # noqa: E402

from benchmark.side import installed_beside  # noqa: E402
from persistqueue import AsyncRedisPool, AsyncRedisQueue, AsyncRedisUniqueQueue  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

PEER = "aio-py-rq==4.1.0"
CALLERS = BATCH = 100
IN_FLIGHT = 100_000
DURABILITIES = {
    "none": ("--appendonly", "no"),
    "everysec": ("--appendonly", "yes", "--appendfsync", "everysec"),
    "always": ("--appendonly", "yes", "--appendfsync", "always"),
}


@contextmanager
def server(durability: str) -> Iterator[str]:
    """Run a server, and give its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="persistqueue-bench-")
    command = ["redis-server", "--port", str(port), "--save", "", "--dir", folder,
               "--bind", "127.0.0.1", "--loglevel", "warning"]  # fmt: skip
    process = subprocess.Popen([*command, *DURABILITIES[durability]], stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.01)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def peer() -> Any:
    """Return the real aio-py-rq."""
    sys.path.append(installed_beside(PEER))
    return importlib.import_module("aiopyrq")


async def timed(work: Awaitable[Any]) -> float:
    """Return how many seconds something takes."""
    before = time.perf_counter()
    await work
    return time.perf_counter() - before


class Rows:
    """What is measured: name -> samples of ours and of theirs, in us per item."""

    def __init__(self) -> None:
        self.samples: dict[str, tuple[list[float], list[float]]] = {}

    def add(self, name: str, which: int, seconds: float, items: int) -> None:
        self.samples.setdefault(name, ([], []))[which].append(seconds / items * 1e6)

    def print(self) -> None:
        print(f"{'':34}{'ours us':>10}{'theirs us':>11}{'faster':>9}")
        for name, (ours, theirs) in self.samples.items():
            here, there = median(ours), median(theirs)
            print(f"{name:34}{here:10.1f}{there:11.1f}{there / here:8.2f}x")


async def singly(queue: Any, which: int, rows: Rows, count: int, kind: str) -> None:
    """One call after another."""

    async def all_of(verb: Callable[[Any], Awaitable[Any]], items: list[Any]) -> None:
        for item in items:
            await verb(item)

    items = [f"item {n} " + "x" * 240 for n in range(count)]
    rows.add(f"{kind} add", which, await timed(all_of(queue.add_item, items)), count)
    rows.add(f"{kind} get", which, await timed(all_of(queue.get_items, [1] * count)), count)
    rows.add(f"{kind} ack", which, await timed(all_of(queue.ack_item, items)), count)


async def together(queue: Any, which: int, rows: Rows, count: int) -> None:
    """A hundred callers at once, then their gets and acks."""

    async def all_of(verb: Callable[[Any], Awaitable[Any]], items: list[Any]) -> None:
        for at in range(0, len(items), CALLERS):
            await asyncio.gather(*map(verb, items[at : at + CALLERS]))

    items = [f"item {n} " + "x" * 240 for n in range(count)]
    who = f"{CALLERS} callers"
    rows.add(f"{who} add", which, await timed(all_of(queue.add_item, items)), count)
    rows.add(f"{who} get", which, await timed(all_of(queue.get_items, [1] * count)), count)
    rows.add(f"{who} ack", which, await timed(all_of(queue.ack_item, items)), count)


async def in_batches(queue: Any, which: int, rows: Rows, count: int, kind: str) -> None:
    """A hundred items in each call."""
    items = [f"item {n} " + "x" * 240 for n in range(count)]
    parts = [items[at : at + BATCH] for at in range(0, count, BATCH)]

    async def add() -> None:
        for part in parts:
            await queue.add_items(part)

    taken: list[Any] = []

    async def get() -> None:
        for _ in parts:
            taken.append(await queue.get_items(BATCH))  # noqa: PERF401 - what is timed is this

    async def ack() -> None:
        for part in taken:
            await queue.ack_items(part)

    rows.add(f"{kind} add, batches of {BATCH}", which, await timed(add()), count)
    rows.add(f"{kind} get, batches of {BATCH}", which, await timed(get()), count)
    rows.add(f"{kind} ack, batches of {BATCH}", which, await timed(ack()), count)


async def newest(queue: Any, which: int, rows: Rows) -> None:
    """Ack the newest of few that are in flight, and of very many."""
    for in_flight in (100, IN_FLIGHT):
        items = [f"{n:06d}" for n in range(in_flight)]
        await queue.add_items(items)
        await queue.get_items(in_flight)
        await queue.ack_item(items[in_flight // 2])  # what is made once is made now
        seconds = await timed(_each(queue.ack_item, items[:-51:-1]))
        rows.add(f"ack the newest of {in_flight:,}", which, seconds, 50)
        if in_flight == 100:
            await queue.ack_items(items[:50])
    await queue.drop_all_items()


async def _each(verb: Callable[[Any], Awaitable[Any]], items: list[Any]) -> None:
    for item in items:
        await verb(item)


async def pools(pool: Any, which: int, rows: Rows, count: int) -> None:
    """A pool's verbs, each with all items."""
    items = [f"item {n}" for n in range(count)]
    rows.add("Pool add_items", which, await timed(pool.add_items(items)), count)
    rows.add("Pool get_all_items", which, await timed(pool.get_all_items()), count)
    rows.add("Pool ack_items", which, await timed(pool.ack_items(items)), count)


async def compare(url: str, rounds: int, count: int) -> Rows:
    """Measure both sides in turns."""
    aiopyrq, rows = peer(), Rows()
    client = redis.asyncio.Redis.from_url(url, decode_responses=True, socket_timeout=60)
    async with (
        AsyncRedisQueue("Queue", url) as queue,
        AsyncRedisUniqueQueue("UniqueQueue", url) as unique,
        AsyncRedisPool("Pool", url) as pool,
    ):
        sides = (
            (queue, unique, pool),
            (
                aiopyrq.Queue("q", client),
                aiopyrq.UniqueQueue("u", client),
                aiopyrq.Pool("p", client),
            ),
        )
        for turn in range(rounds):
            for which in (0, 1) if turn % 2 else (1, 0):
                queue_, unique_, pool_ = sides[which]
                await singly(queue_, which, rows, count, "Queue")
                await singly(unique_, which, rows, count, "UniqueQueue")
                await together(queue_, which, rows, 10 * count)
                await in_batches(queue_, which, rows, 20 * count, "Queue")
                await in_batches(unique_, which, rows, 10 * count, "UniqueQueue")
                await pools(pool_, which, rows, count)
                await newest(queue_, which, rows)
                await client.flushdb()
            print(f"round {turn + 1} of {rounds}", file=sys.stderr)
    await client.aclose()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--durability", choices=sorted(DURABILITIES), default="none")
    chosen = parser.parse_args()
    with server(chosen.durability) as url:
        asyncio.run(compare(url, chosen.rounds, chosen.count)).print()


if __name__ == "__main__":
    main()
