"""``repair --set-aside N``: gets past items that are whole and cannot be loaded.

Which those are, only loading tells, and that runs their code: so the next N are set aside,
whatever they are, as bytes.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from .._core.deadline import monotonic
from .._files.store import ChunkFileStore
from .._sql.sqlite.connection import Database
from .._sql.sqlite.stores import SqliteDeletingStore
from ..exceptions import PersistQueueError, QueueLocked
from . import choice, databases, filequeues
from .report import Report, shown

if TYPE_CHECKING:
    from .places import Places

PATIENCE = 10.0  # s to wait for a queue's lock
_NEW = 100  # items in a chunk, for a queue that does not say; it holds nothing then


class NoCodec:
    """Nothing is decoded: whoever wrote the rows, they are moved as they are."""

    shipped = None


def set_aside(found: Places, serializer: Any, table: str | None, most: int, dry_run: bool) -> int:
    """Set the next items of a queue aside; returns the exit status.

    Raises:
        PersistQueueError: it is not said which of several queues.
    """
    queues = _queues(found)
    names = [name for name, *_ in queues]
    if table is not None:
        queues = [queue for queue in queues if queue[0] == table]
    if len(queues) != 1:
        raise PersistQueueError(f"say --table, one of these: {', '.join(map(shown, names))}")
    name, path, of_table = queues[0]
    if dry_run:
        print(f"{shown(name)}: would set aside the next {most:,} items; nothing was done")
        return 0
    store = _store(path, of_table, serializer)
    done = 0
    try:
        begin(store, path)
        try:
            while done < most and store.set_aside(whatever=True):
                done += 1
            store.commit()
        except BaseException:
            store.rollback()
            raise
    finally:
        store.close()
    print(f"{shown(name)}: set aside {done:,} items")
    return 0 if done == most else 1


def begin(store: Any, path: str) -> None:
    """Begin a transaction.

    Raises:
        QueueLocked: another process held the lock for ``PATIENCE``.
    """
    deadline = monotonic() + PATIENCE
    while not store.begin(True):
        if monotonic() > deadline:
            raise QueueLocked(f"{path}: another process holds the lock; nothing was done")
        time.sleep(0.005)


def _queues(found: Places) -> list[tuple[str, str, databases.Found | None]]:
    """Return the queues in a path: what to call each, where it is, and its table if it has one."""
    queues: list[tuple[str, str, databases.Found | None]] = []
    if found.directory is not None:
        queues.append((found.directory, found.directory, None))
    for file in found.files:
        try:
            with closing(databases.opened(file)) as connection:
                tables = databases.tables(connection, Report(file, ""))
        except sqlite3.Error as error:
            raise PersistQueueError(f"{file}: SQLite says: {error}") from error
        queues += [(one.table.name, file, one) for one in tables if one.kind is not None]
    return queues


def _store(path: str, found: databases.Found | None, serializer: Any) -> Any:
    if found is not None:
        database = Database(path, power=True, patience=PATIENCE)
        codec: Any = NoCodec()
        table: Any = found.table
        return SqliteDeletingStore(database, table, codec, skip_corrupt=True)
    place = filequeues.place_of(path, serializer, None)
    place.close()
    return ChunkFileStore(
        path,
        place.framing,
        chunksize=_NEW,
        autosave=False,
        power=True,
        skip_corrupt=True,
        longest=1 << 62,
        tempdir=None,
    )


def listed(choices: Any) -> None:
    """Add the arguments of ``repair`` that this needs."""
    choices.add_argument(
        "--set-aside",
        metavar="N",
        type=choice.counting_from(1),
        help="only this: set the next N items aside, whatever they are: for those that are whole "
        "and cannot be loaded (SerializationError)",
    )
    choices.add_argument(
        "--table", metavar="NAME", help="with --set-aside: which of several queues in a database"
    )
