"""Serializers of AsyncQueue: a user's own, with ordinary methods or with coroutine functions."""

from __future__ import annotations

import asyncio
import functools
import io
import json
import pickle
import types
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest
from loops import eventually, in_loop

from persistqueue import AsyncQueue, Queue, SerializationError, serializers


def chunk(path: Path, number: int = 0) -> Path:
    """Return the file of a chunk."""
    return path / f"q{number:05d}"


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


def unseen(function: Any) -> Any:
    """Wrap a coroutine function in a plain one, as decorators do."""

    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


class Disguised(Plain):
    """Ordinary methods which return a coroutine that nobody would await: for some items."""

    def dump(self, value: Any, fp: Any) -> Any:
        if value == "bad to dump":
            return Suspending().dump(value, fp)
        return super().dump(value, fp)

    def load(self, fp: Any) -> Any:
        value = super().load(fp)
        if value == "bad to load":
            return Suspending().load(fp)
        return value


class DisguisedDump(Disguised):
    """The same beside a coroutine function."""

    load = Suspending.load  # type: ignore[assignment]
    waited, _wait = 0, Suspending._wait  # type: ignore[assignment]


def test_a_dump_that_is_a_coroutine_in_disguise_opens_nothing(open_queue: Any, path: Path) -> None:
    """A wrapper that hides coroutine functions is an error at the latest when the queue opens."""
    inner = Suspending()
    serializer = types.SimpleNamespace(dump=unseen(inner.dump), load=unseen(inner.load))
    with pytest.raises(SerializationError, match="returned a coroutine"):
        with open_queue(path, serializer=serializer) as q:
            q.put("item")
    with open_queue(path, serializer=Plain()) as q:
        assert q.empty()


@pytest.mark.parametrize("kind", [Disguised, DisguisedDump])
def test_a_dump_that_returns_a_coroutine_stores_nothing(
    open_queue: Any, path: Path, kind: Any
) -> None:
    """A put of it is refused, instead of acknowledging what was never written."""
    if kind is DisguisedDump and open_queue is Queue:
        pytest.skip("Queue takes no coroutine functions")
    with open_queue(path, serializer=kind()) as q:
        for put in (lambda: q.put("bad to dump"), lambda: q.put_many(["a", "bad to dump"])):
            with pytest.raises(SerializationError, match="returned a coroutine"):
                put()
            assert (0, 0, 0) == (q.qsize(), q.unfinished_tasks, chunk(path).stat().st_size)
        q.put("good")
        assert ["good"] == q.get_many(9)


@pytest.mark.parametrize("autosave", [False, True])
def test_a_load_that_returns_a_coroutine_hands_nothing_out(
    open_queue: Any, path: Path, autosave: bool
) -> None:
    """A coroutine is never handed out as an item, and the item stays stored."""
    with open_queue(path, serializer=Disguised(), autosave=autosave) as q:
        q.put_many(["bad to load", "good"])
        for call in (q.get, q.peek, lambda: q.get_many(2)):
            with pytest.raises(SerializationError, match="returned a coroutine"):
                call()
        assert 2 == q.qsize()
    with open_queue(path, serializer=Plain()) as q:
        assert ["bad to load", "good"] == q.get_many(9)


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
