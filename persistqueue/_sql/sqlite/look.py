"""Looks at an SQLite database: nothing is changed, no file is left, no writer has to wait.

Rows are read a few at a time, so that no read lasts.  A database in WAL mode that no process has
open is read as immutable: else SQLite would create its log, and leave it there.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from typing import TYPE_CHECKING, Any, NamedTuple

from ..._core.codec import as_text
from ...exceptions import PersistQueueError
from ..schema import VERSION_TABLE, columns, objects, refuse_newer
from ..statements import KINDS, OLD_ASYNC, SUM, DictTable, Table
from .database import journal_of, uri_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SQLITE_VERSION = sqlite3.sqlite_version_info
SUFFIXES = ("", "-wal", "-shm", "-journal")  # of a database's files
_MAGIC = b"SQLite format 3\0"
_BESIDE = re.compile(r".*(-wal|-shm|-journal|-owner-[0-9a-f]{32})")  # files beside a database
_ROWS = 256  # that are read at a time
_ASIDE = "corrupt:"
_CLASSES = {
    "queue": "SQLiteQueue",
    "filo_queue": "FILOSQLiteQueue",
    "unique_queue": "UniqueQ",
    "priority_queue": "PriorityQueue",
    "ack_queue": "SQLiteAckQueue",
    "ack_filo_queue": "FILOSQLiteAckQueue",
    "ack_unique_queue": "UniqueAckQ",
}


class Found(NamedTuple):
    """A table of a queue or a dict.

    Attributes:
        cls: the name of the class that uses it.
        name: of the queue or dict.
    """

    cls: str
    name: str
    table: Table | DictTable


class Contents(NamedTuple):
    """Everything in a database.

    Attributes:
        aside: tables that hold damaged rows.
        others: ordinary tables that are none of these.
        strange: views and virtual tables.
    """

    found: list[Found]
    aside: list[str]
    others: list[str]
    strange: list[str]


class Row(NamedTuple):
    """A row as it is stored."""

    number: int
    data: Any
    checksum: Any
    size: int
    timestamp: Any
    status: Any


def is_database(path: str) -> bool:
    """Return whether a file is an SQLite database (an empty one may be), or a damaged one."""
    if journal_of(path):
        return True
    with open(path, "rb") as file:  # SQLite has not got it open, then
        return file.read(len(_MAGIC)) == _MAGIC


def is_beside(path: str) -> bool:
    """Return whether a file has the name of one of those beside a database."""
    return bool(_BESIDE.fullmatch(os.path.basename(path)))


def stamp(path: str) -> tuple[int, ...]:
    """Return a value that changes when another process opens or writes a database."""
    found = os.stat(path)
    there = [os.path.exists(path + suffix) for suffix in SUFFIXES[1:]]
    return (found.st_ino, found.st_size, found.st_mtime_ns, *there)


@contextlib.contextmanager
def opened(path: str) -> Iterator[sqlite3.Connection]:
    """Open a database for reading only.

    Raises:
        OSError: it is no regular file, or its log cannot be read here.
        PersistQueueError: it is no database, or SQLite finds it damaged.
    """
    try:
        with contextlib.closing(_opened(os.path.realpath(path))) as connection:
            yield connection
    except sqlite3.Error as error:
        raise PersistQueueError(f"{path}: SQLite says: {error}") from error


def snapshot(path: str) -> sqlite3.Connection:
    """Open a database for reading its present state, however long that takes.

    Others may write meanwhile.  Where this process may not write, the database is opened as by
    ``opened``: no other process writes there.
    """
    path = os.path.realpath(path)
    connection = _connect(path, "mode=rw")
    try:
        connection.execute("PRAGMA query_only=1")
        connection.execute("BEGIN")
        connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        return _opened(path)
    return connection


def _opened(path: str) -> sqlite3.Connection:
    in_wal_mode = journal_of(path) == "wal"
    log = os.path.getsize(f"{path}-wal") if os.path.exists(f"{path}-wal") else 0
    if in_wal_mode and not log:
        return _connect(path, "immutable=1")
    connection = _connect(path, "mode=ro")
    try:
        connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        connection.close()
        cannot = isinstance(error, sqlite3.OperationalError)
        if cannot and log and not str(error).startswith("malformed"):
            raise OSError(
                f"{path}: SQLite cannot read its log here ({error}): copy the database and the "
                "files beside it to a place where you may write, and look at the copy"
            ) from error
        raise
    return connection


def _connect(path: str, how: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri_of(path, how), uri=True, timeout=10, isolation_level=None)
    try:
        connection.execute("PRAGMA trusted_schema=OFF")
    except BaseException:
        connection.close()
        raise
    connection.text_factory = as_text
    return connection


def contents(connection: sqlite3.Connection, path: str) -> Contents:
    """Return the queues, dicts and other tables of a database.

    Raises:
        FormatError: a newer version wrote it.
    """
    there = objects(connection)
    refuse_newer(connection, there, path)
    found = Contents([], [], [], [])
    for name in sorted(there):
        if there[name] == "view":
            found.strange.append(name)
        elif there[name] != "table" or name.startswith("sqlite_") or name == VERSION_TABLE:
            continue
        elif name.startswith(_ASIDE):
            found.aside.append(name)
        elif (ours := _recognised(name, columns(connection, name))) is not None:
            found.found.append(ours)
        else:
            found.others.append(name)
    return found


def _recognised(name: str, there: list[str]) -> Found | None:
    if name.startswith("dict_") and there[:2] == ["key", "data"]:
        return Found("PDict", name[5:], DictTable(name[5:]))
    for kind in KINDS:
        prefix = f"{kind.prefix}_"
        old = name == kind.prefix and name in OLD_ASYNC  # of persist-queue's async classes
        if tuple(there[: len(kind.columns)]) == kind.columns and (name.startswith(prefix) or old):
            table = Table(kind, name, whole_name=True, lacks=kind.added.keys() - there)
            return Found(_CLASSES[kind.prefix], name.removeprefix(prefix), table)
    return None


def count(connection: sqlite3.Connection, quoted: str) -> int:
    """Return how many rows a table has."""
    rows: int = connection.execute(f"SELECT COUNT(*) FROM {quoted}").fetchone()[0]  # noqa: S608 - quoted
    return rows


def rows(connection: sqlite3.Connection, table: Table | DictTable) -> Iterator[Row]:
    """Yield every row in order."""
    timestamp = "timestamp" if table.kind else "NULL"
    status = "status" if table.kind and table.kind.ack else "NULL"
    statement = (
        f"SELECT rowid, {_stored(table)}, COALESCE(LENGTH(CAST(data AS BLOB)), 0),"  # noqa: S608 - quoted
        f" {timestamp}, {status}"
        f" FROM {table.quoted} WHERE rowid > ? ORDER BY rowid LIMIT {_ROWS}"
    )
    behind, more = float("-inf"), True
    while more:
        more = False
        for values in connection.execute(statement, (behind,)):
            row = Row(*values)
            behind, more = row.number, True
            yield row


def _stored(table: Table | DictTable) -> str:
    """Return the columns of a row's data and checksum, as a statement names them."""
    return f"data, {SUM}" if table.kind and table.sums else "data, NULL"


def stored(
    connection: sqlite3.Connection, table: Table | DictTable, number: int
) -> list[tuple[Any, Any]]:
    """Return data and checksum of the row with this number; nothing if it is gone."""
    statement = f"SELECT {_stored(table)} FROM {table.quoted} WHERE rowid = ?"  # noqa: S608 - quoted
    return connection.execute(statement, (number,)).fetchall()


def first_rows(
    connection: sqlite3.Connection, table: Table | DictTable, most: int
) -> list[tuple[Any, ...]]:
    """Return the next rows in their order: data, checksum; of a dict also the key and its type."""
    if isinstance(table, DictTable):
        typed = "type" if "type" in columns(connection, table.name) else "NULL"
        statement = f"SELECT data, NULL, key, {typed} FROM {table.quoted} ORDER BY rowid LIMIT ?"  # noqa: S608 - quoted
        return connection.execute(statement, (most,)).fetchall()
    found = connection.execute(table.first, (most,)).fetchall()
    return [(row[1], row[-1] if table.sums else None) for row in found]
