"""Opens connections to MySQL and MariaDB, and turns the driver's errors into ours: nowhere else."""

from __future__ import annotations

import errno
import re
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from ...exceptions import (
    FormatError,
    ItemTooLarge,
    PersistQueueError,
    QueueCorrupt,
    QueueLocked,
    QueueUnreachable,
)

try:
    import pymysql
    from dbutils.pooled_db import PooledDB, TooManyConnectionsError
    from pymysql.charset import charset_by_name
    from pymysql.connections import Connection as DriversConnection
    from pymysql.constants import CLIENT, CR, ER
except ModuleNotFoundError:
    raise ImportError(
        "the MySQL classes need the packages PyMySQL and DBUtils: "
        'pip install "persist-queue[extra]"'
    ) from None

if TYPE_CHECKING:
    from collections.abc import Sequence

_OLDEST = {"MariaDB": (10, 6), "MySQL": (8, 0)}  # they skip locked rows
_LONGEST_CONNECT = 10.0  # s
LEAST_SILENCE = 2.0  # s; a server may say nothing for so long while it waits 1 s for a lock
_WHOLE_TABLE = 60.0  # s more without a byte from the server, where it reads a whole table
# s after which the server ends an idle connection: there may be no machine at its other end any
# more.  A store replaces one that was only idle.
_LONGEST_IDLE = 300
# When the system asks whether the server is there.  A firewall drops a connection that is idle
# for longer.
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}  # s, s, times
_PIECE = 2**16  # bytes that are sent within one timeout
_OVERHEAD = 1024  # bytes of a statement beside its items
# A value is stored whole or not at all, and a backslash escapes.
_MODE = "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION"

_SNAPSHOT = (
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT",
)

_LOST = {
    CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST, CR.CR_CONNECTION_ERROR, CR.CR_CONN_HOST_ERROR,
    CR.CR_UNKNOWN_HOST, CR.CR_IPSOCK_ERROR, CR.CR_SOCKET_CREATE_ERROR, CR.CR_MALFORMED_PACKET,
    ER.SERVER_SHUTDOWN, ER.CON_COUNT_ERROR, ER.NEW_ABORTING_CONNECTION, 1927, 1077, 1184,
}  # fmt: skip
_NOT_ALLOWED = {
    ER.ACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR, ER.TABLEACCESS_DENIED_ERROR,
    ER.COLUMNACCESS_DENIED_ERROR, ER.SPECIFIC_ACCESS_DENIED_ERROR, 1698, 1045,
}  # fmt: skip
_FULL = {ER.DISK_FULL, ER.RECORD_FILE_FULL}
_TOO_LONG = {ER.NET_PACKET_TOO_LARGE, ER.DATA_TOO_LONG}
_GONE = {ER.NO_SUCH_TABLE, ER.BAD_FIELD_ERROR}
READ_ONLY = {ER.OPTION_PREVENTS_STATEMENT, 1792, 1836}
DUPLICATE: int = ER.DUP_ENTRY
MISSING: int = ER.NO_SUCH_TABLE
# What may come of talking to a server.
ERRORS: tuple[type[Exception], ...] = (pymysql.Error, OSError)


class Limits(NamedTuple):
    """Properties of a server.

    Attributes:
        statement: bytes of one statement, for its values.
        power: whether a commit survives loss of power.
        step: what lies between two ids in a row.
    """

    statement: int
    power: bool
    step: int


class Connection(DriversConnection):  # type: ignore[misc]  # the driver has no types
    """The driver's connection, whose timeouts can be changed."""

    def expect(self, seconds: float | None) -> None:
        """Wait so long for each answer from now on; None for as long as it takes."""
        self._read_timeout = seconds

    def allow(self, seconds: float | None) -> None:
        """Wait so long while something is sent."""
        self._write_timeout = seconds

    def keep_alive(self) -> None:
        """Have the system ask whether the other end is there."""
        with suppress(OSError):  # a Unix socket
            for option, value in _KEEPALIVE.items():
                if hasattr(socket, option):
                    self._sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

    # The driver's timeout is for all that is sent at a time.
    def _write_bytes(self, data: Any) -> None:
        for start in range(0, len(data), _PIECE):
            super()._write_bytes(data[start : start + _PIECE])


class Server:
    """Where a database is, and how it is reached.

    Args:
        patience: seconds to wait for locks and for the server.
        most: connections of the pool.
        options: further arguments of ``pymysql.connect``.

    Raises:
        ValueError: the charset is none for this.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        user: str,
        password: str,
        database: str,
        charset: str,
        patience: float,
        most: int,
        options: dict[str, Any],
    ) -> None:
        check_charset(options.get("charset", charset), user, database)
        self.database = database
        self.patience = patience
        self.path = f"mysql://{user}@{host}:{port}/{database}"
        self._most = most
        self._arguments: dict[str, Any] = {
            "host": host,
            "port": port,
            "user": user,
            "password": password,
            "database": database,
            "charset": charset,
            "autocommit": False,
            "connect_timeout": min(max(patience, 1.0), _LONGEST_CONNECT),
            "read_timeout": max(patience, LEAST_SILENCE),
            "write_timeout": max(patience, LEAST_SILENCE),
            **options,
        }
        #: Seconds to wait for an answer, and for one that takes a look at a whole table.
        self.silence: float | None = self._arguments["read_timeout"]
        self.longest_silence = None if self.silence is None else self.silence + _WHOLE_TABLE
        self._pool: Any = None
        self._mutex = threading.Lock()  # protects the making of the pool
        self.limits = Limits(0, False, 1)

    @property
    def identity(self) -> str:
        """A text that is equal for all objects that may share a connection."""
        return repr(sorted(self._arguments.items()))

    def connect(self, within: float = _LONGEST_CONNECT) -> Connection:
        """Open a connection of a store's own.

        Args:
            within: seconds to wait for the server until it is open, at the most.

        Raises:
            pymysql.Error: as it is; ``translate`` says what it means.
        """
        arguments = dict(self._arguments)
        arguments["client_flag"] = CLIENT.MULTI_STATEMENTS | arguments.get("client_flag", 0)
        for timeout in ("connect_timeout", "read_timeout", "write_timeout"):
            arguments[timeout] = min(arguments[timeout] or within, within)
        connection = Connection(**arguments)
        try:
            connection.keep_alive()
            self._prepare(connection)
        except BaseException:
            discard(connection)
            raise
        connection.expect(self.silence)
        connection.allow(self._arguments["write_timeout"])
        return connection

    def snapshot(self) -> Connection:
        """Open a connection that reads the present state, however long that takes."""
        try:
            connection = self.connect()
            with connection.cursor() as cursor:
                for statement in _SNAPSHOT:
                    cursor.execute(statement)
        except ERRORS as error:
            raise self.translate(error, "") from error
        return connection

    def _prepare(self, connection: Connection) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@version")
            self._check(cursor.fetchone()[0])
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            # MySQL may say up to 1 s too late that it has waited in vain.
            patience = max(int(self.patience) - 1, 1)
            cursor.execute(
                "SET SESSION sql_mode = %s, innodb_lock_wait_timeout = %s, lock_wait_timeout = %s,"
                " wait_timeout = %s",
                (_MODE, patience, patience, _LONGEST_IDLE),
            )
            cursor.execute(
                "SELECT @@max_allowed_packet, @@innodb_flush_log_at_trx_commit,"
                " @@auto_increment_increment"
            )
            packet, flush, step = cursor.fetchone()
        self.limits = Limits(packet - _OVERHEAD, flush == 1, step)
        connection.commit()

    def _check(self, version: str) -> None:
        make = "MariaDB" if "mariadb" in version.lower() else "MySQL"
        numbers = re.search(r"(\d+)\.(\d+)", version.removeprefix("5.5.5-"))
        found = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
        if found < _OLDEST[make]:
            raise FormatError(
                f"{self.path} is {make} {version}; MariaDB 10.6 or MySQL 8.0 is needed, which "
                "can pass by rows that others have locked"
            )

    def pooled(self) -> Any:
        """Return a connection of the pool, None when all are out.

        Its ``close`` gives it back to the pool.
        """
        with self._mutex:
            if self._pool is None:
                self._pool = PooledDB(
                    pymysql,
                    maxcached=self._most,
                    maxconnections=self._most,
                    **{**self._arguments, "read_timeout": self.longest_silence},
                )
            pool = self._pool
        try:
            return pool.connection()
        except TooManyConnectionsError:
            return None
        except pymysql.Error as error:
            raise self.translate(error, "") from error

    def rows_beside(self, statement: str, table: str, *, endless: bool = False) -> list[Any]:
        """Run a statement on a connection of its own: those of the pool may all be out.

        Args:
            table: for messages.
            endless: it takes as long as it takes.
        """
        connection = None
        try:
            connection = self.connect()
            connection.expect(None if endless else self.longest_silence)
            rows = _read(connection, statement, ())
        except BaseException as error:
            if connection is not None:
                discard(connection)
            if isinstance(error, ERRORS):
                raise self.translate(error, table) from error
            raise
        connection.close()
        return rows

    def close(self) -> None:
        """Close the pool."""
        with self._mutex:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def forget(self) -> None:
        """Forget the pool: its connections are a parent process's."""
        self._mutex = threading.Lock()
        pool, self._pool = self._pool, None
        for connection in getattr(pool, "_idle_cache", ()):
            discard(connection._con)  # noqa: SLF001 - its finaliser would say goodbye for the parent

    def translate(self, error: Exception, table: str) -> Exception:
        """Return what an error of the driver is called here."""
        number, says = number_of(error), str(error.args[-1] if error.args else error)
        where = f"{self.path}: "
        if is_lost(error):
            return QueueUnreachable(f"{where}the server cannot be reached ({says})")
        if number in _NOT_ALLOWED:
            return PermissionError(errno.EACCES, f"the server refuses it: {says}", self.path)
        if number in READ_ONLY:
            return PermissionError(errno.EROFS, f"the server is read-only: {says}", self.path)
        if number == ER.BAD_DB_ERROR:
            return FormatError(f"{where}there is no database {self.database!r}: create it first")
        if number == ER.LOCK_WAIT_TIMEOUT or is_conflict(error):
            return QueueLocked(
                f"{where}another transaction has held a lock for too long; nothing was done"
            )
        if number == ER.UNKNOWN_CHARACTER_SET:
            return ValueError(f"{where}use the charset 'utf8mb4'; the server says: {says}")
        if number in _FULL:
            return OSError(errno.ENOSPC, f"the server's disk is full: {says}", self.path)
        if number in _TOO_LONG:
            return ItemTooLarge(
                f"{where}{table} cannot hold an item of this size; nothing was stored (upgrade() "
                f"widens the table's column): {says}"
            )
        if number in _GONE:
            return QueueCorrupt(
                self.path, table, reason=f"the table was dropped or altered while in use: {says}"
            )
        return PersistQueueError(f"{where}the server says: {says}")


class Line:
    """A connection beside those of the stores; opened when it is needed, and again when it is lost.

    Args:
        patience: seconds to wait for each answer.
    """

    def __init__(self, server: Server, patience: float) -> None:
        self._server = server
        self._patience = patience
        self._connection: Connection | None = None

    def rows(self, statement: str, values: Sequence[Any], table: str) -> list[Any]:
        """Run a statement, and commit; returns its rows.

        Args:
            table: for messages.
        """
        idle = self._connection is not None
        try:
            if self._connection is None:
                self._connection = self._server.connect(self._patience)
                self._connection.expect(self._patience)
            return _read(self._connection, statement, values)
        except ERRORS as error:
            self.forget()
            if idle:  # for too long, it may be
                return self.rows(statement, values, table)
            raise self._server.translate(error, table) from error

    def drop(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*ERRORS):
                connection.close()

    def forget(self) -> None:
        """Close it without a word: it is lost, or a parent process's."""
        connection, self._connection = self._connection, None
        if connection is not None:
            discard(connection)


def _read(connection: Connection, statement: str, values: Sequence[Any]) -> list[Any]:
    """Run one statement, and commit; returns its rows."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        rows = list(cursor.fetchall())
    connection.commit()
    return rows


def check_charset(name: object, *texts: str) -> None:
    """Raise ``ValueError`` unless the driver can write these texts in a charset.

    Args:
        name: of the charset; None for the driver's, which is utf8mb4.
    """
    charset = charset_by_name(str(name or "utf8mb4"))
    try:
        for text in ("", *texts):
            text.encode(charset.encoding if charset is not None else "")
    except LookupError:
        raise ValueError(f"the driver does not know the charset {name!r}; use 'utf8mb4'") from None
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} cannot be written in the charset {name!r}") from None


def number_of(error: BaseException | None) -> int:
    """Return the server's or the driver's number of an error; 0 if it has none."""
    number = error.args[0] if error is not None and error.args else 0
    return number if isinstance(number, int) else 0


def is_lost(error: Exception) -> bool:
    """Return whether the connection is gone, so that its transaction is undone."""
    if isinstance(error, pymysql.err.InterfaceError):
        return True  # the driver had closed it
    return isinstance(error, OSError) or number_of(error) in _LOST


def is_conflict(error: Exception) -> bool:
    """Return whether the server refused or undid it in favour of another transaction."""
    # 1684: another one is just creating the table.
    return number_of(error) in (ER.LOCK_DEADLOCK, ER.CHECKREAD, 1684)


def discard(connection: Any) -> None:
    """Close a connection without a word to the server, which undoes its transaction."""
    connection._force_close()  # noqa: SLF001 - the public close() talks, and may wait
