"""A service that stops between two jobs when it is told to (Ctrl-C, systemd, docker stop).

``python examples/graceful_shutdown.py [directory]``: the third job sends the process a SIGTERM.

The job that is under way is finished; what waits stays stored for the next start.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

from persistqueue import Empty, Queue

PATIENCE = 0.2  # s until a service that has nothing to do notices that it is to stop


def work(number: int) -> None:
    if number == 2:
        os.kill(os.getpid(), signal.SIGTERM)  # somebody stops the service in the middle of a job


def serve(jobs: Queue[int], stop: threading.Event) -> int:
    """Work until told to stop; returns how many jobs were done."""
    done = 0
    while not stop.is_set():
        try:
            with jobs.process(timeout=PATIENCE) as number:
                work(number)
        except Empty:
            continue
        done += 1
    return done


def main(directory: str = "graceful_shutdown") -> None:
    stop = threading.Event()

    def told_to_stop(*_: Any) -> None:
        stop.set()  # a handler runs between any two steps of the program: no queue in here

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told_to_stop)
    with Queue[int](directory) as jobs:
        jobs.put_many(range(10))
        done = serve(jobs, stop)
        print(f"{done} jobs done, {len(jobs)} wait for the next start")


if __name__ == "__main__":
    main(*sys.argv[1:])
