"""A look at an SQLite database that changes nothing, leaves no file, and keeps nobody waiting.

Rows are read a few at a time, so that no read lasts.  A database in WAL mode that nobody has
open is read as immutable: else SQLite would create its log, and leave it there.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
from itertools import islice
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from .._broker.statements import HELD as HELD_BY_BROKERS
from .._broker.statements import IDS, QUEUES
from .._core.block import Damaged
from .._core.codec import as_text
from .._sql.schema import VERSION, VERSION_TABLE
from .._sql.sqlite.connection import journal_of, uri_of
from .._sql.statements import (
    ACKED,
    FAILED,
    HELD,
    KINDS,
    MOVES,
    OLD_ASYNC,
    DictTable,
    Kind,
    Table,
    identifier,
)
from ..exceptions import PersistQueueError, SerializationError
from . import choice
from .report import Part, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAGIC = b"SQLite format 3\0"
_ROWS = 256  # that are read at a time
_WAL_RESET_MENDED = (3, 51, 3)
_SUFFIXES = ("", "-wal", "-shm", "-journal")
_BESIDE = re.compile(r".*(-wal|-shm|-journal|-owner-[0-9a-f]{32})")  # files beside a database
_CLASSES = {
    "queue": "SQLiteQueue",
    "filo_queue": "FILOSQLiteQueue",
    "unique_queue": "UniqueQ",
    "priority_queue": "PriorityQueue",
    "ack_queue": "SQLiteAckQueue",
    "ack_filo_queue": "FILOSQLiteAckQueue",
    "ack_unique_queue": "UniqueAckQ",
    "dict": "PDict",
}
_STATUS = {HELD: "handed out", ACKED: "acked", FAILED: "failed"}
_ASIDE = "corrupt:"
_STRANGE = "is no table of a queue or dict: it was left alone"


class Found(NamedTuple):
    """A table of ours.

    Attributes:
        kind: of the queue; None for a dict.
        name: of the queue or dict.
    """

    table: Table | DictTable
    kind: Kind | None
    name: str

    @property
    def what(self) -> str:
        """The class that uses it."""
        return _CLASSES[self.kind.prefix if self.kind else "dict"]

    @property
    def counted(self) -> str:
        """What to call those that are there to be taken."""
        return "keys" if self.kind is None else "waiting" if self.kind.ack else "items"


class BadRow(NamedTuple):
    """A row that cannot be read.

    Attributes:
        damaged: it holds no item; else it is whole, and cannot be decoded here.
        check: what says so.
    """

    found: Found
    number: int
    damaged: bool
    check: Callable[[Any], None]


def is_database(path: str) -> bool:
    """Return whether a file is an SQLite database (an empty one may be), or a damaged one."""
    if journal_of(path):
        return True
    with open(path, "rb") as file:  # SQLite has not got it open, then
        return file.read(len(MAGIC)) == MAGIC


def is_beside(path: str) -> bool:
    """Return whether a file has the name of one of those beside a database."""
    return bool(_BESIDE.fullmatch(os.path.basename(path)))


def look(
    path: str,
    serializer: Any,
    longest: int,
    progress: Callable[[int, int], None],
    *,
    load: bool = False,
) -> tuple[Report, list[BadRow]]:
    """Return what is in a database, and which rows hold nothing.

    Args:
        load: load each item, too: runs the code of pickles.
    """
    path = os.path.realpath(path)
    before = _stamp(path)
    report, bad = _look(path, serializer, longest, progress, load)
    if _stamp(path) != before:  # somebody came while it was read as if nobody would
        report, bad = _look(path, serializer, longest, progress, load)
        report.notes.append("somebody uses it: this is how it was a moment ago")
    return report, bad


def _look(
    path: str, serializer: Any, longest: int, progress: Callable[[int, int], None], load: bool
) -> tuple[Report, list[BadRow]]:
    report = Report(path, "SQLite database", sqlite=sqlite3.sqlite_version)
    for suffix in _SUFFIXES:
        with contextlib.suppress(OSError):
            report.files[os.path.basename(path) + suffix] = os.stat(path + suffix).st_size
    if sqlite3.sqlite_version_info < _WAL_RESET_MENDED:
        report.notes.append(
            f"this Python has SQLite {sqlite3.sqlite_version}: before 3.51.3 it has a rare fault "
            "in its write-ahead log when several processes write at once"
        )
    bad: list[BadRow] = []
    try:
        with contextlib.closing(opened(path)) as connection:
            _check_pages(connection, report)
            there = tables(connection, report)
            for found in there:
                _look_at(connection, found, serializer, longest, report, bad, progress, load)
            if not there and any(note.endswith(_STRANGE) for note in report.notes):
                report.damage.add(
                    "no queue or dict is in it; one with engine= is looked at by opening it"
                )
    except sqlite3.Error as error:
        report.damage.add(f"SQLite says: {error}")
    except (PersistQueueError, ImportError, OSError) as error:
        report.damage.add(str(error))
    return report, bad


def opened(path: str) -> sqlite3.Connection:
    """Open a database for reading only.

    Raises:
        OSError: it is no regular file, or its log cannot be read here.
        sqlite3.Error: it is no database.
    """
    path = os.path.realpath(path)
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


def snapshot(path: str) -> sqlite3.Connection:
    """Open a database for reading what is in it now, however long that takes.

    Others may write meanwhile.  Where this process may not write, the database is opened as by
    ``opened``: nobody else writes there.
    """
    connection = _connect(os.path.realpath(path), "mode=rw")
    try:
        connection.execute("PRAGMA query_only=1")
        connection.execute("BEGIN")
        connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        return opened(path)
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


def tables(connection: sqlite3.Connection, report: Report) -> list[Found]:
    """Return the queues and dicts of a database; the report gets what else is there."""
    found = []
    rows = connection.execute("SELECT name, type, rootpage FROM sqlite_master ORDER BY name")
    for name, kind, page in rows.fetchall():
        if kind == "view" or (kind == "table" and not page):
            report.notes.append(f"{name!a} is no ordinary table: it was left alone")
        elif kind != "table" or name.startswith("sqlite_"):
            continue
        elif name == VERSION_TABLE:
            _check_version(connection, report)
        elif name == HELD_BY_BROKERS:
            _note_held(connection, report)
        elif name in (QUEUES, IDS, MOVES):
            continue
        elif name.startswith(_ASIDE):
            count = connection.execute(f"SELECT COUNT(*) FROM {identifier(name)}")  # noqa: S608 - quoted
            report.set_aside[f"table {name} (rows)"] = count.fetchone()[0]
        else:
            ours = _ours(connection, name)
            found += [ours] if ours else []
            if ours is None:
                report.notes.append(f"{name!a} {_STRANGE}")
    return found


def _ours(connection: sqlite3.Connection, name: str) -> Found | None:
    there = columns(connection, name)
    if name.startswith("dict_") and there[:2] == ["key", "data"]:
        return Found(DictTable(name[5:]), None, name[5:])
    for kind in KINDS:
        prefix = f"{kind.prefix}_"
        old = name == kind.prefix and name in OLD_ASYNC  # of persist-queue's async classes
        if tuple(there[: len(kind.columns)]) != kind.columns:
            continue
        if name.startswith(prefix) or old:
            return Found(Table(kind, name, whole_name=True), kind, name.removeprefix(prefix))
    return None


def _check_version(connection: sqlite3.Connection, report: Report) -> None:
    row = connection.execute(f"SELECT * FROM {VERSION_TABLE}").fetchone()  # noqa: S608 - a constant
    if row is not None and row[0] != VERSION:
        report.damage.add(f"a newer version wrote it: format {row[0]!a}, this one knows {VERSION}")


def _note_held(connection: sqlite3.Connection, report: Report) -> None:
    count = connection.execute(f"SELECT COUNT(*) FROM {HELD_BY_BROKERS}").fetchone()[0]  # noqa: S608 - a constant
    if count:
        report.notes.append(
            f"{count:,} more items are held by streams or process blocks of brokers; what a dead "
            "one held, the next broker gives back"
        )


def _check_pages(connection: sqlite3.Connection, report: Report) -> None:
    for (says,) in connection.execute("PRAGMA quick_check(20)").fetchall():
        if says != "ok":
            report.damage.add(f"SQLite's check says: {says}")


class _Row(NamedTuple):
    number: int
    data: Any  # None if it is too long
    size: int
    timestamp: Any
    status: Any


def _look_at(
    connection: sqlite3.Connection,
    found: Found,
    serializer: Any,
    longest: int,
    report: Report,
    bad: list[BadRow],
    progress: Callable[[int, int], None],
    load: bool,
) -> None:
    part = Part(f"{found.name}", found.what)
    report.parts.append(part)
    total = connection.execute(f"SELECT COUNT(*) FROM {found.table.quoted}").fetchone()[0]  # noqa: S608 - quoted
    if serializer is None:
        sample = islice(_rows(connection, found, longest), choice.SAMPLE)
        serializer = choice.recognise_rows([row.data for row in sample if row.data is not None])
    if serializer is None and total:
        report.damage.add(f"{found.table.name}: nothing here can be read: say --serializer")
    part.serializer = choice.name_of(serializer) if serializer is not None else ""
    checks = choice.loading if load else choice.row_check
    check = checks(serializer, longest) if serializer is not None else None
    counts, oldest = part.counts, float("inf")
    counts.update({found.counted: 0, "readable": 0})
    for seen, row in enumerate(_rows(connection, found, longest)):
        part.size += row.size
        live = not isinstance(row.status, int) or row.status < HELD
        name = found.counted if live else _STATUS.get(row.status, "of another status")
        counts[name] = counts.get(name, 0) + 1
        if live and isinstance(row.timestamp, (int, float)) and isfinite(row.timestamp):
            oldest = min(oldest, row.timestamp)
        reason, damaged = _verdict(check, row, longest) if check else ("", False)
        counts["readable"] += check is not None and not reason
        if reason and check:
            bad.append(BadRow(found, row.number, damaged, check))
            report.damage.add(f"{found.table.name}, row {row.number}: {reason}")
        progress(seen + 1, total)
    if oldest < float("inf"):
        part.oldest, part.oldest_is = time.time() - oldest, "when it was put"


def _verdict(check: Callable[[Any], None], row: _Row, longest: int) -> tuple[str, bool]:
    """Return why a row cannot be read, or nothing; and whether it is damage."""
    if row.data is None and row.size > longest:
        return f"{row.size} bytes are more than --max-item-bytes", False
    try:
        check(row.data)
    except Damaged as damage:
        return str(damage), True
    except SerializationError as error:
        return f"whole, but not to be decoded here: {error}", False
    return "", False


def still_bad(connection: sqlite3.Connection, row: BadRow) -> bool:
    """Return whether a row is there and damaged, now that nobody else can write."""
    statement = f"SELECT data FROM {row.found.table.quoted} WHERE rowid = ?"  # noqa: S608 - quoted
    rows = connection.execute(statement, (row.number,)).fetchall()
    try:
        for (data,) in rows:
            row.check(data)
    except Damaged:
        return True
    except SerializationError:
        pass
    return False


def _rows(connection: sqlite3.Connection, found: Found, longest: int) -> Iterator[_Row]:
    """Yield every row in order; what is longer than ``longest`` without its data."""
    timestamp = "timestamp" if found.kind else "NULL"
    status = "status" if found.kind and found.kind.ack else "NULL"
    length = "LENGTH(CAST(data AS BLOB))"
    statement = (
        f"SELECT rowid, CASE WHEN {length} <= ? THEN data END, COALESCE({length}, 0),"  # noqa: S608 - quoted
        f" {timestamp}, {status} FROM {found.table.quoted} WHERE rowid > ?"
        f" ORDER BY rowid LIMIT {_ROWS}"
    )
    behind: float = float("-inf")
    more = True
    while more:
        more = False
        for values in connection.execute(statement, (longest, behind)):
            row = _Row(*values)
            behind, more = row.number, True
            yield row


def _stamp(path: str) -> tuple[int, ...]:
    found = os.stat(path)
    there = [os.path.exists(path + suffix) for suffix in _SUFFIXES[1:]]
    return (found.st_ino, found.st_size, found.st_mtime_ns, *there)


def first_rows(
    connection: sqlite3.Connection, found: Found, most: int
) -> list[tuple[tuple[Any, Any], Any]]:
    """Return the next rows in the order of their queue: what a dict's key is, and the data."""
    if isinstance(found.table, DictTable):
        typed = "type" if "type" in columns(connection, found.table.name) else "NULL"
        statement = f"SELECT key, {typed}, data FROM {found.table.quoted} ORDER BY rowid LIMIT ?"  # noqa: S608 - quoted
        rows = connection.execute(statement, (most,)).fetchall()
        return [((key, was), data) for key, was, data in rows]
    rows = connection.execute(found.table.first, (most,)).fetchall()
    return [((row[0], None), row[1]) for row in rows]


def columns(connection: sqlite3.Connection, name: str) -> list[str]:
    """Return the columns of a table; none if it is not there."""
    return [c for (c,) in connection.execute("SELECT name FROM pragma_table_info(?)", (name,))]
