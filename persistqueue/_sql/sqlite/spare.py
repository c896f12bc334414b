"""A second connection to an SQLite database, for programs that write to it beside their queue.

It is opened when a program first asks for it, and closed with the queue; before a fork it is
closed as every other connection is (see ``forkgate``), and opened again by the next who asks.
What is written through it is another connection's commit, and noticed as that.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import weakref
from typing import TYPE_CHECKING, Any

from .errors import SQLITE_ERRORS
from .forks import gate

if TYPE_CHECKING:
    from collections.abc import Callable

    from .database import Database
    from .openfiles import OpenFiles


class SpareConnection(sqlite3.Connection):
    """Knows its cursors: one that is half read keeps SQLite's file open behind ``close``."""

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
        self._database = database
        self._shared = shared
        self._thread = 0  # that opened it
        self._connection: sqlite3.Connection | None = None
        self._files: OpenFiles | None = None
        self._mutex = threading.Lock()  # protects the two above; held inside the gate alone
        gate.add(self)

    @property
    def database(self) -> Database:
        """Where it is."""
        return self._database

    def connection(self, connect: Callable[[], sqlite3.Connection]) -> sqlite3.Connection:
        """Return the connection; opens it with ``connect`` unless it is open."""
        with gate.inside(self._database), self._mutex:
            if self._connection is None:
                self._connection, self._files = connect(), self._database.files
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
        """Close it; what was not committed is undone."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._database.close(connection, self._files)
