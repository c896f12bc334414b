"""aiodiskqueue's interface: its documented behaviour, its data files, and none of its defects.

The files in ``peers/aiodiskqueue-0.1.1`` were written by that version: seven items put, and
two got (``sqlite``: none, it needs a special SQLite for that).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aioqueue_engine import ListFile
from loops import eventually, in_loop, parked
from turns import TURNS, turns

from persistqueue import FormatError, PersistQueueError, QueueLocked, SerializationError
from persistqueue.compat.aiodiskqueue import Queue, QueueEmpty, QueueException, QueueFull, engines
from persistqueue.engines import DbmEngine

THEIRS = Path(__file__).parents[1] / "peers" / "aiodiskqueue-0.1.1"
#: What stands in their files, the two that were got in front.
ITEMS = ["first", None, {"n": [1, 2]}, b"bytes", ("a", 1.5), "ü" * 300, ["list"]]
ENGINES = {
    "dbm": engines.DbmEngine,
    "list": engines.PickledList,
    "sequence": engines.PickleSequence,
    "sqlite": engines.SqliteEngine,
}
each_engine = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)


class OwnEngine(ListFile, engines.FifoStorageEngine):
    """An engine of a user of aiodiskqueue."""


def bring(name: str, folder: Path) -> Path:
    """Copy one of their files, which may be several."""
    for file in THEIRS.iterdir():
        if file.stem == name:
            shutil.copy(file, folder / file.name)
    return folder / name


def contents(folder: Path) -> set[bytes]:
    """Return what is in the files of a directory."""
    return {file.read_bytes() for file in folder.iterdir()}


async def drained(q: Queue[Any]) -> list[Any]:
    """Take everything."""
    return [await q.get_nowait() for _ in range(q.qsize())]


# -- the interface ------------------------------------------------------------------


def test_it_cannot_be_instantiated() -> None:
    """Only ``await Queue.create(...)`` makes one."""
    with pytest.raises(TypeError, match="can not be instantiated directly"):
        Queue("data")


@pytest.mark.parametrize("engine", [None, *ENGINES.values(), OwnEngine])
@in_loop
async def test_put_and_get(engine: Any, tmp_path: Path) -> None:
    """Items come out in order, sizes are plain methods, and what was got is gone."""
    q = await Queue.create(tmp_path / "data", cls_storage_engine=engine)
    assert (0, True, False, 0) == (q.qsize(), q.empty(), q.full(), q.maxsize)
    for item in ITEMS:
        assert await q.put(item) is None
    await q.put_nowait("last")
    assert 8 == q.qsize()
    assert ITEMS[0] == await q.get()
    assert ITEMS[1] is await q.get_nowait()
    assert 6 == q.qsize()
    await q.close()
    q = await Queue.create(str(tmp_path / "data"), 0, engine)
    assert [*ITEMS[2:], "last"] == await drained(q)
    await q.close()


@in_loop
async def test_bounds(tmp_path: Path) -> None:
    """QueueFull, QueueEmpty, put and get that wait; negative is no bound."""
    q = await Queue.create(tmp_path / "data", maxsize=2)
    with pytest.raises(QueueEmpty) as empty:
        await q.get_nowait()
    await q.put(1)
    await q.put(2)
    assert q.full()
    with pytest.raises(QueueFull) as full:
        await q.put_nowait(3)
    put = asyncio.ensure_future(q.put(3))
    await parked(q._queue, 1)
    assert 1 == await q.get()
    await put
    assert [2, 3] == await drained(q)
    get = asyncio.ensure_future(q.get())
    await parked(q._queue, 1)
    await q.put(4)
    assert 4 == await get
    for error, kind in ((empty, asyncio.QueueEmpty), (full, asyncio.QueueFull)):
        assert isinstance(error.value, QueueException)
        assert isinstance(error.value, PersistQueueError)
        assert isinstance(error.value, kind)
    await q.close()
    q = await Queue.create(tmp_path / "data", maxsize=-3)
    assert 0 == q.maxsize
    await q.close()


@in_loop
async def test_wrong_arguments(tmp_path: Path) -> None:
    """A .bak file, no engine class, a folder that is missing."""
    with pytest.raises(ValueError, match="bak"):
        await Queue.create(tmp_path / "data.bak")
    for engine in (list, "DbmEngine", ENGINES):
        with pytest.raises(TypeError, match="FifoStorageEngine"):
            await Queue.create(tmp_path / "data", cls_storage_engine=engine)
    with pytest.raises(FileNotFoundError):
        await Queue.create(tmp_path / "no" / "data")


@in_loop
async def test_join_and_task_done(tmp_path: Path) -> None:
    """join waits for a task_done per item; one too many is an error."""
    q = await Queue.create(tmp_path / "data")
    await q.join()
    await q.put(1)
    await q.put(2)
    await drained(q)
    join = asyncio.ensure_future(q.join())
    await q.task_done()
    assert not join.done()
    await q.task_done()
    await join
    with pytest.raises(ValueError, match="too many times"):
        await q.task_done()
    await q.close()


@in_loop
async def test_recovery_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An INFO line of the logger aiodiskqueue says how many items were there."""
    caplog.set_level(logging.INFO, "aiodiskqueue")
    q = await Queue.create(tmp_path / "data")
    await q.put(1)
    await q.close()
    assert [] == caplog.records
    q = await Queue.create(tmp_path / "data")
    (record,) = caplog.records
    assert ("aiodiskqueue", "INFO") == (record.name, record.levelname)
    assert f"Read 1 items from existing data file: {tmp_path / 'data'}" == record.message
    await q.close()


def test_the_readme_runs(tmp_path: Path) -> None:
    """The example of aiodiskqueue's README, its import line changed."""
    code = (
        "import asyncio\n"
        "from persistqueue.compat.aiodiskqueue import Queue\n"
        "async def main():\n"
        '    q = await Queue.create("example_queue.sqlite")\n'
        '    await q.put("some item")\n'
        "    item = await q.get()\n"
        "    print(item)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ("some item\n", "", 0) == (done.stdout, done.stderr, done.returncode)


# -- their files --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("dumb", "dbm"),
        ("gnu", "dbm"),
        ("sqlite3", "dbm"),
        ("list", "list"),
        ("sequence", "sequence"),
        ("sqlite", "sqlite"),
    ],
)
@in_loop
async def test_their_files_are_read_and_continued(name: str, engine: str, tmp_path: Path) -> None:
    """What aiodiskqueue 0.1.1 stored comes out, and what is put behind it, after restarts."""
    if name == "gnu":
        pytest.importorskip("dbm.gnu", reason="needs the Debian package python3-gdbm")
    path = bring(name, tmp_path)
    expected = ITEMS if name == "sqlite" else ITEMS[2:]
    q = await Queue.create(path, cls_storage_engine=ENGINES[engine])
    assert len(expected) == q.qsize()
    assert expected[0] == await q.get()
    await q.put("ours")
    await q.close()
    q = await Queue.create(path, cls_storage_engine=ENGINES[engine])
    assert [*expected[1:], "ours"] == await drained(q)
    await q.put("again")
    await q.close()
    q = await Queue.create(path, cls_storage_engine=ENGINES[engine])
    assert ["again"] == await drained(q)
    await q.close()


@in_loop
async def test_a_gnu_file_without_gnu_dbm_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Python lacks dbm.gnu the error says what to install, and the file stays."""
    monkeypatch.setitem(sys.modules, "dbm.gnu", None)
    path = bring("gnu", tmp_path)
    before = path.read_bytes()
    with pytest.raises(ImportError, match="python3-gdbm"):
        await Queue.create(path)
    assert before == path.read_bytes()


# -- weak points of aiodiskqueue 0.1.1, which are not ours ----------------------------


@each_engine
@in_loop
async def test_a_cancelled_get_loses_no_item(engine: Any, tmp_path: Path) -> None:
    """1: gets are cancelled at any time; each item is delivered once, in memory and on disk."""
    q = await Queue.create(tmp_path / "data", cls_storage_engine=engine, durability="process")
    for number in range(40):
        await q.put(number)
    got = []
    for number in range(60):
        get = asyncio.ensure_future(q.get())
        await turns(TURNS[number % len(TURNS)])
        get.cancel()
        await asyncio.wait([get])
        if not get.cancelled():
            got.append(get.result())
        if number % 10 == 9:
            await q.close()
            q = await Queue.create(tmp_path / "data", cls_storage_engine=engine)
    got += await drained(q)
    assert list(range(40)) == sorted(got)
    await q.close()


@each_engine
@in_loop
async def test_a_cancelled_put_is_stored_whole_or_not_at_all(engine: Any, tmp_path: Path) -> None:
    """2 and 3: whatever came of cancelled puts, memory and disk agree, and the file is whole."""
    q = await Queue.create(tmp_path / "data", cls_storage_engine=engine, durability="process")
    told, doubtful = set(), set()
    for number in range(40):
        put = asyncio.ensure_future(q.put(number))
        await turns(TURNS[number % len(TURNS)])
        put.cancel()
        await asyncio.wait([put])
        (doubtful if put.cancelled() else told).add(number)
    await q.put("end")
    there = q.qsize()
    await q.close()
    q = await Queue.create(tmp_path / "data", cls_storage_engine=engine)
    items = await drained(q)
    assert there == len(items) == len(set(items))
    assert told <= {*items} - {"end"} <= told | doubtful
    await q.close()


KILLED = """
import asyncio, sys
from persistqueue.compat.aiodiskqueue import Queue, engines

async def main():
    engine = getattr(engines, sys.argv[2])
    q = await Queue.create(sys.argv[1], cls_storage_engine=engine, durability="process")
    number = int(sys.argv[3])
    while True:
        number += 1
        await q.put(number)
        print("put", number, flush=True)
        if number % 3 == 0:
            print("get", await q.get(), flush=True)

asyncio.run(main())
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.parametrize("rounds", [1, pytest.param(15, marks=pytest.mark.slow)])
@each_engine
def test_kill_9_leaves_a_whole_queue(engine: Any, rounds: int, tmp_path: Path) -> None:
    """4 and 5: nothing that was put is lost, and nothing comes that was not put."""
    chance, last, first = random.Random(4), 0, 1
    name = next(name for name in engines.__all__ if getattr(engines, name) is engine)

    def whole() -> list[int]:
        async def look() -> list[int]:
            q = await Queue.create(tmp_path / "data", cls_storage_engine=engine)
            there = [await q.get() for _ in range(q.qsize())]
            for item in there:
                await q.put(item)
            await q.close()
            return there

        return asyncio.run(look())

    for _ in range(rounds):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, tmp_path / "data", name, str(last)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        lines = [child.stdout.readline().split() for _ in range(chance.randint(5, 40))]
        child.kill()
        lines += [line.split() for line in child.stdout.read().splitlines()]
        child.wait()
        child.stdout.close()
        got = [int(line[1]) for line in lines if len(line) == 2 and line[0] == "get"]
        put = [int(line[1]) for line in lines if len(line) == 2 and line[0] == "put"]
        there = whole()
        first = got[-1] + 1 if got else first
        assert there[0] in (first, first + 1)  # a get may have been under way
        assert list(range(there[0], there[-1] + 1)) == there
        assert there[-1] in (put[-1], put[-1] + 1)  # or a put
        first, last = there[0], there[-1]


@each_engine
@in_loop
async def test_an_item_that_cannot_be_pickled_leaves_nothing(engine: Any, tmp_path: Path) -> None:
    """6: put raises, and the queue is as it was."""
    q = await Queue.create(tmp_path / "data", cls_storage_engine=engine)
    with pytest.raises(SerializationError):
        await q.put(lambda: None)
    assert 0 == q.qsize()
    await q.put("good")
    assert ["good"] == await drained(q)
    await q.close()


@in_loop
async def test_join_knows_what_an_earlier_process_put(tmp_path: Path) -> None:
    """7: after a restart join waits, and task_done counts."""
    q = await Queue.create(tmp_path / "data")
    await q.put(1)
    await q.close()
    q = await Queue.create(tmp_path / "data")
    join = asyncio.ensure_future(q.join())
    await parked(q._queue, 1)
    await q.get()
    await q.task_done()
    await join
    await q.close()


@in_loop
async def test_a_getter_that_is_cancelled_passes_the_item_on(tmp_path: Path) -> None:
    """8: two wait, an item comes, the first is cancelled in the same turn: the second gets it."""
    q = await Queue.create(tmp_path / "data")
    for delay in range(6):
        first = asyncio.ensure_future(q.get())
        await parked(q._queue, 1)
        second = asyncio.ensure_future(q.get())
        await parked(q._queue, 2)
        put = asyncio.ensure_future(q.put(delay))
        await turns(delay)
        first.cancel()
        await put
        await asyncio.wait([first])
        if first.cancelled():
            assert delay == await second
        else:
            await q.put("more")
            assert "more" == await second
    await q.close()


@in_loop
async def test_two_objects_on_one_file(tmp_path: Path) -> None:
    """9: in one process they are one queue, each item goes to one; a second process is told."""
    first = await Queue.create(tmp_path / "data")
    second = await Queue.create(tmp_path / "data", cls_storage_engine=engines.DbmEngine)
    for number in range(4):
        await first.put(number)
    assert [0, 1, 2, 3] == [await q.get() for q in (first, second, first, second)]
    code = (
        "import asyncio, sys\n"
        "from persistqueue.compat.aiodiskqueue import Queue\n"
        "asyncio.run(Queue.create(sys.argv[1]))\n"
    )
    done = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(tmp_path / "data"), stderr=asyncio.subprocess.PIPE
    )
    _, errors = await done.communicate()
    assert b"QueueLocked" in errors
    assert b"open already" in errors
    with pytest.raises(QueueLocked):  # another bound: another queue
        await Queue.create(tmp_path / "data", maxsize=7)
    await first.close()


@in_loop
async def test_an_object_that_is_dropped_lets_go_of_its_file(tmp_path: Path) -> None:
    """There is no close in aiodiskqueue: an object that nobody has closed is no obstacle."""
    q = await Queue.create(tmp_path / "data")
    await q.put(1)
    del q
    q = await Queue.create(tmp_path / "data", maxsize=7)
    assert 1 == await q.get()
    await q.close()


@pytest.mark.parametrize("data", [b"", b"not a pickle", pickle.dumps([1, 2, 3])[:-4]])
@in_loop
async def test_a_damaged_list_is_set_aside(
    data: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """4 and 10: the file is renamed to .bak, with a traceback in the log, and all goes on."""
    (tmp_path / "data.x").write_bytes(data)
    (tmp_path / "data.bak").write_bytes(b"older")
    q = await Queue.create(tmp_path / "data.x", cls_storage_engine=engines.PickledList)
    assert 0 == q.qsize()
    await q.put(1)
    await q.close()
    assert data == (tmp_path / "data.2.bak").read_bytes()
    assert b"older" == (tmp_path / "data.bak").read_bytes()
    (record,) = [r for r in caplog.records if r.name == "aiodiskqueue"]
    assert "Data file is corrupt and has been backed up" in record.message
    assert record.exc_info is not None


@in_loop
async def test_a_damaged_sequence_keeps_what_is_whole(tmp_path: Path) -> None:
    """10: one bad byte at the end costs one item, not all; the file is kept as .bak."""
    path = bring("sequence", tmp_path)
    path.write_bytes(path.read_bytes()[:-3])
    q = await Queue.create(path, cls_storage_engine=engines.PickleSequence)
    assert ITEMS[2:-1] == await drained(q)
    await q.close()
    assert (tmp_path / "sequence.bak").exists()


@pytest.mark.parametrize("hundredths", [0, 1, 10, 30, 50, 70, 90, 99])
@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("sqlite", "sqlite"),
        ("sqlite3", "dbm"),
        ("gnu", "dbm"),
        ("dumb", "dbm"),
        ("list", "list"),
        ("sequence", "sequence"),
    ],
)
@in_loop
async def test_a_file_of_theirs_that_was_cut_short(
    name: str, engine: str, hundredths: int, tmp_path: Path
) -> None:
    """10: it is refused and stays, or set aside whole, or what is whole of it comes, in order."""
    if name == "gnu":
        pytest.importorskip("dbm.gnu", reason="needs the Debian package python3-gdbm")
    path = bring(name, tmp_path)
    file = path.with_suffix(".dat") if name == "dumb" else path
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) * hundredths // 100])
    before = contents(tmp_path)
    try:
        q = await Queue.create(path, cls_storage_engine=ENGINES[engine])
    except PersistQueueError as error:
        assert re.search("damaged|not an SQLite|corrupt", str(error))
        assert before <= contents(tmp_path)
        return
    items = []
    with contextlib.suppress(QueueEmpty):
        while True:
            items.append(await q.get_nowait())
    await q.close()
    expected = ITEMS if name == "sqlite" else ITEMS[2:]
    assert items == [item for item in expected if item in items]
    if hundredths and len(items) < len(expected):
        assert before <= contents(tmp_path)


@in_loop
async def test_a_phantom_that_a_killed_aiodiskqueue_left_is_no_item(tmp_path: Path) -> None:
    """5: its item is gone and head_id still points there: the queue begins with the next."""
    import sqlite3

    path = bring("sqlite3", tmp_path)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM Dict WHERE key = CAST('item-3' AS BLOB)")
    connection.close()
    q = await Queue.create(path)
    assert ITEMS[3:] == await drained(q)
    await q.close()


@in_loop
async def test_any_sqlite_will_do(tmp_path: Path) -> None:
    """11: nothing is used that SQLite must be specially built for."""
    q = await Queue.create(tmp_path / "data", cls_storage_engine=engines.SqliteEngine)
    statements: list[str] = []
    engine: Any = q._queue._store._engine.engine  # type: ignore[union-attr]
    engine._file._connection.set_trace_callback(statements.append)
    await q.put(1)
    await q.get()
    await eventually(lambda: any("DELETE" in statement for statement in statements))
    assert not [s for s in statements if re.search("DELETE.*(LIMIT|RETURNING)", s)]
    await q.close()


@in_loop
async def test_tasks_that_create_at_once_share_one_queue(tmp_path: Path) -> None:
    """None is told that the file is taken; one that is cancelled meanwhile harms nobody."""
    made = [asyncio.ensure_future(Queue.create(tmp_path / "q")) for _ in range(4)]
    await asyncio.sleep(0)
    made[0].cancel()
    await asyncio.wait(made)
    assert made[0].cancelled()
    queues = [task.result() for task in made[1:]]
    await queues[0].put("x")
    assert "x" == await queues[2].get()
    await queues[0].close()


@pytest.mark.parametrize("maxsize", [None, "3"])
@in_loop
async def test_a_bound_that_is_no_number_is_named(maxsize: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="maxsize must be an int"):
        await Queue.create(tmp_path / "q", maxsize)


@in_loop
async def test_a_damaged_dumb_file_is_set_aside(tmp_path: Path) -> None:
    """Its index is no Python any more: both files are renamed, and nothing of them is deleted."""
    path = bring("dumb", tmp_path)
    index = path.with_name("dumb.dir")
    index.write_bytes(index.read_bytes() + b"rubbish\n")
    before = contents(tmp_path)
    q = await Queue.create(path)
    assert q.empty()
    assert before <= contents(tmp_path)
    await q.put("x")
    assert "x" == await q.get()
    await q.close()


@in_loop
async def test_a_sequence_is_not_taken_for_a_list(tmp_path: Path) -> None:
    """Its first item may be a list: what stands behind it must not be lost."""
    data = pickle.dumps(["a", "b"]) + pickle.dumps("c")
    path = tmp_path / "q"
    path.write_bytes(data)
    with pytest.raises(FormatError, match="nothing was changed"):
        await Queue.create(path, cls_storage_engine=engines.PickledList)
    assert data == path.read_bytes()
    q = await Queue.create(path, cls_storage_engine=engines.PickleSequence)
    assert [["a", "b"], "c"] == await drained(q)
    await q.close()


def dying(calls: int) -> Callable[..., None]:
    """Return a profiler that ends the process at so many calls of a function."""
    left = iter(range(calls))

    def profile(_frame: object, kind: str, _: object) -> None:
        if kind in ("call", "c_call") and next(left, None) is None:
            os._exit(9)

    return profile


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_copy_of_a_dumb_file_that_is_cut_off_is_made_anew(tmp_path: Path) -> None:
    """Killed at whatever step of the copying, the next process finds every item."""
    for calls in itertools.count(step := 53, step):
        folder = tmp_path / str(calls)
        folder.mkdir()
        path = str(bring("dumb", folder))
        child = os.fork()
        if child == 0:
            sys.setprofile(dying(calls))
            DbmEngine(path).open()
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        engine = DbmEngine(path)
        assert len(ITEMS[2:]) == engine.open(), calls
        engine.close()
        if code == 0:
            break
    assert calls > 4 * step
