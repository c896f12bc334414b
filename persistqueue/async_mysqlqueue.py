"""``AsyncMySQLQueue`` and ``AsyncMySQLAckQueue``: queues in MySQL or MariaDB, for asyncio."""

from __future__ import annotations

from asyncio import sleep

# threads only: from typing import ClassVar
from typing import TYPE_CHECKING, Any

from ._core import call
from ._core.arguments import MAX_ITEM_BYTES, ON_CORRUPT, T, one_of, whole
from ._core.codec import RowCodec
from ._core.deadline import checked_timeout
from ._core.inflight import AT_ACK, AT_ROW_DONE, AT_TAKE
from ._core.leases import LEASE
from ._core.tasks import TaskSession
from ._core.worker import ThreadWorker, in_executor
from ._sql.ackcalls import AckCalls
from ._sql.async_ackqueue import AsyncAckBase
from ._sql.async_queue import AsyncSQLBase

# threads only: from ._core.hooks import Lazy
# threads only: from ._sql.mysql.names import HOOKS, MySQLConn
from ._sql.mysql.connection import MysqlConnection
from ._sql.mysql.names import POOL_NAP, either, needed
from ._sql.mysql.server import Server, check_charset
from ._sql.mysql.statements import MysqlTable
from ._sql.mysql.stores import MysqlAckStore, MysqlDeletingStore, MysqlReservingStore
from ._sql.names import check_hooks
from ._sql.rows import Rows
from ._sql.statements import ACK_FIFO
from .exceptions import Empty, Full
from .serializers import pickle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Unpack

    from ._sql.mysql.names import MysqlOptions

__all__ = [
    # threads only: "MySQLConn",
    "AsyncMySQLAckQueue",
    "AsyncMySQLQueue",
    "Empty",
    "Full",
]


class _AsyncMySQLBase(AsyncSQLBase[T]):
    """A queue in a table of a MySQL database; the arguments are ``AsyncMySQLQueue``'s."""

    # threads only: _HOOKS: ClassVar = HOOKS
    _store: MysqlAckStore | MysqlDeletingStore | MysqlReservingStore

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
        check_hooks(type(self))
        whole_name = bool(table_name)
        self.name = either("name", name, table_name) or "sql"
        kind = self._KIND._replace(prefix=self._TABLE_NAME)
        table = MysqlTable(kind, self.name, whole_name=whole_name)
        check_charset(charset, table.name)
        self.host, self.port, self.user, self.charset = host, whole("port", port, 1), user, charset
        self.passwd = needed("passwd", either("passwd", passwd, password))
        self.db_name = needed("db_name", either("db_name", db_name, database))
        self.auto_commit = bool(auto_commit)
        self.maxsize = whole("maxsize", maxsize)
        self.timeout = checked_timeout(timeout)
        self._skips = one_of("on_corrupt", on_corrupt, ON_CORRUPT) == "skip"
        self._serializer = serializer
        longest = whole("max_item_bytes", max_item_bytes, 1)
        self._rows = Rows(RowCodec(serializer, ordered=False, longest=longest), self._KIND)
        self._server = Server(
            host=host,
            port=self.port,
            user=user,
            password=self.passwd,
            database=self.db_name,
            charset=charset,
            patience=self.timeout,
            most=whole("max_connections", max_connections, 1),
            options=dict(connect_options or {}),
        )
        self.path = self._server.path
        self._worker = ThreadWorker(in_executor)  # async only
        self._open(self._server, table)
        # threads only: self._init()

    def _open(self, server: Server, table: MysqlTable) -> None:
        """Make the store, with the session that fits how items are finished."""
        way = MysqlDeletingStore if self.auto_commit else MysqlReservingStore
        finish = AT_TAKE if self.auto_commit else AT_ROW_DONE
        connection = MysqlConnection(server, table)
        self._store = way(connection, table, self._rows.codec, skip_corrupt=self._skips)
        self._session = TaskSession(
            self._store, self.maxsize, finish, self.timeout, worker=self._worker
        )

    @property
    def durability(self) -> str:
        """What a commit survives on this server: ``"power"`` or ``"process"``."""
        return "power" if self._server.limits.power else "process"

    async def get_pooled_conn(self) -> Any:
        """Return a connection of the pool, for statements of your own.

        Its ``close`` gives it back.  At most ``max_connections`` are out at a time; a call for
        one more waits.
        """
        while True:
            await self._session.run(call.count())  # raises if the queue is closed
            if (connection := await self._worker.run(self._server.pooled)) is not None:
                return connection
            await sleep(POOL_NAP)

    async def upgrade(self) -> None:
        """Widen the table of an older version: items beyond 64 KiB, exact times.

        The server rewrites the table, which takes a while and holds others up.
        """
        await self._session.run(call.count())
        await self._worker.run(self._store.conn.upgrade)

    async def shrink_disk_usage(self) -> None:
        """Give the space of deleted rows back to the server's file system; takes a while."""
        await self._session.run(call.count())
        await self._worker.run(self._store.shrink)

    # threads only: _getter = _putter = Lazy(MySQLConn)


class AsyncMySQLQueue(_AsyncMySQLBase[T]):
    """A first-in first-out queue in a MySQL or MariaDB database.

    Any number of tasks may share an object, and any number of objects, processes and
    machines may share a queue: each item goes to one of them.

    In asyncio, the event loop never waits for the server: calls that come while one is under way
    go together, in one transaction.  ``MySQLQueue`` and ``AsyncMySQLQueue`` have the same tables.

    In asyncio, nothing is connected before the queue is opened: by ``async with``, ``await``,
    ``create`` or the first call, which raises what opening raises.

    What survives what: when ``put`` has returned, the item is committed.  It survives what
    the server's commits survive: loss of power, if ``innodb_flush_log_at_trx_commit`` is 1
    (``durability`` says so).  By default an item is gone once ``get`` has returned it: at
    most once.  With ``auto_commit=False`` it is gone when ``task_done`` has returned, and
    is redelivered if that never happens: at least once.  Each of two objects that take then
    gets EVERY item: use a ``AsyncMySQLAckQueue`` for several.

    A connection that was lost is replaced, and the call that was under way is begun again.  A
    commit whose answer was lost is looked up: it is done once, or not at all.

    Args:
        host, user, passwd, db_name: of the server; the database is to be there.
        name: of the queue; its table is ``queue_<name>``.
        port: of the server.
        charset: of the connection.
        auto_commit: finish an item when it is taken.  With False it is finished by
            ``task_done``, and is redelivered after a restart if it was not.
        serializer: a module of ``persistqueue.serializers``, or any object with
            ``dumps(value)`` and ``loads(data)``.
        password: another name for ``passwd``.
        database: another name for ``db_name``.
        table_name: the name of the table itself, instead of ``name``.
        timeout: seconds to wait for locks, and for a server that does not answer (2 at the least).
        maxsize: items that may wait before ``put`` does; 0 or less for no bound.
        on_corrupt: ``"raise"`` ``QueueCorrupt`` at a row that cannot be decoded, or
            ``"skip"`` it: set it aside in a table of its own and go on.
        max_item_bytes: longest encoded item, checked before writing and reading.
        max_connections: of the pool that ``get_pooled_conn`` uses.
        connect_options: further arguments of ``pymysql.connect``: ``ssl``, ``unix_socket``.

    Raises:
        ValueError, TypeError, AttributeError: an argument is wrong.
        QueueUnreachable: the server does not answer.
        PermissionError: it refuses the user.
        FormatError: there is no such database; it is too old; the table is something else.
    """


class AsyncMySQLAckQueue(_AsyncMySQLBase[T], AsyncAckBase[T]):
    """A first-in first-out queue on a server, whose items stay until they are acked, and after.

    ``get`` hands an item out; ``ack`` says that it is done, ``nack`` puts it back,
    ``ack_failed`` puts it away.  Items that a worker held when it died are redelivered:
    delivery is at least once.  Any number of workers on any number of machines may share a
    queue: each item is held by one of them.

    A worker is alive while it has a connection; a thread has a second one while the worker
    holds anything.  What a worker held whose process has ended goes to others within 2 s.

    Its table is ``ack_queue_<name>``.  Other arguments: see
    ``AsyncMySQLQueue``.

    Args:
        auto_resume: make ready the items that dead workers held: when it is opened, and from
            then on while this object takes or waits.  An object that is alive keeps its items.
        keep_acked: how many acked items stay stored, about; None for all of them, until
            ``clear_acked_data``.
        max_attempts: an item that was handed out so often and comes back has failed, as by
            ``ack_failed``, and ``queue`` says why in its ``note``; None for no bound.

    Raises:
        Everything that ``AsyncMySQLQueue`` raises.
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
        keep_acked: int | None = None,
        max_attempts: int | None = None,
        **options: Unpack[MysqlOptions],
    ) -> None:
        self.auto_resume = bool(auto_resume)
        self.keep_acked = None if keep_acked is None else whole("keep_acked", keep_acked, 0)
        self.max_attempts = None if max_attempts is None else whole("max_attempts", max_attempts, 1)
        super().__init__(
            host, user, passwd, db_name, name, port, charset, True, serializer, **options
        )

    def _open(self, server: Server, table: MysqlTable) -> None:
        self._store = MysqlAckStore(
            MysqlConnection(server, table),
            table,
            self._rows.codec,
            skip_corrupt=self._skips,
            keep_acked=self.keep_acked,
            resumes=self.auto_resume,
            lease=LEASE,
            max_attempts=self.max_attempts,
        )
        self._calls = AckCalls(self._store, f"{self.path}, {self.name}")
        self._session = TaskSession(
            self._store, self.maxsize, AT_ACK, self.timeout, worker=self._worker
        )
