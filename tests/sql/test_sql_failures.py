"""Full disks and databases that go away: an error says what happened, and nothing else did."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import pickle
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from no_log import no_log  # noqa: F401 - a fixture
from waiting import Call, until

from persistqueue import (
    AsyncPDict,
    AsyncSQLiteAckQueue,
    AsyncSQLiteQueue,
    FILOSQLiteQueue,
    PDict,
    PersistQueueError,
    PriorityQueue,
    QueueCorrupt,
    QueueFailed,
    QueueLocked,
    SerializationError,
    SQLiteAckQueue,
    SQLiteQueue,
)

BIG = "x" * 200_000


def fill(connection: Any, pages: int = 3) -> None:
    """Let the database grow by a few pages more, and no further."""
    now = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={now + pages}")


def forbid(q: Any, what: str, row: int, how: str) -> None:
    """Let SQLite fail when it deletes or updates a row; ROLLBACK undoes the transaction, too."""
    q._store.conn.driver.execute(
        f"CREATE TRIGGER no BEFORE {what} ON {q._table_name} WHEN OLD._id = {row} "
        f"BEGIN SELECT RAISE({how}, 'forbidden'); END"
    )


def is_full(error: BaseException) -> bool:
    """Return whether it is what Python says of a full disk."""
    return isinstance(error, OSError) and error.errno == errno.ENOSPC


async def together(q: Any, *calls: Any) -> list[Any]:
    """Return what calls come to that share one batch."""
    first = asyncio.ensure_future(q.qsize())
    await asyncio.sleep(0)  # it is on its way, and the others go together behind it
    return (await asyncio.gather(first, *calls, return_exceptions=True))[1:]


def test_full_disk_in_a_shared_batch(path: Path) -> None:
    """An update that does not fit fails alone; who shares its batch is served once, and right."""

    async def main() -> None:
        async with AsyncSQLiteQueue[str](path) as q:
            ids = await q.put_many(["a", "b", "c", "d"])
            fill(q._store.conn.driver)
            update, get, put, second = await together(
                q, q.update(BIG, ids[3]), q.get(), q.put("small"), q.get()
            )
            assert is_full(update)
            assert ["a", 5, "b"] == [get, put, second]
            assert ["c", "d", "small"] == [row["data"] for row in await q.queue()]

    asyncio.run(main())


def test_full_disk_for_an_ack_queue(path: Path) -> None:
    """The same where rows are marked."""

    async def main() -> None:
        async with AsyncSQLiteAckQueue[str](path) as q:
            ids = await q.put_many(["a", "b", "c"])
            fill(q._store.conn.driver)
            taken = await q.get()
            update, get, put, _ = await together(
                q, q.update(BIG, ids[2]), q.get(), q.put("small"), q.ack(taken)
            )
            assert is_full(update)
            assert ["b", 4] == [get, put]
            assert (2, 1, 1) == (await q.qsize(), await q.unack_count(), await q.acked_count())

    asyncio.run(main())


def test_full_disk_for_a_dict(path: Path) -> None:
    """A value that does not fit fails alone, and what else was set in its batch is stored."""

    async def main() -> None:
        d = await AsyncPDict(path, "dict")
        await d.set("a", 1)
        fill(d._store.conn.driver)
        first = asyncio.ensure_future(d.get("a"))
        await asyncio.sleep(0)
        outcomes = await asyncio.gather(
            first, d.set("b", BIG), d.set("c", 3), return_exceptions=True
        )
        assert is_full(outcomes[1])
        assert {"a": 1, "c": 3} == await d.copy()
        await d.close()

    asyncio.run(main())


@pytest.mark.parametrize("kind", [SQLiteQueue, SQLiteAckQueue])
def test_full_disk_for_a_lone_call(kind: Any, path: Path) -> None:
    """An update, a put and many puts raise the same error, and change nothing."""
    with kind(path) as q:
        ids = q.put_many(["a", "b"])
        fill(q._conn)
        calls: list[Callable[[], Any]] = [
            lambda: q.update(BIG, ids[0]),
            lambda: q.put(BIG),
            lambda: q.put_many(["small", BIG]),
        ]
        for call in calls:
            with pytest.raises(OSError, match="No space left on device"):
                call()
        assert ["a", "b"] == [q.get(), q.get()]


def test_full_disk_for_a_lone_dict(path: Path) -> None:
    """A dict that cannot set all of an update's keys raises OSError and sets none."""
    with PDict(path, "dict") as d:
        d["a"] = 1
        fill(d._conn)
        with pytest.raises(OSError, match="No space left on device"):
            d.update(a=2, b=BIG)
        assert {"a": 1} == d.copy()


@pytest.mark.parametrize("how", ["ABORT", "ROLLBACK"])
def test_get_that_fails_half_way(how: str, path: Path) -> None:
    """A get_many whose third row cannot be deleted takes none, whatever SQLite undoes itself."""
    with SQLiteQueue[str](path) as q:
        q.put_many(["a", "b", "c", "d"])
        forbid(q, "DELETE", 3, how)
        with pytest.raises(PersistQueueError, match="forbidden"):
            q.get_many(4)
        assert 4 == q.qsize()
        assert ["a", "b", "c", "d"] == [row["data"] for row in q.queue()]
        assert ["a", "b"] == q.get_many(2)


@pytest.mark.parametrize("how", ["ABORT", "ROLLBACK"])
def test_ack_get_that_fails_half_way(how: str, path: Path) -> None:
    """The same for a queue that marks rows."""
    with SQLiteAckQueue[str](path) as q:
        q.put_many(["a", "b", "c"])
        forbid(q, "UPDATE", 3, how)
        with pytest.raises(PersistQueueError, match="forbidden"):
            q.get_many(3)
        assert (3, 0) == (q.qsize(), q.unack_count())


@pytest.mark.parametrize("how", ["ABORT", "ROLLBACK"])
def test_get_that_fails_in_a_shared_batch(how: str, path: Path) -> None:
    """Gets that fail take nothing, and the put beside them is stored once."""

    async def main() -> None:
        async with AsyncSQLiteQueue[str](path) as q:
            await q.put_many(["a", "b"])
            forbid(q, "DELETE", 1, how)
            outcomes = await together(q, q.put("c"), q.get(), q.get_many(2), q.put("d"))
            assert [3, 4] == [outcomes[0], outcomes[3]]
            assert all("forbidden" in str(error) for error in outcomes[1:3])
            assert ["a", "b", "c", "d"] == [row["data"] for row in await q.queue()]

    asyncio.run(main())


@pytest.mark.parametrize("options", [{}, {"auto_commit": False}])
def test_removed_while_open(options: Any, path: Path) -> None:
    """No call serves a removed database, and none creates an empty one in its place."""
    with SQLiteQueue[str](path, **options) as q:
        q.put_many(["a", "b"])
        (path / "data.db").unlink()
        calls: list[Callable[[], Any]] = [
            q.queue,
            q.shrink_disk_usage,
            lambda: q.get(block=False),
            q.qsize,
            q._store.all_rows,
            q._store.shrink,
        ]
        for call in calls:
            with pytest.raises(QueueFailed, match="removed or replaced"):
                call()
        assert not (path / "data.db").exists()


def test_dict_removed_while_open(path: Path) -> None:
    """A dict does not go on reading a removed database."""
    with PDict(path, "dict") as d:
        d["a"] = 1
        (path / "data.db").unlink()
        calls: list[Callable[[], Any]] = [lambda: d["a"], lambda: len(d), d.copy]
        for call in calls:
            with pytest.raises(QueueFailed, match="removed or replaced"):
                call()
        assert not (path / "data.db").exists()


def test_removed_just_before_it_is_read_beside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that goes away between the look and the opening is not created anew."""
    with SQLiteQueue[str](path) as q:
        q.put("a")
        monkeypatch.setattr(q._store.conn.database, "check", lambda: None)
        (path / "data.db").unlink()
        with pytest.raises(FileNotFoundError):
            q._store.all_rows()
        assert not (path / "data.db").exists()


def test_odd_names(tmp_path: Path) -> None:
    """A path may hold what means something in a URI."""
    path = tmp_path / "a?mode=ro#b%20c d"
    with SQLiteQueue[str](path) as q:
        q.put("a")
        assert ["a"] == [row["data"] for row in q.queue()]
    assert (path / "data.db").is_file()


@pytest.mark.parametrize("auto_commit", [True, False])
@pytest.mark.parametrize("number", [2**62, 2**63, 2**64])
def test_get_many_of_any_number(auto_commit: bool, number: int, path: Path) -> None:
    """However many are asked for, what is there comes."""
    with SQLiteQueue[str](path, auto_commit=auto_commit) as q:
        q.put_many(["a", "b"])
        assert ["a", "b"] == q.get_many(number)


def test_clear_any_number(path: Path) -> None:
    """However many acked rows are to go or to stay, it is no error."""
    with SQLiteAckQueue[str](path) as q:
        q.put("a")
        q.ack(q.get())
        assert 0 == q.clear_acked_data(keep_latest=2**64)
        assert 1 == q.clear_acked_data(max_delete=2**64, keep_latest=0)


@pytest.mark.parametrize("call", ["get_nowait", "queue"])
def test_text_that_is_no_utf_8_is_damage_of_its_row(path: Path, call: str) -> None:
    """A row that another program spoilt with text in no encoding is named, not a riddle."""
    with SQLiteQueue(path) as q:
        q.put(1)
        with contextlib.closing(sqlite3.connect(path / "data.db")) as other:
            other.execute("UPDATE queue_default SET data = CAST(x'ff80fe' AS TEXT)")
            other.commit()
        with pytest.raises(QueueCorrupt, match=r"queue_default, record 1: .*UTF-8"):
            getattr(q, call)()


# -- errors that pass ---------------------------------------------------------------


class Service:
    """A serializer that asks somebody who may be away."""

    away: Exception | None = None
    dumps = staticmethod(pickle.dumps)

    @classmethod
    def loads(cls, data: bytes) -> Any:
        if cls.away is not None and data == pickle.dumps("b"):
            raise cls.away
        return pickle.loads(data)


@pytest.fixture(params=[TimeoutError("no answer"), OSError(errno.EMFILE, "too many files")])
def away(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Exception:
    """Let whoever is asked for ``"b"`` be away, until ``back``."""
    monkeypatch.setattr(Service, "away", request.param)
    error: Exception = request.param
    return error


@pytest.mark.parametrize("auto_commit", [True, False])
@pytest.mark.parametrize("kind", [FILOSQLiteQueue, PriorityQueue, SQLiteAckQueue, SQLiteQueue])
def test_an_error_of_the_moment_is_no_damage(
    kind: Any, auto_commit: bool, away: Exception, path: Path
) -> None:
    """What loading an item raises is what the call raises; the row stays, skip or not."""
    options = {} if kind is SQLiteAckQueue else {"auto_commit": auto_commit}
    with kind(path, serializer=Service, on_corrupt="skip", **options) as q:
        q.put_many("cba" if kind is FILOSQLiteQueue else "abc")
        assert ["a"] == q.get_many(3)
        for call in (q.get_nowait, q.peek, lambda: q.get_many(2), lambda: q.get(id=2), q.queue):
            with pytest.raises(type(away), match=str(away.args[-1])):
                call()
        assert (2, 0) == (q.qsize(), q.skipped)
        Service.away = None
        assert ["b", "c"] == q.get_many(3)


def test_an_error_of_the_moment_in_a_dict(away: Exception, path: Path) -> None:
    """The value stays, and is there when the error has passed."""
    with PDict(path, "dict", serializer=Service) as d:
        d["k"] = "b"
        for call in (lambda: d["k"], lambda: d.pop("k"), d.popitem, d.copy):
            with pytest.raises(type(away)):
                call()
        Service.away = None
        assert {"k": "b"} == d


class Calling:
    """An item that calls somebody when it is loaded."""

    call: Callable[[], Any] = int

    def __reduce__(self) -> Any:
        return Calling._loaded, ()

    @staticmethod
    def _loaded() -> Calling:
        Calling.call()
        return Calling()


@pytest.mark.parametrize("kind", [SQLiteAckQueue, SQLiteQueue])
def test_an_item_that_calls_its_queue_is_no_damage(
    kind: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is one that calls a queue which is closed, say."""
    with kind(path, on_corrupt="skip") as q:
        q.put(Calling())
        closed = SQLiteQueue(path)
        closed.close()
        for called, says in ((q.qsize, "in the middle of another call"), (closed.get, "closed")):
            monkeypatch.setattr(Calling, "call", called)
            with pytest.raises(SerializationError, match=f"queue_default, row 1: .*{says}"):
                q.get_nowait()
        assert (1, 0) == (q.qsize(), q.skipped)
        monkeypatch.setattr(Calling, "call", int)
        assert isinstance(q.get(), Calling)


# -- readers in the way ---------------------------------------------------------------


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Read in a database, until ``rollback``."""
    with contextlib.closing(
        sqlite3.connect(path / "data.db", timeout=0, isolation_level=None)
    ) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM sqlite_master").fetchall()
        yield reader


@pytest.mark.usefixtures("no_log")
def test_a_commit_waits_for_readers(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without a write-ahead log a reader is in the way of a commit: it waits as long as it may."""
    with SQLiteQueue[str](path) as q, reading(path) as reader:
        put = Call(q.put, "a")

        def refused() -> bool:  # the put keeps new readers off, so it waits for the old one
            try:
                with reading(path):
                    return not put.is_alive()
            except sqlite3.OperationalError:
                return True

        until(refused)
        assert put.is_alive()
        reader.rollback()
        assert 1 == put.outcome()
        assert "a" == q.get()
    assert ["no write-ahead log here" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.usefixtures("no_log")
def test_a_commit_does_not_wait_for_ever(path: Path) -> None:
    """QueueLocked when the timeout is over, and nothing was done."""
    with SQLiteQueue[str](path, timeout=0.05) as q:
        with reading(path), pytest.raises(QueueLocked, match="nothing was done"):
            q.put("a")
        assert q.empty()
        assert 1 == q.put("b")


def test_shrinking_beside_a_reader_is_in_nobodys_way(path: Path) -> None:
    """Others write while it waits for the reader; then the space is given back."""
    with SQLiteQueue(path, timeout=60) as q, SQLiteQueue(path, timeout=1) as other:
        q.put_many([BIG] * 20)
        q.get_many(19)
        q.sync()
        version = "PRAGMA data_version"
        with reading(path) as reader:
            before = other._conn.execute(version).fetchone()
            shrinking = Call(q.shrink_disk_usage)
            until(lambda: other._conn.execute(version).fetchone() != before)
            for number in range(10):
                other.put(number)
            assert shrinking.is_alive()
            reader.rollback()
            shrinking.outcome()
        assert 3 * len(BIG) > (path / "data.db").stat().st_size
        assert [BIG, *range(10)] == q.get_many(20)


def test_shrinking_in_vain_is_said(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A reader that stays keeps the space: a warning says so, and when it is free."""
    with SQLiteQueue(path, timeout=0.05) as q:
        q.put_many([BIG] * 20)
        q.get_many(20)
        with reading(path):
            q.shrink_disk_usage()
        assert ["still reads" in record.getMessage() for record in caplog.records] == [True]


# -- loss of power ----------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="Windows syncs no directories")
@pytest.mark.parametrize("open_one", [SQLiteQueue, lambda path: PDict(path, "dict")])
def test_a_new_directory_survives_a_loss_of_power(
    open_one: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each directory that got a new name in it is synced when the queue is made."""
    synced, fsync = set(), os.fsync

    def noting(fd: int) -> None:
        synced.add(os.fstat(fd).st_ino)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noting)
    with open_one(tmp_path / "a" / "b"):
        assert {tmp_path.stat().st_ino, (tmp_path / "a").stat().st_ino} == synced
    synced.clear()
    with open_one(tmp_path / "a" / "b"):
        assert not synced
