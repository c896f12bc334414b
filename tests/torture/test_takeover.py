"""Workers that are killed and stopped by the hundred, and live ones that look as if they were.

What a worker noted is the oracle: a line for each item that it took, and for each that is done.
"""

from __future__ import annotations

import os
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from crashdisk import Child
from liveness import HOLDERS, Worker
from sqlite_objects import open_any
from zygote import Zygote

from persistqueue import AsyncSQLiteAckQueue
from persistqueue._sql.sqlite.owners import FileOwner

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

_WRITER = """
import itertools, sys
from persistqueue import SQLiteQueue
q = SQLiteQueue(sys.argv[1], name="other", maxsize=0)
for number in itertools.count():
    q.put(number)
    if number % 2:
        q.get()
    if number == 10:
        print("busy", flush=True)
"""


def shortly(quick: list[str], few: int, many: int) -> pytest.MarkDecorator:
    """Give a test ``kind`` and ``amount``: some kinds and few in the suite, all in the torture."""
    chosen = [pytest.param(kind, few, id=f"{kind}-few") for kind in quick]
    chosen += [pytest.param(kind, many, id=kind, marks=pytest.mark.torture) for kind in HOLDERS]
    return pytest.mark.parametrize(("kind", "amount"), chosen)


# -- kill -9 ------------------------------------------------------------------------


class Take(NamedTuple):
    worker: int
    at: float


class Log:
    """What the workers have noted.

    Attributes:
        takes: of each item, in order.
        done: who has finished each item.
    """

    def __init__(self, path: Path) -> None:
        self.takes: dict[str, list[Take]] = defaultdict(list)
        self.done: dict[str, list[int]] = defaultdict(list)
        for line in path.read_text().splitlines() if path.exists() else ():
            verb, item, worker, at = line.split()
            if verb == "took":
                self.takes[item].append(Take(int(worker), float(at)))
            else:
                self.done[item].append(int(worker))

    def delays(self, killed: dict[int, float]) -> list[float]:
        """Return how long after its worker's death each item was taken again."""
        return sorted(
            after.at - killed[before.worker]
            for takes in self.takes.values()
            for before, after in pairwise(takes)
            if before.worker in killed
        )


def massacre(kind: str, path: Path, log: Path, crew: int, last: Callable[[], bool]) -> Any:
    """Keep so many workers at work, kill one each 100 ms; returns when each was killed."""
    killed: dict[int, float] = {}
    with Zygote() as zygote:

        def start() -> int:
            path_, log_ = str(path), str(log)
            return zygote.fork("labour", kind=kind, path=path_, log=log_, durability="process")

        workers = [start() for _ in range(crew)]
        end = time.monotonic() + 600
        while not last() and time.monotonic() < end:
            time.sleep(0.1)
            place = random.randrange(crew)
            at = time.monotonic()
            assert zygote.kill(workers[place]), "a worker ended by itself"
            killed[workers[place]] = at
            workers[place] = start()
        for worker in workers:
            assert zygote.kill(worker)
    return killed


@shortly(["SQLiteAckQueue", "AsyncSQLiteAckQueue", "Broker"], 300, 20_000)
def test_kill_9(kind: str, amount: int, tmp_path: Path, figures: Any) -> None:
    """Nothing is lost, nothing is finished twice, and the living keep what they work on."""
    path, log = tmp_path / "queue", tmp_path / "log"
    q = open_any(kind, path)
    q.put_many([str(number) for number in range(amount)])

    def last() -> bool:
        if "Ack" in kind:
            return bool(q.active_size() == 0)
        if "Job" in kind:
            return bool(q.stats()[:3] == (0, 0, 0))
        return bool(q.stats()[1:3] == (0, 0))

    killed = massacre(kind, path, log, 8, last)
    assert last()
    q.close()
    found = Log(log)
    # Of an item that is done and not noted, the worker was killed between the two.
    lost = [
        str(item)
        for item in range(amount)
        if not found.done[str(item)]
        and (not found.takes[str(item)] or found.takes[str(item)][-1].worker not in killed)
    ]
    twice = [item for item, by in found.done.items() if len(by) > 1]
    robbed = [
        item
        for item, takes in found.takes.items()
        if any(take.worker not in killed for take in takes[:-1])
    ]
    open_any(kind, path).close()
    left = list(path.glob("data.db-owner-*"))
    delays = found.delays(killed)
    figures(
        kills=len(killed), taken_over=len(delays), lost=len(lost), twice=len(twice),
        robbed=len(robbed), files=len(left), **percentiles(delays),
    )  # fmt: skip
    assert ([], [], [], []) == (lost, twice, robbed, left)
    if amount >= 20_000:
        assert delays[int(len(delays) * 0.99)] < 0.1
        assert delays[-1] < 0.5


def percentiles(delays: list[float]) -> dict[str, str]:
    """Return what is said of the time until items are taken over."""
    if not delays:
        return {}
    return {
        "p50": f"{delays[len(delays) // 2] * 1000:.0f} ms",
        "p99": f"{delays[int(len(delays) * 0.99)] * 1000:.0f} ms",
        "max": f"{delays[-1] * 1000:.0f} ms",
    }


# -- live ones ----------------------------------------------------------------------


@contextmanager
def crowd(kind: str, path: Path, lease: float, holders: int) -> Iterator[list[Worker]]:
    """Give workers that hold an item each, beside 8 that wait and two busy writers."""
    q = open_any(kind, path)
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(kind, path, lease)) for _ in range(holders)]
        for number, worker in enumerate(workers):
            q.put(f"item {number}")
            worker.ask("hold")
        for competitor in [stack.enter_context(Worker(kind, path, lease)) for _ in range(8)]:
            competitor.tell("hold")
        for writer in [stack.enter_context(Child(_WRITER, path)) for _ in range(2)]:
            writer.lines(1)
        yield workers
        assert 0 == q.qsize()
        assert holders == len(list(path.glob("data.db-owner-*")))  # who else holds anything?
    q.close()


@shortly(["AsyncSQLiteAckQueue"], 1, 13)
def test_a_handler_that_blocks_for_ten_leases(
    kind: str, amount: int, tmp_path: Path, figures: Any
) -> None:
    """Nobody takes what it works on: 8 handlers at a time."""
    lease = 1.0
    with crowd(kind, tmp_path / "queue", lease, 8) as workers:
        for _ in range(amount):
            for worker in workers:
                worker.tell(f"sleep {10 * lease}" if amount > 1 else "sleep 3")
            for worker in workers:
                assert ["sleep"] == worker.lines(1)
        assert ["done"] * 8 == [worker.ask("done") for worker in workers]
    figures(runs=8 * amount, takeovers=0)


@shortly(["SQLiteAckQueue"], 1, 100)
def test_a_call_that_keeps_the_gil(kind: str, amount: int, tmp_path: Path, figures: Any) -> None:
    """For 0.8 of a lease: no thread of its process gives a sign of life meanwhile."""
    lease = 2.0
    with crowd(kind, tmp_path / "queue", lease, 1) as (worker,):
        for _ in range(amount):
            kept = float(worker.ask(f"gil {0.8 * lease if amount > 1 else 0.5}"))
            if kept > 0.85 * lease:
                pytest.skip("the machine is too busy: a call took longer than it should")
        worker.ask("done")
    figures(runs=amount, takeovers=0)


# -- what waiting costs ---------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.5, pytest.param(10, marks=pytest.mark.torture)])
@pytest.mark.parametrize("held", [False, True])
def test_a_hundred_consumers_that_wait(
    seconds: float, held: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: Any
) -> None:
    """They ask for owners only while others hold something, and cost next to nothing."""
    import asyncio

    asked = 0
    ask = FileOwner.ask

    def note(self: FileOwner, name: str) -> Any:
        nonlocal asked
        asked += 1
        return ask(self, name)

    monkeypatch.setattr(FileOwner, "ask", note)

    async def wait() -> float:
        queues = [await AsyncSQLiteAckQueue.create(tmp_path / "q.db") for _ in range(100)]
        await queues[0].put("a")
        if held:
            await queues[0].get()
        else:
            await queues[0].ack(await queues[0].get())
        waiting = [asyncio.create_task(queue.get()) for queue in queues[1:]]
        await asyncio.sleep(1)
        nonlocal asked
        asked, before = 0, time.process_time()
        await asyncio.sleep(seconds)
        used = (time.process_time() - before) / seconds
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for queue in queues:
            await queue.close()
        return used

    used = asyncio.run(wait())
    figures(held=held, core=f"{used * 100:.1f} %", asked=f"{asked / seconds:.0f} a second")
    assert (asked > 0) == held
    if seconds >= 10 and not held:
        assert used < 0.03
