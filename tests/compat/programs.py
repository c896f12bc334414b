"""Patterns in which programs use persist-queue, to be run with 1.1.0 and with this package.

Each function is one program's way with its queue, in other words than the program's, with the
same expectations for both packages; where they differ, ``either`` says why.  ``test_programs``
runs this file as a script: it prints what failed, by program.
"""

from __future__ import annotations

import functools
import json
import os
import pickle
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import Mock, create_autospec, patch

import persistqueue
import persistqueue.serializers.json as json_serializer
from persistqueue.exceptions import Empty, Full

OURS = persistqueue.__version__ != "1.1.0"
PATIENCE = 10.0  # s
PROGRAMS: list[Callable[[Path], None]] = []


def program(function: Callable[[Path], None]) -> Callable[[Path], None]:
    PROGRAMS.append(function)
    return function


def either(*, theirs: Any, ours: Any, because: str) -> Any:
    """Return what is expected of the package that runs."""
    return ours if OURS else theirs


def until(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.005)
    return value


def raised(call: Callable[[], Any]) -> BaseException | None:
    """Return what a call raises."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - that is the question
        return error
    return None


def drained(q: Any) -> list[Any]:
    """Get without waiting until nothing is left."""
    items = []
    while True:
        try:
            items.append(q.get(block=False))
        except Empty:
            return items


def in_a_thread(call: Callable[[], Any]) -> Callable[[], Any]:
    """Begin a call in a thread; returns what waits for its result."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()

    def result() -> Any:
        thread.join(PATIENCE)
        assert results, "the call did not return"
        return results[0]

    return result


def in_a_fork(call: Callable[[], Any]) -> None:
    """Have a child process make a call; it may use nothing that was opened before."""
    if not hasattr(os, "fork"):
        call()
        return
    pid = os.fork()
    if pid == 0:
        try:
            call()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - a test's child tells and ends
            traceback.print_exc()
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0, "the child process failed"


def database(folder: Path, file: str = "data.db") -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(folder / file, timeout=PATIENCE))


# -- the file queue ---------------------------------------------------------------------


class PeekingQueue(persistqueue.Queue):  # type: ignore[type-arg]
    """Has a ``peek`` of its own, made of what ``get`` of 1.1.0 is made of."""

    def __init__(self, path: Path, maxsize: int) -> None:
        temporary = path / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        super().__init__(str(path), maxsize=maxsize, tempdir=str(temporary))

    def peek(self, block: bool = True, timeout: float | None = None) -> Any:
        end = time.time() + (PATIENCE if timeout is None else timeout)
        with self.not_empty:
            while not self._qsize():
                left = end - time.time()
                if not block or left <= 0:
                    raise Empty
                self.not_empty.wait(left)
            place = self.tailf.tell()
            item = self.serializer.load(self.tailf)
            self.tailf.seek(place)
            return item

    def close(self) -> None:
        for file in (self.headf, self.tailf):
            if file and not file.closed:
                file.close()


@program
def hm_diag(folder: Path) -> None:
    """Looks at an event, uploads it, then takes it; throws everything away and goes on."""
    q: Any = PeekingQueue(folder / "events", maxsize=5)
    for number in range(5):
        q.put({"event": number}, block=False)
    assert isinstance(raised(lambda: q.put({"event": 5}, block=False)), Full)
    for number in range(5):
        assert {"event": number} == q.peek() == q.peek(block=False)
        assert {"event": number} == q.get()
        q.task_done()
    assert isinstance(raised(lambda: q.peek(timeout=0.05)), Empty)
    peeked = in_a_thread(q.peek)
    q.put({"event": 9})
    assert {"event": 9} == peeked()
    assert not q.empty()
    q.close()
    shutil.rmtree(folder / "events")
    q = PeekingQueue(folder / "events", maxsize=5)
    assert q.empty()
    q.put({"event": 10})
    assert {"event": 10} == q.peek() == q.get()


class LockedQueue(persistqueue.Queue):  # type: ignore[type-arg]
    """Is shared by processes: each call is made under a lock, with info as it is stored."""

    def __init__(self, path: Path) -> None:
        path.mkdir(exist_ok=True)
        (path / "tempdir").mkdir(exist_ok=True)
        self.lock = threading.RLock()
        with self.lock:
            super().__init__(
                path, serializer=json_serializer, autosave=True, tempdir=path / "tempdir"
            )
            self.open_to_all(path)

    @staticmethod
    def open_to_all(path: Path) -> None:
        for entry in path.iterdir():
            entry.chmod(0o777 if entry.is_dir() else 0o666)

    def __enter__(self) -> None:  # type: ignore[override]
        self.lock.acquire()
        self.info = self._loadinfo()

    def __exit__(self, *_error: object) -> None:
        self.lock.release()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        with self:
            super().put(str(item), block=block, timeout=timeout)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        with self:
            return str(super().get(block=block, timeout=timeout))

    def everything(self) -> list[Any]:
        with self:
            items = []
            while self.qsize() > 0:
                items.append(super().get(timeout=0))
            return items


@program
def nxrefine(folder: Path) -> None:
    """Puts commands with one object and gets them with another, ``info`` read anew each time."""
    server, client = LockedQueue(folder / "tasks"), LockedQueue(folder / "tasks")
    client.put(Path("first"))
    assert server.get(block=False) == "first"
    for number in range(3):
        server.put(f"task {number}")
    assert ["task 0", "task 1", "task 2"] == server.everything()
    assert isinstance(raised(functools.partial(server.get, timeout=0.05)), Empty)
    server.put("after a restart")
    del server, client
    assert LockedQueue(folder / "tasks").get(timeout=1) == "after a restart"


@program
def one_task_done_for_a_batch(folder: Path) -> None:
    """Logs by the file queue: several gets, one ``task_done``, as 1.1.0 stores it."""
    q = persistqueue.Queue(str(folder / "log"))
    for number in range(4):
        q.put(number)
    assert [0, 1, 2] == [q.get() for _ in range(3)]
    q.task_done()
    del q
    q = persistqueue.Queue(str(folder / "log"))
    left = either(
        theirs=[3], ours=[1, 2, 3],
        because="task_done finishes one item, as the standard library's; task_done(3) finishes three",
    )  # fmt: skip
    assert left == drained(q)


# -- SQLite queues ----------------------------------------------------------------------


class Request(NamedTuple):
    """What aw-client queues."""

    endpoint: str
    data: dict[str, Any]


@program
def aw_client(folder: Path) -> None:
    """Keeps the request at hand until it was sent; what was not sent comes after a restart."""
    path = str(folder / "client.v1.persistqueue")
    q = persistqueue.FIFOSQLiteQueue(path, multithreading=True, auto_commit=False)
    producer = in_a_thread(lambda: [q.put(Request("beat", {"n": n})) for n in range(6)])
    assert len(producer()) == 6
    assert q.qsize() == 6
    assert Request("beat", {"n": 0}) == q.get(block=False)
    q.task_done()
    assert [1, 2] == [q.get(block=False).data["n"] for _ in range(2)]
    q.task_done()  # one for both
    assert q.get(block=False).data == {"n": 3}  # and the server goes away
    assert q.qsize() == 2
    q.close()
    q = persistqueue.FIFOSQLiteQueue(path, multithreading=True, auto_commit=False)
    assert [3, 4, 5] == [item.data["n"] for item in drained(q)]
    q.task_done()
    assert q.qsize() == 0


@program
def gcp_ingestion(folder: Path) -> None:
    """The edge server: queues what could not be published, and flushes it by callbacks."""
    options = {"path": str(folder / "queue"), "multithreading": True}
    q = persistqueue.SQLiteAckQueue(**options, auto_resume=False)
    q.resume_unack_tasks()
    q.total = q._count()
    for number in range(4):
        q.put(("topic", b"data %d" % number, {"attribute": "value"}))
    assert (4, 0) == (q.size, q.unack_count())
    pending = []
    for _ in range(3):
        message = q.get(block=False)
        pending.append(functools.partial(q.nack if b"1" in message[1] else q.ack, message))
    assert (1, 3) == (q.size, q.unack_count())
    for callback in pending:
        in_a_thread(callback)()
    q.clear_acked_data(max_delete=None, keep_latest=None)
    assert (2, 0, 1, 0) == (q.size, q.unack_count(), q.ready_count(), q.acked_count())
    assert [b"data 1", b"data 3"] == [data for _, data, _ in drained(q)]


@program
def gcp_ingestion_on_a_full_disk(folder: Path) -> None:
    """It answers ``DatabaseError`` of a put with "insufficient storage", and goes on."""
    q = persistqueue.SQLiteAckQueue(path=str(folder / "queue"), multithreading=True)
    q.put("small")
    pages = q._conn.execute("PRAGMA page_count").fetchone()[0]
    putter = q._conn if OURS else q._putter  # the one that puts
    putter.execute(f"PRAGMA max_page_count = {pages + 2}")
    error = raised(lambda: q.put("x" * 100_000))
    assert isinstance(error, sqlite3.DatabaseError), repr(error)
    putter.execute("PRAGMA max_page_count = 1000000")
    q.put("y" * 100_000)
    assert ["small", "y" * 100_000] == drained(q)


@program
def stash2plex(folder: Path) -> None:
    """Reads, resumes and deletes rows through ``sqlite3`` beside the queue."""
    q = persistqueue.SQLiteAckQueue(
        path=str(folder), auto_commit=True, multithreading=True, auto_resume=False
    )
    for scene in range(5):
        q.put({"scene_id": scene, "job_key": f"scene_{scene}"})
    jobs = [q.get(timeout=0) for _ in range(4)]
    q.ack(jobs[0])
    q.ack_failed(jobs[1])
    q.nack(jobs[2])
    with database(folder) as connection:
        find = "SELECT name FROM sqlite_master WHERE type='table' AND name LIKE 'ack_queue%'"
        [[table]] = connection.execute(find).fetchall()
        counts = f"SELECT status, COUNT(*) FROM {table} GROUP BY status"
        assert {5: 1, 9: 1, 1: 1, 2: 1, 0: 1} == dict(connection.execute(counts))
        rows = connection.execute(f"SELECT data FROM {table} WHERE status IN (0, 1, 2)")
        assert {2, 3, 4} == {pickle.loads(row[0])["scene_id"] for row in rows}
        connection.execute(f"UPDATE {table} SET status = 1 WHERE status = 2")
        connection.commit()
    assert {2, 3, 4} == {job["scene_id"] for job in drained(q)}
    with database(folder) as connection:
        deleted = connection.execute(f"DELETE FROM {table} WHERE status IN (0, 1, 2)").rowcount
        connection.commit()
    assert deleted == 3
    assert (0, 0) == (q.unack_count(), q.ready_count())
    assert isinstance(raised(lambda: q.get(timeout=0)), Empty)
    q.put({"scene_id": 9})
    assert {"scene_id": 9} == q.get(timeout=0)


@program
def funboost(folder: Path) -> None:
    """Patches the connection to name its file, takes ``json`` as serializer, clears by SQL."""

    def connect(self: Any, path: str, multithreading: bool, timeout: float) -> sqlite3.Connection:
        place = path if path == self._MEMORY else f"{path}/data.sqlite"
        connection = sqlite3.connect(place, timeout=timeout, check_same_thread=not multithreading)
        connection.execute("PRAGMA journal_mode=WAL;")
        return connection

    kind = persistqueue.sqlackqueue.SQLiteAckQueue
    with patch.object(kind, "_new_db_connection", connect):
        q = kind(
            path=str(folder), name="jobs", auto_commit=True, serializer=json, multithreading=True
        )
        q.put(json.dumps({"x": 1}))
        q.put(json.dumps({"x": 2}))
        assert (folder / "data.sqlite").exists()
        assert not (folder / "data.db").exists()
        assert q._count() == 2
        item = q.get(timeout=0.5)
        q.nack(item)
        item = q.get(timeout=0.5)
        assert json.loads(item) == {"x": 1}
        q.ack(item)
        other = kind(path=str(folder), name="jobs", serializer=json, multithreading=True)
        assert other._count() == 1
        q._getter.execute("DELETE FROM ack_queue_jobs")
        q._getter.commit()
        assert q._count() == 0
        assert isinstance(raised(lambda: q.get(timeout=0.01)), Empty)
        got = in_a_thread(lambda: q.get(timeout=PATIENCE))
        q.put("more")
        assert got() == "more"


@program
def shyhurricane(folder: Path) -> None:
    """Workers in processes of their own resume, get with a timeout, ack, clear and shrink."""

    def worker() -> None:
        q = persistqueue.SQLiteAckQueue(path=str(folder), auto_commit=True)
        q.resume_unack_tasks()
        for _ in range(3):
            item = q.get(block=True, timeout=60)
            assert item["url"]
            q.ack(item)
        q.clear_acked_data(max_delete=1000, keep_latest=0)
        q.shrink_disk_usage()
        q.close()

    q = persistqueue.SQLiteAckQueue(path=str(folder), auto_commit=True)
    for number in range(5):
        q.put({"url": f"http://host/{number}"})
    assert q._count() + q.unack_count() == 5
    q.close()
    in_a_fork(worker)
    q = persistqueue.SQLiteAckQueue(path=str(folder), auto_commit=True)
    assert (2, 0) == (q._count() + q.unack_count(), q.acked_count())
    assert os.path.basename(q.path) == folder.name


@program
def angarion(folder: Path) -> None:
    """Receipts: a class with ``dumps`` and ``loads``, raw items, acks by id, a recovery."""

    class Text:
        @staticmethod
        def dumps(item: str) -> str:
            return item

        @staticmethod
        def loads(data: bytes | str) -> str:
            return data.decode() if isinstance(data, bytes) else data

    def opened() -> Any:
        return persistqueue.SQLiteAckQueue(
            path=str(folder), db_file_name="queue.db", auto_resume=False, multithreading=True,
            serializer=Text,
        )  # fmt: skip

    q = opened()
    for word in ("a", "b", "c"):
        q.put(f'{{"word": "{word}"}}')
    raws = [q.get(block=True, timeout=0.1, raw=True) for _ in range(2)]
    assert [{"word": "a"}, {"word": "b"}] == [json.loads(raw["data"]) for raw in raws]
    assert raws[0]["pqid"] == q.ack(id=raws[0]["pqid"])
    assert (1, 1) == (q.qsize(), q.unack_count())
    q.resume_unack_tasks()
    assert (2, 0) == (q.qsize(), q.unack_count())
    q.nack(id=q.get(raw=True)["pqid"])
    with database(folder, "queue.db") as connection:
        rows = connection.execute("SELECT data FROM ack_queue_default ORDER BY _id").fetchall()
    assert ('{"word": "b"}',) == rows[1]
    waiting = in_a_thread(lambda: raised(lambda: q.get(block=True, timeout=0.05)))
    waiting()
    q.close()
    q.close()


@program
def minet(folder: Path) -> None:
    """A crawl: depth first or breadth first, resumed or begun anew, dumped and cleaned up."""

    def opened(*, resume: bool, depth_first: bool) -> Any:
        if not resume:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(exist_ok=True)
        kind = (
            persistqueue.sqlackqueue.FILOSQLiteAckQueue
            if depth_first
            else persistqueue.SQLiteAckQueue
        )
        return kind(str(folder), db_file_name="queue.db", multithreading=True, auto_resume=True)

    for depth_first in (False, True):
        q = opened(resume=False, depth_first=depth_first)
        for number in range(5):
            q.put(("page", number))
        first = q.get(block=False)
        assert ("page", 4 if depth_first else 0) == first
        q.ack(first)
        q.task_done()
        held = q.get()
        statuses = sorted((row["status"], row["data"][1]) for row in q.queue())
        assert [status for status, _ in statuses] == [0, 0, 0, 2, 5]
        q.close()
        q = opened(resume=True, depth_first=depth_first)
        assert q.qsize() == 4
        page = q.get_nowait()
        assert held == page
        q.ack(page)
        q.clear_acked_data(max_delete=None, keep_latest=None, clear_ack_failed=False)
        q.shrink_disk_usage()
        assert len(q.queue()) == 3
        del q


@program
def snail_job(folder: Path) -> None:
    """One process hands ids to others, which take, update and finish those rows."""
    q = persistqueue.SQLiteAckQueue(str(folder), auto_resume=False, multithreading=True)
    ids = [q.put({"job": number}) for number in range(4)]
    q.close()

    def worker() -> None:
        q = persistqueue.SQLiteAckQueue(str(folder), auto_resume=False, multithreading=True)
        assert {"job": 2} == q.get(id=ids[2])
        assert ids[2] == q.ack(id=ids[2])
        raw = q.get(id=ids[1], raw=True)
        raw["data"] = {"job": "again"}
        q.update(raw)
        q.nack(id=raw["pqid"])
        q.close()

    in_a_fork(worker)
    q = persistqueue.SQLiteAckQueue(str(folder), auto_resume=False, multithreading=True)
    assert [{"job": 0}, {"job": "again"}, {"job": 3}] == drained(q)
    assert ids[0] == q.ack(id=ids[0])
    assert q.acked_count() == 2


@program
def ticket_manager(folder: Path) -> None:
    """Unique tickets and a dict of settings in one database; a dict with another signature."""

    class Tickets(persistqueue.UniqueAckQ):  # type: ignore[type-arg]
        def clear_acked_data(self, *_args: Any, **_options: Any) -> Any:
            raise NotImplementedError("acked tickets keep their like out")

    class Settings(persistqueue.PDict):
        def __init__(self, path: str, name: str, db_file_name: str | None = None) -> None:
            super(persistqueue.PDict, self).__init__(
                path, name=name, multithreading=False, auto_commit=True, db_file_name=db_file_name
            )

    tickets = Tickets(str(folder), db_file_name="session.sqlite")
    settings = Settings(str(folder), name="data", db_file_name="session.sqlite")
    cache = Settings(str(folder), name="cache", db_file_name="session.sqlite")
    assert (folder / "session.sqlite").exists()
    assert tickets.put(("url", 1)) == 1
    assert tickets.put(("url", 1)) is None
    ticket = tickets.get()
    settings["seen"] = [ticket]
    assert "seen" in settings
    assert "seen" not in cache
    del settings["seen"]
    assert settings.get("seen", "no") == "no"
    settings.task_done()
    assert (False, True, "session.sqlite") == (
        settings.full(), settings.auto_commit, settings.db_file_name,
    )  # fmt: skip
    settings["a"] = 1
    sizes = either(
        theirs=(0, 0, 0, True), ours=(1, 1, 1, False),
        because="1.1.0 never counts the keys of a dict, but for len()",
    )  # fmt: skip
    assert sizes == (settings.qsize(), settings.size, settings.total, settings.empty())
    assert tickets.active_size() == 1
    tickets.nack(ticket)
    again = tickets.get()
    assert ticket == again
    tickets.ack(again)
    assert tickets.put(("url", 1)) is None
    assert tickets.active_size() == 0
    del tickets, settings, cache
    (folder / "session.sqlite").unlink()


# -- what other programs do -------------------------------------------------------------


@program
def raw_items_and_ids(folder: Path) -> None:
    """Raw items are taken, changed and put back by what is in them."""
    q = persistqueue.SQLiteQueue(str(folder), auto_commit=True)
    ids = [q.put(word) for word in ("a", "b", "c")]
    raw = q.get(id=ids[1], raw=True)
    assert {"pqid", "data", "timestamp"} == raw.keys()
    assert (ids[1], "b") == (raw["pqid"], raw["data"])
    q.update("A", id=ids[0])
    assert ["A", "c"] == [row["data"] for row in q.queue()]
    assert {"pqid": ids[0], "data": "A"}.items() <= q.get(raw=True).items()
    assert "c" == q.get(id={"pqid": ids[2]})


@program
def replaced_methods_and_mocks(folder: Path) -> None:
    """Tests of programs replace a method of an object, or the object."""
    q: Any = persistqueue.SQLiteQueue(str(folder))
    q.put("stored")
    q.get = lambda *_args, **_options: "replaced"
    assert q.get_nowait() == "replaced"
    del q.get
    assert q.get_nowait() == "stored"
    for mock in (
        Mock(spec=q),
        Mock(spec=persistqueue.SQLiteQueue),
        create_autospec(persistqueue.SQLiteAckQueue),
        Mock(spec=persistqueue.Queue),
    ):
        mock.get.return_value = 1
        assert mock.get(timeout=3) == 1
        assert raised(lambda m=mock: m.no_such_name)  # type: ignore[misc]


@program
def two_objects_on_one_path(folder: Path) -> None:
    """One object puts and another one gets, in the same process."""
    for kind in (persistqueue.SQLiteQueue, persistqueue.SQLiteAckQueue):
        producer = kind(str(folder / kind.__name__), multithreading=True)
        consumer = kind(str(folder / kind.__name__), multithreading=True)
        producer.put("a")
        assert consumer.get(timeout=PATIENCE) == "a"
        seen = either(theirs=1, ours=0, because="1.1.0 counts its own puts and gets alone")
        assert seen == producer.qsize()


@program
def resumed_beside_the_living(folder: Path) -> None:
    """A second object takes what the first one holds, by opening or by resuming."""
    first = persistqueue.SQLiteAckQueue(str(folder), multithreading=True)
    first.put("held")
    assert first.get() == "held"
    second = persistqueue.SQLiteAckQueue(str(folder), multithreading=True, auto_resume=False)
    second.resume_unack_tasks()
    mine = either(
        theirs=["held"], ours=[],
        because="what a living worker holds is left to it; resume_unack_tasks(force=True) takes it",
    )  # fmt: skip
    assert mine == drained(second)
    if OURS:
        second.resume_unack_tasks(force=True)
        assert ["held"] == drained(second)
    assert first.unack_count() == 1


@program
def the_folder_goes_away(folder: Path) -> None:
    """The folder is removed and a new object goes on there."""
    path = folder / "queue"
    for kind in (persistqueue.Queue, persistqueue.SQLiteQueue, persistqueue.SQLiteAckQueue):
        for round_ in range(2):
            q: Any = kind(str(path))
            assert q.qsize() == 0
            q.put(round_)
            assert q.get() == round_
            del q
            shutil.rmtree(path)


@program
def quarantine(folder: Path) -> None:
    """A database that SQLite calls damaged is moved away, and a new one begun."""
    (folder / "data.db").write_bytes(b"this is no database, " * 500)
    error = raised(lambda: persistqueue.SQLiteQueue(str(folder)))
    assert isinstance(error, sqlite3.DatabaseError), repr(error)
    (folder / "data.db").rename(folder / "data.db.bad")
    q = persistqueue.SQLiteQueue(str(folder))
    q.put(1)
    assert q.get() == 1


@program
def one_bad_row_is_no_damaged_database(folder: Path) -> None:
    """A row that cannot be decoded is not answered by throwing the database away."""
    q = persistqueue.SQLiteQueue(str(folder))
    q.put(1)
    with database(folder) as connection:
        connection.execute("UPDATE queue_default SET data = ?", (b"no pickle",))
        connection.commit()
    error = raised(lambda: q.get(block=False))
    assert error is not None
    assert not isinstance(error, sqlite3.DatabaseError)
    kind = either(
        theirs=pickle.UnpicklingError, ours=persistqueue.__dict__.get("QueueCorrupt", Exception),
        because="it is also what the serializer raised",
    )  # fmt: skip
    assert isinstance(error, kind | pickle.UnpicklingError), repr(error)


@program
def statements_of_ones_own(folder: Path) -> None:
    """A program's statements, under the locks, on the queue's own connections."""
    q = persistqueue.SQLiteQueue(str(folder), multithreading=True)
    q.put("a")
    with q.action_lock, q.tran_lock, q._putter as connection:
        row = (q._serializer.dumps("b"), time.time())
        connection.execute(f"INSERT INTO {q._table_name} (data, timestamp) VALUES (?, ?)", row)
    assert q._getter.execute(f"SELECT COUNT(*) FROM {q._table_name}").fetchone() == (2,)
    q.total = q._count()
    assert q.total == q.size == 2
    assert ["a", "b"] == drained(q)
    q.put_event.clear()
    assert not q.put_event.wait(0.01)
    q.put("c")
    assert q.put_event.wait(PATIENCE)


@program
def a_method_with_a_statement(folder: Path) -> None:
    """A subclass has a method made by the decorator of ``sqlbase``."""
    from persistqueue import sqlbase

    class Expiring(persistqueue.SQLiteQueue):  # type: ignore[type-arg]
        @sqlbase.with_conditional_transaction
        def expire(self, before: float) -> Any:
            return f"DELETE FROM {self._table_name} WHERE timestamp < ?", (before,)

    q = Expiring(str(folder))
    q.put("old")
    q.expire(time.time() + 1)
    q.total = q._count()
    q.put("new")
    assert ["new"] == drained(q)
    sqlbase.commit_ignore_error(q._putter)
    assert sqlbase.TICK_FOR_WAIT == 10


@program
def a_table_of_ones_own(folder: Path) -> None:
    """A subclass keeps its items in a table of another name, and calls ``_init``."""

    class Alarms(persistqueue.SQLiteQueue):  # type: ignore[type-arg]
        _TABLE_NAME = "alarms"

        def _init(self) -> None:
            super()._init()
            self.opened_with = self._count()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        q = Alarms(str(folder), name="house")
        q.put("fire")
        assert Alarms(str(folder), name="house").opened_with == 1
    with database(folder) as connection:
        assert connection.execute("SELECT COUNT(*) FROM alarms_house").fetchone() == (1,)
    assert persistqueue.SQLiteQueue(str(folder), name="house").qsize() == 0


@program
def clear_and_keep(folder: Path) -> None:
    """Acked rows are deleted but for the newest."""
    q = persistqueue.SQLiteAckQueue(str(folder))
    for number in range(20):
        q.put(number)
    for _ in range(20):
        q.ack(q.get())
    q.clear_acked_data(max_delete=5, keep_latest=10)
    assert q.acked_count() == 15
    q.clear_acked_data(max_delete=100, keep_latest=10)
    assert q.acked_count() == 10
    assert list(range(10, 20)) == [row["data"] for row in q.queue()]


@program
def forked_before_use(folder: Path) -> None:
    """Workers are forked first, and open the queue by themselves."""

    def worker() -> None:
        q = persistqueue.SQLiteQueue(str(folder), multithreading=True)
        for number in range(20):
            q.put((os.getpid(), number))

    for _ in range(2):
        in_a_fork(worker)
    q = persistqueue.SQLiteQueue(str(folder))
    assert q.qsize() == 40
    assert len(set(drained(q))) == 40


@program
def memory_queue(folder: Path) -> None:
    """A queue in memory, whose connection a program uses as well."""
    del folder
    q = persistqueue.SQLiteQueue(":memory:", multithreading=True)
    q.put(1)
    q._getter.execute("DELETE FROM queue_default")
    q._getter.commit()
    q.total = q._count()
    assert (0, True) == (q.qsize(), q.empty())
    q.put(2)
    assert q.get() == 2


def main() -> None:
    """Run every program's pattern; print those that failed, and why."""
    failures = {}
    for function in PROGRAMS:
        folder = Path(tempfile.mkdtemp(prefix=f"{function.__name__}-", dir=sys.argv[1]))
        try:
            function(folder)
        except BaseException:  # noqa: BLE001 - told to the test
            failures[function.__name__] = traceback.format_exc()
    print(json.dumps(failures))


if __name__ == "__main__":
    main()
