"""Whatever a stranger put in the place of a queue: no code runs, nobody hangs, nothing is lost.

What damage by chance does is in test_corrupt.py.  What would hang runs in a process of its own.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from persistqueue import (
    Empty,
    FormatError,
    PDict,
    PriorityQueue,
    Queue,
    QueueCorrupt,
    SerializationError,
    SQLiteAckQueue,
    SQLiteQueue,
    serializers,
)

posix = pytest.mark.skipif(os.name == "nt", reason="there are no such files on Windows")
ENDLESS = "WITH RECURSIVE c(_id, data, timestamp) AS (SELECT 1, x'00', 2 UNION ALL SELECT _id + 1, data, timestamp FROM c) SELECT * FROM c"


def execute(path: Path, *statements: Any) -> None:
    """Do to the database in ``path`` what a stranger does."""
    path.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path / "data.db")) as connection, connection:
        for statement in statements:
            connection.execute(*([statement] if isinstance(statement, str) else statement))


def everything(path: Path) -> dict[str, bytes]:
    """Return what is in the regular files of a directory."""
    return {
        file.name: file.read_bytes()
        for file in path.iterdir()
        if file.is_file() and not file.is_symlink() and file.name != ".lock"
    }


def runs(code: str, *arguments: object) -> str:
    """Run ``code`` in a process that must end by itself, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    return done.stdout.strip()


USE = """
import sys
from persistqueue import PersistQueueError, SQLiteQueue
try:
    SQLiteQueue(sys.argv[1]).get_nowait()
except (PersistQueueError, OSError) as error:
    print(type(error).__name__, error)
"""


# -- databases ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["queue_default", "persistqueue_format"])
def test_an_endless_view_is_no_table(path: Path, name: str) -> None:
    """A view may compute for ever whatever its reader asks."""
    execute(path, f"CREATE VIEW {name} AS {ENDLESS}")
    assert runs(USE, path).startswith("FormatError")


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW queue_default AS SELECT 1 AS _id, x'00' AS data, 2 AS timestamp",
        "CREATE VIRTUAL TABLE queue_default USING fts4(_id, data, timestamp)",
        "CREATE TABLE queue_default(_id INTEGER PRIMARY KEY, data AS (x'80'), timestamp FLOAT)",
        "CREATE TABLE queue_default(_id TEXT, data BLOB, timestamp FLOAT)",
        "CREATE TABLE queue_default(_id TEXT PRIMARY KEY, data BLOB, timestamp FLOAT)",
        "CREATE TABLE queue_default(_id INTEGER PRIMARY KEY DESC, data BLOB, timestamp FLOAT)",
        "CREATE TABLE queue_default(_id INTEGER PRIMARY KEY, data BLOB, timestamp FLOAT) WITHOUT ROWID",
        "CREATE TABLE queue_default(nonsense)",
    ],
)
@pytest.mark.parametrize("auto_commit", [True, False])
def test_what_is_no_queues_table_is_refused_untouched(
    path: Path, statement: str, auto_commit: bool
) -> None:
    try:
        execute(path, statement)
    except sqlite3.OperationalError as error:
        pytest.skip(f"not with this SQLite: {error}")
    with pytest.raises(FormatError, match="Nothing was changed"):
        SQLiteQueue(path, auto_commit=auto_commit)
    with closing(sqlite3.connect(path / "data.db")) as connection:
        (sql,) = connection.execute("SELECT sql FROM sqlite_master").fetchone()
    assert statement == sql


def test_a_schema_that_cannot_be_read_is_damage(path: Path) -> None:
    SQLiteQueue(path).close()
    execute(
        path,
        "PRAGMA writable_schema=1",
        "UPDATE sqlite_master SET sql = 'CREATE TABLE nonsense(((' WHERE name = 'queue_default'",
    )
    with pytest.raises(QueueCorrupt, match="malformed"):
        SQLiteQueue(path)


@pytest.mark.parametrize("auto_commit", [True, False])
@pytest.mark.parametrize("number", [-(2**63), -1, 0, 2**63 - 1])
def test_an_item_with_any_id_is_there(path: Path, number: int, auto_commit: bool) -> None:
    with closing(SQLiteQueue(path)) as q:
        q.put("item")
    execute(path, ("UPDATE queue_default SET _id = ?", (number,)))
    with closing(SQLiteQueue(path, auto_commit=auto_commit)) as q:
        with pytest.raises(KeyboardInterrupt), q.process():
            raise KeyboardInterrupt  # gives it back
        assert "item" == q.get_nowait()


@pytest.mark.parametrize("value", [None, "text", b"\xff", 1e300, -1])
def test_a_column_may_hold_anything(path: Path, value: Any) -> None:
    """What is beside the item keeps nobody from getting it."""
    with closing(PriorityQueue(path)) as q:
        q.put("item")
    execute(path, ("UPDATE priority_queue_default SET priority = ?, timestamp = ?", (value, value)))
    with closing(PriorityQueue(path)) as q:
        assert 1 == len(q.queue())
        assert "item" == q.get_nowait()


@pytest.mark.parametrize("owner", [5, b"\xff", "a\0b", "", "/../victim", "../victim", "A" * 32])
def test_an_owner_is_a_name_and_no_path(path: Path, owner: Any) -> None:
    """What dead owners left is removed: nothing else is, wherever a name may lead."""
    with closing(SQLiteAckQueue(path)) as q:
        q.put("item")
    (path / "data.db-owner-").mkdir()
    (path / "victim").write_text("precious")
    execute(path, ("UPDATE ack_queue_default SET status = 2, owner = ?", (owner,)))
    with closing(SQLiteAckQueue(path)) as q:
        assert "item" == q.get_nowait()
    assert "precious" == (path / "victim").read_text()


@posix
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda file: os.symlink("victim", file)])
def test_an_owners_file_is_a_file(path: Path, make: Callable[[Path], None]) -> None:
    with closing(SQLiteAckQueue(path)) as q:
        q.put("item")
    (path / "victim").write_text("precious")
    make(path / f"data.db-owner-{'a' * 32}")
    execute(path, ("UPDATE ack_queue_default SET status = 2, owner = ?", ("a" * 32,)))
    with closing(SQLiteAckQueue(path)) as q:
        assert "item" == q.get_nowait()
    assert "precious" == (path / "victim").read_text()


@pytest.mark.parametrize("kind", [5, b"float", "int", "bool", "float x", "float 1e999", "int\0"])
@pytest.mark.parametrize("key", [None, b"\xff", "text", "9" * 5000])
def test_a_dicts_key_may_be_called_anything(path: Path, kind: Any, key: Any) -> None:
    with closing(PDict(path, "d")) as d:
        d["key"] = "value"
    execute(path, ("UPDATE dict_d SET type = ?, key = ?", (kind, key)))
    with closing(PDict(path, "d")) as d:
        assert ["value"] == list(d.values())
        assert 1 == len(list(d))


@pytest.mark.parametrize(
    "number",
    ["1; DROP TABLE queue_default", "1 OR 1", b"1", 1.5, True, [1], {}, {"pqid": "x"}, {"pqid": [1]}, 2**70, -(2**70), object()],
    ids=lambda given: "object()" if type(given) is object else repr(given),
)  # fmt: skip
def test_an_id_of_any_type_takes_nothing_else(path: Path, number: Any) -> None:
    with closing(SQLiteQueue(path)) as q:
        q.put("item")
        with pytest.raises((TypeError, ValueError, Empty)):
            q.get(block=False, id=number)
        assert ["item"] == [row["data"] for row in q.queue()]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a\0b",
        "\ud800",
        '"; DROP TABLE queue_default; --',
        "a\nb",
        "a" * 5000,
        None,
        5,
        b"x",
        (),
    ],
    ids=lambda name: repr(name)[:30],
)
@pytest.mark.parametrize("queue_class", [SQLiteQueue, SQLiteAckQueue, PriorityQueue, PDict])
def test_a_name_of_any_type_is_a_name_or_a_value_error(
    path: Path, name: Any, queue_class: Any
) -> None:
    with closing(SQLiteQueue(path)) as q:
        q.put("item")
    try:
        other = queue_class(path, name=name)
    except ValueError as error:
        assert "character" in str(error)
    else:
        other.close()
    with closing(SQLiteQueue(path)) as q:
        assert "item" == q.get_nowait()


def test_deep_rows_are_not_lost(path: Path) -> None:
    """Nested too deep for this process: the row stays, also where damage is skipped."""
    with closing(SQLiteQueue(path, serializer=serializers.json)) as q:
        q.put(1)
    execute(path, ("UPDATE queue_default SET data = ?", (b"[" * 200_000,)))
    with closing(SQLiteQueue(path, serializer=serializers.json, on_corrupt="skip")) as q:
        with pytest.raises(SerializationError, match="stays stored"):
            q.get_nowait()
        assert 1 == q.size


@pytest.mark.parametrize("name", ["msgpack", "cbor2"])
@pytest.mark.parametrize("one_level", [b"\x91", b"\x81"])
def test_deep_and_huge_items_are_typed_errors(path: Path, name: str, one_level: bytes) -> None:
    pytest.importorskip(name)
    serializer = getattr(serializers, name)
    lies = [b"\xdd\xff\xff\xff\xff", b"\x9b" + b"\x7f" * 8, b"\x5b" + b"\x7f" * 8]
    for number, data in enumerate([one_level * 200_000 + b"\0", *lies]):
        directory = path / str(number)
        directory.mkdir(parents=True)
        record = struct.pack("<L", len(data)) + data
        (directory / "q00000").write_bytes(record)
        state = {"chunksize": 9, "size": 1, "tail": [0, 0, 0], "head": [0, 1, len(record)]}
        with (directory / "info").open("wb") as info:
            serializer.dump(state, info)
        with Queue(directory, serializer=serializer) as q:
            with pytest.raises((QueueCorrupt, SerializationError)):
                q.get_nowait()
            assert 1 == q.qsize()
        assert record == (directory / "q00000").read_bytes()


# -- files in the place of files ----------------------------------------------------------


def make_socket(file: Path) -> None:
    here = Path.cwd()
    os.chdir(file.parent)  # a socket's name may have 100 characters only
    try:
        socket.socket(socket.AF_UNIX).bind(file.name)
    finally:
        os.chdir(here)


def make_link(file: Path) -> None:
    victim = file.parent / "victim"
    victim.write_text("precious")
    file.symlink_to(victim)


NO_FILES = {
    "directory": os.mkdir,
    "fifo": getattr(os, "mkfifo", None),
    "socket": make_socket,
    "zero": lambda file: os.symlink("/dev/zero", file),
    "full": lambda file: os.symlink("/dev/full", file),
    "loop": lambda file: os.symlink(file, file),
}


@posix
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_no_database(path: Path, kind: str) -> None:
    path.mkdir()
    NO_FILES[kind](path / "data.db")  # type: ignore[operator]
    if kind == "fifo":
        assert runs(USE, path).startswith("OSError")
    else:
        with pytest.raises(OSError, match=r"regular file|directory"):
            SQLiteQueue(path)


@posix
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("kind", [*NO_FILES, "link"])
@pytest.mark.parametrize("suffix", ["-journal", "-wal", "-shm"])
def test_what_is_no_file_is_no_log(path: Path, kind: str, suffix: str) -> None:
    """SQLite would wait for a pipe for ever, and follow a link."""
    with closing(SQLiteQueue(path)) as q:
        q.put("item")
    other = path / f"data.db{suffix}"
    {**NO_FILES, "link": make_link}[kind](other)  # type: ignore[operator]
    before = everything(path)
    if kind == "fifo":
        assert "OSError" in runs(USE, path)
    else:
        with pytest.raises(OSError, match=r"regular file|directory"):
            SQLiteQueue(path)
    assert before == everything(path)
    other.rmdir() if kind == "directory" else other.unlink()
    with closing(SQLiteQueue(path)) as q:
        assert "item" == q.get_nowait()


@posix
@pytest.mark.parametrize("queue_class", [Queue, SQLiteQueue, lambda path: PDict(path, "d")])
def test_a_path_that_is_neither_file_nor_directory(tmp_path: Path, queue_class: Any) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (fifo, Path("/dev/zero"), Path("/dev/zero/deeper")):
        with pytest.raises(OSError, match=r"directory|regular file"):
            queue_class(path)


@posix
def test_files_with_odd_names_are_nobodys(path: Path) -> None:
    """Names that a chunk never has: a line break, leading zeros, other scripts' digits, too long."""
    with Queue(path, chunksize=1) as q:
        q.put_many([1, 2, 3])
    names = ["q00001\n", "q000001", f"q{'9' * 250}", "q٣٣٣٣٣", "\n", "info\n", "q00002.corrupt-5"]
    for name in names:
        (path / name).write_text(name)
    with Queue(path) as q:
        assert [1, 2, 3] == q.get_many(9)
        q.task_done(3)
    assert set(names) <= set(os.listdir(path))
    assert all(name == (path / name).read_text() for name in names)


# -- info ---------------------------------------------------------------------------------

BOMB = """
import struct, sys
from persistqueue import Queue, serializers
serializer = getattr(serializers, sys.argv[2])
with Queue(sys.argv[1], serializer=serializer) as q:
    q.put("item")
value = bytes.fromhex(sys.argv[3])
if sys.argv[2] == "cbor2":
    value = struct.pack("<L", len(value)) + value
open(sys.argv[1] + "/info", "wb").write(value)
with Queue(sys.argv[1], serializer=serializer) as q:
    print(q.get_nowait())
"""


def shared(depth: int) -> bytes:
    """Return CBOR: a list that holds itself-like lists twice, ``depth`` levels of it, as a key."""
    value = b"\xd8\x1c\x80"
    for level in range(depth, 0, -1):
        value = b"\xd8\x1c\x82" + value + b"\xd8\x1d\x18" + bytes([level])
    return b"\xa1" + value + b"\x01"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pickle", b"\x80\x04})" + b"2\x86" * 100 + b"K\x01s."),
        ("pickle", b"\x80\x04}(" + b"h\x00" * 9 + b")" + b"2\x87" * 99 + b"K\x01u."),
        ("pickle", b"\x80\x04]" + b"2a" * 100 + b"."),
        ("cbor2", shared(60)),
        ("json", b"[" * 4000),
        ("json", b'{"chunksize":' + b"9" * 4000),
        ("msgpack", b"\x91" * 4000),
    ],
)
def test_an_info_cannot_keep_anybody_busy(path: Path, name: str, value: bytes) -> None:
    """A few bytes that would be hashed for years, or nested too deep, are damage."""
    if name in ("cbor2", "msgpack"):
        pytest.importorskip(name)
    if name == "msgpack":
        value = struct.pack("<L", len(value)) + value
    assert "item" == runs(BOMB, path, name, value.hex())


def test_more_items_than_can_be_counted_are_damage(path: Path) -> None:
    """``len()`` could not say their number."""
    with Queue(path) as q:
        q.put("item")
    size = 2**62
    value = {"chunksize": size, "size": size * size, "tail": [0, 0, 0], "head": [size - 1, 0, 0]}
    (path / "info").write_bytes(serializers.pickle.dumps({**value, "size": size * (size - 1)}))
    with Queue(path) as q:
        assert (1, "item") == (len(q), q.get_nowait())
