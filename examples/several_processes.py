"""Producers and consumers in processes of their own, with asyncio and without, on one directory.

``python examples/several_processes.py [directory]``

Several consuming processes share the items when all of them open the queue with
``autosave=True``: each item goes to one of them.
"""

from __future__ import annotations

import asyncio
import sys
from multiprocessing import Process
from pathlib import Path

from persistqueue import AsyncEmpty, AsyncQueue, Queue

PRODUCERS, CONSUMERS, ITEMS = 3, 2, 50
IDLE = 2.0  # s without an item after which a consumer stops


def produce(path: Path, name: int) -> None:
    with Queue[str](path / "items") as q:
        for number in range(ITEMS):
            q.put(f"{name}-{number}")


async def log_items(path: Path, name: int) -> None:
    with (path / f"consumer-{name}.txt").open("w", encoding="utf-8") as log:
        async with AsyncQueue[str](path / "items", autosave=True) as q:
            while True:
                try:
                    item = await q.get(timeout=IDLE)
                except AsyncEmpty:
                    return
                log.write(f"{item}\n")


def consume(path: Path, name: int) -> None:
    asyncio.run(log_items(path, name))


def main(directory: str = "several_processes") -> None:
    path = Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    processes = [Process(target=produce, args=(path, name)) for name in range(PRODUCERS)]
    processes += [Process(target=consume, args=(path, name)) for name in range(CONSUMERS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    got = [
        line
        for log in sorted(path.glob("consumer-*.txt"))
        for line in log.read_text(encoding="utf-8").splitlines()
    ]
    print(f"{PRODUCERS * ITEMS} items put, {len(got)} got, {len(set(got))} different ones")


if __name__ == "__main__":
    main(*sys.argv[1:])
