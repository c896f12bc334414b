"""Recognises the tables of a database, and adds what this version needs.

Three layouts are known: this one, which is persist-queue's and what it lacks; nothing;
and that of persist-queue's async classes, whose tables have no suffix.  Rows of the last
one are adopted by whichever name is opened first.  Anything else is refused untouched.
"""

from __future__ import annotations

from string import ascii_lowercase, ascii_uppercase
from typing import TYPE_CHECKING, Any

from .._core.log import warn
from ..exceptions import FormatError
from .statements import identifier

if TYPE_CHECKING:
    import sqlite3

    from .statements import Layout

VERSION = 1
VERSION_TABLE = "persistqueue_format"  # a later version that cannot be read here leaves it
_OLD_COLUMNS = ["_id", "data", "timestamp"]
_FOLDED = str.maketrans(ascii_uppercase, ascii_lowercase)


def prepare(connection: sqlite3.Connection, table: Layout, path: str) -> None:
    """See that the table is there, with all its columns and indexes.

    Raises:
        FormatError: something else has its name, or a newer version wrote the database.
    """
    if not missing(connection, table, path):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        complete(connection, table, path)
    except BaseException:
        connection.rollback()  # which does nothing where SQLite has done it
        raise
    connection.execute("COMMIT")


def missing(connection: sqlite3.Connection, table: Layout, path: str) -> set[str]:
    """Return the names of what the table lacks; its own name if all of it is to be made."""
    there = _folded_objects(connection)
    refuse_newer(connection, there, path)
    _refuse_no_table(there, table.name, path)
    if folded(table.name) not in there or _old_of(connection, table, there):
        return {table.name}
    found = _checked_columns(connection, table, path)
    return {column for column in table.added if column not in found} | {
        index for index in table.indexes if folded(index) not in there
    }


def complete(connection: sqlite3.Connection, table: Layout, path: str) -> None:
    """See in a transaction that the table is there, with all its columns and indexes."""
    there = _folded_objects(connection)
    _refuse_no_table(there, table.name, path)
    old = _old_of(connection, table, there)
    if folded(table.name) not in there:
        rename = f"ALTER TABLE {identifier(old)} RENAME TO {table.quoted}"
        connection.execute(rename if old else table.create)
    elif old:
        connection.execute(
            f"INSERT OR IGNORE INTO {table.quoted} (data, timestamp)"  # noqa: S608 - quoted
            f" SELECT data, timestamp FROM {identifier(old)} ORDER BY _id"
        )
        connection.execute(f"DROP TABLE {identifier(old)}")
    if old:
        warn("%s: the table %s of persist-queue's async classes is now %s", path, old, table.name)
    found = _checked_columns(connection, table, path)
    for column, kind in table.added.items():
        if column not in found:
            connection.execute(f"ALTER TABLE {table.quoted} ADD COLUMN {column} {kind}")
    for index, statement in table.indexes.items():
        if folded(index) not in there:
            connection.execute(statement)


def objects(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the types of everything in a database, by name.

    A table that has no page of its own is a virtual one: a "view" here.
    """
    rows = connection.execute("SELECT name, type, rootpage FROM sqlite_master").fetchall()
    return {_name(found): kind if page or kind != "table" else "view" for found, kind, page in rows}


def _folded_objects(connection: sqlite3.Connection) -> dict[str, str]:
    return {folded(name): kind for name, kind in objects(connection).items()}


def _name(found: Any) -> str:
    """Return a name as text; a damaged one is none of ours."""
    return found if isinstance(found, str) else repr(found)


def folded(name: str) -> str:
    """Return a name as SQLite compares names: the case of A to Z alone does not count."""
    return name.translate(_FOLDED)


def _old_of(connection: sqlite3.Connection, table: Layout, there: dict[str, str]) -> str:
    """Return the name of the old async table whose rows belong here, if there is one."""
    if not table.old or there.get(table.old) != "table":
        return ""
    return table.old if columns(connection, table.old) == _OLD_COLUMNS else ""


def columns(connection: sqlite3.Connection, name: str) -> list[str]:
    """Return the columns of a table; none if it is not there."""
    rows = connection.execute("SELECT name FROM pragma_table_info(?)", (name,)).fetchall()
    return [_name(found) for (found,) in rows]


def _checked_columns(connection: sqlite3.Connection, table: Layout, path: str) -> list[str]:
    """Return the table's columns, if rows can be put there and read."""
    found = columns(connection, table.name)
    wanted = list(table.columns)
    if found[: len(wanted)] != wanted:
        raise FormatError(
            f"{path}: the table {table.name} has the columns {', '.join(found)}; "
            f"this version ({VERSION}) knows {', '.join(wanted)}. Nothing was changed."
        )
    if wanted[0] == "_id" and not _numbers_rows(connection, table.name):
        raise FormatError(
            f"{path}: _id is not the number of a row in the table {table.name}: it is not one "
            "that this package or persist-queue created. Nothing was changed."
        )
    return found


def _numbers_rows(connection: sqlite3.Connection, name: str) -> bool:
    """Return whether ``_id`` is SQLite's own number of a row, so always a whole number."""
    keys = "SELECT name FROM pragma_table_info(?) WHERE pk"
    indexes = "SELECT 1 FROM pragma_index_list(?) WHERE origin = 'pk'"
    return connection.execute(keys, (name,)).fetchall() == [("_id",)] and not (
        connection.execute(indexes, (name,)).fetchall()
    )


def _refuse_no_table(there: dict[str, str], name: str, path: str) -> None:
    """Refuse a view or a virtual table: reading one may run a stranger's code, for ever."""
    kind = there.get(folded(name), "table")
    if kind != "table":
        raise FormatError(f"{path}: {name} is not an ordinary table ({kind}). Nothing was changed.")


def refuse_newer(connection: sqlite3.Connection, there: dict[str, str], path: str) -> None:
    """Refuse a database whose format is newer than this version.

    Raises:
        FormatError: that.
    """
    if VERSION_TABLE not in there:
        return
    _refuse_no_table(there, VERSION_TABLE, path)
    row = connection.execute(f"SELECT * FROM {VERSION_TABLE}").fetchone()  # noqa: S608 - a constant
    if row is not None and row[0] != VERSION:
        raise FormatError(
            f"{path} was written by a newer version: its format is {row[0]}, this version "
            f"knows {VERSION}. Nothing was changed."
        )
