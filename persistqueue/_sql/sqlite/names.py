"""A second connection to an SQLite database, for a program's own statements beside its queue.

persist-queue 1.1.0 has it under the names ``_getter`` and ``_putter``.  It is opened when a
program first asks for it, and closed with the queue; before a fork it is closed as every other
connection is (see ``forks``), and opened again by the next caller.  A commit through it is
noticed as another process's commit is.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from ..._core.hooks import replaced_by
from .errors import SQLITE_ERRORS
from .forks import gate

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from .database import Database
    from .mapping import DictMapping
    from .openfiles import OpenFiles
    from .queue import SQLiteBase

    Owner: TypeAlias = SQLiteBase[Any] | DictMapping


class SpareConnection(sqlite3.Connection):
    """Knows its cursors: one that is half read keeps SQLite's file open after ``close``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._cursors: weakref.WeakSet[sqlite3.Cursor] = weakref.WeakSet()

    def cursor(self, factory: Any = sqlite3.Cursor) -> Any:
        cursor = super().cursor(factory)
        self._cursors.add(cursor)
        return cursor

    # Python's own versions make a cursor without asking the method above.

    def execute(self, *args: Any) -> Any:
        return self.cursor().execute(*args)

    def executemany(self, *args: Any) -> Any:
        return self.cursor().executemany(*args)

    def executescript(self, *args: Any) -> Any:
        return self.cursor().executescript(*args)

    def close(self) -> None:
        """Close the cursors, then the connection."""
        for cursor in list(self._cursors):
            with contextlib.suppress(sqlite3.Error):  # in the middle of a call: it says so itself
                cursor.close()
        super().close()


class Spare:
    """The second connection of one queue.

    Args:
        database: where it is; found already.
        shared: whether several threads use it.
    """

    def __init__(self, database: Database, *, shared: bool) -> None:
        self.database = database
        self._shared = shared
        self._thread = 0  # that opened it
        self._connection: sqlite3.Connection | None = None
        self._files: OpenFiles | None = None
        self._mutex = threading.Lock()  # protects the two above; held inside the gate alone
        gate.add(self)

    def connection(self, connect: Callable[[], sqlite3.Connection]) -> sqlite3.Connection:
        """Return the connection; opens it with ``connect`` unless it is open."""
        with gate.inside(self.database), self._mutex:
            if self._connection is None:
                self._connection, self._files = connect(), self.database.files
                self._thread = threading.get_ident()
            return self._connection

    def step_aside(self) -> None:
        """Commit what its own thread has left open, when this very thread wants the lock.

        persist-queue's objects have one connection, unless several threads use them: anything that
        a call of the queue commits is committed with it.
        """
        connection = self._connection
        if connection is not None and not self._shared and self._thread == threading.get_ident():
            with contextlib.suppress(*SQLITE_ERRORS):  # the caller waits, then says "locked"
                if connection.in_transaction:
                    connection.commit()

    def suspend(self) -> None:
        """Close it before a fork."""
        self.close()

    def close(self) -> None:
        """Close it and undo what was not committed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self.database.close(connection, self._files)


def new_spare(queue: Owner) -> Spare:
    """Return the second connection of a queue, not opened."""
    return Spare(queue._place, shared=queue.multithreading)


def new_connection(
    queue: Owner,
    path: str,  # noqa: ARG001 - this object's, as what follows; any thread may use it
    multithreading: bool,  # noqa: ARG001
    timeout: float,
) -> sqlite3.Connection:
    """Return a new connection to the database, for a program's own statements.

    A subclass or a patch may return one to another file: that is the database then.
    """
    return queue._place.spare(timeout, SpareConnection)


def place_of(queue: Owner, database: Database) -> Database:
    """Return the database, at the file to which the class connects.

    Raises:
        TypeError: it connects to no file, so what is stored there would not be seen.
    """
    queue._place = database
    if database.memory or replaced_by(type(queue), "_new_db_connection") is None:
        return database
    database.locate()
    connection = queue._new_db_connection(queue.path, queue.multithreading, queue.timeout)
    try:
        files = {row[1]: row[2] for row in connection.execute("PRAGMA database_list")}
    finally:
        connection.close()
    if not files["main"]:
        raise TypeError(
            f"{type(queue).__name__}._new_db_connection returned a connection to no file: what "
            "is stored there would not be seen. Pass path=':memory:' for a queue in memory."
        )
    queue._place = database.moved(files["main"])
    return queue._place


def _second_connection(queue: Owner) -> sqlite3.Connection:
    """A second connection, for a program's own statements; in memory, the only one."""
    queue._session.check_open()
    connection = queue._connection.driver
    if connection is not None and queue._place.memory:
        return connection
    queue._connection.spare = spare = queue._spare  # one for all threads
    connect = partial(queue._new_db_connection, queue.path, queue.multithreading, queue.timeout)
    opened: sqlite3.Connection = spare.connection(connect)
    return opened


second_connection = property(_second_connection)
