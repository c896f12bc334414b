"""Event loops that end in the middle of an async queue's calls: nothing is lost.

``asyncio.run`` cancels what is under way and waits for it.  A loop that is closed by hand
does neither: its calls never come to their end.
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from crashdisk import contents, watchdog
from ledger import REFUSED, SOON, Expected, Ledger, finish_and_audit
from loops import eventually, store_threads
from turns import TURNS, busy_thread, idle, turns
from waiting import until

from persistqueue import AsyncQueue
from persistqueue.testing import waiting_calls

AUTOSAVE = pytest.mark.parametrize("autosave", [False, True], ids=["task_done", "autosave"])


@pytest.fixture(autouse=True)
def bounded(request: pytest.FixtureRequest) -> Iterator[None]:
    """End a test whose calls hang, with a traceback of where."""
    with watchdog(280 if request.node.get_closest_marker("slow") else 60):
        yield


async def quietly(call: Awaitable[Any]) -> None:
    """Await a call; what the queue refuses is no matter."""
    with suppress(*REFUSED, Expected):
        await call


# -- asyncio.run ----------------------------------------------------------------------


async def _failing_body() -> None:
    await turns(2)
    raise Expected


async def _endless_body() -> None:
    await asyncio.Event().wait()


async def interrupted(q: AsyncQueue[Any], ledger: Ledger, chance: random.Random) -> None:
    """Have tasks put and get, and end in the middle of it: by return, error or cancellation."""
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: ledger.put(q, chance.randint(0, 2)),
        lambda: ledger.put_many(q, chance.randint(0, 2), chance.randint(1, 3)),
        lambda: ledger.get(q),
        lambda: ledger.get_many(q, chance.randint(1, 3)),
        lambda: ledger.process(q, lambda: turns(chance.choice(TURNS))),
        lambda: ledger.process(q, _failing_body),
        lambda: ledger.process(q, _endless_body),
        lambda: ledger.iterate(q, 3, lambda: turns(2)),
        lambda: ledger.task_done(q),
    ]
    tasks = [
        asyncio.create_task(quietly(chance.choice(calls)())) for _ in range(chance.randint(1, 8))
    ]
    await turns(chance.choice([*TURNS, 1000]))
    end = chance.choice(["return", "raise", "cancel", "gather"])
    if end == "raise":
        raise Expected
    if end == "cancel":
        asyncio.current_task().cancel()  # type: ignore[union-attr]
    if end == "gather":
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.gather(*tasks), 0.0005)


def run(coroutine: Any) -> None:
    """Run a main coroutine that may end in any way."""
    with suppress(Expected, asyncio.CancelledError):
        asyncio.run(coroutine)


def ends(ledger: Ledger, runs: int) -> Iterator[int]:
    """Count ``runs`` ends, and as many more as it takes until enough was acknowledged."""
    for number in range(10 * runs):
        if number >= runs and len(ledger.acked) > runs / 5:
            return
        yield number


def check_one_object(path: Path, runs: int, seed: int, autosave: bool) -> None:
    """Use one object in many runs; audit it in the last."""
    print("seed", seed)
    chance, ledger = random.Random(f"ends {seed}"), Ledger(autosave)
    q: AsyncQueue[Any] = AsyncQueue(
        path,
        maxsize=chance.choice([0, 5]),
        chunksize=chance.randint(1, 5),
        autosave=autosave,
        durability="process",
    )
    for _ in ends(ledger, runs):
        run(interrupted(q, ledger, chance))

    async def last() -> None:
        await q.qsize()
        await eventually(lambda: idle(q))
        await finish_and_audit(q, ledger, path)

    asyncio.run(last())
    assert len(ledger.acked) > runs / 5
    assert ledger.finished


def check_new_objects(path: Path, runs: int, seed: int, autosave: bool) -> None:
    """Use a new object in each run, closed or dropped; look at the end what is stored."""
    print("seed", seed)
    chance, ledger = random.Random(f"new {seed}"), Ledger(autosave)
    before = store_threads()

    async def main() -> None:
        q: AsyncQueue[Any] = AsyncQueue(path, chunksize=3, autosave=autosave, durability="process")
        if chance.random() < 0.5:
            async with q:
                await interrupted(q, ledger, chance)
        else:
            await interrupted(q, ledger, chance)

    for _ in ends(ledger, runs):
        run(main())
        ledger.reopened()
    # What is dropped is closed behind its owner's back, when the garbage is collected.
    until(lambda: gc.collect() >= 0 and store_threads() <= before, "the end of what nobody closed")
    ledger.audit(path)
    assert len(ledger.acked) > runs / 5
    assert ledger.finished


@AUTOSAVE
def test_asyncio_run_ends_in_the_middle_of_calls(tmp_path: Path, autosave: bool) -> None:
    """One object in a hundred runs that end under its calls: nothing is lost or doubled."""
    check_one_object(tmp_path / "q", 100, 0, autosave)


@AUTOSAVE
def test_asyncio_run_ends_with_new_objects(tmp_path: Path, autosave: bool) -> None:
    """A new object in each of a hundred runs that end under its calls: nothing is lost."""
    check_new_objects(tmp_path / "q", 100, 0, autosave)


@pytest.mark.slow
@AUTOSAVE
@pytest.mark.parametrize("seed", range(1, 4))
def test_asyncio_run_ends_at_length(tmp_path: Path, autosave: bool, seed: int) -> None:
    """The same for a thousand runs of each kind."""
    check_one_object(tmp_path / "one", 1000, seed, autosave)
    check_new_objects(tmp_path / "new", 1000, seed, autosave)


# -- a loop closed by hand --------------------------------------------------------------

#: What is under way when the loop is closed, and how many items are stored and taken before.
CALLS: dict[str, tuple[int, int, Callable[[Ledger, AsyncQueue[Any]], Awaitable[Any]]]] = {
    "put": (2, 0, lambda ledger, q: ledger.put(q, 1)),
    "put_many": (2, 0, lambda ledger, q: ledger.put_many(q, 1, 2)),
    "put that waits": (6, 0, lambda ledger, q: ledger.put(q, 1)),
    "get": (4, 0, lambda ledger, q: ledger.get(q)),
    "get_many": (4, 0, lambda ledger, q: ledger.get_many(q, 2)),
    "get that waits": (0, 0, lambda ledger, q: ledger.get(q)),
    "process that waits": (0, 0, lambda ledger, q: ledger.process(q, _endless_body)),
    "iteration that waits": (0, 0, lambda ledger, q: ledger.iterate(q, 3, _endless_body)),
    "task_done": (4, 2, lambda ledger, q: ledger.task_done(q)),
    "join": (4, 2, lambda ledger, q: q.join()),
    "qsize": (4, 0, lambda ledger, q: q.qsize()),
    "sync": (4, 0, lambda ledger, q: q.sync()),
}


def close_under(
    q: AsyncQueue[Any], call: Callable[[], Awaitable[Any]], number: int, busy: bool
) -> list[Any]:
    """Begin a call in a loop, and close the loop after some turns; return the task."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)  # it says what was destroyed
    tasks: list[Any] = []

    async def begin() -> None:
        tasks.append(asyncio.ensure_future(quietly(call())))
        await turns(number)

    if busy:
        with busy_thread(q):
            loop.run_until_complete(begin())
            loop.stop()
            loop.run_forever()
            loop.close()
    else:
        loop.run_until_complete(begin())
        loop.close()
    return tasks


# Python may destroy an inner coroutine before the one that awaits it, and says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@AUTOSAVE
@pytest.mark.parametrize("drop", ["before", "after"])
@pytest.mark.parametrize("name", CALLS)
def test_a_loop_closed_under_a_call(tmp_path: Path, name: str, drop: str, autosave: bool) -> None:
    """A loop closed with calls pending, flying or parked: the object works in the next loop.

    The call's coroutine is destroyed before the object is used again, or long after.
    """
    for busy in (False, True):
        for number in (1, 2, 4, 20):
            path = tmp_path / f"{busy}-{number}"
            gc.disable()
            gc.freeze()  # so that collecting takes no time
            try:
                _check_closed_under(path, CALLS[name], drop, autosave, number, busy)
            finally:
                gc.unfreeze()
                gc.enable()


def _check_closed_under(
    path: Path, case: Any, drop: str, autosave: bool, number: int, busy: bool
) -> None:
    (stored, taken, call), ledger = case, Ledger(autosave)
    q: AsyncQueue[Any] = AsyncQueue(
        path, maxsize=6, chunksize=2, autosave=autosave, durability="process"
    )

    async def begin() -> None:
        await q.qsize()
        if stored:
            await ledger.put_many(q, 0, stored)
        if taken:
            await ledger.get_many(q, taken)

    asyncio.run(begin())
    tasks = close_under(q, lambda: call(ledger, q), number, busy)
    if drop == "before":
        tasks.clear()
        gc.collect()

    async def go_on() -> None:
        left = await q.qsize()
        await eventually(lambda: idle(q))
        if left == 0:
            await ledger.put(q, 2, block=False)
        await ledger.get(q, block=False)  # nobody who is gone takes it away
        tasks.clear()
        gc.collect()
        await q.qsize()
        await eventually(lambda: idle(q))
        await asyncio.wait_for(finish_and_audit(q, ledger, path), SOON)

    asyncio.run(go_on())


@AUTOSAVE
def test_an_answer_that_its_loop_never_delivers(tmp_path: Path, autosave: bool) -> None:
    """A get that is answered when its loop is closed, and never hears of it, took nothing."""
    q = AsyncQueue[str](tmp_path / "q", autosave=autosave)
    asyncio.run(q.put_many("ab"))
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    tasks: list[Any] = []

    async def begin() -> None:
        tasks.append(asyncio.ensure_future(q.get()))
        await turns(1)
        while q._session._commits.flying is not None:
            await turns(1)
        raise KeyboardInterrupt  # before the turn in which the get goes on

    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(begin())
    loop.close()
    tasks.clear()
    gc.collect()
    assert ["a", "b"] == asyncio.run(q.get_many(9))
    asyncio.run(q.close())


def test_a_queue_that_waited_is_closed_when_it_is_dropped(tmp_path: Path) -> None:
    """A dropped object lets go of its files and thread, also when calls had waited in it."""
    before = store_threads()

    async def main() -> None:
        q = AsyncQueue[str](tmp_path / "q")
        await q.put("a")
        tasks = [asyncio.create_task(q.get()) for _ in range(2)]
        await eventually(lambda: waiting_calls(q).parked)
        assert "a" == await tasks[0]

    asyncio.run(main())
    until(lambda: gc.collect() >= 0 and store_threads() <= before, "the end of the thread")


@pytest.mark.parametrize("first", ["_worker", "_store", "inflight"])
def test_a_dropped_object_stores_what_was_given_back(tmp_path: Path, first: str) -> None:
    """With autosave what was given back is stored, in whatever order the garbage is collected."""
    before = store_threads()

    async def main() -> AsyncQueue[str]:
        q = AsyncQueue[str](tmp_path / "q", chunksize=1, autosave=True)
        await q.put_many("ab")
        with suppress(Expected):
            async with q.process():
                await q.get()
                raise Expected
        assert 1 == await q.qsize()
        return q

    box: list[Any] = [asyncio.run(main())]
    box[0].itself = box[0]  # a cycle: only the collector can find it
    held = getattr(box[0]._session, first)
    gc.collect()  # what is held from outside comes before what hangs on it
    del held
    box.clear()
    until(lambda: gc.collect() >= 0 and store_threads() <= before, "the end of the thread")
    assert ["a"] == contents(tmp_path / "q")


def test_a_put_on_its_way_when_its_loop_is_closed_is_stored_once(tmp_path: Path) -> None:
    """What the thread had begun when the loop was closed is stored, once."""
    q = AsyncQueue[str](tmp_path / "q")
    asyncio.run(q.put("a"))
    tasks = close_under(q, lambda: q.put("b"), 3, busy=True)
    assert ["a", "b"] == asyncio.run(q.get_many(9))
    tasks.clear()
    asyncio.run(q.close())
