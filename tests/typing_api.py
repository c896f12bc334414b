"""Never run, only type-checked: what a caller's types come out as.

A line that must not pass carries a ``type: ignore`` with the code that mypy gives; if it
began to pass, the unused comment would be an error.
"""

from __future__ import annotations

import asyncio
import os
import queue
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from typing_extensions import assert_type

import persistqueue
import persistqueue.exceptions
from persistqueue import (
    AsyncEmpty,
    AsyncFull,
    AsyncQueue,
    Empty,
    Full,
    Queue,
    QueueCorrupt,
    QueueShutDown,
    serializers,
)
from persistqueue.serializers import Serializer


class Job(NamedTuple):
    url: str


class Own:
    """A serializer of a user's own."""

    def dump(self, value: Any, fp: IO[bytes]) -> None:
        fp.write(repr(value).encode())

    def load(self, fp: IO[bytes]) -> Any:
        return fp.read()


class Awaited:
    """The same with coroutine functions."""

    async def dump(self, value: Any, fp: Any) -> None:
        await fp.write(repr(value).encode())

    async def load(self, fp: Any) -> Any:
        return await fp.read()


def opening(directory: os.PathLike[str]) -> None:
    Queue("jobs")
    Queue(Path("jobs"), 10, 1000, None, serializers.json, True)
    Queue(directory, tempdir=directory, serializer=Own())
    Queue("jobs", durability="process", on_corrupt="skip", max_item_bytes=1 << 20)
    Queue(1)  # type: ignore[arg-type]
    Queue("jobs", 0, 100, None, serializers.pickle, False, "power")  # type: ignore[call-arg]
    own: Serializer = Own()
    assert_type(serializers.pickle.dumps(own), bytes)


def items(q: Queue[Job]) -> None:
    q.put(Job("a"))
    q.put(Job("b"), False)
    q.put(Job("c"), block=True, timeout=1.5)
    q.put_nowait(Job("d"))
    q.put_many(Job(url) for url in "ef")
    q.put("text")  # type: ignore[arg-type]
    q.put_many(["text"])  # type: ignore[list-item]
    assert_type(q.get(), Job)
    assert_type(q.get(timeout=1), Job)
    assert_type(q.get_nowait(), Job)
    assert_type(q.get_many(3), list[Job])
    assert_type(q.peek(), Job)
    assert_type(iter(q), Iterator[Job])
    with q.process(timeout=2) as job:
        assert_type(job, Job)


def finishing(q: Queue[Job], job: Job) -> None:
    q.task_done()
    q.task_done(3)
    q.task_done(item=job)
    q.join()
    q.sync()
    q.shutdown(immediate=True)
    q.close()


def looking(q: Queue[Job]) -> None:
    assert_type(q.qsize(), int)
    assert_type(len(q), int)
    assert_type(q.empty(), bool)
    assert_type(q.full(), bool)
    assert_type(q.unfinished_tasks, int)
    assert_type(q.skipped, int)
    assert_type(q.path, str)
    assert_type(q.maxsize, int)
    assert_type(q.info, dict[str, Any])
    with q as same:
        assert_type(same, Queue[Job])


def errors(q: Queue[Job]) -> None:
    try:
        q.get(timeout=0)
    except queue.Empty as error:
        assert_type(error, queue.Empty)
    ours: queue.Empty = Empty()
    theirs: queue.Full = Full()
    base: persistqueue.PersistQueueError = QueueShutDown()
    damage = QueueCorrupt("jobs", "q00000", 3, 1)
    assert_type(damage.offset, int | None)
    assert_type(persistqueue.exceptions.Empty, type[Empty])
    print(ours, theirs, base)


def of_anything() -> None:
    anything: Queue[Any] = Queue("jobs")
    anything.put(None)
    inferred: Queue[int] = Queue("numbers")
    assert_type(inferred.get(), int)


# -- asyncio ------------------------------------------------------------------------


async def async_opening(directory: os.PathLike[str]) -> None:
    AsyncQueue("jobs")
    AsyncQueue(Path("jobs"), 10, 1000, None, serializers.json, True)
    AsyncQueue(directory, tempdir=directory, serializer=Awaited())
    AsyncQueue("jobs", durability="process", on_corrupt="skip", max_item_bytes=1 << 20)
    AsyncQueue(1)  # type: ignore[arg-type]
    AsyncQueue("jobs", 0, 100, None, serializers.pickle, False, "power")  # type: ignore[call-arg]
    assert_type(await AsyncQueue[Job]("jobs"), AsyncQueue[Job])
    assert_type(await AsyncQueue[Job].create("jobs"), AsyncQueue[Job])
    inferred: AsyncQueue[int] = await AsyncQueue.create("numbers")
    assert_type(await inferred.get(), int)
    async with AsyncQueue[Job]("jobs", maxsize=10) as q:
        assert_type(q, AsyncQueue[Job])


async def async_items(q: AsyncQueue[Job]) -> None:
    assert_type(await q.put(Job("a")), None)
    await q.put(Job("b"), False)
    await q.put(Job("c"), block=True, timeout=1.5)
    await q.put_nowait(Job("d"))
    await q.put_many((Job(url) for url in "ef"), timeout=2)
    await q.put("text")  # type: ignore[arg-type]
    await q.put_many(["text"])  # type: ignore[list-item]
    q.put(Job("never awaited"))  # type: ignore[unused-coroutine]
    assert_type(await q.get(), Job)
    assert_type(await q.get(timeout=1), Job)
    assert_type(await q.get_nowait(), Job)
    assert_type(await q.get_many(3), list[Job])
    assert_type(await q.peek(), Job)
    assert_type(aiter(q), AsyncIterator[Job])
    async for job in q:
        assert_type(job, Job)
    async with q.process(timeout=2) as job:
        assert_type(job, Job)
    first, second = await asyncio.gather(q.get(), q.get())
    assert_type((first, second), tuple[Job, Job])
    task = asyncio.create_task(q.get())
    assert_type(await task, Job)


async def async_finishing(q: AsyncQueue[Job], job: Job) -> None:
    await q.task_done()
    await q.task_done(3)
    await q.task_done(item=job)
    await q.join()
    await q.sync()
    await q.shutdown(immediate=True)
    await q.aclose()
    assert_type(await q.close(), None)


async def async_looking(q: AsyncQueue[Job]) -> None:
    assert_type(await q.qsize(), int)
    assert_type(await q.empty(), bool)
    assert_type(await q.full(), bool)
    assert_type(q.unfinished_tasks, int)
    assert_type(q.skipped, int)
    assert_type(q.path, str)
    assert_type(q.info, dict[str, Any])
    len(q)  # type: ignore[arg-type]


async def async_errors(q: AsyncQueue[Job]) -> None:
    try:
        await q.get(timeout=0)
    except asyncio.QueueEmpty as error:
        assert_type(error, asyncio.QueueEmpty)
    ours: Empty = AsyncEmpty()
    theirs: asyncio.QueueFull = AsyncFull()
    print(ours, theirs)
