"""Names of persist-queue 1.1.0's SQLite queues: their connections."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..._core.hooks import Lazy, replaced_by
from ..names import AsyncSqlQueueNames, SqlQueueNames
from .spare import Spare, SpareConnection

if TYPE_CHECKING:
    import sqlite3

    import aiosqlite

    from .database import Database
    from .worker import SqliteWorker


class AsyncSqliteNames(AsyncSqlQueueNames):
    """Names that objects in an SQLite database have, for asyncio."""

    _worker: SqliteWorker

    @property
    def _conn(self) -> aiosqlite.Connection | None:
        return self._worker.connection(self._store.connection)


class SqliteNames(SqlQueueNames):
    """Names that objects in an SQLite database have, for threads.

    Any thread may use any object, whatever the argument ``multithreading`` says.
    """

    _place: Database
    path: str
    multithreading: bool
    timeout: float

    @property
    def _conn(self) -> sqlite3.Connection | None:
        connection: sqlite3.Connection | None = self._store.connection
        return connection

    _spare = Lazy(lambda queue: Spare(queue._place, shared=queue.multithreading))

    def _new_db_connection(
        self, path: str, multithreading: bool, timeout: float
    ) -> sqlite3.Connection:
        """Return a new connection to the database, for a program's own statements.

        A subclass or a patch may return one to another file: that is the database then.
        """
        del path, multithreading  # as of this object; any thread may use it
        return self._place.spare(timeout, SpareConnection)

    def _at_its_place(self, database: Database) -> Database:
        """Return the database, at the file to which the class connects.

        Raises:
            TypeError: it connects to no file, so what is stored there would not be seen.
        """
        self._place = database
        if database.memory or replaced_by(type(self), "_new_db_connection") is None:
            return database
        database.locate()
        connection = self._new_db_connection(self.path, self.multithreading, self.timeout)
        try:
            files = {row[1]: row[2] for row in connection.execute("PRAGMA database_list")}
        finally:
            connection.close()
        if not files["main"]:
            raise TypeError(
                f"{type(self).__name__}._new_db_connection returned a connection to no file: what "
                "is stored there would not be seen. Pass path=':memory:' for a queue in memory."
            )
        self._place = database.moved(files["main"])
        return self._place

    @property
    def _getter(self) -> sqlite3.Connection:
        """A second connection, for a program's own statements; in memory, the only one."""
        self._session.check_open()
        if self._place.memory:
            only: sqlite3.Connection = self._store.connection
            return only
        self._store.spare = spare = self._spare  # one for all threads
        connect = partial(self._new_db_connection, self.path, self.multithreading, self.timeout)
        connection: sqlite3.Connection = spare.connection(connect)
        return connection

    @property
    def _putter(self) -> sqlite3.Connection:
        return self._getter
