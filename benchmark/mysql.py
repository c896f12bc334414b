"""Measure the MySQL queues: ``python benchmark/mysql.py [count] [rounds] [waiting]``.

It starts a MariaDB server of its own, as the tests do (Debian package mariadb-server), whose
data is in the folder for temporary files: set ``TMPDIR`` to choose the disk.
"""

from __future__ import annotations

import os
import sys
from itertools import count as counter
from statistics import median
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # a checkout
sys.path.insert(0, os.path.join(sys.path[0], "tests", "support"))

from mysql_server import new_server

from benchmark.side import ROOT, Side, installed_peer

CALLERS = 50
_names = counter()


def at_level(level: int, here: Side, peer: Side, count: int, rounds: int) -> dict[str, float]:
    """Return the median µs of each operation on a server that flushes as ``level`` says."""
    server = new_server(
        **{
            "debug-no-sync": 0, "innodb-flush-method": "fsync",
            "innodb-flush-log-at-trx-commit": level,
        }
    )  # fmt: skip
    where = server.database()
    del where["connect_options"]  # which persist-queue does not know
    contests: dict[str, tuple[Side, str, dict[str, Any]]] = {
        "put, persist-queue 1.1.0": (peer, "mysql_put", {}),
        "put": (here, "mysql_put", {}),
        f"put, {CALLERS} tasks": (here, "mysql_async", {"callers": CALLERS, "verb": "put"}),
        "get, persist-queue 1.1.0": (peer, "mysql_put_get", {}),
        "get": (here, "mysql_put_get", {}),
        "ack": (here, "mysql_ack", {}),
        f"ack, {CALLERS} tasks": (here, "mysql_async", {"callers": CALLERS, "verb": "ack"}),
    }
    samples: dict[str, list[float]] = {name: [] for name in contests}
    for number in range(rounds):
        for name in list(contests)[:: -1 if number % 2 else 1]:
            side, task, more = contests[name]
            path = f"q{next(_names)}"
            samples[name].append(side.measure(task, path, where=where, count=count, **more))
    server.stop()
    return {name: median(values) for name, values in samples.items()}


def waiting(here: Side, count: int, rounds: int, many: int) -> dict[int, float]:
    """Return the median µs of a get with 1,000 and with ``many`` rows."""
    server = new_server(**{"innodb-buffer-pool-size": "512M"})
    where = server.database()
    samples: dict[int, list[float]] = {1000: [], many: []}
    for rows in samples:
        here.measure("mysql_fill", f"rows{rows}", where=where, count=rows)
    for number in range(rounds):
        for rows in list(samples)[:: -1 if number % 2 else 1]:
            here.measure("mysql_fill", f"rows{rows}", where=where, count=count)
            path = f"rows{rows}"
            samples[rows].append(here.measure("mysql_get", path, where=where, count=count))
    server.stop()
    return {rows: median(values) for rows, values in samples.items()}


def main() -> None:
    count, rounds, many = [*map(int, sys.argv[1:]), *(500, 5, 1_000_000)[len(sys.argv) - 1 :]]
    with Side(ROOT) as here, Side(installed_peer()) as peer:
        for level in (1, 2, 0):
            print(f"innodb_flush_log_at_trx_commit = {level}")
            for name, value in at_level(level, here, peer, count, rounds).items():
                print(f"  {name:30} {value:8.0f} µs {1e6 / value:8.0f} a second", flush=True)
        for rows, value in waiting(here, count, rounds, many).items():
            print(f"get with {rows} rows {value:8.0f} µs", flush=True)


if __name__ == "__main__":
    main()
