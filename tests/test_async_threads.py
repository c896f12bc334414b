"""What an AsyncQueue does on which thread, and that no thread and no descriptor is left over."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from crashdisk import descriptors, watchdog
from interpreter import run as run_python
from waiting import until

from persistqueue import AsyncQueue, Empty


@pytest.fixture(autouse=True)
def _watched() -> Iterator[None]:
    """Let nothing hang."""
    with watchdog(60):
        yield


# -- the disk is another thread's ---------------------------------------------------

WHO_TOUCHES_THE_DISK = """
import asyncio, gc, os, sys, threading
from persistqueue import AsyncQueue, Queue
from persistqueue._storage.files import Disk

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
