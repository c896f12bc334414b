"""What an AsyncQueue does on which thread, and that no thread and no descriptor is left over."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from crashdisk import contents, descriptors, watchdog
from interpreter import run as run_python
from interpreter import start
from ledger import SOON
from loops import eventually, store_threads
from turns import busy_thread, turns
from waiting import until

from persistqueue import AsyncQueue, Empty, QueueClosed


@pytest.fixture(autouse=True)
def _watched() -> Iterator[None]:
    """Let nothing hang."""
    with watchdog(60):
        yield


# -- the disk is another thread's ---------------------------------------------------

WHO_TOUCHES_THE_DISK = """
import asyncio, gc, os, sys, threading
from persistqueue import AsyncQueue, Queue
from persistqueue._core.disk import Disk

EVENTS = ("open", "os.", "fcntl.", "shutil.", "tempfile.", "glob.", "pathlib.")
loops_own, others, calls = [], set(), {"loop": set(), "other": set()}
watching = False

def where():
    return "loop" if threading.get_ident() == loop_thread else "other"

def hook(event, arguments):
    if watching and event.startswith(EVENTS):
        if where() == "loop":
            loops_own.append((event, repr(arguments)[:100]))
        else:
            others.add(event)

class Watched(Disk):
    pass

def watched(name):
    real = getattr(Disk, name)
    def method(self, *args, **kwargs):
        calls[where()].add(name)
        return real(self, *args, **kwargs)
    return method

for name in vars(Disk):
    if not name.startswith("_"):
        setattr(Watched, name, watched(name))

class OnWatched(AsyncQueue):
    _disk = Watched()

async def use(path):
    queue = OnWatched(path, chunksize=2, maxsize=20)
    async with queue:
        await queue.put({"a": 1})
        await asyncio.gather(*(queue.put(number) for number in range(8)))
        await queue.put_many(range(4))
        await queue.get()
        await queue.task_done()
        async with queue.process() as item:
            await queue.peek(), await queue.qsize(), await queue.empty(), await queue.full()
        try:
            async with queue.process() as item:
                raise LookupError
        except LookupError:
            pass
        async for item in queue:
            break
        await queue.get_many(3)
        waiting = asyncio.create_task(queue.get_many(50))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await queue.sync()
        queue.headf, queue.tailf, queue.info, queue.unfinished_tasks
        await queue.get_many(50)
        await queue.task_done(3)
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(0.05)  # other objects are looked for meanwhile
        await queue.put(None)
        await waiting
        await queue.shutdown()
    forgotten = OnWatched(path, autosave=True)
    await forgotten.put(1)
    del forgotten
    gc.collect()
    again = await OnWatched.create(path, durability="process")
    await again.get()
    await again.aclose()

async def main():
    global watching
    await use(sys.argv[1])  # for the sake of what is imported late
    calls["loop"].clear(), calls["other"].clear()
    watching = True
    await use(sys.argv[2])
    watching = False

loop_thread = threading.get_ident()
sys.addaudithook(hook)
asyncio.run(main())
print((loops_own, sorted(others), sorted(calls["loop"]), sorted(calls["other"])))
"""


def test_no_disk_access_on_the_loops_thread(tmp_path: Path) -> None:
    """Constructing, opening, every call, closing and forgetting leave the disk to other threads."""
    loops_own, others, on_loop, elsewhere = run_python(
        WHO_TOUCHES_THE_DISK, tmp_path / "one", tmp_path / "two"
    )
    assert [] == loops_own
    assert [] == on_loop
    assert {"open", "fcntl.flock", "os.mkdir", "os.remove"} <= set(others)
    assert {"open", "read", "write", "sync", "unlink", "make_directory"} <= set(elsewhere)


# -- threads that cannot be started -------------------------------------------------


@pytest.fixture
def no_store_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next thread that a store asks for not start."""
    real, refused = threading.Thread.start, []

    def start(thread: threading.Thread) -> None:
        if thread.name == "persistqueue-store" and not refused:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)


FIRST_CALLS: dict[str, Callable[[AsyncQueue[str]], Any]] = {
    "await": lambda queue: queue._opened(),
    "put": lambda queue: queue.put("refused"),
    "get": lambda queue: queue.get(timeout=0),
    "qsize": lambda queue: queue.qsize(),
}


@pytest.mark.parametrize("call", FIRST_CALLS)
def test_a_store_without_a_thread_fails_one_call(
    path: Path, call: str, no_store_thread: None
) -> None:
    """Where no thread can be started the call says so; the next ones, which get one, work."""

    async def main() -> None:
        queue = AsyncQueue[str](path)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await FIRST_CALLS[call](queue)
        put = asyncio.create_task(queue.put("item"))
        done, _ = await asyncio.wait([put], timeout=SOON)
        assert {put} == done
        await put
        assert ["item"] == await queue.get_many(9)
        await queue.close()

    asyncio.run(main())


NO_WATCHER = """
import asyncio, sys, threading
from persistqueue import AsyncQueue, Queue
from persistqueue.testing import waiting_calls

real, refused = threading.Thread.start, []
def start(thread):
    if thread.name == "persistqueue-watch" and not refused:
        refused.append(thread)
        raise RuntimeError("can't start new thread")
    real(thread)
threading.Thread.start = start
told = []
"""

UNWATCHED_TASKS = """
async def parked(queue, call):
    task = asyncio.create_task(call)
    while not waiting_calls(queue).parked:
        await asyncio.sleep(0)
    return task

async def main():
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    async with AsyncQueue(sys.argv[1], autosave=True) as queue, AsyncQueue(sys.argv[1], autosave=True) as second:
        get = await parked(queue, queue.get())
        await queue.put("own")  # needs nobody who watches
        print((len(refused), await asyncio.wait_for(get, 10), told), flush=True)
        waiter = queue if sys.argv[2] == "same" else second
        get = await parked(waiter, waiter.get())
        with Queue(sys.argv[1]) as other:
            other.put("another's")
        print(await asyncio.wait_for(get, 10))
asyncio.run(asyncio.wait_for(main(), 20))
"""

UNWATCHED_THREADS = """
def parked(queue):
    got = []
    thread = threading.Thread(target=lambda: got.append(queue.get(timeout=10)))
    thread.start()
    while not waiting_calls(queue).parked:
        assert thread.is_alive() or got, "it raised"
    return thread, got

def taken(call):
    call[0].join()
    return call[1][0]

with Queue(sys.argv[1], autosave=True) as queue, Queue(sys.argv[1], autosave=True) as second:
    get = parked(queue)
    queue.put("own")
    print((len(refused), taken(get), told), flush=True)
    get = parked(queue if sys.argv[2] == "same" else second)
    with Queue(sys.argv[1]) as other:
        other.put("another's")
    print(taken(get))
"""


@pytest.mark.parametrize("use", [UNWATCHED_TASKS, UNWATCHED_THREADS], ids=["AsyncQueue", "Queue"])
@pytest.mark.parametrize("which", ["same", "second"])
def test_a_wait_that_nobody_watches_goes_on(path: Path, use: str, which: str) -> None:
    """Where the watcher cannot be started an object's own put ends its waits all the same.

    The next call that waits, of whichever object, tries again, and hears of others' puts.
    """
    done = start(NO_WATCHER + use, path, which)
    assert ["(1, 'own', [])", "another's"] == done.stdout.splitlines(), done.stderr


# -- nothing piles up ---------------------------------------------------------------

needs_descriptors = pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="needs /dev/fd")


def flat(before: tuple[int, int]) -> None:
    """Wait until there are no more descriptors and threads than before."""
    until(lambda: descriptors() <= before[0], "the old number of descriptors")
    # One thread may look after all that wait.
    until(lambda: threading.active_count() <= before[1] + 1, "the old number of threads")


async def use(queue: AsyncQueue[int], number: int) -> None:
    await queue.put(number)
    assert number == await queue.get()
    await queue.task_done()


@needs_descriptors
def test_flat_over_opening_and_closing(path: Path) -> None:
    """Two hundred objects that are opened, used and closed leave no descriptor and no thread."""

    async def main() -> None:
        for number in range(200):
            async with AsyncQueue[int](path, chunksize=3, durability="process") as queue:
                await use(queue, number)
            assert descriptors() <= inside

    async def count() -> int:
        return descriptors()

    before = descriptors(), threading.active_count()
    inside = asyncio.run(count())
    asyncio.run(main())
    flat(before)


@needs_descriptors
@pytest.mark.parametrize("waits", [False, True], ids=["used", "waited on"])
def test_flat_over_opening_and_forgetting(path: Path, waits: bool) -> None:
    """Two hundred objects that are used and dropped leave nothing, without a close."""

    async def main() -> None:
        for number in range(200):
            queue = AsyncQueue[int](path, chunksize=3, durability="process")
            await use(queue, number)
            if waits:
                with pytest.raises(Empty):
                    await queue.get(timeout=0)
            del queue

    before = descriptors(), threading.active_count()
    asyncio.run(main())
    gc.collect()
    flat(before)


@needs_descriptors
def test_flat_over_forgetting_outside_a_loop(path: Path) -> None:
    """Objects whose loop is gone, and those that were never opened, leave nothing either."""
    before = descriptors(), threading.active_count()
    for number in range(50):
        queue = AsyncQueue[int](path, durability="process")
        asyncio.run(use(queue, number))
        AsyncQueue(path)
    del queue
    gc.collect()
    flat(before)


async def several(path: Path, autosave: bool) -> list[int]:
    """Loop over an object that nobody else has, while the garbage is collected."""
    items = []
    async for item in await AsyncQueue.create(path, autosave=autosave, durability="process"):
        gc.collect()
        await turns(5)
        items.append(item)
        if len(items) == 3:
            break
    return items


@needs_descriptors
@pytest.mark.parametrize("autosave", [False, True])
def test_flat_over_loops_over_a_temporary(tmp_path: Path, autosave: bool) -> None:
    """A loop keeps the object that it goes over, whoever else drops it, and lets go of it then."""
    gc.collect()
    gc.freeze()  # each turn of a loop is behind a collection, which shall not go through all
    before, others = (descriptors(), threading.active_count()), store_threads()

    async def main() -> None:
        for number in range(10):
            path = tmp_path / str(number)
            async with AsyncQueue[int](path, durability="process") as queue:
                await queue.put_many(range(6))
            assert [0, 1, 2] == await asyncio.wait_for(several(path, autosave), SOON)
        # The last one is given back, and what was dropped is closed, behind our back.
        await eventually(lambda: gc.collect() >= 0 and store_threads() <= others, "the end of all")

    asyncio.run(main())
    flat(before)
    assert [[2, 3, 4, 5]] * 10 == [contents(tmp_path / str(number)) for number in range(10)]


@needs_descriptors
@pytest.mark.parametrize("autosave", [False, True])
def test_flat_over_forgetting_in_the_last_turn(path: Path, autosave: bool) -> None:
    """An object that is dropped when its event loop ends lets go of its files, and loses nothing."""
    free = threading.Event()

    async def main() -> None:
        queue = AsyncQueue[int](path, autosave=autosave, durability="process")
        await queue.put_many(range(3))
        async for item in queue:
            assert 0 == item
            break  # it is given back, on a disk that is slower than the end of the loop
        queue._session._worker.start(free.wait, SOON)

    before = descriptors(), threading.active_count()
    asyncio.run(main())
    free.set()
    gc.collect()
    flat(before)
    assert [0, 1, 2] == sorted(contents(path))


# -- closing ------------------------------------------------------------------------


@pytest.mark.parametrize("cancelled", [False, True])
def test_every_close_returns_when_the_files_are_closed(path: Path, cancelled: bool) -> None:
    """A close that begins while another is under way returns when that one is over."""

    async def main() -> None:
        queue = AsyncQueue[str](path)
        await queue.put("item")
        with busy_thread(queue):
            first = asyncio.create_task(queue.close())
            await turns(2)
            others = [asyncio.create_task(call()) for call in (queue.close, queue.aclose)]
            await turns(5)
            if cancelled:
                first.cancel()
                others[0].cancel()
            await turns(5)
            assert [False, False] == [first.done(), others[1].done()]
        await asyncio.wait_for(others[1], SOON)
        assert first.done()
        await asyncio.wait([first, *others], timeout=SOON)
        assert [cancelled] * 2 == [task.cancelled() for task in (first, others[0])]
        await queue.close()

    asyncio.run(main())


@needs_descriptors
@pytest.mark.parametrize("when", ["closed first", "opened first"])
def test_opening_that_overlaps_a_close_leaves_nothing(path: Path, when: str) -> None:
    """An ``await`` of a queue that is closed meanwhile is QueueClosed, and opens no file."""

    async def main() -> None:
        for number in range(20):
            queue = AsyncQueue[str](path)
            with busy_thread(queue):
                opening = asyncio.create_task(queue._opened())
                await turns(number)
                closing = asyncio.create_task(queue.close())
                await turns(number % 3)
            await asyncio.wait([opening, closing], timeout=SOON)
            assert closing.done()
            with pytest.raises(QueueClosed):
                await asyncio.wait_for(opening, SOON)
            queues.append(queue)  # what is collected would be closed by that

    queues: list[AsyncQueue[str]] = []
    before = descriptors(), threading.active_count()
    asyncio.run(main())
    flat(before)
    assert 20 == len(queues)
