"""The files of a database go while it is open: what was acknowledged is there, or a call raises.

A program that copies or reads the database's file in the process that uses it takes SQLite's
locks away.  Then any other process that opens and closes it removes the log.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlite_objects import each_kind, each_way, open_any
from stranger import DEAD, TOUCH, contents, lose_locks, stranger
from waiting import Call, until

from persistqueue import Broker, QueueFailed, SQLiteQueue
from persistqueue.__main__ import main
from persistqueue._sql.sqlite import openfiles
from persistqueue._sql.sqlite.openfiles import OpenFiles
from persistqueue.testing import waiting_calls

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows keeps what is open")


@pytest.fixture(params=["as it is", "nothing can be asked"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Take away what is there on Linux, and on other systems is not: the fall-back works, too."""
    if request.param != "as it is":
        monkeypatch.setattr(openfiles, "_is_locked", lambda fd: False)
        monkeypatch.setattr(openfiles, "_CAN_SHARE", False)
        monkeypatch.setattr(openfiles, "_DESCRIPTORS", "/nowhere")
    name: str = request.param
    return name


def put_until_it_fails(q: Any, first: int) -> list[int]:
    """Put numbers until one is refused; return those that were acknowledged."""
    put = []
    for number in range(first, first + 20):
        try:
            q.put(number)
        except QueueFailed as error:
            assert isinstance(error, sqlite3.OperationalError)
            assert "removed or replaced while it was in use" in str(error)
            return put
        put.append(number)
    return put


# -- what is acknowledged is there -------------------------------------------------------


@each_way
@pytest.mark.usefixtures("system")
def test_the_log_goes_after_the_locks(
    kind: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not one put into a log that is gone is acknowledged; the next call opens what is stored."""
    q = open_any(kind, path)
    q.put(0)
    lose_locks(path)
    stranger(path)
    assert not (path / "data.db-wal").exists()
    put = [0, *put_until_it_fails(q, 1)]
    assert put == [0]
    with caplog.at_level(logging.WARNING, "persistqueue"):
        for number in (10, 11):
            q.put(number)
            put.append(number)
    assert 1 == sum("reopened" in record.message for record in caplog.records)
    q.close()
    left = contents(path)
    assert put == [number for number in left if number != 1]  # that one was not acknowledged
    assert len(left) == len(set(left))


@each_way
@pytest.mark.usefixtures("system")
def test_the_log_is_removed(kind: str, path: Path) -> None:
    """A cleaner that removes the log takes nothing that was acknowledged with it."""
    q = open_any(kind, path)
    q.put(0)
    (path / "data.db-wal").unlink()
    put = [0, *put_until_it_fails(q, 1)]
    q.put(50)
    q.close()
    left = contents(path)
    assert set(left) - {1} == {*put, 50}
    assert len(set(left)) == len(left)


@each_way
def test_the_index_is_removed(kind: str, path: Path) -> None:
    """Without the index's name another process would write to the same log without our locks."""
    q = open_any(kind, path)
    q.put(0)
    (path / "data.db-shm").unlink()
    time.sleep(0.02)  # looked up at each commit is the log; this one, when that is longer ago
    assert [] == put_until_it_fails(q, 1)
    q.put(2)
    stranger(path)
    q.put(3)
    q.close()
    assert [0, 2, 3] == contents(path)


@each_way
def test_the_database_is_exchanged(kind: str, path: Path, tmp_path: Path) -> None:
    """What is put goes where the name leads, or nowhere."""
    q = open_any(kind, path)
    q.put(0)
    open_any(kind, tmp_path / "other").close()
    for name in ("data.db", "data.db-wal", "data.db-shm"):
        os.rename(path / name, tmp_path / name)
    os.rename(tmp_path / "other" / "data.db", path / "data.db")
    assert [] == put_until_it_fails(q, 1)
    q.put(2)
    q.close()
    assert [2] == contents(path)


@each_way
def test_a_link_is_turned(kind: str, tmp_path: Path) -> None:
    """The name is the user's, links and all."""
    for name in ("one", "two"):
        open_any(kind, tmp_path / name).close()
    (tmp_path / "current").symlink_to("one")
    q = open_any(kind, tmp_path / "current")
    q.put(0)
    (tmp_path / "new").symlink_to("two")
    os.replace(tmp_path / "new", tmp_path / "current")
    assert [] == put_until_it_fails(q, 1)
    q.put(2)
    q.close()
    assert [2] == contents(tmp_path / "two")
    assert contents(tmp_path / "one") in ([0], [0, 1])  # where it was not acknowledged


@each_way
def test_the_directory_is_removed(kind: str, path: Path) -> None:
    """A database that is gone is not made anew behind the user's back; when it is back, all is."""
    q = open_any(kind, path)
    q.put(0)
    q.sync()
    os.rename(path, path.with_name("away"))
    for _ in range(3):
        with pytest.raises(QueueFailed, match="removed or replaced"):
            q.put(1)
    assert not path.exists()
    os.rename(path.with_name("away"), path)
    until(lambda: put_until_it_fails(q, 2))
    q.close()
    assert {0, *range(2, 22)} == set(contents(path)) - {1}


# -- several objects, several processes --------------------------------------------------


@each_way
@pytest.mark.usefixtures("system")
def test_two_objects_of_a_process(kind: str, path: Path) -> None:
    """One opens anew while the other still has the files that are gone; both go on."""
    one, two = open_any(kind, path), open_any(kind, path)
    one.put(0)
    two.put(1)
    lose_locks(path)
    stranger(path)
    assert [] == put_until_it_fails(one, 2)
    one.put(3)
    stranger(path, TOUCH)
    two.put(4)  # its connection was closed for the first one's sake
    stranger(path, TOUCH)
    one.put(5)
    one.close()
    stranger(path, TOUCH)
    two.put(6)
    two.close()
    assert {0, 1, 3, 4, 5, 6} == set(contents(path)) - {2}  # that one was not acknowledged


def test_an_object_at_work_is_waited_for(path: Path) -> None:
    """Nobody opens the database anew in a process that is still in a call on the old files."""
    with SQLiteQueue[int](path) as one, Broker(path) as broker:
        one.put(0)
        broker.queue("jobs").write(1)
        reads, goes_on = threading.Event(), threading.Event()

        def read(source: Any) -> int:
            reads.set()
            assert goes_on.wait(20)
            return 1

        reading = Call(broker._readers.read, read)
        assert reads.wait(20)
        lose_locks(path)
        stranger(path)
        assert [] == put_until_it_fails(one, 2)
        putting = Call(one.put, 3)
        with contextlib.suppress(AssertionError):
            putting.join(0.05)
        assert putting.is_alive()
        goes_on.set()
        reading.outcome()
        putting.outcome()
        broker.queue("jobs").write(4)  # its connection was closed for the queue's sake
    assert [0, 1, 3, 4] == contents(path)


def test_a_connection_of_the_users_own(path: Path) -> None:
    """As long as the process has another connection with the old files, calls say so."""
    with SQLiteQueue[int](path) as q:
        q.put(0)
        own = sqlite3.connect(path / "data.db")
        own.execute("SELECT * FROM queue_default").fetchall()
        lose_locks(path)
        stranger(path)
        assert [] == put_until_it_fails(q, 1)
        with pytest.raises(QueueFailed, match="another connection of this process"):
            q.put(2)
        own.close()
        until(lambda: put_until_it_fails(q, 3))
    # That one was not acknowledged.
    assert [0, *range(3, 23)] == [number for number in contents(path) if number != 1]


@pytest.mark.parametrize("end", ["close", "put", "drop", "exit"])
def test_a_dead_process_log_stays(end: str, path: Path) -> None:
    """Whoever has lost the log leaves the one alone that a killed process left."""
    q: Any = SQLiteQueue[int](path)
    q.put(0)
    if end == "exit":
        q.close()
        program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1] / "support")!r})
from pathlib import Path
import persistqueue
from stranger import DEAD, lose_locks, stranger
q, path = persistqueue.SQLiteQueue({str(path)!r}), Path({str(path)!r})
q.put(5)
lose_locks(path)
stranger(path)
stranger(path, DEAD, killed=True)
"""
        subprocess.run([sys.executable, "-c", program], check=True)
    else:
        lose_locks(path)
        stranger(path)
        stranger(path, DEAD, killed=True)
    assert (path / "data.db-wal").stat().st_size
    if end == "put":
        assert [] == put_until_it_fails(q, 1)
        q.put(2)
    if end in ("close", "put"):
        q.close()
    del q
    gc.collect()
    with contextlib.closing(sqlite3.connect(path / "data.db")) as connection:
        names = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert ("dead",) in names


def test_another_process_with_the_same_log(path: Path) -> None:
    """Where the log alone is removed, what anybody committed to it is saved."""
    program = f"""
import persistqueue
q = persistqueue.SQLiteQueue({str(path)!r}, "other")
q.put(100)
print("ready", flush=True)
input()
try:
    q.put(101)
except persistqueue.QueueFailed:
    q.put(102)
q.close()
"""
    with (
        SQLiteQueue[int](path) as q,
        subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other,
    ):
        assert other.stdout is not None
        assert b"ready\n" == other.stdout.readline()
        q.put(0)
        (path / "data.db-wal").unlink()
        assert [] == put_until_it_fails(q, 1)
        q.put(2)
        other.communicate(b"\n")
        assert 0 == other.returncode
        q.put(3)
    assert {0, 2, 3, 100, 102} == set(contents(path)) - {1, 101}


# -- while another process closes the database --------------------------------------------


def check_busy_puts(path: Path, durability: str) -> tuple[int, str]:
    """Put as fast as possible while the locks go and another process closes the database.

    Returns:
        how many puts were acknowledged, and what ended them.
    """
    put: list[int] = []

    def go_on() -> str:
        for number in range(50_000):
            try:
                q.put(number)
            except QueueFailed as error:
                return str(error)
            put.append(number)
        return "nothing"

    with SQLiteQueue[int](path, durability=durability) as q:
        putting = Call(go_on)
        until(lambda: len(put) >= 100)
        lose_locks(path)
        stranger(path)
        ends: str = putting.outcome()
    assert set() == set(put) - set(contents(path)), "lost"
    return len(put), ends


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux is asked who holds the lock")
@pytest.mark.parametrize("durability", ["process", "power"])
def test_what_is_put_while_the_log_is_being_removed(durability: str, path: Path) -> None:
    """Neither before the log's name is gone, nor after it, is anything acknowledged and lost."""
    for turn in range(2 if durability == "process" else 1):
        acknowledged, ends = check_busy_puts(path / str(turn), durability)
        assert acknowledged >= 100
        assert "was removed or replaced" in ends


@pytest.mark.torture
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux is asked who holds the lock")
def test_what_is_put_while_the_log_is_being_removed_many_times(path: Path) -> None:
    """The same, often."""
    for turn in range(100):
        check_busy_puts(path / str(turn), ("process", "power")[turn % 2])


# -- those who wait, and those who only look ------------------------------------------------


@pytest.mark.parametrize("removed", ["-wal", "-shm", "", "all"])
def test_a_waiting_get_notices(removed: str, path: Path) -> None:
    """A get that waits does not wait for ever on files that are gone."""
    with SQLiteQueue[int](path) as q:
        q.put(0)
        q.get()
        getting = Call(q.get, timeout=20)
        until(lambda: waiting_calls(q).parked)
        if removed == "all":
            lose_locks(path)
            stranger(path)
        else:
            (path / f"data.db{removed}").unlink()
        if removed == "-wal":  # nothing is wrong with what is read until somebody opens it
            with SQLiteQueue[int](path) as other:
                other.put(1)
            assert 1 == getting.outcome()
        elif removed == "-shm":  # the get may have begun to wait again, on a database opened anew
            time.sleep(0.5)
            with SQLiteQueue[int](path) as other:
                other.put(1)
            with contextlib.suppress(QueueFailed):
                assert 1 == getting.outcome()
        else:
            with pytest.raises(QueueFailed):
                getting.outcome()


@pytest.mark.parametrize("call", ["qsize", "peek", "queue"])
def test_a_look(call: str, path: Path) -> None:
    """Who looks does not see what nobody else can see any more."""
    with SQLiteQueue[int](path) as q:
        q.put(0)
        lose_locks(path)
        stranger(path)
        with pytest.raises(QueueFailed):
            getattr(q, call)()
        assert 1 == q.qsize()


@each_way
def test_a_look_opens_anew(kind: str, path: Path) -> None:
    """Who only looks sees what is stored at the next call, as does who puts."""
    q = open_any(kind, path)
    q.put(0)
    lose_locks(path)
    stranger(path)
    with pytest.raises(QueueFailed):
        q.qsize()
    assert 1 == q.qsize()
    q.close()


def test_a_database_in_memory_has_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not looked after."""
    monkeypatch.setattr(openfiles, "identity", pytest.fail)
    with SQLiteQueue[int](":memory:") as q:
        q.put(1)
        assert 1 == q.get()


def test_an_interrupt_behind_a_commit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit to a log that is gone is not taken for stored when Ctrl-C comes behind it."""
    with SQLiteQueue[int](path) as q:
        q.put(0)
        lose_locks(path)
        stranger(path)
        real, calls = OpenFiles.unsafe, iter([KeyboardInterrupt])

        def unsafe(files: OpenFiles) -> str:
            for interrupt in calls:
                raise interrupt
            return real(files)

        monkeypatch.setattr(OpenFiles, "unsafe", unsafe)
        monkeypatch.setattr(OpenFiles, "overtaken", lambda _: "")
        with pytest.raises(KeyboardInterrupt):
            q.put(1)
        monkeypatch.undo()
        q.put(2)
    assert [0, 2] == contents(path)


# -- nothing of ours opens them beside SQLite -----------------------------------------------


@contextlib.contextmanager
def opened_by_name(path: Path) -> Iterator[list[str]]:
    """Note what is opened by name of the files of a database."""
    names: list[str] = []
    watching = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "open" and str(arguments[0]).startswith(str(path / "data.db")):
            names.append(str(arguments[0]))

    sys.addaudithook(hook)  # which stays
    try:
        yield names
    finally:
        watching.clear()


@pytest.mark.parametrize("durability", ["process", "power"])
@each_kind
def test_no_method_opens_a_file_by_name(kind: str, durability: str, path: Path) -> None:
    """Closing it would take away the locks of everybody in this process."""
    q = open_any(kind, path, durability=durability)
    with opened_by_name(path) as names:
        second = open_any(kind, path)
        q.put(0)
        second.put(1)
        q.sync()
        second.sync()
        q.qsize()
        for name in ("queue", "shrink_disk_usage", "browse"):
            if hasattr(q, name) and (name != "queue" or "Broker" not in kind):
                getattr(q, name)()
        q.get()
        second.close()
    owners = [name for name in names if "-owner-" in name]
    assert owners == names
    q.close()


@pytest.mark.parametrize("kind", ["SQLiteQueue", "PDict", "AsyncBroker"])
@pytest.mark.parametrize("damaged", [False, True])
def test_no_command_opens_a_file_by_name(
    kind: str, damaged: bool, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They may be called in the process that uses the queue."""
    q = open_any(kind, path)
    q.put_many([0, 1])
    if damaged:
        q._store.conn.driver.execute(
            "UPDATE {} SET data = 'x' WHERE rowid = 1".format(
                {"SQLiteQueue": "queue_default", "PDict": "dict_bag"}.get(kind, "queue_jobs")
            )
        )
    with opened_by_name(path) as names:
        for command in (["check"], ["check", "--json"], ["peek"], ["repair"]):
            for place in (path, path / "data.db"):
                with contextlib.suppress(SystemExit):
                    main([*command, str(place)])
    assert [] == names
    stranger(path)
    q.put(2)
    q.close()
    assert [1, 2] == [n for n in contents(path) if n] if not damaged else True
    assert "data.db" in capsys.readouterr().out
