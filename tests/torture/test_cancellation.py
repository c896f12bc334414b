"""Tasks that are cancelled at random moments, on every async class.

Delivered and still stored are together what was put: the ledger is three sets.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

from cases import CASES, SERVED, Case, tortured
from turns import TURNS, outcome_of, turns

import persistqueue
from persistqueue import Empty


class Ledger:
    """What callers were told.

    Attributes:
        acked: items whose put returned.
        doubtful: items whose put was cancelled: stored whole, or not at all.
        taken: items that a get returned, each time.
        unsure: items whose finishing was cancelled.
    """

    def __init__(self) -> None:
        self.acked: set[int] = set()
        self.doubtful: list[set[int]] = []
        self.taken: list[int] = []
        self.finished: set[int] = set()
        self.unsure: set[int] = set()
        self.next = 0

    def new(self, count: int) -> list[int]:
        self.next += count
        return list(range(self.next - count, self.next))


class Storm:
    """Agents that call everything at random; each call is cancelled at random."""

    def __init__(self, case: Case, path: Path, seed: int) -> None:
        self._case, self._path = case, path
        self._chance = random.Random(f"{case.name} {seed}")
        self.ledger = Ledger()
        self.cancelled = 0
        self.q: Any = None

    async def run(self, agents: int = 5, steps: int = 12) -> None:
        """Let them loose, and end while some of them are at work."""
        self.q = await self._case.create(self._path)
        tasks = [asyncio.create_task(self._agent(steps)) for _ in range(agents)]
        if self._chance.random() < 0.7:
            await asyncio.gather(*tasks)
        else:
            await turns(self._chance.randint(0, 300))
            for task in tasks:
                self.cancelled += task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                assert outcome is None or isinstance(outcome, asyncio.CancelledError)
        if self._chance.random() < 0.7:
            await self.q.close()

    async def _agent(self, steps: int) -> None:
        for _ in range(steps):
            verb = self._chance.choice(["put", "put", "put_many", "get", "get", "get_many"])
            task = asyncio.create_task(getattr(self, f"_{verb}")())
            await turns(self._chance.choice(TURNS))
            self.cancelled += task.cancel()
            if self._chance.random() < 0.3:
                self.cancelled += task.cancel()
            error = await outcome_of(task)
            assert error is None or isinstance(error, asyncio.CancelledError | Empty)

    async def _put(self) -> None:
        await self._store(self.ledger.new(1))

    async def _put_many(self) -> None:
        await self._store(self.ledger.new(self._chance.randint(2, 6)))

    async def _store(self, items: list[int]) -> None:
        self.ledger.doubtful.append(whole := set(items))
        await (self.q.put(items[0]) if len(items) == 1 else self.q.put_many(items))
        self.ledger.doubtful.remove(whole)
        self.ledger.acked |= whole

    async def _get(self) -> None:
        await self._took([await self.q.get()])

    async def _get_many(self) -> None:
        await self._took(await self.q.get_many(self._chance.randint(1, 5)))

    async def _took(self, items: list[int]) -> None:
        self.ledger.taken += items
        for item in items if self._chance.random() < 0.8 else ():
            self.ledger.unsure.add(item)
            await self._case.finish_async(self.q, item)
            self.ledger.unsure.discard(item)
            self.ledger.finished.add(item)

    def audit(self, left: list[int]) -> None:
        """Compare what callers were told with what is there."""
        ledger, there = self.ledger, set(left)
        assert len(left) == len(there), "stored twice"
        assert len(ledger.taken) == len(set(ledger.taken)), "delivered twice"
        taken = set(ledger.taken)
        gone = taken if self._case.at_most_once else ledger.finished | ledger.unsure
        assert set() == ledger.acked - there - gone, "lost"
        strange = (there | taken) - ledger.acked
        for whole in ledger.doubtful:
            assert strange & whole in (set(), whole), "stored in part"
            strange -= whole
        assert set() == strange, "an item that nobody put"
        if self._case.at_most_once:
            assert set() == there & taken, "delivered, and stored"
        elif not self._case.on_files:  # a file queue may deliver again what stands behind others
            assert set() == there & ledger.finished, "finished, and stored"


def is_async(case: Case) -> bool:
    return case.twin


@tortured(["AsyncQueue-task_done", "AsyncSQLiteAckQueue-ack", "AsyncPDict-get"], 4, 150, is_async)
def test_cancellations(case: Case, amount: int, memory: Path, figures: Any) -> None:
    """Whatever is cancelled whenever: what was acknowledged was delivered, or is there."""
    cancelled = acknowledged = 0
    for seed in range(amount):
        storm = Storm(case, memory / str(seed), seed)
        asyncio.run(storm.run())
        asyncio.run(storm.q.close())  # where the end of the run found it open
        storm.audit(case.contents(memory / str(seed)))
        cancelled += storm.cancelled
        acknowledged += len(storm.ledger.acked)
    figures(runs=amount, cancelled=cancelled, acknowledged=acknowledged)
    assert cancelled > 20 * amount


@tortured(["AsyncRedisQueue-ack"], 4, 60, among=SERVED)
def test_cancellations_far_from_the_server(
    case: Case, amount: int, memory: Path, figures: Any
) -> None:
    """The same where the items are on a server."""
    test_cancellations(case, amount, memory, figures)


#: Classes that are no queue of this kind, and the tests that cancel their calls.
ELSEWHERE = {
    "AsyncJob": "test_jobs.test_a_cancelled_end_of_a_job_is_an_end",  # what a queue hands out
    "AsyncBrokerQueue": "test_cancellations",  # what a broker's case puts to and takes from
    "AsyncRedisPool": "test_redis_pool.test_a_cancelled_get_gives_back",  # what falls due again
}


def test_every_async_class_is_tortured() -> None:
    """A new class needs one line in ``cases``, or a test of its own."""
    queues = {name for name in persistqueue.__all__ if name.startswith("Async")}
    errors = {name for name in queues if issubclass(getattr(persistqueue, name), Exception)}
    cases = [*CASES.values(), *SERVED.values()]
    tested = {getattr(persistqueue, name) for name in [*ELSEWHERE, *(c.class_name for c in cases)]}
    assert {getattr(persistqueue, name) for name in queues - errors} <= tested
    for proof in ELSEWHERE.values():
        module, _, function = proof.rpartition(".")
        (found,) = Path(__file__).parents[1].rglob(f"{module or Path(__file__).stem}.py")
        assert f"def {function}(" in found.read_text(encoding="utf-8")
