"""Workers that share a queue of a broker, and wait for work instead of asking for it.

``python examples/broker_workers.py [database]``
"""

from __future__ import annotations

import asyncio
import sys

from persistqueue import AsyncBroker, AsyncBrokerQueue

WORKERS = 5


async def worker(tasks: AsyncBrokerQueue[str], done: AsyncBrokerQueue[str]) -> None:
    while True:
        async with tasks.process() as task:  # given back if this worker fails or is cancelled
            await done.write(f"{task}: done")  # stands for the work


async def main(database: str = "workers.db") -> None:
    async with AsyncBroker(database) as broker:
        tasks, done = broker.queue("tasks"), broker.queue("done")
        workers = [asyncio.create_task(worker(tasks, done)) for _ in range(WORKERS)]
        await tasks.write_many(f"task {number}" for number in range(20))
        results = {await done.get() for _ in range(20)}
        for task in workers:
            task.cancel()
        await asyncio.wait(workers)
        print(f"{len(results)} different tasks done, {await tasks.size()} left")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
