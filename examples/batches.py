"""Collect events one by one, ship them in batches: a buffer in front of a slow receiver.

``python examples/batches.py [directory]``

An event costs microseconds to put (``durability="process"``: it survives the death of the
program, not a loss of power).  A batch is finished when it was shipped, so what was not
shipped is shipped after a restart.
"""

from __future__ import annotations

import sys
import threading

from persistqueue import Queue, QueueShutDown

BATCH = 250


def ship(batch: list[dict[str, int]]) -> None:
    """Stands for one request to the receiver."""


def shipper(events: Queue[dict[str, int]], sizes: list[int]) -> None:
    while True:
        try:
            batch = events.get_many(BATCH)  # waits for one, then takes what is there
        except QueueShutDown:
            return
        ship(batch)
        events.task_done(len(batch))
        sizes.append(len(batch))


def main(directory: str = "batches") -> None:
    sizes: list[int] = []
    with Queue[dict[str, int]](directory, durability="process", chunksize=10_000) as events:
        thread = threading.Thread(target=shipper, args=(events, sizes))
        thread.start()
        for number in range(5_000):
            events.put({"event": number})
        events.shutdown()  # the shipper ships what is left, then stops
        thread.join()
        print(f"{sum(sizes)} events shipped, {len(events)} left, at most {BATCH} at a time")


if __name__ == "__main__":
    main(*sys.argv[1:])
