"""What programs catch that were written for persist-queue: errors of sqlite3, and of serializers."""

from __future__ import annotations

import copy
import errno
import inspect
import json
import pickle
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import interpreter
import pytest
from sqlite_objects import each_kind, each_way, open_any

from persistqueue import (
    FormatError,
    PersistQueueError,
    QueueClosed,
    QueueCorrupt,
    QueueFailed,
    QueueLocked,
    SerializationError,
    SQLiteQueue,
)
from persistqueue._sql.sqlite import errors as sqliteerrors

BIG = "x" * 200_000


@each_kind
def test_locked(kind: str, path: Path) -> None:
    """A lock that is not to be had is an OperationalError that says so, when opening and later."""
    q = open_any(kind, path, timeout=0.05)
    q.put("a")
    with closing(sqlite3.connect(path / "data.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="database is locked") as caught:
            q.put("b")
    assert isinstance(caught.value, QueueLocked)
    q.close()


@each_kind
def test_a_full_disk(kind: str, path: Path) -> None:
    """It is the OSError of a full disk, and an OperationalError; the next call works."""
    q = open_any(kind, path)
    q.put("a")
    connection = q._store.conn.driver
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages + 2}")
    with pytest.raises(sqlite3.OperationalError, match="disk is full") as caught:
        q.put(BIG)
    assert isinstance(caught.value, OSError)
    assert (errno.ENOSPC, str(path / "data.db")) == (caught.value.errno, caught.value.filename)
    q.put("b")
    assert 2 == q.qsize()
    q.close()


@each_kind
def test_after_close(kind: str, path: Path) -> None:
    """A closed object raises a ProgrammingError."""
    q = open_any(kind, path)
    q.close()
    for call in (q.qsize, q.get, lambda: q.put("a")):
        with pytest.raises(sqlite3.ProgrammingError, match="closed") as caught:
            call()
        assert isinstance(caught.value, QueueClosed)


@each_way
def test_no_database(kind: str, path: Path) -> None:
    """A file that is no database is a DatabaseError, and stays as it is."""
    path.mkdir()
    (path / "data.db").write_bytes(b"something else" * 100)
    with pytest.raises(sqlite3.DatabaseError, match="not a database") as caught:
        open_any(kind, path)
    assert isinstance(caught.value, FormatError)
    assert not isinstance(caught.value, sqlite3.OperationalError)
    assert (path / "data.db").read_bytes() == b"something else" * 100


@each_way
def test_a_malformed_database(kind: str, path: Path) -> None:
    """A database that SQLite calls malformed is a DatabaseError."""
    q = open_any(kind, path)
    for number in range(400):
        q.put(f"{number} " + "x" * 100)
    q.close()
    file = path / "data.db"
    pages = bytearray(file.read_bytes())
    pages[100] = 0xEE  # the kind of the first page
    file.write_bytes(pages)
    with pytest.raises(sqlite3.DatabaseError, match="malformed") as caught:
        open_any(kind, path)
    assert isinstance(caught.value, QueueCorrupt)
    assert not isinstance(caught.value, sqlite3.OperationalError)


def test_a_database_that_was_cut_short(path: Path) -> None:
    """So is one that lacks its end, which SQLite would read as zeros."""
    with SQLiteQueue(path) as q:
        q.put_many(range(10))
    (path / "data.db").write_bytes((path / "data.db").read_bytes()[:-4096])
    with pytest.raises(sqlite3.DatabaseError, match=r"cut short|malformed"):
        SQLiteQueue(path)


@each_way
def test_the_file_was_removed(kind: str, path: Path) -> None:
    """A database that went away is an OperationalError."""
    q = open_any(kind, path)
    q.put("a")
    (path / "data.db").unlink()
    with pytest.raises(sqlite3.OperationalError, match="removed or replaced") as caught:
        q.put("b")
    assert isinstance(caught.value, QueueFailed)
    q.close()


def test_what_cannot_be_opened(path: Path) -> None:
    """What sqlite3 calls "unable to open" is an OperationalError and says what is wrong."""
    path.mkdir()
    (path / "data.db").mkdir()
    with pytest.raises(IsADirectoryError):
        SQLiteQueue(path)
    error = sqliteerrors.why_not_opened(str(path / "nothing" / "data.db"))
    assert isinstance(error, FileNotFoundError)
    assert isinstance(error, sqlite3.OperationalError)


_FEW_DESCRIPTORS = """
import os, pathlib, resource, sys
sys.path.insert(0, sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
from sqlite_objects import FEW, open_any

def with_few_left(number, call):
    taken = []
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        for fd in taken[:number]:
            os.close(fd)
    try:
        return call(), None
    except OSError as error:
        return None, error.errno
    finally:
        for fd in taken[number:]:
            os.close(fd)

said = set()
for kind in FEW:
    for left in range(8):
        path = pathlib.Path(sys.argv[2], kind + str(left))
        open_any(kind, path).close()
        q, error = with_few_left(left, lambda: open_any(kind, path))
        said.add(error)
        q = q or open_any(kind, path)
        put = 1
        for number in range(3):
            _, error = with_few_left(left, lambda: q.put(number))
            said.add(error)
            put += error is None
        q.put("more")
        assert put == q.qsize(), (kind, left, put)
        q.close()
print(said)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_too_many_open_files(tmp_path: Path) -> None:
    """However few descriptors are left, that is what an error says; the object goes on."""
    here = Path(__file__).parents[1] / "support"
    assert {None, errno.EMFILE} == interpreter.run(_FEW_DESCRIPTORS, here, tmp_path)


@each_kind
def test_a_header_that_forbids_to_write(kind: str, path: Path) -> None:
    """One bit changed, and SQLite takes the database for a newer one's: it is damaged, and said so."""
    q = open_any(kind, path)
    q.put("a")
    q.close()
    header = bytearray((path / "data.db").read_bytes())
    header[18] ^= 1
    (path / "data.db").write_bytes(header)
    q = open_any(kind, path)
    with pytest.raises(sqlite3.DatabaseError, match="the header is damaged") as caught:
        q.put("b")
    assert isinstance(caught.value, QueueCorrupt)
    with pytest.raises(QueueCorrupt, match="the header is damaged"):
        q.backup(path / "copy.db")
    assert 1 == q.qsize()
    q.close()


# -- serializers ---# -- serializers -----------------------------------------------------------------------


class Hidden:
    """An item whose class cannot be found when it is pickled."""


class Raising:
    """An item that raises when it is pickled."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __reduce__(self) -> Any:
        raise self._error


ERRORS = (pickle.PicklingError("no"), TypeError("no"), AttributeError("no"), ValueError("no"))


@each_kind
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_item_that_cannot_be_encoded(kind: str, error: Exception, path: Path) -> None:
    """It raises what the serializer raised, and nothing is stored."""
    q = open_any(kind, path)
    for call in (lambda: q.put(Raising(error)), lambda: q.put_many(["a", Raising(error)])):
        with pytest.raises(type(error), match="cannot encode") as caught:
            call()
        assert isinstance(caught.value, SerializationError)
        assert caught.value.__cause__ is error
    assert 0 == q.qsize()
    q.close()


def test_an_item_that_raises_something_else(path: Path) -> None:
    """Another error is the cause, and the error is none of its kind."""
    with SQLiteQueue(path) as q, pytest.raises(SerializationError) as caught:
        q.put(Raising(ZeroDivisionError("no")))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert SerializationError is type(caught.value)


#: A row's bytes, a serializer, and what that raises.
DAMAGED = [
    (b"garbage", pickle, pickle.UnpicklingError),
    (b"I1\n", pickle, EOFError),
    (b"\x80\x04\x8c\x01\xff.", pickle, ValueError),
    (b"{", json, ValueError),
]


@each_kind
@pytest.mark.parametrize(("stored", "serializer", "raised"), DAMAGED)
def test_a_damaged_row(kind: str, stored: bytes, serializer: Any, raised: Any, path: Path) -> None:
    """It raises what the serializer raised; never what has programs throw the database away."""
    with pytest.raises(raised):
        serializer.loads(stored)
    q = open_any(kind, path, serializer=serializer)
    q.put("a")
    spoil(path, stored)
    with pytest.raises(raised, match="cannot be decoded") as caught:
        q.get()
    assert isinstance(caught.value, QueueCorrupt)
    assert not isinstance(caught.value, sqlite3.Error)
    q.close()


@each_kind
@pytest.mark.parametrize(
    ("stored", "raised"),
    [
        (b"cbuiltins\nint\n(I1\nI2\nI3\ntR.", TypeError),
        (b"cbuiltins\nint\n(S'x'\ntR.", ValueError),
    ],
)
def test_a_whole_row_that_cannot_be_loaded(
    kind: str, stored: bytes, raised: Any, path: Path
) -> None:
    """It raises what the serializer raised, too; and it is no damage."""
    q = open_any(kind, path)
    q.put("a")
    spoil(path, stored)
    with pytest.raises(raised, match="stays stored") as caught:
        q.get()
    assert isinstance(caught.value, SerializationError)
    q.close()


def test_an_error_that_no_program_expects_of_a_row(path: Path) -> None:
    """Another error of the serializer is the cause of the cause."""

    class Odd:
        @staticmethod
        def dumps(item: Any) -> bytes:
            return repr(item).encode()

        @staticmethod
        def loads(data: bytes) -> Any:
            raise ZeroDivisionError

    with SQLiteQueue(path, serializer=Odd) as q:
        q.put("a")
        with pytest.raises(QueueCorrupt) as caught:
            q.get()
    assert QueueCorrupt is type(caught.value)


@each_way
def test_an_item_whose_class_is_gone(kind: str, path: Path) -> None:
    """It is whole and stays; persist-queue's users know the AttributeError."""
    q = open_any(kind, path)
    q.put("a")
    spoil(path, f"c{__name__}\nGone\n.".encode())
    with pytest.raises(AttributeError, match="cannot decode") as caught:
        q.get()
    assert isinstance(caught.value, SerializationError)
    with pytest.raises(AttributeError):
        q.get()
    q.close()


def spoil(path: Path, stored: bytes) -> None:
    """Let every row hold these bytes, as another program may."""
    with closing(sqlite3.connect(path / "data.db")) as other:
        tables = other.execute("SELECT name FROM pragma_table_list WHERE ncol > 1").fetchall()
        for (table,) in tables:
            columns = [
                c for (c,) in other.execute("SELECT name FROM pragma_table_info(?)", (table,))
            ]
            if "data" in columns:
                other.execute(f'UPDATE "{table}" SET data = ?', (stored,))
        other.commit()


# -- the classes themselves --------------------------------------------------------------


def flavours() -> list[type[Exception]]:
    """Return all errors that have a base of another library."""
    classes = vars(sqliteerrors).values()
    return [
        each
        for each in classes
        if inspect.isclass(each)
        and issubclass(each, Exception)
        and each.__module__ == sqliteerrors.__name__
    ]


@pytest.mark.parametrize("kind", flavours(), ids=lambda kind: kind.__name__)
def test_an_error_survives_copying_and_pickling(kind: Any) -> None:
    """Errors are copied for each caller of a batch, and sent between processes."""
    if issubclass(kind, OSError):
        error = kind(errno.EIO, "why", "/where")
    else:
        error = (
            kind("/where", "table", 1, 2, "why") if issubclass(kind, QueueCorrupt) else kind("why")
        )
    error.sqlite_errorcode = 10
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (kind, str(error), error.args) == (type(again), str(again), again.args)
        assert 10 == again.sqlite_errorcode
        assert "why" in str(again)
    assert isinstance(error, (PersistQueueError, OSError))
    assert issubclass(kind, sqlite3.DatabaseError) == ("SQLite" in kind.__name__)


def test_the_code_of_sqlite_is_kept(path: Path) -> None:
    """From Python 3.11 on, errors of sqlite3 have a code and a name; ours have them, too."""
    with SQLiteQueue(path) as q:
        connection = q._conn
        assert connection is not None
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(sqlite3.OperationalError) as caught:
            q.put(BIG)
    if hasattr(sqlite3, "SQLITE_FULL"):
        assert ("SQLITE_FULL", sqlite3.SQLITE_FULL) == (
            caught.value.sqlite_errorname,
            caught.value.sqlite_errorcode,
        )
