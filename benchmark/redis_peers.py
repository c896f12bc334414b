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


def with_their_names(kind: Any) -> Any:
    """Return a class of ours that has aio-py-rq's verbs, too."""
    verbs = {
        "add_item": kind.put,
        "add_items": kind.put_many,
        "ack_item": kind.ack,
        "ack_items": kind.ack_many,
    }
    return type(kind.__name__, (kind,), verbs)


async def timed(work: Awaitable[Any]) -> float:
    """Return the seconds that an awaitable takes."""
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


async def verbs(
    queue: Any, which: int, rows: Rows, count: int, name: str, *, batch: int = 1, callers: int = 1
) -> None:
    """Add, get and ack items, in batches, or by several callers at once."""
    items = [f"item {n} " + "x" * 240 for n in range(count)]
    parts = [items[at : at + batch] for at in range(0, count, batch)]
    if batch == 1:
        calls = ("add", queue.add_item, items), ("get", queue.get_items, [1] * count)
        ack = "ack", queue.ack_item, items
    else:
        calls = ("add", queue.add_items, parts), ("get", queue.get_items, [batch] * len(parts))
        ack = "ack", queue.ack_items, parts
    for verb, call, arguments in (*calls, ack):
        seconds = await timed(_each(call, arguments, callers))
        rows.add(name.format(verb), which, seconds, count)


async def _each(verb: Callable[[Any], Awaitable[Any]], items: list[Any], callers: int = 1) -> None:
    if callers == 1:
        for item in items:
            await verb(item)
        return
    for at in range(0, len(items), callers):
        await asyncio.gather(*map(verb, items[at : at + callers]))


async def newest(queue: Any, which: int, rows: Rows) -> None:
    """Ack the newest of few that are in flight, and of very many."""
    for in_flight in (100, IN_FLIGHT):
        items = [f"{n:06d}" for n in range(in_flight)]
        await queue.add_items(items)
        await queue.get_items(in_flight)
        await queue.ack_item(items[in_flight // 2])  # the first call prepares its script
        seconds = await timed(_each(queue.ack_item, items[:-51:-1]))
        rows.add(f"ack the newest of {in_flight:,}", which, seconds, 50)
        if in_flight == 100:
            await queue.ack_items(items[:50])
    await queue.drop_all_items()


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
        with_their_names(AsyncRedisQueue)("Queue", url) as queue,
        with_their_names(AsyncRedisUniqueQueue)("UniqueQueue", url) as unique,
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
                await verbs(queue_, which, rows, count, "Queue {}")
                await verbs(unique_, which, rows, count, "UniqueQueue {}")
                who = f"{CALLERS} callers {{}}"
                await verbs(queue_, which, rows, 10 * count, who, callers=CALLERS)
                for one, kind, many in ((queue_, "Queue", 20), (unique_, "UniqueQueue", 10)):
                    name = f"{kind} {{}}, batches of {BATCH}"
                    await verbs(one, which, rows, many * count, name, batch=BATCH)
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
