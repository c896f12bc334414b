"""A crawler that goes on where it stopped, whatever stopped it.

``python examples/crawler.py [directory]`` crawls in a process that dies in the middle of its
fourth page, and then goes on.  A bot that answers messages has the same shape.

The queue is the frontier: addresses that are still to be fetched.  An address is put first
and noted as seen afterwards: a crash in between means that a page is fetched twice, and
not that it is forgotten.
"""

from __future__ import annotations

import asyncio
import os
import sys
from multiprocessing import Process
from pathlib import Path

from persistqueue import AsyncQueue, QueueShutDown

FETCHERS = 3

SITE = {  # stands for the web: address -> links
    "/": ["/news", "/about"],
    "/about": ["/", "/team"],
    "/news": ["/news/1", "/news/2", "/news/3"],
    "/news/1": ["/news", "/news/2"],
    "/news/2": ["/"],
    "/news/3": ["/team", "/missing"],
    "/team": [],
}


class Seen:
    """Addresses that were put: in memory at once, in a file when they are stored."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+", encoding="utf-8")
        self._file.seek(0)
        self.known = set(self._file.read().splitlines())

    def note(self, address: str) -> None:
        self._file.write(f"{address}\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


async def fetch(address: str) -> list[str]:
    await asyncio.sleep(0.01)
    return SITE.get(address, [])


class Crawler:
    """Fetches until the frontier is empty.

    Args:
        dies_after: pages after which it is gone, as suddenly as with kill -9.
    """

    def __init__(self, frontier: AsyncQueue[str], seen: Seen, dies_after: int | None) -> None:
        self._frontier = frontier
        self._seen = seen
        self._left = dies_after

    async def meet(self, address: str) -> None:
        if address not in self._seen.known:
            self._seen.known.add(address)  # before the await: other tasks come by here, too
            await self._frontier.put(address)
            self._seen.note(address)

    async def fetcher(self) -> None:
        while True:
            try:
                async with self._frontier.process() as address:  # given back if this fails
                    for link in await fetch(address):
                        await self.meet(link)
                    self.count()
            except QueueShutDown:
                return
            print("fetched", address, flush=True)

    def count(self) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                os._exit(9)  # nothing is closed or given back

    async def run(self) -> None:
        await self.meet("/")
        fetchers = [asyncio.create_task(self.fetcher()) for _ in range(FETCHERS)]
        await self._frontier.join()  # every address was fetched, and its links were put
        await self._frontier.shutdown()
        await asyncio.gather(*fetchers)


async def crawl(directory: Path, dies_after: int | None = None) -> None:
    seen = Seen(directory / "seen.txt")
    async with AsyncQueue[str](directory / "frontier") as frontier:
        await Crawler(frontier, seen, dies_after).run()
        print(len(seen.known), "addresses seen,", await frontier.qsize(), "left to fetch")
    seen.close()


def crawl_and_die(directory: Path) -> None:
    asyncio.run(crawl(directory, dies_after=3))


def main(directory: str = "crawler") -> None:
    path = Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    first = Process(target=crawl_and_die, args=(path,))
    first.start()
    first.join()
    print("it died, status", first.exitcode)
    asyncio.run(crawl(path))


if __name__ == "__main__":
    main(*sys.argv[1:])
