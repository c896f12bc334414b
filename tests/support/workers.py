"""What producers and consumers do, each in a process of its own, and the log that they keep.

A worker notes a call when it has returned: a line in a file that is only ever appended to.
What is in the log was acknowledged; a kill -9 takes nothing of it back.
"""

from __future__ import annotations

import itertools
import os
import random
import sqlite3
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from cases import CASES
from sqlite_objects import open_any

from persistqueue import QueueFailed

Item = tuple[str, int, int]


def out_of_order(items: list[Item]) -> int:
    """Return how often an item of a producing thread comes before an earlier one of it."""
    last: dict[str, Item] = {}
    count = 0
    for item in items:
        count += last.get(item[0], item) > item
        last[item[0]] = item
    return count


def items_of(name: str, number: int) -> list[Item]:
    """Return what a producer puts at once under a number: one item, or nine."""
    return [(name, number, part) for part in range(1 if number % 5 else 9)]


def produce(case: str, path: str, log: str, name: str, count: int, durability: str) -> None:
    """Put in two threads, for ever or ``count`` times each."""
    q, note = CASES[case].open(Path(path), durability), Noted(log)

    def work(thread: str) -> None:
        for number in itertools.count() if count < 0 else range(count):
            items = items_of(thread, number)
            if len(items) == 1:
                q.put(items[0])
            else:
                q.put_many(items)
            note("put", thread, number)

    in_threads(work, [f"{name}.1", f"{name}.2"])
    q.close()


def consume(case: str, path: str, log: str, name: str, threads: int, durability: str) -> None:
    """Get, note, finish, note, for ever."""
    kind, note = CASES[case], Noted(log)
    q = kind.open(Path(path), durability)

    def work(thread: str) -> None:
        while True:
            item = q.get()
            note("got", thread, *item)
            kind.finish(q, item)
            note("done", thread, *item)

    in_threads(work, [f"{name}.{number}" for number in range(threads)])


def in_threads(work: Callable[[str], None], names: Iterable[str]) -> None:
    """Call ``work`` in a thread for each name; an error in one of them ends the process."""

    def guarded(name: str) -> None:
        try:
            work(name)
        except BaseException:  # noqa: BLE001 - the others may never end
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    threads = [threading.Thread(target=guarded, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Noted:
    """The log of acknowledgements, for writing."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def __call__(self, *words: Any) -> None:
        os.write(self._fd, (" ".join(map(str, words)) + "\n").encode())


class Log:
    """The log of acknowledgements, as it was found.

    Attributes:
        put: items whose put had returned.
        got: what each consuming thread was given, in order.
        finished: items of which a consumer was told that they are done.
    """

    def __init__(self, lines: list[str]) -> None:
        self.put: list[Item] = []
        self.got: dict[str, list[Item]] = {}
        self.finished: set[Item] = set()
        self.synced: set[Item] = set()  # put, before sync() returned
        self.again: list[Item] = []  # finished, and got all the same
        numbers: Counter[str] = Counter()
        for line in lines:
            verb, who, *rest = line.split()
            if verb == "synced":
                self.synced = set(self.put)
                continue
            if verb == "put":
                numbers[who] = int(rest[0]) + 1
                self.put += items_of(who, int(rest[0]))
                continue
            item = (rest[0], int(rest[1]), int(rest[2]))
            if verb == "got":
                self.got.setdefault(who, []).append(item)
                self.again += [item] * (item in self.finished)
            else:
                self.finished.add(item)
        self._numbers = numbers

    @property
    def taken(self) -> set[Item]:
        """What anybody was given."""
        return {item for items in self.got.values() for item in items}

    def doubtful(self, producers: Iterable[str]) -> set[Item]:
        """Return the items of the next put of each producing thread."""
        return {item for who in producers for item in items_of(who, self._numbers[who])}


def live(case: str, path: str, log: str, rounds: int, durability: str) -> None:
    """Put, take and finish in one thread, with checkpoints and restarts between."""
    kind, note = CASES[case], Noted(log)
    for turn in range(rounds):
        q = kind.open(Path(path), durability)
        for step in range(4):
            items = items_of("me", number := turn * 4 + step)
            items = [(*item[:2], item[2], "x" * (number % 3 * 900)) for item in items]
            if len(items) == 1:
                q.put(items[0])
            else:
                q.put_many(items)
            note("put", "me", number)
            for _ in range(step):
                item = q.get()
                note("got", "me", *item[:3])
                kind.finish(q, item)
                note("done", "me", *item[:3])
            if step == 2 and turn % 2 and not kind.on_files:
                q.sync()
                note("synced", "me")
                checkpoint(Path(path))  # what follows overwrites the log from its beginning
        q.close()


def checkpoint(path: Path) -> None:
    """Have SQLite copy its log into the database, as it does by itself at 1000 pages."""
    with closing(sqlite3.connect(path / "data.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint").fetchall()


def outgrow(case: str, path: str, log: str, size: int) -> None:
    """Put until no file may grow any more, and again when they may."""
    import resource  # not on Windows

    kind, note = CASES[case], Noted(log)
    q = kind.open(Path(path), "power")
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    for number in itertools.count():
        try:
            q.put_many([(*item, "x" * 700) for item in items_of("me", number)])
        except (OSError, QueueFailed) as error:
            failed = isinstance(error, QueueFailed)
            break
        note("put", "me", number)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    if failed:  # a commit that may have been stored: only opening shows
        q.close()
        q = kind.open(Path(path), "power")
    q.put_many([(*item, "more") for item in items_of("again", 1)])
    note("put", "again", 1)
    q.close()


def labour(kind: str, path: str, log: str, durability: str) -> None:
    """Take items, work on each for 1 to 20 ms, finish it; note both, with times, for ever."""
    q, note, me = open_any(kind, Path(path), durability=durability), Noted(log), os.getpid()
    while True:
        with q.process() as item:
            note("took", item, me, time.monotonic())
            time.sleep(random.uniform(0.001, 0.02))
        note("done", item, me, time.monotonic())
