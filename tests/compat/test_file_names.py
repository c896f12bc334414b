"""Names of 1.1.0's file queue: its lock and conditions, its files, what it knows of itself."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crashdisk import watchdog
from families import run
from interpreter import run as run_code
from waiting import PATIENCE, Call, until

from persistqueue import AsyncQueue, Empty, Queue, engines, queue, serializers

CONDITIONS = ("not_empty", "not_full", "all_tasks_done")
ENGINES: dict[str, Any] = {"chunks": None, "memory": engines.MemoryEngine}


@pytest.fixture(autouse=True)
def _watched() -> Iterator[None]:
    """Let nothing hang."""
    with watchdog(60):
        yield


@pytest.fixture(params=sorted(ENGINES))
def q(request: pytest.FixtureRequest, path: Path) -> Iterator[Any]:
    """A queue of at most two items, with none."""
    with Queue[Any](path, maxsize=2, engine=ENGINES[request.param], durability="process") as q:
        yield q


class Waiting:
    """A thread that waits for a condition of a queue."""

    def __init__(self, q: Any, condition: str, timeout: float | None = PATIENCE) -> None:
        self._q, self._condition = q, getattr(q, condition)
        self._timeout = timeout
        self._call = Call(self._wait)
        until(lambda: self._condition._waiters, "the thread waits")

    def _wait(self) -> tuple[bool, float]:
        with self._condition:
            return self._condition.wait(self._timeout), time.monotonic()

    def woken(self) -> float:
        """Return when it was woken."""
        woken, when = self._call.outcome()
        assert woken
        return float(when)

    @property
    def waits(self) -> bool:
        return self._call.is_alive()


def test_a_put_wakes(q: Any) -> None:
    """A thread in ``not_empty.wait()`` goes on within 50 ms of a put by another thread."""
    took = []
    for item in range(9):
        waiting = Waiting(q, "not_empty", timeout=None if item % 2 else PATIENCE)
        before = time.monotonic()
        q.put(item)
        took.append(waiting.woken() - before)
        assert item == q.get(block=False)
        q.task_done()
    assert sorted(took)[4] < 0.05, "the median: the machine is shared"


def test_another_processs_put_wakes(path: Path) -> None:
    """So it does when another process puts."""
    code = """
import sys, time
from persistqueue import Queue
q = Queue(sys.argv[1])
time.sleep(0.1)
before = time.monotonic()
q.put("other's")
print(before)
"""
    with Queue[Any](path) as q:
        waiting = Waiting(q, "not_empty")
        put = run_code(code, path)
        assert waiting.woken() - put < 0.25  # 0.05 on a machine that nobody shares
        assert "other's" == q.get(block=False)


def test_giving_back_wakes(q: Any) -> None:
    """An item that is given back can be taken: who waits for one goes on."""
    q.put("a")
    block = q.process()
    block.__enter__()
    waiting = Waiting(q, "not_empty")
    block.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)  # no failure, so no pause
    waiting.woken()
    assert "a" == q.get(block=False)


def test_a_get_wakes(q: Any) -> None:
    """A thread in ``not_full.wait()`` goes on when something is taken, not when it is put."""
    q.put("a")
    waiting = Waiting(q, "not_full")
    q.put("b")
    assert waiting.waits
    q.get()
    waiting.woken()


def test_the_last_task_done_wakes(q: Any) -> None:
    """A thread in ``all_tasks_done.wait()`` goes on when the last item is finished."""
    q.put("a")
    q.put("b")

    def join() -> str:
        with q.all_tasks_done:
            while q.unfinished_tasks:
                q.all_tasks_done.wait()
        return "joined"

    joining = Call(join)
    until(lambda: q.all_tasks_done._waiters)
    q.get()
    q.task_done()
    assert joining.is_alive()
    q.get()
    q.task_done()
    assert "joined" == joining.outcome()


@pytest.mark.parametrize("condition", CONDITIONS)
def test_nothing_wakes_for_nothing(q: Any, condition: str) -> None:
    """What is there when the wait begins is no reason to wake; time is."""
    q.put("a")
    with getattr(q, condition) as taken:
        assert taken
        assert not getattr(q, condition).wait(0.05)
        assert not getattr(q, condition).wait(0)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_program_may_notify(q: Any, condition: str) -> None:
    """``notify`` wakes as it does for any condition; without the lock it is refused."""
    waiting = Waiting(q, condition, timeout=None)
    with q.mutex:
        getattr(q, condition).notify_all()
    waiting.woken()
    for call in (getattr(q, condition).wait, getattr(q, condition).notify):
        with pytest.raises(RuntimeError):
            call()


def test_what_came_before_the_wait_is_not_missed(q: Any) -> None:
    """A put between the look at the queue and the wait, both under the lock, is noticed."""
    with q.not_empty:
        assert not q._qsize()
        Call(q.put, "a").outcome()  # no call takes the lock: this one came in between
        assert q.not_empty.wait(0)


def test_close_wakes(path: Path) -> None:
    """A thread that waits goes on when the queue is closed: its next call says so."""
    q = Queue[Any](path)
    waiting = Waiting(q, "not_empty", timeout=None)
    q.close()
    waiting.woken()
    with q.mutex:
        assert q.mutex.locked()
    assert not q.mutex.locked()


def test_calls_inside_the_lock(q: Any) -> None:
    """Any call may be made by who holds the lock, and by others meanwhile."""
    with q.mutex:
        q.put("a")
        Call(q.put, "b").outcome()
        assert 2 == q._qsize() == q.qsize()
        assert ["a", "b"] == [q.get(), Call(q.get).outcome()]
        assert not q.mutex.acquire(blocking=False)
        assert not q.mutex.acquire(timeout=0.01)


def test_nothing_is_made_before_it_is_asked_for(path: Path) -> None:
    """No lock and no thread until a program asks; then one lock for all three conditions."""
    threads = threading.active_count()
    q: Any = Queue[int](path)
    q.put(1)
    assert not {"mutex", *CONDITIONS} & set(vars(q))
    conditions = [getattr(q, name) for name in CONDITIONS]
    assert {q.mutex} == {condition._lock for condition in conditions}
    assert conditions == [getattr(q, name) for name in CONDITIONS]
    ended = weakref.ref(q)
    del q
    gc.collect()
    assert ended() is None
    assert threads == threading.active_count()


# -- files ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cbor2", "json", "msgpack", "pickle"])
def test_tailf_is_at_the_next_item(path: Path, name: str) -> None:
    """``load`` of the serializer reads the next item there, which stays where it is."""
    serializer = getattr(serializers, name)
    with Queue[Any](path, chunksize=3, serializer=serializer, durability="process") as q:
        for number in range(8):
            q.put(f"item {number}")
        for number in range(8):
            tail = q.tailf
            assert (False, True) == (tail.closed, tail.readable())
            assert q.info["tail"][2] == tail.tell()
            assert f"item {number}" == serializer.load(tail) == q.peek()
            tail.seek(0)
            assert f"item {number}" == q.get()
            q.task_done()
        assert b"" == q.tailf.read(), "nothing is behind the last item"
        q.put("given back")
        with q.process():
            assert b"" == q.tailf.read()
        q.put("given back")
        block = q.process()
        block.__enter__()
        block.__exit__(KeyError, KeyError(), None)
        assert "given back" == serializer.load(q.tailf)
        files = q.headf, q.tailf
        q.headf.flush()
        os.fsync(q.headf.fileno())
    assert [True, True] == [file.closed for file in files]
    assert q.tailf.closed


def test_there_is_no_tailf_with_an_engine(path: Path) -> None:
    with Queue[int](path, engine=engines.MemoryEngine) as q:
        q.put(1)
        assert (None, None) == (q.headf, q.tailf)


def test_a_missing_chunk_is_no_error_of_tailf(path: Path) -> None:
    """Where the next item's file is gone, the get says so, and not the name."""
    with Queue[int](path, chunksize=1, durability="process") as q:
        q.put(1)
        q.put(2)
        q.get()
        os.unlink(path / "q00001")
        assert q.tailf is not None


def test_info(path: Path) -> None:
    """``_loadinfo`` is what is stored by now; to set ``info`` changes nothing."""
    with Queue[int](path) as q, Queue[int](path) as other:
        other.put(1)
        q.info = q._loadinfo()
        assert other.info == q.info
        assert 1 == q.info["size"]
        q.info = {"size": 7}
        q.update_info = False
        assert 1 == q.qsize() == q._qsize()
        assert str(path / "info") == q._infopath()


def test_asyncio(path: Path) -> None:
    """``AsyncQueue`` has these names as far as 1.1.0's has."""

    async def main() -> None:
        async with AsyncQueue[int](path) as q:
            await q.put(1)
            q.info = await q._loadinfo()
            assert (1, 1, True) == (q.info["size"], q._qsize(), q.update_info)

    run(main())


def test_atomic_rename(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("new")
    (tmp_path / "b").write_text("old")
    queue.atomic_rename(str(tmp_path / "a"), str(tmp_path / "b"))
    assert ["b"] == os.listdir(tmp_path)
    assert "new" == (tmp_path / "b").read_text()


def test_init_is_called_before_the_queue_is_opened(path: Path) -> None:
    """A subclass's ``_init`` is called as 1.1.0 calls it."""

    class Mine(Queue[int]):
        def _init(self, maxsize: int) -> None:
            super()._init(maxsize)
            self.made = maxsize, os.path.exists(self.path)

    with Mine(path, 3) as q:
        assert (3, False) == q.made
        with pytest.raises(Empty):
            q.get(block=False)
