"""Prints the names that persist-queue's objects and modules have, whichever package that is."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import persistqueue

QUEUES = ("SQLiteQueue", "FIFOSQLiteQueue", "FILOSQLiteQueue", "UniqueQ", "PriorityQueue")
ACK_QUEUES = ("SQLiteAckQueue", "FIFOSQLiteAckQueue", "FILOSQLiteAckQueue", "UniqueAckQ")
ASYNC_QUEUES = (
    "AsyncSQLiteQueue", "AsyncFIFOSQLiteQueue", "AsyncFILOSQLiteQueue", "AsyncUniqueQ",
)  # fmt: skip
MODULES = (
    "persistqueue", *(f"persistqueue.{name}" for name in (
        "async_queue", "async_sqlqueue", "exceptions", "mysqlqueue", "pdict", "priorityqueue",
        "queue", "serializers", "serializers.async_pickle", "serializers.cbor2", "serializers.json",
        "serializers.msgpack", "serializers.pickle", "sqlackqueue", "sqlbase", "sqlqueue",
    )),
)  # fmt: skip


def names(folder: Path) -> dict[str, list[str]]:
    """Return all names of live objects, and the public ones of modules."""
    found = {
        name: dir(_used(getattr(persistqueue, name)(str(folder / name))))
        for name in ("Queue", *QUEUES, *ACK_QUEUES)
    }
    found["SQLiteQueue, two connections"] = dir(
        persistqueue.SQLiteQueue(str(folder / "two"), auto_commit=False, multithreading=True)
    )
    found["PDict"] = dir(persistqueue.PDict(str(folder / "PDict"), "dict"))
    found |= asyncio.run(_of_async(folder))
    found["AckStatus"] = dir(persistqueue.AckStatus)
    found["MySQLQueue"] = dir(persistqueue.MySQLQueue)  # there may be no server: of the class
    for module in MODULES:
        public = [name for name in dir(importlib.import_module(module)) if name[0] != "_"]
        found[f"module {module}"] = public
    return found


def _used(queue: Any) -> Any:
    queue.put(1)
    return queue


async def _of_async(folder: Path) -> dict[str, list[str]]:
    found = {}
    for name in ("AsyncQueue", *ASYNC_QUEUES):
        async with getattr(persistqueue, name)(str(folder / name)) as queue:
            await queue.put(1)
            found[name] = dir(queue)
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(names(Path(sys.argv[1]))))
