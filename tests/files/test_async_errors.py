"""Every error of AsyncQueue: when it is raised, what it says, and that nothing was lost by it."""
# ruff: noqa: ASYNC240 - these loops serve one test each, and may wait

from __future__ import annotations

import asyncio
import copy
import errno
import os
import pickle
import queue as stdlib
import shutil
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from socket import create_server
from typing import Any

import pytest
from crashdisk import Fault, FaultyDisk, contents, in_child, watchdog
from failures import Uncounted, Unsynced, locked
from ledger import SOON
from loops import in_loop, parked
from turns import busy_thread, turns

from persistqueue import (
    AsyncBroker,
    AsyncEmpty,
    AsyncFull,
    AsyncMySQLQueue,
    AsyncQueue,
    AsyncQueueShutDown,
    Empty,
    EngineError,
    FormatError,
    Full,
    ItemTooLarge,
    NoSuchQueue,
    NotEnoughReplicas,
    PersistQueueError,
    Queue,
    QueueClosed,
    QueueCorrupt,
    QueueFailed,
    QueueLocked,
    QueueShutDown,
    QueueUnreachable,
    SerializationError,
    ServerOutOfMemory,
    ServerRefused,
    exceptions,
    serializers,
)
from persistqueue._core import patience as reopening
from persistqueue._core.disk import Disk

pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded, use of fork:DeprecationWarning"
)

NAMES = ("pickle", "msgpack", "cbor2", "json")
each_name = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def _watched() -> Iterator[None]:
    """Let nothing hang."""
    with watchdog(60):
        yield


def on(disk: Disk) -> type[AsyncQueue[Any]]:
    """Return a queue class that works on ``disk``."""
    return type("OnDisk", (AsyncQueue,), {"_disk": disk})


def files(path: Path) -> dict[str, bytes]:
    """Return what is in a directory."""
    return {file.name: file.read_bytes() for file in path.iterdir()}


# -- a situation for each -----------------------------------------------------------


async def empty(path: Path, _: Any) -> None:
    async with AsyncQueue[Any](path) as queue:
        await queue.get(block=False)


async def empty_in_time(path: Path, _: Any) -> None:
    async with AsyncQueue[Any](path) as queue:
        await queue.get_many(3, timeout=0.01)


async def empty_to_peek(path: Path, _: Any) -> None:
    async with AsyncQueue[Any](path) as queue:
        await queue.peek()


async def empty_to_process(path: Path, _: Any) -> None:
    async with AsyncQueue[Any](path) as queue, queue.process(timeout=0):
        pass


async def full(path: Path, _: Any) -> None:
    async with AsyncQueue[Any](path, maxsize=1) as queue:
        await queue.put(1)
        await queue.put(2, block=False)


async def full_in_time(path: Path, _: Any) -> None:
    async with AsyncQueue[Any](path, maxsize=2) as queue:
        await queue.put(1)
        await queue.put_many([2, 3], timeout=0.01)


async def shut_down(path: Path, _: Any) -> None:
    async with AsyncQueue[Any](path) as queue:
        await queue.shutdown()
        await queue.put(1)


async def shut_down_and_empty(path: Path, _: Any) -> None:
    async with AsyncQueue[Any](path) as queue:
        waiting = asyncio.create_task(queue.get())
        await parked(queue, 1)
        await queue.shutdown()
        await waiting


async def closed(path: Path, _: Any) -> None:
    queue = AsyncQueue[Any](path)
    await queue.put(1)
    await queue.close()
    await queue.get()


async def closed_while_waiting(path: Path, _: Any) -> None:
    queue = AsyncQueue[Any](path)
    waiting = asyncio.create_task(queue.get())
    await parked(queue, 1)
    await queue.close()
    await waiting


async def closed_before_use(path: Path, _: Any) -> None:
    queue = AsyncQueue[Any](path)
    await queue.close()
    await queue


async def held_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with AsyncQueue[Any](path) as queue:
        with locked(path, monkeypatch):
            await queue.put(1)


async def held_lock_at_opening(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with AsyncQueue[Any](path):
        pass
    with locked(path, monkeypatch):
        await AsyncQueue[Any](path)


async def removed(path: Path, _: Any) -> None:
    async with AsyncQueue[Any](path) as queue:
        await queue.put(1)
        shutil.rmtree(path)
        time.sleep(0.011)  # noqa: ASYNC251 - the name is looked up again every 10 ms
        await queue.put(2)


async def damaged(path: Path, _: Any) -> None:
    async with AsyncQueue[Any](path) as queue:
        await queue.put("item")
    chunk = path / "q00000"
    chunk.write_bytes(chunk.read_bytes().replace(b"item", b"?tem"))
    async with AsyncQueue[Any](path) as queue:
        await queue.get(timeout=1)


async def newer(path: Path, _: Any) -> None:
    async with AsyncQueue[Any](path) as queue:
        await queue.put("item")
    info = bytearray((path / "info").read_bytes())
    info[info.index(b"pqI") + 3] = 9
    (path / "info").write_bytes(info)
    await AsyncQueue[Any](path)


async def another_serializers(path: Path, _: Any) -> None:
    with Queue[Any](path, serializer=serializers.json) as queue:
        queue.put("item")
    await AsyncQueue.create(path)


async def function(path: Path, _: Any) -> None:
    async with AsyncQueue[Any](path) as queue:
        await queue.put(lambda: None)


async def too_large(path: Path, _: Any) -> None:
    async with AsyncQueue[Any](path, max_item_bytes=100) as queue:
        await queue.put("x" * 1000)


async def nameless(path: Path, _: Any) -> None:
    async with AsyncBroker(path) as broker:
        await broker.rename("jobs", "done")


async def uncounted(path: Path, _: Any) -> None:
    await AsyncQueue(path, engine=Uncounted)


async def unreachable(_: Path, __: Any) -> None:
    with closing(create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    await AsyncMySQLQueue("127.0.0.1", "user", "passw0rd", "database", port=port)


async def no_directory(path: Path, _: Any) -> None:
    path.write_text("")
    async with AsyncQueue[Any](path):
        pass


async def never_fits(path: Path, _: Any) -> None:
    async with AsyncQueue[Any](path, maxsize=2) as queue:
        await queue.put_many("abc")


async def too_many_done(path: Path, _: Any) -> None:
    async with AsyncQueue[Any](path) as queue:
        await queue.task_done()


async def strange_item_done(path: Path, _: Any) -> None:
    async with AsyncQueue[Any](path) as queue:
        await queue.task_done(item="never seen")


Situation = Callable[[Path, Any], Coroutine[Any, Any, None]]
SITUATIONS: list[tuple[type[Exception], Situation, str]] = [
    (AsyncEmpty, empty, "^the queue is empty$"),
    (AsyncEmpty, empty_in_time, "^the queue is empty$"),
    (AsyncEmpty, empty_to_peek, "^the queue is empty$"),
    (AsyncEmpty, empty_to_process, "^the queue is empty$"),
    (AsyncFull, full, "^the queue is full$"),
    (AsyncFull, full_in_time, "^the queue is full$"),
    (AsyncQueueShutDown, shut_down, "was shut down"),
    (AsyncQueueShutDown, shut_down_and_empty, "was shut down"),
    (QueueClosed, closed, "is closed; what is stored is there when it is opened again"),
    (QueueClosed, closed_while_waiting, "is closed; what is stored is there"),
    (QueueClosed, closed_before_use, "is closed; what is stored is there"),
    (QueueLocked, held_lock, "another process has held the queue's lock .* nothing was done"),
    (QueueLocked, held_lock_at_opening, "another process has held the queue's lock"),
    (
        QueueFailed,
        removed,
        "removed or replaced while it was open; the next call reopens the queue",
    ),
    (QueueUnreachable, unreachable, "mysql://user@127.*: the server cannot be reached"),
    (NoSuchQueue, nameless, "there is no queue named 'jobs'"),
    (EngineError, uncounted, "Uncounted.open returned None, not a count"),
    (QueueCorrupt, damaged, 'q00000, byte 0, record 0: .*; open it with on_corrupt="skip"'),
    (FormatError, newer, "is of format 9, this release reads format 1: .* nothing was touched"),
    (FormatError, another_serializers, "json"),
    (SerializationError, function, "pickle cannot encode this item of type function: "),
    (ItemTooLarge, too_large, r"\d{4} bytes long once encoded, max_item_bytes is 100; nothing"),
    (NotADirectoryError, no_directory, "a queue needs a directory here, and this is none"),
    (ValueError, never_fits, "^3 items never fit in a queue of maxsize 2$"),
    (ValueError, too_many_done, "called too many times"),
    (ValueError, strange_item_done, "not handed out by this queue"),
]


@pytest.mark.parametrize(
    ("kind", "situation", "words"), SITUATIONS, ids=[made.__name__ for _, made, _ in SITUATIONS]
)
def test_each_error_has_a_situation_and_says_what_to_do(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Exception],
    situation: Situation,
    words: str,
) -> None:
    """The error that a situation raises is of its own class, and its message can be shown."""
    with pytest.raises(Exception, match=words) as caught:
        asyncio.run(situation(path, monkeypatch))
    assert kind is type(caught.value)


def test_no_error_is_without_a_situation() -> None:
    """Whatever ``exceptions`` promises of the async classes is raised above."""
    promised = {getattr(exceptions, name) for name in exceptions.__all__}
    raised = {kind for kind, _, _ in SITUATIONS}
    elsewhere = {NotEnoughReplicas, ServerOutOfMemory, ServerRefused}  # test_redis_failures
    elsewhere |= {exceptions.JobLost}  # test_jobs
    assert {PersistQueueError, Empty, Full, QueueShutDown} | elsewhere == promised - raised


def test_asyncios_and_the_standard_librarys_errors_are_bases() -> None:
    """Code that catches asyncio's, the standard library's or the sync queue's errors works."""
    assert {Empty, stdlib.Empty, asyncio.QueueEmpty} <= set(AsyncEmpty.__mro__)
    assert {Full, stdlib.Full, asyncio.QueueFull} <= set(AsyncFull.__mro__)
    assert QueueShutDown in AsyncQueueShutDown.__mro__
    if sys.version_info >= (3, 13):
        assert {stdlib.ShutDown, asyncio.QueueShutDown} <= set(AsyncQueueShutDown.__mro__)


@pytest.mark.parametrize("kind", [AsyncEmpty, AsyncFull, AsyncQueueShutDown])
def test_async_errors_survive_copying_and_pickling(kind: type[Exception]) -> None:
    """A copy has the class and the words."""
    error = kind("a message")
    for other in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert (kind, ("a message",)) == (type(other), other.args)


@in_loop
async def test_callers_that_fail_together_get_an_error_each(path: Path) -> None:
    """Calls that share a batch which fails raise an error object of their own each."""
    async with AsyncQueue[Any](path) as queue:
        await queue.put("item")
        chunk = path / "q00000"
        chunk.write_bytes(chunk.read_bytes().replace(b"item", b"?tem"))
        errors = await asyncio.gather(*(queue.get() for _ in range(5)), return_exceptions=True)
        assert [QueueCorrupt] * 5 == [type(error) for error in errors]
        assert 5 == len({id(error) for error in errors})
        assert 1 == len({str(error) for error in errors})


# -- what cannot be stored leaves no byte -------------------------------------------

BAD: dict[str, Any] = dict.fromkeys(NAMES, object) | {"pickle": lambda: None}


@each_name
@pytest.mark.parametrize("way", ["put", "put_nowait", "put_many", "gather"])
@pytest.mark.parametrize("bad", ["not encodable", "too large"])
@in_loop
async def test_what_cannot_be_stored_leaves_no_byte(
    path: Path, name: str, way: str, bad: str
) -> None:
    """An item that is refused changes no file and hurts no neighbour, and the queue goes on."""
    item = BAD[name] if bad == "not encodable" else "x" * 300
    kind = SerializationError if bad == "not encodable" else ItemTooLarge
    serializer = getattr(serializers, name)
    async with AsyncQueue[Any](
        path, serializer=serializer, chunksize=3, max_item_bytes=200
    ) as queue:
        await queue.put_many(range(3))
        before = files(path)
        expected: list[Any] = [0, 1, 2]
        if way == "gather":
            puts = (queue.put(one) for one in ("a", item, "b"))
            results = await asyncio.gather(*puts, return_exceptions=True)
            assert [type(None), kind, type(None)] == [type(result) for result in results]
            expected += ["a", "b"]
        else:
            with pytest.raises(kind):
                await getattr(queue, way)(["good", item, "good"] if way == "put_many" else item)
            assert before == files(path)
        await queue.put("good")
        assert [*expected, "good"] == await queue.get_many(9)


@in_loop
async def test_put_many_of_a_failing_iterable_leaves_no_byte(path: Path) -> None:
    """An iterable that raises in the middle stores nothing of what it gave before."""

    def items() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    async with AsyncQueue[int](path) as queue:
        before = files(path)
        with pytest.raises(LookupError, match="no more"):
            await queue.put_many(items())
        assert (before, True) == (files(path), await queue.empty())


# -- items that are poison ----------------------------------------------------------

BASE_ERRORS = [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError]


class Poison:
    """An item whose loading raises something that is no ``Exception``, until it is healed."""

    kind: type[BaseException] | None = None

    def __reduce__(self) -> Any:
        return load_poison, ()


def load_poison() -> str:
    if Poison.kind is not None:
        raise Poison.kind
    return "healed"


@pytest.mark.parametrize("autosave", [False, True])
@pytest.mark.parametrize("kind", BASE_ERRORS)
@in_loop
async def test_poison_is_its_getters_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException], autosave: bool
) -> None:
    """What an item's own code raises on the store's thread is no other caller's, and stops no one."""
    monkeypatch.setattr(Poison, "kind", kind)
    async with AsyncQueue[Any](path, autosave=autosave) as queue:
        await queue.put(Poison())
        with busy_thread(queue):
            first = asyncio.create_task(queue.sync())
            await turns(1)  # what follows shares the next batch
            puts = [asyncio.create_task(queue.put(number)) for number in range(3)]
            takes = [asyncio.create_task(call) for call in (queue.get(), queue.peek())]
            puts += [asyncio.create_task(queue.put(number)) for number in range(3, 6)]
            takes.append(asyncio.create_task(queue.get_many(9)))
            size = asyncio.create_task(queue.qsize())
            await turns(3)
        tasks = [first, *puts, *takes, size]
        assert set(tasks) == (await asyncio.wait(tasks, timeout=SOON))[0]
        assert [False] * len(tasks) == [task.cancelled() for task in tasks]
        assert [None] * 7 == [task.exception() for task in (first, *puts)]
        assert 7 == await size
        for task in takes:
            error = task.exception()
            assert (SerializationError, kind) == (type(error), type(error.__cause__))
        with pytest.raises(SerializationError, match=kind.__name__):
            await queue.get()
        await queue.put(6)
    monkeypatch.setattr(Poison, "kind", None)
    assert ["healed", *range(7)] == contents(path)


# -- disks that fail ----------------------------------------------------------------


@pytest.mark.parametrize("how", ["instead", "half", "behind"])
def test_put_many_is_all_or_nothing(tmp_path: Path, how: str) -> None:
    """Whichever call to the disk fails, a ``put_many`` over chunk borders is stored whole or not."""
    outcomes = set()

    async def attempt(path: Path, disk: FaultyDisk) -> bool:
        async with AsyncQueue[int](path, chunksize=2) as queue:
            await queue.put(0)
        queue = on(disk)(path, chunksize=2)
        try:
            await queue.put_many(range(1, 8))
            await queue.close()
        except (OSError, QueueFailed):
            disk.heal()
            await queue.close()
            return False
        return True

    at, hit = 0, True
    while hit:
        at += 1
        disk = FaultyDisk(Fault(at, how))
        stored = asyncio.run(attempt(tmp_path / str(at), disk))
        left, hit = contents(tmp_path / str(at)), disk.hit
        assert left in ([0], list(range(8)))
        assert left == list(range(8)) or not stored
        outcomes.add((stored, len(left)))
    assert at > 15
    assert {(True, 8), (False, 1)} <= outcomes


def check_in_child(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a check in a process whose limits are its own."""
    status, _ = in_child(lambda acknowledge: asyncio.run(work()))
    assert 0 == status, "see the traceback above"


def text(number: int) -> str:
    """Return an item of about a hundred bytes."""
    return f"{number} " + "x" * 100


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("durability", ["power", "process"])
def test_a_full_disk(path: Path, durability: str) -> None:
    """Puts that find no room raise OSError and store nothing; with room the queue works again."""
    resource = pytest.importorskip("resource", reason="needs setrlimit")

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    async def work() -> None:
        limit(5000)
        async with AsyncQueue[str](path, durability=durability) as queue:
            count, error = 0, None
            while error is None:
                try:
                    await queue.put(text(count))
                    count += 1
                except OSError as full:
                    error = full
            assert errno.EFBIG == error.errno
            assert count > 20
            with pytest.raises(OSError):
                await queue.put_many(map(text, range(50)))
            assert count == await queue.qsize()
            assert [text(n) for n in range(count)] == [await queue.get() for _ in range(count)]
            await queue.task_done(count)
            limit(1_000_000)
            await queue.put_many(map(text, range(50)))
        assert [text(number) for number in range(50)] == contents(path)

    check_in_child(work)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_put_that_does_not_fit_is_its_own_affair(path: Path) -> None:
    """Of puts that share a batch, the one for which there is no room fails, and no other."""
    resource = pytest.importorskip("resource", reason="needs setrlimit")

    async def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
        async with AsyncQueue[str](path) as queue:
            puts = (queue.put(item) for item in ("a", "x" * 10_000, "b"))
            results = await asyncio.gather(*puts, return_exceptions=True)
            assert [None, None] == results[::2]
            assert isinstance(results[1], OSError)
            assert ["a", "b"] == await queue.get_many(9)

    check_in_child(work)


@in_loop
async def test_a_failed_sync_is_over_when_the_trouble_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While syncs fail every call says so, waiting ones too; then the same object goes on."""
    monkeypatch.setattr(reopening, "PAUSE", 0.0)
    async with AsyncQueue[str](path) as queue:
        await queue.put("acknowledged")
    disk = Unsynced()
    queue = on(disk)(path)
    assert "acknowledged" == await queue.get()
    waiting = asyncio.create_task(queue.get())
    await parked(queue, 1)
    disk.broken = True
    with pytest.raises(OSError, match="Input/output"):
        await queue.sync()
    for call in (queue.put("lost"), queue.qsize(), queue.task_done(), queue.sync(), waiting):
        with pytest.raises(QueueFailed, match="to reopen the queue failed, too"):
            await asyncio.wait_for(call, 10)
    disk.broken = False
    await queue.sync()
    assert (0, 1) == (await queue.qsize(), queue.unfinished_tasks)
    await queue.put("more")
    await queue.task_done()  # of what was in hand all the time
    await queue.close()
    assert ["more"] == contents(path)
