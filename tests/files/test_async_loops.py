"""Event loops: one after another, two at once, of another make."""
# ruff: noqa: ASYNC240 - these loops serve one test each, and may wait

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
import tracemalloc
import weakref
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from crashdisk import watchdog
from loops import eventually, in_loop, parked
from redis_server import shared
from waiting import Call, until

import persistqueue
from persistqueue import AsyncQueue, AsyncSQLiteQueue, Empty, Full, Queue, QueueClosed, engines
from persistqueue._core.disk import Disk, File
from persistqueue.testing import waiting_calls

Main = Callable[[], Coroutine[Any, Any, Any]]


@pytest.fixture(autouse=True)
def _watched() -> Iterator[None]:
    """Let nothing hang."""
    with watchdog(60):
        yield


def run_in_uvloop(main: Coroutine[Any, Any, Any]) -> Any:
    """Do what ``asyncio.run`` does, on uvloop."""
    try:
        import uvloop
    except ImportError:
        main.close()
        pytest.skip("needs the package uvloop")
    return uvloop.run(main)


def run_in_debug_mode(main: Coroutine[Any, Any, Any]) -> Any:
    """Run with asyncio's own checks."""
    return asyncio.run(main, debug=True)


LOOPS = {"asyncio": asyncio.run, "uvloop": run_in_uvloop, "debug": run_in_debug_mode}
each_loop = pytest.mark.parametrize("run", LOOPS.values(), ids=LOOPS)


def contents(path: Path) -> list[Any]:
    """Return what is stored, through a queue of the other kind."""
    with Queue[Any](path) as queue:
        return queue.get_many(1000) if queue.qsize() else []


def on(disk: Disk) -> type[AsyncQueue[Any]]:
    """Return a queue class that works on ``disk``."""
    return type("OnDisk", (AsyncQueue,), {"_disk": disk})


class _Trio:
    """A loop that is not asyncio's: it takes the steps of a coroutine."""

    @staticmethod
    def run(main: Coroutine[Any, Any, Any]) -> Any:
        try:
            main.send(None)
        finally:
            main.close()


_FIRST_CALLS: dict[str, Callable[[Path], Coroutine[Any, Any, Any]]] = {
    "open": AsyncQueue.create,
    "put": lambda path: AsyncQueue[int](path).put(1),
    "get": lambda path: AsyncQueue[int](path).get(),
    "close": lambda path: AsyncQueue[int](path).close(),
    "put in SQLite": lambda path: AsyncSQLiteQueue[int](path).put(1),
    "get in SQLite": lambda path: AsyncSQLiteQueue[int](path).get(),
    "get to ack": lambda path: persistqueue.AsyncSQLiteAckQueue[int](path).get(),
    "set": lambda path: persistqueue.AsyncPDict(path, "d").set("k", 1),
    "pop": lambda path: persistqueue.AsyncPDict(path, "d").pop("k"),
    "close a dict": lambda path: persistqueue.AsyncPDict(path, "d").close(),
    "write": lambda path: persistqueue.AsyncBroker(path).queue("q").write(1),
    "read": lambda path: persistqueue.AsyncBroker(path).queue("q").read(),
    "size": lambda path: persistqueue.AsyncBroker(path).queue("q").size(),
}


@pytest.mark.parametrize("call", _FIRST_CALLS)
def test_under_another_loop(path: Path, call: str) -> None:
    """Under trio, say, the error names asyncio, and no file is made."""
    with pytest.raises(RuntimeError, match="no event loop of asyncio is running"):
        _Trio.run(_FIRST_CALLS[call](path))
    assert not path.exists()


# -- opening ------------------------------------------------------------------------


async def lazily(path: Path) -> AsyncQueue[str]:
    return AsyncQueue(path)


async def awaited(path: Path) -> AsyncQueue[str]:
    return await AsyncQueue[str](path)


async def created(path: Path) -> AsyncQueue[str]:
    return await AsyncQueue[str].create(path)


async def entered(path: Path) -> AsyncQueue[str]:
    return await AsyncQueue[str](path).__aenter__()


@each_loop
@pytest.mark.parametrize("opened", [lazily, awaited, created, entered])
def test_every_way_of_opening(path: Path, opened: Any, run: Any) -> None:
    """However it is opened, a queue puts, gets, finishes and closes."""

    async def main() -> None:
        queue = await opened(path)
        assert (opened is not lazily) == path.exists()
        await queue.put("a")
        assert ("a", 1) == (await queue.get(), queue.unfinished_tasks)
        await queue.task_done()
        await queue.join()
        await queue.put("b")
        await queue.close()
        with pytest.raises(QueueClosed):
            await queue.get()

    run(main())
    assert ["b"] == contents(path)


@pytest.mark.parametrize(
    "call", ["qsize", "empty", "full", "peek", "get_nowait", "task_done", "join", "sync"]
)
@in_loop
async def test_any_first_call_opens(path: Path, call: str) -> None:
    """Whatever is called first opens the queue, and sees what is stored."""
    with Queue[str](path) as queue:
        queue.put("stored")
    first = AsyncQueue[str](path)
    if call == "task_done":
        with pytest.raises(ValueError, match="too many times"):
            await first.task_done()
    elif call == "join":
        joining = asyncio.create_task(first.join())
        await parked(first, 1)
        joining.cancel()
    else:
        expected = {
            "qsize": 1, "empty": False, "full": False, "sync": None,
            "peek": "stored", "get_nowait": "stored",
        }  # fmt: skip
        assert expected[call] == await getattr(first, call)()
    if call != "get_nowait":
        assert "stored" == await first.get()
    assert 1 == first.unfinished_tasks
    await first.close()


@in_loop
async def test_a_first_opening_by_many_at_once(path: Path) -> None:
    """A hundred tasks that use a new object at once open it once, and all are served."""
    queue = AsyncQueue[int](path, durability="process")
    await asyncio.gather(*(queue.put(number) for number in range(50)), *(queue for _ in range(50)))
    assert list(range(50)) == await queue.get_many(99)
    await queue.close()


@in_loop
async def test_opening_that_fails_may_be_tried_again(path: Path) -> None:
    """An error of opening is its caller's; when its cause is gone the same object opens."""
    path.write_text("a file in the way")
    queue = AsyncQueue[str](path)
    with pytest.raises(NotADirectoryError):
        await queue
    with pytest.raises(NotADirectoryError):
        await queue.put("item")
    path.unlink()
    await queue.put("item")
    assert "item" == await queue.get()
    await queue.close()


def test_constructed_outside_a_loop(path: Path) -> None:
    """The constructor needs no loop, runs in any thread, and creates nothing."""
    queue = Call(AsyncQueue[str], path).outcome()
    assert not path.exists()

    async def main() -> None:
        async with queue:
            await queue.put("item")

    asyncio.run(main())
    assert ["item"] == contents(path)


# -- one loop after another ---------------------------------------------------------


@each_loop
def test_several_runs_of_one_object(path: Path, run: Any) -> None:
    """One object that nobody closes serves one ``asyncio.run`` after another."""
    queue = AsyncQueue[int](path, chunksize=3)

    async def put(number: int) -> None:
        await queue.put(number)

    async def get() -> int:
        item = await queue.get()
        await queue.task_done()
        return item

    for number in range(5):
        run(put(number))
    assert [0, 1, 2] == [run(get()) for _ in range(3)]
    run(queue.close())
    assert [3, 4] == contents(path)


def test_runs_in_several_threads(path: Path) -> None:
    """Threads may use one object in loops of their own, one thread after another."""
    queue = AsyncQueue[int](path)
    for number in range(5):
        Call(lambda n=number: asyncio.run(queue.put(n))).outcome()
    assert list(range(5)) == asyncio.run(queue.get_many(9))
    asyncio.run(queue.close())


def test_waiters_of_a_former_run_take_nothing(path: Path) -> None:
    """Gets and puts that ``asyncio.run`` cancelled at its end are in nobody's way."""
    queue = AsyncQueue[int](path, maxsize=2)

    async def waiting_gets() -> None:
        tasks = [asyncio.create_task(queue.get()) for _ in range(3)]
        await parked(queue, len(tasks))

    async def waiting_puts() -> None:
        await queue.put_many([1, 2])
        tasks = [asyncio.create_task(queue.put(number)) for number in (3, 4)]
        await parked(queue, len(tasks))

    async def main() -> list[int]:
        with pytest.raises(Full):
            await queue.put_nowait(5)
        items = [await queue.get() for _ in range(2)]
        with pytest.raises(Empty):
            await queue.get_nowait()
        await queue.close()
        return items

    asyncio.run(waiting_gets())
    asyncio.run(waiting_puts())
    assert [1, 2] == asyncio.run(main())


def abandoned(main: Main) -> None:
    """Run in a loop that is closed with its tasks still in it, as no ``asyncio.run`` does."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()


class GatedDisk(Disk):
    """A disk whose reads wait for ``go`` once it is armed."""

    def __init__(self) -> None:
        self.armed, self.reading, self.go = False, threading.Event(), threading.Event()

    def read(self, file: File, size: int, offset: int) -> bytes:
        if self.armed:
            self.reading.set()
            assert self.go.wait(20)
        return super().read(file, size, offset)


async def all_three(queue: AsyncQueue[int]) -> None:
    """See that three items can be taken and finished, and nothing else is there."""
    assert [1, 2, 3] == sorted([await queue.get(timeout=10) for _ in range(3)])
    await queue.task_done(3)
    await queue.join()
    assert await queue.empty()
    await queue.close()


def test_a_loop_that_was_closed_under_waiters(path: Path) -> None:
    """Gets that waited in a loop that is no more take nothing and block nobody."""
    queue = AsyncQueue[int](path)
    tasks = []

    async def leave() -> None:
        tasks.extend(asyncio.create_task(queue.get()) for _ in range(3))
        await parked(queue, 3)

    async def main() -> None:
        await queue.put_many([1, 2, 3])
        await all_three(queue)

    abandoned(leave)
    asyncio.run(main())
    tasks.clear()
    gc.collect()


@pytest.mark.parametrize("lands", ["before the next loop", "in the next loop"])
@pytest.mark.parametrize("autosave", [False, True])
def test_a_loop_that_was_closed_under_flying_calls(path: Path, lands: str, autosave: bool) -> None:
    """What calls took whose loop was closed in the middle of them is given back."""
    disk, tasks = GatedDisk(), []
    queue = on(disk)(path, autosave=autosave)

    async def leave() -> None:
        await queue.put_many([1, 2, 3])
        disk.armed = True
        tasks.extend(asyncio.create_task(queue.get()) for _ in range(2))
        await eventually(disk.reading.is_set)
        tasks.append(asyncio.create_task(queue.get()))  # goes with the next batch
        await asyncio.sleep(0)

    async def main() -> None:
        if lands == "in the next loop":
            asyncio.get_running_loop().call_later(0.05, disk.go.set)
        await all_three(queue)

    abandoned(leave)
    if lands == "before the next loop":
        disk.go.set()
        until(lambda: queue._session._commits.landed)
    asyncio.run(main())
    tasks.clear()
    gc.collect()


FORGETFUL: dict[str, Callable[..., Any]] = {
    "AsyncQueue": partial(AsyncQueue, autosave=True),
    "AsyncQueue[DbmEngine]": partial(AsyncQueue, autosave=True, engine=engines.DbmEngine),
    "AsyncQueue[SQLiteEngine]": partial(AsyncQueue, autosave=True, engine=engines.SQLiteEngine),
    "AsyncSQLiteQueue": partial(AsyncSQLiteQueue, durability="process"),
}


@pytest.mark.parametrize("kind", sorted(FORGETFUL))
def test_what_a_get_took_comes_back_when_only_garbage_leads_to_the_queue(
    kind: str, path: Path
) -> None:
    """A collection may end what hangs on a queue before the queue itself; nothing is lost."""
    opens = FORGETFUL[kind]

    def leave() -> weakref.ref[Any]:
        queue = opens(path)
        queue.cycle = queue

        async def take() -> None:
            await queue.put("a")
            task = asyncio.create_task(queue.get())
            queue.task = task
            await asyncio.sleep(0)
            until(lambda: queue._session._commits.landed)  # and the loop has no time to deliver it

        abandoned(take)
        return weakref.ref(queue._session._store)

    store = leave()
    until(lambda: gc.collect() >= 0 and store() is None, "the end of the queue")

    async def later() -> str:
        async with await opens.func.create(path, **opens.keywords) as queue:
            return str(await queue.get(timeout=10))

    assert "a" == asyncio.run(later())


@contextmanager
def two_loops() -> Iterator[tuple[asyncio.AbstractEventLoop, asyncio.AbstractEventLoop]]:
    """Make two event loops that one thread runs by turns."""
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        yield first, second
    finally:
        first.close()
        second.close()


def test_a_loop_that_was_left_and_is_gone_on_with(path: Path) -> None:
    """A get that waits in a loop which was stopped is served, or fails, when that goes on."""
    queue = AsyncQueue[str](path)
    with two_loops() as (first, second):
        waiting = first.create_task(queue.get())
        first.run_until_complete(parked(queue, 1))
        second.run_until_complete(queue.put("item"))
        with pytest.raises(RuntimeError, match="used in another event loop meanwhile"):
            first.run_until_complete(asyncio.wait_for(waiting, 5))
        assert "item" == second.run_until_complete(queue.get())
        second.run_until_complete(queue.close())


@pytest.mark.parametrize("verb", ["get", "qsize", "sync"])
def test_a_loop_that_was_left_under_a_flying_call(path: Path, verb: str) -> None:
    """A call whose loop was stopped in the middle of it ends when that goes on, one way or other."""
    disk = GatedDisk()
    queue = on(disk)(path)

    def armed() -> bool:
        return disk.reading.is_set()

    with two_loops() as (first, second):
        first.run_until_complete(queue.put_many(["a", "b"]))
        disk.armed = True
        call = first.create_task(getattr(queue, verb)())
        first.run_until_complete(eventually(armed))
        second.call_later(0.02, disk.go.set)
        assert second.run_until_complete(queue.get()) in ("a", "b")
        try:
            first.run_until_complete(asyncio.wait_for(call, 5))
        except RuntimeError as error:
            assert "another event loop" in str(error)
        second.run_until_complete(queue.close())
    assert ["a", "b"] == contents(path)


def test_loops_that_take_turns(path: Path) -> None:
    """Two loops that are never running at the same time may use one object by turns."""
    queue = AsyncQueue[int](path)
    with two_loops() as loops:
        for number in range(6):
            loops[number % 2].run_until_complete(queue.put(number))
        assert list(range(6)) == [loops[n % 2].run_until_complete(queue.get()) for n in range(6)]
        loops[0].run_until_complete(queue.close())


@pytest.mark.parametrize("way", ["bare", "item", "count"])
def test_what_a_former_run_took_can_be_finished(path: Path, way: str) -> None:
    """Takes outlive their loop: they are not handed out twice, and a later run finishes them."""
    queue = AsyncQueue[str](path)

    async def take() -> list[str]:
        await queue.put_many(["a", "b", "c"])
        return [await queue.get(), await queue.get()]

    async def finish(items: list[str]) -> None:
        assert "c" == await queue.get()
        if way == "bare":
            await queue.task_done()
            await queue.task_done()
        elif way == "count":
            await queue.task_done(2)
        else:
            for item in items:
                await queue.task_done(item=item)
        assert 1 == queue.unfinished_tasks
        await queue.close()

    asyncio.run(finish(asyncio.run(take())))
    assert ["c"] == contents(path)


def test_join_in_a_later_run(path: Path) -> None:
    """``join`` of a later run waits for what a former one took, and no longer."""
    queue = AsyncQueue[str](path)

    async def take() -> None:
        await queue.put("item")
        await queue.get()

    async def join() -> None:
        joining = asyncio.create_task(queue.join())
        await parked(queue, 1)
        await queue.task_done()
        await joining
        await queue.close()

    asyncio.run(take())
    asyncio.run(join())


@pytest.mark.parametrize("leaving", ["process", "iteration"])
def test_what_a_block_held_at_the_end_of_a_run_comes_again(path: Path, leaving: str) -> None:
    """A block or an iteration that the end of ``asyncio.run`` cuts off gives its item back."""
    queue = AsyncQueue[str](path)
    held: list[str] = []

    async def hold() -> None:
        if leaving == "process":
            async with queue.process() as item:
                held.append(item)
                await asyncio.Event().wait()
        else:
            async for item in queue:
                held.append(item)
                await asyncio.Event().wait()

    async def main() -> None:
        await queue.put_many(["a", "b"])
        holder = asyncio.create_task(hold())
        await eventually(lambda: held)
        del holder

    async def later() -> list[str]:
        try:
            return [await queue.get(timeout=10), await queue.get(timeout=10)]
        finally:
            await queue.close()

    asyncio.run(main())
    gc.collect()
    assert (["a"], ["a", "b"]) == (held, asyncio.run(later()))


@pytest.mark.parametrize("verb", ["get", "put", "join"])
@in_loop
async def test_a_cancel_in_flight_is_heeded_though_the_call_would_wait(
    path: Path, verb: str
) -> None:
    """A call that is cancelled while the store looks, and finds that it must wait, ends."""
    disk = GatedDisk()
    async with on(disk)(path, maxsize=1) as queue:
        await queue.put("first")
        if verb == "get":
            assert "first" == await queue.get()
        disk.armed = True
        call = asyncio.create_task(getattr(queue, verb)(*["item"] * (verb == "put")))
        await eventually(disk.reading.is_set)
        call.cancel()
        await asyncio.sleep(0)
        disk.go.set()
        await asyncio.wait([call], timeout=5)
        assert call.cancelled()
        assert (0 if verb == "get" else 1) == await queue.qsize()


@pytest.mark.parametrize("autosave", [False, True])
@in_loop
async def test_what_a_cancelled_get_took_goes_to_the_next(path: Path, autosave: bool) -> None:
    """A get that comes while another one is in flight gets that one's item if it is cancelled."""
    disk = GatedDisk()
    async with on(disk)(path, autosave=autosave) as queue:
        await queue.put_many([1, 2, 3])
        disk.armed = True
        first = asyncio.create_task(queue.get())
        await eventually(disk.reading.is_set)
        second = asyncio.create_task(queue.get())
        await eventually(lambda: waiting_calls(queue).next)
        first.cancel()
        await asyncio.sleep(0)
        disk.go.set()
        assert 1 == await second
        assert first.cancelled()
        assert [2, 3] == await queue.get_many(9)


@in_loop
async def test_a_cancelled_call_does_not_wait_for_a_lock_for_long(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A put that is cancelled while somebody else has the lock gives up long before 10 s."""
    fcntl = pytest.importorskip("fcntl", reason="needs flock")
    monkeypatch.setattr("persistqueue._core.patience.LEAST_PATIENCE", 0.05)
    async with AsyncQueue[str](path) as queue:
        await queue.put("first")
        with open(path / ".lock") as held:  # noqa: ASYNC230 - a file that is there
            fcntl.flock(held, fcntl.LOCK_EX)
            call = asyncio.create_task(queue.put("second"))
            await eventually(lambda: queue._session._commits.flying)
            call.cancel()
            await asyncio.wait([call], timeout=5)
            assert call.cancelled()
        assert ["first"] == await queue.get_many(9)


# -- two loops at once --------------------------------------------------------------


@pytest.mark.parametrize(
    "call", ["put", "get", "qsize", "join", "close", "sync", "task_done", "shutdown", "__aenter__"]
)
@in_loop
async def test_a_second_running_loop_is_refused(path: Path, call: str) -> None:
    """A call from another loop raises a RuntimeError that says what to do; the first goes on."""
    async with AsyncQueue[str](path) as queue:
        waiting = asyncio.create_task(queue.get())
        await parked(queue, 1)

        def elsewhere() -> None:
            asyncio.run(getattr(queue, call)(*(["item"] if call == "put" else [])))

        with pytest.raises(RuntimeError, match=r"another running event loop; open one object"):
            await asyncio.to_thread(Call(elsewhere).outcome)
        await queue.put("item")
        assert ("item", 1) == (await waiting, queue.unfinished_tasks)
        await queue.task_done()
        assert await queue.empty()


@in_loop
async def test_each_loop_with_an_object_of_its_own(path: Path) -> None:
    """Loops in several threads share a path through an object each."""

    async def work(name: int) -> None:
        async with AsyncQueue[Any](path, durability="process") as queue:
            await asyncio.gather(*(queue.put((name, number)) for number in range(50)))

    await asyncio.gather(*(asyncio.to_thread(asyncio.run, work(name)) for name in range(3)))
    async with AsyncQueue[Any](path) as queue:
        assert [(n, i) for n in range(3) for i in range(50)] == sorted(await queue.get_many(200))


# -- the loop's own checks ----------------------------------------------------------


class SlowDisk(Disk):
    """A disk that takes its time for each sync."""

    def sync(self, file: File) -> None:
        time.sleep(0.2)
        super().sync(file)


def test_debug_mode_has_nothing_to_say(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In debug mode no callback is slow, though the disk is, and every coroutine is awaited."""
    caplog.set_level(logging.WARNING)

    async def main() -> None:
        asyncio.get_running_loop().slow_callback_duration = 0.15
        async with on(SlowDisk())(path) as queue:
            await asyncio.gather(*(queue.put(number) for number in range(8)))
            assert 0 == await queue.get()
            await queue.task_done()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(queue.join(), 0.01)
            async with queue.process() as item:
                assert 1 == item
            waiting = asyncio.create_task(queue.get_many(50))
            assert list(range(2, 8)) == await waiting
            late = [asyncio.create_task(queue.get()) for _ in range(3)]
            await parked(queue, 3)
            late[0].cancel()
        assert ["CancelledError", "QueueClosed", "QueueClosed"] == [
            type(error).__name__ for error in await asyncio.gather(*late, return_exceptions=True)
        ]

    was_tracing = tracemalloc.is_tracing()
    asyncio.run(main(), debug=True)
    gc.collect()
    assert was_tracing == tracemalloc.is_tracing()
    assert [] == [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    "kind", ["AsyncQueue", "AsyncSQLiteQueue", "AsyncRedisQueue", "AsyncRedisPool"]
)
@in_loop
async def test_the_loop_turns_while_many_are_encoded(path: Path, kind: str) -> None:
    """A long ``put_many`` lets others have their turn while it encodes."""
    turns, seen = 0, list[int]()

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def items() -> Iterator[int]:
        for number in range(20):
            time.sleep(0.003)  # as long as encoding a large item takes
            seen.append(turns)
            yield number

    where = [str(path), shared().url] if "Redis" in kind else [path]
    put_many, size = ("add_items", "get_count") if "Pool" in kind else ("put_many", "qsize")
    async with getattr(persistqueue, kind)(*where) as queue:
        counting = asyncio.create_task(count())
        await getattr(queue, put_many)(items())
        counting.cancel()
        assert len(set(seen)) >= 15
        assert 20 == await getattr(queue, size)()
