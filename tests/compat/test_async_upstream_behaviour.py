"""What persist-queue 1.1.0 promised of its AsyncQueue, in the order of its own tests.

Differences that are wanted: a record that cannot be decoded raises QueueCorrupt, where
upstream raised Empty and dropped it; a bare ``task_done`` finishes one item.
"""
# ruff: noqa: ASYNC240 - these loops serve one test each, and may wait for a file

from __future__ import annotations

import asyncio
import os
import shutil
import time
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, patch

import pytest
from loops import in_loop, parked

from persistqueue import AsyncQueue, Empty, Full, QueueCorrupt, serializers

OPTIONS: dict[str, dict[str, Any]] = {"default": {}} | {
    name: {"serializer": getattr(serializers, name)}
    for name in ("pickle", "msgpack", "cbor2", "json", "async_pickle")
}
each_serializer = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def chunk(path: Path, number: int = 0) -> Path:
    """Return the file of a chunk."""
    return path / f"q{number:05d}"


# -- put and get --------------------------------------------------------------------


@each_serializer
@in_loop
async def test_one_item_goes_in_and_out(path: Path, options: dict[str, Any]) -> None:
    """``empty`` and ``qsize`` follow a put, a get and a task_done."""
    async with AsyncQueue[str](path, **options) as queue:
        assert (True, 0) == (await queue.empty(), await queue.qsize())
        await queue.put("only")
        assert (False, 1) == (await queue.empty(), await queue.qsize())
        assert "only" == await queue.get()
        await queue.task_done()
        assert (True, 0) == (await queue.empty(), await queue.qsize())


@each_serializer
@in_loop
async def test_items_come_out_in_their_order(path: Path, options: dict[str, Any]) -> None:
    """Items over several chunks come out as they went in, over a reopening."""
    async with AsyncQueue[int](path, chunksize=2, **options) as queue:
        for number in range(9):
            await queue.put(number)
        assert 9 == await queue.qsize()
        assert 0 == await queue.get()
        await queue.task_done()
    async with AsyncQueue[int](path, chunksize=2, **options) as queue:
        assert list(range(1, 9)) == [await queue.get() for _ in range(8)]
        assert await queue.empty()


@pytest.mark.parametrize("chunksize", [1, 1000])
@in_loop
async def test_chunks_may_be_small_or_large(path: Path, chunksize: int) -> None:
    """Five hundred items pass, with one chunk for each or one for all."""
    async with AsyncQueue[int](path, chunksize=chunksize, durability="process") as queue:
        for number in range(500):
            await queue.put(number)
        assert 500 == await queue.qsize()
        assert chunk(path, 499).exists() is (chunksize == 1)
        for number in range(500):
            assert number == await queue.get()
            await queue.task_done()
        await queue.join()
    assert not chunk(path, 498).exists()


@in_loop
async def test_none_is_an_item(path: Path) -> None:
    """None goes in and comes out like any other, waited for or not."""
    async with AsyncQueue[Any](path) as queue:
        for item in (None, "string", None):
            await queue.put(item)
        assert [None, "string"] == [await queue.get(), await queue.get_nowait()]
        assert await queue.get(timeout=1) is None
        for _ in range(3):
            await queue.task_done()
        waiting = asyncio.create_task(queue.get())
        await parked(queue, 1)
        await queue.put(None)
        assert await waiting is None


@in_loop
async def test_what_pickle_takes_comes_back_equal(path: Path) -> None:
    """Nested lists, dicts, sets and tuples come back equal."""
    item = {"list": [1, [2]], "set": {1, 2}, "tuple": (1, (2,)), "dict": {"a": {"b": [{}]}}}
    async with AsyncQueue[Any](path) as queue:
        await queue.put(item)
        assert item == await queue.get()


@in_loop
async def test_producers_and_consumers_share_an_object(path: Path) -> None:
    """What three producers put three consumers get, each item once, and join returns."""
    async with AsyncQueue[Any](path, chunksize=4, durability="process") as queue:
        got: list[Any] = []

        async def produce(name: int) -> None:
            for number in range(10):
                await queue.put((name, number))

        async def consume() -> None:
            for _ in range(10):
                got.append(await queue.get())
                await queue.task_done()

        await asyncio.gather(*map(produce, range(3)), *(consume() for _ in range(3)))
        await queue.join()
        assert [(name, number) for name in range(3) for number in range(10)] == sorted(got)


# -- bounds and timeouts ------------------------------------------------------------


@in_loop
async def test_a_full_queue_refuses_or_waits(path: Path) -> None:
    """At ``maxsize`` a put raises Full at once or in time; after a get there is room."""
    async with AsyncQueue[int](path, maxsize=2) as queue:
        await queue.put(1)
        assert await queue.full() is False
        await queue.put_nowait(2)
        assert await queue.full() is True
        with pytest.raises(Full):
            await queue.put_nowait(3)
        with pytest.raises(Full):
            await queue.put(3, block=False)
        before = time.monotonic()
        with pytest.raises(Full):
            await queue.put(3, timeout=0.03)
        assert 0.03 <= time.monotonic() - before < 5
        assert 1 == await queue.get()
        await queue.put(3, timeout=10)
        assert [2, 3] == await queue.get_many(9)


@pytest.mark.parametrize("maxsize", [0, -1])
@in_loop
async def test_zero_or_less_is_no_bound(path: Path, maxsize: int) -> None:
    """Without a bound a queue takes what comes and is never full."""
    async with AsyncQueue[int](path, maxsize=maxsize) as queue:
        for number in range(10):
            await queue.put_nowait(number)
        assert (10, False) == (await queue.qsize(), await queue.full())


@in_loop
async def test_an_empty_queue_refuses_or_waits(path: Path) -> None:
    """A get of nothing raises Empty at once or in time, and works when there is something."""
    async with AsyncQueue[str](path) as queue:
        with pytest.raises(Empty):
            await queue.get_nowait()
        with pytest.raises(Empty):
            await queue.get(block=False)
        before = time.monotonic()
        with pytest.raises(Empty):
            await queue.get(timeout=0.03)
        assert 0.03 <= time.monotonic() - before < 5
        await queue.put("item")
        assert "item" == await queue.get(timeout=10)
        await queue.put("item")
        assert "item" == await queue.get(timeout=0)


@in_loop
async def test_a_negative_timeout_is_a_value_error(path: Path) -> None:
    """``timeout=-1`` raises whether or not the call would have to wait, and does nothing."""
    async with AsyncQueue[str](path) as queue:
        with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
            await queue.get(timeout=-1.0)
        with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
            await queue.put("item", timeout=-1.0)
        assert await queue.empty()
        await queue.put("item")
        with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
            await queue.get(timeout=-1.0)
        assert "item" == await queue.get()


# -- task_done and join -------------------------------------------------------------


@in_loop
async def test_join_waits_for_the_last_task_done(path: Path) -> None:
    """``join`` returns with the last ``task_done``, not with the last get."""
    async with AsyncQueue[int](path) as queue:
        await queue.put_many(range(3))
        joining = asyncio.create_task(queue.join())
        assert [0, 1, 2] == [await queue.get() for _ in range(3)]
        await queue.task_done()
        await queue.task_done()
        await parked(queue, 1)
        assert (False, 1) == (joining.done(), queue.unfinished_tasks)
        await queue.task_done()
        await joining
        assert 0 == queue.unfinished_tasks


@in_loop
async def test_task_dones_at_the_same_time(path: Path) -> None:
    """Five task_dones at once finish five items, and a sixth is too many."""
    async with AsyncQueue[int](path) as queue:
        await queue.put_many(range(5))
        assert list(range(5)) == [await queue.get() for _ in range(5)]
        await asyncio.gather(*(queue.task_done() for _ in range(5)))
        await queue.join()
        with pytest.raises(ValueError, match="called too many times"):
            await queue.task_done()
    async with AsyncQueue[int](path) as queue:
        assert await queue.empty()


@pytest.mark.parametrize("autosave", [False, True])
@in_loop
async def test_autosave_tells_what_comes_again(path: Path, autosave: bool) -> None:
    """Without autosave an item that was got and not done comes again, with it not."""
    async with AsyncQueue[str](path, autosave=autosave) as queue:
        await queue.put_many(["first", "second"])
        assert "first" == await queue.get()
    async with AsyncQueue[str](path, autosave=autosave) as queue:
        assert "second" if autosave else "first" == await queue.get()


# -- damage -------------------------------------------------------------------------


@pytest.mark.parametrize("junk", [b"corrupted_data", b"", b"\x80\x04"], ids=repr)
@in_loop
async def test_an_undecodable_record_is_never_emptiness(path: Path, junk: bytes) -> None:
    """A chunk that was overwritten raises QueueCorrupt, not Empty, and loses no other item."""
    async with AsyncQueue[str](path, chunksize=1) as queue:
        await queue.put_many(["spoilt", "whole"])
        Path(queue._qfile(0)).write_bytes(junk)
        for _ in range(2):
            with pytest.raises(QueueCorrupt, match="q00000"):
                await queue.get(timeout=5)
    async with AsyncQueue[str](path, on_corrupt="skip") as queue:
        assert "whole" == await queue.get(timeout=5)


@in_loop
async def test_a_directory_that_was_removed_is_a_new_queue(path: Path) -> None:
    """Opened again after its directory was removed, a queue is empty, and usable."""
    queue = AsyncQueue[str](path)
    await queue.put("gone")
    await queue.close()
    shutil.rmtree(path)
    queue = AsyncQueue(path)
    with pytest.raises(Empty):
        await queue.get_nowait()
    await queue.put("new")
    assert "new" == await queue.get()
    await queue.close()


# -- the inside ---------------------------------------------------------------------


@in_loop
async def test_headf_and_tailf_are_there_while_it_is_open(path: Path) -> None:
    """Both are None before the queue is open and after it is closed, with items or without."""
    queue = AsyncQueue[str](path)
    assert (None, None) == (queue.headf, queue.tailf)
    async with queue:
        await queue.put("item")
        assert queue.headf is not None
        assert queue.tailf is not None
        assert (False, False) == (queue.headf.closed, queue.tailf.closed)
    assert (None, None) == (queue.headf, queue.tailf)


@in_loop
async def test_closing_what_was_never_used_does_nothing(path: Path) -> None:
    """``close`` before the first use raises nothing and creates nothing."""
    queue = AsyncQueue[str](path)
    await queue.close()
    assert (None, None, False) == (queue.headf, queue.tailf, path.exists())


@in_loop
async def test_qfile_names_the_chunks(path: Path) -> None:
    """``_qfile`` returns the path of a chunk by its number."""
    async with AsyncQueue[str](path, chunksize=1) as queue:
        await queue.put_many("ab")
        assert [str(chunk(path, number)) for number in (0, 1)] == [queue._qfile(n) for n in (0, 1)]
        assert all(os.path.exists(queue._qfile(number)) for number in (0, 1))
    assert str(chunk(path, 123456)) == queue._qfile(123456)


@in_loop
async def test_what_the_attributes_say(path: Path) -> None:
    """``info``, ``unfinished_tasks`` and the arguments can be looked at."""
    async with AsyncQueue[str](str(path), 7, 5, None, serializers.json, True) as queue:
        await queue.put_many("abcdef")
        assert "a" == await queue.get()
        assert (str(path), 7, 5, None, serializers.json, True) == (
            queue.path, queue.maxsize, queue.chunksize, queue.tempdir, queue.serializer, queue.autosave
        )  # fmt: skip
        assert (5, 5, [1, 1]) == (
            queue.info["chunksize"], queue.info["size"], list(queue.info["head"][:2])
        )  # fmt: skip
        assert 6 == queue.unfinished_tasks


@in_loop
async def test_a_replace_that_is_patched_away_spoils_nothing(path: Path) -> None:
    """Code that patches ``aiofiles.os.replace`` where upstream used it finds it, and a put works."""
    async with AsyncQueue[str](path) as queue:
        with patch("persistqueue.async_queue.aiofiles.os.replace") as replace:
            replace.side_effect = [PermissionError, None]
            await queue.put("item")
            assert "item" == await queue.get()
    async with AsyncQueue[str](path) as queue:
        assert "item" == await queue.get()


def test_tempdir_on_another_file_system_is_a_value_error(path: Path) -> None:
    """The constructor compares devices with ``os.stat`` of one argument, and refuses."""

    def stat(path: Any) -> Any:
        return MagicMock(st_dev=1 if "elsewhere" in str(path) else 2)

    with patch("os.stat", side_effect=stat), pytest.raises(ValueError, match="elsewhere"):
        AsyncQueue(path, tempdir="/elsewhere")
    assert not path.exists()


@in_loop
async def test_tempdir_on_the_same_file_system_is_used(path: Path, tmp_path: Path) -> None:
    """A ``tempdir`` that a rename can leave is taken, and empty afterwards."""
    (tmp_path / "temporary").mkdir()
    async with AsyncQueue[str](path, tempdir=tmp_path / "temporary") as queue:
        await queue.put("item")
        assert "item" == await queue.get()
        await queue.task_done()
    assert [] == os.listdir(tmp_path / "temporary")
