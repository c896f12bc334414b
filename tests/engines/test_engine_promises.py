"""The table in docs/engines.rst, cell by cell: what it says of an engine is what happens."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from persistqueue import PersistQueueError, Queue, engines
from persistqueue.engines import StorageEngine

PAGE = Path(__file__).resolve().parents[2] / "docs" / "engines.rst"
FILES = ["SQLiteEngine", "DbmEngine", "PickledListEngine"]
ALL = ["ChunkFileEngine", *FILES, "MemoryEngine"]
each = pytest.mark.parametrize("name", ALL)
MANY, FEW = 4000, 400  # records; the table speaks of 100,000
RECORD = b"x" * 256


def table() -> dict[str, dict[str, str]]:
    """Return the table's cells: engine -> column -> words."""
    text = PAGE.read_text(encoding="utf-8")
    lines = text[text.index(".. list-table:: What") :].splitlines()
    rows: list[list[str]] = []
    for line in lines[1:]:
        if line.startswith("    * - "):
            rows.append([line[8:]])
        elif line.startswith("      - "):
            rows[-1].append(line[8:])
        elif rows and line and not line.startswith(" "):
            break
    head = rows[0][1:]
    return {row[0].strip("`"): dict(zip(head, row[1:], strict=True)) for row in rows[1:]}


CELLS = table()


def queue_on(name: str, path: Path, **options: Any) -> Queue[Any]:
    """Open a queue on an engine."""
    options.setdefault("durability", "process")
    return Queue(path / "q", engine=getattr(engines, name), **options)


def test_the_table_has_every_engine() -> None:
    """Rows and columns are those that are tested here."""
    assert ALL == list(CELLS)
    columns = ["atomic", "kill", "power", "damage", "memory", "cost at 100,000", "opening"]
    for cells in CELLS.values():
        assert columns == list(cells)


@each
def test_atomic(name: str, tmp_path: Path) -> None:
    """ "yes": a put_many whose writing is cut off stores nothing; "memory": it is one step."""
    assert ("memory" if name == "MemoryEngine" else "yes") == CELLS[name]["atomic"]
    if name == "MemoryEngine":
        return
    code = f"""
import os, sys, persistqueue._core.disk as files
from persistqueue import Queue, engines
q = Queue(sys.argv[1], engine=engines.{name}, durability="process")
q.put_many([1, 2])
write = files.Disk.write
def half(self, file, data, offset):
    write(self, file, data[:len(data) // 2], offset)
    os._exit(9)
files.Disk.write = half
if not {name in ("ChunkFileEngine", "PickledListEngine")}:
    import sqlite3
    connection = q._store._engine.engine._file._connection
    connection.set_trace_callback(lambda s: s == "COMMIT" and os._exit(9))
q.put_many(["x" * 1000] * 50)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "q"], timeout=60, check=False)
    assert 9 == done.returncode
    with queue_on(name, tmp_path) as q:
        assert [1, 2] == q.get_many(99)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a queue on each engine, of one process that was killed behind its calls."""
    folder = tmp_path_factory.mktemp("killed")
    code = """
import os, sys
from persistqueue import Queue, engines
queues = []
for name in sys.argv[2:]:
    folder = os.path.join(sys.argv[1], name)
    os.mkdir(folder)
    q = Queue(os.path.join(folder, "q"), engine=getattr(engines, name), durability="process")
    queues.append(q)
    q.put(1); q.put_many([2, 3]); q.get(); q.task_done()
os._exit(9)
"""
    done = subprocess.run([sys.executable, "-c", code, folder, *ALL], timeout=60, check=False)
    assert 9 == done.returncode
    return folder


@each
def test_kill(name: str, killed: Path) -> None:
    """ "survives": what put returned for is there after the process is gone; "gone": nothing is."""
    with queue_on(name, killed / name) as q:
        there = q.get_many(9) if q.qsize() else []
    assert {"survives": [2, 3], "gone": []}[CELLS[name]["kill"]] == there


@each
@pytest.mark.skipif(sys.platform != "linux", reason="counts syncs with an audit of Linux calls")
def test_power(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a put flushes: "yes" says all at "power" and less at "process", "no" says nothing.

    At "process" nothing, but for the pickled list, which is whole after a loss of power:
    its file, not the directory that has its name.
    """
    flushed: list[str] = []
    for call in ("fsync", "fdatasync"):
        real = getattr(os, call)

        def counted(fd: int, real: Callable[[int], None] = real) -> None:
            flushed.append(os.readlink(f"/proc/self/fd/{fd}"))
            real(fd)

        monkeypatch.setattr(os, call, counted)
        monkeypatch.setattr("persistqueue._core.disk._sync", os.fdatasync)
    found = {}
    for durability in ("power", "process"):
        with queue_on(name, tmp_path, durability=durability) as q:
            q.put("first")
            flushed.clear()
            q.put("second")
            found[durability] = [file for file in flushed if str(tmp_path) in file]
    if name == "PickledListEngine":
        new, directory = f"{tmp_path / 'q'}.persistqueue-new", str(tmp_path)
        assert {"power": [new, directory], "process": [new]} == found
        found["process"].clear()
    assert {"yes": True, "no": False}[CELLS[name]["power"]] == (len(found["power"]) > 0)
    assert [] == found["process"]


@each
def test_damage(name: str, tmp_path: Path) -> None:
    """ "noticed": a byte that changed inside an item is an error, never another item."""
    assert ("memory" if name == "MemoryEngine" else "noticed") == CELLS[name]["damage"]
    if name == "MemoryEngine":  # there is no file
        queue_on(name, tmp_path).close()
        assert [] == list(tmp_path.iterdir())
        return
    with queue_on(name, tmp_path) as q:
        q.put("needle" * 50)
        q.put("last")
    hit = 0
    for file in [tmp_path / "q", *(tmp_path / "q").glob("q0*")]:
        if file.is_file() and b"needle" in (data := file.read_bytes()):
            file.write_bytes(data.replace(b"needleneedle", b"needleNeedle", 1))
            hit += 1
    assert hit
    with pytest.raises(PersistQueueError, match=r"checksum|decoded"), queue_on(name, tmp_path) as q:
        q.get()


@each
def test_memory(name: str, tmp_path: Path) -> None:
    """ "little": an open queue does not hold its items; "all items": it does."""
    if name != "MemoryEngine":
        with queue_on(name, tmp_path) as q:
            q.put_many([RECORD] * MANY)
    tracemalloc.start()
    try:
        with queue_on(name, tmp_path) as q:
            if name == "MemoryEngine":
                for _ in range(MANY):
                    q.put(bytes(bytearray(RECORD)))
            q.get()
            held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    expected = "all items" if held > MANY * len(RECORD) else "little"
    assert expected == CELLS[name]["memory"]


def moved(which: str) -> int:
    """Return how many bytes this process has read (rchar) or written, from files and else."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(which)).split()[1])


@each
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_cost(name: str, tmp_path: Path) -> None:
    """ "flat": ten times the backlog writes no more per operation; "grows": as much more."""
    cost = []
    for backlog in (FEW, MANY):
        folder = tmp_path / str(backlog)
        folder.mkdir()
        with queue_on(name, folder) as q:
            q.put_many([RECORD] * backlog)
            before = moved("wchar")
            for _ in range(20):
                q.put(RECORD)
                q.get()
                q.task_done()
            cost.append((moved("wchar") - before) // 60)
    few, many = cost
    expected = "grows" if many > 5 * few + 1000 else "flat"
    assert expected == CELLS[name]["cost at 100,000"]


@each
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_opening(name: str, tmp_path: Path) -> None:
    """ "at once": ten times the items are a few pages more to read; "reads all": they are."""
    if name == "MemoryEngine":
        assert "memory" == CELLS[name]["opening"]
        return
    cost = []
    for backlog in (FEW, MANY):
        folder = tmp_path / str(backlog)
        folder.mkdir()
        with queue_on(name, folder) as q:
            q.put_many([RECORD] * backlog)
        before = moved("rchar")
        with queue_on(name, folder) as q:
            assert backlog == q.qsize()
        cost.append(moved("rchar") - before)
    few, many = cost
    assert {"at once": False, "reads all": True}[CELLS[name]["opening"]] == (
        many - few > (MANY - FEW) * len(RECORD) // 10
    )


def test_the_adapter_is_a_storage_engine() -> None:
    """Everything but the chunk files goes through the one interface."""
    made = [getattr(engines, name)("/x") for name in ALL[1:]]
    assert all(isinstance(engine, StorageEngine) for engine in made)
