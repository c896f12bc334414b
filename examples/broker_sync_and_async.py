"""Sync code, async code and a plain queue on one database.

``python examples/broker_sync_and_async.py [database]``
"""

from __future__ import annotations

import asyncio
import sys

from persistqueue import AsyncBroker, Broker, SQLiteQueue


async def consume(database: str) -> list[str]:
    async with AsyncBroker(database) as broker:
        return [item async for item in broker.queue("tasks").stream()]


def main(database: str = "shared.db") -> None:
    with Broker(database) as broker:
        broker.queue("tasks").write("from a thread")
        with SQLiteQueue[str](database, name="tasks") as plain:
            plain.put("from a plain queue")
    print("; ".join(asyncio.run(consume(database))))


if __name__ == "__main__":
    main(*sys.argv[1:])
