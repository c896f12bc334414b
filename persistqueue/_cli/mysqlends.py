"""Queues in MySQL and MariaDB databases as ends of a move."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from .._core.origin import SAMPLE
from .._sql.mysql.schema import queues
from .._sql.mysql.server import ERRORS, Server
from .._sql.mysql.statements import MysqlTable
from .._sql.mysql.stores import MysqlAckStore, MysqlDeletingStore
from .._sql.statements import ACK_FIFO, FIFO
from ..serializers import pickle
from .names import usable
from .places import Candidate
from .sqlends import PATIENCE, SqlSource, SqlTarget, codec_of, written_by

if TYPE_CHECKING:
    from ..serializers import Serializer
    from .ends import End, Source
    from .names import Name
    from .sqlends import SqlEnd

_DEFAULT = "sql"  # the name that MySQLQueue has without one


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


def candidates(name: Name) -> list[Candidate]:
    """Return the queues of a database."""
    return [
        Candidate("MySQLAckQueue" if table.kind.ack else "MySQLQueue", queue, table)
        for queue, table in queues(_server_of(name))
    ]


def mysql_source(name: Name, found: Candidate, *, moves: bool) -> MysqlSource:
    """Return a queue in a database."""
    server = _server_of(name)
    serializer = name.serializer or _seen(name, server, found) or pickle
    snapshot = None if moves else server.snapshot()
    source = MysqlSource(name, _store(server, found, serializer), serializer, snapshot)
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
    target.session = store._session_name  # noqa: SLF001 - no other end of a move asks for it
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
    codec = codec_of(table.kind, serializer)
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
    return written_by(name, [data for (data,) in server.rows_beside(statement, table.name)])
