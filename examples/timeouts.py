"""Timeouts: a put that gives up while there is no room, a get that does something else meanwhile.

``python examples/timeouts.py [directory]``

The timeout is an argument of the call.  ``asyncio.wait_for`` around a call loses nothing
either; what it costs is in docs/asyncio.rst.
"""

from __future__ import annotations

import asyncio
import sys

from persistqueue import AsyncEmpty, AsyncFull, AsyncQueue

PATIENCE = 0.05  # s


async def accept(requests: AsyncQueue[int], number: int) -> bool:
    """Take a request in, or tell its sender to come again later."""
    try:
        await requests.put(number, timeout=PATIENCE)
    except AsyncFull:
        return False
    return True


async def serve(requests: AsyncQueue[int]) -> int:
    """Answer requests; when none comes for a while, tidy up and go home."""
    answered = 0
    while True:
        try:
            await requests.get(timeout=PATIENCE)
        except AsyncEmpty:
            return answered
        await requests.task_done()
        answered += 1


async def main(directory: str = "timeouts") -> None:
    async with AsyncQueue[int](directory, maxsize=8) as requests:
        accepted = [await accept(requests, number) for number in range(10)]
        answered = await serve(requests)
        print(
            f"{accepted.count(True)} accepted, {accepted.count(False)} sent away, {answered} done"
        )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
