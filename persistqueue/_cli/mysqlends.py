"""Queues in MySQL and MariaDB databases as ends of a move."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from .._core.codec import SAMPLE
from .._core.leases import LEASE
from .._sql.mysql.connection import MysqlConnection
from .._sql.mysql.schema import queues
from .._sql.mysql.server import ERRORS, Server
from .._sql.mysql.statements import MysqlTable
from .._sql.mysql.stores import MysqlAckStore, MysqlDeletingStore
from .._sql.statements import ACK_FIFO, FIFO
from ..serializers import pickle
from .places import Found, usable, writer_of
from .sqlends import PATIENCE, SqlSource, SqlTarget, codec_of

if TYPE_CHECKING:
    from ..serializers import Serializer
    from .ends import Source
    from .places import Name
    from .sqlends import SqlEnd

_IDENTITY = (  # of a server; which of them there are depends on its make
    "SHOW VARIABLES WHERE Variable_name IN ('hostname', 'port', 'datadir', 'server_uuid',"
    " 'server_uid', 'lower_case_table_names')"
)
_DEFAULT = "sql"  # the name that MySQLQueue has without one


class MysqlSource(SqlSource):
    """A table on a server."""

    _errors = ERRORS


def candidates(name: Name) -> list[Found]:
    """Return the queues of a database."""
    return [
        Found("MySQLAckQueue" if table.kind.ack else "MySQLQueue", queue, table)
        for queue, table in queues(_server_of(name))
    ]


def mysql_source(name: Name, found: Found, *, moves: bool) -> MysqlSource:
    """Return a queue in a database."""
    server = _server_of(name)
    serializer = name.serializer or _seen(name, server, found) or pickle
    snapshot = None if moves else server.snapshot()
    source = MysqlSource(name, _store(server, found, serializer), serializer, snapshot)
    _locate(source, server)
    return source


def mysql_target(name: Name, found: Found | None, source: Source) -> SqlTarget:
    """Return a queue in a database; one that is not there is made, of the source's kind."""
    server, seen = _server_of(name), None
    if found is not None:
        seen = _seen(name, server, found)
    else:
        kind = ACK_FIFO if source.kind.ack else FIFO
        found = Found("", table=MysqlTable(kind, name.queue or _DEFAULT))
    serializer = name.serializer or seen or usable(name.shown, source.default)
    target = SqlTarget(name, _store(server, found, serializer), serializer)
    _locate(target, server)
    return target


def _server_of(name: Name) -> Server:
    parts, options = urlsplit(name.address), dict(name.options)
    if not (database := unquote(parts.path.strip("/"))):
        raise ValueError(f"{name.shown}: the URL names no database")
    return Server(
        host=parts.hostname or "localhost",
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=database,
        charset=options.pop("charset", "utf8mb4"),
        patience=PATIENCE,
        most=1,
        options=options,
    )


def _store(
    server: Server, found: Found, serializer: Serializer
) -> MysqlAckStore | MysqlDeletingStore:
    table = _table(found)
    conn, codec = MysqlConnection(server, table), codec_of(table.kind, serializer)
    if table.kind.ack:
        return MysqlAckStore(
            conn, table, codec, skip_corrupt=False, keep_acked=None, resumes=True, lease=LEASE
        )
    return MysqlDeletingStore(conn, table, codec, skip_corrupt=False)


def _table(found: Found) -> MysqlTable:
    assert isinstance(found.table, MysqlTable)
    return found.table


def _locate(end: SqlEnd, server: Server) -> None:
    """Note where an end's table is: the same for all names of one server."""
    known = dict(server.rows_beside(_IDENTITY, end.table.name))
    folds = known["lower_case_table_names"] != "0"
    place = f"{server.database} {end.table.name}"
    end.identity = (tuple(sorted(known.items())), place.lower() if folds else place)


def _seen(name: Name, server: Server, found: Found) -> Serializer | None:
    """Return the serializer of a table's rows; None if it is empty."""
    table = _table(found)
    statement = f"SELECT data FROM {table.in_text} ORDER BY _id LIMIT {SAMPLE}"  # noqa: S608 - quoted
    rows = [data for (data,) in server.rows_beside(statement, table.name)]
    return usable(name.shown, writer_of(rows)) if rows else None
