"""An outbox: a row of your own table and the message about it are one transaction.

``python examples/broker_outbox.py [database]``
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from persistqueue import AsyncBroker

if TYPE_CHECKING:
    from persistqueue.async_broker import Transaction


def create_tables(tx: Transaction) -> None:
    tx.execute("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, what TEXT NOT NULL)")


def order(tx: Transaction, what: str | None) -> int:
    """Store an order, and tell the warehouse: both or neither."""
    number = tx.queue("warehouse").write({"what": what})
    tx.execute("INSERT INTO orders (what) VALUES (?)", (what,))  # no None is taken here
    return number


async def main(database: str = "outbox.db") -> None:
    async with AsyncBroker(database) as broker:
        await broker.transact(create_tables)
        for what in ("tea", None, "milk"):
            try:
                await broker.transact(lambda tx, what=what: order(tx, what))
            except Exception as error:  # noqa: BLE001 - an order that is refused leaves nothing
                print(f"refused: {type(error).__name__}")
        orders = await broker.transact(lambda tx: tx.execute("SELECT count(*) FROM orders"))
        print(f"{orders[0][0]} orders, {await broker.queue('warehouse').size()} messages")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
