"""Arguments of the MySQL queues: those by keyword, and those that have two names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping

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
