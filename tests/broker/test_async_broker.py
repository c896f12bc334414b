"""Cancelled calls of an async broker, and tasks that share one."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from loops import eventually, in_loop
from turns import TURNS, turns

from persistqueue import AsyncBroker, AsyncEmpty, Broker


@in_loop
async def test_a_cancelled_call_loses_nothing(tmp_path: Path) -> None:
    """Whenever it is cancelled, an item was returned or is there."""
    async with AsyncBroker(tmp_path / "app.db", durability="process") as broker:
        tasks, got = broker.queue("tasks"), []
        await tasks.write_many(range(60))

        async def take(call: Any, *arguments: Any) -> None:
            got.append(await call(*arguments))

        for round_, number in enumerate(TURNS * 4):
            call = [(tasks.get,), (tasks.read,), (tasks.get, True, 5)][round_ % 3]
            task = asyncio.create_task(take(*call))
            await turns(number)
            task.cancel()
            await asyncio.wait([task])
        rest = await tasks.read_all()
        assert list(range(60)) == sorted(got + rest)
        assert sorted(rest) == rest


@in_loop
async def test_a_cancelled_move_happens_or_does_not(tmp_path: Path) -> None:
    """Whenever it is cancelled, each item is in one of the queues, with its id."""
    async with AsyncBroker(tmp_path / "app.db", durability="process") as broker:
        source, target = broker.queue("source"), broker.queue("target")
        ids = await source.write_many(range(100))
        for number in TURNS * 4:
            task = asyncio.create_task(source.move_to("target", limit=2))
            await turns(number)
            task.cancel()
            await asyncio.wait([task])
        there = {m.id: m.item for q in (source, target) for m in await q.browse(limit=None)}
        assert dict(zip(ids, range(100), strict=True)) == there
        assert 100 == await source.size() + await target.size()
        assert 0 == await target.size() % 2


@pytest.mark.parametrize("interval", [1, 3])
@in_loop
async def test_a_cancelled_stream_gives_the_rest_back(interval: int, tmp_path: Path) -> None:
    """What its body was through with is gone, and nothing is held."""
    async with AsyncBroker(tmp_path / "app.db", durability="process") as broker:
        tasks, done = broker.queue("tasks"), []
        await tasks.write_many(range(80))

        async def consume() -> None:
            async for item in tasks.stream(commit_interval=interval, follow=True):
                done.append(item)
                await asyncio.sleep(0)

        for number in TURNS * 3:
            task = asyncio.create_task(consume())
            await turns(number)
            task.cancel()
            await asyncio.wait([task])
            del task
        await eventually(lambda: not broker._store._out, "everything given back")
        rest = await tasks.read_all()
        assert set(range(80)) == set(done) | set(rest)
        if interval == 1:
            assert 80 == len(done) + len(rest)
        else:  # the one in hand when it was cancelled
            assert len(done) + len(rest) <= 80 + 3 * len(TURNS)
        assert sorted(rest) == rest
        assert 0 == (await broker.stats()).held


@in_loop
async def test_a_stream_goes_on_after_a_wait_that_was_given_up(tmp_path: Path) -> None:
    async with AsyncBroker(tmp_path / "app.db", durability="process") as broker:
        tasks = broker.queue("tasks")
        await tasks.write_many("ab")
        async with tasks.stream(commit_interval=2, follow=True) as stream:
            assert ["a", "b"] == [await stream.__anext__(), await stream.__anext__()]
            for _ in range(3):
                task = asyncio.ensure_future(stream.__anext__())
                await turns(3)
                task.cancel()
                await asyncio.wait([task])
                assert task.cancelled()
            await tasks.write("c")
            assert "c" == await asyncio.wait_for(stream.__anext__(), 5)
        assert ["c"] == await tasks.read_all()
        assert 0 == (await broker.stats()).held


@in_loop
async def test_tasks_that_share_a_stream_are_told_so(tmp_path: Path) -> None:
    """Otherwise the batch of one would take the place of another's, which nobody would get."""
    async with AsyncBroker(tmp_path / "app.db", durability="process") as broker:
        tasks = broker.queue("tasks")
        await tasks.write_many(range(10))
        got: list[int] = []
        stream = tasks.stream(commit_interval=3)

        async def consume() -> None:
            got.extend([item async for item in stream])

        outcomes = await asyncio.gather(*(consume() for _ in range(3)), return_exceptions=True)
        refused = [error for error in outcomes if error is not None]
        assert ["RuntimeError"] * 2 == [type(error).__name__ for error in refused]
        assert list(range(10)) == got
        assert (0, 0) == (await broker.stats())[1:3]


@in_loop
async def test_leaving_a_stream_needs_no_closing(tmp_path: Path) -> None:
    """``break`` is enough: the next call finds the rest in its place."""
    async with AsyncBroker(tmp_path / "app.db", durability="process") as broker:
        tasks = broker.queue("tasks")
        await tasks.write_many(range(10))
        async for item in tasks.stream(commit_interval=50):
            started = asyncio.create_task(broker.queue("log").write(item))
            await started  # a task that was started inside is no part of anything
            if item == 3:
                break
        assert list(range(3, 10)) == await tasks.read_all()


@in_loop
async def test_a_process_block_that_is_cancelled_gives_back(tmp_path: Path) -> None:
    async with AsyncBroker(tmp_path / "app.db", durability="process") as broker:
        tasks = broker.queue("tasks")
        await tasks.write("a")

        async def work() -> None:
            async with tasks.process():
                await asyncio.sleep(60)

        task = asyncio.create_task(work())
        await eventually(lambda: broker._store._out)
        await turns(3)
        task.cancel()
        await asyncio.wait([task])
        assert "a" == await tasks.read()


@in_loop
async def test_tasks_of_all_queues_share_commits(tmp_path: Path) -> None:
    """A hundred writes to ten queues are a few transactions."""
    async with AsyncBroker(tmp_path / "app.db") as broker:
        commits: list[int] = []
        commit = broker._store.commit
        broker._store.commit = lambda: (commits.append(1), commit())[1]  # type: ignore[method-assign]
        ids = await asyncio.gather(*(broker.queue(f"q{n % 10}").write(n) for n in range(100)))
        assert 100 == len(set(ids))
        assert len(commits) < 10


@in_loop
async def test_many_tasks_on_many_queues_lose_and_double_nothing(tmp_path: Path) -> None:
    """Writers, readers, streams and movers at random, some of them cancelled."""
    chance = random.Random(3)
    async with AsyncBroker(tmp_path / "app.db", durability="process") as broker:
        queues = [broker.queue(f"q{n}") for n in range(4)]
        written: set[int] = set()
        seen: list[int] = []

        async def write(first: int) -> None:
            for number in range(first, first + 25):
                written.add(number)
                await chance.choice(queues).write(number)

        async def read() -> None:
            while True:
                try:
                    seen.append(await chance.choice(queues).get(timeout=0.01))
                except AsyncEmpty:
                    await asyncio.sleep(0)

        async def move() -> None:
            while True:
                source, to = chance.sample(queues, 2)
                await source.move_to(to.name, limit=2)

        writers = [asyncio.create_task(write(n * 100)) for n in range(4)]
        others = [asyncio.create_task(call()) for call in (read, read, move)]
        await asyncio.wait(writers)
        for task in others:
            task.cancel()
        await asyncio.wait(others)
        rest = [item for queue in queues for item in await queue.read_all()]
    assert sorted(written) == sorted(seen + rest)


def test_a_broker_that_nobody_closed_gives_back(tmp_path: Path) -> None:
    """What a loop leaves behind is there for the next one."""

    async def leave() -> None:
        broker = AsyncBroker(tmp_path / "app.db", durability="process")
        await broker.queue("tasks").write_many(range(5))
        stream = broker.queue("tasks").stream(commit_interval=3)
        assert 0 == await anext(stream)
        broker.kept = stream, broker  # type: ignore[attr-defined]  # a cycle, as programs have

    asyncio.run(leave())
    import gc

    gc.collect()
    with Broker(tmp_path / "app.db", timeout=20) as broker:
        got: list[int] = []
        while len(got) < 5:
            got.append(broker.queue("tasks").get(timeout=20))
    assert [0, 1, 2, 3, 4] == sorted(got)


@in_loop
async def test_reading_does_not_wait_for_the_writer(tmp_path: Path) -> None:
    """A transaction that takes long does not hold up who looks."""
    async with AsyncBroker(tmp_path / "app.db", durability="process") as broker:
        await broker.queue("a").write(1)
        await broker.list_queues()
        free = threading.Event()
        slow = asyncio.create_task(
            broker.transact(lambda tx: (tx.queue("a").write(2), free.wait(20)))
        )
        await turns(5)
        assert 1 == await broker.queue("a").size()
        assert [1] == [m.item for m in await broker.queue("a").browse()]
        assert not slow.done()
        free.set()
        await slow
        assert 2 == await broker.queue("a").size()


class _Slow:
    """A serializer that says where it works, and takes its time there."""

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def dumps(self, item: Any) -> bytes:
        time.sleep(0.003)
        return str(item).encode()

    def loads(self, data: bytes) -> Any:
        self.threads.add(threading.get_ident())
        return data.decode()


@in_loop
async def test_the_loop_decodes_nothing_that_is_looked_at(tmp_path: Path) -> None:
    """However much it is, other tasks go on meanwhile."""
    for path in (tmp_path / "app.db", ":memory:"):
        slow = _Slow()
        async with AsyncBroker(path, serializer=slow, durability="process") as broker:
            tasks = broker.queue("tasks")
            await tasks.write_many("ab")
            assert ["a", "b"] == [message.item for message in await tasks.browse()]
            assert "a" == await tasks.peek()
            assert ["a", "b"] == await tasks.read_all(peek=True)
            assert ["a", "b"] == [item async for item in tasks.stream(peek=True)]
            assert ["a", "b"] == await tasks.read_all()
        assert slow.threads
        assert threading.get_ident() not in slow.threads


@in_loop
async def test_write_many_lets_others_have_their_turn(tmp_path: Path) -> None:
    ticks = 0
    seen: set[int] = set()  # when an item was encoded

    class Noting(_Slow):
        def dumps(self, item: Any) -> bytes:
            seen.add(ticks)
            return super().dumps(item)

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async with AsyncBroker(tmp_path / "app.db", serializer=Noting()) as broker:
        ticking = asyncio.create_task(tick())
        assert list(range(1, 51)) == await broker.queue("tasks").write_many(range(50))
        ticking.cancel()
    assert len(seen) > 25


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@in_loop
async def test_dumps_are_opened_and_closed_beside_the_loop(tmp_path: Path) -> None:
    """A pipe's opening waits for the other end, which opens when the loop has gone on."""
    loop, pipe, text = asyncio.get_running_loop(), tmp_path / "pipe", ""

    def other_end(turned: threading.Event, mode: str) -> tuple[bool, str]:
        went_on = turned.wait(10)
        with pipe.open(mode) as file:
            return went_on, str(file.write(text)) if mode == "w" else file.read()

    os.mkfifo(pipe)
    async with AsyncBroker(tmp_path / "app.db", durability="process") as broker:
        await broker.queue("a").write("ä")
        for call, mode in ((broker.dump, "r"), (broker.load, "w")):
            turned = threading.Event()
            other = loop.run_in_executor(None, other_end, turned, mode)
            loop.call_later(0.01, turned.set)
            assert 1 == await call(pipe)
            went_on, text = await other
            assert went_on
        assert ["ä", "ä"] == await broker.queue("a").read_all()
