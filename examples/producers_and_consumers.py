"""Several producers and consumers, tasks of one event loop; a job that fails is tried again.

``python examples/producers_and_consumers.py [directory]``
"""

from __future__ import annotations

import asyncio
import logging
import sys

from persistqueue import AsyncQueue, QueueShutDown

PRODUCERS, CONSUMERS, JOBS = 3, 4, 20  # JOBS: of each producer


async def work(job: str, failed: list[str]) -> None:
    """Stands for a request that fails now and then: each producer's tenth job does, once."""
    await asyncio.sleep(0.001)
    if job.endswith("-9") and job not in failed:
        failed.append(job)
        raise ConnectionError(job)


async def produce(jobs: AsyncQueue[str], name: int) -> None:
    for number in range(JOBS):
        await jobs.put(f"{name}-{number}")  # waits for room while 10 jobs wait


async def consume(jobs: AsyncQueue[str], done: list[str], failed: list[str]) -> None:
    while True:
        try:
            async with jobs.process() as job:  # finished when the block ends
                await work(job, failed)
        except ConnectionError:
            continue  # the job is back in its place, and comes again after 0.1 s
        except QueueShutDown:
            return
        done.append(job)


async def main(directory: str = "producers_and_consumers") -> None:
    done: list[str] = []
    failed: list[str] = []
    async with AsyncQueue[str](directory, maxsize=10) as jobs:
        consumers = [asyncio.create_task(consume(jobs, done, failed)) for _ in range(CONSUMERS)]
        await asyncio.gather(*(produce(jobs, name) for name in range(PRODUCERS)))
        await jobs.join()  # until every job is finished
        await jobs.shutdown()  # the consumers, which wait for more, stop
        await asyncio.gather(*consumers)
        print(f"{len(done)} jobs done, {len(set(done))} different ones, {len(failed)} failed once")


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout)  # a WARNING says, once, that a job failed
    asyncio.run(main(*sys.argv[1:]))
