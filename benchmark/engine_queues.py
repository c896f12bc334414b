"""Queues that ``measure_engines`` compares: every engine and queue class, as ``put`` and ``get``.

A queue of a class for asyncio is used by tasks, one of a synchronous class by threads.  ``get``
takes an item and finishes it, in one call or two.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import persistqueue
from benchmark.side import ROOT
from persistqueue import engines

#: Returns a context manager whose value is a ``Measured``; an async one if tasks use it.
Open = Callable[[Path], Any]
FILL = 20_000  # items in one put_many


class Measured:
    """The verbs of a queue that are measured: functions, or coroutine functions for tasks."""

    def __init__(self, put: Any, get: Any, put_many: Any = None) -> None:
        self.put, self.get, self.put_many = put, get, put_many


class Kind(NamedTuple):
    """One kind of queue.

    Attributes:
        group: ``"engines"``, ``"classes"`` or ``"peers"``: kinds that share a picture.
        durability: ``"power"``, ``"process"`` or ``"none"``.
        tasks: whether tasks use it, not threads.
        opened: opens it; called again with the same path it finds the same items.
        forget: removes all stored items; files need none.
    """

    group: str
    name: str
    durability: str
    tasks: bool
    opened: Open
    forget: Callable[[], None] | None = None


@asynccontextmanager
async def _async(path: Path, make: Callable[[Path], Any], finish: str = "") -> AsyncIterator[Any]:
    async with make(path) as queue:

        async def get_and_finish() -> Any:
            item = await queue.get()
            await getattr(queue, finish)(item)
            return item

        get = get_and_finish if finish else queue.get
        yield Measured(queue.put, get, queue.put_many)


@contextmanager
def _sync(path: Path, make: Callable[[Path], Any], finish: str = "") -> Iterator[Measured]:
    with make(path) as queue:

        def get_and_finish() -> Any:
            item = queue.get()
            getattr(queue, finish)(item)
            return item

        get = get_and_finish if finish else queue.get
        yield Measured(queue.put, get, queue.put_many)


def _kind(
    group: str, name: str, durability: str, make: Callable[[Path], Any], *, finish: str = "",
    forget: Callable[[], None] | None = None,
) -> Kind:  # fmt: skip
    tasks = name.startswith("Async")
    opened = partial(_async if tasks else _sync, make=make, finish=finish)
    return Kind(group, name, durability, tasks, opened, forget)


def _at(queue_class: Any, **options: Any) -> Callable[[Path], Any]:
    return lambda path: queue_class(str(path), **options)


def _engines() -> Iterator[Kind]:
    for face in ("AsyncQueue", "Queue"):
        for engine, durabilities in (
            ("ChunkFileEngine", ("process", "power")),
            ("SQLiteEngine", ("process", "power")),
            ("DbmEngine", ("process", "power")),
            ("PickledListEngine", ("process", "power")),
            ("MemoryEngine", ("none",)),
        ):
            for durability in durabilities:
                make = _at(
                    getattr(persistqueue, face),
                    engine=getattr(engines, engine),
                    durability="process" if durability == "none" else durability,
                    autosave=True,
                )
                yield _kind("engines", f"{face} {engine}", durability, make)


_SQLITE = (
    "SQLiteQueue", "FILOSQLiteQueue", "UniqueQ", "PriorityQueue",
    "SQLiteAckQueue", "FILOSQLiteAckQueue", "UniqueAckQ", "JobQueue",
)  # fmt: skip


def _sqlite() -> Iterator[Kind]:
    for name in (prefix + name for prefix in ("Async", "") for name in _SQLITE):
        for durability in ("process", "power") if name.endswith("SQLiteQueue") else ("power",):
            make = _at(getattr(persistqueue, name), durability=durability)
            finish = "ack" if "Ack" in name or "Job" in name else ""
            yield _kind("classes", name, durability, make, finish=finish)


@asynccontextmanager
async def _async_broker(path: Path) -> AsyncIterator[Any]:
    async with persistqueue.AsyncBroker(str(path)) as broker:
        yield broker.queue("jobs")


@contextmanager
def _broker(path: Path) -> Iterator[Any]:
    with persistqueue.Broker(str(path)) as broker:
        yield broker.queue("jobs")


def _brokers() -> Iterator[Kind]:
    yield _kind("classes", "AsyncBroker queue", "power", _async_broker)
    yield _kind("classes", "Broker queue", "power", _broker)


def _mysql(stack: ExitStack) -> Iterator[Kind]:
    """Start a server; it ends with the process, or with the stack."""
    sys.path.append(os.path.join(ROOT, "tests", "support"))
    from mysql_server import new_server  # noqa: PLC0415 - only when it is there

    flushing = {"innodb-flush-method": "fsync", "innodb-flush-log-at-trx-commit": 1}
    server = new_server(**{"debug-no-sync": 0}, **flushing)
    stack.callback(server.stop)
    where = server.database()

    def forget() -> None:
        name = where["db_name"]
        server.run(f"DROP DATABASE {name}")
        server.run(f"CREATE DATABASE {name}")

    for name in ("AsyncMySQLQueue", "MySQLQueue", "AsyncMySQLAckQueue", "MySQLAckQueue"):
        queue_class, ack = getattr(persistqueue, name), "ack" if "Ack" in name else ""

        def make(path: Path, queue_class: Any = queue_class) -> Any:
            return queue_class(**where, name=f"q{path.stem}")

        yield _kind("classes", name, "power", make, finish=ack, forget=forget)


def _redis(stack: ExitStack) -> Iterator[Kind]:
    """Start a server that syncs each change."""
    import redis  # noqa: PLC0415 - only when it is there

    from benchmark.redis_peers import server  # noqa: PLC0415 - it imports redis

    url = stack.enter_context(server("always"))
    client = stack.enter_context(redis.Redis.from_url(url))

    def forget() -> None:
        client.flushall()

    for name in ("AsyncRedisQueue", "RedisQueue", "AsyncRedisUniqueQueue", "RedisUniqueQueue"):
        queue_class = getattr(persistqueue, name)

        def make(path: Path, queue_class: Any = queue_class) -> Any:
            return queue_class(path.stem, url)

        yield _kind("classes", name, "power", make, finish="ack", forget=forget)


_SERVERS: tuple[tuple[str, str, Callable[[ExitStack], Iterator[Kind]]], ...] = (
    ("mariadbd", "AsyncMySQLQueue", _mysql),
    ("redis-server", "AsyncRedisQueue", _redis),
)


def ours(stack: ExitStack) -> list[Kind]:
    """Return every engine and queue class; those of a server that is installed here, too.

    Args:
        stack: ends the servers.
    """
    found = [*_engines(), *_sqlite(), *_brokers()]
    for program, name, kinds in _SERVERS:
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
        if shutil.which(program, path=path) is None or not hasattr(persistqueue, name):
            print(f"no {name}: it needs {program} and its driver", file=sys.stderr)
        else:
            found += kinds(stack)
    return found


@asynccontextmanager
async def _aiodiskqueue(path: Path, name: str) -> AsyncIterator[Measured]:
    import aiodiskqueue  # noqa: PLC0415 - only when it is asked for

    engine = getattr(aiodiskqueue.engines, name)
    queue = await aiodiskqueue.Queue.create(path, cls_storage_engine=engine)
    yield Measured(queue.put, queue.get)


def peers() -> list[Kind]:
    """Return aiodiskqueue's engines, if it is installed."""
    if find_spec("aiodiskqueue") is None:
        print("no aiodiskqueue: it is not installed", file=sys.stderr)
        return []
    dbm = next(name for name in ("sqlite3", "gnu", "ndbm", "dumb") if find_spec(f"dbm.{name}"))
    return [
        Kind("peers", f"aiodiskqueue {shown}", durability, True, partial(_aiodiskqueue, name=name))
        for name, shown, durability in (
            ("DbmEngine", f"DbmEngine ({dbm})", "power" if dbm == "sqlite3" else "process"),
            ("PickledList", "PickledList", "process"),
            ("PickleSequence", "PickleSequence", "process"),
            ("SqliteEngine", "SqliteEngine", "power"),
        )
    ]
