"""A backup of a database that is open: whole, of one moment, and in nobody's way."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from no_log import no_log  # noqa: F401 - a fixture
from sqlite_objects import each_kind, each_way, open_any
from stranger import contents, stranger

from persistqueue import Broker, QueueClosed, QueueFailed, QueueLocked, SQLiteAckQueue, SQLiteQueue


def restored(copy: Path) -> Path:
    """Put a copy where a database belongs; return the directory."""
    place = copy.parent / "restored"
    place.mkdir()
    copy.rename(place / "data.db")
    return place


@each_kind
def test_what_was_there_is_in_the_copy(kind: str, path: Path, tmp_path: Path) -> None:
    """Everything that was put before is there, in one file, and nothing that came later."""
    q = open_any(kind, path)
    for number in range(5):
        q.put(number)
    q.backup(tmp_path / "copy.db")
    q.put(5)
    assert {path, tmp_path / "copy.db"} == set(tmp_path.iterdir())
    assert [0, 1, 2, 3, 4] == sorted(contents(restored(tmp_path / "copy.db")))
    stranger(path)  # the locks are there still: nobody takes the log away
    q.put(6)
    assert 7 == q.qsize()
    q.close()


@each_way
def test_a_copy_is_never_written_over_a_file(kind: str, path: Path, tmp_path: Path) -> None:
    """What is there already stays, and a path that cannot be is refused; nothing is left."""
    q = open_any(kind, path)
    q.put(1)
    (tmp_path / "there").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        q.backup(tmp_path / "there")
    with pytest.raises(FileExistsError):
        q.backup(path / "data.db")
    with pytest.raises(FileNotFoundError):
        q.backup(tmp_path / "nowhere" / "copy.db")
    assert b"mine" == (tmp_path / "there").read_bytes()
    assert {path, tmp_path / "there"} == set(tmp_path.iterdir())
    q.close()
    with pytest.raises(QueueClosed):
        q.backup(tmp_path / "copy.db")


@pytest.mark.parametrize("kind", ["SQLiteQueue", "AsyncSQLiteQueue", "PDict", "AsyncPDict"])
def test_a_database_in_memory_is_saved(kind: str, tmp_path: Path) -> None:
    """That is the only way out for it."""
    q = open_any(kind, Path(":memory:"))
    q.put("a")
    q.backup(tmp_path / "copy.db")
    q.put("b")
    q.close()
    q = open_any(kind, restored(tmp_path / "copy.db"))
    assert "a" == q.get()
    assert 0 == q.qsize()
    q.close()


def test_copies_are_of_one_moment(path: Path, tmp_path: Path) -> None:
    """While others put and take, a copy never shows a half of a put_many, and holds nobody up."""
    stop, rounds = threading.Event(), []
    with SQLiteQueue[Any](path, durability="process") as q:

        def work() -> None:
            while not stop.is_set():
                q.put_many(["x" * 500] * 10)
                rounds.append(q.get_many(10))

        thread = threading.Thread(target=work)
        thread.start()
        try:
            for number in range(20):
                copy = tmp_path / f"{number}.db"
                q.backup(copy)
                connection = sqlite3.connect(copy)
                count = connection.execute("SELECT COUNT(*) FROM queue_default").fetchone()[0]
                assert count in (0, 10)
                assert [("ok",)] == connection.execute("PRAGMA integrity_check").fetchall()
                connection.close()
        finally:
            stop.set()
            thread.join()
        assert len(rounds) > 20


def test_what_is_in_hand_comes_again_in_the_copy(path: Path, tmp_path: Path) -> None:
    """A worker that lives here does not live there; here it keeps what it holds."""
    with SQLiteAckQueue[str](path) as q, Broker(path / "data.db") as broker:
        q.put_many("abc")
        q.ack(q.get())
        held = q.get()
        broker.queue("jobs").write("d")
        with broker.queue("jobs").process():
            q.backup(tmp_path / "copy.db")
            assert (0, 1) == broker.stats()[1:3]
        assert 2 == q.ack(held)
    place = restored(tmp_path / "copy.db")
    with SQLiteAckQueue[str](place) as q, Broker(place / "data.db") as broker:
        assert (["b", "c"], 1) == (q.get_many(9), q.acked_count())
        assert (1, 0) == broker.stats()[1:3]


def test_a_database_that_is_gone_is_not_saved(path: Path, tmp_path: Path) -> None:
    """The copy would be of what no other process reads."""
    with SQLiteQueue[int](path) as q:
        q.put(1)
        (path / "data.db").unlink()
        with pytest.raises(QueueFailed):
            q.backup(tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


@pytest.mark.usefixtures("no_log")
def test_a_lock_is_not_waited_for_for_ever(path: Path, tmp_path: Path) -> None:
    """Where a writer keeps readers off, that is as long as ``timeout``."""
    with SQLiteQueue[int](path, timeout=0.05) as q:
        q.put(1)
        other = sqlite3.connect(path / "data.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(QueueLocked):
            q._store.conn.backup(str(tmp_path / "copy.db"))
        other.close()
        assert [path] == list(tmp_path.iterdir())
        q.backup(tmp_path / "copy.db")


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no modes")
def test_a_copy_is_for_its_owner_alone(path: Path, tmp_path: Path) -> None:
    """As the database is."""
    with SQLiteQueue[int](path) as q:
        q.backup(tmp_path / "copy.db")
    assert 0o600 == (tmp_path / "copy.db").stat().st_mode & 0o777
