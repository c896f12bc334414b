"""Names of persist-queue 1.1.0's ``MySQLQueue`` that its documentation does not show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ..._core.hooks import Lazy
from ..names import AsyncSqlQueueNames, SqlQueueNames

if TYPE_CHECKING:
    from types import TracebackType


class MySQLConn:
    """A connection to a MySQL database with ``execute``, as one to SQLite has it.

    Args:
        queue: from whose pool it is taken when it is needed; ``execute`` takes another one.
        conn: a connection, instead.
    """

    def __init__(self, queue: Any = None, conn: Any = None) -> None:
        self._queue = queue
        self._conn = conn
        self._cursor: Any = None
        self.closed = False

    def _connection(self) -> Any:
        if self._conn is None:
            self._conn = self._queue.get_pooled_conn()
        return self._conn

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Run a statement; returns its cursor, with which the connection goes back."""
        connection = self._conn if self._queue is None else self._queue.get_pooled_conn()
        cursor = connection.cursor()
        cursor.execute(*args, **kwargs)
        return cursor

    def commit(self) -> None:
        """Commit, unless it is closed."""
        if not self.closed:
            self._connection().commit()

    def close(self) -> None:
        """Close it; a second call does nothing."""
        connection, self._conn = self._conn, None
        if connection is not None:
            connection.close()
        self.closed = True

    def __enter__(self) -> Any:
        connection = self._connection()
        self._cursor = connection.cursor()
        return connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._cursor.close()


class AsyncMysqlQueueNames(AsyncSqlQueueNames):
    """Names that MySQL queues for asyncio have."""


class MysqlQueueNames(SqlQueueNames):
    """Names that MySQL queues for threads have."""

    _HOOKS: ClassVar = {**SqlQueueNames._HOOKS, "_new_db_connection": "Pass connect_options=."}

    _getter = Lazy(lambda queue: MySQLConn(queue=queue))
    _putter = Lazy(lambda queue: queue._getter)
