"""Every engine side by side: ``python benchmark/every_engine.py [--count N] [--rounds N]``.

A file, SQLite, MySQL and Redis take turns; each flushes every commit to the disk.  The servers
are its own, from the PATH; all data is in the folder for temporary files: set ``TMPDIR`` to
choose the disk.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from itertools import count as counter
from statistics import median
from typing import TYPE_CHECKING, Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # a checkout
sys.path.insert(0, os.path.join(sys.path[0], "tests", "support"))

from mysql_server import new_server

from benchmark.redis_peers import server as redis_server
from persistqueue import AsyncMySQLQueue, AsyncQueue, AsyncRedisQueue, AsyncSQLiteQueue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CALLERS = 100
ITEM = "x" * 256
_numbers = counter()


async def per_second(verb: Callable[[], Awaitable[Any]], count: int, callers: int) -> float:
    """Return how many calls a second so many tasks make together."""

    async def caller() -> None:
        for _ in range(count // callers):
            await verb()

    before = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return count / (time.perf_counter() - before)


async def measure(make: Callable[[str], Any], count: int) -> dict[str, float]:
    """Return the operations a second of one engine."""
    found = {}
    for callers, who in ((1, "1 caller"), (CALLERS, f"{CALLERS} tasks")):
        async with make(f"q{next(_numbers)}") as q:

            async def get(q: Any = q) -> None:
                await q.get()
                await q.task_done()

            many = count * (10 if callers > 1 else 1)
            found[f"put, {who}"] = await per_second(lambda q=q: q.put(ITEM), many, callers)
            found[f"get, {who}"] = await per_second(get, many, callers)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--count", type=int, default=300, help="calls of a lone caller (300)")
    parser.add_argument("--rounds", type=int, default=5, help="samples of each (5)")
    options = parser.parse_args()
    mysql = new_server(
        **{
            "debug-no-sync": 0, "innodb-flush-method": "fsync",
            "innodb-flush-log-at-trx-commit": 1,
        }
    )  # fmt: skip
    where = mysql.database()
    with tempfile.TemporaryDirectory() as folder, redis_server("always") as url:
        engines: dict[str, Callable[[str], Any]] = {
            "file": lambda name: AsyncQueue(os.path.join(folder, name), durability="power"),
            "SQLite": lambda name: AsyncSQLiteQueue(
                os.path.join(folder, name), auto_commit=False, durability="power"
            ),
            "MySQL": lambda name: AsyncMySQLQueue(**where, name=name, auto_commit=False),
            "Redis": lambda name: AsyncRedisQueue(name, url),
        }
        samples: dict[str, dict[str, list[float]]] = {}
        for number in range(options.rounds):
            for name in list(engines)[:: -1 if number % 2 else 1]:
                for row, value in asyncio.run(measure(engines[name], options.count)).items():
                    samples.setdefault(row, {}).setdefault(name, []).append(value)
    print(f"{'operations a second':22}" + "".join(f"{name:>10}" for name in engines))
    for row, values in samples.items():
        print(f"{row:22}" + "".join(f"{median(values[name]):10,.0f}" for name in engines))


if __name__ == "__main__":
    main()
