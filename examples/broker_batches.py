"""Fifty items for one commit: at least once; items that fail go to another queue.

``python examples/broker_batches.py [database]``
"""

from __future__ import annotations

import asyncio
import sys

from persistqueue import AsyncBroker


async def process(number: int) -> None:
    """Stands for work that fails now and then."""
    if number % 100 == 99:
        raise ValueError(f"{number} is not to be had")


async def main(database: str = "batches.db") -> None:
    async with AsyncBroker(database) as broker:
        numbers, failed = broker.queue("numbers"), broker.queue("failed")
        await numbers.write_many(range(1000))
        count = 0
        async for number in numbers.stream(commit_interval=50):
            try:
                await process(number)  # a crash here: this batch comes again
            except ValueError:
                await failed.write(number)  # the body may use the broker as it likes
            count += 1
        print(f"{count} processed, {await failed.size()} failed, {await numbers.size()} left")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
