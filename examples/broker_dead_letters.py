"""A worker that tries failed jobs again, and moves hopeless ones to another queue: without asyncio.

``python examples/broker_dead_letters.py [database]``
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

from persistqueue import Broker

MOST_TRIES = 3


@dataclass(frozen=True)
class Job:
    number: int
    tries: int = 0


def work(job: Job) -> None:
    """Stands for work: job 4 never succeeds, every third one not at once."""
    if job.number == 4 or (job.number % 3 == 0 and job.tries == 0):
        raise ConnectionError


def main(database: str = "dead_letters.db") -> None:
    with Broker(database) as broker:
        jobs, dead, done = broker.queue("jobs"), broker.queue("jobs.dead"), 0
        jobs.write_many(Job(number) for number in range(10))
        for job in jobs.stream(commit_interval=5):
            try:
                work(job)
                done += 1
            except ConnectionError:
                again = replace(job, tries=job.tries + 1)
                (jobs if again.tries < MOST_TRIES else dead).write(again)
        print(f"{done} done, {[job.number for job in dead.read_all()]} failed for good")


if __name__ == "__main__":
    main(*sys.argv[1:])
