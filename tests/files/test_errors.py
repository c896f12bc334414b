"""Every error: when it is raised, that it says what to do, that nothing was lost by it."""

from __future__ import annotations

import copy
import errno
import os
import pickle
import queue as stdlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from socket import create_server
from typing import Any

import pytest
from failures import Uncounted, Unsynced, locked

from persistqueue import (
    AsyncQueue,
    Broker,
    Empty,
    EngineError,
    FormatError,
    Full,
    ItemTooLarge,
    JobLost,
    JobQueue,
    MySQLQueue,
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
    exceptions,
    serializers,
)
from persistqueue._core import patience as reopening
from persistqueue._core.disk import Disk, File

NAMES = ("pickle", "msgpack", "cbor2", "json")
each_name = pytest.mark.parametrize("name", NAMES)


def contents(path: Path) -> dict[str, bytes]:
    """Return what is in a directory."""
    return {file.name: file.read_bytes() for file in path.iterdir()}


# -- a situation for each -----------------------------------------------------------


def on(disk: Disk) -> type[Queue[Any]]:
    """Return a queue class that works on ``disk``."""
    return type("OnDisk", (Queue,), {"_disk": disk})


def empty(path: Path, _: pytest.MonkeyPatch) -> None:
    with Queue[Any](path) as queue:
        queue.get(block=False)


def full(path: Path, _: pytest.MonkeyPatch) -> None:
    with Queue[Any](path, maxsize=1) as queue:
        queue.put(1)
        queue.put(2, block=False)


def shut_down(path: Path, _: pytest.MonkeyPatch) -> None:
    with Queue[Any](path) as queue:
        queue.shutdown()
        queue.put(1)


def closed(path: Path, _: pytest.MonkeyPatch) -> None:
    queue = Queue[Any](path)
    queue.close()
    queue.put(1)


def held_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Queue[Any](path) as queue, locked(path, monkeypatch):
        queue.put(1)


def removed(path: Path, _: pytest.MonkeyPatch) -> None:
    with Queue[Any](path) as queue:
        queue.put(1)
        shutil.rmtree(path)
        time.sleep(0.011)  # the name is looked up again every 10 ms
        queue.put(2)


def damaged(path: Path, _: pytest.MonkeyPatch) -> None:
    with Queue[Any](path) as queue:
        queue.put("item")
    chunk = path / "q00000"
    chunk.write_bytes(chunk.read_bytes().replace(b"item", b"?tem"))
    with Queue[Any](path) as queue:
        queue.get(timeout=1)


def newer(path: Path, _: pytest.MonkeyPatch) -> None:
    with Queue[Any](path) as queue:
        queue.put("item")
    info = bytearray((path / "info").read_bytes())
    info[info.index(b"pqI") + 3] = 9
    (path / "info").write_bytes(info)
    Queue(path)


def function(path: Path, _: pytest.MonkeyPatch) -> None:
    with Queue[Any](path) as queue:
        queue.put(lambda: None)


def too_large(path: Path, _: pytest.MonkeyPatch) -> None:
    with Queue[Any](path, max_item_bytes=100) as queue:
        queue.put("x" * 1000)


def unreachable(_: Path, __: pytest.MonkeyPatch) -> None:
    with closing(create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    MySQLQueue("127.0.0.1", "user", "passw0rd", "database", port=port)


def nameless(path: Path, _: pytest.MonkeyPatch) -> None:
    with Broker(path) as broker:
        broker.rename("jobs", "done")


def ended_twice(path: Path, _: pytest.MonkeyPatch) -> None:
    with JobQueue[str](path) as q:
        q.put("a")
        with q.job() as job:
            job.ack()
            job.ack()


def uncounted(path: Path, _: pytest.MonkeyPatch) -> None:
    Queue(path, engine=Uncounted)


Situation = Callable[[Path, pytest.MonkeyPatch], None]
SITUATIONS: list[tuple[type[Exception], Situation, str]] = [
    (Empty, empty, "queue is empty"),
    (Full, full, "queue is full"),
    (QueueShutDown, shut_down, "was shut down"),
    (QueueClosed, closed, "is closed; what is stored is there when it is opened again"),
    (QueueLocked, held_lock, "another process has held the queue's lock .* nothing was done"),
    (
        QueueFailed,
        removed,
        "removed or replaced while it was open; the next call reopens the queue",
    ),
    (QueueUnreachable, unreachable, "mysql://user@127.*: the server cannot be reached"),
    (JobLost, ended_twice, "the job 1 is not this consumer's any more, or has ended"),
    (NoSuchQueue, nameless, "there is no queue named 'jobs'"),
    (EngineError, uncounted, "Uncounted.open returned None, not a count"),
    (QueueCorrupt, damaged, 'q00000, byte 0, record 0: .*; open it with on_corrupt="skip"'),
    (
        FormatError,
        newer,
        "is of format 9, this release reads format 1: update .* nothing was touched",
    ),
    (SerializationError, function, "pickle cannot encode this item of type function: "),
    (
        ItemTooLarge,
        too_large,
        r"\d{4} bytes long once encoded, max_item_bytes is 100; nothing was stored",
    ),
]


@pytest.mark.parametrize(
    ("kind", "situation", "words"), SITUATIONS, ids=[kind.__name__ for kind, _, _ in SITUATIONS]
)
def test_each_error_has_a_situation_and_says_what_to_do(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Exception],
    situation: Situation,
    words: str,
) -> None:
    """The error that a situation raises is of its own class, and its message can be shown."""
    with pytest.raises(PersistQueueError, match=words) as caught:
        situation(path, monkeypatch)
    assert kind is type(caught.value)


def test_no_error_is_without_a_situation() -> None:
    """Whatever ``exceptions`` promises is raised above, the base class apart."""
    promised = {getattr(exceptions, name) for name in exceptions.__all__}
    asyncios = {kind for kind in promised if kind.__name__.startswith("Async")}  # test_async_queue
    servers = {  # test_redis_failures
        getattr(exceptions, name)
        for name in ("NotEnoughReplicas", "ServerOutOfMemory", "ServerRefused")
    }
    assert promised - asyncios - servers - {PersistQueueError} == {
        kind for kind, _, _ in SITUATIONS
    }


# -- the tree -----------------------------------------------------------------------


def test_the_standard_librarys_errors_are_bases() -> None:
    """Code that catches ``queue.Empty``, ``queue.Full`` or ``queue.ShutDown`` keeps working."""
    assert issubclass(Empty, stdlib.Empty)
    assert issubclass(Full, stdlib.Full)
    shut_down = getattr(stdlib, "ShutDown", PersistQueueError)  # Python 3.13 has it
    assert issubclass(QueueShutDown, shut_down)


@pytest.mark.parametrize("name", exceptions.__all__)
def test_every_error_is_the_base_class_too(name: str) -> None:
    """``except PersistQueueError`` catches them all; one is an OSError, and not by accident."""
    kind = getattr(exceptions, name)
    assert issubclass(kind, PersistQueueError)
    assert issubclass(kind, OSError | ValueError) == issubclass(kind, ConnectionError)
    assert issubclass(kind, ConnectionError) == (name == "QueueUnreachable")


ERRORS = [
    *(
        getattr(exceptions, name)("a message")
        for name in exceptions.__all__
        if name not in ("NotEnoughReplicas", "QueueCorrupt")
    ),
    NotEnoughReplicas(0, 1),
    QueueUnreachable("a message", stored=None),
    QueueCorrupt("/path", "q00001", 17, 3, "torn", "look at it"),
    QueueCorrupt("/path", "info", reason="missing"),
    QueueCorrupt("/path", "q00000"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "through",
    [copy.copy, copy.deepcopy, *(lambda e, p=p: pickle.loads(pickle.dumps(e, p)) for p in range(6))],
)  # fmt: skip
def test_errors_survive_copying_and_pickling(
    error: Exception, through: Callable[[Exception], Exception]
) -> None:
    """A copy (from a worker process, say) has the class, the words and the attributes."""
    other = through(error)
    assert (type(error), str(error), error.args, vars(error)) == (
        type(other), str(other), other.args, vars(other)
    )  # fmt: skip


def test_corrupt_says_where() -> None:
    """``QueueCorrupt`` tells file, byte and record, in attributes and in words."""
    error = QueueCorrupt("/jobs", "q00001", 17, 3, "torn", "look at it")
    assert ("/jobs", "q00001", 17, 3, "torn") == (
        error.path, error.chunk, error.offset, error.index, error.reason
    )  # fmt: skip
    assert "/jobs: q00001, byte 17, record 3: torn; look at it" == str(error)
    assert "/jobs: info: missing" == str(QueueCorrupt("/jobs", "info", reason="missing"))


# -- what cannot be stored leaves no byte -------------------------------------------

BAD: dict[str, Any] = dict.fromkeys(NAMES, object) | {"pickle": lambda: None}


@each_name
@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("way", ["put", "put_nowait", "put_many"])
def test_what_cannot_be_encoded_leaves_no_byte(
    path: Path, name: str, before: int, way: str
) -> None:
    """An item that its serializer refuses changes no file, and the queue goes on."""
    with Queue[Any](path, serializer=getattr(serializers, name), chunksize=3) as queue:
        queue.put_many(range(before))
        files = contents(path)
        with pytest.raises(
            SerializationError, match=f"^{name} cannot encode this item of type "
        ) as e:
            getattr(queue, way)(["good", BAD[name]] if way == "put_many" else BAD[name])
        assert e.value.__cause__ is not None
        assert files == contents(path)
        queue.put("good")
        assert [*range(before), "good"] == queue.get_many(9)


@each_name
@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("way", ["put", "put_nowait", "put_many"])
def test_what_is_too_large_leaves_no_byte(path: Path, name: str, before: int, way: str) -> None:
    """An item beyond ``max_item_bytes`` changes no file, and the queue goes on."""
    serializer = getattr(serializers, name)
    with Queue[Any](path, serializer=serializer, chunksize=3, max_item_bytes=200) as queue:
        queue.put_many(range(before))
        files = contents(path)
        with pytest.raises(ItemTooLarge, match="max_item_bytes is 200; nothing was stored"):
            getattr(queue, way)(["good", "x" * 300] if way == "put_many" else "x" * 300)
        assert files == contents(path)
        queue.put("good")
        assert [*range(before), "good"] == queue.get_many(9)


def test_put_many_of_a_failing_iterable_leaves_no_byte(path: Path) -> None:
    """An iterable that raises in the middle stores nothing of what it gave before."""

    def items() -> Iterator[int]:
        yield 1
        raise RuntimeError("no more")

    with Queue[int](path) as queue:
        files = contents(path)
        with pytest.raises(RuntimeError, match="no more"):
            queue.put_many(items())
        assert files == contents(path)
        assert queue.empty()


@each_name
def test_the_bound_is_exact(path: Path, name: str) -> None:
    """An item of just ``max_item_bytes`` passes, one byte more does not."""
    serializer, item = getattr(serializers, name), "x" * 100
    with Queue[str](path / "measure", serializer=serializer) as queue:
        queue.put(item)
        size = queue.info["head"][2]
    with Queue[str](path / "fits", serializer=serializer, max_item_bytes=size) as queue:
        queue.put(item)
        with pytest.raises(ItemTooLarge):
            queue.put(item + "x")
        assert item == queue.get()


@each_name
@pytest.mark.parametrize("size", [5_000, 300_000])
def test_a_stored_item_may_be_too_large_to_load(path: Path, name: str, size: int) -> None:
    """A smaller bound than the writer's refuses the item at each get; a larger one gets it."""
    serializer = getattr(serializers, name)
    with Queue[str](path, serializer=serializer) as queue:
        queue.put("x" * size)
    with Queue[str](path, serializer=serializer, max_item_bytes=1000) as queue:
        for _ in range(2):
            with pytest.raises(ItemTooLarge, match=r"max_item_bytes=1000.*stays stored"):
                queue.get(timeout=1)
        assert 1 == queue.qsize()
    with Queue[str](path, serializer=serializer) as queue:
        assert "x" * size == queue.get()


# -- what cannot be loaded stays ----------------------------------------------------

PUT_STRANGER = """
import sys
from persistqueue import Queue

class Stranger:
    pass

with Queue(sys.argv[1]) as queue:
    queue.put("before")
    queue.put(Stranger())
    queue.put("behind")
"""


@pytest.mark.parametrize("on_corrupt", ["raise", "skip"])
def test_a_class_that_cannot_be_imported_is_not_damage(path: Path, on_corrupt: str) -> None:
    """A whole item whose class is unknown here is reported and stays stored, skip or not."""
    import persistqueue

    home = str(Path(persistqueue.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": home}
    subprocess.run([sys.executable, "-c", PUT_STRANGER, path], env=environment, check=True)
    with Queue[Any](path, on_corrupt=on_corrupt) as queue:
        assert "before" == queue.get()
        queue.task_done()
        for _ in range(2):
            with pytest.raises(SerializationError, match=r"Stranger.*it stays stored"):
                queue.get(timeout=1)
        assert (2, 0) == (queue.qsize(), queue.skipped)


class Exhausted:
    """A serializer whose ``load`` runs out of memory, for a while."""

    failing = True

    @staticmethod
    def dump(value: Any, fp: Any) -> None:
        serializers.json.dump(value, fp)

    @classmethod
    def load(cls, fp: Any) -> Any:
        value = serializers.json.load(fp)
        if cls.failing and value == "item":
            raise MemoryError
        return value


def test_running_out_of_memory_is_not_damage(path: Path) -> None:
    """A ``load`` that had no memory says nothing of the item: it is not skipped, and comes later."""
    with Queue[Any](path, serializer=Exhausted, on_corrupt="skip") as queue:
        queue.put("item")
        with pytest.raises((MemoryError, SerializationError)):
            queue.get(timeout=0)
        assert (1, 0) == (queue.qsize(), queue.skipped)
        Exhausted.failing = False
        assert "item" == queue.get(timeout=0)


@each_name
def test_deep_recursion_is_not_damage(path: Path, name: str) -> None:
    """An item that cannot be decoded so deep in the stack is not skipped, and comes later."""
    item: Any = None
    for _ in range(120):
        item = {"a": item}

    def get_below(levels: int) -> Any:
        return get_below(levels - 1) if levels else queue.get(timeout=0)

    with Queue[Any](path, serializer=getattr(serializers, name), on_corrupt="skip") as queue:
        queue.put(item)
        limit = sys.getrecursionlimit()
        for levels in range(limit - 150, 200, -10):
            try:
                found = get_below(levels)
            except (RecursionError, SerializationError):
                assert (1, 0) == (queue.qsize(), queue.skipped)
            else:
                assert item == found
                break
        assert 0 == queue.skipped


# -- after a failure ----------------------------------------------------------------


def test_while_syncs_fail_every_call_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After a sync failed, every call fails while it lasts; then all is well, with one WARNING."""
    monkeypatch.setattr(reopening, "PAUSE", 0.0)  # else a call in between is refused for a second
    disk = Unsynced()
    queue = on(disk)(path)
    queue.put("acknowledged")
    disk.broken = True
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        queue.put("lost")
    calls: list[Callable[[], Any]] = [
        lambda: queue.put(1),
        queue.get_nowait,
        queue.qsize,
        queue.peek,
    ]
    for call in calls:
        with pytest.raises(QueueFailed, match=r"could not be written.*to reopen .* failed, too"):
            call()
    assert [] == caplog.messages
    disk.broken = False
    assert ("acknowledged", 1) == (queue.peek(), queue.qsize())
    assert [True] == ["the queue was reopened" in message for message in caplog.messages]
    queue.put("more")
    queue.close()
    with Queue[Any](path) as reopened:
        assert ["acknowledged", "more"] == reopened.get_many(9)


def test_one_call_a_second_tries_to_reopen(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call behind a failure reopens the queue; when that fails, the next ones wait a second."""
    assert 1.0 == reopening.PAUSE
    monkeypatch.setattr(reopening, "PAUSE", 3600.0)
    disk = Unsynced()
    with on(disk)(path) as queue:
        disk.broken = True
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            queue.put("lost")
        with pytest.raises(QueueFailed, match="to reopen the queue failed, too"):
            queue.qsize()
        disk.broken = False
        with pytest.raises(QueueFailed, match="a later call reopens the queue, one a second tries"):
            queue.qsize()
    with Queue[Any](path) as queue:
        assert queue.empty()


class Refusing(Disk):
    """A disk that has no room for the next so many writes."""

    refusals = 0

    def write(self, file: File, data: bytes, offset: int) -> None:
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.path)
        super().write(file, data, offset)


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Refusing:
    """The disk that queues of both families work on."""
    disk = Refusing()
    for family in (Queue, AsyncQueue):
        monkeypatch.setattr(family, "_disk", disk)
    return disk


def in_a_block(queue: Any, disk: Refusing) -> None:
    with queue.process():
        disk.refusals = 1


def in_a_loop(queue: Any, disk: Refusing) -> None:
    for _ in queue:
        disk.refusals = 1


@pytest.mark.parametrize("durability", ["power", "process"])
@pytest.mark.parametrize("way", [in_a_block, in_a_loop])
def test_an_item_that_cannot_be_finished_comes_again(
    open_queue: Any, path: Path, refusing: Refusing, way: Any, durability: str
) -> None:
    """Where a block or a loop cannot store that its item is finished, the item is there again."""
    with open_queue(path, durability=durability) as queue:
        queue.put_many("abc")
        for _ in range(2):
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                way(queue, refusing)
            assert (0, 3, 3) == (refusing.refusals, queue.qsize(), queue.unfinished_tasks)
        assert ["a", "b", "c"] == queue.get_many(9, timeout=0)
        queue.task_done(3)
        queue.join()
    with open_queue(path) as queue:
        assert queue.empty()


def test_a_held_lock_is_waited_for_and_then_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process holds the lock nothing is stored; when it lets go, all works."""
    with Queue[Any](path) as queue:
        queue.put("first")
        with locked(path, monkeypatch):
            with pytest.raises(QueueLocked, match=r"lock for 0\.05 s"):
                queue.put("second")
            with pytest.raises(QueueLocked):
                Queue(path)
        queue.put("third")
        assert ["first", "third"] == queue.get_many(5)


def test_errors_of_one_call_do_not_touch_the_next(path: Path) -> None:
    """Each raise is an object of its own: tracebacks and causes do not pile up."""
    with Queue[Any](path) as queue:
        caught = []
        for _ in range(2):
            with pytest.raises(Empty) as error:
                queue.get_nowait()
            caught.append(error.value)
        assert caught[0] is not caught[1]
        assert [None, None] == [error.__context__ for error in caught]


# -- arguments ----------------------------------------------------------------------

WRONG: list[tuple[type[Exception], str, dict[str, Any]]] = [
    (TypeError, "maxsize must be an int, not str", {"maxsize": "5"}),
    (TypeError, "maxsize must be an int, not NoneType", {"maxsize": None}),
    (TypeError, "maxsize must be an int, not bool", {"maxsize": True}),
    (TypeError, "chunksize must be an int, not float", {"chunksize": 1.5}),
    (TypeError, "chunksize must be an int, not NoneType", {"chunksize": None}),
    (ValueError, "chunksize must be at least 1, not 0", {"chunksize": 0}),
    (ValueError, "chunksize must be at least 1, not -1", {"chunksize": -1}),
    (ValueError, "durability must be 'power' or 'process', not 'full'", {"durability": "full"}),
    (ValueError, "durability must be", {"durability": None}),
    (ValueError, "durability must be", {"durability": ["power"]}),
    (ValueError, "on_corrupt must be 'raise' or 'skip', not 'ignore'", {"on_corrupt": "ignore"}),
    (ValueError, "max_item_bytes must be at least 1, not 0", {"max_item_bytes": 0}),
    (TypeError, "max_item_bytes must be an int, not NoneType", {"max_item_bytes": None}),
    (TypeError, "tempdir|str, bytes or os.PathLike", {"tempdir": 5}),
    (TypeError, "unexpected keyword argument", {"durable": True}),
]


@pytest.mark.parametrize(("kind", "words", "options"), WRONG, ids=lambda v: repr(v)[:40])
def test_a_wrong_argument_is_named(
    path: Path, kind: type[Exception], words: str, options: dict[str, Any]
) -> None:
    """The constructor says which argument is wrong, before it creates anything."""
    with pytest.raises(kind, match=words):
        Queue(path, **options)
    assert not path.exists()


def test_a_bound_below_zero_is_no_bound(path: Path) -> None:
    """``maxsize`` of 0 or less lets any number in, as the standard library's queues do."""
    with Queue[int](path, maxsize=-3) as queue:
        queue.put_many(range(5))
        assert (5, False) == (queue.qsize(), queue.full())


@pytest.mark.parametrize("chunksize", [sys.maxsize, 2**62, 2**70])
def test_a_huge_chunk_size_is_refused_or_works(path: Path, chunksize: int) -> None:
    """A chunk size that is taken is still good when the queue is opened again."""
    try:
        queue = Queue[int](path, chunksize=chunksize)
    except ValueError:
        return
    with queue:
        queue.put_many(range(3))
        assert 0 == queue.get()
        queue.task_done()
    with Queue[int](path) as queue:
        assert [1, 2] == queue.get_many(5)
        assert chunksize == queue.info["chunksize"]


def test_tempdir_on_another_file_system_is_refused(path: Path) -> None:
    """A temporary file must be renamed into the queue, so another device is a ValueError."""
    device = path.parent.stat().st_dev
    places = filter(os.path.isdir, ("/dev/shm", tempfile.gettempdir()))
    other = next((place for place in places if os.stat(place).st_dev != device), None)
    if other is None:
        pytest.skip("there is one file system only")
    with pytest.raises(ValueError, match="is on another file system than"):
        Queue(path, tempdir=other)


def test_tempdir_may_be_anywhere_on_the_file_system(path: Path, tmp_path: Path) -> None:
    """A tempdir on the same device works, and nothing stays in it."""
    tempdir = tmp_path / "temporary"
    tempdir.mkdir()
    with Queue[str](path, tempdir=tempdir) as queue:
        queue.put("item")
        assert "item" == queue.get()
        queue.task_done()
    assert [] == list(tempdir.iterdir())


def test_in_is_refused(path: Path) -> None:
    """``x in queue`` would take every item out: it is a TypeError and nothing is taken."""
    with Queue[int](path) as queue:
        queue.put(1)
        with pytest.raises(TypeError, match="keep a set beside the queue"):
            1 in queue  # noqa: B015
        assert 1 == queue.qsize()


@pytest.mark.parametrize("count", [0, -1])
def test_counts_begin_at_one(path: Path, count: int) -> None:
    """``get_many`` and ``task_done`` of none or fewer are ValueErrors that name the argument."""
    with Queue[int](path) as queue:
        queue.put(1)
        with pytest.raises(ValueError, match=f"max_items must be at least 1, not {count}"):
            queue.get_many(count)
        queue.get()
        with pytest.raises(ValueError, match=f"count must be at least 1, not {count}"):
            queue.task_done(count)


def test_put_many_beyond_maxsize_never_fits(path: Path) -> None:
    """More items than a bounded queue can ever hold are a ValueError, not a wait for ever."""
    with Queue[int](path, maxsize=2) as queue:
        with pytest.raises(ValueError, match="3 items never fit in a queue of maxsize 2"):
            queue.put_many([1, 2, 3])
        assert queue.empty()


# -- timeouts -----------------------------------------------------------------------

CALLS: dict[str, Callable[[Queue[Any], bool, float], Any]] = {
    "put": lambda queue, block, timeout: queue.put("x", block, timeout),
    "put_many": lambda queue, block, timeout: queue.put_many(["x"], block, timeout),
    "get": lambda queue, block, timeout: queue.get(block, timeout),
    "get_many": lambda queue, block, timeout: queue.get_many(1, timeout),
    "process": lambda queue, block, timeout: queue.process(block, timeout).__enter__(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("block", [True, False])
@pytest.mark.parametrize("timeout", [-1, -0.001, float("-inf")])
@pytest.mark.parametrize("stored", [0, 2])
def test_a_negative_timeout_is_a_value_error(
    path: Path, call: str, block: bool, timeout: float, stored: int
) -> None:
    """Whether or not the call would wait, and nothing is put or taken."""
    with Queue[Any](path, maxsize=2, durability="process") as queue:
        queue.put_many(range(stored))
        with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
            CALLS[call](queue, block, timeout)
        assert stored == queue.qsize() == queue.unfinished_tasks


@pytest.mark.parametrize("call", list(CALLS))
@pytest.mark.parametrize("timeout", ["1", [], object()])
def test_a_timeout_of_a_wrong_type_is_a_type_error(path: Path, call: str, timeout: Any) -> None:
    """A timeout that is no number is refused, and nothing is put or taken."""
    with Queue[Any](path) as queue:
        with pytest.raises(TypeError):
            CALLS[call](queue, True, timeout)
        assert 0 == queue.qsize()


def test_a_timeout_that_is_not_a_number_is_a_value_error(path: Path) -> None:
    """NaN is refused, and whoever waits next is not disturbed by it."""
    with Queue[Any](path) as queue:
        with pytest.raises(ValueError, match=r"NaN|timeout"):
            queue.get(timeout=float("nan"))
        queue.put("item")
        assert "item" == queue.get(timeout=1)


@pytest.mark.parametrize("timeout", [1e9, 1e10, 1e300, float("inf"), 10**30])
def test_a_huge_timeout_waits(path: Path, timeout: float) -> None:
    """A timeout beyond what the platform can count is as good as none."""
    from threading import Thread

    with Queue[Any](path) as queue:
        got: list[Any] = []
        thread = Thread(target=lambda: got.append(outcome(lambda: queue.get(timeout=timeout))))
        thread.start()
        thread.join(0.02)  # the get is waiting by now, or will find the item at once
        queue.put("item")
        thread.join(10)
        assert ["item"] == got


def outcome(call: Callable[[], Any]) -> Any:
    """Return what a call returns or raises."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 (it is the outcome)
        return error


# -- paths --------------------------------------------------------------------------


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """A file where the directory should be raises NotADirectoryError and is left alone."""
    file = tmp_path / "file"
    file.write_text("text")
    with pytest.raises(NotADirectoryError, match="a queue needs a directory here") as caught:
        Queue(file)
    assert (str(file), "text") == (caught.value.filename, file.read_text())
    with pytest.raises(NotADirectoryError):
        Queue(file / "below")


@pytest.mark.parametrize("empty", ["", b""])
def test_an_empty_path_is_refused(empty: Any) -> None:
    """An empty path is not the working directory: it is a mistake."""
    with pytest.raises(ValueError, match="path is empty; name a directory"):
        Queue(empty)


@pytest.mark.parametrize("wrong", [None, 5, 1.5, ["path"]])
def test_a_path_of_a_wrong_type_is_a_type_error(wrong: Any) -> None:
    """What is no path is refused (a number is not taken for a descriptor)."""
    with pytest.raises(TypeError):
        Queue(wrong)


def test_a_path_with_a_nul_is_a_value_error(tmp_path: Path) -> None:
    """No file system has such names."""
    with pytest.raises(ValueError, match="NUL"):
        Queue(f"{tmp_path}/a\0b")


class Somewhere:
    """An ``os.PathLike`` of a user's own."""

    def __init__(self, path: str | bytes) -> None:
        self._path = path

    def __fspath__(self) -> str | bytes:
        return self._path


@pytest.mark.parametrize(
    "form", [str, Path, os.fsencode, Somewhere, lambda path: Somewhere(os.fsencode(path))],
    ids=["str", "Path", "bytes", "PathLike", "PathLike of bytes"],
)  # fmt: skip
def test_a_path_may_have_any_form(path: Path, form: Callable[[str], Any]) -> None:
    """str, bytes and every ``os.PathLike`` name the same queue; ``path`` is the text."""
    with Queue[int](form(str(path))) as queue:
        queue.put(1)
        assert str(path) == queue.path
    with Queue[int](path) as queue:
        assert 1 == queue.get()


ODD = [
    "žluťoučký 🐎", "two words", "line\nbreak", "-rf", "%s{}", "quo'te\"", "info", "q00000", ".hidden",
]  # fmt: skip


@pytest.mark.parametrize("name", [*ODD, b"\xff\xfe"], ids=repr)
def test_odd_names_are_names(tmp_path: Path, name: str | bytes) -> None:
    """Whatever the file system takes as a name works as a queue's."""
    path = os.path.join(os.fsencode(tmp_path), os.fsencode(name))
    try:
        os.mkdir(path)
    except OSError:
        pytest.skip("this file system refuses the name")
    for _ in range(2):
        with Queue[str](os.fsdecode(path), chunksize=1) as queue:
            queue.put("item")
            assert "item" == queue.get()
            queue.task_done()
    assert repr(os.fsdecode(path)) in repr(queue)


def test_a_relative_path_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path is resolved once: a later ``chdir`` changes nothing."""
    monkeypatch.chdir(tmp_path)
    with Queue[int]("jobs", chunksize=2) as queue:
        queue.put(0)
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        queue.put_many(range(1, 7))
        assert list(range(7)) == queue.get_many(7)
        queue.task_done(7)
        assert str(tmp_path / "jobs") == queue.path
    assert [] == list((tmp_path / "elsewhere").iterdir())


def test_missing_parents_are_created(path: Path) -> None:
    """The directory is made with its parents, for this user alone."""
    deep = path / "a" / "b"
    Queue[int](deep).close()
    assert 0o700 == deep.stat().st_mode & 0o777


def test_a_link_to_a_directory_is_that_directory(tmp_path: Path) -> None:
    """Reached through a symbolic link or not, it is one queue."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with Queue[int](tmp_path / "link") as linked, Queue[int](tmp_path / "real") as real:
        linked.put(1)
        assert 1 == real.get()
