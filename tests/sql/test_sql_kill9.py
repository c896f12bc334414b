"""Producers and consumers on an SQLite queue that are killed with kill -9, again and again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crashdisk import Child, watchdog
from families import SQL_KINDS, open_sql
from slaughter import Slaughter, audit

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")

PRODUCER = """
import itertools, os, sys
import persistqueue

kind, path, durability, name, first = sys.argv[1:]
queue = getattr(persistqueue, kind)(path, durability=durability)
for number in itertools.count(int(first)):
    if number % 5:
        queue.put((name, number))
    else:
        queue.put_many([(name, number, part) for part in range(9)])
    os.write(1, b"%d\\n" % number)
"""

CONSUMER = """
import ast, os, sys
import persistqueue

kind, path, durability, options = sys.argv[1:]
queue = getattr(persistqueue, kind)(path, durability=durability, **ast.literal_eval(options))
finish = getattr(queue, "ack", lambda item: queue.task_done(item=item))
while True:
    item = queue.get()
    os.write(1, repr(item).encode() + b"\\n")
    finish(item)
"""

ASYNC_PRODUCER = """
import asyncio, itertools, os, sys
import persistqueue

kind, path, durability, *tasks = sys.argv[1:]

async def work(queue, name, first):
    for number in itertools.count(int(first)):
        if number % 5:
            await queue.put((name, number))
        else:
            await queue.put_many([(name, number, part) for part in range(9)])
        os.write(1, b"%s %d\\n" % (name.encode(), number))

async def main():
    queue = getattr(persistqueue, "Async" + kind)(path, durability=durability)
    await asyncio.gather(*(work(queue, *task.split()) for task in tasks))

asyncio.run(main())
"""

ASYNC_CONSUMER = """
import ast, asyncio, os, sys
import persistqueue

kind, path, durability, options = sys.argv[1:]

async def main():
    queue = getattr(persistqueue, "Async" + kind)(
        path, durability=durability, **ast.literal_eval(options))
    finish = getattr(queue, "ack", lambda item: queue.task_done(item=item))
    while True:
        item = await queue.get()
        os.write(1, repr(item).encode() + b"\\n")
        await finish(item)

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def _watched() -> Iterator[None]:
    """Let nothing hang."""
    with watchdog(600):
        yield


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database's file, which both families take for one."""
    file = tmp_path / "jobs.db"
    file.touch()
    return file


class SqlSlaughter(Slaughter):
    """Rounds of producers and consumers on one table.

    Args:
        kind: the sync class's name.
        way: of finishing an item: "ack", "task_done" or "get".
        loops: whether each producer is an event loop with three tasks, and each consumer one.
    """

    def __init__(self, path: Path, kind: str, way: str, durability: str, loops: bool) -> None:
        super().__init__(path, durability, way == "get", seed=len(kind))
        self._kind, self._loops = kind, loops
        self._options = {} if way == "ack" else {"auto_commit": way == "get"}

    def _producer(self, name: str) -> Child:
        begins = [(task, self._next[task]) for task in self._tasks(name)]
        options = self._kind, self._path, self._durability
        if self._loops:
            return Child(ASYNC_PRODUCER, *options, *(f"{task} {first}" for task, first in begins))
        return Child(PRODUCER, *options, *begins[0])

    def _consumer(self) -> Child:
        program = ASYNC_CONSUMER if self._loops else CONSUMER
        return Child(program, self._kind, self._path, self._durability, self._options)

    def _note_producer(self, name: str, lines: list[str]) -> None:
        said = [line.split() if self._loops else [name, line] for line in lines]
        for task in self._tasks(name):
            self._note_puts(task, [int(number) for who, number in said if who == task])

    def _tasks(self, name: str) -> list[str]:
        return [f"{name}.{task}" for task in range(3)] if self._loops else [name]


def contents(kind: str, path: Path) -> list[Any]:
    """Return everything that is to be handed out yet, in order."""
    with open_sql(kind, path) as q:
        left: list[Any] = q.get_many(100_000) if q.qsize() else []
        if "Ack" in kind:  # what was acked is not there twice either
            stored = [row["data"] for row in q.queue()]
            assert len(stored) == len(set(stored))
        [[verdict]] = q._conn.execute("PRAGMA integrity_check")
        assert "ok" == verdict
    return left


def check(
    path: Path, kind: str, way: str, rounds: int, durability: str, loops: bool, consumers: int = 1
) -> None:
    """Kill everybody in each round; then look for what is lost, double or out of order."""
    slaughter = SqlSlaughter(path, kind, way, durability, loops)
    for _ in range(rounds):
        slaughter.round(2, consumers)
    deaths = rounds * consumers
    late = deaths if consumers > 1 else 0
    audit(slaughter, contents(kind, path), deaths, in_order="FILO" not in kind, late=late)


ACK = [kind for kind in SQL_KINDS if "Ack" in kind]
PLAIN = [kind for kind in SQL_KINDS if "Ack" not in kind]
WAYS = [
    *((kind, "ack") for kind in ACK),
    *((kind, way) for kind in PLAIN for way in ("get", "task_done")),
]
FEW = [
    ("SQLiteAckQueue", "ack", "power", False), ("FILOSQLiteAckQueue", "ack", "process", True),
    ("SQLiteQueue", "get", "power", True), ("PriorityQueue", "get", "process", False),
    ("UniqueQ", "task_done", "power", False), ("FILOSQLiteQueue", "task_done", "process", True),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "way", "durability", "loops"), FEW)
def test_acknowledged_items_survive(
    file: Path, kind: str, way: str, durability: str, loops: bool
) -> None:
    """What put has acknowledged is handed out; twice, or not at all, only as its class says."""
    check(file, kind, way, 2, durability, loops)


def test_two_consumers(file: Path) -> None:
    """What two ack consumers held when they were killed comes again, and nothing else."""
    check(file, "SQLiteAckQueue", "ack", 2, "process", False, consumers=2)


@pytest.mark.slow
@pytest.mark.parametrize("loops", [False, True], ids=["threads", "loops"])
@pytest.mark.parametrize("durability", ["power", "process"])
@pytest.mark.parametrize(("kind", "way"), WAYS)
def test_at_length(file: Path, kind: str, way: str, durability: str, loops: bool) -> None:
    """Many rounds of kill -9 lose nothing that was acknowledged."""
    check(file, kind, way, 30, durability, loops, consumers=1 if way == "task_done" else 2)
