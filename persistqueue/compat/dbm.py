"""``DbmEngine``: records under numbers in a key-value file, as aiodiskqueue lays them out.

::

    head_id, tail_id    pickled numbers of the oldest and the newest record
    item-<n>            a record

The file is the one that ``dbm.sqlite3`` of Python 3.13 writes: an SQLite database with the table
``Dict(key, value)``, read and written here with ``sqlite3`` on every Python.  A file of
``dbm.gnu`` or ``dbm.dumb`` is copied into such a file when it is opened.
"""

from __future__ import annotations

import importlib
import os
import shutil
import struct
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from .._core.disk import Disk
from .._core.framing import plain_pickle
from .._core.log import warn
from .._sql.sqlite.database import journal_of
from ..engines.base import NEW, StorageEngine
from ..engines.sqlite import SqliteFile
from ..exceptions import FormatError, QueueCorrupt

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

_CREATE = "CREATE TABLE IF NOT EXISTS Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)"
_STORE = "REPLACE INTO Dict (key, value) VALUES (?, ?)"
_HEAD, _TAIL = b"head_id", b"tail_id"
_GNU = frozenset({0x13579ACE, 0x13579ACD, 0x13579ACF, 0x13579AD0, 0x13579AD1})  # first 4 bytes


class DbmEngine(StorageEngine):
    """Keeps records in a key-value file that is the same on every Python.

    A file of ``dbm.gnu`` or ``dbm.dumb`` is copied into a new one; the old one is kept, with
    ``.copied`` behind its name.

    Raises:
        ImportError: this Python has no ``dbm.gnu``, and the file needs it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._file = SqliteFile(self.path, "Dict")
        self._head = 1
        self._tail = 0  # of the newest record; head - 1 when there is none

    def open(self) -> int:
        kind = kind_of(self.path)
        if kind not in (None, "sqlite3"):
            _copy(self.path, kind)
        with self._file.opening() as connection:
            tables = [
                row[0]
                for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            ]
            if tables and "Dict" not in tables:
                raise FormatError(
                    f"{self.path} is an SQLite database of something else (table {tables[0]}); "
                    "nothing was changed"
                )
            connection.execute(_CREATE)
            self._head, self._tail = _ends(self._get, self.path)
        return self._tail - self._head + 1

    def append(self, records: Sequence[bytes]) -> None:
        tail = self._tail + len(records)
        with self._file.transaction() as connection:
            _store(connection, self._head, self._tail + 1, records)
        self._tail = tail

    def read(self, start: int, count: int) -> Sequence[bytes | None]:
        first = self._head + start
        return [self._get(_key(number)) for number in range(first, first + count)]

    def remove(self, count: int) -> None:
        head = self._head + count
        gone = [(_key(number),) for number in range(self._head, head)]
        with self._file.transaction() as connection:
            connection.execute(_STORE, (_HEAD, _number(head)))
            connection.executemany("DELETE FROM Dict WHERE key = ?", gone)
        self._head = head

    def sync(self) -> None:
        self._file.sync()

    def close(self) -> None:
        self._file.close()

    def _get(self, key: bytes) -> bytes | None:
        rows = self._file.rows("SELECT value FROM Dict WHERE key = ?", (key,))
        return rows[0][0] if rows and isinstance(rows[0][0], bytes) else None


def _store(
    connection: sqlite3.Connection, head: int, number: int, records: Sequence[bytes]
) -> None:
    """Store records from a number on, and both ends (aiodiskqueue has none while it is empty)."""
    rows = [(_key(n), record) for n, record in enumerate(records, number)]
    ends = [(_HEAD, _number(head)), (_TAIL, _number(number + len(records) - 1))]
    connection.executemany(_STORE, [*rows, *ends])


def _ends(get: Callable[[bytes], bytes | None], path: str) -> tuple[int, int]:
    """Return the numbers of the oldest and the newest record, also after a kill of aiodiskqueue."""
    head, tail = _end(get(_HEAD), path), _end(get(_TAIL), path)
    if tail is None:
        head, tail = 1, 0
    elif head is None:  # killed between the two keys
        head = tail
    if not 1 <= head <= tail + 1:
        raise _damaged(path, f"head_id is {head} and tail_id {tail}")
    while head <= tail and get(_key(head)) is None:  # killed before head_id moved
        head += 1
    return head, tail


def _end(raw: bytes | None, path: str) -> int | None:
    if raw is None:
        return None
    try:
        number = plain_pickle(raw)
    except Exception as error:
        raise _damaged(path, f"head_id or tail_id is no number: {error}") from error
    if type(number) is not int:
        raise _damaged(path, f"head_id or tail_id is of type {type(number).__name__}")
    return number


def _key(number: int) -> bytes:
    return b"item-%d" % number


def _number(number: int) -> bytes:
    """Return the pickle of a number, always as long: ``dbm.dumb`` writes that in place."""
    return struct.pack("<4sqc", b"\x80\x04\x8a\x08", number, b".")


def _damaged(path: str, reason: str) -> QueueCorrupt:
    folder, name = os.path.split(path)
    return QueueCorrupt(folder, name, reason=reason, advice="move the file away to begin anew")


# -- files of other modules of dbm ----------------------------------------------------------


def kind_of(path: str) -> str | None:
    """Return which module of ``dbm`` wrote the file at ``path``; None if there is none.

    Raises:
        FormatError: none of them did.
    """
    if not os.path.exists(path):
        index = any(os.path.exists(path + suffix) for suffix in (".dir", ".bak"))
        return "dumb" if index and os.path.exists(path + ".dat") else None
    if journal_of(path):
        return "sqlite3"
    with open(path, "rb") as file:  # SQLite has not got it open, then
        start = file.read(4)
    if len(start) == 4 and {*struct.unpack("=L", start)} <= _GNU:
        return "gnu"
    raise FormatError(f"{path} is no file of DbmEngine; nothing was changed")


def _copy(path: str, kind: str) -> None:
    """Copy the records of another module's file into an SQLite file, which takes its place.

    The copy takes the queue's name when it is whole: a file of that name is what counts.
    """
    count, records = _records(path, kind)
    new, disk = path + NEW, Disk()
    for suffix in ("", "-wal", "-shm"):  # of a copy that was cut off
        disk.unlink(new + suffix)
    copy = SqliteFile(new, "Dict")
    with closing(copy), copy.opening() as connection:
        connection.execute(_CREATE)
        if records:
            _store(connection, 1, 1, records)
    with closing(disk.open(new)) as file:
        disk.sync(file)
    if kind == "gnu":
        shutil.copyfile(path, f"{path}.copied")
    disk.replace(new, path)
    disk.sync_directory(os.path.dirname(path))
    if kind == "dumb":
        for suffix in (".dir", ".dat", ".bak"):
            with suppress(FileNotFoundError):
                os.replace(path + suffix, f"{path}{suffix}.copied")
    warn("%s: %d items of dbm.%s were copied; its files end in .copied", path, len(records), kind)
    if len(records) < count:
        warn("%s: %d items were missing in them", path, count - len(records))


def _records(path: str, kind: str) -> tuple[int, list[bytes]]:
    """Return how many records another module's file should have, and those that it has."""
    try:
        module: Any = importlib.import_module(f"dbm.{kind}")
    except ModuleNotFoundError:
        raise ImportError(
            f"{path} needs the module dbm.{kind}, which this Python has not: "
            "on Debian install python3-gdbm"
        ) from None
    if kind == "dumb" and not os.path.exists(path + ".dir"):  # a kill came while it was written
        os.replace(path + ".bak", path + ".dir")
    try:
        with closing(module.open(path, "r")) as old:
            head, tail = _ends(old.get, path)
            found: Iterable[bytes | None] = [old.get(_key(n)) for n in range(head, tail + 1)]
    except (module.error, SyntaxError, TypeError, ValueError) as error:  # dumb parses Python
        if isinstance(error, OSError) and error.errno:
            raise
        raise QueueCorrupt(*os.path.split(path), reason=str(error)) from error
    return tail + 1 - head, [record for record in found if record is not None]
