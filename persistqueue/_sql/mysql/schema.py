"""Recognises the tables of a MySQL database, and adds what this version needs.

A table that persist-queue made works as it is; what does not fit in its columns is told
before anything is written, and ``upgrade()`` widens them.  Anything else is refused untouched.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING, Any

from ..._core.log import warn
from ...exceptions import FormatError
from ..statements import ACK_FIFO, FENCE, FIFO
from .server import ERRORS, MISSING, READ_ONLY, number_of
from .statements import CREATE_SESSIONS, SESSIONS, SWEEP, MysqlTable

if TYPE_CHECKING:
    from .server import Server

_COLUMNS = (
    "SELECT table_name, column_name FROM information_schema.columns"
    " WHERE table_schema = DATABASE() ORDER BY table_name, ordinal_position"
)


def prepare(connection: Any, table: MysqlTable, server: Server) -> None:
    """See that the table is there, with all its columns and indexes.

    Raises:
        FormatError: something else has its name.
        pymysql.Error: the server refuses.
    """
    with connection.cursor() as cursor:
        _prepare_sessions(cursor)
        if not _is_there(cursor, table.in_text):
            connection.expect(server.longest_silence)
            cursor.execute(table.create, ())
        found, keys = _checked(cursor, table, server)
        changes = [table.add_column(column) for column in table.added if column not in found]
        changes += [table.add_key(key) for key in table.keys if key not in keys]
        for statement in changes:
            connection.expect(server.longest_silence)
            cursor.execute(statement, ())
        connection.expect(server.silence)
    if not server.limits.power:
        warn(
            "%s: innodb_flush_log_at_trx_commit is not 1 on this server: a loss of power may "
            "take back what was committed in the last second", server.path
        )  # fmt: skip


def queues(server: Server) -> list[tuple[str, MysqlTable]]:
    """Return the names of the queues of a database, and their tables."""
    found = []
    for name, rows in groupby(server.rows_beside(_COLUMNS, ""), key=lambda row: str(row[0])):
        there = tuple(column for _, column in rows)
        kind = ACK_FIFO if there[:4] == ACK_FIFO.columns else FIFO
        ours = there[: len(kind.columns)] == kind.columns
        if ours and name != SESSIONS and not name.startswith("corrupt:"):
            table = MysqlTable(kind, name, whole_name=True, lacks=FENCE.keys() - there)
            found.append((name.removeprefix(f"{kind.prefix}_"), table))
    return found


def _prepare_sessions(cursor: Any) -> None:
    if not _is_there(cursor, SESSIONS):
        cursor.execute(CREATE_SESSIONS)
    try:
        cursor.execute(SWEEP)
    except ERRORS as error:
        if number_of(error) not in READ_ONLY:  # where a queue can be looked at
            raise


def _is_there(cursor: Any, table: str) -> bool:
    """Return whether there is such a table; a user who may not create one can still use it."""
    try:
        cursor.execute(f"SHOW COLUMNS FROM {table}", ())
    except ERRORS as error:
        if number_of(error) != MISSING:
            raise
        return False
    return True


def _checked(cursor: Any, table: MysqlTable, server: Server) -> tuple[set[str], set[str]]:
    """Return the columns and the indexes, if rows can be put there and read."""
    cursor.execute(f"SHOW COLUMNS FROM {table.in_text}", ())
    found = {row[0]: row[1].lower() for row in cursor.fetchall()}
    wanted = list(table.columns)
    if list(found)[: len(wanted)] != wanted:
        raise FormatError(
            f"{server.path}: the table {table.name} has the columns {', '.join(found)}; this "
            f"version knows {', '.join(wanted)}. Nothing was changed."
        )
    cursor.execute(f"SHOW CREATE TABLE {table.in_text}", ())
    create = cursor.fetchone()[1]
    engine = re.findall(r"\) ENGINE=(\w+)", create)
    if not engine or engine[-1].lower() != "innodb":
        raise FormatError(
            f"{server.path}: {table.name} is kept by {engine[-1] if engine else 'a view'}, which "
            f"has no transactions; convert it: ALTER TABLE {table.quoted} ENGINE=InnoDB"
        )
    if not re.search("blob|binary", found["data"]):
        raise FormatError(
            f"{server.path}: the column data of the table {table.name} holds {found['data']}, not "
            "bytes; nothing was changed"
        )
    return set(found), set(re.findall(r"(?m)^ *KEY `(\w+)` ", create))
