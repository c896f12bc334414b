"""The stores of the SQLite queues: a way to finish items, on SQLite's transactions."""

from __future__ import annotations

from .owners import FileOwner
from .sqlacks import AckStore
from .sqlitetransactions import SqliteTransactions
from .sqlstore import SqlStore
from .sqlways import DeletingStore, ReservingStore


class _SqliteStore(SqlStore, SqliteTransactions):
    """What the three have in common."""

    def room(self, maxsize: int, wanted: int) -> int:
        self._refresh()
        if not self._known:  # before counting: the range of ids may be narrow enough
            most: int = self._one(self._table.span) or 0
            if most <= maxsize - wanted:
                return maxsize - most
        return super().room(maxsize, wanted)


class SqliteDeletingStore(_SqliteStore, DeletingStore):
    """Deletes a row when it is handed out."""


class SqliteReservingStore(_SqliteStore, ReservingStore):
    """Deletes a row when it is settled."""


class SqliteAckStore(_SqliteStore, AckStore):
    """Marks rows; an owner holds a lock on a file beside the database."""

    def _new_owner(self) -> FileOwner:
        return FileOwner(self._database)
