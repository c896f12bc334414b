"""Every class that keeps its items in an SQLite database, behind the same blocking calls.

``put``, ``get`` (which never waits), ``qsize`` and ``close`` are there for all of them: a dict
is a bag that gives the newest first, a broker is one of its queues.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from brokers import BROKERS
from families import SQL_KINDS, BlockingAsyncQueue, open_sql, run

import persistqueue
from persistqueue import Empty


class _Bag:
    """A persistent dict, of either family."""

    def __init__(self, d: Any) -> None:
        self._d = d

    def __getattr__(self, name: str) -> Any:
        return getattr(self._d, name)

    def put(self, item: Any) -> None:
        self._d.update({repr(item): item})

    def put_many(self, items: Any) -> None:
        self._d.update({repr(item): item for item in items})

    def get(self) -> Any:
        try:
            return self._d.popitem()[1]
        except KeyError:
            raise Empty from None

    def qsize(self) -> int:
        return len(list(self._d.keys()))


class _OneOfMany:
    """One queue of a broker, of either family."""

    def __init__(self, broker: Any) -> None:
        self._broker, self._queue = broker, broker.queue("jobs")

    def __getattr__(self, name: str) -> Any:
        owner = self._queue if hasattr(self._queue, name) else self._broker
        return getattr(owner, name)

    def get(self) -> Any:
        return self._queue.get(False)

    def qsize(self) -> int:
        size: int = self._queue.size()
        return size


class _Rows:
    """A queue in a table, of either family."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def get(self) -> Any:
        return self._queue.get(False)


#: All classes, sync and async.
KINDS = tuple(f"{twin}{kind}" for kind in (*SQL_KINDS, "PDict", "Broker") for twin in ("", "Async"))
#: One of each way to store.
FEW = (
    "SQLiteQueue", "AsyncSQLiteQueue", "PriorityQueue", "SQLiteAckQueue", "AsyncUniqueAckQ",
    "PDict", "AsyncPDict", "Broker", "AsyncBroker",
)  # fmt: skip
each_kind = pytest.mark.parametrize("kind", KINDS)
each_way = pytest.mark.parametrize("kind", FEW)


def open_any(kind: str, path: Path, **options: Any) -> Any:
    """Open an object of the class with this name on ``data.db`` in a directory."""
    if str(path) != ":memory:":
        path.mkdir(exist_ok=True)
    options.setdefault("durability", "process")
    if kind.endswith("Broker"):
        return _OneOfMany(BROKERS[kind](path, **options))
    if kind.endswith("JobQueue"):
        options.setdefault("retry", persistqueue.Retry(max_attempts=None, first=0))
    if not kind.endswith("PDict"):
        return _Rows(open_sql(kind, path, **options))
    dict_class = getattr(persistqueue, kind)
    if kind == "PDict":
        return _Bag(dict_class(path, "bag", **options))
    return _Bag(BlockingAsyncQueue(run(dict_class.create(path, "bag", **options))))
