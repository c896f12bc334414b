"""Cron: each time at which something is to be done is a job, with that time in its key.

Any number of processes may run this: a key is stored once, and each job puts the next one.
"""

import time
from typing import NamedTuple

from persistqueue import JobQueue


class Fire(NamedTuple):
    name: str
    every: float  # s
    at: float


jobs = JobQueue[Fire]("cron.db")
done: list[Fire] = []


def plan(name: str, every: float) -> None:
    at = (time.time() // every + 1) * every  # the next one: what croniter says, for instance
    jobs.put(Fire(name, every, at), at=at, key=f"{name}:{at}")


def run(fire: Fire) -> None:
    plan(fire.name, fire.every)  # first, so that no crash ends the series
    done.append(fire)  # stands for the work
    if len(done) == 3:
        jobs.shutdown(immediate=True)


with jobs, jobs.worker(run, concurrency=4) as worker:
    for _ in range(8):  # as eight processes would at their start
        plan("report", 0.3)
    worker.wait()
print(f"{len(done)} reports, {len({fire.at for fire in done})} different ones")
