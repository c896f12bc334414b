"""Queues in MySQL and MariaDB databases as ends of a move."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from .._core.codec import RowCodec
from .._core.origin import SAMPLE
from .._sql.mysql.connection import ERRORS, Server
from .._sql.mysql.statements import COMMITTED, LEAVE, SESSIONS, MysqlTable
from .._sql.mysql.stores import MysqlAckStore, MysqlDeletingStore
from .._sql.statements import ACK_FIFO, FIFO
from ..serializers import pickle
from .ends import LONGEST
from .names import usable
from .places import Candidate
from .sqlends import PATIENCE, SqlSource, SqlTarget, written_by

if TYPE_CHECKING:
    from ..serializers import Serializer
    from .ends import End, Mover, Source
    from .names import Name
    from .sqlends import SqlEnd

_DEFAULT = "sql"  # the name that MySQLQueue has without one
_COLUMNS = (
    "SELECT table_name, column_name FROM information_schema.columns"
    " WHERE table_schema = DATABASE() ORDER BY table_name, ordinal_position"
)
_SNAPSHOT = (
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT",
)
# Which batch of a move a table has stands among the numbers of sessions.
_MOVED = f"INSERT INTO {SESSIONS} (id, number) VALUES (%s, %s) ON DUPLICATE KEY UPDATE number = %s"  # noqa: S608 - a constant
_NOT_MOVED = f"INSERT IGNORE INTO {SESSIONS} (id, number) VALUES (%s, 0)"  # noqa: S608 - a constant


class MysqlSource(SqlSource):
    """A table on a server."""

    _errors = ERRORS


class MysqlTarget(SqlTarget):
    """A table on a server.

    Attributes:
        session: its lock is held on this server, and on no other.
    """

    session: str

    def is_same(self, other: End) -> bool:
        """Return whether a source is this table, also under another name of the server."""
        if not isinstance(other, MysqlSource):
            return False
        (holder,) = other.rows("SELECT IS_USED_LOCK(%s)", (self.session,))[0]
        (folds,) = other.rows("SELECT @@lower_case_table_names")[0]
        one, two = str(other.identity), str(self.identity)
        return holder is not None and (one.lower() == two.lower() if folds else one == two)

    def _mark(self, mover: Mover) -> None:
        self._execute(_MOVED, (*mover, mover.number))

    def _last(self, run: str) -> int:
        self._execute(_NOT_MOVED, (run,))  # waits for a commit that is still on its way
        number: int = self._rows(COMMITTED, (run,))[0][0]
        return number

    def _clear(self, run: str) -> None:
        self._execute(LEAVE, (run,))


def candidates(name: Name) -> list[Candidate]:
    """Return the queues of a database."""
    found = []
    rows = _server_of(name).rows_beside(_COLUMNS, "")
    for table, columns in groupby(rows, key=lambda row: row[0]):
        there = tuple(column for _, column in columns)
        kind = ACK_FIFO if there[:4] == ACK_FIFO.columns else FIFO
        if table == SESSIONS or table.startswith("corrupt:"):
            continue
        if there[: len(kind.columns)] == kind.columns:
            cls = "MySQLAckQueue" if kind.ack else "MySQLQueue"
            queue = table.removeprefix(f"{kind.prefix}_")
            found.append(Candidate(cls, queue, MysqlTable(kind, table, whole_name=True)))
    return found


def mysql_source(name: Name, found: Candidate, *, moves: bool) -> MysqlSource:
    """Return a queue in a database."""
    server = _server_of(name)
    serializer = name.serializer or _seen(name, server, found) or pickle
    snapshot = None if moves else server.connect()
    source = MysqlSource(name, _store(server, found, serializer), serializer, snapshot)
    for statement in () if moves else _SNAPSHOT:
        source.rows(statement)
    _locate(source, server)
    return source


def mysql_target(name: Name, found: Candidate | None, source: Source) -> MysqlTarget:
    """Return a queue in a database; one that is not there is made, of the source's kind."""
    server, seen = _server_of(name), None
    if found is not None:
        seen = _seen(name, server, found)
    else:
        kind = ACK_FIFO if source.kind.ack else FIFO
        found = Candidate("", table=MysqlTable(kind, name.queue or _DEFAULT))
    serializer = name.serializer or seen or usable(name.shown, source.default)
    store = _store(server, found, serializer)
    target = MysqlTarget(name, store, serializer)
    target.session = store._session  # noqa: SLF001 - no other end of a move asks for it
    _locate(target, server)
    return target


def _server_of(name: Name) -> Server:
    parts, options = urlsplit(name.address), dict(name.options)
    return Server(
        host=parts.hostname or "localhost",
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=unquote(parts.path.strip("/")),
        charset=options.pop("charset", "utf8mb4"),
        patience=PATIENCE,
        most=1,
        options=options,
    )


def _store(
    server: Server, found: Candidate, serializer: Serializer
) -> MysqlAckStore | MysqlDeletingStore:
    table = _table(found)
    codec = RowCodec(serializer, ordered=False, longest=LONGEST)
    if table.kind.ack:
        return MysqlAckStore(
            server, table, codec, skip_corrupt=False, bounded=False, keep_acked=None, resumes=True
        )
    return MysqlDeletingStore(server, table, codec, skip_corrupt=False, bounded=False)


def _table(found: Candidate) -> MysqlTable:
    assert isinstance(found.table, MysqlTable)
    return found.table


def _locate(end: SqlEnd, server: Server) -> None:
    """Note where an end's table is."""
    end.identity, end.key = (server.database, end.table.name), f"{server.path} {end.table.name}"


def _seen(name: Name, server: Server, found: Candidate) -> Serializer | None:
    """Return the serializer of a table's rows; None if it is empty."""
    table = _table(found)
    statement = f"SELECT data FROM {table.in_text} ORDER BY _id LIMIT {SAMPLE}"  # noqa: S608 - quoted
    return written_by(name, server.rows_beside(statement, table.name))
