"""A service that stops between two jobs when it is told to (Ctrl-C, systemd, docker stop).

``python examples/graceful_shutdown.py [directory]``: one of the jobs sends a SIGTERM.

Jobs that are under way are finished; waiting jobs stay stored for the next start.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from persistqueue import AsyncQueue

WORKERS = 3


async def work(number: int) -> None:
    if number == 2:
        signal.raise_signal(signal.SIGTERM)  # the service is stopped in the middle of a job
    await asyncio.sleep(0.1)


async def worker(jobs: AsyncQueue[int]) -> int:
    """Work until the queue is shut down; returns how many jobs were done."""
    done = 0
    async for number in jobs:  # finishes a job when it asks for the next one
        await work(number)
        done += 1
    return done


async def main(directory: str = "graceful_shutdown") -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):  # add_signal_handler is not on Windows
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    async with AsyncQueue[int](directory) as jobs:
        await jobs.put_many(range(10))
        workers = [asyncio.create_task(worker(jobs)) for _ in range(WORKERS)]
        await stop.wait()
        await jobs.shutdown(immediate=True)  # the loops of the workers end after this job
        done = sum(await asyncio.gather(*workers))
        print(f"{done} jobs done, {await jobs.qsize()} wait for the next start")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
