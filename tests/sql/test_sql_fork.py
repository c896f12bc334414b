"""Processes that fork while they have an SQLite database open."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from crashdisk import in_child, watchdog
from waiting import Call, until

from persistqueue import (
    AsyncSQLiteQueue,
    FILOSQLiteQueue,
    PDict,
    PriorityQueue,
    QueueFailed,
    SQLiteAckQueue,
    SQLiteQueue,
    UniqueQ,
)
from persistqueue._sql.sqlite import forks as forkgate
from persistqueue.serializers import json

KINDS = [FILOSQLiteQueue, PriorityQueue, SQLiteAckQueue, SQLiteQueue, UniqueQ]

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
    pytest.mark.filterwarnings(
        "ignore:This process .* is multi-threaded, use of fork:DeprecationWarning"
    ),
]


@pytest.fixture(autouse=True)
def _watched() -> Iterator[None]:
    """Let nothing hang."""
    with watchdog(60):
        yield


def child(work: Callable[[], Any]) -> None:
    """Run ``work`` in a forked process, to its end."""
    status, _ = in_child(lambda acknowledge: work())
    assert 0 == status, "see the traceback above"


class Child:
    """A forked process that does something, waits for its parent, and does something else."""

    def __init__(self, first: Callable[[], Any], then: Callable[[], Any]) -> None:
        self._ready, ready = os.pipe()
        go, self._go = os.pipe()
        self._status = Call(child, self._work(first, then, ready, go))
        assert b"." == os.read(self._ready, 1)
        os.close(ready)
        os.close(go)

    @staticmethod
    def _work(
        first: Callable[[], Any], then: Callable[[], Any], ready: int, go: int
    ) -> Callable[[], None]:
        def work() -> None:
            first()
            os.write(ready, b".")
            os.read(go, 1)
            then()

        return work

    def go_on(self) -> None:
        """Let it do the rest, and wait for its end."""
        os.write(self._go, b".")
        self._status.outcome()
        os.close(self._ready)
        os.close(self._go)


def stored(kind: Any, path: Path) -> list[Any]:
    """Return what a new object finds, sorted."""
    with kind(path) as q:
        return sorted(row["data"] for row in q.queue())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("auto_commit", [True, False])
def test_parent_closes_first(kind: Any, auto_commit: bool, path: Path) -> None:
    """What a child puts after its parent closed the queue is stored."""
    options = {} if kind is SQLiteAckQueue else {"auto_commit": auto_commit}
    q = kind(path, **options)
    q.put("0")
    worker = Child(lambda: q.put("1"), lambda: [q.put(str(n)) for n in range(2, 9)])
    q.close()
    worker.go_on()
    assert [str(n) for n in range(9)] == stored(kind, path)


def test_child_opens_its_own(path: Path) -> None:
    """What a child puts with an object of its own is stored, whatever its parent closes."""
    q = SQLiteQueue[str](path)
    q.put("0")
    own: list[Any] = []

    def first() -> None:
        own.append(SQLiteQueue[str](path))
        own[0].put("1")

    worker = Child(first, lambda: own[0].put_many(["2", "3"]))
    q.close()
    worker.go_on()
    assert ["0", "1", "2", "3"] == stored(SQLiteQueue, path)


def _produce(q: Any, goes: Any, name: str) -> None:
    q.put(f"{name}0")
    goes.wait()
    q.put_many([f"{name}1", f"{name}2"])


def test_multiprocessing_workers_outlive_the_block(path: Path) -> None:
    """Workers of multiprocessing lose nothing when the parent leaves its ``with`` first."""
    context = multiprocessing.get_context("fork")
    goes = context.Event()
    with SQLiteQueue[str](path) as q:
        q.put("main")
        workers = [context.Process(target=_produce, args=(q, goes, name)) for name in "ab"]
        for worker in workers:
            worker.start()
        until(lambda: q.qsize() == 3)
    goes.set()
    for worker in workers:
        worker.join()
        assert 0 == worker.exitcode
        worker.close()
    assert ["a0", "a1", "a2", "b0", "b1", "b2", "main"] == stored(SQLiteQueue, path)


def test_child_inherits_nothing_open(path: Path) -> None:
    """In a child neither the database nor its log is open before it calls something."""

    def still_open() -> list[str]:
        targets = []
        for name in os.listdir("/dev/fd"):
            try:
                targets.append(os.readlink(f"/dev/fd/{name}"))
            except OSError:
                continue
        return [target for target in targets if target.startswith(str(path.resolve()))]

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("nowhere to look")
    with SQLiteQueue[str](path) as q, PDict(path, "dict") as d:
        q.put("item")
        d["key"] = 1
        assert [] != still_open()

        def work() -> None:
            assert [] == still_open()

        child(work)


@pytest.mark.parametrize("kind", [FILOSQLiteQueue, PriorityQueue, SQLiteQueue, UniqueQ])
def test_what_is_out_stays_out(kind: Any, path: Path) -> None:
    """A parent that forks gets nothing twice, and can finish what it took."""
    with kind(path, auto_commit=False) as q:
        q.put_many(["a", "b", "c"])
        taken = [q.get(), q.get()]
        child(q.qsize)
        taken.append(q.get())
        assert ["a", "b", "c"] == sorted(taken)
        assert 0 == q.qsize()
        q.task_done()
    assert [] == stored(kind, path)


def test_what_is_unacked_stays_unacked(path: Path) -> None:
    """An ack queue that forks gets nothing twice, and can ack what it took."""
    with SQLiteAckQueue[str](path) as q:
        q.put_many(["a", "b"])
        assert "a" == q.get()
        child(q.qsize)
        assert "b" == q.get()
        q.ack("a")
        q.ack("b")
        assert (0, 2) == (q.unack_count(), q.acked_count())


def test_unacked_where_nothing_can_be_locked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on a file system without locks, where rows have no owner."""
    with SQLiteAckQueue[str](path) as q:
        monkeypatch.setattr(q._store._owner, "_supported", False)
        q.put_many(["a", "b"])
        assert "a" == q.get()
        child(lambda: None)
        assert "b" == q.get()
        assert 0 == q.qsize()


def test_in_memory(path: Path) -> None:
    """A queue in memory keeps its items over a fork, on both sides."""
    with SQLiteQueue[str](":memory:") as q:
        q.put("item")

        def work() -> None:
            assert "item" == q.get(block=False)

        child(work)
        assert "item" == q.get(block=False)


def test_dict(path: Path) -> None:
    """What a child sets in a dict after its parent closed it is stored."""
    d = PDict(path, "dict")
    d["parent"] = 1
    worker = Child(lambda: d.update(a=2), lambda: d.update(b=3))
    d.close()
    worker.go_on()
    with PDict(path, "dict") as again:
        assert {"parent": 1, "a": 2, "b": 3} == again.copy()


def test_fork_while_other_threads_put(path: Path) -> None:
    """Forks in the middle of other threads' puts cost neither side an item."""
    stop = threading.Event()
    with SQLiteQueue[Any](path, durability="process") as q:

        def work(name: int) -> int:
            number = 0
            while not stop.is_set():
                q.put((name, number))
                number += 1
            return number

        calls = [Call(work, name) for name in range(3)]
        until(lambda: q.qsize() > 10)
        for fork in range(20):
            child(lambda fork=fork: q.put(("child", fork)))  # type: ignore[misc]
        stop.set()
        expected = Counter({("child", fork): 1 for fork in range(20)})
        for name, call in enumerate(calls):
            expected.update((name, number) for number in range(call.outcome()))
        assert expected == Counter(row["data"] for row in q.queue())


class Forking:
    """A serializer that calls something in the middle of a get."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], Any] = lambda: None

    dumps = staticmethod(json.dumps)

    def loads(self, data: Any) -> Any:
        """Call it, once."""
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        return json.loads(data)


def refused(path: Path) -> None:
    """See that this process cannot use the database."""
    with pytest.raises(QueueFailed, match="forked in the middle of a call"):
        SQLiteQueue[str](path)


def test_fork_from_inside_a_call(path: Path) -> None:
    """A fork in the middle of a call of the same thread waits for nobody; the child is refused."""
    serializer = Forking()
    with SQLiteQueue[str](path, serializer=serializer) as q:
        q.put_many(["a", "b"])
        serializer.meanwhile = lambda: child(lambda: refused(path))
        assert ["a", "b"] == [q.get(), q.get()]
    assert [] == stored(SQLiteQueue, path)


def test_fork_beside_a_call_that_does_not_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork waits for another thread's call for a bounded time; then the child is refused."""
    monkeypatch.setattr(forkgate, "_FORK_PATIENCE", 0.05)
    serializer, inside, go_on = Forking(), threading.Event(), threading.Event()
    with SQLiteQueue[str](path, serializer=serializer) as q:
        q.put("item")
        serializer.meanwhile = lambda: (inside.set(), go_on.wait())
        get = Call(q.get)
        assert inside.wait(20)
        child(lambda: refused(path))
        go_on.set()
        assert "item" == get.outcome()
        q.put("another")
        assert ["another"] == [row["data"] for row in q.queue()]


def test_opened_between_the_closing_and_the_fork(path: Path) -> None:
    """A child is refused a database that something opened again just before the fork."""
    with SQLiteQueue[str](path) as q:
        q.put("a")
        q._store.conn.suspend = lambda: None  # type: ignore[method-assign]
        child(lambda: refused(path))
        del q._store.conn.suspend
        child(lambda: q.put("b"))
        assert ["a", "b"] == [q.get(), q.get()]


def test_removed_after_the_fork(path: Path) -> None:
    """A database that is removed between a fork and the next call is not created anew."""
    with SQLiteQueue[str](path) as q:
        q.put("item")
        child(lambda: None)
        (path / "data.db").unlink()
        for _ in range(2):
            with pytest.raises(QueueFailed, match="removed or replaced"):
                q.put("lost")
    assert [] == list(path.iterdir())


def test_async_queue(path: Path) -> None:
    """What the child of an asyncio program puts is stored, whatever its parent closes."""

    async def parent() -> None:
        q = await AsyncSQLiteQueue[str](path)
        await q.put("0")
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                asyncio.run(use(q))
                status = 0
            finally:
                os._exit(status)
        await q.put("1")
        assert b"." == os.read(ready, 1)
        await q.close()
        os.write(go, b".")
        assert 0 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])  # noqa: ASYNC222
        q = await AsyncSQLiteQueue[str](path)
        assert ["0", "1", "2", "3"] == sorted(row["data"] for row in await q.queue())
        await q.close()

    async def use(q: AsyncSQLiteQueue[str]) -> None:
        await q.put("2")
        os.write(say, b".")
        os.read(gone, 1)
        await q.put("3")

    ready, say = os.pipe()
    gone, go = os.pipe()
    try:
        asyncio.run(parent())
    finally:
        for end in (ready, say, gone, go):
            os.close(end)
