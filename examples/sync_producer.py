"""A program without asyncio puts events one by one, an asyncio program ships them in batches.

``python examples/sync_producer.py [directory]``

Both open the same directory; here they are a thread and the event loop of one process, and
they could be two.  An event costs microseconds to put (``durability="process"``: it survives
the death of the program, not a loss of power).  A batch is finished once it is shipped, so
the rest is shipped after a restart.
"""

from __future__ import annotations

import asyncio
import sys

from persistqueue import AsyncQueue, Queue, QueueShutDown

Event = dict[str, int]
EVENTS, BATCH = 5_000, 250


def collect(directory: str) -> None:
    """Put events: a logging handler, a callback of a library, a program of its own."""
    with Queue[Event](directory, durability="process", chunksize=10_000) as events:
        for number in range(EVENTS):
            events.put({"event": number})


async def ship(batch: list[Event]) -> None:
    """Stands for one request to the receiver."""


async def ship_all(events: AsyncQueue[Event]) -> list[int]:
    """Ship events until the queue is shut down; return the size of each batch."""
    sizes = []
    while True:
        try:
            batch = await events.get_many(BATCH)  # waits for one, takes up to 250
        except QueueShutDown:
            return sizes
        await ship(batch)
        await events.task_done(len(batch))
        sizes.append(len(batch))


async def main(directory: str = "sync_producer") -> None:
    async with AsyncQueue[Event](directory, durability="process", chunksize=10_000) as events:
        shipping = asyncio.create_task(ship_all(events))
        await asyncio.to_thread(collect, directory)
        await events.join()  # until everything is shipped
        await events.shutdown()  # ship_all, which waits for more, stops
        sizes = await shipping
        left = await events.qsize()
        print(f"{sum(sizes)} events shipped, {left} left, at most {BATCH} at a time")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
