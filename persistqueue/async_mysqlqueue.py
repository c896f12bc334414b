"""``AsyncMySQLQueue`` and ``AsyncMySQLAckQueue``: queues in a MySQL database, for asyncio."""

from __future__ import annotations

from asyncio import sleep
from typing import TYPE_CHECKING, Any

from ._core.arguments import MAX_ITEM_BYTES, T, whole
from ._core.inflight import AT_ROW_DONE, AT_TAKE
from ._core.inflight_acks import AT_ACK
from ._core.tasks import TaskShell
from ._core.worker import FileHops, in_executor
from ._sql.async_ackqueue import AsyncAckBase
from ._sql.async_queue import AsyncPlainPuts, AsyncSQLBase
from ._sql.mysql.options import POOL_NAP, MysqlFace
from ._sql.mysql.stores import MysqlAckStore, MysqlDeletingStore, MysqlReservingStore
from ._sql.statements import ACK_FIFO
from .exceptions import Empty, Full
from .serializers import pickle

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AsyncMySQLAckQueue", "AsyncMySQLQueue", "Empty", "Full"]


class _AsyncMySQLBase(MysqlFace[T], AsyncSQLBase[T]):
    """What both have in common: a pool, a table that can be widened."""

    _store: MysqlAckStore | MysqlDeletingStore | MysqlReservingStore

    async def get_pooled_conn(self) -> Any:
        """Return a connection of the pool, for statements of your own.

        Its ``close`` gives it back.  At most ``max_connections`` are out at a time; whoever
        wants one more waits.
        """
        while True:
            await self._shell.count()  # raises if the queue is closed
            if (connection := await self._hops.run(self._server.pooled)) is not None:
                return connection
            await sleep(POOL_NAP)

    async def upgrade(self) -> None:
        """Widen the table of an older version: items beyond 64 KiB, exact times.

        The server rewrites the table, which takes a while and holds others up.
        """
        await self._shell.count()
        await self._hops.run(self._store.upgrade)

    async def shrink_disk_usage(self) -> None:
        """Give the space of deleted rows back to the server's file system; takes a while."""
        await self._shell.count()
        await self._hops.run(self._store.shrink)


class AsyncMySQLQueue(_AsyncMySQLBase[T], AsyncPlainPuts[T]):
    """A first-in first-out queue in a MySQL or MariaDB database.

    The asyncio twin of ``MySQLQueue``, on the same tables: any number of tasks may share an
    object, and any number of objects of both kinds, on any number of machines, may share a
    queue; each item goes to one of them.  The event loop never waits for the server: calls
    that come while one is under way go together, in one transaction.

    What survives what, and the arguments, are those of ``MySQLQueue``.  Nothing is connected
    before the queue is opened: by ``async with``, ``await``, ``create`` or the first call.

    Raises:
        ValueError, TypeError, AttributeError: an argument is wrong.

    Opening raises:
        QueueUnreachable: the server does not answer.
        PermissionError: it refuses the user.
        FormatError: there is no such database; it is too old; the table is something else.
    """

    def __init__(
        self,
        host: str,
        user: str,
        passwd: str | None = None,
        db_name: str | None = None,
        name: str | None = None,
        port: int = 3306,
        charset: str = "utf8mb4",
        auto_commit: bool = True,
        serializer: Any = pickle,
        *,
        password: str | None = None,
        database: str | None = None,
        table_name: str | None = None,
        timeout: float = 10.0,
        maxsize: int = 0,
        on_corrupt: str = "raise",
        max_item_bytes: int = MAX_ITEM_BYTES,
        max_connections: int = 10,
        connect_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.auto_commit = bool(auto_commit)
        server, table = self._set_up(
            host=host,
            user=user,
            passwd=passwd,
            db_name=db_name,
            name=name,
            port=port,
            charset=charset,
            serializer=serializer,
            password=password,
            database=database,
            table_name=table_name,
            timeout=timeout,
            maxsize=maxsize,
            on_corrupt=on_corrupt,
            max_item_bytes=max_item_bytes,
            max_connections=max_connections,
            connect_options=connect_options,
        )
        self._hops = FileHops(in_executor)
        way = MysqlDeletingStore if self.auto_commit else MysqlReservingStore
        finish = AT_TAKE if self.auto_commit else AT_ROW_DONE
        self._store = way(
            server, table, self._codec, skip_corrupt=self._skips, bounded=self.maxsize > 0
        )
        self._shell = TaskShell(self._store, self.maxsize, finish, self._hops, self.timeout)


class AsyncMySQLAckQueue(_AsyncMySQLBase[T], AsyncAckBase[T]):
    """A first-in first-out queue on a server, whose items stay until they are acked, and after.

    The asyncio twin of ``MySQLAckQueue``, with its arguments and promises.
    """

    _KIND = ACK_FIFO
    _store: MysqlAckStore

    def __init__(
        self,
        host: str,
        user: str,
        passwd: str | None = None,
        db_name: str | None = None,
        name: str | None = None,
        port: int = 3306,
        charset: str = "utf8mb4",
        auto_resume: bool = True,
        serializer: Any = pickle,
        *,
        password: str | None = None,
        database: str | None = None,
        table_name: str | None = None,
        timeout: float = 10.0,
        maxsize: int = 0,
        on_corrupt: str = "raise",
        max_item_bytes: int = MAX_ITEM_BYTES,
        max_connections: int = 10,
        connect_options: Mapping[str, Any] | None = None,
        keep_acked: int | None = None,
    ) -> None:
        self.auto_commit = True
        self.auto_resume = bool(auto_resume)
        self.keep_acked = None if keep_acked is None else whole("keep_acked", keep_acked, 0)
        server, table = self._set_up(
            host=host,
            user=user,
            passwd=passwd,
            db_name=db_name,
            name=name,
            port=port,
            charset=charset,
            serializer=serializer,
            password=password,
            database=database,
            table_name=table_name,
            timeout=timeout,
            maxsize=maxsize,
            on_corrupt=on_corrupt,
            max_item_bytes=max_item_bytes,
            max_connections=max_connections,
            connect_options=connect_options,
        )
        self._hops = FileHops(in_executor)
        self._store = MysqlAckStore(
            server,
            table,
            self._codec,
            skip_corrupt=self._skips,
            bounded=self.maxsize > 0,
            keep_acked=self.keep_acked,
            resumes=self.auto_resume,
        )
        self._shell = TaskShell(self._store, self.maxsize, AT_ACK, self._hops, self.timeout)
