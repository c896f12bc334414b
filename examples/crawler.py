"""A crawler that goes on where it stopped, whatever stopped it.

``python examples/crawler.py [directory]`` crawls in a process that dies in the middle of its
fourth page, and then goes on.

The queue is the frontier: addresses that are still to be fetched.  An address is put first
and noted as seen afterwards: a crash in between means that a page is fetched twice, and
not that it is forgotten.
"""

from __future__ import annotations

import os
import sys
from multiprocessing import Process
from pathlib import Path

from persistqueue import Empty, Queue

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
    """Addresses that were put, in a file of one line each."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+", encoding="utf-8")
        self._file.seek(0)
        self._known = set(self._file.read().splitlines())

    def __contains__(self, address: str) -> bool:
        return address in self._known

    def add(self, address: str) -> None:
        self._known.add(address)
        self._file.write(f"{address}\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def fetch(address: str) -> list[str]:
    return SITE.get(address, [])


def crawl(directory: Path, dies_after: int | None = None) -> None:
    """Fetch until the frontier is empty."""
    fetched = 0
    with Queue[str](directory / "frontier") as frontier:
        seen = Seen(directory / "seen.txt")

        def meet(address: str) -> None:
            if address not in seen:
                frontier.put(address)
                seen.add(address)

        meet("/")
        while True:
            try:
                with frontier.process(block=False) as address:
                    if fetched == dies_after:
                        os._exit(9)  # as sudden as kill -9: nothing is closed or given back
                    for link in fetch(address):
                        meet(link)
            except Empty:
                break
            fetched += 1
            print("fetched", address, flush=True)
        seen.close()


def main(directory: str = "crawler") -> None:
    path = Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    first = Process(target=crawl, args=(path, 3))
    first.start()
    first.join()
    with Queue[str](path / "frontier") as frontier:
        print("it died;", len(frontier), "addresses wait, the next one is", frontier.peek())
    crawl(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
