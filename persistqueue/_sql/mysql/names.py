"""Arguments of the MySQL queues, and names of persist-queue 1.1.0's that it does not document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from .. import names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

HOOKS = {**names.HOOKS, "_new_db_connection": "Pass connect_options=."}
POOL_NAP = 0.01  # s between two tries to get a connection when all are out
_NAMES = {"passwd": "password", "db_name": "database", "name": "table_name"}


class MysqlOptions(TypedDict, total=False):
    """The arguments by keyword that all MySQL queues have; see ``MySQLQueue``."""

    password: str | None
    database: str | None
    table_name: str | None
    timeout: float
    maxsize: int
    on_corrupt: str
    max_item_bytes: int
    max_connections: int
    connect_options: Mapping[str, Any] | None


def either(name: str, value: str | None, other: str | None) -> str | None:
    """Return the value of an argument that has two names.

    Raises:
        TypeError: both names are given.
    """
    if value is not None and other is not None:
        raise TypeError(f"give {name!r} or {_NAMES[name]!r}, not both: they mean the same")
    return other if value is None else value


def needed(name: str, value: str | None) -> str:
    """Return the value of an argument that has to be given.

    Raises:
        TypeError: it is not.
    """
    if value is None:
        raise TypeError(f"the argument {name!r} is missing (or {_NAMES[name]!r})")
    return value


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
