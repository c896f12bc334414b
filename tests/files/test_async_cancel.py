"""Cancelled calls of an async queue: delivered and still stored are together what was put.

``ledger`` notes what callers were told, and compares it with what is stored.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from crashdisk import watchdog
from ledger import SOON, Expected, Guard, Ledger, finish_and_audit
from loops import eventually
from turns import TURNS, busy_thread, idle, outcome_of, quick_turn, turns

from persistqueue import AsyncQueue, Queue, QueueClosed

AUTOSAVE = pytest.mark.parametrize("autosave", [False, True], ids=["task_done", "autosave"])


@pytest.fixture(autouse=True)
def bounded(request: pytest.FixtureRequest) -> Iterator[None]:
    """End a test whose calls hang, with a traceback of where."""
    with watchdog(280 if request.node.get_closest_marker("slow") else 60):
        yield


# -- random cancellations -----------------------------------------------------------


class Storm:
    """Tasks that call everything at random, and are cancelled at random.

    Args:
        seed: decides everything but the speed of the disk.
        guard: returns what is put around each call that may wait; None to cancel tasks.
    """

    def __init__(
        self, path: Path, seed: object, autosave: bool, guard: Callable[[], Guard] | None = None
    ) -> None:
        print("seed", seed)
        self.chance = random.Random(str(seed))
        self.ledger = Ledger(autosave)
        self.cancelled = 0
        self._path = path
        self._guard = guard
        self._bound = self.chance.choice([0, 0, 1, 3, 10])
        self._q: AsyncQueue[Any] = AsyncQueue(
            path,
            maxsize=self._bound,
            chunksize=self.chance.randint(1, 5),
            autosave=autosave,
            durability="process",
        )

    async def run(self, agents: int = 5, steps: int = 12) -> None:
        """Let agents loose; close the queue when they are through, or under them."""
        tasks = [asyncio.create_task(self._agent(number, steps)) for number in range(agents)]
        if self.chance.random() < 0.5:
            await asyncio.gather(*tasks)
            await eventually(lambda: idle(self._q))  # loops that were left give back
            await finish_and_audit(self._q, self.ledger, self._path)
        else:
            await turns(self.chance.randint(0, 400))
            await self._close_under_them()
            await asyncio.gather(*tasks)
            await self._q.close()
            await eventually(lambda: idle(self._q))
            self.ledger.audit(self._path)

    async def _close_under_them(self) -> None:
        task = asyncio.create_task(self._q.close())
        await turns(self.chance.choice(TURNS))
        if self.chance.random() < 0.5:
            task.cancel()
        await outcome_of(task)

    async def _agent(self, number: int, steps: int) -> None:
        for _ in range(steps):
            if isinstance(await self._disturbed(self._call(number)), QueueClosed):
                return

    async def _disturbed(self, call: Awaitable[Any]) -> BaseException | None:
        task = asyncio.ensure_future(call)
        if self._guard is None:
            for _ in range(self.chance.choice([1, 1, 1, 2, 3])):
                await turns(self.chance.choice(TURNS))
                self.cancelled += task.cancel()
        return await outcome_of(task)

    def _call(self, number: int) -> Awaitable[Any]:
        """Return a call of one of the verbs; those that may wait are bounded by somebody."""
        chance, q, ledger = self.chance, self._q, self.ledger
        options: dict[str, Any] = {"guard": self._guard()} if self._guard else {}
        count = chance.randint(1, self._bound or 4)
        verbs: list[Callable[[], Awaitable[Any]]] = [
            *[lambda: ledger.put(q, number, **options)] * 4,
            *[lambda: ledger.put_many(q, number, min(count, 4), **options)] * 2,
            *[lambda: ledger.get(q, **options)] * 3,
            lambda: ledger.get(q, timeout=chance.choice([0, 0.0001, 0.002])),
            lambda: ledger.get_many(q, count, **options),
            *[lambda: ledger.task_done(q, **options)] * 2,
            *[lambda: ledger.process(q, self._body, **options)] * 2,
            lambda: self._around(lambda: ledger.iterate(q, count, self._body), **options),
            lambda: self._around(q.join, **options),
            q.qsize,
            q.sync,
            q.peek,
        ]
        return chance.choice(verbs)()

    async def _around(self, call: Callable[[], Awaitable[Any]], guard: Guard | None = None) -> None:
        await (guard(call()) if guard else call())

    async def _body(self) -> None:
        await turns(self.chance.choice(TURNS))
        if self.chance.random() < 0.3:
            raise Expected


def storm(path: Path, seeds: range, autosave: bool, **options: Any) -> int:
    """Run a storm for each seed, and return how many cancellations there were."""
    cancelled = 0
    for seed in seeds:
        one = Storm(path / str(seed), (seed, autosave), autosave, **options)
        asyncio.run(one.run())
        cancelled += one.cancelled
    return cancelled


@AUTOSAVE
def test_random_cancellations_lose_nothing(tmp_path: Path, autosave: bool) -> None:
    """Whatever calls are cancelled whenever: delivered and still stored are what was put."""
    assert storm(tmp_path, range(120), autosave) > 4000


@pytest.mark.slow
@AUTOSAVE
def test_random_cancellations_at_length(tmp_path: Path, autosave: bool) -> None:
    """The same for many thousand cancellations."""
    assert storm(tmp_path, range(100, 1600), autosave) > 40_000


@AUTOSAVE
def test_bare_task_done_counts_right_when_it_is_cancelled(tmp_path: Path, autosave: bool) -> None:
    """A cancelled task_done has counted or has not: all together are as many as were taken."""
    for seed in range(15):
        asyncio.run(_bare(tmp_path / str(seed), random.Random(seed), autosave))


async def _bare(path: Path, chance: random.Random, autosave: bool) -> None:
    async with AsyncQueue[int](path, chunksize=2, autosave=autosave, durability="process") as q:
        await q.put_many(range(20))
        await q.get_many(12)
        calls = [asyncio.create_task(q.task_done()) for _ in range(10)]
        for task in calls:
            if chance.random() < 0.7:
                await turns(chance.choice(TURNS[:6]))
                task.cancel()
        results = await asyncio.gather(*calls, return_exceptions=True)
        done = results.count(None)
        more = 0
        with suppress(ValueError):
            while True:
                await q.task_done()
                more += 1
        assert 12 - 10 <= more <= 12 - done
        assert 8 == await q.qsize() == q.unfinished_tasks
    with Queue[int](path) as again:
        assert list(range(12, 20)) == again.get_many(99)


# -- timeouts -----------------------------------------------------------------------


def waits_for(chance: random.Random) -> Guard:
    """Return what bounds a call by ``asyncio.wait_for``, with a tiny timeout."""
    return partial(asyncio.wait_for, timeout=chance.choice([0, 1e-6, 1e-4, 5e-4, 2e-3]))


def times_out(chance: random.Random) -> Guard:
    """Return what bounds a call by ``asyncio.timeout``, with a tiny timeout."""
    delay = chance.choice([0, 1e-6, 1e-4, 5e-4, 2e-3])

    async def guard(call: Any) -> Any:
        async with asyncio.timeout(delay):
            return await call

    return guard


BOUNDS = pytest.mark.parametrize(
    "bound",
    [
        waits_for,
        pytest.param(
            times_out,
            marks=pytest.mark.skipif(
                not hasattr(asyncio, "timeout"), reason="asyncio.timeout is Python 3.11's"
            ),
        ),
    ],
)


def timed_storm(path: Path, seeds: range, autosave: bool, bound: Any) -> None:
    """Run storms in which every call that may wait runs out of time at random."""
    for seed in seeds:
        chance = random.Random(f"timeouts {seed}")
        storm(path, range(seed, seed + 1), autosave, guard=partial(bound, chance))


@AUTOSAVE
@BOUNDS
def test_tiny_timeouts_lose_nothing(tmp_path: Path, autosave: bool, bound: Any) -> None:
    """A call that asyncio gives up after a random tiny time loses nothing."""
    timed_storm(tmp_path, range(8), autosave, bound)


@pytest.mark.slow
@AUTOSAVE
@BOUNDS
def test_tiny_timeouts_at_length(tmp_path: Path, autosave: bool, bound: Any) -> None:
    """The same for many more."""
    timed_storm(tmp_path, range(100, 400), autosave, bound)


@BOUNDS
@pytest.mark.parametrize("verb", ["get", "put", "process", "join"])
def test_a_timeout_of_a_call_that_is_on_its_way_is_kept(
    tmp_path: Path, verb: str, bound: Any
) -> None:
    """A timeout that strikes during a call's first look ends a call that would have to wait."""

    async def main() -> None:
        full = verb in ("put", "join")
        q = await AsyncQueue.create(tmp_path / "q", maxsize=1)
        if full:
            await q.put(0)
        calls: dict[str, Any] = {
            "get": q.get,
            "put": lambda: q.put(1),
            "join": q.join,
            "process": lambda: q.process().__aenter__(),
        }
        with busy_thread(q):
            task = asyncio.create_task(bound(random.Random(3))(calls[verb]()))
            await turns(3)
            task.cancel()
            await turns(3)
        done, _ = await asyncio.wait([task], timeout=SOON)
        assert {task} == done, "a cancelled call waits for ever"
        assert int(full) == await q.qsize()
        await q.close()

    asyncio.run(main())


# -- a cancel at every moment of one call ---------------------------------------------


class Moment:
    """One call, cancelled after some turns of the loop.

    Args:
        at: how many.
        again: after how many more it is cancelled again; None for not at all.
        busy: whether the store's thread begins nothing before the cancellation.
    """

    def __init__(self, at: int, again: int | None, busy: bool) -> None:
        self.at = at
        self.again = again
        self.busy = busy
        self.came = False  # whether the call was still under way

    async def strike(self, q: AsyncQueue[Any], task: asyncio.Task[Any]) -> None:
        if self.busy:
            with busy_thread(q):
                await self._strike(q, task)
        else:
            await self._strike(q, task)
        await outcome_of(task)

    async def _strike(self, q: AsyncQueue[Any], task: asyncio.Task[Any]) -> None:
        for number in (self.at, self.again):
            for _ in range(number or 0):
                await (asyncio.sleep(0) if self.busy else quick_turn(q))
            if number is not None:
                self.came = task.cancel() or self.came
        if self.busy:
            await turns(3)


async def _no_body() -> None:
    await turns(2)


async def _failing_body() -> None:
    await turns(2)
    raise Expected


async def _bare_done(ledger: Ledger, q: AsyncQueue[Any]) -> None:
    """Finish the oldest item in hand: the ledger took it in a task that is still there."""
    item = ledger.in_hand.pop(0)
    ledger.unsure.append(item)
    await q.task_done()
    ledger._finish(item)


#: What is called: for each verb (the name before a blank), what is taken before, and the call.
CALLS: dict[str, tuple[int, Callable[[Ledger, AsyncQueue[Any]], Awaitable[Any]]]] = {
    "put": (0, lambda ledger, q: ledger.put(q, 1)),
    "put_many": (0, lambda ledger, q: ledger.put_many(q, 1, 3)),
    "get": (0, lambda ledger, q: ledger.get(q)),
    "get_many": (0, lambda ledger, q: ledger.get_many(q, 3)),
    "peek": (0, lambda ledger, q: q.peek()),
    "task_done": (2, _bare_done),
    "task_done of an item": (2, lambda ledger, q: ledger.task_done(q)),
    "process": (0, lambda ledger, q: ledger.process(q, _no_body)),
    "process that fails": (0, lambda ledger, q: ledger.process(q, _failing_body)),
    "iteration": (1, lambda ledger, q: ledger.iterate(q, 3, _no_body)),
    "join": (1, lambda ledger, q: q.join()),
    "close": (1, lambda ledger, q: q.close()),
    "sync": (0, lambda ledger, q: q.sync()),
    "qsize": (0, lambda ledger, q: q.qsize()),
}


async def struck(path: Path, name: str, moment: Moment, autosave: bool, stored: int) -> None:
    """Make one call on a queue of ``stored`` items, cancel it, and audit what is left."""
    ledger, (taken, call) = Ledger(autosave), CALLS[name]
    q: AsyncQueue[Any] = AsyncQueue(
        path, maxsize=8, chunksize=2, autosave=autosave, durability="process"
    )
    await q.qsize()
    if stored:
        await ledger.put_many(q, 0, stored)
    if taken and stored:
        await ledger.get_many(q, taken)
    waiter = asyncio.create_task(ledger.get(q)) if stored == 0 and name != "close" else None
    await turns(1 if waiter else 0)
    await moment.strike(q, asyncio.ensure_future(call(ledger, q)))
    if name == "close":
        await q.close()
        ledger.audit(path)
        return
    if waiter is not None:
        waiter.cancel()
        await outcome_of(waiter)
    assert await q.qsize() == q.unfinished_tasks - len(ledger.in_hand) - await _open(ledger, q)
    await asyncio.wait_for(ledger.put(q, 2, block=False), SOON)  # nobody is left in the way
    await asyncio.wait_for(ledger.get(q), SOON)
    await finish_and_audit(q, ledger, path)


async def _open(ledger: Ledger, q: AsyncQueue[Any]) -> int:
    """Return how many items are unfinished whose task_done was cancelled: none or all."""
    left = q.unfinished_tasks - await q.qsize() - len(ledger.in_hand)
    assert 0 <= left <= len(ledger.unsure)
    return left


def every_moment(path: Path, name: str, autosave: bool, stored: int, busy: bool) -> int:
    """Cancel a call after each number of turns until it is over; return how many there were."""
    for again in (None, 1):
        for at in range(1000):
            moment = Moment(at, again, busy)
            asyncio.run(
                asyncio.wait_for(
                    struck(path / f"{again}-{at}", name, moment, autosave, stored), 2 * SOON
                )
            )
            if not moment.came or (at == 6 and (busy or name == "join")):  # it waits by then
                break
    return at


@AUTOSAVE
@pytest.mark.parametrize("busy", [False, True], ids=["quick", "busy"])
@pytest.mark.parametrize("name", CALLS)
def test_a_cancel_at_every_moment(tmp_path: Path, name: str, autosave: bool, busy: bool) -> None:
    """A call cancelled at any turn of the loop leaves a queue that works, and nothing lost."""
    assert every_moment(tmp_path, name, autosave, 4, busy) > 0


@AUTOSAVE
@pytest.mark.parametrize("name", ["get", "get_many", "process", "iteration", "join"])
def test_a_cancel_of_a_call_that_has_to_wait(tmp_path: Path, name: str, autosave: bool) -> None:
    """A call that would wait is over when it is cancelled on its way, with others waiting."""
    assert every_moment(tmp_path, name, autosave, 0, True) > 0
