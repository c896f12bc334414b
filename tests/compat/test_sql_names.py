"""Names of 1.1.0's SQL queues: locks, connections, counts, an event."""

from __future__ import annotations

import gc
import logging
import os
import sqlite3
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from crashdisk import in_child
from families import SQL_KINDS, open_sql, run
from interpreter import run as run_code
from upstream import Upstream, upstream_fixture  # noqa: F401
from waiting import Call, until

import persistqueue
from persistqueue import (
    AsyncSQLiteAckQueue,
    AsyncSQLiteQueue,
    PDict,
    QueueClosed,
    QueueLocked,
    SQLiteAckQueue,
    SQLiteQueue,
)
from persistqueue.serializers import pickle
from persistqueue.testing import waiting_calls

each_kind = pytest.mark.parametrize("kind", SQL_KINDS)
each_place = pytest.mark.parametrize("in_memory", [False, True], ids=["file", "memory"])
SOON = 10.0  # s


def opened(kind: str, path: Path, *, in_memory: bool = False, **options: Any) -> Any:
    return getattr(persistqueue, kind)(":memory:" if in_memory else path, **options)


def insert(q: Any, item: Any) -> None:
    """Insert an item by a program's own statement, and commit."""
    more = {"status": 0, "priority": 0}.keys() & q._store.table.columns
    names = ", ".join(["data", "timestamp", *more])
    marks = ", ".join(["?", "?", *("0" for _ in more)])
    with q._putter as connection:
        statement = f"INSERT INTO {q._table_name} ({names}) VALUES ({marks})"
        connection.execute(statement, (pickle.dumps(item), 1.0))


def delete_all(q: Any) -> None:
    q._getter.execute(f"DELETE FROM {q._table_name}")
    q._getter.commit()


# -- counts and locks -------------------------------------------------------------------


@each_kind
def test_counts(path: Path, kind: str) -> None:
    """``_count`` is ``qsize``; ``total`` may be set, and stays what it is."""
    with opened(kind, path) as q:
        q.put("a")
        q.total = q._count()
        q.total += 5
        assert [1] * 4 == [q._count(), q.total, q.size, q.qsize()]


@each_kind
def test_locks(path: Path, kind: str) -> None:
    """The locks may be taken twice, around any call, while other threads go on."""
    with opened(kind, path) as q:
        with q.tran_lock, q.action_lock, q.tran_lock:
            q.put("a")
            Call(q.put, "b").outcome()
            assert {"a", "b"} == {q.get(), Call(q.get).outcome()}
            q.task_done()
        assert q.tran_lock is q.tran_lock
        assert Call(lambda: q.tran_lock.acquire(blocking=False)).outcome()


# -- the second connection --------------------------------------------------------------


@each_place
@each_kind
def test_writes_are_noticed(path: Path, kind: str, in_memory: bool) -> None:
    """What a program inserts or deletes is counted, taken, and let waiting calls go on."""
    with opened(kind, path, in_memory=in_memory, maxsize=1) as q:
        q.put("a")
        putting = Call(q.put, "b", True, SOON) if kind != "PriorityQueue" else Call(q.put, "b")
        until(lambda: waiting_calls(q).parked)
        delete_all(q)
        putting.outcome()
        assert 1 == q.qsize()
        assert "b" == q.get()
        getting = Call(q.get, True, SOON)
        until(lambda: waiting_calls(q).parked)
        insert(q, "c")
        assert "c" == getting.outcome()
        insert(q, "d")
        assert 1 == q.qsize()
        assert "d" == q.get(block=False)


@pytest.mark.parametrize("kind", ["SQLiteQueue", "PriorityQueue", "FILOSQLiteQueue", "UniqueQ"])
@each_place
def test_writes_are_noticed_by_what_is_read_ahead(path: Path, kind: str, in_memory: bool) -> None:
    """Rows that were read ahead and are gone are not handed out."""
    with opened(kind, path, in_memory=in_memory, auto_commit=False) as q:
        q.put_many(["a", "b", "c"])
        first = q.get()
        # A pickle stands behind its checksum; that of a unique queue has none in front.
        delete = f"DELETE FROM {q._table_name} WHERE ? IN (data, substr(data, 18))"
        q._getter.execute(delete, (pickle.dumps("b"),))
        q._getter.commit()
        assert 1 == q.qsize()
        assert {"a", "c"} == {first, q.get()}


@pytest.mark.parametrize("kind", ["SQLiteQueue", "SQLiteAckQueue", "AsyncSQLiteQueue"])
def test_writes_through_the_queues_own_connection_are_noticed(tmp_path: Path, kind: str) -> None:
    """``_conn`` is the queue's own: SQLite tells nobody of what it wrote there."""
    q = open_sql(kind, tmp_path / "q.db", durability="process")
    queue = q._queue if kind.startswith("Async") else q
    q.put("a")
    assert 1 == q.qsize()

    async def deleted() -> None:
        await queue._conn.execute("DELETE FROM queue_default")
        await queue._conn.commit()

    if kind.startswith("Async"):
        run(deleted())
    else:
        queue._conn.execute(f"DELETE FROM {queue._table_name}")
    assert 0 == q.qsize()
    q.put("b")
    assert (1, "b") == (q.qsize(), q.get())
    q.close()


def test_one_thread_waits_for_nobody(path: Path) -> None:
    """What a thread left uncommitted is committed with its next put, as with one connection."""
    with SQLiteQueue[str](path, timeout=0) as q:
        q.put("a")
        q._getter.execute(f"DELETE FROM {q._table_name}")
        q.put("b")
        assert not q._getter.in_transaction
        assert ["b"] == [row["data"] for row in q.queue()]


@pytest.mark.parametrize("options", [{"multithreading": True}, {}], ids=["two", "one"])
def test_other_threads_wait_for_a_commit(path: Path, options: dict[str, Any]) -> None:
    """A statement of one thread that is not committed yet holds up a put of another one."""
    with SQLiteQueue[str](path, **options) as q:
        q._putter.execute(f"INSERT INTO {q._table_name} (data, timestamp) VALUES (?, 1)", (b"",))
        putting = Call(q.put, "b")
        until(lambda: q._session._leader)
        assert q._putter.in_transaction
        q._putter.rollback()
        assert 1 == putting.outcome()
        assert 1 == q.qsize()


def test_two_connections_do_not_commit_for_each_other(path: Path) -> None:
    """With ``multithreading=True`` a put does not commit what a program began; it says so."""
    with SQLiteQueue[str](path, multithreading=True, timeout=0) as q:
        q._getter.execute(f"DELETE FROM {q._table_name}")
        q._getter.execute(
            f"INSERT INTO {q._table_name} (data, timestamp) VALUES (?, 1)", (pickle.dumps("a"),)
        )
        with pytest.raises(QueueLocked):
            q.put("b")
        q._getter.rollback()
        q.put("b")
        assert "b" == q.get()


def test_it_is_opened_for_those_who_ask(path: Path) -> None:
    """Nothing is opened before, one connection then, and it is closed with the queue."""
    q = SQLiteQueue[int](path)
    q.put(1)
    assert {"_getter", "_putter"} & set(dir(q))
    assert q._store.conn.spare is None
    assert q._getter is q._putter
    assert q._getter is not q._conn
    cursor = q._getter.execute(f"SELECT * FROM {q._table_name}")  # half read
    connection = q._getter
    q.close()
    for use in (lambda: connection.execute("SELECT 1"), cursor.fetchone, lambda: q._getter):
        with pytest.raises(sqlite3.ProgrammingError):
            use()
    with pytest.raises(QueueClosed):
        _ = q._putter


def test_what_is_not_committed_is_undone_at_the_end(path: Path) -> None:
    """Closing the queue, or forgetting it, commits nothing of a program's."""
    for end in (lambda q: q.close(), lambda q: None):
        q: Any = SQLiteQueue[int](path, durability="process")
        q.put(1)
        q._putter.execute(f"DELETE FROM {q._table_name}")
        end(q)
        del q
    with SQLiteQueue[int](path) as q:
        assert 2 == q.qsize()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forks(path: Path) -> None:
    """Neither side of a fork has the other's connection, also where one is half read."""
    with SQLiteQueue[int](path, durability="process") as q:
        q.put_many(range(600))
        half_read = q._getter.execute(f"SELECT * FROM {q._table_name}")
        half_read.fetchone()
        files = {path.resolve() / name for name in ("data.db", "data.db-wal", "data.db-shm")}

        def child(acknowledge: Callable[..., Any]) -> None:
            links = (
                [f"/dev/fd/{n}" for n in os.listdir("/dev/fd")] if os.path.isdir("/dev/fd") else []
            )
            assert not files & {Path(os.path.realpath(link)) for link in links}
            assert (600,) == q._getter.execute("SELECT COUNT(*) FROM queue_default").fetchone()
            assert 0 == q.get()
            insert(q, "child's")

        status, _ = in_child(child)
        assert 0 == status
        with pytest.raises(sqlite3.ProgrammingError):
            half_read.fetchone()
        assert 600 == q.qsize()
        assert (600,) == q._getter.execute("SELECT COUNT(*) FROM queue_default").fetchone()
        delete_all(q)
        assert 0 == q.qsize()


def test_statements_of_a_subclass(path: Path) -> None:
    """The decorator runs a statement and commits it; an error leaves nothing behind."""

    class Mine(SQLiteQueue[Any]):
        @persistqueue.sqlbase.with_conditional_transaction
        def add(self, item: Any) -> Any:
            """Add it."""
            return f"INSERT INTO {self._table_name} (data, timestamp) VALUES (?, 1)", (item,)

    with Mine(path) as q:
        assert "Add it." == Mine.add.__doc__
        assert 1 == q.add(pickle.dumps("a"))
        with pytest.raises(sqlite3.Error):
            q.add(object())
        assert not q._putter.in_transaction
        assert ["a"] == [row["data"] for row in q.queue()]
        persistqueue.sqlbase.commit_ignore_error(q._putter)


# -- put_event and cursor ---------------------------------------------------------------


@each_place
@each_kind
def test_put_event(path: Path, kind: str, in_memory: bool) -> None:
    """It is set by every put since it was cleared, and not by what waits since then."""
    with opened(kind, path, in_memory=in_memory) as q:
        event = q.put_event
        assert not event.is_set()
        assert not event.wait(0.001)
        waiting = Call(event.wait, SOON)
        q.put("a")
        assert waiting.outcome()
        assert event.is_set()
        event.clear()
        assert not event.is_set(), "the item that waits was put before"
        q.put("b")
        assert event.wait(0)
        event.clear()
        event.set()
        assert event.is_set()
        waiting = Call(event.wait)
        assert waiting.outcome()
    assert event.is_set() in (True, False), "a closed queue is no error"


def test_put_event_of_others(path: Path) -> None:
    """Another object's put sets it; one that came before is there when it is first asked for."""
    with SQLiteQueue[int](path) as q, SQLiteQueue[int](path) as other:
        event = q.put_event
        waiting = Call(event.wait, SOON)
        other.put(1)
        assert waiting.outcome()
        assert other.put_event.is_set()


def test_cursor(path: Path) -> None:
    """It is the highest id that is not finished; to set it gives back what is behind."""
    with SQLiteQueue[str](path, auto_commit=False) as q:
        q.put_many(["a", "b", "c"])
        assert 0 == q.cursor
        assert ["a", "b"] == [q.get(), q.get()]
        assert 2 == q.cursor
        q.cursor = 1
        assert 1 == q.cursor
        assert ["b", "c"] == [q.get(), q.get()]
        q.cursor = 99
        assert 3 == q.cursor
        q.task_done()
        assert (0, 0) == (q.cursor, q.qsize())
    with SQLiteAckQueue[str](path) as acks:
        acks.put("a")
        acks.get()
        acks.cursor = 0
        assert (0, 1) == (acks.cursor, acks.unack_count())


# -- asyncio ----------------------------------------------------------------------------


def test_asyncio(tmp_path: Path) -> None:
    """The async classes have ``_count``, ``total`` and ``cursor``, as far as 1.1.0's have."""

    async def main() -> None:
        async with AsyncSQLiteQueue[int](tmp_path / "q.db") as q:
            await q.put(1)
            q.total += 1
            assert (1, 1, 0) == (await q._count(), q.total, q.cursor)

    run(main())


# -- PDict ------------------------------------------------------------------------------


def test_the_dicts_inherited_names(path: Path) -> None:
    """A dict has the names of a queue; those that mean nothing do nothing, or say so."""
    with PDict(path, "d") as d:
        assert (True, 0, 0) == (d.empty(), d.qsize(), d.total)
        d["a"] = 1
        d.task_done()
        d.total = 7
        assert (1, 1, 1, 1) == (d.qsize(), d.size, d.total, d._count())
        assert (False, False, True, "data.db", False) == (
            d.empty(), d.full(), d.auto_commit, d.db_file_name, d.memory_sql,
        )  # fmt: skip
        assert [{"id": "a", "data": 1}] == d.queue()
        with pytest.raises(TypeError, match="popitem"):
            d.get_nowait()
        with d.tran_lock, d._putter as connection:
            connection.execute("DELETE FROM dict_d")
        assert {} == d
        event = d.put_event
        d["b"] = 2
        assert event.is_set()
        d.cursor = 3
        assert 0 == d.cursor


def test_a_dict_opened_as_its_base_is(path: Path) -> None:
    """A subclass may call the constructor that 1.1.0's dict inherits."""

    class Mine(PDict):
        def __init__(self, path: Any, name: str, db_file_name: str) -> None:
            super(PDict, self).__init__(
                path, name=name, multithreading=True, auto_commit=True, db_file_name=db_file_name
            )

    with Mine(path, "d", "mine.sqlite") as mine:
        mine["a"] = 1
        assert "mine.sqlite" == mine.db_file_name
    with PDict(path / "mine.sqlite", "d") as d:
        assert {"a": 1} == d


# -- resume_unack_tasks -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["SQLiteAckQueue", "AsyncSQLiteAckQueue"])
def test_resuming_beside_the_living(tmp_path: Path, kind: str) -> None:
    """What a living object holds is left to it, or taken by force; then its ack says nothing."""
    path = tmp_path / "q.db"
    path.touch()
    first, second = open_sql(kind, path), open_sql(kind, path)
    first.put_many(["a", "b"])
    a, b = first.get(), second.get()
    second.resume_unack_tasks()
    assert (1, 1) == (second.unack_count(), second.ready_count())
    second.resume_unack_tasks(force=True)
    assert (0, 2) == (second.unack_count(), first.qsize())
    assert "a" == second.get()
    assert first.ack(a) is None, "it is the other's by now"
    assert 1 == second.unack_count()
    assert second.ack("a") is not None
    assert b == first.get()
    first.close()
    second.close()


def test_force_takes_what_another_process_holds(path: Path) -> None:
    """A living process's items come again by force alone."""
    code = """
import sys
from persistqueue import SQLiteAckQueue
q = SQLiteAckQueue(sys.argv[1])
q.resume_unack_tasks()
left = q.qsize()
q.resume_unack_tasks(force=True)
print((left, q.get(block=False)))
"""
    with SQLiteAckQueue[str](path) as q:
        q.put("held")
        q.get()
        assert (0, "held") == run_code(code, path)
        assert 0 == q.qsize()
        assert 1 == q.unack_count()


# -- files and tables of other names ----------------------------------------------------


def test_another_file_by_a_patch(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A patch that connects to another file names the database, with the backlog that is there."""
    path.mkdir()
    with SQLiteAckQueue[str](path, db_file_name="data.sqlite") as q:
        q.put("backlog")

    def connect(self: Any, path: Any, multithreading: bool, timeout: float) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{path}/data.sqlite", timeout=timeout, check_same_thread=not multithreading
        )

    monkeypatch.setattr(SQLiteAckQueue, "_new_db_connection", connect)
    with SQLiteAckQueue[str](path, multithreading=True) as q:
        assert ["backlog"] == [row["data"] for row in q.queue()]
        q.put("more")
        delete_all(q)
        assert 0 == q.qsize()
        q.put("last")
    assert {"data.sqlite"} == {name.partition("-")[0] for name in os.listdir(path)}
    with SQLiteAckQueue[str](":memory:") as memory:
        memory.put("kept in memory")
    monkeypatch.undo()
    with SQLiteAckQueue[str](path, db_file_name="data.sqlite") as q:
        assert "last" == q.get()


def test_a_backlog_under_other_names(
    upstream: Upstream, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What 1.1.0 stored in another file, or under another table's name, is there."""
    code = """
import sqlite3, sys
import persistqueue
class Jobs(persistqueue.UniqueQ):
    _TABLE_NAME = "jobs"
    def _new_db_connection(self, path, multithreading, timeout):
        return sqlite3.connect(path + "/data.sqlite")
class Settings(persistqueue.PDict):
    _TABLE_NAME = "settings"
Jobs(sys.argv[1], name="mine").put("backlog")
Settings(sys.argv[1], "mine")["a"] = 1
"""
    done = upstream.run(code, path)
    assert done.returncode == 0, done.stderr

    class Jobs(persistqueue.UniqueQ[str]):
        _TABLE_NAME = "jobs"

        def _new_db_connection(self, path: Any, *_args: Any) -> Any:
            return sqlite3.connect(f"{path}/data.sqlite")

    class Settings(PDict):
        _TABLE_NAME = "settings"

    with Jobs(path, name="mine") as q, Settings(path, "mine") as d:
        assert q.put("backlog") is None
        assert ("backlog", {"a": 1}) == (q.get(block=False), d)


@pytest.mark.parametrize("name", ["SQLiteQueue", "PDict"])
def test_another_file_by_a_subclass(path: Path, name: str) -> None:
    """A subclass may adjust the connection, or name a file in a new directory."""
    kind: Any = getattr(persistqueue, name)
    made: list[Any] = []

    class Adjusted(kind):  # type: ignore[misc]
        def _new_db_connection(self, *args: Any) -> Any:
            made.append(super()._new_db_connection(*args))
            return made[-1]

    class Elsewhere(kind):  # type: ignore[misc]
        def _new_db_connection(self, path: Any, *_args: Any) -> Any:
            return sqlite3.connect(f"{path}/other.sqlite")

    class Nowhere(kind):  # type: ignore[misc]
        def _new_db_connection(self, *_args: Any) -> Any:
            return sqlite3.connect(":memory:")

    for mine, file in ((Adjusted, "data.db"), (Elsewhere, "other.sqlite")):
        with mine(path / mine.__name__, name="n") as q:
            _ = q._getter
            assert {file} == {name.partition("-")[0] for name in os.listdir(path / mine.__name__)}
    assert 2 == len(made), "one to see where it is, one for the program"
    with pytest.raises(TypeError, match="would not be seen"):
        Nowhere(path / "nowhere", name="n")
    for connection in made:
        with pytest.raises(sqlite3.ProgrammingError):
            connection.execute("SELECT 1")


@pytest.mark.parametrize("kind", [*SQL_KINDS, *(f"Async{kind}" for kind in SQL_KINDS)])
def test_another_table_by_a_subclass(tmp_path: Path, kind: str) -> None:
    """``_TABLE_NAME`` is in front of the queue's name, as in 1.1.0; other queues are others."""
    path = tmp_path / "q.db"
    path.touch()
    base = getattr(persistqueue, kind)
    mine = type("Mine", (base,), {"_TABLE_NAME": "mine", "__module__": __name__})
    persistqueue.Mine = mine  # type: ignore[attr-defined]
    persistqueue.AsyncMine = mine  # type: ignore[attr-defined]
    q = open_sql("AsyncMine" if kind.startswith("Async") else "Mine", path, name="n")
    q.put("a")
    with closing(sqlite3.connect(path)) as connection:
        assert (1,) == connection.execute("SELECT COUNT(*) FROM mine_n").fetchone()
    plain = open_sql(kind, path, name="n")
    assert 0 == plain.qsize()
    assert "a" == q.get()
    q.close()
    plain.close()


def test_a_patched_table_is_that_classs_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A patch of one class is no patch of the classes below, which have tables of their own."""
    monkeypatch.setattr(SQLiteQueue, "_TABLE_NAME", "patched")
    monkeypatch.setattr(PDict, "_TABLE_NAME", "settings")
    with SQLiteQueue[int](path) as q, persistqueue.UniqueQ[int](path) as unique:
        assert '"patched_default"' == q._table_name
        assert '"unique_queue_default"' == unique._table_name
        assert ("_id", "_id") == (q._KEY_COLUMN, q._key_column)
    with PDict(path, "n") as d:
        assert ('"settings_n"', "key") == (d._table_name, d._key_column)


def test_an_async_table_without_a_suffix(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """1.1.0's async classes leave the name out: rows of a subclass's table are adopted, too."""
    file = tmp_path / "q.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE jobs (_id INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB,"
                           " timestamp FLOAT)")  # fmt: skip
        connection.execute("INSERT INTO jobs (data, timestamp) VALUES (?, 1)", (pickle.dumps("a"),))
        connection.commit()

    class Jobs(AsyncSQLiteQueue[str]):
        _TABLE_NAME = "jobs"

    class AckJobs(AsyncSQLiteAckQueue[str]):
        _TABLE_NAME = "jobs"

    async def main() -> None:
        async with Jobs(file, name="mine") as q:
            assert "a" == await q.get()
        async with AckJobs(file, name="acks") as acks:
            assert 0 == await acks.qsize()

    with caplog.at_level(logging.WARNING):
        run(main())
    assert "jobs_mine" in caplog.text


def test_a_forgotten_queue_is_closed(path: Path) -> None:
    """An object whose names were used is closed when nothing refers to it any more."""
    q: Any = SQLiteQueue[int](path)
    held = q.tran_lock, q.put_event, q._getter
    ended = weakref.ref(q)
    del q
    gc.collect()
    assert ended() is None
    with pytest.raises(sqlite3.ProgrammingError):
        held[2].execute("SELECT 1")


def test_one_for_all_threads(path: Path) -> None:
    """Threads that ask for a name at the same moment get the same object."""
    with SQLiteQueue[int](path) as q:
        barrier = threading.Barrier(8)

        def ask() -> Any:
            barrier.wait()
            return id(q.tran_lock), id(q.put_event), id(q._getter)

        previous = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            asked = [Call(ask) for _ in range(8)]
            assert 1 == len({call.outcome() for call in asked})
        finally:
            sys.setswitchinterval(previous)
