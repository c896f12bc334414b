"""Who waits in an async queue, and in what order: as in the standard library's.

Each of these tests is run with ``asyncio.Queue``, too: what they say is what it does.
"""

from __future__ import annotations

import asyncio
import queue
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ledger import SOON
from loops import eventually, in_loop
from turns import turns

import persistqueue
from persistqueue import AsyncQueue
from persistqueue._core import call as calls
from persistqueue._core.waiters import Waiters
from persistqueue.exceptions import AsyncEmpty, AsyncFull, AsyncQueueShutDown
from persistqueue.testing import waiting_calls


class Standard:
    """``asyncio.Queue`` with this package's coroutine methods."""

    def __init__(self, maxsize: int = 0) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue(maxsize)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._queue, name)
        if name in ("get", "put", "join"):
            return value

        async def call(*args: Any, **options: Any) -> Any:
            return value(*args, **options)

        return call

    def waiting(self) -> int:
        """Return how many calls wait."""
        return len(self._queue._getters) + len(self._queue._putters)  # type: ignore[attr-defined]


class Persistent(AsyncQueue[Any]):
    """An ``AsyncQueue`` that tells how many calls wait in it."""

    def waiting(self) -> int:
        calls = waiting_calls(self)
        return calls.gets + calls.puts


Make = Callable[..., Any]


@pytest.fixture(params=["asyncio.Queue", "AsyncQueue", "AsyncQueue with autosave"])
def make(request: pytest.FixtureRequest, path: Path) -> Make:
    """Make a queue of the standard library's kind or of ours."""
    if request.param == "asyncio.Queue":
        return Standard
    autosave = "autosave" in request.param
    return lambda maxsize=0: Persistent(path, maxsize, autosave=autosave, durability="process")


async def waiting(q: Any, number: int) -> None:
    """Wait until so many calls wait in a queue."""
    await eventually(lambda: q.waiting() == number, f"{number} waiting calls")


async def parked(q: Any, *calls: Any) -> list[asyncio.Task[Any]]:
    """Begin calls one after another, each when the one before waits; return their tasks."""
    tasks = []
    for call in calls:
        number = q.waiting()
        tasks.append(asyncio.create_task(call))
        await waiting(q, number + 1)
    return tasks


async def result(task: Any) -> Any:
    """Return what a task comes to, soon."""
    return await asyncio.wait_for(task, SOON)


async def ended(q: Any) -> None:
    """Close a queue that can be closed."""
    if isinstance(q, AsyncQueue):
        await q.close()


# -- fairness -------------------------------------------------------------------------


@in_loop
async def test_items_come_in_the_order_of_their_puts(make: Make) -> None:
    """First in, first out."""
    q = make()
    for item in (1, 3, 2):
        await q.put(item)
    assert [1, 3, 2] == [await q.get() for _ in range(3)]
    await ended(q)


@in_loop
async def test_getters_are_served_in_their_order(make: Make) -> None:
    """Who waited first gets the first item."""
    q = make()
    tasks = await parked(q, *(q.get() for _ in range(6)))
    for item in range(6):
        await q.put(item)
    assert list(range(6)) == [await result(task) for task in tasks]
    await ended(q)


@in_loop
async def test_putters_are_served_in_their_order(make: Make) -> None:
    """Who waited first for room puts first."""
    q = make(1)
    await q.put(0)
    tasks = await parked(q, *(q.put(item) for item in range(1, 6)))
    assert list(range(6)) == [await result(q.get()) for _ in range(6)]
    for task in tasks:
        await result(task)
    await ended(q)


@in_loop
async def test_getters_that_begin_a_turn_apart_are_served_in_their_order(make: Make) -> None:
    """A get that begins while the one before looks for an item waits behind it."""
    for number in (1, 2, 3):
        q, taken = make(), []

        async def take(name: int, q: Any = q, taken: list[Any] = taken) -> None:
            taken.append((name, await q.get()))

        tasks = []
        for name in range(5):
            tasks.append(asyncio.create_task(take(name)))
            await turns(number)
        await waiting(q, 5)
        for item in range(5):
            await q.put(item)
        await result(asyncio.gather(*tasks))
        assert [(name, name) for name in range(5)] == taken
        if isinstance(q, AsyncQueue):
            await q.task_done(5)  # the next one has the same path
        await ended(q)


@in_loop
async def test_putters_that_begin_a_turn_apart_are_served_in_their_order(make: Make) -> None:
    """A put that begins while the one before looks for room waits behind it."""
    for number in (1, 2, 3):
        q, tasks = make(1), []
        await q.put(0)
        for item in range(1, 6):
            tasks.append(asyncio.create_task(q.put(item)))
            await turns(number)
        await waiting(q, 5)
        assert list(range(6)) == [await result(q.get()) for _ in range(6)]
        await result(asyncio.gather(*tasks))
        if isinstance(q, AsyncQueue):
            await q.task_done(6)
        await ended(q)


def flown(line: Waiters, unmet: bool = True) -> list[calls.AnyCall]:
    """Let what is pending fly and land, and return it; unmet, it found nothing, or no room."""
    batch = line.batch()
    for call in batch:
        if unmet:
            call.result = calls.NO_ROOM if call.verb == calls.APPEND else calls.NOTHING_THERE
        else:
            call.result = []
    line.finish((0, 0))
    return batch


@pytest.mark.parametrize("verb", [calls.TAKE, calls.APPEND])
def test_the_line_keeps_the_order_of_arrival(verb: str) -> None:
    """A call that arrives while an earlier one flies waits behind it when that is parked."""
    line = Waiters(1)
    load = 1 if verb == calls.TAKE else ["item"]
    first, second, third = (calls.Call(verb, load, True) for _ in range(3))
    assert [first] == line.start(first)
    line.enter(second)
    assert calls.PENDING == second.where
    first.result = calls.NOTHING_THERE if verb == calls.TAKE else calls.NO_ROOM
    line.finish((0 if verb == calls.TAKE else 1, 1))
    line.enter(third)
    assert [calls.PARKED] * 3 == [call.where for call in (first, second, third)]
    assert [first, second, third] == list(line._parking(first))
    served = []
    while line.waiting:
        line.poke()
        served += flown(line, unmet=False)
    assert [first, second, third] == served


def test_the_line_parks_what_flew_later_behind_what_flew_before() -> None:
    """An earlier call that was let go on and found nothing again is the first once more."""
    line = Waiters(0)
    first, second = (calls.Call(calls.TAKE, 1, True) for _ in range(2))
    line.enter(first)
    flown(line)
    line.poke()
    line.enter(second)
    assert [first, second] == flown(line)
    assert [first, second] == list(line._getters)
    line.poke()
    assert [first] == flown(line)
    assert [first, second] == list(line._getters)


@in_loop
async def test_putters_and_getters_in_turn(make: Make) -> None:
    """A producer and a consumer get through a queue of one item."""
    q = make(1)

    async def produce() -> None:
        for item in range(20):
            await q.put(item)

    async def consume() -> list[int]:
        return [await q.get() for _ in range(20)]

    _, taken = await result(asyncio.gather(produce(), consume()))
    assert list(range(20)) == taken
    await ended(q)


@in_loop
async def test_more_putters_than_room(make: Make) -> None:
    """Whoever finds no room goes on when somebody has taken something."""
    q = make(2)
    tasks = [asyncio.create_task(q.put(item)) for item in range(4)]
    await waiting(q, 2)
    assert [0, 1] == [await q.get_nowait(), await q.get_nowait()]
    await result(asyncio.gather(*tasks))
    assert await q.full()
    assert [2, 3] == [await q.get(), await q.get()]
    await ended(q)


@in_loop
async def test_a_get_before_its_puts(make: Make) -> None:
    """A get goes on with the first of two puts, and a second get with the other."""
    q = make(1)
    tasks = [asyncio.create_task(q.put(item)) for item in "ab"]
    assert ["a", "b"] == [await result(q.get()), await result(q.get())]
    await asyncio.gather(*tasks)
    await ended(q)


# -- a waiter that is cancelled -------------------------------------------------------


@in_loop
async def test_a_cancelled_getter_is_passed_over(make: Make) -> None:
    """The item goes to the next in the line."""
    q = make()
    first, second = await parked(q, q.get(), q.get())
    first.cancel()
    await asyncio.wait([first])
    await q.put("a")
    assert "a" == await result(second)
    assert first.cancelled()
    await ended(q)


@in_loop
async def test_a_cancelled_putter_is_passed_over(make: Make) -> None:
    """The room goes to the next in the line, and what was cancelled is not stored."""
    q = make(1)
    await q.put("a")
    first, second = await parked(q, q.put("X"), q.put("b"))
    first.cancel()
    await asyncio.wait([first])
    assert "a" == await q.get()
    await result(second)
    assert "b" == await q.get()
    assert await q.empty()
    await ended(q)


@pytest.mark.parametrize("number", range(8))
@in_loop
async def test_a_getter_cancelled_when_it_is_about_to_be_served(make: Make, number: int) -> None:
    """What it would have got goes to the next in the line, nothing is dropped."""
    q = make()
    first, second, third = await parked(q, q.get(), q.get(), q.get())
    puts = [asyncio.create_task(q.put(item)) for item in (1, 2)]
    await turns(number)
    first.cancel()
    await asyncio.wait([first])
    await asyncio.gather(*puts)
    served = [second, third] if first.cancelled() else [first, second]
    assert [1, 2] == sorted([await result(task) for task in served])
    third.cancel()
    await asyncio.wait([third])
    assert await q.empty()
    assert 0 == q.waiting()
    await ended(q)


@pytest.mark.parametrize("number", range(8))
@in_loop
async def test_a_putter_cancelled_when_there_is_room_at_last(make: Make, number: int) -> None:
    """Its room goes to the next in the line; its own item is stored once or not."""
    q = make(1)
    await q.put("a")
    first, second = await parked(q, q.put("b"), q.put("c"))
    got = asyncio.create_task(q.get())
    await turns(number)
    first.cancel()
    await asyncio.wait([first])
    taken = [await result(got), await result(q.get())]
    if taken == ["a", "b"]:
        taken.append(await result(q.get()))
    await result(second)
    assert taken in (["a", "c"], ["a", "b", "c"])
    assert await q.empty()
    await ended(q)


@in_loop
async def test_a_get_that_ran_out_of_time_leaves_the_line(make: Make) -> None:
    """After a timeout nobody waits."""
    q = make(5)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(q.get(), 0.05)
    assert 0 == q.waiting()
    await ended(q)


# -- task_done and join -----------------------------------------------------------------


@in_loop
async def test_task_done_too_often(make: Make) -> None:
    """More task_done calls than items is a ValueError, as is one on a new queue."""
    q = make()
    with pytest.raises(ValueError, match="too many times"):
        await q.task_done()
    await q.put(1)
    await q.get()
    await q.task_done()
    with pytest.raises(ValueError, match="too many times"):
        await q.task_done()
    await ended(q)


@in_loop
async def test_join_waits_for_all_workers(make: Make) -> None:
    """join returns when every item is finished."""
    q = make()
    for item in range(50):
        await q.put(item)
    seen: list[int] = []

    async def work() -> None:
        while True:
            seen.append(await q.get())
            await turns(3)
            await q.task_done()

    workers = [asyncio.create_task(work()) for _ in range(2)]
    await result(q.join())
    assert list(range(50)) == sorted(seen)
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    await ended(q)


@in_loop
async def test_several_joins(make: Make) -> None:
    """All that wait in join go on; on an empty queue join returns at once, again and again."""
    q = make()
    await result(q.join())
    await result(q.join())
    await q.put(1)
    joins = [asyncio.create_task(q.join()) for _ in range(3)]
    await q.get()
    joins[0].cancel()
    await asyncio.wait(joins[:1])
    assert [False, False] == [task.done() for task in joins[1:]]
    await q.task_done()
    await result(asyncio.gather(*joins[1:]))
    await ended(q)


# -- shutdown -----------------------------------------------------------------------------

ShutDown: Any = getattr(asyncio, "QueueShutDown", persistqueue.QueueShutDown)


@pytest.fixture
def make_closable(make: Make) -> Make:
    """Make a queue that has ``shutdown``."""
    if make is Standard and sys.version_info < (3, 13):
        pytest.skip("asyncio.Queue.shutdown is Python 3.13's")
    return make


async def refuses(*calls: Any) -> None:
    """Check that calls raise what a queue raises that was shut down."""
    for call in calls:
        with pytest.raises(ShutDown):
            await result(call)


@in_loop
async def test_shutdown_of_an_empty_queue(make_closable: Make) -> None:
    """A get that waits is refused, and so is everything later; join returns."""
    q = make_closable()
    tasks = await parked(q, q.get(), q.get())
    await q.shutdown()
    await refuses(*tasks, q.put(1), q.put_nowait(1), q.get(), q.get_nowait())
    await result(q.join())
    assert 0 == await q.qsize()
    await ended(q)


@in_loop
async def test_shutdown_of_a_full_queue(make_closable: Make) -> None:
    """A put that waits is refused; what is there can be taken, and then no more."""
    q = make_closable(1)
    await q.put("a")
    join = asyncio.create_task(q.join())
    tasks = await parked(q, q.put("b"))
    await q.shutdown()
    await refuses(*tasks)
    assert 1 == await q.qsize()
    assert "a" == await q.get()
    await refuses(q.put("c"), q.put_nowait("c"), q.get(), q.get_nowait())
    assert not join.done()
    await q.task_done()
    await result(join)
    with pytest.raises(ValueError, match="too many times"):
        await q.task_done()
    await ended(q)


@in_loop
async def test_shutdown_after_a_put_that_a_getter_waits_for(make_closable: Make) -> None:
    """A get that waited is served by what was put before the shutdown."""
    q = make_closable()
    (task,) = await parked(q, q.get())
    await q.put("a")
    await q.shutdown()
    assert "a" == await result(task)
    await ended(q)


@in_loop
async def test_immediate_shutdown(make_closable: Make) -> None:
    """Gets are refused although something is there, and join returns."""
    q = make_closable()
    await q.put("a")
    join = asyncio.create_task(q.join())
    await turns(3)
    await q.shutdown(immediate=True)
    await refuses(q.put("b"), q.put_nowait("b"), q.get(), q.get_nowait())
    await result(join)
    await ended(q)


@in_loop
async def test_immediate_shutdown_keeps_what_is_stored(path: Path) -> None:
    """Unlike the standard library's queue, this one keeps the items."""
    async with AsyncQueue[str](path) as q:
        await q.put("a")
        await q.shutdown(immediate=True)
    async with AsyncQueue[str](path) as q:
        assert "a" == await q.get()


# -- errors -----------------------------------------------------------------------------


@in_loop
async def test_nothing_there_and_no_room(make: Make) -> None:
    """get_nowait and put_nowait raise asyncio's errors."""
    q = make(1)
    with pytest.raises(asyncio.QueueEmpty):
        await q.get_nowait()
    await q.put_nowait(1)
    with pytest.raises(asyncio.QueueFull):
        await q.put_nowait(2)
    assert 1 == await q.qsize()
    await ended(q)


@pytest.mark.parametrize(
    ("error", "others"),
    [
        (AsyncEmpty, [asyncio.QueueEmpty, queue.Empty, persistqueue.Empty]),
        (AsyncFull, [asyncio.QueueFull, queue.Full, persistqueue.Full]),
        (AsyncQueueShutDown, [persistqueue.QueueShutDown, ShutDown]),
        (AsyncQueueShutDown, [getattr(queue, "ShutDown", persistqueue.QueueShutDown)]),
    ],
)
@in_loop
async def test_errors_are_everybodys(path: Path, error: Any, others: list[Any]) -> None:
    """What the async queue raises is caught under all of its names."""
    async with AsyncQueue[int](path, maxsize=1) as q:
        await q.put(1)
        calls: dict[Any, Any] = {AsyncEmpty: q.get_nowait, AsyncFull: lambda: q.put_nowait(2)}
        if error is AsyncEmpty:
            await q.get()
        if error is AsyncQueueShutDown:
            await q.shutdown()
        with pytest.raises(error) as raised:
            await calls.get(error, lambda: q.put(2))()
        assert [True] * len(others) == [isinstance(raised.value, other) for other in others]


def test_cancelling_many_waiters_takes_time_by_their_number(tmp_path: Path) -> None:
    """Thousands of gets that are cancelled in any order cost a few times what bare futures do."""

    async def cost(wait: Callable[[], Any]) -> float:
        tasks = [asyncio.ensure_future(wait()) for _ in range(20_000)]
        await asyncio.sleep(0.5)
        random.Random(1).shuffle(tasks)
        began = time.thread_time()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return time.thread_time() - began

    async def bare() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        async with AsyncQueue(tmp_path) as q:
            assert await cost(q.get) < 10 * await cost(bare)
            await q.put("a")
            assert "a" == await q.get(timeout=5)

    asyncio.run(main())
