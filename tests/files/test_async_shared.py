"""Sync and async objects, processes and forks on one path, and persist-queue 1.1.0 beside them."""

from __future__ import annotations

import ast
import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from crashdisk import Child, contents, descriptors, in_child, watchdog
from loops import eventually, in_loop, parked
from traffic import CONSUMER, PRODUCER, in_order
from upstream import Upstream, upstream_fixture  # noqa: F401
from waiting import Call

from persistqueue import AsyncQueue, Queue, QueueClosed, serializers

pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded, use of fork:DeprecationWarning"
)


@pytest.fixture(autouse=True)
def _watched() -> Iterator[None]:
    """Let nothing hang."""
    with watchdog(120):
        yield


# -- several processes --------------------------------------------------------------

ASYNC_PRODUCER = """
import asyncio, sys
from persistqueue import AsyncQueue

path, name, count, maxsize = sys.argv[1:]

async def work(queue, task):
    for number in range(int(count)):
        if number % 10:
            await queue.put((name, task, number))
        else:
            await queue.put_many([(name, task, number)])

async def main():
    async with AsyncQueue(path, chunksize=16, maxsize=int(maxsize), durability="process") as queue:
        await asyncio.gather(work(queue, 0), work(queue, 1))

asyncio.run(main())
"""

ASYNC_CONSUMER = """
import asyncio, sys
from persistqueue import AsyncQueue

path, autosave = sys.argv[1:]

async def work(queue, taken):
    while (item := await queue.get()) != "stop":
        taken.append(item)
        await queue.task_done()
    await queue.task_done()

async def main():
    lists = [], []
    options = {"durability": "process", "autosave": autosave == "True"}
    async with AsyncQueue(path, chunksize=16, **options) as queue:
        await asyncio.gather(*(work(queue, taken) for taken in lists))
    for taken in lists: print(taken)

asyncio.run(main())
"""

PAIRS = {
    "sync to async": (PRODUCER, ASYNC_CONSUMER),
    "async to sync": (ASYNC_PRODUCER, CONSUMER),
    "async to async": (ASYNC_PRODUCER, ASYNC_CONSUMER),
}
each_pair = pytest.mark.parametrize(("producer", "consumer"), PAIRS.values(), ids=PAIRS)


def consumed(path: Path, producer: str, consumer: str, consumers: int, autosave: bool) -> Any:
    """Run two producers and so many consumers to their end; return what each task got."""
    with ExitStack() as stack:
        consuming = [stack.enter_context(Child(consumer, path, autosave)) for _ in range(consumers)]
        producing = [stack.enter_context(Child(producer, path, name, 60, 0)) for name in range(2)]
        for child in producing:
            child.wait()
        with Queue[str](path) as queue:
            queue.put_many(["stop"] * 2 * consumers)
        return [ast.literal_eval(line) for child in consuming for line in child.wait()]


EXPECTED = Counter((str(n), t, i) for n in range(2) for t in range(2) for i in range(60))


@each_pair
def test_processes_of_both_kinds(path: Path, producer: str, consumer: str) -> None:
    """With autosave what processes of one kind put those of the other get once, in order."""
    lists = consumed(path, producer, consumer, consumers=2, autosave=True)
    assert EXPECTED == Counter(item for items in lists for item in items)
    assert all(in_order(items) for items in lists)
    assert [] == contents(path)


@each_pair
def test_one_process_that_finishes_its_items(path: Path, producer: str, consumer: str) -> None:
    """Without autosave one consuming process gets each item once, whoever puts."""
    lists = consumed(path, producer, consumer, consumers=1, autosave=False)
    assert EXPECTED == Counter(item for items in lists for item in items)
    assert [] == contents(path)


TWO_CONSUMERS = """
import asyncio, sys
from persistqueue import AsyncQueue, Empty

async def main():
    async with AsyncQueue(sys.argv[1], chunksize=16, durability="process") as queue:
        try:
            while True:
                item = await queue.get(timeout=0.2)
                print(repr(item))
                await queue.task_done(item=item)
        except Empty:
            pass

asyncio.run(main())
"""


def test_two_processes_without_autosave_lose_nothing(path: Path) -> None:
    """Two consuming processes without autosave may get an item twice, and miss none."""
    with Child(TWO_CONSUMERS, path) as one, Child(ASYNC_PRODUCER, path, 0, 60, 0) as producer:
        producer.wait()
        with Child(TWO_CONSUMERS, path) as two:
            seen = {ast.literal_eval(line) for child in (one, two) for line in child.wait()}
    assert {("0", task, number) for task in range(2) for number in range(60)} == seen
    assert [] == contents(path)


PUT_WHEN_TOLD = """
import sys, time
from persistqueue import Queue

queue = Queue(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    queue.put(time.monotonic())
"""


def test_a_waiting_get_notices_another_processs_put(path: Path) -> None:
    """An async get that waits is served by a sync put of another process, soon."""
    waits = []

    async def main(child: Child) -> None:
        async with AsyncQueue[float](path, autosave=True) as queue:
            for _ in range(15):
                waiting = asyncio.create_task(queue.get())
                await parked(queue, 1)
                child.tell("")
                sent = await waiting
                waits.append(time.monotonic() - sent)

    with Child(PUT_WHEN_TOLD, path) as child:
        child.lines(1)
        asyncio.run(main(child))
    assert 15 == len(waits)
    assert max(waits) < 2


def test_room_is_made_by_another_kind(path: Path) -> None:
    """Async puts of another process wait for room in a bounded queue that a sync one empties."""
    with Child(ASYNC_PRODUCER, path, 0, 25, 4) as producer:
        with Queue[Any](path, maxsize=4, autosave=True, durability="process") as queue:
            taken, most = [], 0
            while len(taken) < 50:
                most = max(most, queue.qsize())
                taken.append(queue.get())
        producer.wait()
    assert 0 < most <= 4
    assert in_order(taken)
    assert 50 == len(set(taken))


# -- one process --------------------------------------------------------------------


@pytest.mark.parametrize("sync_puts", [True, False], ids=["sync to async", "async to sync"])
@in_loop
async def test_both_kinds_in_one_process(path: Path, sync_puts: bool) -> None:
    """An object of one kind in a thread and one of the other in the loop hand items over."""
    options = {"chunksize": 5, "durability": "process"}
    got = []
    async with AsyncQueue[int](path, **options) as one:
        with Queue[int](path, **options) as other:
            if sync_puts:
                putting = Call(lambda: [other.put(number) for number in range(100)])
                for _ in range(100):
                    got.append(await one.get())
                    await one.task_done()
            else:
                getting = Call(lambda: [(other.get(), other.task_done())[0] for _ in range(100)])
                await asyncio.gather(*(one.put(number) for number in range(100)))
            call = putting if sync_puts else getting
            await eventually(lambda: not call.is_alive())
            assert list(range(100)) == (got if sync_puts else call.outcome())
            assert (0, 0) == (other.qsize(), await one.qsize())
    assert [] == contents(path)


@in_loop
async def test_objects_see_each_others_work_at_once(path: Path) -> None:
    """Counts and items of one object are right in the next call of the other."""
    async with AsyncQueue[str](path, maxsize=3) as one:
        with Queue[str](path, maxsize=3) as other:
            await one.put("a")
            assert (1, "a") == (other.qsize(), other.peek())
            other.put_many(["b", "c"])
            assert (3, True, "a") == (await one.qsize(), await one.full(), await one.get())
            await one.task_done()
            assert ("b", 2) == (other.get(), await one.qsize())
            other.task_done()
            assert ["c"] == await one.get_many(9)


@in_loop
async def test_an_object_outlives_anothers_close(path: Path) -> None:
    """Closing one object takes nothing from another, of either kind."""
    async with AsyncQueue[str](path) as kept:
        async with AsyncQueue[str](path) as closed:
            await closed.put("a")
        with Queue[str](path) as sync:
            sync.put("b")
        await kept.put("c")
        assert ["a", "b", "c"] == await kept.get_many(9)


# -- forks --------------------------------------------------------------------------

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def in_a_child(work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Run a coroutine in an event loop of a forked process, to its end."""
    status, _ = in_child(lambda acknowledge: asyncio.run(work()))
    assert 0 == status, "see the traceback above"


@needs_fork
@in_loop
async def test_a_child_uses_what_it_inherits(path: Path) -> None:
    """A child uses an inherited queue in a loop of its own; both see each other's items."""
    async with AsyncQueue[str](path, chunksize=2) as queue:
        await queue.put("parent's")

        async def work() -> None:
            assert "parent's" == await queue.get()
            await queue.task_done()
            await queue.put_many(["child's", "own"])

        in_a_child(work)
        assert ["child's", "own"] == [await queue.get(), await queue.get()]
        await queue.task_done(2)

        async def again() -> None:
            async with queue:
                await queue.put("more")

        in_a_child(again)
        assert "more" == await queue.get(timeout=5)


@needs_fork
@in_loop
async def test_a_child_has_taken_nothing(path: Path) -> None:
    """What a parent has taken is no business of its child, which cannot finish it."""
    async with AsyncQueue[str](path) as queue:
        await queue.put_many(["a", "b"])
        assert "a" == await queue.get()

        async def work() -> None:
            with pytest.raises(ValueError, match="too many times"):
                await queue.task_done()
            with pytest.raises(ValueError, match="not handed out"):
                await queue.task_done(item="a")

        in_a_child(work)
        await queue.task_done()
    assert ["b"] == contents(path)


@needs_fork
@in_loop
async def test_a_fork_in_the_middle_of_everything(path: Path) -> None:
    """Forks while puts are in flight and gets wait leave children that can do both."""
    stop, counts = asyncio.Event(), Counter[int]()

    async def put(name: int) -> None:
        while not stop.is_set():
            await queue.put((name, counts[name]))
            counts[name] += 1

    async with AsyncQueue[Any](path, chunksize=20, durability="process") as queue:
        async with AsyncQueue[Any](path.with_name("idle")) as idle:
            waiting = asyncio.create_task(idle.get())
            await parked(idle, 1)
            putting = [asyncio.create_task(put(name)) for name in range(3)]
            for fork in range(15):
                await eventually(
                    lambda f=fork: counts[0] > f * 3 and queue._session._commits.flying
                )

                async def work(number: int = fork) -> None:
                    await queue.put(("child", number))
                    await queue.get(timeout=30)
                    getting = asyncio.create_task(idle.get(timeout=30))
                    await parked(idle, 1)
                    await idle.close()
                    with pytest.raises(QueueClosed):
                        await getting
                    if number % 2:
                        await queue.close()

                in_a_child(work)
            stop.set()
            await asyncio.gather(*putting)
            await idle.put("for the parent")
            assert "for the parent" == await waiting
    items = contents(path)
    assert [("child", fork) for fork in range(15)] == [i for i in items if i[0] == "child"]
    for name in range(3):
        assert [(name, n) for n in range(counts[name])] == [i for i in items if i[0] == name]


@needs_fork
@in_loop
async def test_parent_and_children_put_at_once(path: Path) -> None:
    """Parent and children put at the same time, and each keeps its order."""
    async with AsyncQueue[Any](path, chunksize=7, durability="process") as queue:

        async def put(name: int) -> None:
            for number in range(150):
                await queue.put((name, number))

        def fork(name: int) -> None:
            in_a_child(lambda: put(name))

        await queue
        forks = [asyncio.to_thread(fork, name) for name in (1, 2)]
        await asyncio.gather(*forks, put(0))
    items = contents(path)
    assert [(name, n) for name in range(3) for n in range(150)] == sorted(items)
    assert in_order(items)


@needs_fork
def test_a_child_of_a_parent_between_two_runs(path: Path) -> None:
    """A queue that was used in ``asyncio.run`` before the fork works in the child and after it."""
    queue = AsyncQueue[str](path)
    asyncio.run(queue.put("a"))

    async def work() -> None:
        await queue.put("b")
        assert "a" == await queue.get()

    in_a_child(work)
    assert ["a", "b"] == asyncio.run(queue.get_many(9))
    asyncio.run(queue.close())


@needs_fork
@in_loop
async def test_a_child_closes_or_drops_it(path: Path) -> None:
    """A child that closes an inherited queue, or ends, takes nothing from its parent."""
    before = descriptors()
    queue = AsyncQueue[str](path)
    await queue.put("first")

    async def close() -> None:
        await queue.close()
        with pytest.raises(QueueClosed):
            await queue.put("no more")

    async def nothing() -> None:
        pass

    in_a_child(close)
    await queue.put("second")
    in_a_child(nothing)
    assert ["first", "second"] == await queue.get_many(9)
    await queue.task_done(2)
    await queue.close()
    in_a_child(close)
    await eventually(lambda: descriptors() <= before)
    assert [] == contents(path)


# -- persist-queue 1.1.0 ------------------------------------------------------------

THEIRS = """
import ast, asyncio, sys
from persistqueue import AsyncQueue
from persistqueue.serializers import json, pickle
import persistqueue
assert not hasattr(persistqueue, "PersistQueueError")

path, serializer, gets, items = sys.argv[1:]

async def main():
    async with AsyncQueue(path, chunksize=3, serializer={"json": json, "pickle": pickle}[serializer]) as queue:
        got = [await queue.get_nowait() for _ in range(int(gets))]
        for _ in got:
            await queue.task_done()
        for item in ast.literal_eval(items):
            await queue.put(item)
        print((got, await queue.qsize()))

asyncio.run(main())
"""

ITEMS = [None, 0, "text", {"a": [1, {"b": None}]}, "ü" * 3000, 2**70, True, [[]]]


class Sides:
    """Everybody who can open a path: each gets so many items, finishes them, and puts some."""

    def __init__(self, path: Path, upstream: Upstream, serializer: str) -> None:
        self._path, self._upstream, self._serializer = path, upstream, serializer
        self._ours = getattr(serializers, serializer)

    def our_async(self, gets: int, items: list[Any]) -> tuple[list[Any], int]:
        async def main() -> tuple[list[Any], int]:
            async with AsyncQueue[Any](self._path, chunksize=3, serializer=self._ours) as queue:
                got = [await queue.get_nowait() for _ in range(gets)]
                if got:
                    await queue.task_done(len(got))
                await asyncio.gather(*(queue.put(item) for item in items[:4]))
                await queue.put_many(items[4:])
                return got, await queue.qsize()

        return asyncio.run(main())

    def our_sync(self, gets: int, items: list[Any]) -> tuple[list[Any], int]:
        with Queue[Any](self._path, serializer=self._ours) as queue:
            got = [queue.get_nowait() for _ in range(gets)]
            if got:
                queue.task_done(len(got))
            queue.put_many(items)
            return got, queue.qsize()

    def their_async(self, gets: int, items: list[Any]) -> tuple[list[Any], int]:
        done = self._upstream.run(THEIRS, self._path, self._serializer, gets, ascii(items))
        assert 0 == done.returncode, done.stderr
        answer: tuple[list[Any], int] = ast.literal_eval(done.stdout)
        return answer

    def their_sync(self, gets: int, items: list[Any]) -> tuple[list[Any], int]:
        with self._upstream.queue(self._path, self._serializer) as queue:
            got = queue.get(gets)
            queue.task_done(len(got))
            queue.put(*items)
            return got, queue.qsize()


@pytest.mark.parametrize("other", ["their_sync", "their_async", "our_sync"])
@pytest.mark.parametrize("writes", [True, False], ids=["ours writes", "ours reads"])
def test_files_pass_between_all_kinds(
    path: Path, upstream: Upstream, other: str, writes: bool
) -> None:
    """What our AsyncQueue puts the other side gets, and the other way round, equal and in order."""
    sides = Sides(path, upstream, "pickle")
    order = ["our_async", other] if writes else [other, "our_async"]
    assert ([], len(ITEMS)) == getattr(sides, order[0])(0, ITEMS)
    assert (ITEMS, 0) == getattr(sides, order[1])(len(ITEMS), [])
    assert [] == contents(path)


@pytest.mark.parametrize("serializer", ["pickle", "json"])
def test_all_kinds_take_turns(path: Path, upstream: Upstream, serializer: str) -> None:
    """Both packages' queues of both kinds work on one directory, one after another."""
    sides, expected = Sides(path, upstream, serializer), list[Any]()
    turns = [
        (sides.our_async, 0), (sides.their_async, 0), (sides.their_sync, 3), (sides.our_async, 7),
        (sides.our_sync, 2), (sides.their_async, 9), (sides.our_async, 11), (sides.their_sync, 5),
        (sides.our_async, 3),
    ]  # fmt: skip
    for turn, (side, most) in enumerate(turns):
        # Their AsyncQueue puts with any serializer, and gets with pickle alone.
        gets = 0 if serializer == "json" and side == sides.their_async else most
        items = [[turn, number] for number in range(6)]
        wanted, expected = expected[:gets], [*expected[gets:], *items]
        assert (wanted, len(expected)) == side(gets, items)
    assert expected == contents(path, serializer=getattr(serializers, serializer))
