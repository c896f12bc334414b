"""Opens the two ends of a move by looking at what is there; what they are is not asked."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from .._sql.statements import Table
from ..engines import DbmEngine, PickledListEngine, SQLiteEngine
from ..engines.dbm import kind_of
from ..exceptions import PersistQueueError
from . import databases, filequeues
from .ends import Candidate
from .fileends import EngineSource, EngineTarget, FileSource, FileTarget
from .names import LOCAL
from .places import NoQueue, databases_in
from .report import Report
from .sqlends import SqliteSource, sqlite_source, sqlite_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .ends import Source, Target
    from .names import Name

_DICT = "PDict"


def open_source(name: Name, *, moves: bool) -> Source:
    """Open the queue that items come from.

    Args:
        moves: its items will be finished; else nothing is written there.

    Raises:
        NoQueue: there is none of this name; says what is there.
        ValueError: it is not clear which one is meant, or it cannot be moved.
    """
    if name.scheme in LOCAL:
        return _local_source(name, _one(name, _candidates(name)), moves=moves)
    if name.scheme == "mysql":
        from . import mysqlends

        table = _one(name, mysqlends.candidates(name)).table
        return mysqlends.mysql_source(name, table, moves=moves)
    from .redisends import redis_source

    return redis_source(name, moves=moves)


def open_target(name: Name, source: Source) -> Target:
    """Open the queue that items go to; one that is not there is made, of the source's kind."""
    if name.scheme in LOCAL:
        found = _meant(name, _candidates(name) if os.path.exists(name.address) else [])
        return _local_target(name, found, source)
    if name.scheme == "mysql":
        from . import mysqlends

        found = _meant(name, mysqlends.candidates(name))
        return mysqlends.mysql_target(name, found, source)
    from .redisends import redis_target

    return redis_target(name, source)


def _one(name: Name, there: list[Candidate]) -> Candidate:
    """Return the queue that is meant, which has to be there."""
    found = _meant(name, there)
    if found is None:
        here = ", ".join(map(str, there)) or "none"
        raise NoQueue(f"{name.shown}: there is no such queue; here are: {here}")
    return found


def _meant(name: Name, there: list[Candidate]) -> Candidate | None:
    """Return the queue that is meant, if it is there."""
    fitting = [found for found in there if found.fits(name.scheme, name.queue)]
    queues = [found for found in fitting if found.what != _DICT]
    if len(queues) > 1:
        raise ValueError(
            f"{name.shown}: say which queue is meant, with file:PATH or sqlite:PATH?name=; here "
            f"are: {', '.join(map(str, queues))}"
        )
    if fitting and not queues and name.queue is not None:
        raise ValueError(f"{name.shown}: it is a dict, and dicts are not moved")
    return queues[0] if queues else None


# -- in the file system -------------------------------------------------------------------


def _candidates(name: Name) -> list[Candidate]:
    """Return the queues and dicts that are in a path."""
    path = os.path.realpath(name.address)
    if os.path.isdir(path):
        found = [one for file in databases_in(path) for one in _in_database(file)]
        unused = not found and ".lock" in os.listdir(path)  # nothing was ever put
        if unused or filequeues.is_file_queue(path):
            found.append(Candidate("Queue", path=path))
        return found
    if not os.path.exists(path):
        raise NoQueue(f"{name.shown}: there is no queue at {path!r}")
    if databases.is_database(path):
        return list(_in_database(path))
    with open(path, "rb") as file:
        if b"persistqueue" in file.read(40):
            return [Candidate("PickledListEngine", path=path, engine=PickledListEngine)]
    if filequeues.is_part(path):
        raise NoQueue(f"{path}: it is a part of a file queue: give the directory it is in")
    try:
        kind_of(path)
    except PersistQueueError as error:
        raise NoQueue(f"{path}: neither a queue nor a database of queues") from error
    return [Candidate("DbmEngine", path=path, engine=DbmEngine)]


def _in_database(path: str) -> Iterator[Candidate]:
    report = Report(path, "")
    try:
        with closing(databases.opened(path)) as connection:
            for found in databases.tables(connection, report):
                yield Candidate(found.what, found.name, found.table, path)
            if engine := _engine_of(connection, path):
                yield Candidate(engine.__name__, path=path, engine=engine)
    except sqlite3.Error as error:
        raise PersistQueueError(f"{path}: SQLite says: {error}") from error
    if report.damage.count:
        raise PersistQueueError(f"{path}: {report.damage.first[0]}")


def _engine_of(connection: sqlite3.Connection, path: str) -> Any:
    """Return the storage engine whose file a database is, if it is one's."""
    if databases.columns(connection, "queue") == ["item"]:
        return SQLiteEngine
    if databases.columns(connection, "Dict") != ["key", "value"]:
        return None
    keys = connection.execute("SELECT CAST(key AS TEXT) FROM Dict LIMIT 100").fetchall()
    if keys and not any(key in ("head_id", "tail_id") for (key,) in keys):
        raise ValueError(f"{path}: it is a dictionary of dbm, which has no order: it is not moved")
    return DbmEngine


def _local_source(name: Name, found: Candidate, *, moves: bool) -> Source:
    if found.engine is not None:
        return EngineSource(name.shown, found.path, name.serializer, found.engine, moves=moves)
    if found.table is not None:
        return sqlite_source(name.shown, found.path, found.table, name.serializer, moves=moves)
    return FileSource(name.shown, found.path, name.serializer, moves=moves)


def _local_target(name: Name, found: Candidate | None, source: Source) -> Target:
    serializer, default, path = name.serializer, source.default, os.path.realpath(name.address)
    if found is not None and found.table is not None:
        return sqlite_target(name.shown, found.path, found.table, serializer, default)
    if found is not None and found.engine is not None:
        if source.key == path:  # it can be open once only
            raise ValueError(f"{source.shown} and {name.shown} are one queue")
        return EngineTarget(name.shown, found.path, serializer, found.engine, default)
    in_database = name.scheme == "sqlite" or os.path.isfile(path)
    if found is None and (in_database or (not name.scheme and isinstance(source, SqliteSource))):
        table = Table(source.kind, name.queue or "default")
        return sqlite_target(name.shown, path, table, serializer, default)
    if name.queue is not None:
        raise ValueError(f"{name.shown}: a file queue has no name beside its path")
    return FileTarget(name.shown, path, serializer, default)
