"""What persist-queue 1.1.0 promised of its AsyncQueue, in the order of its own tests.

Differences that are wanted: a record that cannot be decoded raises QueueCorrupt, where
upstream raised Empty and dropped it; a bare ``task_done`` finishes one item.
"""
# ruff: noqa: ASYNC240 - these loops serve one test each, and may wait for a file

from __future__ import annotations

import asyncio
import functools
import io
import json
import os
import pickle
import shutil
import time
import types
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, MagicMock, patch

import pytest
from loops import eventually, in_loop, parked

from persistqueue import (
    AsyncQueue,
    Empty,
    Full,
    Queue,
    QueueCorrupt,
    SerializationError,
    serializers,
)

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


# -- serializers --------------------------------------------------------------------


@pytest.mark.parametrize("verbs", [(), ("dump",), ("load",)], ids=str)
def test_a_serializer_without_its_methods_is_an_attribute_error(
    path: Path, verbs: tuple[str, ...]
) -> None:
    """What has no ``dump`` or no ``load`` is refused by the constructor, which creates nothing."""
    bad = types.SimpleNamespace(**dict.fromkeys(verbs, print))
    with pytest.raises(AttributeError, match=r"dump|load"):
        AsyncQueue(path, serializer=bad)
    assert not path.exists()


class Plain:
    """A serializer with ordinary methods; its format is its own, a line for each item."""

    def dump(self, value: Any, fp: Any) -> None:
        fp.write(b"plain:" + json.dumps(value).encode() + b"\n")

    def load(self, fp: Any) -> Any:
        return json.loads(fp.readline().removeprefix(b"plain:"))


class Suspending:
    """The same with coroutine functions that really wait."""

    waited = 0

    async def dump(self, value: Any, fp: Any) -> None:
        await self._wait()
        await fp.write(b"plain:" + json.dumps(value).encode() + b"\n")

    async def load(self, fp: Any) -> Any:
        await self._wait()
        return json.loads((await fp.readline()).removeprefix(b"plain:"))

    async def _wait(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        self.waited += 1


class DumpSuspends(Plain):
    """Only ``dump`` is a coroutine function."""

    dump = Suspending.dump  # type: ignore[assignment]
    waited, _wait = 0, Suspending._wait  # type: ignore[assignment]


class LoadSuspends(Plain):
    """Only ``load`` is a coroutine function."""

    load = Suspending.load  # type: ignore[assignment]
    waited, _wait = 0, Suspending._wait  # type: ignore[assignment]


class PickledFrames:
    """Coroutine functions over pickle, reading from the stream itself what they need."""

    async def dump(self, value: Any, fp: Any) -> None:
        data = pickle.dumps(value)
        assert 4 + len(data) == await fp.write(len(data).to_bytes(4, "big") + data)

    async def load(self, fp: Any) -> Any:
        size = int.from_bytes(await fp.read(4), "big")
        at = await fp.tell()
        await fp.seek(at)
        return pickle.loads(await fp.read(size))


COROUTINES = [Suspending, DumpSuspends, LoadSuspends, PickledFrames]
each_coroutine_serializer = pytest.mark.parametrize("kind", COROUTINES)


@in_loop
async def test_a_serializer_of_ones_own(path: Path) -> None:
    """An object with plain ``dump`` and ``load`` of a format of its own is enough."""
    async with AsyncQueue[Any](path, chunksize=2, serializer=Plain()) as queue:
        await queue.put_many([1, "two", None, [4]])
        assert b'plain:1\nplain:"two"\n' == chunk(path).read_bytes()
        assert [1, "two", None, [4]] == [await queue.get() for _ in range(4)]
        await queue.task_done(4)
        await queue.join()


@in_loop
async def test_coroutine_functions_are_awaited_twice_per_put(path: Path) -> None:
    """``dump`` is awaited for the item and for ``info``; what ``load`` returns is the item."""
    serializer = MagicMock()
    serializer.dump = AsyncMock()
    serializer.load = AsyncMock(return_value="loaded")
    async with AsyncQueue[str](path, serializer=serializer) as queue:
        await queue.put("first")
        assert (2, 2) == (serializer.dump.call_count, serializer.dump.await_count)
        assert "first" == serializer.dump.await_args_list[0].args[0]
        assert 1 == serializer.dump.await_args_list[1].args[0]["size"]
        await queue.put("second")
        assert 4 == serializer.dump.await_count
        assert "loaded" == await queue.get()
        assert 1 == serializer.load.await_count
        await queue.task_done()


@each_coroutine_serializer
@in_loop
async def test_coroutine_serializers_that_suspend(path: Path, kind: Any) -> None:
    """Serializers whose coroutines wait store and load every item, over a reopening."""
    items = [0, "text", None, {"a": [1, 2]}, "x" * 10_000]
    async with AsyncQueue[Any](path, chunksize=2, serializer=kind()) as queue:
        await queue.put(items[0])
        await queue.put_many(items[1:3])
        await asyncio.gather(*(queue.put(item) for item in items[3:]))
        assert items[0] == await queue.get()
        await queue.task_done()
    async with AsyncQueue[Any](path, serializer=kind()) as queue:
        assert items[1] == await queue.peek()
        left = await queue.get_many(9)
        assert items[1:3] == left[:2]
        assert sorted(map(repr, items[3:])) == sorted(map(repr, left[2:]))
        await queue.task_done(4)
        await queue.join()


@in_loop
async def test_coroutine_serializers_really_wait(path: Path) -> None:
    """Every ``dump`` and ``load`` of a suspending serializer runs to its end."""
    serializer = Suspending()
    async with AsyncQueue[int](path, serializer=serializer) as queue:
        before = serializer.waited
        await queue.put(1)
        assert 2 == serializer.waited - before
        assert 1 == await queue.get()
        assert 3 == serializer.waited - before


@in_loop
async def test_the_loop_goes_on_while_a_serializer_waits(path: Path) -> None:
    """A ``dump`` that waits for an event of the loop holds up neither it nor other puts."""
    go = asyncio.Event()

    class Held(Suspending):
        async def dump(self, value: Any, fp: Any) -> None:
            if value == "held":
                await go.wait()
            await super().dump(value, fp)

    async with AsyncQueue[str](path, serializer=Held()) as queue:
        held = asyncio.create_task(queue.put("held"))
        await queue.put("quick")
        assert ("quick", False) == (await queue.get(), held.done())
        go.set()
        await held
        assert "held" == await queue.get()


@pytest.mark.parametrize("writer", [Plain, *COROUTINES[:3]])
@pytest.mark.parametrize("reader", [Plain, *COROUTINES[:3]])
@in_loop
async def test_coroutine_or_not_the_files_are_the_same(
    path: Path, writer: Any, reader: Any
) -> None:
    """What one serializer of a format wrote the others read, whichever of them awaits."""
    async with AsyncQueue[Any](path, serializer=writer()) as queue:
        await queue.put_many(["a", None])
    async with AsyncQueue[Any](path, serializer=reader()) as queue:
        assert ["a", None] == await queue.get_many(9)


@in_loop
async def test_a_coroutine_serializers_error_is_the_callers(path: Path) -> None:
    """A ``dump`` that raises stores nothing, and the queue goes on."""

    class Picky(Suspending):
        async def dump(self, value: Any, fp: Any) -> None:
            if value == "bad":
                raise LookupError("not this one")
            await super().dump(value, fp)

    async with AsyncQueue[str](path, serializer=Picky()) as queue:
        with pytest.raises(Exception, match="not this one") as caught:
            await queue.put("bad")
        assert isinstance(caught.value.__cause__, LookupError)
        with pytest.raises(Exception, match="not this one"):
            await queue.put_many(["good", "bad"])
        assert await queue.empty()
        await queue.put("good")
        assert "good" == await queue.get()


class Called:
    """An object that is called like a coroutine function."""

    def __init__(self, function: Any) -> None:
        self._function = function

    async def __call__(self, *args: Any) -> Any:
        return await self._function(*args)


SHAPES = {"functools.partial": functools.partial, "async __call__": Called}
each_shape = pytest.mark.parametrize("wrap", SHAPES.values(), ids=SHAPES)


@each_shape
@in_loop
async def test_coroutine_functions_in_other_shapes(path: Path, wrap: Any) -> None:
    """What is called like a coroutine function is awaited, though it is no plain function."""
    inner = Suspending()
    serializer = types.SimpleNamespace(dump=wrap(inner.dump), load=wrap(inner.load))
    async with AsyncQueue[str](path, serializer=serializer) as queue:
        await queue.put("item")
        assert "item" == await queue.get()


@each_shape
def test_the_sync_queue_refuses_other_shapes_too(path: Path, wrap: Any) -> None:
    """``Queue`` never stores a coroutine that nobody awaits: it raises, and puts nothing."""
    inner = Suspending()
    serializer = types.SimpleNamespace(dump=wrap(inner.dump), load=wrap(inner.load))
    with (
        pytest.raises((TypeError, SerializationError)),
        Queue[str](path, serializer=serializer) as q,
    ):
        q.put("item")


@pytest.mark.parametrize("names", [("async_pickle", "pickle"), ("pickle", "async_pickle")])
@in_loop
async def test_async_pickle_is_pickle(path: Path, names: tuple[str, str]) -> None:
    """What ``async_pickle`` stores ``pickle`` loads, in both families, and the other way round."""
    writer, reader = (getattr(serializers, name) for name in names)
    async with AsyncQueue[Any](path, serializer=writer) as queue:
        await queue.put_many([{"a": {1}}, None, b"bytes"])
    async with AsyncQueue[Any](path, serializer=reader) as queue:
        assert {"a": {1}} == await queue.get()
        await queue.task_done()
    with Queue[Any](path, serializer=reader) as sync:
        assert [None, b"bytes"] == sync.get_many(9)


@in_loop
async def test_async_pickle_by_itself() -> None:
    """Its coroutine functions write and read a stream of aiofiles' kind."""
    from persistqueue.serializers._coroutines import AsyncStream

    stream = io.BytesIO()
    await serializers.async_pickle.dump({"a": 1}, AsyncStream(stream))
    assert {"a": 1} == pickle.loads(stream.getvalue())
    stream.seek(0)
    assert {"a": 1} == await serializers.async_pickle.load(AsyncStream(stream))


@each_coroutine_serializer
def test_the_sync_queue_refuses_coroutine_serializers(path: Path, kind: Any) -> None:
    """``Queue`` with coroutine functions is a TypeError that names AsyncQueue, and creates nothing."""
    with pytest.raises(TypeError, match="coroutine functions: only AsyncQueue can use it"):
        Queue(path, serializer=kind())
    assert not path.exists()


@in_loop
async def test_a_cancelled_dump_stores_nothing(path: Path) -> None:
    """A put that is cancelled while its ``dump`` waits stores nothing, and disturbs nobody."""

    class Stuck(Suspending):
        stuck = False

        async def dump(self, value: Any, fp: Any) -> None:
            if value == "stuck":
                self.stuck = True
                await asyncio.Event().wait()
            await super().dump(value, fp)

    serializer = Stuck()
    async with AsyncQueue[str](path, serializer=serializer) as queue:
        put = asyncio.create_task(queue.put("stuck"))
        await eventually(lambda: serializer.stuck)
        put.cancel()
        with pytest.raises(asyncio.CancelledError):
            await put
        await queue.put("item")
        assert ["item"] == await queue.get_many(9)
