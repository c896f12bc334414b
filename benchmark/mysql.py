"""Measure the MySQL queues: ``python benchmark/mysql.py [count] [rounds] [waiting]``.

It starts a MariaDB server of its own, as the tests do (Debian package mariadb-server), whose
data is in the folder for temporary files: set ``TMPDIR`` to choose the disk.
"""

from __future__ import annotations

import os
import sys
from itertools import count as counter
from typing import TYPE_CHECKING, Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # a checkout
sys.path.insert(0, os.path.join(sys.path[0], "tests", "support"))

from mysql_server import new_server

from benchmark.peers import BESIDE
from benchmark.progress import Progress
from benchmark.report import beside, console, in_turns
from benchmark.side import ROOT, Side, installed_peer

if TYPE_CHECKING:
    from collections.abc import Callable

CALLERS = 50
FEW = 1000  # rows
_names = counter()


def measured(side: Side, where: Any, count: int, tasks: dict[str, tuple[str, str, int]]) -> Any:
    """Return a function that measures tasks on a server.

    Args:
        tasks: what -> the task of ``worker``, the class, and the number of callers.
    """

    def figures() -> dict[str, float]:
        found = {}
        for what, (task, kind, callers) in tasks.items():
            more = {"callers": callers} if callers > 1 else {}
            found[what] = side.measure(
                task, f"q{next(_names)}", count=count, durability="", kind=kind, where=where, **more
            )
        return found

    return figures


THEIRS = {"put": ("put", "MySQLQueue", 1), "get": ("get", "MySQLQueue", 1)}
OURS = {
    **THEIRS,
    "ack": ("ack", "MySQLAckQueue", 1),
    f"put, {CALLERS} tasks": ("tasks_put", "AsyncMySQLQueue", CALLERS),
    f"ack, {CALLERS} tasks": ("tasks_ack", "AsyncMySQLAckQueue", CALLERS),
}


def at_level(level: int, here: Side, peer: Side, count: int, rounds: int) -> None:
    """Print the median us of each operation on a server that flushes as ``level`` says."""
    flushing = {"innodb-flush-method": "fsync", "innodb-flush-log-at-trx-commit": level}
    server = new_server(**{"debug-no-sync": 0}, **flushing)
    where = server.database()
    del where["connect_options"]  # which persist-queue does not know
    sides = {
        "here": measured(here, where, count, OURS), BESIDE: measured(peer, where, count, THEIRS),
    }  # fmt: skip
    show(f"us, innodb_flush_log_at_trx_commit = {level}", sides, rounds)
    server.stop()


def waiting(here: Side, count: int, rounds: int, many: int) -> None:
    """Print the median us of a get with few rows and with many."""
    server = new_server(**{"innodb-buffer-pool-size": "512M"})
    queue = {"kind": "MySQLQueue", "where": server.database()}

    def of(rows: int) -> Callable[[], dict[str, float]]:
        path = f"rows{rows}"
        here.measure("fill", path, count=rows, **queue)
        return lambda: {"get": here.measure("exchange", path, count=count, **queue)}

    show("us", {f"{rows:,} rows": of(rows) for rows in (FEW, many)}, rounds)
    server.stop()


def show(unit: str, sides: dict[str, Callable[[], dict[str, float]]], rounds: int) -> None:
    with Progress(len(sides) * rounds) as bar:
        found = in_turns(sides, rounds, bar)
    print(console(beside(unit, found, more=False)), flush=True)


def main() -> None:
    count, rounds, many = [*map(int, sys.argv[1:]), *(500, 5, 1_000_000)[len(sys.argv) - 1 :]]
    with Side(ROOT) as here, Side(installed_peer()) as peer:
        for level in (1, 2, 0):
            at_level(level, here, peer, count, rounds)
        waiting(here, count, rounds, many)


if __name__ == "__main__":
    main()
