"""A sensor: values are stored at once, and uploaded in batches with one commit for each batch."""

import asyncio
import random

from persistqueue import AsyncJobQueue

BATCH = 100
sizes: list[int] = []


async def measure(values: AsyncJobQueue[float]) -> None:
    await values.put(random.gauss(20, 2))


async def upload(values: AsyncJobQueue[float]) -> None:
    jobs = await values.take_many(BATCH)  # waits for one, takes what is there
    sizes.append(len([job.item for job in jobs]))  # stands for one request with all values
    await values.ack_many(jobs)  # if the program dies before this, the batch comes again


async def main() -> None:
    async with AsyncJobQueue[float]("sensor.db", durability="process") as values:
        await asyncio.gather(*(measure(values) for _ in range(950)))
        while await values.qsize():
            await upload(values)
    print(f"{sum(sizes)} values in {len(sizes)} uploads")


asyncio.run(main())
