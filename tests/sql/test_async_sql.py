"""The async SQLite classes: what the contract suite does not ask of them."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from interpreter import start
from loops import in_loop

from persistqueue import (
    AsyncEmpty,
    AsyncFIFOSQLiteAckQueue,
    AsyncFIFOSQLiteQueue,
    AsyncFILOSQLiteAckQueue,
    AsyncFILOSQLiteQueue,
    AsyncPDict,
    AsyncPriorityQueue,
    AsyncQueue,
    AsyncSQLiteAckQueue,
    AsyncSQLiteQueue,
    AsyncUniqueAckQ,
    AsyncUniqueQ,
    Empty,
    FormatError,
    PDict,
    QueueClosed,
    QueueCorrupt,
    QueueFailed,
    QueueLocked,
    SQLiteAckQueue,
    SQLiteQueue,
    serializers,
)

PLAIN = [AsyncFILOSQLiteQueue, AsyncPriorityQueue, AsyncSQLiteQueue, AsyncUniqueQ]
ACK = [AsyncFILOSQLiteAckQueue, AsyncSQLiteAckQueue, AsyncUniqueAckQ]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database's file, which does not exist yet."""
    return tmp_path / "jobs.db"


async def counts(q: Any) -> dict[str, int]:
    """Return every count of an ack queue that is not 0."""
    named = {
        "size": await q.qsize(), "unack": await q.unack_count(), "ready": await q.ready_count(),
        "acked": await q.acked_count(), "failed": await q.ack_failed_count(),
        "active": await q.active_size(),
    }  # fmt: skip
    return {name: count for name, count in named.items() if count}


# -- rows ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*PLAIN, *ACK])
def test_rows(kind: Any, file: Path) -> None:
    """Ids, raw dicts, update, queue() and shrinking, as of the sync classes."""

    async def main() -> None:
        async with kind(file, durability="process") as q:
            assert [1, 2, [3, 4]] == [
                await q.put("a"),
                await q.put_nowait("b"),
                await q.put_many("cd"),
            ]
            assert 2 == await q.update("B", 2)
            assert 99 == await q.update({"pqid": 99, "data": "x"})
            assert ["a", "B", "c", "d"] == [row["data"] for row in await q.queue()]
            assert "B" == await q.get(id=2)
            assert "c" == (await q.get_nowait(id="3", raw=True))["data"]
            for gone in (2, 99, 2**70):
                with pytest.raises(AsyncEmpty):
                    await q.get(id=gone)
            with pytest.raises(ValueError, match="id"):
                await q.get(id="1; DROP TABLE x")
            assert (2, 2, 2) == (await q.qsize(), q.size, q.total)
            await q.shrink_disk_usage()
            await q.sync()
            assert {"a", "d"} == set(await q.get_many(9))
        with pytest.raises(QueueClosed):
            await q.queue()

    asyncio.run(main())


def test_orders(file: Path) -> None:
    """Last in first out, the lowest priority first, no item twice."""

    async def main() -> None:
        async with AsyncFILOSQLiteQueue(file) as q:
            await q.put_many("abc")
            assert ["c", "b", "a"] == await q.get_many(9)
        async with AsyncPriorityQueue(file) as p:
            await p.put("low", 10)
            await p.put_many(["x", "y"], priority=5)
            await p.put_nowait("high", priority=1)
            assert ["high", "x", "y", "low"] == await p.get_many(9)
            with pytest.raises(TypeError, match="priority must be an int"):
                await p.put("a", "1")  # type: ignore[arg-type]
        async with AsyncUniqueQ(file) as u:
            assert [1, None] == [await u.put({"a": 1, "b": [2]}), await u.put({"b": [2], "a": 1})]

    asyncio.run(main())


def test_families_share_a_database(tmp_path: Path) -> None:
    """A sync and an async object of one name use one table, by file or by directory."""

    async def main() -> None:
        async with AsyncSQLiteQueue(tmp_path / "jobs.db") as q:
            with SQLiteQueue(tmp_path / "jobs.db") as other:
                await q.put("a")
                assert "a" == other.get()
        SQLiteQueue(tmp_path / "dir").close()
        async with AsyncSQLiteQueue(tmp_path / "dir") as q:
            getter = asyncio.create_task(q.get())
            with SQLiteQueue(tmp_path / "dir") as other:
                await asyncio.to_thread(other.put, "b")
                assert "b" == await asyncio.wait_for(getter, 20)
        with pytest.raises(FileNotFoundError):
            await AsyncSQLiteQueue.create(tmp_path / "no" / "parents.db")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("kind", "table"),
    [(AsyncSQLiteQueue, "queue"), (AsyncFILOSQLiteQueue, "filo_queue"), (AsyncUniqueQ, "unique_queue")],
)  # fmt: skip
def test_the_old_layout_is_adopted(kind: Any, table: str, file: Path) -> None:
    """A file that 1.1.0's async class wrote goes on."""
    with sqlite3.connect(file) as connection:
        connection.execute(
            f"CREATE TABLE {table} (_id INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB, timestamp FLOAT)"
        )
        data = serializers.pickle.dumps("old")
        connection.execute(f"INSERT INTO {table} (data, timestamp) VALUES (?, 1.0)", (data,))
    connection.close()

    async def main() -> None:
        async with kind(file) as q:
            assert 2 == await q.put("new")
            assert {"old", "new"} == set(await q.get_many(9))

    asyncio.run(main())


def test_damage_and_strangers(file: Path) -> None:
    """QueueCorrupt names the row; a file that is no database is refused."""

    async def main() -> None:
        async with AsyncSQLiteQueue(file) as q:
            await q.put("a")
            await q._conn.execute("UPDATE queue_default SET data = x'00'")
            with pytest.raises(QueueCorrupt, match="queue_default, record 1"):
                await q.get()
        async with AsyncSQLiteQueue(file, on_corrupt="skip") as q:
            with pytest.raises(Empty):
                await q.get(block=False)
            assert 1 == q.skipped
        other = file.with_name("text")
        other.write_text("no database" * 1000)
        with pytest.raises(FormatError):
            await AsyncSQLiteQueue(other)

    asyncio.run(main())


def test_async_pickle_is_pickle(file: Path) -> None:
    """The serializer with coroutine functions that is passed by name stores the same bytes."""

    async def main() -> None:
        async with AsyncSQLiteQueue(file, serializer=serializers.async_pickle) as q:
            await q.put({"a": 1})
        async with AsyncSQLiteQueue(file) as q:
            assert {"a": 1} == await q.get()

    asyncio.run(main())


def test_names() -> None:
    """Aliases are the classes that they stand for."""
    assert AsyncFIFOSQLiteQueue is AsyncSQLiteQueue
    assert AsyncFIFOSQLiteAckQueue is AsyncSQLiteAckQueue


def test_memory_and_several_runs(file: Path) -> None:
    """A queue in memory; one object under several asyncio.run; a connection that is aiosqlite's."""
    q: AsyncSQLiteQueue[str] = AsyncSQLiteQueue(file)
    assert q._conn is None
    for n in range(3):
        asyncio.run(q.put(str(n)))  # type: ignore[arg-type]

    async def main() -> None:
        assert (3,) == await (
            await q._conn.execute("SELECT COUNT(*) FROM queue_default")
        ).fetchone()
        assert ["0", "1", "2"] == await q.get_many(9)
        await q.close()
        assert q._conn is None
        async with AsyncSQLiteQueue(":memory:") as m:
            await m.put(1)
            assert [1] == [row["data"] for row in await m.queue()]
            await m.shrink_disk_usage()
            assert 1 == await m.get()

    asyncio.run(main())


@pytest.mark.parametrize("kind", [*PLAIN, *ACK])
@in_loop
async def test_opening_a_queue_in_memory_again_does_nothing(kind: Any) -> None:
    """After create, a call, or an opening at the same time: what was put and taken is known."""
    created, called = await kind.create(":memory:"), kind(":memory:")
    for q in (created, called):
        await q.put_many("ab")
        taken = await q.get()
        await asyncio.gather(q._opened(), q._opened())
        assert q is await q
        async with q:
            assert 1 == await q.qsize()
            assert {"a", "b"} == {taken, await q.get()}


@in_loop
async def test_opening_a_dict_in_memory_again_does_nothing() -> None:
    """What was set is there."""
    d = AsyncPDict(":memory:", "d")
    await d.set("a", 1)
    async with d:
        assert 1 == await d["a"]


@in_loop
async def test_opening_after_a_failure_opens_anew(file: Path) -> None:
    """A queue whose file was away for a moment is opened anew; what is in hand stays in hand."""
    q = await AsyncSQLiteQueue.create(file, auto_commit=False)
    await q.put_many("ab")
    item = await q.get()
    os.rename(file, f"{file}.away")
    with pytest.raises(QueueFailed, match="removed or replaced"):
        await q.qsize()
    os.rename(f"{file}.away", file)
    before = q._store.conn.driver
    async with q:
        assert before is not q._store.conn.driver
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            before.execute("SELECT 1")
        (other,) = await q.get_many(9)
        await q.task_done(item=item)
        assert ["b"] == [row["data"] for row in await q.queue()]
        await q.task_done(item=other)
        assert 0 == await q.qsize() == len(await q.queue())


@in_loop
async def test_the_path_rule_holds_at_the_first_call(tmp_path: Path) -> None:
    """What is a directory by then holds the database, and workers find each other's files."""
    q, k = AsyncSQLiteQueue[str](tmp_path / "jobs"), AsyncSQLiteAckQueue[str](tmp_path / "jobs")
    d = AsyncPDict(tmp_path / "jobs", "d")
    with SQLiteQueue[str](tmp_path / "jobs") as other:
        other.put("a")
        assert "a" == await q.get()
        await d.set("k", 1)
        await k.put("b")
        await k.get()
        owners = [name for name in os.listdir(tmp_path / "jobs") if "owner" in name]
        assert [f"data.db-owner-{k._store._owner.name}"] == owners
    for each in (q, k, d):
        await each.close()


@pytest.mark.parametrize("kind", [AsyncQueue, AsyncPDict, *PLAIN, *ACK])
def test_a_constructor_leaves_the_file_system_alone(
    kind: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may run on the event loop, where nothing may wait for a disk."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the file system was asked")

    with monkeypatch.context() as patches:
        for name in ("stat", "lstat", "open", "mkdir", "readlink", "listdir", "scandir"):
            patches.setattr(os, name, refuse)
        for name in ("isfile", "isdir", "exists", "islink", "realpath"):
            patches.setattr(os.path, name, refuse)
        q = kind(file, *(["d"] if kind is AsyncPDict else []))
    asyncio.run(q.close())


@pytest.mark.parametrize("kind", [*PLAIN, *ACK])
@in_loop
async def test_rows_in_memory_while_it_is_closed(kind: Any) -> None:
    """queue() returns them, or says that the queue is closed."""
    for _ in range(20):
        q = await kind.create(":memory:")
        await q.put("a")
        before, _, after = await asyncio.gather(
            q.queue(), q.close(), q.queue(), return_exceptions=True
        )
        assert isinstance(before, QueueClosed) or ["a"] == [row["data"] for row in before]
        assert isinstance(after, QueueClosed)


@in_loop
async def test_a_bare_task_done_leaves_other_tasks_their_items(file: Path) -> None:
    """Bare or with a number it is for the caller's own; for what ended tasks took when that
    is nothing; for everybody's when that is nothing, too."""

    async def rows() -> list[str]:
        return [row["data"] for row in await q.queue()]

    async def hold(taken: asyncio.Event, go_on: asyncio.Event) -> None:
        await q.get()
        taken.set()
        await go_on.wait()

    taken, go_on = asyncio.Event(), asyncio.Event()
    async with AsyncSQLiteQueue[str](file, auto_commit=False) as q:
        await q.put_many("abcde")
        await asyncio.create_task(q.get())
        other = asyncio.create_task(hold(taken, go_on))
        await taken.wait()
        await q.get_many(2)
        await q.task_done(1)
        assert ["a", "b", "d", "e"] == await rows()
        await q.task_done()
        assert ["a", "b", "e"] == await rows()
        await q.task_done()
        assert ["b", "e"] == await rows()
        await q.task_done()
        assert ["e"] == await rows()
        go_on.set()
        await other


# -- ack ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ACK)
def test_acks(kind: Any, file: Path) -> None:
    """Every way an item can go, and that the second time changes nothing."""

    async def main() -> None:
        async with kind(file, durability="process") as q:
            await q.put_many([{"n": 1}, {"n": 2}, {"n": 3}])
            a, b, c = await q.get_many(3)
            assert await q.ack({"n": a["n"]}) == a["n"]
            assert await q.nack(b) == b["n"]
            assert await q.ack_failed({"pqid": c["n"]}) == c["n"]
            for verb in (q.ack, q.nack, q.ack_failed):
                assert [None, None, None] == [await verb(item) for item in (a, c, "unknown")]
            assert {"size": 1, "ready": 1, "acked": 1, "failed": 1, "active": 1} == await counts(q)
            assert c["n"] == await q.nack(id=c["n"])
            again = await q.get(raw=True)
            assert again["data"] in (b, c)
            await q.nack(again, to="back")
            async with q.process() as item:
                assert item in (b, c)
            assert {"size": 1, "ready": 1, "acked": 2, "active": 1} == await counts(q)
            assert 1 == await q.clear_acked_data(keep_latest=1)
            await q.task_done(item=await q.get())
            await q.join()
            assert [5, 5] == [row["status"] for row in await q.queue()]
            with pytest.raises(ValueError, match="needs the 'id'"):
                await q.get(next_in_order=True)

    asyncio.run(main())


def test_items_that_look_like_something_else(file: Path) -> None:
    """None, and a dict with a key "pqid", are items; an id that is not there is named."""

    async def main() -> None:
        async with AsyncSQLiteAckQueue[Any](file) as q:
            assert [1, 2, 3] == await q.put_many([{"pqid": 2}, None, "last"])
            first, nothing, _ = await q.get_many(3)
            assert [1, 2] == [await q.ack(first), await q.nack(nothing)]
            assert 3 == await q.ack_failed({"pqid": 3})
            assert await q.ack({"pqid": 2, "data": None}) is None
            assert 2 == await q.update({"pqid": 1, "data": 1}, id=2)
            assert {"pqid": 1, "data": 1} == await q.get()
            with pytest.raises(ValueError, match="one of the two"):
                await q.ack()
            with pytest.raises(AsyncEmpty, match="no row with the id 99"):
                await q.get(id=99)
            await q.resume_unack_tasks()
            assert 2 == (await q.get(raw=True, id=3, next_in_order=True))["pqid"]

    asyncio.run(main())


def test_a_resume_that_fails_changes_nothing(file: Path) -> None:
    """What was held can still be acked."""

    async def main() -> None:
        async with AsyncSQLiteAckQueue[str](file, timeout=0) as q:
            await q.put("a")
            item = await q.get()
            with closing(sqlite3.connect(file, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(QueueLocked):
                    await q.resume_unack_tasks()
            assert 1 == await q.ack(item)

    asyncio.run(main())


def test_the_living_keep_what_they_hold(file: Path) -> None:
    """A second object takes nothing from the first; what a closed one held comes again."""

    async def main() -> None:
        async with AsyncSQLiteAckQueue(file) as a:
            await a.put_many("xyz")
            held = await a.get()
            async with AsyncSQLiteAckQueue(file) as b:
                assert {"size": 2, "unack": 1, "active": 3} == await counts(b)
                assert "y" == await b.get()
                await b.resume_unack_tasks()
                assert "y" == await b.get(id=1, next_in_order=True)
            with SQLiteAckQueue(file) as c:
                assert ["y", "z"] == c.get_many(9)
            assert 1 == await a.ack(held)

    asyncio.run(main())


# -- dict ---------------------------------------------------------------------------


def test_dict(file: Path) -> None:
    """The methods of a dict as coroutines, on the table of PDict."""

    async def main() -> None:
        async with AsyncPDict(file, "d") as d:
            await d.set("a", 1)
            await d.update({"b": 2}, c=3)
            assert (1, 9, None) == (await d["a"], await d.get("z", 9), await d.get("z"))
            assert (3, True, False) == (
                await d.size(),
                await d.contains("a"),
                await d.contains("z"),
            )
            assert ["a", "b", "c"] == await d.keys() == [key async for key in d]
            assert ([1, 2, 3], ("c", 3)) == (await d.values(), await d.popitem())
            assert (2, 0, 5) == (await d.pop("b"), await d.pop("b", 0), await d.setdefault("e", 5))
            assert {"a": 1, "e": 5} == await d.copy() == dict(await d.items())
            for call in (d.__getitem__, d.pop, d.delete):
                with pytest.raises(KeyError, match="not exists"):
                    await call("z")
            with PDict(file, "d") as sync:
                assert {"a": 1, "e": 5} == sync
            await d.delete("a")
            await d.clear()
            assert 0 == await d.size()
            await d.sync()
            await d.shrink_disk_usage()
            with pytest.raises(KeyError, match="empty"):
                await d.popitem()
        with pytest.raises(QueueClosed):
            await d.get("a")
        assert isinstance(await AsyncPDict.create(":memory:", "m"), AsyncPDict)

    asyncio.run(main())


def test_a_dict_that_is_closed_under_calls(file: Path) -> None:
    """Close finishes the calls that are under way."""

    async def main() -> None:
        d = await AsyncPDict.create(file, "d")
        calls = [asyncio.ensure_future(d.set(str(n), n)) for n in range(5)]
        await asyncio.sleep(0)
        await asyncio.gather(d.close(), *calls)
        async with AsyncPDict(file, "d") as again:
            assert {str(n): n for n in range(5)} == await again.copy()

    asyncio.run(main())


@in_loop
async def test_callers_that_put_one_after_another_share_each_commit(file: Path) -> None:
    """The one whose op went first alone goes with the others from then on."""
    statements: list[str] = []
    async with AsyncSQLiteQueue[int](file) as q:

        async def put_five() -> None:
            for n in range(5):
                await q.put(n)

        q._store.conn.driver.set_trace_callback(statements.append)
        await asyncio.gather(*(put_five() for _ in range(10)))
        assert 50 == await q.qsize()
    assert 6 == statements.count("COMMIT")


# -- cancellation -------------------------------------------------------------------


def test_a_pop_that_is_cancelled_under_a_close_puts_the_key_back(file: Path) -> None:
    """Close waits for what a cancelled pop has to put back."""

    async def main() -> None:
        for turns in range(12):
            d = await AsyncPDict.create(file, "d", durability="process")
            await d.set("a", 1)
            pop = asyncio.create_task(d.pop("a"))
            await asyncio.sleep(0)
            close = asyncio.create_task(d.close())
            for _ in range(turns):
                await asyncio.sleep(0)
            pop.cancel()
            await close
            await asyncio.wait([pop])
            async with AsyncPDict(file, "d") as again:
                assert ({"a": 1} if pop.cancelled() else {}) == await again.copy()

    asyncio.run(main())


def test_pops_that_are_cancelled_beside_a_close_are_back_when_it_ends(file: Path) -> None:
    """What calls took that were cancelled is stored when ``close`` returns."""

    async def main() -> None:
        for turns in [0, 1, 2, 3, 4, 5] * 8:
            d = await AsyncPDict.create(file, "d", durability="process")
            await d.clear()
            await d.update(dict.fromkeys("abcdefgh", 1))
            pops = [asyncio.create_task(d.pop(key)) for key in "abcdefgh"]
            for _ in range(turns // 2):
                await asyncio.sleep(0)
            close = asyncio.create_task(d.close())
            for _ in range(turns):
                await asyncio.sleep(0)
            for pop in pops[1::2]:
                pop.cancel()
            await close
            came = await asyncio.gather(*pops, return_exceptions=True)
            got = {key for key, value in zip("abcdefgh", came, strict=True) if value == 1}
            async with AsyncPDict(file, "d") as again:
                assert set("abcdefgh") - got == set(await again.keys())

    asyncio.run(main())


def test_a_cancelled_pop_puts_the_key_back(file: Path) -> None:
    """A pop or popitem that is cancelled in flight loses no value."""

    async def main() -> None:
        async with AsyncPDict(file, "d", durability="process") as d:
            got: dict[Any, Any] = {}

            async def take(n: int) -> None:
                if n % 2:
                    got.update([await d.popitem()])
                elif (value := await d.pop(n, None)) is not None:
                    got[n] = value

            await d.update({n: str(n) for n in range(60)})
            for n in range(60):
                task = asyncio.create_task(take(n))
                for _ in range(n % 5):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
            left = await d.copy()
        assert {n: str(n) for n in range(60)} == {**got, **left}
        assert 60 == len(got) + len(left)

    asyncio.run(main())


@pytest.mark.parametrize("end", ["coroutine", "loop"])
def test_a_destroyed_pop_puts_the_key_back(file: Path, end: str) -> None:
    """A pop or popitem that is destroyed in flight loses no value, whoever uses the dict next."""

    async def closed(d: AsyncPDict, n: int) -> None:
        pop = d.pop("a") if n % 2 else d.popitem()
        pop.send(None)
        for _ in range(n // 2):
            await asyncio.sleep(0.001)
        pop.close()
        await d.contains("a")
        assert ("a", n) in await d.items()

    async def left(d: AsyncPDict, n: int) -> None:
        await d.set("a", n)
        tasks.append(asyncio.create_task(d.pop("a") if n % 2 else d.popitem()))
        await asyncio.sleep(0)

    async def found(d: AsyncPDict) -> Any:
        async with d:
            await d.contains("a")
            return await d.copy()

    for n in range(12):
        d, tasks = AsyncPDict(file, "d", durability="process"), []
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)  # that a task is destroyed is the case here
        if end == "coroutine":
            loop.run_until_complete(d.set("a", n))
            loop.run_until_complete(closed(d, n))
        else:
            loop.run_until_complete(left(d, n))
        loop.close()
        tasks.clear()
        gc.collect()
        assert {"a": n} == asyncio.run(found(d))


def test_a_long_update_lets_the_loop_turn(file: Path) -> None:
    """While the values of an update are encoded, other tasks get their turns."""
    made: list[Any] = []

    class Slow:
        def dumps(self, value: Any) -> bytes:
            time.sleep(0.002)
            made.append(value)
            return b"%d" % value

        def loads(self, data: bytes) -> Any:
            return int(data)

    async def main() -> None:
        async with AsyncPDict(file, "d", serializer=Slow()) as d:
            update, seen = asyncio.create_task(d.update({n: n for n in range(100)})), [0]
            while not update.done():
                await asyncio.sleep(0)
                seen.append(len(made))
            assert 100 == await d.size()
        assert 20 > max(after - before for before, after in itertools.pairwise(seen))

    asyncio.run(main())


@pytest.mark.parametrize("auto_commit", [True, False])
@pytest.mark.parametrize("kind", [*PLAIN, AsyncSQLiteAckQueue])
def test_cancelled_calls_lose_nothing(kind: Any, file: Path, auto_commit: bool) -> None:
    """Delivered and still stored together are what was put, over hundreds of cancelled gets."""
    if kind is AsyncSQLiteAckQueue:
        if not auto_commit:
            pytest.skip("an ack queue always commits")
        options: dict[str, Any] = {}
    else:
        options = {"auto_commit": auto_commit}

    async def main() -> None:
        got: list[int] = []
        async with kind(file, durability="process", **options) as q:

            async def consume() -> None:
                got.extend(await q.get_many(random.randrange(1, 4)))

            for n in range(120):
                await q.put_many(range(n * 5, n * 5 + 5))
                tasks = [asyncio.create_task(consume()) for _ in range(4)]
                for _ in range(random.randrange(4)):
                    await asyncio.sleep(0)
                for task in random.sample(tasks, 2):
                    task.cancel()
                await asyncio.sleep(random.choice([0, 0.0005]))
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            left = await q.get_many(10_000) if await q.qsize() else []
        assert Counter(range(600)) == Counter([*got, *left])

    asyncio.run(main())


def test_the_end_of_a_run_loses_nothing(file: Path) -> None:
    """asyncio.run ends in the middle of gets: what they took is there in the next run."""
    q: Any = AsyncSQLiteQueue(file, durability="process")
    got: list[int] = []

    async def one(n: int) -> None:
        await q.put_many(range(n * 3, n * 3 + 3))

        async def consume() -> None:
            got.append(await q.get())

        tasks = [asyncio.create_task(consume()) for _ in range(5)]
        for _ in range(n % 4):
            await asyncio.sleep(0)
        del tasks

    for n in range(100):
        asyncio.run(one(n))

    async def rest() -> list[int]:
        found: list[int] = await q.get_many(1000) if await q.qsize() else []
        await q.close()
        return found

    assert Counter(range(300)) == Counter([*got, *asyncio.run(rest())])


@pytest.mark.parametrize(
    ("kind", "options"), [(AsyncSQLiteQueue, {}), (AsyncQueue, {"autosave": True})]
)
@in_loop
async def test_cancelled_gets_leave_nothing_behind(kind: Any, options: Any, file: Path) -> None:
    """A get that is cancelled on its way, where nothing is to be taken, is forgotten."""
    async with kind(file, durability="process", **options) as q:
        for _ in range(50):
            task = asyncio.create_task(q.get())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await q.put("a")
        assert "a" == await q.get()
        assert not q._session._unclaimed
        assert not q._session._abandoned


# -- processes ----------------------------------------------------------------------

_FORGETS = """
import asyncio, sys
from persistqueue import AsyncPDict, AsyncSQLiteAckQueue, AsyncSQLiteQueue
async def main():
    q = AsyncSQLiteQueue(sys.argv[1])
    for n in range(10):
        await q.put(n)
    asyncio.create_task(AsyncSQLiteQueue(sys.argv[1], "other").get())
    await AsyncPDict(sys.argv[1], "dict").set("a", 1)
    await AsyncSQLiteAckQueue(sys.argv[1], "acks").put("b")
    await asyncio.sleep(0.05)
    globals()["kept"] = q
    import time
    print(time.time())
asyncio.run(main())
"""


def test_a_program_that_forgets_to_close_ends_at_once(file: Path) -> None:
    """It does not hang on aiosqlite's thread, and nothing is lost."""
    done = start(_FORGETS, file)
    ended = time.time()
    assert 0 == done.returncode, done.stderr
    assert ended - float(done.stdout) < 10  # 0.1 s, 0.6 s at the worst on a busy machine
    with SQLiteQueue(file) as q:
        assert list(range(10)) == q.get_many(99)


def test_without_aiosqlite(file: Path) -> None:
    """Asking for an async class names the extra; the sync ones need nothing."""
    code = """
import persistqueue
persistqueue.SQLiteQueue
try:
    persistqueue.AsyncSQLiteQueue
except ImportError as error:
    print(ascii(str(error)))
"""
    done = start(code, without=("aiosqlite",))
    assert 'pip install "persist-queue[async]"' in done.stdout
    assert (
        0 == subprocess.run([sys.executable, "-c", "import persistqueue"], check=False).returncode
    )
