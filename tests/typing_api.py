"""Never run, only type-checked: what a caller's types come out as.

A line that must not pass carries a ``type: ignore`` with the code that mypy gives; if it
began to pass, the unused comment would be an error.
"""

from __future__ import annotations

import asyncio
import os
import queue
from collections.abc import AsyncIterator, Iterator, MutableMapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from typing_extensions import assert_type

import persistqueue
import persistqueue.exceptions
from persistqueue import (
    AckStatus,
    AsyncBroker,
    AsyncBrokerQueue,
    AsyncEmpty,
    AsyncFIFOSQLiteQueue,
    AsyncFILOSQLiteQueue,
    AsyncFull,
    AsyncPDict,
    AsyncPriorityQueue,
    AsyncQueue,
    AsyncSQLiteAckQueue,
    AsyncSQLiteQueue,
    AsyncUniqueQ,
    Broker,
    BrokerQueue,
    Empty,
    FIFOSQLiteQueue,
    FILOSQLiteAckQueue,
    FILOSQLiteQueue,
    Full,
    PDict,
    PriorityQueue,
    Queue,
    QueueCorrupt,
    QueueShutDown,
    SQLiteAckQueue,
    SQLiteQueue,
    UniqueAckQ,
    UniqueQ,
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


# -- SQLite -------------------------------------------------------------------------


def sql_opening(directory: os.PathLike[str]) -> None:
    SQLiteQueue("jobs")
    SQLiteQueue(Path("jobs"), "urgent", True, 5, False, serializers.json, "own.db")
    SQLiteQueue(directory, maxsize=10, durability="process", on_corrupt="skip")
    SQLiteQueue(1)  # type: ignore[arg-type]
    SQLiteQueue("jobs", "urgent", False, 5, True, serializers.pickle, None, 10)  # type: ignore[call-arg]
    SQLiteAckQueue("jobs", False, "urgent", keep_acked=1000)
    SQLiteAckQueue("jobs", keep_acked="all")  # type: ignore[arg-type]
    same: SQLiteQueue[Job] = FIFOSQLiteQueue[Job]("jobs")
    filo: SQLiteQueue[Job] = FILOSQLiteQueue[Job]("jobs")
    unique: SQLiteQueue[Job] = UniqueQ[Job]("jobs")
    held: SQLiteAckQueue[Job] = FILOSQLiteAckQueue[Job]("jobs")
    held = UniqueAckQ[Job]("jobs")
    print(same, filo, unique, held)


def sql_items(q: SQLiteQueue[Job]) -> None:
    assert_type(q.put(Job("a")), int | None)
    assert_type(q.put(Job("b"), False, timeout=1.5), int | None)
    assert_type(q.put_nowait(Job("c")), int | None)
    assert_type(q.put_many(Job(url) for url in "de"), list[int | None])
    q.put("text")  # type: ignore[arg-type]
    q.put_many(["text"])  # type: ignore[list-item]
    assert_type(q.get(), Any)  # an item, or with raw=True a dict
    assert_type(q.get(timeout=1, id=3, raw=True), Any)
    assert_type(q.get_nowait(id="3"), Any)
    assert_type(q.get_many(3), list[Job])
    assert_type(q.peek(), Job)
    assert_type(iter(q), Iterator[Job])
    with q.process(timeout=2) as job:
        assert_type(job, Job)


def sql_rest(q: SQLiteQueue[Job], job: Job) -> None:
    q.task_done()
    q.task_done(3)
    q.task_done(item=job)
    q.join()
    q.sync()
    q.shrink_disk_usage()
    assert_type(q.update(job, 3), int)
    assert_type(q.update({"pqid": 3, "data": job}), int)
    assert_type(q.queue(), list[dict[str, Any]])
    assert_type(q.qsize(), int)
    assert_type(q.size, int)
    assert_type(q.total, int)
    assert_type(len(q), int)
    assert_type(q.unfinished_tasks, int)
    assert_type(q.skipped, int)
    with q as same:
        assert_type(same, SQLiteQueue[Job])


def acking(q: SQLiteAckQueue[Job], job: Job) -> None:
    assert_type(q.put(job), int | None)
    assert_type(q.get(id=3, next_in_order=True), Any)
    assert_type(q.ack(job), int | None)
    assert_type(q.ack(id=3), int | None)
    assert_type(q.ack_failed({"pqid": 3, "data": job}), int | None)
    assert_type(q.nack(job, to="back"), int | None)
    q.nack(job, None, "back")  # type: ignore[call-arg]
    q.resume_unack_tasks()
    assert_type(q.clear_acked_data(0, keep_latest=10), int)
    assert_type(q.unack_count() + q.acked_count() + q.ready_count(), int)
    assert_type(q.ack_failed_count() + q.active_size(), int)
    assert_type(AckStatus.acked, str)
    with q.process() as taken:
        assert_type(taken, Job)


def prioritising(q: PriorityQueue[Job]) -> None:
    assert_type(q.put(Job("a"), 3), int | None)
    assert_type(q.put(Job("b"), priority=-1, block=False), int | None)
    assert_type(q.put_many([Job("c")], priority=2, timeout=1), list[int | None])
    q.put(Job("d"), "high")  # type: ignore[arg-type]
    assert_type(q.get_nowait(raw=True), Any)
    assert_type(q.peek(), Job)


def mapping(d: PDict) -> None:
    PDict("settings")  # type: ignore[call-arg]
    as_mapping: MutableMapping[Any, Any] = PDict("settings", "main", serializer=serializers.json)
    d["colour"] = "blue"
    del d["colour"]
    assert_type(d["colour"], Any)
    assert_type(d.get("colour", "red"), Any)
    assert_type(d.pop("colour", None), Any)
    assert_type(d.setdefault("colour"), Any)
    d.update({"size": 3}, speed=1.5)
    assert_type("colour" in d, bool)
    assert_type(len(d), int)
    assert_type(iter(d), Iterator[Any])
    assert_type(list(d.items()), list[tuple[Any, Any]])
    assert_type(d.copy(), dict[Any, Any])
    with d as same:
        assert_type(same, PDict)
    print(as_mapping)


# -- SQLite with asyncio ------------------------------------------------------------


async def async_sql_opening(directory: os.PathLike[str]) -> None:
    AsyncSQLiteQueue("jobs.db", "urgent", serializers.json, False)
    AsyncSQLiteQueue(directory, maxsize=10, durability="process", timeout=5)
    AsyncSQLiteQueue(1)  # type: ignore[arg-type]
    assert_type(await AsyncSQLiteQueue[Job]("jobs.db"), AsyncSQLiteQueue[Job])
    assert_type(await AsyncSQLiteQueue[Job].create("jobs.db"), AsyncSQLiteQueue[Job])
    same: AsyncSQLiteQueue[Job] = AsyncFIFOSQLiteQueue[Job]("jobs.db")
    filo: AsyncSQLiteQueue[Job] = AsyncFILOSQLiteQueue[Job]("jobs.db")
    unique: AsyncSQLiteQueue[Job] = AsyncUniqueQ[Job]("jobs.db")
    async with AsyncSQLiteQueue[Job]("jobs.db") as q:
        assert_type(q, AsyncSQLiteQueue[Job])
    print(same, filo, unique)


async def async_sql_items(q: AsyncSQLiteQueue[Job], job: Job) -> None:
    assert_type(await q.put(job), int | None)
    assert_type(await q.put_nowait(job), int | None)
    assert_type(await q.put_many([job], timeout=2), list[int | None])
    await q.put("text")  # type: ignore[arg-type]
    q.put(job)  # type: ignore[unused-coroutine]
    assert_type(await q.get(), Any)
    assert_type(await q.get(id=3, raw=True), Any)
    assert_type(await q.get_many(3), list[Job])
    assert_type(await q.peek(), Job)
    async for each in q:
        assert_type(each, Job)
    async with q.process(timeout=2) as taken:
        assert_type(taken, Job)
    await q.task_done()
    assert_type(await q.update(job, 3), int)
    assert_type(await q.queue(), list[dict[str, Any]])
    assert_type(await q.qsize(), int)
    assert_type(q.size, int)
    assert_type(q.unfinished_tasks, int)
    await q.shrink_disk_usage()
    await q.aclose()


async def async_sql_kinds(acked: AsyncSQLiteAckQueue[Job], urgent: AsyncPriorityQueue[Job]) -> None:
    job = Job("a")
    assert_type(await acked.ack(job), int | None)
    assert_type(await acked.nack(id=3, to="back"), int | None)
    assert_type(await acked.ack_failed(job), int | None)
    assert_type(await acked.acked_count(), int)
    assert_type(await acked.clear_acked_data(), int)
    assert_type(await urgent.put(job, 3), int | None)
    await urgent.put(job, "high")  # type: ignore[arg-type]


async def async_mapping() -> None:
    async with AsyncPDict("settings.db", "main") as d:
        assert_type(d, AsyncPDict)
        await d.set("colour", "blue")
        assert_type(await d["colour"], Any)
        assert_type(await d.get("colour", "red"), Any)
        assert_type(await d.contains("colour"), bool)
        assert_type(await d.size(), int)
        assert_type(await d.items(), list[tuple[Any, Any]])
        async for key in d:
            assert_type(key, Any)
        await d.delete("colour")
        d["colour"] = "red"  # type: ignore[index]


def brokers(broker: Broker) -> None:
    jobs: BrokerQueue[Job] = broker.queue("jobs")
    assert_type(jobs.read(), Job | None)
    assert_type(jobs.get(), Job)
    assert_type(list(jobs.stream(50)), list[Job])
    assert_type(jobs.browse()[0].item, Job)
    assert_type(jobs.move_to("failed", 3), int | None)
    assert_type(jobs.move_to("failed", limit=3), list[int])
    assert_type(broker.transact(lambda tx: tx.queue("jobs").size()), int)
    jobs.write("job")  # type: ignore[arg-type]


async def async_brokers(broker: AsyncBroker) -> None:
    jobs: AsyncBrokerQueue[Job] = broker.queue("jobs")
    assert_type(await jobs.read(), Job | None)
    assert_type(await jobs.get(), Job)
    assert_type([job async for job in jobs.stream(50)], list[Job])
    async with jobs.process() as job:
        assert_type(job, Job)
    assert_type(await jobs.move_to("failed", 3), int | None)
    assert_type(await broker.transact(lambda tx: tx.queue("jobs").size()), int)
