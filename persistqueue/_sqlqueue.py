"""What the SQLite classes of both families have in common: arguments, encoding, showing.

The faces differ by ``await``, and their shells by how they wait.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Generic

from ._filequeue import T
from ._options import DURABILITIES, ON_CORRUPT, absolute, one_of, whole
from ._storage.rowcodec import RowCodec
from ._storage.sqlite import MEMORY, Database, database_path
from ._storage.table import FIFO, ID_RANGE, Table

if TYPE_CHECKING:
    import sqlite3

    from ._storage.base import Record
    from ._storage.sqlstore import SqlStore
    from ._storage.table import Kind


class SqlFace(Generic[T]):
    """One object on a queue's table."""

    _KIND: Kind = FIFO
    _store: SqlStore

    path: str
    name: str

    def _set_up(
        self,
        path: str | os.PathLike[str],
        name: str,
        *,
        timeout: float,
        auto_commit: bool,
        serializer: Any,
        db_file_name: str | None,
        maxsize: int,
        durability: str,
        on_corrupt: str,
        max_item_bytes: int,
        makes_directory: bool,
    ) -> tuple[Database, Table]:
        """Check the arguments; nothing but the directory is created, nothing opened."""
        table = Table(self._KIND, str(name))
        self.maxsize = whole("maxsize", maxsize)
        self.name = name
        self.timeout = checked_timeout(timeout)
        self.auto_commit = bool(auto_commit)
        self.durability = one_of("durability", durability, DURABILITIES)
        self._skips = one_of("on_corrupt", on_corrupt, ON_CORRUPT) == "skip"
        self._serializer = serializer
        self._codec = RowCodec(
            serializer,
            ordered=self._KIND.unique,
            longest=whole("max_item_bytes", max_item_bytes, 1),
        )
        self.memory_sql = os.fspath(path) == MEMORY
        self.path = MEMORY if self.memory_sql else absolute(path)
        self.db_file_name = db_file_name or "data.db"
        file = database_path(self.path, self.db_file_name, makes_directory=makes_directory)
        database = Database(file, power=durability == "power", patience=self.timeout)
        return database, table

    @property
    def skipped(self) -> int:
        """Damaged rows that this object set aside (``on_corrupt="skip"``)."""
        return self._store.skipped

    def __contains__(self, item: object) -> bool:
        raise TypeError("'in' would have to take every item out; queue() lists what is there")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} in {self.path!r}>"

    # -- names that persist-queue's users look at -----------------------------------

    @property
    def _conn(self) -> sqlite3.Connection | None:
        return self._store.connection

    @property
    def _table_name(self) -> str:
        return self._store.table.quoted

    # -- for the methods ------------------------------------------------------------

    def _row(self, item: T) -> tuple[Any, ...]:
        return self._codec.encode(item), time.time()

    def _check_room(self, count: int) -> None:
        if 0 < self.maxsize < count:
            raise ValueError(f"{count} items never fit in a queue of maxsize {self.maxsize}")

    def _shown(self, record: Record, raw: bool) -> Any:
        return self._raw(record.end, record.item, "pqid") if raw else record.item

    def _raw(self, row: tuple[Any, ...], item: Any, key: str) -> dict[str, Any]:
        """Return a row as users see it."""
        shown = {key: row[0], "data": item, "timestamp": row[2]}
        if self._KIND.priority:
            shown["priority"] = row[3]
        return shown

    def _listed(self, rows: list[Any]) -> list[dict[str, Any]]:
        """Return what ``queue()`` shows of all rows."""
        return [self._raw(row, item, "id") for row, item in self._store.decoded_rows(rows)]


def checked_timeout(timeout: float) -> float:
    """Return the patience with locks, in seconds."""
    if timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")
    return float(timeout)


def row_id(given: Any) -> int:
    """Return the id that was given: a number, its digits, or what ``get(raw=True)`` returned.

    Raises:
        TypeError: it is something else.
        ValueError: it is text but no number.
    """
    if isinstance(given, dict):
        if "pqid" not in given:
            raise ValueError("the dict has no 'pqid': pass what get(raw=True) returned, or an id")
        given = given["pqid"]
    if isinstance(given, str):
        try:
            given = int(given)
        except ValueError:
            raise ValueError(f"{given!r} is not the id of a row") from None
    return whole("id", given)


def is_raw(item: Any) -> bool:
    """Return whether an item is what ``get(raw=True)`` returned."""
    return isinstance(item, dict) and "pqid" in item


def in_range(number: int) -> bool:
    """Return whether any row can have this id."""
    return number in ID_RANGE


def to_update(item: Any, given: Any) -> tuple[int, Any]:
    """Return the id and the new item of an ``update`` call.

    Raises:
        ValueError: there is no id.
    """
    found = None
    if is_raw(item):
        found, item = item["pqid"], item.get("data")
    found = found if given is None else given
    if found is None:
        raise ValueError("update needs an id, or what get(raw=True) returned")
    return row_id(found), item
