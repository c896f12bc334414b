"""Queues in MySQL and MariaDB databases as ends of a move."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from .._core.codec import RowCodec
from .._sql.mysql.connection import ERRORS, Server
from .._sql.mysql.statements import SESSIONS, MysqlTable
from .._sql.mysql.stores import MysqlAckStore, MysqlDeletingStore
from .._sql.statements import ACK_FIFO, FIFO
from ..serializers import pickle
from . import choice
from .ends import LONGEST, Candidate
from .sqlends import SqlSource, SqlTarget, recognised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .ends import Mover, Source
    from .names import Name

_DEFAULT = "sql"  # the name that MySQLQueue has without one
_PATIENCE = 10.0  # s to wait for locks and for the server
_COLUMNS = (
    "SELECT table_name, column_name FROM information_schema.columns"
    " WHERE table_schema = DATABASE() ORDER BY table_name, ordinal_position"
)
_SNAPSHOT = (
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT",
)


def server_of(name: Name) -> Server:
    """Return the server that a URL leads to."""
    parts = urlsplit(name.address)
    options = dict(name.options)
    return Server(
        host=parts.hostname or "localhost",
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=unquote(parts.path.strip("/")),
        charset=options.pop("charset", "utf8mb4"),
        patience=_PATIENCE,
        most=1,
        options=options,
    )


def candidates(name: Name) -> list[Candidate]:
    """Return the queues of a database."""
    rows = server_of(name).rows_beside(_COLUMNS, "")
    found = []
    for table, columns in groupby(rows, key=lambda row: row[0]):
        there = tuple(column for _, column in columns)
        kind = ACK_FIFO if there[:4] == ACK_FIFO.columns else FIFO
        if table == SESSIONS or table.startswith("corrupt:"):
            continue
        if there[: len(kind.columns)] == kind.columns:
            what = "MySQLAckQueue" if kind.ack else "MySQLQueue"
            queue = table.removeprefix(f"{kind.prefix}_")
            found.append(Candidate(what, queue, MysqlTable(kind, table, whole_name=True)))
    return found


class MysqlSource(SqlSource):
    """A table on a server; of a copy, in one snapshot."""

    _connection: Any = None

    def look_at(self, server: Server) -> None:
        """Read a snapshot of the database, and write nothing."""
        self._connection = server.connect()
        for statement in _SNAPSHOT:
            self._run(statement, ())
        self.look(self._run)

    def _run(self, statement: str, values: Sequence[Any]) -> list[Any]:
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(statement, tuple(values))
                return list(cursor.fetchall())
        except ERRORS as error:
            raise self.store.database.translate(error, self._table.name) from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        super().close()


class MysqlTarget(SqlTarget):
    """A table on a server; the number of a batch stands among those of its sessions."""

    def is_same(self, source: Any) -> bool:
        """Return whether a source is this table, by whatever name its server is reached."""
        if not isinstance(source, MysqlSource):
            return False
        session = self.store._session  # noqa: SLF001 - whose lock this server holds, and no other
        (holder,) = source.rows("SELECT IS_USED_LOCK(%s)", (session,))[0]
        (folds,) = source.rows("SELECT @@lower_case_table_names")[0]
        names = [source.identity, self.identity]
        if folds:
            names = [tuple(map(str.lower, name)) for name in names]
        return holder is not None and names[0] == names[1]

    def _mark(self, mover: Mover) -> None:
        self._execute(
            f"INSERT INTO {SESSIONS} (id, number) VALUES (%s, %s)"  # noqa: S608 - a constant
            " ON DUPLICATE KEY UPDATE number = %s",
            (*mover, mover.number),
        )

    def _last(self, run: str) -> int:
        # A commit that is still on its way holds this row, and is waited for.
        self._execute(f"INSERT IGNORE INTO {SESSIONS} (id, number) VALUES (%s, 0)", (run,))  # noqa: S608
        statement = f"SELECT number FROM {SESSIONS} WHERE id = %s FOR UPDATE"  # noqa: S608
        number: int = self._rows(statement, (run,))[0][0]
        return number

    def _clear(self, run: str) -> None:
        self._execute(f"DELETE FROM {SESSIONS} WHERE id = %s", (run,))  # noqa: S608 - a constant


def _store(server: Server, table: MysqlTable, serializer: Any) -> Any:
    codec = RowCodec(serializer, ordered=False, longest=LONGEST)
    if table.kind.ack:
        return MysqlAckStore(
            server, table, codec, skip_corrupt=False, bounded=False, keep_acked=None, resumes=True
        )
    return MysqlDeletingStore(server, table, codec, skip_corrupt=False, bounded=False)


def _seen(name: Name, server: Server, table: MysqlTable) -> Any:
    """Return the serializer of what is in a table; None if it is empty."""
    statement = f"SELECT data FROM {table.in_text} ORDER BY _id LIMIT {choice.SAMPLE}"  # noqa: S608 - quoted
    return recognised(name.shown, server.rows_beside(statement, table.name))


def mysql_source(name: Name, table: MysqlTable, *, moves: bool) -> MysqlSource:
    """Return a queue in a database."""
    server = server_of(name)
    serializer = name.serializer or _seen(name, server, table) or pickle
    source = MysqlSource(name.shown, _store(server, table, serializer), serializer)
    source.identity, source.key = (server.database, table.name), f"{server.path} {table.name}"
    if moves:
        source.open()
    else:
        source.look_at(server)
    return source


def mysql_target(name: Name, found: Candidate | None, source: Source) -> MysqlTarget:
    """Return a queue in a database; one that is not there is made, of the source's kind."""
    server = server_of(name)
    if found is None:
        kind = ACK_FIFO if source.kind.ack else FIFO
        table, seen = MysqlTable(kind, name.queue or _DEFAULT), None
    else:
        table = found.table
        seen = _seen(name, server, table)
    serializer = name.serializer or seen or source.default
    target = MysqlTarget(name.shown, _store(server, table, serializer), serializer)
    target.identity, target.key = (server.database, table.name), f"{server.path} {table.name}"
    target.open()
    return target
