"""Which queues are in a path: file queues, databases, files of storage engines."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from .._core.disk import ReadOnlyDisk
from .._core.framing import framing_of
from .._core.signedframing import SignedFraming
from .._files.look import Place, is_file_queue, is_part, serializer_of
from .._sql.schema import columns
from .._sql.sqlite import look
from ..engines import DbmEngine, PickledListEngine, SQLiteEngine
from ..engines.dbm import kind_of
from ..exceptions import PersistQueueError
from ..serializers._signed import Signed
from .names import UnknownSerializer, named

if TYPE_CHECKING:
    import sqlite3

    from .._core.disk import Disk
    from .._core.framing import Framing
    from .._sql.statements import DictTable, Table
    from ..engines import StorageEngine
    from .names import Known


class NoQueue(PersistQueueError):
    """There is no such queue."""


class Places(NamedTuple):
    """The file queue in a path, if there is one, and the databases."""

    directory: str | None
    databases: list[str]


def places(path: str) -> Places:
    """Return the file queue and the databases in a path.

    Raises:
        NoQueue: there is neither.
        OSError: the path cannot be read.
    """
    path = os.path.abspath(path)
    if not os.path.lexists(path):
        raise NoQueue(f"{path}: there is nothing of this name")
    if not os.path.isdir(path):
        os.stat(path)
        if look.is_database(path):
            return Places(None, [path])
        raise NoQueue(
            f"{path}: neither a file queue's directory nor an SQLite database"
            + ("; give the directory it is in" if is_part(path) else "")
        )
    found = Places(path if is_file_queue(path) else None, _databases_in(path))
    if found.directory is None and not found.databases:
        raise NoQueue(f"{path}: no queue is in this directory")
    return found


def _databases_in(directory: str) -> list[str]:
    found = []
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if is_part(path) or look.is_beside(path) or not os.path.isfile(path):
            continue
        with suppress(FileNotFoundError):  # gone meanwhile
            if os.path.getsize(path) and look.is_database(path):
                found.append(path)
    return found


def place_of(
    path: str, serializer: Known | None, longest: int | None, disk: Disk | None = None
) -> Place:
    """Return a file queue's directory, with the serializer given or recognised.

    Args:
        disk: None for one that reads only.

    Raises:
        UnknownSerializer: no shipped serializer wrote it, and none was given.
    """
    serializer = serializer or named(serializer_of(path))
    if serializer is None:
        raise UnknownSerializer(
            f"{path}: it cannot be seen which serializer wrote it: say --serializer"
        )
    return Place(disk or ReadOnlyDisk(), path, _framing_of(serializer), longest)


def _framing_of(serializer: Known) -> Framing:
    """Return the framing of a queue's chunks; it checks signatures where there is a key."""
    if serializer == "signed":
        return SignedFraming(None)
    if isinstance(serializer, Signed):
        return SignedFraming(serializer, strict=True)
    try:
        return framing_of(serializer)
    except AttributeError as error:  # rows need less of it
        raise UnknownSerializer(str(error)) from error


# -- one queue of many --------------------------------------------------------------------


class Candidate(NamedTuple):
    """A queue that a name may mean.

    Attributes:
        cls: the name of the class that uses it.
        name: of the queue in its database; empty where there is one queue only.
        table: of the queue, or dict.
        path: of the directory or file.
        engine: the storage engine whose file it is.
    """

    cls: str
    name: str = ""
    table: Table | DictTable | None = None
    path: str = ""
    engine: type[StorageEngine] | None = None

    def fits(self, scheme: str, name: str | None) -> bool:
        """Return whether a user who gives this name, or none, may mean it."""
        if (scheme == "file" and self.table) or (scheme == "sqlite" and not self.table):
            return False
        return name is None or name in (self.name, self.table.name if self.table else "")

    @property
    def shown(self) -> str:
        """The table's name, or the path."""
        return self.table.name if self.table else self.path

    def __str__(self) -> str:
        return f"{self.shown} ({self.cls})"


def candidates(path: str) -> list[Candidate]:
    """Return the queues and dicts in a path.

    Raises:
        NoQueue: there is no such path, or the file is none that could hold queues.
    """
    path = os.path.realpath(path)
    if os.path.isdir(path):
        found = [one for file in _databases_in(path) for one in _in_database(file)]
        unused = not found and ".lock" in os.listdir(path)  # nothing was ever put
        return [*found, Candidate("Queue", path=path)] if unused or is_file_queue(path) else found
    if not os.path.exists(path):
        raise NoQueue(f"there is no queue at {path!r}")
    if look.is_database(path):
        return _in_database(path)
    with open(path, "rb") as file:
        if b"persistqueue" in file.read(40):
            return [Candidate("PickledListEngine", path=path, engine=PickledListEngine)]
    if is_part(path):
        raise NoQueue(f"{path}: it is a part of a file queue: give the directory it is in")
    try:
        kind_of(path)
    except PersistQueueError as error:
        raise NoQueue(f"{path}: neither a queue nor a database of queues") from error
    return [Candidate("DbmEngine", path=path, engine=DbmEngine)]


def _in_database(path: str) -> list[Candidate]:
    with look.opened(path) as connection:
        contents = look.contents(connection, path)
        found = [Candidate(*one, path) for one in contents.found]
        if engine := _engine_of(connection, path):
            found.append(Candidate(engine.__name__, path=path, engine=engine))
    return found


def _engine_of(connection: sqlite3.Connection, path: str) -> type[StorageEngine] | None:
    """Return the storage engine whose file a database is, if it is one's."""
    if columns(connection, "queue") == ["item"]:
        return SQLiteEngine
    if columns(connection, "Dict") != ["key", "value"]:
        return None
    keys = connection.execute("SELECT CAST(key AS TEXT) FROM Dict LIMIT 100").fetchall()
    if keys and not any(key in ("head_id", "tail_id") for (key,) in keys):
        raise ValueError(f"{path}: it is a dictionary of dbm, which has no order: it is not moved")
    return DbmEngine
