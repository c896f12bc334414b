"""Worker threads that share one queue, without asyncio; a job that fails is tried three times.

``python examples/worker_pool.py [directory]``
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, replace

from persistqueue import Queue

WORKERS = 4
MOST_TRIES = 3


@dataclass(frozen=True)
class Job:
    number: int
    tries: int = 0


def work(job: Job) -> None:
    """Stands for something that fails now and then: job 7 always, every fifth one once."""
    if job.number == 7 or (job.number % 5 == 0 and job.tries == 0):
        raise ConnectionError(f"job {job.number} failed")


def worker(jobs: Queue[Job], failed: Queue[Job]) -> None:
    for job in jobs:  # finishes a job when it asks for the next one
        try:
            work(job)
        except ConnectionError:
            again = replace(job, tries=job.tries + 1)
            # Stored before this one is finished, so a crash in between loses nothing.
            (jobs if again.tries < MOST_TRIES else failed).put(again)


def main(directory: str = "worker_pool") -> None:
    with Queue[Job](f"{directory}/jobs") as jobs, Queue[Job](f"{directory}/failed") as failed:
        threads = [threading.Thread(target=worker, args=(jobs, failed)) for _ in range(WORKERS)]
        for thread in threads:
            thread.start()
        jobs.put_many(Job(number) for number in range(20))
        jobs.join()  # until every job is finished, also those that were put again
        jobs.shutdown()  # the loops of the workers end
        for thread in threads:
            thread.join()
        numbers = [job.number for job in failed.get_many(9)]
        print(f"{len(jobs)} jobs left, failed for good: {numbers}")


if __name__ == "__main__":
    main(*sys.argv[1:])
