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
from typing import TYPE_CHECKING, Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # a checkout

import redis.asyncio

from benchmark.progress import Progress
from benchmark.report import Report, beside, console, in_turns
from benchmark.side import installed_beside
from persistqueue import AsyncRedisPool, AsyncRedisQueue, AsyncRedisUniqueQueue

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


async def timed(verb: Callable[[Any], Awaitable[Any]], items: list[Any], callers: int = 1) -> float:
    """Return the seconds that a call for each item takes, so many at the same time."""
    before = time.perf_counter()
    for item in items if callers == 1 else ():
        await verb(item)
    for at in range(0, len(items) if callers > 1 else 0, callers):
        await asyncio.gather(*map(verb, items[at : at + callers]))
    return time.perf_counter() - before


async def verbs(
    queue: Any, count: int, name: str, *, batch: int = 1, callers: int = 1
) -> dict[str, float]:
    """Add, get and ack items, in batches, or by several callers at once; us per item."""
    items = [f"item {n} " + "x" * 240 for n in range(count)]
    parts = [items[at : at + batch] for at in range(0, count, batch)]
    calls = {
        "add": (queue.add_items, parts),
        "get": (queue.get_items, [batch] * len(parts)),
        "ack": (queue.ack_items, parts),
    }
    if batch == 1:
        calls |= {"add": (queue.add_item, items), "ack": (queue.ack_item, items)}
    return {
        name.format(verb): await timed(call, arguments, callers) / count * 1e6
        for verb, (call, arguments) in calls.items()
    }


async def newest(queue: Any) -> dict[str, float]:
    """Ack the newest of few that are in flight, and of very many."""
    found = {}
    for in_flight in (100, IN_FLIGHT):
        items = [f"{n:06d}" for n in range(in_flight)]
        await queue.add_items(items)
        await queue.get_items(in_flight)
        await queue.ack_item(items[in_flight // 2])  # the first call prepares its script
        seconds = await timed(queue.ack_item, items[:-51:-1])
        found[f"ack the newest of {in_flight:,}"] = seconds / 50 * 1e6
        if in_flight == 100:
            await queue.ack_items(items[:50])
    await queue.drop_all_items()
    return found


async def pools(pool: Any, count: int) -> dict[str, float]:
    """A pool's verbs, each with all items."""
    items = [f"item {n}" for n in range(count)]
    verbs = {
        "Pool add_items": pool.add_items,
        "Pool get_items": lambda items: pool.get_items(len(items)),
        "Pool ack_items": pool.ack_items,
    }
    return {name: await timed(verb, [items]) / count * 1e6 for name, verb in verbs.items()}


async def side(queue: Any, unique: Any, pool: Any, client: Any, count: int) -> dict[str, float]:
    """Return all rows of one side."""
    found = {
        **await verbs(queue, count, "Queue {}"),
        **await verbs(unique, count, "UniqueQueue {}"),
        **await verbs(queue, 10 * count, f"{CALLERS} callers {{}}", callers=CALLERS),
    }
    for one, kind, many in ((queue, "Queue", 20), (unique, "UniqueQueue", 10)):
        name = f"{kind} {{}}, batches of {BATCH}"
        found |= await verbs(one, many * count, name, batch=BATCH)
    found |= {**await pools(pool, count), **await newest(queue)}
    await client.flushdb()
    return found


def compare(url: str, rounds: int, count: int) -> Report:
    """Measure both sides in turns."""
    aiopyrq = peer()

    async def here() -> dict[str, float]:
        async with (
            redis.asyncio.Redis.from_url(url) as client,
            with_their_names(AsyncRedisQueue)("Queue", url) as queue,
            with_their_names(AsyncRedisUniqueQueue)("UniqueQueue", url) as unique,
            AsyncRedisPool("Pool", url) as pool,
        ):
            return await side(queue, unique, pool, client, count)

    async def there() -> dict[str, float]:
        more = {"decode_responses": True, "socket_timeout": 60}
        async with redis.asyncio.Redis.from_url(url, **more) as client:
            kinds = aiopyrq.Queue, aiopyrq.UniqueQueue, aiopyrq.Pool
            return await side(*(kind(kind.__name__, client) for kind in kinds), client, count)

    sides = {"here": lambda: asyncio.run(here()), PEER: lambda: asyncio.run(there())}
    with Progress(2 * rounds) as bar:
        return beside("us per item", in_turns(sides, rounds, bar), more=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--durability", choices=sorted(DURABILITIES), default="none")
    chosen = parser.parse_args()
    with server(chosen.durability) as url:
        print(console(compare(url, chosen.rounds, chosen.count)))


if __name__ == "__main__":
    main()
