"""Three queues by priority: urgent items go first.

``python examples/broker_priorities.py [database]``
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from persistqueue import AsyncBroker

PRIORITIES = ("high", "medium", "low")


async def next_of(broker: AsyncBroker) -> Any:
    """Take the next item of the first queue that has one: one transaction, one commit."""

    def take(tx: Any) -> Any:
        for name in PRIORITIES:
            if (item := tx.queue(name).read()) is not None:
                return item
        return None

    return await broker.transact(take)


async def main(database: str = "priorities.db") -> None:
    async with AsyncBroker(database) as broker:
        await broker.queue("low").write_many(["sweep", "dust"])
        await broker.queue("high").write("fire")
        await broker.queue("medium").write("mail")
        order = []
        while (item := await next_of(broker)) is not None:
            order.append(item)
        print(", ".join(order))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
