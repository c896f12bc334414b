"""The thread behind an async SQLite object outlives the loops of those who wait for it."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from loops import eventually
from waiting import PATIENCE

from persistqueue import AsyncPDict, AsyncSQLiteQueue
from persistqueue._sql.sqlite.worker import SqliteWorker


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database's file, which does not exist yet."""
    return tmp_path / "jobs.db"


@contextmanager
def held_back(obj: Any, name: str) -> Iterator[threading.Event]:
    """Have a function of an object's store wait; yields what is set when it has begun."""
    begun, free = threading.Event(), threading.Event()
    real = getattr(obj, name)

    def slow(*args: Any) -> Any:
        begun.set()
        free.wait(PATIENCE)
        return real(*args)

    setattr(obj, name, slow)
    try:
        yield begun
    finally:
        setattr(obj, name, real)
        free.set()


def leave(call: Callable[[], Coroutine[Any, Any, Any]], begun: threading.Event) -> None:
    """Close a loop while a call is on the thread."""

    async def main() -> None:
        task = asyncio.create_task(call())
        await eventually(begun.is_set)
        task.cancel()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def soon(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on a new loop, with a bound on its time."""
    return asyncio.run(asyncio.wait_for(coroutine, PATIENCE))


@pytest.mark.parametrize(("verb", "slow"), [("queue", "all_rows"), ("shrink_disk_usage", "shrink")])
def test_a_loop_closed_during_a_long_call(verb: str, slow: str, file: Path) -> None:
    """The thread goes on, and the next loop is served."""
    q = AsyncSQLiteQueue[str](file)

    async def again() -> list[Any]:
        got = await q.get()
        await q.close()
        return [got]

    soon(q.put("a"))
    with held_back(q._store, slow) as begun:
        leave(getattr(q, verb), begun)
    assert ["a"] == soon(again())


@pytest.mark.parametrize("kind", [AsyncPDict, AsyncSQLiteQueue])
def test_a_loop_closed_during_opening(kind: Any, file: Path) -> None:
    """The next loop finds the object open, or opens it."""
    q = kind(file, "x")

    async def again() -> None:
        await q.sync()
        await q.close()

    with held_back(q._store, "open") as begun:
        leave(q._opened, begun)
    soon(again())


def test_what_nobody_hears_of_goes_back_behind_a_long_call(file: Path) -> None:
    """An item that lands for a closed loop is stored again when the object is dropped."""
    q = AsyncSQLiteQueue[str](file)
    soon(q.put("a"))
    tasks: list[asyncio.Task[Any]] = []

    async def main() -> None:
        q._worker.start(q._store.all_rows)
        for call in (q.get(), q._worker.run(int)):
            tasks.append(asyncio.create_task(call))
            await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    with held_back(q._store, "all_rows"):
        loop.run_until_complete(main())
        loop.close()
    q._session.abandon()
    q._session.linger(PATIENCE)
    with closing(sqlite3.connect(file)) as connection:
        assert [(1,)] == connection.execute("SELECT COUNT(*) FROM queue_default").fetchall()
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_a_loop_closed_during_a_call_of_aiosqlite(file: Path) -> None:
    """What is asked of the connection itself does not end the thread either."""
    q = AsyncSQLiteQueue[str](file)
    begun, free = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        free.wait(PATIENCE)

    async def again() -> list[Any]:
        connection = q._conn
        assert connection is not None
        cursor = await connection.execute("SELECT COUNT(*) FROM queue_default")
        return [await cursor.fetchone(), await q.get(), await q.close()]

    soon(q.put("a"))
    connection = q._conn
    assert connection is not None
    leave(lambda: connection._execute(wait), begun)  # type: ignore[no-untyped-call, unused-ignore]
    free.set()
    assert [(1,), "a", None] == soon(again())


class Wrong:
    """A future that cannot be answered."""

    def get_loop(self) -> None:
        raise ZeroDivisionError


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_replaced() -> None:
    """Whatever ended it, the next hop gets another one."""
    worker = SqliteWorker()
    assert 1 == soon(worker.run(int, "1"))
    first = worker._thread
    assert first is not None
    worker._running()._tx.put_nowait((Wrong(), int))  # type: ignore[arg-type]
    first.join(PATIENCE)
    assert not first.is_alive()
    assert 2 == soon(worker.run(int, "2"))
    assert worker._thread is not first


def test_errors_and_what_is_held() -> None:
    """What a function raises reaches its caller, and nothing is kept when it is over."""

    class Thing:
        pass

    worker = SqliteWorker()
    refs = []

    def fail(_: Thing) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        thing = Thing()
        refs.append(weakref.ref(thing))
        with pytest.raises(ZeroDivisionError):
            await worker.run(fail, thing)

    soon(main())
    soon(worker.run(int))  # behind it
    gc.collect()
    assert [None] == [ref() for ref in refs]
    worker.stop()
