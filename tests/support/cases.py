"""The classes under torture, each behind the same blocking calls.  One line adds a class.

``put``, ``put_many``, ``get``, ``get_many``, ``qsize`` and ``close`` are a queue's own;
``Case.finish`` says how an item is finished.  A dict is a bag: ``put`` sets a key,
``get`` is ``popitem``; a broker is one of its queues.

``SERVED`` are those whose items are on a server: only what is asked of the client is asked of
them here, the server's deaths are the business of ``test_mysql_*`` and ``test_redis_failures``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from crashdisk import drain
from families import BlockingAsyncQueue, run
from mysql_server import shared_server
from redis_server import shared

import persistqueue
from persistqueue import Empty, engines, serializers


@dataclass(frozen=True)
class Case:
    """A class, and how its items are finished.

    Attributes:
        kind: the sync class's name.
        done: what finishes an item: "task_done", "ack", or "get" itself.
        newest_first: whether the last item that was put comes first.
        twin: whether it is the async class.
    """

    kind: str
    done: str = "task_done"
    newest_first: bool = False
    twin: bool = False

    @property
    def class_name(self) -> str:
        return f"{'Async' * self.twin}{self.kind}"

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return f"{self.class_name}-{self.done}"

    @property
    def at_most_once(self) -> bool:
        """Whether what ``get`` has returned never comes again."""
        return self.done == "get"

    @property
    def on_files(self) -> bool:
        return self.kind == "Queue"

    @property
    def makes_directory(self) -> bool:
        """Whether a path that is not there becomes a directory, not the database's file."""
        return not self.twin and self.kind not in ("Broker", "JobQueue")

    @property
    def shared(self) -> bool:
        """Whether two consuming processes never get the same item."""
        return self.done != "task_done"

    def open(self, path: Path, durability: str = "process", **options: Any) -> Any:
        """Open it in a directory, which is made if it is missing; for blocking calls."""
        kind, options = self._arguments(path, {"durability": durability, **options})
        opened = run(kind.create(path, **options)) if self.twin else kind(path, **options)
        if self.kind == "Broker":
            opened = OneOfMany(opened)
        if self.twin:
            opened = BlockingAsyncQueue(opened)
        return Bag(opened) if self.kind == "PDict" else opened

    async def create(self, path: Path, **options: Any) -> Any:
        """Open an async class; its methods are coroutines."""
        kind, options = self._arguments(path, {"durability": "process", **options})
        opened = await kind.create(path, **options)
        if self.kind == "Broker":
            return OneOfMany(opened)
        return AsyncBag(opened) if self.kind == "PDict" else opened

    def _arguments(self, path: Path, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return the class and how it is opened."""
        if self.kind == "PDict":
            options["name"] = "bag"
        elif self.on_files:
            options = {"chunksize": 7, "autosave": self.at_most_once, **options}
        elif self.kind == "JobQueue":
            options.setdefault("retry", persistqueue.Retry(max_attempts=None, first=0))
        elif self.done != "ack" and self.kind != "Broker":
            options["auto_commit"] = self.at_most_once
        if not self.makes_directory:
            path.mkdir(parents=True, exist_ok=True)
        return getattr(persistqueue, self.class_name), options

    def finish(self, q: Any, item: Any) -> None:
        """Say that an item is done."""
        if self.done == "ack":
            q.ack(item)
        elif self.done == "task_done":
            q.task_done(item=item)

    async def finish_async(self, q: Any, item: Any) -> None:
        """The same for an async class."""
        if self.done == "ack":
            await q.ack(item)
        elif self.done == "task_done":
            await q.task_done(item=item)

    def contents(self, path: Path, **options: Any) -> list[Any]:
        """Return everything that is handed out after a restart, in order.

        Raises:
            AssertionError: SQLite finds the database damaged.
        """
        q = self.open(path, **options)
        try:
            left = drain(q)
            if not self.on_files:
                assert "ok" == verdict(path)
        finally:
            q.close()
        return left


@dataclass(frozen=True)
class ServerCase(Case):
    """A class whose items are on a server; a path is a name there."""

    async def create(self, path: Path, **_: Any) -> Any:
        return await getattr(persistqueue, self.class_name).create(**self._place(path))

    def contents(self, path: Path, **_: Any) -> list[Any]:
        q = getattr(persistqueue, self.kind)(**self._place(path))
        try:
            return drain(q)
        finally:
            q.close()

    def _place(self, path: Path) -> dict[str, Any]:
        name = sha256(str(path).encode()).hexdigest()[:20]
        if "Redis" in self.kind:
            return {"name": name, "redis": shared().url, "serializer": serializers.pickle}
        plain = {} if self.done == "ack" else {"auto_commit": self.at_most_once}
        return {**_database(), "name": name, **plain}


@dataclass(frozen=True)
class EngineCase(Case):
    """A file queue whose items are kept by an engine, in a file in the directory."""

    engine: str = ""

    @property
    def name(self) -> str:
        return f"{super().name}-{self.engine}"

    def open(self, path: Path, durability: str = "process", **options: Any) -> Any:
        path.mkdir(parents=True, exist_ok=True)
        options["engine"] = getattr(engines, self.engine)
        return super().open(path / "queue", durability, **options)

    @property
    def makes_directory(self) -> bool:
        return True


@cache
def _database() -> dict[str, Any]:
    """Return where the tables of all tests are."""
    return shared_server().database()


class OneOfMany:
    """One queue of a broker, of either family; to close it is to close the broker."""

    def __init__(self, broker: Any) -> None:
        self._broker, self._queue = broker, broker.queue("jobs")

    def __getattr__(self, name: str) -> Any:
        owner = self._broker if name in ("close", "sync") else self._queue
        return getattr(owner, "size" if name == "qsize" else name)


class Bag:
    """A persistent dict as a queue that hands out the newest first."""

    def __init__(self, d: Any) -> None:
        self._d = d

    def put(self, item: Any) -> None:
        self.put_many([item])

    def put_many(self, items: Iterable[Any]) -> None:
        self._d.update({repr(item): item for item in items})

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        while True:
            try:
                return self._d.popitem()[1]
            except KeyError:
                if not block or timeout is not None:
                    raise Empty from None
                time.sleep(0.001)  # a dict has nothing to wait with

    def get_many(self, most: int, timeout: float | None = None) -> list[Any]:
        """Take what is there, one by one."""
        taken = [self.get(timeout=timeout)]
        while len(taken) < most:
            try:
                taken.append(self.get(block=False))
            except Empty:
                break
        return taken

    def qsize(self) -> int:
        return len(list(self._d.items()))

    def sync(self) -> None:
        self._d.sync()

    def close(self) -> None:
        self._d.close()


class AsyncBag:
    """The same for coroutines."""

    def __init__(self, d: Any) -> None:
        self._d = d

    async def put(self, item: Any) -> None:
        await self.put_many([item])

    async def put_many(self, items: Iterable[Any]) -> None:
        await self._d.update({repr(item): item for item in items})

    async def get(self) -> Any:
        try:
            return (await self._d.popitem())[1]
        except KeyError:
            raise Empty from None

    async def get_many(self, most: int) -> list[Any]:
        """Take one: a dict gives no more at once."""
        return [await self.get()]

    async def close(self) -> None:
        await self._d.close()


def verdict(path: Path) -> str:
    """Return what SQLite says of the database in a directory: "ok", if all is well."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(path / "data.db")) as connection:
        found: str = connection.execute("PRAGMA integrity_check").fetchone()[0]
    return found


_SYNC = [
    Case("Queue"),
    Case("Queue", "get"),
    Case("SQLiteQueue"),
    Case("SQLiteQueue", "get"),
    Case("FILOSQLiteQueue", newest_first=True),
    Case("FILOSQLiteQueue", "get", newest_first=True),
    Case("UniqueQ"),
    Case("UniqueQ", "get"),
    Case("PriorityQueue"),
    Case("PriorityQueue", "get"),
    Case("SQLiteAckQueue", "ack"),
    Case("FILOSQLiteAckQueue", "ack", newest_first=True),
    Case("UniqueAckQ", "ack"),
    Case("JobQueue", "ack"),
    Case("PDict", "get", newest_first=True),
    Case("Broker", "get"),
]
CASES = {
    case.name: case for case in [*_SYNC, *(replace(case, twin=True) for case in _SYNC)]
}  # fmt: skip
ENGINES = {
    case.name: case
    for name in ("SQLiteEngine", "DbmEngine", "PickledListEngine")
    for done in ("task_done", "get")
    for twin in (False, True)
    for case in (EngineCase("Queue", done, twin=twin, engine=name),)
}
SERVED = {
    case.name: case
    for case in (
        ServerCase("MySQLQueue", twin=True),
        ServerCase("MySQLQueue", "get", twin=True),
        ServerCase("MySQLAckQueue", "ack", twin=True),
        ServerCase("RedisQueue", "ack", twin=True),
        ServerCase("RedisUniqueQueue", "ack", twin=True),
    )
}


def tortured(
    quick: Iterable[str],
    few: int,
    many: int,
    fits: Callable[[Case], bool] = lambda case: True,
    among: Mapping[str, Case] = CASES,
) -> pytest.MarkDecorator:
    """Give a test ``case`` and ``amount``: some cases and few in the suite, all under the marker.

    Args:
        quick: the names of the cases that are always tested.
        few, many: the amounts.
        fits: whether a case is one for the test.
        among: the cases there are.
    """
    chosen = [pytest.param(among[name], few, id=f"{name}-few") for name in quick]
    chosen += [
        pytest.param(case, many, id=name, marks=pytest.mark.torture)
        for name, case in among.items()
        if fits(case)
    ]
    return pytest.mark.parametrize(("case", "amount"), chosen)


def on_files(case: Case) -> bool:
    return case.on_files


def on_sqlite(case: Case) -> bool:
    return not case.on_files
